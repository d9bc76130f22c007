-- +goose Up
CREATE TABLE alert (
  workspace    TEXT             NOT NULL,
  id           TEXT             NOT NULL,
  cause        TEXT             NOT NULL,  -- endpoint and key of the cause: one alert of a cause is active at a time
  endpoint     TEXT             NOT NULL,
  model        TEXT             NOT NULL,
  version      BIGINT           NOT NULL,
  kind         TEXT             NOT NULL,  -- data | prediction | result
  feature      TEXT             NOT NULL,
  metric       TEXT             NOT NULL,
  value        DOUBLE PRECISION NOT NULL,
  threshold    DOUBLE PRECISION NOT NULL,
  first_window TEXT             NOT NULL,
  last_window  TEXT             NOT NULL,  -- the newest window that was over the limit, or the one it recovered in
  windows      BIGINT           NOT NULL,  -- how many were over the limit
  from_at      BIGINT           NOT NULL,  -- span of the newest of them
  to_at        BIGINT           NOT NULL,
  state        TEXT             NOT NULL,  -- open | acknowledged | silenced | recovered
  told_by      TEXT             NOT NULL,  -- who acknowledged or silenced it
  reason       TEXT             NOT NULL,
  silent_until BIGINT           NOT NULL,
  opened_at    BIGINT           NOT NULL,
  updated_at   BIGINT           NOT NULL,
  recovered_at BIGINT           NOT NULL,
  PRIMARY KEY (workspace, id)
);
CREATE UNIQUE INDEX alert_active ON alert (workspace, cause) WHERE state <> 'recovered';
CREATE INDEX alert_cause ON alert (workspace, cause, id);
CREATE INDEX alert_state ON alert (workspace, state, id);

-- +goose Down
DROP TABLE alert;
