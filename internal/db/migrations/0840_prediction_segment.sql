-- +goose Up
-- Segments of the prediction log that have been filed, whatever became of their files since: one that lies about is
-- removed and never filed again. Rows of 400 days ago go.
CREATE TABLE prediction_segment (
  workspace TEXT NOT NULL,
  segment   TEXT NOT NULL,
  filed_at  BIGINT NOT NULL,
  PRIMARY KEY (workspace, segment)
);
INSERT INTO prediction_segment (workspace, segment, filed_at) SELECT workspace, segment, MAX(created_at) FROM prediction_file GROUP BY workspace, segment;

-- +goose Down
DROP TABLE prediction_segment;
