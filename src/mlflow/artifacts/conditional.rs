//! What of a file a GET asks for (RFC 9110, 13 and 14): all of it, one range, or nothing because the client has it
//! already. Pure.

use std::{
    ops::Range,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderName, header};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    Whole,
    Part(Range<u64>),
    /// The client's copy is the file.
    NotModified,
    /// A range outside the file.
    Unsatisfiable,
}

/// `etag` without quotes. Several ranges at once are answered with the whole, as the standard allows.
pub(super) fn wanted(headers: &HeaderMap, size: u64, etag: &str, modified: SystemTime) -> Wanted {
    if let Some(tags) = text(headers, &header::IF_NONE_MATCH) {
        if tags.split(',').any(|tag| is_tag(tag, etag)) {
            return Wanted::NotModified;
        }
    } else if let Some(since) = date(headers, &header::IF_MODIFIED_SINCE)
        && seconds(modified) <= seconds(since)
    {
        return Wanted::NotModified;
    }
    let Some(ranges) = text(headers, &header::RANGE) else { return Wanted::Whole };
    if let Some(condition) = text(headers, &header::IF_RANGE) {
        let same = match date(headers, &header::IF_RANGE) {
            Some(since) => seconds(modified) == seconds(since),
            None => is_tag(condition, etag),
        };
        if !same {
            return Wanted::Whole;
        }
    }
    let Some(range) = ranges.trim().strip_prefix("bytes=").and_then(|range| range.trim().split_once('-'))
    else {
        return Wanted::Whole;
    };
    let number = |text: &str| text.trim().parse::<u64>();
    let range = match range {
        (_, last) if last.contains(',') => return Wanted::Whole,
        ("", last) => number(last).map(|last| size.saturating_sub(last)..size),
        (first, "") => number(first).map(|first| first..size),
        (first, last) => match (number(first), number(last)) {
            (Ok(first), Ok(last)) if last >= first => Ok(first..last.saturating_add(1).min(size)),
            _ => return Wanted::Whole,
        },
    };
    match range {
        Ok(range) if range.start < range.end => Wanted::Part(range),
        Ok(_) => Wanted::Unsatisfiable,
        Err(_) => Wanted::Whole,
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(text(headers, name)?).ok()
}

/// HTTP's dates know no smaller unit.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since: Duration| since.as_secs())
}

fn is_tag(written: &str, etag: &str) -> bool {
    let written = written.trim();
    written == "*" || written.trim_start_matches("W/").trim_matches('"') == etag
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn asks(headers: &[(HeaderName, &str)]) -> Wanted {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
            .collect();
        wanted(&headers, 10, "tag", SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_500))
    }

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        for (range, expected) in [
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=2-4", Wanted::Part(2..5)),
            ("bytes=7-", Wanted::Part(7..10)),
            ("bytes=-3", Wanted::Part(7..10)),
            ("bytes=-30", Wanted::Part(0..10)),
            ("bytes=5-100", Wanted::Part(5..10)),
            ("bytes=5-18446744073709551615", Wanted::Part(5..10)),
            ("bytes=10-20", Wanted::Unsatisfiable),
            ("bytes=10-", Wanted::Unsatisfiable),
            ("bytes=-0", Wanted::Unsatisfiable),
            ("bytes=5-2", Wanted::Whole),
            ("bytes=1-2,4-5", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=", Wanted::Whole),
            ("lines=1-2", Wanted::Whole),
        ] {
            assert_eq!(asks(&[(header::RANGE, range)]), expected, "{range}");
        }
    }

    #[test]
    fn what_the_client_has_is_not_sent_again() {
        let date = "Thu, 01 Jan 1970 00:16:40 GMT";
        let earlier = "Thu, 01 Jan 1970 00:16:39 GMT";
        for (headers, expected) in [
            (vec![(header::IF_NONE_MATCH, "\"tag\"")], Wanted::NotModified),
            (vec![(header::IF_NONE_MATCH, "\"a\", W/\"tag\"")], Wanted::NotModified),
            (vec![(header::IF_NONE_MATCH, "*")], Wanted::NotModified),
            (vec![(header::IF_NONE_MATCH, "\"other\""), (header::IF_MODIFIED_SINCE, date)], Wanted::Whole),
            (vec![(header::IF_MODIFIED_SINCE, date)], Wanted::NotModified),
            (vec![(header::IF_MODIFIED_SINCE, earlier)], Wanted::Whole),
            (vec![(header::IF_MODIFIED_SINCE, "yesterday")], Wanted::Whole),
            (vec![(header::RANGE, "bytes=1-2"), (header::IF_RANGE, "\"tag\"")], Wanted::Part(1..3)),
            (vec![(header::RANGE, "bytes=1-2"), (header::IF_RANGE, "\"other\"")], Wanted::Whole),
            (vec![(header::RANGE, "bytes=1-2"), (header::IF_RANGE, date)], Wanted::Part(1..3)),
            (vec![(header::RANGE, "bytes=1-2"), (header::IF_RANGE, earlier)], Wanted::Whole),
        ] {
            assert_eq!(asks(&headers), expected, "{headers:?}");
        }
    }
}
