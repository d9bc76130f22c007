"""Makes pickles that do what a model must not: each runs a piece of code when it is loaded, then is a model that says what
came of it. The pieces run inside the sandbox of the tests; none is loaded anywhere else."""

import pickle
import sys


class Payload:
    def __init__(self, code):
        self.code = code

    def __reduce__(self):
        return exec, (self.code,)


MODEL = """
import builtins, sys, types
m = types.ModuleType("hostile_model")
class Told:
    n_features_in_ = 1
    def predict(self, x):
        act = globals().get("act")
        return ["; ".join(notes) if act is None else act(x)] * len(x)
m.notes = notes = []
Told.predict.__globals__.update(notes=notes)
sys.modules["hostile_model"] = m
def attempt(name, do):
    try:
        notes.append(name + ": " + str(do()))
    except BaseException as e:
        notes.append(name + " failed: " + type(e).__name__ + " " + str(e)[:120])
m.told = Told()
"""


class Model:
    def __init__(self, code):
        self.code = code

    def __reduce__(self):
        # the code runs, then its model is handed out
        return eval, ("(exec(%r, {}), __import__('hostile_model').told)[1]" % (MODEL + self.code),)


out, secret, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
PIECES = {
    "files": """
import os
attempt("write beside the model", lambda: open(%r + "/written", "w").write("x"))
attempt("write to /usr", lambda: open("/usr/written", "w").write("x"))
attempt("write to /tmp", lambda: open("/tmp/keelson-escaped", "w").write("x") and os.path.realpath("/tmp"))
attempt("read a secret", lambda: open(%r).read())
attempt("read /etc/shadow", lambda: open("/etc/shadow").read()[:10])
attempt("list the root's home", lambda: os.listdir("/root"))
attempt("write at work", lambda: open("note", "w").write("x"))
""" % (out, secret),
    "disk": """
attempt("fill the disk", lambda: [open("big%d" % i, "wb").write(b"x" * (1 << 20)) for i in range(1000)] and "full")
""",
    "network": """
import socket
def connect():
    s = socket.create_connection(("127.0.0.1", %d), 2)
    s.close()
    return "connected"
attempt("connect", connect)
attempt("resolve", lambda: socket.getaddrinfo("example.com", 80))
def bind():
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    return "bound"
attempt("bind", bind)
""" % port,
    "environment": """
import os, glob
attempt("environ", lambda: sorted(os.environ))
def parents():
    found = []
    for p in glob.glob("/proc/[0-9]*/environ"):
        try:
            found.append(open(p, "rb").read())
        except OSError:
            pass
    return b"KEELSON_TEST_SECRET" in b"".join(found) and "the secret is out" or "%d processes seen" % len(found)
attempt("other processes", parents)
attempt("signal the server", lambda: os.kill(os.getppid(), 0) if os.getppid() > 1 else "no parent in sight")
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
attempt("mount", lambda: libc.mount(b"none", b"/usr", b"tmpfs", 0, b"") and os.strerror(ctypes.get_errno()))
attempt("unshare", lambda: libc.unshare(0x10000000) and os.strerror(ctypes.get_errno()))
attempt("setuid", lambda: os.setuid(12345))
""",
    "fork": """
import os, time
def bomb():
    n = 0
    try:
        while True:
            if os.fork() == 0:
                time.sleep(100)
                os._exit(0)
            n += 1
    except OSError:
        pass
    return "%d children" % n
attempt("fork", bomb)
""",
    "memory": """
def eat():
    kept = []
    while True:
        kept.append(bytearray(64 << 20))
        kept[-1][::4096] = b"x" * len(kept[-1][::4096])
eat()
""",
    "exit": "import os\nos._exit(7)\n",
    "hang": "import time\ntime.sleep(1000)\n",
    "spin": "def spin():\n    while True:\n        pass\nTold.predict.__globals__['act'] = lambda x: 'fine' if x[0][0] == 0 else spin()\n",
    "garbage": "import os\nos.write(3, b'\\xff\\xff\\xff\\xff' + b'x' * 100)\n",
    "die": "import os\nname = os.urandom(8).hex()\nTold.predict.__globals__['act'] = lambda x: os._exit(3) if x[0][0] == 1 else name\n",
    "prints": "print('this is not an answer')\nattempt('print', lambda: 'printed')\n",
}
for name, code in PIECES.items():
    with open("%s/%s.pkl" % (out, name), "wb") as f:
        pickle.dump(Model(code), f)
