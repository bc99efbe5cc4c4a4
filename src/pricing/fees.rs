//! Prices of what is not billed by the token: searches, requests, seconds, characters, images, pages.

use std::collections::BTreeMap;

use crate::model::usage::{Meter, Usage};

/// Femto-USD in one dollar, as a power of ten.
pub(super) const FEMTO_DECIMALS: u32 = 15;

/// Meters that have a price of their own; the others are classes of tokens.
const PRICED: [(Meter, u64, &str); 11] = [
    (Meter::Request, 1_000, "per 1,000 requests"),
    (Meter::WebSearch, 1_000, "per 1,000 searches"),
    (Meter::FileSearch, 1_000, "per 1,000 searches"),
    (Meter::CodeSession, 1, "per container"),
    (Meter::SearchSource, 1_000, "per 1,000 sources"),
    (Meter::SearchUnit, 1_000, "per 1,000 searches"),
    (Meter::Image, 1, "per image"),
    (Meter::Second, 1, "per second"),
    (Meter::SecondLarge, 1, "per second of a large size"),
    (Meter::Character, 1_000_000, "per million characters"),
    (Meter::Page, 1_000, "per 1,000 pages"),
];

/// What one provider or one row asks for its meters: femto-USD per unit of `PRICED`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fees {
    rates: BTreeMap<Meter, i128>,
    /// Seconds that are billed where there were fewer.
    least_seconds: u64,
}

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
        self.rates.insert(meter, (femto + units / 2) / units);
    }

    pub(super) fn least_seconds(&mut self, seconds: u64) {
        self.least_seconds = seconds;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rates.is_empty()
    }

    pub(super) fn is_by_request(&self) -> bool {
        self.rates.contains_key(&Meter::Request)
            && !self.rates.keys().any(|meter| {
                matches!(
                    meter,
                    Meter::Second
                        | Meter::SecondLarge
                        | Meter::Character
                        | Meter::SearchUnit
                        | Meter::Image
                        | Meter::Page
                )
            })
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (Meter, i128, &'static str)> {
        PRICED.iter().filter_map(|(meter, _, unit)| Some((*meter, *self.rates.get(meter)?, *unit)))
    }

    /// Whichever is not set here is taken from `others`.
    pub(super) fn or(mut self, others: &Self) -> Self {
        for (meter, femto) in &others.rates {
            self.rates.entry(*meter).or_insert(*femto);
        }
        self
    }

    /// What the meters of a usage cost; `None` when one moved that has no price. A request has none at most
    /// providers, and that is no unknown.
    pub(super) fn of(&self, usage: &Usage) -> Option<Vec<Fee>> {
        let mut fees = Vec::new();
        for (meter, per, unit) in PRICED {
            let count = usage.meter(meter);
            let rate = match self.rates.get(&meter) {
                Some(rate) => *rate,
                None if count == 0 || meter == Meter::Request => continue,
                None => return None,
            };
            let count = match meter {
                Meter::Second | Meter::SecondLarge if count > 0 => count.max(self.least_seconds),
                _ => count,
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
