//! Disks that are full, read-only, closed, bent or gone, around the real process: the traffic never notices, the
//! health says what fails, nothing is lost that can be kept, and no restart is needed. What these cases need of
//! the machine (mounting, file attributes) is not everywhere to be had: they say so and are skipped then.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    case::{Case, Passed, Verdict, program},
    peer::eventually,
    tapline::{Place, Setup, Tapline},
    traffic::{books, call, has, many, rows, settled, started, told, upstream, well},
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        program("disk/full: calls go on, it is told, and with room all is well again", full),
        program(
            "disk/full at the start: refused with a reason, and nothing is broken by it",
            full_at_the_start,
        ),
        program("disk/read-only at the start is refused with a reason", read_only_at_the_start),
        program("disk/the store turns read-only while it is written", store_read_only),
        program("disk/no permission for a new journal segment", journal_closed),
        program("disk/the store is removed while it is open", store_removed),
        program("disk/the store is replaced by another while it is open", store_replaced),
        program("disk/the store is bent while it is open, and moved away", store_bent),
        program("disk/the journal is removed while it is written", journal_removed),
    ]
}

/// Runs a tool of the system; why it cannot be used is why a case is skipped.
fn tool(name: &str, words: &[&str], path: &Path) -> Result<(), String> {
    let run = Command::new(name).args(words).arg(path).output();
    match run {
        Ok(run) if run.status.success() => Ok(()),
        Ok(run) => Err(format!("{name} {words:?}: {}", String::from_utf8_lossy(&run.stderr).trim())),
        Err(error) => Err(format!("{name}: {error}")),
    }
}

/// A small file system in memory at the place of the data folder; gone with this.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(place: &Place, size: &str) -> Result<Self, String> {
        let path = place.data();
        fs::create_dir_all(&path).map_err(|error| error.to_string())?;
        tool("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], &path)?;
        Ok(Self(path))
    }

    fn again(&self, options: &str) -> Result<(), String> {
        tool("mount", &["-o", &format!("remount,{options}")], &self.0)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(tool("umount", &["-l"], &self.0));
    }
}

/// A file or folder that not even root may change; as before with this gone.
struct Frozen(PathBuf);

impl Frozen {
    fn new(path: PathBuf) -> Result<Self, String> {
        tool("chattr", &["+i"], &path)?;
        Ok(Self(path))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        drop(tool("chattr", &["-i"], &self.0));
    }
}

/// What a tool refuses skips the case.
macro_rules! or_skip {
    ($made:expr) => {
        match $made {
            Ok(made) => made,
            Err(why) => return Ok(Passed::Skipped(why)),
        }
    };
}

/// Small segments, so that the journal has to begin new ones.
fn setup() -> Result<Setup, String> {
    Ok(Setup::to(upstream()?).flag("journal-segment-bytes", "64KiB").flag("store-busy-timeout", "50ms"))
}

fn traffic(tapline: &Tapline, session: &str, count: usize, size: usize) -> Result<(), String> {
    for _ in 0..count {
        let (status, body) = call(tapline, session, size)?;
        if (status, body.as_slice()) != (200, b"ok") {
            return Err(format!("expected the traffic to go on, found {status}"));
        }
    }
    Ok(())
}

fn full() -> Verdict {
    let place = Place::new()?;
    let disk = or_skip!(SmallDisk::new(&place, "3m"));
    let tapline = started(&place, &setup()?.flag("journal-max-queued-bytes", "256KiB"))?;
    // Bodies that no compression makes small: each byte of a call is on the disk.
    let mut filled = 0;
    let filler = place.data().join("filler");
    eventually("a full disk that is told", || {
        fs::write(&filler, vec![1; filled]).ok();
        filled += 512 << 10;
        traffic(&tapline, "full", 3, 20_000)?;
        let health = crate::traffic::health(&tapline)?;
        Ok((health["status"] == "degraded").then_some(()))
    })?;
    traffic(&tapline, "full", 40, 20_000)?;
    books(&tapline)?.balance()?;
    drop(fs::remove_file(&filler));
    disk.again("size=64m")?;
    well(&tapline)?;
    let after = settled(&tapline)?;
    traffic(&tapline, "after", 5, 10)?;
    has(&tapline, "after", 5)?;
    if after.sent != after.stored + after.dropped {
        return Err(format!("expected every call to be stored or counted, found {after:?}"));
    }
    settled(&tapline)?;
    tapline.stop()?;
    let (rows, integrity) = (rows(&place)?, place.integrity()?);
    if rows != after.stored + 5 || integrity != "ok" {
        return Err(format!(
            "expected {} rows and a whole store, found {rows}, {integrity}",
            after.stored + 5
        ));
    }
    Ok(Passed::Yes)
}

fn full_at_the_start() -> Verdict {
    let place = Place::new()?;
    let disk = or_skip!(SmallDisk::new(&place, "1m"));
    let setup = setup()?;
    let filler = place.data().join("filler");
    drop(fs::write(&filler, vec![1; 2 << 20]));
    let (status, _) = place.start(&Setup { fails: true, ..setup.clone() })?.wait()?;
    if status.success() || !place.log().contains("disk full") {
        return Err(format!("expected a refusal that says why, found {status}: {}", place.log()));
    }
    drop(fs::remove_file(&filler));
    disk.again("size=64m")?;
    let tapline = started(&place, &setup)?;
    traffic(&tapline, "after", 3, 10)?;
    has(&tapline, "after", 3)?;
    tapline.stop()?;
    Ok(Passed::Yes)
}

