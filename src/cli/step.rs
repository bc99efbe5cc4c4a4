//! A call of a session as one line, and a session as a tree of them.

use std::collections::{BTreeMap, HashSet};

use super::{line, output::Output, reach::Api, sessions};
use crate::{
    api::SessionWhole,
    model::{NanoUsd, lineage::LinkKind},
    report::{
        SessionRow, StepRow, Tone,
        figures::{self, UNKNOWN},
        text::{self, Look},
    },
};

/// Digits of an id that are enough to name a call.
const SHORT_ID: usize = 16;
/// Sessions within sessions that are followed.
const DEEPEST: usize = 8;

pub(super) fn session_head(session: &SessionRow, look: Look) -> String {
    let named = if session.inferred { "found by tapline" } else { "named by its caller" };
    let mut facts = vec![
        format!("{} calls", figures::count(session.calls)),
        format!(
            "{} in ({} cached), {} out",
            figures::count(session.input_tokens),
            figures::count(session.cache_read_tokens),
            figures::count(session.output_tokens)
        ),
        session.cost().map_or_else(|| "cost unknown".to_owned(), figures::money),
        named.to_owned(),
    ];
    if session.errors > 0 {
        facts.push(format!("{} failed", session.errors));
    }
    if session.missed_tokens > 0 {
        facts.push(format!(
            "{} tokens missed in the prompt cache ({})",
            figures::count(session.missed_tokens),
            figures::money(NanoUsd(session.lost_nano_usd))
        ));
    }
    if let Some(parent) = &session.parent {
        facts.push(format!("comes from {parent}"));
    }
    let id = text::bold(&figures::one_line(&session.id, 80), look);
    format!("{id}  {}", figures::one_line(&facts.join(", "), 400))
}

/// Status, id, time, kind, model and figures of a call.
pub(super) fn line(step: &StepRow, output: &Output) -> String {
    let look = output.look;
    let (tone, mark) = line::mark(step.status);
    let id: String = step.id.chars().take(SHORT_ID).collect();
    let mut facts = vec![output.clock(&step.started_at)];
    if let Some(link) = &step.link {
        facts.push(format!("{} ({:.0} %)", kind(link.kind), link.confidence * 100.0));
    }
    facts.extend(step.agent.as_ref().map(|agent| format!("agent {agent}")));
    facts.extend(step.model.clone());
    facts.push(figures::duration(figures::ns_of_ms(step.duration_ms)));
    let side = |count: Option<u64>| count.map_or_else(|| UNKNOWN.to_owned(), figures::count);
    facts.push(format!("{}→{}", side(step.input_tokens), side(step.output_tokens)));
    facts.extend(step.cost_nano_usd.map(|cost| figures::money(NanoUsd(cost))));
    let mut text = format!("{} {}  ", text::paint(tone, mark, look), text::bold(&id, look));
    text.push_str(&figures::one_line(&facts.join("  "), 200));
    let mut told = Vec::new();
    if let Some(link) = step.link.as_ref().filter(|link| !link.changed.is_empty()) {
        told.push(format!("changed: {}", link.changed.join(", ")));
    }
    if let Some(missed) = step.missed_tokens.filter(|missed| *missed > 0) {
        told.push(format!("cache missed {}", figures::count(missed)));
    }
    told.extend(step.error_type.clone());
    if !told.is_empty() {
        text.push_str("  ");
        text.push_str(&text::paint(Tone::Warning, &figures::one_line(&told.join("; "), 160), look));
    }
    text
}

pub(super) fn kind(kind: LinkKind) -> &'static str {
    match kind {
        LinkKind::NextTurn => "next turn",
        LinkKind::Fork => "fork",
        LinkKind::Parallel => "parallel",
        LinkKind::Retry => "retry",
        LinkKind::Delegated => "sub-agent",
        LinkKind::Compaction => "compaction",
        LinkKind::EditedHistory => "edited history",
    }
}

/// A session and those that come from it, as a tree: who goes straight on stays in the line, who branches off
/// is set in.
pub(super) async fn tree(api: &Api, id: &str, output: &Output) -> anyhow::Result<String> {
    let mut page = String::new();
    let mut seen = HashSet::new();
    let mut open = vec![(id.to_owned(), 0usize)];
    while let Some((id, depth)) = open.pop() {
        if !seen.insert(id.clone()) || depth > DEEPEST {
            continue;
        }
        let named = sessions::named(api, &id).await?;
        let whole: SessionWhole = api.json(&format!("/api/v1/sessions/{named}"), &[]).await?;
        let margin = "    ".repeat(depth);
        if depth > 0 {
            page.push('\n');
        }
        page.push_str(&format!("{margin}{}\n", session_head(&whole.session, output.look)));
        branches(&whole.steps, &margin, output, &mut page);
        if whole.session.calls > whole.steps.len() as u64 {
            let left = whole.session.calls - whole.steps.len() as u64;
            page.push_str(&format!("{margin}… {} more calls\n", figures::count(left)));
        }
        open.extend(whole.sub_sessions.iter().rev().map(|child| (child.id.clone(), depth + 1)));
    }
    Ok(page)
}

fn branches(steps: &[StepRow], margin: &str, output: &Output, page: &mut String) {
    let here: HashSet<&str> = steps.iter().map(|step| step.id.as_str()).collect();
    let mut children: BTreeMap<Option<&str>, Vec<&StepRow>> = BTreeMap::new();
    for step in steps {
        let parent =
            step.link.as_ref().map(|link| link.parent.as_str()).filter(|parent| here.contains(parent));
        children.entry(parent).or_default().push(step);
    }
    // Depth first: the one that goes straight on comes last, after those that branch off.
    let mut open: Vec<(&StepRow, usize)> =
        children.get(&None).into_iter().flatten().rev().map(|step| (*step, 0)).collect();
    while let Some((step, indent)) = open.pop() {
        let rails = "│  ".repeat(indent);
        let branch = if indent > 0 && !step.link.as_ref().is_some_and(|link| straight(link.kind)) {
            "├─ "
        } else {
            ""
        };
        page.push_str(&format!("{margin}{rails}{branch}{}\n", line(step, output)));
        let Some(next) = children.get(&Some(step.id.as_str())) else { continue };
        let on = next.iter().position(|child| child.link.as_ref().is_some_and(|link| straight(link.kind)));
        let on = on.unwrap_or(0);
        open.push((next[on], indent));
        let off = next.iter().enumerate().filter(|(at, _)| *at != on).map(|(_, child)| (*child, indent + 1));
        open.extend(off.collect::<Vec<_>>().into_iter().rev());
    }
}

fn straight(kind: LinkKind) -> bool {
    matches!(kind, LinkKind::NextTurn | LinkKind::Compaction | LinkKind::EditedHistory)
}
