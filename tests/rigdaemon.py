"""A pvesrd of one of the rig's nodes."""
import contextlib
import fcntl
import os
import select
import signal
import socket
import subprocess
import threading

import rig


def find_leaks():
    """What lives long must have none, whatever the short ones are asked for."""
    return {"ASAN_OPTIONS": f"{os.environ.get('ASAN_OPTIONS', '')}:detect_leaks=1"}


def child_of(daemon, *words):
    """The process that pvesrd began with these words, or 0."""
    pid = daemon.process.pid
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        children = f.read().split()
    for child in children:
        with contextlib.suppress(OSError), open(f"/proc/{child}/cmdline", "rb") as f:
            if not {word.encode() for word in words} - set(f.read().split(b"\0")):
                return int(child)
    return 0


def wait_child(daemon, *words):
    """The same, once there is one: who asked again might get a 0, and a signal to that is one to us."""
    found = []

    def begun():
        found.append(child_of(daemon, *words))
        return found[-1]
    rig.wait_for(begun, f"the process {' '.join(words)}")
    return found[-1]


@contextlib.contextmanager
def held(path):
    """A lock file that somebody else has."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


def stop_doctor(daemon, guest):
    """The process of the doctor of this guest, which is asked for meanwhile: it stands still until it gets a SIGCONT."""
    child = wait_child(daemon, f"--guest={guest}")
    os.kill(child, signal.SIGSTOP)
    return child


class Daemon:
    """A running pvesrd of a node, its words, and what it tells the service manager."""

    def __init__(self, node, *args, env=None, program="pvesrd"):
        self.node = node
        self.log = os.path.join(node.dir, "pvesrd.log")
        self.notices = []
        path = os.path.join(node.dir, "notify")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.reading = threading.Lock()
        self.socket.bind(path)
        # at once, as a service manager does: whoever tells waits when nobody reads
        threading.Thread(target=self.listen, daemon=True).start()
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(node.argv(program, *args), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={**os.environ, **find_leaks(), "NOTIFY_SOCKET": path, **(env or {})})
        node.cluster.cleanup.callback(self.end)
        rig.wait_for(lambda: self.told("READY=1"), "READY")

    def end(self):
        rig.stop(self.process)
        self.socket.close()

    def listen(self):
        with contextlib.suppress(OSError, ValueError):
            while self.socket.fileno() >= 0:
                select.select([self.socket], [], [], 1)
                self.read()

    def read(self):
        with self.reading, contextlib.suppress(BlockingIOError):
            while True:
                self.notices.append(self.socket.recv(4096).decode())

    def told(self, words):
        self.read()
        return any(words in n for n in list(self.notices))

    def words(self):
        with open(self.log) as f:
            return f.read()

    def kill(self, number):
        self.process.send_signal(number)

    def stop(self, number=signal.SIGTERM):
        self.kill(number)
        return self.process.wait(timeout=120 * rig.SLOW)
