//! When a response's frames came: offsets and lengths as a few bytes a frame. Frames of a stream end where its
//! events do, so a length is mostly a count of events, known from the body.

use super::{
    numbers::{pull, pull_bytes, pull_length, pull_signed, push, push_bytes, push_signed, take},
    packing::Packer,
};
use crate::model::content::Arrival;

/// Pairs of offset and length, as they are.
const PAIRS: u8 = 0;
/// Offsets in units, then the events of each frame.
const EVENTS: u8 = 1;
/// As `EVENTS`, the two lists packed by zstd behind their length.
const EVENTS_ZSTD: u8 = 2;

const EVENT_END: &[u8] = b"\n\n";
/// Longer lists than this are packed.
const SHORTEST_PACKED: usize = 64;
/// A list of more bytes is not one.
const LONGEST: usize = 64 << 20;

/// Offsets are steps from the one before, in microseconds or, where all can be said so, in a hundred of them.
fn unit(arrivals: &[Arrival]) -> u64 {
    if arrivals.iter().all(|arrival| arrival.offset_us % 100 == 0) { 100 } else { 1 }
}

pub(super) fn encode(packer: &mut Packer, arrivals: &[Arrival], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if arrivals.is_empty() {
        return out;
    }
    let Some(events) = events(arrivals, body) else {
        out.push(PAIRS);
        let mut before = 0u64;
        for arrival in arrivals {
            push_signed(&mut out, arrival.offset_us.wrapping_sub(before) as i64);
            push(&mut out, arrival.length);
            before = arrival.offset_us;
        }
        return out;
    };
    let unit = unit(arrivals);
    let mut lists = Vec::with_capacity(3 * arrivals.len());
    push(&mut lists, unit);
    push(&mut lists, arrivals.len() as u64);
    let mut before = 0u64;
    for arrival in arrivals {
        let at = arrival.offset_us / unit;
        push_signed(&mut lists, at.wrapping_sub(before) as i64);
        before = at;
    }
    for count in events {
        push(&mut lists, count);
    }
    if lists.len() >= SHORTEST_PACKED
        && let Ok(packed) = packer.framed(&lists)
        && packed.len() + 4 < lists.len()
    {
        out.push(EVENTS_ZSTD);
        push(&mut out, lists.len() as u64);
        push_bytes(&mut out, packed);
    } else {
        out.push(EVENTS);
        out.extend_from_slice(&lists);
    }
    out
}

/// How many events end in each frame; `None` where a frame ends elsewhere. The last one may end the body.
fn events(arrivals: &[Arrival], body: &[u8]) -> Option<Vec<u64>> {
    let mut rest = body;
    let mut counts = Vec::with_capacity(arrivals.len());
    for (number, arrival) in arrivals.iter().enumerate() {
        let (frame, after) = rest.split_at_checked(usize::try_from(arrival.length).ok()?)?;
        rest = after;
        let whole = number + 1 == arrivals.len() && rest.is_empty();
        if whole {
            // 0 events: what is left of the body.
            counts.push(0);
        } else if !frame.is_empty() && frame.ends_with(EVENT_END) {
            counts.push(memchr::memmem::find_iter(frame, EVENT_END).count() as u64);
        } else {
            return None;
        }
    }
    // What decoding would make of the counts is what came; overlapping line feeds could say otherwise.
    (lengths(&counts, body)? == arrivals.iter().map(|arrival| arrival.length).collect::<Vec<_>>())
        .then_some(counts)
}

fn lengths(counts: &[u64], body: &[u8]) -> Option<Vec<u64>> {
    let mut lengths = Vec::with_capacity(counts.len());
    let mut at = 0;
    for count in counts {
        let rest = body.get(at..)?;
        let end = match count.checked_sub(1) {
            None => rest.len(),
            Some(before) => {
                let mut ends = memchr::memmem::find_iter(rest, EVENT_END);
                ends.nth(usize::try_from(before).ok()?)? + EVENT_END.len()
            }
        };
        lengths.push(end as u64);
        at += end;
    }
    Some(lengths)
}

