"""What a scenario may have before its first step: requests, and what of their answers gets a name."""

P2 = "/api/2.0/mlflow/"
P3 = "/api/3.0/mlflow/"


def experiment(name: str = "${u}", into: str = "exp", tags: dict | None = None):
    body = {"name": name}
    if tags:
        body["tags"] = pairs(tags)
    return ("POST", P2 + "experiments/create", body, {into: "experiment_id"})


def pairs(values: dict) -> list[dict]:
    return [{"key": key, "value": value} for key, value in values.items()]


def run(name: str, start: int, into: str):
    body = {"experiment_id": "${exp}", "start_time": start, "run_name": name, "user_id": "ada"}
    return ("POST", P2 + "runs/create", body, {into: "run.info.run_id"})


def logged(into: str, params: dict, metrics: dict, tags: dict, **update):
    """Params, metrics and tags of the run of that name, and how it ended."""
    batch = {
        "run_id": f"${{{into}}}",
        "params": pairs(params),
        "metrics": [{**metric, "timestamp": 1, "step": 1} for metric in pairs(metrics)],
        "tags": pairs(tags),
    }
    steps = [("POST", P2 + "runs/log-batch", batch, {})]
    if update:
        steps.append(("POST", P2 + "runs/update", {"run_id": f"${{{into}}}", **update}, {}))
    return steps


def used(into: str, name: str, digest: str, context: str):
    dataset = {"name": name, "digest": digest, "source_type": "local", "source": "x"}
    tags = [{"key": "mlflow.data.context", "value": context}]
    body = {"run_id": f"${{{into}}}", "datasets": [{"dataset": dataset, "tags": tags}]}
    return ("POST", P2 + "runs/log-inputs", body, {})


def model(name: str, into: str, kind: str, params: dict, tags: dict):
    body = {
        "experiment_id": "${exp}",
        "name": name,
        "model_type": kind,
        "source_run_id": "${run}",
        "params": pairs(params),
        "tags": pairs(tags),
    }
    return ("POST", P2 + "logged-models", body, {into: "model.info.model_id"})


def scored(into: str, value: float, dataset: str | None = None):
    metric = {"key": "acc", "value": value, "timestamp": 1, "step": 1, "model_id": f"${{{into}}}"}
    if dataset:
        metric |= {"dataset_name": dataset, "dataset_digest": "abc"}
    return ("POST", P2 + "runs/log-batch", {"run_id": "${run}", "metrics": [metric]}, {})


def dataset(name: str, into: str, tags: str):
    body = {"name": name, "experiment_ids": ["${exp}"], "tags": tags}
    return ("POST", P3 + "datasets/create", body, {into: "dataset.dataset_id"})


ONE_RUN = [experiment(), run("first", 1000, "run")]

GIVEN = {
    # One experiment: ${exp}.
    "experiment": [experiment()],
    # One run in it, still running: ${run}.
    "run": ONE_RUN,
    # One logged model of that run: ${model}.
    "model": [*ONE_RUN, model("clf", "model", "agent", {}, {})],
    # One evaluation dataset: ${dataset}.
    "dataset": [experiment(), dataset("${u}", "dataset", '{"lang": "en"}')],
    # Three runs that differ: ${alpha}, ${beta}, ${gamma}.
    "runs": [
        experiment(),
        run("alpha", 1000, "alpha"),
        run("beta", 2000, "beta"),
        run("gamma", 3000, "gamma"),
        *logged(
            "alpha",
            {"model": "gpt-4o", "temp": "0.1", "top_p": "1"},
            {"acc": 0.9, "loss": 0.1, "top 5": 0.99, "f1": 0.5},
            {"team": "red", "my key": "1", "a-b": "1", "same": "x", "quoted": "it's"},
            status="FINISHED",
            end_time=5000,
        ),
        *logged(
            "beta",
            {"model": "gpt-4o-mini", "temp": "0.7"},
            {"acc": 0.7, "loss": "NaN"},
            {"team": "blue", "same": "x", "quoted": "größe"},
            status="FAILED",
            end_time=4000,
        ),
        *logged("gamma", {"model": "claude"}, {"acc": 0.8, "top 5": 0.2}, {"same": "x"}),
        used("alpha", "train", "abc", "training"),
        used("beta", "test", "def", "eval"),
    ],
    # Three experiments: ${a}, ${b}, ${c}.
    "experiments": [
        experiment("${u}-a", "a", {"team": "red"}),
        experiment("${u}-b", "b", {"team": "blue"}),
        experiment("${u}-c", "c"),
    ],
    # Three logged models: ${one}, ${two}, ${three}.
    "models": [
        *ONE_RUN,
        model("one", "one", "agent", {"lr": "0.1"}, {"team": "red"}),
        model("two", "two", "agent", {"lr": "0.2"}, {"team": "blue"}),
        model("three", "three", "tool", {}, {}),
        scored("one", 0.9, "d"),
        scored("two", 0.4),
        ("PATCH", P2 + "logged-models/${one}", {"model_id": "${one}", "status": "LOGGED_MODEL_READY"}, {}),
    ],
    # Three evaluation datasets of one experiment.
    "datasets": [
        experiment(),
        dataset("${u}-a", "a", '{"lang": "en", "mlflow.user": "ada"}'),
        dataset("${u}-b", "b", '{"lang": "de"}'),
        dataset("${u}-c", "c", "{}"),
    ],
}
