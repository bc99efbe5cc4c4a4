-- MLflow's tracking in the same experiments and runs that calls are grouped in. A run has a number beside
-- its id, and every name of a metric, param or tag has one too, so that rows and indexes are small integers.
-- Timestamps of metrics are milliseconds, as clients send them; all other times are nanoseconds.

PRAGMA defer_foreign_keys = ON;

-- NULL: under the server's own artifact root. A deleted experiment keeps its name.
ALTER TABLE experiments ADD COLUMN artifact_location TEXT;
ALTER TABLE experiments ADD COLUMN deleted_at INTEGER;

CREATE TABLE experiment_tags (
    experiment_id TEXT NOT NULL REFERENCES experiments (id) ON DELETE CASCADE,
    key           TEXT NOT NULL,
    value         TEXT NOT NULL,
    PRIMARY KEY (experiment_id, key)
) STRICT, WITHOUT ROWID;

-- The runs again, with a number. What refers to them by id finds them as soon as they are back.
CREATE TEMP TABLE runs_before AS SELECT * FROM runs ORDER BY started_at, id;
CREATE TEMP TABLE run_tags_before AS SELECT * FROM run_tags;
DELETE FROM runs;
DROP TABLE run_tags;
DROP TABLE runs;

CREATE TABLE runs (
    number        INTEGER PRIMARY KEY,
    id            TEXT NOT NULL UNIQUE,
    experiment_id TEXT NOT NULL REFERENCES experiments (id),
    name          TEXT NOT NULL,
    status        TEXT NOT NULL,
    started_at    INTEGER NOT NULL,
    ended_at      INTEGER,
    -- The end of the newest call while the run is RUNNING.
    last_call_at  INTEGER,
    -- 1 when a call made the run by naming it: its start is then its earliest call's.
    implicit      INTEGER NOT NULL,
    user          TEXT NOT NULL DEFAULT '',
    deleted_at    INTEGER,
    -- NULL: under the experiment's artifact location.
    artifact_uri  TEXT
) STRICT;
CREATE INDEX runs_by_start ON runs (started_at, id);
CREATE INDEX runs_by_experiment ON runs (experiment_id, started_at DESC, id);
CREATE INDEX runs_by_name ON runs (name, experiment_id);

INSERT INTO runs (id, experiment_id, name, status, started_at, ended_at, last_call_at, implicit)
SELECT id, experiment_id, name, status, started_at, ended_at, last_call_at, implicit FROM runs_before;

