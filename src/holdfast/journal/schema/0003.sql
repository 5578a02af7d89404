-- holdfast store, schema 3: what runs share.

-- A small text under a name, written over again and again: an index entry, a switch. `version` counts the writes.
CREATE TABLE cells (
    tenant  TEXT NOT NULL,
    name    TEXT NOT NULL,
    version INTEGER NOT NULL,
    value   TEXT NOT NULL,
    seal    BLOB NOT NULL,     -- SHA-256 over tenant, name, version and value
    format  INTEGER NOT NULL,
    key_id  TEXT NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;

-- What several runs have used together, and how much they may (NULL: no cap of this sort). Each sum follows from the
-- events of the runs that charge it.
CREATE TABLE accounts (
    tenant               TEXT NOT NULL,
    key                  TEXT NOT NULL,
    tool_calls           INTEGER NOT NULL,
    model_calls          INTEGER NOT NULL,
    tokens               INTEGER NOT NULL,
    usd_nano             INTEGER NOT NULL,
    reserved_tool_calls  INTEGER NOT NULL,
    reserved_model_calls INTEGER NOT NULL,
    reserved_tokens      INTEGER NOT NULL,
    reserved_usd_nano    INTEGER NOT NULL,
    max_tool_calls       INTEGER,
    max_model_calls      INTEGER,
    max_tokens           INTEGER,
    max_usd_nano         INTEGER,
    seal                 BLOB NOT NULL,     -- SHA-256 over tenant, key and the sums and caps
    PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;
