//! A provider's export as figures by day, model and class, whichever of the known shapes it has.

use serde_json::Value;

use super::{Class, Side};
use crate::model::{Error, UnixNanos};

/// A bill, read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bill {
    pub kind: String,
    pub side: Side,
    pub ignored: Vec<String>,
}

impl Bill {
    fn add(&mut self, day: &str, model: &str, class: Class, count: i64) {
        let place = (day.to_owned(), model.trim().to_lowercase());
        *self.side.entry(place).or_default().entry(class).or_insert(0) += count;
    }
}

/// Reads an export: JSON (a page, several pages in a list, or one page a line) or CSV with a head.
pub fn read(text: &str) -> Result<Bill, Error> {
    let start = text.trim_start_matches('\u{feff}').trim_start();
    let mut bill = Bill::default();
    if start.starts_with(['{', '[']) {
        let pages = serde_json::Deserializer::from_str(start).into_iter::<Value>();
        for page in pages {
            let page =
                page.map_err(|error| Error::invalid(format!("expected an export as JSON: {error}")))?;
            match page {
                Value::Array(pages) => pages.iter().for_each(|page| json_page(page, &mut bill)),
                page => json_page(&page, &mut bill),
            }
        }
    } else {
        csv(start, &mut bill)?;
    }
    if bill.kind.is_empty() {
        return Err(Error::invalid(
            "expected an export of OpenAI's or Anthropic's usage or costs (JSON of the API or CSV), found none of \
             their fields",
        ));
    }
    Ok(bill)
}

fn json_page(page: &Value, bill: &mut Bill) {
    for bucket in page["data"].as_array().into_iter().flatten() {
        let day = match (&bucket["start_time"], &bucket["starting_at"]) {
            (Value::Number(seconds), _) => day_of(seconds.as_i64().unwrap_or_default()),
            (_, Value::String(at)) => at.chars().take(10).collect(),
            _ => continue,
        };
        let results = bucket["results"].as_array().or(bucket["result"].as_array());
        for result in results.into_iter().flatten() {
            json_result(&day, result, bill);
        }
    }
}

fn day_of(seconds: i64) -> String {
    UnixNanos(seconds.saturating_mul(UnixNanos::SECOND)).date()
}

fn json_result(day: &str, result: &Value, bill: &mut Bill) {
    let count = |name: &str| result[name].as_i64().unwrap_or(0);
    let model = result["model"].as_str();
    if result.get("uncached_input_tokens").is_some() {
        "Anthropic usage (JSON)".clone_into(&mut bill.kind);
        let model = model.unwrap_or("(all models)");
        let writes = &result["cache_creation"];
        let write = |name: &str| writes[name].as_i64().unwrap_or(0);
        bill.add(day, model, Class::Input, count("uncached_input_tokens"));
        bill.add(day, model, Class::CacheRead, count("cache_read_input_tokens"));
        bill.add(
            day,
            model,
            Class::CacheWrite,
            write("ephemeral_1h_input_tokens") + write("ephemeral_5m_input_tokens"),
        );
        bill.add(day, model, Class::Output, count("output_tokens"));
    } else if let Some(amount) = result["amount"].as_str() {
        // Cents, as a decimal.
        "Anthropic costs (JSON)".clone_into(&mut bill.kind);
        let nanos = nanos(amount, 7);
        cost(day, model.or(result["description"].as_str()), model.is_some(), nanos, bill);
    } else if let Some(amount) = result["amount"].get("value") {
        "OpenAI costs (JSON)".clone_into(&mut bill.kind);
        let item = result["line_item"].as_str();
        openai_cost(day, item, nanos(&amount.to_string(), 9), bill);
    } else if result.get("num_model_requests").is_some() || result.get("input_cached_tokens").is_some() {
        "OpenAI usage (JSON)".clone_into(&mut bill.kind);
        openai_usage(day, model, count, bill);
    }
}

fn openai_usage(day: &str, model: Option<&str>, count: impl Fn(&str) -> i64, bill: &mut Bill) {
    let model = model.unwrap_or("(all models)");
    let cached = count("input_cached_tokens");
    bill.add(day, model, Class::Calls, count("num_model_requests"));
    bill.add(day, model, Class::Input, count("input_tokens") - cached);
    bill.add(day, model, Class::CacheRead, cached);
    bill.add(day, model, Class::Output, count("output_tokens"));
}

/// A line is `gpt-4o-2024-08-06, input`, or something that is no model.
fn openai_cost(day: &str, item: Option<&str>, nanos: Option<i64>, bill: &mut Bill) {
    let model = item.and_then(|item| item.rsplit_once(',')).map(|(model, _)| model);
    cost(day, model.or(item), model.is_some(), nanos, bill);
}

