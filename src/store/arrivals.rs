//! When a response's frames came: offsets and lengths as a few bytes a frame. Frames of a stream end where its
//! events do, so a length is mostly a count of events, known from the body.

use super::{
    bits,
    numbers::{pull, pull_bytes, pull_length, pull_signed, push, push_signed, take},
};
use crate::model::content::Arrival;

/// Pairs of offset and length, as they are.
const PAIRS: u8 = 0;
/// Offsets in units, then the events of each frame.
const EVENTS: u8 = 1;
/// As `EVENTS`, the two lists packed by zstd behind their length; written by earlier versions.
const EVENTS_ZSTD: u8 = 2;
/// Unit, count, the least step; how wide steps and counts of events are in Rice's code; then both lists as bits, each
/// step without the least.
const EVENTS_BITS: u8 = 3;

/// In place of a width: one event in each frame and what is left in the last.
const ONE_EACH: u8 = 255;

const EVENT_END: &[u8] = b"\n\n";
/// Shorter lists are bytes.
const FEWEST_BITS: usize = 8;
/// A list of more bytes is not one.
const LONGEST: usize = 64 << 20;

/// Offsets are steps from the one before, in microseconds or, where all can be said so, in a hundred of them.
fn unit(arrivals: &[Arrival]) -> u64 {
    if arrivals.iter().all(|arrival| arrival.offset_us % 100 == 0) { 100 } else { 1 }
}

pub(super) fn encode(arrivals: &[Arrival], body: &[u8]) -> Vec<u8> {
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
    if arrivals.len() >= FEWEST_BITS && as_bits(arrivals, unit, &events, &mut out) {
        return out;
    }
    out.push(EVENTS);
    push(&mut out, unit);
    push(&mut out, arrivals.len() as u64);
    let mut before = 0u64;
    for arrival in arrivals {
        let at = arrival.offset_us / unit;
        push_signed(&mut out, at.wrapping_sub(before) as i64);
        before = at;
    }
    for count in events {
        push(&mut out, count);
    }
    out
}

/// Writes both lists as bits; false where time went back.
fn as_bits(arrivals: &[Arrival], unit: u64, events: &[u64], out: &mut Vec<u8>) -> bool {
    let mut before = 0;
    let mut steps = Vec::with_capacity(arrivals.len());
    for arrival in arrivals {
        let at = arrival.offset_us / unit;
        let Some(step) = at.checked_sub(before) else { return false };
        steps.push(step);
        before = at;
    }
    let least = steps.iter().copied().min().unwrap_or(0);
    steps.iter_mut().for_each(|step| *step -= least);
    let (width, _) = bits::rice_width(&steps);
    out.push(EVENTS_BITS);
    push(out, unit);
    push(out, arrivals.len() as u64);
    push(out, least);
    out.push(width as u8);
    // One event a frame, and the last ends the body: so it is mostly.
    let plain =
        events.split_last().is_some_and(|(last, rest)| *last == 0 && rest.iter().all(|one| *one == 1));
    let (counts, _) = bits::rice_width(events);
    out.push(if plain { ONE_EACH } else { counts as u8 });
    let mut bits = bits::Writer::new(out);
    steps.iter().for_each(|step| bits.push_rice(*step, width));
    if !plain {
        events.iter().for_each(|count| bits.push_rice(*count, counts));
    }
    bits.end();
    true
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
        Some(EVENTS_BITS) => decode_bits(input, body),
        Some(_) => None,
    }
}

fn decode_bits(mut input: &[u8], body: &[u8]) -> Option<Vec<Arrival>> {
    let (unit, count, least) = (pull(&mut input)?, pull_length(&mut input)?, pull(&mut input)?);
    let (width, counts) = (take(&mut input)?, take(&mut input)?);
    // Each step is a bit at least.
    if count > input.len().saturating_mul(8) || width >= 64 || counts >= 64 && counts != ONE_EACH {
        return None;
    }
    let mut bits = bits::Reader::new(input);
    let (mut arrivals, mut at) = (Vec::with_capacity(count), 0u64);
    for _ in 0..count {
        at = at.checked_add(bits.pull_rice(u32::from(width))?)?.checked_add(least)?;
        arrivals.push(Arrival { offset_us: at.checked_mul(unit)?, length: 0 });
    }
    let events: Vec<u64> = if counts == ONE_EACH {
        (1..=count).map(|number| u64::from(number < count)).collect()
    } else {
        (0..count).map(|_| bits.pull_rice(u32::from(counts))).collect::<Option<_>>()?
    };
    for (arrival, length) in arrivals.iter_mut().zip(lengths(&events, body)?) {
        arrival.length = length;
    }
    bits.is_done().then_some(arrivals)
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
            prop_assert_eq!(decode(&encode(&arrivals, &body), &body), Some(arrivals));
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
            prop_assert_eq!(decode(&encode(&arrivals, &body), &body), Some(arrivals));
        }

        #[test]
        fn damage_does_not_panic(bytes: Vec<u8>, body: Vec<u8>) {
            decode(&bytes, &body);
        }
    }

    #[test]
    fn lists_of_earlier_versions_are_read() {
        let (arrivals, body) = stream(100);
        let mut lists = Vec::new();
        push(&mut lists, 100);
        push(&mut lists, arrivals.len() as u64);
        let mut before = 0;
        for arrival in &arrivals {
            push_signed(&mut lists, (arrival.offset_us / 100) as i64 - before);
            before = (arrival.offset_us / 100) as i64;
        }
        events(&arrivals, &body).unwrap().into_iter().for_each(|count| push(&mut lists, count));
        let mut plain = vec![EVENTS];
        plain.extend_from_slice(&lists);
        assert_eq!(decode(&plain, &body).as_deref(), Some(arrivals.as_slice()));
        let mut packed = vec![EVENTS_ZSTD];
        push(&mut packed, lists.len() as u64);
        crate::store::numbers::push_bytes(&mut packed, &zstd::bulk::compress(&lists, 3).unwrap());
        assert_eq!(decode(&packed, &body), Some(arrivals));
    }

    #[test]
    fn a_stream_costs_about_a_byte_a_frame() {
        let (arrivals, body) = stream(1_000);
        let encoded = encode(&arrivals, &body);
        assert_eq!(decode(&encoded, &body), Some(arrivals));
        assert!(encoded.len() < 1_050, "{}", encoded.len());
    }
}
