//! Two calls side by side: which parameters, tools and messages differ, and in changed ones which words. What
//! only a clock or a counter changed is named so.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use similar::{Algorithm, ChangeTag, DiffOp, TextDiff};

use crate::{
    chain::volatile,
    model::{
        exchange::{Exchange, Message, MessagePart},
        lineage::{ElementKind, MarkerKind},
    },
};

/// Longer texts are shown as changed without their words: aligning them may take seconds.
const LONGEST: usize = 64 << 10;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CallDiff {
    pub from: String,
    pub to: String,
    /// Parameters and facts whose values differ.
    pub parameters: Vec<ParameterDiff>,
    /// The prompt, piece by piece in its order: tools, system prompt, messages.
    pub prompt: Vec<PieceDiff>,
    /// The answers.
    pub answer: Vec<PieceDiff>,
    /// Pieces that both prompts begin with.
    pub shared_prefix: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ParameterDiff {
    pub name: String,
    /// Null where there is none.
    pub before: Option<Value>,
    pub after: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PieceChange {
    Same,
    Added,
    Removed,
    Changed,
}

/// A tool, a part of the system prompt, a message or an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PieceDiff {
    pub change: PieceChange,
    pub kind: ElementKind,
    /// A tool's name, or a message's role.
    pub label: String,
    /// Its place in each of the two, from 0.
    pub before: Option<usize>,
    pub after: Option<usize>,
    /// Of what changed, word by word; of what was added or removed, the whole; nothing for what is the same.
    pub words: Vec<WordDiff>,
    /// All that changed are such markers.
    pub markers: Vec<MarkerKind>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WordDiff {
    /// `same`, `added` or `removed`.
    pub change: PieceChange,
    pub text: String,
}

/// What stands between two calls.
pub fn diff(from: (&str, &Exchange), to: (&str, &Exchange)) -> CallDiff {
    let (before, after) = (prompt(from.1), prompt(to.1));
    let shared_prefix = before.iter().zip(&after).take_while(|(one, other)| one == other).count();
    CallDiff {
        from: from.0.to_owned(),
        to: to.0.to_owned(),
        parameters: parameters(from.1, to.1),
        prompt: align(&before, &after),
        answer: align(&answer(from.1), &answer(to.1)),
        shared_prefix,
    }
}

/// A piece of a prompt as text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Piece {
    pub kind: String,
    pub label: String,
    pub text: String,
}

/// What a piece is in the prompt.
pub fn kind_of(piece: &Piece) -> ElementKind {
    match piece.kind.as_str() {
        "tool" => ElementKind::Tool,
        "system" => ElementKind::System,
        _ => ElementKind::Message,
    }
}

fn piece(kind: &str, label: &str, text: String) -> Piece {
    Piece { kind: kind.to_owned(), label: label.to_owned(), text }
}

/// The prompt as pieces of text, in the order in which a provider reads it.
pub fn prompt(exchange: &Exchange) -> Vec<Piece> {
    let request = &exchange.request;
    let mut pieces = Vec::new();
    for tool in &request.tools {
        let function = tool.get("function").unwrap_or(tool);
        let name = function.get("name").or_else(|| tool.get("type")).and_then(Value::as_str);
        let text = serde_json::to_string_pretty(tool).unwrap_or_default();
        pieces.push(piece("tool", name.unwrap_or("tool"), text));
    }
    for part in &request.system_instructions {
        pieces.push(piece("system", "system", part_text(part)));
    }
    let mut leading = true;
    for message in &request.messages {
        let system = matches!(message.role.as_str(), "system" | "developer");
        leading &= system;
        if leading {
            pieces.extend(message.parts.iter().map(|part| piece("system", &message.role, part_text(part))));
        } else {
            pieces.push(piece("message", &message.role, message_text(message)));
        }
    }
    pieces
}

fn answer(exchange: &Exchange) -> Vec<Piece> {
    let choices = exchange.response.choices.iter();
    choices.map(|choice| piece("message", &choice.message.role, message_text(&choice.message))).collect()
}

pub fn message_text(message: &Message) -> String {
    message.parts.iter().map(part_text).collect::<Vec<_>>().join("\n")
}

fn part_text(part: &MessagePart) -> String {
    match part {
        MessagePart::Text { content } | MessagePart::Refusal { content } => content.clone(),
        MessagePart::Reasoning { content } => format!("(thinking) {content}"),
        MessagePart::ToolCall { name, arguments, .. } => format!("{name}({arguments})"),
        MessagePart::ToolCallResponse { response, .. } => {
            response.as_str().map_or_else(|| response.to_string(), str::to_owned)
        }
        MessagePart::Blob { modality, mime_type, bytes, .. } => {
            format!("({modality} {}, {bytes} bytes)", mime_type.as_deref().unwrap_or("of unknown type"))
        }
        MessagePart::Uri { modality, uri, .. } => format!("({modality} {uri})"),
        MessagePart::File { file_id } => format!("(file {file_id})"),
        MessagePart::Other { value } => value.to_string(),
    }
}

fn parameters(before: &Exchange, after: &Exchange) -> Vec<ParameterDiff> {
    let facts = |exchange: &Exchange| {
        let mut facts = exchange.request.parameters.clone();
        facts.insert("model".to_owned(), exchange.request.model.clone().map_or(Value::Null, Value::String));
        facts.insert("stream".to_owned(), Value::Bool(exchange.request.stream));
        facts
    };
    let (before, after) = (facts(before), facts(after));
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let differs = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    differs
        .map(|name| ParameterDiff {
            name: name.clone(),
            before: before.get(name).cloned(),
            after: after.get(name).cloned(),
        })
        .collect()
}

fn align(before: &[Piece], after: &[Piece]) -> Vec<PieceDiff> {
    let mut out = Vec::new();
    for op in similar::capture_diff_slices(Algorithm::Myers, before, after) {
        let (old, new) = (op.old_range(), op.new_range());
        if let DiffOp::Equal { .. } = op {
            for (old, new) in old.zip(new) {
                out.push(whole(PieceChange::Same, &before[old], Some(old), Some(new)));
            }
            continue;
        }
        // What stands at the same place and is of the same kind has changed; the rest came or went.
        let mut fresh: Vec<usize> = new.collect();
        for old in old {
            let same = |new: &usize| {
                (&before[old].kind, &before[old].label) == (&after[*new].kind, &after[*new].label)
            };
            match fresh.iter().position(same) {
                Some(at) => {
                    for gone in fresh.drain(..at).collect::<Vec<_>>() {
                        out.push(whole(PieceChange::Added, &after[gone], None, Some(gone)));
                    }
                    let new = fresh.remove(0);
                    out.push(changed(&before[old], &after[new], (old, new)));
                }
                None => out.push(whole(PieceChange::Removed, &before[old], Some(old), None)),
            }
        }
        for new in fresh {
            out.push(whole(PieceChange::Added, &after[new], None, Some(new)));
        }
    }
    out
}

fn whole(change: PieceChange, piece: &Piece, before: Option<usize>, after: Option<usize>) -> PieceDiff {
    let words = match change {
        PieceChange::Added | PieceChange::Removed => vec![WordDiff { change, text: piece.text.clone() }],
        PieceChange::Same | PieceChange::Changed => Vec::new(),
    };
    PieceDiff {
        change,
        kind: kind_of(piece),
        label: piece.label.clone(),
        before,
        after,
        words,
        markers: Vec::new(),
    }
}

fn changed(before: &Piece, after: &Piece, at: (usize, usize)) -> PieceDiff {
    let words = if before.text.len().max(after.text.len()) > LONGEST {
        Vec::new()
    } else {
        words(&before.text, &after.text)
    };
    let (text, markers) = volatile::normalise(&before.text);
    let (other, others) = volatile::normalise(&after.text);
    let markers = if text == other { volatile::changed(markers, others).collect() } else { Vec::new() };
    PieceDiff {
        change: PieceChange::Changed,
        kind: kind_of(after),
        label: after.label.clone(),
        before: Some(at.0),
        after: Some(at.1),
        words,
        markers,
    }
}

/// Runs of words that are the same, came or went.
fn words(before: &str, after: &str) -> Vec<WordDiff> {
    let diff = TextDiff::from_words(before, after);
    let mut runs: Vec<WordDiff> = Vec::new();
    for change in diff.iter_all_changes() {
        let kind = match change.tag() {
            ChangeTag::Equal => PieceChange::Same,
            ChangeTag::Insert => PieceChange::Added,
            ChangeTag::Delete => PieceChange::Removed,
        };
        match runs.last_mut() {
            Some(last) if last.change == kind => last.text.push_str(change.value()),
            _ => runs.push(WordDiff { change: kind, text: change.value().to_owned() }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces(texts: &[&str]) -> Vec<Piece> {
        texts.iter().map(|text| piece("message", "user", (*text).to_owned())).collect()
    }

    #[test]
    fn changed_messages_show_their_words_and_clocks_are_named() {
        let found = align(
            &pieces(&["a", "It is 10:31 now.", "c", "d"]),
            &pieces(&["a", "It is 10:32 now.", "d", "e"]),
        );
        let changes: Vec<_> = found.iter().map(|piece| (piece.change, piece.before, piece.after)).collect();
        assert_eq!(changes[0], (PieceChange::Same, Some(0), Some(0)));
        assert_eq!(changes[1], (PieceChange::Changed, Some(1), Some(1)));
        assert_eq!(found[1].markers, [MarkerKind::Time]);
        assert!(
            found[1].words.iter().any(|word| word.change == PieceChange::Removed && word.text == "10:31")
        );
        assert_eq!(changes.last(), Some(&(PieceChange::Added, None, Some(3))));
    }

    proptest! {
        #[test]
        fn both_sides_can_be_read_from_the_pieces(
            before in proptest::collection::vec("[ab ]{0,6}", 0..6),
            after in proptest::collection::vec("[ab ]{0,6}", 0..6),
        ) {
            let texts = |all: &[String]| pieces(&all.iter().map(String::as_str).collect::<Vec<_>>());
            let (before, after) = (texts(&before), texts(&after));
            let found = align(&before, &after);
            let mut olds: Vec<_> = found.iter().filter_map(|piece| piece.before).collect();
            let mut news: Vec<_> = found.iter().filter_map(|piece| piece.after).collect();
            olds.sort_unstable();
            news.sort_unstable();
            prop_assert_eq!(olds, (0..before.len()).collect::<Vec<_>>());
            prop_assert_eq!(news, (0..after.len()).collect::<Vec<_>>());
            for piece in &found {
                if let (PieceChange::Changed, Some(old), Some(new)) = (piece.change, piece.before, piece.after) {
                    let side = |gone| -> String {
                        let words = piece.words.iter().filter(|word| word.change != gone);
                        words.map(|word| word.text.as_str()).collect()
                    };
                    prop_assert_eq!(side(PieceChange::Added), &*before[old].text);
                    prop_assert_eq!(side(PieceChange::Removed), &*after[new].text);
                }
            }
        }
    }
}
