//! Errors as upstreams report them: every shape of body that is known, brought to a kind and a message.
//! It decides nothing about retries or blame.

use std::fmt::Write as _;

use serde_json::value::RawValue;

use crate::model::exchange::UpstreamError;

use super::json;

/// Longest code taken as a kind; longer ones are prose.
const MAX_KIND: usize = 64;
/// Longest message kept, in characters.
const MAX_MESSAGE: usize = 2_000;

/// The kind where an upstream names none and there is no HTTP status to name.
const UNNAMED: &str = "sse_error";

/// From the value of an `error` field, wherever it was.
pub(super) fn from_value(error: &RawValue, status: Option<u16>) -> UpstreamError {
    if let Some(text) = json::text(error) {
        return UpstreamError { kind: fallback_kind(None, status), message: shorten(&text) };
    }
    if json::is_array(error) {
        let mut first = None;
        json::each_item(error, |item| {
            first.get_or_insert(item);
        });
        return match first {
            Some(first) if !json::is_array(first) => from_value(first, status),
            _ => UpstreamError { kind: fallback_kind(None, status), message: shorten(error.get()) },
        };
    }
    let [code, kind, state, message, detail, nested] =
        json::pick(error.get(), ["code", "type", "status", "message", "detail", "error"]);
    let message = match (message, detail, nested) {
        (Some(message), _, _) => shorten(&json::shown(message)),
        (None, Some(detail), _) => shorten(&detail_text(detail)),
        (None, None, Some(nested)) => shorten(&json::shown(nested)),
        (None, None, None) => shorten(error.get()),
    };
    let named = [code, kind, state].into_iter().find_map(short_word);
    UpstreamError { kind: named.unwrap_or_else(|| fallback_kind(code, status)), message }
}

/// From the body of a failed response: JSON of any known shape, HTML, text, or nothing.
pub(super) fn from_body(body: &str, status: Option<u16>) -> UpstreamError {
    let body = body.trim_start_matches('\u{feff}').trim();
    if body.is_empty() {
        return UpstreamError {
            kind: fallback_kind(None, status),
            message: "the response has no body".to_owned(),
        };
    }
    let Ok(raw) = serde_json::from_str::<&RawValue>(body) else {
        let text = if body.starts_with('<') { html_text(body) } else { body.to_owned() };
        return UpstreamError { kind: fallback_kind(None, status), message: shorten(&text) };
    };
    let mut whole = raw;
    if json::is_array(raw) {
        let mut first = None;
        json::each_item(raw, |item| {
            first.get_or_insert(item);
        });
        whole = first.unwrap_or(raw);
    }
    let [error] = json::pick(whole.get(), ["error"]);
    match error.filter(|error| json::is_truthy(error)) {
        Some(error) => from_value(error, status),
        None => from_value(whole, status),
    }
}

/// The error of a body that came with a good status: only an `error` field that is truthy.
pub(super) fn inside(body: &str, status: Option<u16>) -> Option<UpstreamError> {
    let [error] = json::pick(body, ["error"]);
    error.filter(|error| json::is_truthy(error)).map(|error| from_value(error, status))
}

/// FastAPI's `detail`: a sentence, or a list of places and what is wrong there.
fn detail_text(detail: &RawValue) -> String {
    let mut text = String::new();
    json::each_item(detail, |item| {
        let [place, what] = json::pick(item.get(), ["loc", "msg"]);
        if let Some(what) = what
            && text.len() < MAX_MESSAGE
        {
            let mut path = String::new();
            if let Some(place) = place {
                json::each_item(place, |step| {
                    let dot = if path.is_empty() { "" } else { "." };
                    write!(path, "{dot}{}", json::shown(step)).ok();
                });
            }
            let (gap, colon) =
                (if text.is_empty() { "" } else { "; " }, if path.is_empty() { "" } else { ": " });
            write!(text, "{gap}{path}{colon}{}", json::shown(what)).ok();
        }
    });
    if text.is_empty() { json::shown(detail) } else { text }
}

