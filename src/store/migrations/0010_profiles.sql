-- What many calls have alike, once; and of a call's own only what it has.

-- One row per combination, found by the first 16 bytes of the BLAKE3 of its fields; NULL for those that were made
-- of older rows. `name`, `target` and `error_type` are NULL where they are one call's own: `rest` has them then.
CREATE TABLE profiles (
    id              INTEGER PRIMARY KEY,
    digest          BLOB UNIQUE,
    kind            INTEGER NOT NULL,
    name            TEXT,
    server_address  TEXT NOT NULL,
    server_port     INTEGER NOT NULL,
    dialect         TEXT NOT NULL,
    request_model   TEXT,
    response_model  TEXT,
    streamed        INTEGER NOT NULL,
    method          TEXT NOT NULL,
    target          TEXT,
    key_fingerprint TEXT,
    outcome         TEXT NOT NULL,
    http_status     INTEGER,
    error_type      TEXT,
    error_source    TEXT,
    finish_reasons  TEXT,
    retry_count     INTEGER,
    service_tier    TEXT,
    region          TEXT,
    usage_source    TEXT,
    price_id        TEXT,
    experiment_rule TEXT,
    run_rule        TEXT,
    session_rule    TEXT,
    request_whole   INTEGER NOT NULL,
    response_whole  INTEGER NOT NULL
) STRICT;

-- One row per call, dense. `sequence` is the order of storing and is never reused, which is what consumers' cursors
-- rest on. `kind` is the profile's, for the indexes. Neither `kind` nor the places are checked: the writer looked
-- them up. `rest` is a JSON object of what few calls have.
CREATE TABLE spans_anew (
    sequence         INTEGER PRIMARY KEY AUTOINCREMENT,
    call_id          BLOB NOT NULL UNIQUE,
    -- NULL: the call's own id, and the span id that follows from it.
    trace_id         BLOB,
    span_id          BLOB,
    parent_span_id   BLOB,
    started_at       INTEGER NOT NULL,
    duration_ns      INTEGER NOT NULL,
    kind             INTEGER NOT NULL,
    profile          INTEGER NOT NULL,
    experiment_id    TEXT NOT NULL,
    run_id           TEXT,
    session          TEXT,
    user             TEXT,
    -- Text, or bytes that are shorter (`store::ids`).
    peer             ANY,
    response_id      ANY,
    request_id       ANY,
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
    cost             INTEGER,
    -- The cost after discounts and margins.
    billed           INTEGER,
    first_byte_ns    INTEGER,
    first_token_ns   INTEGER,
    last_token_ns    INTEGER,
    chunks           INTEGER NOT NULL,
    sent_bytes       INTEGER NOT NULL,
    received_bytes   INTEGER NOT NULL,
    rest             TEXT
) STRICT;

