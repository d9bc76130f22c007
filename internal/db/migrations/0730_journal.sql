-- +goose Up
-- What happened at an endpoint in the stretch of step microseconds from at; each process (node) has rows of its own.
CREATE TABLE journal_point (
  workspace TEXT NOT NULL,
  endpoint  TEXT NOT NULL,
  step      BIGINT NOT NULL,
  at        BIGINT NOT NULL,
  version   BIGINT NOT NULL,
  slot      TEXT NOT NULL,
  node      TEXT NOT NULL,
  counts    TEXT NOT NULL,
  PRIMARY KEY (workspace, endpoint, step, at, version, slot, node)
);
CREATE INDEX journal_point_age ON journal_point (step, at);
-- What each process has in force; a process that has not been seen for a while is gone.
CREATE TABLE journal_node (
  workspace TEXT NOT NULL,
  node      TEXT NOT NULL,
  name      TEXT NOT NULL,
  seen_at   BIGINT NOT NULL,
  doc       TEXT NOT NULL,
  PRIMARY KEY (workspace, node)
);
CREATE TABLE journal_line (
  workspace TEXT NOT NULL,
  endpoint  TEXT NOT NULL,
  id        TEXT NOT NULL,
  at        BIGINT NOT NULL,
  level     BIGINT NOT NULL,           -- 0 debug, 1 info, 2 warn, 3 error
  message   TEXT NOT NULL,
  node      TEXT NOT NULL,
  fields    TEXT NOT NULL,
  PRIMARY KEY (workspace, endpoint, id)
);
CREATE INDEX journal_line_age ON journal_line (at);
