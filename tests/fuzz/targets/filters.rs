//! Any query on any list of the API: an answer or a clear refusal, never a fault of the server's.
#![no_main]

use std::sync::LazyLock;

use axum::body::Body;
use http::Request;
use libfuzzer_sys::fuzz_target;
use tapline::{api, capture::recorder::now, store::Store};
use tower::ServiceExt as _;

static API: LazyLock<(tokio::runtime::Runtime, axum::Router, tempfile::TempDir)> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let (runtime, folder) = (runtime.expect("a runtime"), tempfile::tempdir().expect("a temporary folder"));
    let store = Store::open(&tapline::store::Config::default(), folder.path()).expect("a store");
    (runtime, api::router(api::State::settled(store, now)), folder)
});
const PATHS: [&str; 4] = ["/api/v1/calls", "/api/v1/runs", "/api/v1/experiments", "/api/v1/costs"];

fuzz_target!(|input: (u8, String)| {
    let (path, query) = input;
    let path = PATHS[usize::from(path) % PATHS.len()];
    let Ok(request) = Request::get(format!("{path}?{query}")).header("host", "localhost").body(Body::empty()) else {
        return;
    };
    let (runtime, router, _) = &*API;
    let Ok(answer) = runtime.block_on(router.clone().oneshot(request));
    assert!(answer.status().as_u16() < 500, "{query:?}: {}", answer.status());
});
