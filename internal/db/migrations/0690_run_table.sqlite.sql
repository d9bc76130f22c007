-- +goose Up
-- Runs of an experiment in the order of their changes: what is kept of them in memory is brought up to date by reading
-- those that changed since. purged counts the runs that are gone for good, which no change tells of.
CREATE INDEX run_change ON run (workspace, experiment, changed);
ALTER TABLE experiment ADD COLUMN purged BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE experiment DROP COLUMN purged;
DROP INDEX run_change;
