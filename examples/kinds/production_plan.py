"""An optimisation: how much two plants make to meet a demand at least cost (a linear programme, solved by HiGHS).

The answer of a row is the cost, what each plant makes, and the constraints that bind: those that would have to give way for
a cheaper plan. A row without a plan answers NaN and says so.
"""

import mlflow
import numpy as np
import pandas as pd
from scipy.optimize import linprog


class ProductionPlan(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return pd.DataFrame([self.plan(row) for row in model_input.itertuples(index=False)])

    def plan(self, row):
        solved = linprog([row.cost_a, row.cost_b], A_ub=[[-1, -1]], b_ub=[-row.demand],
                         bounds=[(0, row.capacity_a), (0, row.capacity_b)], method="highs")
        if solved.status != 0:
            return {"cost": np.nan, "make_a": np.nan, "make_b": np.nan, "binding": "there is no plan"}
        a, b = solved.x
        slack = {"demand": a + b - row.demand, "capacity of a": row.capacity_a - a, "capacity of b": row.capacity_b - b}
        return {"cost": solved.fun, "make_a": a, "make_b": b, "binding": ", ".join(k for k, v in slack.items() if v < 1e-9)}


mlflow.models.set_model(ProductionPlan())
