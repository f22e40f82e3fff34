"""A machine with a kernel of its own, real OpenZFS and real LVM-thin, in QEMU. Standard library only.

    with machine.Machine(machine.image()) as m:
        m.copy_in()
        status = m.run(["python3", "tests/lab/inside/test-machine.py"])

The image is a read-only file that ./build makes once; a machine writes to an overlay that is gone with it. It has DISKS empty disks,
/dev/disk/by-id/virtio-lab1 and so on, for pools and volume groups. Commands run through ssh, over a port of the loopback address and
with keys of this one boot; the machine reaches nothing outside. It dies with its maker, however that one ends.

PVESR_LAB_KVM=1 uses KVM (by default all is emulated: KVM hangs where it is itself emulated badly). PVESR_LAB_MEMORY: MiB (3072).
"""
import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.dirname(HERE))
import rigworld  # noqa: E402

DISKS = 8
DISK_SIZE = 16 << 30
BOOT_SECONDS = 600
# what is cheap to emulate: newer ones have instructions that make everything slower here
CPU = "Nehalem"
LONG = os.environ.get("PVESR_LAB_LONG", "") == "1"
# emulation, and whatever else this computer does
SLOW = os.environ.get("PVESR_SLOW") or ("20" if LONG else "6")
READY = "lab: ready"
INSIDE = "/src"
# what the tests may need of the tree
PARTS = ("tests", "bench", "man", "completions")
CANNOT = 77


class CannotError(Exception):
    """This machine lacks something; no fault of the project's."""