/// A page's title, else its text without tags.
fn html_text(page: &str) -> String {
    let lower = page.to_ascii_lowercase();
    let title = lower.find("<title").and_then(|open| {
        let from = open + lower.get(open..)?.find('>')? + 1;
        let to = from + lower.get(from..)?.find("</title")?;
        Some(page.get(from..to)?.trim().to_owned())
    });
    if let Some(title) = title.filter(|title| !title.is_empty()) {
        return title;
    }
    let (mut text, mut inside) = (String::new(), false);
    for c in page.chars().take(64 << 10) {
        match c {
            '<' => inside = true,
            '>' => {
                inside = false;
                text.push(' ');
            }
            _ if !inside => text.push(c),
            _ => {}
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn short_word(raw: Option<&RawValue>) -> Option<String> {
    json::filled(raw).filter(|word| word.len() <= MAX_KIND && !word.contains(char::is_whitespace))
}

fn fallback_kind(code: Option<&RawValue>, status: Option<u16>) -> String {
    match (status, code) {
        (Some(status), _) if status >= 400 => status.to_string(),
        // Inside a stream that began well, a number is the HTTP status that it would have been.
        (_, Some(code)) if code.get().len() <= 8 && json::is_truthy(code) => json::shown(code),
        _ => UNNAMED.to_owned(),
    }
}

fn shorten(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str, status: u16) -> (String, String) {
        let UpstreamError { kind, message } = from_body(body, Some(status));
        (kind, message)
    }

    #[test]
    fn every_known_shape_gives_kind_and_message() {
        for (body, status, kind, message) in [
            (r#"{"error":{"message":"m","type":"t","param":null,"code":"c"}}"#, 400, "c", "m"),
            (r#"{"error":{"message":"m","type":"t","param":null,"code":null}}"#, 401, "t", "m"),
            (r#"{"error":{"message":"m","code":502}}"#, 502, "502", "m"),
            (r#"{"error":{"message":"m","type":"BadRequestError","code":400}}"#, 400, "BadRequestError", "m"),
            (
                r#"[{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}]"#,
                429,
                "RESOURCE_EXHAUSTED",
                "m",
            ),
            (r#"{"object":"error","message":"m","type":"t","code":3000}"#, 400, "t", "m"),
            (r#"{"detail":"Not Found"}"#, 404, "404", "Not Found"),
            (
                r#"{"detail":[{"loc":["body","messages",0],"msg":"field required","type":"x"},{"msg":"b"}]}"#,
                422,
                "422",
                "body.messages.0: field required; b",
            ),
            (r#"{"error":"model not found"}"#, 404, "404", "model not found"),
            (
                r#"{"type":"error","error":{"type":"overloaded_error","message":"m"},"request_id":"r"}"#,
                529,
                "overloaded_error",
                "m",
            ),
            (r#""just text""#, 500, "500", "just text"),
            ("<html><head><title>502 Bad Gateway</title></head></html>", 502, "502", "502 Bad Gateway"),
            ("<p>gone <b>away</b></p>", 503, "503", "gone away"),
            ("upstream connect error", 503, "503", "upstream connect error"),
            ("", 500, "500", "the response has no body"),
            ("[]", 500, "500", "[]"),
            ("7", 500, "500", "7"),
        ] {
            assert_eq!(read(body, status), (kind.to_owned(), message.to_owned()), "{body}");
        }
    }

    #[test]
    fn a_number_names_an_error_inside_a_good_response() {
        let error = inside(r#"{"error":{"code":502,"message":"m"}}"#, Some(200)).unwrap();
        assert_eq!(error.kind, "502");
        assert_eq!(inside(r#"{"error":null}"#, Some(200)), None);
        assert_eq!(inside(r#"{"error":"x"}"#, Some(200)).unwrap().kind, UNNAMED);
    }

    #[test]
    fn a_long_message_is_cut() {
        let (_, message) = read(&"é".repeat(5_000), 500);
        assert_eq!(message.chars().count(), MAX_MESSAGE + 1);
    }
}
