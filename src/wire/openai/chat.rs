//! A chat (or legacy completions) answer: the envelope that plain bodies and stream chunks share, read
//! into drafts. A whole body is one chunk whose choices hold messages instead of deltas.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::{
    model::{
        exchange::{Response, UpstreamError},
        usage::Usage,
    },
    wire::{error, json, notes::Notes},
};

use super::{choice::ChoiceDraft, moderations, usage};

#[derive(Debug, Default)]
pub(in crate::wire) struct AnswerDraft {
    id: Option<String>,
    model: Option<String>,
    service_tier: Option<String>,
    system_fingerprint: Option<String>,
    choices: BTreeMap<u32, ChoiceDraft>,
    /// The last one seen, and its raw form, which is read again once the model is known.
    usage: Option<(Usage, Box<RawValue>)>,
    /// llama.cpp's own counts, for where it sends no usage.
    timings: Option<Usage>,
    pub(super) error: Option<UpstreamError>,
}

/// A plain body, of a status that is no error.
pub(in crate::wire) fn read(body: &str, status: Option<u16>, notes: &mut Notes) -> Response {
    let mut draft = AnswerDraft::default();
    let read = draft.chunk(body, true, status, notes);
    let complete = read.is_ok();
    if let Err(fault) = read {
        notes.add(format!("the response body is no JSON object of this dialect: {fault}"));
    }
    Response { complete, ..draft.into_response(notes) }
}

impl AnswerDraft {
    /// Takes one envelope. `Ok(true)` when it brought content.
    pub(super) fn chunk(
        &mut self,
        body: &str,
        whole: bool,
        status: Option<u16>,
        notes: &mut Notes,
    ) -> Result<bool, String> {
        let mut brought = false;
        json::fields(body, |key, field| {
            if json::is_null(field) {
                return;
            }
            match key {
                "choices" => {
                    let mut position = 0;
                    json::each_item(field, |choice| {
                        brought |= self.choice(choice, position, whole, notes);
                        position += 1;
                    });
                }
                // Azure's first chunk has empty ones.
                "id" => keep_first(&mut self.id, field),
                "model" => keep_first(&mut self.model, field),
                "service_tier" => keep_first(&mut self.service_tier, field),
                "system_fingerprint" => keep_first(&mut self.system_fingerprint, field),
                "usage" => self.usage(field, notes),
                "x_groq" => {
                    let [usage, error] = json::pick(field.get(), ["usage", "error"]);
                    if let Some(usage) = usage {
                        self.usage(usage, notes);
                    }
                    if let Some(error) = error {
                        self.fail(error, status);
                    }
                }
                "timings" => self.timings(field, notes),
                "moderation" => moderations::beside(field, notes),
                "error" => self.fail(field, status),
                _ => {}
            }
        })?;
        Ok(brought)
    }

    pub(super) fn fail(&mut self, raw: &RawValue, status: Option<u16>) {
        if self.error.is_none() && json::is_truthy(raw) {
            self.error = Some(error::from_value(raw, status));
        }
    }

    fn choice(&mut self, raw: &RawValue, position: u32, whole: bool, notes: &mut Notes) -> bool {
        let [index, delta, message, text, finish, logprobs, own_usage, failure] = json::pick(
            raw.get(),
            ["index", "delta", "message", "text", "finish_reason", "logprobs", "usage", "error"],
        );
        let index = json::index(index).unwrap_or(position);
        if !self.choices.contains_key(&index) && !notes.spend(8) {
            return false;
        }
        let draft = self.choices.entry(index).or_default();
        let mut brought = false;
        match (delta, message) {
            // Perplexity repeats the whole message beside each delta.
            (Some(delta), _) => brought |= draft.delta(delta, false, notes),
            (None, Some(message)) => {
                if !whole {
                    *draft = ChoiceDraft::default();
                }
                brought |= draft.delta(message, true, notes);
            }
            (None, None) => {}
        }
        // Together's chat chunks say the same once more as legacy completions do.
        if let Some(text) = text.filter(|_| delta.or(message).is_none()) {
            brought |= draft.text(text);
        }
        if let Some(finish) = finish {
            draft.finish_reason(finish);
        }
        if let Some(logprobs) = logprobs {
            draft.logprobs(logprobs, notes);
        }
        // Moonshot puts the usage into the last choice.
        if let Some(own_usage) = own_usage {
            self.usage(own_usage, notes);
        }
        if let Some(failure) = failure {
            self.fail(failure, None);
        }
        brought
    }

    fn usage(&mut self, raw: &RawValue, notes: &mut Notes) {
        if let Some(usage) = usage::read(raw, notes) {
            self.usage = Some((usage, raw.to_owned()));
        }
    }

    fn timings(&mut self, raw: &RawValue, notes: &mut Notes) {
        let mut read = Usage::default();
        let [cached, prompt, predicted] = json::pick(raw.get(), ["cache_n", "prompt_n", "predicted_n"]);
        for (place, field) in
            [(&mut read.cache_read, cached), (&mut read.input, prompt), (&mut read.output, predicted)]
        {
            if let Some(field) = field {
                usage::set(place, "timings", field, notes);
            }
        }
        // `prompt_n` counts what was evaluated, without what the cache gave.
        read.input = read.input.map(|evaluated| evaluated.saturating_add(read.cache_read.unwrap_or(0)));
        if !read.is_empty() {
            self.timings = Some(read);
        }
    }

    /// True when every choice has a finish reason (and there is one).
    pub(super) fn all_finished(&self) -> bool {
        !self.choices.is_empty() && self.choices.values().all(|choice| choice.ended_with().is_some())
    }

    pub(super) fn into_response(self, notes: &mut Notes) -> Response {
        let broke_off = self.choices.values().any(|choice| choice.ended_with() == Some("error"));
        let error = self.error.or_else(|| {
            broke_off.then(|| UpstreamError {
                kind: "error".to_owned(),
                message: "the upstream ended its answer with the finish reason \"error\"".to_owned(),
            })
        });
        let model = self.model;
        let usage = self.usage.map(|(mut usage, raw)| {
            usage::settle_model(&mut usage, &raw, model.as_deref().unwrap_or_default());
            usage
        });
        Response {
            id: self.id,
            choices: self.choices.into_iter().map(|(index, draft)| draft.into_choice(index, notes)).collect(),
            usage: usage.or(self.timings),
            service_tier: self.service_tier,
            system_fingerprint: self.system_fingerprint,
            error,
            job: None,
            complete: false,
            region: None,
            model,
            cache_diagnosis: None,
            uncounted: None,
        }
    }
}

fn keep_first(place: &mut Option<String>, raw: &RawValue) {
    if place.is_none() {
        *place = json::filled(Some(raw));
    }
}
