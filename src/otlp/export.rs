//! The exporter: reads calls from the store after a cursor that is kept in the store, delivers them as
//! spans, and moves the cursor only past what the collector took. A collector that is down or slow leaves
//! the cursor where it is, and nothing else notices.
//!
//! What is delivered is at least once: a crash between the collector's answer and the cursor's write sends
//! those spans again, with the same ids, which is how OTLP tells a repetition.

use std::{
    future::Future,
    ops::Range,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message;
use tokio::{
    sync::{
        broadcast::error::{RecvError, TryRecvError},
        watch,
    },
    time::{sleep, timeout},
};

use super::{
    config::ExportConfig,
    send::{Answer, Sender},
    span::{self, Options},
};
use crate::{
    events::{ExportFailing, ExportRecovered, PartialSuccess, SpanRejected},
    model::{
        Error, ErrorCode,
        call::{Call, Dialect},
        content::StoredBody,
        exchange::Exchange,
        record::Outcome,
    },
    store::{Sequenced, Side, Store},
    telemetry::{Scrape, Telemetry},
    wire::{CallReader, Limits},
};

/// How long a shutdown waits for what is still to be delivered. What is not stays in the store.
const DRAIN: Duration = Duration::from_secs(5);
/// The longest wait that a collector may ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(600);
/// Requests are not made smaller than this because a collector finds them too large.
const SMALLEST_BATCH: usize = 64 << 10;
/// Refusals in a row, with nothing taken, after which it is the collector and not the spans.
const MAX_REFUSALS: usize = 64;

/// What has become of the spans since the start.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    exported: AtomicU64,
    rejected: AtomicU64,
    dropped: AtomicU64,
    unsampled: AtomicU64,
    failed: AtomicU64,
    lag: AtomicI64,
    failing: AtomicBool,
}

impl Stats {
    /// Spans that the collector took.
    pub fn exported(&self) -> u64 {
        self.counts.exported.load(Ordering::Relaxed)
    }

    /// Spans that were skipped because the collector refused them alone.
    pub fn rejected(&self) -> u64 {
        self.counts.rejected.load(Ordering::Relaxed)
    }

    /// Spans that the collector took and said it dropped (partial success).
    pub fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }

    /// Spans left out because their trace is not sampled.
    pub fn unsampled(&self) -> u64 {
        self.counts.unsampled.load(Ordering::Relaxed)
    }

    /// Attempts that ended without the collector taking anything.
    pub fn failed(&self) -> u64 {
        self.counts.failed.load(Ordering::Relaxed)
    }

    /// Calls stored and not yet behind the cursor.
    pub fn lag(&self) -> i64 {
        self.counts.lag.load(Ordering::Relaxed)
    }

    /// Whether the last attempt failed.
    pub fn failing(&self) -> bool {
        self.counts.failing.load(Ordering::Relaxed)
    }

    fn scrape(&self, endpoint: &str, scrape: &mut Scrape) {
        let of = [("endpoint", endpoint)];
        scrape.counter_of("export_spans", "Spans the collector took", &of, self.exported());
        scrape.counter_of("export_spans_rejected", "Spans refused alone and skipped", &of, self.rejected());
        scrape.counter_of("export_spans_dropped", "Spans dropped by the collector", &of, self.dropped());
        scrape.counter_of("export_spans_unsampled", "Spans of unsampled traces", &of, self.unsampled());
        scrape.counter_of("export_failures", "Attempts without success", &of, self.failed());
        scrape.gauge_of("export_lag_calls", "Calls stored and not yet exported", &of, self.lag() as f64);
        let failing = if self.failing() { 1.0 } else { 0.0 };
        scrape.gauge_of("export_failing", "1 while the last attempt failed", &of, failing);
    }
}

fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

/// Exports to one endpoint until `shutdown` resolves.
pub async fn run(
    config: &ExportConfig,
    store: Store,
    telemetry: &Telemetry,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    Exporter::new(config, store, telemetry)?.run(shutdown).await;
    Ok(())
}

#[derive(Debug)]
pub struct Exporter {
    config: ExportConfig,
    /// Where to, as it may be shown.
    endpoint: String,
    /// The cursor's name in the store.
    consumer: String,
    store: Store,
    telemetry: Telemetry,
    stats: Stats,
    sender: Sender,
    resource: Resource,
    /// Everything up to here is behind us; unknown until the store was asked.
    cursor: Option<i64>,
    /// Most bytes in one request, as this collector has taught us.
    max_bytes: usize,
    /// Since when, and why, nothing is taken.
    failing: Option<(Instant, String)>,
}

