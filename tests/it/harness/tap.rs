//! A running data path: upstreams, journal, listener; and what the journal says afterwards.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, time::Duration};

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use tapline::{
    capture::{
        recorder::{self, Recorder, now},
        redact::Fingerprints,
    },
    journal::{self, Journal, Reader},
    model::record::{Answered, Closed, Header, Opened, Outcome, Record},
    proxy::{self, State},
    upstream,
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

use super::peer::{Upstream, within};

/// What a test changes before the proxy starts.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) proxy: proxy::Config,
    pub(crate) journal: journal::Config,
    pub(crate) recorder: recorder::Config,
    /// Name and url; `default` is added from the test's upstream.
    pub(crate) upstreams: Vec<(String, String)>,
    /// The configured key of the default upstream.
    pub(crate) key: Option<String>,
    pub(crate) refuses: bool,
    /// Origins that clients may choose.
    pub(crate) allowed_upstreams: Vec<String>,
    /// Whether the default upstream is asked for usage.
    pub(crate) usage: upstream::UsageWish,
}

#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) state: State,
    journal: Journal,
    reader: Reader,
    directory: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    hurry: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

/// The face behind every path that is not the proxy's: says which path it was asked for.
async fn face(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    assert!(request.extensions().get::<SocketAddr>().is_some());
    Ok(Response::new(Full::new(Bytes::from(format!("face {}", request.uri().path())))))
}

impl Proxy {
    pub(crate) async fn to(upstream: &Upstream) -> Self {
        Self::with(upstream, Settings::default()).await
    }