def image():
    """The image's folder (disk.img, vmlinuz, initrd); made now if need be."""
    done = subprocess.run([os.path.join(HERE, "build")], stdout=subprocess.PIPE, text=True, check=False)
    last = (done.stdout.strip().splitlines() or ["the image could not be built"])[-1]
    if done.returncode == CANNOT:
        raise CannotError(last)
    if done.returncode != 0:
        raise RuntimeError(last)
    return last


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Machine:
    """One boot. Its own folder is `dir`; who knows it may give it commands too: Machine.at(dir)."""
    living = []

    def __init__(self, folder):
        self.image = folder
        self.cleanup = contextlib.ExitStack()

    @classmethod
    def at(cls, folder):
        m = cls(None)
        m.dir = folder
        with open(m.path("port")) as f:
            m.port = int(f.read())
        return m

    def __enter__(self):
        try:
            self.dir = rigworld.make_home()
            self.cleanup.callback(shutil.rmtree, self.dir, ignore_errors=True)
            self.console = self.path("console.log")
            self.seed()
            self.overlay()
            self.start()
            self.wait()
        except BaseException:
            self.cleanup.close()
            raise
        return self

    def __exit__(self, *_):
        self.cleanup.close()

    def path(self, name):
        return os.path.join(self.dir, name)

    def seed(self):
        for key in ("user", "host"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", key, "-f", self.path(key)], check=True)
        subprocess.run(["tar", "-C", self.dir, "--owner=0", "--group=0", "-cf", self.path("seed"), "user.pub", "host", "host.pub"], check=True)
        with open(self.path("host.pub")) as f, open(self.path("known"), "w") as known:
            known.write("lab " + " ".join(f.read().split()[:2]) + "\n")

    def overlay(self):
        """The root disk may be written to; blocks that are not go on to the image."""
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", os.path.join(self.image, "disk.img"),
                        self.path("root")], check=True)
        for n in range(1, DISKS + 1):
            with open(self.path(f"lab{n}"), "wb") as f:
                f.truncate(DISK_SIZE)

    def start(self):
        kvm = os.environ.get("PVESR_LAB_KVM") == "1"
        self.port = free_port()
        with open(self.path("port"), "w") as f:
            f.write(f"{self.port}\n")
        argv = ["qemu-system-x86_64", "-M", "q35", "-accel", "kvm" if kvm else "tcg,thread=multi", "-cpu", "host" if kvm else CPU,
                "-smp", "2", "-m", os.environ.get("PVESR_LAB_MEMORY", "3072"), "-nodefaults", "-display", "none", "-no-reboot",
                "-serial", f"file:{self.console}", "-device", "virtio-rng-pci",
                "-kernel", os.path.join(self.image, "vmlinuz"), "-initrd", os.path.join(self.image, "initrd"),
                "-append", "root=/dev/vda rw init=/usr/local/sbin/lab-init console=ttyS0 net.ifnames=0 panic=-1 quiet mitigations=off norandmaps",
                "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:22",
                "-device", "virtio-net-pci,netdev=net,romfile="]
        for name, form in [("root", "qcow2"), ("seed", "raw"), *((f"lab{n}", "raw") for n in range(1, DISKS + 1))]:
            argv += ["-drive", f"file={self.path(name)},if=none,id={name},format={form},cache=unsafe,discard=unmap",
                     "-device", f"virtio-blk-pci,drive={name},serial={name}"]
        with open(self.path("qemu.log"), "wb") as log:
            self.qemu = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=rigworld.die_with_parent)
        self.cleanup.callback(self.kill)
        self.living.append(self)

    def kill(self):
        if self.qemu.poll() is None:
            self.qemu.kill()
        self.qemu.wait()

    def said(self):
        text = ""
        for name in ("qemu.log", "console.log"):
            with contextlib.suppress(FileNotFoundError), open(self.path(name), errors="replace") as f:
                text += f.read()
        return text

    def wait(self):
        end = time.monotonic() + BOOT_SECONDS
        while READY not in self.said():
            if self.qemu.poll() is not None or time.monotonic() > end:
                why = "ended" if self.qemu.poll() is not None else f"is not there after {BOOT_SECONDS} s"
                raise RuntimeError(f"the machine {why}:\n" + "\n".join(self.said().splitlines()[-20:]))
            time.sleep(0.1)

    # ---- commands ----

    def ssh(self, *more):
        return ["ssh", "-F", "none", "-i", self.path("user"), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "HostKeyAlias=lab",
                "-o", f"UserKnownHostsFile={self.path('known')}", "-o", "GlobalKnownHostsFile=none", "-o", "LogLevel=ERROR",
                "-o", "ServerAliveInterval=30", "-o", "ServerAliveCountMax=10", "-p", str(self.port), *more, "root@127.0.0.1"]

    def run(self, argv, env=None, seconds=None, **more):
        """Run argv in the machine's copy of the tree; its exit status, 124 if it was not done in time. `more` goes to subprocess."""
        words = [f"{k}={v}" for k, v in {**self.env(), **(env or {})}.items()]
        limit = ["timeout", "-k", "10", str(int(seconds))] if seconds else []
        command = f"mkdir -p {INSIDE} && cd {INSIDE} && exec " + shlex.join(["env", *words, *limit, *argv])
        try:
            return subprocess.run([*self.ssh(), command], timeout=seconds and seconds + 60, check=False,
                                  **{"stdin": subprocess.DEVNULL, **more}).returncode
        except subprocess.TimeoutExpired:
            return 124

    def shell(self):
        words = shlex.join(["env", *(f"{k}={v}" for k, v in self.env().items()), "bash", "-l"])
        return subprocess.run([*self.ssh("-t"), f"cd {INSIDE} && exec {words}"], check=False).returncode

    @staticmethod
    def env():
        return {"PYTHONPATH": f"{INSIDE}/tests:{INSIDE}/tests/lab/inside", "PVESR_TEST_LVM": "1", "PVESR_SLOW": SLOW,
                "PVESR_TEST_DISKS": " ".join(f"/dev/disk/by-id/virtio-lab{n}" for n in range(1, DISKS + 1))}

    def copy_in(self, build):
        """The tests and the programs of a build folder; the folder has the same name inside."""
        programs = [e.name for e in os.scandir(build) if e.is_file() and os.access(e, os.X_OK)]
        name = os.path.basename(build)
        parts = [p for p in PARTS if os.path.exists(os.path.join(ROOT, p))]
        tar = subprocess.Popen(["tar", "-C", ROOT, "-c", "--exclude=__pycache__", *parts, "-C", os.path.dirname(build),
                                *(f"{name}/{p}" for p in sorted(programs))], stdout=subprocess.PIPE)
        status = self.run(["tar", "-x", "--no-same-owner"], stdin=tar.stdout)
        tar.stdout.close()
        if status != 0 or tar.wait() != 0:
            raise RuntimeError("the tests could not be copied into the machine")


def program(main):
    """A program about a machine: ended by a signal, it ends the machine; without one, it says why."""
    def end(number, _):
        for m in Machine.living:  # before anything else: threads may wait for what runs there
            m.kill()
        sys.exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    try:
        sys.exit(main())
    except CannotError as e:
        print(f"no test machine: {e}")
        sys.exit(CANNOT)
    except RuntimeError as e:
        sys.stderr.write(f"{e}\n")
        sys.exit(1)
