"""The test machine in user-mode Linux: a kernel that is a program here, with a trixie. It boots in seconds, so that each test program has one
of its own. Commands go through a folder of the machine's that it sees by hostfs (init-uml is the other side): no network, no keys.

All that a machine has is in its folder, its memory, too; that is on /dev/shm where there is room.
"""
import contextlib
import os
import re
import select
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import termios
import time
import tty

import cache
import images
import machine
import rigworld
from cache import CannotError

# a machine took 2 GiB in the short form; its memory alone may be 3
ROOM = 6 << 30
TRY_SECONDS = 60
END_OF_INPUT = b"\x04"


def kernel():
    done = subprocess.run([os.path.join(machine.HERE, "kernel")], stdout=subprocess.PIPE, text=True, check=False)
    last = (done.stdout.strip().splitlines() or [""])[-1]
    if done.returncode == cache.CANNOT:
        raise CannotError(last)
    if done.returncode != 0:
        raise RuntimeError("no kernel for user-mode Linux")
    return last


def try_kernel(path):
    """Boot it on this machine's own files, with a program that ends: process 1 did, says the kernel, with status 0."""
    with tempfile.TemporaryDirectory(prefix="pvesr-uml-") as folder:
        argv = [path, "mem=64M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "init=/bin/true", "con=null", "con0=null,fd:1", "seccomp=on",
                "panic=-1"]
        try:
            said = subprocess.run(argv, env={"TMPDIR": folder, "HOME": folder, "PATH": os.defpath}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=TRY_SECONDS, check=False, errors="replace", text=True).stdout
        except subprocess.TimeoutExpired as e:
            raise CannotError(f"user-mode Linux does not run here: not booted within {TRY_SECONDS} s") from e
    if "exitcode=0x00000000" not in said:
        raise CannotError(f"user-mode Linux does not run here: {(said.strip().splitlines() or ['it says nothing'])[-1].strip()}")


class Pump:
    """What files have gained since it was last looked, to where it belongs."""

    def __init__(self, pipes):
        self.pipes = [[path, 0, to] for path, to in pipes]

    def all(self):
        for pipe in self.pipes:
            path, done, to = pipe
            with contextlib.suppress(FileNotFoundError), open(path, "rb") as f:
                f.seek(done)
                while (data := f.read(1 << 16)):
                    pipe[1] += len(data)
                    to.write(data)


