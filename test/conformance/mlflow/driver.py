"""Runs the steps of steps/*.py against the server that MLFLOW_TRACKING_URI names, with the mlflow package as it is.

    driver.py REPORT [FILE …]    REPORT gets a line of JSON per step: {"file","step","ok","seconds","error"}

Given files (their names without .py), only those are run. The exit code is 0 when every step was run, whatever came out.
"""

import importlib.util
import json
import logging
import os
import pathlib
import signal
import sys
import time
import traceback
import warnings

LIMIT = 120  # seconds for one step

here = pathlib.Path(__file__).parent
sys.path.insert(0, str(here))
warnings.simplefilter("ignore")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # a 5xx is a finding, not something to wait for
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
os.environ.setdefault("TQDM_DISABLE", "1")

import conformance  # noqa: E402
import mlflow  # noqa: E402

logging.getLogger("mlflow").setLevel(logging.ERROR)


def late(*_):
    raise TimeoutError(f"the step took longer than {LIMIT} s")


def run(report, name, sentence, function):
    begin = time.monotonic()
    error = ""
    signal.alarm(LIMIT)
    try:
        function()
    except BaseException:
        error = traceback.format_exc(limit=-6)
    signal.alarm(0)
    while mlflow.active_run() is not None:  # a failed step leaves nothing open
        mlflow.end_run()
    took = time.monotonic() - begin
    report.write(json.dumps({"file": name, "step": sentence, "ok": not error, "seconds": round(took, 2), "error": error}) + "\n")
    report.flush()
    print(f"{'FAIL' if error else 'ok  '} {took:6.2f}s {name}: {sentence}\n{error}".rstrip(), flush=True)


def main():
    signal.signal(signal.SIGALRM, late)
    wanted = sys.argv[2:]
    with open(sys.argv[1], "w", encoding="utf-8") as report:
        for path in sorted(here.glob("steps/*.py")):
            if wanted and path.stem not in wanted:
                continue
            conformance.STEPS.clear()
            spec = importlib.util.spec_from_file_location(path.stem, path)
            module = importlib.util.module_from_spec(spec)
            sys.modules[path.stem] = module  # cloudpickle looks classes up by their module
            run(report, path.stem, "the file loads", lambda: spec.loader.exec_module(module))
            for sentence, function in list(conformance.STEPS):
                run(report, path.stem, sentence, function)
        report.write(json.dumps({"done": True}) + "\n")


if __name__ == "__main__":
    main()
