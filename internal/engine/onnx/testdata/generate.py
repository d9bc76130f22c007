"""Makes small ONNX models with skl2onnx, onnxmltools and onnx.helper and records what onnxruntime answers.

Needs onnx 1.23, onnxruntime 1.31, skl2onnx 1.20, onnxmltools 1.16, scikit-learn 1.9, xgboost 3.2, lightgbm 4.7:

    $KEELSON_PYTHON generate.py            writes models/*.onnx, models.json and operators.json beside this file
    $KEELSON_PYTHON generate.py --nodes D  writes the node cases that ship with the onnx package, as far as
                                           onnxruntime runs them, to D/nodes.json (see TestNodeCasesOfTheStandard)
    $KEELSON_PYTHON generate.py --exact    writes exact.json: models whose answers are what rounding leaves of sums that
                                           cancel, values beyond float32, leaves with several weights, sums of no dimension
"""

import base64
import json
import os
import sys
import warnings

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

warnings.filterwarnings("ignore")
here = os.path.dirname(os.path.abspath(__file__))
NAMES = {"float32": "FP32", "float64": "FP64", "int64": "INT64", "int32": "INT32", "int16": "INT16", "int8": "INT8", "uint8": "UINT8",
         "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64", "bool": "BOOL", "object": "BYTES"}


def number(v):
    if isinstance(v, (float, np.floating)):
        if np.isnan(v):
            return "NaN"
        if np.isinf(v):
            return "Infinity" if v > 0 else "-Infinity"
        return float(v)
    if isinstance(v, (bool, np.bool_)):
        return bool(v)
    if isinstance(v, (int, np.integer)):
        return int(v)
    return str(v)


def tensor(name, v):
    if isinstance(v, list) and (not v or isinstance(v[0], dict)):  # ZipMap
        keys = list(v[0]) if v else []
        v = np.array([[r[k] for k in keys] for r in v], dtype=np.float32).reshape(len(v), len(keys))
    v = np.asarray(v)
    if v.dtype.kind in "US":
        v = v.astype(object)
    return {"name": name, "datatype": NAMES[str(v.dtype)], "shape": list(v.shape), "data": [number(x) for x in v.reshape(-1)]}


def run(model, feed):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    s = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [tensor(o.name, v) for o, v in zip(s.get_outputs(), s.run(None, feed))]


def call(model, feed):
    return {"inputs": [tensor(k, v) for k, v in feed.items()], "outputs": run(model, feed)}


# ---- whole models ----

models = []


def keep(name, model, *feeds, refused=None):
    model.doc_string = ""
    with open(os.path.join(here, "models", name + ".onnx"), "wb") as f:
        f.write(model.SerializeToString())
    case = {"name": name, "calls": []}
    if refused:
        case["refused"] = refused
    for feed in feeds:
        try:
            c = call(model, feed)
        except Exception as e:  # onnxruntime takes no empty batch in some operators
            print("!!", name, {k: v.shape for k, v in feed.items()}, str(e)[:160])
            continue
        for i, o in enumerate(c["outputs"]):
            if o["shape"] == [0, 0] and case["calls"]:  # no rows: a list of maps that does not know its keys
                o["shape"][1] = case["calls"][0]["outputs"][i]["shape"][1]
        case["calls"].append(c)
    models.append(case)


