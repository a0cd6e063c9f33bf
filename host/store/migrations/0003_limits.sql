-- What attempts can end in grew by `host-calls`, and what was cut of their evidence is told in full.

-- Appended in the order of the ends. No index by job: `jobs.last_attempt` and `previous` are a chain.
CREATE TABLE attempts_with_host_calls (
    seq               INTEGER PRIMARY KEY CHECK (seq > 0),
    place             INTEGER NOT NULL,
    n                 INTEGER NOT NULL CHECK (n > 0),
    -- The attempt of the same job before this one.
    previous          INTEGER CHECK (previous < seq),
    started_ms        INTEGER NOT NULL,
    finished_ms       INTEGER NOT NULL,
    -- As in 0001, with one kind more: SQLite cannot change a CHECK in place.
    kind              TEXT NOT NULL CHECK (
        kind = 'completed' OR kind = 'try-again' OR kind = 'rate-limited' OR kind = 'reject' OR
        kind = 'unknown-outcome' OR kind = 'trap' OR kind = 'exit' OR kind = 'deadline' OR kind = 'cpu-budget' OR
        kind = 'memory' OR kind = 'start' OR kind = 'result-too-large' OR kind = 'denied' OR kind = 'interrupted' OR
        kind = 'cancelled' OR kind = 'host-calls'),
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

INSERT INTO attempts_with_host_calls SELECT * FROM attempts;
DROP TABLE attempts;
ALTER TABLE attempts_with_host_calls RENAME TO attempts;

ALTER TABLE attempt_evidence ADD COLUMN dropped_lines INTEGER NOT NULL DEFAULT 0 CHECK (dropped_lines >= 0);
ALTER TABLE attempt_evidence ADD COLUMN dropped_exchanges INTEGER NOT NULL DEFAULT 0 CHECK (dropped_exchanges >= 0);
