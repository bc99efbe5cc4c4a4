//! What calls brought in: read from the store for the index, and found again for what leaves it.

use std::collections::{HashMap, hash_map::Entry};

use rusqlite::{Connection, OptionalExtension};

use super::{
    Memory,
    update::{self, TextHash},
};
use crate::{
    model::{
        Error, UnixNanos,
        call::{Call, Dialect},
        content::StoredBody,
        error::sound,
        exchange::Exchange,
        record::Outcome,
    },
    store::{Side, calls, contents, packing::Unpacker, payloads},
    wire::{self, CallReader, Limits},
};

/// Bytes of bodies that are read before they are indexed.
const READ_TOGETHER: usize = 4 << 20;

/// Where in a call a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    /// A message of the conversation.
    Content(i64),
    /// The request beside it: instructions, or all of a request without a conversation.
    Request,
    Response,
}

impl Origin {
    pub(super) fn number(self) -> i64 {
        match self {
            Self::Content(id) => id,
            Self::Request => 0,
            Self::Response => -1,
        }
    }

    pub(super) fn of(number: i64) -> Self {
        match number {
            -1 => Self::Response,
            0 => Self::Request,
            id => Self::Content(id),
        }
    }
}

/// A call and what it brought in.
#[derive(Debug, Clone)]
pub(super) struct Spoken {
    pub(super) sequence: i64,
    /// Something of it cannot be read, so that it is missing here.
    pub(super) damaged: bool,
    call: Option<Call>,
    /// Messages that its place had not seen; without bytes where the text is known already.
    messages: Vec<(i64, Option<Vec<u8>>)>,
    /// The request without its conversation and tools.
    rest: Vec<u8>,
    response: StoredBody,
}

/// A text and where it was said.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub(super) sequence: i64,
    pub(super) experiment_id: String,
    pub(super) run_id: String,
    pub(super) session: String,
    pub(super) origin: Origin,
    /// `None` where the content's text is known already.
    pub(super) text: Option<String>,
}

impl Spoken {
    /// The texts of the call, decoded.
    pub(super) fn heard(&self) -> Vec<Heard> {
        let Some(call) = &self.call else { return Vec::new() };
        let one = |origin, text: Option<String>| Heard {
            sequence: self.sequence,
            experiment_id: call.experiment_id.clone(),
            run_id: call.run_id.clone().unwrap_or_default(),
            session: call.session.clone().unwrap_or_default(),
            origin,
            text,
        };
        let mut heard = Vec::new();
        for (id, bytes) in &self.messages {
            let text = bytes.as_ref().map(|bytes| message_text(call.dialect, bytes));
            heard.push(one(Origin::Content(*id), text));
        }
        for (origin, text) in beside(call, &self.rest, &self.response) {
            heard.push(one(origin, Some(text)));
        }
        heard
    }
}

fn message_text(dialect: Dialect, bytes: &[u8]) -> String {
    wire::message(dialect, bytes).map(|message| wire::words(&message.parts)).unwrap_or_default()
}

/// The texts of a call that are not in its conversation.
fn beside(call: &Call, rest: &[u8], response: &StoredBody) -> Vec<(Origin, String)> {
    let exchange = decode(call, rest, response);
    let mut texts = Vec::new();
    let instructions = wire::words(&exchange.request.system_instructions);
    let messages = exchange.request.messages.iter().map(|message| wire::words(&message.parts));
    texts.extend(std::iter::once(instructions).chain(messages).map(|text| (Origin::Request, text)));
    let choices = exchange.response.choices.iter().map(|choice| wire::words(&choice.message.parts));
    texts.extend(choices.map(|text| (Origin::Response, text)));
    texts.retain(|(_, text)| !text.trim().is_empty());
    texts
}

fn decode(call: &Call, request: &[u8], response: &StoredBody) -> Exchange {
    let mut reader = CallReader::new(&call.method, &call.target, &call.request_headers, Limits::default());
    reader.request(request);
    if let Some(status) = call.http_status {
        reader.answered(status, &call.response_headers);
    }
    reader.response(&response.bytes, UnixNanos(call.started_at.0));
    reader.finish(call.outcome == Outcome::Completed && call.response_whole)
}

const NEXT: &str = "SELECT sequence FROM spans WHERE sequence > ?1 ORDER BY sequence LIMIT ?2";

