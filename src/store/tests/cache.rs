//! The cache ledger: what it says of a call does not depend on when the process began.

use super::*;
use crate::model::lineage::{CacheCause, CacheEntry, Element, ElementKind, Lineage, Outline};

/// A call of a conversation whose prompt has one system element and so many messages, a thousand tokens each.
fn turn(number: u64, messages: u64, read: u64, later: i64) -> Settled {
    let at = UnixNanos(START + later * UnixNanos::SECOND);
    let call = Call {
        started_at: at,
        ended_at: UnixNanos(at.0 + UnixNanos::SECOND),
        provider: "openai".into(),
        request_model: Some("gpt-5".into()),
        usage_source: Some(UsageSource::Reported),
        usage: Usage {
            input: Some((messages + 1) * 1_000),
            cache_read: Some(read),
            output: Some(10),
            ..Usage::default()
        },
        ..bare(number)
    };
    let element = |kind, hash| Element { kind, hash, bytes: 4_000 };
    let messages = (0..messages).map(|hash| element(ElementKind::Message, 100 + hash));
    let outline = Outline {
        elements: [element(ElementKind::System, 7)].into_iter().chain(messages).collect(),
        system: 7,
        ..Outline::default()
    };
    Settled { lineage: Lineage { outline: Some(outline), ..Lineage::default() }, ..settled(call) }
}

fn turns() -> Vec<Settled> {
    vec![
        turn(1, 2, 0, 0),
        // Intact and not served.
        turn(2, 4, 0, 60),
        turn(3, 6, 4_992, 120),
        // Only longer than the cache lives after the last use.
        turn(4, 6, 0, 2_000),
    ]
}

async fn entries(store: &Store) -> Vec<Option<CacheEntry>> {
    let mut found = Vec::new();
    for turn in turns() {
        found.push(store.cache_entry(turn.call.id).await.unwrap());
    }
    found
}

#[tokio::test]
async fn a_restart_changes_no_verdict() {
    let (_directory, store) = open();
    for turn in turns() {
        store.settle(vec![turn]).await.unwrap();
    }
    let expected = entries(&store).await;
    let causes: Vec<_> = expected.iter().map(|entry| entry.as_ref().and_then(|entry| entry.cause)).collect();
    assert_eq!(causes[..3], [None, Some(CacheCause::Provider), None]);
    assert_eq!(expected[1].as_ref().map(|entry| entry.missed), Some(2_944));

    // Neither does work that is refused.
    let (_directory, store) = open();
    for turn in turns() {
        store.drop_place(crate::store::Target::Run("no run".into())).await.unwrap_err();
        store.settle(vec![turn]).await.unwrap();
    }
    assert_eq!(entries(&store).await, expected);

    let directory = TempDir::new().unwrap();
    for turn in turns() {
        let store = Store::open(&Config::default(), directory.path()).unwrap();
        store.settle(vec![turn]).await.unwrap();
        store.close().await;
    }
    let store = Store::open(&Config::default(), directory.path()).unwrap();
    assert_eq!(entries(&store).await, expected);
}