-- Names of metrics, params and tags of runs; none is ever removed, so rows refer to them unchecked.
CREATE TABLE keys (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE run_tags (
    run   INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    key   INTEGER NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX run_tags_by_value ON run_tags (key, value);

INSERT INTO keys (name) SELECT 'mlflow.runName' UNION SELECT key FROM run_tags_before;
INSERT INTO run_tags (run, key, value)
SELECT runs.number, keys.id, old.value
FROM run_tags_before AS old JOIN runs ON runs.id = old.run_id JOIN keys ON keys.name = old.key;
INSERT OR IGNORE INTO run_tags (run, key, value)
SELECT number, (SELECT id FROM keys WHERE name = 'mlflow.runName'), name FROM runs;
DROP TABLE runs_before;
DROP TABLE run_tags_before;

CREATE TABLE params (
    run   INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    key   INTEGER NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX params_by_value ON params (key, value);

-- Every point of every metric, in the order in which histories are paged. A point that is logged twice is
-- one. `nan` 1 means that the value is not a number (`value` is then 0, which SQLite can compare).
CREATE TABLE metrics (
    run       INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    key       INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    step      INTEGER NOT NULL,
    value     REAL NOT NULL,
    nan       INTEGER NOT NULL,
    PRIMARY KEY (run, key, timestamp, step, value, nan)
) STRICT, WITHOUT ROWID;

-- The point with the greatest (step, timestamp, value) of each metric: what a run shows and a search compares.
CREATE TABLE latest_metrics (
    run       INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    key       INTEGER NOT NULL,
    value     REAL NOT NULL,
    nan       INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    step      INTEGER NOT NULL,
    PRIMARY KEY (run, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX latest_metrics_by_value ON latest_metrics (key, nan, value);

-- When an address had a run open through MLflow's face, by this machine's clock; calls from there that name
-- no run belong to it where no other could be meant.
CREATE TABLE run_peers (
    run       INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    peer      TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    closed_at INTEGER,
    PRIMARY KEY (run, peer, opened_at)
) STRICT, WITHOUT ROWID;
CREATE INDEX run_peers_by_close ON run_peers (peer, closed_at, opened_at);

-- Data that runs read, known by name and digest within an experiment.
CREATE TABLE datasets (
    id            INTEGER PRIMARY KEY,
    experiment_id TEXT NOT NULL REFERENCES experiments (id) ON DELETE CASCADE,
    name          TEXT NOT NULL,
    digest        TEXT NOT NULL,
    source_type   TEXT NOT NULL,
    source        TEXT NOT NULL,
    schema        TEXT,
    profile       TEXT,
    UNIQUE (experiment_id, name, digest)
) STRICT;

CREATE TABLE dataset_inputs (
    run     INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    dataset INTEGER NOT NULL REFERENCES datasets (id),
    PRIMARY KEY (run, dataset)
) STRICT, WITHOUT ROWID;
CREATE INDEX dataset_inputs_by_dataset ON dataset_inputs (dataset);

CREATE TABLE dataset_input_tags (
    run     INTEGER NOT NULL,
    dataset INTEGER NOT NULL,
    key     TEXT NOT NULL,
    value   TEXT NOT NULL,
    PRIMARY KEY (run, dataset, key),
    FOREIGN KEY (run, dataset) REFERENCES dataset_inputs (run, dataset) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE logged_models (
    number         INTEGER PRIMARY KEY,
    id             TEXT NOT NULL UNIQUE,
    experiment_id  TEXT NOT NULL REFERENCES experiments (id) ON DELETE CASCADE,
    name           TEXT NOT NULL,
    artifact_uri   TEXT NOT NULL,
    model_type     TEXT NOT NULL,
    source_run_id  TEXT NOT NULL,
    status         TEXT NOT NULL,
    status_message TEXT,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    deleted_at     INTEGER
) STRICT;
CREATE INDEX logged_models_by_experiment ON logged_models (experiment_id, created_at DESC, id);
CREATE INDEX logged_models_by_source_run ON logged_models (source_run_id);

CREATE TABLE logged_model_params (
    model INTEGER NOT NULL REFERENCES logged_models (number) ON DELETE CASCADE,
    key   TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (model, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE logged_model_tags (
    model INTEGER NOT NULL REFERENCES logged_models (number) ON DELETE CASCADE,
    key   TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (model, key)
) STRICT, WITHOUT ROWID;

-- A run's metrics that say which model they are of. NaN is kept as NULL.
CREATE TABLE logged_model_metrics (
    model          INTEGER NOT NULL REFERENCES logged_models (number) ON DELETE CASCADE,
    key            TEXT NOT NULL,
    timestamp      INTEGER NOT NULL,
    step           INTEGER NOT NULL,
    run            INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    value          REAL,
    dataset_name   TEXT,
    dataset_digest TEXT,
    PRIMARY KEY (model, key, timestamp, step, run)
) STRICT, WITHOUT ROWID;
CREATE INDEX logged_model_metrics_by_run ON logged_model_metrics (run);

-- Models are named by id: a run may say what it read before the model is known here.
CREATE TABLE model_inputs (
    run      INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    model_id TEXT NOT NULL,
    PRIMARY KEY (run, model_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE model_outputs (
    run      INTEGER NOT NULL REFERENCES runs (number) ON DELETE CASCADE,
    model_id TEXT NOT NULL,
    step     INTEGER NOT NULL,
    PRIMARY KEY (run, model_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE evaluation_datasets (
    number     INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    schema     TEXT,
    profile    TEXT,
    digest     TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    created_by TEXT,
    updated_by TEXT
) STRICT;
CREATE INDEX evaluation_datasets_by_name ON evaluation_datasets (name);
CREATE INDEX evaluation_datasets_by_creation ON evaluation_datasets (created_at);

CREATE TABLE evaluation_dataset_tags (
    dataset INTEGER NOT NULL REFERENCES evaluation_datasets (number) ON DELETE CASCADE,
    key     TEXT NOT NULL,
    value   TEXT NOT NULL,
    PRIMARY KEY (dataset, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE evaluation_dataset_experiments (
    dataset       INTEGER NOT NULL REFERENCES evaluation_datasets (number) ON DELETE CASCADE,
    experiment_id TEXT NOT NULL,
    PRIMARY KEY (dataset, experiment_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX evaluation_dataset_experiments_by_experiment ON evaluation_dataset_experiments (experiment_id);

-- One row per distinct inputs (`input_hash`, SHA-256 of their canonical JSON); the rest is merged into it.
CREATE TABLE evaluation_records (
    number       INTEGER PRIMARY KEY,
    id           TEXT NOT NULL UNIQUE,
    dataset      INTEGER NOT NULL REFERENCES evaluation_datasets (number) ON DELETE CASCADE,
    input_hash   BLOB NOT NULL,
    inputs       TEXT NOT NULL,
    outputs      TEXT,
    expectations TEXT NOT NULL,
    tags         TEXT NOT NULL,
    source       TEXT,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    created_by   TEXT,
    updated_by   TEXT,
    UNIQUE (dataset, input_hash)
) STRICT;
