//! The facts of a record as bytes, without names: fields in the order in which they stand here, numbers
//! little-endian, texts and counts behind their length (LEB128), a byte before what may be absent. A field that
//! is to come goes to the end, and what is shorter does not have it.

use crate::model::{
    CallId, SpanId, TraceId, UnixNanos,
    record::{Answered, Closed, Failure, Header, Opened, Outcome, Scope, Source},
};

/// The longest list that is believed before its items are seen.
const BELIEVED: usize = 64;

pub(super) fn opened(opened: &Opened) -> Vec<u8> {
    let texts = opened.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>();
    let mut out = Vec::with_capacity(texts + opened.target.len() + 256);
    out.extend_from_slice(&opened.trace.0);
    out.extend_from_slice(&opened.span.0);
    option(&mut out, opened.parent_span.as_ref(), |out, parent| out.extend_from_slice(&parent.0));
    out.extend_from_slice(&opened.at.0.to_le_bytes());
    for text in [&opened.method, &opened.target, &opened.upstream, &opened.provider, &opened.server_address] {
        put(&mut out, text);
    }
    out.extend_from_slice(&opened.server_port.to_le_bytes());
    let scope = &opened.scope;
    for text in [&scope.run, &scope.experiment, &scope.session, &opened.peer, &opened.key_fingerprint] {
        option(&mut out, text.as_deref(), put);
    }
    headers(&mut out, &opened.headers);
    out
}

pub(super) fn read_opened(call: CallId, bytes: &[u8]) -> Option<Opened> {
    let mut input = Input(bytes);
    let (trace, span) = (TraceId(input.array()?), SpanId(input.array()?));
    let parent_span = input.option(|input| input.array().map(SpanId))?;
    let at = input.time()?;
    let (method, target, upstream) = (input.text()?, input.text()?, input.text()?);
    let (provider, server_address) = (input.text()?, input.text()?);
    let server_port = u16::from_le_bytes(input.array()?);
    let (run, experiment) = (input.option(Input::text)?, input.option(Input::text)?);
    let session = input.option(Input::text)?;
    let (peer, key_fingerprint) = (input.option(Input::text)?, input.option(Input::text)?);
    let headers = input.headers()?;
    Some(Opened {
        call,
        trace,
        span,
        parent_span,
        at,
        method,
        target,
        upstream,
        provider,
        server_address,
        server_port,
        scope: Scope { run, experiment, session },
        headers,
        peer,
        key_fingerprint,
    })
}

pub(super) fn answered(answered: &Answered) -> Vec<u8> {
    let texts = answered.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>();
    let mut out = Vec::with_capacity(texts + 32);
    out.extend_from_slice(&answered.at.0.to_le_bytes());
    out.extend_from_slice(&answered.status.to_le_bytes());
    headers(&mut out, &answered.headers);
    out
}

pub(super) fn read_answered(call: CallId, bytes: &[u8]) -> Option<Answered> {
    let mut input = Input(bytes);
    let at = input.time()?;
    let status = u16::from_le_bytes(input.array()?);
    Some(Answered { call, at, status, headers: input.headers()? })
}

pub(super) fn closed(closed: &Closed) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(&closed.at.0.to_le_bytes());
    out.push(outcome(closed.outcome));
    option(&mut out, closed.failure.as_ref(), |out, failure| {
        out.push(source(failure.source));
        put(out, &failure.code);
        put(out, &failure.message);
    });
    let sent = [closed.sent_bytes, closed.sent_recorded];
    let received = [closed.received_bytes, closed.received_recorded, closed.drained_bytes];
    for count in sent.into_iter().chain(received) {
        number(&mut out, count);
    }
    out
}

pub(super) fn read_closed(call: CallId, bytes: &[u8]) -> Option<Closed> {
    let mut input = Input(bytes);
    let at = input.time()?;
    let [byte] = input.array()?;
    let outcome = OUTCOMES.into_iter().find(|one| outcome(*one) == byte)?;
    let failure = input.option(|input| {
        let [byte] = input.array()?;
        let source = SOURCES.into_iter().find(|one| source(*one) == byte)?;
        Some(Failure { source, code: input.text()?, message: input.text()? })
    })?;
    Some(Closed {
        call,
        at,
        outcome,
        failure,
        sent_bytes: input.number()?,
        sent_recorded: input.number()?,
        received_bytes: input.number()?,
        received_recorded: input.number()?,
        drained_bytes: input.number()?,
    })
}

