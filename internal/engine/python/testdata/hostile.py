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
    "others": """
import ctypes, os, platform, signal, socket, time
libc = ctypes.CDLL(None, use_errno=True)
NUMBERS = dict(zip("kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_send_signal pidfd_open prlimit64 setpriority sched_setaffinity ioprio_set memfd_create memfd_secret shmget msgget semget clone fcntl ioctl prctl".split(),
    [62, 200, 234, 129, 297, 424, 434, 302, 141, 203, 251, 319, 447, 29, 68, 64, 56, 72, 16, 157] if platform.machine() == "x86_64" else
    [129, 130, 131, 138, 240, 424, 434, 261, 140, 122, 30, 279, 447, 194, 186, 190, 220, 25, 29, 167]))
def call(name, *args):
    r = libc.syscall(ctypes.c_long(NUMBERS[name]), *[ctypes.c_void_p(a) if isinstance(a, int) else a for a in args])
    if r < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return r
server, own = os.getppid(), os.getpid()
info, limits, mask = ctypes.create_string_buffer(b"\\0\\0\\0\\0\\0\\0\\0\\0\\xff\\xff\\xff\\xff", 128), ctypes.create_string_buffer(16), ctypes.create_string_buffer(b"\\xff", 128)
attempt("kill the server", lambda: os.kill(server, 0))
attempt("kill all", lambda: os.kill(-1, 0) if server else os.kill(own, 0))
attempt("tkill", lambda: call("tkill", server or own, 0))
attempt("tgkill", lambda: call("tgkill", server or own, server or own, 0))
attempt("sigqueue", lambda: call("rt_sigqueueinfo", server or own, 0, info))
attempt("tgsigqueue", lambda: call("rt_tgsigqueueinfo", server or own, server or own, 0, info))
attempt("pidfd", lambda: call("pidfd_send_signal", call("pidfd_open", server or own, 0), 0, 0, 0))
attempt("prlimit", lambda: call("prlimit64", server or 1 << 20, 7, 0, limits))
attempt("renice", lambda: call("setpriority", 0, server or 1 << 20, 5))
attempt("affinity", lambda: call("sched_setaffinity", server or 1 << 20, 128, mask))
attempt("ioprio", lambda: call("ioprio_set", 1, server or own, 3 << 13))
readable, _ = os.pipe()
attempt("fcntl owner", lambda: call("fcntl", readable, 8, server or own))
attempt("fcntl signal", lambda: call("fcntl", readable, 10, 9))
attempt("ioctl owner", lambda: call("ioctl", readable, 0x8901, ctypes.byref(ctypes.c_int(server or own))))
attempt("unix socket", lambda: socket.socket(socket.AF_UNIX))
attempt("datagram pair", lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
attempt("memfd", lambda: call("memfd_create", b"x", 0))
attempt("memfd_secret", lambda: call("memfd_secret", 0))
attempt("shmget", lambda: call("shmget", 0, 1 << 20, 0o1600))
attempt("msgget", lambda: call("msgget", 0, 0o1600))
attempt("semget", lambda: call("semget", 0, 1, 0o1600))
attempt("outlive the server", lambda: call("prctl", 1, 0))
attempt("let orphans go", lambda: call("prctl", 36, 0))
def sibling():
    pid = call("clone", 0x8000 | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    return pid
attempt("sibling", sibling)
attempt("new session", os.setsid)
attempt("new group", lambda: os.setpgid(0, 0))
def orphan():
    r, w = os.pipe()
    if os.fork() == 0:
        try:
            os.setsid()
        except OSError:
            pass
        if os.fork() == 0:
            os.write(w, str(os.getpid()).encode())
            time.sleep(1000)
        os._exit(0)
    os.wait()
    return os.read(r, 32).decode()
attempt("orphan", orphan)
import resource
attempt("own limits", lambda: resource.getrlimit(resource.RLIMIT_NOFILE))
attempt("pair", lambda: [s.close() for s in socket.socketpair()])
attempt("signal itself", lambda: signal.pthread_kill(__import__("threading").get_ident(), 0))
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
    "wordy": "Told.predict.__globals__['act'] = lambda x: 'fine' if x[0][0] == 0 else (_ for _ in ()).throw(sys.modules['__main__'].Refusal('model', 'x' * (5 << 20)))\n",
    "wide": "Told.feature_names_in_ = ['a column with a name of some length %d' % i for i in range(200000)]\nTold.predict = lambda self, x: [1.0] * len(x)\n",
    "prints": "print('this is not an answer')\nattempt('print', lambda: 'printed')\n",
}
for name, code in PIECES.items():
    with open("%s/%s.pkl" % (out, name), "wb") as f:
        pickle.dump(Model(code), f)
