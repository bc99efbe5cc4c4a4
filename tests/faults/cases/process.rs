//! The process's own ends: signals, kills in each phase of a call, a second process on the same data.

use std::{net::TcpListener, time::Duration};

use serde_json::json;

use crate::{
    case::{Case, Passed, STREAM, Verdict, chunk, program},
    peer::{Peer, eventually},
    tapline::{Place, Setup, Tapline},
};

const EVENT: &str = "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"some words\"}}]}\n\n";
const END: &str = "data: [DONE]\n\n";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        program("process/SIGTERM lets a stream end", drained),
        program("process/a drain that takes too long is cut and kept", cut_by_the_limit),
        program("process/a second signal cuts at once", cut_by_the_second_signal),
        program("process/no new call is taken while draining", no_new_call),
        program("process/kill before the head leaves an interrupted call", || killed(false)),
        program("process/kill in mid-stream keeps what had streamed", || killed(true)),
        program("process/kill twice in a row", killed_twice),
        program("process/a second process is told who holds the data", second),
    ]
}

/// A tapline with a streamed call that is under way: the client has the head and one event.
struct Running {
    place: Place,
    setup: Setup,
    tapline: Tapline,
    client: Peer,
    upstream: Peer,
}

fn under_way(flags: &[(&str, &str)], streaming: bool) -> Result<Running, String> {
    let failed = |error: std::io::Error| error.to_string();
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    let mut setup = Setup::to(listener.local_addr().map_err(failed)?);
    for (name, value) in flags {
        setup = setup.flag(name, value);
    }
    let place = Place::new()?;
    let tapline = place.start(&setup)?;
    tapline.ready()?;
    let mut client = Peer::connect(tapline.address)?;
    client.write(&request("way"))?;
    let mut upstream = Peer::new(listener.accept().map_err(failed)?.0)?;
    upstream.message(true, false)?.ok_or("expected a request upstream")?;
    if streaming {
        upstream.write(&[STREAM.as_bytes(), &chunk(EVENT)].concat())?;
        client.head()?.ok_or("expected a head")?;
        client.take(EVENT.len())?;
    }
    // Longer than a tick: what came is journalled.
    std::thread::sleep(Duration::from_millis(100));
    Ok(Running { place, setup, tapline, client, upstream })
}

fn request(session: &str) -> Vec<u8> {
    let body = r#"{"model":"gpt-4o-mini","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    format!(
        "POST /s/{session}/v1/chat/completions HTTP/1.1\r\nHost: tap\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Starts again on the same data and reads the one call that was under way.
fn afterwards(place: &Place, setup: &Setup, wanted: &[(&str, serde_json::Value)]) -> Verdict {
    let tapline = place.start(setup)?;
    tapline.ready()?;
    let calls = eventually("the call in the store", || {
        let calls = tapline.calls("way")?;
        Ok((!calls.is_empty()).then_some(calls))
    })?;
    if calls.len() != 1 {
        return Err(format!("expected one call, found {}", calls.len()));
    }
    for (name, value) in wanted {
        if calls[0][name] != *value {
            return Err(format!("expected {name} = {value}, found {}", calls[0]));
        }
    }
    tapline.stop()?;
    Ok(Passed::Yes)
}

fn drained() -> Verdict {
    let mut run = under_way(&[], true)?;
    run.tapline.signal("TERM")?;
    std::thread::sleep(Duration::from_millis(100));
    run.upstream.write(&[chunk(EVENT), chunk(END), b"0\r\n\r\n".to_vec()].concat())?;
    let rest = run.client.rest()?;
    if !rest.ends_with(b"0\r\n\r\n") {
        return Err(format!("expected the stream's end, found {:?}", String::from_utf8_lossy(&rest)));
    }
    let (status, _) = run.tapline.wait()?;
    if !status.success() {
        return Err(format!("expected a clean end, found {status}"));
    }
    afterwards(&run.place, &run.setup, &[("status", json!("ok")), ("outcome", json!("completed"))])
}

fn cut(run: Running) -> Verdict {
    let (status, took) = run.tapline.wait()?;
    if !status.success() || took > Duration::from_secs(10) {
        return Err(format!("expected a clean and prompt end, found {status} after {took:?}"));
    }
    afterwards(
        &run.place,
        &run.setup,
        &[
            ("status", json!("interrupted")),
            ("outcome", json!("shutdown")),
            ("received_bytes", json!(EVENT.len())),
            ("usage_source", json!("estimated")),
        ],
    )
}

fn cut_by_the_limit() -> Verdict {
    let run = under_way(&[("proxy-drain-timeout", "300ms")], true)?;
    run.tapline.signal("TERM")?;
    cut(run)
}

fn cut_by_the_second_signal() -> Verdict {
    let run = under_way(&[("proxy-drain-timeout", "1h")], true)?;
    run.tapline.signal("TERM")?;
    std::thread::sleep(Duration::from_millis(200));
    run.tapline.signal("TERM")?;
    cut(run)
}

fn no_new_call() -> Verdict {
    let mut run = under_way(&[], true)?;
    run.tapline.signal("TERM")?;
    eventually("the end of listening", || Ok(Peer::connect(run.tapline.address).is_err().then_some(())))?;
    run.upstream.write(&[chunk(END), b"0\r\n\r\n".to_vec()].concat())?;
    run.client.rest()?;
    let (status, _) = run.tapline.wait()?;
    if status.success() { Ok(Passed::Yes) } else { Err(format!("expected a clean end, found {status}")) }
}

fn interrupted(streaming: bool) -> Vec<(&'static str, serde_json::Value)> {
    vec![
        ("status", json!("interrupted")),
        ("outcome", json!("interrupted")),
        ("request_model", json!("gpt-4o-mini")),
        ("received_bytes", json!(if streaming { EVENT.len() } else { 0 })),
    ]
}

fn killed(streaming: bool) -> Verdict {
    let run = under_way(&[], streaming)?;
    run.tapline.kill();
    afterwards(&run.place, &run.setup, &interrupted(streaming))
}

fn killed_twice() -> Verdict {
    let run = under_way(&[], true)?;
    run.tapline.kill();
    run.place.start(&run.setup)?.kill();
    afterwards(&run.place, &run.setup, &interrupted(true))
}

fn second() -> Verdict {
    let run = under_way(&[], false)?;
    let setup = Setup { fails: true, ..run.setup.clone() };
    let (status, _) = run.place.start(&setup)?.wait()?;
    let log = run.place.log();
    if status.success() || !log.contains("in use by process") {
        return Err(format!("expected a refusal that names the holder, found {status}: {log}"));
    }
    Ok(Passed::Yes)
}
