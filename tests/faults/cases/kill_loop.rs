//! `kill -9` again and again under load. The drivers write each call down at the moment they have it whole;
//! after each restart the store must have every one of them, once, and be ready within a second.

use std::{
    collections::{HashMap, HashSet},
    net::{SocketAddr, TcpListener},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    case::{Case, Passed, STREAM, Verdict, chunk, program},
    peer::Peer,
    tapline::{Place, Setup},
};

/// How often to kill.
pub(crate) static KILLS: AtomicUsize = AtomicUsize::new(10);
static FIGURES: Mutex<Vec<String>> = Mutex::new(Vec::new());

const DRIVERS: usize = 6;
const READY: Duration = Duration::from_secs(1);
const BODY: &str = r#"{"id":"c1","object":"chat.completion","created":1,"model":"gpt-4o-mini","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#;
const EVENT: &str = "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word \"},\"finish_reason\":null}]}\n\n";
const STOP: &str = "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

pub(crate) fn cases() -> Vec<Case> {
    vec![program("kill-loop/what the client has is in the store, once", run)]
}

/// What the last run found, for the end of the report.
pub(crate) fn figures() -> Vec<String> {
    FIGURES.lock().unwrap().clone()
}

fn run() -> Verdict {
    let upstream = upstream()?;
    let place = Place::new()?;
    let setup = Setup::to(upstream);
    let kills = KILLS.load(Ordering::Relaxed);
    let (mut whole, mut interrupted) = (0, 0);
    let (mut lost, mut doubled, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
    let mut slowest = Duration::ZERO;
    let mut tapline = place.start(&setup)?;
    tapline.ready()?;
    for round in 0..kills {
        let session = format!("kill-{round}");
        let had = load(tapline, &session, Duration::from_millis(40 + (round as u64 * 37) % 90));
        tapline = place.start(&setup)?;
        slowest = slowest.max(tapline.ready()?);
        let mut seen: HashMap<String, Vec<String>> = HashMap::new();
        for call in tapline.calls(&session)? {
            let (id, status) =
                (call["user"].as_str().unwrap_or_default(), call["status"].as_str().unwrap_or_default());
            interrupted += usize::from(status == "interrupted");
            seen.entry(id.to_owned()).or_default().push(status.to_owned());
        }
        for id in &had {
            match seen.get(id).map(Vec::as_slice) {
                None => lost.push(id.clone()),
                Some([status]) if status != "ok" => wrong.push(format!("{id} is {status}")),
                _ => {}
            }
        }
        doubled.extend(seen.into_iter().filter(|(_, calls)| calls.len() > 1).map(|(id, _)| id));
        whole += had.len();
    }
    tapline.stop()?;
    let integrity = place.integrity()?;
    FIGURES.lock().unwrap().push(format!(
        "kill loop: {kills} kills, {whole} calls whole at the client, {interrupted} found interrupted, {} lost, {} \
         doubled, {} with a wrong status, integrity {integrity}, slowest ready after {} ms",
        lost.len(),
        doubled.len(),
        wrong.len(),
        slowest.as_millis()
    ));
    if whole == 0 {
        return Err("expected some calls to be whole, found none: nothing was tested".to_owned());
    }
    if !(lost.is_empty() && doubled.is_empty() && wrong.is_empty() && integrity == "ok") {
        return Err(format!("lost {lost:?}, doubled {doubled:?}, wrong {wrong:?}, integrity {integrity}"));
    }
    // A debug build on a loaded machine is no measure; the slowest start is printed either way.
    if slowest > READY && !cfg!(debug_assertions) {
        return Err(format!("expected to be ready within {READY:?}, found {slowest:?}"));
    }
    Ok(Passed::Yes)
}

/// Drives calls at the process for a while, kills it, and returns the calls that were whole before it died.
fn load(tapline: crate::tapline::Tapline, session: &str, time: Duration) -> HashSet<String> {
    let whole = Mutex::new(HashSet::new());
    let over = AtomicBool::new(false);
    let address = tapline.address;
    thread::scope(|scope| {
        for driver in 0..DRIVERS {
            let (whole, over) = (&whole, &over);
            scope.spawn(move || {
                for number in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let id = format!("{session}-{driver}-{number}");
                    if call(address, session, &id, (driver + number) % 2 == 0).is_some() {
                        whole.lock().unwrap().insert(id);
                    }
                }
            });
        }
        thread::sleep(time);
        tapline.kill();
        over.store(true, Ordering::Relaxed);
    });
    whole.into_inner().unwrap()
}

/// One call; `Some` once its last byte is here.
fn call(address: SocketAddr, session: &str, id: &str, stream: bool) -> Option<()> {
    let body = format!(
        "{{\"model\":\"gpt-4o-mini\",\"stream\":{stream},\"messages\":[{{\"role\":\"user\",\"content\":\"{id}\"}}]}}"
    );
    let mut peer = Peer::connect(address).ok()?;
    peer.write(
        format!(
            "POST /s/{session}/v1/chat/completions HTTP/1.1\r\nHost: tap\r\nx-tapline-user: {id}\r\nContent-Type: \
             application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .as_bytes(),
    )
    .ok()?;
    let message = peer.message(false, false).ok()??;
    let right =
        if stream { message.body.ends_with(b"data: [DONE]\n\n") } else { message.body == BODY.as_bytes() };
    (message.whole && message.status() == Some(200) && right).then_some(())
}

/// Answers plain and streamed, for as long as the program lives.
fn upstream() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let Ok(mut peer) = Peer::new(stream) else { return };
                while let Ok(Some(request)) = peer.message(true, false) {
                    if answer(&mut peer, &request.body).is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(address)
}

fn answer(peer: &mut Peer, request: &[u8]) -> std::io::Result<()> {
    if crate::peer::find(request, b"\"stream\":true").is_none() {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            BODY.len()
        );
        return peer.try_write(format!("{head}{BODY}").as_bytes());
    }
    peer.try_write(STREAM.as_bytes())?;
    for _ in 0..3 {
        peer.try_write(&chunk(EVENT))?;
        thread::sleep(Duration::from_millis(1));
    }
    peer.try_write(&[chunk(STOP), b"0\r\n\r\n".to_vec()].concat())
}
