-- +goose Up
CREATE TABLE monitor_module (
  workspace  TEXT   NOT NULL,
  name       TEXT   NOT NULL,
  number     BIGINT NOT NULL,           -- from 1 up; a version never changes
  digest     TEXT   NOT NULL,           -- of the module in the blob store
  size       BIGINT NOT NULL,
  created_by TEXT   NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (workspace, name, number)
);
CREATE INDEX monitor_module_digest ON monitor_module (digest);

-- +goose Down
DROP TABLE monitor_module;
