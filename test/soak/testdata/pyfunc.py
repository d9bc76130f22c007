"""Writes an MLflow model of its author's own class: the sum of its numbers and the length of its text. One column of each
type that malformed requests can miss."""

import sys

import mlflow.pyfunc
import pandas as pd
from mlflow.models import infer_signature


class Sum(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return (model_input["a"] + model_input["n"] + model_input["flag"] + model_input["word"].str.len()).astype("float64").to_numpy()


frame = pd.DataFrame({"a": [0.5, 2.25], "n": [1, 2], "flag": [True, False], "word": ["one", "three"]})
mlflow.pyfunc.save_model(sys.argv[1], python_model=Sum(), input_example=frame, pip_requirements=["mlflow"],
                         signature=infer_signature(frame, Sum().predict(None, frame)))
