//! The score sheet: tricky calls from tests/fixtures/cost_truth.toml, settled as the journal would give them
//! back and priced by the table that is compiled in, against answers worked out by hand. `make cost-truth`
//! writes the page that shows it.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf, sync::Arc};

use serde::Deserialize;
use tapline::{
    capture::{assemble::Finished, settle::Settler},
    model::{
        CallId, SpanId, TraceId, UnixNanos,
        call::Call,
        record::{Answered, Closed, Opened, Outcome, Scope},
    },
    pricing::PriceTable,
    wire::Limits,
};

const NOON: &str = "2026-11-23T12:00:00Z";
/// Set, the page is written instead of compared.
const WRITE: &str = "TAPLINE_WRITE_COST_TRUTH";

#[derive(Debug, Deserialize)]
struct Sheet {
    case: Vec<Case>,
}

/// What the fields mean is said at the top of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    section: Option<String>,
    name: String,
    odd: String,
    provider: String,
    #[serde(default)]
    host: String,
    at: Option<String>,
    method: Option<String>,
    target: String,
    request_type: Option<String>,
    request: String,
    status: Option<u16>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    response: String,
    frames: Option<Vec<String>>,
    outcome: Option<Outcome>,
    tokens: BTreeMap<String, u64>,
    source: Option<String>,
    sum: Option<String>,
    cost: Option<i64>,
    price: Option<String>,
}

/// What is said of a call: by us, or by whoever worked it out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    tokens: BTreeMap<String, u64>,
    source: Option<String>,
    cost: Option<i64>,
    price: Option<String>,
}

fn sheet() -> Vec<Case> {
    let sheet: Sheet = toml::from_str(include_str!("../fixtures/cost_truth.toml")).unwrap();
    sheet.case
}

impl Case {
    fn right(&self) -> Answer {
        Answer {
            tokens: self.tokens.clone(),
            source: self.source.clone(),
            cost: self.cost,
            price: self.price.clone(),
        }
    }

    fn time(&self) -> UnixNanos {
        UnixNanos::parse(self.at.as_deref().unwrap_or(NOON), UnixNanos(0)).unwrap()
    }

    fn method(&self) -> &str {
        self.method.as_deref().unwrap_or("POST")
    }

    /// The call as the journal gives it back.
    fn finished(&self) -> Finished {
        let call = CallId([1; 16]);
        let at = self.time();
        let line = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let received: Vec<u8> = match &self.frames {
            Some(frames) => frames.iter().flat_map(|text| frame(text)).collect(),
            None => self.response.clone().into_bytes(),
        };
        let mut headers: Vec<_> = self.headers.iter().map(|(name, value)| line(name, value)).collect();
        if !self.headers.contains_key("content-type") {
            let stream = ["data:", "event:", ":"].iter().any(|start| self.response.starts_with(start));
            headers.push(line("content-type", if stream { "text/event-stream" } else { "application/json" }));
        }
        let (sent_bytes, received_bytes) = (self.request.len() as u64, received.len() as u64);
        Finished {
            opened: Opened {
                call,
                trace: TraceId([1; 16]),
                span: SpanId([1; 8]),
                parent_span: None,
                at,
                method: self.method().to_owned(),
                target: self.target.clone(),
                upstream: "default".to_owned(),
                provider: self.provider.clone(),
                server_address: self.host.clone(),
                server_port: 443,
                scope: Scope::default(),
                headers: vec![line(
                    "content-type",
                    self.request_type.as_deref().unwrap_or("application/json"),
                )],
                peer: None,
                key_fingerprint: None,
            },
            sent: self.request.clone().into(),
            answered: Some(Answered { call, at, status: self.status.unwrap_or(200), headers }),
            frames: vec![(at, received.len())],
            received: received.into(),
            closed: Closed {
                call,
                at,
                outcome: self.outcome.unwrap_or(Outcome::Completed),
                failure: None,
                sent_bytes,
                sent_recorded: sent_bytes,
                received_bytes,
                received_recorded: received_bytes,
                drained_bytes: 0,
            },
        }
    }
}

