CREATE TABLE gateway_destinations (
    id text PRIMARY KEY,
    tenant_id text NOT NULL,
    provider text NOT NULL,
    endpoint text NOT NULL,
    enabled boolean NOT NULL,
    name text NOT NULL,
    options json NOT NULL, -- json, not jsonb: comes back as it was written
    filter json NOT NULL,
    sealed_credentials bytea NOT NULL,
    credentials_set json NOT NULL,
    created_at_s double precision NOT NULL,
    updated_at_s double precision NOT NULL,
    revision bigint NOT NULL,
    ordered boolean NOT NULL,
    deleting boolean NOT NULL,
    resumed_at_s double precision NOT NULL
);

CREATE TABLE gateway_api_keys (
    id text PRIMARY KEY,
    tenant_id text NOT NULL,
    name text NOT NULL,
    scopes json NOT NULL,
    digest text NOT NULL UNIQUE,
    prefix text NOT NULL,
    created_at_s double precision NOT NULL,
    expires_at_s double precision
);

-- A trigger, so that a change by any hand, psql included, reaches every gateway.
CREATE FUNCTION gateway_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('gateway_changed', '');
    RETURN NULL;
END
$$;

CREATE TRIGGER gateway_destinations_changed
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON gateway_destinations
    FOR EACH STATEMENT EXECUTE FUNCTION gateway_changed();

CREATE TRIGGER gateway_api_keys_changed
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON gateway_api_keys
    FOR EACH STATEMENT EXECUTE FUNCTION gateway_changed();
