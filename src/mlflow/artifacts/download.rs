//! Files on their way to a client. A browser must never run what a run wrote: every file is an attachment, of the
//! type that its name says, in a sandbox without an origin.

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{
    conditional::{Wanted, wanted},
    media::media_type,
};
use crate::{
    artifacts::{ArtifactPath, Artifacts},
    model::Error,
};

/// Against scripts in HTML and SVG even where a browser ignores `Content-Disposition`, as in a frame.
const POLICY: HeaderValue = HeaderValue::from_static("sandbox; default-src 'none'");

pub(super) async fn send(
    artifacts: &Artifacts,
    path: &ArtifactPath,
    asked: &HeaderMap,
) -> Result<Response, Error> {
    let artifact = artifacts.find(path).await?;
    let size = artifact.size;
    let wanted = wanted(asked, size, &artifact.etag, artifact.modified);
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(path.name())));
    let modified = httpdate::fmt_http_date(artifact.modified);
    for (name, value) in [
        (header::CONTENT_DISPOSITION, attachment(path.name())),
        (header::ETAG, format!("\"{}\"", artifact.etag)),
        (header::LAST_MODIFIED, modified),
    ] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    let range = match wanted {
        Wanted::Whole => 0..size,
        Wanted::Part(range) => {
            let content_range = format!("bytes {}-{}/{size}", range.start, range.end - 1);
            headers.extend(HeaderValue::try_from(content_range).map(|value| (header::CONTENT_RANGE, value)));
            range
        }
        Wanted::NotModified => {
            headers.remove(header::CONTENT_TYPE);
            return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
        }
        Wanted::Unsatisfiable => {
            let content_range = format!("bytes */{size}");
            headers.extend(HeaderValue::try_from(content_range).map(|value| (header::CONTENT_RANGE, value)));
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response());
        }
    };
    let status = match headers.contains_key(header::CONTENT_RANGE) {
        true => StatusCode::PARTIAL_CONTENT,
        false => StatusCode::OK,
    };
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    Ok((status, headers, Body::from_stream(artifact.read(range))).into_response())
}

/// RFC 6266: a name that is plain stands as it is, another is quoted or encoded.
fn attachment(name: &str) -> String {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte);
    if name.bytes().all(token) {
        return format!("attachment; filename={name}");
    }
    if name.is_ascii() && !name.contains(['"', '\\']) {
        return format!("attachment; filename=\"{name}\"");
    }
    let encoded: String = name
        .bytes()
        .map(|byte| match token(byte) && byte != b'\'' {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect();
    // For clients that know the plain form only, what of it is plain.
    let plain: String = name
        .chars()
        .filter(|one| one.is_ascii() && !one.is_ascii_control() && !matches!(one, '"' | '\\'))
        .collect();
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

#[cfg(test)]
mod tests {
    use super::attachment;

    #[test]
    fn names_are_quoted_or_encoded() {
        for (name, expected) in [
            ("a.txt", "attachment; filename=a.txt"),
            ("a b;c.txt", "attachment; filename=\"a b;c.txt\""),
            ("a\"b", "attachment; filename=\"ab\"; filename*=UTF-8''a%22b"),
            ("größe.csv", "attachment; filename=\"gre.csv\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.csv"),
        ] {
            assert_eq!(attachment(name), expected);
        }
    }
}
