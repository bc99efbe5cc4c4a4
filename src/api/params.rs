//! Query parameters, read strictly: an unknown name, a name given twice or a value that cannot be is an
//! error that says what would be right. A filter that is silently ignored would answer another question.

use std::collections::BTreeMap;

use axum::extract::Query;
use http::Uri;
use utoipa::IntoParams;

use crate::{
    model::{
        Error, UnixNanos,
        call::CallStatus,
        filter::{CallFilter, Cursor, PageRequest},
    },
    report::figures,
};

/// The page size when none is asked for, and the largest.
pub(super) const DEFAULT_LIMIT: usize = 50;
pub(super) const MAX_LIMIT: usize = 1000;

/// Which calls: every filter that is set must hold. The names are those of `CallFilter`.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters to OpenAPI; `Params` reads them")]
pub(super) struct CallFilterParams {
    /// Experiment id or name.
    experiment: Option<String>,
    /// Run id, or name (any run of that name).
    run: Option<String>,
    session: Option<String>,
    /// The model that answered, or the one asked for where no response named any.
    model: Option<String>,
    provider: Option<String>,
    upstream: Option<String>,
    /// `chat`, `embeddings`, `text_completion`, …; `http` for plain HTTP.
    operation: Option<String>,
    status: Option<CallStatus>,
    user: Option<String>,
    tag: Option<String>,
    /// Trace id, 32 hex digits.
    trace: Option<String>,
    /// Started at or after: RFC 3339, a date, or an age such as `7d`, `12h`, `30m`.
    since: Option<String>,
    /// Started before: as `since`.
    until: Option<String>,
    /// Cost at least, decimal US dollars; a call of unknown cost does not match.
    min_cost: Option<String>,
    /// Duration at least: `250ms`, `1.5s`, `2m`.
    min_duration: Option<String>,
}

pub(super) const CALL_FILTER: [&str; 15] = [
    "experiment",
    "run",
    "session",
    "model",
    "provider",
    "upstream",
    "operation",
    "status",
    "user",
    "tag",
    "trace",
    "since",
    "until",
    "min_cost",
    "min_duration",
];

/// The parameters of one request, each named in `known`, each at most once, none empty.
#[derive(Debug)]
pub(super) struct Params {
    values: BTreeMap<String, String>,
}

impl Params {
    pub(super) fn read(uri: &Uri, known: &[&str]) -> Result<Self, Error> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| Error::invalid(format!("expected a query of name=value pairs: {error}")))?;
        let mut values = BTreeMap::new();
        for (name, value) in pairs {
            if !known.contains(&name.as_str()) {
                let hint = match nearest(&name, known.iter().copied()) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => format!("known here: {}", known.join(", ")),
                };
                let name: String = name.chars().take(80).collect();
                return Err(Error::invalid(format!("unknown parameter {name:?}; {hint}")));
            }
            if value.is_empty() {
                return Err(Error::invalid(format!(
                    "expected a value for {name:?}, found none; leave the parameter out to not ask for it"
                )));
            }
            if values.insert(name.clone(), value).is_some() {
                return Err(Error::invalid(format!("expected {name:?} at most once, found it twice")));
            }
        }
        Ok(Self { values })
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.values.get(name).cloned()
    }

    /// A value read by `parse`, whose error is told with the parameter's name.
    pub(super) fn parsed<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        self.get(name)
            .map(parse)
            .transpose()
            .map_err(|error| Error::new(error.code, format!("{name}: {}", error.message)))
    }

    pub(super) fn time(&self, name: &str, now: UnixNanos) -> Result<Option<UnixNanos>, Error> {
        self.parsed(name, |text| UnixNanos::parse(text, now))
    }

    pub(super) fn limit(&self) -> Result<usize, Error> {
        let limit = self.parsed("limit", |text| match text.parse::<usize>() {
            Ok(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
            _ => {
                Err(Error::invalid(format!("expected a whole number from 1 to {MAX_LIMIT}, found {text:?}")))
            }
        })?;
        Ok(limit.unwrap_or(DEFAULT_LIMIT))
    }

    pub(super) fn page(&self) -> Result<PageRequest, Error> {
        Ok(PageRequest { limit: self.limit()?, cursor: self.parsed("cursor", Cursor::decode)? })
    }

    pub(super) fn call_filter(&self, now: UnixNanos) -> Result<CallFilter, Error> {
        Ok(CallFilter {
            experiment: self.text("experiment"),
            run: self.text("run"),
            session: self.text("session"),
            model: self.text("model"),
            provider: self.text("provider"),
            upstream: self.text("upstream"),
            operation: self.text("operation"),
            status: self.parsed("status", |text| {
                CallStatus::parse(text).ok_or_else(|| {
                    Error::invalid(format!("expected ok, error, cancelled or interrupted, found {text:?}"))
                })
            })?,
            user: self.text("user"),
            tag: self.text("tag"),
            trace: self.parsed("trace", |text| text.to_ascii_lowercase().parse())?,
            since: self.time("since", now)?,
            until: self.time("until", now)?,
            min_cost: self.parsed("min_cost", figures::parse_usd)?,
            min_duration_ns: self.parsed("min_duration", figures::parse_duration_ns)?,
        })
    }
}

