-- +goose Up
-- Sessions name their account, so that all of one can be ended; who is signed in signs in again once.
DELETE FROM session;
ALTER TABLE session ADD COLUMN account TEXT NOT NULL DEFAULT '';
CREATE INDEX session_account ON session (account);
-- What others did to the way in of an account; its holder sees it.
CREATE TABLE account_handled (
  workspace TEXT NOT NULL,   -- where it was done
  account   TEXT NOT NULL,
  at        BIGINT NOT NULL,
  actor     TEXT NOT NULL,
  act       TEXT NOT NULL    -- password or link
);
CREATE INDEX account_handled_account ON account_handled (account, at);

-- +goose Down
DROP TABLE account_handled;
DROP INDEX session_account;
ALTER TABLE session DROP COLUMN account;
