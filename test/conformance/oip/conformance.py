"""What the steps share: the decorator that names them, cases, clients, comparisons.

A step is a function of one case under @step("sentence", …). It fails by any exception; skip() says why a step has no
meaning for a case. The clients are those of the tritonclient package as they are.
"""

import json
import sys

import ml_dtypes
import numpy as np
import requests
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client
from tritonclient.utils import InferenceServerException

FOLDER, URL, TOKEN, REPORT = sys.argv[1:5]
ADDRESS = URL.removeprefix("http://")
STEPS = []  # (transport, sentence, function, only once)
DTYPES = {"FP16": np.float16, "BF16": ml_dtypes.bfloat16, "FP32": np.float32, "FP64": np.float64, "INT8": np.int8, "INT16": np.int16, "INT32": np.int32,
          "INT64": np.int64, "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64, "BOOL": np.bool_, "BYTES": np.object_}
CODES = {"invalid": ("400", "StatusCode.INVALID_ARGUMENT"), "unknown": ("404", "StatusCode.NOT_FOUND"), "forbidden": ("403", "StatusCode.PERMISSION_DENIED"),
         "unsupported": ("501", "StatusCode.UNIMPLEMENTED"), "stranger": ("401", "StatusCode.UNAUTHENTICATED"), "conflict": ("409", "StatusCode.FAILED_PRECONDITION"), "unavailable": ("503", "StatusCode.UNAVAILABLE"), "large": ("413", "StatusCode.RESOURCE_EXHAUSTED")}


class NotApplicable(Exception):
    pass


def skip(why):
    raise NotApplicable(why)


def step(sentence, *transports, once=False):
    """Names a step of these transports; the name is a sentence and unique within each."""

    def keep(function):
        for t in transports or ("http", "grpc"):
            if any((t, sentence) == s[:2] for s in STEPS):
                raise ValueError(f"two steps of {t} are called {sentence!r}")
            STEPS.append((t, sentence, function, once))
        return function

    return keep


def check(ok, what):
    if not ok:
        raise AssertionError(what)


def equal(got, want, what="value"):
    check(got == want, f"{what}: got {got!r:.2000}, want {want!r:.2000}")


def auth(**more):
    """Headers of a call, a dictionary of its own each time, because the client writes into the one that it is given."""
    return {"authorization": "Bearer " + TOKEN} | more


def typed(values, datatype):
    """Values as an array of a datatype, in the form that the client takes."""
    if datatype == "BYTES":
        return np.array([str(v).encode() for v in np.asarray(values).ravel()], dtype=object).reshape(np.shape(values))
    return np.asarray(values).astype(DTYPES[datatype])


class Case:
    """One deployed model, asked over one transport."""

    def __init__(self, described, transport):
        self.__dict__ |= described
        self.transport, self.endpoint, self.version = transport, described["name"] + ".dev", "1"
        self.data = np.load(f"{FOLDER}/{self.name}.npz")
        self.module = http_client if transport == "http" else grpc_client
        self.client = CLIENTS[transport]

    def rows(self):
        return len(self.data["in:" + self.inputs[0]["name"]])

    def values(self, rows=slice(None), kind="in"):
        return {i["name"]: self.data[f"{kind}:{i['name']}"][rows] for i in self.inputs}

    def want(self, rows=slice(None), kind="out"):
        return {o: self.data[f"{kind}:{o}"][rows] for o in self.outputs}

    def feed(self, rows=slice(None), kind="in", binary=True, types=None, values=None):
        """The inputs of a call; types names other datatypes than the model's own."""
        list = []
        for i in self.inputs:
            datatype = (types or {}).get(i["name"], i["datatype"])
            array = typed((values or self.values(rows, kind))[i["name"]], datatype)
            t = self.module.InferInput(i["name"], array.shape, datatype)
            if self.transport == "http":
                t.set_data_from_numpy(array, binary_data=binary or datatype in getattr(self, "raw", []))
            else:
                t.set_data_from_numpy(array)
            list.append(t)
        return list

    def wanted(self, names=None, **more):
        return [self.module.InferRequestedOutput(o, **more) for o in names or self.outputs]

    def infer(self, inputs=None, **more):
        return self.client.infer(more.pop("model", self.endpoint), self.feed() if inputs is None else inputs, headers=more.pop("headers", None) or auth(), **more)

    def holds(self, result, rows=slice(None), kind="out", outputs=None):
        """Checks an answer against the library's."""
        for name, want in self.want(rows, kind).items():
            if outputs is None or name in outputs:
                self.same(name, result.as_numpy(name), want)
        return result

    def same(self, name, got, want):
        check(got is not None, f"there is no output {name}")
        got, want = np.asarray(got), np.asarray(want)
        equal(got.shape, want.shape, f"the shape of {name}")
        if want.dtype.kind in "US":
            equal([v.decode() if isinstance(v, bytes) else str(v) for v in got.ravel()], want.ravel().tolist(), name)
            return
        if want.dtype.kind == "f" and got.dtype == np.float64:  # JSON has no narrower one
            got = got.astype(want.dtype)
        if want.dtype.kind in "biu" or self.tolerance == 0:
            check(np.array_equal(got, want.astype(got.dtype), equal_nan=want.dtype.kind == "f"), f"{name} is {got.tolist()[:4]}, want {want.tolist()[:4]}")
            return
        far = np.nanmax(np.abs(got - want) / np.maximum(np.abs(want), 1e-3), initial=0)
        check(far <= self.tolerance, f"{name} is off by {far:g} of {self.tolerance:g}")

    def refused(self, kind, part, call, *args, **kwargs):
        """Checks that a call ends in the client's own exception with the status of a kind and these words."""
        try:
            got = call(*args, **kwargs)
        except InferenceServerException as e:
            equal(e.status(), CODES[kind][self.transport == "grpc"], f"status of {e.message()!r}")
            check(part.lower() in e.message().lower(), f"the message {e.message()!r} does not hold {part!r}")
            return e
        raise AssertionError(f"want a refusal ({kind}, {part!r}), got {got!r}")

    def path(self, rest="", version=False):
        return f"{URL}/v2/models/{self.endpoint}" + ("/versions/1" if version else "") + rest

    def get(self, rest="", version=False):
        r = requests.get(self.path(rest, version), headers=auth(), timeout=30)
        check(r.status_code == 200, f"{r.status_code} {r.text[:300]}")
        return r.json()

    def post(self, rest, body, **headers):
        """One bare POST, for what the client has no function for."""
        return requests.post(self.path(rest), data=body if isinstance(body, (str, bytes)) else json.dumps(body),
                             headers=auth(**{"Content-Type": "application/json"} | headers), timeout=30)

    def bare(self, values, nested=False):
        """The inputs of a call as JSON; flat, or nested as their shapes."""
        out = []
        for i in self.inputs:
            array = values[i["name"]]
            data = (array if nested else array.ravel()).tolist()
            out.append({"name": i["name"], "shape": list(array.shape), "datatype": i["datatype"], "data": plain(data)})
        return out

    def answered(self, response, rows=slice(None), kind="out"):
        """Checks the JSON of an answer against the library's."""
        check(response.status_code == 200, f"{response.status_code} {response.text[:300]}")
        body = response.json()
        got = {o["name"]: np.array([np.nan if v is None else v for v in o["data"]]).reshape(o["shape"]) for o in body["outputs"]}
        for name, want in self.want(rows, kind).items():
            self.same(name, got[name], want)
        return body


def plain(v):
    """NaN is null in JSON."""
    if isinstance(v, list):
        return [plain(x) for x in v]
    return None if isinstance(v, float) and v != v else v


CLIENTS = {"http": http_client.InferenceServerClient(ADDRESS, concurrency=4), "grpc": grpc_client.InferenceServerClient(ADDRESS)}
