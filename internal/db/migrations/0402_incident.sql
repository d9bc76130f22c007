-- +goose Up
CREATE TABLE incident (
  workspace TEXT NOT NULL,
  id        TEXT NOT NULL,
  dedupe    TEXT NOT NULL,             -- one open incident per key
  kind      TEXT NOT NULL,
  model     TEXT NOT NULL,
  endpoint  TEXT NOT NULL,
  title     TEXT NOT NULL,
  detail    TEXT NOT NULL,
  severity  TEXT NOT NULL,
  state     TEXT NOT NULL,
  opened_at BIGINT NOT NULL,
  opened_by TEXT NOT NULL,
  last_at   BIGINT NOT NULL,
  count     BIGINT NOT NULL,           -- how often it was reported
  owner     TEXT NOT NULL,
  PRIMARY KEY (workspace, id)
);
CREATE UNIQUE INDEX incident_open ON incident (workspace, dedupe) WHERE state <> 'closed';
CREATE INDEX incident_model ON incident (workspace, model, id);
CREATE TABLE incident_line (
  workspace TEXT NOT NULL,
  incident  TEXT NOT NULL,
  id        TEXT NOT NULL,
  at        BIGINT NOT NULL,
  actor     TEXT NOT NULL,
  text      TEXT NOT NULL,
  PRIMARY KEY (workspace, incident, id)
);
