"""A knowledge graph: whether a drug may lead to a condition, and by which path of known facts.

The graph is a file of triples beside the model; it is part of the version, so a new fact is a new version, with a test and an
approval of its own.
"""

import csv

import mlflow
import pandas as pd


class Interactions(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        self.known = {}
        with open(context.artifacts["facts"], newline="", encoding="utf-8") as f:
            for fact in csv.DictReader(f):
                self.known.setdefault(fact["subject"], []).append((fact["predicate"], fact["object"]))

    def predict(self, context, model_input, params=None):
        paths = [self.path(a, b) for a, b in zip(model_input["drug"], model_input["condition"])]
        return pd.DataFrame({"related": [p is not None for p in paths], "path": [" ".join(p or []) for p in paths]})

    def path(self, start, end):
        """The shortest path, breadth first."""
        todo, seen = [(start, [start])], {start}
        for node, path in todo:
            if node == end:
                return path
            for predicate, target in self.known.get(node, []):
                if target not in seen:
                    seen.add(target)
                    todo.append((target, path + [predicate, target]))
        return None


mlflow.models.set_model(Interactions())
