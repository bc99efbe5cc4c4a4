//! The price file's text to rows. Every error names the file, the line, the row, what was expected and
//! what was found; nothing in the file is skipped over.

use std::collections::BTreeMap;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    decimal::scaled,
    rates::{Class, Rates, Schedule},
};
use crate::model::{Error, UnixNanos};

/// Decimals of a dollar per million tokens that make one femto-USD per token.
const PER_MILLION: u32 = 9;
/// Decimals of a dollar per thousand calls that make one femto-USD per call.
const PER_THOUSAND: u32 = 12;

/// One price of one model from one date on.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) provider: String,
    pub(super) model: String,
    pub(super) aliases: Vec<String>,
    pub(super) valid_from: Option<UnixNanos>,
    pub(super) standard: Schedule,
    pub(super) service_tiers: BTreeMap<String, Schedule>,
    /// Femto-USD per search.
    pub(super) web_search: Option<i128>,
    pub(super) peak: Option<Peak>,
}

/// Hours of the day at which tokens cost a multiple.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peak {
    /// `[from, to)` in minutes of the UTC day.
    hours: Vec<(u32, u32)>,
    thousandths: i128,
}

impl Peak {
    /// The multiplier at a time, in thousandths.
    pub(super) fn thousandths(&self, at: UnixNanos) -> i128 {
        let minute = at.0.rem_euclid(UnixNanos::DAY) / (60 * UnixNanos::SECOND);
        let within = |(from, to): &(u32, u32)| (i64::from(*from)..i64::from(*to)).contains(&minute);
        if self.hours.iter().any(within) { self.thousandths } else { 1_000 }
    }
}

const ROW_KEYS: &str = "provider, model, aliases, valid_from, input, cache_read, cache_write, cache_write_long, \
                        output, reasoning, input_audio, input_image, output_audio, output_image, web_search, \
                        above, service_tiers, peak";

/// The table's own version, if it has one, and its rows.
pub(super) fn parse(text: &str, file: &str) -> Result<(Option<String>, Vec<Row>), Error> {
    let document = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        Error::invalid(format!("{file}:{line}: not TOML: {}", error.message().replace('\n', ", ")))
    })?;
    let at = Place { file, text, row: String::new() };
    let mut version = None;
    let mut rows = Vec::new();
    for (key, value) in document.get_ref() {
        match key.get_ref().as_ref() {
            "version" => version = Some(at.text(value, "a version such as \"2026-11-23\"")?.to_owned()),
            "price" => {
                for (number, row) in at.array(value, "[[price]] tables")?.enumerate() {
                    rows.push(parse_row(&at, number + 1, row)?);
                }
            }
            _ => {
                return Err(at.wrong(
                    key.span(),
                    "version or [[price]]",
                    &format!("the key {}", key.get_ref()),
                ));
            }
        }
    }
    Ok((version, rows))
}

fn parse_row(outer: &Place<'_>, number: usize, value: &Spanned<DeValue<'_>>) -> Result<Row, Error> {
    let mut at = Place { row: format!("price row {number}: "), ..*outer };
    let table = at.table(value, "a [[price]] table")?;
    let named = |at: &Place<'_>, key: &str| match table.get(key) {
        Some(value) => at.text(value, &format!("{key} as text")).map(str::to_lowercase),
        None => Err(at.wrong(value.span(), &format!("the key {key}"), "none")),
    };
    let (provider, model) = (named(&at, "provider")?, named(&at, "model")?);
    at.row = format!("price row {number} ({provider}/{model}): ");

    let mut row = Row {
        provider: super::naming::provider(&provider),
        model,
        aliases: Vec::new(),
        valid_from: None,
        standard: Schedule::default(),
        service_tiers: BTreeMap::new(),
        web_search: None,
        peak: None,
    };
    for (key, value) in table {
        match key.get_ref().as_ref() {
            "provider" | "model" => {}
            // These build on the rates, so they are read when all rates are known.
            "above" | "service_tiers" => {}
            "aliases" => {
                for alias in at.array(value, "a list of model names")? {
                    row.aliases.push(at.text(alias, "a model name")?.to_lowercase());
                }
            }
            "valid_from" => row.valid_from = Some(at.date(value)?),
            "web_search" => row.web_search = Some(at.amount(value, PER_THOUSAND)?),
            "peak" => row.peak = Some(at.peak(value)?),
            rate => match Class::from_key(rate) {
                Some(class) => row.standard.base.set(class, at.amount(value, PER_MILLION)?),
                None => {
                    return Err(at.wrong(
                        key.span(),
                        &format!("one of {ROW_KEYS}"),
                        &format!("the key {rate}"),
                    ));
                }
            },
        }
    }
    if row.standard.base.is_empty() {
        return Err(at.wrong(value.span(), "at least one price, such as input = 2.50", "none"));
    }
    if let Some(value) = table.get("above") {
        row.standard.above = at.above(value, &row.standard.base)?;
    }
    if let Some(value) = table.get("service_tiers") {
        row.service_tiers = at.service_tiers(value, &row.standard)?;
    }
    Ok(row)
}

