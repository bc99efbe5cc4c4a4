//! What `tapline config` prints: every key, its value and where that came from. Secrets were masked when
//! the values were loaded.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{Loaded, Origin};

/// A table of key, value and origin, or one JSON object by key.
pub fn render(loaded: &Loaded, json: bool) -> String {
    if json { as_json(loaded) } else { as_table(loaded) }
}

fn as_table(loaded: &Loaded) -> String {
    let rows = || loaded.origins.iter().map(|(key, (value, origin))| (key.as_str(), quoted(value), origin));
    let width = |cells: &mut dyn Iterator<Item = usize>, head: &str| cells.max().unwrap_or(0).max(head.len());
    let keys = width(&mut rows().map(|(key, ..)| key.chars().count()), "KEY");
    let values = width(&mut rows().map(|(_, value, _)| value.chars().count()), "VALUE");
    let mut text = format!("{:keys$}  {:values$}  ORIGIN\n", "KEY", "VALUE");
    for (key, value, origin) in rows() {
        // Writing to a String cannot fail.
        writeln!(text, "{key:keys$}  {value:values$}  {origin}").unwrap_or_default();
    }
    text
}

/// An empty value would look like a missing one.
fn quoted(value: &str) -> String {
    if value.is_empty() { "\"\"".to_owned() } else { value.to_owned() }
}

fn as_json(loaded: &Loaded) -> String {
    let entries = loaded.origins.iter().map(|(key, (value, origin))| {
        let origin = match origin {
            Origin::Default => json!({ "kind": "default" }),
            Origin::File(path, line) => {
                json!({ "kind": "file", "file": path.display().to_string(), "line": line })
            }
            Origin::Environment(name) => json!({ "kind": "environment", "name": name }),
            Origin::Flag(name) => json!({ "kind": "flag", "name": name }),
        };
        (key.clone(), json!({ "value": value, "origin": origin }))
    });
    let object: Map<String, Value> = entries.collect();
    format!("{:#}\n", Value::Object(object))
}
