//! `make bench-sessions`: how well sessions are found in traffic whose true sessions are known, and what finding
//! and opening them costs. Prints Markdown; fails below the targets of precision and recall.

#![expect(clippy::print_stdout, reason = "what was found is its output")]

mod feed;
mod scenarios;
mod score;
mod world;

use std::{process::ExitCode, time::Instant};

use tapline::{
    model::{UnixNanos, filter::SessionFilter},
    store::{Config, Store},
};

use crate::{
    score::{Placed, score},
    world::{Answer, Client, SECOND, Talk, Wire, World},
};

const PRECISION: f64 = 0.99;
const RECALL: f64 = 0.95;
/// Worlds that are tried, each with a seed of its own.
const SEEDS: [u64; 3] = [1, 2, 3];

fn main() -> ExitCode {
    // `cargo bench` adds flags of its own.
    let size = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(4);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime starts");
    let reached = runtime.block_on(async {
        let reached = agreement(size).await;
        growth(1_000).await;
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

/// One conversation of many turns, each call resending everything: what a call costs as the history grows, and
/// what opening the session costs.
async fn growth(turns: usize) {
    let mut world = World::new(7);
    let client = Client { key: "key".to_owned(), host: "10.0.0.1".to_owned(), pool: 1 };
    let mut talk = Talk::new(&mut world, "growth", client, Wire::Chat, UnixNanos::DAY);
    talk.system = Some("You are a helpful assistant.".to_owned());
    for _ in 0..turns {
        let (question, count) = (world.dice.words(12), 12 + world.dice.below(12));
        let answer = Answer::text(world.dice.words(count));
        talk.turn(&mut world, question, &answer);
        talk.now += SECOND;
    }
    let calls = world.finish();
    let directory = tempfile::TempDir::new().expect("a directory");
    let store = Store::open(&Config::default(), directory.path()).expect("a store opens");
    let settler = feed::settler();
    println!("| turns of history | body, KB | decoding, µs | per KB, µs | storing with linking, µs |");
    println!("| ---: | ---: | ---: | ---: | ---: |");
    let step = turns / 5;
    let (mut decoding, mut storing, mut bytes) = (0.0, 0.0, 0usize);
    for (number, call) in calls.iter().enumerate() {
        let mut finished = feed::finished(number, call);
        bytes += finished.sent.len();
        let begun = Instant::now();
        let settled = settler.settle(&mut finished);
        decoding += begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        store.settle(vec![settled]).await.expect("the store takes calls");
        storing += begun.elapsed().as_secs_f64();
        if (number + 1) % step == 0 {
            let (calls, kilobytes) = (step as f64, bytes as f64 / 1_000.0);
            println!(
                "| {}–{} | {:.0} | {:.0} | {:.1} | {:.0} |",
                number + 1 - step,
                number + 1,
                kilobytes / calls,
                decoding * 1e6 / calls,
                decoding * 1e6 / kilobytes,
                storing * 1e6 / calls
            );
            (decoding, storing, bytes) = (0.0, 0.0, 0);
        }
    }
    let sessions =
        store.sessions(SessionFilter::default(), 10, None).await.expect("the store gives sessions");
    let mut best = f64::MAX;
    for _ in 0..5 {
        let begun = Instant::now();
        let session = store.session(&sessions[0].id).await.expect("the session is there");
        let steps = store.session_calls(&session.id, turns).await.expect("its calls are there");
        best = best.min(begun.elapsed().as_secs_f64());
        assert_eq!(steps.len(), turns, "all calls are of one session");
    }
    println!("\nopening a session of {turns} calls: {:.1} ms", best * 1e3);
    store.close().await;
}
