//! Lists: filters, pages, formats, costs.

use serde_json::Value;

use super::fixture::{Fixture, call};
use crate::model::call::{CallStatus, Placement};

async fn varied() -> Fixture {
    let fixture = Fixture::new().await;
    let mut failed = call(2);
    failed.call.status = CallStatus::Error;
    failed.call.error_type = Some("429".to_owned());
    failed.call.cost = None;
    failed.call.price_id = None;
    let mut other = call(3);
    other.call.request_model = Some("claude".to_owned());
    other.call.provider = "anthropic".to_owned();
    other.call.upstream = "second".to_owned();
    other.call.operation = "embeddings".to_owned();
    other.call.user = Some("grace".to_owned());
    other.call.tags = vec!["daily".to_owned()];
    other.call.ended_at.0 += 60_000_000_000;
    other.placement = Placement { experiment: Some("other".to_owned()), run: None, peer: None };
    fixture.settle([call(1), failed, other]).await;
    fixture
}

#[tokio::test]
async fn every_filter_chooses() {
    let fixture = varied().await;
    let cases = [
        ("", &[3, 2, 1][..]),
        ("experiment=tuning", &[2, 1]),
        ("experiment=0", &[]),
        ("run=run-1", &[2, 1]),
        ("session=session-2", &[2]),
        ("model=claude", &[3]),
        ("provider=openai", &[2, 1]),
        ("upstream=second", &[3]),
        ("operation=embeddings", &[3]),
        ("status=error", &[2]),
        ("user=grace", &[3]),
        ("tag=daily", &[3]),
        ("trace=01010101010101010101010101010101", &[1]),
        ("since=2026-11-23T08:00:02Z", &[3, 2]),
        ("until=2026-11-23T08:00:02Z", &[1]),
        ("since=1h", &[3, 2, 1]),
        ("since=30m", &[]),
        ("min_cost=0.003", &[3]),
        ("min_duration=60s", &[3]),
        ("provider=openai&status=ok", &[1]),
    ];
    for (query, expected) in cases {
        let expected: Vec<_> = expected.iter().map(|number| format!("session-{number}")).collect();
        assert_eq!(fixture.sessions(&format!("/api/v1/calls?{query}")).await, expected, "{query}");
    }
}

