CREATE TABLE destinations (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    name TEXT NOT NULL,
    options TEXT NOT NULL, -- JSON
    filter TEXT NOT NULL, -- JSON
    sealed_credentials BLOB NOT NULL,
    credentials_set TEXT NOT NULL, -- JSON
    created_at_s REAL NOT NULL,
    updated_at_s REAL NOT NULL,
    revision INTEGER NOT NULL,
    ordered INTEGER NOT NULL,
    deleting INTEGER NOT NULL,
    resumed_at_s REAL NOT NULL
) STRICT;

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    name TEXT NOT NULL,
    scopes TEXT NOT NULL, -- JSON
    digest TEXT NOT NULL UNIQUE,
    prefix TEXT NOT NULL,
    created_at_s REAL NOT NULL,
    expires_at_s REAL
) STRICT;
