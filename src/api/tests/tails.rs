//! The live tail: order, resuming, filters, and its end.

use super::fixture::{Fixture, call};
use crate::model::call::Placement;

#[tokio::test]
async fn a_tail_gives_what_is_stored_from_now_on() {
    let fixture = Fixture::new().await;
    fixture.settle([call(1)]).await;
    let mut tail = fixture.tail("/api/v1/tail", &[]).await;
    let first = tail.next().await.unwrap();
    assert!(first.starts_with("id: ") && first.contains("retry: "), "{first}");
    fixture.settle([call(2)]).await;
    fixture.settle([call(3)]).await;
    assert_eq!(tail.next_call().await.1, "session-2");
    assert_eq!(tail.next_call().await.1, "session-3");
}

#[tokio::test]
async fn a_tail_resumes_without_gap_or_repeat() {
    let fixture = Fixture::new().await;
    fixture.settle((1..=2).map(call)).await;
    let mut tail = fixture.tail("/api/v1/tail?after=0", &[]).await;
    let (place, session) = tail.next_call().await;
    assert_eq!(session, "session-1");
    drop(tail);
    fixture.settle([call(3)]).await;
    // The header goes before the parameter: an event source keeps its first address when it comes back.
    let mut tail = fixture.tail("/api/v1/tail?after=0", &[("last-event-id", &place.to_string())]).await;
    assert_eq!(tail.next_call().await.1, "session-2");
    assert_eq!(tail.next_call().await.1, "session-3");
}

#[tokio::test]
async fn a_client_that_saw_nothing_still_knows_its_place() {
    let fixture = Fixture::new().await;
    fixture.settle([call(1)]).await;
    let mut tail = fixture.tail("/api/v1/tail", &[]).await;
    let first = tail.next().await.unwrap();
    let place = first.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();
    drop(tail);
    fixture.settle([call(2)]).await;
    let mut tail = fixture.tail("/api/v1/tail", &[("last-event-id", &place)]).await;
    assert_eq!(tail.next_call().await.1, "session-2");
}

#[tokio::test]
async fn a_tail_filters_as_lists_do() {
    let fixture = Fixture::new().await;
    let mut other = call(2);
    other.call.request_model = Some("claude".to_owned());
    other.call.cost = None;
    other.call.tags.clear();
    other.placement = Placement { experiment: Some("other".to_owned()), run: None, peer: None };
    fixture.settle([call(1), other, call(3)]).await;
    let queries = [
        "experiment=other",
        "experiment=tuning",
        "run=run-1",
        "model=claude",
        "model=gpt-4o",
        "tag=nightly",
        "min_cost=0.002",
        "status=ok",
        "session=session-3",
        "since=2026-11-23T08:00:02Z",
        "min_duration=1.5s",
        "until=2026-11-23T08:00:02Z",
        "user=ada",
        "provider=openai",
        "upstream=main",
        "operation=chat",
        "trace=03030303030303030303030303030303",
    ];
    for query in queries {
        let mut listed = fixture.sessions(&format!("/api/v1/calls?{query}")).await;
        listed.reverse();
        assert!(!listed.is_empty(), "{query}");
        let mut tail = fixture.tail(&format!("/api/v1/tail?after=0&{query}"), &[]).await;
        for session in listed {
            assert_eq!(tail.next_call().await.1, session, "{query}");
        }
    }
}

#[tokio::test]
async fn what_a_filter_leaves_out_moves_the_place_on() {
    let fixture = Fixture::new().await;
    fixture.settle([call(1), call(2)]).await;
    let mut tail = fixture.tail("/api/v1/tail?after=0&model=none", &[]).await;
    tail.next().await.unwrap();
    let place = format!("id: {}", fixture.store.last_sequence().await.unwrap());
    assert_eq!(tail.next().await.unwrap(), place);
}

#[tokio::test]
async fn a_tail_ends_when_the_server_stops() {
    let fixture = Fixture::new().await;
    let mut tail = fixture.tail("/api/v1/tail", &[]).await;
    tail.next().await.unwrap();
    fixture.stop.send(true).unwrap();
    assert_eq!(tail.next().await, None);
}

#[tokio::test]
async fn a_place_that_is_none_is_refused() {
    let fixture = Fixture::new().await;
    let (status, _, body) = fixture.get("/api/v1/tail", &[("last-event-id", "x")]).await;
    assert_eq!(status, 400);
    assert!(String::from_utf8_lossy(&body).contains("last-event-id: expected the id"));
}
