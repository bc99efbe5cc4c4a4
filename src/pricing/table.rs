//! The price file's text to rows. Every error names the file, the line, the row, what was expected and
//! what was found; nothing in the file is skipped over.

use std::collections::BTreeMap;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    fees::{self, FEMTO_DECIMALS, Fees},
    place::{Place, line_of},
    rates::{Class, PER_MILLION, Rates, Schedule},
    rules::{FACTOR_DECIMALS, Rule},
};
use crate::model::{Error, Glob, UnixNanos};

/// One price of one model from one date on.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) provider: String,
    pub(super) model: String,
    pub(super) aliases: Vec<String>,
    pub(super) valid_from: Option<UnixNanos>,
    pub(super) standard: Schedule,
    pub(super) service_tiers: BTreeMap<String, Schedule>,
    /// The row's own, and the provider's where it has none.
    pub(super) fees: Fees,
    /// Thousandths by region; `*` stands for every other one.
    pub(super) regions: BTreeMap<String, i128>,
    /// Prices of some hours of the day; the first that holds decides.
    pub(super) hours: Vec<Hours>,
    /// Where the price was read, and when.
    pub(super) source: Option<String>,
    pub(super) checked: Option<String>,
}

/// Hours of the day at which tokens have another price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hours {
    /// `[from, to)` in minutes of the UTC day.
    spans: Vec<(u32, u32)>,
    by: HourPrice,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HourPrice {
    /// Every rate times this, in thousandths.
    Times(i128),
    /// These rates instead.
    Rates(Box<Rates>),
}

impl Hours {
    /// `01:00-04:00, 06:00-10:00` and the price.
    pub(super) fn shown(&self) -> (String, &HourPrice) {
        let time = |minute: u32| format!("{:02}:{:02}", minute / 60, minute % 60);
        let spans: Vec<_> =
            self.spans.iter().map(|(from, to)| format!("{}-{}", time(*from), time(*to))).collect();
        (spans.join(", "), &self.by)
    }
}

impl Row {
    /// What another price holds at this time of the day.
    pub(super) fn hour_price(&self, at: UnixNanos) -> Option<&HourPrice> {
        let minute = at.0.rem_euclid(UnixNanos::DAY) / (60 * UnixNanos::SECOND);
        let within = |(from, to): &(u32, u32)| (i64::from(*from)..i64::from(*to)).contains(&minute);
        self.hours.iter().find(|hours| hours.spans.iter().any(within)).map(|hours| &hours.by)
    }

    /// Nothing but requests is billed, so no count need be known.
    pub(super) fn is_by_request(&self) -> bool {
        self.standard.base.is_empty() && self.fees.is_by_request()
    }

    /// The factor of a region in thousandths; `None` where the price depends on it and it is not known.
    pub(super) fn region_factor(&self, region: Option<&str>, cloud: Option<&str>) -> Option<i128> {
        if let Some(cloud) = cloud.filter(|_| region.is_none_or(|region| region != "global")) {
            // Nothing says whether it was the global profile.
            let own = self.regions.get(&format!("{cloud}/{}", region?));
            return own.or_else(|| self.regions.get(cloud)).copied();
        }
        let other = self.regions.get("*").copied();
        match region {
            Some(region) => Some(self.regions.get(region).copied().or(other).unwrap_or(1_000)),
            None if other.is_some_and(|factor| factor != 1_000) => None,
            None => Some(1_000),
        }
    }
}

/// A price file, read.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) version: Option<String>,
    pub(super) rows: Vec<Row>,
    pub(super) rules: Vec<Rule>,
    /// Names of deployments and the like, and the models that they stand for.
    pub(super) names: Vec<(String, String)>,
}

const ROW_KEYS: &str = "provider, model, aliases, valid_from, input, cache_read, cache_read_audio, \
                        cache_read_image, cache_write, cache_write_long, output, reasoning, input_audio, \
                        input_image, output_audio, output_image, request, web_search, file_search, \
                        code_session, search_source, search_unit, image, second, second_large, minute, \
                        least_seconds, character, page, above, service_tiers, regions, peak, off_peak, source, checked";

