//! The books: what was sent is stored, journalled or counted as dropped, exactly, in every place that says so, and
//! after drops the health is well again by itself while the count stays.

use serde_json::Value;

use crate::{
    case::{Case, Passed, Verdict, program},
    peer::eventually,
    tapline::{Place, Setup, Tapline, get},
    traffic::{Books, books, call, health, lock, many, rows, settled, started, told, upstream, well},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        program("books/add up while the store is locked, and after", locked),
        program("books/add up after drops, and health comes back by itself", dropped),
        program("books/add up after a kill: what is found is stored", killed),
        program("books/`tapline status` says the same, with a code that means something", status),
    ]
}

fn expect(found: &Books, wanted: Books) -> Result<(), String> {
    found.balance()?;
    if *found == wanted { Ok(()) } else { Err(format!("expected {wanted:?}, found {found:?}")) }
}

/// The same figures in `/metrics`.
fn scraped(tapline: &Tapline, books: &Books) -> Result<(), String> {
    let (_, text) = get(tapline.address, "/metrics")?;
    let text = String::from_utf8_lossy(&text).into_owned();
    for (state, count) in [
        ("sent", books.sent),
        ("found", books.found),
        ("stored", books.stored),
        ("journalled", books.journalled),
        ("dropped", books.dropped),
    ] {
        let line = format!("tapline_books_calls{{state=\"{state}\"}} {count}");
        if !text.lines().any(|found| found == line || found == format!("{line}.0")) {
            return Err(format!("expected {line:?} in the metrics, found {text}"));
        }
    }
    Ok(())
}

fn locked() -> Verdict {
    let place = Place::new()?;
    let tapline = started(&place, &Setup::to(upstream()?).flag("store-busy-timeout", "50ms"))?;
    many(&tapline, "calls", 5)?;
    settled(&tapline)?;
    let lock = lock(&place)?;
    many(&tapline, "calls", 40)?;
    told(&tapline, "store")?;
    let now = books(&tapline)?;
    expect(&now, Books { sent: 45, found: 0, stored: 5, journalled: 40, dropped: 0 })?;
    scraped(&tapline, &now)?;
    drop(lock);
    let after = settled(&tapline)?;
    expect(&after, Books { sent: 45, found: 0, stored: 45, journalled: 0, dropped: 0 })?;
    well(&tapline)?;
    tapline.stop()?;
    match rows(&place)? {
        45 => Ok(Passed::Yes),
        other => Err(format!("expected 45 rows, found {other}")),
    }
}

fn dropped() -> Verdict {
    let place = Place::new()?;
    let setup = Setup::to(upstream()?)
        .flag("journal-max-bytes", "256KiB")
        .flag("journal-segment-bytes", "32KiB")
        .flag("store-busy-timeout", "50ms");
    let tapline = started(&place, &setup)?;
    let lock = lock(&place)?;
    let mut sent = 0;
    eventually("drops", || {
        call(&tapline, "calls", 20_000)?;
        sent += 1;
        Ok((books(&tapline)?.dropped >= 5).then_some(()))
    })?;
    told(&tapline, "journal")?;
    let during = books(&tapline)?;
    during.balance()?;
    if during.sent != sent || during.stored != 0 {
        return Err(format!("expected {sent} calls sent and none stored, found {during:?}"));
    }
    drop(lock);
    // No further call: it comes back by itself.
    well(&tapline)?;
    let after = settled(&tapline)?;
    if after.dropped != during.dropped || after.stored + after.dropped != sent {
        return Err(format!("expected the count to stay, found {during:?} and {after:?}"));
    }
    scraped(&tapline, &after)?;
    let health = health(&tapline)?;
    if health["dropped_records"] == 0 || health["records"]["dropped"] != health["dropped_records"] {
        return Err(format!("expected the dropped records to be counted still, found {health}"));
    }
    eventually("a log that tells of both", || {
        let log = place.log();
        Ok((log.contains("records_dropped") && log.contains("records_taken")).then_some(()))
    })?;
    tapline.stop()?;
    let rows = rows(&place)?;
    if rows != after.stored {
        return Err(format!("expected {} rows, found {rows}", after.stored));
    }
    Ok(Passed::Yes)
}

fn killed() -> Verdict {
    let place = Place::new()?;
    let setup = Setup::to(upstream()?).flag("store-busy-timeout", "50ms");
    let tapline = started(&place, &setup)?;
    let lock = lock(&place)?;
    many(&tapline, "calls", 25)?;
    tapline.kill();
    drop(lock);
    let tapline = started(&place, &setup)?;
    many(&tapline, "calls", 5)?;
    expect(&settled(&tapline)?, Books { sent: 5, found: 25, stored: 30, journalled: 0, dropped: 0 })?;
    tapline.stop()?;
    match rows(&place)? {
        30 => Ok(Passed::Yes),
        other => Err(format!("expected 30 rows, found {other}")),
    }
}

fn status() -> Verdict {
    let place = Place::new()?;
    let tapline = started(&place, &Setup::to(upstream()?).flag("store-busy-timeout", "50ms"))?;
    many(&tapline, "calls", 3)?;
    settled(&tapline)?;
    let url = format!("http://{}", tapline.address);
    let ask = |code: i32| -> Result<(String, Value), String> {
        let plain = place.verb(&["status", "--url", &url])?;
        let json = place.verb(&["status", "--url", &url, "--json"])?;
        if (plain.status.code(), json.status.code()) != (Some(code), Some(code)) {
            return Err(format!("expected code {code}, found {} and {}", plain.status, json.status));
        }
        let value = serde_json::from_slice(&json.stdout).map_err(|error| format!("no JSON: {error}"))?;
        Ok((String::from_utf8_lossy(&plain.stdout).into_owned(), value))
    };
    let (text, value) = ask(0)?;
    if !text.contains("is ok") || !text.contains("calls sent") || value["calls"]["stored"] != 3 {
        return Err(format!("expected the books, found {text} and {value}"));
    }
    let lock = lock(&place)?;
    many(&tapline, "calls", 2)?;
    told(&tapline, "store")?;
    let (text, value) = ask(1)?;
    if !text.contains("is degraded") || value["calls"]["journalled"] != 2 {
        return Err(format!("expected what fails, found {text} and {value}"));
    }
    drop(lock);
    settled(&tapline)?;
    tapline.stop()?;
    match place.verb(&["status", "--url", &url])?.status.code() {
        Some(3) => Ok(Passed::Yes),
        other => Err(format!("expected code 3 without a server, found {other:?}")),
    }
}
