//! Bounds: what a client or an upstream can make the process hold, measured on the process. The sizes are small by
//! default and whole with `--full`; the figures are printed either way.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    case::{Case, Passed, STREAM, Verdict, chunk, program},
    peer::{PATIENCE, Peer, eventually},
    tapline::{Place, Setup, Tapline},
    traffic::{has, health, settled, started},
};

/// Whether to measure at the whole size.
pub(crate) static FULL: AtomicBool = AtomicBool::new(false);
static FIGURES: Mutex<Vec<String>> = Mutex::new(Vec::new());

const MIB: u64 = 1 << 20;
const EVENT: &str = "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word \"}}]}\n\n";
const END: &str = "data: [DONE]\n\n";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        program("bounds/clients that leave: the upstream is let go within 100 ms", leaving),
        program("bounds/many slow streams at once", streams),
        program("bounds/a client that never reads holds its upstream back", never_reads),
        program("bounds/a huge body each way", huge),
        program("bounds/bombs of gzip and zstd are forwarded and not swallowed", bombs),
        program("bounds/JSON that is 100,000 deep, each way", deep),
        program("bounds/a stream of very many events", events),
    ]
}

/// What the last run found, for the end of the report.
pub(crate) fn figures() -> Vec<String> {
    FIGURES.lock().unwrap().clone()
}

fn figure(text: String) {
    FIGURES.lock().unwrap().push(text);
}

fn size(small: u64, full: u64) -> u64 {
    if FULL.load(Ordering::Relaxed) { full } else { small }
}

/// Memory that came on top, at its most; a bound is in MiB.
fn grown(what: &str, tapline: &Tapline, before: Option<(u64, u64)>, bound: u64) -> Result<(), String> {
    let (Some((before, _)), Some((now, most))) = (before, tapline.memory()) else { return Ok(()) };
    let (grown, left) = (most.saturating_sub(before), now.saturating_sub(before));
    figure(format!(
        "{what}: memory grew by {} MiB at most, {} MiB at the end (bound {bound} MiB)",
        grown / MIB,
        left / MIB
    ));
    if grown > bound * MIB {
        Err(format!("expected at most {bound} MiB more, found {} MiB", grown / MIB))
    } else {
        Ok(())
    }
}

