-- The cache ledger: what each call could have read from its provider's prompt cache, and the sums of it.

-- Only calls to which it applies have a row. `missed` is of `cacheable`; `lost` is NULL where the price is not
-- known. `reference`: the call that it was compared with.
CREATE TABLE cache (
    sequence   INTEGER PRIMARY KEY REFERENCES spans (sequence) ON DELETE CASCADE,
    cacheable  INTEGER NOT NULL,
    missed     INTEGER NOT NULL,
    lost       INTEGER,
    cause      INTEGER,
    broke_kind INTEGER,
    broke_at   INTEGER,
    reference  INTEGER,
    says       TEXT,
    disputed   INTEGER NOT NULL
) STRICT;

-- '' is none, and cause 0 is nothing missed: a primary key holds no NULL here.
CREATE TABLE cache_sums (
    day              INTEGER NOT NULL,
    experiment_id    TEXT NOT NULL,
    run_id           TEXT NOT NULL,
    provider         TEXT NOT NULL,
    model            TEXT NOT NULL,
    prompt           INTEGER NOT NULL,
    user             TEXT NOT NULL,
    cause            INTEGER NOT NULL,
    calls            INTEGER NOT NULL,
    input_tokens     INTEGER NOT NULL,
    cacheable_tokens INTEGER NOT NULL,
    read_tokens      INTEGER NOT NULL,
    missed_tokens    INTEGER NOT NULL,
    lost             INTEGER NOT NULL,
    unpriced_calls   INTEGER NOT NULL,
    disputed_calls   INTEGER NOT NULL,
    PRIMARY KEY (day, experiment_id, run_id, provider, model, prompt, user, cause)
) STRICT, WITHOUT ROWID;
