//! One call, one row of `spans`: writing it, reading it, finding it by id.

use std::{borrow::Cow, collections::BTreeMap};

use rusqlite::{Connection, OptionalExtension, Row, params, types::FromSql};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{
    contents::Interned,
    ids::{self, Id},
    packing::Unpacker,
    payloads, profiles,
};
use crate::model::{
    CallId, Error, NanoUsd, SpanId, TraceId, UnixNanos,
    call::{Call, CallStatus, Dialect, Rules},
    record::{Outcome, Source},
    usage::{Meter, Usage, UsageSource},
};

const INSERT: &str = "
    INSERT INTO spans (call_id, trace_id, span_id, parent_span_id, started_at, duration_ns, kind, profile, experiment_id,
        run_id, session, user, peer, response_id, request_id, tool_calls, input, cache_read, cache_write,
        cache_write_long, input_audio, input_image, output, reasoning, output_audio, output_image, cost, billed,
        first_byte_ns, first_token_ns, last_token_ns, chunks, sent_bytes, received_bytes, rest)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?,  ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,  ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
        ?, ?, ?, ?, ?)";
const INSERT_TAG: &str =
    "INSERT OR IGNORE INTO call_tags (tag, started_at, sequence, kind) VALUES (?1, ?2, ?3, ?4)";

/// Writes the row and its tags; returns its place in the order of storing.
pub(super) fn insert(connection: &Connection, interned: &mut Interned, call: &Call) -> Result<i64, Error> {
    let usage = &call.usage;
    let profile = profiles::of(connection, interned, call)?;
    connection.prepare_cached(INSERT)?.execute(params![
        call.id.0,
        // Where the trace began here, and where the caller left the choice of the span's id, they follow from the
        // call's id.
        Some(call.trace_id.0).filter(|trace| *trace != call.id.0),
        Some(call.span_id).filter(|span| *span != SpanId::of(call.id)).map(|span| span.0),
        call.parent_span_id.map(|id| id.0),
        call.started_at.0,
        call.duration_ns(),
        profile.kind,
        profile.id,
        call.experiment_id,
        call.run_id,
        call.session,
        call.user,
        call.peer.as_deref().map(Id),
        call.response_id.as_deref().map(Id),
        call.request_id.as_deref().map(Id),
        call.tool_calls,
        usage.input.map(fit),
        usage.cache_read.map(fit),
        usage.cache_write.map(fit),
        usage.cache_write_long.map(fit),
        usage.input_audio.map(fit),
        usage.input_image.map(fit),
        usage.output.map(fit),
        usage.reasoning.map(fit),
        usage.output_audio.map(fit),
        usage.output_image.map(fit),
        call.cost.map(|cost| cost.0),
        call.billed.map(|billed| billed.0),
        call.first_byte_ns,
        call.first_token_ns,
        call.last_token_ns,
        fit(call.chunks),
        fit(call.sent_bytes),
        fit(call.received_bytes),
        rest(call)?,
    ])?;
    let sequence = connection.last_insert_rowid();
    for tag in &call.tags {
        let tagged = params![tag, call.started_at.0, sequence, profile.kind];
        connection.prepare_cached(INSERT_TAG)?.execute(tagged)?;
    }
    Ok(sequence)
}

/// What few calls have, as JSON beside the columns; the first three where they are one call's own.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Rest<'c> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Cow<'c, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Cow<'c, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_type: Option<Cow<'c, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<Cow<'c, str>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tags: Cow<'c, [String]>,
    #[serde(skip_serializing_if = "Map::<String, Value>::is_empty")]
    metadata: Cow<'c, Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    web_searches: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    characters: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    search_units: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reported_cost: Option<i64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    meters: BTreeMap<Meter, u64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    notes: Cow<'c, [String]>,
}

