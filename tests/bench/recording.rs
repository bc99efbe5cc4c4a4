//! What recording costs beside the traffic: how far the store is behind, one long burst, memory, and how fast a
//! server with many spans starts and answers.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::{
    bench::{BARE, Bench, Health, TAPLINE, settle},
    bodies::Shape,
    load::{Plan, unix_nanos},
    roles::{Load, Process},
    wire::Connection,
};

/// 2,000 calls a second of 4 KB: how old the newest call in the store is.
pub fn lag(bench: &mut Bench) -> anyhow::Result<()> {
    const RATE: f64 = 2_000.0;
    let targets = bench.targets("lag")?;
    let tapline = targets.get(TAPLINE)?;
    let seconds = bench.seconds(5.0, 2.0);
    for _ in 0..bench.asked.rounds {
        let plan = bench.plan(Shape::Plain(4_096), 32, RATE, seconds);
        let plan = Plan { port: tapline.port, ..plan };
        let mut health = Connection::open(tapline.port)?;
        let before = Health::read(&mut health)?.settled + plan.connections as f64;
        let load = Load::start(&bench.cores, bench.scratch.path(), &plan)?;
        let mut samples = Vec::new();
        let until = Instant::now() + Duration::from_secs_f64(seconds + 0.5);
        while Instant::now() < until {
            samples.push((unix_nanos(), Health::read(&mut health)?.settled - before));
            thread::sleep(Duration::from_millis(20));
        }
        let seen = load.finish()?;
        settle(tapline)?;
        let began = seen["began_at"].as_u64().unwrap_or_default();
        // The schedule says when the call after the last settled one began.
        let ages = samples.into_iter().filter_map(|(at, settled)| {
            let since = at.checked_sub(began)? as f64 / 1e9;
            (since < seconds).then_some((since - settled.max(0.0) / RATE).max(0.0))
        });
        bench.figures.add(
            "2,000 calls/s of 4 KB: apply lag, highest",
            TAPLINE,
            "s",
            ages.fold(0.0, f64::max),
        );
        let late = seen["latency"]["p99"].as_f64().unwrap_or_default();
        bench.figures.add("2,000 calls/s of 4 KB: latency p99", TAPLINE, "µs", late);
    }
    targets.stop()?;
    let most = bench.figures.median("2,000 calls/s of 4 KB: apply lag, highest", TAPLINE);
    bench.figures.at_most("apply lag at 2,000 calls/s of 4 KB", most, 1.0, "s");
    Ok(())
}

/// A million calls in one closed loop, whose first minute is the burst; then the drain, and memory.
pub fn memory(bench: &mut Bench) -> anyhow::Result<()> {
    let (calls, quick) = (bench.asked.calls, bench.asked.quick);
    let targets = bench.targets("memory")?;
    let tapline = targets.get(TAPLINE)?;
    tapline_is_idle(bench, tapline)?;
    let minute = bench.seconds(60.0, 5.0);

    let plan = bench.plan(Shape::Plain(1_024), 32, 0.0, minute);
    let bare = bench.load(targets.get(BARE)?, false, &plan)?;
    let name = format!("{minute:.0} s burst");
    bench.figures.add(&name, BARE, "calls/s", bare.calls() / bare.seconds());
    let plan = bench.plan(Shape::Plain(1_024), 32, 0.0, minute);
    let burst = bench.load(tapline, true, &plan)?;
    let figures = &mut bench.figures;
    figures.add(&name, TAPLINE, "calls/s", burst.calls() / burst.seconds());
    let drain = burst.backlog / burst.drain.as_secs_f64();
    if burst.backlog >= 1_000.0 {
        figures.add(&format!("{name}: backlog at its end"), TAPLINE, "calls", burst.backlog);
        figures.add(&format!("{name}: backlog drains at"), TAPLINE, "calls/s", drain);
        figures.at_least("the backlog of a burst drains at", Some(drain), 10_000.0, "calls/s");
    }
    let share = 100.0 * burst.calls() / burst.seconds() / (bare.calls() / bare.seconds());
    figures.at_least(format!("{name}, of the bare proxy's"), Some(share), 60.0, "%");

    // The rest in pieces that the journal absorbs, as days of traffic are.
    let mut done = burst.calls() as u64;
    let began = Instant::now();
    while done < calls {
        let piece = (calls - done).min(200_000);
        let plan = Plan { calls: piece, ..bench.plan(Shape::Plain(1_024), 32, 0.0, 0.0) };
        done += bench.load(tapline, true, &plan)?.calls() as u64;
        eprintln!("  {done} of {calls} calls after {:.0} s", began.elapsed().as_secs_f64());
    }
    let (after, highest) = (tapline.memory("VmRSS")?, tapline.memory("VmHWM")?);
    let figures = &mut bench.figures;
    figures.add(&format!("memory after {done} calls"), TAPLINE, "MB", after);
    figures.add(&format!("memory at its highest in {done} calls"), TAPLINE, "MB", highest);
    figures.at_most(format!("memory after {done} calls"), Some(after), 120.0, "MB");
    let data = targets.data.clone();
    targets.stop()?;
    std::fs::remove_dir_all(&data)?;
    if quick {
        bench.figures.notes.push(format!("a quick run bursts for {minute:.0} s and makes {calls} calls"));
    }
    streams(bench)
}

fn tapline_is_idle(bench: &mut Bench, tapline: &Process) -> anyhow::Result<()> {
    let mut health = Connection::open(tapline.port)?;
    Health::read(&mut health)?;
    thread::sleep(Duration::from_millis(500));
    let idle = tapline.memory("VmRSS")?;
    bench.figures.add("memory idle", TAPLINE, "MB", idle);
    bench.figures.at_most("memory idle", Some(idle), 40.0, "MB");
    Ok(())
}

