-- +goose Up
-- Files that are coming in parts; the parts themselves are in the blob store.
CREATE TABLE artifact_upload (
  workspace  TEXT   NOT NULL,
  id         TEXT   NOT NULL,
  root       TEXT   NOT NULL,
  path       TEXT   NOT NULL,
  ref        TEXT   NOT NULL,          -- what the blob store calls it
  parts      BIGINT NOT NULL,
  created_by TEXT   NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  PRIMARY KEY (workspace, id)
);
CREATE INDEX artifact_upload_expires ON artifact_upload (expires_at);

-- +goose Down
DROP TABLE artifact_upload;
