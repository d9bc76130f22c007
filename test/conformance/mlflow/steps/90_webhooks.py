"""Webhooks, with a receiver that checks signatures as MLflow's documentation tells its users to."""

import base64
import hashlib
import hmac
import http.server
import json
import queue
import threading
import time

from conformance import client, equal, raises, request, step, unique

SECRET = "a secret of the receiver"
received = queue.Queue()


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        received.put((dict(self.headers), body))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"the receiver's own words")

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/hook"
state = {}


def verified():
    headers, body = received.get(timeout=30)
    h = {k.lower(): v for k, v in headers.items()}
    stamp, delivery = h["x-mlflow-timestamp"], h["x-mlflow-delivery-id"]
    assert abs(time.time() - int(stamp)) < 300, stamp
    signed = f"{delivery}.{stamp}.{body.decode()}".encode()
    want = "v1," + base64.b64encode(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()).decode()
    assert hmac.compare_digest(h["x-mlflow-signature"], want), (h, want)
    return json.loads(body)


@step("a webhook is created, and its secret never comes back")
def _():
    w = client().create_webhook("registry", url, ["registered_model.created", "model_version_tag.set"], description="for the tests", secret=SECRET)
    state["id"] = w.webhook_id
    equal([str(e) for e in w.events], ["model_version_tag.set", "registered_model.created"])
    equal(str(w.status), "ACTIVE")
    equal(w.secret, None)
    assert SECRET not in request("GET", f"/api/2.0/mlflow/webhooks/{w.webhook_id}").text
    equal(client().get_webhook(w.webhook_id).description, "for the tests")
    assert w.webhook_id in [x.webhook_id for x in client().list_webhooks(max_results=5)]


@step("a test is sent signed, and what the receiver answers is not shown")
def _():
    r = client().test_webhook(state["id"], "model_version_tag.set")
    equal((r.success, r.response_status, r.error_message), (True, 200, None))
    assert "own words" not in (r.response_body or ""), r.response_body
    doc = verified()
    equal((doc["entity"], doc["action"]), ("model_version_tag", "set"))
    equal(doc["data"]["key"], "example_key")


@step("what happens in the registry is sent, signed")
def _():
    name = unique("hooked")
    client().create_registered_model(name, tags={"team": "risk"}, description="d")
    doc = verified()
    equal((doc["entity"], doc["action"]), ("registered_model", "created"))
    equal(doc["data"], {"name": name, "tags": {"team": "risk"}, "description": "d"})


@step("a disabled webhook hears nothing, and hears again when it is active")
def _():
    equal(str(client().update_webhook(state["id"], status="DISABLED").status), "DISABLED")
    client().create_registered_model(unique("unheard"))
    client().update_webhook(state["id"], status="ACTIVE", events=["registered_model.created"])
    name = unique("heard")
    client().create_registered_model(name)
    equal(verified()["data"]["name"], name)
    assert received.empty()


@step("an address inside the network is refused, however it is written")
def _():
    for bad in ("http://169.254.169.254/latest/meta-data", "https://10.0.0.1/", "https://2130706433/", "https://0x7f.1/", "https://[::ffff:10.0.0.1]/", "https://user@10.0.0.1/", "file:///etc/passwd"):
        raises("INVALID_PARAMETER_VALUE", client().create_webhook, "inside", bad, ["registered_model.created"])


@step("a webhook is deleted")
def _():
    client().delete_webhook(state["id"])
    raises("RESOURCE_DOES_NOT_EXIST", client().get_webhook, state["id"])
