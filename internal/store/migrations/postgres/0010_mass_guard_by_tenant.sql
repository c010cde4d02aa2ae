-- +goose Up

-- Whose losses are held back: everybody's, or those of the tenants whose ids these are,
-- parted by blanks. Until now it was everybody's.
ALTER TABLE mass_guard ADD COLUMN everybody BOOLEAN NOT NULL DEFAULT false;
ALTER TABLE mass_guard ADD COLUMN tenants TEXT NOT NULL DEFAULT '';

UPDATE mass_guard SET everybody = true WHERE frozen_at > 0;

-- Both are counted by tenant now.
CREATE INDEX domains_absent_of ON domains (tenant_id, absent_at) WHERE absent_at > 0;
DROP INDEX domains_holding;
CREATE INDEX domains_holding ON domains (tenant_id, holds) WHERE holds;
