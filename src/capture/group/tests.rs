//! What a call says of its place, name by name.

use super::*;
use crate::model::{
    CallId, SpanId, TraceId, UnixNanos,
    call::Dialect,
    exchange::{Request, Response, Timing},
    record::Scope,
};

fn call(headers: &[(&str, &str)], scope: Scope, parameters: Value) -> Grouping {
    let opened = Opened {
        call: CallId([1; 16]),
        trace: TraceId([1; 16]),
        span: SpanId([1; 8]),
        parent_span: None,
        at: UnixNanos(0),
        method: "POST".into(),
        target: "/chat/completions".into(),
        upstream: "default".into(),
        provider: "openai".into(),
        server_address: "x".into(),
        server_port: 1,
        scope,
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        peer: None,
        key_fingerprint: None,
    };
    let exchange = Exchange {
        dialect: Dialect::ChatCompletions,
        operation: "chat".into(),
        request: Request {
            parameters: parameters.as_object().cloned().unwrap_or_default(),
            ..Request::default()
        },
        response: Response::default(),
        streamed: false,
        timing: Timing::default(),
        notes: vec![],
    };
    group(&Config::default(), &opened, &exchange)
}

#[test]
fn nothing_said_is_the_default_experiment() {
    let grouping = call(&[], Scope::default(), Value::Null);
    assert_eq!(grouping.placement, Placement::default());
    assert_eq!(grouping.rules.experiment.as_deref(), Some("default"));
    assert_eq!(grouping.session, None);
}

#[test]
fn own_headers_win_over_the_path_and_all_hits_are_kept() {
    let scope = Scope { run: Some("r-path".into()), experiment: None, session: Some("s-path".into()) };
    let grouping = call(
        &[("x-tapline-run", "r-head"), ("helicone-session-id", "s-vendor")],
        scope,
        serde_json::json!({"conversation": {"id": "conv_1"}, "user": "u1"}),
    );
    assert_eq!(grouping.placement.run.as_deref(), Some("r-head"));
    assert_eq!(grouping.rules.run.as_deref(), Some("header:x-tapline-run"));
    assert_eq!(grouping.session.as_deref(), Some("s-path"));
    assert_eq!(grouping.rules.session.as_deref(), Some("path:s"));
    assert_eq!(grouping.user.as_deref(), Some("u1"));
    assert_eq!(
        grouping.metadata["tapline.also_named"],
        serde_json::json!([
            "path:run=r-path",
            "header:helicone-session-id=s-vendor",
            "body:conversation.id=conv_1"
        ])
    );
    assert_eq!(grouping.rules.experiment, None, "the run decides the experiment");
}

#[test]
fn tags_and_metadata_are_read_leniently() {
    let grouping = call(
        &[("x-tapline-tags", "a, b,,a"), ("x-tapline-metadata", "{broken")],
        Scope::default(),
        Value::Null,
    );
    assert_eq!(grouping.tags, ["a", "b"]);
    assert_eq!(grouping.metadata["x-tapline-metadata"], "{broken");
    assert_eq!(grouping.notes.len(), 1);
}

#[test]
fn names_are_utf8_when_the_bytes_are_and_bad_ones_are_noted() {
    let long = "x".repeat(300);
    let grouping = call(
        &[("x-tapline-experiment", "\u{c3}\u{a4}"), ("x-tapline-session", &long), ("x-session-id", "ok")],
        Scope::default(),
        Value::Null,
    );
    assert_eq!(grouping.placement.experiment.as_deref(), Some("ä"));
    assert_eq!(grouping.session.as_deref(), Some("ok"));
    assert_eq!(grouping.notes.len(), 1);
}

#[test]
fn agents_and_parents_are_told_apart_from_sessions() {
    let grouping = call(
        &[
            ("x-codex-parent-thread-id", "t-0"),
            ("thread-id", "t-1"),
            ("session-id", "s-1"),
            ("x-claude-code-agent-id", "explorer"),
        ],
        Scope::default(),
        Value::Null,
    );
    assert_eq!(grouping.session.as_deref(), Some("t-1"));
    assert_eq!(grouping.parent_session.as_deref(), Some("t-0"));
    assert_eq!(grouping.agent.as_deref(), Some("explorer"));
    let grouping = call(&[("x-parent-session-id", "p")], Scope::default(), Value::Null);
    assert_eq!((grouping.session, grouping.parent_session.as_deref()), (None, Some("p")));
}

#[test]
fn any_vendors_session_and_claudes_user_are_read() {
    let grouping = call(&[("x-acme-session-id", "a")], Scope::default(), Value::Null);
    assert_eq!(grouping.rules.session.as_deref(), Some("header:x-acme-session-id"));
    let uuid = "5f0c6d1e-9f58-4f0b-8e1a-2f9a4d1c7b33";
    for id in [format!("user_1_account__session_{uuid}"), format!("{{\"session_id\":\"{uuid}\"}}")] {
        let grouping = call(&[], Scope::default(), serde_json::json!({"metadata": {"user_id": id}}));
        assert_eq!(grouping.session.as_deref(), Some(uuid));
    }
}

#[test]
fn baggage_and_properties_are_the_last_to_be_asked() {
    let grouping = call(
        &[
            ("baggage", "session.id=b%201;p=1, user.id=u, langsmith-project=lab"),
            ("helicone-property-branch", "main"),
            ("x-portkey-metadata", r#"{"team":"search"}"#),
        ],
        Scope::default(),
        Value::Null,
    );
    assert_eq!(grouping.session.as_deref(), Some("b 1"));
    assert_eq!(grouping.rules.session.as_deref(), Some("baggage:session.id"));
    assert_eq!(grouping.user.as_deref(), Some("u"));
    assert_eq!(grouping.placement.experiment.as_deref(), Some("lab"));
    assert_eq!(grouping.metadata["branch"], "main");
    assert_eq!(grouping.metadata["team"], "search");
}
