//! Reading JSON that others wrote: field by field over borrowed text, so that one field of an unexpected
//! kind costs that field and not the body. Duplicate keys: the last one wins. Depth is no danger, since
//! what is not looked into is skipped without recursion. Never panics.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};

use super::notes::Notes;

/// How deep a value that does not parse as a whole is taken apart to save what can be saved.
const SALVAGE_DEPTH: u32 = 8;

/// A string without a copy where it holds no escape.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

struct Fields<F>(F);

impl<'de, F: FnMut(&str, &'de RawValue)> Visitor<'de> for Fields<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(key)) = map.next_key()? {
            (self.0)(&key, map.next_value()?);
        }
        Ok(())
    }
}

struct Items<F>(F);

impl<'de, F: FnMut(&'de RawValue)> Visitor<'de> for Items<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        while let Some(item) = seq.next_element()? {
            (self.0)(item);
        }
        Ok(())
    }
}

/// Calls `each` for every field of an object in order; what came before a fault has been seen.
pub(super) fn fields<'a>(json: &'a str, each: impl FnMut(&str, &'a RawValue)) -> Result<(), String> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    deserializer.deserialize_map(Fields(each)).map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())
}

/// Calls `each` for every item of an array in order; what came before a fault has been seen.
pub(super) fn items<'a>(json: &'a str, each: impl FnMut(&'a RawValue)) -> Result<(), String> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    deserializer.deserialize_seq(Items(each)).map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())
}

/// The items of a value, none when it is no array.
pub(super) fn each_item<'a>(raw: &'a RawValue, each: impl FnMut(&'a RawValue)) {
    if is_array(raw) {
        // A raw value is well formed, so there is no fault to report.
        items(raw.get(), each).ok();
    }
}

/// The named fields of an object, `None` for those absent or null (and all, when it is no object).
pub(super) fn pick<'a, const N: usize>(json: &'a str, names: [&str; N]) -> [Option<&'a RawValue>; N] {
    let mut found = [None; N];
    if json.starts_with('{') {
        fields(json, |key, raw| {
            if let Some(at) = names.iter().position(|name| *name == key) {
                found[at] = (raw.get() != "null").then_some(raw);
            }
        })
        .ok();
    }
    found
}

pub(super) fn is_null(raw: &RawValue) -> bool {
    raw.get() == "null"
}

pub(super) fn is_array(raw: &RawValue) -> bool {
    raw.get().starts_with('[')
}

pub(super) fn is_object(raw: &RawValue) -> bool {
    raw.get().starts_with('{')
}

/// What Python calls true: everything but null, false, zero and what is empty.
pub(super) fn is_truthy(raw: &RawValue) -> bool {
    match raw.get() {
        "null" | "false" | "\"\"" => false,
        json if json.starts_with(['{', '[']) => json
            .bytes()
            .skip(1)
            .find(|byte| !byte.is_ascii_whitespace())
            .is_some_and(|byte| !matches!(byte, b'}' | b']')),
        json => json.parse::<f64>() != Ok(0.0),
    }
}

/// The text of a JSON string; `None` for any other value. A lone surrogate becomes U+FFFD.
pub(super) fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let json = raw.get();
    if !json.starts_with('"') {
        return None;
    }
    Some(match serde_json::from_str::<Text<'_>>(json) {
        Ok(Text(text)) => text,
        Err(_) => Cow::Owned(unescape_lossy(json)),
    })
}

/// A string's text when it is not empty.
pub(super) fn filled(raw: Option<&RawValue>) -> Option<String> {
    raw.and_then(text).filter(|text| !text.is_empty()).map(Cow::into_owned)
}

/// A string's text, or any other value as it was written.
pub(super) fn shown(raw: &RawValue) -> String {
    text(raw).map_or_else(|| raw.get().to_owned(), Cow::into_owned)
}

/// A non-negative integer as an index.
pub(super) fn index(raw: Option<&RawValue>) -> Option<u32> {
    raw?.get().parse().ok()
}

/// A whole value. Costs the budget of `notes`; what is beyond it, or broken, or nested too deep, is
/// replaced by a string that says so, and noted.
pub(super) fn value(raw: &RawValue, notes: &mut Notes) -> Value {
    let json = raw.get();
    let nodes = 1 + memchr::memchr3_iter(b',', b'[', b'{', json.as_bytes()).count();
    if !notes.spend(nodes) {
        return Value::String(format!("({} bytes of JSON, not expanded)", json.len()));
    }
    serde_json::from_str(json).unwrap_or_else(|_| salvage(raw, SALVAGE_DEPTH, notes))
}