const OUTCOMES: [Outcome; 6] = [
    Outcome::Completed,
    Outcome::ClientGone,
    Outcome::ClientError,
    Outcome::UpstreamFailed,
    Outcome::Shutdown,
    Outcome::Interrupted,
];

/// The numbers are in files: one that was given stays.
fn outcome(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Completed => 0,
        Outcome::ClientGone => 1,
        Outcome::ClientError => 2,
        Outcome::UpstreamFailed => 3,
        Outcome::Shutdown => 4,
        Outcome::Interrupted => 5,
    }
}

const SOURCES: [Source; 3] = [Source::Client, Source::Upstream, Source::Internal];

fn source(source: Source) -> u8 {
    match source {
        Source::Client => 0,
        Source::Upstream => 1,
        Source::Internal => 2,
    }
}

fn number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put(out: &mut Vec<u8>, text: &str) {
    number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn option<T>(out: &mut Vec<u8>, value: Option<T>, some: impl FnOnce(&mut Vec<u8>, T)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        some(out, value);
    }
}

fn headers(out: &mut Vec<u8>, headers: &[Header]) {
    number(out, headers.len() as u64);
    for (name, value) in headers {
        put(out, name);
        put(out, value);
    }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn time(&mut self) -> Option<UnixNanos> {
        Some(UnixNanos(i64::from_le_bytes(self.array()?)))
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.number()?).ok()?;
        Some(std::str::from_utf8(self.take(length)?).ok()?.to_owned())
    }

    fn option<T>(&mut self, some: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        match self.array()? {
            [0] => Some(None),
            [1] => some(self).map(Some),
            _ => None,
        }
    }

    fn headers(&mut self) -> Option<Vec<Header>> {
        let count = usize::try_from(self.number()?).ok()?;
        let mut headers = Vec::with_capacity(count.min(BELIEVED));
        for _ in 0..count {
            headers.push((self.text()?, self.text()?));
        }
        Some(headers)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CALL: CallId = CallId([7; 16]);

    fn text() -> impl Strategy<Value = String> {
        ".{0,40}"
    }

    fn maybe() -> impl Strategy<Value = Option<String>> {
        proptest::option::of(text())
    }

    fn head() -> impl Strategy<Value = Vec<Header>> {
        proptest::collection::vec((text(), text()), 0..5)
    }

    proptest! {
        #[test]
        fn a_beginning_survives(
            ids in any::<([u8; 16], [u8; 8], Option<[u8; 8]>)>(),
            (at, server_port) in any::<(i64, u16)>(),
            (method, target, upstream, provider, server_address) in (text(), text(), text(), text(), text()),
            (run, experiment, session, peer, key_fingerprint) in (maybe(), maybe(), maybe(), maybe(), maybe()),
            headers in head(),
        ) {
            let one = Opened {
                call: CALL, trace: TraceId(ids.0), span: SpanId(ids.1), parent_span: ids.2.map(SpanId),
                at: UnixNanos(at), method, target, upstream, provider, server_address, server_port,
                scope: Scope { run, experiment, session }, headers, peer, key_fingerprint,
            };
            let bytes = opened(&one);
            for length in 0..bytes.len() {
                prop_assert!(read_opened(CALL, &bytes[..length]).is_none());
            }
            prop_assert_eq!(read_opened(CALL, &bytes), Some(one));
        }

        #[test]
        fn an_answer_and_an_end_survive(
            (at, status, counts) in any::<(i64, u16, [u64; 5])>(),
            headers in head(),
            outcome in proptest::sample::select(OUTCOMES.to_vec()),
            failure in proptest::option::of((proptest::sample::select(SOURCES.to_vec()), text(), text())),
        ) {
            let one = Answered { call: CALL, at: UnixNanos(at), status, headers };
            prop_assert_eq!(read_answered(CALL, &answered(&one)), Some(one));
            let one = Closed {
                call: CALL, at: UnixNanos(at), outcome,
                failure: failure.map(|(source, code, message)| Failure { source, code, message }),
                sent_bytes: counts[0], sent_recorded: counts[1],
                received_bytes: counts[2], received_recorded: counts[3], drained_bytes: counts[4],
            };
            prop_assert_eq!(read_closed(CALL, &closed(&one)), Some(one));
        }

        #[test]
        fn noise_does_not_panic(bytes: Vec<u8>) {
            drop((read_opened(CALL, &bytes), read_answered(CALL, &bytes), read_closed(CALL, &bytes)));
        }
    }
}
