"""Artifacts through the proxy."""

import hashlib
import json
import os
import pathlib
import tempfile
import urllib.parse

import mlflow
from conformance import client, equal, experiment, request, step

home = experiment("artifacts")
run = client().create_run(home).info.run_id
NAMES = ["plain.txt", "with space.txt", "ünï çödé 漢字 🙂.txt", "a+b=c&d.txt", "quo'te.txt", ".hidden", "100% sure.txt"]
HARD = ["per%41cent.txt", "hash#mark.txt", "what?.txt"]  # the client decodes or cuts these itself before it sends them


def paths(folder=None):
    return [(f.path, f.is_dir, f.file_size) for f in client().list_artifacts(run, folder)]


@step("a file is logged and read back byte for byte")
def _():
    with tempfile.TemporaryDirectory() as d:
        file = pathlib.Path(d, "noise.bin")
        noise = os.urandom(5 << 20)
        file.write_bytes(noise)
        client().log_artifact(run, str(file))
        client().log_artifact(run, str(file), "deep/er")
        back = pathlib.Path(client().download_artifacts(run, "deep/er/noise.bin", d + "/"))
        equal(hashlib.sha256(back.read_bytes()).digest(), hashlib.sha256(noise).digest())
    equal(paths(), [("deep", True, None), ("noise.bin", False, 5 << 20)])
    equal(paths("deep"), [("deep/er", True, None)])
    equal(paths("deep/er"), [("deep/er/noise.bin", False, 5 << 20)])


@step("a folder is logged and comes back as it was, with an empty file")
def _():
    with tempfile.TemporaryDirectory() as d, tempfile.TemporaryDirectory() as to:
        root = pathlib.Path(d)
        for p in ("a.txt", "sub/b.txt", "sub/sub/c.txt"):
            (root / p).parent.mkdir(parents=True, exist_ok=True)
            (root / p).write_text(p)
        (root / "empty").write_bytes(b"")
        client().log_artifacts(run, d, "folder")
        back = pathlib.Path(mlflow.artifacts.download_artifacts(run_id=run, artifact_path="folder", dst_path=to))
        got = {str(f.relative_to(back)): f.read_text() for f in back.rglob("*") if f.is_file()}
        equal(got, {"a.txt": "a.txt", "sub/b.txt": "sub/b.txt", "sub/sub/c.txt": "sub/sub/c.txt", "empty": ""})


@step("names with spaces, signs and any script come back unchanged")
def _():
    with tempfile.TemporaryDirectory() as d, tempfile.TemporaryDirectory() as to:
        for n in NAMES:
            pathlib.Path(d, n).write_text(n, encoding="utf-8")
        client().log_artifacts(run, d, "names")
        equal({p for p, _, _ in paths("names")}, {"names/" + n for n in NAMES})
        for n in NAMES:
            back = client().download_artifacts(run, "names/" + n, to)
            equal(pathlib.Path(back).read_text(encoding="utf-8"), n)


@step("names that need care in an address, sent with it, are decoded once")
def _():
    base = f"/api/2.0/mlflow-artifacts/artifacts/{home}/{run}/artifacts/hard/"
    for n in HARD:
        equal(request("PUT", base + urllib.parse.quote(n), data=n.encode()).status_code, 200, n)
        equal(request("GET", base + urllib.parse.quote(n)).text, n)
    listed = request("GET", "/api/2.0/mlflow-artifacts/artifacts", query={"path": f"{home}/{run}/artifacts/hard"}).json()["files"]
    equal({f["path"] for f in listed}, set(HARD))


@step("text and dictionaries are logged and loaded")
def _():
    with mlflow.start_run(run_id=run):
        mlflow.log_text("grüße", "notes/hello.txt")
        mlflow.log_dict({"a": [1, 2, {"b": None}]}, "notes/data.json")
        mlflow.log_dict({"a": 1}, "notes/data.yaml")
    uri = f"runs:/{run}/notes/"
    equal(mlflow.artifacts.load_text(uri + "hello.txt"), "grüße")
    equal(mlflow.artifacts.load_dict(uri + "data.json"), {"a": [1, 2, {"b": None}]})
    assert "a: 1" in mlflow.artifacts.load_text(uri + "data.yaml")


@step("tables are logged piece by piece and loaded as a frame")
def _():
    with mlflow.start_run(run_id=run):
        mlflow.log_table({"q": ["a", "b"], "n": [1, 2]}, "table.json")
        mlflow.log_table({"q": ["c"], "n": [3]}, "table.json")
    frame = mlflow.load_table("table.json", run_ids=[run])
    equal(list(frame["n"]), [1, 2, 3])


@step("images are logged")
def _():
    import numpy

    with mlflow.start_run(run_id=run):
        mlflow.log_image(numpy.zeros((4, 4, 3), dtype=numpy.uint8), "picture.png")
    assert any(p == "picture.png" for p, _, _ in paths())


@step("listing a file that is not there gives nothing, downloading it says so")
def _():
    equal(paths("nowhere"), [])
    try:
        client().download_artifacts(run, "nowhere/at/all.txt")
    except Exception as e:
        assert "all.txt" in str(e), e
    else:
        raise AssertionError("want an exception")


@step("a later file replaces an earlier one of the same name")
def _():
    with mlflow.start_run(run_id=run):
        mlflow.log_text("one", "same.txt")
        mlflow.log_text("two", "same.txt")
    equal(mlflow.artifacts.load_text(f"runs:/{run}/same.txt"), "two")


@step("three hundred files in one folder are listed completely")
def _():
    with tempfile.TemporaryDirectory() as d:
        for n in range(300):
            pathlib.Path(d, f"f{n:03}").write_text(str(n))
        client().log_artifacts(run, d, "many")
    equal(len(paths("many")), 300)


@step("a part of a file is read by Range, and the answer cannot be taken for a page")
def _():
    answer = request("GET", f"/api/2.0/mlflow-artifacts/artifacts/{home}/{run}/artifacts/folder/a.txt", headers={"Range": "bytes=2-4"})
    equal((answer.status_code, answer.content), (206, b"txt"))
    equal(answer.headers["X-Content-Type-Options"], "nosniff")
    assert "attachment" in answer.headers["Content-Disposition"]


@step("paths that lead out of the root are refused")
def _():
    for path in ("../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "..%2f..%2fetc%2fpasswd", "%252e%252e%252fetc", "/etc/passwd", "a/../../b"):
        answer = request("GET", f"/api/2.0/mlflow-artifacts/artifacts/{path}")
        assert 400 <= answer.status_code < 500 and "root:" not in answer.text, (path, answer.status_code)
    try:
        client().list_artifacts(run, "../..")
    except Exception as e:
        assert "INVALID_PARAMETER_VALUE" in str(e), e
    else:
        raise AssertionError("want an exception")


@step("a file is deleted through the proxy")
def _():
    answer = request("DELETE", f"/api/2.0/mlflow-artifacts/artifacts/{home}/{run}/artifacts/same.txt")
    equal((answer.status_code, json.loads(answer.text or "{}")), (200, {}))
    assert "same.txt" not in [p for p, _, _ in paths()]
