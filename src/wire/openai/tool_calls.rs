//! Tool calls put together from the pieces of a stream, or taken whole: the one place that knows how
//! servers deviate in naming the call that a piece belongs to.

use serde_json::{Value, value::RawValue};

use crate::{
    model::exchange::MessagePart,
    wire::{json, notes::Notes, parts},
};

#[derive(Debug, Default)]
pub(super) struct ToolCalls {
    calls: Vec<CallDraft>,
}

#[derive(Debug, Default)]
struct CallDraft {
    index: Option<u32>,
    id: Option<String>,
    name: String,
    arguments: String,
    /// A custom tool's input is free text, never JSON to be opened.
    free_text: bool,
}

impl ToolCalls {
    /// A `tool_calls` array. `whole`: from a message, where every item is a call of its own. True when
    /// it held anything.
    pub(super) fn push(&mut self, raw: &RawValue, whole: bool, notes: &mut Notes) -> bool {
        let mut position = 0;
        json::each_item(raw, |item| {
            self.piece(item, position, whole, notes);
            position += 1;
        });
        position > 0
    }

    fn piece(&mut self, item: &RawValue, position: usize, whole: bool, notes: &mut Notes) {
        let [index, id, kind, function, custom] =
            json::pick(item.get(), ["index", "id", "type", "function", "custom"]);
        let (index, id) = (json::index(index), json::filled(id));
        let (body, free_text) = match (function, custom) {
            (None, Some(custom)) => (Some(custom), true),
            (function, _) => (function, kind.is_some_and(|kind| kind.get() == "\"custom\"")),
        };
        let [name, arguments, input] =
            body.map_or([None; 3], |body| json::pick(body.get(), ["name", "arguments", "input"]));
        let name = json::filled(name);
        let found = if whole { None } else { self.find(index, id.as_deref(), name.is_some(), position) };
        let call = match found {
            Some(at) => &mut self.calls[at],
            // Pieces look through the calls for theirs, so a stream may not begin very many.
            None if notes.spend(if whole { 1 } else { 64 }) => {
                self.calls.push(CallDraft { index, ..CallDraft::default() });
                let Some(call) = self.calls.last_mut() else { return };
                call
            }
            None => return,
        };
        call.free_text |= free_text;
        call.id = id.or(call.id.take());
        if let Some(name) = name
            && call.arguments.is_empty()
            && call.name != name
        {
            call.name.push_str(&name);
        }
        if let Some(arguments) = arguments.or(input) {
            match json::text(arguments) {
                Some(text) => call.arguments.push_str(&text),
                // Sent as a value: it comes whole, and again when the server repeats itself.
                None if call.arguments == arguments.get() => {}
                None => call.arguments.push_str(arguments.get()),
            }
        }
    }

    /// The call that a streamed piece continues; `None` where it begins a new one.
    fn find(&self, index: Option<u32>, id: Option<&str>, named: bool, position: usize) -> Option<usize> {
        if index.is_some() {
            let at = self.calls.iter().rposition(|call| call.index == index)?;
            // Older Gemini-style servers give every call the index 0: another id with a name is another
            // call. Another id alone is a server that mints one for each piece.
            let other = id.is_some_and(|id| self.calls[at].id.as_deref().is_some_and(|known| known != id));
            return (!(other && named)).then_some(at);
        }
        if let Some(id) = id {
            let known = self.calls.iter().rposition(|call| call.id.as_deref() == Some(id));
            if known.is_some() || named {
                return known;
            }
        }
        if named || self.calls.is_empty() {
            return None;
        }
        // Neither index nor id nor name: by its place in the array, where several come side by side;
        // a lone piece continues the last call.
        Some(if position == 0 { self.calls.len() - 1 } else { position.min(self.calls.len() - 1) })
    }

    /// The legacy `function_call`: one call, no id, in pieces or whole.
    pub(super) fn push_function(&mut self, raw: &RawValue) -> bool {
        let [name, arguments] = json::pick(raw.get(), ["name", "arguments"]);
        if self.calls.is_empty() {
            self.calls.push(CallDraft::default());
        }
        let Some(call) = self.calls.last_mut() else { return false };
        if let Some(name) = json::filled(name)
            && call.arguments.is_empty()
            && call.name != name
        {
            call.name.push_str(&name);
        }
        call.arguments.push_str(&arguments.map(json::shown).unwrap_or_default());
        name.is_some() || arguments.is_some()
    }

