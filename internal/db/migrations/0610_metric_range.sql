-- +goose Up
-- What a packed chunk holds, so that readers take only those they need, in order, and know the extremes without opening
-- any. NULL in chunks of before, which are opened; the values also where all are NaN.
ALTER TABLE metric_chunk ADD COLUMN min_at BIGINT;
ALTER TABLE metric_chunk ADD COLUMN max_at BIGINT;
ALTER TABLE metric_chunk ADD COLUMN min_value DOUBLE PRECISION;
ALTER TABLE metric_chunk ADD COLUMN max_value DOUBLE PRECISION;

-- +goose Down
ALTER TABLE metric_chunk DROP COLUMN max_value;
ALTER TABLE metric_chunk DROP COLUMN min_value;
ALTER TABLE metric_chunk DROP COLUMN max_at;
ALTER TABLE metric_chunk DROP COLUMN min_at;
