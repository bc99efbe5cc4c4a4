//! `multipart/form-data` requests: parts by name, size and hash. Texts are kept as values, files are
//! measured and never decoded. A body that was cut gives the parts it still has.

use std::fmt::Write as _;

use memchr::memmem::Finder;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::model::exchange::MessagePart;

use super::{
    extent::{self, Encoded},
    notes::Notes,
};

/// Longest text field shown as text; a longer one is a file without a name.
const MAX_TEXT: usize = 64 << 10;

/// One part of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub(super) name: String,
    pub(super) filename: Option<String>,
    pub(super) content_type: Option<String>,
    pub(super) bytes: &'a [u8],
    /// Its closing boundary was seen.
    pub(super) whole: bool,
}

impl Part<'_> {
    /// The text of a part that is no file.
    pub(super) fn text(&self) -> Option<&str> {
        let short = self.filename.is_none() && self.bytes.len() <= MAX_TEXT;
        std::str::from_utf8(self.bytes).ok().filter(|_| short)
    }

    /// The part as a parameter: its text, or what and how large it is.
    fn value(&self) -> Value {
        if let Some(text) = self.text() {
            return Value::from(text);
        }
        let mut hash = String::with_capacity(64);
        for byte in Sha256::digest(self.bytes) {
            write!(hash, "{byte:02x}").ok();
        }
        json!({
            "filename": self.filename,
            "content_type": self.content_type,
            "bytes": self.bytes.len(),
            "sha256": hash,
        })
    }

    /// A file as a part of a message: what it is and how large.
    pub(super) fn blob(&self) -> Option<MessagePart> {
        self.filename.as_ref()?;
        let mime_type = self.content_type.clone();
        let modality = mime_type.as_deref().and_then(|kind| kind.split('/').next()).unwrap_or("file");
        Some(MessagePart::Blob {
            modality: modality.to_owned(),
            bytes: self.bytes.len() as u64,
            mime_type: self.content_type.clone(),
            extent: extent::of(Encoded::Plain(self.bytes)).filter(|_| self.whole),
            detail: None,
        })
    }
}

/// The boundary of a content type, if it is a form's.
pub(super) fn boundary(content_type: &str) -> Option<String> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches('"');
        (name.trim().eq_ignore_ascii_case("boundary") && !value.is_empty()).then(|| value.to_owned())
    })
}

/// The parts of a form in their order.
pub(super) fn parts<'a>(body: &'a [u8], boundary: &str, notes: &mut Notes) -> Vec<Part<'a>> {
    let delimiter = [b"--", boundary.as_bytes()].concat();
    let finder = Finder::new(&delimiter);
    // Only behind the form's own line end: the same bytes inside a file are the file's.
    let bare = body.get(..body.len().min(1 << 10)).is_some_and(|start| !start.contains(&b'\r'));
    let find = |bytes: &[u8]| {
        let line_end: &[u8] = if bare { b"\n" } else { b"\r\n" };
        finder.find_iter(bytes).find(|at| *at == 0 || bytes.get(..*at).is_some_and(|b| b.ends_with(line_end)))
    };
    let mut found = Vec::new();
    let Some(mut rest) = find(body).and_then(|at| body.get(at + delimiter.len()..)) else {
        notes.add("the request is declared as a form and has none of its boundaries");
        return found;
    };
    while !rest.starts_with(b"--") {
        let end = find(rest);
        let Some(part) = rest.get(..end.unwrap_or(rest.len())) else { break };
        if !notes.spend(4) {
            break;
        }
        found.extend(part_of(part, end.is_some()));
        match end.and_then(|end| rest.get(end + delimiter.len()..)) {
            Some(next) => rest = next,
            None => {
                notes.add("the form ends before its last boundary");
                break;
            }
        }
    }
    found
}