fn cost(day: &str, name: Option<&str>, is_model: bool, nanos: Option<i64>, bill: &mut Bill) {
    match (name, nanos) {
        (Some(model), Some(nanos)) if is_model => bill.add(day, model, Class::Cost, nanos),
        (name, _) => bill.ignored.push(format!("{day}: {}", name.unwrap_or("a line without a name"))),
    }
}

/// A decimal amount × 10^`scale`, rounded; no float touches it unless it is written as one.
fn nanos(text: &str, scale: usize) -> Option<i64> {
    let text = text.trim().trim_start_matches('$').replace(',', "");
    if text.contains(['e', 'E']) {
        let amount: f64 = text.parse().ok()?;
        return Some((amount * 10_f64.powi(i32::try_from(scale).ok()?)).round() as i64);
    }
    let (sign, digits) = text.strip_prefix('-').map_or((1, text.as_str()), |rest| (-1, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let kept: String = fraction.chars().chain(std::iter::repeat('0')).take(scale).collect();
    let half = fraction.as_bytes().get(scale).is_some_and(|digit| *digit >= b'5');
    let number: i64 = format!("{whole}{kept}").parse().ok()?;
    Some(sign * (number + i64::from(half)))
}

/// One table: which of its columns are there says what it is.
fn csv(text: &str, bill: &mut Bill) -> Result<(), Error> {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let head: Vec<String> =
        fields(lines.next().unwrap_or_default()).iter().map(|name| name.to_lowercase()).collect();
    let column = |names: &[&str]| names.iter().find_map(|name| head.iter().position(|known| known == name));
    let day = column(&["start_time_iso", "usage_date_utc", "start_time", "date"]);
    let day = day.ok_or_else(|| {
        Error::invalid(
            "expected a column start_time, start_time_iso or usage_date_utc in the CSV's head, found none",
        )
    })?;
    let model = column(&["model", "model_version"]);
    let counts = [
        (Class::Calls, column(&["num_model_requests"])),
        (Class::Input, column(&["usage_input_tokens_no_cache", "input_tokens", "uncached_input_tokens"])),
        (Class::CacheRead, column(&["usage_input_tokens_cache_read", "input_cached_tokens"])),
        (Class::CacheWrite, column(&["usage_input_tokens_cache_write_5m"])),
        (Class::CacheWrite, column(&["usage_input_tokens_cache_write_1h"])),
        (Class::Output, column(&["usage_output_tokens", "output_tokens"])),
    ];
    let amount = column(&["amount_value", "cost_usd"]);
    let item = column(&["line_item"]);
    let openai = column(&["input_cached_tokens"]);
    let usage = counts.iter().any(|(_, at)| at.is_some());
    for (number, line) in lines.enumerate() {
        let cells = fields(line);
        let cell = |at: Option<usize>| {
            at.and_then(|at| cells.get(at)).map(|text| text.trim()).filter(|text| !text.is_empty())
        };
        let Some(at) = cell(Some(day)) else { continue };
        let day = match at.parse::<i64>() {
            Ok(seconds) => day_of(seconds),
            Err(_) => at.chars().take(10).collect(),
        };
        if let (Some(item), Some(amount)) = (item, amount) {
            "OpenAI costs (CSV)".clone_into(&mut bill.kind);
            openai_cost(&day, cell(Some(item)), cell(Some(amount)).and_then(|text| nanos(text, 9)), bill);
        } else if let Some(amount) = amount {
            "Anthropic costs (CSV)".clone_into(&mut bill.kind);
            let name = cell(model);
            cost(&day, name, name.is_some(), cell(Some(amount)).and_then(|text| nanos(text, 9)), bill);
        } else if usage {
            if openai.is_some() { "OpenAI usage (CSV)" } else { "Anthropic usage (CSV)" }
                .clone_into(&mut bill.kind);
            let name = cell(model).unwrap_or("(all models)");
            for (class, at) in counts {
                let Some(text) = cell(at) else { continue };
                let mut count: i64 = text.parse().map_err(|_| {
                    Error::invalid(format!(
                        "line {}: expected a count as {}, found {text:?}",
                        number + 2,
                        class.as_str()
                    ))
                })?;
                // OpenAI's input holds what came from the cache.
                if class == Class::Input && openai.is_some() {
                    count -= cell(openai).and_then(|text| text.parse().ok()).unwrap_or(0);
                }
                bill.add(&day, name, class, count);
            }
        }
    }
    Ok(())
}

/// The cells of one line; quotes hold commas, two quotes are one.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.trim_end_matches('\r').chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                if let Some(field) = fields.last_mut() {
                    field.push('"');
                }
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => {
                if let Some(field) = fields.last_mut() {
                    field.push(other);
                }
            }
        }
    }
    fields
}
