"""Goes on with a run that ended: an evaluation's rows as JSON, and their means."""

import sys

import mlflow

rows = [{"question": f"q{number}", "score": number / 4} for number in range(5)]
with mlflow.start_run(run_id=sys.argv[1]) as run:
    mlflow.log_dict({"rows": rows}, "evaluation/results.json")
    mlflow.log_metrics(
        {"score_mean": sum(row["score"] for row in rows) / len(rows), "score_max": max(row["score"] for row in rows)}
    )
print(run.info.run_id)
