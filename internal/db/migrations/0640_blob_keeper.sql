-- +goose Up
-- These three span all workspaces, because equal bytes are stored once for all of them.
CREATE TABLE blob_lease (
  digest  TEXT NOT NULL,
  id      TEXT NOT NULL,
  expires BIGINT NOT NULL,             -- by the database's clock; until then the bytes stay although nothing refers to them
  PRIMARY KEY (digest, id)
);
CREATE INDEX blob_lease_id ON blob_lease (id);
CREATE TABLE blob_loose (
  digest TEXT PRIMARY KEY,             -- a row ceased to refer to it
  since  BIGINT NOT NULL
);
CREATE TABLE blob_doomed (
  digest TEXT PRIMARY KEY,             -- is being deleted
  until  BIGINT NOT NULL
);
-- Who refers to a digest is asked across workspaces.
CREATE INDEX artifact_digest ON artifact (digest);
CREATE INDEX model_file_digest ON model_file (digest);
CREATE INDEX dataset_version_any ON dataset_version (digest);
CREATE INDEX pipeline_version_archive ON pipeline_version (archive);
CREATE INDEX pipeline_step_log ON pipeline_step (log_digest);

-- +goose Down
DROP INDEX pipeline_step_log;
DROP INDEX pipeline_version_archive;
DROP INDEX dataset_version_any;
DROP INDEX model_file_digest;
DROP INDEX artifact_digest;
DROP TABLE blob_doomed;
DROP TABLE blob_loose;
DROP TABLE blob_lease;
