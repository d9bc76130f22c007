-- +goose Up
-- Which runs belong to a pipeline run is asked while one is under way.
CREATE INDEX run_tag_pipeline ON run_tag (workspace, value) WHERE key = 'keelson.pipeline_run';

-- +goose Down
DROP INDEX run_tag_pipeline;
