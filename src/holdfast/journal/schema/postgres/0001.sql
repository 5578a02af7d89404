-- holdfast store in Postgres, schema 1. Everything of a store is in one schema of the database, named in its URL.
--
-- Look around with:  select * from holdfast.journal where run_id = '...';
-- Never change a row by hand: events are chained by SHA-256, and a run whose chain is broken is refused.
-- Times are seconds since the epoch, UTC. `format` says how the row's bytes are to be read (2: its body is a blob, of
-- which `body` is the SHA-256), `key_id` under which key they are encrypted (empty: they are not).
-- Texts are compared byte by byte, so that what is found does not depend on the server's language.

CREATE TABLE store (
    only_row    INTEGER PRIMARY KEY CHECK (only_row = 1),
    application TEXT NOT NULL,
    schema      INTEGER NOT NULL,
    id          TEXT NOT NULL,
    hash_key    BYTEA NOT NULL,
    created_at  DOUBLE PRECISION NOT NULL,
    place       TEXT,               -- unused: a server's database is not moved as a file is
    moved_to    TEXT                -- its runs go on in that store: nothing is written here any more
);

CREATE TABLE runs (
    run_no      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant      TEXT COLLATE "C" NOT NULL,
    run_id      TEXT COLLATE "C" NOT NULL,
    key         TEXT COLLATE "C" NOT NULL,
    agent       TEXT COLLATE "C" NOT NULL,
    status      TEXT COLLATE "C" NOT NULL,
    wake_at     DOUBLE PRECISION,
    due_at      DOUBLE PRECISION,   -- since when it may be claimed: wake_at, or the arrival of unread mail
    worker_id   TEXT COLLATE "C",
    epoch       BIGINT NOT NULL,
    count       BIGINT NOT NULL,    -- number of its events
    chain       BYTEA NOT NULL,     -- of its last event
    mail_posted BIGINT NOT NULL,
    mail_read   BIGINT NOT NULL,
    head        TEXT NOT NULL,
    seal        BYTEA NOT NULL,     -- SHA-256 over tenant, run_id and head
    format      INTEGER NOT NULL,
    key_id      TEXT NOT NULL,
    CONSTRAINT runs_by_id UNIQUE (tenant, run_id)
) WITH (fillfactor = 50);           -- a step rewrites its run's row on the same page, and touches no index
CREATE INDEX runs_by_key ON runs (tenant, key);
CREATE INDEX runs_by_status ON runs (tenant, status);
-- Nobody holds these. Those with mail are found whatever the time is, the others by their time.
CREATE INDEX runs_free ON runs (tenant, due_at) WHERE worker_id IS NULL AND due_at IS NOT NULL;
CREATE INDEX runs_written_to ON runs (tenant, due_at) WHERE worker_id IS NULL AND mail_posted > mail_read;
CREATE INDEX runs_held ON runs (tenant, worker_id) WHERE worker_id IS NOT NULL;

CREATE TABLE events (
    run_no      BIGINT NOT NULL,
    number      BIGINT NOT NULL,
    at          DOUBLE PRECISION NOT NULL,
    kind        TEXT NOT NULL,
    scope       TEXT,
    name        TEXT,
    digest      TEXT,
    n           BIGINT,
    step        TEXT,
    effect      TEXT,
    logical     BIGINT NOT NULL,
    attempt     BIGINT NOT NULL,
    asked       BIGINT NOT NULL,    -- on an outcome: calls that the agent had made when it was recorded
    tool_calls  BIGINT,             -- the charge; all four NULL when it is nothing
    model_calls BIGINT,
    tokens      BIGINT,
    usd_nano    BIGINT,
    meta        TEXT NOT NULL,
    tenant      TEXT NOT NULL,
    format      INTEGER NOT NULL,
    key_id      TEXT NOT NULL,
    body        BYTEA,
    chain       BYTEA NOT NULL,     -- SHA-256 over the chain before it and this row
    CONSTRAINT events_by_run PRIMARY KEY (run_no, number)
);

