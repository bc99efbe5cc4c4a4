//! tapline's own figures, as Prometheus reads them (`/metrics`). Importable by every layer; imports the
//! model only. Counting is cheap and never waits on IO; whatever has figures of its own (journal, exporter)
//! is asked at scrape time.
//!
//! Label sets are bounded: upstreams and dialects are configured or fixed, models are cut off at
//! `MAX_MODELS`, so a client that invents model names cannot grow this without end.

use std::{
    collections::{BTreeMap, HashSet},
    fmt::{self, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet, text},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        family::Family,
        histogram::Histogram,
    },
    registry::Registry,
};

use crate::model::{
    call::{Call, Dialect},
    usage::UsageSource,
};

/// The content type of `encode`'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Distinct models (and, apart from them, upstreams) named in labels; the rest is `other`.
pub const MAX_MODELS: usize = 50;
const OTHER: &str = "other";

/// OpenTelemetry's buckets for a GenAI client's durations, seconds.
const DURATION_BUCKETS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    upstream: String,
    dialect: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    model: String,
    class: &'static str,
    source: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
struct ModelLabels {
    upstream: String,
    model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TimeLabels {
    upstream: String,
    operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    event: &'static str,
}

/// Adds somebody's figures to a scrape.
type Asked = dyn Fn(&mut Scrape) + Send + Sync;
type Histograms = Family<TimeLabels, Histogram, fn() -> Histogram>;

/// Cheap to clone; clones count into the same figures.
#[derive(Clone)]
pub struct Telemetry {
    shared: Arc<Shared>,
}

struct Shared {
    registry: Registry,
    calls: Family<CallLabels, Counter>,
    tokens: Family<TokenLabels, Counter>,
    unpriced: Family<ModelLabels, Counter>,
    durations: Histograms,
    first_tokens: Histograms,
    events: Family<EventLabels, Counter>,
    models: Mutex<Names>,
    upstreams: Mutex<Names>,
    unpriced_models: Mutex<HashSet<String>>,
    late: Arc<AtScrape>,
}

/// What is read when somebody asks, not counted as it happens.
#[derive(Default)]
struct AtScrape {
    /// Nano-USD: sums of money stay integers until they are shown.
    cost: Mutex<BTreeMap<ModelLabels, i64>>,
    closures: Mutex<Vec<Arc<Asked>>>,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

impl fmt::Debug for AtScrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtScrape").finish_non_exhaustive()
    }
}

/// The first `MAX_MODELS` names seen.
#[derive(Debug, Default)]
struct Names(HashSet<String>);

impl Names {
    fn bounded(&mut self, name: &str) -> String {
        if !self.0.contains(name) {
            if self.0.len() >= MAX_MODELS {
                return OTHER.to_owned();
            }
            self.0.insert(name.to_owned());
        }
        name.to_owned()
    }
}

/// A poisoned lock guards counts that are as good as before: whoever panicked held no half-made state.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

impl Telemetry {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("tapline");
        let durations = || Histogram::new(DURATION_BUCKETS);
        let calls = Family::default();
        let tokens = Family::default();
        let unpriced = Family::default();
        let events = Family::default();
        let call_durations = Histograms::new_with_constructor(durations);
        let first_tokens = Histograms::new_with_constructor(durations);
        let late = Arc::new(AtScrape::default());
        registry.register("calls", "Calls settled, by how they ended", Family::clone(&calls));
        registry.register(
            "tokens",
            "Tokens of settled calls; cache_read and cache_write are part of input, reasoning of output",
            Family::clone(&tokens),
        );
        registry.register(
            "calls_unpriced",
            "Settled calls with tokens but no known price; their cost is unknown, not zero",
            Family::clone(&unpriced),
        );
        registry.register(
            "call_duration_seconds",
            "From a call's start to its last byte",
            Family::clone(&call_durations),
        );
        registry.register(
            "time_to_first_token_seconds",
            "From a streamed call's start to its first event with content",
            Family::clone(&first_tokens),
        );
        registry.register("events", "Noteworthy events, as in the log", Family::clone(&events));
        registry.register_collector(Box::new(Arc::clone(&late)));
        Self {
            shared: Arc::new(Shared {
                registry,
                calls,
                tokens,
                unpriced,
                durations: call_durations,
                first_tokens,
                events,
                models: Mutex::default(),
                upstreams: Mutex::default(),
                unpriced_models: Mutex::default(),
                late,
            }),
        }
    }

    /// Counts a settled call.
    pub fn observe(&self, call: &Call) {
        let shared = &*self.shared;
        let upstream = locked(&shared.upstreams).bounded(&call.upstream);
        shared
            .calls
            .get_or_create(&CallLabels {
                upstream: upstream.clone(),
                dialect: call.dialect.as_str(),
                status: call.status.as_str(),
            })
            .inc();
        let times = TimeLabels { upstream: upstream.clone(), operation: call.dialect.operation() };
        shared.durations.get_or_create(&times).observe(seconds(call.duration_ns()));
        if call.dialect == Dialect::Http {
            return;
        }
        if let Some(first) = call.first_token_ns.filter(|_| call.streamed) {
            shared.first_tokens.get_or_create(&times).observe(seconds(first));
        }
        let model = locked(&shared.models).bounded(call.model().unwrap_or("unknown"));
        self.observe_tokens(call, &model);
        let labels = ModelLabels { upstream, model };
        match call.cost {
            Some(cost) => {
                let mut sums = locked(&shared.late.cost);
                let sum = sums.entry(labels).or_default();
                *sum = sum.saturating_add(cost.0);
            }
            None if !call.usage.is_empty() => {
                shared.unpriced.get_or_create(&labels).inc();
            }
            None => {}
        }
    }

    fn observe_tokens(&self, call: &Call, model: &str) {
        let source = call.usage_source.map_or("unknown", UsageSource::as_str);
        let usage = &call.usage;
        let classes = [
            ("input", usage.input),
            ("cache_read", usage.cache_read),
            ("cache_write", usage.cache_write),
            ("output", usage.output),
            ("reasoning", usage.reasoning),
        ];
        for (class, count) in classes {
            if let Some(count) = count {
                let labels = TokenLabels { model: model.to_owned(), class, source };
                self.shared.tokens.get_or_create(&labels).inc_by(count);
            }
        }
    }

    /// Counts an event (see `events`).
    pub fn event(&self, name: &'static str) {
        self.shared.events.get_or_create(&EventLabels { event: name }).inc();
    }

    /// True the first time that this model is named, and false once very many have been.
    pub fn first_unpriced(&self, model: &str) -> bool {
        let mut seen = locked(&self.shared.unpriced_models);
        seen.len() < 1_000 && seen.insert(model.to_owned())
    }

    /// Has `closure` add its figures to every scrape. It must be quick: the scrape waits for it.
    pub fn on_scrape(&self, closure: impl Fn(&mut Scrape) + Send + Sync + 'static) {
        locked(&self.shared.late.closures).push(Arc::new(closure));
    }

    /// Everything as OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(8 << 10);
        // Writing into a `String` cannot fail, so the error is an encoder's (an invalid label); what was
        // written until then stays readable.
        if text::encode(&mut text, &self.shared.registry).is_err() {
            let written = writeln!(text, "# tapline could not encode every figure");
            debug_assert!(written.is_ok());
        }
        text
    }
}

