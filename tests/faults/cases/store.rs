//! Stores and journals that are locked, damaged or gone: traffic goes on unchanged, the health says what is
//! wrong, nothing is lost that can be kept, and no restart is needed where none should be.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{
    case::{Case, Passed, Verdict, program},
    peer::eventually,
    tapline::{Place, Setup, Tapline},
    traffic::{call, has, health, lock, many, started, upstream},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        program("store/locked by another process: traffic goes on, nothing is lost", locked),
        program("store/killed while the store is locked", killed_while_locked),
        program("store/slow: another process takes it again and again", slow),
        program("store/a store that is no store is refused and left as it is", no_store),
        program("store/a store of a newer version is refused", newer),
        program("journal/a torn end is cut, told, and loses nothing before it", torn),
        program("journal/damage in the middle loses only what it holds", bent),
        program("journal/full with `refuse`: calls are refused in the caller's shape", full_refuses),
        program("journal/full with `pass`: calls pass and are counted", full_passes),
    ]
}

fn locked() -> Verdict {
    let place = Place::new()?;
    let tapline = started(&place, &Setup::to(upstream()?).flag("store-busy-timeout", "50ms"))?;
    many(&tapline, "before", 3)?;
    has(&tapline, "before", 3)?;
    let lock = lock(&place)?;
    many(&tapline, "while", 50)?;
    eventually("a health that tells", || {
        let health = health(&tapline)?;
        let told = health["problems"].to_string().contains("store");
        Ok((told && health["status"] == "degraded").then_some(()))
    })?;
    drop(lock);
    has(&tapline, "while", 50)?;
    eventually("health again", || Ok((health(&tapline)?["status"] == "ok").then_some(())))?;
    tapline.stop()?;
    Ok(Passed::Yes)
}

/// Held for 200 ms, free for 20, and so on: every commit waits.
fn slow() -> Verdict {
    let place = Place::new()?;
    let tapline = started(&place, &Setup::to(upstream()?).flag("store-busy-timeout", "50ms"))?;
    thread::scope(|scope| {
        let taker = scope.spawn(|| {
            for _ in 0..6 {
                let held = lock(&place)?;
                thread::sleep(Duration::from_millis(200));
                drop(held);
                thread::sleep(Duration::from_millis(20));
            }
            Ok::<(), String>(())
        });
        let traffic = many(&tapline, "slow", 150);
        taker.join().map_err(|_| "the taker panicked".to_owned())??;
        traffic
    })?;
    has(&tapline, "slow", 150)?;
    eventually("health again", || Ok((health(&tapline)?["status"] == "ok").then_some(())))?;
    tapline.stop()?;
    Ok(Passed::Yes)
}

fn killed_while_locked() -> Verdict {
    let place = Place::new()?;
    let setup = Setup::to(upstream()?).flag("store-busy-timeout", "50ms");
    let tapline = started(&place, &setup)?;
    let lock = lock(&place)?;
    many(&tapline, "while", 30)?;
    tapline.kill();
    drop(lock);
    let tapline = started(&place, &setup)?;
    has(&tapline, "while", 30)
}

fn refused(place: &Place, word: &str) -> Verdict {
    let setup = Setup { fails: true, ..Setup::to(upstream()?) };
    let (status, _) = place.start(&setup)?.wait()?;
    let log = place.log();
    if status.success() || !log.contains(word) {
        return Err(format!("expected a refusal that says {word:?}, found {status}: {log}"));
    }
    Ok(Passed::Yes)
}

fn no_store() -> Verdict {
    let place = Place::new()?;
    fs::create_dir_all(place.data()).map_err(|error| error.to_string())?;
    let letter = "this is somebody's letter, not a database. ".repeat(200);
    fs::write(place.store(), &letter).map_err(|error| error.to_string())?;
    refused(&place, "tapline.db")?;
    if fs::read(place.store()).map_err(|error| error.to_string())? != letter.as_bytes() {
        return Err("expected the file to be left as it is, found it changed".to_owned());
    }
    Ok(Passed::Yes)
}

fn newer() -> Verdict {
    let place = Place::new()?;
    started(&place, &Setup::to(upstream()?))?.stop()?;
    let failed = |error: rusqlite::Error| error.to_string();
    let store = rusqlite::Connection::open(place.store()).map_err(failed)?;
    let add = "INSERT INTO migrations (number, name, applied_at) SELECT 9999, '9999_future', max(applied_at) FROM migrations";
    store.execute(add, []).map_err(failed)?;
    store.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").map_err(failed)?;
    drop(store);
    refused(&place, "9999_future")?;
    match place.integrity()?.as_str() {
        "ok" => Ok(Passed::Yes),
        other => Err(format!("expected the store to be whole after the refusal, found {other}")),
    }
}

