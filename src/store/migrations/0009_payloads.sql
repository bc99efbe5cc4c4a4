-- One row for what a call carried, contents without their hashes beside them, and dictionaries.

-- Request and response head, the recipes of both bodies, and when the frames of the response came. `uncut`
-- is 1 where the request's dialect is known and its body could not be cut, so that it is kept as it came.
CREATE TABLE payloads (
    sequence INTEGER PRIMARY KEY REFERENCES spans (sequence) ON DELETE CASCADE,
    heads    BLOB NOT NULL,
    request  BLOB NOT NULL,
    response BLOB NOT NULL,
    arrivals BLOB NOT NULL,
    uncut    INTEGER NOT NULL
) STRICT;
CREATE INDEX payloads_uncut ON payloads (sequence) WHERE uncut > 0;

INSERT INTO payloads (sequence, heads, request, response, arrivals, uncut)
SELECT
    s.sequence,
    coalesce((SELECT headers FROM heads AS h WHERE h.sequence = s.sequence), x''),
    coalesce((SELECT recipe FROM bodies AS b WHERE b.sequence = s.sequence AND b.side = 0), x''),
    coalesce((SELECT recipe FROM bodies AS b WHERE b.sequence = s.sequence AND b.side = 1), x''),
    coalesce((
        -- Arrivals now begin with their form: 0 is the one they had.
        SELECT CASE WHEN length(arrivals) = 0 THEN x'' ELSE unhex('00' || hex(arrivals)) END
        FROM bodies AS b WHERE b.sequence = s.sequence AND b.side = 1
    ), x''),
    0
FROM spans AS s
WHERE EXISTS (SELECT 1 FROM heads AS h WHERE h.sequence = s.sequence)
   OR EXISTS (SELECT 1 FROM bodies AS b WHERE b.sequence = s.sequence);
DROP TABLE heads;
DROP TABLE bodies;

-- `body` begins with its codec: 0 as it is, 1 zstd, 2 zstd with a dictionary, 9 a recipe. `size`: bytes of
-- the content itself.
CREATE TABLE packed_contents (
    id   INTEGER PRIMARY KEY,
    size INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
-- 16 bytes of a content's BLAKE3.
CREATE TABLE content_hashes (
    hash    BLOB NOT NULL PRIMARY KEY,
    content INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO content_hashes (hash, content) SELECT substr(hash, 1, 16), id FROM contents ORDER BY 1;
INSERT INTO packed_contents (id, size, body)
SELECT
    id, size,
    -- A zstd frame loses its magic number, which they all have.
    CASE encoding WHEN 1 THEN unhex('01' || hex(substr(body, 5))) ELSE unhex('00' || hex(body)) END
FROM contents ORDER BY id;

-- Without a foreign key: removing a content would look through all turns.
CREATE TABLE chained_turns (
    id      INTEGER PRIMARY KEY,
    parent  INTEGER NOT NULL,
    content INTEGER NOT NULL,
    depth   INTEGER NOT NULL,
    UNIQUE (parent, content)
) STRICT;
INSERT INTO chained_turns SELECT id, parent, content, depth FROM turns ORDER BY id;
DROP TABLE turns;
DROP TABLE contents;
ALTER TABLE packed_contents RENAME TO contents;
ALTER TABLE chained_turns RENAME TO turns;

-- What bodies of one kind have in common, for zstd. The newest of a kind is used for new ones.
CREATE TABLE dictionaries (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    kind       TEXT NOT NULL,
    trained_at INTEGER NOT NULL,
    samples    INTEGER NOT NULL,
    body       BLOB NOT NULL
) STRICT;
