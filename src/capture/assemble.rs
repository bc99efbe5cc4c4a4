//! Puts a call's records together again as the journal gives them back. Pure bookkeeping: nothing is
//! decoded here, and a record without its beginning (dropped while the journal was full) is counted and
//! passed over.

use std::collections::{BTreeMap, HashMap};

use bytes::{Bytes, BytesMut};

use crate::{
    journal::{Entry, Position},
    model::{
        CallId, UnixNanos,
        record::{Answered, Closed, Opened, Outcome, Record},
    },
};

/// A call with all its records, ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    pub opened: Opened,
    pub sent: Bytes,
    pub answered: Option<Answered>,
    pub received: Bytes,
    /// When each frame of `received` came, and its length.
    pub frames: Vec<(UnixNanos, usize)>,
    pub closed: Closed,
}

/// The calls that are open at the reader's place.
#[derive(Debug, Default)]
pub struct Assembler {
    open: HashMap<CallId, Assembly>,
    /// Where each open call begins, so that no segment goes while a call still needs it.
    starts: BTreeMap<Position, CallId>,
    strays: u64,
}

/// One open call. Bytes are copied out of the reader's buffers, which are large and shared.
#[derive(Debug)]
struct Assembly {
    start: Position,
    opened: Opened,
    sent: BytesMut,
    answered: Option<Answered>,
    received: BytesMut,
    frames: Vec<(UnixNanos, usize)>,
    /// The time of the newest record: where an interrupted call is said to end.
    last: UnixNanos,
}

impl Assembler {
    /// Takes the next entry; hands out the calls that it ends: one for `Closed`, all open ones for
    /// `Restarted`.
    pub fn take(&mut self, entry: Entry) -> Vec<Finished> {
        match entry.record {
            Record::Opened(opened) => {
                self.starts.insert(entry.start, opened.call);
                let last = opened.at;
                self.open.insert(
                    opened.call,
                    Assembly {
                        start: entry.start,
                        opened: *opened,
                        sent: BytesMut::new(),
                        answered: None,
                        received: BytesMut::new(),
                        frames: Vec::new(),
                        last,
                    },
                );
            }
            Record::Sent { call, bytes } => match self.open.get_mut(&call) {
                Some(assembly) => assembly.sent.extend_from_slice(&bytes),
                None => self.strays += 1,
            },
            Record::Answered(answered) => match self.open.get_mut(&answered.call) {
                Some(assembly) => {
                    assembly.last = answered.at;
                    assembly.answered = Some(*answered);
                }
                None => self.strays += 1,
            },
            Record::Received { call, at, bytes } => match self.open.get_mut(&call) {
                Some(assembly) => {
                    assembly.last = at;
                    assembly.frames.push((at, bytes.len()));
                    assembly.received.extend_from_slice(&bytes);
                }
                None => self.strays += 1,
            },
            Record::Closed(closed) => match self.open.remove(&closed.call) {
                Some(assembly) => return vec![self.finish(assembly, *closed)],
                None => self.strays += 1,
            },
            Record::Restarted { .. } => {
                let open: Vec<Assembly> = self.open.drain().map(|(_, assembly)| assembly).collect();
                let mut finished: Vec<Finished> = open
                    .into_iter()
                    .map(|assembly| {
                        let closed = interrupted(&assembly);
                        self.finish(assembly, closed)
                    })
                    .collect();
                finished.sort_by_key(|finished| finished.opened.call);
                return finished;
            }
        }
        Vec::new()
    }

    /// Where the oldest open call begins: everything before may be released.
    pub fn oldest(&self) -> Option<Position> {
        self.starts.first_key_value().map(|(start, _)| *start)
    }

    /// Calls open now.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Records passed over because their call's beginning is not there.
    pub fn strays(&self) -> u64 {
        self.strays
    }

    fn finish(&mut self, assembly: Assembly, closed: Closed) -> Finished {
        self.starts.remove(&assembly.start);
        Finished {
            opened: assembly.opened,
            sent: assembly.sent.freeze(),
            answered: assembly.answered,
            received: assembly.received.freeze(),
            frames: assembly.frames,
            closed,
        }
    }
}

