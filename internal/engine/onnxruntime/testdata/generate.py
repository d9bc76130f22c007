"""Makes ONNX models that the Go engine refuses and records what Python's onnxruntime answers.

Needs onnx 1.23 and onnxruntime 1.31:

    $KEELSON_MLFLOW_PYTHON generate.py     writes models.json beside this file
"""

import base64
import json
import os

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

here = os.path.dirname(os.path.abspath(__file__))
# Half precision has no JSON form; it is recorded as FP32.
NAMES = {"float32": "FP32", "float64": "FP64", "float16": "FP32", "int64": "INT64", "int32": "INT32", "int16": "INT16", "int8": "INT8",
         "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64", "bool": "BOOL", "object": "BYTES"}
rng = np.random.default_rng(7)
cases = []


def number(v):
    if isinstance(v, (bool, np.bool_)):
        return bool(v)
    if isinstance(v, (int, np.integer)):
        return int(v)
    if isinstance(v, (float, np.floating)):
        return float(v)
    return str(v)


def tensor(name, v):
    v = np.asarray(v)
    if v.dtype.kind in "US":
        v = v.astype(object)
    return {"name": name, "datatype": NAMES[str(v.dtype)], "shape": list(v.shape), "data": [number(x) for x in v.reshape(-1)]}


def keep(name, nodes, inputs, outputs, feeds=(), initializers=(), opset=17, domains=(), functions=(), refused=None):
    graph = h.make_graph(nodes, "g", inputs, outputs, list(initializers))
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", opset)] + [h.make_opsetid(d, 1) for d in domains], functions=list(functions), ir_version=10)
    data = model.SerializeToString()
    case = {"name": name, "model": base64.b64encode(data).decode(), "calls": []}
    if refused:
        case["refused"] = refused
    else:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        s = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        for feed in feeds:
            out = s.run(None, feed)
            case["calls"].append({"inputs": [tensor(k, v) for k, v in feed.items()], "outputs": [tensor(o.name, v) for o, v in zip(s.get_outputs(), out)]})
    cases.append(case)


