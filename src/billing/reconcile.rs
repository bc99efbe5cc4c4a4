//! A provider's own account compared with what was recorded, by day × model × class: what does not match,
//! and the likely reason. Reads the exports of OpenAI and Anthropic (usage and costs, JSON of the APIs and
//! CSV of the consoles).

mod bill;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::bill::{Bill, read};
use crate::model::{NanoUsd, filter::CostRow};

/// A thing that is counted: calls, tokens of a class, searches or money.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    Calls,
    /// Input that came from no cache and went into none.
    Input,
    CacheRead,
    CacheWrite,
    Output,
    /// Nano-USD.
    Cost,
}

impl Class {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Input => "input",
            Self::CacheRead => "cache_read",
            Self::CacheWrite => "cache_write",
            Self::Output => "output",
            Self::Cost => "cost",
        }
    }
}

/// Day, model.
pub type Place = (String, String);
/// What one side says, by day and model, then by class.
pub type Side = BTreeMap<Place, BTreeMap<Class, i64>>;

/// One figure on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Difference {
    pub day: String,
    pub model: String,
    pub class: Class,
    /// Null where the side knows nothing of the day and model.
    pub bill: Option<i64>,
    pub recorded: Option<i64>,
    /// Recorded less bill.
    pub difference: i64,
    pub reason: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Reconciliation {
    /// What the bill is, such as `OpenAI usage (JSON)`.
    pub bill: String,
    /// Figures that were compared, and of those the ones that match.
    pub compared: u64,
    pub matching: u64,
    pub differences: Vec<Difference>,
    /// Lines of the bill that are not about models, such as storage.
    pub ignored: Vec<String>,
}

/// What was recorded, from sums by day and model (the report's `by=day,model`).
pub fn recorded(rows: &[CostRow]) -> (Side, BTreeMap<Place, (u64, u64)>) {
    let mut side = Side::new();
    // Estimated and unpriced calls, which explain much.
    let mut doubts = BTreeMap::new();
    for row in rows {
        let mut key = row.key.iter();
        let (Some(Some(day)), Some(Some(model))) = (key.next(), key.next()) else { continue };
        let place = (day.clone(), model.clone());
        let cached = row.cache_read_tokens.saturating_add(row.cache_write_tokens);
        let classes = side.entry(place.clone()).or_default();
        let mut add = |class, count: u64| {
            *classes.entry(class).or_insert(0) += i64::try_from(count).unwrap_or(i64::MAX);
        };
        add(Class::Calls, row.calls);
        add(Class::Input, row.input_tokens.saturating_sub(cached));
        add(Class::CacheRead, row.cache_read_tokens);
        add(Class::CacheWrite, row.cache_write_tokens);
        add(Class::Output, row.output_tokens);
        *classes.entry(Class::Cost).or_insert(0) += row.billed.0;
        doubts.insert(place, (row.estimated_calls + row.usageless_calls, row.unpriced_calls));
    }
    (side, doubts)
}

