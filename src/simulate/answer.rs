//! Decides what comes back: words, tool calls, a refusal or JSON; how long, and why it ended. Knows no wire format.

use serde_json::{Value, json};

use super::{
    ask::{Ask, Format, Tool, ToolChoice},
    dice::Dice,
    instance::{self, Clues},
    prose::{self, Manner},
    script::Script,
    text::{self, Piece},
};

#[derive(Debug, Clone, PartialEq)]
pub(super) struct ToolCall {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Output {
    Text(Vec<Piece>),
    Refusal(Vec<Piece>),
    Calls(Vec<ToolCall>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    Stop,
    Length,
    ToolCalls,
}

impl Finish {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) reasoning: Vec<Piece>,
    pub(super) output: Output,
    pub(super) finish: Finish,
}

/// Tokens around a tool call besides its name and arguments.
const PER_CALL: usize = 4;

impl Answer {
    pub(super) fn reasoning_tokens(&self) -> usize {
        text::tokens(&self.reasoning)
    }

    /// All output tokens, reasoning included.
    pub(super) fn tokens(&self) -> usize {
        let output = match &self.output {
            Output::Text(pieces) | Output::Refusal(pieces) => text::tokens(pieces),
            Output::Calls(calls) => calls
                .iter()
                .map(|call| PER_CALL + text::count(&call.name) + text::tokens(&call.arguments))
                .sum(),
        };
        self.reasoning_tokens() + output
    }
}

/// The answer to `ask`; `reasons` says whether the model thinks aloud.
pub(super) fn answer(ask: &Ask, reasons: bool, script: &Script, dice: &mut Dice) -> Answer {
    if script.refuse {
        let pieces = text::pieces("I'm sorry, but I can't help with that.");
        return Answer { reasoning: Vec::new(), output: Output::Refusal(pieces), finish: Finish::Stop };
    }
    let clues = Clues::of(ask.last_user_text());
    let reasoning = if reasons && ask.reasoning {
        text::pieces(&prose::reasoning(&clues.topic, dice))
    } else {
        Vec::new()
    };
    if let Some(tool) = chosen_tool(ask) {
        let calls = tool_calls(ask, tool, &clues, dice);
        return Answer { reasoning, output: Output::Calls(calls), finish: Finish::ToolCalls };
    }
    let said = match &ask.format {
        Format::Schema(schema) => instance::instance(schema, &clues, dice).to_string(),
        Format::Object => json!({
            "topic": clues.topic,
            "summary": prose::more(&clues.topic, dice),
            "confidence": (dice.fraction() * 100.0).round() / 100.0,
        })
        .to_string(),
        Format::Text => words(ask, script, &clues, dice),
    };
    cut(ask, script, reasoning, &said)
}

fn words(ask: &Ask, script: &Script, clues: &Clues, dice: &mut Dice) -> String {
    let results = ask.tool_results();
    let mut said = if results.is_empty() {
        prose::answer(Manner::of(&ask.instructions()), &clues.topic, dice)
    } else {
        let told: Vec<String> = results.iter().map(|result| retell(result)).collect();
        format!("Here is what I found: {}.", told.join("; and "))
    };
    if let Some(wanted) = script.tokens {
        while text::count(&said) < wanted {
            // Sentences in a batch, so that a long answer is not counted anew for each.
            for _ in 0..8 {
                said.push(' ');
                said.push_str(&prose::more(&clues.topic, dice));
            }
        }
    }
    said
}

/// A tool's result in words: an object as `name is value`, anything else as it is.
fn retell(result: &str) -> String {
    match serde_json::from_str::<Value>(result) {
        Ok(Value::Object(object)) if !object.is_empty() => {
            let facts: Vec<String> = object
                .iter()
                .map(|(name, value)| {
                    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    format!("the {} is {value}", name.replace('_', " "))
                })
                .collect();
            facts.join(", ")
        }
        _ => result.chars().take(400).collect::<String>().trim_end_matches('.').to_owned(),
    }
}

/// Applies stop sequences and length limits, in the order in which a model meets them.
fn cut(ask: &Ask, script: &Script, mut reasoning: Vec<Piece>, said: &str) -> Answer {
    let stop =
        ask.stop.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| said.find(stop.as_str())).min();
    let said = stop.and_then(|at| said.get(..at)).unwrap_or(said);
    let mut pieces = text::pieces(said);
    if let Some(wanted) = script.tokens {
        keep(&mut pieces, wanted);
    }
    let mut finish = Finish::Stop;
    if let Some(limit) = ask.limit {
        let thought = text::tokens(&reasoning);
        if thought + text::tokens(&pieces) > limit {
            finish = Finish::Length;
            keep(&mut reasoning, limit);
            keep(&mut pieces, limit.saturating_sub(thought));
        }
    }
    Answer { reasoning, output: Output::Text(pieces), finish }
}

/// Keeps as many pieces as fit into `limit` tokens.
fn keep(pieces: &mut Vec<Piece>, limit: usize) {
    let mut tokens = 0;
    let fit = pieces.iter().take_while(|piece| {
        tokens += piece.tokens;
        tokens <= limit
    });
    let fit = fit.count();
    pieces.truncate(fit);
}

/// The tool that is to be called, if any: forced by the request, or named by the last user message.
fn chosen_tool(ask: &Ask) -> Option<&Tool> {
    match &ask.tool_choice {
        ToolChoice::Never => None,
        ToolChoice::Named(name) => ask.tools.iter().find(|tool| tool.name == *name),
        ToolChoice::Required => best_tool(ask).or_else(|| ask.tools.first()),
        ToolChoice::Auto if !ask.tool_results().is_empty() => None,
        ToolChoice::Auto => best_tool(ask),
    }
}

