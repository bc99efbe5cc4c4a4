//! Tool definitions as the text that OpenAI's models are known to read them as: a TypeScript-like
//! namespace. Only its length matters here.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// Tokens around the rendered namespace.
pub(super) const OVERHEAD: u64 = 9;

/// Deeper schemas are rendered as `object`.
const MAX_DEPTH: u32 = 8;

pub(super) fn render(tools: &[Value]) -> String {
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
        let text = render(&[chat]);
        let expected = "// Tells it.\ntype weather = (_: {\n// where\ncity: string,\nunit?: \"c\" | \"f\",\n\
                        days?: number[],\n}) => any;\n";
        assert!(text.contains(expected), "{text}");
        let bare = serde_json::json!({"type": "function", "name": "weather", "description": "Tells it.",
            "parameters": parameters});
        assert_eq!(render(&[bare]), text);
        assert!(render(&[serde_json::json!({"type": "web_search"})]).len() < 80);
    }
}
