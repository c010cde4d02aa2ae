-- name: Hold :one
SELECT * FROM holds WHERE name = @name;

-- name: InsertHold :execrows
INSERT INTO holds (name, tenant_id, domain_id, since, claim, version)
VALUES (@name, @tenant_id, @domain_id, @since, @claim, 1)
ON CONFLICT DO NOTHING;

-- name: UpdateHold :execrows
UPDATE holds SET tenant_id = @tenant_id, domain_id = @domain_id, since = @since, claim = @claim, version = version + 1
WHERE name = @name AND version = @version;

-- name: DeleteHold :execrows
DELETE FROM holds WHERE name = @name AND version = @version;

-- Of all tenants, those first that were proven first.
-- name: DomainsProven :many
SELECT * FROM domains WHERE name = @name AND proven_at > 0 ORDER BY proven_at LIMIT CAST(@most AS BIGINT);

-- Backwards from the newest; ids are in the order of creation.
-- name: LastSent :one
SELECT created_at FROM messages
WHERE tenant_id = @tenant_id AND id > @after AND created_at >= @since AND state IN ('queued', 'sending', 'sent', 'unknown')
    AND (lower(author) LIKE CAST(@at AS TEXT) OR lower(author) LIKE CAST(@below AS TEXT))
ORDER BY id DESC LIMIT 1;