/// A word of the name counts more than one of the description; two points make a match.
fn best_tool(ask: &Ask) -> Option<&Tool> {
    let question = prose::content_words(ask.last_user_text());
    let meets = |word: &String| question.iter().any(|asked| same_stem(asked, word));
    let score = |tool: &Tool| {
        let in_name = prose::content_words(&tool.name.replace(['_', '-', '.'], " "))
            .iter()
            .filter(|w| meets(w))
            .count();
        let in_description = prose::content_words(&tool.description).iter().filter(|w| meets(w)).count();
        in_name * 2 + in_description
    };
    // The first of equals, as in the request.
    let mut best: Option<(&Tool, usize)> = None;
    for tool in &ask.tools {
        let score = score(tool);
        if score >= 2 && best.is_none_or(|(_, top)| score > top) {
            best = Some((tool, score));
        }
    }
    best.map(|(tool, _)| tool)
}

/// Plurals and endings aside: `order` and `orders`, `convert` and `converts`.
fn same_stem(one: &str, other: &str) -> bool {
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    short.len() >= 3 && long.starts_with(short) && long.len() - short.len() <= 3
}

/// One call; or, where the question names several places and parallel calls are allowed, one for each.
fn tool_calls(ask: &Ask, tool: &Tool, clues: &Clues, dice: &mut Dice) -> Vec<ToolCall> {
    let several = ask.parallel && (2..=4).contains(&clues.nouns.len());
    let count = if several { clues.nouns.len() } else { 1 };
    (0..count)
        .map(|index| {
            let clues = if several { clues.only_noun(index) } else { clues.clone() };
            let arguments = if tool.parameters.is_object() {
                instance::instance(&tool.parameters, &clues, dice).to_string()
            } else {
                "{}".to_owned()
            };
            ToolCall {
                id: format!("call_{}", dice.token(24)),
                name: tool.name.clone(),
                arguments: text::pieces(&arguments),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(body: Value) -> Answer {
        let ask = Ask::chat(&body).unwrap();
        answer(&ask, false, &Script::default(), &mut Dice::new(0, &[b"test"]))
    }

    fn said(answer: &Answer) -> String {
        match &answer.output {
            Output::Text(pieces) | Output::Refusal(pieces) => text::join(pieces),
            Output::Calls(_) => String::new(),
        }
    }

    fn weather() -> Value {
        json!([{"type": "function", "function": {"name": "get_weather", "description": "Current weather of a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}])
    }

    #[test]
    fn a_question_that_names_a_tool_calls_it_and_its_result_is_told() {
        let mut messages = vec![json!({"role": "user", "content": "What is the weather in Oslo?"})];
        let asked = chat(json!({"messages": messages, "tools": weather()}));
        let Output::Calls(calls) = &asked.output else { panic!("no call in {asked:?}") };
        assert_eq!(text::join(&calls[0].arguments), r#"{"city":"Oslo"}"#);
        assert_eq!(asked.finish, Finish::ToolCalls);
        messages.push(json!({"role": "assistant", "content": null, "tool_calls": []}));
        messages.push(
            json!({"role": "tool", "tool_call_id": "x", "content": "{\"celsius\":4,\"sky\":\"clear\"}"}),
        );
        let told = chat(json!({"messages": messages, "tools": weather()}));
        assert_eq!(said(&told), "Here is what I found: the celsius is 4, the sky is clear.");
    }

    #[test]
    fn tool_choice_and_parallel_calls_are_heeded() {
        let messages = json!([{"role": "user", "content": "Compare the weather of Oslo and Bergen."}]);
        let count = |extra: Value| {
            let mut body = json!({"messages": messages, "tools": weather()});
            body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            match chat(body).output {
                Output::Calls(calls) => calls.len(),
                _ => 0,
            }
        };
        assert_eq!(count(json!({})), 2);
        assert_eq!(count(json!({"parallel_tool_calls": false})), 1);
        assert_eq!(count(json!({"tool_choice": "none"})), 0);
        let other = json!({"messages": [{"role": "user", "content": "Hi"}], "tools": weather(),
            "tool_choice": {"type": "function", "function": {"name": "get_weather"}}});
        assert!(matches!(chat(other).output, Output::Calls(_)));
        let unasked = json!({"messages": [{"role": "user", "content": "Hi"}], "tools": weather()});
        assert!(matches!(chat(unasked).output, Output::Text(_)));
    }

    #[test]
    fn limits_and_stops_cut_where_they_say() {
        let messages = json!([{"role": "user", "content": "Tell me about indexes."}]);
        let short = chat(json!({"messages": messages, "max_tokens": 5}));
        assert_eq!((short.tokens(), short.finish), (5, Finish::Length));
        let stopped = chat(json!({"messages": messages, "stop": ["."]}));
        assert!(!said(&stopped).contains('.'));
        assert_eq!(stopped.finish, Finish::Stop);
        let script = Script { tokens: Some(200), ..Script::default() };
        let ask = Ask::chat(&json!({"messages": messages})).unwrap();
        assert_eq!(answer(&ask, false, &script, &mut Dice::new(0, &[])).tokens(), 200);
    }

    #[test]
    fn json_is_json() {
        let body = json!({"messages": [{"role": "user", "content": "indexes"}], "response_format": {"type": "json_object"}});
        assert!(serde_json::from_str::<Value>(&said(&chat(body))).unwrap()["topic"].is_string());
    }
}