def classical():
    import lightgbm as lgb
    import xgboost as xgb
    from onnxmltools.convert import convert_lightgbm, convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType as MLFloat
    from skl2onnx import convert_sklearn, to_onnx, update_registered_converter
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
    from sklearn import (calibration, cluster, compose, discriminant_analysis, ensemble, feature_selection, impute, linear_model, mixture, multiclass,
                         naive_bayes, neighbors, neural_network, pipeline, preprocessing, svm, tree)
    from sklearn import decomposition

    rng = np.random.default_rng(20250101)
    X = np.round(rng.normal(size=(80, 4)), 2).astype(np.float32)
    y = (X[:, 0] + 0.5 * X[:, 1] * X[:, 2] > 0).astype(int)
    y3 = np.digitize(X[:, 0] - X[:, 1], [-0.7, 0.7])
    words = np.array(["low", "mid", "high"])[y3]
    r = 2 * X[:, 0] - X[:, 1] ** 2 + 1
    many, one, none = X[:9], X[9:10], X[:0]
    holes = X.copy()
    holes[rng.random(X.shape) < 0.2] = np.nan
    positive = np.abs(X)

    def skl(name, model, target=None, data=X, feeds=None, **options):
        model.fit(data, target) if target is not None else model.fit(data)
        kind = Int64TensorType if data.dtype == np.int64 else StringTensorType if data.dtype == object else FloatTensorType
        o = convert_sklearn(model, name="m", initial_types=[("X", kind([None, data.shape[1]]))], target_opset={"": 18, "ai.onnx.ml": 3}, **options)
        keep(name, o, *({"X": f} for f in (feeds or (data[:9], data[9:10], data[:0]))))

    plain = {"options": {"zipmap": False}}
    skl("linear_regression", linear_model.LinearRegression(), r)
    skl("linear_regression_targets", linear_model.LinearRegression(), np.stack([r, X[:, 3]], axis=1))
    skl("logistic", linear_model.LogisticRegression(), y)
    skl("logistic_multinomial", linear_model.LogisticRegression(), y3)
    skl("logistic_words", linear_model.LogisticRegression(), words)
    skl("logistic_plain", linear_model.LogisticRegression(), y, **plain)
    skl("ridge_classifier", linear_model.RidgeClassifier(), y3)
    skl("ridge_classifier_binary", linear_model.RidgeClassifier(), y)
    skl("poisson", linear_model.PoissonRegressor(), np.abs(r))
    skl("sgd_log", linear_model.SGDClassifier(loss="log_loss", random_state=1), y3)
    skl("perceptron", linear_model.Perceptron(random_state=1), y)
    skl("linear_svc", svm.LinearSVC(), y3)
    skl("svc", svm.SVC(C=0.5), y)
    skl("svc_multi", svm.SVC(C=0.5, kernel="poly", degree=2), y3)
    skl("svc_probability", svm.SVC(C=0.5, probability=True, random_state=1), y3)
    skl("svc_sigmoid", svm.SVC(C=0.5, kernel="sigmoid"), words)
    skl("svr", svm.SVR(C=0.5), r)
    skl("one_class_svm", svm.OneClassSVM(nu=0.2))
    skl("decision_tree", tree.DecisionTreeClassifier(max_depth=4, random_state=1), y3)
    skl("decision_tree_words", tree.DecisionTreeClassifier(max_depth=3, random_state=1), words)
    skl("forest_binary", ensemble.RandomForestClassifier(6, max_depth=3, random_state=1), y)
    skl("forest_multi", ensemble.RandomForestClassifier(6, max_depth=3, random_state=1), y3)
    skl("forest_regressor", ensemble.RandomForestRegressor(6, max_depth=3, random_state=1), r)
    skl("forest_regressor_targets", ensemble.RandomForestRegressor(4, max_depth=3, random_state=1), np.stack([r, X[:, 3]], axis=1))
    skl("extra_trees", ensemble.ExtraTreesClassifier(5, max_depth=3, random_state=1), y3)
    skl("gradient_boosting", ensemble.GradientBoostingClassifier(n_estimators=6, random_state=1), y)
    skl("gradient_boosting_multi", ensemble.GradientBoostingClassifier(n_estimators=3, random_state=1, max_depth=2), y3)
    skl("gradient_boosting_regressor", ensemble.GradientBoostingRegressor(n_estimators=6, random_state=1), r)
    skl("ada_boost", ensemble.AdaBoostClassifier(n_estimators=3, random_state=1), y3)
    skl("ada_boost_regressor", ensemble.AdaBoostRegressor(n_estimators=3, random_state=1), r)
    skl("bagging", ensemble.BaggingClassifier(tree.DecisionTreeClassifier(max_depth=2), n_estimators=3, random_state=1), y3)
    skl("voting", ensemble.VotingClassifier([("a", linear_model.LogisticRegression()), ("b", tree.DecisionTreeClassifier(max_depth=2))], voting="soft", flatten_transform=False), y)
    skl("stacking", ensemble.StackingClassifier([("a", linear_model.LogisticRegression()), ("b", tree.DecisionTreeClassifier(max_depth=2))], cv=2), y)
    skl("isolation_forest", ensemble.IsolationForest(n_estimators=4, max_samples=16, random_state=1))
    skl("gaussian_nb", naive_bayes.GaussianNB(), y3)
    skl("bernoulli_nb", naive_bayes.BernoulliNB(), y3)
    skl("multinomial_nb", naive_bayes.MultinomialNB(), y3, data=positive)
    skl("complement_nb", naive_bayes.ComplementNB(), y3, data=positive)
    skl("kmeans", cluster.KMeans(3, n_init=2, random_state=1))
    skl("mlp", neural_network.MLPClassifier(hidden_layer_sizes=(5,), max_iter=30, random_state=1), y3)
    skl("mlp_binary", neural_network.MLPClassifier(hidden_layer_sizes=(4, 3), activation="logistic", max_iter=30, random_state=1), y)
    skl("mlp_regressor", neural_network.MLPRegressor(hidden_layer_sizes=(5, 4), activation="tanh", max_iter=30, random_state=1), r)
    skl("lda", discriminant_analysis.LinearDiscriminantAnalysis(), y3)
    skl("qda", discriminant_analysis.QuadraticDiscriminantAnalysis(), y3)
    skl("one_vs_rest", multiclass.OneVsRestClassifier(linear_model.LogisticRegression()), y3)
    skl("one_vs_one", multiclass.OneVsOneClassifier(linear_model.LogisticRegression()), y3)
    skl("calibrated", calibration.CalibratedClassifierCV(linear_model.LogisticRegression(), cv=2), y3)
    skl("gaussian_mixture", mixture.GaussianMixture(2, random_state=1))
    skl("pca", decomposition.PCA(2))
    skl("knn", neighbors.KNeighborsClassifier(3), y3)
    skl("knn_words", neighbors.KNeighborsClassifier(5, weights="distance"), words)
    skl("knn_regressor", neighbors.KNeighborsRegressor(3, p=1), r)
    skl("local_outliers", neighbors.LocalOutlierFactor(5, novelty=True))
    for name, step in [("standard", preprocessing.StandardScaler()), ("minmax", preprocessing.MinMaxScaler(clip=True)), ("robust", preprocessing.RobustScaler()),
                       ("maxabs", preprocessing.MaxAbsScaler()), ("norm_l1", preprocessing.Normalizer("l1")), ("norm_l2", preprocessing.Normalizer()),
                       ("norm_max", preprocessing.Normalizer("max")), ("binarizer", preprocessing.Binarizer(threshold=0.2)),
                       ("polynomial", preprocessing.PolynomialFeatures(2)), ("power", preprocessing.PowerTransformer()),
                       ("bins", preprocessing.KBinsDiscretizer(3, encode="ordinal")), ("select", feature_selection.SelectKBest(k=2))]:
        skl("prep_" + name, step, y if name == "select" else None)
    skl("imputer_mean", impute.SimpleImputer(), data=holes)
    skl("imputer_pipeline", pipeline.make_pipeline(impute.SimpleImputer(strategy="median"), preprocessing.StandardScaler(), linear_model.LogisticRegression()), y, data=holes)
    skl("int64_input", pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()), y, data=np.round(X * 5).astype(np.int64))
    cities = np.array([["Köln", "a"], ["Bonn", "b"], ["Ulm", "a"], ["Bonn", "c"]] * 5, dtype=object)
    strange = np.array([["Bonn", "b"], ["Aachen", "a"], ["Köln", "z"]], dtype=object)
    skl("onehot_words", preprocessing.OneHotEncoder(handle_unknown="ignore"), data=cities, feeds=(cities[:4], strange, cities[:1], cities[:0]))
    skl("ordinal_words", preprocessing.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), data=cities, feeds=(cities[:4], strange, cities[:1]))

    # A column transformer over typed columns, as a data frame has them.
    import pandas as pd
    frame = pd.DataFrame({"age": holes[:, 0], "income": X[:, 1], "city": np.resize(np.array(["Köln", "Bonn", "Ulm"], dtype=object), 80), "visits": rng.integers(0, 9, 80)})
    columns = compose.ColumnTransformer([
        ("numbers", pipeline.make_pipeline(impute.SimpleImputer(), preprocessing.StandardScaler()), ["age", "income"]),
        ("city", preprocessing.OneHotEncoder(handle_unknown="ignore"), ["city"]),
        ("visits", preprocessing.MinMaxScaler(), ["visits"])])
    whole = pipeline.make_pipeline(columns, ensemble.GradientBoostingClassifier(n_estimators=4, max_depth=2, random_state=1))
    whole.fit(frame, y)
    types = [("age", FloatTensorType([None, 1])), ("income", FloatTensorType([None, 1])), ("city", StringTensorType([None, 1])), ("visits", Int64TensorType([None, 1]))]
    o = convert_sklearn(whole, initial_types=types, target_opset={"": 18, "ai.onnx.ml": 3})

    def feed(f):
        return {"age": f[["age"]].to_numpy(np.float32), "income": f[["income"]].to_numpy(np.float32), "city": f[["city"]].to_numpy(object), "visits": f[["visits"]].to_numpy(np.int64)}

    other = frame[:3].copy()
    other["city"] = ["Rom", "Bonn", "Ulm"]
    keep("columns", o, feed(frame[:9]), feed(other), feed(frame[:1]), feed(frame[:0]))
    double = to_onnx(linear_model.LinearRegression().fit(X.astype(float), r), X[:1].astype(np.float64), target_opset=18)
    keep("double_linear", double, {"X": many.astype(float)}, {"X": one.astype(float)})

    # Gradient boosting by onnxmltools, with missing values.
    def boosted(name, model, convert, target, feeds=(holes[:9], holes[9:10], holes[:0])):
        model.fit(holes, target)
        o = convert(model, initial_types=[("X", MLFloat([None, 4]))], target_opset=15)
        keep(name, o, *({"X": f} for f in feeds))

    boosted("xgb_binary", xgb.XGBClassifier(n_estimators=5, max_depth=3), convert_xgboost, y)
    boosted("xgb_multi", xgb.XGBClassifier(n_estimators=3, max_depth=2), convert_xgboost, y3)
    boosted("xgb_regressor", xgb.XGBRegressor(n_estimators=5, max_depth=3), convert_xgboost, r)
    quiet = {"verbose": -1, "min_child_samples": 5, "num_leaves": 6}
    boosted("lgb_binary", lgb.LGBMClassifier(n_estimators=5, **quiet), convert_lightgbm, y)
    boosted("lgb_multi", lgb.LGBMClassifier(n_estimators=3, **quiet), convert_lightgbm, y3)
    boosted("lgb_regressor", lgb.LGBMRegressor(n_estimators=5, **quiet), convert_lightgbm, r)
    coded = X.copy()
    coded[:, 3] = rng.integers(0, 6, 80)
    data = lgb.Dataset(coded, np.sin(coded[:, 3] * 2) + 0.2 * coded[:, 0], categorical_feature=[3], params={"verbose": -1})
    booster = lgb.train({"objective": "regression", "min_cat_smooth": 1, "cat_smooth": 1, "cat_l2": 0, "max_cat_to_onehot": 1, **quiet, "min_data_per_group": 1}, data, 4)
    keep("lgb_categories", convert_lightgbm(booster, initial_types=[("X", MLFloat([None, 4]))], target_opset=15), {"X": coded[:20]})

    # Refused by name.
    knn = to_onnx(impute.KNNImputer().fit(holes), X[:1], target_opset={"": 18, "ai.onnx.ml": 3})
    keep("refused_functions", knn, refused="functions")


