-- +goose Up
-- Whether the holder of the account said that they know of it.
ALTER TABLE account_handled ADD COLUMN seen BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE account_handled DROP COLUMN seen;