fn post(session: &str, length: u64) -> String {
    format!(
        "POST /s/{session}/v1/chat/completions HTTP/1.1\r\nHost: tap\r\nConnection: close\r\nContent-Type: \
         application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}

fn chat(session: &str, stream: bool) -> Vec<u8> {
    let body = format!(
        "{{\"model\":\"gpt-4o-mini\",\"stream\":{stream},\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}]}}"
    );
    format!("{}{body}", post(session, body.len() as u64)).into_bytes()
}

fn bound() -> Result<(TcpListener, SocketAddr), String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    Ok((listener, address))
}

fn accepted(listener: &TcpListener) -> Result<Peer, String> {
    Peer::new(listener.accept().map_err(|error| error.to_string())?.0)
}

/// In each phase, several times: from the client's leaving to the end of the upstream's connection.
fn leaving() -> Verdict {
    let (listener, address) = bound()?;
    let place = Place::new()?;
    let tapline = started(&place, &Setup::to(address))?;
    for (phase, sent) in [
        ("before the head", Vec::new()),
        ("before the first event", STREAM.as_bytes().to_vec()),
        ("in mid-stream", [STREAM.as_bytes(), &chunk(EVENT)].concat()),
    ] {
        let mut times = Vec::new();
        for _ in 0..20 {
            let mut client = Peer::connect(tapline.address)?;
            client.write(&chat("leaving", true))?;
            let mut upstream = accepted(&listener)?;
            upstream.message(true, false)?.ok_or("expected a request upstream")?;
            if !sent.is_empty() {
                upstream.write(&sent)?;
                client.head()?.ok_or("expected a head")?;
            }
            let began = Instant::now();
            drop(client);
            upstream.rest()?;
            times.push(began.elapsed());
        }
        times.sort();
        let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
        figure(format!(
            "client leaves {phase}: upstream let go after {:.1} ms (median of {}), {:.1} ms at most",
            median.as_secs_f64() * 1e3,
            times.len(),
            slowest.as_secs_f64() * 1e3
        ));
        // The median, since a loaded machine may hold up any single one.
        if median > Duration::from_millis(100) {
            return Err(format!("expected at most 100 ms {phase}, found {median:?}"));
        }
    }
    has(&tapline, "leaving", 60)?;
    tapline.stop()?;
    Ok(Passed::Yes)
}

fn streams() -> Verdict {
    let asked = size(300, 10_000);
    // Both ends of each are here.
    let fits = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let count = fits.map_or(asked, |fits| asked.min(fits.saturating_sub(500) / 2));
    if count < asked {
        figure(format!("slow streams: {count} of {asked}, as many as the limit of open files allows"));
    }
    let (listener, address) = bound()?;
    let place = Place::new()?;
    let tapline = started(&place, &Setup::to(address))?;
    let before = tapline.memory();
    let mut all = Vec::new();
    for number in 0..count {
        let mut client =
            Peer::connect(tapline.address).map_err(|error| format!("stream {number} of {count}: {error}"))?;
        client.write(&chat("streams", true))?;
        let mut upstream = accepted(&listener)?;
        upstream.message(true, false)?.ok_or("expected a request upstream")?;
        upstream.write(&[STREAM.as_bytes(), &chunk(EVENT)].concat())?;
        all.push((client, upstream));
    }
    let in_flight = health(&tapline)?["in_flight"].as_u64();
    if in_flight != Some(count) {
        return Err(format!("expected {count} calls in flight, found {in_flight:?}"));
    }
    if let (Some((before, _)), Some((now, _))) = (before, tapline.memory()) {
        let each = now.saturating_sub(before) / count;
        figure(format!("{count} slow streams: {:.1} KiB each", each as f64 / 1024.0));
        if each > 128 << 10 {
            return Err(format!("expected at most 128 KiB for a stream, found {each} bytes"));
        }
    }
    for (client, upstream) in &mut all {
        upstream.write(&[chunk(END), b"0\r\n\r\n".to_vec()].concat())?;
        let rest = client.rest()?;
        if !rest.ends_with(b"0\r\n\r\n") {
            return Err("expected every stream to end whole".to_owned());
        }
    }
    drop(all);
    let books = settled(&tapline)?;
    if (books.stored, books.dropped) != (count, 0) {
        return Err(format!("expected {count} calls stored, found {books:?}"));
    }
    tapline.stop()?;
    Ok(Passed::Yes)
}

/// The upstream writes for as long as it is let; the client takes nothing.
fn never_reads() -> Verdict {
    let (listener, address) = bound()?;
    let place = Place::new()?;
    let tapline = started(&place, &Setup::to(address))?;
    let before = tapline.memory();
    let mut client = TcpStream::connect(tapline.address).map_err(|error| error.to_string())?;
    client.write_all(&chat("unread", true)).map_err(|error| error.to_string())?;
    let (mut stream, _) = listener.accept().map_err(|error| error.to_string())?;
    let mut head = [0; 4096];
    stream.read(&mut head).map_err(|error| error.to_string())?;
    stream.set_write_timeout(Some(Duration::from_millis(500))).map_err(|error| error.to_string())?;
    stream.write_all(STREAM.as_bytes()).map_err(|error| error.to_string())?;
    let piece = chunk("x".repeat(64 << 10));
    let mut written = 0u64;
    while written < 1 << 30 && stream.write_all(&piece).is_ok() {
        written += piece.len() as u64;
    }
    figure(format!("a client that never reads: its upstream could send {} MiB", written / MIB));
    if written > 64 * MIB {
        return Err(format!(
            "expected the upstream to be held back, found that it could send {written} bytes"
        ));
    }
    grown("a client that never reads", &tapline, before, 96)?;
    drop(client);
    eventually("an end of the call", || Ok((health(&tapline)?["in_flight"] == 0).then_some(())))?;
    has(&tapline, "unread", 1)?;
    tapline.stop()?;
    Ok(Passed::Yes)
}

fn huge() -> Verdict {
    let length = size(96, 1024) * MIB;
    let (listener, address) = bound()?;
    let place = Place::new()?;
    let setup = Setup::to(address)
        .flag("capture-max-request-bytes", "1MiB")
        .flag("capture-max-response-bytes", "1MiB");
    let tapline = started(&place, &setup)?;
    let before = tapline.memory();
    let sums = (AtomicU64::new(0), AtomicU64::new(0));
    let fail = |error: std::io::Error| error.to_string();
    thread::scope(|scope| -> Result<(), String> {
        let upstream = scope.spawn(|| -> Result<(), String> {
            let (mut stream, _) = listener.accept().map_err(fail)?;
            stream.set_read_timeout(Some(PATIENCE)).map_err(fail)?;
            let mut piece = vec![0; 256 << 10];
            let mut left: Option<u64> = None;
            // The head ends somewhere in the first reads; what follows is counted.
            let mut first = Vec::new();
            while left != Some(0) {
                let read = stream.read(&mut piece).map_err(fail)?;
                if read == 0 {
                    return Err("the request ended early".to_owned());
                }
                match &mut left {
                    Some(left) => *left = left.saturating_sub(read as u64),
                    None => {
                        first.extend_from_slice(&piece[..read]);
                        if let Some(end) = crate::peer::find(&first, b"\r\n\r\n") {
                            left = Some(length - (first.len() - end - 4) as u64);
                        }
                    }
                }
            }
            sums.0.store(length, Ordering::Relaxed);
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).map_err(fail)?;
            for _ in 0..length / MIB {
                stream.write_all(&vec![b'y'; MIB as usize]).map_err(fail)?;
            }
            Ok(())
        });
        let mut client = TcpStream::connect(tapline.address).map_err(fail)?;
        client.set_read_timeout(Some(PATIENCE)).map_err(fail)?;
        client.write_all(post("huge", length).as_bytes()).map_err(fail)?;
        for _ in 0..length / MIB {
            client.write_all(&vec![b'x'; MIB as usize]).map_err(fail)?;
        }
        let mut piece = vec![0; 256 << 10];
        let mut read = 0u64;
        loop {
            match client.read(&mut piece).map_err(fail)? {
                0 => break,
                some => read += some as u64,
            }
        }
        sums.1.store(read, Ordering::Relaxed);
        upstream.join().map_err(|_| "the upstream panicked".to_owned())?
    })?;
    if sums.1.load(Ordering::Relaxed) < length {
        return Err(format!("expected {length} bytes back, found {sums:?}"));
    }
    grown(&format!("{} MiB each way", length / MIB), &tapline, before, 64)?;
    has(&tapline, "huge", 1)?;
    let call = tapline.calls("huge")?.pop().ok_or("no call")?;
    if call["sent_bytes"] != length || call["received_bytes"] != length || call["response_whole"] != false {
        return Err(format!("expected {length} bytes each way to be counted, found {call}"));
    }
    tapline.stop()?;
    Ok(Passed::Yes)
}

