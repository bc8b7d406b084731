CREATE TABLE gateway_claims (
    api_key_id text NOT NULL,
    name text NOT NULL,
    fingerprint text NOT NULL,
    at_s double precision NOT NULL,
    answer bytea NOT NULL,
    PRIMARY KEY (api_key_id, name)
);

CREATE INDEX gateway_claims_by_time ON gateway_claims (at_s);
CREATE INDEX gateway_claims_of_key ON gateway_claims (api_key_id, at_s, name);
