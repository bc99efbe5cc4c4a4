//! Bounds: what is full or broken is counted, never waited for, and recovers.

use super::*;

#[test]
fn release_deletes_whole_segments_that_were_read() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { segment_bytes: 1_000, ..config() };
    let (journal, mut reader) = open(&config, directory.path());
    for n in 0..40 {
        journal.append(sent(n, vec![n; 100]));
    }
    let entries = read(&mut reader, 20);
    // Everything written, so that the number of segments stands.
    while journal.stats().queued_bytes > 0 {
        std::thread::yield_now();
    }
    let before = segments(directory.path());
    assert!(before.len() > 4);
    let start = before[1].file_stem().unwrap().to_str().unwrap();
    let second = u64::from_str_radix(start, 16).unwrap();
    // Just short of the first one's end nothing may go; in the middle of the second only the first.
    journal.release(Position(second - 1));
    assert_eq!(segments(directory.path()), before);
    journal.release(Position(second + 1));
    assert_eq!(segments(directory.path()), before[1..]);
    assert_eq!(journal.stats().oldest, Position(second));
    // Further than was read: nothing unread goes.
    let unread = 40 - entries.len();
    journal.release(Position(u64::MAX));
    assert_eq!(records(read(&mut reader, unread)).len(), unread);
    // All of it is released now, but the segment being written stays.
    journal.release(journal.end());
    assert_eq!(segments(directory.path()).len(), 1);
    let on_disk = fs::metadata(&segments(directory.path())[0]).unwrap().len();
    assert_eq!(journal.stats().bytes_on_disk, on_disk);
}

#[test]
fn a_journal_that_ends_applied_leaves_nothing_to_replay() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, mut reader) = open(&config(), directory.path());
    a_call(1).into_iter().for_each(|record| assert!(journal.append(record)));
    journal.close();
    assert_eq!(drain(&mut reader).len(), a_call(1).len());
    journal.release(reader.position());
    assert_eq!(segments(directory.path()), Vec::<PathBuf>::new());
    // But not while another process is in the directory.
    let (journal, mut reader) = open(&config(), directory.path());
    journal.append(opened(2));
    journal.close();
    let (_next, _) = open(&config(), directory.path());
    assert_eq!(drain(&mut reader).len(), 1);
    journal.release(reader.position());
    assert_eq!(segments(directory.path()).len(), 2);
}

#[test]
fn inv5_a_full_journal_drops_and_counts_and_takes_more_after_release() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { max_bytes: 20_000, ..config() };
    let (journal, mut reader) = open(&config, directory.path());
    assert!(journal.append(opened(1)));
    let mut kept = 1;
    let mut dropped = 0;
    for length in [1_000; 40].into_iter().chain([10; 40]) {
        if journal.append(received(1, vec![0; length])) { kept += 1 } else { dropped += 1 }
    }
    assert!(kept > 10 && dropped > 10, "{kept} {dropped}");
    assert!(!journal.append(opened(2)));
    // The end of a call that is in the journal is always taken; of one that is not, never.
    assert!(!journal.append(closed(2)));
    assert!(journal.append(closed(1)));
    assert_eq!(journal.stats().dropped_records, dropped + 2);
    assert!(journal.stats().dropped_bytes > 20_000);
    assert!(journal.stats().bytes_on_disk <= 20_000 + 1_000);
    let found = records(read(&mut reader, kept + 1));
    assert_eq!(found.last(), Some(&closed(1)));
    journal.release(reader.position());
    assert!(journal.append(opened(3)), "there is room again: {:?}", journal.stats());
    assert_eq!(records(read(&mut reader, 1)), [opened(3)]);
}

#[test]
fn inv5_nothing_of_a_call_whose_beginning_was_dropped_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { max_bytes: 4_000, ..config() };
    let (journal, mut reader) = open(&config, directory.path());
    assert!(journal.append(sent(1, vec![0; 3_900])));
    assert!(!journal.append(opened(2)));
    assert_eq!(read(&mut reader, 1).len(), 1);
    journal.release(reader.position());
    // There is room for the rest of call 2 once the writer has closed the full segment.
    while !journal.append(opened(3)) {
        std::thread::yield_now();
    }
    assert!(!journal.append(answered(2)));
    assert!(!journal.append(closed(2)));
    assert_eq!(records(read(&mut reader, 1)), [opened(3)]);
    // It is forgotten with its end: no call can keep memory for ever.
    assert!(journal.handle.shared.queue().orphans.len() <= 1);
    assert!(!journal.handle.shared.queue().orphans.contains(&id(2)));
}

#[test]
fn refusing_is_a_choice() {
    for (when_full, expected) in [(WhenFull::Pass, false), (WhenFull::Refuse, true)] {
        let directory = tempfile::tempdir().unwrap();
        let config = Config { max_bytes: 4_000, when_full, ..config() };
        let (journal, mut reader) = open(&config, directory.path());
        assert!(!journal.refuses());
        assert!(journal.append(sent(1, vec![0; 3_900])));
        assert_eq!(journal.refuses(), expected);
        read(&mut reader, 1);
        journal.release(reader.position());
        // Asking is enough to recover: nobody appends while calls are refused.
        while journal.refuses() {
            std::thread::yield_now();
        }
    }
}

