//! Token counts by class, as one shape for every dialect.
//!
//! `input` **includes** cache reads, cache writes, audio and image tokens; `output` **includes**
//! reasoning, audio and prediction tokens (OpenAI's and OpenTelemetry's convention). A dialect that
//! counts otherwise (Anthropic) is converted by its reader. Absent and zero differ: absent is `None`.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Usage {
    /// All input tokens.
    pub input: Option<u64>,
    /// ⊂ input: served from the provider's prompt cache.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cache_read: Option<u64>,
    /// ⊂ input: written to the provider's prompt cache.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cache_write: Option<u64>,
    /// ⊂ cache_write: written with a long life (1 h or 12 h), where the provider tells.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cache_write_long: Option<u64>,
    /// ⊂ input.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub input_audio: Option<u64>,
    /// ⊂ input.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub input_image: Option<u64>,
    /// All output tokens.
    pub output: Option<u64>,
    /// ⊂ output.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reasoning: Option<u64>,
    /// ⊂ output.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub output_audio: Option<u64>,
    /// ⊂ output.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub output_image: Option<u64>,
    /// Web searches that the provider bills apart.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub web_searches: Option<u64>,
    /// Seconds of sound or film, begun ones counted, where time is billed and not tokens.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub seconds: Option<u64>,
    /// Characters read out, where they are billed and not tokens.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub characters: Option<u64>,
    /// Searches over documents (rerank), where they are billed and not tokens.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub search_units: Option<u64>,
    /// What the provider itself says the call cost, in US dollars as it wrote it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reported_cost_nano_usd: Option<i64>,
}

impl Usage {
    /// True when nothing that is billed is known: no tokens, no seconds, characters or searches.
    pub fn is_empty(&self) -> bool {
        self.input.is_none()
            && self.output.is_none()
            && self.seconds.is_none()
            && self.characters.is_none()
            && self.search_units.is_none()
    }

    /// Adds another call's counts, class by class; what neither knows stays unknown.
    pub fn add(&mut self, other: &Self) {
        for (sum, count) in [
            (&mut self.input, other.input),
            (&mut self.cache_read, other.cache_read),
            (&mut self.cache_write, other.cache_write),
            (&mut self.cache_write_long, other.cache_write_long),
            (&mut self.input_audio, other.input_audio),
            (&mut self.input_image, other.input_image),
            (&mut self.output, other.output),
            (&mut self.reasoning, other.reasoning),
            (&mut self.output_audio, other.output_audio),
            (&mut self.output_image, other.output_image),
            (&mut self.web_searches, other.web_searches),
            (&mut self.seconds, other.seconds),
            (&mut self.characters, other.characters),
            (&mut self.search_units, other.search_units),
        ] {
            if let Some(count) = count {
                *sum = Some(sum.unwrap_or(0).saturating_add(count));
            }
        }
        if let Some(cost) = other.reported_cost_nano_usd {
            let sum = self.reported_cost_nano_usd.unwrap_or(0);
            self.reported_cost_nano_usd = Some(sum.saturating_add(cost));
        }
    }

    /// Input plus output; `None` when both are unknown.
    pub fn total(&self) -> Option<u64> {
        match (self.input, self.output) {
            (None, None) => None,
            (input, output) => Some(input.unwrap_or(0).saturating_add(output.unwrap_or(0))),
        }
    }
}

/// Where a usage comes from (invariant 6: every figure says).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UsageSource {
    /// The upstream reported it.
    Reported,
    /// tapline counted tokens itself; a lower bound where reasoning is hidden.
    Estimated,
}

impl UsageSource {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Estimated => "estimated",
        }
    }
}
