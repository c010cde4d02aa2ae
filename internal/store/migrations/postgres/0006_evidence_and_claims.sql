-- +goose Up

-- What was seen of a domain's records, a row for each change: entry is JSON. The
-- newest of each domain are kept, for some months.
CREATE TABLE timeline (
    tenant_id TEXT COLLATE "C" NOT NULL,
    domain_id TEXT COLLATE "C" NOT NULL,
    id        TEXT COLLATE "C" NOT NULL,
    at        BIGINT NOT NULL,
    entry     TEXT   NOT NULL,
    PRIMARY KEY (tenant_id, domain_id, id),
    FOREIGN KEY (tenant_id, domain_id) REFERENCES domains (tenant_id, id) ON DELETE CASCADE
);

CREATE INDEX timeline_at ON timeline (at);

-- Domains that were deleted; ids are in the order of deletion. records is JSON, the records they
-- asked for and when each was last seen.
CREATE TABLE tombstones (
    tenant_id     TEXT COLLATE "C" NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    id            TEXT COLLATE "C" NOT NULL,
    domain_id     TEXT COLLATE "C" NOT NULL,
    name          TEXT COLLATE "C" NOT NULL,
    spelling      TEXT   NOT NULL,
    records       TEXT   NOT NULL,
    deleted_at    BIGINT NOT NULL,
    checked_at    BIGINT NOT NULL,
    next_check_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

CREATE INDEX tombstones_due ON tombstones (next_check_at);

-- Who holds a name, where names have one holder. claim is JSON, empty while nobody
-- claims the name.
CREATE TABLE holds (
    name      TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    tenant_id TEXT COLLATE "C" NOT NULL,
    domain_id TEXT COLLATE "C" NOT NULL,
    since     BIGINT NOT NULL,
    claim     TEXT   NOT NULL,
    version   BIGINT NOT NULL,
    FOREIGN KEY (tenant_id, domain_id) REFERENCES domains (tenant_id, id) ON DELETE CASCADE
);

CREATE INDEX holds_domain ON holds (tenant_id, domain_id);

CREATE INDEX domains_proven ON domains (name, proven_at) WHERE proven_at > 0;
