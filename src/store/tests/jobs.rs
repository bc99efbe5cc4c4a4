//! Answers made apart: their usage counts once, whoever fetches them and in whatever order.

use super::*;
use crate::model::exchange::Job;

fn job(id: &str, asked: bool, also: &[&str]) -> Option<Job> {
    Some(Job { id: id.into(), also: also.iter().map(|name| (*name).to_owned()).collect(), asked })
}

/// A call without usage that asked for, or looked at, the job.
fn looked(number: u64, dialect: Dialect, job: Option<Job>) -> Settled {
    let call = Call {
        dialect,
        usage: Usage::default(),
        usage_source: None,
        cost: None,
        price_id: None,
        ..full(number)
    };
    Settled { job, ..settled(call) }
}

fn counted(number: u64, dialect: Dialect, job: Option<Job>) -> Settled {
    Settled { job, ..settled(Call { dialect, ..full(number) }) }
}

#[tokio::test]
async fn inv6_a_background_responses_usage_counts_at_the_first_poll_that_shows_it() {
    let (_directory, store) = open();
    let poll = || job("resp_1", false, &[]);
    let calls = store
        .settle(vec![
            looked(1, Dialect::Responses, job("resp_1", true, &[])),
            looked(2, Dialect::Responses, poll()),
            counted(3, Dialect::Responses, poll()),
            counted(4, Dialect::Responses, poll()),
        ])
        .await
        .unwrap();
    let has: Vec<bool> = calls.iter().map(|call| call.usage_source.is_some()).collect();
    assert_eq!(has, [false, false, true, false]);
    assert_eq!((calls[3].cost, calls[3].usage.is_empty()), (None, true));
    assert!(
        calls[3].notes.iter().any(|note| note.contains(&calls[2].id.to_string())),
        "{:?}",
        calls[3].notes
    );
    assert_eq!(calls[2].metadata["tapline.asked_by"], calls[0].id.to_string());
}

#[tokio::test]
async fn inv6_a_response_that_nobody_made_here_is_nobodys_usage() {
    let (_directory, store) = open();
    let calls = store.settle(vec![counted(1, Dialect::Responses, job("resp_9", false, &[]))]).await.unwrap();
    assert_eq!(calls[0].usage_source, None);
}

#[tokio::test]
async fn inv6_a_batchs_usage_counts_once_by_its_object_or_its_results() {
    for results_first in [true, false] {
        let (_directory, store) = open();
        let object = |number| counted(number, Dialect::Batches, job("batch_1", false, &["file-out"]));
        let file = |number| counted(number, Dialect::Files, job("file-out", false, &[]));
        let progress = looked(2, Dialect::Batches, job("batch_1", false, &["file-out"]));
        let mut all = vec![looked(1, Dialect::Batches, job("batch_1", true, &[])), progress];
        all.extend(if results_first { [file(3), object(4)] } else { [object(3), file(4)] });
        all.push(file(5));
        let calls = store.settle(all).await.unwrap();
        let has: Vec<bool> = calls.iter().map(|call| call.usage_source.is_some()).collect();
        assert_eq!(has, [false, false, true, false, false], "results first: {results_first}");
    }
}
