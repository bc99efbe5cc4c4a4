//! The cache ledger's arithmetic: what a provider's prompt cache could have read of a call's input, what broke
//! the prefix where it read less, and when that is the provider's doing. Pure: what was warm and what the
//! call is compared with is handed in.

use std::sync::Arc;

use crate::model::{
    call::Dialect,
    lineage::{CacheCause, Element, ElementKind, Outline},
    usage::Usage,
};

/// No provider caches a shorter prompt, tokens.
pub const LEAST_CACHED: u64 = 16;

const MINUTE: i64 = 60 * 1_000_000_000;
const HOUR: i64 = 60 * MINUTE;

/// A provider's published terms for its prompt cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The shortest prompt that is cached, and the steps in which reads are counted, tokens.
    pub minimum: u64,
    pub block: u64,
    /// How long an unused entry lives for sure, nanoseconds.
    pub life: i64,
    /// Only what the request marks is cached.
    pub marked: bool,
}

/// The terms of a provider and model, as published in 2026-11; the usual ones where nothing is.
pub fn policy(provider: &str, dialect: Dialect, model: &str) -> Policy {
    let automatic = |minimum, block, life| Policy { minimum, block, life, marked: false };
    let claude = dialect == Dialect::Messages || model.contains("claude");
    match provider {
        _ if claude => {
            let minimum = if ["opus-4-5", "opus-4-6", "haiku-4-5"].iter().any(|name| model.contains(name)) {
                4_096
            } else if model.contains("haiku-3") || model.contains("3-haiku") || model.contains("3-5-haiku") {
                2_048
            } else {
                1_024
            };
            Policy { minimum, block: 1, life: 5 * MINUTE, marked: true }
        }
        "deepseek" => automatic(64, 64, HOUR),
        "gcp.gemini" | "gcp.vertex_ai" | "gcp.gen_ai" if model.contains("pro") => {
            automatic(4_096, 1, 3 * MINUTE)
        }
        "gcp.gemini" | "gcp.vertex_ai" | "gcp.gen_ai" => automatic(1_024, 1, 3 * MINUTE),
        // Servers of one's own cache by small blocks for as long as there is room.
        "custom" | "vllm" | "sglang" | "llama_cpp" | "ollama" => automatic(64, 32, 5 * MINUTE),
        _ => automatic(1_024, 128, 5 * MINUTE),
    }
}

impl Policy {
    /// What a read of a prefix of so many tokens is counted as.
    pub fn floor(self, tokens: u64) -> u64 {
        if tokens < self.minimum { 0 } else { tokens / self.block.max(1) * self.block.max(1) }
    }
}

/// One hash per element of the prompt, of everything up to it.
pub fn prefixes(elements: &[Element]) -> Vec<u64> {
    let mut before = 0;
    elements
        .iter()
        .map(|element| {
            before = super::hash::join(before, element.hash);
            before
        })
        .collect()
}

/// Tokens of the first `count` elements, as their share of the input by length: an estimate, but for the
/// whole, which the provider counted.
pub fn tokens_of(elements: &[Element], count: usize, input: u64) -> u64 {
    let bytes = |elements: &[Element]| elements.iter().map(|one| u64::from(one.bytes)).sum::<u64>();
    let whole = bytes(elements);
    let part = bytes(elements.get(..count).unwrap_or(elements));
    if whole == 0 { 0 } else { (u128::from(input) * u128::from(part) / u128::from(whole)) as u64 }
}

/// The same of each prefix.
pub fn tokens_by_prefix(elements: &[Element], input: u64) -> Vec<u64> {
    let whole = elements.iter().map(|one| u64::from(one.bytes)).sum::<u64>().max(1);
    let mut part = 0;
    let share = |element: &Element| {
        part += u64::from(element.bytes);
        (u128::from(input) * u128::from(part) / u128::from(whole)) as u64
    };
    elements.iter().map(share).collect()
}

