-- +goose Up
-- Searches for a session are within an experiment; with it in front the index is chosen, and gives the order.
DROP INDEX trace_session;
CREATE INDEX trace_session ON trace (workspace, experiment, session, started_ms, id) WHERE session <> '';

-- +goose Down
DROP INDEX trace_session;
CREATE INDEX trace_session ON trace (workspace, session) WHERE session <> '';
