-- Usage that is no tokens; and answers made apart from the call that asked for them (background responses,
-- batches), so that their usage counts once whoever fetches it.

ALTER TABLE spans ADD COLUMN seconds INTEGER;
ALTER TABLE spans ADD COLUMN characters INTEGER;
ALTER TABLE spans ADD COLUMN search_units INTEGER;

-- One row per name that the provider has for the job; `job` is the name that it was made under. `made_by` and
-- `counted_by` are call ids: who asked, and which call has the usage, once one has.
CREATE TABLE jobs (
    upstream   TEXT NOT NULL,
    name       TEXT NOT NULL,
    job        TEXT NOT NULL,
    made_by    BLOB,
    counted_by BLOB,
    PRIMARY KEY (upstream, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX jobs_by_job ON jobs (upstream, job);