fn rest(call: &Call) -> Result<Option<String>, Error> {
    let usage = &call.usage;
    let own = |text: &'_ str, shared: Option<&str>| shared.is_none().then(|| Cow::Owned(text.to_owned()));
    let rest = Rest {
        name: own(&call.name, profiles::name(call)),
        target: own(&call.target, profiles::target(call)),
        error_type: call.error_type.as_deref().and_then(|error| own(error, profiles::error_type(call))),
        error_message: call.error_message.as_deref().map(Cow::Borrowed),
        tags: Cow::Borrowed(&call.tags),
        metadata: Cow::Borrowed(&call.metadata),
        web_searches: usage.web_searches,
        seconds: usage.seconds,
        characters: usage.characters,
        search_units: usage.search_units,
        reported_cost: usage.reported_cost_nano_usd,
        meters: usage.meters.clone(),
        notes: Cow::Borrowed(&call.notes),
    };
    let json = json(&rest)?;
    Ok((json != "{}").then_some(json))
}

/// SQLite's integers end at 2⁶³-1; a count beyond that is nonsense that must not lose the call.
fn fit(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(super) fn list(values: &[String]) -> Result<Option<String>, Error> {
    if values.is_empty() { Ok(None) } else { json(values).map(Some) }
}

fn json<T: Serialize + ?Sized>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value)
        .map_err(|error| Error::internal(format!("expected a value that JSON can hold, found: {error}")))
}

/// In the order in which `decode` reads them.
const BY_SEQUENCE: &str = "
    SELECT s.rest, s.call_id, s.trace_id, s.span_id, s.parent_span_id, p.name, s.started_at, s.duration_ns,
        s.experiment_id, s.run_id, s.session, p.experiment_rule, p.run_rule, p.session_rule, s.user, k.upstream,
        k.provider, p.server_address, p.server_port, p.dialect, k.operation, p.request_model, p.response_model,
        p.streamed, p.method, p.target, s.peer, p.key_fingerprint, k.status, p.outcome, p.http_status, p.error_type,
        p.error_source, p.finish_reasons, s.response_id, s.request_id, p.retry_count, p.service_tier, p.region, s.tool_calls,
        s.input, s.cache_read, s.cache_write, s.cache_write_long, s.input_audio, s.input_image, s.output, s.reasoning,
        s.output_audio, s.output_image, p.usage_source, s.cost, s.billed, p.price_id, s.first_byte_ns,
        s.first_token_ns, s.last_token_ns, s.chunks, s.sent_bytes, s.received_bytes, p.request_whole, p.response_whole
    FROM spans AS s LEFT JOIN profiles AS p ON p.id = s.profile LEFT JOIN kinds AS k ON k.id = s.kind
    WHERE s.sequence = ?1";

/// A call with its heads.
pub(super) fn by_sequence(
    connection: &Connection,
    unpacker: &mut Unpacker,
    sequence: i64,
) -> Result<Option<Call>, Error> {
    let mut statement = connection.prepare_cached(BY_SEQUENCE)?;
    let mut rows = statement.query([sequence])?;
    let Some(call) = rows.next()?.map(decode).transpose()? else { return Ok(None) };
    payloads::with_heads(connection, unpacker, sequence, call).map(Some)
}