CREATE TABLE mail (
    run_no      BIGINT NOT NULL,
    number      BIGINT NOT NULL,
    at          DOUBLE PRECISION NOT NULL,
    message_id  TEXT COLLATE "C" NOT NULL,
    subject     TEXT COLLATE "C",
    kind        TEXT NOT NULL,
    meta        TEXT NOT NULL,
    tenant      TEXT NOT NULL,
    format      INTEGER NOT NULL,
    key_id      TEXT NOT NULL,
    body        BYTEA,
    seal        BYTEA NOT NULL,     -- SHA-256 over tenant, run_id and this row
    CONSTRAINT mail_by_run PRIMARY KEY (run_no, number),
    CONSTRAINT mail_by_message UNIQUE (run_no, message_id)
);
CREATE UNIQUE INDEX mail_by_subject ON mail (run_no, subject) WHERE subject IS NOT NULL;

CREATE TABLE workers (
    tenant        TEXT COLLATE "C" NOT NULL,
    worker_id     TEXT COLLATE "C" NOT NULL,
    boot_id       TEXT NOT NULL,
    pid_namespace TEXT NOT NULL,
    pid           BIGINT NOT NULL,
    started       TEXT NOT NULL,
    host          TEXT NOT NULL,
    expires_at    DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (tenant, worker_id)
) WITH (fillfactor = 50);

-- Values of more than 256 KiB, in pieces. A blob that no row names (its writer died before the row) is only space.
CREATE TABLE blobs (
    blob_no  BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant   TEXT COLLATE "C" NOT NULL,
    hash     BYTEA NOT NULL,        -- SHA-256 of all its bytes
    size     BIGINT NOT NULL,
    is_whole INTEGER NOT NULL,      -- 0 while its pieces are being written
    put_at   DOUBLE PRECISION,      -- when it was begun
    format   INTEGER NOT NULL,
    key_id   TEXT NOT NULL,
    CONSTRAINT blobs_by_hash UNIQUE (tenant, hash)
);
CREATE TABLE pieces (
    blob_no BIGINT NOT NULL,
    number  BIGINT NOT NULL,
    bytes   BYTEA NOT NULL,
    PRIMARY KEY (blob_no, number)
);
ALTER TABLE pieces ALTER COLUMN bytes SET STORAGE EXTERNAL;

-- A small text under a name, written over again and again: an index entry, a switch. `version` counts the writes.
CREATE TABLE cells (
    tenant  TEXT COLLATE "C" NOT NULL,
    name    TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    value   TEXT NOT NULL,
    seal    BYTEA NOT NULL,         -- SHA-256 over tenant, name, version and value
    format  INTEGER NOT NULL,
    key_id  TEXT NOT NULL,
    CONSTRAINT cells_by_name PRIMARY KEY (tenant, name)
) WITH (fillfactor = 50);

-- What several runs have used together, and how much they may (NULL: no cap of this sort). Each sum follows from the
-- events of the runs that charge it.
CREATE TABLE accounts (
    tenant               TEXT COLLATE "C" NOT NULL,
    key                  TEXT COLLATE "C" NOT NULL,
    tool_calls           BIGINT NOT NULL,
    model_calls          BIGINT NOT NULL,
    tokens               BIGINT NOT NULL,
    usd_nano             BIGINT NOT NULL,
    reserved_tool_calls  BIGINT NOT NULL,
    reserved_model_calls BIGINT NOT NULL,
    reserved_tokens      BIGINT NOT NULL,
    reserved_usd_nano    BIGINT NOT NULL,
    max_tool_calls       BIGINT,
    max_model_calls      BIGINT,
    max_tokens           BIGINT,
    max_usd_nano         BIGINT,
    seal                 BYTEA NOT NULL,    -- SHA-256 over tenant, key and the sums and caps
    CONSTRAINT accounts_by_key PRIMARY KEY (tenant, key)
) WITH (fillfactor = 50);

-- For people.
CREATE VIEW journal AS
SELECT
    runs.run_id,
    events.number,
    to_timestamp(events.at) AS time,
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
    CASE events.format WHEN 2 THEN 'blob ' || encode(events.body, 'hex') ELSE encode(events.body, 'escape') END AS body
FROM events JOIN runs USING (run_no)
ORDER BY runs.run_no, events.number;
