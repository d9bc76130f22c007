-- +goose Up
CREATE TABLE dataset (
  workspace   TEXT   NOT NULL,
  name        TEXT   NOT NULL,
  description TEXT   NOT NULL,
  owner       TEXT   NOT NULL,
  sensitivity TEXT   NOT NULL,
  source      TEXT   NOT NULL,
  target      TEXT   NOT NULL,
  rules       TEXT   NOT NULL,          -- JSON list of rules
  versions    BIGINT NOT NULL,          -- number of the newest version, 0 without one
  created_by  TEXT   NOT NULL,
  created_at  BIGINT NOT NULL,
  updated_at  BIGINT NOT NULL,
  PRIMARY KEY (workspace, name)
);
CREATE TABLE dataset_version (
  workspace  TEXT   NOT NULL,
  dataset    TEXT   NOT NULL,
  version    BIGINT NOT NULL,
  digest     TEXT   NOT NULL,
  format     TEXT   NOT NULL,
  size       BIGINT NOT NULL,
  rows       BIGINT NOT NULL,
  fields     TEXT   NOT NULL,           -- JSON: the schema
  profile    TEXT   NOT NULL,           -- JSON: one profile per column
  rules      TEXT   NOT NULL,           -- JSON: the rules that held
  note       TEXT   NOT NULL,
  run        TEXT   NOT NULL,           -- pipeline run that made it, empty for an import
  created_by TEXT   NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (workspace, dataset, version),
  UNIQUE (workspace, dataset, digest)
);
CREATE INDEX dataset_version_digest ON dataset_version (workspace, digest);
-- An edge may lead into another workspace.
CREATE TABLE dataset_parent (
  workspace        TEXT   NOT NULL,
  dataset          TEXT   NOT NULL,
  version          BIGINT NOT NULL,
  parent_workspace TEXT   NOT NULL,
  parent           TEXT   NOT NULL,
  parent_version   BIGINT NOT NULL,
  PRIMARY KEY (workspace, dataset, version, parent_workspace, parent, parent_version)
);
CREATE INDEX dataset_parent_child ON dataset_parent (parent_workspace, parent, parent_version);

-- +goose Down
DROP TABLE dataset_parent;
DROP TABLE dataset_version;
DROP TABLE dataset;
