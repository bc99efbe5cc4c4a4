//! One call, one row of `spans`: writing it, reading it, finding it by id.

use rusqlite::{Connection, OptionalExtension, Row, params, types::FromSql};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{contents::Interned, kinds, packing::Unpacker, payloads};
use crate::model::{
    CallId, Error, NanoUsd, SpanId, TraceId, UnixNanos,
    call::{Call, CallStatus, Dialect, Rules},
    record::{Outcome, Source},
    usage::{Usage, UsageSource},
};

/// The columns of `spans` that are a call's own, in the order in which `insert` binds and `decode` reads them.
macro_rules! columns {
    () => {
        "call_id, trace_id, span_id, parent_span_id, name, started_at, ended_at, experiment_id, run_id, session,
        experiment_rule, run_rule, session_rule, user, tags, metadata, upstream, provider, server_address, server_port,
        dialect, operation, request_model, response_model, streamed, method, target, peer, key_fingerprint, status,
        outcome, http_status, error_type, error_source, error_message, finish_reasons, response_id, request_id,
        retry_count, service_tier, tool_calls, input, cache_read, cache_write, cache_write_long, input_audio,
        input_image, output, reasoning, output_audio, output_image, web_searches, seconds, characters, search_units,
        reported_cost, usage_source, cost, price_id, first_byte_ns, first_token_ns, last_token_ns, chunks, sent_bytes, received_bytes, request_whole,
        response_whole, notes, meters, region, billed"
    };
}

const INSERT: &str = concat!(
    "INSERT INTO spans (",
    columns!(),
    ", duration_ns, kind) VALUES (
        ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,  ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,  ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
        ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,  ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,  ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
        ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,  ?, ?, ?)"
);
const INSERT_TAG: &str =
    "INSERT OR IGNORE INTO call_tags (tag, started_at, sequence, kind) VALUES (?1, ?2, ?3, ?4)";

/// Writes the row and its tags; returns its place in the order of storing.
pub(super) fn insert(connection: &Connection, interned: &mut Interned, call: &Call) -> Result<i64, Error> {
    let usage = &call.usage;
    let kind = kinds::of(connection, interned, call)?;
    connection.prepare_cached(INSERT)?.execute(params![
        call.id.0,
        call.trace_id.0,
        call.span_id.0,
        call.parent_span_id.map(|id| id.0),
        call.name,
        call.started_at.0,
        call.ended_at.0,
        call.experiment_id,
        call.run_id,
        call.session,
        call.rules.experiment,
        call.rules.run,
        call.rules.session,
        call.user,
        list(&call.tags)?,
        if call.metadata.is_empty() { None } else { Some(json(&call.metadata)?) },
        call.upstream,
        call.provider,
        call.server_address,
        call.server_port,
        call.dialect.as_str(),
        call.operation,
        call.request_model,
        call.response_model,
        call.streamed,
        call.method,
        call.target,
        call.peer,
        call.key_fingerprint,
        call.status.as_str(),
        call.outcome.as_str(),
        call.http_status,
        call.error_type,
        call.error_source.map(source_text),
        call.error_message,
        list(&call.finish_reasons)?,
        call.response_id,
        call.request_id,
        call.retry_count,
        call.service_tier,
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
        usage.web_searches.map(fit),
        usage.seconds.map(fit),
        usage.characters.map(fit),
        usage.search_units.map(fit),
        usage.reported_cost_nano_usd,
        call.usage_source.map(UsageSource::as_str),
        call.cost.map(|cost| cost.0),
        call.price_id,
        call.first_byte_ns,
        call.first_token_ns,
        call.last_token_ns,
        fit(call.chunks),
        fit(call.sent_bytes),
        fit(call.received_bytes),
        call.request_whole,
        call.response_whole,
        list(&call.notes)?,
        if usage.meters.is_empty() { None } else { Some(json(&usage.meters)?) },
        call.region,
        call.billed.map(|billed| billed.0),
        call.duration_ns(),
        kind,
    ])?;
    let sequence = connection.last_insert_rowid();
    for tag in &call.tags {
        connection.prepare_cached(INSERT_TAG)?.execute(params![tag, call.started_at.0, sequence, kind])?;
    }
    Ok(sequence)
}

/// SQLite's integers end at 2⁶³-1; a count beyond that is nonsense that must not lose the call.
fn fit(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn list(values: &[String]) -> Result<Option<String>, Error> {
    if values.is_empty() { Ok(None) } else { json(values).map(Some) }
}

fn json<T: Serialize + ?Sized>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value)
        .map_err(|error| Error::internal(format!("expected a value that JSON can hold, found: {error}")))
}

const BY_SEQUENCE: &str = concat!("SELECT ", columns!(), " FROM spans WHERE sequence = ?1");

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
    let mut call = Call {
        id: CallId(row.get()?),
        trace_id: TraceId(row.get()?),
        span_id: SpanId(row.get()?),
        parent_span_id: row.get::<Option<_>>()?.map(SpanId),
        name: row.get()?,
        started_at: UnixNanos(row.get()?),
        ended_at: UnixNanos(row.get()?),
        experiment_id: row.get()?,
        run_id: row.get()?,
        session: row.get()?,
        rules: Rules { experiment: row.get()?, run: row.get()?, session: row.get()? },
        user: row.get()?,
        tags: row.json()?,
        metadata: row.json::<Map<String, Value>>()?,
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
        target: row.get()?,
        peer: row.get()?,
        key_fingerprint: row.get()?,
        status: row.word(CallStatus::parse)?,
        outcome: row.word(Outcome::parse)?,
        http_status: row.get()?,
        error_type: row.get()?,
        error_source: row.optional_word(source)?,
        error_message: row.get()?,
        finish_reasons: row.json()?,
        response_id: row.get()?,
        request_id: row.get()?,
        retry_count: row.get()?,
        service_tier: row.get()?,
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
            web_searches: row.get()?,
            seconds: row.get()?,
            characters: row.get()?,
            search_units: row.get()?,
            reported_cost_nano_usd: row.get()?,
            ..Usage::default()
        },
        usage_source: row.optional_word(usage_source)?,
        cost: row.get::<Option<_>>()?.map(NanoUsd),
        price_id: row.get()?,
        first_byte_ns: row.get()?,
        first_token_ns: row.get()?,
        last_token_ns: row.get()?,
        chunks: row.get()?,
        sent_bytes: row.get()?,
        received_bytes: row.get()?,
        request_whole: row.get()?,
        response_whole: row.get()?,
        notes: row.json()?,
        region: None,
        billed: None,
        request_headers: Default::default(),
        response_headers: Default::default(),
    };
    call.usage.meters = row.json()?;
    call.region = row.get()?;
    call.billed = row.get::<Option<_>>()?.map(NanoUsd);
    Ok(call)
}

fn source_text(source: Source) -> &'static str {
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
