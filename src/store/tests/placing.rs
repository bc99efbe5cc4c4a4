//! From names to experiments and runs.

use super::*;
use crate::model::{ErrorCode, run::RunStatus};

async fn settle_one(store: &Store, number: u64, experiment: Option<&str>, run: Option<&str>) -> Call {
    store.settle(vec![placed(number, experiment, run)]).await.unwrap().remove(0)
}

#[tokio::test]
async fn no_name_is_the_default_experiment() {
    let (_directory, store) = open();
    let mut one = placed(1, None, None);
    // What a caller left in the row does not count; its placement does.
    one.call.experiment_id = "77".into();
    one.call.run_id = Some("nowhere".into());
    let call = store.settle(vec![one]).await.unwrap().remove(0);
    assert_eq!((call.experiment_id.as_str(), call.run_id), ("0", None));
    let experiment = store.experiment("Default").await.unwrap();
    assert_eq!((experiment.experiment.id.as_str(), experiment.runs, experiment.totals.calls), ("0", 0, 1));
}

#[tokio::test]
async fn experiments_are_found_by_id_then_by_name_then_made() {
    let (_directory, store) = open();
    assert_eq!(settle_one(&store, 1, Some("first"), None).await.experiment_id, "1");
    assert_eq!(settle_one(&store, 2, Some("second"), None).await.experiment_id, "2");
    assert_eq!(settle_one(&store, 3, Some("first"), None).await.experiment_id, "1");
    assert_eq!(settle_one(&store, 4, Some("2"), None).await.experiment_id, "2");
    assert_eq!(settle_one(&store, 5, Some("Default"), None).await.experiment_id, "0");
    let names: Vec<_> = store
        .experiments()
        .await
        .unwrap()
        .into_iter()
        .map(|one| (one.experiment.id, one.experiment.name))
        .collect();
    let expected = [("0", "Default"), ("1", "first"), ("2", "second")];
    assert_eq!(names, expected.map(|(id, name)| (id.to_owned(), name.to_owned())));
    assert_eq!(store.experiment("first").await.unwrap().experiment.created_at, bare(1).started_at);
    assert_eq!(store.experiment("third").await.unwrap_err().code, ErrorCode::NotFound);
}

#[tokio::test]
async fn an_experiment_whose_name_is_a_number_keeps_its_calls() {
    let (_directory, store) = open();
    // No experiment has id 2, so this is a name; nor may it be its own id by chance, or a later one's.
    assert_eq!(settle_one(&store, 1, Some("2"), None).await.experiment_id, "1");
    assert_eq!(settle_one(&store, 2, Some("other"), None).await.experiment_id, "3");
    assert_eq!(settle_one(&store, 3, Some("2"), None).await.experiment_id, "1");
    assert_eq!(settle_one(&store, 4, Some("4"), None).await.experiment_id, "5");
    assert_eq!(settle_one(&store, 5, Some("4"), None).await.experiment_id, "5");
}