fn seconds(nanoseconds: i64) -> f64 {
    nanoseconds.max(0) as f64 / 1e9
}

/// Figures gathered for one scrape. Names are without the `tapline_` in front; a counter's gets `_total`
/// behind. Setting one name twice with the same labels keeps the last value.
#[derive(Debug, Default)]
pub struct Scrape {
    figures: BTreeMap<&'static str, Figure>,
}

#[derive(Debug)]
struct Figure {
    help: &'static str,
    values: BTreeMap<Vec<(&'static str, String)>, Amount>,
}

#[derive(Debug, Clone, Copy)]
enum Amount {
    Counter(u64),
    Gauge(f64),
}

impl Amount {
    fn encode(self, to: &mut MetricEncoder<'_>) -> Result<(), fmt::Error> {
        match self {
            Self::Counter(value) => to.encode_counter::<NoLabelSet, _, u64>(&value, None),
            Self::Gauge(value) => to.encode_gauge(&value),
        }
    }
}

impl Scrape {
    pub fn gauge(&mut self, name: &'static str, help: &'static str, value: f64) {
        self.set(name, help, Vec::new(), Amount::Gauge(value));
    }

    pub fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.set(name, help, Vec::new(), Amount::Counter(value));
    }

    /// One series per `labels`, whose values the caller keeps few.
    pub fn gauge_of(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: f64,
    ) {
        self.set(name, help, owned(labels), Amount::Gauge(value));
    }

    /// One series per `labels`, whose values the caller keeps few.
    pub fn counter_of(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: u64,
    ) {
        self.set(name, help, owned(labels), Amount::Counter(value));
    }

    fn set(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Vec<(&'static str, String)>,
        amount: Amount,
    ) {
        let figure = self.figures.entry(name).or_insert(Figure { help, values: BTreeMap::new() });
        figure.values.insert(labels, amount);
    }
}

fn owned(labels: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

impl Collector for AtScrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // The closures are the rooms' own code: none of our locks is held while they run.
        let closures = locked(&self.closures).clone();
        let mut scrape = Scrape::default();
        for closure in closures {
            closure(&mut scrape);
        }

        let costs = locked(&self.cost).clone();
        let mut family = encoder.encode_descriptor(
            "cost_usd",
            "Cost of settled calls with a known price, US dollars",
            None,
            MetricType::Counter,
        )?;
        for (labels, nanos) in &costs {
            let amount = ConstCounter::new(*nanos as f64 / 1e9);
            amount.encode(family.encode_family(labels)?)?;
        }
        for (name, figure) in &scrape.figures {
            let kind = match figure.values.values().next() {
                Some(Amount::Counter(_)) => MetricType::Counter,
                _ => MetricType::Gauge,
            };
            let mut family = encoder.encode_descriptor(name, figure.help, None, kind)?;
            for (labels, amount) in &figure.values {
                if labels.is_empty() {
                    amount.encode(&mut family)?;
                } else {
                    amount.encode(&mut family.encode_family(labels)?)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
