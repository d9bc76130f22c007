-- +goose Up
CREATE TABLE workspace (
  name       TEXT PRIMARY KEY,
  title      TEXT NOT NULL,
  created_at BIGINT NOT NULL
);
-- Users and tokens belong to the installation; what they may do is granted per workspace.
CREATE TABLE account (
  name       TEXT PRIMARY KEY,
  display    TEXT NOT NULL,
  email      TEXT NOT NULL,
  kind       TEXT NOT NULL,            -- person or service
  password   TEXT NOT NULL,            -- argon2id in PHC form; empty: cannot sign in with one
  disabled   INTEGER NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE TABLE account_role (
  workspace TEXT NOT NULL,
  account   TEXT NOT NULL,
  role      TEXT NOT NULL,
  PRIMARY KEY (workspace, account, role)
);
CREATE TABLE token (
  id           TEXT PRIMARY KEY,
  hash         TEXT NOT NULL UNIQUE,   -- hex of SHA-256
  name         TEXT NOT NULL,
  account      TEXT NOT NULL,
  purpose      TEXT NOT NULL,          -- token or link
  created_at   BIGINT NOT NULL,
  expires_at   BIGINT NOT NULL,        -- 0: never
  last_used_at BIGINT NOT NULL
);
CREATE INDEX token_account ON token (account);
CREATE TABLE session (
  token   TEXT PRIMARY KEY,
  data    TEXT NOT NULL,
  expires BIGINT NOT NULL
);
INSERT INTO workspace (name, title, created_at) VALUES ('default', 'Default', 0);

-- +goose Down
DROP TABLE session;
DROP TABLE token;
DROP TABLE account_role;
DROP TABLE account;
DROP TABLE workspace;
