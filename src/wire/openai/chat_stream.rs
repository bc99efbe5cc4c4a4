//! A chat (or legacy completions) answer as a stream of chunks.

use crate::{
    model::exchange::{Response, Uncounted},
    wire::{notes::Notes, sse::Event},
};

use super::chat::AnswerDraft;

#[derive(Debug, Default)]
pub(in crate::wire) struct ChatStream {
    draft: AnswerDraft,
    done: bool,
    after_done: bool,
}

impl ChatStream {
    /// Takes one event; `Ok(true)` when it brought content.
    pub(in crate::wire) fn event(
        &mut self,
        event: Event<'_>,
        data: &str,
        status: Option<u16>,
        notes: &mut Notes,
    ) -> Result<bool, String> {
        // As the SDKs test it: what follows the word does not matter.
        if data.starts_with("[DONE]") {
            self.done = true;
            return Ok(false);
        }
        if self.done {
            self.after_done = true;
            return Ok(false);
        }
        let brought = self.draft.chunk(data, false, status, notes);
        // LM Studio names the event and may send the bare error, or even plain text.
        if event.name == b"error" && self.draft.error.is_none() {
            self.draft.error = Some(crate::wire::error::from_body(data, status));
            return Ok(false);
        }
        brought
    }

    pub(in crate::wire) fn finish(self, whole: bool, notes: &mut Notes) -> Response {
        if self.after_done {
            notes.add("the stream went on after [DONE]; what followed was not read");
        }
        let finished = whole && self.draft.error.is_none() && self.draft.all_finished();
        if finished && !self.done {
            notes.add("the stream ended without [DONE], after every choice had finished");
        }
        // Usage on every chunk counts what came until then; a choice that has ended is counted whole.
        let ended = self.done || self.draft.all_finished();
        let response = self.draft.into_response(notes);
        let uncounted = (response.usage.is_some() && !ended).then_some(Uncounted::Rest);
        Response { complete: self.done || finished, uncounted, ..response }
    }
}
