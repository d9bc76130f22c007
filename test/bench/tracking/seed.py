"""Writes the runs of search.go straight into MLflow's database: over its API five thousand would take minutes.

    seed.py BACKEND-STORE-URI EXPERIMENT-ID COUNT

The rows are those that its own store writes for the same requests.
"""

import sys
import uuid

import sqlalchemy
from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlMetric, SqlParam, SqlRun, SqlTag

SEED_TIME = 1_750_000_000_000


def main(uri: str, experiment: str, count: int) -> None:
    runs, tags, params, metrics, latest = [], [], [], [], []
    for i in range(count):
        run = uuid.uuid4().hex
        start = SEED_TIME + i * 1000
        runs.append(
            dict(
                run_uuid=run, name=f"run-{i}", source_type="UNKNOWN", source_name="", entry_point_name="", user_id="ada", status="FINISHED", start_time=start,
                end_time=start + 900, deleted_time=None, source_version="", lifecycle_stage="active", artifact_uri=f"mlflow-artifacts:/{experiment}/{run}/artifacts",
                experiment_id=int(experiment),
            )
        )
        for key, value in (("team", f"team-{i % 17}"), ("mlflow.user", "ada"), ("mlflow.runName", f"run-{i}")):
            tags.append(dict(run_uuid=run, key=key, value=value))
        for key, value in (("depth", str(i % 10)), ("lr", f"0.{i % 31:02d}"), ("model", "xgb")):
            params.append(dict(run_uuid=run, key=key, value=value))
        acc = (i * 7919 % 1_000_003) / 1_000_003
        for key, value in (("acc", acc), ("loss", 1 - acc), ("time", float(i % 97))):
            m = dict(run_uuid=run, key=key, value=value, timestamp=start + 500, step=10, is_nan=False)
            metrics.append(m)
            latest.append(m)
    engine = sqlalchemy.create_engine(uri)
    with engine.begin() as connection:
        for table, rows in ((SqlRun, runs), (SqlTag, tags), (SqlParam, params), (SqlMetric, metrics), (SqlLatestMetric, latest)):
            connection.execute(sqlalchemy.insert(table), rows)


main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
