-- +goose Up
CREATE TABLE feedback (
    workspace     TEXT   NOT NULL,
    id            TEXT   NOT NULL,
    prediction    TEXT   NOT NULL,
    row_no        BIGINT NOT NULL,
    endpoint      TEXT   NOT NULL,
    model         TEXT   NOT NULL,
    version       BIGINT NOT NULL,
    kind          TEXT   NOT NULL, -- wrong | contest | override
    value         TEXT   NOT NULL, -- JSON of what it should be, or what was decided instead; empty: not said
    reason        TEXT   NOT NULL,
    told_by       TEXT   NOT NULL,
    told_at       BIGINT NOT NULL,
    reports       BIGINT NOT NULL, -- how often it was said
    urgency       BIGINT NOT NULL, -- 0 contest, 1 override, 2 wrong: the order of the queue
    state         TEXT   NOT NULL, -- queued | claimed | labelled | skipped
    claimed_by    TEXT   NOT NULL,
    claimed_until BIGINT NOT NULL,
    label         TEXT   NOT NULL, -- JSON of what turned out to be true
    settled_by    TEXT   NOT NULL,
    settled_at    BIGINT NOT NULL,
    note          TEXT   NOT NULL,
    PRIMARY KEY (workspace, id)
);
CREATE UNIQUE INDEX feedback_open ON feedback (workspace, prediction, row_no, kind) WHERE state IN ('queued', 'claimed');
CREATE INDEX feedback_queue ON feedback (workspace, state, urgency, id);

-- +goose Down
DROP TABLE feedback;
