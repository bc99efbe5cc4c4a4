//! What a request asks for, the same shape for chat completions, completions and responses (and, read beside their
//! own dialect, messages).

use serde_json::Value;

use super::{refusal::Refusal, text};

/// Tokens of a message besides its text, and of the prompt as a whole: the chat framing of OpenAI's models.
const PER_MESSAGE: usize = 3;
const PER_PROMPT: usize = 3;
/// What an image or a sound costs where only its presence is known.
const PER_MEDIUM: usize = 85;

#[derive(Debug, Clone, Default)]
pub(super) struct Turn {
    pub(super) role: String,
    pub(super) text: String,
    /// The message as it came, for the prompt cache.
    pub(super) bytes: Vec<u8>,
    pub(super) tokens: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Tool {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) parameters: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ToolChoice {
    Auto,
    Never,
    Required,
    Named(String),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Format {
    Text,
    Object,
    Schema(Value),
}

#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) turns: Vec<Turn>,
    pub(super) tools: Vec<Tool>,
    pub(super) tool_choice: ToolChoice,
    pub(super) parallel: bool,
    pub(super) format: Format,
    pub(super) limit: Option<usize>,
    pub(super) stop: Vec<String>,
    pub(super) choices: usize,
    /// `Some(k)`: log probabilities with k alternatives.
    pub(super) logprobs: Option<usize>,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    /// False when the request says that it wants no reasoning.
    pub(super) reasoning: bool,
    pub(super) cache_key: String,
    pub(super) tool_tokens: usize,
    /// Tools came as `functions`: one call, in the older form.
    pub(super) functions: bool,
    /// The answer is to be spoken.
    pub(super) spoken: bool,
    /// Tokens of a predicted output.
    pub(super) predicted: usize,
    /// The answer may be looked up in the web, and is.
    pub(super) searches: bool,
}

fn count_of(body: &Value, name: &str) -> Result<Option<usize>, Refusal> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            value.as_u64().filter(|count| *count > 0).map(|count| Some(count as usize)).ok_or_else(|| {
                Refusal::invalid(
                    Some(name),
                    format!("Invalid '{name}': expected a positive integer, found {value}."),
                )
            })
        }
    }
}

fn flag(body: &Value, name: &str, otherwise: bool) -> bool {
    body.get(name).and_then(Value::as_bool).unwrap_or(otherwise)
}

/// The text of `content`, whether a string or parts; and how many parts are media.
fn content_text(content: &Value) -> (String, usize) {
    match content {
        Value::String(text) => (text.clone(), 0),
        Value::Array(parts) => {
            let mut texts = Vec::new();
            let mut media = 0;
            for part in parts {
                match part.get("text").or_else(|| part.get("refusal")).and_then(Value::as_str) {
                    Some(text) => texts.push(text),
                    None => media += 1,
                }
            }
            (texts.join("\n"), media)
        }
        _ => (String::new(), 0),
    }
}

impl Turn {
    pub(super) fn new(role: &str, content: &Value, extra: &str, whole: &Value) -> Self {
        let (said, media) = content_text(content);
        let tokens =
            PER_MESSAGE + text::count(role) + text::count(&said) + text::count(extra) + media * PER_MEDIUM;
        Self { role: role.to_owned(), text: said, bytes: whole.to_string().into_bytes(), tokens }
    }
}

