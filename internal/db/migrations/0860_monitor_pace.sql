-- +goose Up
-- How much of the windows that a version may close at any pace its closed windows have used up, and the time of the calls then.
ALTER TABLE monitor_version ADD COLUMN spent BIGINT NOT NULL DEFAULT 0;    -- microseconds
ALTER TABLE monitor_version ADD COLUMN spent_at BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE monitor_version DROP COLUMN spent;
ALTER TABLE monitor_version DROP COLUMN spent_at;
