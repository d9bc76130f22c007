-- +goose Up
CREATE TABLE pipeline (
  workspace   TEXT NOT NULL,
  name        TEXT NOT NULL,
  description TEXT NOT NULL,
  model       TEXT NOT NULL,
  latest      BIGINT NOT NULL,
  created_at  BIGINT NOT NULL,
  updated_at  BIGINT NOT NULL,
  PRIMARY KEY (workspace, name)
);
CREATE TABLE pipeline_version (
  workspace          TEXT NOT NULL,
  pipeline           TEXT NOT NULL,
  version            BIGINT NOT NULL,
  digest             TEXT NOT NULL,    -- of definition and archive
  definition         TEXT NOT NULL,    -- keelson.yaml as it was sent
  archive            TEXT NOT NULL,    -- blob of the source tarball; empty without one
  environment_digest TEXT NOT NULL,    -- of the lock file; empty without one
  source             TEXT NOT NULL,    -- JSON {repository, commit, dirty}
  created_by         TEXT NOT NULL,
  created_at         BIGINT NOT NULL,
  PRIMARY KEY (workspace, pipeline, version),
  UNIQUE (workspace, pipeline, digest)
);
CREATE TABLE pipeline_run (
  id                 TEXT PRIMARY KEY,
  workspace          TEXT NOT NULL,
  pipeline           TEXT NOT NULL,
  version            BIGINT NOT NULL,
  model              TEXT NOT NULL,
  state              TEXT NOT NULL,
  error              TEXT NOT NULL,
  trigger_kind       TEXT NOT NULL,
  trigger_ref        TEXT NOT NULL,
  by_name            TEXT NOT NULL,
  params             TEXT NOT NULL,
  data               TEXT NOT NULL,
  source             TEXT NOT NULL,
  environment_digest TEXT NOT NULL,
  seed               BIGINT NOT NULL,
  versions           TEXT NOT NULL,
  content_digest     TEXT NOT NULL,
  created_at         BIGINT NOT NULL,
  started_at         BIGINT NOT NULL,
  ended_at           BIGINT NOT NULL,
  cancel             INTEGER NOT NULL,
  fence              BIGINT NOT NULL    -- term of the lease whose holder may write
);
CREATE INDEX pipeline_run_list ON pipeline_run (workspace, pipeline, id);
CREATE UNIQUE INDEX pipeline_run_monitor ON pipeline_run (workspace, pipeline, trigger_ref) WHERE trigger_kind = 'monitor';
CREATE TABLE pipeline_step (
  workspace  TEXT NOT NULL,
  run        TEXT NOT NULL,
  name       TEXT NOT NULL,
  position   BIGINT NOT NULL,
  kind       TEXT NOT NULL,
  needs      TEXT NOT NULL,
  state      TEXT NOT NULL,
  attempt    BIGINT NOT NULL,
  address    TEXT NOT NULL,            -- server address the child was told
  token      TEXT NOT NULL,            -- number of the token the child was given
  started_at BIGINT NOT NULL,
  ended_at   BIGINT NOT NULL,
  exit_code  INTEGER,
  error      TEXT NOT NULL,
  outputs    TEXT NOT NULL,
  log_digest TEXT NOT NULL,
  log_size   BIGINT NOT NULL,
  PRIMARY KEY (workspace, run, name)
);

-- +goose Down
DROP TABLE pipeline_step;
DROP TABLE pipeline_run;
DROP TABLE pipeline_version;
DROP TABLE pipeline;