def networks():
    rng = np.random.default_rng(7)

    def weights(name, *shape):
        return nh.from_array(rng.normal(scale=0.4, size=shape).astype(np.float32), name)

    def net(name, nodes, init, shape, feeds, opset=18):
        g = h.make_graph(nodes, "net", [h.make_tensor_value_info("x", T.FLOAT, shape)], [h.make_tensor_value_info("y", T.FLOAT, None)], init)
        keep(name, h.make_model(g, opset_imports=[h.make_opsetid("", opset)], ir_version=8), *({"x": f.astype(np.float32)} for f in feeds))

    rows = rng.normal(size=(5, 6))
    net("dense", [h.make_node("Gemm", ["x", "w1", "b1"], ["a"], transB=1), h.make_node("Relu", ["a"], ["b"]), h.make_node("Dropout", ["b"], ["c"]),
                  h.make_node("Gemm", ["c", "w2", "b2"], ["d"]), h.make_node("Elu", ["d"], ["e"]), h.make_node("MatMul", ["e", "w3"], ["f"]), h.make_node("Softmax", ["f"], ["y"], axis=-1)],
        [weights("w1", 8, 6), weights("b1", 8), weights("w2", 8, 5), weights("b2", 5), weights("w3", 5, 3)], ["N", 6], [rows, rows[:1], rows[:0]])
    variance = nh.from_array(np.abs(rng.normal(size=8)).astype(np.float32) + 0.1, "v")
    net("normalised", [h.make_node("Gemm", ["x", "w1", "b1"], ["a"], transB=1), h.make_node("BatchNormalization", ["a", "s", "o", "m", "v"], ["b"]), h.make_node("Tanh", ["b"], ["c"]),
                       h.make_node("LayerNormalization", ["c", "s", "o"], ["d"]), h.make_node("LeakyRelu", ["d"], ["e"], alpha=0.2), h.make_node("ReduceMean", ["e"], ["f"], axes=[1], keepdims=1), h.make_node("Sigmoid", ["f"], ["y"])],
        [weights("w1", 8, 6), weights("b1", 8), weights("s", 8), weights("o", 8), weights("m", 8), variance], ["N", 6], [rows, rows[:1]], opset=17)
    images = rng.normal(size=(3, 2, 7, 6))
    net("convolution", [h.make_node("Conv", ["x", "k", "kb"], ["a"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 1]), h.make_node("Relu", ["a"], ["b"]),
                        h.make_node("MaxPool", ["b"], ["c"], kernel_shape=[2, 2], strides=[1, 2]), h.make_node("Conv", ["c", "k2"], ["d"], group=2, auto_pad="SAME_UPPER"),
                        h.make_node("AveragePool", ["d"], ["e"], kernel_shape=[2, 2], pads=[0, 1, 0, 1], count_include_pad=1), h.make_node("GlobalAveragePool", ["e"], ["f"]),
                        h.make_node("Flatten", ["f"], ["g"]), h.make_node("Gemm", ["g", "w", "b0"], ["y"])],
        [weights("k", 4, 2, 3, 3), weights("kb", 4), weights("k2", 6, 2, 2, 2), weights("w", 6, 2), weights("b0", 2)], ["N", 2, 7, 6], [images, images[:1]])
    series = rng.normal(size=(3, 2, 9))
    net("convolution_line", [h.make_node("Conv", ["x", "k"], ["a"], dilations=[2]), h.make_node("Softplus", ["a"], ["b"]), h.make_node("GlobalMaxPool", ["b"], ["y"])],
        [weights("k", 3, 2, 3)], ["N", 2, 9], [series, series[:1]])
    branch = h.make_graph([h.make_node("Constant", [], ["b"], value_floats=[1.0])], "branch", [], [h.make_tensor_value_info("b", T.FLOAT, [1])])
    g = h.make_graph([h.make_node("Constant", [], ["c"], value=nh.from_array(np.array(True))), h.make_node("If", ["c"], ["d"], then_branch=branch, else_branch=branch), h.make_node("Add", ["x", "d"], ["y"])],
                     "net", [h.make_tensor_value_info("x", T.FLOAT, ["N"])], [h.make_tensor_value_info("y", T.FLOAT, ["N"])])
    keep("refused_if", h.make_model(g, opset_imports=[h.make_opsetid("", 18)], ir_version=8), refused="If")
    g = h.make_graph([h.make_node("Einsum", ["x", "x"], ["y"], equation="ij,ij->i")], "net", [h.make_tensor_value_info("x", T.FLOAT, ["N", 3])], [h.make_tensor_value_info("y", T.FLOAT, ["N"])])
    keep("refused_einsum", h.make_model(g, opset_imports=[h.make_opsetid("", 18)], ir_version=8), refused="Einsum")


# ---- single operators ----

operators = []


def code(v):
    return h.np_dtype_to_tensor_dtype(v.dtype)


def op(name, node, feed, opset=18, ml=3, outputs=1, constants=()):
    """One node. Its first input is fed; whole numbers behind it (shapes, axes, positions) stand in the model."""
    if isinstance(node, str):
        node = (node, {})
    kind, attributes = node
    domain = attributes.pop("domain", "")
    inputs = [k if not k.startswith("_") else "" for k in feed]
    n = h.make_node(kind, inputs, [f"y{i}" for i in range(outputs)], domain=domain, **attributes)
    given = {k: np.asarray(v, dtype=object if np.asarray(v).dtype.kind in "US" else None) for k, v in feed.items() if not k.startswith("_")}
    constants = list(constants) + [k for k in list(given)[1:] if given[k].dtype.kind == "i"]
    g = h.make_graph([n], "op", [h.make_tensor_value_info(k, T.STRING if v.dtype == object else code(v), [None] * v.ndim) for k, v in given.items() if k not in constants],
                     [h.make_empty_tensor_value_info(f"y{i}") for i in range(outputs)], [nh.from_array(v, k) for k, v in given.items() if k in constants])
    m = h.make_model(g, opset_imports=[h.make_opsetid("", opset), h.make_opsetid("ai.onnx.ml", ml)], ir_version=8 if opset < 20 else 10)
    try:
        c = call(m, {k: v for k, v in given.items() if k not in constants})
    except Exception as e:
        print("!!", name, str(e)[:200])
        return
    for value, y in zip(m.graph.output, c["outputs"]):
        dtype = next(d for d, n in NAMES.items() if n == y["datatype"])
        value.CopyFrom(h.make_tensor_value_info(value.name, T.STRING if dtype == "object" else h.np_dtype_to_tensor_dtype(np.dtype(dtype)), [None] * len(y["shape"])))
    operators.append({"name": name, "model": base64.b64encode(m.SerializeToString()).decode(), "calls": [c]})


