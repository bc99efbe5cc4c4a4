//! What a call costs as histories grow: one long conversation, and many at once.

use std::time::Instant;

use bytes::Bytes;
use tapline::{
    model::{UnixNanos, filter::SessionFilter},
    store::{Config, Store},
};
use tower::ServiceExt as _;

use crate::{
    feed,
    world::{Answer, Call, Client, Dice, SECOND, Talk, Wire, World},
};

/// Calls per transaction.
const BATCH: usize = 64;
const SYSTEM: &str =
    "You are a helpful assistant of a company that repairs ships. Be brief, and say when you do not know.";

/// One conversation of many turns, each call resending everything: what a call costs as the history grows, and
/// what opening the session costs.
pub async fn one(turns: usize) {
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
    let fresh: tapline::api::Fresh = std::sync::Arc::new(|| Box::pin(std::future::ready(())));
    let api = tapline::api::router(tapline::api::State::new(store.clone(), fresh, || {
        UnixNanos(2 * UnixNanos::DAY)
    }));
    let mut asked = f64::MAX;
    for _ in 0..5 {
        let path = format!("/api/v1/sessions/{}?limit={turns}", sessions[0].id);
        let request = http::Request::get(path).body(axum::body::Body::empty()).expect("a request");
        let begun = Instant::now();
        let answer = api.clone().oneshot(request).await.expect("it answers");
        assert!(answer.status().is_success(), "{}", answer.status());
        let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.expect("a body");
        asked = asked.min(begun.elapsed().as_secs_f64());
        assert!(body.len() > turns * 100, "all calls are in it");
    }
    println!(
        "\nopening a session of {turns} calls: {:.1} ms; as JSON of the API {:.1} ms",
        best * 1e3,
        asked * 1e3
    );
    store.close().await;
}

/// Conversations that go on in turns, each call resending its history: what a call costs and takes on disk, turn
/// by turn. Nothing of a conversation is asked of memory that the others have not pushed out by then.
/// With a `clock` each call's system prompt tells the time.
pub async fn many(conversations: usize, turns: usize, clock: bool) {
    let directory = tempfile::TempDir::new().expect("a directory");
    let store = Store::open(&Config::default(), directory.path()).expect("a store opens");
    let settler = feed::settler();
    let mut dice = Dice::new(11);
    let mut histories: Vec<Vec<String>> = (0..conversations)
        .map(|_| vec![format!("{{\"role\":\"system\",\"content\":\"{SYSTEM}\"}}")])
        .collect();
    let told = if clock { ", whose system prompts tell the time" } else { "" };
    println!("\n{conversations} conversations of {turns} turns, all at once{told}:\n");
    println!(
        "| turns | body, KB | decoding, µs a KB | storing with linking, µs | of that a KB, µs | on disk, bytes |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: |");
    let band = turns.div_ceil(10);
    let (mut decoding, mut storing, mut bytes, mut before) = (0.0, 0.0, 0usize, 0);
    let (mut number, mut batch) = (0, Vec::new());
    for turn in 0..turns {
        for (which, history) in histories.iter_mut().enumerate() {
            let (question, length) = (dice.words(12), 12 + dice.below(30));
            let answer = dice.words(length);
            if clock {
                history[0] = format!(
                    "{{\"role\":\"system\",\"content\":\"{SYSTEM} It is 12:{:02}:{:02}.\"}}",
                    turn / 60,
                    turn % 60
                );
            }
            history.push(format!("{{\"role\":\"user\",\"content\":\"{question}\"}}"));
            let sent = format!("{{\"model\":\"gpt-5\",\"messages\":[{}]}}", history.join(","));
            let message = format!("{{\"role\":\"assistant\",\"content\":\"{answer}\"}}");
            let at = UnixNanos::DAY + (turn * conversations + which) as i64 * SECOND / 100;
            let call = Call {
                at,
                until: at + SECOND,
                wire: Wire::Chat,
                headers: Vec::new(),
                peer: format!("10.0.0.{}:{}", which % 200, 1_000 + which),
                key: "key".to_owned(),
                body: serde_json::Value::Null,
                status: 200,
                response: format!(
                    "{{\"id\":\"c{number}\",\"model\":\"gpt-5\",\"choices\":[{{\"index\":0,\"message\":{message},\
                     \"finish_reason\":\"stop\"}}],\"usage\":{{\"prompt_tokens\":{},\"completion_tokens\":{length},\
                     \"total_tokens\":{}}}}}",
                    sent.len() / 5,
                    sent.len() / 5 + length as usize
                ),
                scenario: "growth",
                session: which,
                works_for: None,
            };
            history.push(message);
            let mut finished = feed::finished(number, &call);
            number += 1;
            bytes += sent.len();
            finished.closed.sent_bytes = sent.len() as u64;
            finished.closed.sent_recorded = sent.len() as u64;
            finished.sent = Bytes::from(sent);
            let begun = Instant::now();
            batch.push(settler.settle(&mut finished));
            decoding += begun.elapsed().as_secs_f64();
            if batch.len() == BATCH || number == conversations * turns {
                let begun = Instant::now();
                store.settle(std::mem::take(&mut batch)).await.expect("the store takes calls");
                storing += begun.elapsed().as_secs_f64();
            }
        }
        if (turn + 1) % band == 0 || turn + 1 == turns {
            let (calls, kilobytes) = ((conversations * band) as f64, bytes as f64 / 1_000.0);
            let stored = store.stats().await.expect("sizes").bytes;
            println!(
                "| {}–{} | {:.0} | {:.1} | {:.0} | {:.1} | {:.0} |",
                turn + 2 - band,
                turn + 1,
                kilobytes / calls,
                decoding * 1e6 / kilobytes,
                storing * 1e6 / calls,
                storing * 1e6 / kilobytes,
                stored.saturating_sub(before) as f64 / calls
            );
            (decoding, storing, bytes, before) = (0.0, 0.0, 0, stored);
        }
    }
    let found =
        store.sessions(SessionFilter::default(), usize::MAX, None).await.expect("the store gives sessions");
    println!("\n{} sessions were found in them", found.len());
    store.close().await;
}
