//! The processes of a run: each a role of this program or a proxy under test, on its own core, ended when it
//! is dropped. What they cost is read from `/proc`.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::{load::Plan, wire::Connection};

/// Ticks per second in `/proc/<pid>/stat`; fixed on Linux.
const TICKS: f64 = 100.0;
/// Descriptors for many streams at once, where the system allows as many.
const DESCRIPTORS: u64 = 65_536;

/// Which processors which process may use.
#[derive(Debug, Clone)]
pub struct Cores {
    pub proxy: Option<String>,
    pub load: Option<String>,
}

impl Cores {
    /// The last allowed processor for the proxy, the others for load and upstream.
    pub fn find() -> Self {
        let none = Self { proxy: None, load: None };
        let Some(all) = allowed() else { return none };
        let pins = Command::new("taskset").arg("--version").output().is_ok();
        match all.split_last() {
            Some((proxy, load)) if pins && !load.is_empty() => {
                let load: Vec<String> = load.iter().map(ToString::to_string).collect();
                Self { proxy: Some(proxy.to_string()), load: Some(load.join(",")) }
            }
            _ => none,
        }
    }
}

fn allowed() -> Option<Vec<u32>> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let mut all = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        all.extend(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?);
    }
    Some(all)
}

/// Said by a role once it listens.
pub fn ready(port: u16) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "port {port}")?;
    out.flush()
}

/// A running child; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    out: Option<BufReader<ChildStdout>>,
    pub port: u16,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone after this.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn command(core: Option<&str>, program: &Path, args: &[String]) -> Command {
    let mut line = Vec::new();
    if let Some(core) = core {
        line.extend(["taskset".to_owned(), "-c".to_owned(), core.to_owned()]);
    }
    line.push(program.display().to_string());
    line.extend_from_slice(args);
    // Each program execs the next, so that the child's id is the last one's. A limit that cannot be raised
    // stays as it is.
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit -n {DESCRIPTORS} 2>/dev/null; exec \"$@\"")).arg("sh").args(line);
    command
}

impl Process {
    fn spawn(core: Option<&str>, program: &Path, args: &[String], directory: &Path) -> anyhow::Result<Self> {
        let mut child = command(core, program, args)
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let out = child.stdout.take().map(BufReader::new);
        Ok(Self { child, out, port: 0 })
    }

    fn role(core: Option<&str>, args: &[String], directory: &Path) -> anyhow::Result<Self> {
        Self::spawn(core, &std::env::current_exe()?, args, directory)
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let out = self.out.as_mut().context("the child's output is taken")?;
        if out.read_line(&mut line)? == 0 {
            bail!("a child ended before it was asked to");
        }
        Ok(line)
    }

    fn listening(mut self) -> anyhow::Result<Self> {
        let line = self.line()?;
        let port = line.strip_prefix("port ").with_context(|| format!("expected a port, found {line:?}"))?;
        self.port = port.trim().parse()?;
        Ok(self)
    }

    pub fn upstream(cores: &Cores, directory: &Path) -> anyhow::Result<Self> {
        Self::role(cores.load.as_deref(), &["upstream".to_owned()], directory)?.listening()
    }

    pub fn bare(cores: &Cores, directory: &Path, upstream: u16) -> anyhow::Result<Self> {
        let args = ["bare".to_owned(), upstream.to_string()];
        Self::role(cores.proxy.as_deref(), &args, directory)?.listening()
    }

    /// As it is configured by default, which is recording everything, `strict`.
    pub fn tapline(cores: &Cores, directory: &Path, data: &Path, upstream: u16) -> anyhow::Result<Self> {
        let args = [
            "serve",
            "--listen=127.0.0.1:0",
            "--log-level=error",
            "--journal-mode=strict",
            &format!("--upstream=http://127.0.0.1:{upstream}/v1"),
            &format!("--data={}", data.display()),
        ]
        .map(str::to_owned);
        let program = Path::new(env!("CARGO_BIN_EXE_tapline"));
        let mut process = Self::spawn(cores.proxy.as_deref(), program, &args, directory)?;
        let line = process.line()?;
        let port = line.split_once("http://127.0.0.1:").and_then(|(_, rest)| rest.split(',').next());
        process.port = port.with_context(|| format!("expected an address, found {line:?}"))?.parse()?;
        Ok(process)
    }

