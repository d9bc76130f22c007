-- +goose Up
CREATE TABLE experiment (
    workspace  TEXT    NOT NULL,
    id         TEXT    NOT NULL, -- digits, as MLflow's clients expect
    name       TEXT    NOT NULL,
    deleted    INTEGER NOT NULL DEFAULT 0,
    created_at BIGINT  NOT NULL,
    updated_at BIGINT  NOT NULL,
    PRIMARY KEY (workspace, id)
);
CREATE UNIQUE INDEX experiment_name ON experiment (workspace, name) WHERE deleted = 0;

CREATE TABLE experiment_counter (
    workspace TEXT   NOT NULL PRIMARY KEY,
    last      BIGINT NOT NULL
);

CREATE TABLE experiment_tag (
    workspace  TEXT NOT NULL,
    experiment TEXT NOT NULL,
    key        TEXT NOT NULL,
    value      TEXT NOT NULL,
    PRIMARY KEY (workspace, experiment, key)
);

CREATE TABLE run (
    workspace  TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    experiment TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    author     TEXT    NOT NULL,
    status     TEXT    NOT NULL,
    deleted    INTEGER NOT NULL DEFAULT 0,
    started_at BIGINT  NOT NULL,
    ended_at   BIGINT  NOT NULL DEFAULT 0,
    PRIMARY KEY (workspace, id)
);
CREATE INDEX run_experiment ON run (workspace, experiment, deleted, started_at, id);
CREATE INDEX run_started ON run (workspace, deleted, started_at, id);

CREATE TABLE run_param (
    workspace TEXT NOT NULL,
    run       TEXT NOT NULL,
    key       TEXT NOT NULL,
    value     TEXT NOT NULL,
    PRIMARY KEY (workspace, run, key)
);

CREATE TABLE run_tag (
    workspace TEXT NOT NULL,
    run       TEXT NOT NULL,
    key       TEXT NOT NULL,
    value     TEXT NOT NULL,
    PRIMARY KEY (workspace, run, key)
);

CREATE TABLE run_input (
    workspace  TEXT   NOT NULL,
    run        TEXT   NOT NULL,
    name       TEXT   NOT NULL,
    digest     TEXT   NOT NULL,
    context    TEXT   NOT NULL,
    document   TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (workspace, run, name, digest)
);

CREATE TABLE run_model (
    workspace TEXT   NOT NULL,
    run       TEXT   NOT NULL,
    direction TEXT   NOT NULL, -- in | out
    model     TEXT   NOT NULL,
    step      BIGINT NOT NULL,
    PRIMARY KEY (workspace, run, direction, model)
);

CREATE TABLE logged_model (
    workspace  TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    experiment TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    run        TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    author     TEXT    NOT NULL,
    status     TEXT    NOT NULL,
    reason     TEXT    NOT NULL DEFAULT '',
    deleted    INTEGER NOT NULL DEFAULT 0,
    created_at BIGINT  NOT NULL,
    updated_at BIGINT  NOT NULL,
    PRIMARY KEY (workspace, id)
);
CREATE INDEX logged_model_experiment ON logged_model (workspace, experiment, deleted, created_at, id);

CREATE TABLE logged_model_param (
    workspace TEXT NOT NULL,
    model     TEXT NOT NULL,
    key       TEXT NOT NULL,
    value     TEXT NOT NULL,
    PRIMARY KEY (workspace, model, key)
);

CREATE TABLE logged_model_tag (
    workspace TEXT NOT NULL,
    model     TEXT NOT NULL,
    key       TEXT NOT NULL,
    value     TEXT NOT NULL,
    PRIMARY KEY (workspace, model, key)
);

CREATE TABLE logged_model_metric (
    workspace      TEXT             NOT NULL,
    model          TEXT             NOT NULL,
    key            TEXT             NOT NULL,
    dataset        TEXT             NOT NULL,
    dataset_digest TEXT             NOT NULL,
    run            TEXT             NOT NULL,
    value          DOUBLE PRECISION NOT NULL,
    kind           INTEGER          NOT NULL,
    step           BIGINT           NOT NULL,
    at_ms          BIGINT           NOT NULL,
    PRIMARY KEY (workspace, model, key, dataset, dataset_digest, run)
);

CREATE TABLE artifact (
    workspace  TEXT   NOT NULL,
    root       TEXT   NOT NULL,
    path       TEXT   NOT NULL,
    digest     TEXT   NOT NULL,
    size       BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (workspace, root, path)
);
