//! What a call costs behind the journal: decoding and counting it, writing it, indexing its words. In process and one
//! after the other, so each figure is one thread's; nothing of the traffic is in them.

use std::{sync::Arc, time::Instant};

use anyhow::Context as _;
use bytes::Bytes;
use tapline::{
    capture::{assemble::Finished, recorder::now, settle::Settler},
    model::{UnixNanos, call::Settled},
    pricing::PriceTable,
    store::{Config, Store},
    wire::Limits,
};

use crate::{
    agents::Agents,
    bench::Bench,
    bodies::{self, Shape},
};

/// Calls written together, as the projector does under load.
const BATCH: usize = 256;

pub fn ingest(bench: &mut Bench) -> anyhow::Result<()> {
    let calls = if bench.asked.quick { 4_000 } else { 20_000 };
    for (name, shape) in [
        ("plain 1 KB", Shape::Plain(1_024)),
        ("stream of 32 events", Shape::Stream { events: 32, gap_us: 0 }),
    ] {
        one(bench, name, (0..calls).map(move |number| shaped(shape, number)))?;
    }
    let agents = Agents::new(false);
    let first = UnixNanos(now().0 - UnixNanos::DAY);
    let conversations = (0..calls / 100).flat_map(|number| agents.conversation(number, 20, first));
    one(bench, "agents", conversations)
}

fn one(bench: &mut Bench, name: &str, calls: impl Iterator<Item = Finished>) -> anyhow::Result<()> {
    let data = bench.scratch.folder(&format!("ingest-{}", name.replace(' ', "-")))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let settler = Settler::new(Arc::new(PriceTable::embedded()?), Limits::default());
    runtime.block_on(async {
        let store = Store::open(&Config::default(), &data)?;
        let (mut decoding, mut writing, mut count) = (0.0, 0.0, 0.0);
        let mut batch: Vec<Settled> = Vec::new();
        let mut calls = calls.peekable();
        while let Some(mut finished) = calls.next() {
            let began = Instant::now();
            batch.push(settler.settle(&mut finished));
            decoding += began.elapsed().as_secs_f64();
            if batch.len() == BATCH || calls.peek().is_none() {
                count += batch.len() as f64;
                let began = Instant::now();
                store.settle(std::mem::take(&mut batch)).await?;
                writing += began.elapsed().as_secs_f64();
            }
        }
        let began = Instant::now();
        while store.index_next(BATCH)? {}
        let indexing = began.elapsed().as_secs_f64();
        store.close().await;
        for (what, seconds) in [("decoding", decoding), ("writing", writing), ("indexing", indexing)] {
            bench.figures.add(
                &format!("behind the journal, {name}: {what}"),
                "tapline",
                "µs",
                seconds / count * 1e6,
            );
        }
        anyhow::Ok(())
    })
}

/// A call of a shape with the heads and times of an agent's.
fn shaped(shape: Shape, number: u64) -> Finished {
    let mut finished = template(number).expect("an agent has a first call");
    let mut body = Vec::new();
    shape.request(number, &mut body);
    finished.sent = Bytes::from(body);
    let mut body = Vec::new();
    if let Shape::Stream { events, .. } = shape {
        finished.frames.clear();
        for index in 0..=events + 1 {
            let mut event = Vec::new();
            bodies::event(number, index, events, 1_764_000_000_000_000_000 + u64::from(index), &mut event);
            let at = finished.opened.at.0 + 1_000_000 * i64::from(index);
            finished.frames.push((UnixNanos(at), event.len()));
            body.extend_from_slice(&event);
        }
    } else {
        shape.answer(number, &mut body);
        for frame in &mut finished.frames {
            frame.1 = body.len();
        }
    }
    finished.received = Bytes::from(body);
    finished
}

fn template(number: u64) -> anyhow::Result<Finished> {
    thread_local! {
        static AGENTS: Agents = Agents::new(false);
    }
    let first = UnixNanos(now().0 - UnixNanos::DAY);
    let first = AGENTS.with(|agents| agents.conversation(number, 1, first).next());
    first.context("an agent has a first call")
}
