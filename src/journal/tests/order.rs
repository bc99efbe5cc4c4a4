//! What goes in comes out: every kind, in order, across segments and restarts.

use proptest::prelude::*;

use super::*;

#[test]
fn every_kind_of_record_reads_back_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, mut reader) = open(&config(), directory.path());
    let mut all: Vec<Record> = (1..4).flat_map(a_call).collect();
    all.push(Record::Restarted { at: UnixNanos(12) });
    for record in &all {
        assert!(journal.append(record.clone()));
    }
    let entries = read(&mut reader, all.len());
    assert!(entries.windows(2).all(|pair| pair[0].end == pair[1].start));
    assert_eq!(entries.last().unwrap().end, journal.end());
    assert_eq!(reader.position(), journal.end());
    assert_eq!(records(entries), all);
    assert!(reader.next(1 << 20, Duration::ZERO).unwrap().is_empty());
}

#[test]
fn a_long_body_is_split_and_whole() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, mut reader) = open(&config(), directory.path());
    let body: Vec<u8> = (0..frame::PIECE + 100_000).map(|n| (n % 251) as u8).collect();
    assert!(journal.append(opened(1)));
    assert!(journal.append(sent(1, body.clone())));
    assert!(journal.append(received(1, body[..70_000].to_vec())));
    journal.close();
    let found = records(drain(&mut reader));
    assert_eq!(found.len(), 4);
    let mut whole = Vec::new();
    for record in &found[1..3] {
        let Record::Sent { call, bytes } = record else { panic!("expected a piece of the body") };
        assert_eq!(*call, id(1));
        whole.extend_from_slice(bytes);
    }
    assert!(whole == body);
    assert_eq!(found[3], received(1, body[..70_000].to_vec()));
}

#[test]
fn a_reader_gets_at_most_what_it_asks_for_but_always_one() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, mut reader) = open(&config(), directory.path());
    for _ in 0..10 {
        journal.append(sent(1, vec![1; 1_000]));
    }
    journal.close();
    assert_eq!(reader.next(1, PATIENCE).unwrap().len(), 1);
    assert_eq!(reader.next(2_000, PATIENCE).unwrap().len(), 2);
    assert_eq!(drain(&mut reader).len(), 7);
}

#[test]
fn inv4_what_is_acknowledged_survives_a_crash() {
    let (running, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (journal, _reader) = open(&config(), running.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for n in 1..50 {
        for record in a_call(n).into_iter().filter(|record| !matches!(record, Record::Closed(_))) {
            journal.append(record);
        }
        assert_eq!(runtime.block_on(journal.append_acked(closed(n))), Appended::Written);
    }
    // Neither closed nor dropped: the copy is what a killed process leaves.
    copy(running.path(), crashed.path());
    let (found, stats) = recover(crashed.path());
    assert_eq!(found, (1..50).flat_map(a_call).collect::<Vec<_>>());
    assert_eq!((stats.torn_bytes, stats.corrupt_frames), (0, 0));
    drop(journal);
}

#[test]
fn a_restart_is_marked_only_behind_what_is_replayed() {
    let directory = tempfile::tempdir().unwrap();
    // Nothing before the first start, nor after a start that wrote nothing.
    for _ in 0..2 {
        let (journal, mut reader) = open(&config(), directory.path());
        journal.close();
        assert_eq!(drain(&mut reader), []);
    }
    written(directory.path(), &a_call(1));
    let (journal, mut reader) = open(&config(), directory.path());
    journal.append(opened(2));
    let mut expected = a_call(1);
    expected.push(Record::Restarted { at: UnixNanos(7) });
    expected.push(opened(2));
    let entries = read(&mut reader, expected.len());
    assert!(entries.windows(2).all(|pair| pair[0].end == pair[1].start));
    assert_eq!(records(entries), expected);
    drop(journal);
    // The third process replays both.
    expected.push(Record::Restarted { at: UnixNanos(7) });
    let (_journal, mut reader) = open(&config(), directory.path());
    assert_eq!(records(read(&mut reader, expected.len())), expected);
}

#[test]
fn a_second_process_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _reader) = open(&config(), directory.path());
    let error = Journal::open(&config(), directory.path(), UnixNanos(0)).unwrap_err();
    assert_eq!(error.code, crate::model::ErrorCode::Busy);
    let holder = format!("process {} since 1970-01-01T00:00:00.000Z", std::process::id());
    assert!(error.message.contains(&holder), "{error}");
    journal.close();
    assert!(Journal::open(&config(), directory.path(), UnixNanos(0)).is_ok());
}

