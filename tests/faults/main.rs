//! Faults and fidelity: a misbehaving upstream and clients of raw sockets around a running tapline, or around
//! any other proxy. Each case says what both ends must see and what the store must hold; the last line counts.
//! docs/faults.md says how to run it.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::string_slice,
    reason = "a harness that prints its verdicts"
)]

mod args;
mod case;
mod cases;
mod peer;
mod play;
mod tapline;
mod traffic;

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpListener},
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use args::Args;
use case::{Case, On, Passed, Play, Up, Verdict};
use play::Stage;
use tapline::{Place, Setup, Tapline};

fn main() -> ExitCode {
    let args = match Args::read(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(error) => {
            println!("{error}");
            return ExitCode::from(2);
        }
    };
    let cases: Vec<Case> = cases::all()
        .into_iter()
        .filter(|case| args.only.iter().all(|part| case.name.contains(part)))
        .collect();
    if args.list {
        cases.iter().for_each(|case| println!("{}: test", case.name));
        return ExitCode::SUCCESS;
    }
    cases::kill_loop::KILLS.store(args.kills, Ordering::Relaxed);
    cases::bounds::FULL.store(args.full, Ordering::Relaxed);
    let began = Instant::now();
    let verdicts = match &args.proxy {
        Some(proxy) => elsewhere(&cases, proxy.address, &proxy.path, args.upstream_port),
        None => here(&cases, args.threads),
    };
    let verdicts = match verdicts {
        Ok(verdicts) => verdicts,
        Err(error) => {
            println!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (name, verdict) in &verdicts {
        match verdict {
            Ok(Passed::Yes) => passed += 1,
            Ok(Passed::Skipped(why)) => {
                skipped += 1;
                println!("skipped {name}: {why}");
            }
            Err(error) => {
                failed += 1;
                println!("FAILED {name}: {error}");
            }
        }
    }
    for line in cases::bounds::figures().into_iter().chain(cases::kill_loop::figures()) {
        println!("{line}");
    }
    let skips = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
    println!("{} cases in {:.1} s", verdicts.len(), began.elapsed().as_secs_f64());
    println!("{passed} passed, {failed} failed{skips}");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

type Verdicts = Vec<(String, Verdict)>;

/// Played around tapline: every case has an upstream of its own, so that they run side by side.
fn here(cases: &[Case], threads: usize) -> Result<Verdicts, String> {
    let mut listeners = HashMap::new();
    let mut config = String::new();
    for (number, case) in cases.iter().enumerate() {
        let Play::Script(script) = &case.play else { continue };
        let listener = listen(0)?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let url = match &script.up {
            Up::Plain | Up::Keyed | Up::Drained => format!("http://{address}/v1"),
            Up::Secure => format!("https://{address}/v1"),
            Up::At(url) => url.clone(),
        };
        config += &format!("[upstreams.c{number}]\nurl = \"{url}\"\n");
        match script.up {
            Up::Keyed => config += "key_env = \"FAULTS_KEY\"\n",
            Up::Drained => config += "on_client_gone = \"drain\"\n",
            Up::Plain | Up::Secure | Up::At(_) => {}
        }
        listeners.insert(number, (listener, address));
    }
    let environment = vec![("FAULTS_KEY".to_owned(), "sk-canary-configured".to_owned())];
    let common = Setup { config: config.clone(), environment, ..Setup::default() };
    let impatient = common
        .clone()
        .flag("proxy-response-timeout", "400ms")
        .flag("proxy-idle-timeout", "400ms")
        .flag("proxy-max-header-bytes", "16KiB")
        .flag("proxy-client-gone-timeout", "300ms")
        .flag("proxy-client-gone-bytes", "1KiB")
        .flag("capture-max-request-bytes", "1KiB")
        .flag("capture-max-response-bytes", "2KiB");
    let mut shared = HashMap::new();
    if !listeners.is_empty() {
        for (on, setup) in [(On::Common, common), (On::Impatient, impatient)] {
            let place = Place::new()?;
            let tapline = place.start(&setup)?;
            tapline.ready()?;
            shared.insert(on, (tapline, place));
        }
    }
    let listeners = Mutex::new(listeners);
    let run = |number: usize| -> Verdict {
        let case = &cases[number];
        let script = match &case.play {
            Play::Program(run) => return run(),
            Play::Script(script) => script,
        };
        let (listener, address) = listeners.lock().unwrap().remove(&number).ok_or("played twice")?;
        let proxy = shared.get(&script.on).ok_or("no process to play on")?.0.address;
        let mut stage = Stage {
            proxy,
            base: format!("/to/c{number}/v1"),
            tag: format!("case-{number}"),
            authority: address.to_string(),
            upstream: Some(listener),
            own: true,
        };
        play::play(&mut stage, script)
    };
    let mut verdicts = side_by_side(cases, threads, &run);
    for (on, (tapline, place)) in shared {
        verdicts.extend(ending(on, tapline, &place));
    }
    Ok(verdicts)
}

/// Groups that measure, or load the machine.
const ALONE: [&str; 2] = ["bounds/", "kill-loop/"];

/// Runs the cases on several threads; those that must have the machine to themselves come last, one by one.
fn side_by_side(cases: &[Case], threads: usize, run: &(dyn Fn(usize) -> Verdict + Sync)) -> Verdicts {
    let (alone, together): (Vec<usize>, Vec<usize>) = (0..cases.len()).partition(|number| {
        let name = &cases[*number].name;
        ALONE.iter().any(|group| name.starts_with(group))
    });
    let verdicts = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    let guarded = |number: usize| {
        let verdict = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(number)));
        verdict.unwrap_or_else(|_| Err("the harness itself panicked".to_owned()))
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(number) = together.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let verdict = guarded(*number);
                    verdicts.lock().unwrap().push((*number, verdict));
                }
            });
        }
    });
    let mut verdicts = verdicts.into_inner().unwrap();
    verdicts.extend(alone.into_iter().map(|number| (number, guarded(number))));
    verdicts.sort_by_key(|(number, _)| *number);
    verdicts.into_iter().map(|(number, verdict)| (cases[number].name.clone(), verdict)).collect()
}

