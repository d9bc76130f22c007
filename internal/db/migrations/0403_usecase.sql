-- +goose Up
CREATE TABLE usecase (
  workspace TEXT NOT NULL,
  name      TEXT NOT NULL,
  doc       TEXT NOT NULL,
  PRIMARY KEY (workspace, name)
);
CREATE TABLE usecase_model (
  workspace TEXT NOT NULL,
  model     TEXT NOT NULL,             -- a model serves one use case
  usecase   TEXT NOT NULL,
  PRIMARY KEY (workspace, model)
);
