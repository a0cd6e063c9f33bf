-- The beginnings of attempts, a group's in one row: of a short attempt that is nothing to insert and nothing to delete.
--
-- A beginning is 20 bytes, big-endian: the job's place, the number of the attempt, when it began. Nothing is changed when
-- an attempt ends: its row in `attempts` says so, and the opening passes over what was recorded. A row goes when nothing
-- in it is under way any more.
CREATE TABLE begun (
    -- A later row overrules an earlier one.
    seq      INTEGER PRIMARY KEY CHECK (seq > 0),
    attempts BLOB NOT NULL CHECK (length(attempts) > 0 AND length(attempts) % 20 = 0),
    sum      INTEGER NOT NULL
) STRICT;

-- A sum is never negative: where a beginning was not as it had been written, the row is not either.
INSERT INTO begun (seq, attempts, sum)
SELECT seq, attempts, CASE WHEN is_as_written THEN row_sum('begun', seq, attempts) ELSE -1 END FROM (
    SELECT at / 200 + 1 AS seq,
           unhex(group_concat(printf('%016x%08x%016x', place, n, started_ms), '')) AS attempts,
           min(sum = row_sum('start', place, n, started_ms)) AS is_as_written
    FROM (SELECT row_number() OVER (ORDER BY place) - 1 AS at, place, n, started_ms, sum FROM starts)
    GROUP BY at / 200);
DROP TABLE starts;