/// Compares what the bill says with what was recorded. `tolerance` is the share of a figure, in thousandths,
/// by which it may differ; money may differ by a cent a line besides, since bills are rounded.
pub fn compare(bill: Bill, rows: &[CostRow], tolerance: i64) -> Reconciliation {
    let (recorded, doubts) = recorded(rows);
    let mut result = Reconciliation { bill: bill.kind, ignored: bill.ignored, ..Reconciliation::default() };
    let days: Vec<&String> = bill.side.keys().map(|(day, _)| day).collect();
    let recorded: BTreeMap<&Place, _> = recorded.iter().filter(|((day, _), _)| days.contains(&day)).collect();
    // The bill may name a snapshot where the answer named the alias, or the other way round.
    let partner = |place: &Place| -> Option<&Place> {
        recorded.keys().copied().find(|known| *known == place).or_else(|| {
            recorded.keys().copied().find(|(day, model)| *day == place.0 && same_model(model, &place.1))
        })
    };
    let mut met = Vec::new();
    for (place, classes) in &bill.side {
        let known = partner(place);
        met.extend(known);
        for (class, count) in classes {
            let own = known.and_then(|known| recorded.get(known)?.get(class).copied());
            result.compared += 1;
            let difference = own.unwrap_or(0) - count;
            let allowed = count.abs().saturating_mul(tolerance) / 1_000 + slack(*class);
            if difference.abs() <= allowed && (own.is_some() || *count == 0) {
                result.matching += 1;
                continue;
            }
            let doubt = known.and_then(|known| doubts.get(known)).copied().unwrap_or_default();
            result.differences.push(Difference {
                day: place.0.clone(),
                model: place.1.clone(),
                class: *class,
                bill: Some(*count),
                recorded: own,
                difference,
                reason: reason(*class, Some(*count), own, doubt),
            });
        }
    }
    // What only we have seen: of the classes that the bill speaks of at all.
    let spoken: Vec<Class> = bill.side.values().flat_map(|classes| classes.keys().copied()).collect();
    for (place, classes) in recorded.iter().filter(|(place, _)| !met.contains(*place)) {
        for (class, count) in classes.iter().filter(|(class, count)| spoken.contains(class) && **count > 0) {
            result.compared += 1;
            result.differences.push(Difference {
                day: place.0.clone(),
                model: place.1.clone(),
                class: *class,
                bill: None,
                recorded: Some(*count),
                difference: *count,
                reason: reason(*class, None, Some(*count), doubts.get(*place).copied().unwrap_or_default()),
            });
        }
    }
    result.differences.sort_by(|a, b| (&a.day, &a.model, a.class).cmp(&(&b.day, &b.model, b.class)));
    result
}

/// A cent, in money.
fn slack(class: Class) -> i64 {
    if class == Class::Cost { 10_000_000 } else { 0 }
}

/// The same model but for a date behind its name.
fn same_model(one: &str, other: &str) -> bool {
    let plain = |name: &str| {
        let name = name.to_lowercase().replace(['.', ' '], "-");
        let parts: Vec<_> = name.split('-').collect();
        let digits = |part: &&&str| part.len() >= 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        let dated = parts.iter().rev().take_while(digits).map(|part| part.len()).sum::<usize>();
        // YYYYMMDD, or YYYY-MM-DD in three parts.
        let cut = match (dated, parts.last().map(|part| part.len())) {
            (_, Some(8)) => 1,
            (8.., Some(2)) => 3,
            _ => 0,
        };
        parts[..parts.len() - cut].join("-")
    };
    plain(one) == plain(other)
}

fn reason(class: Class, bill: Option<i64>, own: Option<i64>, (estimated, unpriced): (u64, u64)) -> String {
    match (bill, own) {
        (None, _) => {
            "not in the bill: another account's key, or a model that the bill names otherwise".to_owned()
        }
        (Some(_), None) => {
            "not recorded: calls that did not go through tapline, or another name of the model".to_owned()
        }
        (Some(_), Some(_)) if class == Class::Cost && unpriced > 0 => {
            format!("{unpriced} recorded calls have no known price; see `tapline prices missing`")
        }
        (Some(bill), Some(own)) => {
            let more = own > bill;
            match class {
                _ if estimated > 0 && class != Class::Calls && class != Class::Cost => {
                    format!("{estimated} recorded calls have estimated or no usage")
                }
                Class::Calls if more => "failed and aborted calls are recorded and not billed".to_owned(),
                Class::Calls => "calls that did not go through tapline".to_owned(),
                Class::Cost if more => {
                    "a discount, a free allowance or a cheaper tier (batch, flex) on the bill; see [[rule]] in the \
                     price file"
                        .to_owned()
                }
                Class::Cost => {
                    "a price, tier, tool fee or tax that the price table does not have, or calls around tapline"
                        .to_owned()
                }
                _ if more => "calls near midnight UTC, or aborted calls that were not billed".to_owned(),
                _ => "calls that did not go through tapline, or were aborted before their usage came".to_owned(),
            }
        }
    }
}

/// A difference's figures as people read them.
pub fn shown(class: Class, figure: Option<i64>) -> String {
    match (class, figure) {
        (_, None) => "-".to_owned(),
        (Class::Cost, Some(nanos)) => NanoUsd(nanos).to_string(),
        (_, Some(count)) => count.to_string(),
    }
}