/// Reads a whole file. `provider` is whose rows they are where a row does not say.
pub(super) fn parse(text: &str, file: &str, provider: Option<&str>) -> Result<Parsed, Error> {
    let document = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        Error::invalid(format!("{file}:{line}: not TOML: {}", error.message().replace('\n', ", ")))
    })?;
    let at = Place { file, text, row: String::new() };
    let mut parsed = Parsed::default();
    let mut common = Common { provider, ..Common::default() };
    for (key, value) in document.get_ref() {
        match key.get_ref().as_ref() {
            "version" => {
                parsed.version = Some(at.text(value, "a version such as \"2026-11-23\"")?.to_owned());
            }
            "source" => common.source = Some(at.text(value, "where the prices come from")?.to_owned()),
            "checked" => common.checked = Some(at.date(value)?.date()),
            "fees" => {
                for (name, fees) in at.table(value, "tables of fees by provider")? {
                    common.fees.insert(super::naming::provider(name.get_ref()), at.fees(fees)?);
                }
            }
            "names" => {
                for (name, model) in at.table(value, "a table of names and their models")? {
                    let model = at.text(model, "a model name")?.to_owned();
                    parsed.names.push((name.get_ref().to_string(), model));
                }
            }
            "rule" => {
                for (number, rule) in at.array(value, "[[rule]] tables")?.enumerate() {
                    let at = Place { row: format!("rule {}: ", number + 1), ..at };
                    parsed.rules.push(at.rule(rule)?);
                }
            }
            "price" => {}
            _ => {
                return Err(at.wrong(
                    key.span(),
                    "version, source, checked, [fees], [names], [[rule]] or [[price]]",
                    &format!("the key {}", key.get_ref()),
                ));
            }
        }
    }
    // Last, because the rows build on what holds for all of them.
    if let Some(rows) = document.get_ref().get("price") {
        for (number, row) in at.array(rows, "[[price]] tables")?.enumerate() {
            parsed.rows.push(parse_row(&at, &common, number + 1, row)?);
        }
    }
    Ok(parsed)
}

/// What a file says for all its rows.
#[derive(Debug, Default)]
struct Common<'a> {
    provider: Option<&'a str>,
    source: Option<String>,
    checked: Option<String>,
    fees: BTreeMap<String, Fees>,
}

fn parse_row(
    outer: &Place<'_>,
    common: &Common<'_>,
    number: usize,
    value: &Spanned<DeValue<'_>>,
) -> Result<Row, Error> {
    let mut at = Place { row: format!("price row {number}: "), ..*outer };
    let table = at.table(value, "a [[price]] table")?;
    let named = |at: &Place<'_>, key: &str| match table.get(key) {
        Some(value) => at.text(value, &format!("{key} as text")).map(str::to_lowercase),
        None => Err(at.wrong(value.span(), &format!("the key {key}"), "none")),
    };
    let provider = match (common.provider, table.get("provider")) {
        (Some(provider), None) => provider.to_owned(),
        _ => named(&at, "provider")?,
    };
    let model = named(&at, "model")?;
    at.row = format!("price row {number} ({provider}/{model}): ");

    let mut row = Row {
        provider: super::naming::provider(&provider),
        model,
        aliases: Vec::new(),
        valid_from: None,
        standard: Schedule::default(),
        service_tiers: BTreeMap::new(),
        fees: Fees::default(),
        regions: BTreeMap::new(),
        hours: Vec::new(),
        source: common.source.clone(),
        checked: common.checked.clone(),
    };
    for (key, value) in table {
        match key.get_ref().as_ref() {
            "provider" | "model" => {}
            // These build on the rates, so they are read when all rates are known.
            "above" | "service_tiers" | "peak" | "off_peak" => {}
            "aliases" => {
                for alias in at.array(value, "a list of model names")? {
                    row.aliases.push(at.text(alias, "a model name")?.to_lowercase());
                }
            }
            "least_seconds" => {
                let least = value.get_ref().as_integer().and_then(|number| number.as_str().parse().ok());
                let least = least.ok_or_else(|| at.mismatch(value, "a whole number of seconds"))?;
                row.fees.least_seconds(least);
            }
            "valid_from" => row.valid_from = Some(at.date(value)?),
            "regions" => row.regions = at.regions(value)?,
            "source" => row.source = Some(at.text(value, "where the price comes from")?.to_owned()),
            "checked" => row.checked = Some(at.date(value)?.date()),
            rate => match (Class::from_key(rate), fees::meter(rate)) {
                (Some(class), _) => row.standard.base.set(class, at.amount(value, PER_MILLION)?),
                (None, Some((meter, units))) => {
                    row.fees.set(meter, at.amount(value, FEMTO_DECIMALS)?, units);
                }
                (None, None) => {
                    return Err(at.wrong(
                        key.span(),
                        &format!("one of {ROW_KEYS}"),
                        &format!("the key {rate}"),
                    ));
                }
            },
        }
    }
    if row.standard.base.is_empty() && row.fees.is_empty() {
        return Err(at.wrong(value.span(), "at least one price, such as input = 2.50", "none"));
    }
    if let Some(value) = table.get("above") {
        row.standard.above = at.above(value, &row.standard.base)?;
    }
    if let Some(value) = table.get("service_tiers") {
        row.service_tiers = at.service_tiers(value, &row.standard)?;
    }
    for key in ["peak", "off_peak"] {
        if let Some(value) = table.get(key) {
            row.hours.push(at.hours(value, &row.standard.base)?);
        }
    }
    if let Some(fees) = common.fees.get(&row.provider) {
        row.fees = row.fees.or(fees);
    }
    Ok(row)
}

