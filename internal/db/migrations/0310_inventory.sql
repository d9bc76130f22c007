-- +goose Up
CREATE TABLE model (
    workspace        TEXT    NOT NULL,
    name             TEXT    NOT NULL,
    kind             TEXT    NOT NULL,
    description      TEXT    NOT NULL,
    area             TEXT    NOT NULL,
    owner            TEXT    NOT NULL,
    use_case         TEXT    NOT NULL,
    tier             INTEGER NOT NULL,
    intended_use     TEXT    NOT NULL,
    forbidden_use    TEXT    NOT NULL,
    responsibilities TEXT    NOT NULL,
    tags             TEXT    NOT NULL,
    words            TEXT    NOT NULL, -- name, owner, area, use case and tags in small letters: what the list filters by
    latest           BIGINT NOT NULL, -- the newest version that is there; 0 without one
    created_by       TEXT    NOT NULL,
    created_at       BIGINT  NOT NULL,
    updated_at       BIGINT  NOT NULL,
    PRIMARY KEY (workspace, name)
);

-- Ordinals given away, so that the number of a deleted version never returns.
CREATE TABLE model_ordinal (
    workspace TEXT    NOT NULL,
    model     TEXT    NOT NULL,
    last      BIGINT NOT NULL,
    PRIMARY KEY (workspace, model)
);

CREATE TABLE model_alias (
    workspace TEXT    NOT NULL,
    model     TEXT    NOT NULL,
    alias     TEXT    NOT NULL,
    version   BIGINT NOT NULL,
    PRIMARY KEY (workspace, model, alias)
);

CREATE TABLE model_version (
    workspace       TEXT    NOT NULL,
    model           TEXT    NOT NULL,
    version         BIGINT NOT NULL,
    state           TEXT    NOT NULL, -- pending | ready | failed | retired
    fault           TEXT    NOT NULL DEFAULT '', -- why failed, for programs: no-engine | load | golden
    reason          TEXT    NOT NULL DEFAULT '', -- the same for people
    artifact_digest TEXT    NOT NULL,
    content_digest  TEXT    NOT NULL,
    format          TEXT    NOT NULL,
    engine          TEXT    NOT NULL,
    size            BIGINT  NOT NULL,
    signature       TEXT    NOT NULL,
    dependencies    TEXT    NOT NULL,
    golden          TEXT    NOT NULL, -- result of the self-test
    examples        TEXT    NOT NULL, -- golden rows given at registration; empty: they are among the files, or there are none
    description     TEXT    NOT NULL,
    run             TEXT    NOT NULL,
    logged_model    TEXT    NOT NULL,
    origin          TEXT    NOT NULL, -- where the files came from, as the client said it
    source          TEXT    NOT NULL,
    authors         TEXT    NOT NULL,
    tags            TEXT    NOT NULL,
    created_by      TEXT    NOT NULL,
    created_at      BIGINT  NOT NULL,
    updated_at      BIGINT  NOT NULL,
    PRIMARY KEY (workspace, model, version)
);
CREATE INDEX model_version_run ON model_version (workspace, run);
CREATE INDEX model_version_digest ON model_version (workspace, artifact_digest);

CREATE TABLE model_file (
    workspace TEXT    NOT NULL,
    model     TEXT    NOT NULL,
    version   BIGINT NOT NULL,
    path      TEXT    NOT NULL,
    digest    TEXT    NOT NULL,
    size      BIGINT  NOT NULL,
    PRIMARY KEY (workspace, model, version, path)
);
