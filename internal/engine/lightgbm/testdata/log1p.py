"""Records ln(1+x) as the C library answers it: python3 log1p.py > log1p.csv, on glibc 2.36 and a processor with FMA."""

import ctypes
import math
import random

library = ctypes.CDLL("libm.so.6")
library.log1p.restype, library.log1p.argtypes = ctypes.c_double, [ctypes.c_double]
random.seed(4)
reach = [lambda: random.gauss(0, 2), lambda: random.uniform(-3, 1), lambda: random.uniform(-3, 1), lambda: random.uniform(-40, 40), lambda: random.uniform(-745, 709)]
for i in range(1200):
    x = math.exp(reach[i % len(reach)]())
    print(f"{x.hex()},{library.log1p(x).hex()}")
