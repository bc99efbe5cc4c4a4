//! Agents at work, as finished calls: conversations that share a system prompt and tools and resend their whole
//! history, in the words of a made-up language that compresses as English does. The answer's text comes back as
//! the assistant's message of the next call, as with any client library.

use std::fmt::Write as _;

use bytes::Bytes;
use tapline::{
    capture::assemble::Finished,
    model::{
        CallId, SpanId, TraceId, UnixNanos,
        record::{Answered, Closed, Header, Opened, Outcome, Scope},
    },
};

/// Bytes of what all conversations share, and of what one turn adds.
const SYSTEM: usize = 7_500;
const TOOLS: usize = 17;
const RESULT: usize = 700;
const ANSWER: usize = 350;

/// A source of numbers that are the same every time.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d);
        dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn hex(&mut self, digits: usize) -> String {
        (0..digits).map(|_| char::from_digit(self.below(16) as u32, 16).unwrap_or('0')).collect()
    }
}

/// A language: words made of syllables, the frequent ones short, used as often as Zipf says.
#[derive(Debug)]
pub struct Language(Vec<String>);

impl Language {
    pub fn new() -> Self {
        const SYLLABLES: [&str; 40] = [
            "an", "be", "con", "der", "en", "fa", "ge", "hal", "in", "jo", "ka", "lo", "men", "nor", "or",
            "pre", "qui", "re", "sta", "ti", "un", "ver", "wa", "xi", "yel", "zo", "th", "sh", "ing", "ed",
            "er", "ly", "al", "is", "at", "on", "es", "ar", "te", "se",
        ];
        let mut dice = Dice::new(7);
        let words = (0..6_000u64).map(|rank| {
            let syllables = 1 + u64::from(rank > 30) + u64::from(rank > 600) + dice.below(2);
            (0..syllables).map(|_| SYLLABLES[dice.below(40) as usize]).collect()
        });
        Self(words.collect())
    }

    fn word(&self, dice: &mut Dice) -> &str {
        let rank = (self.0.len() as f64).powf(dice.unit().powf(0.9)) as usize - 1;
        self.0.get(rank).map_or("the", String::as_str)
    }

    /// At least so many bytes of sentences.
    pub fn prose(&self, dice: &mut Dice, bytes: usize) -> String {
        let mut text = String::with_capacity(bytes + 64);
        while text.len() < bytes {
            let words = 5 + dice.below(14);
            for number in 0..words {
                let word = self.word(dice);
                match number {
                    0 => {
                        text.extend(word.chars().take(1).flat_map(char::to_uppercase));
                        text.extend(word.chars().skip(1));
                    }
                    _ => text.push_str(word),
                }
                text.push_str(match number + 1 == words {
                    true => ". ",
                    false if dice.below(9) == 0 => ", ",
                    false => " ",
                });
            }
        }
        text
    }
}

/// What all conversations share.
#[derive(Debug)]
pub struct Agents {
    language: Language,
    system: String,
    tools: String,
    streamed: bool,
}

impl Agents {
    pub fn new(streamed: bool) -> Self {
        let language = Language::new();
        let mut dice = Dice::new(1);
        let system = language.prose(&mut dice, SYSTEM);
        let mut tools = "[".to_owned();
        for number in 0..TOOLS {
            let about = language.prose(&mut dice, 220);
            let one = language.prose(&mut dice, 60);
            let two = language.prose(&mut dice, 60);
            let comma = if number > 0 { "," } else { "" };
            write!(
                tools,
                r#"{comma}{{"type":"function","function":{{"name":"tool_{number}","description":"{about}","parameters":{{"type":"object","properties":{{"path":{{"type":"string","description":"{one}"}},"pattern":{{"type":"string","description":"{two}"}},"limit":{{"type":"integer"}}}},"required":["path"],"additionalProperties":false}},"strict":true}}}}"#
            )
            .expect("text takes every piece");
        }
        tools.push(']');
        Self { language, system, tools, streamed }
    }

