//! What the proxy costs the traffic: throughput in a closed loop, latency in an open one, and streams.

use serde_json::Value;

use crate::{
    bench::{BARE, Bench, Round, TAPLINE},
    bodies::Shape,
    roles,
};

const SHAPES: [(&str, Shape, usize); 5] = [
    ("plain 1 KB", Shape::Plain(1_024), 32),
    ("plain 32 KB", Shape::Plain(32 << 10), 16),
    ("plain 1 MB", Shape::Plain(1 << 20), 4),
    ("stream of 32 events", Shape::Stream { events: 32, gap_us: 0 }, 16),
    ("agent history", Shape::History, 16),
];

/// As fast as answers come, the proxy and all its recording on one core.
pub fn throughput(bench: &mut Bench) -> anyhow::Result<()> {
    for (name, shape, connections) in SHAPES {
        let targets = bench.targets(&format!("throughput-{name}").replace(' ', "-"))?;
        let seconds = bench.seconds(if name == "plain 1 KB" { 4.0 } else { 2.5 }, 0.8);
        let (burst, sustained, cpu) =
            (format!("{name}: burst"), format!("{name}: sustained"), format!("{name}: processor per call"));
        let mut calls = 0.0;
        for _ in 0..bench.asked.rounds {
            let plan = bench.plan(shape, connections, 0.0, seconds);
            for (target, round) in bench.round(&targets, &plan)? {
                let figures = &mut bench.figures;
                figures.add(&burst, target, "calls/s", round.calls() / round.seconds());
                let whole = round.seconds() + round.drain.as_secs_f64();
                figures.add(&sustained, target, "calls/s", round.calls() / whole);
                if target != "direct" {
                    figures.add(&cpu, target, "µs", round.cpu / round.calls() * 1e6);
                }
                if target == TAPLINE {
                    calls += round.calls() + connections as f64;
                    drained(bench, name, &round);
                }
            }
        }
        let data = targets.data.clone();
        targets.stop()?;
        let disk = roles::size(&data)? as f64 / calls;
        std::fs::remove_dir_all(&data)?;
        let figures = &mut bench.figures;
        figures.add(&format!("{name}: disk per call"), TAPLINE, "bytes", disk);
        let share = figures.paired(&sustained, TAPLINE, BARE, |one, other| 100.0 * one / other);
        figures.at_least(format!("{name}: sustained, of the bare proxy's"), share, 40.0, "%");
    }
    Ok(())
}

/// A drain of a handful of calls says nothing about its speed.
fn drained(bench: &mut Bench, name: &str, round: &Round) {
    if round.backlog >= 1_000.0 {
        let rate = round.backlog / round.drain.as_secs_f64();
        bench.figures.add(&format!("{name}: backlog drains at"), TAPLINE, "calls/s", rate);
    }
}

/// 1,000 calls a second at their times.
pub fn latency(bench: &mut Bench) -> anyhow::Result<()> {
    let targets = bench.targets("latency")?;
    let seconds = bench.seconds(4.0, 1.5);
    for _ in 0..bench.asked.rounds {
        let plan = bench.plan(Shape::Plain(1_024), 32, 1_000.0, seconds);
        for (target, round) in bench.round(&targets, &plan)? {
            percentiles(
                bench,
                "1,000 calls/s: latency",
                target,
                &round.seen["latency"],
                &["p50", "p99", "p999"],
            );
        }
    }
    targets.stop()?;
    let added = |figures: &crate::figures::Figures, percentile: &str| {
        let what = format!("1,000 calls/s: latency {percentile}");
        figures.paired(&what, TAPLINE, BARE, |one, other| one - other)
    };
    let figures = &mut bench.figures;
    for percentile in ["p50", "p99", "p999"] {
        if let Some(added) = added(figures, percentile) {
            figures.add(&format!("1,000 calls/s: added to bare, {percentile}"), TAPLINE, "µs", added);
        }
    }
    let (half, most) = (added(figures, "p50"), added(figures, "p99"));
    figures.at_most("latency p50 over the bare proxy at 1,000 calls/s", half, 30.0, "µs");
    figures.at_most("latency p99 over the bare proxy at 1,000 calls/s", most, 500.0, "µs");
    Ok(())
}

/// 100 streams a second of 20 events, 4.7 ms apart: out of step with the calls, which begin every 10 ms. In step, the events of
/// ten streams would all fall into the instants in which calls begin, and the first token would wait for them.
pub fn stream(bench: &mut Bench) -> anyhow::Result<()> {
    let targets = bench.targets("stream")?;
    let seconds = bench.seconds(4.0, 1.5);
    let mut merged = 0.0;
    for _ in 0..bench.asked.rounds {
        let plan = bench.plan(Shape::Stream { events: 20, gap_us: 4_700 }, 32, 100.0, seconds);
        for (target, round) in bench.round(&targets, &plan)? {
            percentiles(bench, "streams: first token", target, &round.seen["first_token"], &["p50", "p99"]);
            percentiles(bench, "streams: event on its way", target, &round.seen["event"], &["p50", "p99"]);
            percentiles(bench, "streams: gap jitter", target, &round.seen["jitter"], &["p50", "p99"]);
            let joined = round.seen["merged"].as_f64().unwrap_or_default();
            bench.figures.add("streams: merged writes", target, "events", joined);
            if target == TAPLINE {
                merged += joined;
            }
        }
    }
    targets.stop()?;
    let figures = &mut bench.figures;
    let first = figures.paired("streams: first token p50", TAPLINE, BARE, |one, other| one - other);
    figures.at_most("time to first token p50 over the bare proxy", first, 30.0, "µs");
    figures.at_most("upstream writes that were merged", Some(merged), 0.0, "events");
    Ok(())
}

fn percentiles(bench: &mut Bench, what: &str, target: &str, seen: &Value, which: &[&str]) {
    for percentile in which {
        if let Some(value) = seen[percentile].as_f64() {
            bench.figures.add(&format!("{what} {percentile}"), target, "µs", value);
        }
    }
}