impl Place<'_> {
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

    fn hours(&self, value: &Spanned<DeValue<'_>>, base: &Rates) -> Result<Hours, Error> {
        const HOURS: &str = "hours such as [\"01:00-04:00\"]";
        let mut spans = Vec::new();
        let mut times = None;
        let table = self.table(value, "a table with hours and times, or hours and rates")?;
        if let Some(hours) = table.get("hours") {
            for span in self.array(hours, HOURS)? {
                let text = self.text(span, HOURS)?;
                let ends = text.split_once('-').and_then(|(from, to)| Some((minute(from)?, minute(to)?)));
                let ends = ends.filter(|(from, to)| from < to);
                spans.push(ends.ok_or_else(|| self.mismatch(span, HOURS))?);
            }
        }
        if let Some(value) = table.get("times") {
            times = Some(self.amount(value, 3)?);
            let other = table.keys().find(|key| !matches!(key.get_ref().as_ref(), "hours" | "times"));
            if let Some(other) = other {
                let found = format!("the key {}", other.get_ref());
                return Err(self.wrong(other.span(), "hours and times", &found));
            }
        }
        if spans.is_empty() || times == Some(0) {
            return Err(self.wrong(value.span(), "both hours and times", "one missing, empty or zero"));
        }
        let by = match times {
            Some(times) => HourPrice::Times(times),
            None if table.len() > 1 => HourPrice::Rates(Box::new(self.rates_like(value, base, "hours")?)),
            None => {
                return Err(self.wrong(value.span(), "both hours and times", "one missing, empty or zero"));
            }
        };
        Ok(Hours { spans, by })
    }

    fn fees(&self, value: &Spanned<DeValue<'_>>) -> Result<Fees, Error> {
        let mut fees = Fees::default();
        for (key, amount) in self.table(value, "a table of fees")? {
            let (meter, units) = fees::meter(key.get_ref()).ok_or_else(|| {
                self.wrong(key.span(), "a fee such as file_search", &format!("the key {}", key.get_ref()))
            })?;
            fees.set(meter, self.amount(amount, FEMTO_DECIMALS)?, units);
        }
        Ok(fees)
    }

    fn regions(&self, value: &Spanned<DeValue<'_>>) -> Result<BTreeMap<String, i128>, Error> {
        const EXPECTED: &str = "a table of factors by region, such as { eu = 1.1, \"*\" = 1 }";
        let mut regions = BTreeMap::new();
        for (name, factor) in self.table(value, EXPECTED)? {
            regions.insert(name.get_ref().to_lowercase(), self.amount(factor, 3)?);
        }
        Ok(regions)
    }

    fn rule(&self, value: &Spanned<DeValue<'_>>) -> Result<Rule, Error> {
        const KEYS: &str = "name, provider, upstream, model, experiment or factor";
        let mut rule = Rule {
            name: String::new(),
            provider: None,
            upstream: None,
            model: None,
            experiment: None,
            factor: -1,
        };
        for (key, value) in self.table(value, "a [[rule]] table")? {
            let glob = || Ok::<_, Error>(Some(Glob::new(self.text(value, "a name or a pattern")?)));
            match key.get_ref().as_ref() {
                "name" => self.text(value, "the rule's name")?.clone_into(&mut rule.name),
                "provider" => rule.provider = glob()?,
                "upstream" => rule.upstream = glob()?,
                "model" => rule.model = glob()?,
                "experiment" => rule.experiment = glob()?,
                "factor" => rule.factor = self.amount(value, FACTOR_DECIMALS)?,
                other => return Err(self.wrong(key.span(), KEYS, &format!("the key {other}"))),
            }
        }
        if rule.name.is_empty() || rule.name.contains('*') || rule.factor < 0 {
            let expected = "a name (without *) and a factor, such as 0.85 for a discount of 15 %";
            return Err(self.wrong(value.span(), expected, "one missing"));
        }
        Ok(rule)
    }
}

/// `HH:MM` to minutes of the day; `24:00` is the day's end.
fn minute(text: &str) -> Option<u32> {
    let (hour, minute) = text.trim().split_once(':')?;
    let number = |part: &str| if part.len() == 2 { part.parse::<u32>().ok() } else { None };
    let minute = number(hour)? * 60 + number(minute).filter(|minute| *minute < 60)?;
    (minute <= 24 * 60).then_some(minute)
}