/// The end that a crash did not let the call write.
fn interrupted(assembly: &Assembly) -> Closed {
    let sent = assembly.sent.len() as u64;
    let received = assembly.received.len() as u64;
    Closed {
        call: assembly.opened.call,
        at: assembly.last,
        outcome: Outcome::Interrupted,
        failure: None,
        sent_bytes: sent,
        sent_recorded: sent,
        received_bytes: received,
        received_recorded: received,
        drained_bytes: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{SpanId, TraceId, record::Scope};

    fn opened(call: u8) -> Record {
        Record::Opened(Box::new(Opened {
            call: CallId([call; 16]),
            trace: TraceId([1; 16]),
            span: SpanId([1; 8]),
            parent_span: None,
            at: UnixNanos(100),
            method: "POST".into(),
            target: "/chat/completions".into(),
            upstream: "default".into(),
            provider: "openai".into(),
            server_address: "api.openai.com".into(),
            server_port: 443,
            scope: Scope::default(),
            headers: vec![],
            peer: None,
            key_fingerprint: None,
        }))
    }

    fn closed(call: u8) -> Record {
        Record::Closed(Box::new(Closed {
            call: CallId([call; 16]),
            at: UnixNanos(900),
            outcome: Outcome::Completed,
            failure: None,
            sent_bytes: 0,
            sent_recorded: 0,
            received_bytes: 4,
            received_recorded: 4,
            drained_bytes: 0,
        }))
    }

    fn received(call: u8, at: i64, bytes: &'static str) -> Record {
        Record::Received {
            call: CallId([call; 16]),
            at: UnixNanos(at),
            bytes: Bytes::from_static(bytes.as_bytes()),
        }
    }

    fn feed(assembler: &mut Assembler, records: Vec<Record>) -> Vec<Finished> {
        let mut at = 0;
        records
            .into_iter()
            .flat_map(|record| {
                at += 10;
                assembler.take(Entry { start: Position(at), end: Position(at + 10), record })
            })
            .collect()
    }

    #[test]
    fn interleaved_calls_come_apart() {
        let mut assembler = Assembler::default();
        let finished = feed(
            &mut assembler,
            vec![
                opened(1),
                opened(2),
                received(2, 200, "bb"),
                received(1, 210, "aa"),
                received(2, 220, "BB"),
                closed(2),
            ],
        );
        assert_eq!(finished.len(), 1);
        assert_eq!(finished[0].received, "bbBB");
        assert_eq!(finished[0].frames, [(UnixNanos(200), 2), (UnixNanos(220), 2)]);
        assert_eq!(assembler.oldest(), Some(Position(10)), "the first call still needs its segment");
    }

    #[test]
    fn inv4_a_restart_ends_open_calls_as_interrupted_with_what_had_come() {
        let mut assembler = Assembler::default();
        let finished = feed(
            &mut assembler,
            vec![opened(1), received(1, 250, "part"), Record::Restarted { at: UnixNanos(999) }],
        );
        assert_eq!(finished.len(), 1);
        assert_eq!(finished[0].closed.outcome, Outcome::Interrupted);
        assert_eq!(finished[0].closed.at, UnixNanos(250), "it ended when it was last heard of");
        assert_eq!(finished[0].received, "part");
        assert!(assembler.is_empty() && assembler.oldest().is_none());
    }

    #[test]
    fn records_without_a_beginning_are_counted() {
        let mut assembler = Assembler::default();
        assert!(feed(&mut assembler, vec![received(1, 1, "x"), closed(1)]).is_empty());
        assert_eq!(assembler.strays(), 2);
    }

    #[test]
    fn inv3_a_second_close_makes_no_second_call() {
        let mut assembler = Assembler::default();
        assert_eq!(feed(&mut assembler, vec![opened(1), closed(1), closed(1)]).len(), 1);
    }
}
