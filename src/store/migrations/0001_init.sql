-- Experiments, runs, calls, contents and rollups. Times are nanoseconds since the Unix epoch, money is
-- nano-USD, ids are raw bytes where their text would be hex of fixed length. NULL is unknown or absent.

-- "tapl", so that other programs can tell whose database it is.
PRAGMA application_id = 0x7461706c;

CREATE TABLE experiments (
    id         TEXT NOT NULL PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO experiments (id, name, created_at, updated_at)
SELECT '0', 'Default', now, now
FROM (SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER) * 1000000 AS now);

CREATE TABLE runs (
    id            TEXT NOT NULL PRIMARY KEY,
    experiment_id TEXT NOT NULL REFERENCES experiments (id),
    name          TEXT NOT NULL,
    status        TEXT NOT NULL,
    started_at    INTEGER NOT NULL,
    ended_at      INTEGER,
    -- The end of the newest call while the run is RUNNING.
    last_call_at  INTEGER,
    -- 1 when a call made the run by naming it: its start is then its earliest call's.
    implicit      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX runs_by_start ON runs (started_at, id);
CREATE INDEX runs_by_experiment ON runs (experiment_id, started_at, id);
CREATE INDEX runs_by_name ON runs (name, experiment_id);

CREATE TABLE run_tags (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    key    TEXT NOT NULL,
    value  TEXT NOT NULL,
    PRIMARY KEY (run_id, key)
) STRICT, WITHOUT ROWID;

-- One row per call, dense: headers and bodies are elsewhere, so that scans stay cheap. `sequence` is the
-- order of storing and is never reused, which is what consumers' cursors rest on.
CREATE TABLE spans (
    sequence         INTEGER PRIMARY KEY AUTOINCREMENT,
    call_id          BLOB NOT NULL UNIQUE,
    trace_id         BLOB NOT NULL,
    span_id          BLOB NOT NULL,
    parent_span_id   BLOB,
    name             TEXT NOT NULL,
    started_at       INTEGER NOT NULL,
    ended_at         INTEGER NOT NULL,
    duration_ns      INTEGER NOT NULL,
    experiment_id    TEXT NOT NULL REFERENCES experiments (id),
    run_id           TEXT REFERENCES runs (id),
    session          TEXT,
    experiment_rule  TEXT,
    run_rule         TEXT,
    session_rule     TEXT,
    user             TEXT,
    tags             TEXT,
    metadata         TEXT,
    upstream         TEXT NOT NULL,
    provider         TEXT NOT NULL,
    server_address   TEXT NOT NULL,
    server_port      INTEGER NOT NULL,
    dialect          TEXT NOT NULL,
    operation        TEXT NOT NULL,
    request_model    TEXT,
    response_model   TEXT,
    streamed         INTEGER NOT NULL,
    method           TEXT NOT NULL,
    target           TEXT NOT NULL,
    peer             TEXT,
    key_fingerprint  TEXT,
    status           TEXT NOT NULL,
    outcome          TEXT NOT NULL,
    http_status      INTEGER,
    error_type       TEXT,
    error_source     TEXT,
    error_message    TEXT,
    finish_reasons   TEXT,
    response_id      TEXT,
    request_id       TEXT,
    retry_count      INTEGER,
    service_tier     TEXT,
    tool_calls       INTEGER NOT NULL,
    input            INTEGER,
    cache_read       INTEGER,
    cache_write      INTEGER,
    cache_write_long INTEGER,
    input_audio      INTEGER,
    input_image      INTEGER,
    output           INTEGER,
    reasoning        INTEGER,
    output_audio     INTEGER,
    output_image     INTEGER,
    web_searches     INTEGER,
    reported_cost    INTEGER,
    usage_source     TEXT,
    cost             INTEGER,
    price_id         TEXT,
    first_byte_ns    INTEGER,
    first_token_ns   INTEGER,
    last_token_ns    INTEGER,
    chunks           INTEGER NOT NULL,
    sent_bytes       INTEGER NOT NULL,
    received_bytes   INTEGER NOT NULL,
    request_whole    INTEGER NOT NULL,
    response_whole   INTEGER NOT NULL,
    notes            TEXT,
    model            TEXT AS (coalesce(response_model, request_model)) VIRTUAL
) STRICT;
-- Each filter has an index that ends in the sort key, so that a first page reads a page of rows. Cost and
-- duration are ranges and cannot lead one: they ride in the index by start, which then answers without rows.
CREATE INDEX spans_by_start      ON spans (started_at, cost, duration_ns);
CREATE INDEX spans_by_experiment ON spans (experiment_id, started_at);
CREATE INDEX spans_by_run        ON spans (run_id, started_at) WHERE run_id IS NOT NULL;
CREATE INDEX spans_by_session    ON spans (session, started_at) WHERE session IS NOT NULL;
CREATE INDEX spans_by_model      ON spans (model, started_at);
CREATE INDEX spans_by_provider   ON spans (provider, started_at);
CREATE INDEX spans_by_upstream   ON spans (upstream, started_at);
CREATE INDEX spans_by_operation  ON spans (operation, started_at);
CREATE INDEX spans_by_status     ON spans (status, started_at);
CREATE INDEX spans_by_user       ON spans (user, started_at) WHERE user IS NOT NULL;
CREATE INDEX spans_by_trace      ON spans (trace_id, started_at);
CREATE INDEX spans_by_span       ON spans (span_id);

-- `started_at` repeats the span's, so that a tag's calls come in the order of the list.
CREATE TABLE call_tags (
    tag        TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    sequence   INTEGER NOT NULL REFERENCES spans (sequence) ON DELETE CASCADE,
    PRIMARY KEY (tag, started_at, sequence)
) STRICT, WITHOUT ROWID;
CREATE INDEX call_tags_by_sequence ON call_tags (sequence);

-- Request and response headers as JSON `[[…],[…]]`, zstd.
CREATE TABLE heads (
    sequence INTEGER PRIMARY KEY REFERENCES spans (sequence) ON DELETE CASCADE,
    headers  BLOB NOT NULL
) STRICT;

-- Every stored stretch of a body, once. `encoding`: 0 as it is, 1 zstd. `size`: bytes before encoding.
CREATE TABLE contents (
    id       INTEGER PRIMARY KEY,
    hash     BLOB NOT NULL UNIQUE,
    encoding INTEGER NOT NULL,
    size     INTEGER NOT NULL,
    body     BLOB NOT NULL
) STRICT;

-- A conversation is the path from a turn to its root; `parent` 0 is no turn. `depth` counts from 1.
CREATE TABLE turns (
    id      INTEGER PRIMARY KEY,
    parent  INTEGER NOT NULL,
    content INTEGER NOT NULL REFERENCES contents (id),
    depth   INTEGER NOT NULL,
    UNIQUE (parent, content)
) STRICT;

-- How to rebuild a body, and when its frames came; no row where there is nothing to keep. `side`: 0 request,
-- 1 response.
CREATE TABLE bodies (
    sequence INTEGER NOT NULL REFERENCES spans (sequence) ON DELETE CASCADE,
    side     INTEGER NOT NULL,
    recipe   BLOB NOT NULL,
    arrivals BLOB NOT NULL,
    PRIMARY KEY (sequence, side)
) STRICT, WITHOUT ROWID;

-- Sums per hour and place, written with the span. '' is none: a primary key holds no NULL here.
CREATE TABLE rollups (
    hour               INTEGER NOT NULL,
    experiment_id      TEXT NOT NULL,
    run_id             TEXT NOT NULL,
    upstream           TEXT NOT NULL,
    provider           TEXT NOT NULL,
    model              TEXT NOT NULL,
    operation          TEXT NOT NULL,
    key_fingerprint    TEXT NOT NULL,
    calls              INTEGER NOT NULL,
    errors             INTEGER NOT NULL,
    input_tokens       INTEGER NOT NULL,
    cache_read_tokens  INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    output_tokens      INTEGER NOT NULL,
    reasoning_tokens   INTEGER NOT NULL,
    estimated_calls    INTEGER NOT NULL,
    usageless_calls    INTEGER NOT NULL,
    cost               INTEGER NOT NULL,
    cost_estimated     INTEGER NOT NULL,
    priced_calls       INTEGER NOT NULL,
    unpriced_calls     INTEGER NOT NULL,
    duration_ns        INTEGER NOT NULL,
    PRIMARY KEY (hour, experiment_id, run_id, upstream, provider, model, operation, key_fingerprint)
) STRICT, WITHOUT ROWID;
CREATE INDEX rollups_by_experiment ON rollups (experiment_id, hour);
CREATE INDEX rollups_by_run ON rollups (run_id, hour);

-- How far each consumer of the calls has come.
CREATE TABLE cursors (
    consumer TEXT NOT NULL PRIMARY KEY,
    sequence INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
