"""Fills an MLflow server with what teams keep: fill.py RUNS. Everything is drawn from a fixed seed.

Runs with parameters, tags, histories (NaN and infinities among them), data sets, files with difficult names, nesting, failed,
running and deleted ones; logged models of two flavours with metrics on data sets; registered models with deleted versions,
copies, aliases, tags, stages, and a name that not every server can bear.
"""

import math
import os
import pathlib
import random
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import mlflow
import numpy
import pandas
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
client = MlflowClient()
count = int(sys.argv[1])
experiments = [client.create_experiment(n, tags={"team": "risk"}) for n in ("churn", "credit scoring", "ünï/çödé")]
NAMES = ["notes.txt", "with space.txt", "漢字.txt", "sub/deep/er/file.bin"]


def fill(n):
    rnd = random.Random(n)
    start = 1_700_000_000_000 + n * 1000
    run = client.create_run(experiments[n % 3], start_time=start, run_name=f"run {n}", tags={"n": str(n), "note": "ü 漢字\nsecond line"}).info.run_id
    points = [Metric("loss", rnd.random(), start + i, i) for i in range(50 + rnd.randrange(200))]
    points += [Metric("val/auc x", rnd.choice([rnd.random(), math.nan, math.inf, -math.inf]), start + i, -i) for i in range(5)]
    client.log_batch(run, metrics=points, params=[Param(f"p{i}", str(rnd.random())) for i in range(20)], tags=[RunTag(f"t.{i}", "x" * i) for i in range(5)])
    if n % 4 == 0:
        client.log_inputs(run, [DatasetInput(Dataset(f"data {n % 3}", f"d{n % 5}", "local", '{"uri": "here"}', schema='{"a": 1}', profile='{"rows": 3}'), [InputTag("mlflow.data.context", "training")])])
    if n % 5 == 0:
        with tempfile.TemporaryDirectory() as d:
            for name in NAMES:
                p = pathlib.Path(d, name)
                p.parent.mkdir(parents=True, exist_ok=True)
                p.write_bytes(rnd.randbytes(rnd.randrange(20000)))
            (pathlib.Path(d) / "empty").write_bytes(b"")
            client.log_artifacts(run, d)
    if n % 11 != 0:  # the others are still running
        client.set_terminated(run, rnd.choice(["FINISHED", "FINISHED", "FAILED", "KILLED"]), end_time=start + 500)
    if n % 17 == 0:
        client.delete_run(run)


with ThreadPoolExecutor(6) as pool:
    list(pool.map(fill, range(count)))

from sklearn.linear_model import LinearRegression  # noqa: E402

frame = pandas.DataFrame({"x": numpy.arange(8.0)})
mlflow.set_experiment("churn")
client.create_registered_model("churn", tags={"area": "risk"}, description="who leaves")
client.create_registered_model("my.model")
with mlflow.start_run(run_name="parent"):
    infos = []
    for slope in (1, 2, 3):
        with mlflow.start_run(run_name=f"slope {slope}", nested=True):
            info = mlflow.sklearn.log_model(LinearRegression().fit(frame, frame["x"] * slope), name="line", pip_requirements=["scikit-learn"], input_example=frame[:2], params={"slope": slope}, tags={"kind": "line"})
            mlflow.log_metric("mse", slope / 10, model_id=info.model_id, dataset=mlflow.data.from_pandas(frame, name="holdout"))
        infos.append(info)
        mlflow.register_model(info.model_uri, "churn", tags={"slope": str(slope)})
mlflow.register_model(infos[0].model_uri, "churn")
client.delete_model_version("churn", "2")
client.update_model_version("churn", "3", "the third")
client.set_registered_model_alias("churn", "champion", "3")
client.set_registered_model_alias("churn", "challenger", "4")
client.transition_model_version_stage("churn", "3", "Production")
client.copy_model_version("models:/churn/3", "churn copy")
mlflow.register_model(infos[1].model_uri, "my.model")
with mlflow.start_run() as run:  # a model kept among the files of a run, as older clients do
    with tempfile.TemporaryDirectory() as d:
        mlflow.sklearn.save_model(LinearRegression().fit(frame, frame["x"]), d + "/m", pip_requirements=["scikit-learn"])
        mlflow.log_artifacts(d + "/m", "old-style")
    client.create_model_version("my.model", f"{run.info.artifact_uri}/old-style", run.info.run_id)
gone = client.create_experiment("gone")
client.create_run(gone)
client.delete_experiment(gone)
