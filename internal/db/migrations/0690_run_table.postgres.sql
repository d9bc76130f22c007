-- +goose Up
-- Nothing is kept of runs in memory on PostgreSQL; the column is there so that one text does for both.
ALTER TABLE experiment ADD COLUMN purged BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE experiment DROP COLUMN purged;
