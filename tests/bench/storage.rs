//! What a conversation costs on disk and to rebuild: agents that resend their history, a store that keeps each
//! message once. In process, on the real path behind the journal; nothing here depends on the machine but times.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Instant};

use anyhow::Context as _;
use tapline::{
    capture::{recorder::now, settle::Settler},
    model::{CallId, UnixNanos},
    pricing::PriceTable,
    store::{Config, Repacking, Side, Store},
    wire::Limits,
};

use crate::{agents::Agents, bench::Bench};

/// Calls written together, as the projector does under load.
const BATCH: usize = 64;

/// Batches after which dictionaries are trained.
const TRAINED_AFTER: usize = 4;

/// What a store holds after agents have worked.
struct Filled {
    calls: u64,
    raw: u64,
    each_compressed: u64,
    bytes: u64,
    /// A call near the end, and the bytes of its request.
    late: (CallId, usize),
}

/// Fills a store in `data` with interleaved conversations, closes it, and measures its file.
fn fill(data: &Path, conversations: u64, turns: u64, streamed: Option<bool>) -> anyhow::Result<Filled> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let settler = Settler::new(Arc::new(PriceTable::embedded()?), Limits::default());
    let (plain, streams) = (Agents::new(false), Agents::new(true));
    let began = UnixNanos(now().0 - UnixNanos::DAY);
    let mut going: Vec<_> = (0..conversations)
        .map(|number| {
            let agents = if streamed.unwrap_or(number % 2 == 1) { &streams } else { &plain };
            agents.conversation(number, turns, began)
        })
        .collect();
    let mut filled = Filled { calls: 0, raw: 0, each_compressed: 0, bytes: 0, late: (CallId([0; 16]), 0) };
    runtime.block_on(async {
        let store = Store::open(&Config::default(), data)?;
        let mut batch = Vec::new();
        for turn in 0..turns {
            for conversation in &mut going {
                let mut finished = conversation.next().context("a conversation has all its turns")?;
                for body in [&finished.sent, &finished.received] {
                    filled.raw += body.len() as u64;
                    filled.each_compressed += zstd::bulk::compress(body, 3)?.len() as u64;
                }
                filled.calls += 1;
                if turn + 1 == turns {
                    filled.late = (finished.opened.call, finished.sent.len());
                }
                batch.push(settler.settle(&mut finished));
                if batch.len() == BATCH {
                    store.settle(std::mem::take(&mut batch)).await?;
                    if filled.calls as usize / BATCH == TRAINED_AFTER {
                        train(&store).await?;
                    }
                }
            }
        }
        store.settle(batch).await?;
        store.close().await;
        anyhow::Ok(())
    })?;
    filled.bytes = std::fs::metadata(data.join(tapline::store::FILE))?.len();
    Ok(filled)
}

/// What a running server does by itself once there is enough to learn from.
async fn train(store: &Store) -> anyhow::Result<()> {
    store.train(now()).await?;
    let mut at = Repacking::default();
    while !at.done {
        at = store.repack(at).await?;
    }
    Ok(())
}

/// Bytes of each table and index.
fn tables(data: &Path) -> anyhow::Result<BTreeMap<String, u64>> {
    let connection = rusqlite::Connection::open(data.join(tapline::store::FILE))?;
    let mut sizes = connection.prepare("SELECT name, sum(pgsize) FROM dbstat GROUP BY 1")?;
    let rows = sizes.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// 40 conversations of 20 turns; the bytes of one call, and the time to rebuild a late request.
pub fn storage(bench: &mut Bench) -> anyhow::Result<()> {
    for (name, streamed) in [("plain", Some(false)), ("streamed", Some(true)), ("half streamed", None)] {
        let data = bench.scratch.folder(&format!("storage-{}", name.replace(' ', "-")))?;
        let filled = fill(&data, 40, 20, streamed)?;
        let calls = filled.calls as f64;
        let of = |what: &str| format!("agents, {name}: {what} a call");
        bench.figures.add(&of("bodies"), "raw", "B", filled.raw as f64 / calls);
        bench.figures.add(&of("bodies"), "zstd", "B", filled.each_compressed as f64 / calls);
        bench.figures.add(&of("bytes on disk"), "tapline", "B", filled.bytes as f64 / calls);
        for (table, bytes) in tables(&data)? {
            bench.figures.notes.push(format!("{name}: {table} {:.0} B a call", bytes as f64 / calls));
        }
        let rebuilt = rebuild(bench, &data, name, filled.late)?;
        let figures = &mut bench.figures;
        let bytes = figures.median(&of("bytes on disk"), "tapline");
        figures.at_most(of("bytes on disk"), bytes, 1_200.0, "B");
        let took = figures.median(&rebuilt, "tapline");
        figures.at_most(rebuilt, took, 1_000.0, "µs");
    }
    Ok(())
}

/// Rebuilds a request again and again; returns the figure's name.
fn rebuild(
    bench: &mut Bench,
    data: &Path,
    name: &str,
    (call, bytes): (CallId, usize),
) -> anyhow::Result<String> {
    let figure = format!("agents, {name}: rebuild {} KB", bytes / 1_000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = Store::open_read_only(&Config::default(), data)?;
        for _ in 0..200 {
            let began = Instant::now();
            let body = store.body(call, Side::Request).await?;
            let took = began.elapsed().as_secs_f64() * 1e6;
            anyhow::ensure!(body.bytes.len() == bytes, "expected {bytes} bytes, found {}", body.bytes.len());
            bench.figures.add(&figure, "tapline", "µs", took);
        }
        anyhow::Ok(())
    })?;
    Ok(figure)
}