class Machine(machine.Machine):
    NAME, WORDS = "uml", "user-mode Linux"
    BOOT_SECONDS = 300
    DISKS = 4

    @classmethod
    def prepare(cls):
        cls.kernel = kernel()
        try_kernel(cls.kernel)
        cls.image = images.uml()

    @staticmethod
    def disk(n):
        return f"/dev/ubd{chr(ord('a') + n)}"

    @staticmethod
    def place():
        place = rigworld.in_memory(ROOM)
        if not place:
            place = tempfile.gettempdir()
            cache.note(f"less than {ROOM >> 30} GiB are free in memory: the machine's memory and disks are in {place}, which is slower")
        return place

    def own_processor(self):
        """The words that bind it to a processor that no other machine has, if there is one. Its kernel and its programs are processes that hand
        over to each other at each system call and page fault: on one processor that takes a quarter less."""
        for n in sorted(os.sched_getaffinity(0)):
            taken = socket.socket(socket.AF_UNIX)
            with contextlib.suppress(OSError):
                taken.bind(f"\0pvesr-lab-processor-{n}")
                self.cleanup.callback(taken.close)
                return ["taskset", "-c", str(n)]
            taken.close()
        return []

    def start(self):
        os.makedirs(self.path("lab/cmd"))
        subprocess.run(["cp", "--sparse=always", os.path.join(self.image, "disk.img"), self.path("root")], check=True)
        disks = [f"ubd0={self.path('root')}", *(f"ubd{n}={self.path(f'lab{n}')}" for n in range(1, self.DISKS + 1))]
        self.popen([*self.own_processor(), self.kernel, f"mem={machine.MEMORY}M", *disks, "root=/dev/ubda", "rw", "init=/usr/local/sbin/lab-init",
                    f"labdir={self.path('lab')}", "con=null", "con0=null,fd:1", "con1=pts", "seccomp=on", "norandmaps", "quiet", "panic=-1"],
                   env={"TMPDIR": self.dir, "HOME": self.dir, "PATH": os.defpath})
        with open(self.path("pid"), "w") as f:
            f.write(f"{self.process.pid}\n")

    def ended(self):
        """Also asked by who did not start it."""
        if self.process is not None:
            return super().ended()
        with open(self.path("pid")) as f:
            return not os.path.exists(f"/proc/{f.read().strip()}")

    # ---- commands ----

    def begin(self, text, stdin=subprocess.DEVNULL):
        """Hand it a command; the folder of that. Only of a file it can have the standard input."""
        folder = tempfile.mkdtemp(dir=self.path("lab/cmd"))
        stdin = sys.stdin.buffer if stdin is None else stdin
        if stdin != subprocess.DEVNULL and stat.S_ISREG(os.fstat(stdin.fileno()).st_mode):
            with open(os.path.join(folder, "in"), "wb") as f:
                shutil.copyfileobj(stdin, f)
        with open(os.path.join(folder, "run.new"), "w") as f:
            f.write(text + "\n")
        os.rename(os.path.join(folder, "run.new"), os.path.join(folder, "run"))
        return folder

    @staticmethod
    def status(folder):
        try:
            with open(os.path.join(folder, "status")) as f:
                return int(f.read())
        except FileNotFoundError:
            return None

    def command(self, text, seconds, stdin, stdout, stderr):
        together = stderr is not None and stderr == stdout
        folder = self.begin(("exec 2>&1\n" if together else "") + text, stdin)
        end = seconds and time.monotonic() + seconds
        with contextlib.ExitStack() as stack:
            pump = Pump((os.path.join(folder, name), stack.enter_context(open(os.dup((to or own).fileno()), "wb", buffering=0)))
                        for name, to, own in (("out", stdout, sys.stdout), ("err", stderr, sys.stderr)))
            while (status := self.status(folder)) is None:
                pump.all()
                self.alive()
                if end and time.monotonic() > end:
                    raise subprocess.TimeoutExpired(text, seconds)
                time.sleep(0.1)
            pump.all()
        shutil.rmtree(folder)
        return status

    # ---- the terminal: console 1 of the machine is a pseudo-terminal of this computer ----

    def console(self):
        """Its name, which the kernel tells when the console is opened."""
        while True:
            with tempfile.TemporaryFile(dir=self.dir) as out:
                self.command("dmesg", 60, subprocess.DEVNULL, out, None)
                out.seek(0)
                found = re.findall(rb"Virtual console 1 assigned device '(.*?)'", out.read())
            if found:
                return found[-1].decode()
            time.sleep(0.1)

    def terminal(self, text):
        size = shutil.get_terminal_size()
        text = f"stty rows {size.lines} cols {size.columns}; {text}"
        folder = self.begin(f"exec setsid -w -c sh -c {shlex.quote(text)} <>/dev/tty1 >&0 2>&1")
        there = os.open(self.console(), os.O_RDWR | os.O_NOCTTY)
        before = termios.tcgetattr(0) if os.isatty(0) else None
        try:
            if before:
                tty.setraw(0)
            return self.relay(there, folder)
        finally:
            if before:
                termios.tcsetattr(0, termios.TCSADRAIN, before)
            os.close(there)

    def relay(self, there, folder):
        """Bytes both ways until the command is done."""
        listened = [0, there]
        while (status := self.status(folder)) is None or select.select([there], [], [], 0.2)[0]:
            self.alive()
            for fd in select.select(listened, [], [], 0.1)[0]:
                data = os.read(fd, 4096)
                if fd == 0 and not data:
                    listened.remove(0)
                os.write(1 if fd == there else there, data or END_OF_INPUT)
        return status
