ALTER TABLE gateway_destinations ADD COLUMN credentials_updated_at json NOT NULL DEFAULT '{}';

CREATE TABLE gateway_figures (
    step_s integer NOT NULL,
    destination_id text NOT NULL,
    at_s bigint NOT NULL,
    answer text NOT NULL,
    instance text NOT NULL,
    delivered bigint NOT NULL,
    failed bigint NOT NULL,
    dead_lettered bigint NOT NULL,
    dropped bigint NOT NULL,
    attempts bigint NOT NULL,
    latency_ms_sum double precision NOT NULL,
    latency_ms_max double precision NOT NULL,
    PRIMARY KEY (step_s, destination_id, at_s, answer, instance)
);

CREATE TABLE gateway_activity (
    id text PRIMARY KEY,
    at_s double precision NOT NULL,
    action text NOT NULL,
    tenant_id text NOT NULL,
    destination_id text,
    destination_name text,
    key_id text,
    key_name text,
    changes json NOT NULL
);

CREATE INDEX gateway_activity_by_time ON gateway_activity (at_s, id);
CREATE INDEX gateway_activity_of_tenant ON gateway_activity (tenant_id, at_s, id);
CREATE INDEX gateway_activity_of_destination ON gateway_activity (destination_id, at_s, id);
