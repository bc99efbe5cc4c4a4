//! Any bytes as any dialect's request and response, plain or streamed, compressed or not: no panic, and any split of
//! the response gives the same exchange apart from its times.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tapline::{
    model::{
        UnixNanos,
        exchange::{Exchange, Timing},
    },
    wire::{CallReader, Limits},
};

const TARGETS: [&str; 6] =
    ["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/completions", "/v1/messages", "/v1/x"];
const TYPES: [&str; 2] = ["text/event-stream", "application/json"];
const CODINGS: [&str; 5] = ["", "gzip", "br", "zstd", "deflate"];

fn read(choice: [u8; 3], request: &[u8], response: &[u8], size: usize) -> Exchange {
    let pick = |list: &[&str], at: usize| list[usize::from(choice[at]) % list.len()].to_owned();
    let limits = Limits { max_decoded: 1 << 20, max_event: 64 << 10 };
    let mut reader = CallReader::new("POST", &pick(&TARGETS, 0), &[], limits);
    reader.request(request);
    let headers =
        [("content-type".to_owned(), pick(&TYPES, 1)), ("content-encoding".to_owned(), pick(&CODINGS, 2))];
    reader.answered(200, &headers);
    for chunk in response.chunks(size.max(1)) {
        reader.response(chunk, UnixNanos(1));
    }
    let mut exchange = reader.finish(true);
    exchange.timing = Timing { events: exchange.timing.events, ..Timing::default() };
    exchange
}

fuzz_target!(|input: (u8, u8, u8, u8, Vec<u8>, Vec<u8>)| {
    let (target, kind, coding, size, request, response) = input;
    let choice = [target, kind, coding];
    let whole = read(choice, &request, &response, response.len());
    assert_eq!(read(choice, &request, &response, usize::from(size % 16) + 1), whole);
});
