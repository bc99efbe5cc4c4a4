//! Profiles of calls: what many calls have alike (upstream, models, outcome, price, rules, …), once and with a number.
//! A call's row refers to it, so that it holds little but its own numbers. What is one call's own by its nature, an
//! id in a target or a path, stays out of here, so that there are few.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    calls::{list, source_text},
    contents::{self, Interned},
    kinds,
};
use crate::model::{Error, call::Call};

/// Profiles that the writer remembers; about 2 MiB.
const REMEMBERED: usize = 1 << 12;

/// A longer text is one call's own.
const LONGEST_SHARED: usize = 96;
/// So many letters and digits in a row, some of them digits, are an id: `resp_68a1f0c9e2b4`, not `gpt-4-0613`.
const SHORTEST_ID: usize = 11;

/// The name of a call's span, where it is its profile's.
pub(super) fn name(call: &Call) -> Option<&str> {
    let of_model = call.model().is_some_and(|model| call.name.ends_with(model));
    Some(call.name.as_str()).filter(|name| of_model || repeats(name))
}

pub(super) fn target(call: &Call) -> Option<&str> {
    Some(call.target.as_str()).filter(|target| repeats(target))
}

pub(super) fn error_type(call: &Call) -> Option<&str> {
    call.error_type.as_deref().filter(|error| repeats(error))
}

/// Whether a text that may hold anything is likely to come again.
fn repeats(text: &str) -> bool {
    if text.len() > LONGEST_SHARED {
        return false;
    }
    let mut words = text.split(|character: char| !character.is_ascii_alphanumeric());
    !words.any(|word| word.len() >= SHORTEST_ID && word.bytes().any(|byte| byte.is_ascii_digit()))
}

/// What the writer knows of profiles: by their fields, their number and that of their kind.
#[derive(Default)]
pub(super) struct Profiles {
    known: HashMap<Box<[u8]>, Profile>,
    fields: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Profile {
    pub(super) id: i64,
    pub(super) kind: i64,
}

impl Profiles {
    pub(super) fn clear(&mut self) {
        self.known.clear();
    }

    fn put(&mut self, profile: Profile) {
        // Few are in use at a time; what is forgotten is looked up.
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert(self.fields.as_slice().into(), profile);
    }
}

/// The fields of a call's profile, so that no two profiles have the same bytes.
fn write_fields(call: &Call, out: &mut Vec<u8>) {
    out.clear();
    let texts = [
        Some(call.upstream.as_str()),
        Some(&call.provider),
        Some(&call.operation),
        Some(call.status.as_str()),
        name(call),
        Some(&call.server_address),
        Some(call.dialect.as_str()),
        call.request_model.as_deref(),
        call.response_model.as_deref(),
        Some(&call.method),
        target(call),
        call.key_fingerprint.as_deref(),
        Some(call.outcome.as_str()),
        error_type(call),
        call.error_source.map(source_text),
        call.service_tier.as_deref(),
        call.region.as_deref(),
        call.usage_source.map(|source| source.as_str()),
        call.price_id.as_deref(),
        call.rules.experiment.as_deref(),
        call.rules.run.as_deref(),
        call.rules.session.as_deref(),
    ];
    let reasons = call.finish_reasons.iter().map(|reason| Some(reason.as_str()));
    for text in texts.into_iter().chain(reasons) {
        let length = text.map_or(0, |text| text.len() as u32 + 1);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(text.unwrap_or_default().as_bytes());
    }
    out.extend_from_slice(&call.server_port.to_le_bytes());
    out.extend_from_slice(&call.http_status.unwrap_or(0).to_le_bytes());
    out.push(u8::from(call.http_status.is_some()));
    out.extend_from_slice(&call.retry_count.unwrap_or(0).to_le_bytes());
    out.push(u8::from(call.retry_count.is_some()));
    out.push(u8::from(call.streamed));
    out.push(u8::from(call.request_whole));
    out.push(u8::from(call.response_whole));
}

const FIND: &str = "SELECT id, kind FROM profiles WHERE digest = ?1";
const INSERT: &str = "
    INSERT INTO profiles (digest, kind, name, server_address, server_port, dialect, request_model, response_model,
        streamed, method, target, key_fingerprint, outcome, http_status, error_type, error_source, finish_reasons,
        retry_count, service_tier, region, usage_source, price_id, experiment_rule, run_rule, session_rule, request_whole,
        response_whole)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// A call's profile, which is made when it is new.
pub(super) fn of(connection: &Connection, interned: &mut Interned, call: &Call) -> Result<Profile, Error> {
    write_fields(call, &mut interned.profiles.fields);
    let profile = match interned.profiles.known.get(interned.profiles.fields.as_slice()) {
        Some(known) => *known,
        None => {
            let digest = contents::hash(&interned.profiles.fields);
            let found = connection
                .prepare_cached(FIND)?
                .query_row([digest], |row| Ok(Profile { id: row.get(0)?, kind: row.get(1)? }))
                .optional()?;
            let profile = match found {
                Some(found) => found,
                None => insert(connection, &digest, call)?,
            };
            interned.profiles.put(profile);
            profile
        }
    };
    interned.hand_out_profile(profile.id);
    Ok(profile)
}

fn insert(connection: &Connection, digest: &contents::ContentHash, call: &Call) -> Result<Profile, Error> {
    let kind = kinds::of(connection, call)?;
    connection.prepare_cached(INSERT)?.execute(params![
        digest,
        kind,
        name(call),
        call.server_address,
        call.server_port,
        call.dialect.as_str(),
        call.request_model,
        call.response_model,
        call.streamed,
        call.method,
        target(call),
        call.key_fingerprint,
        call.outcome.as_str(),
        call.http_status,
        error_type(call),
        call.error_source.map(source_text),
        list(&call.finish_reasons)?,
        call.retry_count,
        call.service_tier,
        call.region,
        call.usage_source.map(|source| source.as_str()),
        call.price_id,
        call.rules.experiment,
        call.rules.run,
        call.rules.session,
        call.request_whole,
        call.response_whole,
    ])?;
    Ok(Profile { id: connection.last_insert_rowid(), kind })
}

/// Drops profiles of kinds that are gone: no call has them. The others that no call has are the sweep's.
pub(super) fn drop_kindless(connection: &Connection) -> Result<(), Error> {
    connection.prepare_cached("DELETE FROM profiles WHERE kind NOT IN (SELECT id FROM kinds)")?.execute([])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_one_calls_own_is_told_from_what_repeats() {
        for shared in [
            "/chat/completions",
            "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
            "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
            "/model/anthropic.claude-3-5-sonnet-20241022-v2:0/invoke",
            "chat gpt-4o-2024-08-06",
            "",
        ] {
            assert!(repeats(shared), "{shared}");
        }
        for own in [
            "/responses/resp_68a1f0c9e2b4c7d8a9",
            "GET /files/file-8Vb2mQ0ZkLw1",
            "/batches/batch_0b1c2d3e4f5a",
            "/runs/6f3ab1de-1c9e-4f7e-9a35-52b1c0ffee00",
            &"x".repeat(97),
        ] {
            assert!(!repeats(own), "{own}");
        }
    }
}