/// The known name closest to what was written, if any is close enough to be meant.
pub(super) fn nearest<'a>(found: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let found: Vec<char> = found.chars().take(128).flat_map(char::to_lowercase).collect();
    known
        .map(|name| (distance(&found, &name.chars().collect::<Vec<_>>()), name))
        .filter(|(distance, name)| *distance <= name.chars().count().max(found.len()) / 2)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Levenshtein's distance.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(b) {
            let replaced = diagonal + usize::from(from != to);
            diagonal = *cell;
            *cell = replaced.min(diagonal + 1).min(left + 1);
            left = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NanoUsd;

    fn read(query: &str) -> Result<Params, Error> {
        Params::read(&format!("/api/v1/calls?{query}").parse().unwrap(), &CALL_FILTER)
    }

    fn message(query: &str) -> String {
        match read(query).and_then(|params| params.call_filter(UnixNanos(0)).map(drop)) {
            Ok(()) => String::new(),
            Err(error) => error.message,
        }
    }

    #[test]
    fn filters_are_read_field_by_field() {
        let now = UnixNanos(30 * UnixNanos::DAY);
        let params = read(
            "experiment=a%20b&run=r&session=s&model=m&provider=p&upstream=u&operation=chat&status=error&user=x\
             &tag=t&trace=0AF7651916CD43DD8448EB211C80319C&since=7d&until=1970-01-29&min_cost=0.05&min_duration=1.5s",
        )
        .unwrap();
        let filter = params.call_filter(now).unwrap();
        assert_eq!(filter.experiment.as_deref(), Some("a b"));
        assert_eq!(filter.status, Some(CallStatus::Error));
        assert_eq!(filter.since, Some(UnixNanos(23 * UnixNanos::DAY)));
        assert_eq!(filter.until, Some(UnixNanos(28 * UnixNanos::DAY)));
        assert_eq!(filter.min_cost, Some(NanoUsd(50_000_000)));
        assert_eq!(filter.min_duration_ns, Some(1_500_000_000));
        assert_eq!(
            filter.trace.map(|id| id.to_string()).as_deref(),
            Some("0af7651916cd43dd8448eb211c80319c")
        );
    }

    #[test]
    fn wrong_parameters_say_what_would_be_right() {
        assert!(message("modle=x").contains("did you mean \"model\"?"), "{}", message("modle=x"));
        assert!(message("zzzzzzzzzz=x").contains("known here: experiment, run"));
        assert!(message("model=a&model=b").contains("at most once"));
        assert!(message("model=").contains("expected a value for \"model\""));
        assert!(message("status=bad").starts_with("status: expected ok, error"));
        assert!(message("since=yesterday").starts_with("since: expected a time"));
        assert!(message("min_cost=-1").starts_with("min_cost: expected an amount"));
        assert!(message("min_duration=soon").starts_with("min_duration: expected a duration"));
        assert!(message("trace=12").starts_with("trace: expected a trace id"));
    }

    #[test]
    fn distances_are_levenshteins() {
        let distance =
            |a: &str, b: &str| distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>());
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }
}
