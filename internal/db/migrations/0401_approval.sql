-- +goose Up
-- doc is the whole request and seal its signature; head says, signed, how many acts there are. Nothing here is believed
-- without its seal; the other columns are for finding rows and must fit the documents.
CREATE TABLE approval (
  workspace   TEXT NOT NULL,
  id          TEXT NOT NULL,
  number      BIGINT NOT NULL,
  kind        TEXT NOT NULL,
  model       TEXT NOT NULL,
  version     BIGINT NOT NULL,
  environment TEXT NOT NULL,
  doc         TEXT NOT NULL,
  seal        TEXT NOT NULL,
  head        TEXT NOT NULL,
  head_seal   TEXT NOT NULL,
  PRIMARY KEY (workspace, id),
  UNIQUE (workspace, number)
);
CREATE INDEX approval_model ON approval (workspace, model, id);
CREATE TABLE approval_act (
  workspace TEXT NOT NULL,
  request   TEXT NOT NULL,
  seq       BIGINT NOT NULL,
  kind      TEXT NOT NULL,
  actor     TEXT NOT NULL,
  doc       TEXT NOT NULL,
  seal      TEXT NOT NULL,
  PRIMARY KEY (workspace, request, seq)
);
CREATE TABLE approval_comment (
  workspace TEXT NOT NULL,
  request   TEXT NOT NULL,
  id        TEXT NOT NULL,
  author    TEXT NOT NULL,
  at        BIGINT NOT NULL,
  text      TEXT NOT NULL,
  PRIMARY KEY (workspace, request, id)
);
