//! A tapline process: started with a configuration of the case's, asked through its API, and ended in every
//! way in which a process can end. What it logs is kept beside its data.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::peer::{Message, PATIENCE, Peer, short};

/// What a process is started with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setup {
    /// Text of the configuration file.
    pub(crate) config: String,
    pub(crate) flags: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    /// Whether a fault is expected at the start, so that nobody waits for an address.
    pub(crate) fails: bool,
}

impl Setup {
    /// With one upstream, the default one.
    pub(crate) fn to(upstream: SocketAddr) -> Self {
        Self { flags: vec!["--upstream".to_owned(), format!("http://{upstream}/v1")], ..Self::default() }
    }

    pub(crate) fn flag(mut self, name: &str, value: &str) -> Self {
        self.flags.extend([format!("--{name}"), value.to_owned()]);
        self
    }
}

/// A folder for a store, its configuration and its logs, which a process is started on.
#[derive(Debug)]
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("tapline-faults-").tempdir();
        Ok(Self { folder: folder.map_err(|error| format!("no temporary folder: {error}"))? })
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn log(&self) -> String {
        let read = |name| fs::read(self.folder.path().join(name)).unwrap_or_default();
        [read("out.log"), read("err.log")].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
    }

    pub(crate) fn start(&self, setup: &Setup) -> Result<Tapline, String> {
        let folder = self.folder.path();
        let failed = |error: std::io::Error| format!("tapline cannot be started: {error}");
        fs::write(folder.join("tapline.toml"), &setup.config).map_err(failed)?;
        let out = File::create(folder.join("out.log")).map_err(failed)?;
        let err = File::options().create(true).append(true).open(folder.join("err.log")).map_err(failed)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_tapline"));
        command.current_dir(folder).args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(self.data());
        command.arg("--config").arg(folder.join("tapline.toml")).args(&setup.flags);
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TAPLINE_") {
                command.env_remove(name);
            }
        }
        command.envs(setup.environment.iter().cloned());
        let began = Instant::now();
        let child = command.spawn().map_err(failed)?;
        let mut tapline =
            Tapline { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), began, ended: None };
        if setup.fails {
            return Ok(tapline);
        }
        loop {
            let out = fs::read_to_string(folder.join("out.log")).unwrap_or_default();
            if let Some(address) = address(&out) {
                tapline.address = address;
                return Ok(tapline);
            }
            if let Some(status) = tapline.try_wait()? {
                return Err(format!("tapline ended at its start ({status}): {}", self.log()));
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("tapline does not come up: {}", self.log()));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The folder of data, configuration and logs.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// One run of a verb, with these words.
    pub(crate) fn verb(&self, words: &[&str]) -> Result<std::process::Output, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tapline"));
        command.current_dir(self.folder.path()).args(words).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TAPLINE_") {
                command.env_remove(name);
            }
        }
        command.output().map_err(|error| format!("tapline {words:?} cannot be run: {error}"))
    }

    /// Every file below the data folder.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        files(&self.data())
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.data().join("tapline.db")
    }

    /// SQLite's own verdict on the store of a process that has ended.
    pub(crate) fn integrity(&self) -> Result<String, String> {
        let failed = |error: rusqlite::Error| format!("the store cannot be opened: {error}");
        let store = rusqlite::Connection::open(self.store()).map_err(failed)?;
        store.query_row("PRAGMA integrity_check", [], |row| row.get(0)).map_err(failed)
    }
}

fn address(out: &str) -> Option<SocketAddr> {
    let (_, rest) = out.split_once("tapline on http://")?;
    rest.split_once(',')?.0.parse().ok()
}

pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

#[derive(Debug)]
pub(crate) struct Tapline {
    child: Child,
    pub(crate) address: SocketAddr,
    began: Instant,
    ended: Option<ExitStatus>,
}

impl Tapline {
    fn try_wait(&mut self) -> Result<Option<ExitStatus>, String> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().map_err(|error| format!("cannot wait: {error}"))?;
        }
        Ok(self.ended)
    }

    /// Waits until the process says that it is ready; how long that was from its start.
    pub(crate) fn ready(&self) -> Result<Duration, String> {
        loop {
            if get(self.address, "/readyz").is_ok_and(|(status, _)| status == 200) {
                return Ok(self.began.elapsed());
            }
            if self.began.elapsed() > PATIENCE {
                return Err("the process is not ready".to_owned());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Resident memory in bytes: now, and the most there was. `None` where the system does not say.
    pub(crate) fn memory(&self) -> Option<(u64, u64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let kib = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        };
        Some((kib("VmRSS:")? * 1024, kib("VmHWM:")? * 1024))
    }

    /// A signal by its name, through the shell's own `kill`.
    pub(crate) fn signal(&self, name: &str) -> Result<(), String> {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status();
        match sent {
            Ok(status) if status.success() => Ok(()),
            other => Err(format!("SIG{name} cannot be sent: {other:?}")),
        }
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill(mut self) {
        drop(self.child.kill());
        self.ended = self.child.wait().ok();
    }

    /// Waits for the end that was asked for.
    pub(crate) fn wait(mut self) -> Result<(ExitStatus, Duration), String> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok((status, began.elapsed()));
            }
            if began.elapsed() > PATIENCE + Duration::from_secs(20) {
                return Err("the process does not end".to_owned());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// SIGTERM, and a clean end.
    pub(crate) fn stop(self) -> Result<(), String> {
        self.signal("TERM")?;
        let (status, _) = self.wait()?;
        if status.success() { Ok(()) } else { Err(format!("expected a clean end, found {status}")) }
    }

    /// The calls of a session, oldest first.
    pub(crate) fn calls(&self, session: &str) -> Result<Vec<Value>, String> {
        calls(self.address, session)
    }
}

impl Drop for Tapline {
    fn drop(&mut self) {
        if self.ended.is_none() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// One GET; status and body.
pub(crate) fn get(address: SocketAddr, path: &str) -> Result<(u16, Vec<u8>), String> {
    let message =
        ask(address, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))?;
    Ok((message.status().unwrap_or(0), message.body))
}

/// One request, one response.
pub(crate) fn ask(address: SocketAddr, request: impl AsRef<[u8]>) -> Result<Message, String> {
    let mut peer = Peer::connect(address)?;
    peer.write(request.as_ref())?;
    match peer.message(false, false)? {
        Some(message) if message.whole || message.values("content-length").is_empty() => Ok(message),
        other => Err(format!("expected a whole response, found {other:?}")),
    }
}

pub(crate) fn calls(address: SocketAddr, session: &str) -> Result<Vec<Value>, String> {
    let (status, body) = get(address, &format!("/api/v1/calls?session={session}&limit=1000"))?;
    if status != 200 {
        return Err(format!("expected a list of calls, found {status}: {}", short(&body)));
    }
    let list: Value = serde_json::from_slice(&body).map_err(|error| format!("no JSON: {error}"))?;
    let mut calls = list["calls"].as_array().cloned().unwrap_or_default();
    calls.reverse();
    Ok(calls)
}
