-- name: Relay :one
SELECT * FROM relays WHERE tenant_id = @tenant_id;

-- name: PutRelay :exec
INSERT INTO relays (tenant_id, host, port, username, password, author, reply_to, updated_at, http)
VALUES (@tenant_id, @host, @port, @username, @password, @author, @reply_to, @updated_at, @http)
ON CONFLICT (tenant_id) DO UPDATE SET
    host = excluded.host, port = excluded.port, username = excluded.username, password = excluded.password,
    author = excluded.author, reply_to = excluded.reply_to, updated_at = excluded.updated_at, http = excluded.http;

-- name: DeleteRelay :execrows
DELETE FROM relays WHERE tenant_id = @tenant_id;
