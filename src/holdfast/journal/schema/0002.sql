-- holdfast store, schema 2: bodies of more than 256 KiB.
--
-- A row whose `format` is 2 has in `body` the SHA-256 (32 bytes) of its body, which is a blob: found here by tenant and
-- hash, and kept in pieces. The row's link or seal covers the hash, and the hash the bytes. Rows of format 1 are what
-- they were. A blob that no row names (its writer died before the row) is only space.

CREATE TABLE blobs (
    blob_no INTEGER PRIMARY KEY,
    tenant  TEXT NOT NULL,
    hash    BLOB NOT NULL,     -- SHA-256 of all its bytes
    size    INTEGER NOT NULL,
    is_whole INTEGER NOT NULL,   -- 0 while its pieces are being written
    format  INTEGER NOT NULL,
    key_id  TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX blobs_by_hash ON blobs (tenant, hash);

-- A piece is a transaction, so that a large value keeps no other writer waiting for longer than a piece.
CREATE TABLE pieces (
    piece_no INTEGER PRIMARY KEY,
    blob_no  INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    bytes    BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX pieces_by_blob ON pieces (blob_no, number);

DROP VIEW journal;
CREATE VIEW journal AS
SELECT
    runs.run_id,
    events.number,
    strftime('%Y-%m-%d %H:%M:%f', events.at, 'unixepoch') AS time,
    events.kind,
    CASE WHEN events.scope <> '' THEN events.scope || '/' ELSE '' END || events.name AS name,
    events.n,
    events.step,
    events.effect,
    events.logical,
    events.attempt,
    events.tool_calls,
    events.model_calls,
    events.tokens,
    events.usd_nano / 1e9 AS usd,
    events.meta,
    CASE events.format WHEN 2 THEN 'blob ' || lower(hex(events.body)) ELSE CAST(events.body AS TEXT) END AS body
FROM events JOIN runs USING (run_no)
ORDER BY runs.run_no, events.number;