def f32(*v):
    return np.array(v, dtype=np.float32)


def single():
    rng = np.random.default_rng(11)
    a, b = rng.normal(size=(3, 4)).astype(np.float32), rng.normal(size=(4,)).astype(np.float32)
    c3 = rng.normal(size=(2, 3, 4)).astype(np.float32)
    i, j = rng.integers(-9, 9, (2, 3)), rng.integers(1, 5, (2, 3))
    odd = f32(np.nan, np.inf, -np.inf, 0, -0.0, 2.5, -2.5, 1e-3)
    ints = lambda *v: np.array(v, dtype=np.int64)  # noqa: E731
    for k in ["Add", "Sub", "Mul", "Div"]:
        op(k + " broadcast", k, {"a": a, "b": b})
        op(k + " outer", k, {"a": a[:, :1], "b": b[None]})
        op(k + " int64", k, {"a": i, "b": j})
        op(k + " int32", k, {"a": i.astype(np.int32), "b": j.astype(np.int32)})
        op(k + " double", k, {"a": a.astype(float), "b": np.float64(3)})
    op("Add int32 wraps", "Add", {"a": np.array([2**31 - 1], dtype=np.int32), "b": np.array([1], dtype=np.int32)})
    op("Pow", "Pow", {"a": np.abs(a), "b": f32(2.5)})
    op("Pow square", "Pow", {"a": a, "b": f32(2)})
    op("Pow int exponent", "Pow", {"a": a, "b": ints(3)})
    op("Pow int base", "Pow", {"a": i, "b": ints(2)})
    op("Mod", "Mod", {"a": i, "b": j})
    op("Mod fmod", ("Mod", {"fmod": 1}), {"a": a, "b": b + 2})
    for k in ["Sum", "Mean", "Max", "Min"]:
        op(k, k, {"a": a, "b": b, "c": a[:1]})
    op("Max int64", "Max", {"a": i, "b": j})
    for k in ["Abs", "Neg", "Exp", "Sqrt", "Reciprocal", "Floor", "Ceil", "Relu", "Sigmoid", "Tanh", "Erf", "Softplus", "Softsign", "Sign", "Sin", "Cos", "Tan", "Atan", "Sinh", "Cosh", "Asinh", "HardSwish", "Elu", "Selu", "Celu", "LeakyRelu", "ThresholdedRelu", "HardSigmoid"]:
        op(k, k, {"a": np.abs(a) if k == "Sqrt" else a})
    for k in ["Abs", "Neg", "Sign", "Relu"]:
        op(k + " odd", k, {"a": odd})
    op("Abs int64", "Abs", {"a": i})
    op("Neg int32", "Neg", {"a": i.astype(np.int32)})
    op("Log", "Log", {"a": np.abs(a)})
    op("Round halves to even", "Round", {"a": f32(0.5, 1.5, 2.5, -0.5, -1.5, 2.4)})
    op("Exp double", "Exp", {"a": a.astype(float)})
    op("Gelu", "Gelu", {"a": a}, opset=20)
    op("Gelu tanh", ("Gelu", {"approximate": "tanh"}), {"a": a}, opset=20)
    op("Mish", "Mish", {"a": a})
    op("PRelu", "PRelu", {"a": a, "b": b})
    op("Clip", "Clip", {"a": a, "b": np.float32(-0.5), "c": np.float32(0.5)})
    op("Clip open below", "Clip", {"a": a, "_": 0, "c": np.float32(0.5)})
    op("Clip old", ("Clip", {"min": -0.5, "max": 0.25}), {"a": a}, opset=7)
    op("Clip int64", "Clip", {"a": i, "b": np.int64(-3), "c": np.int64(3)})
    for k in ["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"]:
        op(k, k, {"a": np.round(a), "b": np.round(b)})
        op(k + " int64", k, {"a": i, "b": j})
        op(k + " odd", k, {"a": odd, "b": f32(0)})
    op("Equal words", "Equal", {"a": np.array(["x", "y"]), "b": np.array(["x"])}, opset=19)
    t, u = np.array([True, False, True, False]), np.array([[True], [False]])
    for k in ["And", "Or", "Xor"]:
        op(k, k, {"a": t, "b": u})
    op("Not", "Not", {"a": t})
    op("Where", "Where", {"c": a > 0, "a": a, "b": b})
    op("Where words", "Where", {"c": t, "a": np.array(["p"]), "b": np.array(["q", "r", "s", "t"])})
    op("IsNaN", "IsNaN", {"a": odd})
    op("IsInf", "IsInf", {"a": odd})
    op("IsInf up", ("IsInf", {"detect_negative": 0}), {"a": odd})
    for k in ["Softmax", "LogSoftmax", "Hardmax"]:
        op(k, k, {"a": c3})
        op(k + " axis", (k, {"axis": 1}), {"a": c3})
        op(k + " old", k, {"a": c3}, opset=11)
    op("Softmax large", "Softmax", {"a": f32(1000, 1001, -1000)})
    op("MatMul", "MatMul", {"a": a, "b": a.T.copy()})
    op("MatMul batch", "MatMul", {"a": c3, "b": rng.normal(size=(1, 4, 2)).astype(np.float32)})
    op("MatMul vector", "MatMul", {"a": a, "b": b})
    op("MatMul two vectors", "MatMul", {"a": b, "b": b})
    op("MatMul int64", "MatMul", {"a": i, "b": j.T.copy()})
    op("MatMul double", "MatMul", {"a": a.astype(float), "b": b.astype(float)})
    op("MatMul zero times infinity", "MatMul", {"a": f32(0, 1)[None], "b": np.array([[np.inf, 1], [2, 3]], dtype=np.float32)})
    op("Gemm", ("Gemm", {"alpha": 0.5, "beta": 2.0, "transA": 1}), {"a": a, "b": rng.normal(size=(3, 2)).astype(np.float32), "c": f32(1, 2)})
    op("Gemm turned", ("Gemm", {"transB": 1}), {"a": a, "b": rng.normal(size=(2, 4)).astype(np.float32), "c": f32(1)})
    op("Gemm turned constant", ("Gemm", {"transB": 1}), {"a": a, "b": rng.normal(size=(2, 4)).astype(np.float32)}, constants=["b"])
    op("Gemm column", "Gemm", {"a": a, "b": rng.normal(size=(4, 2)).astype(np.float32), "c": f32(1, 2, 3)[:, None]})
    for k in ["ReduceSum", "ReduceMean", "ReduceProd", "ReduceMax", "ReduceMin", "ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp"]:
        x = np.abs(c3) if k == "ReduceLogSum" else c3
        op(k, k, {"a": x})
        op(k + " axes", k, {"a": x, "b": ints(0, -1)}, constants=["b"])
        op(k + " flat", (k, {"keepdims": 0}), {"a": x, "b": ints(1)})
        op(k + " attribute", (k, {"keepdims": 0, "axes": [2]}), {"a": x}, opset=12)
    op("ReduceSum nothing", ("ReduceSum", {"noop_with_empty_axes": 1}), {"a": c3, "b": np.zeros(0, dtype=np.int64)})
    op("ReduceSum no rows", "ReduceSum", {"a": c3[:0], "b": ints(1)})
    op("ReduceSum int64", "ReduceSum", {"a": i, "b": ints(1)})
    op("ReduceMax int64", "ReduceMax", {"a": i, "b": ints(1)})
    op("ReduceLogSumExp large", "ReduceLogSumExp", {"a": f32(1000, 1001)})
    for k in ["ArgMax", "ArgMin"]:
        op(k, (k, {"axis": 1}), {"a": a})
        op(k + " flat", (k, {"axis": -1, "keepdims": 0}), {"a": np.round(c3)})
        op(k + " last", (k, {"axis": 0, "select_last_index": 1}), {"a": i})
    op("LpNormalization", ("LpNormalization", {"axis": 1}), {"a": c3})
    op("LpNormalization one", ("LpNormalization", {"p": 1}), {"a": c3})
    op("TopK", ("TopK", {"axis": 1}), {"a": np.round(a), "k": ints(3)}, outputs=2)
    op("TopK smallest", ("TopK", {"axis": 0, "largest": 0}), {"a": i, "k": ints(2)}, outputs=2)
    op("CumSum", "CumSum", {"a": c3, "b": np.int64(1)})
    op("CumSum exclusive reverse", ("CumSum", {"exclusive": 1, "reverse": 1}), {"a": i, "b": np.int64(1)})
    op("Reshape", "Reshape", {"a": c3, "b": ints(0, -1)})
    op("Reshape no rows", "Reshape", {"a": c3[:0], "b": ints(0, 12)})
    op("Flatten", ("Flatten", {"axis": 2}), {"a": c3})
    op("Flatten negative", ("Flatten", {"axis": -1}), {"a": c3})
    op("Squeeze", "Squeeze", {"a": c3[:, :1], "b": ints(1)})
    op("Squeeze old", ("Squeeze", {"axes": [0]}), {"a": c3[:1]}, opset=11)
    op("Unsqueeze", "Unsqueeze", {"a": a, "b": ints(0, -1)})
    op("Unsqueeze old", ("Unsqueeze", {"axes": [1]}), {"a": a}, opset=11)
    op("Transpose", "Transpose", {"a": c3})
    op("Transpose perm", ("Transpose", {"perm": [1, 2, 0]}), {"a": c3})
    op("Transpose words", "Transpose", {"a": np.array([["a", "b"], ["c", "d"], ["e", "f"]])})
    op("Concat", ("Concat", {"axis": 1}), {"a": a, "b": a[:, :2], "c": a[:, :0]})
    op("Concat words", ("Concat", {"axis": 0}), {"a": np.array(["a"]), "b": np.array(["b", "c"])})
    op("Split", ("Split", {"axis": 1, "num_outputs": 2}), {"a": c3}, outputs=2)
    op("Split sizes", ("Split", {"axis": 1}), {"a": a, "s": ints(1, 3)}, outputs=2)
    op("Split old", ("Split", {"axis": 0, "split": [1, 2]}), {"a": a}, outputs=2, opset=11)
    op("Slice", "Slice", {"a": c3, "s": ints(0, 1), "e": ints(2, 100), "x": ints(0, 2)})
    op("Slice steps", "Slice", {"a": c3, "s": ints(-1, 3), "e": ints(-100, 0), "x": ints(1, 2), "t": ints(-1, -2)})
    op("Slice empty", "Slice", {"a": a, "s": ints(2), "e": ints(1)})
    op("Slice large step", "Slice", {"a": a, "s": ints(0), "e": ints(3), "x": ints(1), "t": ints(2**31 - 1)})
    op("Slice old", ("Slice", {"starts": [1], "ends": [3], "axes": [1]}), {"a": a}, opset=9)
    op("Gather", ("Gather", {"axis": 1}), {"a": c3, "b": np.array([[0, -1], [2, 1]])})
    op("Gather one", ("Gather", {"axis": 0}), {"a": c3, "b": np.int64(1)})
    op("Gather words", "Gather", {"a": np.array(["a", "b"]), "b": np.array([1, 0, 1], dtype=np.int32)})
    op("GatherElements", ("GatherElements", {"axis": 1}), {"a": a, "b": np.array([[0, -1], [2, 1]])})
    op("GatherND", "GatherND", {"a": c3, "b": np.array([[0, 1], [1, -1]])})
    op("ScatterElements", ("ScatterElements", {"axis": 1}), {"a": a, "b": np.array([[0, -1], [2, 1]]), "c": rng.normal(size=(2, 2)).astype(np.float32)})
    op("ScatterND", "ScatterND", {"a": a, "b": np.array([[0], [2]]), "c": rng.normal(size=(2, 4)).astype(np.float32)})
    op("Expand", "Expand", {"a": a[:, None], "s": ints(2, 1, 1, 4)})
    op("Tile", "Tile", {"a": a, "r": ints(2, 3)})
    op("Pad", "Pad", {"a": a, "p": ints(1, 0, 0, 2), "v": np.float32(7)})
    op("Pad negative", "Pad", {"a": a, "p": ints(-1, 0, 0, 2)})
    op("Pad edge", ("Pad", {"mode": "edge"}), {"a": c3, "p": ints(0, 1, 2, 1, 0, 1)})
    op("Pad reflect", ("Pad", {"mode": "reflect"}), {"a": a, "p": ints(0, 2, 0, 3)})
    op("Pad axes", "Pad", {"a": a, "p": ints(1, 2), "v": np.float32(0), "x": ints(1)})
    op("Pad old", ("Pad", {"pads": [0, 1, 1, 0], "value": 3.0}), {"a": a}, opset=10)
    op("Shape", "Shape", {"a": c3})
    op("Shape part", ("Shape", {"start": 1, "end": -1}), {"a": c3})
    op("Size", "Size", {"a": c3})
    op("ConstantOfShape", ("ConstantOfShape", {"value": nh.from_array(np.array([3], dtype=np.int64))}), {"s": ints(2, 3)})
    op("ConstantOfShape plain", "ConstantOfShape", {"s": ints(2, 1)})
    op("Constant", ("Constant", {"value_floats": [1.0, 2.5]}), {})
    op("OneHot", "OneHot", {"a": i, "d": np.int64(5), "v": f32(-1, 1)})
    op("OneHot axis", ("OneHot", {"axis": 1}), {"a": i, "d": np.int64(4), "v": ints(0, 1)})
    op("Compress", ("Compress", {"axis": 1}), {"a": a, "c": t})
    op("Compress flat", "Compress", {"a": a, "c": t})
    op("NonZero", "NonZero", {"a": np.round(c3)})
    op("Range", "Range", {"a": np.int64(2), "b": np.int64(9), "c": np.int64(3)})
    op("Range down", "Range", {"a": np.float32(1), "b": np.float32(-1), "c": np.float32(-0.5)})
    for k, to in [("int64", T.INT64), ("int32", T.INT32), ("uint8", T.UINT8), ("bool", T.BOOL), ("double", T.DOUBLE), ("words", T.STRING)]:
        op("Cast float to " + k, ("Cast", {"to": to}), {"a": f32(0, 1.9, 250.2, 0.1, 12345678, 1e-5)})
    op("Cast odd to words", ("Cast", {"to": T.STRING}), {"a": odd})
    op("Cast double to words", ("Cast", {"to": T.STRING}), {"a": np.array([0.1, 1e20, 1e-7, 3, 123456.789])})
    op("Cast int to words", ("Cast", {"to": T.STRING}), {"a": i})
    op("Cast bool to float", ("Cast", {"to": T.FLOAT}), {"a": t})
    op("Cast words to float", ("Cast", {"to": T.FLOAT}), {"a": np.array(["1.5", "-2e3", "0.1"])})
    op("Cast words to int", ("Cast", {"to": T.INT64}), {"a": np.array(["15", "-2"])})
    op("Cast int64 to int8", ("Cast", {"to": T.INT8}), {"a": ints(1, 200, -200)})
    x4 = rng.normal(size=(1, 2, 5, 5)).astype(np.float32)
    w4 = rng.normal(size=(4, 1, 3, 3)).astype(np.float32)
    op("Conv groups", ("Conv", {"group": 2, "dilations": [2, 1], "pads": [2, 1, 2, 1]}), {"x": x4, "w": w4}, constants=["w"])
    op("Conv same lower", ("Conv", {"group": 2, "auto_pad": "SAME_LOWER", "strides": [2, 2]}), {"x": x4, "w": w4}, constants=["w"])
    for k in ["MaxPool", "AveragePool"]:
        op(k, (k, {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}), {"x": x4})
        op(k + " ceiling", (k, {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}), {"x": x4})
        op(k + " same", (k, {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}), {"x": x4})
        op(k + " line", (k, {"kernel_shape": [3]}), {"x": x4[0]})
    op("GlobalMaxPool", "GlobalMaxPool", {"x": x4})
    op("BatchNormalization", ("BatchNormalization", {"epsilon": 0.01}), {"x": x4, "s": f32(1, 2), "b": f32(0, 1), "m": f32(0.1, 0.2), "v": f32(1, 0.5)})
    op("LayerNormalization", ("LayerNormalization", {"axis": 1}), {"x": c3, "s": rng.normal(size=(3, 4)).astype(np.float32)})

    def ml(name, kind, feed, v=3, outputs=1, **attributes):
        op("ml " + name, (kind, {"domain": "ai.onnx.ml", **attributes}), feed, ml=v, outputs=outputs)

    ml("ArrayFeatureExtractor", "ArrayFeatureExtractor", {"a": a, "b": ints(2, 0, 2)})
    ml("ArrayFeatureExtractor line", "ArrayFeatureExtractor", {"a": b, "b": ints(3)})
    ml("Binarizer", "Binarizer", {"a": a}, threshold=0.3)
    ml("Scaler", "Scaler", {"a": i}, offset=[1.0, 2.0, 3.0], scale=[0.5, 1.0, 2.0])
    ml("Scaler one", "Scaler", {"a": a}, offset=[1.0], scale=[0.5])
    ml("Scaler double", "Scaler", {"a": a.astype(float)}, offset=[1.0] * 4, scale=[0.1, 0.2, 0.3, 0.4])
    for k in ["MAX", "L1", "L2"]:
        ml("Normalizer " + k, "Normalizer", {"a": np.vstack([a, 0 * a[:1]])}, norm=k)
        ml("Normalizer positive " + k, "Normalizer", {"a": np.abs(a)}, norm=k)
    ml("Imputer", "Imputer", {"a": f32(1, np.nan, 3)[None]}, imputed_value_floats=[7.0, 8.0, 9.0], replaced_value_float=float("nan"))
    ml("Imputer value", "Imputer", {"a": f32(1, -1, 3)[None]}, imputed_value_floats=[7.0], replaced_value_float=-1.0)
    ml("Imputer int64", "Imputer", {"a": ints(1, -1, 3)[None]}, imputed_value_int64s=[7], replaced_value_int64=-1)
    ml("LabelEncoder old", "LabelEncoder", {"a": np.array(["b", "x", "a"])}, v=1, classes_strings=["a", "b"], default_int64=-5)
    ml("LabelEncoder old back", "LabelEncoder", {"a": ints(1, 0, 9)}, v=1, classes_strings=["a", "b"], default_string="none")
    ml("LabelEncoder words to floats", "LabelEncoder", {"a": np.array(["b", "x"])}, v=2, keys_strings=["a", "b"], values_floats=[1.5, 2.5], default_float=-1.0)
    ml("LabelEncoder floats to ints", "LabelEncoder", {"a": f32(1, np.nan, 3)}, v=2, keys_floats=[1.0, float("nan")], values_int64s=[10, 11])
    ml("LabelEncoder ints to words", "LabelEncoder", {"a": ints(1, 7)}, v=2, keys_int64s=[1], values_strings=["one"])
    ml("LabelEncoder tensors", "LabelEncoder", {"a": np.array([0.5, 2.5])}, v=4, keys_tensor=nh.from_array(np.array([0.5])), values_tensor=nh.from_array(np.array([5.0])), default_tensor=nh.from_array(np.array([-1.0])))
    ml("LabelEncoder tensors of floats", "LabelEncoder", {"a": f32(0.5, np.nan, 2)}, v=4, keys_tensor=nh.from_array(f32(0.5, np.nan)), values_tensor=nh.from_array(np.array([5, 6])), default_tensor=nh.from_array(np.array([-1])))
    ml("OneHotEncoder", "OneHotEncoder", {"a": ints(2, 1, 9)}, cats_int64s=[1, 2, 3])
    ml("OneHotEncoder floats", "OneHotEncoder", {"a": f32(2, 1.9, 9)}, cats_int64s=[1, 2, 3])
    ml("OneHotEncoder words", "OneHotEncoder", {"a": np.array([["b"], ["z"]])}, cats_strings=["a", "b"])
    ml("FeatureVectorizer", "FeatureVectorizer", {"a": a, "b": a[:, :2]}, inputdimensions=[4, 2])
    for k in ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO", "PROBIT"]:
        x = a if k != "PROBIT" else np.clip(np.abs(a), 0, 1) / 4
        ml("LinearRegressor " + k, "LinearRegressor", {"a": x}, coefficients=[0.1, 0.2, 0.3, 0.2, 0.3, 0.1, 0.0, 0.1], intercepts=[0.1, 0.2], targets=2, post_transform=k)
        ml("LinearRegressor one " + k, "LinearRegressor", {"a": x}, coefficients=[0.1, 0.2, 0.3, 0.2], intercepts=[0.1], post_transform=k)
        ml("LinearClassifier " + k, "LinearClassifier", {"a": x}, outputs=2, coefficients=[0.1, 0.2, 0.3, 0.2, 0.3, 0.1, 0.0, 0.1, 0.5, 0.0, 0.0, 0.1], intercepts=[0.1, 0.2, 0.0], classlabels_ints=[4, 5, 6], post_transform=k)
        if k != "PROBIT":  # onnxruntime mixes up the rows there
            ml("LinearClassifier one " + k, "LinearClassifier", {"a": x}, outputs=2, coefficients=[0.3, -0.2, 0.3, 0.2], intercepts=[0.1], classlabels_strings=["no", "yes"], post_transform=k)
        for name, weights in [("positive", [0.1, 0.2, 0.7, 0.6]), ("mixed", [-0.4, 0.2, 0.7, -0.6])]:
            for base in [None, [0.1], [0.1, 0.2]]:
                for both in [False, True]:
                    extra = {"base_values": base} if base else {}
                    ids = [0, 1, 0, 1] if both else [1, 1, 1, 1]
                    if both:
                        wt, wn, wi, ww = [0, 0, 0, 0, 1, 1, 1, 1], [1, 1, 2, 2, 1, 1, 2, 2], [0, 1] * 4, weights + weights[::-1]
                    else:
                        wt, wn, wi, ww = [0, 0, 1, 1], [1, 2, 1, 2], ids, weights
                    if k == "PROBIT" and name == "mixed":
                        continue
                    ml(f"trees of two classes {k} {name} base {base} both {both}", "TreeEnsembleClassifier", {"a": a}, outputs=2, nodes_treeids=[0, 0, 0, 1, 1, 1], nodes_nodeids=[0, 1, 2] * 2,
                       nodes_featureids=[0, 0, 0, 1, 0, 0], nodes_values=[0.1, 0, 0, -0.2, 0, 0], nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"] * 2, nodes_truenodeids=[1, 0, 0] * 2,
                       nodes_falsenodeids=[2, 0, 0] * 2, class_treeids=wt, class_nodeids=wn, class_ids=wi, class_weights=ww, classlabels_int64s=[0, 1], post_transform=k, **extra)
        ml("trees of three classes " + k, "TreeEnsembleClassifier", {"a": a}, outputs=2, nodes_treeids=[0] * 5, nodes_nodeids=[0, 1, 2, 3, 4], nodes_featureids=[0, 0, 1, 0, 0], nodes_values=[0.1, 0, -0.2, 0, 0],
           nodes_modes=["BRANCH_LEQ", "LEAF", "BRANCH_GT", "LEAF", "LEAF"], nodes_truenodeids=[1, 0, 3, 0, 0], nodes_falsenodeids=[2, 0, 4, 0, 0], class_treeids=[0] * 4, class_nodeids=[1, 3, 3, 4],
           class_ids=[0, 1, 0, 2], class_weights=[0.4, 0.3, 0.1, 0.9], classlabels_strings=["a", "b", "c"], base_values=[0.1, 0.2, 0.05], post_transform=k)
    edge = f32(0.5, np.nextafter(np.float32(0.5), np.float32(1)), np.nextafter(np.float32(0.5), np.float32(0)), np.nan, np.inf, -np.inf, 0.25, 3)[:, None]
    for mode in ["LEQ", "LT", "GTE", "GT", "EQ", "NEQ"]:
        for track in [0, 1]:
            for kind in [np.float32, np.float64]:
                ml(f"trees {mode} missing {track} {kind.__name__}", "TreeEnsembleRegressor", {"a": edge.astype(kind)}, nodes_treeids=[0, 0, 0], nodes_nodeids=[0, 1, 2], nodes_featureids=[0, 0, 0], nodes_values=[0.5, 0, 0],
                   nodes_modes=["BRANCH_" + mode, "LEAF", "LEAF"], nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0], nodes_missing_value_tracks_true=[track, 0, 0], target_treeids=[0, 0], target_nodeids=[1, 2],
                   target_ids=[0, 0], target_weights=[1.0, 2.0], n_targets=1)
    for agg in ["SUM", "AVERAGE", "MIN", "MAX"]:
        for targets in [1, 2]:
            ml(f"trees {agg} of {targets}", "TreeEnsembleRegressor", {"a": a}, aggregate_function=agg, base_values=[0.5] * targets, nodes_treeids=[0, 0, 0, 1, 1, 1], nodes_nodeids=[0, 1, 2] * 2,
               nodes_featureids=[0, 0, 0, 1, 0, 0], nodes_values=[0.1, 0, 0, -0.2, 0, 0], nodes_modes=["BRANCH_LT", "LEAF", "LEAF"] * 2, nodes_truenodeids=[1, 0, 0] * 2, nodes_falsenodeids=[2, 0, 0] * 2,
               target_treeids=[0, 0, 1, 1] * targets, target_nodeids=[1, 2, 1, 2] * targets, target_ids=[0] * 4 + [1] * 4 * (targets - 1), target_weights=[1.0, -2.0, 3.0, 0.5] + [2.0, 1.0, -1.0, 4.0] * (targets - 1), n_targets=targets)
    for kind in [np.float32, np.float64]:
        leaves = nh.from_array(np.array([5.23, 12.12, -12.23, 7.21], dtype=kind))
        ml("trees of version 5 " + kind.__name__, "TreeEnsemble", {"a": np.array([[1.2, 3.4, -0.12], [1.66, 4.14, 1.77], [0, 9, 0], [7, 1, np.nan]], dtype=kind)}, v=5, n_targets=2, aggregate_function=1, post_transform=0,
           tree_roots=[0], nodes_modes=nh.from_array(np.array([0, 0, 6], dtype=np.uint8)), nodes_featureids=[0, 2, 0], nodes_splits=nh.from_array(np.array([3.14, 1.2, 4.2], dtype=kind)), nodes_truenodeids=[1, 0, 1],
           nodes_trueleafs=[0, 1, 1], nodes_falsenodeids=[2, 2, 3], nodes_falseleafs=[0, 1, 1], leaf_targetids=[0, 1, 0, 1], leaf_weights=leaves,
           membership_values=nh.from_array(np.array([1.2, 7, 8, np.nan, 5, np.nan], dtype=kind)))
    sv = [float(v) for v in rng.normal(size=12)]
    for k in ["LINEAR", "POLY", "RBF", "SIGMOID"]:
        ml("SVMRegressor " + k, "SVMRegressor", {"a": a}, kernel_type=k, kernel_params=[0.3, 0.2, 3.0], support_vectors=sv, n_supports=3, coefficients=[0.5, -0.3, 0.2], rho=[0.1])
    ml("SVMRegressor one class", "SVMRegressor", {"a": a}, kernel_type="RBF", kernel_params=[0.3, 0.2, 3.0], support_vectors=sv, n_supports=3, coefficients=[0.5, -0.3, 0.2], rho=[-0.1], one_class=1)
    ml("SVMRegressor plain", "SVMRegressor", {"a": a}, kernel_params=[0.0, 0.0, 3.0], coefficients=[0.5, -0.3, 0.2, 0.1], rho=[0.1], n_supports=0)
    for k in ["NONE", "LOGISTIC", "SOFTMAX"]:
        ml("SVMClassifier two " + k, "SVMClassifier", {"a": a}, outputs=2, kernel_type="RBF", kernel_params=[0.3, 0.2, 3.0], support_vectors=sv, vectors_per_class=[2, 1], coefficients=[0.5, 0.3, -0.7], rho=[0.1], classlabels_ints=[0, 1], post_transform=k)
        ml("SVMClassifier three " + k, "SVMClassifier", {"a": a}, outputs=2, kernel_type="LINEAR", kernel_params=[0.0, 0.0, 3.0], support_vectors=sv, vectors_per_class=[1, 1, 1], coefficients=[0.5, -0.3, -0.7, 0.2, 0.4, -0.6], rho=[0.1, 0.2, -0.1], classlabels_strings=["a", "b", "c"], post_transform=k)
        ml("SVMClassifier plain " + k, "SVMClassifier", {"a": a}, outputs=2, kernel_params=[0.0, 0.0, 3.0], coefficients=[0.5, -0.3, -0.7, 0.2] * 2 + [0.1, 0.2, 0.3, 0.4], rho=[0.1, 0.2, -0.1], classlabels_ints=[7, 8, 9], post_transform=k)


