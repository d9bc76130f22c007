-- +goose Up
ALTER TABLE monitor_window ADD COLUMN findings TEXT NOT NULL DEFAULT '{}'; -- JSON: estimate, segments, custom metrics, rules, whole rows
ALTER TABLE monitor_profile ADD COLUMN format BIGINT NOT NULL DEFAULT 1;   -- of the document; others are made again
CREATE TABLE monitor_estimator (
  workspace  TEXT   NOT NULL,
  endpoint   TEXT   NOT NULL,
  version    BIGINT NOT NULL,
  document   TEXT   NOT NULL,           -- JSON: what the result without outcomes is estimated from
  created_at BIGINT NOT NULL,
  PRIMARY KEY (workspace, endpoint, version)
);
CREATE TABLE monitor_indicator (
  workspace   TEXT             NOT NULL,
  endpoint    TEXT             NOT NULL,
  name        TEXT             NOT NULL,
  at          BIGINT           NOT NULL, -- the time it is of
  value       DOUBLE PRECISION NOT NULL,
  told_by     TEXT             NOT NULL,
  recorded_at BIGINT           NOT NULL,
  PRIMARY KEY (workspace, endpoint, name, at)
);
CREATE TABLE monitor_backfill (
  workspace  TEXT   NOT NULL,
  id         TEXT   NOT NULL,
  endpoint   TEXT   NOT NULL,
  state      TEXT   NOT NULL,           -- running | done | failed
  since      BIGINT NOT NULL,
  until      BIGINT NOT NULL,
  at         TEXT   NOT NULL,           -- the last window that is done
  done       BIGINT NOT NULL,
  total      BIGINT NOT NULL,
  error      TEXT   NOT NULL,
  started_by TEXT   NOT NULL,
  started_at BIGINT NOT NULL,
  ended_at   BIGINT NOT NULL,
  PRIMARY KEY (workspace, id)
);
CREATE INDEX monitor_backfill_endpoint ON monitor_backfill (workspace, endpoint, id);

-- +goose Down
DROP TABLE monitor_backfill;
DROP TABLE monitor_indicator;
DROP TABLE monitor_estimator;
ALTER TABLE monitor_profile DROP COLUMN format;
ALTER TABLE monitor_window DROP COLUMN findings;
