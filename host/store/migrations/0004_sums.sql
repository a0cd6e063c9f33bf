-- Sums, so that a row that is not what was written is known for it: SQLite keeps no checksum of what a page holds.
--
-- `row_sum` is the host's own function (host/store/sqlite/sums.rs): the CRC-32 of its arguments, the first of which
-- says what they are. Who changes a row by other means leaves a row behind that the host refuses to use.

-- Of the payload; NULL: it is empty.
ALTER TABLE jobs ADD COLUMN payload_sum INTEGER;
-- Of what stays as it is from the acceptance on, a person's retry apart.
ALTER TABLE jobs ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
-- Of the result; NULL: there is none.
ALTER TABLE jobs ADD COLUMN result_sum INTEGER;
-- Of how it ended and after which attempt; NULL: neither is known of it.
ALTER TABLE jobs ADD COLUMN end_sum INTEGER;
-- Of the evidence; NULL: there is none.
ALTER TABLE attempts ADD COLUMN evidence_sum INTEGER;
ALTER TABLE attempts ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE starts ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE idempotency ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE orphan_keys ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE acts ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE revisions ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE unholds ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE paused_plugins ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE downstreams ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;

-- What is there already is taken to be what was written.
UPDATE jobs SET
    payload_sum = (SELECT row_sum('payload', body) FROM payloads WHERE payloads.place = jobs.place),
    result_sum = (SELECT row_sum('result', content_type, body, attributes)
                  FROM results WHERE results.place = jobs.place);
UPDATE jobs SET
    sum = row_sum('job', place, tail, plugin, downstream, content_type, priority, run_at_ms, created_ms, retry,
                  deadline_ms, labels, traceparent, idempotency_key, retried_ms, retried_after, limit_key, payload_sum),
    end_sum = CASE WHEN coalesce(end_state, last_attempt) IS NOT NULL
                   THEN row_sum('end', place, end_state, finished_ms, last_attempt, result_sum) END;
UPDATE attempts SET evidence_sum =
    (SELECT row_sum('evidence', log, dropped_bytes, exchanges, dropped_lines, dropped_exchanges)
     FROM attempt_evidence WHERE attempt_evidence.seq = attempts.seq);
UPDATE attempts SET sum = row_sum('attempt', seq, place, n, previous, started_ms, finished_ms, kind, error, code,
    delay_ms, next_run_ms, revision, cpu_us, memory_peak_bytes, failed, held, evidence_sum);
UPDATE starts SET sum = row_sum('start', place, n, started_ms);
UPDATE idempotency SET sum = row_sum('key', key, place, tail, request_digest, created_ms);
UPDATE orphan_keys SET sum = row_sum('orphan', place, key, created_ms);
UPDATE acts SET sum = row_sum('act', place, seq, at_ms, what);
UPDATE revisions SET sum = row_sum('revision', id, digest);
UPDATE unholds SET sum = row_sum('unhold', plugin, seq);
UPDATE paused_plugins SET sum = row_sum('paused', name);
UPDATE downstreams SET sum = row_sum('downstream', plugin, downstream, health);
