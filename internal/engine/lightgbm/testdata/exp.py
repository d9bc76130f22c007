"""Records e^x, correctly rounded: python3 exp.py > exp.csv. Only the standard library is needed."""

import random
from decimal import Decimal, getcontext

getcontext().prec = 60
random.seed(20240607)
for i in range(2000):
    x = random.choice([random.uniform(-6, 6), random.uniform(-700, 700), random.uniform(-1, 1) * 2.0 ** -random.randrange(60)])
    print(f"{x.hex()},{float(Decimal(x).exp()).hex()}")
