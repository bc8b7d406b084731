ALTER TABLE destinations ADD COLUMN credentials_updated_at TEXT NOT NULL DEFAULT '{}'; -- JSON

CREATE TABLE figures (
    step_s INTEGER NOT NULL,
    destination_id TEXT NOT NULL,
    at_s INTEGER NOT NULL,
    answer TEXT NOT NULL,
    instance TEXT NOT NULL,
    delivered INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    dead_lettered INTEGER NOT NULL,
    dropped INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    latency_ms_sum REAL NOT NULL,
    latency_ms_max REAL NOT NULL,
    PRIMARY KEY (step_s, destination_id, at_s, answer, instance)
) STRICT, WITHOUT ROWID;

CREATE TABLE activity (
    id TEXT PRIMARY KEY,
    at_s REAL NOT NULL,
    action TEXT NOT NULL,
    tenant_id TEXT NOT NULL,
    destination_id TEXT,
    destination_name TEXT,
    key_id TEXT,
    key_name TEXT,
    changes TEXT NOT NULL -- JSON
) STRICT;

CREATE INDEX activity_by_time ON activity (at_s, id);
CREATE INDEX activity_of_tenant ON activity (tenant_id, at_s, id);
CREATE INDEX activity_of_destination ON activity (destination_id, at_s, id);
