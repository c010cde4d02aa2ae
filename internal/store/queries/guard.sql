-- name: MassGuard :one
SELECT * FROM mass_guard WHERE id = 1;

-- Writes nothing new, but takes the row's lock until the end of the transaction.
-- name: LockMassGuard :one
UPDATE mass_guard SET id = id WHERE id = 1
RETURNING *;

-- name: PutMassGuard :exec
UPDATE mass_guard SET frozen_at = @frozen_at, released_at = @released_at, released_by = @released_by, reason = @reason
WHERE id = 1;

-- name: CountAbsent :one
SELECT count(*) AS n, CAST(COALESCE(MAX(absent_at), 0) AS BIGINT) AS newest
FROM domains WHERE absent_at > 0 AND absent_at > @after;

-- name: AbsentDomains :many
SELECT * FROM domains WHERE absent_at > 0 AND absent_at > @after
ORDER BY absent_at, id LIMIT CAST(@most AS BIGINT);

-- name: CountHolding :one
SELECT count(*) FROM domains WHERE holds;
