//! Prices of what is not billed by the token: searches, requests, seconds, characters, images, pages.

use std::collections::BTreeMap;

use crate::model::usage::{Meter, Usage};

/// Femto-USD in one dollar, as a power of ten.
pub(super) const FEMTO_DECIMALS: u32 = 15;

/// Meters that have a price of their own; the others are classes of tokens.
const PRICED: [(Meter, u64, &str); 10] = [
    (Meter::Request, 1_000, "per 1,000 requests"),
    (Meter::WebSearch, 1_000, "per 1,000 searches"),
    (Meter::FileSearch, 1_000, "per 1,000 searches"),
    (Meter::CodeSession, 1, "per container"),
    (Meter::SearchSource, 1_000, "per 1,000 sources"),
    (Meter::SearchUnit, 1_000, "per 1,000 searches"),
    (Meter::Image, 1, "per image"),
    (Meter::Second, 1, "per second"),
    (Meter::Character, 1_000_000, "per million characters"),
    (Meter::Page, 1_000, "per 1,000 pages"),
];

/// What one provider or one row asks for its meters: femto-USD per unit of `PRICED`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fees(BTreeMap<Meter, i128>);

/// One meter of one call and its price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fee {
    pub(super) meter: Meter,
    pub(super) count: u64,
    /// Femto-USD per `unit`.
    pub(super) rate: i128,
    pub(super) unit: &'static str,
    pub(super) femto: i128,
}

/// The meter with this key in the price file, and how many of the key's units are one of the meter's.
pub(super) fn meter(key: &str) -> Option<(Meter, i128)> {
    match key {
        "minute" => Some((Meter::Second, 60)),
        _ => PRICED.iter().map(|(meter, ..)| (*meter, 1)).find(|(meter, _)| meter.as_str() == key),
    }
}

impl Fees {
    /// `femto` for `units` of the meter's; what does not divide is rounded at the fifteenth decimal.
    pub(super) fn set(&mut self, meter: Meter, femto: i128, units: i128) {
        self.0.insert(meter, (femto + units / 2) / units);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn is_by_request(&self) -> bool {
        self.0.contains_key(&Meter::Request)
            && !self.0.keys().any(|meter| {
                matches!(
                    meter,
                    Meter::Second | Meter::Character | Meter::SearchUnit | Meter::Image | Meter::Page
                )
            })
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (Meter, i128, &'static str)> {
        PRICED.iter().filter_map(|(meter, _, unit)| Some((*meter, *self.0.get(meter)?, *unit)))
    }

    /// Whichever is not set here is taken from `others`.
    pub(super) fn or(mut self, others: &Self) -> Self {
        for (meter, femto) in &others.0 {
            self.0.entry(*meter).or_insert(*femto);
        }
        self
    }

    /// What the meters of a usage cost; `None` when one moved that has no price. A request has none at most
    /// providers, and that is no unknown.
    pub(super) fn of(&self, usage: &Usage) -> Option<Vec<Fee>> {
        let mut fees = Vec::new();
        for (meter, per, unit) in PRICED {
            let count = usage.meter(meter);
            let rate = match self.0.get(&meter) {
                Some(rate) => *rate,
                None if count == 0 || meter == Meter::Request => continue,
                None => return None,
            };
            if count > 0 {
                let per = i128::from(per);
                // Rounded nine digits below what is kept.
                let femto = rate.checked_mul(count.into())?.checked_add(per / 2)?.div_euclid(per);
                fees.push(Fee { meter, count, rate, unit, femto });
            }
        }
        Some(fees)
    }
}
