//! Which experiment, run and session a call belongs to, from what the call itself says (design:
//! Grouping). Pure: names only; the store turns them into ids. First hit wins, the rule that fired is
//! named, and every other hit is kept beside it.

mod baggage;
mod names;

pub use names::USERS as USER_HEADERS;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use self::baggage::Baggage;
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
    /// The session that this one says it comes from, and which agent of it speaks.
    pub parent_session: Option<String>,
    pub agent: Option<String>,
    /// The response that the request goes on from.
    pub previous_response: Option<String>,
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

/// What the operator says of keys: the experiment of calls that come with one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// By fingerprint.
    pub keys: BTreeMap<String, String>,
}

/// Settles a call's place from its head and, last, its body.
pub fn group(config: &Config, opened: &Opened, exchange: &Exchange) -> Grouping {
    let mut grouping = Grouping::default();
    let mut also: Vec<Value> = Vec::new();
    let baggage = Baggage::of(opened);

    let key = opened.key_fingerprint.as_ref().and_then(|key| config.keys.get(key)).cloned();
    grouping.placement.experiment = first(
        [
            ("header:x-tapline-experiment", header(opened, "x-tapline-experiment")),
            ("path:exp", opened.scope.experiment.clone()),
            ("header:helicone-experiment-id", header(opened, "helicone-experiment-id")),
        ]
        .map(|(rule, value)| (rule.to_owned(), value))
        .into_iter()
        .chain(baggage.rules(&names::BAGGAGE_EXPERIMENTS))
        .chain([("api key".to_owned(), key)]),
        "an experiment name",
        &mut grouping.rules.experiment,
        &mut also,
        &mut grouping.notes,
    );
    grouping.placement.run = first(
        [
            ("header:x-tapline-run", header(opened, "x-tapline-run")),
            ("path:run", opened.scope.run.clone()),
            ("header:x-run-id", header(opened, "x-run-id")),
        ],
        "a run id or name",
        &mut grouping.rules.run,
        &mut also,
        &mut grouping.notes,
    );

    let own = [
        ("header:x-tapline-session".to_owned(), header(opened, "x-tapline-session")),
        ("path:s".to_owned(), opened.scope.session.clone()),
    ];
    let sessions = own
        .into_iter()
        .chain(headers(opened, &names::GATEWAY_SESSIONS))
        .chain(headers(opened, &names::AGENT_SESSIONS))
        .chain(any_session(opened))
        .chain(fields(exchange, &names::SESSION_FIELDS))
        .chain([("body:metadata.user_id".to_owned(), claude_session(exchange))])
        .chain(baggage.rules(&names::BAGGAGE_SESSIONS));
    grouping.session =
        first(sessions, "a session id", &mut grouping.rules.session, &mut also, &mut grouping.notes);
    let mut unsaid = (None, Vec::new());
    let mut quietly = |names: &[&str], what: &str, notes: &mut Vec<String>| {
        first(headers(opened, names), what, &mut unsaid.0, &mut unsaid.1, notes)
    };
    grouping.parent_session = quietly(&names::PARENT_SESSIONS, "a session id", &mut grouping.notes)
        .filter(|parent| grouping.session.as_ref() != Some(parent));
    grouping.agent = quietly(&names::AGENTS, "an agent's id", &mut grouping.notes);
    grouping.previous_response = field(exchange, &["previous_response_id"]);

    let users = headers(opened, &names::USERS)
        .chain(fields(exchange, &names::USER_FIELDS))
        .chain(baggage.rules(&names::BAGGAGE_USERS));
    let mut user_rule = None;
    grouping.user = first(users, "a user id", &mut user_rule, &mut also, &mut grouping.notes);

    tags(opened, &baggage, &mut grouping);
    metadata(opened, exchange, &mut grouping);
    if !also.is_empty() {
        grouping.metadata.insert("tapline.also_named".to_owned(), Value::Array(also));
    }

    let named = grouping.placement.experiment.is_some() || grouping.placement.run.is_some();
    if !named {
        grouping.rules.experiment = Some("default".to_owned());
    }
    grouping
}

fn tags(opened: &Opened, baggage: &Baggage, grouping: &mut Grouping) {
    let said = names::TAGS.iter().filter_map(|name| Some((*name, header(opened, name)?)));
    let carried = names::BAGGAGE_TAGS.iter().filter_map(|name| Some((*name, baggage.get(name)?)));
    for (name, list) in said.chain(carried) {
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
}

fn metadata(opened: &Opened, exchange: &Exchange, grouping: &mut Grouping) {
    for name in names::METADATA {
        let Some(text) = header(opened, name) else { continue };
        match serde_json::from_str::<Map<String, Value>>(&text) {
            Ok(pairs) => {
                for (key, value) in pairs {
                    grouping.metadata.entry(key).or_insert(value);
                }
            }
            Err(error) => {
                grouping.notes.push(format!(
                    "{name}: expected a JSON object such as {{\"dataset\":\"v2\"}}: {error}; kept as text"
                ));
                grouping.metadata.insert(name.to_owned(), Value::String(text));
            }
        }
    }
    for (name, _) in &opened.headers {
        let Some(key) = names::PROPERTIES.iter().find_map(|prefix| name.strip_prefix(prefix)) else {
            continue;
        };
        if let Some(value) = header(opened, name) {
            grouping.metadata.entry(key.to_owned()).or_insert(Value::String(value));
        }
    }
    if let Some(Value::Object(pairs)) = exchange.request.parameters.get("metadata") {
        for (key, value) in pairs {
            grouping.metadata.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
}

fn headers<'a>(
    opened: &'a Opened,
    names: &'a [&str],
) -> impl Iterator<Item = (String, Option<String>)> + use<'a> {
    // A rule's name is only made where it may fire: nearly none does.
    names.iter().filter_map(|name| Some((format!("header:{name}"), Some(header(opened, name)?))))
}

fn fields<'a>(
    exchange: &'a Exchange,
    paths: &'a [&[&str]],
) -> impl Iterator<Item = (String, Option<String>)> + use<'a> {
    paths.iter().filter_map(|path| Some((format!("body:{}", path.join(".")), Some(field(exchange, path)?))))
}

/// `x-<vendor>-session-id` of a vendor that is not listed.
fn any_session(opened: &Opened) -> impl Iterator<Item = (String, Option<String>)> + use<'_> {
    let (prefix, suffix) = names::ANY_SESSION;
    opened
        .headers
        .iter()
        .map(|(name, _)| name)
        .filter(move |name| {
            let vendor = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix));
            vendor.is_some_and(|vendor| !vendor.is_empty() && vendor != "parent")
                && !names::GATEWAY_SESSIONS.contains(&name.as_str())
                && !names::AGENT_SESSIONS.contains(&name.as_str())
                && !names::PARENT_SESSIONS.contains(&name.as_str())
        })
        .map(|name| (format!("header:{name}"), header(opened, name)))
}

/// The session that Claude Code writes into its user id: `user_…_session_<uuid>`, or in a JSON object there.
fn claude_session(exchange: &Exchange) -> Option<String> {
    let id = field(exchange, &["metadata", "user_id"])?;
    if let Some((_, session)) = id.rsplit_once("_session_") {
        return Some(session.to_owned()).filter(|session| session.len() == 36);
    }
    let object: Map<String, Value> = serde_json::from_str(&id).ok()?;
    Some(object.get("session_id")?.as_str()?.to_owned())
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
mod tests;
