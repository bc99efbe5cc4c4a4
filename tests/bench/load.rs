//! The load generator: closed loop (as fast as answers come), open loop (calls at scheduled times, latency
//! counted from the schedule, so that a stall delays nobody's clock: no coordinated omission), and slow streams
//! that are only held. Blocking threads, one connection each; every byte of every answer is compared.

use std::{
    io::{self, Read as _, Write as _},
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use crate::{
    bodies::{self, Shape},
    wire::Connection,
};

/// Call numbers of one connection: a multiple of a conversation's turns.
const NUMBERS: u64 = 10_000_000 / bodies::TURNS * bodies::TURNS;

/// What a load does, as its command line says.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub port: u16,
    pub shape: Shape,
    pub connections: usize,
    /// Calls per second; 0 for a closed loop.
    pub rate: f64,
    pub seconds: f64,
    /// Ends a closed loop too, when it is not 0.
    pub calls: u64,
    /// Where this load's numbers begin, so that no two loads on one store send the same.
    pub base: u64,
}

impl Plan {
    pub fn args(&self) -> Vec<String> {
        [
            "load".to_owned(),
            self.port.to_string(),
            self.shape.query(),
            self.connections.to_string(),
            self.rate.to_string(),
            self.seconds.to_string(),
            self.calls.to_string(),
            self.base.to_string(),
        ]
        .into()
    }

    pub fn parse(args: &[String]) -> Option<Self> {
        let [port, shape, connections, rate, seconds, calls, base] = args else { return None };
        Some(Self {
            port: port.parse().ok()?,
            shape: Shape::parse(shape)?,
            connections: connections.parse().ok()?,
            rate: rate.parse().ok()?,
            seconds: seconds.parse().ok()?,
            calls: calls.parse().ok()?,
            base: base.parse().ok()?,
        })
    }
}

pub fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// What one thread saw; nanoseconds.
#[derive(Debug, Default)]
struct Seen {
    latencies: Vec<u32>,
    first_tokens: Vec<u32>,
    /// From the upstream's write to our read, per event.
    events: Vec<u32>,
    /// How much a gap between two events grew or shrank on the way.
    jitters: Vec<u32>,
    first_minute: u64,
    merged: u64,
    failures: u64,
    failure: Option<String>,
}

fn short(nanos: u64) -> u32 {
    u32::try_from(nanos).unwrap_or(u32::MAX)
}

struct Caller {
    plan: Plan,
    connection: Connection,
    request: Vec<u8>,
    body: Vec<u8>,
    expected: Vec<u8>,
    seen: Seen,
}