#[test]
fn inv5_memory_is_bounded_while_the_writer_is_busy() {
    let directory = tempfile::tempdir().unwrap();
    // Nothing is written before the close: what is queued stays.
    let config = Config { tick: Duration::from_secs(3_600), max_queued_bytes: 10_000, ..config() };
    let (journal, mut reader) = open(&config, directory.path());
    let kept = (0..100).filter(|_| journal.append(sent(1, vec![0; 500]))).count();
    let stats = journal.stats();
    assert!(stats.queued_bytes <= 10_000 && kept == 18, "{kept} {stats:?}");
    assert_eq!(stats.dropped_records, 82);
    journal.close();
    assert_eq!(drain(&mut reader).len(), kept);
}

#[test]
fn a_directory_that_was_removed_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    // What no further record waits for: the segment ends with each one, or the loss is noticed by itself.
    for segment_bytes in [1, 32 << 20] {
        let config = Config { segment_bytes, ..config() };
        let (journal, mut reader) = open(&config, directory.path());
        journal.append(opened(1));
        read(&mut reader, 1);
        fs::remove_dir_all(directory.path().join("journal")).unwrap();
        let since = Instant::now();
        while segments_or_none(directory.path()).is_empty() {
            assert!(since.elapsed() < PATIENCE);
            journal.append(opened(2));
            std::thread::yield_now();
        }
        journal.append(opened(3));
        journal.close();
        assert_eq!(records(drain(&mut reader)).last(), Some(&opened(3)));
        fs::remove_dir_all(directory.path().join("journal")).unwrap();
    }
}

fn segments_or_none(directory: &Path) -> Vec<PathBuf> {
    if directory.join("journal").exists() { segments(directory) } else { Vec::new() }
}

/// A file where the directory should be: no segment can be begun.
fn block(directory: &Path) {
    fs::rename(directory.join("journal"), directory.join("aside")).unwrap();
    fs::write(directory.join("journal"), "in the way").unwrap();
}

fn unblock(directory: &Path) {
    fs::remove_file(directory.join("journal")).unwrap();
    fs::rename(directory.join("aside"), directory.join("journal")).unwrap();
}

#[tokio::test]
async fn inv2_a_broken_disk_makes_nobody_wait_and_recovers_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let config =
        Config { segment_bytes: 1, max_queued_bytes: 20_000, when_full: WhenFull::Refuse, ..config() };
    let (journal, mut reader) = open(&config, directory.path());
    assert_eq!(journal.append_acked(opened(1)).await, Appended::Written);
    block(directory.path());
    // `ack_timeout` is far away: this answer comes from the writer, the next without it.
    assert_eq!(journal.append_acked(opened(2)).await, Appended::Late);
    assert_eq!(journal.append_acked(opened(3)).await, Appended::Late);
    let stats = journal.stats();
    assert!(stats.broken.as_deref().is_some_and(|why| why.contains("cannot write the journal")), "{stats:?}");
    assert!(journal.refuses());
    let mut expected = vec![opened(1), opened(2), opened(3)];
    while journal.append(sent(3, vec![1; 1_000])) {
        expected.push(sent(3, vec![1; 1_000]));
    }
    while journal.append(opened(5)) {
        expected.push(opened(5));
    }
    assert_eq!(journal.append_acked(opened(6)).await, Appended::Dropped);
    assert!(journal.stats().queued_bytes <= 20_000);
    unblock(directory.path());
    assert_eq!(records(read(&mut reader, expected.len())), expected);
    while journal.stats().broken.is_some() {
        tokio::task::yield_now().await;
    }
    assert!(!journal.refuses());
    assert_eq!(journal.append_acked(opened(7)).await, Appended::Written);
    assert_eq!(journal.stats().late_acks, 2);
}

#[test]
fn a_journal_that_closes_broken_counts_what_it_could_not_write() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { segment_bytes: 1, ..config() };
    let (journal, mut reader) = open(&config, directory.path());
    journal.append(opened(1));
    read(&mut reader, 1);
    block(directory.path());
    journal.append(opened(2));
    journal.append(opened(3));
    journal.close();
    assert_eq!(journal.stats().dropped_records, 2);
    assert_eq!(journal.end(), reader.position());
    assert!(drain(&mut reader).is_empty());
}

/// `/dev/full` behind a segment's name: opening works, writing says "no space left".
#[cfg(target_os = "linux")]
#[test]
fn inv4_a_disk_that_fills_up_loses_nothing_that_fits_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { segment_bytes: 1, ..config() };
    let (journal, mut reader) = open(&config, directory.path());
    journal.append(opened(1));
    let next = read(&mut reader, 1)[0].end;
    let path = segment::path(&directory.path().join("journal"), next.0);
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    journal.append(opened(2));
    // The writer clears away a segment that it could not begin, and with it the obstacle.
    assert_eq!(records(read(&mut reader, 1)), [opened(2)]);
    assert!(!fs::symlink_metadata(&path).unwrap().is_symlink());
}
