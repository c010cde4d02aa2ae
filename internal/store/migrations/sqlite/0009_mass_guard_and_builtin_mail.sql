-- +goose Up

-- absent_at is since when something of the domain that holds was not found, 0 while
-- nothing is missing; holds, whether any of its facets does.
ALTER TABLE domains ADD COLUMN absent_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE domains ADD COLUMN holds BOOLEAN NOT NULL DEFAULT false;

UPDATE domains SET holds = true WHERE facets LIKE '%"status":"verified"%' OR facets LIKE '%"status":"lapsing"%';

CREATE INDEX domains_absent ON domains (absent_at, id) WHERE absent_at > 0;
CREATE INDEX domains_holding ON domains (holds) WHERE holds;

-- One row, of the instance: whether losses are frozen, and up to when an operator has
-- said that they are true.
CREATE TABLE mass_guard (
    id          BIGINT PRIMARY KEY,
    frozen_at   BIGINT NOT NULL,
    released_at BIGINT NOT NULL,
    released_by TEXT   NOT NULL,
    reason      TEXT   NOT NULL
);

INSERT INTO mass_guard (id, frozen_at, released_at, released_by, reason) VALUES (1, 0, 0, '', '');

-- Mail of the built-in no-reply: it never leaves by a tenant's own server, so that it
-- is claimed while that one is busy.
ALTER TABLE messages ADD COLUMN builtin BOOLEAN NOT NULL DEFAULT false;

CREATE INDEX messages_builtin ON messages (tenant_id, next_attempt_at, id) WHERE state = 'queued' AND builtin;
