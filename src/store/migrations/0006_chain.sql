-- How calls hang together: their links, their prompts as chains, and the sessions that they make.

-- One row per call that is a conversation. Hashes are 64 bits as signed integers; 0 is none.
CREATE TABLE links (
    sequence   INTEGER PRIMARY KEY REFERENCES spans (sequence) ON DELETE CASCADE,
    -- The call that it goes on from, and how; NULL where it begins a conversation.
    parent     INTEGER,
    kind       INTEGER,
    rule       INTEGER,
    confidence INTEGER NOT NULL,
    matched    INTEGER NOT NULL,
    rivals     INTEGER NOT NULL,
    changes    INTEGER NOT NULL,
    agent      TEXT,
    system     INTEGER NOT NULL,
    tools      INTEGER NOT NULL,
    markers    BLOB NOT NULL,
    -- The prefix that a call going on from this one has, and the response id that it may name.
    answered   INTEGER,
    responded  INTEGER,
    -- What it is found by for a while, eight bytes each.
    keys       BLOB NOT NULL,
    -- Its prompt: the first `kept` elements of the prompt of the call at `base`, then those of `added`.
    base       INTEGER,
    kept       INTEGER NOT NULL,
    added      BLOB NOT NULL
) STRICT;
CREATE INDEX links_by_parent    ON links (parent) WHERE parent IS NOT NULL;
CREATE INDEX links_by_answered  ON links (answered) WHERE answered IS NOT NULL;
CREATE INDEX links_by_responded ON links (responded) WHERE responded IS NOT NULL;

-- Sums per session, written with the call. `inferred`: 1 where tapline found it.
CREATE TABLE sessions (
    id                TEXT NOT NULL PRIMARY KEY,
    parent            TEXT,
    inferred          INTEGER NOT NULL,
    first_sequence    INTEGER NOT NULL,
    started_at        INTEGER NOT NULL,
    last_at           INTEGER NOT NULL,
    experiment_id     TEXT NOT NULL,
    run_id            TEXT,
    user              TEXT,
    model             TEXT,
    calls             INTEGER NOT NULL,
    errors            INTEGER NOT NULL,
    input_tokens      INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    output_tokens     INTEGER NOT NULL,
    cost              INTEGER NOT NULL,
    priced_calls      INTEGER NOT NULL,
    unpriced_calls    INTEGER NOT NULL,
    missed_tokens     INTEGER NOT NULL,
    lost              INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_last   ON sessions (last_at, id);
CREATE INDEX sessions_by_parent ON sessions (parent) WHERE parent IS NOT NULL;

INSERT INTO sessions
SELECT session, NULL, 0, min(sequence), min(started_at), max(ended_at), experiment_id, run_id, user, model,
    count(*), sum(status <> 'ok'), coalesce(sum(min(coalesce(input, 0), 1000000000000)), 0),
    coalesce(sum(min(coalesce(cache_read, 0), 1000000000000)), 0),
    coalesce(sum(min(coalesce(output, 0), 1000000000000)), 0),
    coalesce(sum(max(min(coalesce(cost, 0), 1000000000000000), -1000000000000000)), 0),
    count(cost), sum(cost IS NULL AND (input IS NOT NULL OR output IS NOT NULL)), 0, 0
FROM spans WHERE session IS NOT NULL GROUP BY session;
