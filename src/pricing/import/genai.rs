//! genai-prices: providers → models → prices per million tokens, dated, with variants by tier.

use serde_json::{Map, Value};

use super::draft::{Amounts, Draft, amount};
use crate::pricing::{fees::FEMTO_DECIMALS, naming, rates::PER_MILLION};

/// Its keys of tokens, and ours.
const RATES: [(&str, &str); 13] = [
    ("input_mtok", "input"),
    ("cache_read_mtok", "cache_read"),
    ("cache_audio_read_mtok", "cache_read_audio"),
    ("cache_image_read_mtok", "cache_read_image"),
    ("cache_write_mtok", "cache_write"),
    ("cache_write_1h_mtok", "cache_write_long"),
    ("cache_write_12h_mtok", "cache_write_long"),
    ("output_mtok", "output"),
    ("output_reasoning_mtok", "reasoning"),
    ("input_audio_mtok", "input_audio"),
    ("input_image_mtok", "input_image"),
    ("output_audio_mtok", "output_audio"),
    ("output_image_mtok", "output_image"),
];
/// Its keys of fees, ours, and how many of its units are one of ours.
const FEES: [(&str, &str, i128); 7] = [
    ("web_searches_kcount", "web_search", 1),
    ("storage_searches_kcount", "file_search", 1),
    ("requests_kcount", "request", 1),
    ("input_mchars", "character", 1),
    ("input_document_kpages", "page", 1),
    ("audio_hours", "second", 3_600),
    ("input_audio_hours", "second", 3_600),
];
/// Prices that no meter of ours counts.
const UNSAID: [&str; 5] = [
    "input_video_mtok",
    "output_video_mtok",
    "output_citation_mtok",
    "input_text_messages_kcount",
    "input_annotated_document_kpages",
];

#[derive(Debug, Clone, Default)]
struct Prices {
    rates: Amounts,
    above: std::collections::BTreeMap<u64, Amounts>,
    fees: Amounts,
}

pub(super) fn read(providers: &[Value], skipped: &mut Vec<String>) -> Vec<Draft> {
    let mut drafts = Vec::new();
    for provider in providers {
        let id = provider["id"].as_str().unwrap_or_default();
        for model in provider["models"].as_array().into_iter().flatten() {
            drafts.extend(self::model(&naming::provider(id), model, skipped));
        }
    }
    drafts
}

fn model(provider: &str, model: &Value, skipped: &mut Vec<String>) -> Vec<Draft> {
    let Some(id) = model["id"].as_str() else { return Vec::new() };
    let place = format!("{provider}/{id}");
    let mut aliases = Vec::new();
    names(&model["match"], &mut aliases);
    aliases.retain(|alias| naming::key(alias) != naming::key(id));

    // (first day, prices), oldest first; and those of some hours.
    let mut dated: Vec<(Option<String>, Prices)> = Vec::new();
    let mut hours = Vec::new();
    match &model["prices"] {
        Value::Array(list) => {
            for entry in list {
                let prices = prices(&entry["prices"], &place, skipped);
                let constraint = &entry["constraint"];
                match (constraint["start_date"].as_str(), constraint["start_time"].as_str()) {
                    (Some(date), _) => dated.push((Some(date.to_owned()), prices)),
                    (None, Some(from)) => {
                        let to = constraint["end_time"].as_str().unwrap_or_default();
                        hours.push((spans(from, to), prices.rates));
                    }
                    (None, None) => dated.push((None, prices)),
                }
            }
        }
        one => dated.push((None, prices(one, &place, skipped))),
    }
    dated.sort_by(|a, b| a.0.cmp(&b.0));

    let variants = variants(model, &place, skipped);
    let mut days: Vec<Option<String>> = dated.iter().map(|(day, _)| day.clone()).collect();
    days.extend(variants.iter().map(|(day, ..)| day.clone()).filter(Option::is_some));
    days.sort();
    days.dedup();
    let mut drafts = Vec::new();
    for day in days {
        let Some((_, prices)) = dated.iter().rev().find(|(from, _)| *from <= day) else { continue };
        let mut draft = Draft {
            provider: provider.to_owned(),
            model: id.to_lowercase(),
            aliases: aliases.clone(),
            valid_from: day.clone(),
            rates: prices.rates.clone(),
            above: prices.above.clone(),
            fees: prices.fees.clone(),
            ..Draft::default()
        };
        for (_, tier, rates) in variants.iter().filter(|(from, ..)| *from <= day) {
            // The first variant that fits decides.
            draft.tiers.entry(tier.clone()).or_insert_with(|| rates.clone());
        }
        draft.tiers.retain(|_, rates| rates.keys().any(|class| draft.rates.contains_key(class)));
        drafts.push(draft);
    }
    if let Some(newest) = drafts.last_mut() {
        newest.hours = hours;
    }
    drafts
}

