//! The bench that scenarios stand on: what was asked for, the cores, a scratch folder, and the targets, which
//! take turns round by round so that a noisy minute meets all of them.

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde_json::Value;

use crate::{
    bodies::Shape,
    figures::Figures,
    load::Plan,
    roles::{Cores, Load, Process, Scratch},
    wire::Connection,
};

/// Call numbers of one load on one connection; a multiple of a conversation's turns.
const ROUND: u64 = 200_000;

pub const BARE: &str = "bare";
pub const TAPLINE: &str = "tapline";

/// What was asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    pub quick: bool,
    pub rounds: usize,
    pub spans: u64,
    pub calls: u64,
    pub streams: usize,
    pub only: Option<String>,
    pub json: Option<PathBuf>,
    /// A page whose tables are made anew.
    pub page: Option<PathBuf>,
}

pub struct Bench {
    pub asked: Asked,
    pub cores: Cores,
    pub scratch: Scratch,
    pub figures: Figures,
    loads: u64,
}

/// Upstream and proxies of one scenario.
pub struct Targets {
    upstream: Process,
    all: Vec<(&'static str, Process)>,
    pub data: PathBuf,
}

/// One load on one target.
pub struct Round {
    pub seen: Value,
    pub cpu: f64,
    /// tapline's alone: from the end of the load until its store had every call, and how many were left.
    pub drain: Duration,
    pub backlog: f64,
}

impl Round {
    pub fn calls(&self) -> f64 {
        self.seen["calls"].as_f64().unwrap_or_default()
    }

    pub fn seconds(&self) -> f64 {
        self.seen["seconds"].as_f64().unwrap_or_default()
    }
}

impl Bench {
    pub fn new(asked: Asked) -> anyhow::Result<Self> {
        let bench = Self {
            asked,
            cores: Cores::find(),
            scratch: Scratch::new()?,
            figures: Figures::default(),
            loads: 0,
        };
        Ok(bench)
    }

    pub fn wants(&self, scenario: &str) -> bool {
        self.asked.only.as_deref().is_none_or(|only| only.split(',').any(|one| one == scenario))
    }

    /// A length in seconds, or what of it a quick run has.
    pub fn seconds(&self, full: f64, quick: f64) -> f64 {
        if self.asked.quick { quick } else { full }
    }

    pub fn targets(&self, name: &str) -> anyhow::Result<Targets> {
        let (cores, root) = (&self.cores, self.scratch.path());
        let data = self.scratch.folder(name)?;
        let upstream = Process::upstream(cores, root)?;
        let mut all = Vec::new();
        if let Some(nginx) = Process::nginx(cores, root, upstream.port)? {
            all.push(("nginx", nginx));
        }
        all.push((BARE, Process::bare(cores, root, upstream.port)?));
        all.push((TAPLINE, Process::tapline(cores, root, &data, upstream.port)?));
        Ok(Targets { upstream, all, data })
    }

    pub fn plan(&mut self, shape: Shape, connections: usize, rate: f64, seconds: f64) -> Plan {
        self.loads += 1;
        Plan { port: 0, shape, connections, rate, seconds, calls: 0, base: self.loads * ROUND }
    }

    /// Every target once, `direct` first.
    pub fn round(&self, targets: &Targets, plan: &Plan) -> anyhow::Result<Vec<(&'static str, Round)>> {
        let direct = Plan { port: targets.upstream.port, ..*plan };
        let seen = Load::run(&self.cores, self.scratch.path(), &direct)?;
        let mut rounds = vec![("direct", Round { seen, cpu: 0.0, drain: Duration::ZERO, backlog: 0.0 })];
        for (name, process) in &targets.all {
            rounds.push((name, self.load(process, *name == TAPLINE, plan)?));
        }
        Ok(rounds)
    }

    pub fn load(&self, process: &Process, records: bool, plan: &Plan) -> anyhow::Result<Round> {
        let plan = Plan { port: process.port, ..*plan };
        let before = process.cpu()?;
        let mut settled_before = 0.0;
        if records {
            settled_before = Health::of(process)?.settled;
        }
        let seen = Load::run(&self.cores, self.scratch.path(), &plan)?;
        let ended = Instant::now();
        let (mut drain, mut backlog) = (Duration::ZERO, 0.0);
        if records {
            let calls = seen["calls"].as_f64().unwrap_or_default();
            backlog = (calls - (Health::of(process)?.settled - settled_before)).max(0.0);
            let dropped = settle(process)?.dropped;
            anyhow::ensure!(dropped == 0.0, "{dropped} records were dropped: the journal was too small");
            drain = ended.elapsed();
        }
        Ok(Round { seen, cpu: process.cpu()? - before, drain, backlog })
    }
}

impl Targets {
    pub fn get(&self, name: &str) -> anyhow::Result<&Process> {
        let found = self.all.iter().find(|(target, _)| *target == name);
        found.map(|(_, process)| process).with_context(|| format!("no target is called {name}"))
    }

    /// Ends tapline as an operator does, which puts everything where it stays.
    pub fn stop(self) -> anyhow::Result<()> {
        let tapline = self.all.into_iter().find(|(name, _)| *name == TAPLINE);
        tapline.map_or(Ok(()), |(_, process)| process.stop())
    }
}

/// What `/healthz` says.
pub struct Health {
    pub settled: f64,
    pub lag_bytes: f64,
    pub dropped: f64,
}

impl Health {
    pub fn of(process: &Process) -> anyhow::Result<Self> {
        Self::read(&mut Connection::open(process.port)?)
    }

    pub fn read(connection: &mut Connection) -> anyhow::Result<Self> {
        let (status, body) = connection.get("/healthz")?;
        anyhow::ensure!(status == 200, "expected status 200 of /healthz, found {status}");
        let said: Value = serde_json::from_slice(&body)?;
        let figure = |name: &str| said[name].as_f64().with_context(|| format!("expected {name} in /healthz"));
        Ok(Self {
            settled: figure("settled_calls")?,
            lag_bytes: figure("journal_lag_bytes")?,
            dropped: figure("dropped_records")?,
        })
    }
}

/// Waits until everything journalled is in the store.
pub fn settle(process: &Process) -> anyhow::Result<Health> {
    let deadline = Instant::now() + Duration::from_secs(600);
    let mut connection = Connection::open(process.port)?;
    loop {
        let health = Health::read(&mut connection)?;
        if health.lag_bytes == 0.0 {
            return Ok(health);
        }
        anyhow::ensure!(Instant::now() < deadline, "the journal was not applied within ten minutes");
        thread::sleep(Duration::from_millis(10));
    }
}
