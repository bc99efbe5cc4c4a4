//! What crosses the wire: request and answer bodies, each made from its shape and its number, so that whoever
//! gets one can make it again and compare every byte. No two calls have the same bytes, or a store that keeps
//! equal content once would look cheaper than it is.

use std::{io::Write as _, sync::OnceLock};

/// Turns of one conversation of `Shape::History`.
pub const TURNS: u64 = 40;
/// Bytes of one message of a history.
const MESSAGE: usize = 600;
const LONGEST: usize = 2 << 20;
/// Digits of a time stamp in an event, nanoseconds since the epoch.
pub const STAMP: usize = 19;

/// What a call asks and what it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// So many bytes up, and as many down, in one JSON body each.
    Plain(usize),
    /// 1 KB up; so many events down, each after so many microseconds.
    Stream { events: u32, gap_us: u64 },
    /// An agent that sends its whole conversation with every call; 1 KB down.
    History,
}

impl Shape {
    /// As a query, which is also how a shape is named on a command line.
    pub fn query(self) -> String {
        match self {
            Self::Plain(bytes) => format!("plain={bytes}"),
            Self::Stream { events, gap_us } => format!("stream={events}x{gap_us}"),
            Self::History => "history=1".to_owned(),
        }
    }

    pub fn parse(query: &str) -> Option<Self> {
        let (kind, value) = query.split_once('=')?;
        match kind {
            "plain" => value.parse().ok().filter(|bytes| *bytes < LONGEST).map(Self::Plain),
            "stream" => {
                let (events, gap_us) = value.split_once('x')?;
                Some(Self::Stream { events: events.parse().ok()?, gap_us: gap_us.parse().ok()? })
            }
            "history" => Some(Self::History),
            _ => None,
        }
    }

    /// The request body of a call.
    pub fn request(self, number: u64, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(br#"{"model":"sim-small","messages":["#);
        match self {
            Self::Plain(bytes) => {
                message(out, "user", number, 0, bytes.saturating_sub(80));
            }
            Self::Stream { .. } => message(out, "user", number, 0, 900),
            Self::History => {
                let (conversation, turn) = (number / TURNS, number % TURNS);
                for past in 0..turn {
                    message(out, "user", conversation, past, MESSAGE);
                    out.push(b',');
                    message(out, "assistant", conversation, past, MESSAGE);
                    out.push(b',');
                }
                message(out, "user", conversation, turn, MESSAGE);
            }
        }
        out.extend_from_slice(b"]");
        if matches!(self, Self::Stream { .. }) {
            out.extend_from_slice(br#","stream":true"#);
        }
        out.push(b'}');
    }

    /// The body of a plain answer.
    pub fn answer(self, number: u64, out: &mut Vec<u8>) {
        let bytes = match self {
            Self::Plain(bytes) => bytes.saturating_sub(245),
            _ => 779,
        };
        out.clear();
        put(out, format_args!("{{\"id\":\"chatcmpl-{number:012}\",\"object\":\"chat.completion\","));
        out.extend_from_slice(
            br#""created":1700000000,"model":"sim-small","choices":[{"index":0,"message":"#,
        );
        message(out, "assistant", number, 1, bytes);
        out.extend_from_slice(br#","finish_reason":"stop"}],"usage":{"prompt_tokens":250,"#);
        out.extend_from_slice(br#""completion_tokens":100,"total_tokens":350}}"#);
    }

    /// The number in a request body; the rest of the body is then known.
    pub fn number(self, body: &[u8]) -> Option<u64> {
        // A history's number has its turn too: the last message's, counted from the end.
        let at = match self {
            Self::History => body.len().checked_sub(MESSAGE + 4 + 17)?,
            _ => br#"{"model":"sim-small","messages":[{"role":"user","content":""#.len(),
        };
        let digits = std::str::from_utf8(body.get(at..at + 16)?).ok()?;
        let number: u64 = digits.get(..12)?.parse().ok()?;
        let turn: u64 = digits.get(13..)?.parse().ok()?;
        Some(if self == Self::History { number * TURNS + turn } else { number })
    }
}

/// One event of a stream, its blank line included. The last but one ends the choice, the last is `[DONE]`.
pub fn event(number: u64, index: u32, events: u32, stamp: u64, out: &mut Vec<u8>) {
    out.clear();
    if index > events {
        out.extend_from_slice(b"data: [DONE]\n\n");
        return;
    }
    put(out, format_args!("data: {{\"id\":\"chatcmpl-{number:012}\",\"object\":\"chat.completion.chunk\","));
    out.extend_from_slice(br#""created":1700000000,"model":"sim-small","choices":[{"index":0,"delta":{"#);
    if index == events {
        out.extend_from_slice(br#"},"finish_reason":"stop"}],"usage":{"prompt_tokens":250,"#);
        out.extend_from_slice(br#""completion_tokens":100,"total_tokens":350}}"#);
    } else {
        put(out, format_args!("\"content\":\"{stamp:0STAMP$} and so on\"}},\"finish_reason\":null}}]}}"));
    }
    out.extend_from_slice(b"\n\n");
}

/// The time stamp of an event that has one.
pub fn stamp(event: &[u8]) -> Option<u64> {
    let mark = br#""content":""#;
    let at = event.windows(mark.len()).position(|window| window == mark)? + mark.len();
    std::str::from_utf8(event.get(at..at + STAMP)?).ok()?.parse().ok()
}

fn message(out: &mut Vec<u8>, role: &str, number: u64, turn: u64, bytes: usize) {
    put(out, format_args!("{{\"role\":\"{role}\",\"content\":\"{number:012}-{turn:03} "));
    // Another stretch of the prose for every message: equal text would compress too well in a row.
    let from = (number.wrapping_mul(31).wrapping_add(turn * 7) % 8_191) as usize;
    out.extend_from_slice(prose().get(from..from + bytes).unwrap_or_default());
    out.extend_from_slice(b"\"}");
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a vector takes every byte");
}

/// Words in no order, which compress about as well as prose does.
fn prose() -> &'static [u8] {
    const WORDS: [&str; 64] = [
        "the",
        "a",
        "model",
        "answers",
        "with",
        "some",
        "tokens",
        "and",
        "calls",
        "weather",
        "tool",
        "for",
        "paris",
        "when",
        "user",
        "asks",
        "about",
        "it",
        "budget",
        "remains",
        "under",
        "review",
        "because",
        "latency",
        "grows",
        "slowly",
        "while",
        "every",
        "agent",
        "keeps",
        "its",
        "history",
        "of",
        "turns",
        "in",
        "memory",
        "unless",
        "someone",
        "prunes",
        "them",
        "first",
        "second",
        "later",
        "never",
        "often",
        "prompt",
        "cache",
        "hit",
        "miss",
        "ratio",
        "is",
        "what",
        "matters",
        "to",
        "cost",
        "per",
        "run",
        "experiment",
        "seventeen",
        "forty",
        "thousand",
        "dollars",
        "spent",
        "today",
    ];
    static PROSE: OnceLock<Vec<u8>> = OnceLock::new();
    PROSE.get_or_init(|| {
        let mut text = Vec::with_capacity(LONGEST + 16_384);
        let mut dice: u64 = 0x9e37_79b9_7f4a_7c15;
        while text.len() < LONGEST + 16_384 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.extend_from_slice(WORDS[(dice >> 58) as usize].as_bytes());
            // A number now and then, as prose about money has.
            if dice.is_multiple_of(5) {
                put(&mut text, format_args!(" {}", (dice >> 40) & 0xffff));
            }
            text.push(b' ');
        }
        text
    })
}
