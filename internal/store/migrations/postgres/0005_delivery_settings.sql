-- +goose Up

-- A tenant's own SMTP server. The password is sealed for this tenant, host and
-- user name: moved to another row, or beside another host, it does not open.
CREATE TABLE relays (
    tenant_id  TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES tenants (id) ON DELETE CASCADE,
    host       TEXT NOT NULL,
    port       BIGINT NOT NULL,
    username   TEXT NOT NULL,
    password   BYTEA, -- sealed; NULL: there is none
    author     TEXT NOT NULL, -- JSON
    reply_to   TEXT NOT NULL, -- JSON
    updated_at BIGINT NOT NULL
);
