-- What is kept of downstreams of which there is something to keep: an outage, a hold, what people set and did.
CREATE TABLE downstreams (
    plugin     TEXT NOT NULL,
    downstream TEXT NOT NULL,
    health     TEXT NOT NULL CHECK (json_valid(health)),
    PRIMARY KEY (plugin, downstream)
) STRICT, WITHOUT ROWID;

-- The key under which a job asked to be limited together with others.
ALTER TABLE jobs ADD COLUMN limit_key TEXT;
