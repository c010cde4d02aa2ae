-- +goose Up

-- Empty where the domain has no MAIL FROM domain of its own.
ALTER TABLE domains ADD COLUMN mail_from TEXT NOT NULL DEFAULT ''; -- JSON

ALTER TABLE addresses ADD COLUMN by_domain BOOLEAN NOT NULL DEFAULT false;

-- Of mail with a verification code: the id of the address that it proves.
ALTER TABLE messages ADD COLUMN about TEXT NOT NULL DEFAULT '';

-- Small documents that an edge keeps for a tenant, and that only it opens.
CREATE TABLE settings (
    tenant_id TEXT NOT NULL REFERENCES tenants (id),
    name      TEXT NOT NULL,
    document  TEXT NOT NULL,
    PRIMARY KEY (tenant_id, name)
) WITHOUT ROWID;
