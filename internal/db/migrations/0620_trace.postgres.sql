-- +goose Up
-- A trace; times in milliseconds since 1970, as the clients have them. Unknown durations, tokens and costs are -1.
CREATE TABLE trace (
    workspace             TEXT             NOT NULL,
    id                    TEXT             NOT NULL,
    experiment            TEXT             NOT NULL,
    name                  TEXT             NOT NULL,
    state                 TEXT             NOT NULL, -- ok | error | in_progress | unspecified
    client_request        TEXT             NOT NULL,
    started_ms            BIGINT           NOT NULL,
    duration_ms           BIGINT           NOT NULL,
    request               TEXT             NOT NULL, -- preview
    response              TEXT             NOT NULL, -- preview
    session               TEXT             NOT NULL,
    person                TEXT             NOT NULL, -- whom the traced application served
    final                 INTEGER          NOT NULL, -- 1: the client's own word, spans no longer change times
    spans                 BIGINT           NOT NULL,
    input_tokens          BIGINT           NOT NULL,
    output_tokens         BIGINT           NOT NULL,
    total_tokens          BIGINT           NOT NULL,
    cache_read_tokens     BIGINT           NOT NULL,
    cache_creation_tokens BIGINT           NOT NULL,
    input_cost            DOUBLE PRECISION NOT NULL,
    output_cost           DOUBLE PRECISION NOT NULL,
    total_cost            DOUBLE PRECISION NOT NULL,
    metadata              TEXT             NOT NULL, -- JSON object of strings
    PRIMARY KEY (workspace, id)
);
CREATE INDEX trace_experiment ON trace (workspace, experiment, started_ms, id);
CREATE INDEX trace_started ON trace (workspace, started_ms, id);
CREATE INDEX trace_session ON trace (workspace, session) WHERE session <> '';

CREATE TABLE trace_tag (
    workspace TEXT NOT NULL,
    trace     TEXT NOT NULL,
    key       TEXT NOT NULL,
    value     TEXT NOT NULL,
    PRIMARY KEY (workspace, trace, key)
);

-- The spans of a trace, packed: one row per request until they are merged. ids holds their span ids, 8 bytes each.
CREATE TABLE trace_chunk (
    workspace TEXT   NOT NULL,
    trace     TEXT   NOT NULL,
    seq       BIGINT NOT NULL,
    spans     BIGINT NOT NULL,
    ids       BYTEA  NOT NULL,
    data      BYTEA  NOT NULL,
    PRIMARY KEY (workspace, trace, seq)
);

-- What searches see of spans: every different name, type and status of a trace.
CREATE TABLE trace_span (
    workspace TEXT NOT NULL,
    trace     TEXT NOT NULL,
    name      TEXT NOT NULL, -- its first 500 bytes
    kind      TEXT NOT NULL,
    status    TEXT NOT NULL, -- OK | ERROR | UNSET
    PRIMARY KEY (workspace, trace, name, kind, status)
);

CREATE TABLE trace_run (
    workspace TEXT NOT NULL,
    run       TEXT NOT NULL,
    trace     TEXT NOT NULL,
    PRIMARY KEY (workspace, run, trace)
);
CREATE INDEX trace_run_trace ON trace_run (workspace, trace);

CREATE TABLE trace_prompt (
    workspace TEXT NOT NULL,
    name      TEXT NOT NULL,
    version   TEXT NOT NULL,
    trace     TEXT NOT NULL,
    PRIMARY KEY (workspace, name, version, trace)
);
CREATE INDEX trace_prompt_trace ON trace_prompt (workspace, trace);

CREATE TABLE trace_assessment (
    workspace   TEXT             NOT NULL,
    trace       TEXT             NOT NULL,
    id          TEXT             NOT NULL,
    name        TEXT             NOT NULL,
    kind        TEXT             NOT NULL, -- feedback | expectation | issue
    value       TEXT             NOT NULL, -- JSON
    text        TEXT             NOT NULL, -- the value as filters compare it
    number      DOUBLE PRECISION NOT NULL,
    number_kind INTEGER          NOT NULL, -- 0 none, 1 the value is a number, 2 a number stands for it
    valid       INTEGER          NOT NULL,
    sessionwide INTEGER          NOT NULL, -- 1: it is about the whole session of the trace
    overrides   TEXT             NOT NULL,
    document    TEXT             NOT NULL, -- JSON: source, rationale, span, error, metadata
    created_at  BIGINT           NOT NULL,
    updated_at  BIGINT           NOT NULL,
    PRIMARY KEY (workspace, trace, id)
);
CREATE INDEX trace_assessment_name ON trace_assessment (workspace, kind, name, trace);

-- +goose Down
DROP TABLE trace_assessment;
DROP TABLE trace_prompt;
DROP TABLE trace_run;
DROP TABLE trace_span;
DROP TABLE trace_chunk;
DROP TABLE trace_tag;
DROP TABLE trace;
