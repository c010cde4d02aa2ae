-- name: Events :many
SELECT * FROM events WHERE tenant_id = @tenant_id AND id > @after
ORDER BY id LIMIT CAST(@most AS BIGINT);

-- name: Event :one
SELECT * FROM events WHERE tenant_id = @tenant_id AND id = @id;

-- name: InsertEvent :exec
INSERT INTO events (tenant_id, id, at, actor_id, type, object_id, data)
VALUES (@tenant_id, @id, @at, @actor_id, @type, @object_id, @data);

-- name: SigningKey :one
SELECT * FROM signing_keys WHERE selector = @selector;

-- name: InsertKey :execrows
INSERT INTO signing_keys (selector, tenant_id, domain_id, region, algorithm, pkcs8, txt, created_at, revoked_at)
VALUES (@selector, @tenant_id, @domain_id, @region, @algorithm, @pkcs8, @txt, @created_at, @revoked_at)
ON CONFLICT DO NOTHING;

-- The row stays, so that the selector is never given out again; the private half
-- is of no use any more.
-- name: RevokeKeys :exec
UPDATE signing_keys SET revoked_at = @now, pkcs8 = NULL
WHERE tenant_id = @tenant_id AND domain_id = @domain_id AND revoked_at = 0;

-- name: Secret :one
SELECT value FROM secrets WHERE name = @name;

-- name: InsertSecret :exec
INSERT INTO secrets (name, value) VALUES (@name, @value) ON CONFLICT DO NOTHING;
