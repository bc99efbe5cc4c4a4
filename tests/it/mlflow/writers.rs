//! Many at once.

use std::sync::Arc;

use serde_json::json;

use super::Tracking;

#[tokio::test]
async fn sixty_four_writers_lose_nothing_and_meet_no_lock() {
    let tracking = Arc::new(Tracking::start());
    let run = tracking.run("0", None).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..64 {
        let (tracking, run) = (Arc::clone(&tracking), run.clone());
        writers.spawn(async move {
            let own = tracking.run("0", None).await;
            for step in 0..10 {
                for (run, key) in [(&run, format!("m{writer}")), (&own, "m".to_owned())] {
                    let body =
                        json!({"run_id": run, "key": key, "value": step, "timestamp": step, "step": step});
                    tracking.post("runs/log-metric", body).await;
                }
            }
            tracking.end(&own).await;
            own
        });
    }
    let runs = writers.join_all().await;
    let shared = tracking.get_run(&run).await;
    assert_eq!(shared["data"]["metrics"].as_array().unwrap().len(), 64);
    for own in runs {
        let whole = tracking.get_run(&own).await;
        assert_eq!(whole["data"]["metrics"][0]["step"], 9, "{whole}");
        assert_eq!(whole["info"]["status"], "FINISHED");
    }
}
