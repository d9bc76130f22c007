-- +goose Up
CREATE TABLE monitor (
  workspace  TEXT   NOT NULL,
  endpoint   TEXT   NOT NULL,
  model      TEXT   NOT NULL,
  version    BIGINT NOT NULL,           -- newest version that went live
  config     TEXT   NOT NULL,           -- JSON: reference, window, limits, features, on_breach
  generation BIGINT NOT NULL,           -- grows with every change, so that workers start over from what is stored
  low        TEXT   NOT NULL,           -- place in the log: every row up to it is in a window
  outcomes   TEXT   NOT NULL,           -- place in the outcomes: all up to it are counted
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  PRIMARY KEY (workspace, endpoint)
);
CREATE INDEX monitor_model ON monitor (workspace, model);
CREATE TABLE monitor_version (
  workspace TEXT   NOT NULL,
  endpoint  TEXT   NOT NULL,
  version   BIGINT NOT NULL,
  dataset   TEXT   NOT NULL,            -- training data; empty when it is not known
  revision  BIGINT NOT NULL,            -- version of that data
  place     TEXT   NOT NULL,            -- place in the log of the last row in a window
  baseline  TEXT   NOT NULL,            -- JSON: profile of the first quiet window, yardstick of the result
  PRIMARY KEY (workspace, endpoint, version)
);
CREATE TABLE monitor_profile (
  workspace  TEXT   NOT NULL,
  dataset    TEXT   NOT NULL,
  revision   BIGINT NOT NULL,
  profile    TEXT   NOT NULL,           -- JSON: bins, counts and sample of every column
  created_at BIGINT NOT NULL,
  PRIMARY KEY (workspace, dataset, revision)
);
CREATE TABLE monitor_window (
  workspace   TEXT    NOT NULL,
  id          TEXT    NOT NULL,
  endpoint    TEXT    NOT NULL,
  model       TEXT    NOT NULL,
  version     BIGINT  NOT NULL,
  from_at     BIGINT  NOT NULL,
  to_at       BIGINT  NOT NULL,
  rows        BIGINT  NOT NULL,
  first       TEXT    NOT NULL,         -- first and last prediction
  last        TEXT    NOT NULL,
  place       TEXT    NOT NULL,         -- place in the log before the first row
  until       TEXT    NOT NULL,         -- place of the last row
  dataset     TEXT    NOT NULL,
  revision    BIGINT  NOT NULL,
  breached    INTEGER NOT NULL,
  verdict     TEXT    NOT NULL,
  causes      TEXT    NOT NULL,         -- JSON: what exceeded its limit
  reasons     TEXT    NOT NULL,         -- JSON
  summary     TEXT    NOT NULL,         -- JSON: features and predictions
  histograms  TEXT    NOT NULL,         -- JSON: by kind and name
  performance TEXT    NOT NULL,         -- JSON, null until outcomes arrive
  created_at  BIGINT  NOT NULL,
  PRIMARY KEY (workspace, id)
);
CREATE INDEX monitor_window_endpoint ON monitor_window (workspace, endpoint, id);

-- +goose Down
DROP TABLE monitor_window;
DROP TABLE monitor_profile;
DROP TABLE monitor_version;
DROP TABLE monitor;
