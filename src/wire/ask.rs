//! Asking for a stream's usage on the client's behalf: `stream_options.include_usage` is put into the request,
//! and what came of it is taken out of the response, so that the client sees exactly what it would have
//! seen. Sans-IO. It changes nothing else: no byte of an event that stays is moved, and at most one event is held
//! (two, where what the question moved has to be moved back).

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{flavour::Asked, json};

const OPTIONS: &str = r#","stream_options":{"include_usage":true}"#;
const INCLUDE: &str = r#""include_usage":true"#;
/// A larger event is passed on as it is; no chunk with a usage is that large.
const MAX_EVENT: usize = 1 << 20;

/// The request with the question in it; `None` where there is nothing to ask: no stream, asked already,
/// answered "no" already, or a body that is not understood.
pub fn request(body: &[u8]) -> Option<Bytes> {
    let text = std::str::from_utf8(body).ok()?;
    let (mut stream, mut options, mut twice) = (None, None, false);
    json::fields(text, |key, value| {
        let place = match key {
            "stream" => &mut stream,
            "stream_options" => &mut options,
            _ => return,
        };
        // Twice: which one counts is for the server to say.
        twice |= place.replace(value).is_some();
    })
    .ok()?;
    if twice || stream.map(RawValue::get) != Some("true") {
        return None;
    }
    let (at, length, insert) = match options {
        None => (text.trim_end().len().checked_sub(1)?, 0, OPTIONS.to_owned()),
        Some(options) if json::is_null(options) => (offset(text, options)?, 4, format!("{{{INCLUDE}}}")),
        Some(options) if json::is_object(options) => {
            let (mut present, mut any) = (false, false);
            json::fields(options.get(), |key, _| {
                any = true;
                present |= key == "include_usage";
            })
            .ok()?;
            if present {
                return None;
            }
            (offset(text, options)? + 1, 0, format!("{INCLUDE}{}", if any { "," } else { "" }))
        }
        Some(_) => return None,
    };
    Some([body.get(..at)?, insert.as_bytes(), body.get(at + length..)?].concat().into())
}

/// Where a value stands in the text that it was read from.
fn offset(text: &str, value: &RawValue) -> Option<usize> {
    (value.get().as_ptr() as usize).checked_sub(text.as_ptr() as usize).filter(|at| *at < text.len())
}

/// Takes the answer to the question out of a stream.
#[derive(Debug)]
pub struct Filter {
    asked: Asked,
    /// The event that has not ended, as it came.
    held: Vec<u8>,
    /// The event before it, whole, while the next may say what was moved out of it.
    kept: Vec<u8>,
    /// Where the line begins that has not ended.
    line: usize,
    /// Only comments so far: nothing that could have to be taken out.
    idle: bool,
    after_cr: bool,
    /// The event that ended with a CR was taken out: an LF that follows belongs to it.
    dropped_last: bool,
    /// The event outgrew the limit and is passed on.
    passing: bool,
    /// The beginning of the current line was passed on.
    partial: bool,
}

impl Filter {
    pub fn new(asked: Asked) -> Self {
        Self {
            asked,
            held: Vec::new(),
            kept: Vec::new(),
            line: 0,
            idle: true,
            after_cr: false,
            dropped_last: false,
            passing: false,
            partial: false,
        }
    }

    /// Takes the next bytes and gives those that the client would have had by now.
    pub fn push(&mut self, mut bytes: &[u8]) -> Bytes {
        // Nothing came: whether an LF follows is still open.
        if bytes.is_empty() {
            return Bytes::new();
        }
        let mut out = Vec::with_capacity(self.held.len() + bytes.len());
        if std::mem::take(&mut self.after_cr)
            && let Some(rest) = bytes.strip_prefix(b"\n")
        {
            bytes = rest;
            if self.held.is_empty() {
                match (self.dropped_last, self.kept.is_empty()) {
                    (true, _) => {}
                    (false, true) => out.push(b'\n'),
                    (false, false) => self.kept.push(b'\n'),
                }
            } else {
                self.held.push(b'\n');
                self.line = self.held.len();
            }
        }
        while let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) {
            let both = bytes.get(end..end + 2) == Some(b"\r\n");
            self.after_cr = bytes.get(end) == Some(&b'\r') && end + 1 == bytes.len();
            let (line, rest) = bytes.split_at(end + 1 + usize::from(both));
            self.held.extend_from_slice(line);
            bytes = rest;
            self.end_line(&mut out);
        }
        self.held.extend_from_slice(bytes);
        if self.passing || self.held.len() > MAX_EVENT {
            self.passing = true;
            self.partial |= self.held.len() > self.line;
            out.append(&mut self.kept);
            out.append(&mut self.held);
            self.line = 0;
        }
        out.into()
    }

    /// What is still held when the stream ends: an event without its blank line.
    pub fn finish(&mut self) -> Bytes {
        let mut out = Vec::new();
        if !self.held.is_empty() {
            self.end_event(&mut out);
        }
        out.append(&mut self.kept);
        out.into()
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        let line = self.held.get(self.line..).unwrap_or_default();
        let text = line.trim_ascii_end();
        let partial = std::mem::take(&mut self.partial);
        let blank = !partial && text.is_empty() && line.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
        if blank {
            self.end_event(out);
        } else if self.idle && text.starts_with(b":") {
            // A keep-alive must not wait for the next event.
            out.append(&mut self.kept);
            out.append(&mut self.held);
            (self.line, self.dropped_last) = (0, false);
        } else {
            self.idle = false;
            self.line = self.held.len();
        }
    }

    fn end_event(&mut self, out: &mut Vec<u8>) {
        let event = std::mem::take(&mut self.held);
        let passing = std::mem::take(&mut self.passing);
        (self.line, self.idle, self.dropped_last) = (0, true, false);
        let verdict = verdict(&event, self.asked).filter(|_| !passing);
        if let (Some(Verdict::Drop), false) = (&verdict, self.kept.is_empty()) {
            give_back(&mut self.kept, &event);
        }
        out.append(&mut self.kept);
        match verdict {
            None if self.asked == Asked::TimingsMove && !passing && finishes(&event) => self.kept = event,
            None => out.extend_from_slice(&event),
            Some(Verdict::Drop) => self.dropped_last = true,
            Some(Verdict::Cut(from, to)) => {
                out.extend_from_slice(event.get(..from).unwrap_or_default());
                out.extend_from_slice(event.get(to..).unwrap_or_default());
            }
        }
    }
}

