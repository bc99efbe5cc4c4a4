//! W3C trace context, level 2: the one header that names the caller's span.

use crate::model::{SpanId, TraceId};

/// Parsed `traceparent` (W3C, level 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    pub trace: TraceId,
    pub parent: SpanId,
    pub flags: u8,
}

/// `00-<32 hex>-<16 hex>-<2 hex>`.
const LENGTH: usize = 55;

impl TraceParent {
    /// `None` for anything that the specification calls invalid. A version above 00 is read as far as
    /// version 00 goes, if what follows is set off by `-`.
    pub fn parse(value: &str) -> Option<Self> {
        let value = value.trim_matches([' ', '\t']);
        let (known, rest) = (value.get(..LENGTH)?, value.get(LENGTH..)?);
        let mut fields = known.split('-');
        let (version, trace) = (lower_hex(fields.next()?, 2)?, lower_hex(fields.next()?, 32)?);
        let (parent, flags) = (lower_hex(fields.next()?, 16)?, lower_hex(fields.next()?, 2)?);
        let more = match version {
            "00" => !rest.is_empty(),
            "ff" => true,
            _ => !(rest.is_empty() || rest.starts_with('-')),
        };
        if more || fields.next().is_some() {
            return None;
        }
        let parsed = Self {
            trace: trace.parse().ok()?,
            parent: parent.parse().ok()?,
            flags: u8::from_str_radix(flags, 16).ok()?,
        };
        (!parsed.trace.is_zero() && !parsed.parent.is_zero()).then_some(parsed)
    }
}

fn lower_hex(field: &str, length: usize) -> Option<&str> {
    let sound = field.len() == length && field.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    sound.then_some(field)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn valid_values_are_read() {
        let parsed = TraceParent::parse(GOOD).unwrap();
        assert_eq!(parsed.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(parsed.parent.to_string(), "00f067aa0ba902b7");
        assert_eq!(parsed.flags, 1);
        assert_eq!(TraceParent::parse(&format!(" {GOOD}\t")), Some(parsed));
        let later = GOOD.replacen("00", "cc", 1);
        assert_eq!(TraceParent::parse(&later), Some(parsed));
        assert_eq!(TraceParent::parse(&format!("{later}-what-ever")), Some(parsed));
    }

    #[test]
    fn invalid_values_are_not() {
        for wrong in [
            "",
            "00",
            &GOOD.to_uppercase(),
            &GOOD.replacen("00", "ff", 1),
            &format!("{GOOD}-x"),
            &format!("{GOOD}0"),
            &format!("{}.x", GOOD.replacen("00", "01", 1)),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-011",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0ü",
            &GOOD.replace('-', "_"),
        ] {
            assert_eq!(TraceParent::parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read(trace: [u8; 16], parent: [u8; 8], flags: u8) {
            prop_assume!(trace != [0; 16] && parent != [0; 8]);
            let (trace, parent) = (TraceId(trace), SpanId(parent));
            let parsed = TraceParent::parse(&format!("00-{trace}-{parent}-{flags:02x}"));
            prop_assert_eq!(parsed, Some(TraceParent { trace, parent, flags }));
        }

        #[test]
        fn no_value_panics(value in "\\PC{0,80}") {
            let _ = TraceParent::parse(&value);
        }
    }
}