    /// The calls of one conversation, in order. `newest` is when its last call begins.
    pub fn conversation(
        &self,
        number: u64,
        turns: u64,
        first: UnixNanos,
    ) -> impl Iterator<Item = Finished> + '_ {
        let mut dice = Dice::new(1_000 + number);
        let mut messages = format!(r#"{{"role":"system","content":"{}"}}"#, self.system);
        (0..turns).map(move |turn| {
            let id = format!("call_{}", dice.hex(24));
            let (text, path) =
                (self.language.prose(&mut dice, RESULT), format!("src/{}/{}.rs", dice.hex(4), dice.hex(6)));
            if turn == 0 {
                write!(messages, r#",{{"role":"user","content":"{text}"}}"#)
            } else {
                write!(messages, r#",{{"role":"tool","tool_call_id":"{id}","content":"{path}:{turn}: {text}"}}"#)
            }
            .expect("text takes every piece");
            let request = format!(
                r#"{{"messages":[{messages}],"model":"gpt-4.1","parallel_tool_calls":true,"stream":{},"temperature":0.2,"tools":{}}}"#,
                self.streamed, self.tools
            );
            let answer = self.language.prose(&mut dice, ANSWER);
            let answer = answer.trim_end();
            let finished = self.call(&mut dice, number * 10_000 + turn, &request, answer, turn, first);
            write!(
                messages,
                r#",{{"role":"assistant","content":"{answer}","tool_calls":[{{"id":"{id}","type":"function","function":{{"name":"tool_{}","arguments":"{{\"path\":\"{path}\",\"limit\":{}}}"}}}}]}}"#,
                turn % TOOLS as u64, dice.below(500)
            )
            .expect("text takes every piece");
            finished
        })
    }

    fn call(
        &self,
        dice: &mut Dice,
        number: u64,
        request: &str,
        answer: &str,
        turn: u64,
        first: UnixNanos,
    ) -> Finished {
        let at =
            UnixNanos(first.0 + i64::try_from(turn * 7_000 + number % 997).unwrap_or_default() * 1_000_000);
        let mut id = [0; 16];
        id[..6].copy_from_slice(&(at.0 / 1_000_000).to_be_bytes()[2..]);
        id[6..14].copy_from_slice(&dice.next().to_be_bytes());
        id[14..].copy_from_slice(&(number as u16).to_be_bytes());
        let completion = format!("chatcmpl-{}", dice.hex(29));
        let created = at.0 / UnixNanos::SECOND;
        let (input, output) = (request.len() / 4, answer.len() / 4);
        let usage = format!(
            r#""usage":{{"prompt_tokens":{input},"completion_tokens":{output},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":{},"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}},"service_tier":"default","system_fingerprint":"fp_51e1070cf2""#,
            input + output,
            input / 128 * 128
        );
        let mut frames = Vec::new();
        let mut received = String::new();
        let mut when = at.0 + 400_000_000 + i64::try_from(dice.below(300_000_000)).unwrap_or_default();
        if self.streamed {
            let mut event = |delta: &str, finish: &str, dice: &mut Dice| {
                when += 8_000_000 + i64::try_from(dice.below(9_000_000)).unwrap_or_default();
                let before = received.len();
                write!(received, "data: {{\"id\":\"{completion}\",\"object\":\"chat.completion.chunk\",\"created\":{created},\"model\":\"gpt-4.1-2025-04-14\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_51e1070cf2\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish}}}]}}\n\n").expect("text takes every piece");
                frames.push((UnixNanos(when), received.len() - before));
            };
            event(r#"{"role":"assistant","content":"","refusal":null}"#, "null", dice);
            for word in answer.split_inclusive(' ') {
                // Tokens end where words do or before.
                let cut = if word.len() > 6 { word.len() / 2 } else { word.len() };
                let (first, second) = word.split_at_checked(cut).unwrap_or((word, ""));
                for piece in [first, second].into_iter().filter(|piece| !piece.is_empty()) {
                    event(&format!(r#"{{"content":"{piece}"}}"#), "null", dice);
                }
            }
            event("{}", r#""stop""#, dice);
            let before = received.len();
            write!(received, "data: [DONE]\n\n").expect("text takes every piece");
            frames.push((UnixNanos(when + 30_000), received.len() - before));
        } else {
            write!(received, r#"{{"id":"{completion}","object":"chat.completion","created":{created},"model":"gpt-4.1-2025-04-14","choices":[{{"index":0,"message":{{"role":"assistant","content":"{answer}","refusal":null,"annotations":[]}},"logprobs":null,"finish_reason":"stop"}}],{usage}}}"#).expect("text takes every piece");
            frames.push((UnixNanos(when), received.len()));
        }
        let ended = UnixNanos(when + 100_000);
        let call = CallId(id);
        let (sent, got) = (request.len() as u64, received.len() as u64);
        Finished {
            opened: Opened {
                call,
                // As the recorder chooses them where no trace comes with the call.
                trace: TraceId(id),
                span: SpanId::of(call),
                parent_span: None,
                at,
                method: "POST".to_owned(),
                target: "/chat/completions".to_owned(),
                upstream: "default".to_owned(),
                provider: "openai".to_owned(),
                server_address: "api.openai.com".to_owned(),
                server_port: 443,
                scope: Scope::default(),
                headers: request_headers(request.len()),
                peer: Some(format!("127.0.0.1:{}", 40_000 + number / 10_000)),
                key_fingerprint: Some("key-3f9a1c02".to_owned()),
            },
            sent: Bytes::from(request.to_owned()),
            answered: Some(Answered {
                call,
                at: UnixNanos(when - 50_000),
                status: 200,
                headers: response_headers(dice, self.streamed, created, received.len()),
            }),
            received: Bytes::from(received),
            frames,
            closed: Closed {
                call,
                at: ended,
                outcome: Outcome::Completed,
                failure: None,
                sent_bytes: sent,
                sent_recorded: sent,
                received_bytes: got,
                received_recorded: got,
                drained_bytes: 0,
            },
        }
    }
}

fn request_headers(length: usize) -> Vec<Header> {
    let mut headers = pairs(&[
        ("host", "127.0.0.1:4000"),
        ("accept-encoding", "gzip, deflate"),
        ("connection", "keep-alive"),
        ("accept", "application/json"),
        ("content-type", "application/json"),
        ("user-agent", "OpenAI/Python 2.8.1"),
        ("x-stainless-lang", "python"),
        ("x-stainless-package-version", "2.8.1"),
        ("x-stainless-os", "Linux"),
        ("x-stainless-arch", "x64"),
        ("x-stainless-runtime", "CPython"),
        ("x-stainless-runtime-version", "3.12.3"),
        ("authorization", "Bearer [masked]"),
        ("x-stainless-async", "false"),
        ("x-stainless-retry-count", "0"),
        ("x-stainless-read-timeout", "600"),
    ]);
    headers.push(("content-length".to_owned(), length.to_string()));
    headers
}

fn response_headers(dice: &mut Dice, streamed: bool, at: i64, length: usize) -> Vec<Header> {
    let clock = at.rem_euclid(86_400);
    let date = format!("Wed, 25 Nov 2026 {:02}:{:02}:{:02} GMT", clock / 3_600, clock / 60 % 60, clock % 60);
    let mut headers = vec![("date".to_owned(), date)];
    headers.extend(pairs(&[
        ("content-type", if streamed { "text/event-stream; charset=utf-8" } else { "application/json" }),
        ("connection", "keep-alive"),
        ("access-control-expose-headers", "X-Request-ID"),
        ("openai-organization", "example-org"),
        ("openai-project", "proj_Xu3kZr9TfQm2LsPvYw8Ba1Cd"),
        ("openai-version", "2020-10-01"),
    ]));
    let ms = 300 + dice.below(3_000);
    headers.push(("openai-processing-ms".to_owned(), ms.to_string()));
    headers.push(("x-envoy-upstream-service-time".to_owned(), (ms + dice.below(20)).to_string()));
    headers.extend(pairs(&[
        ("x-ratelimit-limit-requests", "10000"),
        ("x-ratelimit-limit-tokens", "30000000"),
        ("x-ratelimit-remaining-requests", "9999"),
    ]));
    headers.push(("x-ratelimit-remaining-tokens".to_owned(), (29_900_000 + dice.below(99_000)).to_string()));
    headers.push(("x-ratelimit-reset-requests".to_owned(), "6ms".to_owned()));
    headers.push(("x-ratelimit-reset-tokens".to_owned(), format!("{}ms", dice.below(30))));
    headers.push(("x-request-id".to_owned(), format!("req_{}", dice.hex(32))));
    headers.extend(pairs(&[
        ("x-openai-proxy-wasm", "v0.1"),
        ("cf-cache-status", "DYNAMIC"),
        ("set-cookie", "[masked]"),
        ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
        ("x-content-type-options", "nosniff"),
        ("server", "cloudflare"),
    ]));
    headers.push(("cf-ray".to_owned(), format!("{}-FRA", dice.hex(16))));
    headers.push(("alt-svc".to_owned(), "h3=\":443\"; ma=86400".to_owned()));
    headers.push(if streamed {
        ("transfer-encoding".to_owned(), "chunked".to_owned())
    } else {
        ("content-length".to_owned(), length.to_string())
    });
    headers
}

fn pairs(all: &[(&str, &str)]) -> Vec<Header> {
    all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
