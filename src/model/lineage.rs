//! What joins a call to others: its conversation in hashes, and the link that was found. Plain data; what
//! the hashes are of and how links are found is `chain`'s.

use serde::{Deserialize, Serialize};

use super::{CallId, NanoUsd, UnixNanos};

/// What a call brings along for being joined to others. Empty where it has no conversation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lineage {
    pub outline: Option<Outline>,
    /// The session that the call's own session says it comes from (`x-parent-session-id`, …).
    pub parent_session: Option<String>,
    /// Which of several agents in one session (`x-claude-code-agent-id`, …).
    pub agent: Option<String>,
    /// `previous_response_id`.
    pub previous_response: Option<String>,
    pub saving: Option<Saving>,
    /// Why the provider itself says that its prompt cache was not read, in its word.
    pub cache_diagnosis: Option<String>,
}

/// A conversation in hashes, never in text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outline {
    /// The prompt in the order in which a provider reads it, exactly: tools, system, parameters, messages.
    pub elements: Vec<Element>,
    /// The system prompt without its volatile markers.
    pub system: u64,
    /// All tool definitions.
    pub tools: u64,
    /// The volatile markers of the system prompt.
    pub markers: Markers,
    /// What was said, after the system prompt.
    pub units: Vec<Unit>,
    /// What came back, one per alternative.
    pub replies: Vec<Reply>,
    /// Sentences of what stands before the first answer.
    pub opening: Vec<u64>,
    /// Sentences of the answer.
    pub said: Vec<u64>,
    /// Texts that the answer's tool calls hand on.
    pub delegated: Vec<u64>,
    /// The request marks what is to be cached (`cache_control`).
    pub marked: bool,
}

/// One tool definition, system part or message, as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element {
    pub kind: ElementKind,
    pub hash: u64,
    /// Length of its text, bytes.
    pub bytes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ElementKind {
    Tool,
    System,
    /// Request parameters that a provider's prompt cache depends on.
    Parameter,
    Message,
}

/// Consecutive messages of one speaker, without what clients leave out or rewrite when they resend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    pub speaker: Speaker,
    pub hash: u64,
    /// Characters of text: a short one proves little.
    pub weight: u32,
    /// Holds an id that a provider made up (a tool call's), which no other conversation has.
    pub unique: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    Assistant,
    /// Everybody else: users and tools.
    Other,
}

/// An answer as a unit of the conversation that goes on with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// Units before it.
    pub at: u32,
    pub unit: Unit,
}

/// Hashes of the volatile markers in a text, kind by kind; 0 where there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Markers(pub [u32; MarkerKind::ALL.len()]);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MarkerKind {
    Date,
    Time,
    Uuid,
    Id,
    Number,
}

impl MarkerKind {
    pub const ALL: [Self; 5] = [Self::Date, Self::Time, Self::Uuid, Self::Id, Self::Number];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Date => "date",
            Self::Time => "time",
            Self::Uuid => "uuid",
            Self::Id => "id",
            Self::Number => "number",
        }
    }
}

/// An enum that is a word outside and a small number in the store.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$note:meta])* $variant:ident = $number:literal $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
        pub enum $name { $($(#[$note])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == text)
            }

            /// Its number in the store; never given to another.
            pub fn number(self) -> i64 {
                match self { $(Self::$variant => $number),+ }
            }

            pub fn of_number(number: i64) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.number() == number)
            }
        }
    };
}

words! {
    /// What a call is to its parent.
    LinkKind {
        /// It goes on where the parent's answer ended.
        NextTurn = 1 "next_turn",
        /// It goes on from an answer that another call has gone on from before.
        Fork = 2 "fork",
        /// As a fork, while the other was still running.
        Parallel = 3 "parallel",
        /// It asks again what the parent was not answered.
        Retry = 4 "retry",
        /// An agent of its own, whose task stands in a tool call of the parent.
        Delegated = 5 "sub_agent",
        /// Its history was replaced by a summary that the parent wrote.
        Compaction = 6 "compaction",
        /// Its history is the parent's with something changed or left out.
        EditedHistory = 7 "edited_history",
    }
}

