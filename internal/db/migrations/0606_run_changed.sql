-- +goose Up
-- A number that changes with the parameters, tags, latest points, inputs and models of a run, so that what was read of it
-- lately can be known to hold. 0: nothing was written since the run began.
ALTER TABLE run ADD COLUMN changed BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE run DROP COLUMN changed;
