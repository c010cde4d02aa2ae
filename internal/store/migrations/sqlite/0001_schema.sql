-- +goose Up

-- Ids are text in the form the core makes them; their order is the order of
-- creation. Times are microseconds since 1970 in UTC, 0 where the core has the
-- zero time. JSON is text that only Go opens. Tables of small rows have no rowid:
-- one tree to write instead of two.

CREATE TABLE organizations (
    id         TEXT PRIMARY KEY,
    name       TEXT   NOT NULL,
    created_at BIGINT NOT NULL
) WITHOUT ROWID;

INSERT INTO organizations (id, name, created_at)
VALUES ('0197a000-0000-7000-8000-000000000001', 'default', 1750736044032000);

CREATE TABLE tenants (
    id              TEXT PRIMARY KEY,
    organization_id TEXT   NOT NULL REFERENCES organizations (id),
    name            TEXT   NOT NULL,
    type            TEXT   NOT NULL,
    geography       TEXT   NOT NULL,
    regions         TEXT   NOT NULL, -- JSON
    record_set      TEXT   NOT NULL,
    from_policy     TEXT   NOT NULL,
    max_domains     BIGINT NOT NULL,
    max_addresses   BIGINT NOT NULL,
    max_templates   BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL
) WITHOUT ROWID;

CREATE INDEX tenants_organization ON tenants (organization_id, id);

-- tenant_id is empty for an operator's credential.
CREATE TABLE credentials (
    id          TEXT PRIMARY KEY,
    kind        TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    tenant_id   TEXT    NOT NULL,
    is_operator BOOLEAN NOT NULL,
    grants      TEXT    NOT NULL, -- JSON
    domain_id   TEXT    NOT NULL,
    secret_hash TEXT    NOT NULL,
    created_at  BIGINT  NOT NULL,
    expires_at  BIGINT  NOT NULL,
    revoked_at  BIGINT  NOT NULL
) WITHOUT ROWID;

CREATE INDEX credentials_tenant ON credentials (tenant_id, id);

-- Tokens and facets live in the row: making a domain costs one row.
CREATE TABLE domains (
    tenant_id     TEXT   NOT NULL REFERENCES tenants (id),
    id            TEXT   NOT NULL,
    name          TEXT   NOT NULL,
    spelling      TEXT   NOT NULL,
    tokens        TEXT   NOT NULL, -- JSON
    facets        TEXT   NOT NULL, -- JSON
    proven_at     BIGINT NOT NULL,
    next_check_at BIGINT NOT NULL,
    version       BIGINT NOT NULL,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, name)
);

CREATE INDEX domains_due ON domains (next_check_at) WHERE next_check_at > 0;

CREATE TABLE last_checks (
    tenant_id  TEXT   NOT NULL,
    domain_id  TEXT   NOT NULL,
    checked_at BIGINT NOT NULL,
    findings   TEXT   NOT NULL, -- JSON
    PRIMARY KEY (tenant_id, domain_id),
    FOREIGN KEY (tenant_id, domain_id) REFERENCES domains (tenant_id, id) ON DELETE CASCADE
);

CREATE TABLE addresses (
    tenant_id  TEXT   NOT NULL REFERENCES tenants (id),
    id         TEXT   NOT NULL,
    mailbox    TEXT   NOT NULL,
    domain     TEXT   NOT NULL,
    spelling   TEXT   NOT NULL,
    status     TEXT   NOT NULL,
    evidence   TEXT   NOT NULL,
    code       TEXT   NOT NULL, -- JSON
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, mailbox)
);

CREATE INDEX addresses_domain ON addresses (tenant_id, domain, id);

-- key is a keyed hash: who gets mail is not to be read here.
CREATE TABLE recipients (
    day BIGINT NOT NULL,
    key TEXT   NOT NULL,
    n   BIGINT NOT NULL,
    PRIMARY KEY (day, key)
) WITHOUT ROWID;

-- Messages, their attempts and events have no foreign key to the tenant, as on
-- PostgreSQL, where its check would make the senders of a busy tenant meet.
CREATE TABLE messages (
    tenant_id       TEXT    NOT NULL,
    id              TEXT    NOT NULL,
    kind            TEXT    NOT NULL,
    author          TEXT    NOT NULL,
    recipient       TEXT    NOT NULL,
    region          TEXT    NOT NULL,
    state           TEXT    NOT NULL,
    reason          TEXT    NOT NULL,
    once            BOOLEAN NOT NULL,
    attempts        BIGINT  NOT NULL,
    in_doubt        BIGINT  NOT NULL,
    next_attempt_at BIGINT  NOT NULL,
    expires_at      BIGINT  NOT NULL,
    created_at      BIGINT  NOT NULL,
    done_at         BIGINT  NOT NULL,
    idempotency_key TEXT    NOT NULL,
    request_hash    TEXT    NOT NULL,
    actor           TEXT    NOT NULL,
    lease_owner     TEXT    NOT NULL,
    lease_until     BIGINT  NOT NULL,
    PRIMARY KEY (tenant_id, id)
) WITHOUT ROWID;

CREATE UNIQUE INDEX messages_idempotency ON messages (tenant_id, idempotency_key) WHERE idempotency_key <> '';
CREATE INDEX messages_due ON messages (tenant_id, next_attempt_at, id) WHERE state = 'queued';
CREATE INDEX messages_next ON messages (next_attempt_at) WHERE state = 'queued';
CREATE INDEX messages_leased ON messages (lease_owner) WHERE state = 'sending';

-- The sealed body is apart, so that the moves of a message don't rewrite it and
-- lists don't read past it.
CREATE TABLE bodies (
    tenant_id  TEXT   NOT NULL,
    message_id TEXT   NOT NULL,
    body       BLOB   NOT NULL,
    PRIMARY KEY (tenant_id, message_id)
);

CREATE TABLE attempts (
    tenant_id   TEXT   NOT NULL,
    message_id  TEXT   NOT NULL,
    number      BIGINT NOT NULL,
    started_at  BIGINT NOT NULL,
    finished_at BIGINT NOT NULL,
    outcome     TEXT   NOT NULL,
    code        BIGINT NOT NULL,
    enhanced    TEXT   NOT NULL,
    reply       TEXT   NOT NULL,
    stage       TEXT   NOT NULL,
    transcript  BLOB,
    PRIMARY KEY (tenant_id, message_id, number)
) WITHOUT ROWID;

CREATE TABLE events (
    tenant_id TEXT   NOT NULL,
    id        TEXT   NOT NULL,
    at        BIGINT NOT NULL,
    actor_id  TEXT   NOT NULL,
    type      TEXT   NOT NULL,
    object_id TEXT   NOT NULL,
    data      TEXT   NOT NULL, -- JSON
    PRIMARY KEY (tenant_id, id)
) WITHOUT ROWID;

-- Rows are never deleted: a selector is given out once.
CREATE TABLE signing_keys (
    selector   TEXT   NOT NULL PRIMARY KEY,
    tenant_id  TEXT   NOT NULL,
    domain_id  TEXT   NOT NULL,
    region     TEXT   NOT NULL,
    algorithm  TEXT   NOT NULL,
    pkcs8      BLOB, -- sealed; gone once revoked
    txt        TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT NOT NULL
) WITHOUT ROWID;

CREATE INDEX signing_keys_domain ON signing_keys (tenant_id, domain_id);

CREATE TABLE secrets (
    name  TEXT PRIMARY KEY,
    value BLOB   NOT NULL -- sealed
) WITHOUT ROWID;