/// A stored call on its way out.
struct Item {
    sequence: i64,
    call: Call,
    /// `None` where the call is not to be exported.
    span: Option<Span>,
    /// The span carries facts only, its content having been too large.
    bare: bool,
}

enum Step {
    /// There may be more at once.
    Progress,
    CaughtUp,
    /// Nothing more can be done now.
    Held(Option<Duration>),
}

/// Why a delivery stopped.
struct Held {
    after: Option<Duration>,
    reason: String,
}

impl From<Error> for Held {
    fn from(error: Error) -> Self {
        Self { after: None, reason: format!("the store: {error}") }
    }
}

impl Exporter {
    /// Checks the configuration and prepares the client; connects to nothing yet.
    pub fn new(config: &ExportConfig, store: Store, telemetry: &Telemetry) -> Result<Self, Error> {
        let endpoint = config.url()?.to_string();
        let stats = Stats::default();
        let (shown, seen) = (endpoint.clone(), stats.clone());
        telemetry.on_scrape(move |scrape| seen.scrape(&shown, scrape));
        Ok(Self {
            consumer: format!("otlp:{endpoint}"),
            endpoint,
            store,
            telemetry: telemetry.clone(),
            stats,
            sender: Sender::new(config)?,
            resource: span::resource(&config.service_name),
            cursor: None,
            max_bytes: config.max_batch_bytes.max(SMALLEST_BATCH),
            failing: None,
            config: config.clone(),
        })
    }

    pub fn stats(&self) -> Stats {
        self.stats.clone()
    }

