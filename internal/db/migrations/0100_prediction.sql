-- +goose Up
-- One Parquet file of the prediction log. All rows of one segment are inserted in one transaction; a segment that has
-- a row here has been filed and is never filed again.
CREATE TABLE prediction_file (
  id          TEXT PRIMARY KEY,
  workspace   TEXT NOT NULL,
  endpoint    TEXT NOT NULL,
  name        TEXT NOT NULL,           -- in the blob store
  segment     TEXT NOT NULL,
  first_id    TEXT NOT NULL,
  last_id     TEXT NOT NULL,
  from_at     BIGINT NOT NULL,         -- range of the records' times
  to_at       BIGINT NOT NULL,
  predictions BIGINT NOT NULL,
  data_rows   BIGINT NOT NULL,
  bytes       BIGINT NOT NULL,
  digest      TEXT NOT NULL,
  chunks      TEXT NOT NULL,           -- JSON: first and last identifier and number of records of each row group
  created_at  BIGINT NOT NULL
);
CREATE UNIQUE INDEX prediction_file_name ON prediction_file (workspace, name);
CREATE INDEX prediction_file_last ON prediction_file (workspace, last_id);
CREATE INDEX prediction_file_first ON prediction_file (workspace, first_id);
CREATE INDEX prediction_file_segment ON prediction_file (workspace, segment);

-- Who called which version how often, by UTC day; grows in the transaction that files a segment.
CREATE TABLE prediction_use (
  workspace   TEXT NOT NULL,
  model       TEXT NOT NULL,
  day         BIGINT NOT NULL,         -- its first microsecond
  caller      TEXT NOT NULL,
  application TEXT NOT NULL,
  version     BIGINT NOT NULL,
  calls       BIGINT NOT NULL,
  data_rows   BIGINT NOT NULL,
  last_at     BIGINT NOT NULL,
  PRIMARY KEY (workspace, model, day, caller, application, version)
);

CREATE TABLE prediction_outcome (
  workspace   TEXT NOT NULL,
  prediction  TEXT NOT NULL,
  row_no      BIGINT NOT NULL,
  endpoint    TEXT NOT NULL,
  value       TEXT NOT NULL,           -- JSON scalar
  at          BIGINT NOT NULL,
  told_by     TEXT NOT NULL,
  recorded_at BIGINT NOT NULL,
  PRIMARY KEY (workspace, prediction, row_no)
);
CREATE INDEX prediction_outcome_recorded ON prediction_outcome (workspace, endpoint, recorded_at);

-- Identifiers that callers gave to predictions they handed in. prediction is empty while the record is being written.
CREATE TABLE prediction_key (
  workspace  TEXT NOT NULL,
  endpoint   TEXT NOT NULL,
  given      TEXT NOT NULL,
  prediction TEXT NOT NULL,
  node       TEXT NOT NULL,
  at         BIGINT NOT NULL,
  PRIMARY KEY (workspace, endpoint, given)
);

-- +goose Down
DROP TABLE prediction_key;
DROP TABLE prediction_outcome;
DROP TABLE prediction_use;
DROP TABLE prediction_file;
