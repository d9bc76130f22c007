"""Times libxgboost in process: for every line read, answers the median microseconds of 30 predictions of 1,024 rows.

usage: library.py MODEL THREADS
"""

import sys
import time

import numpy as np
import xgboost

booster = xgboost.Booster(model_file=sys.argv[1])
booster.set_param({"nthread": int(sys.argv[2])})
rows = np.random.default_rng(1).normal(size=(1024, 20)).astype(np.float32)
for _ in sys.stdin:
    times = []
    for _ in range(30):
        began = time.perf_counter()
        booster.inplace_predict(rows)
        times.append(time.perf_counter() - began)
    print(sorted(times)[15] * 1e6, flush=True)