/// A text message of a WebSocket server.
fn frame(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    let mut frame = vec![0x81];
    match u8::try_from(length) {
        Ok(length) if length < 126 => frame.push(length),
        _ => {
            frame.push(126);
            frame.extend(length.to_be_bytes());
        }
    }
    frame.extend(text.bytes());
    frame
}

/// What tapline says of a case.
fn said(settler: &Settler, case: &Case) -> Answer {
    let call = settler.settle(&mut case.finished()).call;
    Answer {
        tokens: tokens(&call),
        source: call.usage_source.map(|source| source.as_str().to_owned()),
        cost: call.cost.map(|cost| cost.0),
        // Without the version of the table.
        price: call.price_id.map(|id| id.split_once('/').map_or(id.clone(), |(_, id)| id.to_owned())),
    }
}

/// All counts but zeros, under their own names.
fn tokens(call: &Call) -> BTreeMap<String, u64> {
    let usage = serde_json::to_value(&call.usage).unwrap();
    let mut counts = BTreeMap::new();
    for (name, value) in usage.as_object().unwrap() {
        let inner = value.as_object().into_iter().flatten();
        for (name, value) in
            inner.chain([(name, value)]).filter(|(name, _)| *name != "reported_cost_nano_usd")
        {
            counts.extend(value.as_u64().filter(|count| *count > 0).map(|count| (name.clone(), count)));
        }
    }
    counts
}

fn settler() -> Settler {
    Settler::new(Arc::new(PriceTable::embedded().unwrap()), Limits::default())
}

/// `2 searches × 10,000 + 3 cached × 37.5`, to the nearest whole, halves up.
fn worked_out(sum: &str) -> i64 {
    const SCALE: i128 = 1_000;
    let number = |text: &str| -> i128 {
        let digits: String = text.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect();
        let (whole, part) = digits.split_once('.').unwrap_or((&digits, ""));
        whole.parse::<i128>().unwrap() * SCALE + format!("{part:0<3}").parse::<i128>().unwrap()
    };
    let terms = sum.split('+').map(|term| {
        let (count, each) = term.split_once('×').unwrap();
        number(count) * number(each)
    });
    i64::try_from((terms.sum::<i128>() + SCALE * SCALE / 2).div_euclid(SCALE * SCALE)).unwrap()
}

#[test]
fn every_cost_is_the_right_one() {
    let cases = sheet();
    assert!(cases.len() >= 80, "{} cases", cases.len());
    let settler = settler();
    let wrong: Vec<String> = cases
        .iter()
        .map(|case| (case, said(&settler, case), case.right()))
        .filter(|(_, said, right)| said != right)
        .map(|(case, said, right)| format!("{}\n  said  {said:?}\n  right {right:?}", case.name))
        .collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_right_answers_add_up() {
    for case in sheet() {
        assert_eq!(case.sum.as_deref().map(worked_out), case.cost, "{}", case.name);
        assert_eq!(case.cost.is_some(), case.price.is_some(), "{}", case.name);
    }
}

#[test]
fn the_page_is_current() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/cost-truth.md");
    let page = page(&sheet());
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, &page).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(there == page, "docs/cost-truth.md is not what the cases give; write it with `make cost-truth`");
}

