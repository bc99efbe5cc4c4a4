//! The table as a list, and what changed in it between two days.

use serde::{Deserialize, Serialize};

use super::{
    PriceTable, decimal,
    fees::FEMTO_DECIMALS,
    rates::{self, Class, Rates},
    table::{HourPrice, Row},
};
use crate::model::{UnixNanos, usage::Meter};

/// One price of one model, as it is written in a price file. Amounts are dollars, exact: per million
/// tokens, and for fees per the unit that the price file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PriceRow {
    /// The version of the file.
    pub table: String,
    /// The upstream that the price holds at; null for all.
    pub upstream: Option<String>,
    pub provider: String,
    pub model: String,
    pub aliases: Vec<String>,
    /// The first day, UTC; null for the oldest price known.
    pub valid_from: Option<String>,
    /// By class of token.
    pub rates: Vec<(String, String)>,
    pub fees: Vec<(String, String)>,
    /// What differs: long context, service tiers, hours, regions.
    pub variants: Vec<String>,
    pub source: Option<String>,
    pub checked: Option<String>,
}

/// A price that is another one at the later of two days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PriceChange {
    pub provider: String,
    pub model: String,
    /// A class of tokens, a fee, or `variants`.
    pub item: String,
    /// Null where there was (or is) none.
    pub before: Option<String>,
    pub after: Option<String>,
    pub valid_from: Option<String>,
}

impl PriceRow {
    pub fn rate(&self, item: &str) -> Option<&str> {
        self.rates.iter().chain(&self.fees).find(|(known, _)| known == item).map(|(_, rate)| rate.as_str())
    }

    fn of(row: &Row, table: &str, aliases: &[String], upstream: Option<&str>) -> Self {
        Self {
            table: table.to_owned(),
            upstream: upstream.map(str::to_owned),
            provider: row.provider.clone(),
            model: row.model.clone(),
            aliases: aliases.to_vec(),
            valid_from: row.valid_from.map(UnixNanos::date),
            rates: shown(&row.standard.base),
            fees: row
                .fees
                .all()
                .map(|(meter, femto, _): (Meter, _, _)| {
                    (meter.as_str().to_owned(), decimal::shown(femto, FEMTO_DECIMALS))
                })
                .collect(),
            variants: variants(row),
            source: row.source.clone(),
            checked: row.checked.clone(),
        }
    }
}

fn shown(rates: &Rates) -> Vec<(String, String)> {
    let classes = rates.classes().into_iter();
    classes
        .filter_map(|class: Class| {
            Some((class.key().to_owned(), decimal::shown(rates.own(class)?, rates::PER_MILLION)))
        })
        .collect()
}

fn line(rates: &Rates) -> String {
    let rates: Vec<_> = shown(rates).into_iter().map(|(class, rate)| format!("{class} {rate}")).collect();
    rates.join(", ")
}

fn variants(row: &Row) -> Vec<String> {
    let mut variants = Vec::new();
    for (threshold, rates) in &row.standard.above {
        variants.push(format!("above {threshold} input tokens: {}", line(rates)));
    }
    for (tier, schedule) in &row.service_tiers {
        variants.push(format!("{tier}: {}", line(&schedule.base)));
    }
    for (spans, price) in row.hours.iter().map(|hours| hours.shown()) {
        let price = match price {
            HourPrice::Times(times) => format!("times {}", decimal::shown(*times, 3)),
            HourPrice::Rates(rates) => line(rates),
        };
        variants.push(format!("{spans} UTC: {price}"));
    }
    for (region, factor) in &row.regions {
        variants.push(format!("region {region}: times {}", decimal::shown(*factor, 3)));
    }
    variants
}

impl PriceTable {
    /// Every price that holds at a time, or with `None` all there are: what comes first wins.
    pub fn list(&self, at: Option<UnixNanos>) -> Vec<PriceRow> {
        let mut seen = std::collections::HashSet::new();
        let mut rows = Vec::new();
        let upstreams = self.upstreams.iter().map(|(name, layer)| (Some(name.as_str()), layer));
        for (upstream, layer) in upstreams.chain(self.layers.iter().map(|layer| (None, layer))) {
            for model in &layer.models {
                for row in &model.rows {
                    let holds = at.is_none_or(|at| row.valid_from.is_none_or(|from| from <= at));
                    if !holds {
                        continue;
                    }
                    let name = (upstream, row.provider.as_str(), super::key(&row.model));
                    if at.is_some() && !seen.insert(name) {
                        continue;
                    }
                    rows.push(PriceRow::of(row, &layer.version, &model.aliases, upstream));
                }
            }
        }
        rows
    }

    /// What differs between the prices of two days.
    pub fn diff(&self, before: UnixNanos, after: UnixNanos) -> Vec<PriceChange> {
        let (old, new) = (self.list(Some(before)), self.list(Some(after)));
        let mut changes = Vec::new();
        for row in &new {
            let place = (&row.upstream, &row.provider, &row.model);
            let was = old.iter().find(|was| (&was.upstream, &was.provider, &was.model) == place);
            let mut change = |item: &str, was: Option<String>, is: Option<String>| {
                if was != is {
                    changes.push(PriceChange {
                        provider: row.provider.clone(),
                        model: row.model.clone(),
                        item: item.to_owned(),
                        before: was,
                        after: is,
                        valid_from: row.valid_from.clone(),
                    });
                }
            };
            let items = |row: &PriceRow| -> Vec<String> {
                row.rates.iter().chain(&row.fees).map(|(item, _)| item.clone()).collect()
            };
            let mut all = items(row);
            let gone = was.map(items).unwrap_or_default();
            all.extend(gone.into_iter().filter(|item| row.rate(item).is_none()));
            for item in all {
                let rate = |row: &PriceRow| row.rate(&item).map(str::to_owned);
                change(&item, was.and_then(rate), rate(row));
            }
            let variants = |row: &PriceRow| (!row.variants.is_empty()).then(|| row.variants.join("; "));
            change("variants", was.and_then(variants), variants(row));
        }
        changes
    }
}
