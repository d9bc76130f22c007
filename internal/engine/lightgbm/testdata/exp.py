"""Records e^x as the C library answers it: python3 exp.py > exp.csv, on glibc 2.28 or later and a processor with FMA."""

import ctypes
import random

library = ctypes.CDLL("libm.so.6")
library.exp.restype, library.exp.argtypes = ctypes.c_double, [ctypes.c_double]
random.seed(3)
reach = [lambda: random.uniform(-30, 30), lambda: random.gauss(0, 1), lambda: random.gauss(0, 1e-3), lambda: random.gauss(0, 1e-17),
         lambda: random.uniform(-512, 512), lambda: random.uniform(500, 709.78), lambda: random.uniform(-708, -500), lambda: random.uniform(-746, -707)]
for i in range(4000):
    x = reach[i % len(reach)]()
    print(f"{x.hex()},{library.exp(x).hex()}")