-- The profiles of older rows: each combination by its first call.
CREATE TEMP TABLE seen (facts TEXT PRIMARY KEY, first INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO seen (facts, first)
SELECT json_array(kind, name, server_address, server_port, dialect, request_model, response_model, streamed, method, target,
        key_fingerprint, outcome, http_status, error_type, error_source, finish_reasons, retry_count, service_tier, region,
        usage_source, price_id, experiment_rule, run_rule, session_rule, request_whole, response_whole),
    sequence
FROM spans ORDER BY sequence;
INSERT INTO profiles
SELECT s.sequence, NULL, s.kind, s.name, s.server_address, s.server_port, s.dialect, s.request_model, s.response_model,
    s.streamed, s.method, s.target, s.key_fingerprint, s.outcome, s.http_status, s.error_type, s.error_source,
    s.finish_reasons, s.retry_count, s.service_tier, s.region, s.usage_source, s.price_id, s.experiment_rule, s.run_rule,
    s.session_rule, s.request_whole, s.response_whole
FROM seen AS n CROSS JOIN spans AS s ON s.sequence = n.first ORDER BY s.sequence;

INSERT INTO sqlite_sequence (name, seq) SELECT 'spans_anew', seq FROM sqlite_sequence WHERE name = 'spans';
INSERT INTO spans_anew
SELECT s.sequence, s.call_id, nullif(s.trace_id, s.call_id), s.span_id, s.parent_span_id, s.started_at, s.duration_ns,
    s.kind,
    (SELECT first FROM seen WHERE facts = json_array(s.kind, s.name, s.server_address, s.server_port, s.dialect,
        s.request_model, s.response_model, s.streamed, s.method, s.target, s.key_fingerprint, s.outcome, s.http_status,
        s.error_type, s.error_source, s.finish_reasons, s.retry_count, s.service_tier, s.region, s.usage_source, s.price_id,
        s.experiment_rule, s.run_rule, s.session_rule, s.request_whole, s.response_whole)),
    s.experiment_id, s.run_id, s.session, s.user, s.peer, s.response_id, s.request_id, s.tool_calls,
    s.input, s.cache_read, s.cache_write, s.cache_write_long, s.input_audio, s.input_image, s.output, s.reasoning,
    s.output_audio, s.output_image, s.cost, s.billed, s.first_byte_ns, s.first_token_ns, s.last_token_ns, s.chunks,
    s.sent_bytes, s.received_bytes,
    CASE WHEN coalesce(s.tags, s.metadata, s.error_message, s.web_searches, s.seconds, s.characters,
        s.search_units, s.reported_cost, s.meters, s.notes) IS NOT NULL
    -- JSON as it stands: json_object would say null where there is nothing.
    THEN '{' || substr(
        coalesce(',"tags":' || s.tags, '') || coalesce(',"metadata":' || s.metadata, '')
        || iif(s.error_message IS NULL, '', ',"error_message":' || json_quote(s.error_message))
        || coalesce(',"web_searches":' || s.web_searches, '')
        || coalesce(',"seconds":' || s.seconds, '') || coalesce(',"characters":' || s.characters, '')
        || coalesce(',"search_units":' || s.search_units, '')
        || coalesce(',"reported_cost":' || s.reported_cost, '') || coalesce(',"meters":' || s.meters, '')
        || coalesce(',"notes":' || s.notes, ''), 2) || '}' END
FROM spans AS s ORDER BY s.sequence;
DROP TABLE seen;
DROP TABLE spans;
ALTER TABLE spans_anew RENAME TO spans;

CREATE INDEX spans_by_start      ON spans (started_at, cost, duration_ns);
CREATE INDEX spans_by_kind       ON spans (kind, started_at, cost, duration_ns);
CREATE INDEX spans_by_experiment ON spans (experiment_id, started_at, kind);
CREATE INDEX spans_by_run        ON spans (run_id, started_at, kind) WHERE run_id IS NOT NULL;
CREATE INDEX spans_by_session    ON spans (session, started_at, kind) WHERE session IS NOT NULL;
CREATE INDEX spans_by_user       ON spans (user, started_at, kind) WHERE user IS NOT NULL;
CREATE INDEX spans_by_trace      ON spans (trace_id, started_at) WHERE trace_id IS NOT NULL;
CREATE INDEX spans_by_span       ON spans (span_id) WHERE span_id IS NOT NULL;

-- The first 8 bytes of a content's BLAKE3, as a signed integer: what is found by it is compared.
CREATE TABLE content_keys (
    key     INTEGER PRIMARY KEY,
    content INTEGER NOT NULL
) STRICT;
INSERT OR IGNORE INTO content_keys (key, content)
SELECT ((instr(d, substr(h, 1, 1)) - 1) << 60) | ((instr(d, substr(h, 2, 1)) - 1) << 56) | ((instr(d, substr(h, 3, 1)) - 1) << 52) | ((instr(d, substr(h, 4, 1)) - 1) << 48)
    | ((instr(d, substr(h, 5, 1)) - 1) << 44) | ((instr(d, substr(h, 6, 1)) - 1) << 40) | ((instr(d, substr(h, 7, 1)) - 1) << 36) | ((instr(d, substr(h, 8, 1)) - 1) << 32)
    | ((instr(d, substr(h, 9, 1)) - 1) << 28) | ((instr(d, substr(h, 10, 1)) - 1) << 24) | ((instr(d, substr(h, 11, 1)) - 1) << 20) | ((instr(d, substr(h, 12, 1)) - 1) << 16)
    | ((instr(d, substr(h, 13, 1)) - 1) << 12) | ((instr(d, substr(h, 14, 1)) - 1) << 8) | ((instr(d, substr(h, 15, 1)) - 1) << 4) | ((instr(d, substr(h, 16, 1)) - 1) << 0),
    content
FROM (SELECT '0123456789ABCDEF' AS d, hex(hash) AS h, content FROM content_hashes ORDER BY hash);
DROP TABLE content_hashes;
