//! A request that is a form (`multipart/form-data`): its texts as the JSON that the dialects read, its files apart.

use bytes::Bytes;
use memchr::memmem;
use serde_json::{Map, Value};

use super::refusal::Refusal;

#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) field: String,
    pub(super) name: String,
    pub(super) bytes: Bytes,
}

/// The boundary that a content type names.
pub(super) fn boundary(content_type: &str) -> Option<&str> {
    let rest = content_type.strip_prefix("multipart/form-data")?;
    let named = rest.split(';').find_map(|part| part.trim().strip_prefix("boundary="))?;
    Some(named.trim_matches('"'))
}

pub(super) fn read(raw: &Bytes, boundary: &str) -> Result<(Value, Vec<File>), Refusal> {
    let wrong = || Refusal::invalid(None, "expected a form whose parts are set apart by its boundary");
    let mark = format!("\r\n--{boundary}");
    let mut at = mark.len() - 2;
    if !raw.starts_with(mark.trim_start().as_bytes()) {
        return Err(wrong());
    }
    let (mut texts, mut files) = (Map::new(), Vec::new());
    loop {
        let rest = raw.get(at..).unwrap_or_default();
        if rest.starts_with(b"--") {
            return Ok((Value::Object(texts), files));
        }
        let end = memmem::find(rest, mark.as_bytes()).ok_or_else(wrong)?;
        let head = memmem::find(rest.get(..end).unwrap_or_default(), b"\r\n\r\n").ok_or_else(wrong)?;
        let bytes = raw.slice(at + head + 4..at + end);
        let head = String::from_utf8_lossy(rest.get(..head).unwrap_or_default());
        let named = |what: &str| {
            let (_, value) = head.split_once(&format!("{what}=\""))?;
            value.split('"').next().map(str::to_owned)
        };
        let field = named("; name").ok_or_else(wrong)?;
        match named("filename") {
            Some(name) => files.push(File { field, name, bytes }),
            None => {
                texts.insert(field, Value::String(String::from_utf8_lossy(&bytes).into_owned()));
            }
        }
        at += end + mark.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_files_are_told_apart() {
        let raw = Bytes::from_static(
            b"--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--x\r\nContent-Disposition: \
              form-data; name=\"file\"; filename=\"a.mp3\"\r\nContent-Type: audio/mpeg\r\n\r\n\r\n--\r\n\r\n--x--\r\n",
        );
        let (texts, files) = read(&raw, boundary("multipart/form-data; boundary=x").unwrap()).unwrap();
        assert_eq!(texts["model"], "whisper-1");
        assert_eq!((files[0].field.as_str(), files[0].name.as_str()), ("file", "a.mp3"));
        assert_eq!(&files[0].bytes[..], b"\r\n--\r\n");
        assert!(read(&raw.slice(..40), "x").is_err());
        assert!(read(&raw, "y").is_err());
    }
}
