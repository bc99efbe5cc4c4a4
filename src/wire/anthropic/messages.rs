//! Requests and plain answers of the Messages API. Its `input_tokens` leave out what the cache gave and
//! took; here they are brought to the model's convention, which includes both.

use serde_json::value::RawValue;

use crate::{
    model::{
        exchange::{Choice, Request, Response},
        usage::Usage,
    },
    wire::{
        error, json,
        notes::Notes,
        openai::{
            chat_request::{message, top_level},
            usage::set,
        },
        parts,
    },
};

pub(in crate::wire) fn read_request(body: &str, notes: &mut Notes) -> Request {
    let mut request = Request::default();
    top_level(body, &mut request, notes, |key, field, request, notes| match key {
        "messages" if json::is_array(field) => {
            request.messages.clear();
            json::each_item(field, |item| request.messages.extend(message(item, notes)));
            true
        }
        "system" => {
            request.system_instructions.clear();
            parts::content(field, notes, &mut request.system_instructions);
            true
        }
        _ => false,
    });
    request
}

pub(in crate::wire) fn read(body: &str, status: Option<u16>, notes: &mut Notes) -> Response {
    let mut response = Response::default();
    let mut counts = Counts::default();
    let mut choice = Choice::default();
    choice.message.role = "assistant".to_owned();
    let read = json::fields(body, |key, field| match key {
        "content" => {
            choice.message.parts.clear();
            parts::content(field, notes, &mut choice.message.parts);
        }
        "role" => choice.message.role = json::shown(field),
        "stop_reason" => choice.finish_reason = json::filled(Some(field)),
        _ => envelope(key, field, &mut response, &mut counts, notes),
    });
    if let Err(fault) = read {
        notes.add(format!("the response body is no JSON object of this dialect: {fault}"));
    } else {
        response.complete = true;
    }
    response.error = error::inside(body, status);
    response.usage = counts.into_usage();
    if !choice.message.parts.is_empty() || choice.finish_reason.is_some() {
        response.choices.push(choice);
    }
    response
}

/// The fields that plain answers and `message_start` share.
pub(super) fn envelope(
    key: &str,
    field: &RawValue,
    response: &mut Response,
    counts: &mut Counts,
    notes: &mut Notes,
) {
    match key {
        "id" => response.id = json::filled(Some(field)),
        "model" => response.model = json::filled(Some(field)),
        "diagnostics" => {
            let [reason] = json::pick(field.get(), ["cache_miss_reason"]);
            response.cache_diagnosis =
                reason.and_then(|reason| json::filled(json::pick(reason.get(), ["type"])[0]));
        }
        "usage" => {
            counts.merge(field, notes);
            served(field, response);
        }
        _ => {}
    }
}

/// How and where the call was served, which the usage says: fast mode is a tier of its own, and inference in
/// one country costs more.
pub(super) fn served(usage: &RawValue, response: &mut Response) {
    let [tier, speed, place] = json::pick(usage.get(), ["service_tier", "speed", "inference_geo"]);
    let place = json::filled(place).filter(|place| !matches!(place.as_str(), "global" | "not_available"));
    response.region = place.or(response.region.take());
    response.service_tier = json::filled(speed)
        .filter(|speed| speed != "standard")
        .or_else(|| json::filled(tier))
        .or(response.service_tier.take());
}

/// Usage as Anthropic counts it; later figures win where they are given.
#[derive(Debug, Default)]
pub(in crate::wire) struct Counts {
    uncached: Option<u64>,
    read: Option<u64>,
    write: Option<u64>,
    write_long: Option<u64>,
    output: Option<u64>,
    thinking: Option<u64>,
    searches: Option<u64>,
}

impl Counts {
    pub(in crate::wire) fn merge(&mut self, raw: &RawValue, notes: &mut Notes) {
        let [uncached, read, write, life, output, details, tools] = json::pick(
            raw.get(),
            [
                "input_tokens",
                "cache_read_input_tokens",
                "cache_creation_input_tokens",
                "cache_creation",
                "output_tokens",
                "output_tokens_details",
                "server_tool_use",
            ],
        );
        let inner = |raw: Option<&'_ RawValue>, name| {
            raw.and_then(|raw| json::pick(raw.get(), [name])[0].map(ToOwned::to_owned))
        };
        let (long, thinking, searches) = (
            inner(life, "ephemeral_1h_input_tokens"),
            inner(details, "thinking_tokens"),
            inner(tools, "web_search_requests"),
        );
        for (place, field) in [
            (&mut self.uncached, uncached),
            (&mut self.read, read),
            (&mut self.write, write),
            (&mut self.write_long, long.as_deref()),
            (&mut self.output, output),
            (&mut self.thinking, thinking.as_deref()),
            (&mut self.searches, searches.as_deref()),
        ] {
            if let Some(field) = field {
                set(place, "of the message", field, notes);
            }
        }
    }

    pub(in crate::wire) fn into_usage(self) -> Option<Usage> {
        let cached = self.read.unwrap_or(0).saturating_add(self.write.unwrap_or(0));
        let input = match (self.uncached, self.read.or(self.write)) {
            (None, None) => None,
            (uncached, _) => Some(uncached.unwrap_or(0).saturating_add(cached)),
        };
        let usage = Usage {
            input,
            cache_read: self.read,
            cache_write: self.write,
            cache_write_long: self.write_long,
            output: self.output,
            reasoning: self.thinking,
            web_searches: self.searches,
            ..Usage::default()
        };
        (usage != Usage::default()).then_some(usage)
    }
}
