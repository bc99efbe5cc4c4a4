//! W3C baggage: what a caller's tracing carries along.

use crate::model::record::Opened;

#[derive(Debug, Default)]
pub(super) struct Baggage(Vec<(String, String)>);

/// Members that are read; the standard asks for 64 at least.
const MEMBERS: usize = 64;

impl Baggage {
    pub(super) fn of(opened: &Opened) -> Self {
        let lists = opened.headers.iter().filter(|(name, _)| name == "baggage");
        let members = lists.flat_map(|(_, list)| list.split(',')).take(MEMBERS).filter_map(|member| {
            // What follows `;` are properties of the member.
            let (key, value) = member.split(';').next()?.split_once('=')?;
            Some((key.trim().to_owned(), decoded(value.trim())?))
        });
        Self(members.collect())
    }

    pub(super) fn get(&self, key: &str) -> Option<String> {
        self.0.iter().find(|(known, value)| known == key && !value.is_empty()).map(|(_, value)| value.clone())
    }

    /// What each key says, as candidates with the rule that would have fired.
    pub(super) fn rules<'a>(
        &'a self,
        keys: &'a [&str],
    ) -> impl Iterator<Item = (String, Option<String>)> + use<'a> {
        keys.iter().map(|key| (format!("baggage:{key}"), self.get(key)))
    }
}

/// Percent-decoded; `None` where that is no UTF-8.
fn decoded(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        match (first, after.get(..2).and_then(hex)) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}
