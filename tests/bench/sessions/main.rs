//! `make bench-sessions`: how well sessions are found in traffic whose true sessions are known, and what finding
//! and opening them costs. Prints Markdown; fails below the targets of precision and recall. `-- growth 1000`:
//! so many conversations of 200 turns at once (`clock`: with times in them); `-- texts 1000000`: searching so many texts, and removing them
//! while others write.

#![expect(clippy::print_stdout, reason = "what was found is its output")]

mod feed;
mod growth;
mod scenarios;
mod score;
mod texts;
mod world;

use std::process::ExitCode;

use tapline::store::{Config, Store};

use crate::score::{Placed, score};

const PRECISION: f64 = 0.99;
const RECALL: f64 = 0.95;
/// Worlds that are tried, each with a seed of its own.
const SEEDS: [u64; 3] = [1, 2, 3];

fn main() -> ExitCode {
    // `cargo bench` adds flags of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|one| !one.starts_with('-')).collect();
    let size = arguments.iter().find_map(|argument| argument.parse::<usize>().ok());
    let named = |name: &str| arguments.iter().any(|argument| argument == name);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime starts");
    let reached = runtime.block_on(async {
        if named("growth") {
            growth::many(size.unwrap_or(1_000), 200, named("clock")).await;
            return true;
        }
        if named("texts") {
            texts::texts(size.unwrap_or(1_000_000)).await;
            return true;
        }
        let reached = agreement(size.unwrap_or(4) as u64).await;
        growth::one(1_000).await;
        for clock in [false, true] {
            growth::many(50, 200, clock).await;
        }
        reached
    });
    if reached { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Every scenario at once, several times over.
async fn agreement(size: u64) -> bool {
    let mut placed: Vec<Placed> = Vec::new();
    let (mut decoding, mut storing) = (0.0, 0.0);
    for (number, seed) in SEEDS.into_iter().enumerate() {
        let calls = scenarios::all(size, seed).finish();
        let directory = tempfile::TempDir::new().expect("a directory");
        let store = Store::open(&Config::default(), directory.path()).expect("a store opens");
        let (mut found, decoded, stored) = feed::feed(&calls, &store).await;
        store.close().await;
        decoding += decoded.as_secs_f64();
        storing += stored.as_secs_f64();
        // Sessions of different worlds are different ones.
        for call in &mut found {
            call.truth += number << 32;
            let of_world = |session: String| format!("{number} {session}");
            call.found = call.found.take().map(of_world);
            call.comes_from = call.comes_from.take().map(of_world);
            call.works_for = call.works_for.map(|lead| lead + (number << 32));
        }
        placed.append(&mut found);
    }
    println!("| scenario | calls | sessions | precision | recall |\n| --- | ---: | ---: | ---: | ---: |");
    let mut names: Vec<&str> = placed.iter().map(|call| call.scenario).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        line(name, score(placed.iter().filter(|call| call.scenario == name)));
    }
    let all = score(placed.iter());
    line("**all, together**", all);
    let (right, working) = score::working(&placed);
    println!(
        "\n{right} of {working} calls of sub-agents are in sessions that come from the session of their lead"
    );
    println!(
        "\n{} calls; decoding {:.0} µs a call, storing with linking {:.0} µs a call\n",
        all.calls,
        decoding * 1e6 / all.calls as f64,
        storing * 1e6 / all.calls as f64
    );
    let reached = all.precision >= PRECISION && all.recall >= RECALL;
    if !reached {
        println!("expected a precision of {PRECISION} and a recall of {RECALL} at least\n");
    }
    reached
}

fn line(name: &str, score: score::Score) {
    println!(
        "| {name} | {} | {} | {:.4} | {:.4} |",
        score.calls, score.sessions, score.precision, score.recall
    );
}
