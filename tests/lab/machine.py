"""A machine with a kernel of its own, real OpenZFS and real LVM-thin. Standard library only.

    with kinds.ready()() as m:
        m.copy_in("build")
        status = m.run(["python3", "tests/lab/inside/test-machine.py"])

It comes in two kinds, uml.py and qemu.py, that differ in how they boot, take commands and end; kinds.py says which of them runs here. It has some
empty disks for pools and volume groups, reaches nothing outside, keeps nothing, and dies with its maker, however that one ends.

PVESR_LAB_MEMORY: MiB (3072).
"""
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from cache import CANNOT, CannotError

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.dirname(HERE))
import rigworld  # noqa: E402

DISK_SIZE = 4 << 30
MEMORY = os.environ.get("PVESR_LAB_MEMORY", "3072")
LONG = os.environ.get("PVESR_LAB_LONG", "") == "1"
# emulation, and whatever else this computer does
SLOW = os.environ.get("PVESR_SLOW") or ("20" if LONG else "6")
READY = "lab: ready"
INSIDE = "/src"
# what the tests may need of the tree
PARTS = ("tests", "bench", "man", "completions")
TIMED_OUT = 124


class Machine:
    """One boot. Its own folder is `dir`; who knows it may give it commands too: kinds.at(dir)."""
    NAME = WORDS = None
    # does one boot serve all test programs, or has each a machine of its own?
    SHARED = False
    BOOT_SECONDS = 600
    # a test has one for each node
    DISKS = 8
    living, ending = [], False

    def __init__(self):
        self.cleanup = contextlib.ExitStack()
        self.process = None

    @classmethod
    def at(cls, folder):
        m = cls()
        m.dir = folder
        return m

    def __enter__(self):
        if Machine.ending:
            raise RuntimeError("ended by a signal")
        try:
            self.dir = rigworld.make_home(self.place())
            self.cleanup.callback(shutil.rmtree, self.dir, ignore_errors=True)
            with open(self.path("kind"), "w") as f:
                f.write(self.NAME)
            for n in range(1, self.DISKS + 1):
                with open(self.path(f"lab{n}"), "wb") as f:
                    f.truncate(DISK_SIZE)
            self.start()
            self.booted()
        except BaseException:
            self.cleanup.close()
            raise
        return self

    def __exit__(self, *_):
        self.cleanup.close()

    # ---- what a kind has of its own ----

    @classmethod
    def prepare(cls):
        """Make what the machines need, once. CannotError: it does not run here."""
        raise NotImplementedError

    def start(self):
        """Begin to boot: popen."""
        raise NotImplementedError

    def command(self, text, seconds, stdin, stdout, stderr):
        """Run a shell command; its exit status. subprocess.TimeoutExpired after `seconds`."""
        raise NotImplementedError

    def terminal(self, text):
        """Run a shell command on the user's terminal; its exit status."""
        raise NotImplementedError

    @staticmethod
    def disk(n):
        """What the machine calls its nth disk."""
        raise NotImplementedError

    @staticmethod
    def place():
        """Where its folder is made."""
        return tempfile.gettempdir()

    # ---- what they share ----

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def popen(self, argv, **more):
        """What it says is its console."""
        with open(self.path("console.log"), "wb") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                                            preexec_fn=rigworld.die_with_parent, **more)
        self.cleanup.callback(self.kill)
        self.living.append(self)

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        with contextlib.suppress(ValueError):
            self.living.remove(self)

    def processors(self):
        """The seconds of this computer's processors that it took so far."""
        ticks = 0
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", encoding="latin-1") as f:
                facts = f.read().rpartition(")")[2].split()
                ticks += sum(map(int, facts[11:15])) if int(facts[3]) == self.process.pid else 0
        return ticks / os.sysconf("SC_CLK_TCK")

    def said(self):
        text = ""
        for name in ("console.log", "serial.log"):
            with contextlib.suppress(FileNotFoundError), open(self.path(name), errors="replace") as f:
                text += f.read()
        return text

    def ended(self):
        return self.process is not None and self.process.poll() is not None

    def fail(self, why):
        raise RuntimeError(f"the machine {why}:\n" + "\n".join(self.said().splitlines()[-20:]))

    def alive(self):
        if self.ended():
            self.fail("ended")

    def booted(self):
        end = time.monotonic() + self.BOOT_SECONDS
        while READY not in self.said():
            self.alive()
            if time.monotonic() > end:
                self.fail(f"is not there after {self.BOOT_SECONDS} s")
            time.sleep(0.1)

    def within(self, argv, env):
        """The shell command for argv in the machine's copy of the tree."""
        return f"mkdir -p {INSIDE} && cd {INSIDE} && exec {shlex.join(['env', *(f'{k}={v}' for k, v in env.items()), *argv])}"

    def run(self, argv, env=None, seconds=None, stdin=subprocess.DEVNULL, stdout=None, stderr=None):
        """Run argv in the machine's copy of the tree; its exit status, 124 if it was not done in time."""
        limit = ["timeout", "-k", "10", str(int(seconds))] if seconds else []
        try:
            return self.command(self.within([*limit, *argv], {**self.env(), **(env or {})}), seconds and seconds + 60, stdin, stdout, stderr)
        except subprocess.TimeoutExpired:
            return TIMED_OUT

    def shell(self):
        return self.terminal(self.within(["bash", "-l"], self.env()))

    def env(self):
        return {"PYTHONPATH": f"{INSIDE}/tests:{INSIDE}/tests/lab/inside", "PVESR_TEST_LVM": "1", "PVESR_SLOW": SLOW,
                "PVESR_TEST_DISKS": " ".join(self.disk(n) for n in range(1, self.DISKS + 1))}

    def copy_in(self, build, units=True):
        """The tests and the programs of a build folder, without the unit tests if so wished; the folder has the same name inside."""
        programs = [e.name for e in os.scandir(build) if e.is_file() and os.access(e, os.X_OK) and (units or not e.name.startswith("test-"))]
        name = os.path.basename(build)
        parts = [p for p in PARTS if os.path.exists(os.path.join(ROOT, p))]
        with tempfile.TemporaryFile(dir=self.dir) as tar:
            subprocess.run(["tar", "-C", ROOT, "-c", "--exclude=__pycache__", *parts, "-C", os.path.dirname(build),
                            *(f"{name}/{p}" for p in sorted(programs))], stdout=tar, check=True)
            tar.seek(0)
            if self.run(["tar", "-x", "--no-same-owner"], stdin=tar) != 0:
                raise RuntimeError("the tests could not be copied into the machine")


def program(main):
    """A program about a machine: ended by a signal, it ends the machine; without one, it says why."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def end(number, _):
        for other in signals:  # timeout(1) sends its signal twice: who waits for a process must not be interrupted by a wait for the same
            signal.signal(other, signal.SIG_IGN)
        Machine.ending = True
        for m in list(Machine.living):  # before anything else: threads may wait for what runs there
            m.kill()
        sys.exit(128 + number)

    for number in signals:
        signal.signal(number, end)
    try:
        sys.exit(main())
    except CannotError as e:
        print(f"no test machine: {e}")
        sys.exit(CANNOT)
    except RuntimeError as e:
        sys.stderr.write(f"{e}\n")
        sys.exit(1)