/// The arrivals of a body; `None` where the bytes are damaged.
pub(super) fn decode(mut input: &[u8], body: &[u8]) -> Option<Vec<Arrival>> {
    match take(&mut input) {
        None => Some(Vec::new()),
        Some(PAIRS) => {
            let (mut arrivals, mut before) = (Vec::new(), 0u64);
            while !input.is_empty() {
                before = before.wrapping_add(pull_signed(&mut input)? as u64);
                arrivals.push(Arrival { offset_us: before, length: pull(&mut input)? });
            }
            Some(arrivals)
        }
        Some(EVENTS) => decode_lists(input, body),
        Some(EVENTS_ZSTD) => {
            let size = pull_length(&mut input).filter(|size| *size <= LONGEST)?;
            decode_lists(&zstd::bulk::decompress(pull_bytes(&mut input)?, size).ok()?, body)
        }
        Some(_) => None,
    }
}

fn decode_lists(mut lists: &[u8], body: &[u8]) -> Option<Vec<Arrival>> {
    let unit = pull(&mut lists)?;
    let count = pull_length(&mut lists).filter(|count| *count <= lists.len())?;
    let (mut arrivals, mut before) = (Vec::new(), 0u64);
    for _ in 0..count {
        before = before.wrapping_add(pull_signed(&mut lists)? as u64);
        arrivals.push(Arrival { offset_us: before.checked_mul(unit)?, length: 0 });
    }
    let counts: Vec<u64> = (0..count).map(|_| pull(&mut lists)).collect::<Option<_>>()?;
    for (arrival, length) in arrivals.iter_mut().zip(lengths(&counts, body)?) {
        arrival.length = length;
    }
    lists.is_empty().then_some(arrivals)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packer() -> Packer {
        Packer::new(3).unwrap()
    }

    fn stream(events: u64) -> (Vec<Arrival>, Vec<u8>) {
        let (mut arrivals, mut body) = (Vec::new(), Vec::new());
        for number in 0..events {
            let event = format!("data: {number} {}\n\n", "x".repeat((number * 7 % 100) as usize));
            body.extend_from_slice(event.as_bytes());
            let offset_us = number * 8_000 + number * number % 37 * 100;
            arrivals.push(Arrival { offset_us, length: event.len() as u64 });
        }
        (arrivals, body)
    }

    proptest! {
        #[test]
        fn any_arrivals_survive(pairs: Vec<(u64, u64)>, body: Vec<u8>) {
            let arrivals: Vec<_> =
                pairs.into_iter().map(|(offset_us, length)| Arrival { offset_us, length }).collect();
            prop_assert_eq!(decode(&encode(&mut packer(), &arrivals, &body), &body), Some(arrivals));
        }

        #[test]
        fn any_cut_of_a_stream_survives(
            pieces in proptest::collection::vec(prop_oneof![Just("\n"), Just("\n\n"), Just("a\n\n"), Just("b")], 0..30),
            lengths in proptest::collection::vec(0u64..6, 0..30),
            unit in prop_oneof![Just(1u64), Just(100)],
        ) {
            let body = pieces.concat().into_bytes();
            let arrivals: Vec<_> = (0..).zip(lengths)
                .map(|(number, length)| Arrival { offset_us: number * 17 * unit, length })
                .collect();
            prop_assert_eq!(decode(&encode(&mut packer(), &arrivals, &body), &body), Some(arrivals));
        }

        #[test]
        fn damage_does_not_panic(bytes: Vec<u8>, body: Vec<u8>) {
            decode(&bytes, &body);
        }
    }

    #[test]
    fn a_stream_costs_about_a_byte_a_frame() {
        let (arrivals, body) = stream(1_000);
        let encoded = encode(&mut packer(), &arrivals, &body);
        assert_eq!(decode(&encoded, &body), Some(arrivals));
        assert!(encoded.len() < 1_500, "{}", encoded.len());
    }
}