    /// Exports until `shutdown` resolves, then delivers what is left as long as that goes quickly.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let (stop, stopped) = watch::channel(false);
        // A request on its way is not cut by a shutdown: its answer decides whether the cursor moves.
        let mut work = pin!(self.work(stopped));
        tokio::select! {
            () = &mut work => return,
            () = shutdown => {}
        }
        stop.send_replace(true);
        if timeout(DRAIN, work).await.is_err() {
            tracing::info!("the export was cut by the shutdown and goes on at the next start");
        }
    }

    async fn work(&mut self, mut stop: watch::Receiver<bool>) {
        let mut news = self.store.subscribe();
        let mut attempts = 0u32;
        loop {
            // Asked before looking: what was stored between a look and the stop is looked for once more.
            let stopping = *stop.borrow_and_update();
            match self.step().await {
                Step::Progress => attempts = 0,
                Step::CaughtUp => {
                    attempts = 0;
                    if stopping {
                        return;
                    }
                    tokio::select! {
                        told = news.recv() => if matches!(told, Err(RecvError::Closed)) {
                            return;
                        },
                        _ = stop.changed() => continue,
                    }
                    // What else comes soon goes into the same request.
                    tokio::select! {
                        () = sleep(Duration::from_millis(self.config.delay_ms)) => {}
                        _ = stop.changed() => {}
                    }
                    while matches!(news.try_recv(), Ok(_) | Err(TryRecvError::Lagged(_))) {}
                }
                Step::Held(after) => {
                    let wait =
                        after.map_or_else(|| self.backoff(attempts), |after| after.min(LONGEST_RETRY_AFTER));
                    attempts = attempts.saturating_add(1);
                    if *stop.borrow() {
                        return;
                    }
                    tokio::select! {
                        () = sleep(wait) => {}
                        _ = stop.changed() => return,
                    }
                }
            }
        }
    }

    /// Doubles from the first wait to the longest; a random half keeps many taplines apart.
    fn backoff(&self, attempts: u32) -> Duration {
        let longest = self.config.retry_max_ms.max(1);
        let full = self.config.retry_initial_ms.saturating_mul(1 << attempts.min(20)).clamp(1, longest);
        let random = uuid::Uuid::new_v4().as_u128() as u64;
        Duration::from_millis(full - random % (full / 2 + 1))
    }

    /// Reads and delivers one batch.
    async fn step(&mut self) -> Step {
        let outcome = self.batch().await;
        // The gauge is a courtesy; a store that cannot say now is reported by the batch itself.
        if let (Some(cursor), Ok(last)) = (self.cursor, self.store.last_sequence().await) {
            self.stats.counts.lag.store((last - cursor).max(0), Ordering::Relaxed);
        }
        match outcome {
            Ok(step) => step,
            Err(held) => {
                self.failed(&held.reason);
                Step::Held(held.after)
            }
        }
    }

    async fn batch(&mut self) -> Result<Step, Held> {
        let cursor = match self.cursor {
            Some(cursor) => cursor,
            None => self.store.cursor(&self.consumer).await?,
        };
        self.cursor = Some(cursor);
        let rows = self.store.stored_after(cursor, self.config.batch.max(1)).await?;
        if rows.is_empty() {
            return Ok(Step::CaughtUp);
        }
        let mut items = Vec::with_capacity(rows.len());
        let mut bytes = 0;
        for row in rows {
            let item = self.item(row).await?;
            bytes += item.span.as_ref().map_or(0, Message::encoded_len);
            if bytes > self.max_bytes && !items.is_empty() {
                break;
            }
            items.push(item);
        }
        self.deliver(items).await?;
        Ok(Step::Progress)
    }

    async fn item(&self, row: Sequenced) -> Result<Item, Held> {
        let Sequenced { sequence, call } = row;
        if self.config.sampled_only && span::unsampled(&call) {
            return Ok(Item { sequence, call, span: None, bare: false });
        }
        let mut bodies = None;
        if call.dialect != Dialect::Http {
            bodies = self.body(&call, Side::Request).await?.zip(self.body(&call, Side::Response).await?);
        }
        let options = self.options(self.config.content);
        let largest = self.max_bytes;
        // Decoding takes milliseconds for a long conversation: not on a thread that serves calls.
        let made = tokio::task::spawn_blocking(move || {
            let exchange = bodies.map(|(request, response)| exchange(&call, &request, &response));
            let mut made = span::span(&call, exchange.as_ref(), &options);
            let bare = made.encoded_len() > largest;
            if bare {
                made = bare_span(&call, options);
            }
            Item { sequence, call, span: Some(made), bare }
        });
        made.await.map_err(|error| Held { after: None, reason: format!("a span could not be made: {error}") })
    }

    fn options(&self, content: bool) -> Options {
        Options {
            content,
            max_attribute_bytes: self.config.max_attribute_bytes,
            conventions: self.config.conventions,
        }
    }

    /// A body that is gone (retention) or damaged costs the span its content, never the span.
    async fn body(&self, call: &Call, side: Side) -> Result<Option<StoredBody>, Held> {
        match self.store.body(call.id, side).await {
            Ok(body) => Ok(Some(body)),
            Err(error) if error.code == ErrorCode::Busy => Err(error.into()),
            Err(error) => {
                tracing::debug!(call = %call.id, %error, "exported without its content");
                Ok(None)
            }
        }
    }

    /// Delivers a batch in order. A refused request is halved until the span that is to blame stands alone;
    /// that one is given up only when the collector took another of the same batch, so that a collector
    /// that refuses everything (a wrong path, a broken server) loses nothing.
    async fn deliver(&mut self, mut items: Vec<Item>) -> Result<(), Held> {
        let all = 0..items.len();
        let mut ahead: Vec<Range<usize>> = vec![all];
        let mut suspects: Vec<(usize, String)> = Vec::new();
        let (mut taken, mut refusals) = (0u64, 0usize);
        while let Some(range) = ahead.pop() {
            let spans: Vec<Span> = items
                .get(range.clone())
                .unwrap_or_default()
                .iter()
                .filter_map(|item| item.span.clone())
                .collect();
            let count = spans.len() as u64;
            if count == 0 {
                if suspects.is_empty() {
                    self.advance(&items, &range).await?;
                }
                continue;
            }
            let request = self.request(spans);
            let bytes = request.encoded_len();
            match self.sender.send(request).await {
                Answer::Accepted { dropped, message } => {
                    taken += count;
                    self.accepted(count, dropped, &message);
                    if suspects.is_empty() {
                        self.advance(&items, &range).await?;
                    }
                }
                Answer::Later { after, reason } => return Err(Held { after, reason }),
                Answer::TooLarge { .. } if range.len() > 1 => {
                    self.max_bytes = self.max_bytes.min((bytes / 2).max(SMALLEST_BATCH));
                    halve(&mut ahead, range);
                }
                Answer::Rejected { reason } if range.len() > 1 => {
                    refusals += 1;
                    if taken == 0 && refusals >= MAX_REFUSALS {
                        return Err(Held { after: None, reason });
                    }
                    halve(&mut ahead, range);
                }
                Answer::TooLarge { reason } | Answer::Rejected { reason } => {
                    let options = self.options(false);
                    match items.get_mut(range.start) {
                        // Its content may be what is refused: the facts alone are better than nothing.
                        Some(item) if !item.bare => {
                            item.span = Some(bare_span(&item.call, options));
                            item.bare = true;
                            ahead.push(range);
                        }
                        _ => suspects.push((range.start, reason)),
                    }
                }
            }
        }
        if let Some((_, reason)) = suspects.first()
            && taken == 0
        {
            return Err(Held { after: None, reason: reason.clone() });
        }
        if !suspects.is_empty() {
            self.advance(&items, &(0..items.len())).await?;
        }
        for (index, reason) in suspects {
            if let Some(item) = items.get(index) {
                add(&self.stats.counts.rejected, 1);
                SpanRejected { endpoint: &self.endpoint, call: &item.call.id.to_string(), reason: &reason }
                    .emit(&self.telemetry);
            }
        }
        Ok(())
    }

    fn request(&self, spans: Vec<Span>) -> ExportTraceServiceRequest {
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans: vec![ScopeSpans { scope: Some(span::scope()), spans, ..ScopeSpans::default() }],
                ..ResourceSpans::default()
            }],
        }
    }

    /// Moves the cursor past the range's last item.
    async fn advance(&mut self, items: &[Item], range: &Range<usize>) -> Result<(), Held> {
        let passed = items.get(range.clone()).unwrap_or_default();
        let Some(last) = passed.last() else { return Ok(()) };
        self.store.set_cursor(&self.consumer, last.sequence).await?;
        self.cursor = Some(last.sequence);
        add(&self.stats.counts.unsampled, passed.iter().filter(|item| item.span.is_none()).count() as u64);
        Ok(())
    }

    fn accepted(&mut self, count: u64, dropped: u64, message: &str) {
        let dropped = dropped.min(count);
        add(&self.stats.counts.exported, count - dropped);
        add(&self.stats.counts.dropped, dropped);
        if dropped > 0 || !message.is_empty() {
            PartialSuccess { endpoint: &self.endpoint, rejected: dropped, reason: message }
                .emit(&self.telemetry);
        }
        if let Some((since, _)) = self.failing.take() {
            self.stats.counts.failing.store(false, Ordering::Relaxed);
            ExportRecovered { endpoint: &self.endpoint, after_seconds: since.elapsed().as_secs_f64() }
                .emit(&self.telemetry);
        }
    }

    fn failed(&mut self, reason: &str) {
        add(&self.stats.counts.failed, 1);
        self.stats.counts.failing.store(true, Ordering::Relaxed);
        let since = match &self.failing {
            Some((_, same)) if same == reason => return,
            Some((since, _)) => *since,
            None => Instant::now(),
        };
        self.failing = Some((since, reason.to_owned()));
        ExportFailing { endpoint: &self.endpoint, reason }.emit(&self.telemetry);
    }
}

/// The second half waits below the first: order is kept.
fn halve(ahead: &mut Vec<Range<usize>>, range: Range<usize>) {
    let middle = range.start + range.len() / 2;
    ahead.push(middle..range.end);
    ahead.push(range.start..middle);
}

/// Facts only, saying so.
fn bare_span(call: &Call, options: Options) -> Span {
    let mut made = span::span(call, None, &Options { content: false, ..options });
    made.attributes.extend(span::without_content());
    made
}

/// The bodies, understood. Their times are not asked for: the call has them.
fn exchange(call: &Call, request: &StoredBody, response: &StoredBody) -> Exchange {
    let mut reader = CallReader::new(&call.method, &call.target, &call.request_headers, Limits::default());
    reader.request(&request.bytes);
    if let Some(status) = call.http_status {
        reader.answered(status, &call.response_headers);
    }
    reader.response(&response.bytes, call.ended_at);
    reader.finish(call.response_whole && call.outcome == Outcome::Completed)
}
