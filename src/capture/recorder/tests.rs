//! What a recording promises whoever holds it: it never fails, it ends once, and its times do not jump.

use super::*;
use crate::journal::{self, Reader};

const PATIENCE: Duration = Duration::from_secs(20);

fn recorder(directory: &std::path::Path) -> (Recorder, Reader) {
    let config = journal::Config { tick: Duration::from_millis(1), ..journal::Config::default() };
    let (journal, reader) = Journal::open(&config, directory, now()).unwrap();
    (Recorder::new(journal, Config::default(), Fingerprints::new([1; 32])), reader)
}

fn begin(recorder: &Recorder, at: UnixNanos) -> Recording {
    let destination = Destination {
        upstream: "default".to_owned(),
        provider: "openai".to_owned(),
        server_address: "api.openai.com".to_owned(),
        server_port: 443,
    };
    recorder.open(Begin {
        at,
        method: "POST",
        target: "/chat/completions",
        headers: &HeaderMap::new(),
        destination: &destination,
        scope: Scope::default(),
        peer: None,
    })
}

fn end(recording: &Recording) -> Option<Ack> {
    recording.close(recording.now(), Outcome::Completed, None)
}

/// The records that the journal has once `recorder` and all recordings are gone.
fn records(recorder: Recorder, mut reader: Reader) -> Vec<Record> {
    recorder.shared.journal.close();
    let mut all = Vec::new();
    loop {
        let some = reader.next(1 << 20, PATIENCE).unwrap();
        if some.is_empty() {
            return all;
        }
        all.extend(some.into_iter().map(|entry| entry.record));
    }
}

fn ends(records: &[Record]) -> Vec<&Closed> {
    records
        .iter()
        .filter_map(|record| if let Record::Closed(end) = record { Some(&**end) } else { None })
        .collect()
}

#[test]
fn inv2_a_panic_while_recording_reaches_nobody_and_costs_one_call_a_part() {
    let directory = tempfile::tempdir().unwrap();
    let (recorder, reader) = recorder(directory.path());
    let explode = |times| recorder.shared.bombs.store(times, Ordering::Relaxed);
    let (hurt, sound) = (begin(&recorder, now()), begin(&recorder, now()));
    hurt.received(now(), &Bytes::from_static(b"kept"));
    explode(2);
    hurt.received(now(), &Bytes::from_static(b"lost"));
    hurt.answered(now(), 200, &HeaderMap::new());
    hurt.received(now(), &Bytes::from_static(b"after"));
    sound.received(now(), &Bytes::from_static(b"sound"));
    explode(1);
    assert!(end(&hurt).is_some(), "an end is tried twice");
    assert!(end(&sound).is_some());
    assert_eq!(recorder.panics(), 3);
    drop((hurt, sound));
    let records = records(recorder, reader);
    let figures: Vec<_> =
        ends(&records).iter().map(|end| (end.received_bytes, end.received_recorded)).collect();
    assert_eq!(figures, [(13, 4), (5, 5)], "what is kept is a prefix, and the call says how much is missing");
}

#[test]
fn inv5_a_call_that_could_not_even_be_opened_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let (recorder, reader) = recorder(directory.path());
    recorder.shared.bombs.store(1, Ordering::Relaxed);
    let recording = begin(&recorder, now());
    recording.sent(&Bytes::from_static(b"x"));
    assert!(end(&recording).is_none(), "there is nothing to end");
    assert_eq!(recorder.unrecorded_calls(), 1);
    drop(recording);
    assert_eq!(records(recorder, reader), []);
}

#[test]
fn times_follow_the_monotonic_clock_from_where_the_call_began() {
    let directory = tempfile::tempdir().unwrap();
    let (recorder, _reader) = recorder(directory.path());
    // As if the wall clock had been set by a year since.
    let began = UnixNanos(now().0 - 365 * 86_400 * 1_000_000_000);
    let recording = begin(&recorder, began);
    let (first, second) = (recording.now(), recording.now());
    assert!(began <= first && first <= second);
    assert!(second.since(began) < 60_000_000_000, "{}", second.since(began));
}

#[test]
fn a_call_whose_client_left_ends_so_and_says_what_came_after() {
    let directory = tempfile::tempdir().unwrap();
    let (recorder, reader) = recorder(directory.path());
    let recording = begin(&recorder, now());
    recording.received(now(), &Bytes::from_static(b"with it "));
    assert!(recording.left_for().is_none());
    recording.client_left();
    recording.received(now(), &Bytes::from_static(b"without"));
    assert!(recording.left_for().is_some());
    assert!(end(&recording).is_some());
    drop(recording);
    let records = records(recorder, reader);
    let end = ends(&records)[0];
    assert_eq!((end.outcome, end.received_bytes, end.drained_bytes), (Outcome::ClientGone, 15, 7));
    assert_eq!(end.failure, Some(client_left()));
}

#[test]
fn what_is_kept_is_decided_when_a_call_opens() {
    let directory = tempfile::tempdir().unwrap();
    let (recorder, reader) = recorder(directory.path());
    let before = begin(&recorder, now());
    recorder.reconfigure(Config { content: false, ..Config::default() });
    let after = begin(&recorder, now());
    for recording in [&before, &after] {
        recording.sent(&Bytes::from_static(b"prompt"));
        assert!(end(recording).is_some());
    }
    drop((before, after));
    let records = records(recorder, reader);
    let kept: Vec<_> = ends(&records).iter().map(|end| (end.sent_bytes, end.sent_recorded)).collect();
    assert_eq!(kept, [(6, 6), (6, 0)]);
}
