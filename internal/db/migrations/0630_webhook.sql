-- +goose Up
CREATE TABLE webhook (
    workspace   TEXT   NOT NULL,
    id          TEXT   NOT NULL,
    name        TEXT   NOT NULL,
    description TEXT   NOT NULL,
    url         TEXT   NOT NULL,
    format      TEXT   NOT NULL, -- mlflow | cloudevents
    events      TEXT   NOT NULL, -- JSON array of what is sent
    status      TEXT   NOT NULL, -- active | disabled
    reason      TEXT   NOT NULL, -- why it was disabled by the platform
    secret      TEXT   NOT NULL, -- encrypted; empty: not signed
    active_at   BIGINT NOT NULL, -- since when it is active: what happened before is not sent
    created_by  TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    PRIMARY KEY (workspace, id)
);
CREATE INDEX webhook_status ON webhook (workspace, status);

CREATE TABLE webhook_delivery (
    workspace   TEXT   NOT NULL,
    id          TEXT   NOT NULL,
    webhook     TEXT   NOT NULL,
    event       TEXT   NOT NULL, -- id of the event
    type        TEXT   NOT NULL,
    body        TEXT   NOT NULL, -- what is sent, the same at every attempt
    state       TEXT   NOT NULL, -- pending | delivered | failed
    attempts    BIGINT NOT NULL,
    http_status BIGINT NOT NULL, -- of the newest answer; 0: none came
    error       TEXT   NOT NULL,
    took        BIGINT NOT NULL, -- microseconds of the newest attempt
    created_at  BIGINT NOT NULL,
    last_at     BIGINT NOT NULL,
    next_at     BIGINT NOT NULL,
    PRIMARY KEY (workspace, id)
);
CREATE UNIQUE INDEX webhook_delivery_once ON webhook_delivery (workspace, webhook, event);
CREATE INDEX webhook_delivery_list ON webhook_delivery (workspace, webhook, id);

-- +goose Down
DROP TABLE webhook_delivery;
DROP TABLE webhook;
