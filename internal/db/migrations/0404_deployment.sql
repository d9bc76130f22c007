-- +goose Up
-- doc is the whole deployment and seal its signature with a key outside the database; the other columns only find it.
CREATE TABLE deployment (
  workspace   TEXT NOT NULL,
  endpoint    TEXT NOT NULL,
  environment TEXT NOT NULL,
  model       TEXT NOT NULL,
  state       TEXT NOT NULL,
  serial      BIGINT NOT NULL,
  doc         TEXT NOT NULL,
  seal        TEXT NOT NULL,
  PRIMARY KEY (workspace, endpoint)
);
CREATE INDEX deployment_model ON deployment (workspace, model);
-- What serving reads: signed envelopes, appended only. The row with the largest serial whose signature holds is in force.
CREATE TABLE release (
  workspace TEXT NOT NULL,
  endpoint  TEXT NOT NULL,
  serial    BIGINT NOT NULL,
  envelope  TEXT NOT NULL,
  issued_at BIGINT NOT NULL,
  PRIMARY KEY (workspace, endpoint, serial)
);
