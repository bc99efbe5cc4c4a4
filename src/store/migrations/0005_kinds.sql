-- Upstream, provider, model, operation and status of a call take few combinations: each has a number here, and one
-- index on it serves filters on any of them, alone or together.

CREATE TABLE kinds (
    id        INTEGER PRIMARY KEY,
    upstream  TEXT NOT NULL,
    provider  TEXT NOT NULL,
    -- '' is none.
    model     TEXT NOT NULL,
    operation TEXT NOT NULL,
    status    TEXT NOT NULL,
    UNIQUE (upstream, provider, model, operation, status)
) STRICT;
INSERT INTO kinds (upstream, provider, model, operation, status)
SELECT DISTINCT upstream, provider, coalesce(model, ''), operation, status FROM spans;

DROP INDEX spans_by_experiment;
DROP INDEX spans_by_run;
DROP INDEX spans_by_session;
DROP INDEX spans_by_model;
DROP INDEX spans_by_provider;
DROP INDEX spans_by_upstream;
DROP INDEX spans_by_operation;
DROP INDEX spans_by_status;
DROP INDEX spans_by_user;
DROP INDEX spans_by_trace;

ALTER TABLE spans ADD COLUMN kind INTEGER REFERENCES kinds (id);
UPDATE spans SET kind = (
    SELECT id FROM kinds
    WHERE kinds.upstream = spans.upstream AND kinds.provider = spans.provider
        AND kinds.model = coalesce(spans.model, '') AND kinds.operation = spans.operation
        AND kinds.status = spans.status);

-- A list is in the order of `started_at`, then of `sequence`, which each index ends in by itself. `kind` rides in
-- the others, so that what a place and a kind have in common is found without reading rows.
CREATE INDEX spans_by_kind       ON spans (kind, started_at, cost, duration_ns);
CREATE INDEX spans_by_experiment ON spans (experiment_id, started_at, kind);
CREATE INDEX spans_by_run        ON spans (run_id, started_at, kind) WHERE run_id IS NOT NULL;
CREATE INDEX spans_by_session    ON spans (session, started_at, kind) WHERE session IS NOT NULL;
CREATE INDEX spans_by_user       ON spans (user, started_at, kind) WHERE user IS NOT NULL;
CREATE INDEX spans_by_trace      ON spans (trace_id, started_at);

ALTER TABLE call_tags ADD COLUMN kind INTEGER;
UPDATE call_tags SET kind = (SELECT kind FROM spans WHERE spans.sequence = call_tags.sequence);
