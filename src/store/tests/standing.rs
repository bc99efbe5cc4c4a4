//! Calls that are written behind the traffic hold up nobody who waits for the writer.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
    mpsc,
};

use tokio::sync::oneshot;

use super::*;
use crate::{background::Standing, store::writer::Write};

fn three() -> Vec<Settled> {
    (1..=3).map(|number| placed(number, Some("e"), None)).collect()
}

#[tokio::test]
async fn idle_writing_ends_after_a_call_when_somebody_waits_for_what_is_fresh() {
    let (_directory, store) = open();
    let all = Arc::new(three());
    let gives_way = Arc::new(AtomicBool::new(false));
    let some = store.settle_shared(&all, 0..3, Standing::Idle, &gives_way).await.unwrap();
    assert_eq!(some.iter().map(|call| call.id).collect::<Vec<_>>(), [id(1)]);
    assert_eq!(store.last_sequence().await.unwrap(), 1);

    gives_way.store(true, Ordering::SeqCst);
    let rest = store.settle_shared(&all, 1..3, Standing::Idle, &gives_way).await.unwrap();
    assert_eq!(rest.iter().map(|call| call.id).collect::<Vec<_>>(), [id(2), id(3)]);
}

#[tokio::test]
async fn idle_writing_ends_after_a_call_when_other_work_waits() {
    let (_directory, store) = open();
    let (go, gate) = mpsc::channel::<()>();
    let (begins, begun) = oneshot::channel::<()>();
    let writer = store.writer().unwrap().clone();
    // Holds the writer until both others wait for it.
    let holding = tokio::spawn(async move {
        let hold = move |_: &mut Write<'_>| {
            begins.send(()).unwrap();
            gate.recv().unwrap();
            Ok(())
        };
        writer.write(hold).await
    });
    begun.await.unwrap();
    let all = Arc::new(three());
    let gives_way = Arc::new(AtomicBool::new(true));
    let idle = store.settle_shared(&all, 0..3, Standing::Idle, &gives_way);
    let other = store.ping();
    let then = async { go.send(()).unwrap() };
    // Polled in this order, and handed in when first polled.
    let (stored, ping, ()) = tokio::join!(biased; idle, other, then);
    ping.unwrap();
    assert_eq!(stored.unwrap().len(), 1);
    holding.await.unwrap().unwrap();
    assert_eq!(store.settle(all.to_vec()).await.unwrap().len(), 3);
}
