"""Loads one model and answers calls over the socket with the number 3.

The limits and the isolation of this process were set before it began; nothing here is relied on to keep the model in.
A message is four bytes of length (little endian), then four bytes of length of a JSON header, the header, and the raw
values of its tensors one after the other, each as long as the header says.
"""

import json
import os
import socket
import struct
import sys

sys.path.pop(0)  # this program's own folder

MOST = 256 << 20  # bytes of one message
MOST_HEADER = 4 << 20  # and of its header
TYPES = {"BOOL": "?", "UINT8": "<u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "<i1", "INT16": "<i2",
         "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}
NAMES = {"b1": "BOOL", "u1": "UINT8", "u2": "UINT16", "u4": "UINT32", "u8": "UINT64", "i1": "INT8", "i2": "INT16",
         "i4": "INT32", "i8": "INT64", "f2": "FP16", "f4": "FP32", "f8": "FP64"}


class Refusal(Exception):
    """What the other side can act on: kind is input, model, invalid or unsupported."""

    def __init__(self, kind, text):
        super().__init__(text)
        self.kind = kind


class Channel:
    def __init__(self, sock):
        self.sock = sock

    def take(self, n):
        """n bytes, or None at the end. The buffer grows with what really comes."""
        out = bytearray()
        while len(out) < n:
            part = self.sock.recv(min(n - len(out), 1 << 20))
            if not part:
                return None
            out += part
        return out

    def receive(self):
        head = self.take(4)
        if head is None:
            return None, None
        (n,) = struct.unpack("<I", head)
        if n < 4 or n > MOST:
            raise SystemExit("a message of %d bytes" % n)
        body = self.take(n)
        if body is None:
            return None, None
        (h,) = struct.unpack_from("<I", body)
        if h > n - 4 or h > MOST_HEADER:
            raise SystemExit("a header beyond its message")
        return json.loads(bytes(body[4:4 + h])), memoryview(body)[4 + h:]

    def send(self, header, parts=()):
        head = json.dumps(header).encode()
        size = 4 + len(head) + sum(len(p) for p in parts)
        if size > MOST:
            raise Refusal("model", "The answer has %d bytes; %d are possible." % (size, MOST))
        if len(head) > MOST_HEADER:
            raise Refusal("model", "What describes the answer has %d bytes; %d are possible." % (len(head), MOST_HEADER))
        self.sock.sendall(b"".join([struct.pack("<II", size, len(head)), head, *parts]))

    def refuse(self, kind, text):
        self.send({"error": {"kind": kind, "text": text[:4000]}})


def told(e):
    text = " ".join(str(e).split())
    return ("%s: %s" % (type(e).__name__, text))[:600] if text else type(e).__name__


# Values that come in


def values(spec, raw):
    """The array of a tensor; BYTES as an array of bytes objects."""
    name, kind, shape = spec["name"], spec["type"], spec["shape"]
    if kind == "BYTES":
        out, at = [], 0
        while at < len(raw):
            (n,) = struct.unpack_from("<I", raw, at)
            out.append(bytes(raw[at + 4:at + 4 + n]))
            at += 4 + n
        array = np.empty(len(out), dtype=object)
        array[:] = out
        return array.reshape(shape)
    if kind == "BF16":
        wide = np.frombuffer(raw, "<u2").astype("<u4") << 16
        return wide.view("<f4").reshape(shape)
    return np.array(np.frombuffer(raw, TYPES[kind])).reshape(shape)


def text(array, name):
    out = np.empty(array.size, dtype=object)
    try:
        out[:] = [v.decode("utf-8") for v in array.ravel()]
    except UnicodeDecodeError as e:
        raise Refusal("input", "The input %s holds bytes that are no text in UTF-8: %s" % (name, e))
    return out.reshape(array.shape)


def number(array, dtype, name):
    """The array as dtype. Floating point is rounded as a C cast does; whole numbers have to stay what they are."""
    dtype = np.dtype(dtype)
    if array.dtype == dtype:
        return array
    if array.dtype == object:
        raise Refusal("input", "The input %s is text; the model takes %s." % (name, dtype))
    with np.errstate(all="ignore"):
        out = array.astype(dtype)
        if dtype.kind in "iub" and not np.array_equal(out.astype(array.dtype), array):
            raise Refusal("input", "The input %s holds a number that %s cannot hold." % (name, dtype))
    return out


def instant(array, name):
    import pandas as pd
    try:
        return pd.to_datetime(text(array, name).ravel(), format="ISO8601").to_numpy()
    except Exception as e:
        raise Refusal("input", "The input %s holds a text that is no time: %s" % (name, told(e)))


def document(array, name):
    out = np.empty(array.size, dtype=object)
    try:
        out[:] = [json.loads(v) for v in array.ravel()]
    except ValueError as e:
        raise Refusal("input", "The input %s holds a text that is no JSON: %s" % (name, e))
    return out


class Column:
    """One named column of a data frame, and how it is made of a tensor."""

    def __init__(self, name, datatype, label, make, optional=False):
        self.name, self.label, self.make, self.optional = name, label, make, optional
        self.spec = {"name": name, "datatype": datatype, "shape": [-1]}
        if optional:
            self.spec["optional"] = True


def plain(name, datatype):
    if datatype == "BYTES":
        return lambda a: text(a, name)
    kind = "<f4" if datatype == "BF16" else TYPES[datatype]
    return lambda a: number(a, kind, name)


class Table:
    """Inputs that are the columns of a data frame."""

    def __init__(self, columns, labelled=True):
        self.columns, self.labelled = columns, labelled

    def specs(self):
        return [c.spec for c in self.columns]

    def build(self, given):
        import pandas as pd
        made = [(c.label, c.make(given[c.name]).ravel()) for c in self.columns if c.name in given]
        if self.labelled:
            return pd.DataFrame(dict(made))
        return pd.DataFrame({i: v for i, (_, v) in enumerate(made)})


class Matrix:
    """One input of rows by columns; a data frame where the columns have names, else an array."""

    def __init__(self, name, datatype, width, columns=None):
        self.name, self.datatype, self.columns = name, datatype, columns
        self.spec = {"name": name, "datatype": datatype, "shape": [-1, width]}
        if columns:
            self.spec["columns"] = columns

    def specs(self):
        return [self.spec]

    def build(self, given):
        make = plain(self.name, self.datatype)
        if self.name in given:
            array = make(given[self.name])
        else:
            array = np.stack([make(given[c]).ravel() for c in self.columns], axis=1)
        if not self.columns:
            return array
        import pandas as pd
        return pd.DataFrame(array, columns=self.columns)


class Tensors:
    """Inputs that are arrays: one alone, or several by name."""

    def __init__(self, specs, named):
        self.list, self.named = specs, named

    def specs(self):
        return self.list

    def build(self, given):
        made = {s["name"]: plain(s["name"], s["datatype"])(given[s["name"]]) for s in self.list if s["name"] in given}
        return made if self.named else made[self.list[0]["name"]]


# Values that go out


def bare(v):
    """An array of anything that a model answers with."""
    if hasattr(v, "toarray"):
        v = v.toarray()
    if hasattr(v, "to_numpy"):
        v = v.to_numpy()
    elif type(v).__module__.split(".")[0] == "torch" and hasattr(v, "detach"):
        v = v.detach().cpu().numpy()
    if isinstance(v, (list, tuple)) and any(isinstance(x, (dict, list, str, bytes)) or x is None for x in v) and not regular(v):
        out = np.empty(len(v), dtype=object)
        out[:] = list(v)
        return out
    v = np.asarray(v)
    if v.dtype.kind == "f" and v.dtype.itemsize > 8:
        v = v.astype("<f8")
    if v.dtype.kind in "mM":
        v = np.datetime_as_string(v).astype(object) if v.dtype.kind == "M" else v.astype("<i8")
    if v.dtype == object and v.size and all(isinstance(x, (bool, int, float, np.generic)) and not isinstance(x, (np.str_, np.bytes_)) for x in v.ravel()):
        v = np.array(v.tolist())
    return v


def regular(v):
    try:
        return np.asarray(v).dtype.kind in "buif"
    except Exception:
        return False


def word(x):
    if isinstance(x, bytes):
        return bytes(x)
    if x is None or isinstance(x, float) and x != x:
        return b""
    if isinstance(x, str):
        return x.encode("utf-8", "surrogatepass")
    return json.dumps(x, default=lambda o: o.tolist() if hasattr(o, "tolist") else str(o)).encode()


def datatype(array):
    if array.dtype.kind in "OUST":
        return "BYTES"
    name = NAMES.get(array.dtype.kind + str(array.dtype.itemsize))
    if name is None:
        raise Refusal("model", "The model answers with values of the type %s, which cannot be sent." % array.dtype)
    return name


def pieces(answer):
    """The answer as a list of (name or None, array)."""
    if type(answer).__name__ == "DataFrame" and hasattr(answer, "columns"):
        return [(str(c), bare(answer[c])) for c in answer.columns]
    if isinstance(answer, dict):
        return [(str(k), bare(v)) for k, v in answer.items()]
    if type(answer).__name__ == "Series" and getattr(answer, "name", None) is not None:
        return [(str(answer.name), bare(answer))]
    return [(None, bare(answer))]


def fit(found, specs):
    """Arrays in the order and types of the declared outputs. A type changes only where no value does."""
    if len(specs) == 1 and len(found) > 1 and len(specs[0]["shape"]) == 2:
        found = [(None, np.stack([a for _, a in found], axis=1))]
    if len(found) != len(specs):
        raise Refusal("model", "The model answers with %d outputs, its signature has %d." % (len(found), len(specs)))
    names = {n: a for n, a in found if n is not None}
    if all(s["name"] in names for s in specs):
        found = [(s["name"], names[s["name"]]) for s in specs]
    out = []
    for (_, array), spec in zip(found, specs):
        want = spec["datatype"]
        if array.ndim == 0:
            array = array.reshape(1)
        if array.ndim == 1 and len(spec["shape"]) == 2:
            array = array.reshape(-1, 1)
        elif array.ndim == 2 and array.shape[1] == 1 and len(spec["shape"]) == 1:
            array = array.ravel()
        if datatype(array) != want:
            if want == "BYTES" or want == "BF16" or datatype(array) == "BYTES":
                if want != "BYTES":
                    raise Refusal("model", "The model answers %s with text, its signature says %s." % (spec["name"], want))
                array = array.astype(object)
            else:
                with np.errstate(all="ignore"):
                    other = array.astype(TYPES[want])
                    same = np.array_equal(other.astype(array.dtype), array, equal_nan=array.dtype.kind == "f")
                if not same:
                    raise Refusal("model", "The model answers %s with %s values that %s, the type in its signature, cannot hold." % (spec["name"], datatype(array), want))
                array = other
        out.append(array)
    return out


def wire(spec, array):
    kind = spec["datatype"]
    if kind == "BYTES":
        words = [word(x) for x in array.ravel()]
        raw = b"".join(struct.pack("<I", len(w)) + w for w in words)
    else:
        raw = np.ascontiguousarray(array, TYPES[kind]).tobytes()
    return {"name": spec["name"], "type": kind, "shape": list(array.shape), "bytes": len(raw)}, raw


def seen(found):
    """The outputs' signature as an answer shows it."""
    specs = []
    for i, (name, a) in enumerate(found):
        if a.ndim == 0:
            a = a.reshape(1)
        name = name or ("predict" if len(found) == 1 else "output_%d" % i)
        specs.append({"name": name, "datatype": datatype(a), "shape": [-1] + list(a.shape[1:])})
    return specs


# Models


class Model:
    """What is asked: inputs builds the call, call answers it, outputs is what the answer looks like (None: find out)."""

    def __init__(self, inputs, call, outputs=None, example=None):
        self.inputs, self.call, self.outputs = inputs, call, outputs
        self.learn(example)

    def learn(self, example):
        """A first answer shows the types that no signature told, and those where it told otherwise."""
        if example is not None:
            try:
                found = pieces(self.call(example))
            except Exception as e:
                print("the model's own example is not answered:", told(e), file=sys.stderr)
            else:
                try:
                    if self.outputs is not None:
                        fit(found, self.outputs)
                except Refusal as e:
                    print("the signature is not what the model answers:", e, file=sys.stderr)
                    self.outputs = None
                self.outputs = self.outputs or seen(found)
        if self.outputs is None:
            rows = {}
            for s in self.inputs.specs():
                shape = [2] + [1 if d < 0 else d for d in s["shape"][1:]]
                if s["datatype"] == "BYTES":
                    rows[s["name"]] = np.full(shape, b"", dtype=object)
                else:
                    rows[s["name"]] = np.zeros(shape, "<f4" if s["datatype"] == "BF16" else TYPES[s["datatype"]])
            try:
                self.outputs = seen(pieces(self.call(self.inputs.build(rows))))
            except Exception as e:
                raise Refusal("unsupported", "The model does not say what it answers, and does not answer a row of zeros (%s); log it with a signature or an input example." % told(e))

    def predict(self, specs, raw):
        given, at = {}, 0
        for s in specs:
            given[s["name"]] = values(s, raw[at:at + s["bytes"]])
            at += s["bytes"]
        arrays = fit(pieces(self.call(self.inputs.build(given))), self.outputs)
        return [wire(s, a) for s, a in zip(self.outputs, arrays)]


COLUMN = {"boolean": "BOOL", "integer": "INT32", "long": "INT64", "float": "FP32", "double": "FP64"}


def column(name, label, spec):
    kind = getattr(getattr(spec, "type", None), "name", None)
    optional = not getattr(spec, "required", True)
    if kind in COLUMN:
        return Column(name, COLUMN[kind], label, plain(name, COLUMN[kind]), optional)
    make = {"string": lambda a: text(a, name), "datetime": lambda a: instant(a, name), "binary": lambda a: a}.get(kind, lambda a: document(a, name))
    return Column(name, "BYTES", label, make, optional)


def tensor_type(dtype):
    dtype = np.dtype(dtype)
    return NAMES.get(dtype.kind + str(dtype.itemsize), "BYTES")


def schema_inputs(schema):
    if schema.is_tensor_spec():
        named = schema.has_input_names()
        specs = []
        for i, s in enumerate(schema.inputs):
            specs.append({"name": s.name if named else ("input" if i == 0 else "input_%d" % i), "datatype": tensor_type(s.type), "shape": list(s.shape)})
        return Tensors(specs, named)
    named = schema.has_input_names()
    columns = []
    for i, s in enumerate(schema.inputs):
        columns.append(column(s.name if named else ("input" if len(schema.inputs) == 1 else "input_%d" % i), s.name, s))
    return Table(columns, named)


def schema_outputs(schema):
    specs = []
    for i, s in enumerate(schema.inputs):
        name = getattr(s, "name", None) or ("predict" if len(schema.inputs) == 1 else "output_%d" % i)
        if schema.is_tensor_spec():
            specs.append({"name": name, "datatype": tensor_type(s.type), "shape": list(s.shape)})
        else:
            specs.append({"name": name, "datatype": COLUMN.get(getattr(getattr(s, "type", None), "name", None), "BYTES"), "shape": [-1]})
    return specs


def fitted(estimator):
    """The one matrix that a scikit-learn estimator was fitted on."""
    names = getattr(estimator, "feature_names_in_", None)
    width = getattr(estimator, "n_features_in_", None)
    if names is not None and all(isinstance(n, str) for n in names):
        return Matrix("input", "FP64", len(names), [str(n) for n in names])
    return Matrix("input", "FP64", int(width) if width is not None else -1)


def declared(signature):
    specs = signature["inputs"]
    if len(specs) == 1 and len(specs[0]["shape"]) == 2:
        s = specs[0]
        return Matrix(s["name"], s["datatype"], s["shape"][1], s.get("columns"))
    if all(len(s["shape"]) == 1 for s in specs):
        return Table([Column(s["name"], s["datatype"], s["name"], plain(s["name"], s["datatype"]), s.get("optional", False)) for s in specs])
    return Tensors(specs, len(specs) > 1)


def load_pyfunc(path):
    import mlflow.pyfunc
    m = mlflow.pyfunc.load_model(path)
    inputs, outputs, example = m.metadata.get_input_schema(), m.metadata.get_output_schema(), None
    try:
        if m.metadata.saved_input_example_info:
            example = m.metadata.load_input_example(path)
    except Exception as e:
        print("the input example cannot be read:", told(e), file=sys.stderr)
    if inputs is not None and len(inputs.inputs):
        feed = schema_inputs(inputs)
    else:
        raw = None
        try:
            raw = m.get_raw_model()
        except Exception:
            pass  # not every flavour has one
        feed = fitted(raw)
    return Model(feed, m.predict, schema_outputs(outputs) if outputs is not None and len(outputs.inputs) else None, example)


METHODS = ["predict", "predict_proba", "predict_log_proba", "decision_function", "transform"]


def load_pickle(path, signature):
    try:
        from joblib import load  # reads plain pickles and compressed ones
    except ImportError:
        def load(name):
            import pickle
            with open(name, "rb") as f:
                return pickle.load(f)
    estimator = load(path)
    if signature:
        asked = [s["name"] for s in signature["outputs"]]
        if not all(a in METHODS for a in asked):
            asked = ["predict"]
    else:
        asked = ["predict"] + (["predict_proba"] if callable(getattr(estimator, "predict_proba", None)) else [])
    missing = [a for a in asked if not callable(getattr(estimator, a, None))]
    if missing:
        raise Refusal("unsupported", "The file holds a %s, which has no method %s." % (type(estimator).__name__, missing[0]))

    def call(data):
        if asked == ["predict"]:
            return estimator.predict(data)
        return {a: getattr(estimator, a)(data) for a in asked}

    return Model(declared(signature) if signature else fitted(estimator), call, signature["outputs"] if signature else None)


class Metric:
    """A file with a function metric(table), for which no package is needed."""

    def __init__(self, path):
        with open(path, "rb") as f:
            source = f.read()
        scope = {"__name__": "metric", "__builtins__": __builtins__}
        try:
            exec(compile(source, "metric.py", "exec"), scope)
        except MemoryError:
            raise
        except BaseException as e:
            raise Refusal("invalid", "The file cannot be run: %s" % told(e))
        self.call = scope.get("metric")
        if not callable(self.call):
            raise Refusal("invalid", "The file defines no function metric(table).")

    def predict(self, specs, raw):
        table = json.loads(bytes(raw[4:specs[0]["bytes"]]))
        rows = table["rows"]
        try:
            got = self.call(table)
        except MemoryError:
            raise
        except Exception as e:
            raise Refusal("input", "metric(table) failed: %s" % told(e))
        if not isinstance(got, dict):
            got = {"value": got, "rows": rows}
        try:
            text = json.dumps(got, allow_nan=False, default=lambda o: o.item()).encode()
        except Exception as e:
            raise Refusal("input", "metric(table) answers neither a finite number nor value, rows, left_out and why: %s" % told(e))
        return [({"name": "answer", "type": "BYTES", "shape": [1], "bytes": 4 + len(text)}, struct.pack("<I", len(text)) + text)]


def load(order):
    global np
    if order["format"] == "metric":
        return Metric(order["path"]), {"python": sys.version.split()[0]}
    try:
        import numpy
        np = numpy
        if order["format"] == "mlflow-pyfunc":
            model = load_pyfunc(order["path"])
        else:
            model = load_pickle(order["path"], order.get("signature"))
    except Refusal:
        raise
    except ImportError as e:
        raise Refusal("unsupported", "Its Python environment lacks what the model needs (%s); name it in requirements.txt." % told(e))
    except MemoryError:
        raise Refusal("invalid", "Loading it takes more memory than a model in Python may have.")
    except Exception as e:
        raise Refusal("invalid", "Python cannot load it: " + told(e))
    import importlib.metadata as installed
    libraries = {}
    for name in ("mlflow", "scikit-learn", "numpy", "pandas"):
        try:
            libraries[name] = installed.version(name)
        except installed.PackageNotFoundError:
            pass
    return model, {"signature": {"inputs": model.inputs.specs(), "outputs": model.outputs}, "python": sys.version.split()[0], "libraries": libraries}


def main():
    channel = Channel(socket.socket(fileno=3))
    os.set_inheritable(3, False)
    order, _ = channel.receive()
    if order is None:
        return
    try:
        model, ready = load(order)
        channel.send(ready)
    except Refusal as e:
        channel.refuse("unsupported" if e.kind == "model" else e.kind, str(e))
        return
    while True:
        order, raw = channel.receive()
        if order is None:
            return
        try:
            out = model.predict(order["inputs"], raw)
            channel.send({"outputs": [o for o, _ in out]}, [r for _, r in out])
        except Refusal as e:
            channel.refuse(e.kind, str(e))
        except MemoryError:
            channel.refuse("model", "The call takes more memory than a model in Python may have.")
        except Exception as e:
            kind = "input" if isinstance(e, ValueError) or type(e).__name__ == "MlflowException" else "model"
            channel.refuse(kind, told(e))


main()
