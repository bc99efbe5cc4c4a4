//! Tool definitions as the text that models are known to read them as: OpenAI's a TypeScript-like namespace,
//! Anthropic's the JSON behind a prompt of its own. Only its length matters here.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// Tokens around the rendered namespace.
const NAMESPACE: u64 = 9;
/// The prompt that Anthropic puts before tools, by its page on tool use: where the model may choose, and
/// where it must call one.
const CLAUDE_FREE: u64 = 346;
const CLAUDE_FORCED: u64 = 313;

/// Deeper schemas are rendered as `object`.
const MAX_DEPTH: u32 = 8;

fn is_claude(model: &str) -> bool {
    super::encoding::bare(model).starts_with("claude")
}

/// Tokens that having tools costs besides the tools.
pub(super) fn overhead(model: &str, choice: Option<&Value>) -> u64 {
    if !is_claude(model) {
        return NAMESPACE;
    }
    let choice = choice.and_then(|choice| choice.get("type").unwrap_or(choice).as_str());
    match choice {
        Some("any" | "tool" | "required" | "function") => CLAUDE_FORCED,
        _ => CLAUDE_FREE,
    }
}

/// The schema that an answer must fit, which the model reads too.
pub(super) fn answer_schema(parameters: &Map<String, Value>) -> Option<&Value> {
    let chat = parameters.get("response_format").and_then(|format| format.get("json_schema"));
    let responses = || parameters.get("text").and_then(|text| text.get("format"));
    chat.or_else(responses)?.get("schema")
}

pub(super) fn render(tools: &[Value], model: &str) -> String {
    if is_claude(model) {
        return tools.iter().map(|tool| format!("{tool}\n")).collect();
    }
    let mut text = String::from("# Tools\n\n## functions\n\nnamespace functions {\n\n");
    for tool in tools {
        // Chat wraps the function; responses and Anthropic do not.
        let function = tool.get("function").unwrap_or(tool);
        let Some(name) = function.get("name").and_then(Value::as_str) else {
            // A hosted tool: what it adds is not known.
            continue;
        };
        comment(&mut text, function);
        let schema = ["parameters", "input_schema"].into_iter().find_map(|key| function.get(key));
        match schema.and_then(|schema| schema.get("properties")).and_then(Value::as_object) {
            Some(fields) if !fields.is_empty() => {
                write!(text, "type {name} = (_: ").ok();
                object(&mut text, fields, schema, MAX_DEPTH);
                text.push_str(") => any;\n\n");
            }
            _ => {
                writeln!(text, "type {name} = () => any;\n").ok();
            }
        }
    }
    text.push_str("} // namespace functions");
    text
}

fn comment(text: &mut String, described: &Value) {
    if let Some(description) = described.get("description").and_then(Value::as_str) {
        for line in description.lines() {
            writeln!(text, "// {line}").ok();
        }
    }
}

fn object(text: &mut String, fields: &Map<String, Value>, schema: Option<&Value>, depth: u32) {
    let required = schema.and_then(|schema| schema.get("required")).and_then(Value::as_array);
    text.push_str("{\n");
    for (name, field) in fields {
        comment(text, field);
        let needed = required.is_some_and(|names| names.iter().any(|needed| needed == name));
        write!(text, "{name}{}: ", if needed { "" } else { "?" }).ok();
        kind(text, field, depth);
        text.push_str(",\n");
    }
    text.push('}');
}

fn kind(text: &mut String, schema: &Value, depth: u32) {
    let alternatives =
        ["enum", "anyOf", "oneOf"].into_iter().find_map(|key| Some((key, schema.get(key)?.as_array()?)));
    if let Some((key, alternatives)) = alternatives
        && depth > 0
    {
        for (at, alternative) in alternatives.iter().enumerate() {
            if at > 0 {
                text.push_str(" | ");
            }
            match key {
                "enum" => {
                    write!(text, "{alternative}").ok();
                }
                _ => kind(text, alternative, depth - 1),
            }
        }
        return;
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => match schema.get("properties").and_then(Value::as_object) {
            Some(fields) if depth > 0 => object(text, fields, Some(schema), depth - 1),
            _ => text.push_str("object"),
        },
        Some("array") => {
            match schema.get("items") {
                Some(items) if depth > 0 => kind(text, items, depth - 1),
                _ => text.push_str("any"),
            }
            text.push_str("[]");
        }
        Some("integer") => text.push_str("number"),
        Some(simple) => text.push_str(simple),
        None => text.push_str("any"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_rendered_as_types() {
        let parameters = serde_json::json!({"type": "object", "required": ["city"], "properties": {
            "city": {"type": "string", "description": "where"},
            "unit": {"enum": ["c", "f"]},
            "days": {"type": "array", "items": {"type": "integer"}},
        }});
        let chat = serde_json::json!({"type": "function", "function":
            {"name": "weather", "description": "Tells it.", "parameters": parameters}});
        let text = render(&[chat], "gpt-4o");
        let expected = "// Tells it.\ntype weather = (_: {\n// where\ncity: string,\nunit?: \"c\" | \"f\",\n\
                        days?: number[],\n}) => any;\n";
        assert!(text.contains(expected), "{text}");
        let bare = serde_json::json!({"type": "function", "name": "weather", "description": "Tells it.",
            "parameters": parameters});
        assert_eq!(render(&[bare], "gpt-4o"), text);
        assert!(render(&[serde_json::json!({"type": "web_search"})], "gpt-4o").len() < 80);
    }
    #[test]
    fn claude_reads_json_behind_a_prompt() {
        let tool = serde_json::json!({"name": "weather", "input_schema": {"type": "object"}});
        assert_eq!(render(std::slice::from_ref(&tool), "anthropic/claude-opus-5"), format!("{tool}\n"));
        assert_eq!(overhead("claude-opus-5", None), CLAUDE_FREE);
        assert_eq!(overhead("claude-opus-5", Some(&serde_json::json!({"type": "any"}))), CLAUDE_FORCED);
        assert_eq!(overhead("claude-opus-5", Some(&serde_json::json!("required"))), CLAUDE_FORCED);
        assert_eq!(overhead("gpt-4o", None), NAMESPACE);
    }

    #[test]
    fn schemas_of_answers_are_found() {
        let schema = serde_json::json!({"type": "object"});
        for parameters in [
            serde_json::json!({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}}),
            serde_json::json!({"text": {"format": {"type": "json_schema", "schema": schema}}}),
        ] {
            assert_eq!(answer_schema(parameters.as_object().unwrap()), Some(&schema));
        }
        assert_eq!(answer_schema(&Map::new()), None);
    }
}
