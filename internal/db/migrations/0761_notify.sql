-- +goose Up
CREATE TABLE notify_route (
    workspace  TEXT   NOT NULL,
    id         TEXT   NOT NULL,
    name       TEXT   NOT NULL,
    kind       TEXT   NOT NULL, -- webhook | slack | email | pagerduty
    document   TEXT   NOT NULL, -- JSON: address, rules, quiet hours
    secret     TEXT   NOT NULL, -- encrypted; empty: none
    enabled    BIGINT NOT NULL, -- 0/1
    created_by TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (workspace, id)
);
CREATE UNIQUE INDEX notify_route_name ON notify_route (workspace, name);

CREATE TABLE notify_delivery (
    workspace  TEXT   NOT NULL,
    id         TEXT   NOT NULL,
    route      TEXT   NOT NULL,
    cause      TEXT   NOT NULL, -- id of the event
    event      TEXT   NOT NULL, -- turn that is told: opened, escalated, recovered …
    about      TEXT   NOT NULL, -- alert/ID or incident/ID
    body       TEXT   NOT NULL, -- JSON: the event and the message, the same at every attempt
    state      TEXT   NOT NULL, -- pending | delivered | failed
    attempts   BIGINT NOT NULL,
    status     BIGINT NOT NULL, -- of the newest answer: HTTP or SMTP; 0: none came
    error      TEXT   NOT NULL,
    took       BIGINT NOT NULL, -- microseconds of the newest attempt
    created_at BIGINT NOT NULL,
    last_at    BIGINT NOT NULL,
    next_at    BIGINT NOT NULL,
    PRIMARY KEY (workspace, id)
);
CREATE UNIQUE INDEX notify_delivery_once ON notify_delivery (workspace, route, cause);
CREATE INDEX notify_delivery_list ON notify_delivery (workspace, route, id);

-- +goose Down
DROP TABLE notify_delivery;
DROP TABLE notify_route;
