//! Identifiers: fixed-size newtypes that print and parse as lower-case hex.
//!
//! A call's id is a UUIDv7 (sortable by start); trace and span ids are W3C's. All three are chosen when
//! the call opens and are in the journal, so that replaying a record can never mint a second call.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Error;

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $noun:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// All zeroes: W3C's "invalid" id.
            pub fn is_zero(&self) -> bool {
                self.0 == [0; $len]
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for byte in self.0 {
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                let wrong = || {
                    Error::invalid(format!(
                        concat!("expected ", $noun, " of {} hex digits, found {:?}"),
                        $len * 2,
                        text
                    ))
                };
                let digits = text.as_bytes();
                if digits.len() != $len * 2 {
                    return Err(wrong());
                }
                let mut bytes = [0u8; $len];
                for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
                    let high = (pair[0] as char).to_digit(16).ok_or_else(wrong)?;
                    let low = (pair[1] as char).to_digit(16).ok_or_else(wrong)?;
                    *byte = (high * 16 + low) as u8;
                }
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hex_id!(
    /// W3C trace id, 16 bytes.
    TraceId, 16, "a trace id"
);
hex_id!(
    /// W3C span id, 8 bytes.
    SpanId, 8, "a span id"
);
hex_id!(
    /// One call's id: a UUIDv7 written as 32 hex digits.
    CallId, 16, "a call id"
);

impl SpanId {
    /// The span id that a call has from its own: the time of its start to the millisecond, as far as 32 bits go,
    /// and the random end of its id. So a call is found by it without an index, and it is never all zero, which
    /// W3C calls invalid, unless the call's id is nonsense.
    pub fn of(call: CallId) -> Self {
        let [_, _, a, b, c, d, _, _, _, _, _, _, e, f, g, h] = call.0;
        Self([a, b, c, d, e, f, g, h])
    }
}

/// A run's id. tapline and MLflow mint 32 hex digits; an application may name its own run by any short
/// token (see `run_id_from_name`), so this is text.
pub type RunId = String;
/// An experiment's id: MLflow's decimal text, `"0"` being the default experiment.
pub type ExperimentId = String;

/// The longest name or id accepted from a header, a path scope or a body, in bytes.
pub const MAX_NAME: usize = 256;

/// Checks a name from outside: 1 to 256 bytes, no control characters.
pub fn check_name(what: &str, name: &str) -> Result<(), Error> {
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(Error::invalid(format!(
            "expected {what} of 1 to {MAX_NAME} bytes without control characters, found {} bytes: {:?}",
            name.len(),
            name.chars().take(64).collect::<String>()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_and_parse_as_hex() {
        let id = SpanId([0, 1, 2, 0xab, 0xcd, 0xef, 9, 0xff]);
        assert_eq!(id.to_string(), "000102abcdef09ff");
        assert_eq!("000102abcdef09ff".parse::<SpanId>(), Ok(id));
        assert!("000102abcdef09f".parse::<SpanId>().is_err());
        assert!("000102abcdef09fg".parse::<SpanId>().is_err());
    }

    #[test]
    fn names_refuse_control_characters_and_excess() {
        assert!(check_name("a session", "agent 7 / ünï").is_ok());
        assert!(check_name("a session", "").is_err());
        assert!(check_name("a session", "a\nb").is_err());
        assert!(check_name("a session", &"x".repeat(257)).is_err());
    }
}
