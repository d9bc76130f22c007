-- +goose Up
-- What searches start from. A latest point, a parameter and a tag know their experiment, so that its runs are found by
-- them, and in their order. NaN has no order and stands apart. Values of parameters and tags may be thousands of characters
-- long, more than an index takes, so their beginnings are indexed.
ALTER TABLE metric_latest ADD COLUMN experiment TEXT NOT NULL DEFAULT '';
ALTER TABLE run_param ADD COLUMN experiment TEXT NOT NULL DEFAULT '';
ALTER TABLE run_tag ADD COLUMN experiment TEXT NOT NULL DEFAULT '';
UPDATE metric_latest SET experiment = COALESCE((SELECT r.experiment FROM run r WHERE r.workspace = metric_latest.workspace AND r.id = metric_latest.run), '');
UPDATE run_param SET experiment = COALESCE((SELECT r.experiment FROM run r WHERE r.workspace = run_param.workspace AND r.id = run_param.run), '');
UPDATE run_tag SET experiment = COALESCE((SELECT r.experiment FROM run r WHERE r.workspace = run_tag.workspace AND r.id = run_tag.run), '');
CREATE INDEX metric_latest_value ON metric_latest (workspace, experiment, key, value, run, kind) WHERE kind <> 1;
CREATE INDEX metric_latest_nan ON metric_latest (workspace, experiment, key, run) WHERE kind = 1;
CREATE INDEX run_param_value ON run_param (workspace, experiment, key, (substr(value, 1, 64)), run);
CREATE INDEX run_tag_value ON run_tag (workspace, experiment, key, (substr(value, 1, 64)), run);

-- +goose Down
DROP INDEX run_tag_value;
DROP INDEX run_param_value;
DROP INDEX metric_latest_nan;
DROP INDEX metric_latest_value;
ALTER TABLE run_tag DROP COLUMN experiment;
ALTER TABLE run_param DROP COLUMN experiment;
ALTER TABLE metric_latest DROP COLUMN experiment;
