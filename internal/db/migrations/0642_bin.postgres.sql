-- +goose Up
-- What was deleted and can come back. The rows themselves stay where they are, marked, or lie in bin_shelf.
CREATE TABLE bin_entry (
  workspace TEXT   NOT NULL,
  kind      TEXT   NOT NULL,
  id        TEXT   NOT NULL,
  name      TEXT   NOT NULL,
  parent    TEXT   NOT NULL,           -- experiment of a run, model of a version
  files     BIGINT NOT NULL,
  bytes     BIGINT NOT NULL,
  at        BIGINT NOT NULL,
  deleted_by TEXT  NOT NULL,
  PRIMARY KEY (workspace, kind, id)
);
CREATE INDEX bin_entry_at ON bin_entry (workspace, at, kind, id);
CREATE TABLE bin_shelf (
  workspace TEXT NOT NULL,
  kind      TEXT NOT NULL,
  id        TEXT NOT NULL,
  doc       TEXT NOT NULL,             -- JSON: rows by table
  PRIMARY KEY (workspace, kind, id)
);
CREATE TABLE bin_file (
  workspace TEXT   NOT NULL,
  kind      TEXT   NOT NULL,
  id        TEXT   NOT NULL,
  digest    TEXT   NOT NULL,
  PRIMARY KEY (workspace, kind, id, digest)
);
CREATE INDEX bin_file_digest ON bin_file (digest);
-- What must not be deleted, and why.
CREATE TABLE bin_hold (
  workspace TEXT   NOT NULL,
  kind      TEXT   NOT NULL,
  name      TEXT   NOT NULL,
  reason    TEXT   NOT NULL,
  until     BIGINT NOT NULL,           -- 0: until it is lifted
  held_by   TEXT   NOT NULL,
  at        BIGINT NOT NULL,
  PRIMARY KEY (workspace, kind, name)
);
INSERT INTO bin_entry (workspace, kind, id, name, parent, files, bytes, at, deleted_by)
  SELECT workspace, 'experiment', id, name, '', 0, 0, EXTRACT(EPOCH FROM now())::BIGINT * 1000000, '' FROM experiment WHERE deleted = 1;
INSERT INTO bin_entry (workspace, kind, id, name, parent, files, bytes, at, deleted_by)
  SELECT r.workspace, 'run', r.id, r.name, r.experiment, 0, 0, EXTRACT(EPOCH FROM now())::BIGINT * 1000000, '' FROM run r
  JOIN experiment e ON e.workspace = r.workspace AND e.id = r.experiment WHERE r.deleted = 1 AND e.deleted = 0;
INSERT INTO bin_entry (workspace, kind, id, name, parent, files, bytes, at, deleted_by)
  SELECT workspace, 'logged-model', id, name, experiment, 0, 0, EXTRACT(EPOCH FROM now())::BIGINT * 1000000, '' FROM logged_model WHERE deleted = 1;

-- +goose Down
DROP TABLE bin_hold;
DROP TABLE bin_file;
DROP TABLE bin_shelf;
DROP TABLE bin_entry;
