-- The first layout of the embedded store.
--
-- A job's place (milliseconds and counter of its id) is its row id, so that new rows always go to the end and no index
-- holds random keys. Rows that every claim or list touches are kept apart from payloads, results and evidence.
-- A retry appends one row to `attempts` and writes nothing else; a job's own row is written again only at its end.

-- The store's own numbers: `attempts_floor`, `attempts_next`, `boots`.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE jobs (
    place           INTEGER PRIMARY KEY CHECK (place > 0),
    -- The random bits of the id.
    tail            INTEGER NOT NULL CHECK (tail >= 0),
    plugin          TEXT NOT NULL,
    downstream      TEXT NOT NULL,
    -- NULL: application/json.
    content_type    TEXT,
    priority        INTEGER NOT NULL CHECK (priority BETWEEN -32768 AND 32767),
    -- The earliest moment of the first attempt.
    run_at_ms       INTEGER NOT NULL CHECK (run_at_ms >= 0),
    created_ms      INTEGER NOT NULL CHECK (created_ms >= 0),
    retry           TEXT CHECK (retry IS NULL OR json_valid(retry)),
    deadline_ms     INTEGER CHECK (deadline_ms >= 0),
    labels          TEXT CHECK (labels IS NULL OR json_valid(labels)),
    traceparent     TEXT,
    idempotency_key TEXT,
    -- A person's last retry: when, and after which attempt. It overrides what that attempt said of the next one.
    retried_ms      INTEGER CHECK (retried_ms >= 0),
    retried_after   INTEGER CHECK (retried_after >= 0),
    -- NULL: unfinished.
    end_state       TEXT CHECK (end_state = 'completed' OR end_state = 'discarded' OR end_state = 'cancelled'),
    finished_ms     INTEGER CHECK (finished_ms >= 0),
    -- The newest attempt. Of an unfinished job it can lag behind: the newest is then at or behind `attempts_floor`.
    last_attempt    INTEGER CHECK (last_attempt > 0),
    CHECK ((end_state IS NULL) = (finished_ms IS NULL)),
    CHECK ((retried_ms IS NULL) = (retried_after IS NULL)),
    -- No job is done without an attempt.
    CHECK (end_state IS NULL OR end_state <> 'completed' OR last_attempt IS NOT NULL)
) STRICT;

-- Serves the opening (unfinished jobs), the pruning and the lists by end state.
CREATE INDEX jobs_by_end ON jobs (end_state, place);

CREATE TABLE payloads (
    place INTEGER PRIMARY KEY,
    body  BLOB NOT NULL
) STRICT;

CREATE TABLE results (
    place        INTEGER PRIMARY KEY,
    content_type TEXT NOT NULL,
    body         BLOB NOT NULL,
    -- An array of pairs; NULL: none.
    attributes   TEXT CHECK (attributes IS NULL OR json_valid(attributes))
) STRICT;

-- Component revisions by their sha256 in hex, so that an attempt's row holds a small number.
CREATE TABLE revisions (
    id     INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE
) STRICT;

-- Appended in the order of the ends. No index by job: `jobs.last_attempt` and `previous` are a chain.
CREATE TABLE attempts (
    seq               INTEGER PRIMARY KEY CHECK (seq > 0),
    place             INTEGER NOT NULL,
    n                 INTEGER NOT NULL CHECK (n > 0),
    -- The attempt of the same job before this one.
    previous          INTEGER CHECK (previous < seq),
    started_ms        INTEGER NOT NULL,
    finished_ms       INTEGER NOT NULL,
    -- An OR chain instead of IN: SQLite would build a table for IN at each insert.
    kind              TEXT NOT NULL CHECK (
        kind = 'completed' OR kind = 'try-again' OR kind = 'rate-limited' OR kind = 'reject' OR
        kind = 'unknown-outcome' OR kind = 'trap' OR kind = 'exit' OR kind = 'deadline' OR kind = 'cpu-budget' OR
        kind = 'memory' OR kind = 'start' OR kind = 'result-too-large' OR kind = 'denied' OR kind = 'interrupted' OR
        kind = 'cancelled'),
    error             TEXT,
    code              TEXT,
    delay_ms          INTEGER CHECK (delay_ms >= 0),
    -- When the next attempt is due; NULL: this one ended the job, or holds it, or was void.
    next_run_ms       INTEGER CHECK (next_run_ms >= 0),
    revision          INTEGER,
    cpu_us            INTEGER NOT NULL,
    memory_peak_bytes INTEGER NOT NULL,
    -- How many attempts of the job failed and count, this one included.
    failed            INTEGER NOT NULL CHECK (failed BETWEEN 0 AND n),
    -- The job waits for the operator's grants.
    held              INTEGER NOT NULL CHECK (held = 0 OR (held = 1 AND next_run_ms IS NULL))
) STRICT;

-- Only of attempts that logged or called something.
CREATE TABLE attempt_evidence (
    seq           INTEGER PRIMARY KEY,
    log           TEXT CHECK (log IS NULL OR json_valid(log)),
    dropped_bytes INTEGER NOT NULL CHECK (dropped_bytes >= 0),
    exchanges     TEXT CHECK (exchanges IS NULL OR json_valid(exchanges))
) STRICT;

-- Attempts under way. What is left here at the opening was interrupted.
CREATE TABLE starts (
    place      INTEGER PRIMARY KEY,
    n          INTEGER NOT NULL CHECK (n > 0),
    started_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE idempotency (
    key            TEXT PRIMARY KEY,
    place          INTEGER NOT NULL,
    tail           INTEGER NOT NULL,
    request_digest BLOB NOT NULL CHECK (length(request_digest) = 32),
    created_ms     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Keys that outlive their job until their time is over, in the order in which it ends.
CREATE TABLE orphan_keys (
    place      INTEGER PRIMARY KEY,
    key        TEXT NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;

-- What people did to jobs.
CREATE TABLE acts (
    place INTEGER NOT NULL,
    seq   INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    what  TEXT NOT NULL CHECK (what = 'cancel' OR what = 'retry'),
    PRIMARY KEY (place, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE paused_plugins (
    name TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- The last time that a plugin's grants were edited: attempts up to this one no longer hold their jobs.
CREATE TABLE unholds (
    plugin TEXT PRIMARY KEY,
    seq    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