enum Verdict {
    Drop,
    /// Without these bytes of the event.
    Cut(usize, usize),
}

/// The JSON of an event, and the text that it stands in.
fn data(event: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(event).ok()?;
    let mut data = None;
    for line in text.split(['\n', '\r']) {
        if let Some(rest) = line.strip_prefix("data:") {
            // Several lines are one JSON over several lines: nobody sends usage so.
            if data.replace(rest.strip_prefix(' ').unwrap_or(rest)).is_some() {
                return None;
            }
        }
    }
    data.filter(|data| data.trim_start().starts_with('{')).map(|data| (data, text))
}

/// Whether an event ends a choice.
fn finishes(event: &[u8]) -> bool {
    let mut ends = false;
    if let Some((data, _)) = data(event)
        && let [Some(choices)] = json::pick(data, ["choices"])
    {
        json::each_item(choices, |choice| ends |= json::pick(choice.get(), ["finish_reason"])[0].is_some());
    }
    ends
}

/// Puts the `timings` of the event that is taken out at the end of the one before it, where they would have been.
fn give_back(kept: &mut Vec<u8>, event: &[u8]) {
    let moved = data(event).and_then(|(data, _)| json::pick(data, ["timings"])[0]);
    let end = memchr::memrchr(b'}', kept);
    if let (Some(timings), Some(end)) = (moved, end) {
        let member = format!(",\"timings\":{}", timings.get());
        kept.splice(end..end, member.into_bytes());
    }
}

/// What becomes of an event; `None` where it stays as it is.
fn verdict(event: &[u8], asked: Asked) -> Option<Verdict> {
    let (data, text) = data(event)?;
    let [choices] = json::pick(data, ["choices"]);
    let mut usage = None;
    json::fields(data, |key, value| {
        if key == "usage" {
            usage = Some(value);
        }
    })
    .ok()?;
    let usage = usage?;
    if json::is_null(usage) {
        let at = offset(data, usage).filter(|_| asked == Asked::NullsBefore)?;
        let (from, to) = member(data, at, at + usage.get().len())?;
        let base = (data.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
        return Some(Verdict::Cut(base + from, base + to));
    }
    let mut empty = choices.is_some_and(json::is_array);
    if let Some(choices) = choices {
        json::each_item(choices, |choice| empty &= says_nothing(choice));
    }
    empty.then_some(Verdict::Drop)
}

/// LiteLLM's proxy puts the usage beside a choice that has an index and nothing else.
fn says_nothing(choice: &RawValue) -> bool {
    let mut nothing = true;
    let read = json::fields(choice.get(), |key, value| {
        nothing &= key == "index" || json::is_null(value) || value.get() == "{}";
    });
    read.is_ok() && nothing
}

/// From the value's place to the whole member with the comma that sets it apart.
fn member(data: &str, value: usize, end: usize) -> Option<(usize, usize)> {
    let before = data.get(..value)?.trim_end().strip_suffix(':')?.trim_end().strip_suffix("\"usage\"")?;
    if let Some(earlier) = before.trim_end().strip_suffix(',') {
        return Some((earlier.len(), end));
    }
    // The first member: the comma behind it goes.
    let behind = data.get(end..)?;
    let comma = behind.trim_start().strip_prefix(',')?.trim_start();
    Some((before.len(), data.len() - comma.len()))
}

#[cfg(test)]
mod tests;
