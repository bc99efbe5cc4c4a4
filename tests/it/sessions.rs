//! Sessions are found in traffic whose true sessions are known: the same worlds as `make bench-sessions`, small.

// Shared with the benchmark, which shows more of them.
#[path = "../bench/sessions/feed.rs"]
mod feed;
#[path = "../bench/sessions/scenarios.rs"]
mod scenarios;
#[path = "../bench/sessions/score.rs"]
mod score;
#[path = "../bench/sessions/world.rs"]
mod world;

use tapline::store::{Config, SessionsConfig, Store};

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_found_as_they_truly_are() {
    let calls = scenarios::all(1, 11).finish();
    let directory = tempfile::TempDir::new().unwrap();
    let store = Store::open(&Config::default(), directory.path()).unwrap();
    let (placed, ..) = feed::feed(&calls, &store).await;
    let mut names: Vec<_> = placed.iter().map(|call| call.scenario).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        println!("{name}: {:?}", score::score(placed.iter().filter(|call| call.scenario == name)));
    }
    let all = score::score(placed.iter());
    assert!(all.precision >= 0.99 && all.recall >= 0.95, "{all:?}");
    let (right, working) = score::working(&placed);
    assert!(working > 0 && right * 20 >= working * 19, "{right} of {working}");
    // What was found is in the store, and applying the calls again changes nothing.
    store.close().await;
    let store = Store::open(&Config::default(), directory.path()).unwrap();
    let (again, ..) = feed::feed(&calls, &store).await;
    for (one, other) in placed.iter().zip(&again) {
        assert_eq!(one.found, other.found);
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_not_looked_for_where_that_is_switched_off() {
    let calls = scenarios::all(1, 12).finish();
    for sessions in [
        SessionsConfig { infer: false, except: Vec::new() },
        SessionsConfig { infer: true, except: vec!["Default".to_owned()] },
    ] {
        let directory = tempfile::TempDir::new().unwrap();
        let store = Store::open(&Config { sessions, ..Config::default() }, directory.path()).unwrap();
        let (placed, ..) = feed::feed(&calls[..200], &store).await;
        assert!(placed.iter().all(|call| call.found.is_none()));
        store.close().await;
    }
}