/// One exchange whose bodies are given; the call's row.
fn exchange(
    listener: &TcpListener,
    tapline: &Tapline,
    session: &str,
    request: &[u8],
    headers: &str,
    response: &[u8],
) -> Result<Value, String> {
    let mut client = Peer::connect(tapline.address)?;
    client.write(&[post(session, request.len() as u64).as_bytes(), request].concat())?;
    let mut upstream = accepted(listener)?;
    let got = upstream.message(true, false)?.ok_or("expected a request upstream")?;
    if got.body != request {
        return Err("expected the request as it was sent".to_owned());
    }
    let head = format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {}\r\n\r\n", response.len());
    upstream.write(&[head.as_bytes(), response].concat())?;
    let back = client.message(false, false)?.ok_or("expected a response")?;
    if !back.whole || back.body != response {
        return Err("expected the response as it was sent".to_owned());
    }
    has(tapline, session, 1)?;
    tapline.calls(session)?.pop().ok_or_else(|| "no call".to_owned())
}

fn bombs() -> Verdict {
    let (listener, address) = bound()?;
    let place = Place::new()?;
    let tapline = started(&place, &Setup::to(address))?;
    let before = tapline.memory();
    let plain = size(256, 2048) * MIB;
    let zeros = vec![0u8; MIB as usize];
    let failed = |error: std::io::Error| error.to_string();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut zstd = zstd::Encoder::new(Vec::new(), 1).map_err(failed)?;
    for _ in 0..plain / MIB {
        gzip.write_all(&zeros).map_err(failed)?;
        zstd.write_all(&zeros).map_err(failed)?;
    }
    for (coding, body) in [("gzip", gzip.finish().map_err(failed)?), ("zstd", zstd.finish().map_err(failed)?)]
    {
        let headers = format!("Content-Type: application/json\r\nContent-Encoding: {coding}\r\n");
        let call = exchange(&listener, &tapline, &format!("bomb-{coding}"), b"{}", &headers, &body)?;
        if call["status"] != "ok" || call["received_bytes"] != body.len() {
            return Err(format!("expected the bomb to be kept as it is, found {call}"));
        }
        figure(format!("a bomb of {coding}: {} KiB that stand for {} MiB", body.len() / 1024, plain / MIB));
    }
    grown("bombs", &tapline, before, 256)?;
    tapline.stop()?;
    Ok(Passed::Yes)
}

