//! The index over a real store.

use bytes::Bytes;

use super::*;
use crate::{
    model::{
        CallId, SpanId, UnixNanos,
        call::{Dialect, Settled},
        content::{Body, Part},
        filter::CallFilter,
    },
    store::tests::{full, settled},
};

fn message(role: &str, text: &str) -> Bytes {
    Bytes::from(format!("{{\"role\":\"{role}\",\"content\":\"{text}\"}}"))
}

/// A call of a session that sends a conversation and gets an answer.
fn call(number: u8, session: &str, conversation: &[Bytes], answer: &str) -> Settled {
    let mut one = settled(full(u64::from(number)));
    let call = &mut one.call;
    call.id = CallId([number; 16]);
    call.span_id = SpanId([number; 8]);
    call.session = Some(session.to_owned());
    (call.method, call.target) = ("POST".to_owned(), "/chat/completions".to_owned());
    call.dialect = Dialect::ChatCompletions;
    call.started_at = UnixNanos(i64::from(number) * UnixNanos::SECOND);
    call.http_status = Some(200);
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
        "{{\"id\":\"c\",\"choices\":[{{\"index\":0,\"message\":{},\"finish_reason\":\"stop\"}}]}}",
        String::from_utf8_lossy(&message("assistant", answer))
    )));
    one.arrivals = Vec::new();
    one
}

async fn hits(store: &Store, words: &str, filter: CallFilter) -> Vec<TextHit> {
    let query = TextQuery { words: words.to_owned(), filter, limit: 50, ..TextQuery::default() };
    store.search(query).await.unwrap().hits
}