fn segment(place: &Place) -> Result<std::path::PathBuf, String> {
    let is_segment = |path: &std::path::PathBuf| path.extension().is_some_and(|extension| extension == "seg");
    place.files().into_iter().rfind(is_segment).ok_or_else(|| "no segment".to_owned())
}

fn torn() -> Verdict {
    let place = Place::new()?;
    let setup = Setup::to(upstream()?);
    let tapline = started(&place, &setup)?;
    many(&tapline, "calls", 20)?;
    tapline.kill();
    let mut file =
        OpenOptions::new().append(true).open(segment(&place)?).map_err(|error| error.to_string())?;
    file.write_all(&[0xab; 300]).map_err(|error| error.to_string())?;
    drop(file);
    let tapline = started(&place, &setup)?;
    has(&tapline, "calls", 20)?;
    many(&tapline, "after", 1)?;
    has(&tapline, "after", 1)?;
    if !place.log().contains("torn_tail_cut") {
        return Err(format!("expected the log to tell of the torn end, found {}", place.log()));
    }
    Ok(Passed::Yes)
}

/// The store is locked, so that the calls are in the journal alone; then one byte of it is bent.
fn bent() -> Verdict {
    let place = Place::new()?;
    let setup = Setup::to(upstream()?).flag("store-busy-timeout", "50ms");
    let tapline = started(&place, &setup)?;
    let lock = lock(&place)?;
    many(&tapline, "calls", 20)?;
    tapline.kill();
    drop(lock);
    let path = segment(&place)?;
    let mut bytes = fs::read(&path).map_err(|error| error.to_string())?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(&path, bytes).map_err(|error| error.to_string())?;
    let tapline = started(&place, &setup)?;
    let found = eventually("most calls", || {
        let calls = tapline.calls("calls")?;
        Ok((calls.len() >= 19).then_some(calls.len()))
    })?;
    if found > 20 {
        return Err(format!("expected at most 20 calls, found {found}"));
    }
    Ok(Passed::Yes)
}

/// A journal of 256 KiB that nothing drains, being too small for what comes.
fn small(policy: &str) -> Result<(Place, Tapline, rusqlite::Connection), String> {
    let setup = Setup::to(upstream()?)
        .flag("journal-max-bytes", "256KiB")
        .flag("journal-segment-bytes", "32KiB")
        .flag("journal-when-full", policy)
        .flag("store-busy-timeout", "50ms");
    let place = Place::new()?;
    let tapline = started(&place, &setup)?;
    let lock = lock(&place)?;
    Ok((place, tapline, lock))
}

fn full_refuses() -> Verdict {
    let (_place, tapline, lock) = small("refuse")?;
    let refusal = eventually("a refusal", || {
        let (status, body) = call(&tapline, "calls", 20_000)?;
        Ok((status != 200).then_some((status, body)))
    })?;
    let shape: Value = serde_json::from_slice(&refusal.1).map_err(|error| format!("no JSON: {error}"))?;
    if refusal.0 != 503 || shape["error"]["code"] != "recording_unavailable" {
        return Err(format!("expected 503 recording_unavailable, found {} {shape}", refusal.0));
    }
    drop(lock);
    eventually("calls taken again", || Ok((call(&tapline, "calls", 10)?.0 == 200).then_some(())))?;
    Ok(Passed::Yes)
}

fn full_passes() -> Verdict {
    let (_place, tapline, lock) = small("pass")?;
    for _ in 0..40 {
        let (status, _) = call(&tapline, "calls", 20_000)?;
        if status != 200 {
            return Err(format!("expected the traffic to go on, found {status}"));
        }
    }
    let told = health(&tapline)?;
    if told["dropped_records"].as_u64().is_none_or(|dropped| dropped == 0) {
        return Err(format!("expected the dropped records to be counted, found {told}"));
    }
    drop(lock);
    // With room again, calls are recorded again.
    eventually("recording again", || {
        call(&tapline, "again", 10)?;
        thread::sleep(Duration::from_millis(20));
        Ok((!tapline.calls("again")?.is_empty()).then_some(()))
    })?;
    Ok(Passed::Yes)
}
