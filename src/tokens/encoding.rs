//! Which encoding a model reads, and by how much others differ from the one that stands in for theirs.

use tiktoken_rs::{
    CoreBPE, cl100k_base_singleton, o200k_base_singleton, o200k_harmony_singleton, p50k_base_singleton,
    r50k_base_singleton,
};

use super::TokenCounter;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vocabulary {
    O200k,
    Harmony,
    Cl100k,
    P50k,
    R50k,
}

/// A vocabulary, and what its count is multiplied with, in percent: 100 where it is the model's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Encoding {
    vocabulary: Vocabulary,
    percent: u64,
}

use Vocabulary::{Cl100k, Harmony, O200k, P50k, R50k};

/// By model name's beginning; the longest that fits counts. A published vocabulary is 100 %; the others
/// are o200k with the ratio that was measured or published for running English text.
const TABLE: &[(&str, Vocabulary, u64)] = &[
    ("gpt-4o", O200k, 100),
    ("chatgpt-4o", O200k, 100),
    ("gpt-4.1", O200k, 100),
    ("gpt-4.5", O200k, 100),
    ("gpt-5", O200k, 100),
    // No change of vocabulary was announced.
    ("gpt-6", O200k, 100),
    ("o1", O200k, 100),
    ("o3", O200k, 100),
    ("o4", O200k, 100),
    ("codex-", O200k, 100),
    ("computer-use", O200k, 100),
    ("gpt-oss", Harmony, 100),
    ("gpt-4", Cl100k, 100),
    ("gpt-3.5", Cl100k, 100),
    ("gpt-35", Cl100k, 100),
    ("text-embedding-", Cl100k, 100),
    ("davinci-002", Cl100k, 100),
    ("babbage-002", Cl100k, 100),
    ("text-davinci-002", P50k, 100),
    ("text-davinci-003", P50k, 100),
    ("code-", P50k, 100),
    ("text-davinci-001", R50k, 100),
    ("davinci", R50k, 100),
    ("curie", R50k, 100),
    ("babbage", R50k, 100),
    ("ada", R50k, 100),
    ("claude", O200k, 120),
    // The tokenizer that came with 4.7 makes more tokens of the same text.
    ("claude-opus-4-7", O200k, 140),
    ("claude-opus-4-8", O200k, 140),
    ("claude-opus-5", O200k, 140),
    ("claude-sonnet-5", O200k, 140),
    ("claude-haiku-5", O200k, 140),
    ("gemini", O200k, 105),
    ("llama", O200k, 102),
    ("meta-llama", O200k, 102),
    ("mistral", O200k, 105),
    ("ministral", O200k, 105),
    ("magistral", O200k, 105),
    ("codestral", O200k, 105),
    ("devstral", O200k, 105),
    ("qwen", O200k, 103),
];

/// A model's name without what stands before it: `openai/gpt-4o`, `accounts/fireworks/models/qwen3`,
/// `ft:gpt-4o:org::id`, `us.anthropic.claude-sonnet-4-5`.
pub(super) fn bare(model: &str) -> String {
    let name = model.to_ascii_lowercase();
    let name = name.rsplit('/').next().unwrap_or_default();
    let name = name.strip_prefix("ft:").unwrap_or(name);
    let name = name.split_once("anthropic.").map_or(name, |(_, name)| name);
    name.to_owned()
}

impl Encoding {
    /// Every model has one: an unknown name is counted as o200k.
    pub(super) fn of(model: &str) -> Self {
        let name = bare(model);
        TABLE
            .iter()
            .filter(|(prefix, ..)| name.starts_with(prefix))
            .max_by_key(|(prefix, ..)| prefix.len())
            .map_or(Self { vocabulary: O200k, percent: 100 }, |(_, vocabulary, percent)| Self {
                vocabulary: *vocabulary,
                percent: *percent,
            })
    }

    pub(super) fn counter(self) -> &'static dyn TokenCounter {
        match self.vocabulary {
            O200k => o200k_base_singleton(),
            Harmony => o200k_harmony_singleton(),
            Cl100k => cl100k_base_singleton(),
            P50k => p50k_base_singleton(),
            R50k => r50k_base_singleton(),
        }
    }

    pub(super) fn scale(self, tokens: u64) -> u64 {
        tokens.saturating_mul(self.percent).div_ceil(100)
    }
}

impl TokenCounter for CoreBPE {
    /// Text only: what looks like a special token was written by somebody and is read as text.
    fn count(&self, text: &str) -> u64 {
        self.count_ordinary(text) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_beginning_decides() {
        for (model, vocabulary, percent) in [
            ("gpt-4o-mini-2024-07-18", O200k, 100),
            ("gpt-4-turbo", Cl100k, 100),
            ("gpt-4", Cl100k, 100),
            ("gpt-4.1-nano", O200k, 100),
            ("gpt-6-astra", O200k, 100),
            ("gpt-oss-120b", Harmony, 100),
            ("o4-mini", O200k, 100),
            ("openai/gpt-5.4", O200k, 100),
            ("ft:gpt-3.5-turbo:acme::x", Cl100k, 100),
            ("text-embedding-3-small", Cl100k, 100),
            ("davinci-002", Cl100k, 100),
            ("Anthropic/Claude-Sonnet-4-5", O200k, 120),
            ("claude-opus-4-7-20260416", O200k, 140),
            ("accounts/fireworks/models/qwen3-8b", O200k, 103),
            ("something-new", O200k, 100),
        ] {
            assert_eq!(Encoding::of(model), Encoding { vocabulary, percent }, "{model}");
        }
    }
}
