-- name: MassGuard :one
SELECT * FROM mass_guard WHERE id = 1;

-- Writes nothing new, but takes the row's lock until the end of the transaction.
-- name: LockMassGuard :one
UPDATE mass_guard SET id = id WHERE id = 1
RETURNING *;

-- name: PutMassGuard :exec
UPDATE mass_guard SET frozen_at = @frozen_at, everybody = @everybody, tenants = @tenants, released_at = @released_at, released_by = @released_by, reason = @reason
WHERE id = 1;

-- name: CountAbsent :many
SELECT tenant_id, count(*) AS n, CAST(MAX(absent_at) AS BIGINT) AS newest
FROM domains WHERE absent_at > 0 AND absent_at > @after
GROUP BY tenant_id;

-- name: AbsentDomains :many
SELECT * FROM domains WHERE absent_at > 0 AND absent_at > @after
ORDER BY absent_at, id LIMIT CAST(@most AS BIGINT);

-- name: CountHolding :one
SELECT count(*) FROM domains WHERE holds;

-- name: CountHoldingOf :one
SELECT count(*) FROM domains WHERE tenant_id = @tenant_id AND holds;
