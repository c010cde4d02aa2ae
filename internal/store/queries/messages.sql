-- name: Message :one
SELECT * FROM messages WHERE tenant_id = @tenant_id AND id = @id;

-- name: MessageByKey :one
SELECT * FROM messages WHERE tenant_id = @tenant_id AND idempotency_key = @idempotency_key AND idempotency_key <> '';

-- name: Messages :many
SELECT * FROM messages WHERE tenant_id = @tenant_id AND id > @after
ORDER BY id LIMIT CAST(@most AS BIGINT);

-- name: InsertMessage :execrows
INSERT INTO messages (
    tenant_id, id, kind, author, recipient, region, state, reason, once, attempts, in_doubt,
    next_attempt_at, expires_at, created_at, done_at, idempotency_key, request_hash, actor, lease_owner, lease_until,
    reply_to, template_id, locale, about, builtin
) VALUES (
    @tenant_id, @id, @kind, @author, @recipient, @region, @state, @reason, @once, @attempts, @in_doubt,
    @next_attempt_at, @expires_at, @created_at, @done_at, @idempotency_key, @request_hash, @actor, '', 0,
    @reply_to, @template_id, @locale, @about, @builtin
) ON CONFLICT DO NOTHING;

-- name: Body :one
SELECT body FROM bodies WHERE tenant_id = @tenant_id AND message_id = @message_id;

-- name: InsertBody :execrows
INSERT INTO bodies (tenant_id, message_id, body) VALUES (@tenant_id, @message_id, @body)
ON CONFLICT DO NOTHING;

-- name: DeleteBody :execrows
DELETE FROM bodies WHERE tenant_id = @tenant_id AND message_id = @message_id;

-- name: QueueDepth :one
SELECT count(*) FROM (
    SELECT 1 FROM messages WHERE state = 'queued' LIMIT CAST(@most AS BIGINT)
) AS part;

-- name: NextDue :one
SELECT CAST(COALESCE(MIN(next_attempt_at), 0) AS BIGINT) AS due FROM messages WHERE state = 'queued';

-- A loose index scan: one seek for every tenant that has mail in the queue, however
-- much it has, beginning after a given one.
-- name: QueuedTenants :many
WITH RECURSIVE walk(tenant_id, n) AS (
    SELECT (SELECT MIN(m.tenant_id) FROM messages m WHERE m.state = 'queued' AND m.tenant_id > @after), 1
    UNION ALL
    SELECT (SELECT MIN(m.tenant_id) FROM messages m WHERE m.state = 'queued' AND m.tenant_id > walk.tenant_id), walk.n + 1
    FROM walk WHERE walk.tenant_id IS NOT NULL AND walk.n < CAST(@most AS BIGINT)
)
SELECT CAST(walk.tenant_id AS TEXT) AS tenant_id, EXISTS (
    SELECT 1 FROM messages d WHERE d.state = 'queued' AND d.tenant_id = walk.tenant_id AND d.next_attempt_at <= @now
) AS due
FROM walk WHERE walk.tenant_id IS NOT NULL;

-- name: ClaimTenant :many
UPDATE messages SET state = 'sending', lease_owner = @owner, lease_until = @until
WHERE messages.tenant_id = @tenant_id AND messages.id IN (
    SELECT m.id FROM messages m
    WHERE m.state = 'queued' AND m.tenant_id = @tenant_id AND m.next_attempt_at <= @now
    ORDER BY m.next_attempt_at, m.id LIMIT CAST(@most AS BIGINT)
)
RETURNING *;

-- name: ClaimTenantBuiltin :many
UPDATE messages SET state = 'sending', lease_owner = @owner, lease_until = @until
WHERE messages.tenant_id = @tenant_id AND messages.id IN (
    SELECT m.id FROM messages m
    WHERE m.state = 'queued' AND m.builtin AND m.tenant_id = @tenant_id AND m.next_attempt_at <= @now
    ORDER BY m.next_attempt_at, m.id LIMIT CAST(@most AS BIGINT)
)
RETURNING *;

-- name: BuiltinDue :one
SELECT EXISTS (
    SELECT 1 FROM messages m WHERE m.state = 'queued' AND m.builtin AND m.tenant_id = @tenant_id AND m.next_attempt_at <= @now
);

-- name: RenewLeases :exec
UPDATE messages SET lease_until = @until WHERE state = 'sending' AND lease_owner = @owner;

-- Writes nothing new, but takes the row's lock: nobody can release the message
-- between this and the commit.
-- name: HoldMessage :execrows
UPDATE messages SET lease_owner = lease_owner
WHERE tenant_id = @tenant_id AND id = @id AND state = 'sending' AND lease_owner = @owner;

-- name: UpdateMessage :execrows
UPDATE messages SET
    state = @state, reason = @reason, attempts = @attempts, in_doubt = @in_doubt, next_attempt_at = @next_attempt_at,
    expires_at = @expires_at, done_at = @done_at, lease_owner = '', lease_until = 0
WHERE tenant_id = @tenant_id AND id = @id AND state = 'sending' AND lease_owner = @owner;

-- Moves leases to an owner that nobody else is, in one statement, so that their
-- holders lose them before anything else is decided.
-- name: SeizeLeases :many
UPDATE messages SET lease_owner = @seizer
WHERE state = 'sending' AND (lease_until < @now OR CAST(@everyone AS BOOLEAN))
RETURNING *;

-- name: Attempts :many
SELECT * FROM attempts WHERE tenant_id = @tenant_id AND message_id = @message_id ORDER BY number;

-- name: StartAttempt :execrows
INSERT INTO attempts (
    tenant_id, message_id, number, started_at, finished_at, outcome, code, enhanced, reply, stage, transcript
) VALUES (@tenant_id, @message_id, @number, @started_at, 0, 'started', 0, '', '', '', NULL)
ON CONFLICT DO NOTHING;

-- Selecting from messages keeps an attempt from being kept for another tenant's message.
-- name: FinishAttempt :execrows
INSERT INTO attempts (
    tenant_id, message_id, number, started_at, finished_at, outcome, code, enhanced, reply, stage, transcript
) SELECT m.tenant_id, m.id, @number, @started_at, @finished_at, @outcome, @code, @enhanced, @reply, @stage, @transcript
FROM messages m WHERE m.tenant_id = @tenant_id AND m.id = @message_id
ON CONFLICT (tenant_id, message_id, number) DO UPDATE SET
    finished_at = excluded.finished_at, outcome = excluded.outcome, code = excluded.code, enhanced = excluded.enhanced,
    reply = excluded.reply, stage = excluded.stage, transcript = excluded.transcript;

-- name: DoubtAttempts :many
UPDATE attempts SET outcome = 'unknown', finished_at = @now
WHERE tenant_id = @tenant_id AND message_id = @message_id AND outcome = 'started'
RETURNING number;
