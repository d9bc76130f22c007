-- +goose Up
-- doc is the whole document; seal is its signature with a key outside the database. The other columns are for finding it.
CREATE TABLE policy (
  workspace  TEXT NOT NULL,
  name       TEXT NOT NULL,
  version    BIGINT NOT NULL,
  doc        TEXT NOT NULL,
  seal       TEXT NOT NULL,
  PRIMARY KEY (workspace, name, version)
);
CREATE TABLE environment (
  workspace TEXT NOT NULL,
  name      TEXT NOT NULL,
  doc       TEXT NOT NULL,
  seal      TEXT NOT NULL,
  PRIMARY KEY (workspace, name)
);