/// How much of a prompt is system prompt, tools and parameters.
pub fn before_messages(elements: &[Element]) -> usize {
    elements.iter().take_while(|element| element.kind != ElementKind::Message).count()
}

/// The longest prefix of a call that an earlier call with the same key and model had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Warm {
    pub elements: usize,
    /// As the provider counted them where the prefix was a whole request, else estimated.
    pub tokens: u64,
    pub state: WarmState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WarmState {
    Alive,
    /// Not used for longer than the cache keeps it.
    Expired,
    /// The earlier call had not begun to answer.
    Unready,
}

/// The call that this one is compared with: its parent, or the last one with the same system prompt and tools.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// Its prompt.
    pub elements: Arc<[Element]>,
    /// Its whole input; of a cache that is marked, what it left there.
    pub tokens: u64,
    /// Only system prompt and tools are shared.
    pub prompt_only: bool,
    pub same_model: bool,
    pub same_key: bool,
    /// The system prompts are the same but for volatile markers.
    pub same_system: bool,
    /// It asked for caching, where that is needed.
    pub marked: bool,
}

/// What the ledger says of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Input tokens that could have been a cache read.
    pub cacheable: u64,
    /// Of these, read less than could be.
    pub missed: u64,
    pub cause: Option<CacheCause>,
    /// The first element that differs, and which one of its kind it is.
    pub broke_at: Option<(ElementKind, u32)>,
}

/// What must be missed before it is told: one block, and what an estimate may be off by.
fn tolerance(policy: Policy, cacheable: u64) -> u64 {
    policy.block.max(16).max(cacheable / 10)
}

/// Judges one call. `warm` is the longest prefix that is alive, `lapsed` a longer one that is not.
pub fn judge(
    outline: &Outline,
    policy: Policy,
    usage: &Usage,
    warm: Option<Warm>,
    lapsed: Option<Warm>,
    reference: Option<&Reference>,
) -> Verdict {
    let input = usage.input.unwrap_or(0);
    let elements = &outline.elements;
    let kept = warm.map_or(0, |warm| policy.floor(warm.tokens.min(input)));
    let hoped = reference.map_or(0, |reference| {
        let tokens = if reference.prompt_only {
            tokens_of(elements, before_messages(elements), input)
        } else {
            reference.tokens
        };
        policy.floor(tokens.min(input))
    });
    let cacheable = kept.max(hoped);
    let nothing = Verdict { cacheable, missed: 0, cause: None, broke_at: None };
    // Who reports no reads cannot be said to have missed any.
    let Some(read) = usage.cache_read else { return nothing };
    let missed = cacheable.saturating_sub(read);
    if missed < tolerance(policy, cacheable) {
        return nothing;
    }
    let unmarked = policy.marked && !outline.marked;
    let verdict = |cause, broke_at| Verdict { cacheable, missed, cause: Some(cause), broke_at };
    let Some(reference) = reference.filter(|_| hoped > kept) else {
        return verdict(if unmarked { CacheCause::NotMarked } else { CacheCause::Provider }, None);
    };
    if !reference.same_model {
        return verdict(CacheCause::Model, None);
    }
    if !reference.same_key {
        return verdict(CacheCause::Key, None);
    }
    let shared = elements
        .iter()
        .zip(reference.elements.iter())
        .take_while(|(element, other)| element.hash == other.hash)
        .count();
    let compared = if reference.prompt_only { before_messages(elements) } else { reference.elements.len() };
    if shared < compared.min(reference.elements.len())
        && let Some(broken) = elements.get(shared)
    {
        let which = elements.iter().take(shared).filter(|one| one.kind == broken.kind).count();
        let cause = match broken.kind {
            ElementKind::Tool => CacheCause::Tool,
            ElementKind::System if reference.same_system => CacheCause::Volatile,
            ElementKind::System => CacheCause::System,
            ElementKind::Parameter => CacheCause::Parameter,
            ElementKind::Message => CacheCause::Message,
        };
        return verdict(cause, Some((broken.kind, u32::try_from(which).unwrap_or(u32::MAX))));
    }
    if unmarked || policy.marked && !reference.marked {
        return verdict(CacheCause::NotMarked, None);
    }
    match lapsed.map(|lapsed| lapsed.state) {
        Some(WarmState::Expired) => verdict(CacheCause::Expired, None),
        Some(WarmState::Unready) => verdict(CacheCause::Concurrent, None),
        _ => verdict(CacheCause::Unknown, None),
    }
}

