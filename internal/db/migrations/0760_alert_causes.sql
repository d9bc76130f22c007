-- +goose Up
-- An alert is one cause of one endpoint now, with the list of columns behind it; those of single columns are over.
UPDATE alert SET state = 'recovered', recovered_at = updated_at WHERE state <> 'recovered';
ALTER TABLE alert ADD COLUMN severity TEXT NOT NULL DEFAULT 'warning'; -- warning | critical
ALTER TABLE alert ADD COLUMN owner TEXT NOT NULL DEFAULT '';
ALTER TABLE alert ADD COLUMN incident TEXT NOT NULL DEFAULT '';
ALTER TABLE alert ADD COLUMN escalate_at BIGINT NOT NULL DEFAULT 0;   -- when it goes to the next one; 0: never
ALTER TABLE alert ADD COLUMN doc TEXT NOT NULL DEFAULT '{}';          -- JSON: columns, marks of the windows, words
CREATE INDEX alert_escalate ON alert (escalate_at) WHERE escalate_at > 0;
CREATE INDEX alert_incident ON alert (workspace, incident);

CREATE TABLE alert_policy (
  workspace  TEXT   NOT NULL,
  model      TEXT   NOT NULL,  -- '' is the workspace's own, for every model without one
  version    BIGINT NOT NULL,
  document   TEXT   NOT NULL,  -- JSON
  note       TEXT   NOT NULL,
  created_by TEXT   NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (workspace, model, version)
);

CREATE TABLE alert_act (
  workspace TEXT   NOT NULL,
  alert     TEXT   NOT NULL,
  act       TEXT   NOT NULL,   -- suspend | rollback | retrain:PIPELINE: once per alert
  model     TEXT   NOT NULL,
  state     TEXT   NOT NULL,   -- started | done | waits | failed
  detail    TEXT   NOT NULL,
  ref       TEXT   NOT NULL,   -- what came of it: a run
  at        BIGINT NOT NULL,
  PRIMARY KEY (workspace, alert, act)
);
CREATE INDEX alert_act_model ON alert_act (workspace, model, act, at);

ALTER TABLE incident ADD COLUMN facts TEXT NOT NULL DEFAULT '{}'; -- JSON: what a cause found by a monitor rests on

-- +goose Down
ALTER TABLE incident DROP COLUMN facts;
DROP TABLE alert_act;
DROP TABLE alert_policy;
DROP INDEX alert_incident;
DROP INDEX alert_escalate;
ALTER TABLE alert DROP COLUMN doc;
ALTER TABLE alert DROP COLUMN escalate_at;
ALTER TABLE alert DROP COLUMN incident;
ALTER TABLE alert DROP COLUMN owner;
ALTER TABLE alert DROP COLUMN severity;
