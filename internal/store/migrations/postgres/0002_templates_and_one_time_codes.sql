-- +goose Up

-- token and hmac_key are of a key pair. The token is looked up before anybody is
-- known and is unique in the instance; the other kinds have none.
ALTER TABLE credentials ADD COLUMN token TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE credentials ADD COLUMN hmac_key BYTEA; -- sealed

CREATE UNIQUE INDEX credentials_token ON credentials (token) WHERE token <> '';

-- Of mail that was filled into a template.
ALTER TABLE messages ADD COLUMN reply_to TEXT NOT NULL DEFAULT '';
ALTER TABLE messages ADD COLUMN template_id TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE messages ADD COLUMN locale TEXT NOT NULL DEFAULT '';

-- application_id is empty for a template of the tenant itself.
CREATE TABLE templates (
    tenant_id      TEXT COLLATE "C" NOT NULL REFERENCES tenants (id),
    id             TEXT COLLATE "C" NOT NULL,
    application_id TEXT COLLATE "C" NOT NULL,
    type           TEXT COLLATE "C" NOT NULL,
    locale         TEXT COLLATE "C" NOT NULL,
    spelling       TEXT    NOT NULL,
    variant        TEXT COLLATE "C" NOT NULL, -- in lower case, as Go makes it; empty: none
    variant_spelled TEXT   NOT NULL,
    author         TEXT    NOT NULL,
    reply_to       TEXT    NOT NULL,
    subject        TEXT    NOT NULL,
    body           TEXT    NOT NULL,
    html           BOOLEAN NOT NULL,
    charset        TEXT    NOT NULL,
    octets         BIGINT  NOT NULL, -- of subject and body
    created_at     BIGINT  NOT NULL,
    updated_at     BIGINT  NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, application_id, type, locale, variant)
);

-- name_key is the name in lower case, as Go makes it: the engines differ in what
-- they call lower case. Ids are chosen by clients, so they tell no order.
CREATE TABLE applications (
    tenant_id  TEXT COLLATE "C" NOT NULL REFERENCES tenants (id),
    id         TEXT COLLATE "C" NOT NULL,
    name       TEXT    NOT NULL,
    name_key   TEXT COLLATE "C" NOT NULL,
    enabled    BOOLEAN NOT NULL,
    push       TEXT    NOT NULL, -- sender id of a push service; not used
    attributes TEXT    NOT NULL, -- JSON
    created_at BIGINT  NOT NULL,
    updated_at BIGINT  NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, name_key)
);

CREATE INDEX applications_created ON applications (tenant_id, created_at, id);

CREATE TABLE users (
    tenant_id     TEXT COLLATE "C" NOT NULL REFERENCES tenants (id),
    id            TEXT COLLATE "C" NOT NULL,
    username      TEXT COLLATE "C" NOT NULL,
    first_name    TEXT   NOT NULL,
    last_name     TEXT   NOT NULL,
    last_login_at BIGINT NOT NULL,
    guard         TEXT   NOT NULL, -- JSON
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, username)
);

-- What a user has goes with the user. There is no foreign key to the application:
-- applications are never deleted.
CREATE TABLE devices (
    tenant_id      TEXT COLLATE "C" NOT NULL,
    id             TEXT COLLATE "C" NOT NULL,
    user_id        TEXT COLLATE "C" NOT NULL,
    application_id TEXT COLLATE "C" NOT NULL,
    address        TEXT   NOT NULL,
    nickname       TEXT   NOT NULL,
    role           TEXT   NOT NULL,
    paired_at      BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
);

CREATE INDEX devices_user ON devices (tenant_id, user_id, paired_at, id);
CREATE INDEX devices_application ON devices (tenant_id, application_id, id);

-- device_id is empty until it is paired.
CREATE TABLE pairings (
    tenant_id      TEXT COLLATE "C" NOT NULL,
    id             TEXT COLLATE "C" NOT NULL,
    user_id        TEXT COLLATE "C" NOT NULL,
    application_id TEXT COLLATE "C" NOT NULL,
    address        TEXT   NOT NULL,
    nickname       TEXT   NOT NULL,
    state          TEXT   NOT NULL,
    challenge      TEXT   NOT NULL, -- JSON
    device_id      TEXT COLLATE "C" NOT NULL,
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL,
    expires_at     BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
);

CREATE INDEX pairings_user ON pairings (tenant_id, user_id);
CREATE INDEX pairings_ended ON pairings (expires_at);

-- device_id is empty while one is to be selected, and may name one that is gone.
CREATE TABLE authentications (
    tenant_id      TEXT COLLATE "C" NOT NULL,
    id             TEXT COLLATE "C" NOT NULL,
    user_id        TEXT COLLATE "C" NOT NULL,
    application_id TEXT COLLATE "C" NOT NULL,
    device_id      TEXT COLLATE "C" NOT NULL,
    status         TEXT   NOT NULL,
    challenge      TEXT   NOT NULL, -- JSON
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL,
    expires_at     BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
);

CREATE INDEX authentications_user ON authentications (tenant_id, user_id);
CREATE INDEX authentications_ended ON authentications (expires_at);
