//! Any request body, cut where it repeats: its parts are the body, byte for byte.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tapline::{model::call::Dialect, wire};

fuzz_target!(|input: (u8, Vec<u8>)| {
    let (dialect, body) = input;
    let dialects = [
        Dialect::ChatCompletions,
        Dialect::Responses,
        Dialect::Completions,
        Dialect::Embeddings,
        Dialect::Messages,
        Dialect::Http,
    ];
    let body = Bytes::from(body);
    let parts = wire::split(dialects[usize::from(dialect) % dialects.len()], &body);
    assert_eq!(parts.bytes(), body);
});
