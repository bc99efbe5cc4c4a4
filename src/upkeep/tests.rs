//! Upkeep over a real store and journal: what goes is gone from every file, what others have stays.

use std::{fs, path::Path, time::Duration};

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::{
    artifacts::{self, ArtifactPath},
    journal,
    model::{
        CallId, SpanId,
        call::{Dialect, Settled},
        content::{Body, Part},
        record::{Opened, Record, Scope},
    },
    store::{self, Side, Swept, Target, TextQuery},
};

const NOW: UnixNanos = UnixNanos(1_795_420_800 * UnixNanos::SECOND);

struct Kept {
    directory: TempDir,
    store: Store,
    journal: Journal,
    artifacts: Artifacts,
    reader: journal::Reader,
    upkeep: Upkeep,
}

fn keep(config: Config) -> Kept {
    let directory = TempDir::new().unwrap();
    let (journal, reader) = Journal::open(&journal::Config::default(), directory.path(), NOW).unwrap();
    let store = Store::open(&store::Config::default(), directory.path()).unwrap();
    let fresh: Fresh = Arc::new(|| Box::pin(std::future::ready(())));
    let artifacts = Artifacts::open(&artifacts::Config::default(), directory.path()).unwrap();
    let upkeep = Upkeep::new(config, store.clone(), journal.clone(), artifacts.clone(), fresh, || NOW);
    Kept { directory, store, journal, artifacts, reader, upkeep }
}

fn message(role: &str, text: &str) -> Bytes {
    Bytes::from(format!("{{\"role\":\"{role}\",\"content\":\"{text}\"}}"))
}

/// A call of a session that sends a conversation and gets an answer.
fn call(number: u8, session: &str, age_days: i64, conversation: &[Bytes], answer: &str) -> Settled {
    let mut one = store::sample_call();
    let call = &mut one.call;
    call.id = CallId([number; 16]);
    call.span_id = SpanId([number; 8]);
    call.session = Some(session.to_owned());
    (call.method, call.target) = ("POST".to_owned(), "/chat/completions".to_owned());
    call.dialect = Dialect::ChatCompletions;
    call.started_at = UnixNanos(NOW.0 - age_days * UnixNanos::DAY);
    call.ended_at = UnixNanos(call.started_at.0 + UnixNanos::SECOND);
    call.http_status = Some(200);
    call.request_headers = ["host", "user-agent", "x-own"]
        .map(|name| (name.to_owned(), if name == "x-own" { session.to_owned() } else { name.to_owned() }))
        .into();
    call.response_headers = vec![("content-type".to_owned(), "application/json".to_owned())].into();
    let literal = |text: &'static str| Part::Literal(Bytes::from_static(text.as_bytes()));
    one.request = Body {
        parts: vec![
            literal("{\"model\":\"sim-small\",\"messages\":["),
            Part::Chain { items: conversation.to_vec(), separator: Bytes::from_static(b",") },
            literal("]}"),
        ],
        uncut: false,
    };
    one.response = Body::raw(Bytes::from(format!(
        "{{\"id\":\"chatcmpl-{number}\",\"choices\":[{{\"index\":0,\"message\":{},\"finish_reason\":\"stop\"}}]}}",
        String::from_utf8_lossy(&message("assistant", answer))
    )));
    one.arrivals = Vec::new();
    one
}

/// The files below a directory that have these bytes.
fn files_with(directory: &Path, needle: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, needle));
        } else if memchr::memmem::find(&fs::read(&path).unwrap(), needle.as_bytes()).is_some() {
            found.push(path.display().to_string());
        }
    }
    found
}

fn index(store: &Store) {
    while store.index_next(64).unwrap() {}
}

