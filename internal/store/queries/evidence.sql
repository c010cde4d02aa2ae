-- The list goes backwards in time: @before is the id of the last entry that was seen.
-- name: Timeline :many
SELECT * FROM timeline WHERE tenant_id = @tenant_id AND domain_id = @domain_id AND id < @before
ORDER BY id DESC LIMIT CAST(@most AS BIGINT);

-- name: InsertTimeline :execrows
INSERT INTO timeline (tenant_id, domain_id, id, at, entry)
SELECT d.tenant_id, d.id, @id, @at, @entry
FROM domains d WHERE d.tenant_id = @tenant_id AND d.id = @domain_id;

-- name: TrimTimeline :execrows
DELETE FROM timeline WHERE timeline.tenant_id = @tenant_id AND timeline.domain_id = @domain_id AND timeline.id <= (
    SELECT t.id FROM timeline t WHERE t.tenant_id = @tenant_id AND t.domain_id = @domain_id
    ORDER BY t.id DESC LIMIT 1 OFFSET CAST(@most AS BIGINT)
);

-- name: ForgetTimeline :execrows
DELETE FROM timeline WHERE (tenant_id, domain_id, id) IN (
    SELECT t.tenant_id, t.domain_id, t.id FROM timeline t WHERE t.at < @before ORDER BY t.at LIMIT CAST(@most AS BIGINT)
);

-- name: Tombstones :many
SELECT * FROM tombstones WHERE tenant_id = @tenant_id AND id > @after
ORDER BY id LIMIT CAST(@most AS BIGINT);

-- name: InsertTombstone :execrows
INSERT INTO tombstones (tenant_id, id, domain_id, name, spelling, records, deleted_at, checked_at, next_check_at)
VALUES (@tenant_id, @id, @domain_id, @name, @spelling, @records, @deleted_at, @checked_at, @next_check_at)
ON CONFLICT DO NOTHING;

-- name: TrimTombstones :execrows
DELETE FROM tombstones WHERE tombstones.tenant_id = @tenant_id AND tombstones.id <= (
    SELECT t.id FROM tombstones t WHERE t.tenant_id = @tenant_id ORDER BY t.id DESC LIMIT 1 OFFSET CAST(@most AS BIGINT)
);

-- name: UpdateTombstone :execrows
UPDATE tombstones SET records = @records, checked_at = @checked_at, next_check_at = @next_check_at
WHERE tenant_id = @tenant_id AND id = @id;

-- name: DeleteTombstone :execrows
DELETE FROM tombstones WHERE tenant_id = @tenant_id AND id = @id;

-- The condition stands twice: on PostgreSQL who waited for the row finds that it is
-- due no longer.
-- name: ClaimDueTombstones :many
UPDATE tombstones SET next_check_at = @until
WHERE (tenant_id, id) IN (
    SELECT t.tenant_id, t.id FROM tombstones t WHERE t.next_check_at <= @now ORDER BY t.next_check_at LIMIT CAST(@most AS BIGINT)
) AND next_check_at <= @now
RETURNING *;
