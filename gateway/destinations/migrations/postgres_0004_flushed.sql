-- Gateways that were here lately, each by its queue: a destination that is being deleted stays until each of them holds
-- nothing of it any more.
CREATE TABLE gateway_queues (
    id text PRIMARY KEY,
    seen_at timestamptz NOT NULL
);

CREATE TABLE gateway_flushed (
    destination_id text NOT NULL REFERENCES gateway_destinations (id) ON DELETE CASCADE,
    queue_id text NOT NULL,
    PRIMARY KEY (destination_id, queue_id)
);