#[test]
fn many_producers_lose_and_reorder_nothing_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { segment_bytes: 20_000, ..config() };
    let (journal, mut reader) = open(&config, directory.path());
    std::thread::scope(|scope| {
        for n in 1..9 {
            let journal = journal.clone();
            scope.spawn(move || {
                for k in 0..500_u16 {
                    journal.append(sent(n, k.to_le_bytes().to_vec()));
                }
            });
        }
        let found = records(read(&mut reader, 4_000));
        for n in 1..9 {
            let own: Vec<_> = found.iter().filter(|record| record.call() == Some(id(n))).collect();
            let expected: Vec<_> = (0..500_u16).map(|k| sent(n, k.to_le_bytes().to_vec())).collect();
            assert!(own.into_iter().eq(&expected));
        }
    });
    assert!(segments(directory.path()).len() > 5);
}

#[test]
fn a_waiting_reader_is_woken_by_a_write_and_by_the_close() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, mut reader) = open(&config(), directory.path());
    let waiter = std::thread::spawn(move || {
        let first = records(reader.next(1 << 20, PATIENCE).unwrap());
        (first, reader.next(1 << 20, PATIENCE).unwrap())
    });
    journal.append(opened(1));
    while journal.stats().queued_bytes > 0 {
        std::thread::yield_now();
    }
    journal.close();
    assert_eq!(waiter.join().unwrap(), (vec![opened(1)], vec![]));
}

#[test]
fn a_gathering_reader_waits_for_more_until_it_is_hurried() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, reader) = open(&config(), directory.path());
    let mut reader = reader.gathering(PATIENCE, 1 << 20);
    let start = reader.position();
    journal.append(opened(1));
    while journal.stats().queued_bytes > 0 {
        std::thread::yield_now();
    }
    assert!(!reader.is_hurried(reader.position()));
    let waiter = std::thread::spawn(move || (records(reader.next(1 << 20, PATIENCE).unwrap()), reader));
    journal.append(opened(2));
    journal.nudge();
    let (found, mut reader) = waiter.join().unwrap();
    // The nudge covers what was queued before it; whether that came in one group or two is a matter of time.
    let rest = if found.len() < 2 { records(reader.next(1 << 20, PATIENCE).unwrap()) } else { Vec::new() };
    assert_eq!([found, rest].concat(), [opened(1), opened(2)]);
    assert!(reader.is_hurried(start), "to have read is not to have applied");
    // Enough of it is read at once, too.
    let mut reader = reader.gathering(PATIENCE, 1_000);
    journal.append(sent(1, vec![0; 2_000]));
    assert_eq!(records(reader.next(1 << 20, PATIENCE).unwrap()), [sent(1, vec![0; 2_000])]);
    assert!(!reader.is_hurried(reader.position()));
}

fn any_record() -> impl Strategy<Value = Record> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..300);
    prop_oneof![
        (1..9_u8).prop_map(opened),
        (1..9_u8, bytes()).prop_map(|(n, bytes)| sent(n, bytes)),
        (1..9_u8).prop_map(answered),
        (1..9_u8, bytes()).prop_map(|(n, bytes)| received(n, bytes)),
        (1..9_u8).prop_map(closed),
        any::<i64>().prop_map(|at| Record::Restarted { at: UnixNanos(at) }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_records_read_back_over_any_segment_size(
        all in prop::collection::vec(any_record(), 0..60),
        segment_bytes in 1..4_000_u64,
        max_bytes in 1..3_000_usize,
        reopen in any::<bool>(),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let config = Config { segment_bytes, ..config() };
        let (journal, mut reader) = open(&config, directory.path());
        for record in &all {
            prop_assert!(journal.append(record.clone()));
        }
        journal.close();
        if reopen {
            let (next, again) = open(&config, directory.path());
            next.close();
            reader = again;
        }
        let mut found = Vec::new();
        let mut at = Position(0);
        loop {
            let entries = reader.next(max_bytes, PATIENCE).unwrap();
            if entries.is_empty() {
                break;
            }
            for entry in entries {
                prop_assert_eq!(entry.start, at);
                at = entry.end;
                found.push(entry.record);
            }
        }
        if reopen && !all.is_empty() {
            prop_assert_eq!(found.pop(), Some(Record::Restarted { at: UnixNanos(7) }));
        }
        prop_assert_eq!(found, all);
        prop_assert_eq!(reader.position(), at);
    }
}