/// What must hold of a process and its store after everything that was done to it.
fn ending(on: On, tapline: Tapline, place: &Place) -> Verdicts {
    let name = |what: &str| format!("ending/{what} ({on:?})").to_lowercase();
    let counted = idle(&tapline);
    let secrets = cases::trust::no_canary(place);
    let stopped = tapline.stop().map(|()| Passed::Yes);
    let whole = place.integrity().and_then(|found| match found.as_str() {
        "ok" => Ok(Passed::Yes),
        other => Err(format!("expected a whole store, found {other}")),
    });
    vec![
        (name("no call is left in flight"), counted),
        (name("no canary in store, journal and log"), secrets),
        (name("a clean end"), stopped),
        (name("the store's integrity"), whole),
    ]
}

fn idle(tapline: &Tapline) -> Verdict {
    peer::eventually("an end of all calls", || {
        let (_, body) = tapline::get(tapline.address, "/readyz")?;
        let health: serde_json::Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        Ok((health["in_flight"] == 0).then_some(Passed::Yes))
    })
}

/// Played around another proxy that leads to one upstream: one case after the other.
fn elsewhere(cases: &[Case], proxy: SocketAddr, path: &str, port: u16) -> Result<Verdicts, String> {
    let listener = listen(port)?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let mut verdicts = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let verdict = match &case.play {
            Play::Program(_) => Ok(Passed::Skipped("it needs a tapline process of its own".to_owned())),
            Play::Script(script) => {
                let mut stage = Stage {
                    proxy,
                    base: path.to_owned(),
                    tag: format!("case-{number}"),
                    authority: address.to_string(),
                    upstream: Some(listener.try_clone().map_err(|error| error.to_string())?),
                    own: false,
                };
                let verdict = play::play(&mut stage, script);
                // What a failed case left in the queue is not the next one's.
                while listener.accept().is_ok() {}
                verdict
            }
        };
        verdicts.push((case.name.clone(), verdict));
    }
    println!("store: not looked at, {proxy} is not known to have one of tapline's");
    Ok(verdicts)
}

fn listen(port: u16) -> Result<TcpListener, String> {
    let failed = |error: std::io::Error| format!("cannot listen on port {port}: {error}");
    let listener = TcpListener::bind(("127.0.0.1", port)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}
