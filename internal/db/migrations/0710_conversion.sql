-- +goose Up
CREATE TABLE conversion (
    workspace  TEXT   NOT NULL,
    id         TEXT   NOT NULL,
    model      TEXT   NOT NULL,
    version    BIGINT NOT NULL,
    target     TEXT   NOT NULL, -- native | onnx | float16 | int8
    wish       TEXT   NOT NULL, -- what was asked for: limit, register
    state      TEXT   NOT NULL, -- running | done | refused
    result     TEXT   NOT NULL, -- what was measured
    started_by TEXT   NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at   BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (workspace, id)
);
CREATE INDEX conversion_version ON conversion (workspace, model, version, started_at, id);

-- +goose Down
DROP TABLE conversion;
