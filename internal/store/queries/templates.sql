-- name: Template :one
SELECT * FROM templates WHERE tenant_id = @tenant_id AND id = @id;

-- name: TemplateFor :one
SELECT * FROM templates
WHERE tenant_id = @tenant_id AND application_id = @application_id AND type = @type AND locale = @locale
    AND variant = @variant;

-- An empty type or locale matches all. A tenant has few templates: they are read
-- in the order of ids, and what does not match is passed over.
-- name: Templates :many
SELECT * FROM templates
WHERE tenant_id = @tenant_id AND id > @after
    AND (CAST(@any_application AS BOOLEAN) OR application_id = @application_id)
    AND CAST(@type AS TEXT) IN ('', type) AND CAST(@locale AS TEXT) IN ('', locale)
ORDER BY id LIMIT CAST(@most AS BIGINT);

-- name: CountTemplates :one
SELECT count(*) AS n, CAST(COALESCE(SUM(octets), 0) AS BIGINT) AS octets FROM templates WHERE tenant_id = @tenant_id;

-- name: InsertTemplate :execrows
INSERT INTO templates (
    tenant_id, id, application_id, type, locale, spelling, variant, variant_spelled, author, reply_to, subject, body, html, charset,
    octets, created_at, updated_at
) VALUES (
    @tenant_id, @id, @application_id, @type, @locale, @spelling, @variant, @variant_spelled, @author, @reply_to, @subject, @body,
    @html, @charset, @octets, @created_at, @updated_at
) ON CONFLICT DO NOTHING;

-- name: UpdateTemplate :execrows
UPDATE templates SET
    type = @type, locale = @locale, spelling = @spelling, variant = @variant, variant_spelled = @variant_spelled, author = @author, reply_to = @reply_to, subject = @subject,
    body = @body, html = @html, charset = @charset, octets = @octets, updated_at = @updated_at
WHERE tenant_id = @tenant_id AND id = @id;

-- name: DeleteTemplate :execrows
DELETE FROM templates WHERE tenant_id = @tenant_id AND id = @id;
