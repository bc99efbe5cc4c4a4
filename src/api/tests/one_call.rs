//! One call: decoded, exact, and in time.

use serde_json::{Value, json};

use super::fixture::{FRAMES, Fixture, REQUEST, call};
use crate::model::content::Body;

fn path(number: u8, rest: &str) -> String {
    format!("/api/v1/calls/{}{rest}", call(number).call.id)
}

#[tokio::test]
async fn a_call_is_shown_whole() {
    let fixture = Fixture::new().await;
    fixture.settle([call(1), call(2)]).await;
    let whole = fixture.json(&path(1, "")).await;
    assert_eq!(whole["id"], call(1).call.id.to_string());
    assert_eq!(whole["run"], "run-1");
    assert_eq!(whole["request"]["messages"][0]["parts"][0], json!({"type": "text", "content": "hi"}));
    let answer = &whole["response"]["choices"][0];
    assert_eq!(answer["message"]["parts"][0], json!({"type": "text", "content": "Hello"}));
    assert_eq!(answer["finish_reason"], "stop");
    assert_eq!(whole["response"]["complete"], true);
    assert_eq!(whole["request_headers"][1], json!(["authorization", "Bearer ***"]));
    assert_eq!(whole["decode_notes"], json!([]));

    let span = fixture.json(&format!("/api/v1/calls/{}", call(2).call.span_id)).await;
    assert_eq!(span["session"], "session-2");
    assert_eq!(fixture.status("/api/v1/calls/019a01").await, 200);
    assert_eq!(fixture.status("/api/v1/calls/ffffff").await, 404);
}

#[tokio::test]
async fn inv8_bodies_leave_exactly_as_they_crossed() {
    let fixture = Fixture::new().await;
    let mut odd = call(2);
    let bytes = b"\xff\x00<script>alert(1)</script>\r\n".to_vec();
    odd.response = Body::raw(bytes.clone().into());
    odd.arrivals.clear();
    odd.call.response_whole = false;
    odd.call.response_headers = vec![
        ("content-type".to_owned(), "text/html".to_owned()),
        ("content-encoding".to_owned(), "gzip".to_owned()),
    ]
    .into();
    fixture.settle([call(1), odd]).await;

    let (_, headers, body) = fixture.get(&path(1, "/request"), &[]).await;
    assert_eq!(body, REQUEST);
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["x-tapline-whole"], "true");
    let (_, headers, body) = fixture.get(&path(1, "/response"), &[]).await;
    assert_eq!(body, FRAMES.concat());
    assert_eq!(headers["content-type"], "text/event-stream; charset=utf-8");

    let (_, headers, body) = fixture.get(&path(2, "/response"), &[]).await;
    assert_eq!(body, bytes);
    assert_eq!(headers["content-type"], "text/html");
    assert_eq!(headers["content-encoding"], "gzip");
    assert_eq!(headers["x-tapline-whole"], "false");
    let disposition = headers["content-disposition"].to_str().unwrap();
    assert!(
        disposition.starts_with("attachment; ") && disposition.ends_with("-response.bin\""),
        "{disposition}"
    );
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert!(headers["content-security-policy"].to_str().unwrap().contains("sandbox"));
}

#[tokio::test]
async fn streams_are_shown_in_time() {
    let fixture = Fixture::new().await;
    let mut plain = call(2);
    plain.call.streamed = false;
    fixture.settle([call(1), plain]).await;
    let stream = fixture.json(&path(1, "/stream")).await;
    let offsets = |list: &str| -> Vec<f64> {
        stream[list].as_array().unwrap().iter().map(|item| item["offset_ms"].as_f64().unwrap()).collect()
    };
    assert_eq!(offsets("frames"), [300.0, 1400.0, 1450.0]);
    assert_eq!(offsets("events"), [300.0, 1400.0, 1450.0]);
    assert_eq!(stream["events"][2], json!({"offset_ms": 1450.0, "event": Value::Null, "data": "[DONE]"}));
    let plain = fixture.json(&path(2, "/stream")).await;
    assert_eq!((&plain["streamed"], &plain["events"]), (&json!(false), &json!([])));
    assert_eq!(plain["frames"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_call_without_bodies_is_a_call_all_the_same() {
    let fixture = Fixture::new().await;
    let mut bare = call(1);
    bare.request = Body::default();
    bare.response = Body::default();
    bare.arrivals.clear();
    bare.call.http_status = None;
    bare.call.request_whole = false;
    bare.call.response_whole = false;
    fixture.settle([bare]).await;
    let whole = fixture.json(&path(1, "")).await;
    assert_eq!(whole["request_whole"], false);
    let (status, headers, body) = fixture.get(&path(1, "/response"), &[]).await;
    assert_eq!((status, body.len()), (200, 0));
    assert_eq!(headers["x-tapline-whole"], "false");
}