fn page(cases: &[Case]) -> String {
    let settler = settler();
    let answers: Vec<_> = cases.iter().map(|case| said(&settler, case)).collect();
    let equal = cases.iter().zip(&answers).filter(|(case, said)| case.right() == **said).count();
    let unknown = cases.iter().filter(|case| case.cost.is_none()).count();
    let mut page = format!(
        "# Cost truth: a score sheet\n\n\
         Calls whose cost is easily got wrong, each as it crosses the wire, read and priced by tapline, beside the \
         right answer worked out by hand. **{equal} of {} are right**; {} have a cost and {unknown} have none, \
         because it is unknown or nothing was billed.\n\n\
         The calls whole are in [tests/fixtures/cost_truth.toml](../tests/fixtures/cost_truth.toml), the prices in \
         [config/prices.toml](../config/prices.toml). `make cost-truth` writes this page; `cargo test --test it \
         cost_truth` fails where an answer is wrong or the page is old. Amounts are nano-USD: one dollar per million \
         tokens is 1,000 a token.\n",
        cases.len(),
        cases.len() - unknown,
    );
    for (number, (case, said)) in cases.iter().zip(&answers).enumerate() {
        if let Some(section) = &case.section {
            write!(
                page,
                "\n## {section}\n\n| | call | sent | tapline says | right | |\n|---|---|---|---|---|---|\n"
            )
            .unwrap();
        }
        let right = case.right();
        let verdict = if right == *said { "equal" } else { "**wrong**" };
        let sum = match (&case.sum, case.cost) {
            (Some(sum), Some(cost)) => format!("{sum} = **{}**", grouped(cost)),
            _ => "**none**".to_owned(),
        };
        let worked = if right.tokens == said.tokens { sum } else { format!("{}; {sum}", shown(&right)) };
        writeln!(
            page,
            "| {} | **{}**: {} | {} | {} | {worked} | {verdict} |",
            number + 1,
            case.name,
            case.odd,
            cell(&sent(case)),
            shown(said),
        )
        .unwrap();
    }
    page
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// Where it went, and what of the answer speaks of usage.
fn sent(case: &Case) -> String {
    let all = match &case.frames {
        Some(frames) => frames.join("\n"),
        None => case.response.clone(),
    };
    let asked = model(&case.request);
    let answered = all.lines().find_map(model);
    let mut parts = vec![format!("`{} {}` at {}", case.method(), case.target, case.provider)];
    parts.extend((!case.host.is_empty()).then(|| case.host.clone()));
    parts.extend(case.at.as_ref().map(|at| format!("at {at}")));
    match (asked, answered) {
        (Some(asked), Some(answered)) if asked != answered => {
            parts.push(format!("`{asked}`, answered by `{answered}`"));
        }
        (asked, answered) => parts.extend(answered.or(asked).map(|model| format!("`{model}`"))),
    }
    parts.extend(case.headers.iter().map(|(name, value)| format!("`{name}: {value}`")));
    for key in
        ["\"service_tier\":", "\"usage\":", "\"timings\":", "\"tool_usage\":", "\"meta\":", "\"duration\":"]
    {
        parts.extend(all.match_indices(key).map(|(at, _)| format!("`{}`", value(&all[at..]))));
    }
    parts.extend(case.outcome.map(|outcome| format!("ended as {}", outcome.as_str())));
    parts.join("<br>")
}

fn model(text: &str) -> Option<String> {
    let at = text.find("\"model\":\"")? + "\"model\":\"".len();
    text[at..].split('"').next().filter(|name| !name.is_empty()).map(str::to_owned)
}

/// A key and its value, from the beginning of a text.
fn value(text: &str) -> &str {
    let mut depth = 0;
    for (at, character) in text.char_indices() {
        match character {
            '{' | '[' => depth += 1,
            '}' | ']' if depth <= 1 => return &text[..at + usize::from(depth == 1)],
            '}' | ']' => depth -= 1,
            ',' if depth == 0 => return &text[..at],
            _ => {}
        }
    }
    text
}

fn shown(answer: &Answer) -> String {
    let tokens: Vec<_> =
        answer.tokens.iter().map(|(name, count)| format!("{name} {}", grouped(*count as i64))).collect();
    let tokens = if tokens.is_empty() { "no counts".to_owned() } else { tokens.join(", ") };
    let source = answer.source.as_ref().map(|source| format!(" ({source})")).unwrap_or_default();
    let cost = answer.cost.map_or("none".to_owned(), grouped);
    let price = answer.price.as_ref().map(|price| format!(", `{price}`")).unwrap_or_default();
    format!("{tokens}{source}: **{cost}**{price}")
}

fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