/// Takes a value apart that serde_json refuses whole: nesting beyond its limit, a number beyond `f64`,
/// a lone surrogate.
fn salvage(raw: &RawValue, depth: u32, notes: &mut Notes) -> Value {
    let json = raw.get();
    if let Some(text) = text(raw) {
        return Value::String(text.into_owned());
    }
    let nested = is_array(raw) || is_object(raw);
    if nested && depth == 0 {
        notes.add("a value is nested too deep to be shown");
        return Value::String(format!("({} bytes of JSON, nested too deep)", json.len()));
    }
    let inner = |raw: &RawValue, notes: &mut Notes| {
        serde_json::from_str(raw.get()).unwrap_or_else(|_| salvage(raw, depth - 1, notes))
    };
    if is_array(raw) {
        let mut all = Vec::new();
        each_item(raw, |item| all.push(inner(item, notes)));
        return Value::Array(all);
    }
    if is_object(raw) {
        let mut all = Map::new();
        fields(json, |key, field| {
            all.insert(key.to_owned(), inner(field, notes));
        })
        .ok();
        return Value::Object(all);
    }
    notes.add("a number is too large to be shown as one; its digits are kept as text");
    Value::String(json.to_owned())
}

/// Undoes JSON's escapes where they are sound and puts U+FFFD where they are not.
fn unescape_lossy(json: &str) -> String {
    let inner = json.strip_prefix('"').unwrap_or(json);
    let inner = inner.strip_suffix('"').unwrap_or(inner);
    let mut units = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
            continue;
        }
        units.push(match chars.next() {
            Some('n') => u16::from(b'\n'),
            Some('t') => u16::from(b'\t'),
            Some('r') => u16::from(b'\r'),
            Some('b') => 8,
            Some('f') => 12,
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                u16::from_str_radix(&digits, 16).unwrap_or(0xfffd)
            }
            Some(c @ ('"' | '\\' | '/')) => c as u16,
            _ => 0xfffd,
        });
    }
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_last_of_duplicate_keys_wins() {
        assert_eq!(pick(r#"{"a":1,"b":2,"a":3}"#, ["a"]).map(|a| a.map(RawValue::get)), [Some("3")]);
        assert_eq!(pick(r#"{"a":1,"a":null}"#, ["a"]).map(|a| a.map(RawValue::get)), [None]);
    }

    #[test]
    fn lone_surrogates_become_replacement_characters() {
        assert_eq!(text(raw(r#""a\ud83dé\n\ude00""#)).unwrap(), "a\u{fffd}é\n\u{fffd}");
        assert_eq!(text(raw(r#""\ud83d\ude00\"""#)).unwrap(), "😀\"");
        let mut notes = Notes::new();
        assert_eq!(value(raw(r#"{"a":["\ud83d",1]}"#), &mut notes), serde_json::json!({"a":["\u{fffd}",1]}));
    }

    #[test]
    fn depth_and_width_are_noted_and_bounded() {
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        let mut notes = Notes::new();
        let shown = value(raw(&deep), &mut notes).to_string();
        assert!(shown.contains("nested too deep"), "{shown}");
        let wide = format!("[{}1]", "[],".repeat(600_000));
        assert!(value(raw(&wide), &mut notes).is_string());
        assert_eq!(notes.into_vec().len(), 2);
    }

    #[test]
    fn numbers_of_any_size_survive() {
        let mut notes = Notes::new();
        let shown = value(raw(r#"{"a":1e999,"b":2}"#), &mut notes);
        assert_eq!(shown, serde_json::json!({"a":"1e999","b":2}));
    }

    #[test]
    fn truth_is_pythons() {
        for falsy in ["null", "false", "0", "0.0", "\"\"", "{}", "[ ]", "-0"] {
            assert!(!is_truthy(raw(falsy)), "{falsy}");
        }
        for truthy in ["true", "1", "\"0\"", "{\"a\":1}", "[0]"] {
            assert!(is_truthy(raw(truthy)), "{truthy}");
        }
    }

    #[test]
    fn what_came_before_a_fault_is_seen() {
        let mut seen = Vec::new();
        assert!(fields(r#"{"a":1,"b":{"c":"#, |key, _| seen.push(key.to_owned())).is_err());
        assert_eq!(seen, ["a"]);
    }
}
