-- +goose Up
CREATE TABLE audit_entry (
  id        TEXT PRIMARY KEY,
  workspace TEXT NOT NULL,
  idx       BIGINT UNIQUE,             -- leaf number, given by the sequencer; NULL until then
  at        BIGINT NOT NULL,
  actor     TEXT NOT NULL,
  via       TEXT NOT NULL,
  action    TEXT NOT NULL,
  object    TEXT NOT NULL,
  models    TEXT NOT NULL,             -- JSON list of model names
  detail    TEXT NOT NULL,
  leaf      TEXT NOT NULL,             -- hex of the leaf hash
  proof     TEXT NOT NULL              -- salted commitment of the actor
);
CREATE INDEX audit_entry_at ON audit_entry (workspace, at);
CREATE INDEX audit_entry_object ON audit_entry (workspace, object, at);
CREATE TABLE audit_model (
  workspace TEXT NOT NULL,
  model     TEXT NOT NULL,
  entry     TEXT NOT NULL,
  PRIMARY KEY (workspace, model, entry)
);
-- The tree is one for all workspaces: stored hashes of tlog by their storage index.
CREATE TABLE audit_node (
  pos  BIGINT PRIMARY KEY,
  hash TEXT NOT NULL
);
CREATE TABLE audit_checkpoint (
  size BIGINT PRIMARY KEY,
  note TEXT NOT NULL,
  at   BIGINT NOT NULL
);
CREATE TABLE event (
  id        TEXT PRIMARY KEY,
  workspace TEXT NOT NULL,
  seq       BIGINT UNIQUE,             -- given by the sequencer; NULL until then
  type      TEXT NOT NULL,
  subject   TEXT NOT NULL,
  actor     TEXT NOT NULL,
  causation TEXT NOT NULL,
  hops      BIGINT NOT NULL,
  data      TEXT NOT NULL,
  at        BIGINT NOT NULL
);
CREATE INDEX event_unsequenced ON event (id) WHERE seq IS NULL;
CREATE INDEX audit_unsequenced ON audit_entry (id) WHERE idx IS NULL;
CREATE TABLE event_cursor (
  subscriber TEXT PRIMARY KEY,
  seq        BIGINT NOT NULL
);
CREATE TABLE lease (
  name    TEXT PRIMARY KEY,
  holder  TEXT NOT NULL,
  term    BIGINT NOT NULL,
  expires BIGINT NOT NULL
);
CREATE TABLE node (
  id   TEXT PRIMARY KEY,
  seen BIGINT NOT NULL
);
CREATE TABLE usage_entry (
  id        TEXT PRIMARY KEY,
  workspace TEXT NOT NULL,
  at        BIGINT NOT NULL,
  model     TEXT NOT NULL,
  kind      TEXT NOT NULL,
  amount    DOUBLE PRECISION NOT NULL,
  ref       TEXT NOT NULL
);
CREATE INDEX usage_model ON usage_entry (workspace, model, at);

-- +goose Down
DROP TABLE usage_entry;
DROP TABLE node;
DROP TABLE lease;
DROP TABLE event_cursor;
DROP TABLE event;
DROP TABLE audit_checkpoint;
DROP TABLE audit_node;
DROP TABLE audit_model;
DROP TABLE audit_entry;
