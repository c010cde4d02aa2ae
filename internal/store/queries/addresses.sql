-- name: Address :one
SELECT * FROM addresses WHERE tenant_id = @tenant_id AND id = @id;

-- name: AddressByMailbox :one
SELECT * FROM addresses WHERE tenant_id = @tenant_id AND mailbox = @mailbox;

-- name: Addresses :many
SELECT * FROM addresses WHERE tenant_id = @tenant_id AND domain = @domain AND id > @after
ORDER BY id LIMIT CAST(@most AS BIGINT);

-- name: CountAddresses :one
SELECT count(*) FROM (
    SELECT 1 FROM addresses WHERE tenant_id = @tenant_id AND domain = @domain LIMIT CAST(@most AS BIGINT)
) AS part;

-- name: InsertAddress :execrows
INSERT INTO addresses (
    tenant_id, id, mailbox, domain, spelling, status, evidence, by_domain, code, created_at, updated_at
) VALUES (
    @tenant_id, @id, @mailbox, @domain, @spelling, @status, @evidence, @by_domain, @code, @created_at, @updated_at
) ON CONFLICT DO NOTHING;

-- name: UpdateAddress :execrows
UPDATE addresses SET
    spelling = @spelling, status = @status, evidence = @evidence, by_domain = @by_domain, code = @code,
    updated_at = @updated_at
WHERE tenant_id = @tenant_id AND id = @id;

-- name: DeleteAddress :execrows
DELETE FROM addresses WHERE tenant_id = @tenant_id AND id = @id;

-- name: CountRecipient :one
INSERT INTO recipients (day, key, n) VALUES (@day, @key, 1)
ON CONFLICT (day, key) DO UPDATE SET n = recipients.n + 1
RETURNING n;

-- name: ForgetRecipients :execrows
DELETE FROM recipients WHERE (day, key) IN (
    SELECT r.day, r.key FROM recipients r WHERE r.day < @day LIMIT CAST(@most AS BIGINT)
);
