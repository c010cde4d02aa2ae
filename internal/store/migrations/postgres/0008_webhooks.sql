-- +goose Up

-- Where a tenant's events are posted to. types is JSON, a list of patterns. secrets is
-- sealed JSON: the keys that sign, and header fields that are sent along. troubled, by
-- which few are served at a time, and failing_since are written by those who post; who
-- holds the lease is the one who posts. document is what an edge keeps with it.
CREATE TABLE webhooks (
    tenant_id     TEXT COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    id            TEXT COLLATE "C" NOT NULL,
    url           TEXT    NOT NULL,
    description   TEXT    NOT NULL,
    types         TEXT    NOT NULL, -- JSON
    format        TEXT    NOT NULL,
    enabled       BOOLEAN NOT NULL,
    disabled_by   TEXT    NOT NULL,
    disabled_at   BIGINT  NOT NULL,
    secrets       BYTEA   NOT NULL,
    document      TEXT    NOT NULL,
    troubled      BOOLEAN NOT NULL,
    failing_since BIGINT  NOT NULL,
    lease_owner   TEXT    NOT NULL,
    lease_until   BIGINT  NOT NULL,
    created_at    BIGINT  NOT NULL,
    updated_at    BIGINT  NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

CREATE INDEX webhooks_leased ON webhooks (lease_until) WHERE lease_until > 0;

-- What is to be posted, and what became of it: made in the transaction of the event.
-- due_at is 0 once it is done, and while its webhook is disabled. No foreign key to the
-- webhook: an event must not fail because a webhook is deleted at the same moment.
CREATE TABLE webhook_deliveries (
    tenant_id  TEXT COLLATE "C" NOT NULL,
    webhook_id TEXT COLLATE "C" NOT NULL,
    event_id   TEXT COLLATE "C" NOT NULL,
    state      TEXT   NOT NULL,
    attempts   BIGINT NOT NULL,
    status     BIGINT NOT NULL,
    error      TEXT   NOT NULL,
    due_at     BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    tried_at   BIGINT NOT NULL,
    done_at    BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, webhook_id, event_id)
);

CREATE INDEX webhook_deliveries_due ON webhook_deliveries (tenant_id, webhook_id, due_at, event_id) WHERE due_at > 0;

CREATE INDEX webhook_deliveries_next ON webhook_deliveries (due_at) WHERE due_at > 0;

CREATE INDEX webhook_deliveries_done ON webhook_deliveries (done_at) WHERE done_at > 0;
