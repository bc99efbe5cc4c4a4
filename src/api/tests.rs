//! The query API over a real store: what a client may ask, and what it is told when it asks wrongly.

mod any;
pub(super) mod fixture;
mod lists;
mod one_call;
mod tails;

use std::collections::BTreeSet;

use serde_json::Value;
use utoipa::OpenApi;

use super::openapi::Document;
use fixture::{Fixture, call};

/// The only routes that change anything.
const WRITES: [(&str, &[&str]); 5] = [
    ("/api/v1/costs/reprice", &["post"]),
    ("/api/v1/runs/{id}/budget", &["delete", "put"]),
    ("/api/v1/db/gc", &["post"]),
    ("/api/v1/db/train", &["post"]),
    ("/api/v1/db/reindex", &["post"]),
];
/// What can be read and erased.
const ERASED: [&str; 4] =
    ["/api/v1/calls/{id}", "/api/v1/sessions/{id}", "/api/v1/runs/{id}", "/api/v1/experiments/{id}"];

#[tokio::test]
async fn the_document_describes_every_route_and_no_other() {
    let described: BTreeSet<String> = Document::openapi().paths.paths.keys().cloned().collect();
    let routed: BTreeSet<String> = super::routes().into_iter().map(|(path, _)| path.to_owned()).collect();
    assert_eq!(described, routed);

    let fixture = Fixture::new().await;
    let document = fixture.json("/api/v1/openapi.json").await;
    assert_eq!(document["openapi"], "3.1.0");
    for (path, item) in document["paths"].as_object().unwrap() {
        let mut methods: Vec<_> = item.as_object().unwrap().keys().map(String::as_str).collect();
        methods.sort_unstable();
        let writes = WRITES.iter().find(|(written, _)| written == path);
        let reads = if ERASED.contains(&path.as_str()) { &["delete", "get"][..] } else { &["get"] };
        assert_eq!(methods, writes.map_or(reads, |(_, methods)| methods), "{path}");
    }
}

#[tokio::test]
async fn every_reference_in_the_document_leads_somewhere() {
    fn walk(value: &Value, seen: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(reference)) = object.get("$ref") {
                    seen.push(reference.clone());
                }
                object.values().for_each(|value| walk(value, seen));
            }
            Value::Array(items) => items.iter().for_each(|value| walk(value, seen)),
            _ => {}
        }
    }
    let document = serde_json::to_value(Document::openapi()).unwrap();
    let mut references = Vec::new();
    walk(&document, &mut references);
    assert!(references.len() > 20, "{}", references.len());
    for reference in references {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
}

/// The document names every field that an answer has, so that types made from it are whole.
#[tokio::test]
async fn the_document_names_every_field_of_a_call() {
    let fixture = Fixture::new().await;
    fixture.settle([call(1)]).await;
    let list = fixture.json("/api/v1/calls").await;
    let document = serde_json::to_value(Document::openapi()).unwrap();
    let described = document["components"]["schemas"]["CallRow"]["properties"].as_object().unwrap();
    for field in list["calls"][0].as_object().unwrap().keys() {
        assert!(described.contains_key(field), "{field}");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_told_in_the_same_shape() {
    let fixture = Fixture::new().await;
    for path in ["/api/v1", "/api/v1/", "/api/v1/cals", "/api/v1/calls/x/y/z"] {
        let (status, _, body) = fixture.get(path, &[]).await;
        let body: Value = serde_json::from_slice(&body).unwrap_or_else(|_| panic!("{path}"));
        assert_eq!((status, &body["error"]["code"]), (404, &Value::from("not_found")), "{path}");
    }
    let message = fixture.json("/api/v1/cals").await["error"]["message"].to_string();
    assert!(message.contains("nearest: /api/v1/calls"), "{message}");

    let (status, headers, body) = fixture.send("POST", "/api/v1/calls", &[]).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &body["error"]["code"]), (405, &Value::from("method_not_allowed")));
    assert_eq!(headers["allow"], "GET,HEAD");

    for (method, path, allowed) in [
        ("GET", "/api/v1/costs/reprice", "POST"),
        ("POST", "/api/v1/calls/x", "DELETE"),
        ("GET", "/api/v1/runs/x/budget", "PUT"),
    ] {
        let (status, headers, body) = fixture.send(method, path, &[]).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(status, 405, "{path}");
        assert!(headers["allow"].to_str().unwrap().contains(allowed), "{path}: {:?}", headers["allow"]);
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains(allowed) && message.contains(method), "{message}");
    }
}

#[tokio::test]
async fn what_a_client_has_received_is_in_the_next_answer() {
    let fixture = Fixture::new().await;
    fixture.settle([call(1)]).await;
    let id = call(1).call.id.to_string();
    for (path, _) in super::routes() {
        if WRITES.iter().any(|(written, _)| *written == path) {
            continue;
        }
        let before = fixture.freshened();
        let path = match path {
            "/api/v1/prices/diff" => "/api/v1/prices/diff?from=2026-01-01".to_owned(),
            "/api/v1/prices/explain" => "/api/v1/prices/explain?model=gpt-4o&provider=openai".to_owned(),
            "/api/v1/runs/{id}" => "/api/v1/runs/run-1".to_owned(),
            "/api/v1/experiments/{id}" => "/api/v1/experiments/0".to_owned(),
            "/api/v1/sessions/{id}" => "/api/v1/sessions/session-1".to_owned(),
            "/api/v1/sessions/{id}/log" => "/api/v1/sessions/session-1/log".to_owned(),
            "/api/v1/calls/{id}/diff/{other}" => format!("/api/v1/calls/{id}/diff/{id}"),
            "/api/v1/search" => "/api/v1/search?q=words".to_owned(),
            // The body of a tail never ends; it is not read here.
            path => path.replace("{id}", &id),
        };
        // Budgets are a server's.
        let expected = if path == "/api/v1/budgets" { 409 } else { 200 };
        let status = fixture.status(&path).await;
        assert_eq!((status, fixture.freshened()), (expected, before + 1), "{path}");
    }
    assert!(fixture.freshened() > 0);
}

#[tokio::test]
async fn nothing_is_cached_or_taken_for_a_page() {
    let fixture = Fixture::new().await;
    for path in ["/api/v1/calls", "/api/v1/nothing"] {
        let (_, headers, _) = fixture.get(path, &[]).await;
        assert_eq!(headers["cache-control"], "no-store");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert!(headers["content-security-policy"].to_str().unwrap().contains("sandbox"));
        assert!(!headers.contains_key("access-control-allow-origin"));
    }
}
