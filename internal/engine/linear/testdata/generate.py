"""Fits linear models with scikit-learn and statsmodels-free arithmetic and records what they predict.

$KEELSON_PYTHON generate.py    (scikit-learn 1.9, numpy) writes models/*.linear.json and expected.json beside this file.
"""

import json
import os
import warnings

import numpy as np
import sklearn
from scipy import stats
from sklearn import compose, linear_model, multiclass, pipeline, preprocessing, svm

warnings.filterwarnings("ignore")
here = os.path.dirname(os.path.abspath(__file__))
os.makedirs(os.path.join(here, "models"), exist_ok=True)
rng = np.random.default_rng(5)
X = np.round(rng.normal(size=(120, 4)), 3)
y = (X[:, 0] + 0.4 * rng.normal(size=120) > 0).astype(int)
y3 = np.digitize(X[:, 0] - X[:, 1], [-0.6, 0.6])
words = np.array(["low", "mid", "high"])[y3]
r = 2 * X[:, 0] - X[:, 1] + 1
names = ["age", "dose", "größe", "bmi"]
cases = []


def keep(name, doc, columns, predict, label=None):
    doc = {"format": "keelson-linear-1", **doc}
    with open(os.path.join(here, "models", name + ".linear.json"), "w", encoding="utf-8") as f:
        json.dump(doc, f, ensure_ascii=False)
    case = {"name": name, "columns": columns, "predict": np.asarray(predict, dtype=float).reshape(len(next(iter(columns.values()))), -1).tolist()}
    if label is not None:
        case["label"] = np.asarray(label).tolist()
    cases.append(case)


def table(x):
    return {n: x[:12, i].tolist() for i, n in enumerate(names)}


def regression(name, model, link, target):
    model.fit(X, target)
    coef = np.atleast_2d(model.coef_)
    keep(name, {"features": names, "link": link, "intercept": np.atleast_1d(model.intercept_).tolist(), "coefficients": coef.tolist()}, table(X), model.predict(X[:12]))


regression("ols", linear_model.LinearRegression(), "identity", r)
regression("targets", linear_model.LinearRegression(), "identity", np.stack([r, X[:, 2] + 1], axis=1))
regression("ridge", linear_model.Ridge(0.5), "identity", r)
regression("lasso", linear_model.Lasso(0.1), "identity", r)
regression("elastic", linear_model.ElasticNet(0.1), "identity", r)
regression("poisson", linear_model.PoissonRegressor(), "log", rng.poisson(np.exp(0.3 * X[:, 0])))
regression("gamma", linear_model.GammaRegressor(), "log", np.exp(0.3 * X[:, 0]) + 0.1)
regression("tweedie", linear_model.TweedieRegressor(power=1.5, link="log"), "log", np.exp(0.3 * X[:, 0]))
regression("tweedie_identity", linear_model.TweedieRegressor(power=0), "identity", r)


def classifier(name, model, link, target, method):
    model.fit(X, target)
    keep(name, {"features": names, "link": link, "intercept": model.intercept_.tolist(), "coefficients": model.coef_.tolist(), "classes": model.classes_.tolist()},
         table(X), getattr(model, method)(X[:12]), model.predict(X[:12]))


classifier("logistic", linear_model.LogisticRegression(), "logit", y, "predict_proba")
classifier("logistic_words", linear_model.LogisticRegression(), "softmax", words, "predict_proba")
classifier("logistic_multinomial", linear_model.LogisticRegression(C=0.3), "softmax", y3, "predict_proba")
classifier("ridge_classifier", linear_model.RidgeClassifier(), "identity", y3, "decision_function")
classifier("ridge_classifier_binary", linear_model.RidgeClassifier(), "identity", y, "decision_function")
classifier("linear_svc", svm.LinearSVC(), "identity", words, "decision_function")
rest = multiclass.OneVsRestClassifier(linear_model.LogisticRegression()).fit(X, y3)
keep("one_vs_rest", {"features": names, "link": "ovr", "intercept": [float(e.intercept_[0]) for e in rest.estimators_], "coefficients": [e.coef_[0].tolist() for e in rest.estimators_],
                     "classes": rest.classes_.tolist()}, table(X), rest.predict_proba(X[:12]), rest.predict(X[:12]))

scaled = pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()).fit(X * [3, 5, 1, 0.2] + [10, -2, 0, 1], y)
Z = X * [3, 5, 1, 0.2] + [10, -2, 0, 1]
s, m = scaled[0], scaled[1]
keep("standardised", {"features": [{"name": n, "mean": float(a), "scale": float(b)} for n, a, b in zip(names, s.mean_, s.scale_)], "link": "logit", "intercept": float(m.intercept_[0]),
                      "coefficients": m.coef_[0].tolist(), "classes": [0, 1]}, table(Z), scaled.predict_proba(Z[:12]), scaled.predict(Z[:12]))

city = np.resize(np.array(["Köln", "Bonn", "Ulm"], dtype=object), 120)
ward = rng.integers(1, 4, 120)
import pandas as pd  # noqa: E402

frame = pd.DataFrame({"age": X[:, 0], "city": city, "ward": ward})
one = compose.ColumnTransformer([("n", preprocessing.StandardScaler(), ["age"]), ("c", preprocessing.OneHotEncoder(handle_unknown="ignore"), ["city", "ward"])])
p = pipeline.make_pipeline(one, linear_model.LogisticRegression()).fit(frame, words)
enc, sc = one.named_transformers_["c"], one.named_transformers_["n"]
test = frame[:12].copy()
test.loc[0, "city"] = "Rom"
keep("columns", {"features": [{"name": "age", "mean": float(sc.mean_[0]), "scale": float(sc.scale_[0])}, {"name": "city", "categories": enc.categories_[0].tolist(), "unknown": "zero"},
                              {"name": "ward", "categories": enc.categories_[1].tolist(), "unknown": "zero"}], "link": "softmax", "intercept": p[1].intercept_.tolist(), "coefficients": p[1].coef_.tolist(),
                 "classes": p[1].classes_.tolist()}, {k: test[k].tolist() for k in test}, p.predict_proba(test), p.predict(test))

# By name, and the links that scikit-learn has not: the formula itself is the oracle.
eta = 0.3 + 0.5 * X[:12, 0] - 0.2 * X[:12, 1]
for link, answer in [("probit", stats.norm.cdf(eta)), ("cloglog", 1 - np.exp(-np.exp(eta))), ("log", np.exp(eta)), ("sqrt", eta**2), ("inverse", 1 / eta), ("logit", 1 / (1 + np.exp(-eta)))]:
    keep("named_" + link, {"link": link, "intercept": 0.3, "coefficients": {"age": 0.5, "dose": -0.2}}, {"age": X[:12, 0].tolist(), "dose": X[:12, 1].tolist()}, answer)
eta = 1.0 + 0.5 * X[:12, 0] + np.array([{"Köln": 0.25, "Bonn": -0.5}.get(c, 0) for c in city[:12]])
keep("named_levels", {"link": "identity", "intercept": 1.0, "coefficients": {"age": 0.5, "city": {"Köln": 0.25, "Bonn": -0.5}}}, {"age": X[:12, 0].tolist(), "city": city[:12].tolist()}, eta)

with open(os.path.join(here, "expected.json"), "w", encoding="utf-8") as f:
    f.write('{"sklearn":"%s","cases":[\n' % sklearn.__version__)
    f.write(",\n".join(json.dumps(c, separators=(",", ":"), ensure_ascii=False) for c in cases))
    f.write("\n]}\n")
