//! The journal's books: every record and every call is written, waiting or counted as dropped, whatever happens.

use super::*;

/// Records and calls that were handed in add up.
fn balanced(journal: &Journal, records: u64, calls: u64) -> Stats {
    let stats = journal.stats();
    assert_eq!(stats.records + stats.dropped_records, records, "{stats:?}");
    assert_eq!(stats.calls + stats.dropped_calls, calls, "{stats:?}");
    stats
}

#[test]
fn inv5_what_is_handed_in_is_taken_or_dropped_and_what_is_taken_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { max_bytes: 30_000, ..config() };
    let (journal, mut reader) = open(&config, directory.path());
    let mut handed = 0;
    for n in 0..100 {
        for record in [opened(n), sent(n, vec![0; 700]), closed(n)] {
            journal.append(record);
            handed += 1;
        }
    }
    let stats = balanced(&journal, handed, 100);
    assert!(stats.dropped_calls > 10 && stats.calls > 10 && stats.dropping, "{stats:?}");
    let taken = stats.calls;
    journal.nudge();
    let mut met = 0;
    while met < taken {
        let entries = reader.next(4_000, PATIENCE).unwrap();
        met += entries.iter().filter(|entry| matches!(entry.record, Record::Opened(_))).count() as u64;
        let stats = balanced(&journal, handed, 100);
        assert_eq!(stats.queued_calls + stats.unread_calls + met, taken, "{stats:?}");
    }
    while journal.stats().queued_records > 0 {
        std::thread::yield_now();
    }
    let stats = balanced(&journal, handed, 100);
    assert_eq!((stats.lost_calls, stats.found_calls), (0, 0));
}

#[test]
fn dropping_ends_when_there_is_room_and_the_count_stays() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { max_bytes: 6_000, ..config() };
    let (journal, mut reader) = open(&config, directory.path());
    assert!(journal.append(sent(1, vec![0; 3_900])));
    assert!(!journal.append(sent(1, vec![0; 3_900])));
    assert!(journal.stats().dropping);
    read(&mut reader, 1);
    journal.release(reader.position());
    // The next record that finds no room has the full segment closed, and so deleted.
    while journal.stats().dropping {
        journal.append(sent(1, vec![0; 3_900]));
        std::thread::yield_now();
    }
    assert!(journal.stats().dropped_records > 0);
}

#[test]
fn a_call_that_begins_in_the_journal_ends_there_however_full_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { tick: Duration::from_secs(3_600), max_queued_bytes: 20_000, ..config() };
    let (journal, mut reader) = open(&config, directory.path());
    let begun: Vec<u8> = (0..200).filter(|n| journal.append(opened(*n))).collect();
    assert!(begun.len() > 20 && begun.len() < 200);
    for n in 0..200 {
        assert_eq!(journal.append(closed(n)), begun.contains(&n), "{n}");
    }
    journal.close();
    let found = drain(&mut reader);
    let ends = found.iter().filter(|entry| matches!(entry.record, Record::Closed(_))).count();
    assert_eq!(ends, begun.len());
}

#[test]
fn calls_that_were_removed_from_the_disk_are_counted_as_lost() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { segment_bytes: 300, ..config() };
    let (journal, mut reader) = open(&config, directory.path());
    for n in 0..6 {
        journal.append(opened(n));
    }
    while journal.stats().queued_records > 0 {
        std::thread::yield_now();
    }
    let all = segments(directory.path());
    assert!(all.len() > 4, "{all:?}");
    fs::remove_file(&all[2]).unwrap();
    journal.close();
    let met = drain(&mut reader).len() as u64;
    let stats = balanced(&journal, 6, 6);
    assert!(stats.lost_calls > 0);
    assert_eq!(met + stats.lost_calls, 6, "{stats:?}");
    // What a process before left is told apart.
    drop((journal, reader));
    let (journal, mut reader) = open(&config, directory.path());
    journal.append(opened(7));
    journal.close();
    drain(&mut reader);
    let stats = journal.stats();
    assert_eq!((stats.found_calls, stats.calls, stats.lost_calls), (met, 1, 0));
}

#[test]
fn a_reader_that_goes_back_counts_no_call_twice() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, mut reader) = open(&config(), directory.path());
    for n in 0..5 {
        journal.append(opened(n));
    }
    let first = read(&mut reader, 5);
    reader.rewind();
    assert_eq!(read(&mut reader, 5), first);
    journal.append(opened(5));
    read(&mut reader, 1);
    let stats = balanced(&journal, 6, 6);
    assert_eq!((stats.unread_calls, stats.lost_calls), (0, 0));
}

#[test]
fn a_panic_of_the_writer_costs_one_group_and_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, mut reader) = open(&config(), directory.path());
    journal.append(opened(1));
    assert_eq!(records(read(&mut reader, 1)), [opened(1)]);
    journal.handle.shared.bombs.store(1, Ordering::Relaxed);
    journal.append(opened(2));
    while journal.stats().panics == 0 {
        std::thread::yield_now();
    }
    journal.append(opened(3));
    assert_eq!(records(read(&mut reader, 1)), [opened(3)]);
    let stats = balanced(&journal, 3, 3);
    assert_eq!((stats.calls, stats.dropped_calls, stats.dropped_records, stats.lost_calls), (2, 1, 1, 0));
    assert_eq!(stats.end, reader.position());
    journal.close();
    drop((journal, reader));
    let (found, _) = recover(directory.path());
    assert_eq!(found, [opened(1), opened(3)]);
}
