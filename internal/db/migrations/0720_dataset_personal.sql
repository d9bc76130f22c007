-- +goose Up
-- Columns about people: the prediction log of models that were made of the data set leaves them out.
ALTER TABLE dataset ADD COLUMN personal TEXT NOT NULL DEFAULT '[]';

-- +goose Down
ALTER TABLE dataset DROP COLUMN personal;