async fn hits(store: &Store, words: &str) -> usize {
    let query = TextQuery { words: words.to_owned(), limit: 50, ..TextQuery::default() };
    store.search(query).await.unwrap().hits.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_is_in_no_file_and_what_others_share_stays() {
    let mut kept = keep(Config::default());
    let journal = kept.journal.clone();
    let system = message("system", &"You are shared and helpful. ".repeat(8));
    let canary = "canaryquux7351";
    let secret = message("user", &format!("remember {canary} for me"));
    let mut calls = vec![
        call(
            1,
            canary,
            0,
            &[system.clone(), secret.clone()],
            &format!("I noted {canary}. {}", "And more of it. ".repeat(20)),
        ),
        call(2, "other", 0, &[system.clone(), message("user", "what is shared")], "It stays."),
        call(3, canary, 0, &[system.clone(), message("user", "again")], canary),
    ];
    calls[0].call.tags = vec![canary.to_owned()];
    for one in &calls {
        journal.append(Record::Opened(Box::new(Opened {
            call: one.call.id,
            trace: one.call.trace_id,
            span: one.call.span_id,
            parent_span: None,
            at: NOW,
            method: "POST".into(),
            target: "/chat/completions".into(),
            upstream: "default".into(),
            provider: "openai".into(),
            server_address: "h".into(),
            server_port: 1,
            scope: Scope::default(),
            headers: vec![("x-own".into(), one.call.session.clone().unwrap())],
            peer: None,
            key_fingerprint: None,
        })));
        journal.append(Record::Sent { call: one.call.id, bytes: one.request.bytes() });
    }
    journal.nudge();
    let mut read = 0;
    while read < 6 {
        read += kept.reader.next(1 << 20, Duration::from_secs(5)).unwrap().len();
    }
    let Kept { store, upkeep, directory, .. } = &kept;
    store.settle(calls.clone()).await.unwrap();
    index(store);
    assert_eq!((hits(store, canary).await, hits(store, "shared").await), (3, 3));
    assert!(files_with(directory.path(), canary).len() >= 3, "the test looks where it is");
    let costs = store.costs(Default::default()).await.unwrap()[0].clone();

    let report = upkeep.erase(Target::Session(canary.to_owned())).await.unwrap();
    assert_eq!((report.calls, report.journal_records), (2, 4));
    assert_eq!(files_with(directory.path(), canary), Vec::<String>::new());
    assert_eq!((hits(store, canary).await, hits(store, "stays").await), (0, 1));
    let rest = store.body(CallId([2; 16]), Side::Request).await.unwrap();
    assert_eq!(rest.bytes, calls[1].request.bytes());
    assert!(store.call(&CallId([1; 16]).to_string()).await.is_err());
    let after = store.costs(Default::default()).await.unwrap()[0].clone();
    assert_eq!((costs.calls, after.calls), (3, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_and_calls_outlive_each_other_as_they_are_set() {
    let day = Duration::from_secs(86_400);
    let general = Life { payload: Some(7 * day), metadata: Some(30 * day) };
    let kept = keep(Config { general, ..Config::default() });
    let Kept { store, upkeep, .. } = &kept;
    let system = message("system", &"You are shared and helpful. ".repeat(8));
    let ages = [(1, 1), (2, 10), (3, 40)];
    let calls: Vec<_> = ages
        .iter()
        .map(|(number, age)| {
            let own = format!("only said by {number} {}", "and so on ".repeat(20));
            call(*number, "s", *age, &[system.clone(), message("user", &own)], "It is so.")
        })
        .collect();
    store.settle(calls.clone()).await.unwrap();
    let costs = store.costs(Default::default()).await.unwrap();

    let dry = upkeep.gc(true).await.unwrap();
    assert_eq!((dry.dry_run, dry.calls, dry.payloads), (true, 1, 1));
    assert!(dry.swept.contents >= 2 && dry.swept.turns == 2 && dry.swept.bytes > 0, "{dry:?}");
    assert_eq!(store.body(CallId([3; 16]), Side::Request).await.unwrap().bytes, calls[2].request.bytes());

    let went = upkeep.gc(false).await.unwrap();
    assert_eq!((went.calls, went.payloads, went.swept), (1, 1, dry.swept));
    assert!(store.call(&CallId([3; 16]).to_string()).await.is_err());
    assert!(store.call(&CallId([2; 16]).to_string()).await.is_ok());
    assert!(store.body(CallId([2; 16]), Side::Request).await.unwrap().bytes.is_empty());
    assert_eq!(store.body(CallId([1; 16]), Side::Request).await.unwrap().bytes, calls[0].request.bytes());
    assert_eq!(store.costs(Default::default()).await.unwrap(), costs, "sums outlive what they are of");
    let again = upkeep.gc(false).await.unwrap();
    assert_eq!((again.calls, again.payloads, again.swept), (0, 0, Default::default()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dictionary_that_learned_from_what_is_erased_goes() {
    let kept = keep(Config::default());
    let Kept { store, upkeep, directory, .. } = &kept;
    let canary = "canary zyxwvut 918273645 in words that nobody else has";
    let mut calls = Vec::new();
    for number in 0..240u8 {
        let said = format!("{canary} {} and number {number}", "that are said again and again".repeat(3));
        let others =
            format!("{number} is a number that the others have {}", "as everybody may see ".repeat(3));
        let (session, text) = if number % 2 == 0 { ("own", said) } else { ("other", others) };
        calls.push(call(number, session, 0, &[message("user", &text)], "Yes."));
    }
    store.settle(calls.clone()).await.unwrap();
    let trained = upkeep.train().await.unwrap();
    assert!(trained.trainings.iter().any(|training| training.dictionary.is_some()), "{trained:?}");
    for one in &calls {
        assert_eq!(store.body(one.call.id, Side::Request).await.unwrap().bytes, one.request.bytes());
        assert_eq!(store.body(one.call.id, Side::Response).await.unwrap().bytes, one.response.bytes());
    }
    let report = upkeep.erase(Target::Session("own".to_owned())).await.unwrap();
    assert_eq!((report.calls, report.dictionaries), (120, true));
    assert_eq!(files_with(directory.path(), "zyxwvut"), Vec::<String>::new());
    for one in calls.iter().filter(|one| one.call.session.as_deref() == Some("other")) {
        assert_eq!(store.body(one.call.id, Side::Request).await.unwrap().bytes, one.request.bytes());
        assert_eq!(store.body(one.call.id, Side::Response).await.unwrap().bytes, one.response.bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_erased_call_shares_with_one_that_stays_is_still_found() {
    let kept = keep(Config::default());
    let Kept { store, upkeep, .. } = &kept;
    let (first, answer) = (message("user", "how tall is an oak"), message("assistant", "Very tall."));
    let calls = vec![
        call(1, "s", 0, std::slice::from_ref(&first), "Very tall."),
        call(2, "s", 0, &[first, answer, message("user", "and a birch")], "Less so."),
    ];
    store.settle(calls.clone()).await.unwrap();
    index(store);
    upkeep.erase(Target::Call(CallId([1; 16]))).await.unwrap();
    assert_eq!((hits(store, "oak").await, hits(store, "birch").await), (1, 1));
    assert_eq!(store.body(CallId([2; 16]), Side::Request).await.unwrap().bytes, calls[1].request.bytes());
    let session = store.session("s").await.unwrap();
    assert_eq!(session.calls, 1);
    upkeep.erase(Target::Call(CallId([2; 16]))).await.unwrap();
    assert_eq!(hits(store, "oak OR birch OR tall").await, 0);
    assert!(store.session("s").await.is_err(), "a session goes with its last call");
}

/// Calls come without end and the index rests in between; whoever searches has it work until it has what was said.
#[tokio::test(flavor = "multi_thread")]
async fn who_searches_has_the_index_catch_up() {
    let kept = keep(Config::default());
    let indexer = Indexer::start(kept.store.clone()).unwrap();
    let mut said = 0;
    for round in 0..3u8 {
        let calls: Vec<_> = (0..40)
            .map(|number| {
                let number = round * 40 + number;
                call(number, "s", 0, &[message("user", &format!("question {number}"))], "One more wombat.")
            })
            .collect();
        said += calls.len() as u64;
        kept.store.settle(calls).await.unwrap();
        assert_eq!(kept.store.texts_caught_up(Duration::from_secs(60)).await.unwrap(), 0);
        assert!(hits(&kept.store, "wombat").await > 0);
    }
    assert_eq!(said, 120);
    assert_eq!(*kept.store.texts_wanted().borrow(), 0, "nobody waits any more");
    tokio::time::timeout(Duration::from_secs(60), indexer.end()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_experiment_goes_with_its_artifacts_and_models() {
    let kept = keep(Config::default());
    let Kept { store, upkeep, artifacts, directory, .. } = &kept;
    let mut own = call(1, "s", 0, &[message("user", "a secret")], "Yes.");
    own.placement.experiment = Some("secret".to_owned());
    own.placement.run = Some("first".to_owned());
    own.call.response_model = Some("model-of-secret".to_owned());
    let sample = |model: &str| crate::model::call::TokenSample {
        model: model.to_owned(),
        held: crate::model::call::Held::Text,
        input_reported: 10,
        input_estimated: 9,
        output_reported: 10,
        output_estimated: 9,
    };
    own.token_sample = Some(sample("model-of-secret"));
    let mut other = call(2, "t", 0, &[message("user", "no secret")], "No.");
    other.call.response_model = Some("model-of-all".to_owned());
    other.token_sample = Some(sample("model-of-all"));
    store.settle(vec![own, other]).await.unwrap();
    let run = store.run("first").await.unwrap().run;
    let file = ArtifactPath::of_uri(&run.artifact_uri).unwrap().join("notes.txt").unwrap();
    let text = futures_util::stream::iter([Ok(Bytes::from_static(b"canary artifact"))]);
    artifacts.put(&file, Box::pin(text)).await.unwrap();
    assert_eq!(files_with(directory.path(), "canary artifact").len(), 1);

    let report = upkeep.erase(Target::Experiment("secret".to_owned())).await.unwrap();
    assert_eq!((report.calls, report.place, report.artifacts, report.artifacts_elsewhere), (1, true, 1, 0));
    assert_eq!(files_with(directory.path(), "canary artifact"), Vec::<String>::new());
    assert!(!directory.path().join("artifacts").join(&run.experiment_id).join(&run.id).exists());
    let models: Vec<_> = store.token_errors().await.unwrap().into_iter().map(|line| line.model).collect();
    assert_eq!(models, ["model-of-all", "model-of-all"]);
    assert_eq!(files_with(directory.path(), "model-of-secret"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_elsewhere_keeps_nothing_from_being_erased() {
    let kept = keep(Config::default());
    let Kept { store, upkeep, directory, .. } = &kept;
    let text = |number: u8| format!("the words of {number} {}", "and so on ".repeat(20));
    let calls: Vec<_> =
        (1..=3).map(|number| call(number, "s", 0, &[message("user", &text(number))], "Yes.")).collect();
    store.settle(calls).await.unwrap();
    index(store);
    store::damage(directory.path(), 2);
    let report = upkeep.erase(Target::Call(CallId([1; 16]))).await.unwrap();
    assert_eq!((report.calls, report.swept.damaged), (1, 1));
    let report = upkeep.erase(Target::Session("s".to_owned())).await.unwrap();
    assert_eq!((report.calls, report.swept.damaged), (2, 0));
    assert_eq!(hits(store, "words").await, 0);
    assert_eq!(upkeep.gc(false).await.unwrap().swept, Swept::default());
}
