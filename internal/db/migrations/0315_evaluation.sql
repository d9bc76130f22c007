-- +goose Up
CREATE TABLE evaluation (
    workspace       TEXT    NOT NULL,
    id              TEXT    NOT NULL,
    model           TEXT    NOT NULL,
    version         BIGINT NOT NULL,
    artifact_digest TEXT    NOT NULL,
    suite           TEXT    NOT NULL, -- its name
    definition      TEXT    NOT NULL, -- the suite as it was
    dataset         TEXT    NOT NULL,
    dataset_version BIGINT NOT NULL,
    dataset_digest  TEXT    NOT NULL,
    state           TEXT    NOT NULL, -- running | passed | failed
    tests           TEXT    NOT NULL,
    metrics         TEXT    NOT NULL,
    started_by      TEXT    NOT NULL,
    started_at      BIGINT  NOT NULL,
    ended_at        BIGINT  NOT NULL DEFAULT 0,
    PRIMARY KEY (workspace, id)
);
CREATE INDEX evaluation_version ON evaluation (workspace, model, version, started_at, id);