words! {
    /// The evidence that made a link.
    LinkRule {
        /// The request names the response that it goes on from.
        PreviousResponse = 1 "previous_response_id",
        /// The history begins with the parent's request and its answer.
        SharedPrefix = 2 "shared prefix",
        /// The same request, shortly after it failed.
        SameRequest = 3 "same request",
        /// The parent's answer stands in the history.
        SameAnswer = 4 "same answer",
        /// Its first messages repeat the parent's answer or a task that it handed on.
        Quoted = 5 "quoted",
        /// The history begins with the parent's request, which was cut off or answered otherwise.
        SharedRequest = 6 "shared request",
    }
}

words! {
    /// Why input that could have been a cache read was none.
    CacheCause {
        Tool = 1 "tool",
        System = 2 "system",
        /// The system prompt, in a date, time, id or counter alone.
        Volatile = 3 "volatile",
        Message = 4 "message",
        Parameter = 5 "parameter",
        Model = 6 "model",
        Key = 7 "key",
        /// Not used for longer than the cache keeps it.
        Expired = 8 "expired",
        /// The provider caches what is marked, and nothing was.
        NotMarked = 9 "not_marked",
        /// The call that would have filled the cache was still running.
        Concurrent = 10 "concurrent",
        /// The prefix was intact and alive.
        Provider = 11 "provider",
        /// The prefix was intact; whether it was alive is not known.
        Unknown = 12 "unknown",
    }
}

/// What the cache ledger says of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheEntry {
    /// Input tokens that could have been a cache read; of these, read less than could be.
    pub cacheable: u64,
    pub missed: u64,
    /// What the missed tokens cost more; `None` where the price is not known.
    pub lost: Option<NanoUsd>,
    pub cause: Option<CacheCause>,
    /// The first element of the prompt that differs, and which one of its kind it is.
    pub broke_at: Option<(ElementKind, u32)>,
    /// The call that was compared with.
    pub reference: Option<CallId>,
    /// The provider's own diagnosis, in its word, and whether it contradicts.
    pub says: Option<String>,
    pub disputed: bool,
}

/// What of a call's prompt its parent's had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Inherited {
    /// The system prompt, but for volatile markers.
    pub system: bool,
    /// Of the messages after it, the first so many.
    pub messages: usize,
}

/// An element of a call's prompt and the call that brought it into the conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introduced {
    pub kind: ElementKind,
    pub call: CallId,
    pub at: UnixNanos,
    pub session: Option<String>,
}

/// What sums of the cache ledger may be grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CacheDimension {
    Day,
    Experiment,
    Run,
    Session,
    Provider,
    Model,
    Prompt,
    User,
    Cause,
}

impl CacheDimension {
    pub const ALL: [Self; 9] = [
        Self::Day,
        Self::Experiment,
        Self::Run,
        Self::Session,
        Self::Provider,
        Self::Model,
        Self::Prompt,
        Self::User,
        Self::Cause,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Experiment => "experiment",
            Self::Run => "run",
            Self::Session => "session",
            Self::Provider => "provider",
            Self::Model => "model",
            Self::Prompt => "prompt",
            Self::User => "user",
            Self::Cause => "cause",
        }
    }

    pub fn parse(text: &str) -> Result<Self, super::Error> {
        Self::ALL.into_iter().find(|dimension| dimension.as_str() == text).ok_or_else(|| {
            let all: Vec<_> = Self::ALL.iter().map(|dimension| dimension.as_str()).collect();
            super::Error::invalid(format!("expected one of {} to group by, found {text:?}", all.join(", ")))
        })
    }
}

/// Which sums of the cache ledger. Whole days: `since` is rounded down, `until` up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheQuery {
    pub by: Vec<CacheDimension>,
    pub since: Option<UnixNanos>,
    pub until: Option<UnixNanos>,
    /// Experiment id or name; run id or name.
    pub experiment: Option<String>,
    pub run: Option<String>,
}