/// Where in the file we are: turns spans into lines for errors.
#[derive(Clone)]
struct Place<'a> {
    file: &'a str,
    text: &'a str,
    row: String,
}

impl Place<'_> {
    fn wrong(&self, span: std::ops::Range<usize>, expected: &str, found: &str) -> Error {
        let line = line_of(self.text, span.start);
        Error::invalid(format!("{}:{line}: {}expected {expected}, found {found}", self.file, self.row))
    }

    fn mismatch(&self, value: &Spanned<DeValue<'_>>, expected: &str) -> Error {
        let found = match value.get_ref() {
            DeValue::String(text) => format!("{text:?}"),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Datetime(value) => value.to_string(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        };
        self.wrong(value.span(), expected, &found)
    }

    fn text<'v>(&self, value: &'v Spanned<DeValue<'_>>, expected: &str) -> Result<&'v str, Error> {
        match value.get_ref().as_str() {
            Some(text) if !text.trim().is_empty() => Ok(text),
            _ => Err(self.mismatch(value, expected)),
        }
    }

    fn array<'v, 'i>(
        &self,
        value: &'v Spanned<DeValue<'i>>,
        expected: &str,
    ) -> Result<impl Iterator<Item = &'v Spanned<DeValue<'i>>> + use<'v, 'i>, Error> {
        value.get_ref().as_array().map(|list| list.iter()).ok_or_else(|| self.mismatch(value, expected))
    }

    fn table<'v, 'i>(
        &self,
        value: &'v Spanned<DeValue<'i>>,
        expected: &str,
    ) -> Result<&'v DeTable<'i>, Error> {
        value.get_ref().as_table().ok_or_else(|| self.mismatch(value, expected))
    }

    /// An amount of dollars, written as a number or as text.
    fn amount(&self, value: &Spanned<DeValue<'_>>, scale: u32) -> Result<i128, Error> {
        let text = match value.get_ref() {
            DeValue::String(text) => text.as_ref(),
            DeValue::Float(number) => number.as_str(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            _ => return Err(self.mismatch(value, "an amount of US dollars")),
        };
        scaled(text, scale).map_err(|expected| self.mismatch(value, &expected))
    }

    fn date(&self, value: &Spanned<DeValue<'_>>) -> Result<UnixNanos, Error> {
        let text = match value.get_ref() {
            DeValue::Datetime(date) => date.to_string(),
            DeValue::String(text) => text.to_string(),
            _ => String::new(),
        };
        // The length keeps ages and times of day out: a price changes at midnight, UTC.
        let date = if text.len() == 10 { UnixNanos::parse(&text, UnixNanos(0)).ok() } else { None };
        date.ok_or_else(|| self.mismatch(value, "a date such as 2026-11-23"))
    }

    /// Rates for one length of input: the very classes that the row prices, so that none is charged at
    /// the lower rate by an oversight.
    fn rates_like(&self, value: &Spanned<DeValue<'_>>, base: &Rates, besides: &str) -> Result<Rates, Error> {
        let mut rates = Rates::default();
        for (key, amount) in self.table(value, "a table of rates")? {
            let name = key.get_ref().as_ref();
            match Class::from_key(name) {
                _ if name == besides => {}
                Some(class) if base.own(class).is_some() => {
                    rates.set(class, self.amount(amount, PER_MILLION)?)
                }
                _ => {
                    let priced: Vec<_> = base.classes().into_iter().map(Class::key).collect();
                    let expected = format!("only rates that the row itself has ({})", priced.join(", "));
                    return Err(self.wrong(key.span(), &expected, &format!("the key {name}")));
                }
            }
        }
        match base.classes().into_iter().find(|class| rates.own(*class).is_none()) {
            Some(missing) => {
                Err(self.wrong(value.span(), &format!("a rate for {} too", missing.key()), "none"))
            }
            None => Ok(rates),
        }
    }

    fn above(&self, value: &Spanned<DeValue<'_>>, base: &Rates) -> Result<Vec<(u64, Rates)>, Error> {
        const EXPECTED: &str = "a list of tables with input_tokens and rates, by rising input_tokens";
        let mut above: Vec<(u64, Rates)> = Vec::new();
        for step in self.array(value, EXPECTED)? {
            let threshold = self.table(step, EXPECTED)?.get("input_tokens");
            let threshold = threshold.ok_or_else(|| self.wrong(step.span(), EXPECTED, "no input_tokens"))?;
            let tokens = threshold.get_ref().as_integer().and_then(|number| number.as_str().parse().ok());
            let tokens: u64 = tokens.ok_or_else(|| self.mismatch(threshold, "a whole number of tokens"))?;
            if above.last().is_some_and(|(last, _)| *last >= tokens) {
                return Err(self.mismatch(threshold, EXPECTED));
            }
            above.push((tokens, self.rates_like(step, base, "input_tokens")?));
        }
        Ok(above)
    }

    fn service_tiers(
        &self,
        value: &Spanned<DeValue<'_>>,
        standard: &Schedule,
    ) -> Result<BTreeMap<String, Schedule>, Error> {
        let mut tiers = BTreeMap::new();
        for (name, value) in self.table(value, "a table of service tiers")? {
            let schedule = if value.get_ref().is_table() {
                Schedule { base: self.rates_like(value, &standard.base, "")?, above: Vec::new() }
            } else {
                let input = self.amount(value, PER_MILLION)?;
                let base = standard.base.own(Class::Input).filter(|base| *base > 0);
                let base = base.ok_or_else(|| {
                    self.mismatch(value, "a table of rates, because the row has no input price to scale by")
                })?;
                standard.scaled(input, base).ok_or_else(|| {
                    self.mismatch(
                        value,
                        "a table of rates, because the row's rates do not scale by this exactly",
                    )
                })?
            };
            tiers.insert(name.get_ref().to_lowercase(), schedule);
        }
        Ok(tiers)
    }

    fn peak(&self, value: &Spanned<DeValue<'_>>) -> Result<Peak, Error> {
        const HOURS: &str = "hours such as [\"01:00-04:00\"]";
        let mut peak = Peak { hours: Vec::new(), thousandths: 0 };
        for (key, value) in self.table(value, "a table with hours and times")? {
            match key.get_ref().as_ref() {
                "hours" => {
                    for span in self.array(value, HOURS)? {
                        let span_text = self.text(span, HOURS)?;
                        let ends = span_text
                            .split_once('-')
                            .and_then(|(from, to)| Some((minute(from)?, minute(to)?)));
                        let ends = ends.filter(|(from, to)| from < to);
                        peak.hours.push(ends.ok_or_else(|| self.mismatch(span, HOURS))?);
                    }
                }
                "times" => peak.thousandths = self.amount(value, 3)?,
                other => return Err(self.wrong(key.span(), "hours and times", &format!("the key {other}"))),
            }
        }
        if peak.hours.is_empty() || peak.thousandths == 0 {
            return Err(self.wrong(value.span(), "both hours and times", "one missing, empty or zero"));
        }
        Ok(peak)
    }
}

/// `HH:MM` to minutes of the day; `24:00` is the day's end.
fn minute(text: &str) -> Option<u32> {
    let (hour, minute) = text.trim().split_once(':')?;
    let number = |part: &str| if part.len() == 2 { part.parse::<u32>().ok() } else { None };
    let minute = number(hour)? * 60 + number(minute).filter(|minute| *minute < 60)?;
    (minute <= 24 * 60).then_some(minute)
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