/// The literal names that a match clause says; beginnings stand for the name before its date.
fn names(clause: &Value, found: &mut Vec<String>) {
    for (kind, value) in clause.as_object().into_iter().flatten() {
        match (kind.as_str(), value) {
            ("or", Value::Array(clauses)) => clauses.iter().for_each(|clause| names(clause, found)),
            ("equals" | "starts_with", Value::String(name)) if !name.ends_with(['-', '@', ':', '/']) => {
                found.push(name.to_lowercase());
            }
            _ => {}
        }
    }
}

fn variants(model: &Value, place: &str, skipped: &mut Vec<String>) -> Vec<(Option<String>, String, Amounts)> {
    let mut found = Vec::new();
    for variant in model["price_variants"].as_array().into_iter().flatten() {
        let day = variant["constraint"]["start_date"].as_str().map(str::to_owned);
        let when: Map<String, Value> = variant["when"].as_object().cloned().unwrap_or_default();
        let tier = match when.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect::<Vec<_>>()[..]
        {
            [("processing", Some("batch"))] => "batch",
            [("service_tier", Some(tier @ ("priority" | "flex" | "fast")))] => tier,
            [("service_tier", Some("default"))] => continue,
            [("speed", Some("fast"))] => "fast",
            _ => {
                skipped.push(format!("{place}: the price for {}", variant["when"]));
                continue;
            }
        };
        found.push((day, tier.to_owned(), prices(&variant["prices"], place, skipped).rates));
    }
    // Newest first, so that the first that fits a day is the one that holds then.
    found.sort_by(|a, b| b.0.cmp(&a.0));
    found
}

fn prices(prices: &Value, place: &str, skipped: &mut Vec<String>) -> Prices {
    let mut read = Prices::default();
    let mut tiers: Vec<(&'static str, u64, i128)> = Vec::new();
    for (key, value) in prices.as_object().into_iter().flatten() {
        let known = RATES.iter().find(|(theirs, _)| theirs == key).map(|(_, ours)| *ours);
        let fee = FEES.iter().find(|(theirs, ..)| theirs == key);
        let number = |value: &Value, scale, times| match value {
            Value::Number(number) => amount(number, scale, times),
            _ => None,
        };
        let base = value.get("base").unwrap_or(value);
        match (known, fee) {
            _ if UNSAID.contains(&key.as_str()) => skipped.push(format!("{place}: {key} is not counted")),
            (Some(class), _) => {
                let Some(femto) = number(base, PER_MILLION, 1) else {
                    skipped.push(format!("{place}: {key} {base}"));
                    continue;
                };
                read.rates.insert(class, femto);
                for step in value["tiers"].as_array().into_iter().flatten() {
                    if let (Some(start), Some(femto)) =
                        (step["start"].as_u64(), number(&step["price"], PER_MILLION, 1))
                    {
                        tiers.push((class, start, femto));
                    }
                }
            }
            (None, Some((_, ours, units))) => {
                // An hour's price is rounded to a second's at the fifteenth decimal.
                if let Some(femto) = number(base, FEMTO_DECIMALS, 1) {
                    read.fees.insert(ours, (femto + units / 2) / units);
                }
            }
            (None, None) => skipped.push(format!("{place}: {key} is not known here")),
        }
    }
    for (class, start, femto) in tiers {
        read.above.entry(start).or_default().insert(class, femto);
    }
    read
}

/// `"16:30-24:00", "00:00-00:30"`: an interval that crosses midnight is two.
fn spans(from: &str, to: &str) -> String {
    let minute = |time: &str| time.get(..5).unwrap_or("00:00").to_owned();
    let (from, to) = (minute(from), minute(to));
    if from < to { format!("\"{from}-{to}\"") } else { format!("\"{from}-24:00\", \"00:00-{to}\"") }
}