/// One line of sums of the cache ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheRow {
    /// One value per dimension of the query, in its order; `None` where the calls had none.
    pub key: Vec<Option<String>>,
    pub calls: u64,
    pub input_tokens: u64,
    pub cacheable_tokens: u64,
    pub read_tokens: u64,
    pub missed_tokens: u64,
    /// Of the calls whose price is known.
    pub lost: NanoUsd,
    /// Calls that missed tokens of an unknown price.
    pub unpriced_calls: u64,
    /// Calls of which the provider says otherwise.
    pub disputed_calls: u64,
}

/// What differs between a call and its parent apart from new messages, as a set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changes(pub u32);

impl Changes {
    pub const SYSTEM: Self = Self(1);
    pub const TOOLS: Self = Self(1 << 1);
    pub const MODEL: Self = Self(1 << 2);
    pub const KEY: Self = Self(1 << 3);
    pub const PEER: Self = Self(1 << 4);
    /// The first of the bits for the volatile markers of the system prompt, in the order of `MarkerKind::ALL`.
    const MARKERS: u32 = 8;

    pub fn add(&mut self, other: Self, when: bool) {
        if when {
            self.0 |= other.0;
        }
    }

    pub fn marker(kind: MarkerKind) -> Self {
        Self(1 << (Self::MARKERS + kind as u32))
    }

    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// In words, `system prompt (date, time)` for markers alone.
    pub fn words(self) -> Vec<String> {
        let mut words = Vec::new();
        let markers: Vec<_> = MarkerKind::ALL
            .into_iter()
            .filter(|kind| self.has(Self::marker(*kind)))
            .map(MarkerKind::as_str)
            .collect();
        if self.has(Self::SYSTEM) {
            words.push("system prompt".to_owned());
        } else if !markers.is_empty() {
            words.push(format!("system prompt ({})", markers.join(", ")));
        }
        for (change, word) in
            [(Self::TOOLS, "tools"), (Self::MODEL, "model"), (Self::KEY, "key"), (Self::PEER, "client")]
        {
            if self.has(change) {
                words.push(word.to_owned());
            }
        }
        words
    }
}

/// How a call hangs under another. `P` is how the parent is named: a place in the store below, an id above.
#[derive(Debug, Clone, PartialEq)]
pub struct Link<P = CallId> {
    pub parent: P,
    pub kind: LinkKind,
    pub rule: LinkRule,
    /// How certain, in thousandths.
    pub confidence: u16,
    /// Units of the history that both have.
    pub matched: u32,
    /// Other calls that would have fitted less well.
    pub rivals: u32,
    pub changes: Changes,
}

/// What the call would have cost less if `tokens` of its input had been read from the prompt cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Saving {
    pub amount: NanoUsd,
    pub tokens: u64,
}

/// A conversation or job: what its calls sum up to.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    pub id: String,
    /// The session it comes from.
    pub parent: Option<String>,
    /// True when tapline found it, false when a caller named it.
    pub inferred: bool,
    /// The call that began it.
    pub first_call: CallId,
    pub started_at: UnixNanos,
    pub last_at: UnixNanos,
    pub experiment_id: String,
    pub run_id: Option<String>,
    pub user: Option<String>,
    pub model: Option<String>,
    pub calls: u64,
    pub errors: u64,
    pub input_tokens: u64,
    pub cache_read_tokens: u64,
    pub output_tokens: u64,
    pub cost: NanoUsd,
    pub priced_calls: u64,
    pub unpriced_calls: u64,
    /// Input tokens that a prompt cache could have served and did not, and what they cost more.
    pub missed_tokens: u64,
    pub lost: NanoUsd,
}

/// A call as one step of a session: what a log or a tree of it shows.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionCall {
    pub id: CallId,
    /// Its place in the order of storing.
    pub sequence: i64,
    pub session: String,
    pub name: String,
    pub started_at: UnixNanos,
    pub ended_at: UnixNanos,
    pub status: super::call::CallStatus,
    pub error_type: Option<String>,
    pub model: Option<String>,
    pub agent: Option<String>,
    pub tool_calls: u32,
    pub input_tokens: Option<u64>,
    pub cache_read_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub cost: Option<NanoUsd>,
    /// `None` where it begins a conversation.
    pub link: Option<Link>,
    pub missed_tokens: Option<u64>,
    pub lost: Option<NanoUsd>,
}
