//! A span's attributes while they are being collected: typed setters, absent values left out, long ones
//! cut where they stand and named afterwards.

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value as Any};

/// Ends what was cut.
pub(super) const ELLIPSIS: char = '…';

/// Names the attributes that were cut.
pub(super) const TRUNCATED: &str = "tapline.truncated";

#[derive(Debug)]
pub(super) struct Attributes {
    all: Vec<KeyValue>,
    limit: usize,
    truncated: Vec<String>,
}

impl Attributes {
    /// `limit`: the longest text value, bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { all: Vec::with_capacity(48), limit: limit.max(16), truncated: Vec::new() }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn text(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let (name, mut value) = (name.into(), value.into());
        if cut(&mut value, self.limit) {
            self.truncated.push(name.clone());
        }
        self.push(name, Any::StringValue(value));
    }

    pub(super) fn maybe_text(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.text(name, value);
        }
    }

    /// A text that was already made to fit.
    pub(super) fn fitted(&mut self, name: &str, (value, cut): (String, bool)) {
        if cut {
            self.truncated.push(name.to_owned());
        }
        self.push(name.to_owned(), Any::StringValue(value));
    }

    pub(super) fn int(&mut self, name: impl Into<String>, value: i64) {
        self.push(name.into(), Any::IntValue(value));
    }

    pub(super) fn count(&mut self, name: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.int(name, i64::try_from(value).unwrap_or(i64::MAX));
        }
    }

    pub(super) fn double(&mut self, name: impl Into<String>, value: f64) {
        self.push(name.into(), Any::DoubleValue(value));
    }

    /// Nanoseconds, written as seconds.
    pub(super) fn seconds(&mut self, name: &str, nanoseconds: Option<i64>) {
        if let Some(nanoseconds) = nanoseconds {
            self.double(name, nanoseconds as f64 / 1e9);
        }
    }

    pub(super) fn flag(&mut self, name: impl Into<String>, value: bool) {
        self.push(name.into(), Any::BoolValue(value));
    }

    pub(super) fn texts<T: AsRef<str>>(&mut self, name: &str, values: &[T]) {
        if values.is_empty() {
            return;
        }
        let mut shortened = false;
        let values = values
            .iter()
            .map(|value| {
                let mut value = value.as_ref().to_owned();
                shortened |= cut(&mut value, self.limit);
                AnyValue { value: Some(Any::StringValue(value)) }
            })
            .collect();
        if shortened {
            self.truncated.push(name.to_owned());
        }
        self.push(name.to_owned(), Any::ArrayValue(ArrayValue { values }));
    }

    pub(super) fn mark_truncated(&mut self, name: &str) {
        self.truncated.push(name.to_owned());
    }

    fn push(&mut self, key: String, value: Any) {
        self.all.push(KeyValue { key, value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() });
    }

    pub(super) fn finish(mut self) -> Vec<KeyValue> {
        let truncated = std::mem::take(&mut self.truncated);
        self.texts(TRUNCATED, &truncated);
        self.all
    }
}

/// Cuts `text` to at most `limit` bytes on a character's boundary, the last being `…`. True when it did.
pub(super) fn cut(text: &mut String, limit: usize) -> bool {
    if text.len() <= limit {
        return false;
    }
    let mut end = limit.saturating_sub(ELLIPSIS.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push(ELLIPSIS);
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cut_text_fits_and_is_a_prefix(text in ".{0,60}", limit in 3usize..80) {
            let mut short = text.clone();
            let was_cut = cut(&mut short, limit);
            prop_assert!(short.len() <= limit);
            prop_assert_eq!(was_cut, text.len() > limit);
            prop_assert!(!was_cut || short.ends_with(ELLIPSIS));
            prop_assert!(text.starts_with(short.trim_end_matches(ELLIPSIS)));
        }
    }

    #[test]
    fn what_was_cut_is_named() {
        let mut attributes = Attributes::new(16);
        attributes.text("long", "x".repeat(17));
        attributes.text("short", "x");
        attributes.texts("list", &["y".repeat(99)]);
        let all = attributes.finish();
        let named = all.iter().find(|pair| pair.key == TRUNCATED).map(|pair| format!("{:?}", pair.value));
        let named = named.unwrap();
        assert!(named.contains("\"long\"") && named.contains("\"list\"") && !named.contains("\"short\""));
    }
}