#[tokio::test]
async fn pages_are_the_whole_list_and_nothing_twice() {
    let fixture = Fixture::new().await;
    fixture.settle((1..=7).map(call)).await;
    let mut seen = Vec::new();
    let mut path = "/api/v1/calls?limit=3".to_owned();
    loop {
        let (_, headers, body) = fixture.get(&path, &[]).await;
        let page: Value = serde_json::from_slice(&body).unwrap();
        seen.extend(page["calls"].as_array().unwrap().iter().map(|call| call["session"].clone()));
        let Some(cursor) = page["next_cursor"].as_str() else {
            assert!(!headers.contains_key("x-tapline-next-cursor"));
            break;
        };
        assert_eq!(headers["x-tapline-next-cursor"], cursor);
        path = format!("/api/v1/calls?limit=3&cursor={cursor}");
    }
    let expected: Vec<_> = (1..=7).rev().map(|number| format!("session-{number}")).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn bad_input_is_told_what_would_be_right() {
    let fixture = Fixture::new().await;
    let cases = [
        ("calls?modle=x", "did you mean \"model\"?"),
        ("calls?limit=0", "limit: expected a whole number from 1 to 1000"),
        ("calls?limit=1001", "from 1 to 1000, found \"1001\""),
        ("calls?limit=ten", "found \"ten\""),
        ("calls?cursor=zz", "cursor: expected the `next_cursor`"),
        ("calls?status=fine", "status: expected ok, error"),
        ("calls?format=xml", "format: expected json, jsonl or csv"),
        ("calls?since=tomorrow", "since: expected a time"),
        ("calls?min_cost=cheap", "min_cost: expected an amount"),
        ("calls?model=", "expected a value for \"model\""),
        ("calls?model=a&model=b", "at most once"),
        ("calls/zzzzzzzz", "expected a call id"),
        ("calls/abc", "expected a call id"),
        ("runs?since=1d", "unknown parameter \"since\""),
        ("costs?by=colour", "by: expected one of day, hour"),
        ("costs?by=day,day", "twice"),
        ("tail?after=-1", "after: expected the id of an earlier event"),
        ("tail?limit=5", "unknown parameter \"limit\""),
        ("openapi.json?x=1", "unknown parameter \"x\""),
    ];
    for (path, expected) in cases {
        let message = fixture.refused(&format!("/api/v1/{path}")).await;
        assert!(message.contains(expected), "{path}: {message}");
    }
}

#[tokio::test]
async fn inv6_rows_say_where_their_figures_come_from() {
    let fixture = varied().await;
    let list = fixture.json("/api/v1/calls").await;
    let [_, failed, priced] = list["calls"].as_array().unwrap().as_slice() else { panic!("{list}") };
    assert_eq!(priced["cost_usd"], "0.001");
    assert_eq!(priced["cost_nano_usd"], 1_000_000);
    assert_eq!(priced["usage_source"], "reported");
    assert_eq!(priced["price_id"], "2026-11/openai/gpt-4o@2026-01-01");
    assert_eq!((priced["experiment"].as_str(), priced["run"].as_str()), (Some("tuning"), Some("run-1")));
    assert_eq!(priced["started_at"], "2026-11-23T08:00:01.000000000Z");
    assert_eq!(priced["duration_ms"], 1500.0);
    assert_eq!((&failed["cost_usd"], &failed["cost_nano_usd"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn csv_and_json_lines_carry_the_same_rows() {
    let fixture = Fixture::new().await;
    let mut evil = call(1);
    evil.call.user = Some("=HYPERLINK(\"http://x\")".to_owned());
    evil.call.session = Some("+1".to_owned());
    evil.call.error_message = Some("@SUM(A1)".to_owned());
    evil.call.request_model = Some("-2+3".to_owned());
    fixture.settle([evil, call(2)]).await;

    let (_, headers, csv) = fixture.get("/api/v1/calls?format=csv&limit=1", &[]).await;
    assert!(headers["content-type"].to_str().unwrap().starts_with("text/csv"));
    assert!(headers.contains_key("x-tapline-next-cursor"));
    assert_eq!(String::from_utf8(csv.to_vec()).unwrap().lines().count(), 2);

    let (_, _, csv) = fixture.get("/api/v1/calls", &[("accept", "text/csv")]).await;
    let csv = String::from_utf8(csv.to_vec()).unwrap();
    for defused in ["\"'=HYPERLINK(\"\"http://x\"\")\"", "\"'+1\"", "\"'@SUM(A1)\"", "\"'-2+3\""] {
        assert!(csv.contains(defused), "{defused} in {csv}");
    }
    let (_, _, lines) = fixture.get("/api/v1/calls?format=jsonl", &[]).await;
    let lines = String::from_utf8(lines.to_vec()).unwrap();
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(Value::from(rows), fixture.json("/api/v1/calls").await["calls"]);
}

#[tokio::test]
async fn costs_are_grouped_and_totalled() {
    let fixture = varied().await;
    let report = fixture.json("/api/v1/costs?by=provider,day").await;
    assert_eq!(report["by"], serde_json::json!(["provider", "day"]));
    let rows = report["rows"].as_array().unwrap();
    let openai = rows.iter().find(|row| row["key"]["provider"] == "openai").unwrap();
    assert_eq!(openai["key"]["day"], "2026-11-23");
    assert_eq!((&openai["calls"], &openai["errors"]), (&2.into(), &1.into()));
    assert_eq!((&openai["priced_calls"], &openai["unpriced_calls"]), (&1.into(), &1.into()));
    assert_eq!((&openai["cost_usd"], &openai["cost_nano_usd"]), (&"0.001".into(), &1_000_000.into()));
    assert_eq!((&report["totals"]["calls"], &report["totals"]["cost_usd"]), (&3.into(), &"0.004".into()));

    let whole = fixture.json("/api/v1/costs").await;
    assert_eq!(whole["totals"], report["totals"]);
    let (_, _, csv) = fixture.get("/api/v1/costs?by=model&format=csv", &[]).await;
    let csv = String::from_utf8(csv.to_vec()).unwrap();
    assert!(csv.starts_with("model,calls,errors,"), "{csv}");
    let none = fixture.json("/api/v1/costs?by=model&until=2026-01-01").await;
    assert_eq!((&none["rows"], &none["totals"]["cost_usd"]), (&Value::Array(vec![]), &Value::Null));
}

#[tokio::test]
async fn runs_and_experiments_carry_their_sums() {
    let fixture = varied().await;
    let runs = fixture.json("/api/v1/runs?experiment=tuning").await;
    let run = &runs["runs"][0];
    assert_eq!((run["name"].as_str(), run["experiment"].as_str()), (Some("run-1"), Some("tuning")));
    assert_eq!((&run["totals"]["calls"], &run["totals"]["cost_usd"]), (&2.into(), &"0.001".into()));
    let id = run["id"].as_str().unwrap();
    let whole = fixture.json(&format!("/api/v1/runs/{id}")).await;
    assert_eq!(fixture.json("/api/v1/runs/run-1").await, whole);
    for (key, value) in run.as_object().unwrap() {
        assert_eq!(whole[key], *value, "{key}");
    }
    assert_eq!((&whole["params"], &whole["deleted_at"]), (&serde_json::json!({}), &Value::Null));

    let experiments = fixture.json("/api/v1/experiments").await;
    let names: Vec<_> = experiments["experiments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["name"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"tuning") && names.contains(&"other"), "{names:?}");
    let tuning = fixture.json("/api/v1/experiments/tuning").await;
    assert_eq!((&tuning["runs"], &tuning["totals"]["calls"]), (&1.into(), &2.into()));
    for path in ["/api/v1/runs/nothing", "/api/v1/experiments/nothing"] {
        assert_eq!(fixture.status(path).await, 404, "{path}");
    }
    let (_, _, csv) = fixture.get("/api/v1/runs?format=csv", &[]).await;
    assert!(csv.starts_with(b"id,name,experiment_id,experiment,status,"));
}
