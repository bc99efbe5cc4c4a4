-- Sums at several grains, so that a report reads few rows however many calls, hours or runs there are; and
-- per run what its page and its metrics show.

ALTER TABLE rollups RENAME TO hours;
DROP INDEX rollups_by_experiment;
DROP INDEX rollups_by_run;

-- A row of each grain per call's hour and place, written with the span. `grain` is `store::rollups::Grain`; what a
-- grain does not tell apart is '' in its rows, as is what a call does not have. `period` is the hour since the
-- Unix epoch at which the grain's hour or day begins, 0 where it tells no time.
CREATE TABLE rollups (
    grain              INTEGER NOT NULL,
    period             INTEGER NOT NULL,
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
    PRIMARY KEY (grain, period, experiment_id, run_id, upstream, provider, model, operation, key_fingerprint)
) STRICT, WITHOUT ROWID;
CREATE INDEX rollups_by_experiment ON rollups (experiment_id, grain, period) WHERE experiment_id <> '';
CREATE INDEX rollups_by_run ON rollups (run_id, grain, period) WHERE run_id <> '';

-- One row per run, and per experiment one for its calls without a run (run_id ''). Percentiles are NULL while the
-- histogram lacks calls that were stored before there was one.
CREATE TABLE run_totals (
    run_id             TEXT NOT NULL,
    experiment_id      TEXT NOT NULL,
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
    -- The start of the earliest call, the end of the latest.
    first_call_at      INTEGER,
    last_call_at       INTEGER,
    latency_p50_ns     INTEGER,
    latency_p95_ns     INTEGER,
    latency_p99_ns     INTEGER,
    -- `model::latency`: per bucket its number (2 bytes) and its count (8 bytes), little-endian.
    latency            BLOB NOT NULL,
    PRIMARY KEY (run_id, experiment_id)
) STRICT, WITHOUT ROWID;

INSERT INTO rollups
SELECT 5, hour, experiment_id, run_id, upstream, provider, model, operation, key_fingerprint, calls, errors,
    input_tokens, cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens, estimated_calls,
    usageless_calls, cost, cost_estimated, priced_calls, unpriced_calls, duration_ns
FROM hours;
DROP TABLE hours;

INSERT INTO rollups
SELECT 4, 0, experiment_id, run_id, upstream, provider, model, operation, key_fingerprint, sum(calls), sum(errors),
    sum(input_tokens), sum(cache_read_tokens), sum(cache_write_tokens), sum(output_tokens), sum(reasoning_tokens),
    sum(estimated_calls), sum(usageless_calls), sum(cost), sum(cost_estimated), sum(priced_calls),
    sum(unpriced_calls), sum(duration_ns)
FROM rollups WHERE grain = 5
GROUP BY experiment_id, run_id, upstream, provider, model, operation, key_fingerprint;

INSERT INTO rollups
SELECT 3, period, '', '', upstream, provider, model, operation, '', sum(calls), sum(errors),
    sum(input_tokens), sum(cache_read_tokens), sum(cache_write_tokens), sum(output_tokens), sum(reasoning_tokens),
    sum(estimated_calls), sum(usageless_calls), sum(cost), sum(cost_estimated), sum(priced_calls),
    sum(unpriced_calls), sum(duration_ns)
FROM rollups WHERE grain = 5
GROUP BY period, upstream, provider, model, operation;

INSERT INTO rollups
SELECT 2, period - (period % 24 + 24) % 24, experiment_id, '', upstream, provider, model, operation, key_fingerprint,
    sum(calls), sum(errors),
    sum(input_tokens), sum(cache_read_tokens), sum(cache_write_tokens), sum(output_tokens), sum(reasoning_tokens),
    sum(estimated_calls), sum(usageless_calls), sum(cost), sum(cost_estimated), sum(priced_calls),
    sum(unpriced_calls), sum(duration_ns)
FROM rollups WHERE grain = 5
GROUP BY period - (period % 24 + 24) % 24, experiment_id, upstream, provider, model, operation, key_fingerprint;

INSERT INTO rollups
SELECT 1, period - (period % 24 + 24) % 24, '', '', upstream, provider, model, operation, '', sum(calls), sum(errors),
    sum(input_tokens), sum(cache_read_tokens), sum(cache_write_tokens), sum(output_tokens), sum(reasoning_tokens),
    sum(estimated_calls), sum(usageless_calls), sum(cost), sum(cost_estimated), sum(priced_calls),
    sum(unpriced_calls), sum(duration_ns)
FROM rollups WHERE grain = 3
GROUP BY period - (period % 24 + 24) % 24, upstream, provider, model, operation;

INSERT INTO rollups
SELECT 0, 0, experiment_id, '', upstream, provider, model, operation, key_fingerprint, sum(calls), sum(errors),
    sum(input_tokens), sum(cache_read_tokens), sum(cache_write_tokens), sum(output_tokens), sum(reasoning_tokens),
    sum(estimated_calls), sum(usageless_calls), sum(cost), sum(cost_estimated), sum(priced_calls),
    sum(unpriced_calls), sum(duration_ns)
FROM rollups WHERE grain = 2
GROUP BY experiment_id, upstream, provider, model, operation, key_fingerprint;

INSERT INTO run_totals
SELECT run_id, experiment_id, sum(calls), sum(errors),
    sum(input_tokens), sum(cache_read_tokens), sum(cache_write_tokens), sum(output_tokens), sum(reasoning_tokens),
    sum(estimated_calls), sum(usageless_calls), sum(cost), sum(cost_estimated), sum(priced_calls),
    sum(unpriced_calls), sum(duration_ns),
    (SELECT min(started_at) FROM spans WHERE spans.run_id IS nullif(rollups.run_id, '')
        AND spans.experiment_id = rollups.experiment_id),
    (SELECT max(ended_at) FROM spans WHERE spans.run_id IS nullif(rollups.run_id, '')
        AND spans.experiment_id = rollups.experiment_id),
    NULL, NULL, NULL, x''
FROM rollups WHERE grain = 4
GROUP BY run_id, experiment_id;