    pub(super) fn into_parts(self, notes: &mut Notes) -> impl Iterator<Item = MessagePart> {
        self.calls.into_iter().map(move |call| MessagePart::ToolCall {
            id: call.id,
            name: call.name,
            arguments: if call.free_text {
                Value::String(call.arguments)
            } else {
                parts::arguments(&call.arguments, notes)
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `(id, name, arguments)` of the calls that a stream of `tool_calls` arrays gives.
    fn read(pieces: &[&str]) -> Value {
        let mut notes = Notes::new();
        let mut calls = ToolCalls::default();
        for piece in pieces {
            calls.push(serde_json::from_str(piece).unwrap(), false, &mut notes);
        }
        let shown = calls.into_parts(&mut notes).map(|part| match part {
            MessagePart::ToolCall { id, name, arguments } => json!([id, name, arguments]),
            other => panic!("{other:?}"),
        });
        shown.collect()
    }

    #[test]
    fn interleaved_calls_are_kept_apart_by_index() {
        let pieces = [
            r#"[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]"#,
            r#"[{"index":1,"id":"b","type":"function","function":{"name":"g","arguments":null}}]"#,
            r#"[{"index":0,"function":{"arguments":"{\"x\""}},{"index":1,"function":{"arguments":"{"}}]"#,
            r#"[{"index":1,"function":{"arguments":"}"}},{"index":0,"function":{"arguments":":1}"}}]"#,
        ];
        assert_eq!(read(&pieces), json!([["a", "f", {"x":1}], ["b", "g", {}]]));
    }

    #[test]
    fn repeated_ids_and_names_change_nothing() {
        let pieces = [
            r#"[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]"#,
            r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}]"#,
            r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"}"}}]"#,
        ];
        assert_eq!(read(&pieces), json!([["a", "f", {}]]));
    }

    #[test]
    fn a_name_may_come_in_pieces() {
        let pieces = [
            r#"[{"index":0,"id":"a","function":{"name":"get_"}}]"#,
            r#"[{"index":0,"function":{"name":"weather"}}]"#,
            r#"[{"index":0,"function":{"arguments":"{}"}}]"#,
        ];
        assert_eq!(read(&pieces), json!([["a", "get_weather", {}]]));
    }

    #[test]
    fn without_index_ids_places_and_names_tell() {
        let whole = [
            r#"[{"id":"a","function":{"name":"f","arguments":"{}"}}]"#,
            r#"[{"id":"b","function":{"name":"f","arguments":"{}"}}]"#,
        ];
        assert_eq!(read(&whole), json!([["a", "f", {}], ["b", "f", {}]]));
        let nameless = [
            r#"[{"function":{"name":"f","arguments":"{"}}]"#,
            r#"[{"function":{"arguments":"}"}}]"#,
            r#"[{"function":{"name":"g","arguments":"{\"y\":"}}]"#,
            r#"[{"function":{"arguments":"2}"}}]"#,
        ];
        assert_eq!(read(&nameless), json!([[null, "f", {}], [null, "g", {"y":2}]]));
    }

    #[test]
    fn index_zero_for_every_call_is_survived() {
        let pieces = [
            r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]"#,
            r#"[{"index":0,"id":"b","function":{"name":"g","arguments":"{}"}}]"#,
        ];
        assert_eq!(read(&pieces), json!([["a", "f", {}], ["b", "g", {}]]));
        let minted = [
            r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}]"#,
            r#"[{"index":0,"id":"z","function":{"arguments":"}"}}]"#,
        ];
        assert_eq!(read(&minted), json!([["z", "f", {}]]));
    }

    #[test]
    fn arguments_may_be_an_object_empty_or_broken() {
        assert_eq!(
            read(&[r#"[{"index":0,"function":{"name":"f","arguments":{"a":[1]}}}]"#]),
            json!([[null, "f", {"a":[1]}]])
        );
        assert_eq!(
            read(&[r#"[{"index":0,"function":{"name":"f","arguments":""}}]"#]),
            json!([[null, "f", ""]])
        );
        assert_eq!(
            read(&[r#"[{"index":0,"function":{"name":"f","arguments":"{\"a\":"}}]"#]),
            json!([[null, "f", "{\"a\":"]])
        );
    }

    #[test]
    fn custom_tools_take_free_text() {
        let pieces = [
            r#"[{"index":0,"id":"a","type":"custom","custom":{"name":"sh","input":"{not"}}]"#,
            r#"[{"index":0,"custom":{"input":" json}"}}]"#,
        ];
        assert_eq!(read(&pieces), json!([["a", "sh", "{not json}"]]));
    }
}