#[tokio::test]
async fn runs_are_made_by_name_within_their_experiment() {
    let (_directory, store) = open();
    let one = settle_one(&store, 1, Some("a"), Some("nightly")).await;
    let same = settle_one(&store, 2, Some("a"), Some("nightly")).await;
    let elsewhere = settle_one(&store, 3, Some("b"), Some("nightly")).await;
    let unplaced = settle_one(&store, 4, None, Some("nightly")).await;
    let run = one.run_id.clone().unwrap();
    assert_eq!(run.len(), 32);
    assert!(run.bytes().all(|digit| digit.is_ascii_hexdigit()));
    assert_eq!(same.run_id, one.run_id);
    assert_ne!(elsewhere.run_id, one.run_id);
    assert_eq!(unplaced.experiment_id, "0");
    assert_ne!(unplaced.run_id, one.run_id);

    let summary = store.run(&run).await.unwrap();
    assert_eq!(summary.run.name, "nightly");
    assert_eq!(summary.run.status, RunStatus::Running);
    assert_eq!(summary.run.started_at, bare(1).started_at);
    assert_eq!((summary.experiment.as_str(), summary.totals.calls), ("a", 2));
    assert_eq!(store.experiment("a").await.unwrap().runs, 1);

    let many = store.run("nightly").await.unwrap_err();
    assert_eq!(many.code, ErrorCode::Conflict);
    assert!(many.message.contains('3'), "{many}");
    assert_eq!(store.run("weekly").await.unwrap_err().code, ErrorCode::NotFound);

    let listed = store.runs(None, newest(10)).await.unwrap();
    assert_eq!(listed.iter().map(|one| one.experiment.as_str()).collect::<Vec<_>>(), ["Default", "b", "a"]);
    assert_eq!(store.runs(None, newest(2)).await.unwrap().len(), 2);
    let of_a = store.runs(Some("a".into()), newest(10)).await.unwrap();
    assert_eq!(of_a.iter().map(|one| one.run.id.as_str()).collect::<Vec<_>>(), [run.as_str()]);
    assert_eq!(store.runs(Some("none".into()), newest(10)).await.unwrap(), []);
}

#[tokio::test]
async fn a_run_id_decides_the_experiment_and_says_so() {
    let (_directory, store) = open();
    let run = settle_one(&store, 1, Some("a"), Some("r")).await.run_id.unwrap();
    for (number, asked, noted) in
        [(2, None, false), (3, Some("a"), false), (4, Some("1"), false), (5, Some("b"), true)]
    {
        let call = settle_one(&store, number, asked, Some(&run)).await;
        assert_eq!((call.experiment_id.as_str(), call.run_id.as_deref()), ("1", Some(run.as_str())));
        assert_eq!(
            call.notes.iter().any(|note| note.starts_with("placement: run ")),
            noted,
            "{:?}",
            call.notes
        );
        assert_eq!(store.call(&call.id.to_string()).await.unwrap(), call);
    }
    assert_eq!(store.experiments().await.unwrap().len(), 2, "the experiment that was overruled is not made");
}

#[tokio::test]
async fn ids_of_runs_follow_from_names_alone() {
    let mut ids = Vec::new();
    for _ in 0..2 {
        let (_directory, store) = open();
        ids.push(settle_one(&store, 1, None, Some("r")).await.run_id.unwrap());
    }
    assert_eq!(ids[0], ids[1]);

    // A renamed run keeps its id; its old name makes another run.
    let (directory, store) = open();
    let first = settle_one(&store, 1, None, Some("r")).await.run_id.unwrap();
    outside(&directory).execute("UPDATE runs SET name = 'renamed'", []).unwrap();
    let second = settle_one(&store, 2, None, Some("r")).await.run_id.unwrap();
    assert_ne!(first, second);
    assert_eq!(settle_one(&store, 3, None, Some("r")).await.run_id.unwrap(), second);
    assert_eq!(settle_one(&store, 4, None, Some("renamed")).await.run_id.unwrap(), first);
}

#[tokio::test]
async fn a_running_run_starts_with_its_earliest_call_and_knows_its_latest() {
    let (directory, store) = open();
    let run = settle_one(&store, 10, None, Some("r")).await.run_id.unwrap();
    settle_one(&store, 5, None, Some("r")).await;
    settle_one(&store, 7, None, Some("r")).await;
    let last = || -> i64 {
        outside(&directory).query_row("SELECT last_call_at FROM runs", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(store.run(&run).await.unwrap().run.started_at, bare(5).started_at);
    assert_eq!(last(), bare(10).ended_at.0);

    outside(&directory).execute("UPDATE runs SET status = 'FINISHED'", []).unwrap();
    settle_one(&store, 1, None, Some("r")).await;
    settle_one(&store, 20, None, Some("r")).await;
    let ended = store.run(&run).await.unwrap();
    assert_eq!((ended.run.started_at, last()), (bare(5).started_at, bare(10).ended_at.0));
    assert_eq!(ended.totals.calls, 5);
}