/// Many streams that hardly move.
fn streams(bench: &mut Bench) -> anyhow::Result<()> {
    let targets = bench.targets("streams")?;
    let tapline = targets.get(TAPLINE)?;
    // Two descriptors per stream, and some for files.
    let fits = tapline.descriptors().map_or(usize::MAX, |limit| limit.saturating_sub(300) as usize / 2);
    let count = bench.asked.streams.min(fits);
    if count < bench.asked.streams {
        bench.figures.notes.push(format!("the limit of open files allows {count} slow streams"));
    }
    for name in [BARE, TAPLINE] {
        let process = targets.get(name)?;
        let before = process.memory("VmRSS")?;
        let mut held = Process::hold(&bench.cores, bench.scratch.path(), process.port, count)?;
        if name == TAPLINE {
            // What is journalled waits for nobody; the streams themselves stay.
            thread::sleep(Duration::from_secs(2));
        }
        let per_stream = (process.memory("VmRSS")? - before) * 1e3 / count as f64;
        bench.figures.add(&format!("memory per stream, {count} slow streams"), name, "KB", per_stream);
        drop(held.input());
        drop(held);
        if name == TAPLINE {
            bench.figures.at_most("memory per slow stream", Some(per_stream), 40.0, "KB");
        }
    }
    Ok(())
}

/// From the start of the process until it is ready, on its one core.
fn start(bench: &mut Bench, data: &Path, what: &str) -> anyhow::Result<Process> {
    let began = Instant::now();
    let tapline = Process::tapline(&bench.cores, bench.scratch.path(), data, 9)?;
    let (status, _) = Connection::open(tapline.port)?.get("/readyz")?;
    anyhow::ensure!(status == 200, "expected status 200 of /readyz, found {status}");
    bench.figures.add(what, TAPLINE, "ms", began.elapsed().as_secs_f64() * 1e3);
    Ok(tapline)
}

pub fn startup(bench: &mut Bench) -> anyhow::Result<()> {
    let what = "start-up, empty store";
    for round in 0..bench.asked.rounds {
        let data = bench.scratch.folder(&format!("start-{round}"))?;
        start(bench, &data, what)?.stop()?;
    }
    let took = bench.figures.median(what, TAPLINE);
    bench.figures.at_most(what, took, 50.0, "ms");
    Ok(())
}

/// A store with many spans, made in process through the library's own `Store`: start-up, reports, pages.
pub fn queries(bench: &mut Bench) -> anyhow::Result<()> {
    let spans = bench.asked.spans;
    let data = bench.scratch.folder("filled")?;
    let began = Instant::now();
    Process::fill(bench.scratch.path(), &data, spans)?;
    bench.figures.add(
        "filling the store",
        "library",
        "spans/s",
        spans as f64 / began.elapsed().as_secs_f64(),
    );
    let what = format!("start-up, {spans} spans");
    for _ in 1..bench.asked.rounds {
        start(bench, &data, &what)?.stop()?;
    }
    let tapline = start(bench, &data, &what)?;
    let took = bench.figures.median(&what, TAPLINE);
    bench.figures.at_most(&what, took, 1_000.0, "ms");

    let reports = ["", "by=model", "by=day,model", "by=experiment,run", "by=hour&since=7d"];
    let filters = [
        "",
        "model=sim-large",
        "status=error",
        "experiment=experiment-3",
        "run=run-17",
        "session=session-4321",
        "user=user-77",
        "tag=rare",
        "since=24h",
        "min_cost=0.02",
        "min_duration=9s",
        "provider=nobody",
        "upstream=other",
        "operation=embeddings",
        "status=error&model=sim-large&since=30d",
        "model=sim-none",
        // Pairs, also of what nothing has in common.
        "model=sim-large&operation=embeddings",
        "experiment=experiment-3&status=error",
        "experiment=experiment-3&user=user-77",
        "user=user-77&model=sim-large",
        "run=run-17&status=error",
        "tag=rare&status=error",
        "tag=nightly&model=sim-none",
        "model=sim-large&min_duration=9s",
    ];
    let mut connection = Connection::open(tapline.port)?;
    for (face, queries, bound) in [("costs", &reports[..], 5.0), ("calls", &filters[..], 50.0)] {
        let mut slowest = (0.0, String::new());
        for query in queries {
            let path =
                if query.is_empty() { format!("/api/v1/{face}") } else { format!("/api/v1/{face}?{query}") };
            let what = format!("{spans} spans: {face} {query}");
            // The first fills caches, as a page that is looked at has.
            connection.get(&path)?;
            for _ in 0..bench.asked.rounds.max(5) {
                let began = Instant::now();
                let (status, body) = connection.get(&path)?;
                let took = began.elapsed().as_secs_f64() * 1e3;
                let body = String::from_utf8_lossy(&body);
                anyhow::ensure!(status == 200, "expected status 200 of {path}, found {status}: {body}");
                bench.figures.add(what.trim(), TAPLINE, "ms", took);
            }
            let took = bench.figures.median(what.trim(), TAPLINE).unwrap_or_default();
            if took > slowest.0 {
                slowest = (took, (*query).to_owned());
            }
        }
        let what = format!("slowest of {face} over {spans} spans ({})", slowest.1);
        bench.figures.at_most(what, Some(slowest.0), bound, "ms");
    }
    tapline.stop()
}
