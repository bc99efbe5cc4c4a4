//! Clocks that are set while calls run, forth and back. The process's own clock is bent by libfaketime where that is
//! installed (Debian: `faketime`); the monotonic clock is left alone, as it is when somebody sets the time.

use std::{fs, net::TcpListener, path::PathBuf};

use serde_json::Value;

use crate::{
    case::{Case, Passed, STREAM, Verdict, chunk, program},
    peer::Peer,
    tapline::{Place, Setup},
    traffic::{has, settled, well},
};

const EVENT: &str = "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"some words\"}}]}\n\n";
const END: &str = "data: [DONE]\n\n";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        program("clock/set back by an hour in the middle of a stream", || jump("-3600s")),
        program("clock/set forth by a day in the middle of a stream", || jump("+86400s")),
        program("clock/set back to 1970 in the middle of a stream", || jump("@1970-01-02 00:00:00")),
    ]
}

fn library() -> Option<PathBuf> {
    let folders = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
        "/usr/local/lib",
    ];
    folders
        .iter()
        .map(|folder| PathBuf::from(folder).join("faketime/libfaketimeMT.so.1"))
        .find(|path| path.exists())
}

fn jump(to: &str) -> Verdict {
    let Some(library) = library() else {
        return Ok(Passed::Skipped("libfaketime is not installed".to_owned()));
    };
    let failed = |error: std::io::Error| error.to_string();
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    let place = Place::new()?;
    let clock = place.folder().join("clock");
    fs::write(&clock, "+0s").map_err(failed)?;
    let mut setup = Setup::to(listener.local_addr().map_err(failed)?);
    for (name, value) in [
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", clock.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
    ] {
        setup.environment.push((name.to_owned(), value));
    }
    let tapline = place.start(&setup)?;
    tapline.ready()?;
    let stream = |session: &str, between: &dyn Fn() -> Result<(), String>| -> Result<Value, String> {
        let mut client = Peer::connect(tapline.address)?;
        let body = r#"{"model":"gpt-4o-mini","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
        let head = format!(
            "POST /s/{session}/v1/chat/completions HTTP/1.1\r\nHost: tap\r\nConnection: close\r\nContent-Type: \
             application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        client.write(head.as_bytes())?;
        let mut upstream = Peer::new(listener.accept().map_err(failed)?.0)?;
        upstream.message(true, false)?.ok_or("expected a request upstream")?;
        upstream.write(&[STREAM.as_bytes(), &chunk(EVENT)].concat())?;
        client.head()?.ok_or("expected a head")?;
        between()?;
        upstream.write(&[chunk(EVENT), chunk(END), b"0\r\n\r\n".to_vec()].concat())?;
        client.rest()?;
        has(&tapline, session, 1)?;
        tapline.calls(session)?.pop().ok_or_else(|| "no call".to_owned())
    };
    let during = stream("during", &|| fs::write(&clock, to).map_err(failed))?;
    // The next call lives by the clock as it is now.
    let after = stream("after", &|| Ok(()))?;
    for call in [&during, &after] {
        let lasted = call["duration_ms"].as_f64().unwrap_or(-1.0);
        let first = call["first_token_ms"].as_f64().unwrap_or(lasted);
        if call["status"] != "ok" || !(0.0..20_000.0).contains(&lasted) || !(0.0..=lasted).contains(&first) {
            return Err(format!("expected a call of no odd length, found {call}"));
        }
    }
    if during["started_at"].as_str().map(|at| &at[..13]) == after["started_at"].as_str().map(|at| &at[..13]) {
        return Err(format!("expected the clock to have been set, found {} twice", during["started_at"]));
    }
    settled(&tapline)?;
    well(&tapline)?;
    tapline.stop()?;
    Ok(Passed::Yes)
}