def nodes(folder):
    """The node cases of the onnx package, with what onnxruntime answers instead of what numpy does."""
    from onnx.backend.test.case.node import collect_testcases
    done = []
    for c in collect_testcases(None):
        if c.model is None or len(c.model.graph.node) != 1 or not c.model.graph.input or not c.data_sets:
            continue
        feed = {i.name: np.asarray(v) for i, v in zip(c.model.graph.input, c.data_sets[0][0]) if isinstance(v, (np.ndarray, np.generic))}
        if len(feed) != len(c.model.graph.input) or sum(v.size for v in feed.values()) > 5000:
            continue
        first = c.model.graph.input[0].name
        for k in [k for k in feed if k != first and feed[k].dtype.kind == "i"]:  # shapes, axes, positions
            c.model.graph.initializer.append(nh.from_array(feed.pop(k), k))
            c.model.graph.input.remove(next(i for i in c.model.graph.input if i.name == k))
        try:
            done.append({"name": c.name, "op": c.model.graph.node[0].op_type, "model": base64.b64encode(c.model.SerializeToString()).decode(), "calls": [call(c.model, feed)]})
        except Exception:
            pass
    write(os.path.join(folder, "nodes.json"), done)
    print(len(done), "node cases")


def exact():
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn import decomposition, ensemble, preprocessing, svm

    rng = np.random.default_rng(5)
    cases = []

    def skl(name, model, X, target=None, feeds=(), **options):
        X = X.astype(np.float32)
        model.fit(X, target) if target is not None else model.fit(X)
        o = convert_sklearn(model, name="m", initial_types=[("X", FloatTensorType([None, X.shape[1]]))], target_opset={"": 15, "ai.onnx.ml": 3}, options={id(model): options} if options else None)
        o.doc_string = ""
        calls = [call(o, {"X": f.astype(np.float32)}) for f in ((X[:11], X[3:4]) + tuple(feeds))]
        cases.append({"name": name, "model": base64.b64encode(o.SerializeToString()).decode(), "calls": calls})

    X = rng.normal(size=(40, 5))
    z = X[:, 0] + X[:, 1] ** 2
    y, y3 = (z > np.median(z)).astype(int), np.digitize(z, np.quantile(z, [0.3, 0.7]))
    skl("svr_linear", svm.SVR(kernel="linear", C=100), X * 30 + 40, z)
    skl("svr_sigmoid", svm.SVR(kernel="sigmoid", C=100), X, z)
    skl("svc_probability_of_two", svm.SVC(probability=True, random_state=1), X, y, zipmap=False)
    skl("decision_leaf", ensemble.RandomForestClassifier(2, max_depth=3, random_state=1), X, y3, zipmap=False, decision_leaf=True)
    skl("decision_path", ensemble.RandomForestClassifier(2, max_depth=2, random_state=1), X, y3, zipmap=False, decision_path=True)
    wild = np.array([[3.4e38, 3.4e38, 1, 0, -3e38], [np.inf, 1, 2, 3, 4], [np.nan, 1, 2, 3, 4], [1, np.nan, -2, 3, 4], [1e30, -1e30, 0, 0, 1], [0, 0, 0, 0, 0], [1e-30, -1e-30, 0, 0, 0]])
    for norm in ("l1", "l2", "max"):
        skl("normalizer_" + norm, preprocessing.Normalizer(norm), X, feeds=[wild])
    skl("kernel_pca_sigmoid", decomposition.KernelPCA(2, kernel="sigmoid", gamma=0.01), X * 50, feeds=[wild[:1], wild[4:5]])
    nodes = dict(nodes_treeids=[0] * 3, nodes_nodeids=[0, 1, 2], nodes_featureids=[0] * 3, nodes_values=[0.0] * 3, nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
                 nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0], target_treeids=[0, 0, 0], target_nodeids=[1, 2, 2], target_ids=[0, 0, 1], target_weights=[10.0, 20.0, 30.0])
    for aggregate in ("SUM", "AVERAGE", "MIN", "MAX"):  # the first leaf says nothing of the second target, no leaf of the third
        n = h.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=3, base_values=[1.0, 2.0, 3.0], aggregate_function=aggregate, **nodes)
        g = h.make_graph([n], "g", [h.make_tensor_value_info("x", T.FLOAT, [None, 1])], [h.make_tensor_value_info("y", T.FLOAT, [None, 3])])
        m = h.make_model(g, opset_imports=[h.make_opsetid("", 18), h.make_opsetid("ai.onnx.ml", 3)], ir_version=8)
        cases.append({"name": "unweighed_target_" + aggregate.lower(), "model": base64.b64encode(m.SerializeToString()).decode(), "calls": [call(m, {"x": f32(-1, 1, np.nan).reshape(3, 1)})]})

    def net(name, nodes, init, feed, out):
        g = h.make_graph(nodes, "g", [h.make_tensor_value_info(k, T.FLOAT, [None] * v.ndim) for k, v in feed.items()], [h.make_tensor_value_info("y", T.FLOAT, [None] * out)], [nh.from_array(v, k) for k, v in init.items()])
        m = h.make_model(g, opset_imports=[h.make_opsetid("", 18)], ir_version=8)
        cases.append({"name": name, "model": base64.b64encode(m.SerializeToString()).decode(), "calls": [call(m, feed)]})

    net("reduced_to_a_scalar", [h.make_node("ReduceSum", ["x"], ["a"], keepdims=0), h.make_node("ReduceMean", ["a"], ["b"], keepdims=0), h.make_node("ReduceSum", ["b"], ["c"]), h.make_node("Add", ["x", "c"], ["y"])],
        {}, {"x": f32(1, -2.5, 4).reshape(1, 3)}, 2)
    half = rng.normal(size=(5, 70)) * 30
    x = np.concatenate([half, half + rng.normal(size=half.shape) * 0.01], axis=1).astype(np.float32)  # sums that cancel
    w = rng.normal(size=(70, 4))
    w = np.concatenate([w, -w]).astype(np.float32)
    for of, shape in (("rows", (5, 1, 140)), ("blocks", (1, 5, 1, 140))):
        for by, y in (("columns", w), ("a_column", w[:, :1]), ("one", w[None])):
            net("%s_times_%s" % (of, by), [h.make_node("MatMul", ["x", "w"], ["y"])], {}, {"x": x.reshape(shape), "w": y}, len(shape))
            net("%s_times_fixed_%s" % (of, by), [h.make_node("MatMul", ["x", "w"], ["y"])], {"w": y}, {"x": x.reshape(shape)}, len(shape))
    write(os.path.join(here, "exact.json"), cases)
    print(len(cases), "exact cases")


def write(path, cases):
    with open(path, "w", encoding="utf-8") as f:
        f.write('{"onnxruntime":"%s","cases":[\n' % ort.__version__)
        f.write(",\n".join(json.dumps(c, separators=(",", ":"), ensure_ascii=False) for c in cases))
        f.write("\n]}\n")


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--nodes":
        nodes(sys.argv[2])
        sys.exit()
    if sys.argv[1:] == ["--exact"]:
        exact()
        sys.exit()
    os.makedirs(os.path.join(here, "models"), exist_ok=True)
    classical()
    networks()
    single()
    write(os.path.join(here, "models.json"), models)
    write(os.path.join(here, "operators.json"), operators)
    print(len(models), "models,", len(operators), "operators")
