-- +goose Up
-- Of one model each act is under way once: two alerts of one shift that are judged at the same moment do not both begin it.
CREATE UNIQUE INDEX alert_act_under_way ON alert_act (workspace, model, act) WHERE state = 'started';

-- +goose Down
DROP INDEX alert_act_under_way;
