-- +goose Up
-- The last erasure of a person: what was kept of damaged segments whose identifiers are below is removed on every process.
CREATE TABLE prediction_erasure (
  workspace TEXT PRIMARY KEY,
  below     TEXT NOT NULL
);

-- +goose Down
DROP TABLE prediction_erasure;
