//! The benchmark: a load generator, a simulated upstream, a bare proxy as the yardstick, and tapline as it is
//! configured by default, recording everything, `strict`. One program whose roles are processes of their own;
//! every figure is the median of rounds in which the targets took turns. `docs/benchmarks.md` explains it.

#![expect(clippy::print_stderr, reason = "a person waits for minutes and wants to see where it is")]

mod agents;
mod bare;
mod bench;
mod bodies;
mod figures;
mod fill;
mod ingest;
mod load;
mod recording;
mod roles;
mod storage;
mod traffic;
mod upstream;
mod wire;

use std::{
    io::Write as _,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use self::bench::{Asked, Bench};

type Scenario = fn(&mut Bench) -> anyhow::Result<()>;

const SCENARIOS: [(&str, Scenario); 9] = [
    ("storage", storage::storage),
    ("ingest", ingest::ingest),
    ("startup", recording::startup),
    ("latency", traffic::latency),
    ("stream", traffic::stream),
    ("lag", recording::lag),
    ("throughput", traffic::throughput),
    ("queries", recording::queries),
    ("memory", recording::memory),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> anyhow::Result<()> {
    let number = |text: &String| text.parse().with_context(|| format!("expected a number, found {text:?}"));
    match args {
        [role] if role == "upstream" => upstream::run(),
        [role, upstream] if role == "bare" => bare::run(upstream.parse()?),
        [role, rest @ ..] if role == "load" => load::run(load::Plan::parse(rest).context("not a plan")?),
        [role, port, count] if role == "hold" => load::hold(port.parse()?, count.parse()?),
        [role, data, spans] if role == "fill" => fill::run(Path::new(data), number(spans)?),
        _ => all(asked(args)?),
    }
}

fn asked(args: &[String]) -> anyhow::Result<Asked> {
    let quick = args.iter().any(|arg| arg == "--quick");
    let mut asked = Asked {
        quick,
        rounds: if quick { 3 } else { 5 },
        spans: if quick { 100_000 } else { 1_000_000 },
        calls: if quick { 40_000 } else { 1_000_000 },
        streams: if quick { 1_000 } else { 10_000 },
        only: None,
        json: None,
        page: None,
    };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("expected a value after {arg}"));
        match arg.as_str() {
            // The first is cargo's own.
            "--bench" | "--quick" => {}
            "--only" => {
                let only = value()?;
                let unknown = only.split(',').find(|one| SCENARIOS.iter().all(|(name, _)| name != one));
                if let Some(unknown) = unknown {
                    bail!(
                        "expected one of {}, found {unknown:?}",
                        SCENARIOS.map(|(name, _)| name).join(", ")
                    );
                }
                asked.only = Some(only.clone());
            }
            "--rounds" => asked.rounds = value()?.parse::<usize>()?.max(1),
            "--spans" => asked.spans = value()?.parse()?,
            "--calls" => asked.calls = value()?.parse()?,
            "--streams" => asked.streams = value()?.parse()?,
            "--json" => asked.json = Some(value()?.into()),
            "--page" => asked.page = Some(value()?.into()),
            other => bail!(
                "expected --quick, --only SCENARIO, --rounds N, --spans N, --calls N, --streams N, --json FILE or \
                 --page FILE, found {other:?}"
            ),
        }
    }
    Ok(asked)
}

fn all(asked: Asked) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut bench = Bench::new(asked)?;
    let machine = machine(&bench);
    for (name, scenario) in SCENARIOS {
        if bench.wants(name) {
            eprintln!("{name} ({:.0} s so far)", began.elapsed().as_secs_f64());
            scenario(&mut bench).with_context(|| format!("scenario {name}"))?;
        }
    }
    let took = Duration::from_secs(began.elapsed().as_secs());
    let mut out = std::io::stdout();
    writeln!(out, "{machine}; {} rounds; took {} s\n", bench.asked.rounds, took.as_secs())?;
    write!(out, "{}", bench.figures.table())?;
    if let Some(file) = &bench.asked.json {
        let mut json = bench.figures.json();
        json["machine"] = machine.as_str().into();
        json["seconds"] = took.as_secs().into();
        std::fs::write(file, serde_json::to_string_pretty(&json)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    // A page is of one whole run.
    if let Some(file) = bench.asked.page.as_ref().filter(|_| bench.asked.only.is_none()) {
        let said = format!("{machine}; {} rounds; took {} s.", bench.asked.rounds, took.as_secs());
        write_page(file, &format!("{said}\n\n{}", bench.figures.markdown()))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// Puts the tables where a page has room for them.
fn write_page(file: &Path, tables: &str) -> anyhow::Result<()> {
    const MARKS: (&str, &str) = ("<!-- figures: begin -->\n", "<!-- figures: end -->");
    let page = std::fs::read_to_string(file)?;
    let parts =
        page.split_once(MARKS.0).and_then(|(before, rest)| Some((before, rest.split_once(MARKS.1)?.1)));
    let (before, after) = parts.with_context(|| format!("expected {MARKS:?} in the page, found none"))?;
    std::fs::write(file, [before, MARKS.0, tables, MARKS.1, after].concat())?;
    Ok(())
}

fn machine(bench: &Bench) -> String {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown processor", |(_, name)| name.trim());
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    let pins = match (&bench.cores.proxy, &bench.cores.load) {
        (Some(proxy), Some(load)) => format!("proxy on core {proxy}, load and upstream on {load}"),
        _ => "nothing pinned".to_owned(),
    };
    format!("{model}, Linux {}, {pins}, load average at the start {load}", kernel.trim())
}
