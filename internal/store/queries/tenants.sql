-- name: Organization :one
SELECT * FROM organizations WHERE id = @id;

-- name: InsertOrganization :execrows
INSERT INTO organizations (id, name, created_at) VALUES (@id, @name, @created_at)
ON CONFLICT DO NOTHING;

-- name: Tenant :one
SELECT * FROM tenants WHERE id = @id;

-- name: Tenants :many
SELECT * FROM tenants WHERE id > @after ORDER BY id LIMIT CAST(@most AS BIGINT);

-- name: OrganizationTenants :many
SELECT * FROM tenants WHERE organization_id = @organization_id AND id > @after
ORDER BY id LIMIT CAST(@most AS BIGINT);

-- name: InsertTenant :execrows
INSERT INTO tenants (
    id, organization_id, name, type, geography, regions, record_set, from_policy,
    max_domains, max_addresses, max_templates, created_at, updated_at
) VALUES (
    @id, @organization_id, @name, @type, @geography, @regions, @record_set, @from_policy,
    @max_domains, @max_addresses, @max_templates, @created_at, @updated_at
) ON CONFLICT DO NOTHING;

-- name: UpdateTenant :execrows
UPDATE tenants SET name = @name, type = @type, updated_at = @updated_at WHERE id = @id;

-- What has a foreign key to the tenant, and mail that has not left.
-- name: Belongings :one
SELECT
    (SELECT count(*) FROM domains WHERE domains.tenant_id = @tenant_id) AS domains,
    (SELECT count(*) FROM addresses WHERE addresses.tenant_id = @tenant_id) AS addresses,
    (SELECT count(*) FROM templates WHERE templates.tenant_id = @tenant_id) AS templates,
    (SELECT count(*) FROM applications WHERE applications.tenant_id = @tenant_id) AS applications,
    (SELECT count(*) FROM users WHERE users.tenant_id = @tenant_id) AS users,
    (SELECT count(*) FROM messages WHERE messages.tenant_id = @tenant_id AND messages.state = 'queued') AS queued,
    (SELECT count(*) FROM messages WHERE messages.tenant_id = @tenant_id AND messages.state = 'sending') AS sending;

-- name: DeleteTenantSettings :exec
DELETE FROM settings WHERE tenant_id = @tenant_id;

-- name: DeleteTenantCredentials :exec
DELETE FROM credentials WHERE tenant_id = @tenant_id;

-- name: DeleteTenant :execrows
DELETE FROM tenants WHERE id = @id;

-- name: Credential :one
SELECT * FROM credentials WHERE id = @id;

-- name: Credentials :many
SELECT * FROM credentials WHERE tenant_id = @tenant_id AND id > @after
ORDER BY id LIMIT CAST(@most AS BIGINT);

-- The index of tokens leaves the empty one out.
-- name: CredentialByToken :one
SELECT * FROM credentials WHERE tenant_id = @tenant_id AND token = @token AND token <> '';

-- name: InsertCredential :execrows
INSERT INTO credentials (
    id, kind, name, tenant_id, is_operator, grants, domain_id, secret_hash, created_at, expires_at, revoked_at, token, hmac_key
) VALUES (
    @id, @kind, @name, @tenant_id, @is_operator, @grants, @domain_id, @secret_hash, @created_at, @expires_at, @revoked_at,
    @token, @hmac_key
) ON CONFLICT DO NOTHING;

-- The first time of revocation stays.
-- name: RevokeCredential :execrows
UPDATE credentials SET revoked_at = CASE WHEN revoked_at > 0 THEN revoked_at ELSE CAST(@at AS BIGINT) END
WHERE tenant_id = @tenant_id AND id = @id;

-- An earlier end stays.
-- name: ExpireCredential :execrows
UPDATE credentials SET expires_at = CASE WHEN expires_at > 0 AND expires_at < @at THEN expires_at ELSE CAST(@at AS BIGINT) END
WHERE tenant_id = @tenant_id AND id = @id;
