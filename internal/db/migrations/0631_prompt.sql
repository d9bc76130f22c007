-- +goose Up
CREATE TABLE prompt (
    workspace   TEXT   NOT NULL,
    name        TEXT   NOT NULL,
    description TEXT   NOT NULL,
    tags        TEXT   NOT NULL, -- JSON object
    last        BIGINT NOT NULL, -- the newest number given away: the number of a deleted version never returns
    created_by  TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    PRIMARY KEY (workspace, name)
);

CREATE TABLE prompt_version (
    workspace   TEXT   NOT NULL,
    prompt      TEXT   NOT NULL,
    version     BIGINT NOT NULL,
    template    TEXT   NOT NULL, -- text, or the JSON of a list of messages
    digest      TEXT   NOT NULL, -- of the template
    description TEXT   NOT NULL,
    tags        TEXT   NOT NULL,
    created_by  TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    PRIMARY KEY (workspace, prompt, version)
);

CREATE TABLE prompt_alias (
    workspace TEXT   NOT NULL,
    prompt    TEXT   NOT NULL,
    alias     TEXT   NOT NULL,
    version   BIGINT NOT NULL,
    PRIMARY KEY (workspace, prompt, alias)
);

-- +goose Down
DROP TABLE prompt_alias;
DROP TABLE prompt_version;
DROP TABLE prompt;
