//! The journal as its users see it, on real directories.

mod accounts;
mod acks;
mod damage;
mod limits;
mod order;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;

use super::*;
use crate::model::{
    CallId, SpanId, TraceId,
    record::{Answered, Closed, Failure, Opened, Outcome, Scope, Source},
};

/// Long enough that only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(20);

fn config() -> Config {
    // Syncing is for the power, which no test cuts.
    let fsync = Fsync::Never;
    Config { fsync, tick: Duration::from_millis(1), ack_timeout: PATIENCE, ..Config::default() }
}

fn open(config: &Config, directory: &Path) -> (Journal, Reader) {
    Journal::open(config, directory, UnixNanos(7)).unwrap()
}

fn id(n: u8) -> CallId {
    CallId([n; 16])
}

fn opened(n: u8) -> Record {
    Record::Opened(Box::new(Opened {
        call: id(n),
        trace: TraceId([n; 16]),
        span: SpanId([n; 8]),
        parent_span: Some(SpanId([9; 8])),
        at: UnixNanos(1_700_000_000_000_000_000),
        method: "POST".to_owned(),
        target: "/chat/completions?x=1".to_owned(),
        upstream: "openai".to_owned(),
        provider: "openai".to_owned(),
        server_address: "api.openai.com".to_owned(),
        server_port: 443,
        scope: Scope { run: Some("r".to_owned()), experiment: None, session: Some("ü".to_owned()) },
        headers: vec![("x-odd".to_owned(), "\u{ff}\"\\".to_owned())],
        peer: Some("127.0.0.1:5000".to_owned()),
        key_fingerprint: None,
    }))
}

fn sent(n: u8, bytes: impl Into<Bytes>) -> Record {
    Record::Sent { call: id(n), bytes: bytes.into() }
}

fn received(n: u8, bytes: impl Into<Bytes>) -> Record {
    Record::Received { call: id(n), at: UnixNanos(-5), bytes: bytes.into() }
}

fn answered(n: u8) -> Record {
    Record::Answered(Box::new(Answered {
        call: id(n),
        at: UnixNanos(2),
        status: 200,
        headers: vec![("content-type".to_owned(), "text/event-stream".to_owned())],
    }))
}

fn closed(n: u8) -> Record {
    Record::Closed(Box::new(Closed {
        call: id(n),
        at: UnixNanos(i64::MAX),
        outcome: Outcome::UpstreamFailed,
        failure: Some(Failure {
            source: Source::Upstream,
            code: "connection_reset".to_owned(),
            message: "the upstream went away".to_owned(),
        }),
        sent_bytes: u64::MAX,
        sent_recorded: 1,
        received_bytes: 2,
        received_recorded: 3,
        drained_bytes: 1,
    }))
}

/// One of every kind.
fn a_call(n: u8) -> Vec<Record> {
    vec![
        opened(n),
        sent(n, &b"{\"stream\":true}"[..]),
        answered(n),
        received(n, &b"data: 1\n\n"[..]),
        received(n, Bytes::new()),
        closed(n),
    ]
}

/// Reads until `count` entries came.
fn read(reader: &mut Reader, count: usize) -> Vec<Entry> {
    let mut entries = Vec::new();
    while entries.len() < count {
        let more = reader.next(1 << 20, PATIENCE).unwrap();
        assert!(!more.is_empty(), "{} of {count} entries came", entries.len());
        entries.extend(more);
    }
    entries
}

/// Reads what is there after a close.
fn drain(reader: &mut Reader) -> Vec<Entry> {
    let mut entries = Vec::new();
    loop {
        let more = reader.next(1 << 20, PATIENCE).unwrap();
        if more.is_empty() {
            return entries;
        }
        entries.extend(more);
    }
}

fn records(entries: Vec<Entry>) -> Vec<Record> {
    entries.into_iter().map(|entry| entry.record).collect()
}

/// The records that a new process finds, without the `Restarted` it adds.
fn recover(directory: &Path) -> (Vec<Record>, Stats) {
    let (journal, mut reader) = open(&config(), directory);
    journal.close();
    let mut found = records(drain(&mut reader));
    found.retain(|record| !matches!(record, Record::Restarted { .. }));
    (found, journal.stats())
}

/// Writes records to a new directory in one segment and returns the segment's path.
fn written(directory: &Path, all: &[Record]) -> PathBuf {
    let (journal, _reader) = open(&config(), directory);
    for record in all {
        assert!(journal.append(record.clone()));
    }
    journal.close();
    segments(directory).pop().unwrap()
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> =
        fs::read_dir(directory.join("journal")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// What a machine would find on the disk if the process died now.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("journal")).unwrap();
    for path in segments(from) {
        fs::copy(&path, to.join("journal").join(path.file_name().unwrap())).unwrap();
    }
}
