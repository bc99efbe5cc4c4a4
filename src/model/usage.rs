//! Token counts by class, as one shape for every dialect.
//!
//! `input` **includes** cache reads, cache writes, audio and image tokens; `output` **includes**
//! reasoning, audio and prediction tokens (OpenAI's and OpenTelemetry's convention). A dialect that
//! counts otherwise (Anthropic) is converted by its reader. Absent and zero differ: absent is `None`.

use std::collections::BTreeMap;

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
    /// Counts that few calls have; never a zero.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    #[schema(value_type = BTreeMap<String, u64>)]
    pub meters: BTreeMap<Meter, u64>,
    /// What the provider itself says the call cost, in US dollars as it wrote it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reported_cost_nano_usd: Option<i64>,
}

/// What some calls are billed by besides, or instead of, the dense classes of tokens. The names are the
/// keys of the price file.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Meter {
    /// Tokens, ⊂ cache_read and ⊂ input_audio.
    CacheReadAudio,
    /// Tokens, ⊂ cache_read and ⊂ input_image.
    CacheReadImage,
    /// Every call is one.
    Request,
    /// `Usage::web_searches`.
    WebSearch,
    FileSearch,
    /// Containers that ran code.
    CodeSession,
    /// Sources that a search brought (xAI).
    SearchSource,
    /// `Usage::search_units`: of a rerank call.
    SearchUnit,
    /// Generated images.
    Image,
    /// `Usage::seconds`: of sound that was listened to, or of film that was made.
    Second,
    /// Of those of film that was made, where larger sizes have a price of their own.
    SecondLarge,
    /// `Usage::characters`: read out.
    Character,
    /// Pages that were read.
    Page,
}

impl Meter {
    pub const ALL: [Self; 13] = [
        Self::CacheReadAudio,
        Self::CacheReadImage,
        Self::Request,
        Self::WebSearch,
        Self::FileSearch,
        Self::CodeSession,
        Self::SearchSource,
        Self::SearchUnit,
        Self::Image,
        Self::Second,
        Self::SecondLarge,
        Self::Character,
        Self::Page,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::CacheReadAudio => "cache_read_audio",
            Self::CacheReadImage => "cache_read_image",
            Self::Request => "request",
            Self::WebSearch => "web_search",
            Self::FileSearch => "file_search",
            Self::CodeSession => "code_session",
            Self::SearchSource => "search_source",
            Self::SearchUnit => "search_unit",
            Self::Image => "image",
            Self::Second => "second",
            Self::SecondLarge => "second_large",
            Self::Character => "character",
            Self::Page => "page",
        }
    }
}

impl Usage {
    /// True when nothing that is billed is known: no tokens, no seconds, characters, searches, images or pages.
    pub fn is_empty(&self) -> bool {
        self.input.is_none()
            && self.output.is_none()
            && self.seconds.is_none()
            && self.characters.is_none()
            && self.search_units.is_none()
            && !self
                .meters
                .keys()
                .any(|meter| matches!(meter, Meter::Image | Meter::Page | Meter::SecondLarge))
    }

    /// What a meter stands at; 0 where it was not reported.
    pub fn meter(&self, meter: Meter) -> u64 {
        match meter {
            Meter::Request => 1,
            Meter::WebSearch => self.web_searches.unwrap_or(0),
            Meter::Second => self.seconds.unwrap_or(0),
            Meter::Character => self.characters.unwrap_or(0),
            Meter::SearchUnit => self.search_units.unwrap_or(0),
            other => self.meters.get(&other).copied().unwrap_or(0),
        }
    }

    /// Adds to a meter; a zero is left out.
    pub fn count(&mut self, meter: Meter, count: u64) {
        let sum = self.meter(meter).saturating_add(count);
        match meter {
            Meter::Request => {}
            _ if count == 0 => {}
            Meter::WebSearch => self.web_searches = Some(sum),
            Meter::Second => self.seconds = Some(sum),
            Meter::Character => self.characters = Some(sum),
            Meter::SearchUnit => self.search_units = Some(sum),
            other => {
                self.meters.insert(other, sum);
            }
        }
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
        for (meter, count) in &other.meters {
            self.count(*meter, *count);
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
