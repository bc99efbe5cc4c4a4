//! Numbers as the store's blobs have them: LEB128, seven bits a byte, the lowest first.

/// Writes a number.
pub(super) fn push(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads a number; `None` where the input ends early or the number does not fit.
pub(super) fn pull(input: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take(input)?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Writes a signed number: small ones of either sign are short.
pub(super) fn push_signed(out: &mut Vec<u8>, number: i64) {
    push(out, ((number << 1) ^ (number >> 63)) as u64);
}

pub(super) fn pull_signed(input: &mut &[u8]) -> Option<i64> {
    let number = pull(input)?;
    Some((number >> 1) as i64 ^ -((number & 1) as i64))
}

/// Reads a number that counts or measures what is in memory.
pub(super) fn pull_length(input: &mut &[u8]) -> Option<usize> {
    usize::try_from(pull(input)?).ok()
}

/// Reads an id.
pub(super) fn pull_id(input: &mut &[u8]) -> Option<i64> {
    i64::try_from(pull(input)?).ok()
}

pub(super) fn take(input: &mut &[u8]) -> Option<u8> {
    let (first, rest) = input.split_first()?;
    *input = rest;
    Some(*first)
}

/// Takes so many bytes off the front.
pub(super) fn split<'a>(input: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (bytes, rest) = input.split_at_checked(length)?;
    *input = rest;
    Some(bytes)
}

/// Writes bytes behind their length.
pub(super) fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    push(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(super) fn pull_bytes<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = pull_length(input)?;
    split(input, length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_survive(number: u64, signed: i64, bytes: Vec<u8>) {
            let mut out = Vec::new();
            push(&mut out, number);
            push_signed(&mut out, signed);
            push_bytes(&mut out, &bytes);
            let mut input = out.as_slice();
            prop_assert_eq!(pull(&mut input), Some(number));
            prop_assert_eq!(pull_signed(&mut input), Some(signed));
            prop_assert_eq!(pull_bytes(&mut input), Some(bytes.as_slice()));
            prop_assert!(input.is_empty());
        }

        #[test]
        fn damage_is_none_and_no_panic(bytes: Vec<u8>) {
            let mut input = bytes.as_slice();
            while pull_bytes(&mut input).is_some() {}
        }
    }
}
