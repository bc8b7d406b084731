CREATE TABLE claims (
    api_key_id TEXT NOT NULL,
    name TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    at_s REAL NOT NULL,
    answer BLOB NOT NULL,
    PRIMARY KEY (api_key_id, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX claims_by_time ON claims (at_s);
CREATE INDEX claims_of_key ON claims (api_key_id, at_s, name);
