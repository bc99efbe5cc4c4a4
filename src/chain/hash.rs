//! Stable 64-bit hashes of what calls say. They are kept in the store, so what goes into them never changes
//! without a migration. 64 bits of BLAKE3: among a billion entries a look-up meets a stranger once in twenty
//! billion times, and a link rests on more than one.

use serde_json::Value;

/// Collects what is hashed: every piece with its length, so that no two sequences look the same.
#[derive(Debug, Clone, Default)]
pub struct Digest {
    bytes: Vec<u8>,
    /// Bytes of text put in, without lengths and tags.
    text: usize,
}

impl Digest {
    /// A digest of its own domain.
    pub fn of(domain: &str) -> Self {
        let mut digest = Self::default();
        digest.bytes.extend_from_slice(domain.as_bytes());
        digest.bytes.push(0);
        digest
    }

    pub fn text(&mut self, text: &str) -> &mut Self {
        self.text += text.len();
        self.bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
        self.bytes.extend_from_slice(text.as_bytes());
        self
    }

    pub fn maybe(&mut self, text: Option<&str>) -> &mut Self {
        self.text(text.unwrap_or("\u{0}"))
    }

    pub fn number(&mut self, number: u64) -> &mut Self {
        self.bytes.extend_from_slice(&number.to_le_bytes());
        self
    }

    /// A value whatever the order of its keys.
    pub fn value(&mut self, value: &Value) -> &mut Self {
        match value {
            Value::Null => self.bytes.push(b'n'),
            Value::Bool(flag) => self.bytes.extend_from_slice(if *flag { b"t" } else { b"f" }),
            Value::Number(number) => {
                self.bytes.push(b'#');
                self.text(&number.to_string());
            }
            Value::String(text) => {
                self.bytes.push(b'"');
                self.text(text);
            }
            Value::Array(items) => {
                self.bytes.push(b'[');
                self.number(items.len() as u64);
                for item in items {
                    self.value(item);
                }
            }
            Value::Object(fields) => {
                self.bytes.push(b'{');
                self.number(fields.len() as u64);
                let mut sorted: Vec<_> = fields.iter().collect();
                sorted.sort_unstable_by_key(|(name, _)| *name);
                for (name, field) in sorted {
                    self.text(name).value(field);
                }
            }
        }
        self
    }

    /// Bytes of text so far.
    pub fn weight(&self) -> usize {
        self.text
    }

    pub fn finish(&self) -> u64 {
        let hash = blake3::hash(&self.bytes);
        hash.as_bytes().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

/// The hash of one text.
pub fn text(domain: &str, text: &str) -> u64 {
    Digest::of(domain).text(text).finish()
}

/// The hash of what came before and what comes next. Both are hashes already, so mixing them is enough
/// (SplitMix64's finaliser); a conversation of hundreds of messages is mixed anew with each call.
pub fn join(before: u64, next: u64) -> u64 {
    let mut mixed = before.rotate_left(23).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ next;
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn order_of_keys_does_not_matter_and_everything_else_does() {
        let hash = |value: &Value| Digest::of("x").value(value).finish();
        assert_eq!(hash(&json!({"a": 1, "b": [2, null]})), hash(&json!({"b": [2, null], "a": 1})));
        let all = [
            json!({"a": 1, "b": [2, null]}),
            json!({"a": 1, "b": [null, 2]}),
            json!({"a": "1", "b": [2, null]}),
            json!([["a"], "b"]),
            json!(["a", ["b"]]),
            json!(["ab"]),
            json!([]),
            json!({}),
            json!(""),
            json!(null),
        ];
        let mut hashes: Vec<_> = all.iter().map(hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), all.len());
    }

    #[test]
    fn hashes_stay_as_they_are_in_stores() {
        assert_eq!(text("unit", "hello"), 0x72f4_286b_9e91_372c);
        assert_eq!(join(1, 2), 0xee89_d4c4_41c1_e64b);
    }
}