/// Whether a provider's own diagnosis contradicts a cause. Its words: OpenAI's `prompt_cache_diagnostics` and
/// Anthropic's `diagnostics.cache_miss_reason`.
pub fn disputed(cause: Option<CacheCause>, word: &str) -> bool {
    let theirs: &[CacheCause] = match word {
        "model_changed" => &[CacheCause::Model],
        "system_changed" => &[CacheCause::System, CacheCause::Volatile],
        "tools_changed" => &[CacheCause::Tool],
        "messages_changed" => &[CacheCause::Message],
        "input_changed" => &[CacheCause::Message, CacheCause::System, CacheCause::Volatile],
        "cache_hit" => return cause.is_some(),
        // What was not compared says nothing, and a word of a later day neither.
        "unavailable" | "previous_message_not_found" | "comparison_response_not_found" => return false,
        word if word.ends_with("_changed") => &[CacheCause::Parameter, CacheCause::Key],
        _ => return false,
    };
    !cause.is_some_and(|cause| theirs.contains(&cause))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPENAI: Policy = Policy { minimum: 1_024, block: 128, life: 5 * MINUTE, marked: false };

    fn prompt(hashes: &[u64]) -> Outline {
        let kind = |at: usize| match at {
            0 => ElementKind::Tool,
            1 => ElementKind::System,
            _ => ElementKind::Message,
        };
        let elements = hashes.iter().enumerate();
        Outline {
            elements: elements
                .map(|(at, hash)| Element { kind: kind(at), hash: *hash, bytes: 1_000 })
                .collect(),
            ..Outline::default()
        }
    }

    fn usage(input: u64, read: u64) -> Usage {
        Usage { input: Some(input), cache_read: Some(read), ..Usage::default() }
    }

    fn parent(elements: &[u64], tokens: u64) -> Reference {
        Reference {
            elements: prompt(elements).elements.into(),
            tokens,
            prompt_only: false,
            same_model: true,
            same_key: true,
            same_system: true,
            marked: true,
        }
    }

    fn alive(elements: usize, tokens: u64) -> Option<Warm> {
        Some(Warm { elements, tokens, state: WarmState::Alive })
    }

    #[test]
    fn reads_are_counted_in_blocks_from_a_minimum_on() {
        assert_eq!((OPENAI.floor(1_023), OPENAI.floor(1_024), OPENAI.floor(1_300)), (0, 1_024, 1_280));
        assert!(policy("anthropic", Dialect::Messages, "claude-sonnet-4-5").marked);
        assert_eq!(policy("anthropic", Dialect::Messages, "claude-haiku-4-5").minimum, 4_096);
    }

    #[test]
    fn an_intact_prefix_that_was_not_served_is_the_providers_doing() {
        let outline = prompt(&[1, 2, 3, 4, 5]);
        let reference = parent(&[1, 2, 3], 3_000);
        let verdict = judge(&outline, OPENAI, &usage(5_000, 0), alive(3, 3_000), None, Some(&reference));
        assert_eq!((verdict.cacheable, verdict.missed), (2_944, 2_944));
        assert_eq!(verdict.cause, Some(CacheCause::Provider));
        let served = judge(&outline, OPENAI, &usage(5_000, 2_944), alive(3, 3_000), None, Some(&reference));
        assert_eq!((served.missed, served.cause), (0, None));
    }

    #[test]
    fn a_broken_prefix_says_where() {
        let reference = parent(&[1, 2, 3, 4], 4_000);
        let judged = |hashes: &[u64], warm| {
            judge(&prompt(hashes), OPENAI, &usage(5_000, 0), warm, None, Some(&reference))
        };
        let tool = judged(&[9, 2, 3, 4, 5], None);
        assert_eq!((tool.cause, tool.broke_at), (Some(CacheCause::Tool), Some((ElementKind::Tool, 0))));
        let clock = judged(&[1, 9, 3, 4, 5], None);
        assert_eq!(clock.cause, Some(CacheCause::Volatile));
        let edited = judged(&[1, 2, 3, 9, 5], alive(3, 3_000));
        assert_eq!(
            (edited.cause, edited.broke_at),
            (Some(CacheCause::Message), Some((ElementKind::Message, 1)))
        );
        assert_eq!(edited.missed, 3_968, "all of the parent's input could have been read again");
        let other = Reference { same_model: false, ..reference.clone() };
        let other = judge(&prompt(&[1, 2, 3, 4, 5]), OPENAI, &usage(5_000, 0), None, None, Some(&other));
        assert_eq!(other.cause, Some(CacheCause::Model));
    }

    #[test]
    fn time_and_marks_are_told_apart() {
        let (outline, reference) = (prompt(&[1, 2, 3, 4]), parent(&[1, 2, 3], 3_000));
        let lapsed = |state| Some(Warm { elements: 3, tokens: 3_000, state });
        let judged =
            |policy, lapsed| judge(&outline, policy, &usage(4_000, 0), None, lapsed, Some(&reference)).cause;
        assert_eq!(judged(OPENAI, lapsed(WarmState::Expired)), Some(CacheCause::Expired));
        assert_eq!(judged(OPENAI, lapsed(WarmState::Unready)), Some(CacheCause::Concurrent));
        assert_eq!(judged(Policy { marked: true, ..OPENAI }, None), Some(CacheCause::NotMarked));
        assert_eq!(judged(OPENAI, None), Some(CacheCause::Unknown));
    }

    #[test]
    fn who_reports_no_reads_misses_none() {
        let silent = Usage { cache_read: None, ..usage(5_000, 0) };
        let verdict = judge(&prompt(&[1, 2, 3]), OPENAI, &silent, alive(3, 3_000), None, None);
        assert_eq!((verdict.cacheable, verdict.missed, verdict.cause), (2_944, 0, None));
    }

    #[test]
    fn providers_may_say_otherwise() {
        assert!(!disputed(Some(CacheCause::Tool), "tools_changed"));
        assert!(disputed(Some(CacheCause::Provider), "tools_changed"));
        assert!(disputed(Some(CacheCause::Provider), "cache_hit"));
        assert!(!disputed(Some(CacheCause::Provider), "unavailable"));
        assert!(!disputed(None, "cache_hit"));
    }

    proptest! {
        #[test]
        fn figures_stay_within_the_input(
            input in 0u64..1 << 40, read in proptest::option::of(0u64..1 << 40), tokens: u64,
            warm in proptest::option::of((0usize..6, any::<u64>())), hashes in proptest::collection::vec(0u64..4, 0..6),
            other in proptest::collection::vec(0u64..4, 0..6),
        ) {
            let usage = Usage { input: Some(input), cache_read: read, ..Usage::default() };
            let warm = warm.map(|(elements, tokens)| Warm { elements, tokens, state: WarmState::Alive });
            let verdict = judge(&prompt(&hashes), OPENAI, &usage, warm, None, Some(&parent(&other, tokens)));
            prop_assert!(verdict.cacheable <= input);
            prop_assert!(verdict.missed <= verdict.cacheable);
            prop_assert_eq!(verdict.cause.is_some(), verdict.missed > 0);
        }
    }
}