pub(super) fn after(
    connection: &Connection,
    memory: &mut Memory,
    after: i64,
    limit: usize,
) -> Result<Vec<Spoken>, Error> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let sequences: Vec<i64> = connection
        .prepare_cached(NEXT)?
        .query_map([after, limit], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    all(connection, memory, sequences)
}

const IN_PLACE: &str = "
    SELECT sequence FROM spans
    WHERE session = ?1 AND experiment_id = ?2 AND coalesce(run_id, '') = ?3 AND sequence > ?4
    ORDER BY sequence LIMIT ?5";
const ALONE: &str = "
    SELECT sequence FROM spans
    WHERE coalesce(session, '') = ?1 AND experiment_id = ?2 AND coalesce(run_id, '') = ?3 AND sequence > ?4
    ORDER BY sequence LIMIT ?5";

/// The next calls of a place.
pub(super) fn in_place(
    connection: &Connection,
    memory: &mut Memory,
    [experiment, run, session]: &[String; 3],
    after: i64,
    limit: i64,
) -> Result<Vec<Spoken>, Error> {
    let sequences: Vec<i64> = connection
        .prepare_cached(if session.is_empty() { ALONE } else { IN_PLACE })?
        .query_map(rusqlite::params![session, experiment, run, after, limit], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    all(connection, memory, sequences)
}

fn all(connection: &Connection, memory: &mut Memory, sequences: Vec<i64>) -> Result<Vec<Spoken>, Error> {
    let mut unpacker = Unpacker::default();
    let mut spoken = Vec::new();
    let mut size = 0;
    for sequence in sequences {
        // Nothing that is indexed is urgent.
        std::thread::yield_now();
        if size > READ_TOGETHER {
            break;
        }
        let one = one(connection, memory, &mut unpacker, sequence)?;
        if one.damaged {
            tracing::warn!(sequence, "what a call said cannot be read; the rest of it is indexed");
        }
        size += one.rest.len() + one.response.bytes.len();
        size += one.messages.iter().filter_map(|(_, bytes)| bytes.as_ref()).map(Vec::len).sum::<usize>();
        spoken.push(one);
    }
    Ok(spoken)
}

/// What is damaged is stepped over: one call must not keep all others out of the index.
fn one(
    connection: &Connection,
    memory: &mut Memory,
    unpacker: &mut Unpacker,
    sequence: i64,
) -> Result<Spoken, Error> {
    let mut spoken = Spoken {
        sequence,
        damaged: false,
        call: sound(calls::by_sequence(connection, unpacker, sequence))?.flatten(),
        messages: Vec::new(),
        rest: Vec::new(),
        response: StoredBody::default(),
    };
    let Some(call) = &spoken.call else { return Ok(Spoken { damaged: true, ..spoken }) };
    let place = place(call);
    let outline = sound(payloads::outline(connection, unpacker, sequence))?;
    let response = sound(payloads::body_at(connection, unpacker, sequence, Side::Response))?;
    spoken.damaged = outline.is_none() || response.is_none();
    let outline = outline.unwrap_or_default();
    for tip in outline.tips {
        let mut at = tip;
        while at != 0 && memory.turns.get(&(place, at)).is_none() {
            memory.turns.put((place, at), ());
            let Some((parent, content)) = contents::turn_at(connection, at)? else {
                spoken.damaged = true;
                break;
            };
            at = parent;
            let mut bytes = None;
            if memory.texts.get(&content).is_none() {
                let mut read = Vec::new();
                if sound(contents::append(connection, unpacker, content, &mut read))?.is_none() {
                    spoken.damaged = true;
                    continue;
                }
                bytes = Some(read);
            }
            spoken.messages.push((content, bytes));
        }
    }
    // The oldest first, as they were said.
    spoken.messages.reverse();
    spoken.rest = outline.rest;
    spoken.response = response.unwrap_or_default();
    Ok(spoken)
}

/// A place as a number to tell it from others in memory; two that meet in it would only index less.
fn place(call: &Call) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for name in [
        &call.experiment_id,
        call.run_id.as_deref().unwrap_or_default(),
        call.session.as_deref().unwrap_or_default(),
    ] {
        hasher.update(name.as_bytes());
        hasher.update(&[0]);
    }
    let hash = hasher.finalize();
    hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// A mention that goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Going {
    pub(super) text: i64,
    pub(super) place: i64,
    pub(super) sequence: i64,
    pub(super) origin: Origin,
    /// Nobody else mentions the text.
    pub(super) last: bool,
    pub(super) hash: TextHash,
    /// In a place without a session.
    pub(super) alone: bool,
    /// Another call of the place is known to have said it, too.
    pub(super) repeated: bool,
}