impl Ask {
    /// Reads the body of `/v1/chat/completions`.
    pub(super) fn chat(body: &Value) -> Result<Self, Refusal> {
        let messages = match body.get("messages") {
            None => return Err(Refusal::missing("messages")),
            Some(Value::Array(messages)) if !messages.is_empty() => messages,
            Some(_) => {
                return Err(Refusal::invalid(
                    Some("messages"),
                    "Invalid 'messages': expected an array of at least one message.",
                ));
            }
        };
        let mut turns = Vec::with_capacity(messages.len());
        for (index, message) in messages.iter().enumerate() {
            let role = message
                .get("role")
                .and_then(Value::as_str)
                .ok_or_else(|| Refusal::missing(&format!("messages[{index}].role")))?;
            if !matches!(role, "system" | "developer" | "user" | "assistant" | "tool" | "function") {
                return Err(Refusal::invalid(
                    Some(&format!("messages[{index}].role")),
                    format!(
                        "Invalid value: '{role}'. Supported values are: 'system', 'assistant', 'user', 'function', \
                         'tool', and 'developer'."
                    ),
                ));
            }
            let calls = message.get("tool_calls").map(Value::to_string).unwrap_or_default();
            turns.push(Turn::new(role, message.get("content").unwrap_or(&Value::Null), &calls, message));
        }
        let format = body.get("response_format");
        let mut ask = Self::common(
            body,
            turns,
            format.and_then(|format| format.pointer("/json_schema/schema")),
            format,
        )?;
        ask.limit = count_of(body, "max_completion_tokens")?.or(count_of(body, "max_tokens")?);
        ask.choices = count_of(body, "n")?.unwrap_or(1);
        if ask.choices > 128 {
            return Err(Refusal::invalid(Some("n"), "Invalid 'n': expected at most 128."));
        }
        ask.stop = match body.get("stop") {
            Some(Value::String(stop)) => vec![stop.clone()],
            Some(Value::Array(stops)) => stops.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        if flag(body, "logprobs", false) {
            let top = body.get("top_logprobs").and_then(Value::as_u64).unwrap_or(0);
            ask.logprobs = Some(top.min(20) as usize);
        }
        ask.include_usage =
            body.pointer("/stream_options/include_usage").and_then(Value::as_bool).unwrap_or(false);
        ask.reasoning = body.get("reasoning_effort").and_then(Value::as_str) != Some("none");
        let modalities = body.get("modalities").and_then(Value::as_array);
        ask.spoken = modalities.is_some_and(|all| all.iter().any(|one| one == "audio"));
        if ask.spoken && body.get("audio").is_none_or(Value::is_null) {
            return Err(Refusal::missing("audio"));
        }
        ask.predicted =
            body.pointer("/prediction/content").map_or(0, |content| text::count(&content_text(content).0));
        ask.searches = body.get("web_search_options").is_some_and(Value::is_object);
        Ok(ask)
    }

    /// Reads the body of `/v1/responses`; `history` is what the previous response stands for.
    pub(super) fn responses(body: &Value, history: &[Value]) -> Result<Self, Refusal> {
        let items = input_items(body)?;
        let mut turns = Vec::new();
        if let Some(instructions) = body.get("instructions").filter(|value| value.is_string()) {
            turns.push(Turn::new("system", instructions, "", instructions));
        }
        for item in history.iter().chain(&items) {
            let role = item.get("role").and_then(Value::as_str);
            turns.push(match (item.get("type").and_then(Value::as_str), role) {
                (Some(kind), _) if kind.ends_with("_output") => {
                    Turn::new("tool", item.get("output").unwrap_or(&Value::Null), "", item)
                }
                (_, Some(role)) => Turn::new(role, item.get("content").unwrap_or(&Value::Null), "", item),
                _ => Turn::new("assistant", &Value::Null, &item.to_string(), item),
            });
        }
        let format = body.pointer("/text/format");
        let mut ask = Self::common(body, turns, format.and_then(|format| format.get("schema")), format)?;
        ask.limit = count_of(body, "max_output_tokens")?;
        ask.reasoning = body.pointer("/reasoning/effort").and_then(Value::as_str) != Some("none");
        Ok(ask)
    }

    /// Reads the body of `/v1/completions`; of several prompts the first.
    pub(super) fn completions(body: &Value) -> Result<Self, Refusal> {
        let prompt = match body.get("prompt") {
            None => return Err(Refusal::missing("prompt")),
            Some(Value::Array(prompts)) => prompts.first().cloned().unwrap_or_default(),
            Some(prompt) => prompt.clone(),
        };
        let turn = Turn::new("user", &prompt, "", &prompt);
        let mut ask = Self::common(body, vec![turn], None, None)?;
        ask.limit = count_of(body, "max_tokens")?;
        ask.choices = count_of(body, "n")?.unwrap_or(1).min(128);
        ask.include_usage =
            body.pointer("/stream_options/include_usage").and_then(Value::as_bool).unwrap_or(false);
        Ok(ask)
    }

    pub(super) fn common(
        body: &Value,
        turns: Vec<Turn>,
        schema: Option<&Value>,
        format: Option<&Value>,
    ) -> Result<Self, Refusal> {
        let functions = body.get("functions").is_some_and(Value::is_array);
        let tools = body.get("tools").or_else(|| body.get("functions"));
        let tools = tools.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let searches =
            tools.iter().any(|tool| tool["type"].as_str().is_some_and(|kind| kind.starts_with("web_search")));
        let tool_choice = match body.get("tool_choice").or_else(|| body.get("function_call")) {
            Some(Value::String(word)) if word == "none" => ToolChoice::Never,
            Some(Value::String(word)) if word == "required" => ToolChoice::Required,
            Some(chosen @ Value::Object(_)) => chosen
                .pointer("/function/name")
                .or_else(|| chosen.get("name"))
                .and_then(Value::as_str)
                .map_or(ToolChoice::Required, |name| ToolChoice::Named(name.to_owned())),
            _ => ToolChoice::Auto,
        };
        let tool_tokens =
            if tools.is_empty() { 0 } else { text::count(&Value::Array(tools.to_vec()).to_string()) };
        let tools: Vec<Tool> = tools.iter().filter_map(Tool::read).collect();
        if let ToolChoice::Named(name) = &tool_choice
            && !tools.iter().any(|tool| tool.name == *name)
        {
            return Err(Refusal::invalid(
                Some("tool_choice"),
                format!("Tool choice '{name}' not found in 'tools' parameter."),
            ));
        }
        let format = match format.and_then(|format| format.get("type")).and_then(Value::as_str) {
            Some("json_schema") => Format::Schema(schema.cloned().unwrap_or_default()),
            Some("json_object") => Format::Object,
            _ => Format::Text,
        };
        Ok(Self {
            turns,
            tools,
            tool_choice,
            parallel: !functions && flag(body, "parallel_tool_calls", true),
            format,
            limit: None,
            stop: Vec::new(),
            choices: 1,
            logprobs: None,
            stream: flag(body, "stream", false),
            include_usage: false,
            reasoning: true,
            cache_key: body.get("prompt_cache_key").and_then(Value::as_str).unwrap_or_default().to_owned(),
            tool_tokens,
            functions,
            spoken: false,
            predicted: 0,
            searches,
        })
    }

    pub(super) fn prompt_tokens(&self) -> usize {
        PER_PROMPT + self.tool_tokens + self.turns.iter().map(|turn| turn.tokens).sum::<usize>()
    }

    pub(super) fn last_user_text(&self) -> &str {
        self.turns.iter().rev().find(|turn| turn.role == "user").map_or("", |turn| turn.text.as_str())
    }

    /// System and developer texts.
    pub(super) fn instructions(&self) -> String {
        let said = self.turns.iter().filter(|turn| matches!(turn.role.as_str(), "system" | "developer"));
        said.map(|turn| turn.text.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// Results of tools since the model last spoke; not empty means: answer with them.
    pub(super) fn tool_results(&self) -> Vec<&str> {
        let is_result = |turn: &&Turn| matches!(turn.role.as_str(), "tool" | "function");
        let mut results: Vec<&str> =
            self.turns.iter().rev().take_while(is_result).map(|turn| turn.text.as_str()).collect();
        results.reverse();
        results
    }
}

/// The `input` of a responses request as items.
pub(super) fn input_items(body: &Value) -> Result<Vec<Value>, Refusal> {
    match body.get("input") {
        Some(Value::String(text)) => Ok(vec![serde_json::json!({"role": "user", "content": text})]),
        Some(Value::Array(items)) => Ok(items.clone()),
        None => Err(Refusal::missing("input")),
        Some(_) => Err(Refusal::invalid(
            Some("input"),
            "Invalid type for 'input': expected a string or an array of items.",
        )),
    }
}

impl Tool {
    /// A function tool in the chat shape (`function` inside), the responses shape (flat) or Anthropic's.
    fn read(tool: &Value) -> Option<Self> {
        let function = tool.get("function").unwrap_or(tool);
        Some(Self {
            name: function.get("name")?.as_str()?.to_owned(),
            description: function.get("description").and_then(Value::as_str).unwrap_or_default().to_owned(),
            parameters: function
                .get("parameters")
                .or_else(|| function.get("input_schema"))
                .cloned()
                .unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn wrong_requests_are_refused_in_words() {
        let missing = Ask::chat(&json!({"model": "sim-small"})).unwrap_err();
        assert_eq!(missing.message, "Missing required parameter: 'messages'.");
        let role = Ask::chat(&json!({"messages": [{"role": "king", "content": "x"}]})).unwrap_err();
        assert!(role.message.contains("'king'"), "{role}");
        let limit =
            Ask::chat(&json!({"messages": [{"role": "user", "content": "x"}], "max_tokens": 0})).unwrap_err();
        assert_eq!(limit.param.as_deref(), Some("max_tokens"));
        assert!(Ask::responses(&json!({}), &[]).is_err());
    }

    #[test]
    fn both_dialects_give_the_same_turns() {
        let chat = Ask::chat(&json!({"messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Weather in Oslo?"}]},
            {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "w", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "{\"celsius\": 4}"},
        ]}))
        .unwrap();
        let responses = Ask::responses(
            &json!({"instructions": "Be brief.", "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "Weather in Oslo?"}]},
                {"type": "function_call", "call_id": "c1", "name": "w", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c1", "output": "{\"celsius\": 4}"},
            ]}),
            &[],
        )
        .unwrap();
        for ask in [&chat, &responses] {
            assert_eq!(ask.last_user_text(), "Weather in Oslo?");
            assert_eq!(ask.instructions(), "Be brief.");
            assert_eq!(ask.tool_results(), ["{\"celsius\": 4}"]);
        }
    }
}