fn decode(row: &Row<'_>) -> Result<Call, Error> {
    let mut row = Columns { row, next: 0 };
    let rest: Rest<'static> = row.json()?;
    let id = CallId(row.get()?);
    let trace_id = row.get::<Option<_>>()?.map_or(TraceId(id.0), TraceId);
    let span_id = row.get::<Option<_>>()?.map_or_else(|| SpanId::of(id), SpanId);
    let parent_span_id = row.get::<Option<_>>()?.map(SpanId);
    let name = row.own(rest.name)?.unwrap_or_default();
    let started_at = UnixNanos(row.get()?);
    Ok(Call {
        id,
        trace_id,
        span_id,
        parent_span_id,
        name,
        started_at,
        ended_at: UnixNanos(started_at.0.saturating_add(row.get()?)),
        experiment_id: row.get()?,
        run_id: row.get()?,
        session: row.get()?,
        rules: Rules { experiment: row.get()?, run: row.get()?, session: row.get()? },
        user: row.get()?,
        tags: rest.tags.into_owned(),
        metadata: rest.metadata.into_owned(),
        upstream: row.get()?,
        provider: row.get()?,
        server_address: row.get()?,
        server_port: row.get()?,
        dialect: row.word(Dialect::parse)?,
        operation: row.get()?,
        request_model: row.get()?,
        response_model: row.get()?,
        streamed: row.get()?,
        method: row.get()?,
        target: row.own(rest.target)?.unwrap_or_default(),
        peer: row.id()?,
        key_fingerprint: row.get()?,
        status: row.word(CallStatus::parse)?,
        outcome: row.word(Outcome::parse)?,
        http_status: row.get()?,
        error_type: row.own(rest.error_type)?,
        error_source: row.optional_word(source)?,
        error_message: rest.error_message.map(Cow::into_owned),
        finish_reasons: row.json()?,
        response_id: row.id()?,
        request_id: row.id()?,
        retry_count: row.get()?,
        service_tier: row.get()?,
        region: row.get()?,
        tool_calls: row.get()?,
        usage: Usage {
            input: row.get()?,
            cache_read: row.get()?,
            cache_write: row.get()?,
            cache_write_long: row.get()?,
            input_audio: row.get()?,
            input_image: row.get()?,
            output: row.get()?,
            reasoning: row.get()?,
            output_audio: row.get()?,
            output_image: row.get()?,
            web_searches: rest.web_searches,
            seconds: rest.seconds,
            characters: rest.characters,
            search_units: rest.search_units,
            meters: rest.meters,
            reported_cost_nano_usd: rest.reported_cost,
        },
        usage_source: row.optional_word(usage_source)?,
        cost: row.get::<Option<_>>()?.map(NanoUsd),
        billed: row.get::<Option<_>>()?.map(NanoUsd),
        price_id: row.get()?,
        first_byte_ns: row.get()?,
        first_token_ns: row.get()?,
        last_token_ns: row.get()?,
        chunks: row.get()?,
        sent_bytes: row.get()?,
        received_bytes: row.get()?,
        request_whole: row.get()?,
        response_whole: row.get()?,
        notes: rest.notes.into_owned(),
        request_headers: Default::default(),
        response_headers: Default::default(),
    })
}

pub(super) fn source_text(source: Source) -> &'static str {
    match source {
        Source::Client => "client",
        Source::Upstream => "upstream",
        Source::Internal => "internal",
    }
}

fn source(text: &str) -> Option<Source> {
    [Source::Client, Source::Upstream, Source::Internal]
        .into_iter()
        .find(|source| source_text(*source) == text)
}

fn usage_source(text: &str) -> Option<UsageSource> {
    [UsageSource::Reported, UsageSource::Estimated].into_iter().find(|source| source.as_str() == text)
}

/// Reads a row's columns one after the other.
struct Columns<'r> {
    row: &'r Row<'r>,
    next: usize,
}

impl Columns<'_> {
    fn get<T: FromSql>(&mut self) -> Result<T, Error> {
        self.next += 1;
        Ok(self.row.get(self.next - 1)?)
    }

    /// A JSON column; NULL is the empty value.
    fn json<T: DeserializeOwned + Default>(&mut self) -> Result<T, Error> {
        let Some(text) = self.get::<Option<String>>()? else { return Ok(T::default()) };
        serde_json::from_str(&text).map_err(|error| {
            Error::internal(format!("expected JSON in a call's row, found {text:?}: {error}"))
        })
    }

    fn id(&mut self) -> Result<Option<String>, Error> {
        Ok(self.get::<Option<ids::Read>>()?.map(|id| id.0))
    }

    /// The profile's text, or where it has none the call's own.
    fn own(&mut self, own: Option<Cow<'_, str>>) -> Result<Option<String>, Error> {
        Ok(self.get::<Option<String>>()?.or(own.map(Cow::into_owned)))
    }

    fn word<T>(&mut self, parse: impl Fn(&str) -> Option<T>) -> Result<T, Error> {
        self.optional_word(parse)?
            .ok_or_else(|| Error::internal("expected a word in a call's row, found none".to_owned()))
    }

    fn optional_word<T>(&mut self, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Error> {
        let Some(text) = self.get::<Option<String>>()? else { return Ok(None) };
        match parse(&text) {
            Some(value) => Ok(Some(value)),
            None => Err(Error::internal(format!("expected a known word in a call's row, found {text:?}"))),
        }
    }
}

