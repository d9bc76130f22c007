-- +goose Up
-- How long predictions are kept: of one endpoint, or of every other one in the workspace where endpoint is ''. 0 days
-- keeps them for good.
CREATE TABLE prediction_retention (
  workspace TEXT NOT NULL,
  endpoint  TEXT NOT NULL,
  days      BIGINT NOT NULL,
  set_by    TEXT NOT NULL,
  at        BIGINT NOT NULL,
  PRIMARY KEY (workspace, endpoint)
);

-- Files whose rows are gone and whose bytes are about to be.
CREATE TABLE prediction_gone (
  workspace TEXT NOT NULL,
  name      TEXT NOT NULL,
  PRIMARY KEY (workspace, name)
);

-- JSON: the versions that have records in the file, "model/3" each; '' in rows of before.
ALTER TABLE prediction_file ADD COLUMN models TEXT NOT NULL DEFAULT '';
CREATE INDEX prediction_file_endpoint ON prediction_file (workspace, endpoint, first_id);

-- +goose Down
DROP INDEX prediction_file_endpoint;
ALTER TABLE prediction_file DROP COLUMN models;
DROP TABLE prediction_gone;
DROP TABLE prediction_retention;
