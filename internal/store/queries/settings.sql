-- name: Setting :one
SELECT document FROM settings WHERE tenant_id = @tenant_id AND name = @name;

-- name: PutSetting :exec
INSERT INTO settings (tenant_id, name, document) VALUES (@tenant_id, @name, @document)
ON CONFLICT (tenant_id, name) DO UPDATE SET document = excluded.document;

-- name: DeleteSetting :exec
DELETE FROM settings WHERE tenant_id = @tenant_id AND name = @name;
