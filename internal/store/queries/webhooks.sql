-- name: Webhook :one
SELECT * FROM webhooks WHERE tenant_id = @tenant_id AND id = @id;

-- name: Webhooks :many
SELECT * FROM webhooks WHERE tenant_id = @tenant_id AND id > @after
ORDER BY id LIMIT CAST(@most AS BIGINT);

-- What wants a new event; a handful.
-- name: WebhookTypes :many
SELECT id, types FROM webhooks WHERE tenant_id = @tenant_id AND enabled ORDER BY id;

-- name: InsertWebhook :execrows
INSERT INTO webhooks (
    tenant_id, id, url, description, types, format, enabled, disabled_by, disabled_at, secrets, document,
    troubled, failing_since, lease_owner, lease_until, created_at, updated_at
) VALUES (
    @tenant_id, @id, @url, @description, @types, @format, @enabled, @disabled_by, @disabled_at, @secrets, @document,
    @troubled, @failing_since, '', 0, @created_at, @updated_at
) ON CONFLICT DO NOTHING;

-- name: UpdateWebhook :execrows
UPDATE webhooks SET
    url = @url, description = @description, types = @types, format = @format, enabled = @enabled, disabled_by = @disabled_by,
    disabled_at = @disabled_at, secrets = @secrets, document = @document, updated_at = @updated_at
WHERE tenant_id = @tenant_id AND id = @id;

-- name: MarkWebhook :execrows
UPDATE webhooks SET troubled = @troubled, failing_since = @failing_since WHERE tenant_id = @tenant_id AND id = @id;

-- name: DeleteWebhook :execrows
DELETE FROM webhooks WHERE tenant_id = @tenant_id AND id = @id;

-- name: DeleteWebhookDeliveries :exec
DELETE FROM webhook_deliveries WHERE tenant_id = @tenant_id AND webhook_id = @webhook_id;

-- name: DeleteTenantDeliveries :exec
DELETE FROM webhook_deliveries WHERE tenant_id = @tenant_id;

-- In the order of the key, from after the one that was served last.
-- name: DueWebhooks :many
SELECT w.tenant_id, w.id FROM webhooks w
WHERE (w.tenant_id, w.id) > (@after_tenant, @after_id) AND w.enabled AND w.troubled = @troubled AND w.lease_until <= @now AND EXISTS (
    SELECT 1 FROM webhook_deliveries d
    WHERE d.tenant_id = w.tenant_id AND d.webhook_id = w.id AND d.due_at > 0 AND d.due_at <= @now
)
ORDER BY w.tenant_id, w.id LIMIT CAST(@most AS BIGINT);

-- name: LeaseWebhook :execrows
UPDATE webhooks SET lease_owner = @owner, lease_until = @until
WHERE tenant_id = @tenant_id AND id = @id AND lease_until <= @now;

-- name: ReleaseWebhook :exec
UPDATE webhooks SET lease_owner = '', lease_until = 0 WHERE tenant_id = @tenant_id AND id = @id AND lease_owner = @owner;

-- name: ReleaseWebhooks :exec
UPDATE webhooks SET lease_owner = '', lease_until = 0 WHERE lease_until > 0;

-- name: NextWebhookDelivery :one
SELECT CAST(COALESCE((SELECT d.due_at FROM webhook_deliveries d WHERE d.due_at > 0 ORDER BY d.due_at LIMIT 1), 0) AS BIGINT) AS due_at;

-- name: DueWebhookDeliveries :many
SELECT * FROM webhook_deliveries
WHERE tenant_id = @tenant_id AND webhook_id = @webhook_id AND due_at > 0 AND due_at <= @now
ORDER BY due_at, event_id LIMIT CAST(@most AS BIGINT);

-- The list goes backwards in time.
-- name: WebhookDeliveries :many
SELECT * FROM webhook_deliveries WHERE tenant_id = @tenant_id AND webhook_id = @webhook_id AND event_id < @before
ORDER BY event_id DESC LIMIT CAST(@most AS BIGINT);

-- Again from the start where it was there.
-- name: PutWebhookDelivery :execrows
INSERT INTO webhook_deliveries (tenant_id, webhook_id, event_id, state, attempts, status, error, due_at, expires_at, tried_at, done_at)
SELECT w.tenant_id, w.id, @event_id, 'pending', 0, 0, '', @due_at, 0, 0, 0
FROM webhooks w WHERE w.tenant_id = @tenant_id AND w.id = @webhook_id
ON CONFLICT (tenant_id, webhook_id, event_id) DO UPDATE SET
    state = excluded.state, attempts = 0, due_at = excluded.due_at, expires_at = 0, done_at = 0;

-- Who comes second, having posted the same, changes nothing.
-- name: UpdateWebhookDelivery :execrows
UPDATE webhook_deliveries SET
    state = @state, attempts = @attempts, status = @status, error = @error, due_at = @due_at, expires_at = @expires_at, tried_at = @tried_at, done_at = @done_at
WHERE tenant_id = @tenant_id AND webhook_id = @webhook_id AND event_id = @event_id AND state = 'pending' AND attempts = @before;

-- name: PutOffWebhookDeliveries :exec
UPDATE webhook_deliveries SET due_at = @due_at, expires_at = 0
WHERE tenant_id = @tenant_id AND webhook_id = @webhook_id AND state = 'pending';

-- name: ForgetWebhookDeliveries :execrows
DELETE FROM webhook_deliveries WHERE (tenant_id, webhook_id, event_id) IN (
    SELECT d.tenant_id, d.webhook_id, d.event_id FROM webhook_deliveries d
    WHERE d.done_at > 0 AND d.done_at < @before ORDER BY d.done_at LIMIT CAST(@most AS BIGINT)
);

-- Those of webhooks that were deleted in the moment of the event.
-- name: ForgetOrphanDeliveries :execrows
DELETE FROM webhook_deliveries WHERE (tenant_id, webhook_id, event_id) IN (
    SELECT d.tenant_id, d.webhook_id, d.event_id FROM webhook_deliveries d
    WHERE d.due_at > 0 AND d.due_at < @before AND NOT EXISTS (SELECT 1 FROM webhooks w WHERE w.tenant_id = d.tenant_id AND w.id = d.webhook_id)
    ORDER BY d.due_at LIMIT CAST(@most AS BIGINT)
);
