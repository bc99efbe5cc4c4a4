//! The verbs around tracking as processes: `run`, `import mlflow` and `export mlflow`, what they exit with, and
//! that an import that was cut off and begun again gives the same as one that was not.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

use super::Tracking;

fn tapline(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tapline"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// What it exits with, and what it says.
fn ended(arguments: &[&str]) -> (Option<i32>, Output) {
    let output = tapline(arguments).output().unwrap();
    (output.status.code(), output)
}

/// A verb's report as JSON; it must succeed.
fn report(arguments: &[&str]) -> Value {
    let (code, output) = ended(arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn a_run_ends_as_its_program_does() {
    let tracking = Tracking::start();
    let url = tracking.tapline.url.as_str();
    for (script, code, status) in
        [("true", 0, "FINISHED"), ("exit 7", 7, "FAILED"), ("kill -TERM $$", 143, "KILLED")]
    {
        let arguments =
            ["run", "--url", url, "-e", "ends", "-n", script, "-P", "a=1=2", "-t", "b=c", "--json"];
        let (found, output) = ended(&[&arguments[..], &["--", "sh", "-c", script]].concat());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(found, Some(code), "{script}: {told}");
        let told: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
        assert_eq!(told["exit_code"], code);
        let run = tracking.get_run(told["run"]["id"].as_str().unwrap()).await;
        assert!(run["info"]["end_time"].as_i64().is_some(), "{run}");
        assert_eq!(run["info"]["status"], status, "{script}");
        assert_eq!(run["data"]["params"], json!([{"key": "a", "value": "1=2"}]));
        let tags = run["data"]["tags"].as_array().unwrap();
        for (key, value) in [("b", "c".to_owned()), ("tapline.exit_code", code.to_string())] {
            assert!(tags.contains(&json!({"key": key, "value": value})), "{key} in {tags:?}");
        }
    }
    let cases: [(&[&str], i32); 5] = [
        (&["run", "--url", url, "--", "/no/such/program"], 127),
        (&["run", "--url", url, "--", "/"], 126),
        (&["run", "--url", url], 2),
        (&["run", "--url", url, "-P", "a", "--", "true"], 2),
        (&["run", "--url", "http://127.0.0.1:9", "--", "true"], 3),
    ];
    for (arguments, code) in cases {
        let (found, output) = ended(arguments);
        assert_eq!(found, Some(code), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_place_that_is_not_there_has_its_exit_code() {
    let data = tempfile::tempdir().unwrap();
    let (there, nowhere) = (text(data.path()), data.path().join("nowhere"));
    let cases: [(&[&str], i32); 6] = [
        (&["export", "mlflow", "127.0.0.1:9", "--data", there], 1),
        (&["import", "mlflow", "http://127.0.0.1:9", "--data", there], 3),
        (&["export", "mlflow", "http://127.0.0.1:9", "--data", there], 3),
        (&["import", "mlflow", text(&nowhere), "--data", there], 1),
        (&["import", "mlflow"], 2),
        (&["export", "mlflow"], 2),
    ];
    for (arguments, code) in cases {
        let (found, output) = ended(arguments);
        assert_eq!(found, Some(code), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(!output.stderr.is_empty(), "{arguments:?} says why");
    }
}

const RUNS: u64 = 40;

/// Runs with a history, a child, an artifact and one that is deleted.
async fn filled() -> Tracking {
    let tracking = Tracking::start();
    let experiment = tracking.experiment("moves").await;
    let parent = tracking.run(&experiment, None).await;
    for at in 1..RUNS {
        let run = tracking.run(&experiment, Some(&parent)).await;
        let points: Vec<_> = (0..50)
            .map(|step| json!({"key": "loss", "value": step * at, "timestamp": step + 1, "step": step}))
            .collect();
        let batch =
            json!({"run_id": run, "metrics": points, "params": [{"key": "at", "value": at.to_string()}]});
        tracking.post("runs/log-batch", batch).await;
        let path = format!("mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/a/out.txt");
        let put = tracking.client.put(format!("{}/api/2.0/{path}", tracking.tapline.url));
        assert_eq!(put.body(format!("run {at}")).send().await.unwrap().status(), 200);
        tracking.end(&run).await;
        if at == 1 {
            tracking.post("runs/delete", json!({"run_id": run})).await;
        }
    }
    tracking.end(&parent).await;
    tracking
}

#[tokio::test]
async fn an_import_that_was_cut_off_goes_on_and_gives_the_same() {
    let source = filled().await;
    let into = tempfile::tempdir().unwrap();
    let arguments = ["import", "mlflow", source.tapline.url.as_str(), "--data", text(into.path()), "--json"];
    // Cut off at three places, wherever they turn out to be: none of them may matter.
    for place in ["", "tapline.db", "artifacts"] {
        let mut cut = tapline(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while !into.path().join(place).exists() && cut.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        cut.kill().ok();
        cut.wait().unwrap();
    }
    let rest = report(&[&arguments[..], &["--verify"]].concat());
    assert_eq!(rest["problems"], json!([]), "{rest}");
    assert_eq!(rest["runs"].as_u64().unwrap() + rest["skipped_runs"].as_u64().unwrap(), RUNS, "{rest}");
    let again = report(&[&arguments[..], &["--verify"]].concat());
    assert_eq!((&again["runs"], &again["skipped_runs"]), (&json!(0), &json!(RUNS)), "{again}");
    assert_eq!((&again["files"], &again["problems"]), (&json!(0), &json!([])), "{again}");
}

#[tokio::test]
async fn a_folder_that_was_exported_is_imported_as_it_was() {
    let source = filled().await;
    let (folder, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mlruns = folder.path().join("mlruns");
    let arguments = ["export", "mlflow", text(&mlruns), "--data", text(source.data.path()), "--json"];
    let sent = report(&arguments);
    assert_eq!((&sent["runs"], &sent["problems"]), (&json!(RUNS - 1), &json!([])), "{sent}");
    let again = report(&arguments);
    assert_eq!((&again["runs"], &again["skipped_runs"]), (&json!(0), &json!(RUNS - 1)), "{again}");
    let back =
        report(&["import", "mlflow", text(&mlruns), "--data", text(into.path()), "--json", "--verify"]);
    for count in ["runs", "params", "metric_points", "files", "bytes"] {
        assert_eq!(back[count], sent[count], "{count}: {back}");
    }
    assert_eq!(back["problems"], json!([]));
}

#[tokio::test]
async fn an_export_goes_into_a_folder_that_has_experiments() {
    let source = filled().await;
    let folder = tempfile::tempdir().unwrap();
    // One of the id that `moves` has here, and one of the name that another has here.
    for (id, name) in [("1", "theirs"), ("7", "Default")] {
        let there = folder.path().join(id);
        std::fs::create_dir_all(&there).unwrap();
        let meta =
            format!("experiment_id: '{id}'\nname: {name}\nlifecycle_stage: active\ncreation_time: 5\n");
        std::fs::write(there.join("meta.yaml"), meta).unwrap();
    }
    let arguments = ["export", "mlflow", text(folder.path()), "--data", text(source.data.path()), "--json"];
    let sent = report(&arguments);
    assert_eq!((&sent["runs"], &sent["problems"]), (&json!(RUNS - 1), &json!([])), "{sent}");
    assert_eq!(report(&arguments)["skipped_runs"], json!(RUNS - 1));
    let into = tempfile::tempdir().unwrap();
    let back =
        report(&["import", "mlflow", text(folder.path()), "--data", text(into.path()), "--json", "--verify"]);
    assert_eq!((&back["experiments"], &back["runs"]), (&json!(3), &json!(RUNS - 1)), "{back}");
    assert!(!folder.path().join("0").exists(), "the experiment of the same name was taken");
}

#[tokio::test]
async fn a_run_that_goes_on_is_there_until_it_is_written_anew() {
    let source = filled().await;
    let run = source.run("1", None).await;
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["export", "mlflow", text(folder.path()), "--data", text(source.data.path()), "--json"];
    assert_eq!(report(&arguments)["runs"], json!(RUNS));
    let there = folder.path().join("1").join(&run);
    let log = async |value: u32| {
        let point = json!({"run_id": run, "key": "loss", "value": value, "timestamp": value, "step": value});
        source.post("runs/log-metric", point).await;
    };
    log(1).await;
    // What is in the way of the new one leaves the old one where it is.
    let part = folder.path().join("1/.part");
    std::fs::write(&part, "").unwrap();
    let (code, output) = ended(&arguments);
    assert_eq!(code, Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(there.join("meta.yaml").exists() && !there.join("metrics/loss").exists());
    std::fs::remove_file(&part).unwrap();
    log(2).await;
    source.end(&run).await;
    for key in ["a", "a/b"] {
        source.post("runs/set-tag", json!({"run_id": run, "key": key, "value": "v"})).await;
    }
    let (code, output) = ended(&arguments);
    assert_eq!(code, Some(1), "a name that is a folder too is told");
    let sent: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&sent["runs"], sent["problems"].as_array().unwrap().len()), (&json!(1), 1), "{sent}");
    assert_eq!(std::fs::read_to_string(there.join("metrics/loss")).unwrap().lines().count(), 2);
    assert!(!folder.path().join("1/.old").exists() && !part.exists());
}

#[tokio::test]
async fn an_export_is_sent_once_and_is_what_was_here() {
    let source = filled().await;
    let target = Tracking::start();
    let from = text(source.data.path());
    let arguments = ["export", "mlflow", target.tapline.url.as_str(), "--data", from, "--json"];
    let sent = report(&arguments);
    assert_eq!(
        (&sent["problems"], &sent["files"]),
        (&json!([]), &json!(RUNS - 2)),
        "what is deleted stays: {sent}"
    );
    let again = report(&arguments);
    assert_eq!((&again["runs"], &again["files"]), (&json!(0), &json!(0)), "{again}");
    let found =
        target.post("experiments/search", json!({"max_results": 10, "filter": "name = 'moves'"})).await;
    let id = &found["experiments"][0]["experiment_id"];
    let search = json!({"experiment_ids": [id], "filter": "metrics.loss >= 98 and params.at = '2'"});
    let runs = target.post("runs/search", search).await;
    let run = &runs["runs"][0]["info"]["run_id"];
    let query =
        format!("/api/2.0/mlflow/metrics/get-history?run_id={}&metric_key=loss", run.as_str().unwrap());
    assert_eq!(target.read(&query).await["metrics"].as_array().unwrap().len(), 50);
}