const SEQUENCE: &str = "SELECT sequence FROM spans WHERE call_id = ?1";

pub(super) fn sequence(connection: &Connection, call: CallId) -> Result<Option<i64>, Error> {
    Ok(connection.prepare_cached(SEQUENCE)?.query_row([call.0], |row| row.get(0)).optional()?)
}

const BY_SPAN: &str = "SELECT count(*), min(sequence) FROM spans WHERE span_id = ?1";
const BY_RANGE: &str = "SELECT count(*), min(sequence) FROM spans WHERE call_id BETWEEN ?1 AND ?2";

const FIRST: &str = "SELECT min(call_id) FROM spans";
const LAST: &str = "SELECT max(call_id) FROM spans";
const WITHIN: &str = "
    SELECT sequence, call_id FROM spans WHERE call_id BETWEEN ?1 AND ?2 AND span_id IS NULL";

/// Calls whose span id follows from their own: how many, and one of them. A span id has the millisecond but for its
/// highest bits, of which a year has eight.
fn by_own_span(connection: &Connection, span: SpanId) -> Result<(i64, Option<i64>), Error> {
    let end = |statement: &str| -> Result<u16, Error> {
        let id: Option<[u8; 16]> = connection.prepare_cached(statement)?.query_row([], |row| row.get(0))?;
        let [high, low, ..] = id.unwrap_or_default();
        Ok(u16::from_be_bytes([high, low]))
    };
    let mut found = (0, None);
    let mut within = connection.prepare_cached(WITHIN)?;
    for high in end(FIRST)?..=end(LAST)? {
        let (mut low, mut last) = ([0; 16], [0xff; 16]);
        for bound in [&mut low, &mut last] {
            let (time, _) = bound.split_at_mut(6);
            let (highest, rest) = time.split_at_mut(2);
            highest.copy_from_slice(&high.to_be_bytes());
            rest.copy_from_slice(span.0.split_at(4).0);
        }
        let mut rows = within.query([low, last])?;
        while let Some(row) = rows.next()? {
            if SpanId::of(CallId(row.get(1)?)) == span {
                found = (found.0 + 1, found.1.or(Some(row.get(0)?)));
            }
        }
    }
    Ok(found)
}

/// The fewest digits of a call id that are taken as a prefix.
const SHORTEST_PREFIX: usize = 6;

/// By call id, by span id, or by a unique prefix of the call id.
pub(super) fn find(connection: &Connection, id: &str) -> Result<Call, Error> {
    let digits: String = id.chars().filter(|digit| *digit != '-').collect();
    if digits.len() < SHORTEST_PREFIX
        || digits.len() > 32
        || !digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    {
        return Err(Error::invalid(format!(
            "expected a call id of 32 hex digits, the first {SHORTEST_PREFIX} or more of them, or a span id of 16, \
             found {:?}",
            id.chars().take(80).collect::<String>()
        )));
    }
    let mut found = (0i64, None::<i64>);
    if let Ok(span) = digits.parse::<SpanId>() {
        found =
            connection.prepare_cached(BY_SPAN)?.query_row([span.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if found.0 == 0 {
            found = by_own_span(connection, span)?;
        }
    }
    if found.0 == 0 {
        let bound = |fill: char| -> Result<CallId, Error> {
            let padding = std::iter::repeat_n(fill, 32 - digits.len());
            digits.chars().chain(padding).collect::<String>().parse()
        };
        let (low, high) = (bound('0')?, bound('f')?);
        found = connection
            .prepare_cached(BY_RANGE)?
            .query_row([low.0, high.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
    }
    match found {
        (0 | 1, Some(sequence)) => by_sequence(connection, &mut Unpacker::default(), sequence)?,
        (0, _) => None,
        (many, _) => {
            return Err(Error::conflict(format!(
                "expected {id:?} to name one call, found {many}: give more digits"
            )));
        }
    }
    .ok_or_else(|| Error::not_found(format!("expected a stored call, found none with id {id:?}")))
}
