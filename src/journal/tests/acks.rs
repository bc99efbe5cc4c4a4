//! What an acknowledgement promises in each mode.

use std::{
    pin::pin,
    sync::atomic::AtomicU64,
    task::{Context, Poll, Waker},
};

use super::*;
use crate::journal::ack::Slot;

fn poll_once(ack: &mut Ack) -> Poll<Appended> {
    pin!(ack).poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn strict_acknowledges_what_a_crash_keeps() {
    for fsync in [Fsync::Never, Fsync::Interval, Fsync::Always] {
        let (running, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        // A tick that never comes: the acknowledgement alone has it written.
        let config = Config { fsync, tick: Duration::from_secs(3_600), ..config() };
        let (journal, _reader) = open(&config, running.path());
        assert!(journal.append(opened(1)));
        assert_eq!(journal.append_acked(closed(1)).await, Appended::Written);
        copy(running.path(), crashed.path());
        assert_eq!(recover(crashed.path()).0, [opened(1), closed(1)]);
        assert_eq!(journal.stats().queued_bytes, 0);
    }
}

#[test]
fn relaxed_is_ready_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { mode: Mode::Relaxed, tick: Duration::from_secs(3_600), ..config() };
    let (journal, mut reader) = open(&config, directory.path());
    assert_eq!(poll_once(&mut journal.append_acked(closed(1))), Poll::Ready(Appended::Written));
    assert!(journal.stats().queued_bytes > 0, "relaxed does not wake the writer");
    drop(journal);
    assert_eq!(records(drain(&mut reader)), [closed(1)]);
}

#[tokio::test]
async fn a_waiting_task_is_woken_from_the_writer_thread() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, _reader) = open(&config(), directory.path());
    let tasks: Vec<_> = (0..200).map(|n| tokio::spawn(journal.append_acked(closed(n)))).collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), Appended::Written);
    }
    assert_eq!(journal.stats().late_acks, 0);
}

#[tokio::test]
async fn an_ack_that_nobody_resolves_is_late_by_itself() {
    let late = Arc::new(AtomicU64::new(0));
    let slot = Arc::new(Slot::default());
    let ack = Ack::waiting(Arc::clone(&slot), Instant::now() + Duration::from_millis(5), Arc::clone(&late));
    assert_eq!(ack.await, Appended::Late);
    assert_eq!(late.load(Ordering::Relaxed), 1);
    assert!(!slot.resolve(Appended::Late), "the writer does not count it again");
}

#[test]
fn an_ack_needs_no_runtime() {
    let late = Arc::new(AtomicU64::new(0));
    let slot = Arc::new(Slot::default());
    let mut ack = Ack::waiting(Arc::clone(&slot), Instant::now() + PATIENCE, Arc::clone(&late));
    assert_eq!(poll_once(&mut ack), Poll::Pending);
    assert!(slot.resolve(Appended::Written));
    assert_eq!(poll_once(&mut ack), Poll::Ready(Appended::Written));
    let mut ack = Ack::waiting(Arc::default(), Instant::now(), late);
    assert_eq!(poll_once(&mut ack), Poll::Ready(Appended::Late));
}

#[tokio::test]
async fn after_the_close_everything_is_dropped_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let (journal, mut reader) = open(&config(), directory.path());
    journal.append(opened(1));
    let clone = journal.clone();
    journal.close();
    assert!(!clone.append(sent(1, &b"x"[..])));
    assert_eq!(clone.append_acked(closed(1)).await, Appended::Dropped);
    assert_eq!(clone.stats().dropped_records, 2);
    clone.close();
    assert_eq!(records(drain(&mut reader)), [opened(1)]);
}

/// Not a measurement, a guard against a lost wake-up: each of these acks waits for the one before.
#[tokio::test]
async fn a_chain_of_acks_never_stalls() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config { tick: Duration::from_secs(3_600), ..config() };
    let (journal, _reader) = open(&config, directory.path());
    for n in 0..2_000_u32 {
        journal.append(sent(1, n.to_le_bytes().to_vec()));
        assert_eq!(journal.append_acked(closed(1)).await, Appended::Written);
    }
    assert_eq!(journal.stats().late_acks, 0);
}
