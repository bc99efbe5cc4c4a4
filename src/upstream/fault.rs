//! What went wrong with an upstream, from the errors of the libraries below: a stable low-cardinality
//! code for `error.type`, and a sentence.

use std::{error::Error as StdError, io::ErrorKind};

use super::client::ConnectTimedOut;

/// Why an upstream gave no answer, or broke one off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// `connection_refused`, `connection_reset`, `unreachable`, `dns`, `tls`, `timeout`, `upstream_eof`,
    /// `bad_response` or `connection_failed`.
    pub code: &'static str,
    pub message: String,
}

impl Fault {
    /// Reads the cause out of an error's chain.
    pub fn of(error: &(dyn StdError + 'static)) -> Self {
        Self { code: code(error), message: message(error) }
    }

    pub fn timeout(message: String) -> Self {
        Self { code: "timeout", message }
    }

    pub fn is_timeout(&self) -> bool {
        self.code == "timeout"
    }
}

fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'a (dyn StdError + 'static) = *error;
        // An `io::Error` that wraps another error shows the inner one's source as its own: look inside.
        match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => error.source(),
        }
    })
}

fn code(error: &(dyn StdError + 'static)) -> &'static str {
    let mut found = None;
    for cause in chain(error) {
        if cause.is::<rustls::Error>() {
            return "tls";
        }
        if cause.is::<ConnectTimedOut>() {
            return "timeout";
        }
        // The connector's own error type is private; its text is all there is.
        if cause.to_string() == "dns error" {
            return "dns";
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            found = of_io(io.kind()).or(found);
        } else if let Some(hyper) = cause.downcast_ref::<hyper::Error>() {
            found = of_hyper(hyper).or(found);
        }
    }
    found.unwrap_or("connection_failed")
}

fn of_io(kind: ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::ConnectionRefused => "connection_refused",
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::NotConnected => "connection_reset",
        ErrorKind::TimedOut => "timeout",
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::AddrNotAvailable => {
            "unreachable"
        }
        ErrorKind::UnexpectedEof => "upstream_eof",
        ErrorKind::InvalidData | ErrorKind::InvalidInput => "bad_response",
        _ => return None,
    })
}

fn of_hyper(error: &hyper::Error) -> Option<&'static str> {
    if error.is_incomplete_message() {
        Some("upstream_eof")
    } else if error.is_parse() {
        Some("bad_response")
    } else if error.is_timeout() {
        Some("timeout")
    } else if error.is_canceled() || error.is_closed() {
        Some("connection_reset")
    } else {
        None
    }
}

/// The chain in one line, each part once.
fn message(error: &(dyn StdError + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in chain(error) {
        let text = cause.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn the_cause_is_found_inside_wrappers() {
        let tls = io::Error::other(rustls::Error::DecryptError);
        assert_eq!(Fault::of(&tls).code, "tls");
        let wrapped = io::Error::other(io::Error::from(ErrorKind::ConnectionRefused));
        assert_eq!(Fault::of(&wrapped).code, "connection_refused");
        let late = io::Error::other(ConnectTimedOut(std::time::Duration::from_secs(10)));
        assert_eq!(Fault::of(&late), Fault::timeout("no connection within 10s".to_owned()));
        assert_eq!(Fault::of(&io::Error::other("odd")).code, "connection_failed");
    }
}
