//! Which experiment, run and session a call belongs to, from what the call itself says (design:
//! Grouping). Pure: names only; the store turns them into ids. First hit wins, the rule that fired is
//! named, and every other hit is kept beside it.

use serde_json::{Map, Value};

use crate::model::{
    call::{Placement, Rules},
    exchange::Exchange,
    id::check_name,
    record::Opened,
};

/// What the call says of its place.
#[derive(Debug, Default, PartialEq)]
pub struct Grouping {
    pub placement: Placement,
    pub session: Option<String>,
    pub user: Option<String>,
    pub tags: Vec<String>,
    pub metadata: Map<String, Value>,
    pub rules: Rules,
    pub notes: Vec<String>,
}

/// Whose calls that name no run are put into the run that the caller's address has open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ActiveRun {
    Off,
    /// Programs of this machine: only there one address is one user's.
    #[default]
    Loopback,
    Any,
}

/// Session headers of gateways, routers and agents, in order of precedence after tapline's own and the
/// path. Source: the projects' documentation, 2026-11.
const SESSION_HEADERS: [&str; 21] = [
    "helicone-session-id",
    "x-litellm-session-id",
    "x-litellm-trace-id",
    "x-portkey-trace-id",
    "x-bf-session-id",
    "x-langwatch-thread-id",
    "x-thread-id",
    "agent-session-id",
    "x-dynamo-session-id",
    "x-claude-code-session-id",
    "x-opencode-session",
    "x-session-id",
    "x-session-affinity",
    "session-id",
    "session_id",
    "thread-id",
    "conversation_id",
    "x-agentweave-session-id",
    "x-1panel-conversation-id",
    "x-merge-trace-id",
    "x-conversation-id",
];

const USER_HEADERS: [&str; 4] =
    ["helicone-user-id", "x-litellm-end-user-id", "x-litellm-customer-id", "x-langwatch-end-user-id"];

/// Body fields that name a session, as paths into the request.
const SESSION_FIELDS: [&[&str]; 6] = [
    &["litellm_session_id"],
    &["session_id"],
    &["metadata", "session_id"],
    &["conversation", "id"],
    &["conversation"],
    &["metadata", "thread_id"],
];

const USER_FIELDS: [&[&str]; 3] = [&["user"], &["safety_identifier"], &["metadata", "user_id"]];