impl Caller {
    fn new(plan: Plan) -> io::Result<Self> {
        let connection = Connection::open(plan.port)?;
        let (request, body, expected) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { plan, connection, request, body, expected, seen: Seen::default() })
    }

    /// One call; its latency counts from `from`.
    fn call(&mut self, number: u64, from: Option<Instant>) {
        let began = from.unwrap_or_else(Instant::now);
        match self.exchange(number, began) {
            Ok(()) => self.seen.latencies.push(short(began.elapsed().as_nanos() as u64)),
            Err(error) => {
                self.seen.failures += 1;
                self.seen.failure.get_or_insert_with(|| error.to_string());
                thread::sleep(Duration::from_millis(10));
                if let Ok(connection) = Connection::open(self.plan.port) {
                    self.connection = connection;
                }
            }
        }
    }

    fn exchange(&mut self, number: u64, began: Instant) -> io::Result<()> {
        self.plan.shape.request(number, &mut self.body);
        self.request.clear();
        request_head(&mut self.request, self.plan.shape, self.body.len());
        self.request.extend_from_slice(&self.body);
        self.connection.send(&self.request)?;
        let (status, head) = self.connection.answer()?;
        if status != 200 {
            return Err(io::Error::other(format!("expected status 200, found {status}")));
        }
        if let Shape::Stream { events, .. } = self.plan.shape {
            return self.stream(number, events, began);
        }
        self.plan.shape.answer(number, &mut self.expected);
        self.connection.body(head, &mut self.body)?;
        if self.body != self.expected {
            return Err(io::Error::other("the answer is not what the upstream sent"));
        }
        Ok(())
    }

    fn stream(&mut self, number: u64, events: u32, began: Instant) -> io::Result<()> {
        // (sent, got) of the event before.
        let mut before: Option<(u64, u64)> = None;
        self.body.clear();
        self.expected.clear();
        let (mut chunks, mut event, mut index) = (0, Vec::new(), 0);
        loop {
            let chunk = self.connection.chunk()?;
            if chunk.is_empty() {
                break;
            }
            let got = unix_nanos();
            chunks += 1;
            self.body.extend_from_slice(chunk);
            if let Some(sent) = bodies::stamp(chunk) {
                if before.is_none() {
                    self.seen.first_tokens.push(short(began.elapsed().as_nanos() as u64));
                }
                self.seen.events.push(short(got.saturating_sub(sent)));
                if let Some((last_sent, last_got)) = before {
                    let (gap, was) = (got.saturating_sub(last_got), sent.saturating_sub(last_sent));
                    self.seen.jitters.push(short(gap.abs_diff(was)));
                }
                before = Some((sent, got));
            }
            // The time stamp is the one thing that only the event itself can tell; nothing else is. A proxy
            // may cut events anywhere, so that only whole ones are looked at.
            while index < events + 2 {
                let rest = self.body.get(self.expected.len()..).unwrap_or_default();
                if !rest.windows(2).any(|window| window == b"\n\n") {
                    break;
                }
                let stamp = bodies::stamp(rest).unwrap_or_default();
                bodies::event(number, index, events, stamp, &mut event);
                self.expected.extend_from_slice(&event);
                index += 1;
            }
        }
        if self.body != self.expected || index != events + 2 {
            return Err(io::Error::other("the stream is not what the upstream sent"));
        }
        self.seen.merged += u64::from(events + 2).saturating_sub(chunks);
        Ok(())
    }
}

/// As an OpenAI client sends it.
fn request_head(out: &mut Vec<u8>, shape: Shape, length: usize) {
    let query = shape.query();
    let accept = if matches!(shape, Shape::Stream { .. }) { "text/event-stream" } else { "application/json" };
    write!(
        out,
        "POST /v1/chat/completions?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {accept}\r\n\
         Content-Type: application/json\r\nUser-Agent: OpenAI/Python 2.8.0\r\n\
         Authorization: Bearer sk-bench-0123456789abcdef0123456789abcdef\r\nX-Stainless-Lang: python\r\n\
         X-Stainless-Package-Version: 2.8.0\r\nX-Stainless-Retry-Count: 0\r\nContent-Length: {length}\r\n\r\n"
    )
    .expect("a vector takes every byte");
}

/// Runs the plan and prints what it saw as one line of JSON.
pub fn run(plan: Plan) -> anyhow::Result<()> {
    // Sleeps end on time; the threads below inherit it. Where it cannot be set, every target has the same
    // late sleeps.
    std::fs::write("/proc/self/timerslack_ns", "1").ok();
    let gate = Arc::new(Barrier::new(plan.connections + 1));
    let stop = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicU64::new(0));
    let mut threads = Vec::new();
    for index in 0..plan.connections {
        let (gate, stop, calls) = (Arc::clone(&gate), Arc::clone(&stop), Arc::clone(&calls));
        let caller = Caller::new(plan)?;
        let body = move || {
            let mut caller = caller;
            let numbers = index as u64 * NUMBERS + plan.base;
            // The first call opens the proxy's own connection; it is not counted.
            caller.call(numbers, None);
            caller.seen =
                Seen { failures: caller.seen.failures, failure: caller.seen.failure, ..Seen::default() };
            gate.wait();
            let began = Instant::now();
            if plan.rate > 0.0 {
                open_loop(&mut caller, index, numbers, began);
            } else {
                closed_loop(&mut caller, numbers, began, &stop, &calls);
            }
            caller.seen
        };
        threads.push(thread::Builder::new().stack_size(256 << 10).spawn(body)?);
    }
    gate.wait();
    let (began, began_at) = (Instant::now(), unix_nanos());
    let mut all = Seen::default();
    if plan.rate == 0.0 && plan.seconds > 0.0 {
        thread::sleep(Duration::from_secs_f64(plan.seconds));
        stop.store(true, Ordering::Relaxed);
    }
    for thread in threads {
        let seen = thread.join().map_err(|_| anyhow::anyhow!("a thread of the load panicked"))?;
        all.latencies.extend(seen.latencies);
        all.first_tokens.extend(seen.first_tokens);
        all.events.extend(seen.events);
        all.jitters.extend(seen.jitters);
        all.first_minute += seen.first_minute;
        all.merged += seen.merged;
        all.failures += seen.failures;
        all.failure = all.failure.or(seen.failure);
    }
    let seconds = began.elapsed().as_secs_f64();
    let line = json!({
        "began_at": began_at,
        "seconds": seconds,
        "calls": all.latencies.len(),
        "first_minute": all.first_minute,
        "merged": all.merged,
        "failures": all.failures,
        "failure": all.failure,
        "latency": percentiles(all.latencies),
        "first_token": percentiles(all.first_tokens),
        "event": percentiles(all.events),
        "jitter": percentiles(all.jitters),
    });
    writeln!(io::stdout(), "{line}")?;
    Ok(())
}

