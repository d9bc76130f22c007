-- +goose Up
-- What versions answer, studied over their logged decisions. digest says of what: the same artifact and the same calls give
-- the same study. The row with an empty digest says whether one is being made.
CREATE TABLE study (
    workspace TEXT   NOT NULL,
    model     TEXT   NOT NULL,
    version   BIGINT NOT NULL,
    digest    TEXT   NOT NULL,
    state     TEXT   NOT NULL, -- making | ready | failed
    reason    TEXT   NOT NULL DEFAULT '',
    document  TEXT   NOT NULL DEFAULT '',
    made_at   BIGINT NOT NULL,
    PRIMARY KEY (workspace, model, version, digest)
);

-- +goose Down
DROP TABLE study;