/// One part between two boundaries: line end, head, blank line, bytes, line end.
fn part_of(part: &[u8], whole: bool) -> Option<Part<'_>> {
    let part = part.strip_prefix(b"\r\n").or_else(|| part.strip_prefix(b"\n"))?;
    let (head, bytes) = match (memchr::memmem::find(part, b"\r\n\r\n"), memchr::memmem::find(part, b"\n\n")) {
        (Some(at), other) if other.is_none_or(|other| at < other) => (part.get(..at)?, part.get(at + 4..)?),
        (_, Some(at)) => (part.get(..at)?, part.get(at + 2..)?),
        _ => return None,
    };
    let bytes = if whole {
        bytes.strip_suffix(b"\r\n").or_else(|| bytes.strip_suffix(b"\n")).unwrap_or(bytes)
    } else {
        bytes
    };
    let head = String::from_utf8_lossy(head);
    let mut part = Part { name: String::new(), filename: None, content_type: None, bytes, whole };
    for line in head.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        match name.trim().to_ascii_lowercase().as_str() {
            "content-type" => part.content_type = Some(value.trim().to_owned()),
            "content-disposition" => {
                part.name = parameter(value, "name").unwrap_or_default();
                part.filename = parameter(value, "filename");
            }
            _ => {}
        }
    }
    Some(part)
}

/// A quoted parameter of a `Content-Disposition`; `filename` is not found inside `filename*`.
fn parameter(value: &str, name: &str) -> Option<String> {
    value.split(';').skip(1).find_map(|parameter| {
        let (found, value) = parameter.split_once('=')?;
        let value = value.trim();
        let value = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
        (found.trim() == name).then(|| value.to_owned())
    })
}

/// The parts as parameters; a name that comes twice, or ends in `[]`, is a list.
pub(super) fn parameters(parts: &[Part<'_>]) -> Map<String, Value> {
    let mut all = Map::new();
    for part in parts {
        let (name, list) = match part.name.strip_suffix("[]") {
            Some(name) => (name, true),
            None => (part.name.as_str(), false),
        };
        match all.get_mut(name) {
            Some(Value::Array(values)) => values.push(part.value()),
            Some(value) => *value = Value::Array(vec![value.take(), part.value()]),
            None if list => {
                all.insert(name.to_owned(), Value::Array(vec![part.value()]));
            }
            None => {
                all.insert(name.to_owned(), part.value());
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FORM: &[u8] = b"preamble\r\n--xYz\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
        --xYz\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a b.mp3\"\r\nContent-Type: audio/mpeg\r\n\
        \r\nabc\r\n\r\n--no\r\n--xYz\r\nContent-Disposition: form-data; name=\"tag[]\"\r\n\r\n1\r\n--xYz--\r\n";

    #[test]
    fn parts_have_names_sizes_and_hashes() {
        let mut notes = Notes::new();
        let found = parts(FORM, "xYz", &mut notes);
        assert_eq!(found.len(), 3);
        let shown = parameters(&found);
        assert_eq!(shown["model"], "whisper-1");
        assert_eq!(shown["tag"], json!(["1"]));
        assert_eq!(shown["file"]["filename"], "a b.mp3");
        assert_eq!(shown["file"]["bytes"], 11, "line ends inside a file are the file's");
        assert_eq!(
            shown["file"]["sha256"],
            "84131d3e2fc57666582fc1ccf494be48fa0c9337903dcb3f0411bdd0f90b8449"
        );
        assert!(notes.into_vec().is_empty());
    }

    #[test]
    fn a_cut_form_gives_what_it_has() {
        let mut notes = Notes::new();
        let found = parts(&FORM[..FORM.len() - 75], "xYz", &mut notes);
        assert_eq!(found.iter().map(|part| part.whole).collect::<Vec<_>>(), [true, false]);
        assert_eq!(notes.into_vec(), ["the form ends before its last boundary"]);
    }

    #[test]
    fn boundaries_are_found_however_they_are_written() {
        assert_eq!(boundary("multipart/form-data; boundary=abc").as_deref(), Some("abc"));
        assert_eq!(boundary("Multipart/Form-Data; charset=utf-8; Boundary=\"a c\"").as_deref(), Some("a c"));
        assert_eq!(boundary("application/json"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(body: Vec<u8>, at: prop::sample::Index) {
            parts(&body, "x", &mut Notes::new());
            let end = at.index(FORM.len());
            parts(&FORM[..end], "xYz", &mut Notes::new());
        }
    }
}
