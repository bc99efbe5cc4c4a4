//! Ids that others chose, and addresses, as few bytes: most are hexadecimal digits behind a word, or letters and
//! digits that are not random in all of their eight bits. Exact: what has no shorter form stays text.

use std::net::SocketAddrV4;

use rusqlite::{
    ToSql,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, Value, ValueRef},
};

use super::{
    bits::{Reader, Writer},
    numbers::{pull_bytes, pull_length, push, push_bytes, take},
};

/// A word behind its length, a count of digits, then two lower-case hexadecimal digits in a byte.
const DIGITS: u8 = 0;
/// A length, then six bits a character.
const SIX_BITS: u8 = 1;
/// Four bytes of an address and two of a port.
const ADDRESS: u8 = 2;

const ALPHABET: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";

/// An id as a column keeps it: shorter bytes, or the text itself.
pub(super) struct Id<'t>(pub(super) &'t str);

impl ToSql for Id<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match packed(self.0) {
            Some(bytes) => ToSqlOutput::Owned(Value::Blob(bytes)),
            None => ToSqlOutput::from(self.0),
        })
    }
}

/// An id that was read.
pub(super) struct Read(pub(super) String);

impl FromSql for Read {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Blob(bytes) => unpacked(bytes).map(Self).ok_or(FromSqlError::InvalidType),
            other => Ok(Self(other.as_str()?.to_owned())),
        }
    }
}

fn packed(text: &str) -> Option<Vec<u8>> {
    if let Some((_, port)) = text.split_once(':')
        && !port.starts_with('0')
        && let Ok(address) = text.parse::<SocketAddrV4>()
    {
        let [a, b, c, d] = address.ip().octets();
        let [high, low] = address.port().to_be_bytes();
        return Some(vec![ADDRESS, a, b, c, d, high, low]);
    }
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let count = text.bytes().rev().take_while(is_digit).count();
    // Half of the digits go, or a quarter of all.
    let packed = if 2 * count > text.len() { digits(text, count) } else { six_bits(text) };
    packed.filter(|packed| packed.len() < text.len())
}

fn digits(text: &str, count: usize) -> Option<Vec<u8>> {
    let (word, digits) = text.split_at_checked(text.len() - count)?;
    let mut out = Vec::with_capacity(text.len());
    out.push(DIGITS);
    push_bytes(&mut out, word.as_bytes());
    push(&mut out, count as u64);
    let value = |digit: u8| if digit <= b'9' { digit - b'0' } else { digit - b'a' + 10 };
    out.extend(digits.as_bytes().chunks(2).map(|pair| match pair {
        [low, high] => value(*high) << 4 | value(*low),
        _ => pair.first().copied().map_or(0, value),
    }));
    Some(out)
}

fn six_bits(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    out.push(SIX_BITS);
    push(&mut out, text.len() as u64);
    let mut bits = Writer::new(&mut out);
    for byte in text.bytes() {
        let place = match byte {
            b'a'..=b'z' => byte - b'a',
            b'A'..=b'Z' => byte - b'A' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits.push(u64::from(place), 6);
    }
    bits.end();
    Some(out)
}

fn unpacked(mut input: &[u8]) -> Option<String> {
    match take(&mut input)? {
        DIGITS => {
            let word = pull_bytes(&mut input)?;
            let count = pull_length(&mut input).filter(|count| count.div_ceil(2) == input.len())?;
            let mut text = String::from_utf8(word.to_vec()).ok()?;
            let mut bits = Reader::new(input);
            for _ in 0..count {
                text.push(char::from_digit(bits.pull(4)? as u32, 16)?);
            }
            Some(text)
        }
        SIX_BITS => {
            let count = pull_length(&mut input)?;
            count.checked_mul(6).filter(|bits| bits.div_ceil(8) == input.len())?;
            let mut bits = Reader::new(input);
            (0..count).map(|_| ALPHABET.get(bits.pull(6)? as usize).map(|byte| char::from(*byte))).collect()
        }
        ADDRESS => {
            let [a, b, c, d, high, low] = *input.first_chunk()?;
            Some(SocketAddrV4::new([a, b, c, d].into(), u16::from_be_bytes([high, low])).to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn there_and_back(text: &str) -> usize {
        match packed(text) {
            Some(bytes) => {
                assert_eq!(unpacked(&bytes).as_deref(), Some(text));
                bytes.len()
            }
            None => text.len(),
        }
    }

    #[test]
    fn usual_ids_are_short() {
        for (id, most) in [
            ("req_fdd75a28d49d81bc3c9354d008c89f81", 23),
            ("chatcmpl-64641a1d184264b50f57b73c0e680", 27),
            ("chatcmpl-CfUq0vZgJZc0wGtKXp2RfF1qNnXa7", 31),
            ("resp_68a1f0c9e2b4c7d8a968a1f0c9e2b4c7d8a968a1f0c9e2b4c7", 33),
            ("127.0.0.1:40019", 7),
            ("[::1]:40019", 11),
            ("6f3ab1de-1c9e-4f7e-9a35-52b1c0ffee00", 29),
            ("", 0),
        ] {
            assert!(there_and_back(id) <= most, "{id}: {}", there_and_back(id));
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text: String, likely in "[a-zA-Z_-]{0,9}[0-9a-f.:]{0,20}") {
            there_and_back(&text);
            there_and_back(&likely);
        }

        #[test]
        fn damage_is_none_and_no_panic(bytes: Vec<u8>) {
            unpacked(&bytes);
        }
    }
}