/// Settles a call's place from its head and, last, its body.
pub fn group(opened: &Opened, exchange: &Exchange) -> Grouping {
    let mut grouping = Grouping::default();
    let mut also: Vec<Value> = Vec::new();

    grouping.placement.experiment = first(
        [
            ("header:x-tapline-experiment", header(opened, "x-tapline-experiment")),
            ("path:exp", opened.scope.experiment.clone()),
        ],
        "an experiment name",
        &mut grouping.rules.experiment,
        &mut also,
        &mut grouping.notes,
    );
    grouping.placement.run = first(
        [("header:x-tapline-run", header(opened, "x-tapline-run")), ("path:run", opened.scope.run.clone())],
        "a run id or name",
        &mut grouping.rules.run,
        &mut also,
        &mut grouping.notes,
    );

    let own = [
        ("header:x-tapline-session".to_owned(), header(opened, "x-tapline-session")),
        ("path:s".to_owned(), opened.scope.session.clone()),
    ];
    // Rules are named for what is there alone: nearly all of these are not.
    let of_header = |name: &&str| Some((format!("header:{name}"), Some(header(opened, name)?)));
    let of_field = |path: &&[&str]| Some((format!("body:{}", path.join(".")), Some(field(exchange, path)?)));
    let vendors = SESSION_HEADERS.iter().filter_map(of_header);
    let fields = SESSION_FIELDS.iter().filter_map(of_field);
    grouping.session = first(
        own.into_iter().chain(vendors).chain(fields),
        "a session id",
        &mut grouping.rules.session,
        &mut also,
        &mut grouping.notes,
    );

    let users = USER_HEADERS
        .iter()
        .chain(&["x-tapline-user"])
        .filter_map(of_header)
        .chain(USER_FIELDS.iter().filter_map(of_field));
    let mut user_rule = None;
    grouping.user = first(users, "a user id", &mut user_rule, &mut also, &mut grouping.notes);

    for name in ["x-tapline-tags", "x-litellm-tags", "x-tags"] {
        let Some(list) = header(opened, name) else { continue };
        for tag in list.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
            match check_name("a tag", tag) {
                Ok(()) if !grouping.tags.iter().any(|known| known == tag) => {
                    grouping.tags.push(tag.to_owned())
                }
                Ok(()) => {}
                Err(error) => grouping.notes.push(format!("{name}: {error}")),
            }
        }
    }
    if let Some(text) = header(opened, "x-tapline-metadata") {
        match serde_json::from_str::<Map<String, Value>>(&text) {
            Ok(pairs) => grouping.metadata = pairs,
            Err(error) => {
                grouping.notes.push(format!(
                    "x-tapline-metadata: expected a JSON object such as {{\"dataset\":\"v2\"}}: {error}; kept as text"
                ));
                grouping.metadata.insert("x-tapline-metadata".to_owned(), Value::String(text));
            }
        }
    }
    if let Some(Value::Object(pairs)) = exchange.request.parameters.get("metadata") {
        for (key, value) in pairs {
            grouping.metadata.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    if !also.is_empty() {
        grouping.metadata.insert("tapline.also_named".to_owned(), Value::Array(also));
    }

    let named = grouping.placement.experiment.is_some() || grouping.placement.run.is_some();
    if !named {
        grouping.rules.experiment = Some("default".to_owned());
    }
    grouping
}

/// The caller's address, port aside, where its calls may be placed by it.
pub(super) fn peer(opened: &Opened, rule: ActiveRun) -> Option<String> {
    let peer: std::net::SocketAddr = opened.peer.as_deref()?.parse().ok()?;
    let address = peer.ip().to_canonical();
    let fits = match rule {
        ActiveRun::Off => false,
        ActiveRun::Loopback => address.is_loopback(),
        ActiveRun::Any => true,
    };
    fits.then(|| address.to_string())
}

/// The first usable candidate and its rule; the others go to `also` (`rule=value`), unusable ones to `notes`.
fn first<R: Into<String>>(
    candidates: impl IntoIterator<Item = (R, Option<String>)>,
    what: &str,
    rule: &mut Option<String>,
    also: &mut Vec<Value>,
    notes: &mut Vec<String>,
) -> Option<String> {
    let mut chosen: Option<String> = None;
    for (name, value) in candidates {
        let Some(value) = value else { continue };
        let name: String = name.into();
        if let Err(error) = check_name(what, &value) {
            notes.push(format!("{name}: {error}"));
        } else if chosen.is_none() {
            *rule = Some(name);
            chosen = Some(value);
        } else {
            also.push(Value::String(format!("{name}={value}")));
        }
    }
    chosen
}

/// A header's value, trimmed, as UTF-8 where it is (the journal keeps bytes as characters); empty is absent.
fn header(opened: &Opened, name: &str) -> Option<String> {
    let (_, value) = opened.headers.iter().find(|(known, _)| known == name)?;
    if value.is_ascii() {
        let text = value.trim();
        return (!text.is_empty()).then(|| text.to_owned());
    }
    let bytes: Vec<u8> =
        value.chars().map(|character| u8::try_from(u32::from(character)).unwrap_or(b'?')).collect();
    let text = String::from_utf8(bytes).unwrap_or_else(|_| value.clone());
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn field(exchange: &Exchange, path: &[&str]) -> Option<String> {
    let (head, rest) = path.split_first()?;
    let mut value = exchange.request.parameters.get(*head)?;
    for step in rest {
        value = value.get(step)?;
    }
    value.as_str().map(str::to_owned).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
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
        group(&opened, &exchange)
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
}
