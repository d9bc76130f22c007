-- +goose Up
CREATE TABLE scorer (
    workspace   TEXT   NOT NULL,
    id          TEXT   NOT NULL,
    experiment  TEXT   NOT NULL,
    name        TEXT   NOT NULL,
    last        BIGINT NOT NULL, -- the newest number given away
    PRIMARY KEY (workspace, id)
);
CREATE UNIQUE INDEX scorer_name ON scorer (workspace, experiment, name);

CREATE TABLE scorer_version (
    workspace  TEXT   NOT NULL,
    scorer     TEXT   NOT NULL,
    version    BIGINT NOT NULL,
    definition TEXT   NOT NULL, -- JSON as the client wrote it; never run here
    created_by TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (workspace, scorer, version)
);

-- +goose Down
DROP TABLE scorer_version;
DROP TABLE scorer;
