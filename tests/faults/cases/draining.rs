//! Upstreams that are read on when the client has left: the usage is known that only the end of a stream tells, the
//! outcome still says who left, and there is an end to it.

use serde_json::json;

use crate::case::{Case, STREAM, Span, Up, any, case, chat, chunk, reply, status};

const EVENT: &str = "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"some words\"}}]}\n\n";
const USAGE: &str = "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt-4o-mini\",\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":5,\"total_tokens\":12}}\n\n";
const END: &str = "data: [DONE]\n\n";

pub(crate) fn cases() -> Vec<Case> {
    let rest = || [chunk(EVENT), chunk(USAGE), chunk(END), b"0\r\n\r\n".to_vec()].concat();
    let drained = |http| Span::left(http).usage(7, 5);
    let mut all = Vec::new();
    for how in ["leaves", "resets"] {
        let go = |case: Case| if how == "resets" { case.reset() } else { case.leave() };
        all.push(
            go(case(format!("draining/{how} in the middle of a stream: the usage at its end is known"))
                .up(Up::Drained)
                .send(chat(true))
                .takes(any())
                .reply([STREAM.as_bytes(), &chunk(EVENT)].concat())
                .answer_head(status(200))
                .raw(chunk(EVENT)))
            .wait(60)
            .reply(rest())
            .span(
                drained(Some(200)).with("/received_bytes", json!(2 * EVENT.len() + USAGE.len() + END.len())),
            ),
        );
        all.push(
            go(case(format!("draining/{how} before the first event"))
                .up(Up::Drained)
                .send(chat(true))
                .takes(any())
                .reply(STREAM)
                .answer_head(status(200)))
            .wait(60)
            .reply(rest())
            .span(drained(Some(200))),
        );
        all.push(
            go(case(format!("draining/{how} before the head: the whole answer is known"))
                .up(Up::Drained)
                .send(chat(false))
                .takes(any()))
            .wait(60)
            .reply(reply(
                "200 OK",
                "Content-Type: application/json\r\n",
                r#"{"id":"c1","object":"chat.completion","model":"gpt-4o-mini","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12}}"#,
            ))
            .span(drained(Some(200))),
        );
    }
    all.push(
        case("draining/an upstream that breaks off then: what came is kept and estimated")
            .up(Up::Drained)
            .send(chat(true))
            .takes(any())
            .reply([STREAM.as_bytes(), &chunk(EVENT)].concat())
            .answer_head(status(200))
            .leave()
            .wait(60)
            .reply(chunk(EVENT))
            .hang_up()
            .span(Span::left(Some(200)).with("/usage_source", json!("estimated"))),
    );
    all.push(
        case("draining/a client that stays notices nothing")
            .up(Up::Drained)
            .send(chat(true))
            .takes(any())
            .reply([STREAM.as_bytes(), &rest()].concat())
            .answer(status(200).body([EVENT, USAGE, END].concat()))
            .span(Span::ok(200).usage(7, 5)),
    );
    all.push(
        case("draining/ends when it takes too long")
            .impatient()
            .up(Up::Drained)
            .send(chat(true))
            .takes(any())
            .reply([STREAM.as_bytes(), &chunk(EVENT)].concat())
            .answer_head(status(200))
            .leave()
            .up_gone()
            .span(Span::left(Some(200)).with("/usage_source", json!("estimated"))),
    );
    all.push(
        case("draining/ends before a head that takes too long")
            .impatient()
            .up(Up::Drained)
            .send(chat(false))
            .takes(any())
            .leave()
            .up_gone()
            .span(Span::left(None)),
    );
    all.push(
        case("draining/ends when too much comes")
            .impatient()
            .up(Up::Drained)
            .send(chat(true))
            .takes(any())
            .reply([STREAM.as_bytes(), &chunk(EVENT)].concat())
            .answer_head(status(200))
            .leave()
            .wait(60)
            .reply(chunk("x".repeat(2_000)))
            .up_gone()
            .span(Span::left(Some(200))),
    );
    all
}