fn read_only_at_the_start() -> Verdict {
    let place = Place::new()?;
    let disk = or_skip!(SmallDisk::new(&place, "8m"));
    or_skip!(disk.again("ro"));
    let (status, _) = place.start(&Setup { fails: true, ..setup()? })?.wait()?;
    let log = place.log();
    if status.success() || !log.contains("Read-only file system") || !log.contains("data") {
        return Err(format!("expected a refusal that says why, found {status}: {log}"));
    }
    Ok(Passed::Yes)
}

fn store_read_only() -> Verdict {
    let place = Place::new()?;
    let tapline = started(&place, &setup()?)?;
    traffic(&tapline, "before", 3, 10)?;
    settled(&tapline)?;
    let frozen = or_skip!(Frozen::new(place.data().join("tapline.db-wal")));
    traffic(&tapline, "while", 30, 10)?;
    told(&tapline, "store")?;
    books(&tapline)?.balance()?;
    drop(frozen);
    has(&tapline, "while", 30)?;
    well(&tapline)?;
    tapline.stop()?;
    Ok(Passed::Yes)
}

fn journal_closed() -> Verdict {
    let place = Place::new()?;
    let tapline = started(&place, &setup()?)?;
    let frozen = or_skip!(Frozen::new(place.data().join("journal")));
    traffic(&tapline, "while", 20, 20_000)?;
    told(&tapline, "journal")?;
    traffic(&tapline, "while", 5, 20_000)?;
    drop(frozen);
    well(&tapline)?;
    has(&tapline, "while", 25)?;
    let after = settled(&tapline)?;
    if after.dropped != 0 {
        return Err(format!("expected memory to keep what the disk did not take, found {after:?}"));
    }
    tapline.stop()?;
    Ok(Passed::Yes)
}

fn remove_store(place: &Place) {
    for name in ["tapline.db", "tapline.db-wal", "tapline.db-shm"] {
        drop(fs::remove_file(place.data().join(name)));
    }
}

fn store_removed() -> Verdict {
    let place = Place::new()?;
    let tapline = started(&place, &setup()?)?;
    traffic(&tapline, "before", 3, 10)?;
    settled(&tapline)?;
    remove_store(&place);
    traffic(&tapline, "after", 30, 10)?;
    eventually("a new store", || Ok(place.store().exists().then_some(())))?;
    has(&tapline, "after", 30)?;
    settled(&tapline)?;
    well(&tapline)?;
    tapline.stop()?;
    let (rows, integrity) = (rows(&place)?, place.integrity()?);
    if rows < 30 || integrity != "ok" {
        return Err(format!("expected the new calls in a whole store, found {rows}, {integrity}"));
    }
    Ok(Passed::Yes)
}

fn store_replaced() -> Verdict {
    let (place, other) = (Place::new()?, Place::new()?);
    let tapline = started(&other, &setup()?)?;
    traffic(&tapline, "other", 4, 10)?;
    settled(&tapline)?;
    tapline.stop()?;
    let tapline = started(&place, &setup()?)?;
    traffic(&tapline, "before", 3, 10)?;
    settled(&tapline)?;
    remove_store(&place);
    fs::copy(other.store(), place.store()).map_err(|error| error.to_string())?;
    traffic(&tapline, "after", 10, 10)?;
    has(&tapline, "other", 4)?;
    has(&tapline, "after", 10)?;
    tapline.stop()?;
    match place.integrity()?.as_str() {
        "ok" => Ok(Passed::Yes),
        found => Err(format!("expected a whole store, found {found}")),
    }
}

fn store_bent() -> Verdict {
    let place = Place::new()?;
    let tapline = started(&place, &setup()?)?;
    traffic(&tapline, "before", 50, 2_000)?;
    settled(&tapline)?;
    // In place, so that the open file is the bent one; the log beside it is bent too.
    for name in ["tapline.db", "tapline.db-wal"] {
        let path = place.data().join(name);
        let length = fs::metadata(&path).map_err(|error| error.to_string())?.len();
        let file = fs::OpenOptions::new().write(true).open(&path).map_err(|error| error.to_string())?;
        let noise: Vec<u8> = (0..length).map(|at| (at * 31 % 251) as u8).collect();
        std::os::unix::fs::FileExt::write_all_at(&file, &noise, 0).map_err(|error| error.to_string())?;
    }
    // SQLite may not notice for as long as it has the pages in memory; the traffic never does.
    traffic(&tapline, "while", 30, 10)?;
    for name in ["tapline.db", "tapline.db-wal", "tapline.db-shm"] {
        let path = place.data().join(name);
        drop(fs::rename(&path, place.data().join(format!("{name}.bent"))));
    }
    eventually("a new store", || Ok(place.store().exists().then_some(())))?;
    traffic(&tapline, "after", 35, 10)?;
    has(&tapline, "after", 35)?;
    well(&tapline)?;
    tapline.stop()?;
    match place.integrity()?.as_str() {
        "ok" => Ok(Passed::Yes),
        found => Err(format!("expected a whole new store, found {found}")),
    }
}

fn journal_removed() -> Verdict {
    let place = Place::new()?;
    let tapline = started(&place, &setup()?)?;
    many(&tapline, "before", 5)?;
    settled(&tapline)?;
    fs::remove_dir_all(place.data().join("journal")).map_err(|error| error.to_string())?;
    // Noticed within a second; what was written in between may be gone and is then counted.
    many(&tapline, "while", 20)?;
    eventually("a new journal", || {
        many(&tapline, "until", 1)?;
        Ok(place.data().join("journal").exists().then_some(()))
    })?;
    many(&tapline, "after", 10)?;
    has(&tapline, "after", 10)?;
    let after = settled(&tapline)?;
    tapline.stop()?;
    let rows = rows(&place)?;
    if rows != after.stored {
        return Err(format!("expected {} rows, found {rows}", after.stored));
    }
    Ok(Passed::Yes)
}
