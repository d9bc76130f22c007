"""Runs every step of a folder of steps for every case of cases.json, over HTTP and over gRPC, with the tritonclient as it is.

    driver.py FOLDER URL TOKEN REPORT STEPS [CASE …]

STEPS is live (one version answers), split (two versions do) or away (the endpoints are suspended).

REPORT gets a line of JSON per step and case: {"case","engine","transport","step","ok","skip","seconds","error"}. The exit
code is 0 when every step was run, whatever came out.
"""

import importlib.util
import json
import pathlib
import signal
import sys
import time
import traceback
import warnings

here = pathlib.Path(__file__).parent
sys.path.insert(0, str(here))
warnings.simplefilter("ignore")

import conformance  # noqa: E402

LIMIT = 60  # seconds for one step


def late(*_):
    raise TimeoutError(f"the step took longer than {LIMIT} s")


def run(report, described, transport, sentence, function):
    begin, error, why = time.monotonic(), "", ""
    signal.alarm(LIMIT)
    try:
        function(conformance.Case(described, transport))
    except conformance.NotApplicable as e:
        why = str(e)
    except BaseException:
        error = traceback.format_exc(limit=-4)
    signal.alarm(0)
    line = {"case": described["name"], "engine": described["engine"], "transport": transport, "step": sentence, "ok": not error, "skip": why,
            "seconds": round(time.monotonic() - begin, 3), "error": error}
    report.write(json.dumps(line) + "\n")
    if error:
        print(f"FAIL {line['case']} {transport}: {sentence}\n{error}", flush=True)


def main():
    signal.signal(signal.SIGALRM, late)
    for path in sorted(here.glob(f"steps/{sys.argv[5]}/*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    cases = json.loads(pathlib.Path(conformance.FOLDER, "cases.json").read_text())
    wanted = sys.argv[6:]
    with open(conformance.REPORT, "w", encoding="utf-8") as report:
        for n, described in enumerate(c for c in cases if not wanted or c["name"] in wanted):
            for transport, sentence, function, once in conformance.STEPS:
                if n == 0 or not once:
                    run(report, described, transport, sentence, function)
        report.write(json.dumps({"done": True}) + "\n")


if __name__ == "__main__":
    main()
