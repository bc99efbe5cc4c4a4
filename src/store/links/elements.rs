//! Elements of prompts as bytes: each by its kind, hash and length, or so many in a row of the prompt that they are
//! a step on from.

use std::collections::HashMap;

use crate::{model::lineage::Element, store::ledger};

/// The tag of a run of the earlier prompt's elements; lower ones are kinds.
const RUN: u8 = 4;
/// Shorter runs are written out.
const SHORTEST_RUN: usize = 4;

/// With how many elements two prompts begin alike.
pub(super) fn shared(elements: &[Element], earlier: &[Element]) -> usize {
    elements.iter().zip(earlier).take_while(|(one, other)| one == other).count()
}

/// Packs elements; what stands in a row in `earlier` is only referred to.
pub(super) fn pack(elements: &[Element], earlier: &[Element]) -> Vec<u8> {
    // The last place of each: what repeats is mostly said at the end.
    let places: HashMap<u64, usize> = earlier.iter().enumerate().map(|(at, one)| (one.hash, at)).collect();
    let mut out = Vec::with_capacity(elements.len().min(64) * 11);
    let mut rest = elements;
    while let Some((element, after)) = rest.split_first() {
        let place = places.get(&element.hash).copied();
        let run = place.map_or(0, |place| shared(rest, earlier.get(place..).unwrap_or_default()));
        if let Some(place) = place
            && run >= SHORTEST_RUN
        {
            out.push(RUN);
            push(&mut out, place);
            push(&mut out, run);
            rest = rest.get(run..).unwrap_or_default();
            continue;
        }
        out.push(ledger::number(element.kind));
        out.extend_from_slice(&element.hash.to_le_bytes());
        push(&mut out, element.bytes as usize);
        rest = after;
    }
    out
}

/// The prompt that begins with the first `kept` of `earlier` and goes on with what was packed beside it.
pub(super) fn unpack(mut bytes: &[u8], earlier: Vec<Element>, kept: usize) -> Option<Vec<Element>> {
    // Without a run, which is as ever, nothing of a long conversation is copied.
    let (before, mut elements) = if has_run(bytes)? {
        let elements = earlier.get(..kept.min(earlier.len()))?.to_vec();
        (earlier, elements)
    } else {
        let mut elements = earlier;
        elements.truncate(kept);
        (Vec::new(), elements)
    };
    while let Some((tag, rest)) = bytes.split_first() {
        bytes = rest;
        if *tag == RUN {
            let (place, run) = (pull(&mut bytes)?, pull(&mut bytes)?);
            // Of an earlier prompt that is no longer whole, what is left of it.
            let end = place.checked_add(run)?.min(before.len());
            elements.extend_from_slice(before.get(place.min(end)..end)?);
            continue;
        }
        elements.push(element(*tag, &mut bytes)?);
    }
    Some(elements)
}

fn has_run(mut bytes: &[u8]) -> Option<bool> {
    while let Some((tag, rest)) = bytes.split_first() {
        if *tag == RUN {
            return Some(true);
        }
        bytes = rest;
        element(*tag, &mut bytes)?;
    }
    Some(false)
}

fn element(tag: u8, bytes: &mut &[u8]) -> Option<Element> {
    let kind = ledger::element_kind(tag)?;
    let (hash, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    let length = u32::try_from(pull(bytes)?).ok()?;
    Some(Element { kind, hash: u64::from_le_bytes(*hash), bytes: length })
}

fn push(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn pull(bytes: &mut &[u8]) -> Option<usize> {
    let mut number = 0;
    for shift in (0..35).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= usize::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::lineage::ElementKind;

    const KINDS: [ElementKind; 4] =
        [ElementKind::Tool, ElementKind::System, ElementKind::Parameter, ElementKind::Message];

    /// Few different ones, so that prompts have them in common.
    fn elements() -> impl Strategy<Value = Vec<Element>> {
        let element = (0usize..4, prop_oneof![0u64..6, any::<u64>()], prop_oneof![0u32..3, any::<u32>()])
            .prop_map(|(kind, hash, bytes)| Element { kind: KINDS[kind], hash, bytes });
        proptest::collection::vec(element, 0..20)
    }

    proptest! {
        #[test]
        fn elements_survive(all in elements(), earlier in elements(), kept in 0usize..20) {
            let before = earlier.get(..kept).unwrap_or(&earlier).to_vec();
            let expected: Vec<_> = before.iter().chain(&all).copied().collect();
            let packed = pack(&all, &earlier);
            prop_assert_eq!(unpack(&packed, earlier, kept), Some(expected.clone()));
            // The same prompt with another beginning.
            let again: Vec<_> = [Element { kind: KINDS[1], hash: 99, bytes: 1 }].into_iter().chain(expected).collect();
            let packed = pack(&again, &again[1..]);
            prop_assert_eq!(unpack(&packed, again[1..].to_vec(), 0), Some(again));
        }

        #[test]
        fn damaged_bytes_do_not_panic(bytes: Vec<u8>, earlier in elements(), kept: usize) {
            unpack(&bytes, earlier, kept);
        }
    }

    #[test]
    fn what_is_the_same_but_for_its_beginning_is_a_run() {
        let one = |hash| Element { kind: ElementKind::Message, hash, bytes: 300 };
        let earlier: Vec<_> = (0..1_000).map(one).collect();
        let mut now = earlier.clone();
        now[0] = one(5_000);
        now.push(one(1_000));
        let packed = pack(&now, &earlier);
        assert!(packed.len() < 32, "{} bytes", packed.len());
        assert_eq!(unpack(&packed, earlier, 0), Some(now));
    }
}
