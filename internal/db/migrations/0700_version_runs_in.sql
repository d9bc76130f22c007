-- +goose Up
-- Where and under what isolation a version ran in its test, and which engines tried to run it.
ALTER TABLE model_version ADD COLUMN runs_in TEXT NOT NULL DEFAULT '';
ALTER TABLE model_version ADD COLUMN tried TEXT NOT NULL DEFAULT '';