def f32(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def init(name, v):
    return nh.from_array(v, name)


def io(name, t, *shape):
    return h.make_tensor_value_info(name, t, shape)


# Recurrent networks: x [rows, steps, features] → last state → one score.
for op, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
    hidden, features = 6, 3
    nodes = [
        h.make_node("Transpose", ["x"], ["xt"], perm=[1, 0, 2]),
        h.make_node(op, ["xt", "W", "R", "B"], ["", "last"], hidden_size=hidden),
        h.make_node("Squeeze", ["last", "first"], ["state"]),
        h.make_node("Gemm", ["state", "V", "c"], ["score"]),
    ]
    keep(op.lower(), nodes, [io("x", T.FLOAT, "n", "steps", features)], [io("score", T.FLOAT, "n", 1)], [{"x": f32(2, 5, features)}, {"x": f32(7, 9, features)}],
         [init("W", f32(1, gates * hidden, features)), init("R", f32(1, gates * hidden, hidden)), init("B", f32(1, 2 * gates * hidden)),
          init("first", np.array([0], np.int64)), init("V", f32(hidden, 1)), init("c", f32(1))])

# A convolution over volumes, which the Go engine lacks.
keep("conv3d", [h.make_node("Conv", ["x", "w", "b"], ["y"], kernel_shape=[2, 2, 2]), h.make_node("Relu", ["y"], ["z"]), h.make_node("GlobalAveragePool", ["z"], ["out"])],
     [io("x", T.FLOAT, "n", 1, 4, 4, 4)], [io("out", T.FLOAT, "n", 3, 1, 1, 1)], [{"x": f32(2, 1, 4, 4, 4)}], [init("w", f32(3, 1, 2, 2, 2)), init("b", f32(3))])

# Half precision in, within and out.
half = lambda *s: rng.standard_normal(s).astype(np.float16)
keep("float16 network", [h.make_node("Gemm", ["x", "w", "b"], ["y"]), h.make_node("Tanh", ["y"], ["z"])], [io("x", T.FLOAT16, "n", 4)], [io("z", T.FLOAT16, "n", 2)],
     [{"x": half(3, 4)}], [init("w", half(4, 2)), init("b", half(2))])

# Control flow: the sum of x decides the branch; a loop doubles it three times.
then = h.make_graph([h.make_node("Mul", ["x", "two"], ["t"])], "then", [], [io("t", T.FLOAT, "n", 2)], [init("two", np.array(2, np.float32))])
other = h.make_graph([h.make_node("Neg", ["x"], ["e"])], "else", [], [io("e", T.FLOAT, "n", 2)])
keep("if", [h.make_node("ReduceSum", ["x"], ["sum"], keepdims=0), h.make_node("Greater", ["sum", "zero"], ["cond"]), h.make_node("If", ["cond"], ["y"], then_branch=then, else_branch=other)],
     [io("x", T.FLOAT, "n", 2)], [io("y", T.FLOAT, "n", 2)], [{"x": np.abs(f32(2, 2))}, {"x": -np.abs(f32(3, 2))}], [init("zero", np.array(0, np.float32))])
body = h.make_graph([h.make_node("Add", ["s", "s"], ["s2"]), h.make_node("Identity", ["go"], ["go2"])], "body",
                    [io("i", T.INT64), io("go", T.BOOL), io("s", T.FLOAT, "n", 2)], [io("go2", T.BOOL), io("s2", T.FLOAT, "n", 2)])
keep("loop", [h.make_node("Loop", ["three", "", "x"], ["y"], body=body)], [io("x", T.FLOAT, "n", 2)], [io("y", T.FLOAT, "n", 2)], [{"x": f32(4, 2)}], [init("three", np.array(3, np.int64))])

# Texts in and out, of several bytes a letter, and none.
keep("texts", [h.make_node("StringConcat", ["x", "tail"], ["y"])], [io("x", T.STRING, "n")], [io("y", T.STRING, "n")],
     [{"x": np.array(["grün", "blau", ""], object)}, {"x": np.array(["ein Wort und noch eins"], object)}], [init("tail", np.array([" …!"], object))], opset=20)
keep("text vector", [h.make_node("TfIdfVectorizer", ["x"], ["y"], mode="TF", min_gram_length=1, max_gram_length=1, max_skip_count=0, ngram_counts=[0], ngram_indexes=[0, 1, 2], pool_strings=["a", "b", "c"])],
     [io("x", T.STRING, "n", "words")], [io("y", T.FLOAT, "n", 3)], [{"x": np.array([["a", "b"], ["c", "c"]], object)}])

# Every type through an operator that keeps it, in one model.
types = [("f", T.FLOAT, np.float32), ("d", T.DOUBLE, np.float64), ("h", T.FLOAT16, np.float16), ("i8", T.INT8, np.int8), ("i16", T.INT16, np.int16), ("i32", T.INT32, np.int32),
         ("i64", T.INT64, np.int64), ("u8", T.UINT8, np.uint8), ("u16", T.UINT16, np.uint16), ("u32", T.UINT32, np.uint32), ("u64", T.UINT64, np.uint64), ("b", T.BOOL, np.bool_), ("s", T.STRING, object)]
feed = {}
for name, _, dtype in types:
    if dtype is object:
        feed[name] = np.array([["x", "y"], ["", "zü"]], object)
    elif dtype is np.bool_:
        feed[name] = np.array([[True, False], [False, True]])
    elif np.issubdtype(dtype, np.floating):
        feed[name] = np.array([[1.5, -2.25], [0, 3]], dtype)
    else:
        i = np.iinfo(dtype)
        feed[name] = np.array([[i.min, i.max], [0, 7]], dtype)
keep("every type", [h.make_node("Identity", [n], [n + "_out"]) for n, _, _ in types], [io(n, t, "n", 2) for n, t, _ in types], [io(n + "_out", t, "n", 2) for n, t, _ in types], [feed])

# Functions of the model's own, and an operator of Microsoft's.
square = h.make_function("my.functions", "Square", ["a"], ["r"], [h.make_node("Mul", ["a", "a"], ["r"])], [h.make_opsetid("", 17)])
keep("function", [h.make_node("Square", ["x"], ["y"], domain="my.functions")], [io("x", T.FLOAT, "n", 2)], [io("y", T.FLOAT, "n", 2)], [{"x": f32(3, 2)}], domains=["my.functions"], functions=[square])
keep("microsoft's own", [h.make_node("FusedMatMul", ["x", "w"], ["y"], domain="com.microsoft", alpha=0.5)], [io("x", T.FLOAT, "n", 3)], [io("y", T.FLOAT, "n", 2)], [{"x": f32(3, 3)}],
     [init("w", f32(3, 2))], domains=["com.microsoft"])

# A larger network.
sizes = [64, 128, 128, 10]
nodes, weights, last = [], [], "x"
for i in range(3):
    weights += [init(f"w{i}", f32(sizes[i], sizes[i + 1]) / 8), init(f"b{i}", f32(sizes[i + 1]))]
    nodes.append(h.make_node("Gemm", [last, f"w{i}", f"b{i}"], [f"g{i}"]))
    nodes.append(h.make_node("QuickGelu" if i < 2 else "Softmax", [f"g{i}"], [f"a{i}"], domain="com.microsoft" if i < 2 else ""))
    last = f"a{i}"
keep("large network", nodes, [io("x", T.FLOAT, "n", 64)], [io(last, T.FLOAT, "n", 10)], [{"x": f32(2, 64)}], weights, domains=["com.microsoft"])

# What is refused by name.
keep("custom operator", [h.make_node("Strange", ["x"], ["y"], domain="com.example")], [io("x", T.FLOAT, "n", 2)], [io("y", T.FLOAT, "n", 2)], domains=["com.example"], refused="Strange")
outside = init("far_away", f32(2, 2))
outside.data_location = T.EXTERNAL
outside.ClearField("raw_data")
entry = outside.external_data.add()
entry.key, entry.value = "location", "/etc/passwd"
keep("external data", [h.make_node("MatMul", ["x", "far_away"], ["y"])], [io("x", T.FLOAT, "n", 2)], [io("y", T.FLOAT, "n", 2)], initializers=[outside], refused="far_away")
hidden = h.make_graph([h.make_node("MatMul", ["x", "far_away"], ["t"])], "then", [], [io("t", T.FLOAT, "n", 2)], [outside])
keep("external data within a branch", [h.make_node("ReduceSum", ["x"], ["sum"], keepdims=0), h.make_node("Greater", ["sum", "zero"], ["cond"]), h.make_node("If", ["cond"], ["y"], then_branch=hidden, else_branch=other)],
     [io("x", T.FLOAT, "n", 2)], [io("y", T.FLOAT, "n", 2)], initializers=[init("zero", np.array(0, np.float32))], refused="far_away")
keep("sequence output", [h.make_node("SequenceConstruct", ["x", "x"], ["y"])], [io("x", T.FLOAT, "n", 2)], [h.make_tensor_sequence_value_info("y", T.FLOAT, None)], refused="sequence")

# A loop as long as the caller says, for runs that have to be stopped.
once = h.make_graph([h.make_node("Add", ["s", "one"], ["s2"]), h.make_node("Identity", ["go"], ["go2"])], "once", [io("i", T.INT64), io("go", T.BOOL), io("s", T.FLOAT, 1)],
                    [io("go2", T.BOOL), io("s2", T.FLOAT, 1)])
keep("counting", [h.make_node("Squeeze", ["n"], ["many"]), h.make_node("Loop", ["many", "", "zero"], ["y"], body=once)], [io("n", T.INT64, 1)], [io("y", T.FLOAT, 1)],
     [{"n": np.array([5], np.int64)}], [init("zero", np.array([0], np.float32)), init("one", np.array([1], np.float32))])

with open(os.path.join(here, "models.json"), "w") as f:
    f.write('{"onnxruntime":%s,"cases":[\n' % json.dumps(ort.__version__))
    f.write(",\n".join(json.dumps(c, separators=(",", ":")) for c in cases))
    f.write("\n]}\n")
