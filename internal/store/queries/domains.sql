-- name: Domain :one
SELECT * FROM domains WHERE tenant_id = @tenant_id AND id = @id;

-- name: DomainByName :one
SELECT * FROM domains WHERE tenant_id = @tenant_id AND name = @name;

-- name: Domains :many
SELECT * FROM domains WHERE tenant_id = @tenant_id AND id > @after
ORDER BY id LIMIT CAST(@most AS BIGINT);

-- name: CountDomains :one
SELECT count(*) FROM (
    SELECT 1 FROM domains WHERE tenant_id = @tenant_id LIMIT CAST(@most AS BIGINT)
) AS part;

-- name: InsertDomain :execrows
INSERT INTO domains (
    tenant_id, id, name, spelling, tokens, mail_from, facets, proven_at, next_check_at, version, created_at, updated_at,
    absent_at, holds
) VALUES (
    @tenant_id, @id, @name, @spelling, @tokens, @mail_from, @facets, @proven_at, @next_check_at, @version, @created_at, @updated_at,
    @absent_at, @holds
) ON CONFLICT DO NOTHING;

-- name: UpdateDomain :execrows
UPDATE domains SET
    tokens = @tokens, mail_from = @mail_from, facets = @facets, proven_at = @proven_at,
    next_check_at = @next_check_at, updated_at = @updated_at, absent_at = @absent_at, holds = @holds, version = version + 1
WHERE tenant_id = @tenant_id AND id = @id AND version = @version;

-- name: DeleteDomain :execrows
DELETE FROM domains WHERE tenant_id = @tenant_id AND id = @id;

-- name: DueDomains :many
SELECT * FROM domains WHERE next_check_at > 0 AND next_check_at <= @now
ORDER BY next_check_at LIMIT CAST(@most AS BIGINT);

-- name: NewestDueDomains :many
SELECT * FROM domains WHERE next_check_at > 0 AND next_check_at <= @now
ORDER BY next_check_at DESC LIMIT CAST(@most AS BIGINT);

-- name: PutOffDomain :execrows
UPDATE domains SET next_check_at = @until WHERE tenant_id = @tenant_id AND id = @id;

-- Spread by what the times were: the engines have no random numbers in common.
-- name: BringDomainsForward :execrows
UPDATE domains SET next_check_at = CAST(@now AS BIGINT) + next_check_at % CAST(@span AS BIGINT)
WHERE next_check_at > 0 AND next_check_at > @beyond;

-- name: LastCheck :one
SELECT * FROM last_checks WHERE tenant_id = @tenant_id AND domain_id = @domain_id;

-- Selecting from domains keeps a check from being saved for another tenant's
-- domain, or for one that was deleted while it was checked.
-- name: SaveCheck :execrows
INSERT INTO last_checks (tenant_id, domain_id, checked_at, findings)
SELECT d.tenant_id, d.id, @checked_at, @findings
FROM domains d WHERE d.tenant_id = @tenant_id AND d.id = @domain_id
ON CONFLICT (tenant_id, domain_id) DO UPDATE SET checked_at = excluded.checked_at, findings = excluded.findings;
