-- The index of texts: a file of its own, made from the store and made again when it is lost.

-- Each text once, as words; `content=''`: the text itself stays in the store.
CREATE VIRTUAL TABLE words USING fts5 (text, content = '', tokenize = "unicode61 remove_diacritics 2");
-- What is removed leaves no word behind.
INSERT INTO words (words, rank) VALUES ('secure-delete', 1);

-- 16 bytes of a text's BLAKE3. `text` is the row of `words`; it grows with each text that is new.
CREATE TABLE text_hashes (
    text INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE
) STRICT;

-- Where calls belong; '' is none.
CREATE TABLE places (
    id            INTEGER PRIMARY KEY,
    experiment_id TEXT NOT NULL,
    run_id        TEXT NOT NULL,
    session       TEXT NOT NULL,
    UNIQUE (experiment_id, run_id, session)
) STRICT;
CREATE INDEX places_by_run ON places (run_id);
CREATE INDEX places_by_session ON places (session);

-- The call that brought a text into a place. `origin`: a content's id, 0 the request beside its conversation, -1
-- the response.
CREATE TABLE mentions (
    text     INTEGER NOT NULL,
    place    INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    origin   INTEGER NOT NULL,
    PRIMARY KEY (text, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX mentions_by_sequence ON mentions (sequence);
CREATE INDEX mentions_by_place ON mentions (place, text);

-- What further calls said in a place without a session: nobody else tells when the first of them goes.
CREATE TABLE repeated (
    text  INTEGER NOT NULL,
    place INTEGER NOT NULL,
    PRIMARY KEY (text, place)
) STRICT, WITHOUT ROWID;

-- Calls of which something could not be read: the store is damaged there.
CREATE TABLE unread (sequence INTEGER PRIMARY KEY) STRICT;

-- How far the store is indexed.
CREATE TABLE progress (sequence INTEGER NOT NULL) STRICT;
INSERT INTO progress VALUES (0);
PRAGMA user_version = 2;
