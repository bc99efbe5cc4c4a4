//! Clients that leave, in every phase: the upstream is let go, the span says who left, and what had come is kept.

use serde_json::json;

use crate::case::{Case, STREAM, Span, any, case, chat, chunk, get, status};

const EVENT: &str = "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"some words\"}}]}\n\n";

pub(crate) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for how in ["leaves", "resets"] {
        let go = |case: Case| if how == "resets" { case.reset() } else { case.leave() };
        all.push(
            go(case(format!("leaving/{how} before the head")).send(chat(false)).takes(any()))
                .up_gone()
                .span(Span::left(None).with("/request_model", json!("gpt-4o-mini"))),
        );
        all.push(
            go(case(format!("leaving/{how} before the first event"))
                .send(chat(true))
                .takes(any())
                .reply(STREAM)
                .answer_head(status(200)))
            .up_gone()
            .span(Span::left(Some(200))),
        );
        all.push(
            go(case(format!("leaving/{how} in the middle of a stream"))
                .send(chat(true))
                .takes(any())
                .reply([STREAM.as_bytes(), &chunk(EVENT)].concat())
                .answer_head(status(200))
                .raw(chunk(EVENT)))
            .up_gone()
            .span(
                Span::left(Some(200))
                    .with("/usage_source", json!("estimated"))
                    .with("/received_bytes", json!(EVENT.len())),
            ),
        );
        all.push(
            go(case(format!("leaving/{how} in the middle of a body"))
                .send(get(""))
                .takes(any())
                .reply("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
                .answer_head(status(200)))
            .up_gone()
            .span(Span::left(Some(200))),
        );
    }
    all.push(
        case("leaving/in the middle of the request")
            .send("POST <base>/x HTTP/1.1\r\nHost: tap\r\n<tag>Content-Length: 100\r\n\r\nonly this")
            .takes_head(any())
            .leave()
            .unfinished()
            .span(Span::left(None)),
    );
    all.push(
        case("leaving/closes its writing side, which is how most leave")
            .send(chat(false))
            .takes(any())
            .leave_half()
            .up_gone()
            .span(Span::left(None)),
    );
    all
}