fn closed_loop(caller: &mut Caller, numbers: u64, began: Instant, stop: &AtomicBool, calls: &AtomicU64) {
    let minute = began + Duration::from_secs(60);
    let plan = caller.plan;
    let mut number = numbers + 1;
    while !stop.load(Ordering::Relaxed) {
        if plan.calls > 0 && calls.fetch_add(1, Ordering::Relaxed) >= plan.calls {
            return;
        }
        caller.call(number, None);
        caller.seen.first_minute += u64::from(Instant::now() < minute);
        number += 1;
    }
}

/// The calls of the schedule that fall to this connection; one that is late is late by its own schedule.
fn open_loop(caller: &mut Caller, index: usize, numbers: u64, began: Instant) {
    let plan = caller.plan;
    let every = plan.connections as f64 / plan.rate;
    let offset = index as f64 / plan.rate;
    for turn in 0.. {
        let at = offset + every * turn as f64;
        if at >= plan.seconds {
            return;
        }
        let due = began + Duration::from_secs_f64(at);
        if let Some(left) = due.checked_duration_since(Instant::now()) {
            thread::sleep(left);
        }
        caller.call(numbers + 1 + turn as u64, Some(due));
    }
}

fn percentiles(mut nanos: Vec<u32>) -> Value {
    if nanos.is_empty() {
        return Value::Null;
    }
    nanos.sort_unstable();
    let at = |share: f64| {
        let index = (share * nanos.len() as f64).ceil() as usize;
        f64::from(nanos[index.clamp(1, nanos.len()) - 1]) / 1e3
    };
    json!({ "p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "max": at(1.0) })
}

/// Holds many streams of few events. Says `held` when every one has its first bytes; ends when its input
/// does.
pub fn hold(port: u16, count: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let shape = Shape::Stream { events: 1_000, gap_us: 10_000_000 };
    runtime.block_on(async move {
        let mut held = Vec::with_capacity(count);
        for number in 0..count {
            let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
            let (mut request, mut body) = (Vec::new(), Vec::new());
            shape.request(number as u64, &mut body);
            request_head(&mut request, shape, body.len());
            request.extend_from_slice(&body);
            tokio::io::AsyncWriteExt::write_all(&mut stream, &request).await?;
            held.push(stream);
            // Not all at once: the listener's backlog is shorter.
            if number % 100 == 99 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        let mut first = [0u8; 16];
        for stream in &mut held {
            let length = tokio::io::AsyncReadExt::read(stream, &mut first).await?;
            anyhow::ensure!(
                first[..length].starts_with(b"HTTP/1.1 200"),
                "a stream was not answered with 200"
            );
        }
        writeln!(io::stdout(), "held")?;
        io::stdout().flush()?;
        io::stdin().read_to_end(&mut Vec::new())?;
        Ok(())
    })
}
