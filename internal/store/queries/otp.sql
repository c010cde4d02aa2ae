-- name: Application :one
SELECT * FROM applications WHERE tenant_id = @tenant_id AND id = @id;

-- name: ApplicationByName :one
SELECT * FROM applications WHERE tenant_id = @tenant_id AND name_key = @name_key;

-- name: Applications :many
SELECT * FROM applications WHERE tenant_id = @tenant_id ORDER BY created_at, id;

-- name: InsertApplication :execrows
INSERT INTO applications (
    tenant_id, id, name, name_key, enabled, push, attributes, created_at, updated_at
) VALUES (
    @tenant_id, @id, @name, @name_key, @enabled, @push, @attributes, @created_at, @updated_at
) ON CONFLICT DO NOTHING;

-- name: UpdateApplication :execrows
UPDATE applications SET
    name = @name, name_key = @name_key, enabled = @enabled, push = @push, attributes = @attributes, updated_at = @updated_at
WHERE tenant_id = @tenant_id AND id = @id;

-- name: User :one
SELECT * FROM users WHERE tenant_id = @tenant_id AND username = @username;

-- name: InsertUser :execrows
INSERT INTO users (
    tenant_id, id, username, first_name, last_name, last_login_at, guard, created_at, updated_at
) VALUES (
    @tenant_id, @id, @username, @first_name, @last_name, @last_login_at, @guard, @created_at, @updated_at
) ON CONFLICT DO NOTHING;

-- name: UpdateUser :execrows
UPDATE users SET
    first_name = @first_name, last_name = @last_name, last_login_at = @last_login_at, guard = @guard, updated_at = @updated_at
WHERE tenant_id = @tenant_id AND id = @id;

-- name: DeleteUser :execrows
DELETE FROM users WHERE tenant_id = @tenant_id AND id = @id;

-- name: Devices :many
SELECT * FROM devices WHERE tenant_id = @tenant_id AND user_id = @user_id ORDER BY paired_at, id;

-- name: DevicesOf :many
SELECT * FROM devices WHERE tenant_id = @tenant_id AND application_id = @application_id AND id > @after
ORDER BY id LIMIT CAST(@most AS BIGINT);

-- Selecting from users keeps what is inserted here and below from being another
-- tenant's user's, or that of one who was deleted meanwhile.
-- name: InsertDevice :execrows
INSERT INTO devices (tenant_id, id, user_id, application_id, address, nickname, role, paired_at)
SELECT u.tenant_id, @id, u.id, @application_id, @address, @nickname, @role, @paired_at
FROM users u WHERE u.tenant_id = @tenant_id AND u.id = @user_id;

-- name: UpdateDevice :execrows
UPDATE devices SET nickname = @nickname, role = @role WHERE tenant_id = @tenant_id AND id = @id;

-- name: DeleteDevice :execrows
DELETE FROM devices WHERE tenant_id = @tenant_id AND id = @id;

-- name: Pairing :one
SELECT * FROM pairings WHERE tenant_id = @tenant_id AND id = @id;

-- name: InsertPairing :execrows
INSERT INTO pairings (
    tenant_id, id, user_id, application_id, address, nickname, state, challenge, device_id, created_at, updated_at, expires_at
) SELECT u.tenant_id, @id, u.id, @application_id, @address, @nickname, @state, @challenge, @device_id,
    @created_at, @updated_at, @expires_at
FROM users u WHERE u.tenant_id = @tenant_id AND u.id = @user_id;

-- name: UpdatePairing :execrows
UPDATE pairings SET
    nickname = @nickname, state = @state, challenge = @challenge, device_id = @device_id, updated_at = @updated_at
WHERE tenant_id = @tenant_id AND id = @id;

-- name: ForgetPairings :execrows
DELETE FROM pairings WHERE (tenant_id, id) IN (
    SELECT p.tenant_id, p.id FROM pairings p WHERE p.expires_at < @before ORDER BY p.expires_at LIMIT CAST(@most AS BIGINT)
);

-- name: Authentication :one
SELECT * FROM authentications WHERE tenant_id = @tenant_id AND id = @id;

-- name: InsertAuthentication :execrows
INSERT INTO authentications (
    tenant_id, id, user_id, application_id, device_id, status, challenge, created_at, updated_at, expires_at
) SELECT u.tenant_id, @id, u.id, @application_id, @device_id, @status, @challenge, @created_at, @updated_at, @expires_at
FROM users u WHERE u.tenant_id = @tenant_id AND u.id = @user_id;

-- name: UpdateAuthentication :execrows
UPDATE authentications SET status = @status, challenge = @challenge, updated_at = @updated_at
WHERE tenant_id = @tenant_id AND id = @id;

-- name: ForgetAuthentications :execrows
DELETE FROM authentications WHERE (tenant_id, id) IN (
    SELECT a.tenant_id, a.id FROM authentications a WHERE a.expires_at < @before
    ORDER BY a.expires_at LIMIT CAST(@most AS BIGINT)
);