impl Going {
    /// A message may be one of other calls that were not read again because it was known.
    pub(super) fn may_be_shared(&self) -> bool {
        self.alone && (self.repeated || matches!(self.origin, Origin::Content(_)))
    }
}

/// Of what may be shared, what the store still has.
pub(super) fn still_said(connection: &Connection, shared: Vec<Going>) -> Result<Vec<Going>, Error> {
    let mut exists = connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM contents WHERE id = ?1)")?;
    let mut left = Vec::new();
    for one in shared {
        let said = one.repeated
            || match one.origin {
                Origin::Content(id) => exists.query_row([id], |row| row.get(0))?,
                Origin::Request | Origin::Response => false,
            };
        if said {
            left.push(one);
        }
    }
    Ok(left)
}

/// Finds the words again of texts whose last mention goes.
pub(super) fn texts(connection: &Connection, going: Vec<Going>) -> Result<Vec<(Going, Vec<String>)>, Error> {
    let mut unpacker = Unpacker::default();
    let mut known: HashMap<i64, Vec<(Origin, String)>> = HashMap::new();
    let mut found = Vec::new();
    for one in going {
        let mut candidates = Vec::new();
        if one.last {
            let call = sound(calls::by_sequence(connection, &mut unpacker, one.sequence))?.flatten();
            match (one.origin, call) {
                (Origin::Content(id), call) => {
                    let dialect = call.map_or(Dialect::ChatCompletions, |call| call.dialect);
                    let mut bytes = Vec::new();
                    if sound(contents::append(connection, &mut unpacker, id, &mut bytes))?.is_some() {
                        candidates.push(message_text(dialect, &bytes));
                    }
                }
                (origin, Some(call)) => {
                    if let Entry::Vacant(new) = known.entry(one.sequence) {
                        let texts = sound(beside_at(connection, &mut unpacker, one.sequence, &call))?;
                        new.insert(texts.unwrap_or_default());
                    }
                    let all = known.get(&one.sequence).into_iter().flatten();
                    candidates.extend(all.filter(|(of, _)| *of == origin).map(|(_, text)| text.clone()));
                }
                (_, None) => {}
            }
        }
        found.push((one, candidates));
    }
    Ok(found)
}

fn beside_at(
    connection: &Connection,
    unpacker: &mut Unpacker,
    sequence: i64,
    call: &Call,
) -> Result<Vec<(Origin, String)>, Error> {
    let outline = payloads::outline(connection, unpacker, sequence)?;
    let response = payloads::body_at(connection, unpacker, sequence, Side::Response)?;
    Ok(beside(call, &outline.rest, &response))
}

/// The text of a mention as it is shown, found again by its hash where a call has several.
pub(super) fn text_at(
    connection: &Connection,
    unpacker: &mut Unpacker,
    sequence: i64,
    origin: Origin,
    hash: TextHash,
) -> Result<Option<(Call, String)>, Error> {
    let Some(call) = calls::by_sequence(connection, unpacker, sequence)? else { return Ok(None) };
    let text = match origin {
        Origin::Content(id) => {
            let exists: Option<i64> = connection
                .prepare_cached("SELECT id FROM contents WHERE id = ?1")?
                .query_row([id], |row| row.get(0))
                .optional()?;
            let Some(id) = exists else { return Ok(None) };
            let mut bytes = Vec::new();
            contents::append(connection, unpacker, id, &mut bytes)?;
            Some(message_text(call.dialect, &bytes))
        }
        Origin::Request | Origin::Response => {
            let all = beside_at(connection, unpacker, sequence, &call)?;
            let mut texts = all.into_iter().map(|(_, text)| text);
            texts.find(|text| update::hash(text.as_bytes()) == hash)
        }
    };
    Ok(text.map(|text| (call, text)))
}