fn index(store: &Store) {
    while store.index_next(2).unwrap() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_found_once_in_each_place_that_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&Config::default(), directory.path()).unwrap();
    let system = message("system", "You are a gardener of Ünïcode trees.");
    let (first, answer) = (message("user", "How tall is an oak?"), message("assistant", "An oak is tall."));
    let calls = vec![
        call(1, "a", &[system.clone(), first.clone()], "An oak is tall."),
        call(2, "a", &[system.clone(), first, answer, message("user", "And a birch?")], "Less so."),
        call(3, "b", &[system, message("user", "What is a fern?")], "No tree."),
    ];
    store.settle(calls).await.unwrap();
    index(&store);
    let any = CallFilter::default;
    for (words, expected, why) in [
        ("\"oak is tall\"", 1, "said as an answer and resent, a text is one"),
        ("unicode", 2, "once in each session"),
        ("oak -tall", 0, "the question and the answer both have it"),
        ("tree -what", 1, "words that must not be there"),
        ("fern OR birch", 2, "one of several"),
        ("gard*", 2, "beginnings"),
        ("sim", 0, "what is no message is no text"),
    ] {
        assert_eq!(hits(&store, words, any()).await.len(), expected, "{words}: {why}");
    }
    let found = hits(&store, "gardener", CallFilter { session: Some("b".into()), ..any() }).await;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].call.id, found[0].part), (CallId([3; 16]), "message"));
    let (from, to) = found[0].marks[0];
    assert_eq!(found[0].snippet.get(from..to), Some("gardener"));
    let mut odd = settled(full(4));
    odd.call.id = CallId([4; 16]);
    odd.call.dialect = Dialect::ChatCompletions;
    odd.call.target = "/chat/completions".to_owned();
    odd.request = Body::raw(Bytes::from_static(
        br#"{"messages":[{"role":"user","content":"a zebra"},{"role":"user","content":"the other zebra"}]}"#,
    ));
    store.settle(vec![odd]).await.unwrap();
    index(&store);
    let snippets: Vec<_> = hits(&store, "zebra", any()).await.into_iter().map(|hit| hit.snippet).collect();
    assert_eq!(snippets, ["the other zebra", "a zebra"], "each shows its own words");
    let newest: Vec<_> = hits(&store, "birch OR oak OR fern", any()).await;
    assert!(newest.is_sorted_by(|one, other| one.call.started_at >= other.call.started_at));
    let late = CallFilter { since: Some(UnixNanos(3 * UnixNanos::SECOND)), ..any() };
    assert_eq!(hits(&store, "gardener", late).await.len(), 1);
    let strange = CallFilter { model: Some("nobody".into()), ..any() };
    assert_eq!(hits(&store, "gardener", strange).await.len(), 0);

    store.forget_texts().await.unwrap();
    assert_eq!(hits(&store, "unicode", any()).await.len(), 0);
    assert_eq!(store.texts_caught_up(Duration::ZERO).await.unwrap(), 4);
    index(&store);
    assert_eq!(store.texts_caught_up(Duration::ZERO).await.unwrap(), 0);
    assert_eq!(hits(&store, "unicode", any()).await.len(), 2, "it is made again from the store");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_another_store_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&Config::default(), directory.path()).unwrap();
    let said = |number, text: &str| call(number, "a", &[message("user", text)], "Yes.");
    store.settle(vec![said(1, "one"), said(2, "two")]).await.unwrap();
    index(&store);
    store.close().await;
    fs::remove_file(directory.path().join(crate::store::FILE)).unwrap();
    let store = Store::open(&Config::default(), directory.path()).unwrap();
    store.settle(vec![said(3, "three")]).await.unwrap();
    index(&store);
    assert_eq!(hits(&store, "two", CallFilter::default()).await.len(), 0);
    assert_eq!(hits(&store, "three", CallFilter::default()).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_stepped_over_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&Config::default(), directory.path()).unwrap();
    let said = |number, text: &str| call(number, "a", &[message("user", text)], "Yes.");
    store
        .settle(vec![said(1, "one oak"), said(2, "two oaks and a fern"), said(3, "three elms")])
        .await
        .unwrap();
    let other = Connection::open(directory.path().join(crate::store::FILE)).unwrap();
    let damage = "
        UPDATE contents SET body = x'00' WHERE id = (
            SELECT content FROM turns ORDER BY id LIMIT 1 OFFSET 1
        )";
    assert_eq!(other.execute(damage, []).unwrap(), 1);
    index(&store);
    assert_eq!(store.texts_caught_up(Duration::ZERO).await.unwrap(), 0, "it does not stop there");
    assert_eq!(store.unread_calls().await.unwrap(), 1);
    let any = CallFilter::default;
    assert_eq!((hits(&store, "oak", any()).await.len(), hits(&store, "elms", any()).await.len()), (1, 1));
    assert_eq!(hits(&store, "fern", any()).await.len(), 0);
    assert_eq!(hits(&store, "yes", any()).await.len(), 1, "its answer is there");

    // Damaged once it was indexed: its words cannot be taken out by themselves.
    other
        .execute("UPDATE contents SET body = x'00' WHERE id = (SELECT min(content) FROM turns)", [])
        .unwrap();
    let unindexed = store.unindex(vec![1, 2]).await.unwrap();
    store.drop_calls(vec![1, 2], true).await.unwrap();
    let swept = store.sweep().await.unwrap();
    assert_eq!(swept.damaged, 0, "{swept:?}");
    store.reindex(unindexed).await.unwrap();
    index(&store);
    assert_eq!((hits(&store, "oak", any()).await.len(), hits(&store, "elms", any()).await.len()), (0, 1));
    assert_eq!(store.unread_calls().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_calls_without_a_session_share_outlives_the_first_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&Config::default(), directory.path()).unwrap();
    let alone = |number, text: &str, answer: &str| {
        let mut one = call(number, "", &[message("system", "Sort the mail."), message("user", text)], answer);
        one.call.session = None;
        one
    };
    store
        .settle(vec![
            alone(1, "an invoice", "Bills it is."),
            alone(2, "a love letter", "Private it is."),
            alone(3, "another invoice", "Bills it is."),
        ])
        .await
        .unwrap();
    index(&store);
    let any = CallFilter::default;
    for (gone, mail, bills) in [(1, 1, 1), (2, 1, 1), (3, 0, 0)] {
        let unindexed = store.unindex(vec![gone]).await.unwrap();
        store.drop_calls(vec![gone], true).await.unwrap();
        store.sweep().await.unwrap();
        store.reindex(unindexed).await.unwrap();
        assert_eq!(hits(&store, "mail", any()).await.len(), mail, "without {gone}");
        assert_eq!(hits(&store, "bills", any()).await.len(), bills, "without {gone}");
    }
    assert_eq!(hits(&store, "invoice OR letter", any()).await.len(), 0);
}
