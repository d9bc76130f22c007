-- +goose Up
-- What the descriptive files of a version say beyond signature and libraries: flavours, MLflow's identifiers, parameters.
ALTER TABLE model_version ADD COLUMN described TEXT NOT NULL DEFAULT '{}';