    pub(crate) async fn with(upstream: &Upstream, settings: Settings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (journal, reader) = Journal::open(&settings.journal, directory.path(), now()).unwrap();
        let recorder = Recorder::new(journal.clone(), settings.recorder, Fingerprints::new([7; 32]));
        let default =
            upstream::Upstream::parse("default", &upstream.url(), None, settings.key.as_deref()).unwrap();
        let mut upstreams = vec![upstream::Upstream { usage: settings.usage, ..default }];
        for (name, url) in &settings.upstreams {
            upstreams.push(upstream::Upstream::parse(name, url, None, None).unwrap());
        }
        let upstreams = upstream::Upstreams::new(upstreams).unwrap();
        let upstreams = upstreams.allowing(&settings.allowed_upstreams).unwrap();
        let state = if settings.refuses {
            State::refusing(settings.proxy, upstreams, recorder, || true).unwrap()
        } else {
            State::new(settings.proxy, upstreams, recorder).unwrap()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (hurry, hurried) = oneshot::channel::<()>();
        #[expect(clippy::async_yields_async, reason = "the first signal resolves to the wait for the second")]
        let shutdown = async move {
            // A dropped sender is no signal.
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
            async move {
                if hurried.await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let serving = tokio::spawn(proxy::serve(listener, state.clone(), tower::service_fn(face), shutdown));
        Self { address, state, journal, reader, directory, stop: Some(stop), hurry: Some(hurry), serving }
    }

    /// The first signal: no more connections, running calls go on.
    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// The second signal: now.
    pub(crate) fn hurry(&mut self) {
        self.hurry.take().unwrap().send(()).unwrap();
    }

    /// Waits until no call is running, as the counters have it.
    pub(crate) async fn idle(&self) {
        within("the end of all calls", async {
            while self.state.counters().in_flight.get() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }

    /// What a process that starts now would find, had this one been killed: the calls of a copy of the
    /// journal's directory.
    pub(crate) fn after_a_crash(&self) -> Vec<Seen> {
        let copy = tempfile::tempdir().unwrap();
        copy_files(self.directory.path(), copy.path());
        let (journal, mut reader) = Journal::open(&journal::Config::default(), copy.path(), now()).unwrap();
        journal.close();
        Seen::of(read_all(&mut reader))
    }

    /// Every byte in the journal's directory.
    pub(crate) fn disk(&self) -> Vec<u8> {
        files(self.directory.path()).iter().flat_map(|path| std::fs::read(path).unwrap()).collect()
    }

    /// Stops, waits for running calls, and returns all that were recorded, in the order of their start.
    /// Checks that each ended exactly once (invariant 3).
    pub(crate) async fn finish(mut self) -> Vec<Seen> {
        if self.stop.is_some() {
            self.stop();
        }
        within("the end of serving", &mut self.serving).await.unwrap();
        let counters = self.state.counters();
        assert_eq!(counters.in_flight.get(), 0, "in flight after the end");
        self.journal.close();
        let calls = Seen::of(read_all(&mut self.reader));
        assert_eq!(counters.requests.get(), calls.len() as u64, "calls counted and calls recorded");
        for (outcome, count) in [
            (Outcome::Completed, &counters.completed),
            (Outcome::ClientGone, &counters.client_gone),
            (Outcome::ClientError, &counters.client_error),
            (Outcome::UpstreamFailed, &counters.upstream_failed),
            (Outcome::Shutdown, &counters.shutdown),
        ] {
            let recorded = calls.iter().filter(|call| call.outcome() == Some(outcome)).count() as u64;
            assert_eq!(count.get(), recorded, "{outcome:?} counted and recorded");
        }
        for call in &calls {
            assert_eq!(call.closed.len(), 1, "inv3: one end of {:?}", call.opened);
        }
        calls
    }

    /// `finish` for a test of one call.
    pub(crate) async fn finish_one(self) -> Seen {
        let mut calls = self.finish().await;
        assert_eq!(calls.len(), 1, "one call");
        calls.remove(0)
    }
}

fn read_all(reader: &mut Reader) -> Vec<Record> {
    let mut records = Vec::new();
    loop {
        let entries = reader.next(1 << 20, Duration::ZERO).unwrap();
        if entries.is_empty() {
            return records;
        }
        records.extend(entries.into_iter().map(|entry| entry.record));
    }
}

fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

fn copy_files(from: &Path, to: &Path) {
    for path in files(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(&path, target).unwrap();
    }
}

/// One call as the journal has it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) opened: Opened,
    pub(crate) sent: Vec<u8>,
    pub(crate) answered: Option<Answered>,
    pub(crate) received: Vec<u8>,
    pub(crate) closed: Vec<Closed>,
}

impl Seen {
    fn of(records: Vec<Record>) -> Vec<Self> {
        let mut order = Vec::new();
        let mut calls = BTreeMap::new();
        for record in records {
            let Some(id) = record.call() else { continue };
            if let Record::Opened(opened) = record {
                order.push(id);
                let call =
                    Self { opened: *opened, sent: vec![], answered: None, received: vec![], closed: vec![] };
                assert!(calls.insert(id, call).is_none(), "opened twice");
                continue;
            }
            let call = calls.get_mut(&id).expect("opened before anything else");
            assert!(call.closed.is_empty(), "inv3: a record after the end: {record:?}");
            match record {
                Record::Sent { bytes, .. } => call.sent.extend_from_slice(&bytes),
                Record::Answered(answered) => {
                    assert!(call.answered.replace(*answered).is_none(), "answered twice");
                }
                Record::Received { bytes, .. } => call.received.extend_from_slice(&bytes),
                Record::Closed(closed) => call.closed.push(*closed),
                Record::Opened(_) | Record::Restarted { .. } => unreachable!(),
            }
        }
        order.iter().map(|id| calls.remove(id).unwrap()).collect()
    }

    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.closed.first().map(|closed| closed.outcome)
    }

    /// Outcome, who is to blame, and the code.
    pub(crate) fn end(&self) -> String {
        let closed = self.closed.first().expect("an end");
        match &closed.failure {
            Some(failure) => format!("{} {:?} {}", closed.outcome.as_str(), failure.source, failure.code),
            None => closed.outcome.as_str().to_owned(),
        }
    }

    pub(crate) fn status(&self) -> Option<u16> {
        self.answered.as_ref().map(|answered| answered.status)
    }

    pub(crate) fn request_header(&self, name: &str) -> Option<&str> {
        header(&self.opened.headers, name)
    }
}

fn header<'a>(headers: &'a [Header], name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}