fn deep() -> Verdict {
    let (listener, address) = bound()?;
    let place = Place::new()?;
    let tapline = started(&place, &Setup::to(address))?;
    let before = tapline.memory();
    let nest =
        |open: &str, close: &str| [open.repeat(100_000), "1".to_owned(), close.repeat(100_000)].concat();
    for (name, value) in
        [("lists", nest("[", "]")), ("objects", nest("{\"a\":", "}")), ("unclosed", "[".repeat(100_000))]
    {
        let request = format!("{{\"model\":\"gpt-4o-mini\",\"messages\":{value}}}");
        let response = format!("{{\"id\":\"c1\",\"object\":\"chat.completion\",\"choices\":{value}}}");
        let headers = "Content-Type: application/json\r\n";
        let call = exchange(
            &listener,
            &tapline,
            &format!("deep-{name}"),
            request.as_bytes(),
            headers,
            response.as_bytes(),
        )?;
        if call["status"] != "ok" || call["request_whole"] != true {
            return Err(format!("{name}: expected the call to be kept whole, found {call}"));
        }
        let id = call["id"].as_str().unwrap_or_default();
        let (status, stored) = crate::tapline::get(tapline.address, &format!("/api/v1/calls/{id}/request"))?;
        if status != 200 || stored != request.as_bytes() {
            return Err(format!("{name}: expected the request back byte for byte, found {status}"));
        }
    }
    grown("JSON 100,000 deep", &tapline, before, 96)?;
    tapline.stop()?;
    Ok(Passed::Yes)
}

fn events() -> Verdict {
    let count = size(30_000, 1_000_000);
    let (listener, address) = bound()?;
    let place = Place::new()?;
    let tapline = started(&place, &Setup::to(address))?;
    let before = tapline.memory();
    let fail = |error: std::io::Error| error.to_string();
    let event = chunk(EVENT);
    let received = thread::scope(|scope| -> Result<u64, String> {
        let upstream = scope.spawn(|| -> Result<(), String> {
            let mut upstream = accepted(&listener)?;
            upstream.message(true, false)?.ok_or("expected a request upstream")?;
            upstream.write(STREAM.as_bytes())?;
            for _ in 0..count {
                upstream.write(&event)?;
            }
            upstream.write(&[chunk(END), b"0\r\n\r\n".to_vec()].concat())
        });
        let mut client = TcpStream::connect(tapline.address).map_err(fail)?;
        client.set_read_timeout(Some(PATIENCE)).map_err(fail)?;
        client.write_all(&chat("events", true)).map_err(fail)?;
        let (mut piece, mut read) = (vec![0; 256 << 10], 0u64);
        loop {
            match client.read(&mut piece).map_err(fail)? {
                0 => break,
                some => read += some as u64,
            }
        }
        upstream.join().map_err(|_| "the upstream panicked".to_owned())??;
        Ok(read)
    })?;
    if received < count * EVENT.len() as u64 {
        return Err(format!("expected {count} events, found {received} bytes"));
    }
    has(&tapline, "events", 1)?;
    grown(&format!("{count} events"), &tapline, before, 384)?;
    let call = tapline.calls("events")?.pop().ok_or("no call")?;
    if call["status"] != "ok" || call["received_bytes"] != count * EVENT.len() as u64 + END.len() as u64 {
        return Err(format!("expected all events to be counted, found {call}"));
    }
    tapline.stop()?;
    Ok(Passed::Yes)
}
