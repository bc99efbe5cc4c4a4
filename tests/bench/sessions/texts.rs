//! Searching many texts, and removing them in slices while others write.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tapline::{
    artifacts::{self, Artifacts},
    journal::{self, Journal},
    model::UnixNanos,
    store::{Config, Store, TextOrder, TextQuery},
    upkeep::{self, Life, Upkeep},
};

use crate::{
    feed,
    world::{Call, Dice, SECOND, Wire},
};

/// Messages of one conversation.
const MESSAGES: usize = 100;
const BATCH: usize = 16;
const NOW: UnixNanos = UnixNanos(400 * UnixNanos::DAY);

/// A conversation that nobody else has, with a few words that are rare.
fn call(number: usize, dice: &mut Dice) -> (Call, Bytes) {
    let messages: Vec<String> = (0..MESSAGES)
        .map(|message| {
            let role = if message % 2 == 0 { "user" } else { "assistant" };
            let rare = dice.hex(6);
            format!("{{\"role\":\"{role}\",\"content\":\"{} {rare}\"}}", dice.words(12))
        })
        .collect();
    let sent = format!("{{\"model\":\"gpt-5\",\"messages\":[{}]}}", messages.join(","));
    let at = UnixNanos::DAY + number as i64 * SECOND;
    let call = Call {
        at,
        until: at + SECOND,
        wire: Wire::Chat,
        headers: Vec::new(),
        peer: format!("10.0.0.1:{}", 1_000 + number % 60_000),
        key: "key".to_owned(),
        body: serde_json::Value::Null,
        status: 200,
        response: format!(
            "{{\"id\":\"c{number}\",\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"{}\"}},\
             \"finish_reason\":\"stop\"}}]}}",
            dice.words(12)
        ),
        scenario: "texts",
        session: number,
        works_for: None,
    };
    (call, sent.into())
}

pub async fn texts(contents: usize) {
    let directory = tempfile::TempDir::new().expect("a directory");
    let (journal, _reader) =
        Journal::open(&journal::Config::default(), directory.path(), NOW).expect("a journal opens");
    let store = Store::open(&Config::default(), directory.path()).expect("a store opens");
    let artifacts = Artifacts::open(&artifacts::Config::default(), directory.path())
        .expect("a folder of artifacts opens");
    let settler = feed::settler();
    let mut dice = Dice::new(5);
    let calls = contents / MESSAGES;
    let settled = |number: usize, dice: &mut Dice| {
        let (call, sent) = call(number, dice);
        let mut finished = feed::finished(number, &call);
        finished.sent = sent;
        settler.settle(&mut finished)
    };
    let begun = Instant::now();
    let mut batch = Vec::new();
    for number in 0..calls {
        batch.push(settled(number, &mut dice));
        if batch.len() == BATCH || number + 1 == calls {
            store.settle(std::mem::take(&mut batch)).await.expect("the store takes calls");
        }
    }
    println!(
        "{} contents stored in {:.0} s",
        store.stats().await.expect("sizes").contents,
        begun.elapsed().as_secs_f64()
    );
    let begun = Instant::now();
    let indexing = store.clone();
    tokio::task::spawn_blocking(move || while indexing.index_next(64).expect("it is indexed") {})
        .await
        .expect("it is indexed");
    println!("indexed in {:.0} s\n", begun.elapsed().as_secs_f64());

    println!("| search | hits | best, ms | worst of 20, ms |\n| --- | ---: | ---: | ---: |");
    let rare = Dice::new(5).hex(6);
    for (words, order) in [
        (rare.clone(), TextOrder::Newest),
        ("harbour ledger journal".to_owned(), TextOrder::Newest),
        ("\"harbour ledger journal\"".to_owned(), TextOrder::Newest),
        ("harbour".to_owned(), TextOrder::Newest),
        ("harbour ledger".to_owned(), TextOrder::Rank),
        ("harb*".to_owned(), TextOrder::Newest),
        ("kernel -harbour".to_owned(), TextOrder::Newest),
    ] {
        let query = TextQuery { words: words.clone(), order, limit: 50, ..TextQuery::default() };
        let (mut best, mut worst, mut hits) = (f64::MAX, 0.0f64, 0);
        for _ in 0..20 {
            let begun = Instant::now();
            hits = store.search(query.clone()).await.expect("the index answers").hits.len();
            let took = begun.elapsed().as_secs_f64() * 1e3;
            (best, worst) = (best.min(took), worst.max(took));
        }
        println!("| `{words}` {order:?} | {hits} | {best:.1} | {worst:.1} |");
    }

    // All of it has outlived its life; somebody writes all the while.
    let life = Life { payload: None, metadata: Some(Duration::from_secs(86_400)) };
    let config = upkeep::Config { general: life, ..upkeep::Config::default() };
    let fresh: upkeep::Fresh = Arc::new(|| Box::pin(std::future::ready(())));
    let upkeep = Upkeep::new(config, store.clone(), journal, artifacts, fresh, || NOW);
    let over = Arc::new(AtomicBool::new(false));
    let begun = Instant::now();
    let removing = {
        let over = Arc::clone(&over);
        tokio::spawn(async move {
            let report = upkeep.gc(false).await;
            over.store(true, Ordering::Relaxed);
            report
        })
    };
    let mut waits = Vec::new();
    let mut number = calls;
    while !over.load(Ordering::Relaxed) {
        let one = settled(number, &mut dice);
        number += 1;
        let begun = Instant::now();
        store.settle(vec![one]).await.expect("the store takes calls");
        waits.push(begun.elapsed().as_secs_f64() * 1e3);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let report = removing.await.expect("it ends").expect("it is removed");
    waits.sort_by(f64::total_cmp);
    let at =
        |share: usize| waits.get(waits.len().saturating_sub(1) * share / 1_000).copied().unwrap_or_default();
    println!(
        "\n{} calls and {} contents removed in {:.0} s, {} MB given back; {} writes beside it waited {:.1} ms in the middle, \
         {:.1} ms at 99 %, {:.1} ms at worst",
        report.calls,
        report.swept.contents,
        begun.elapsed().as_secs_f64(),
        report.freed_bytes / 1_000_000,
        waits.len(),
        at(500),
        at(990),
        at(1_000)
    );
    store.close().await;
}