    /// `None` where it is not installed.
    pub fn nginx(cores: &Cores, directory: &Path, upstream: u16) -> anyhow::Result<Option<Self>> {
        if Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_err() {
            return Ok(None);
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let root = directory.display();
        let file = directory.join("nginx.conf");
        fs::write(
            &file,
            format!(
                "pid {root}/nginx.pid;\nerror_log stderr crit;\nworker_rlimit_nofile {DESCRIPTORS};\n\
                 events {{ worker_connections 30000; }}\nhttp {{\n  access_log off;\n  \
                 client_body_temp_path {root}/nginx-body;\n  proxy_temp_path {root}/nginx-proxy;\n  \
                 fastcgi_temp_path {root}/nginx-f;\n  uwsgi_temp_path {root}/nginx-u;\n  \
                 scgi_temp_path {root}/nginx-s;\n  client_max_body_size 0;\n  \
                 client_body_buffer_size 2m;\n  keepalive_requests 100000000;\n  \
                 upstream up {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 100000000; }}\n  \
                 server {{\n    listen 127.0.0.1:{port};\n    location / {{\n      proxy_pass http://up;\n      \
                 proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n      \
                 proxy_buffering off;\n      proxy_request_buffering off;\n    }}\n  }}\n}}\n"
            ),
        )?;
        // One process, or what it costs would be spread over two.
        let args =
            ["-c", &file.display().to_string(), "-g", "daemon off; master_process off;"].map(str::to_owned);
        let mut process = Self::spawn(cores.proxy.as_deref(), Path::new("nginx"), &args, directory)?;
        process.port = port;
        let deadline = Instant::now() + Duration::from_secs(5);
        while Connection::open(port).is_err() {
            if Instant::now() > deadline || process.child.try_wait()?.is_some() {
                return Ok(None);
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(Some(process))
    }

    /// Holds streams until what is returned is dropped.
    pub fn hold(cores: &Cores, directory: &Path, port: u16, count: usize) -> anyhow::Result<Self> {
        let args = ["hold".to_owned(), port.to_string(), count.to_string()];
        let mut process = Self::role(cores.load.as_deref(), &args, directory)?;
        let line = process.line()?;
        anyhow::ensure!(line.trim() == "held", "expected the streams to be held, found {line:?}");
        Ok(process)
    }

    /// Fills a store with so many spans.
    pub fn fill(directory: &Path, data: &Path, spans: u64) -> anyhow::Result<()> {
        let args = ["fill".to_owned(), data.display().to_string(), spans.to_string()];
        let mut process = Self::role(None, &args, directory)?;
        let ended = process.child.wait()?;
        anyhow::ensure!(ended.success(), "filling the store failed");
        Ok(())
    }

    pub fn input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Processor time so far, user and system, in seconds.
    pub fn cpu(&self) -> anyhow::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name may hold spaces; what follows its parenthesis does not.
        let fields: Vec<&str> =
            stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
        let ticks = |index: usize| fields.get(index).and_then(|ticks| ticks.parse::<f64>().ok());
        let both = ticks(11).zip(ticks(12)).context("expected processor times in /proc")?;
        Ok((both.0 + both.1) / TICKS)
    }

    /// `VmRSS` now or `VmHWM` at its highest, in MB.
    pub fn memory(&self, field: &str) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        Ok(kib.context("expected a memory figure in /proc")? * 1024.0 / 1e6)
    }

    pub fn descriptors(&self) -> Option<u64> {
        let limits = fs::read_to_string(format!("/proc/{}/limits", self.child.id())).ok()?;
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
        line.split_whitespace().next()?.parse().ok()
    }

    /// Asks it to stop and waits until it has.
    pub fn stop(mut self) -> anyhow::Result<()> {
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        anyhow::ensure!(asked.success(), "a child could not be asked to stop");
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.child.try_wait()?.is_none() {
            anyhow::ensure!(Instant::now() < deadline, "a child did not stop within 60 s");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

/// A load, run to its end.
pub struct Load(Process);

impl Load {
    pub fn start(cores: &Cores, directory: &Path, plan: &Plan) -> anyhow::Result<Self> {
        Ok(Self(Process::role(cores.load.as_deref(), &plan.args(), directory)?))
    }

    /// Failures fail the benchmark: a figure of wrong answers is no figure.
    pub fn finish(mut self) -> anyhow::Result<Value> {
        let seen: Value = serde_json::from_str(&self.0.line()?)?;
        if seen["failures"] != 0 {
            bail!("{} calls failed, the first with: {}", seen["failures"], seen["failure"]);
        }
        Ok(seen)
    }

    pub fn run(cores: &Cores, directory: &Path, plan: &Plan) -> anyhow::Result<Value> {
        Self::start(cores, directory, plan)?.finish()
    }
}

/// Bytes of all files below a folder.
pub fn size(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let facts = entry.metadata()?;
        bytes += if facts.is_dir() { size(&entry.path())? } else { facts.len() };
    }
    Ok(bytes)
}

/// A folder that goes when it is dropped.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    /// Below the build's own folder: a system's temporary folder is often in memory.
    pub fn new() -> anyhow::Result<Self> {
        let base = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        fs::create_dir_all(&base)?;
        Ok(Self(tempfile::TempDir::with_prefix_in("bench-", base)?))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.0.path().join(name);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}
