-- +goose Up
-- The latest point of every run and key: what searches join.
CREATE TABLE metric_latest (
    workspace TEXT             NOT NULL,
    run       TEXT             NOT NULL,
    key       TEXT             NOT NULL,
    value     DOUBLE PRECISION NOT NULL, -- 0 for NaN, the largest finite value for an infinity
    kind      INTEGER          NOT NULL, -- 0 finite, 1 NaN, 2 +Inf, 3 -Inf
    step      BIGINT           NOT NULL,
    at_ms     BIGINT           NOT NULL,
    PRIMARY KEY (workspace, run, key)
) WITHOUT ROWID;

-- What was logged and not folded yet: one row per run and commit, points of all keys packed.
CREATE TABLE metric_tail (
    workspace TEXT NOT NULL,
    run       TEXT NOT NULL,
    id        TEXT NOT NULL,
    data      BLOB NOT NULL,
    PRIMARY KEY (workspace, run, id)
);

-- The history, packed per run and key.
CREATE TABLE metric_chunk (
    workspace TEXT    NOT NULL,
    run       TEXT    NOT NULL,
    key       TEXT    NOT NULL,
    id        TEXT    NOT NULL,
    points    INTEGER NOT NULL,
    min_step  BIGINT  NOT NULL,
    max_step  BIGINT  NOT NULL,
    data      BLOB   NOT NULL,
    PRIMARY KEY (workspace, run, key, id)
);
