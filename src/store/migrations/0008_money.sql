-- What is billed beside the list price, what the provider itself said, counts that few calls have, and how
-- far tapline's own token counts are from reported ones.

-- Counts by name as JSON: `{"file_search":2}`.
ALTER TABLE spans ADD COLUMN meters TEXT;
ALTER TABLE spans ADD COLUMN region TEXT;
-- The cost after discounts and margins.
ALTER TABLE spans ADD COLUMN billed INTEGER;
UPDATE spans SET billed = cost;

ALTER TABLE rollups ADD COLUMN billed INTEGER NOT NULL DEFAULT 0;
-- ⊂ cost, ⊂ priced_calls: the amount is the provider's own.
ALTER TABLE rollups ADD COLUMN cost_reported INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollups ADD COLUMN reported_calls INTEGER NOT NULL DEFAULT 0;
UPDATE rollups SET billed = cost;
ALTER TABLE run_totals ADD COLUMN billed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run_totals ADD COLUMN cost_reported INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run_totals ADD COLUMN reported_calls INTEGER NOT NULL DEFAULT 0;
UPDATE run_totals SET billed = cost;

-- Calls whose reported usage was counted again by tapline, by model. `abs_error` sums |estimate - reported|;
-- `worst` is the largest of one call, in thousandths of what was reported.
CREATE TABLE token_errors (
    model     TEXT NOT NULL,
    -- input or output
    side      TEXT NOT NULL,
    calls     INTEGER NOT NULL,
    reported  INTEGER NOT NULL,
    estimated INTEGER NOT NULL,
    abs_error INTEGER NOT NULL,
    worst     INTEGER NOT NULL,
    PRIMARY KEY (model, side)
) STRICT, WITHOUT ROWID;

-- Every change of costs that were stored already: never silent, never undone.
CREATE TABLE repricings (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    at             INTEGER NOT NULL,
    -- What was asked for, as JSON.
    asked          TEXT NOT NULL,
    calls          INTEGER NOT NULL,
    changed_calls  INTEGER NOT NULL,
    cost_before    INTEGER NOT NULL,
    cost_after     INTEGER NOT NULL,
    billed_before  INTEGER NOT NULL,
    billed_after   INTEGER NOT NULL,
    unknown_before INTEGER NOT NULL,
    unknown_after  INTEGER NOT NULL
) STRICT;

-- A run's own budget. `action` is warn or stop.
CREATE TABLE run_budgets (
    run_id TEXT NOT NULL PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    amount INTEGER NOT NULL,
    action TEXT NOT NULL,
    set_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
