-- +goose Up
CREATE TABLE evalset (
    workspace   TEXT   NOT NULL,
    id          TEXT   NOT NULL,
    name        TEXT   NOT NULL,
    tags        TEXT   NOT NULL, -- JSON object
    experiments TEXT   NOT NULL, -- JSON array of ids
    fields      TEXT   NOT NULL, -- JSON: the types of what the records hold
    digest      TEXT   NOT NULL, -- changes with the records
    created_by  TEXT   NOT NULL,
    updated_by  TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    PRIMARY KEY (workspace, id)
);

CREATE TABLE evalset_record (
    workspace    TEXT   NOT NULL,
    evalset      TEXT   NOT NULL,
    id           TEXT   NOT NULL,
    input        TEXT   NOT NULL, -- digest of the inputs: there is one record per input
    inputs       TEXT   NOT NULL, -- JSON
    outputs      TEXT   NOT NULL, -- JSON; empty: none
    expectations TEXT   NOT NULL, -- JSON; empty: none
    tags         TEXT   NOT NULL, -- JSON object
    source       TEXT   NOT NULL, -- JSON; empty: none
    created_by   TEXT   NOT NULL,
    updated_by   TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL,
    PRIMARY KEY (workspace, evalset, id)
);
CREATE UNIQUE INDEX evalset_record_input ON evalset_record (workspace, evalset, input);

-- +goose Down
DROP TABLE evalset_record;
DROP TABLE evalset;
