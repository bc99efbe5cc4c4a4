//! Plain traffic at a process of the case's own, and what its health and store say of it.

use std::{
    net::{SocketAddr, TcpListener},
    thread,
};

use serde_json::Value;

use crate::{
    case::{OK, Passed, Verdict},
    peer::{Peer, eventually},
    tapline::{self, Place, Setup, Tapline},
};

/// Answers everything, for as long as the program lives.
pub(crate) fn upstream() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let Ok(mut peer) = Peer::new(stream) else { return };
                while let Ok(Some(_)) = peer.message(true, false) {
                    if peer.try_write(OK.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(address)
}

pub(crate) fn started(place: &Place, setup: &Setup) -> Result<Tapline, String> {
    let tapline = place.start(setup)?;
    tapline.ready()?;
    Ok(tapline)
}

/// One call with a body of so many bytes; the status that the client got.
pub(crate) fn call(tapline: &Tapline, session: &str, size: usize) -> Result<(u16, Vec<u8>), String> {
    let head = format!(
        "POST /s/{session}/v1/x HTTP/1.1\r\nHost: tap\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n"
    );
    let message = tapline::ask(tapline.address, [head.as_bytes(), &vec![b'x'; size]].concat())?;
    Ok((message.status().unwrap_or(0), message.body))
}

pub(crate) fn many(tapline: &Tapline, session: &str, count: usize) -> Result<(), String> {
    for _ in 0..count {
        let (status, body) = call(tapline, session, 10)?;
        if (status, body.as_slice()) != (200, b"ok") {
            return Err(format!("expected the traffic to go on, found {status}"));
        }
    }
    Ok(())
}

pub(crate) fn health(tapline: &Tapline) -> Result<Value, String> {
    let (_, body) = tapline::get(tapline.address, "/healthz")?;
    serde_json::from_slice(&body).map_err(|error| error.to_string())
}

pub(crate) fn has(tapline: &Tapline, session: &str, count: usize) -> Verdict {
    eventually("all calls in the store", || {
        // A store that is being made anew refuses for a moment.
        Ok(tapline.calls(session).is_ok_and(|calls| calls.len() == count).then_some(Passed::Yes))
    })
    .map_err(|error| format!("expected {count} calls: {error}"))
}

pub(crate) fn lock(place: &Place) -> Result<rusqlite::Connection, String> {
    let failed = |error: rusqlite::Error| error.to_string();
    let store = rusqlite::Connection::open(place.store()).map_err(failed)?;
    store.execute_batch("PRAGMA busy_timeout = 5000; BEGIN IMMEDIATE").map_err(failed)?;
    Ok(store)
}

/// A state of the call books in `/healthz`.
pub(crate) fn books(tapline: &Tapline) -> Result<Books, String> {
    let health = health(tapline)?;
    let count = |name: &str| {
        let found = health["calls"][name].as_u64();
        found.ok_or_else(|| format!("expected calls.{name} in the health, found {health}"))
    };
    Ok(Books {
        sent: count("sent")?,
        found: count("found")?,
        stored: count("stored")?,
        journalled: count("journalled")?,
        dropped: count("dropped")?,
    })
}

/// Where the calls of a process are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Books {
    pub(crate) sent: u64,
    pub(crate) found: u64,
    pub(crate) stored: u64,
    pub(crate) journalled: u64,
    pub(crate) dropped: u64,
}

impl Books {
    /// Nothing that was sent is missing, and nothing is there twice.
    pub(crate) fn balance(&self) -> Result<(), String> {
        if self.sent + self.found == self.stored + self.journalled + self.dropped {
            return Ok(());
        }
        Err(format!("expected sent + found = stored + journalled + dropped, found {self:?}"))
    }
}

/// Waits until everything is in the store or dropped; the books then, which have to add up.
pub(crate) fn settled(tapline: &Tapline) -> Result<Books, String> {
    let books = eventually("an empty journal", || {
        let books = books(tapline)?;
        Ok((books.journalled == 0).then_some(books))
    })?;
    books.balance()?;
    Ok(books)
}

/// Calls in the store of a process that has ended, counted by SQLite.
pub(crate) fn rows(place: &Place) -> Result<u64, String> {
    let failed = |error: rusqlite::Error| format!("the store cannot be counted: {error}");
    let store = rusqlite::Connection::open(place.store()).map_err(failed)?;
    store.query_row("SELECT count(*) FROM spans", [], |row| row.get(0)).map_err(failed)
}

/// Waits until the health names `part` in what fails, and says so with its status.
pub(crate) fn told(tapline: &Tapline, part: &str) -> Result<(), String> {
    eventually(&format!("a health that tells of the {part}"), || {
        let health = health(tapline)?;
        let told = health["problems"].as_array().is_some_and(|problems| {
            problems.iter().any(|problem| problem.as_str().is_some_and(|text| text.starts_with(part)))
        });
        Ok((told && health["status"] == "degraded").then_some(()))
    })
}

/// Waits until all is well, without a restart.
pub(crate) fn well(tapline: &Tapline) -> Result<(), String> {
    eventually("health again", || Ok((health(tapline)?["status"] == "ok").then_some(())))
        .map_err(|error| format!("{error}; found {:?}", health(tapline)))
}
