#!/usr/bin/env python3
"""A replica that somebody on the target uses is not touched, nor is any other volume of its guest: the run is postponed, and says by whom. What
was written there is kept aside once, when it is not used any more. Each way of using a volume, on each storage.

PVESR_TEST_STORAGES (xfs btrfs plain) chooses the storages; also zfspool and lvmthin. Containers: on those of them that carry trees.
PVESR_TEST_SCENARIOS (all) chooses by name what is played."""
import contextlib
import mmap
import os
import shutil
import signal
import subprocess
import tempfile

import rig
import treelab
from rigdisk import gone
from scenario import STORAGES, World
from treelab import TreeLab

FILES, BLOCKS, TREES = ("xfs", "btrfs", "plain"), ("zfspool", "lvmthin"), ("btrfs", "zfspool")
FORMS = []
ONLY = os.environ.get("PVESR_TEST_SCENARIOS", "").split()
MIB = 1 << 20


def form(kinds, tree=False):
    """A way of using a volume: a context manager, given its path and the world; yields a function that writes into it and what the run must
    say of it."""
    def add(f):
        FORMS.append((f, kinds, tree))
        return contextlib.contextmanager(f)
    return add


def put(path, data):
    with open(path, "r+b", buffering=0) as f:
        f.seek(2 * MIB)
        f.write(data)
        os.fsync(f.fileno())


def folder(w):
    path = os.path.join(w.c.dir, "used")
    os.makedirs(path, exist_ok=True)
    return path


def mounted(*argv):
    rig.sh("mount", *argv)
    return lambda: rig.sh("umount", argv[-1])


# ---- disks ----

@form(FILES + BLOCKS)
def writer(path, _w):
    """a process that has it open for writing"""
    with open(path, "r+b", buffering=0) as f:
        def write(data):
            os.pwrite(f.fileno(), data, 2 * MIB)
            os.fsync(f.fileno())
        yield write, f"process {os.getpid()} (python3"


@form(FILES + BLOCKS)
def mapper(path, _w):
    """a process that has it mapped, and closed"""
    with open(path, "r+b") as f:
        shared = mmap.mmap(f.fileno(), 4 * MIB)

    def write(data):
        shared[2 * MIB:2 * MIB + len(data)] = data
        shared.flush()
    try:
        yield write, f"process {os.getpid()} (python3"
    finally:
        shared.close()


def detach(device):
    """While somebody who looks for a free one has it open, only the last closing lets the file go (losetup(8))."""
    backing = f"/sys/block/{os.path.basename(device)}/loop/backing_file"
    bound = open(backing).read()
    rig.sh("losetup", "-d", device)

    def free():
        try:
            return open(backing).read() != bound
        except OSError:
            return True

    rig.wait_for(free, f"{device} to let its file go")


@form(FILES + BLOCKS)
def loop(path, _w):
    """a loop device"""
    device = rig.sh("losetup", "--show", "-f", path).strip()
    try:
        yield lambda data: put(device, data), device
    finally:
        detach(device)


@form(FILES)
def mount_of_file(path, w):
    """a mount of the file, of which nobody has it open"""
    there = os.path.join(folder(w), "file")
    with open(there, "wb"):
        pass
    undo = mounted("--bind", path, there)
    try:
        yield lambda data: put(there, data), f"a mount at {there}"
    finally:
        undo()


@form(("btrfs",))
def mount_of_subvolume(path, w):
    """a mount of the disk's subvolume, in which nobody has it open"""
    there = folder(w)
    undo = mounted("--bind", os.path.dirname(path), there)
    try:
        yield lambda data: put(os.path.join(there, "disk.raw"), data), f"a mount at {there}"
    finally:
        undo()


@form(BLOCKS)
def filesystem(path, w):
    """a file system on it, mounted"""
    there = folder(w)
    rig.sh("mkfs.ext4", "-q", "-F", path)
    rig.sh("udevadm", "settle")
    undo = mounted(path, there)

    def write(data):
        with open(os.path.join(there, "file"), "wb") as f:
            f.write(data)
            os.fsync(f.fileno())
    try:
        yield write, f"a mount at {there}"
    finally:
        undo()


@form(BLOCKS)
def mapped_device(path, _w):
    """a device upon it"""
    sectors = int(rig.sh("blockdev", "--getsz", path))
    name = f"upon-{os.path.basename(os.path.realpath(path))}"  # another program may have such a device, too
    rig.sh("dmsetup", "create", name, "--table", f"0 {sectors} linear {os.path.realpath(path)} 0")
    try:
        yield lambda data: put(f"/dev/mapper/{name}", data), f"the device /dev/mapper/{name}"
    finally:
        rig.sh("udevadm", "settle")
        rig.sh("dmsetup", "remove", "--retry", name)


# ---- containers ----

def put_file(root, data):
    with open(os.path.join(root, "written there"), "wb") as f:
        f.write(data)
        os.fsync(f.fileno())


@contextlib.contextmanager
def child(does):
    """A process that does it, and then waits."""
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            rig.rigworld.die_with_parent()
            does()
            os.write(done, b"1")
            signal.pause()
        finally:
            os._exit(1)
    try:
        os.close(done)
        assert os.read(ready, 1) == b"1", "the user could not begin"
        yield pid
    finally:
        os.close(ready)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@form(TREES, tree=True)
def stands_in(path, _w):
    """a process that stands in it"""
    with child(lambda: os.chdir(os.path.join(path, "etc"))) as pid:
        yield lambda data: put_file(path, data), f"process {pid} (python3"


@form(TREES, tree=True)
def lives_in(path, _w):
    """a process whose root it is"""
    with child(lambda: os.chroot(path)) as pid:
        yield lambda data: put_file(path, data), f"process {pid} (python3"


@form(TREES, tree=True)
def has_open(path, _w):
    """a process that has a file in it open"""
    with open(os.path.join(path, "written there"), "w+b", buffering=0) as f:
        def write(data):
            f.seek(0)
            f.write(data)
            os.fsync(f.fileno())
        yield write, f"process {os.getpid()} (python3"


@form(TREES, tree=True)
def mount_of_tree(path, w):
    """a mount of a part of it, in which nobody is"""
    os.makedirs(os.path.join(path, "part"), exist_ok=True)
    there = folder(w)
    undo = mounted("--bind", os.path.join(path, "part"), there)
    try:
        yield lambda data: put_file(there, data), f"a mount at {there}"
    finally:
        undo()


@form(TREES, tree=True)
def mount_elsewhere(path, w):
    """a mount of it in another namespace, in which nobody is"""
    there, ready = folder(w), os.path.join(w.c.dir, "ready")
    script = f"mount --bind {path} {there} && cd / && touch {ready} && exec sleep infinity"
    p = subprocess.Popen(["unshare", "--mount", "sh", "-c", script])
    try:
        rig.wait_for(lambda: os.path.exists(ready), "the mount")
        yield (lambda data: subprocess.run(["nsenter", "-t", str(p.pid), "-m", "dd", f"of={there}/written there", "conv=fsync", "status=none"],
                                           input=data, check=True)), f"a mount at {there} of process {p.pid} (sleep"
    finally:
        rig.stop(p)


@form(TREES, tree=True)
def loop_in_tree(path, _w):
    """a loop device of a file in it"""
    image = os.path.join(path, "image")
    with open(image, "wb") as f:
        f.truncate(4 * MIB)
    device = rig.sh("losetup", "--show", "-f", image).strip()
    try:
        yield lambda data: put(device, data), device
    finally:
        detach(device)


@form(("btrfs",), tree=True)
def overlay(path, w):
    """an overlay that writes into it"""
    there, below = folder(w), os.path.join(w.c.dir, "below")
    for part in (below, os.path.join(path, "upper"), os.path.join(path, "work")):
        os.makedirs(part, exist_ok=True)
    options = f"lowerdir={below},upperdir={path}/upper,workdir={path}/work"
    undo = mounted("-t", "overlay", "overlay", "-o", options, there)
    try:
        yield lambda data: put_file(there, data), f"a mount at {there}"
    finally:
        undo()


# ---- the stories ----

def read(path, n=None):
    with open(path, "rb") as f:
        return f.read(n)


def postponed(w, done, by, volid):
    """It says so, and whom to stop: on standard error, in the log, in the history; nothing failed."""
    log, text = w.log(job=w.job_id), f"in use by {by}"
    assert done.returncode == 75 and text in done.stderr, (done.returncode, done.stderr)
    assert "postponed" in log and text in log and volid in log and "pve2" in log, log
    assert text in w.a.pvesr("history", "--output-format", "json", check=True).stdout
    status = w.status()[w.job_id]
    assert status["fail_count"] == 0 and "error" not in status, status


def settle():
    if shutil.which("udevadm"):
        subprocess.run(["udevadm", "settle"], check=False)


class Used(World):
    job_id = "100-0"

    def rest(self, n):
        """As a replica rests: a thin volume is not active."""
        settle()
        if self.kind == "lvmthin":
            gone(["lvchange", "-an", f"{self.b.store}/{self.lab.names.volname(n)}"])

    def bytes_of(self, n):
        data = read(self.lab.replica(n))
        self.rest(n)
        return data

    def postponed(self, by):
        postponed(self, self.run(want=1), by, self.lab.names.volname(1))


def disks(w, use):
    w.lab.add_disk()
    w.create()
    w.run()
    w.proved()
    before = w.bytes_of(0)
    with use(w.lab.replica(1), w) as (write, by):
        for i in range(3):
            for n in w.lab.disks:
                w.lab.write(n, 5)
            write(b"written there %d" % i + bytes(4096 - 15))
            w.postponed(by)
            assert w.bytes_of(0) == before, "the disk that is not used moved on"
            assert not w.asides(w.b.store), w.asides(w.b.store)
        write(b"the last thing that was written" + bytes(4096 - 31))
        w.postponed(by)
    settle()
    copy = w.copy(w.lab.replica(1))
    assert b"the last thing that was written" in read(copy), "what was written did not reach the replica"
    w.rest(1)
    w.run()
    w.proved(asides=True)
    assert len(w.asides(w.b.store)) == 1 and w.kept_aside(w.b.store, 1, copy), w.asides(w.b.store)
    w.lab.write(0, 5)
    w.run()
    w.proved(asides=True)
    assert len(w.asides(w.b.store)) == 1, w.asides(w.b.store)


def removed(w):
    """what is in use is not removed either; later it is"""
    w.create()
    w.run()
    w.a.pvesr("delete", "100-0", check=True)
    with writer(w.lab.replica(0), w) as (write, by):
        write(b"written there")
        for _ in range(2):
            done = w.a.pvesr("run", "--id", "100-0")
            assert done.returncode != 0 and f"in use by {by}" in done.stderr + w.log(), (done, w.log())
            assert not w.asides(w.b.store), w.asides(w.b.store)
        write(b"written late")
        assert b"written late" in read(w.lab.replica(0))
    copy = w.copy(w.lab.replica(0))
    w.rest(0)
    w.run()
    assert (0, None) not in w.lab.names.entries(w.b.store)[0]
    assert len(w.asides(w.b.store)) == 1 and w.kept_aside(w.b.store, 0, copy), w.asides(w.b.store)


HELD = """import os, subprocess, sys, time
agent = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE)
while data := os.read(0, 1 << 16):
    if b'"do":"commit"' in data.replace(b" ", b""):
        open(sys.argv[1] + "/reached", "w").close()
        while not os.path.exists(sys.argv[1] + "/go"):
            time.sleep(0.05)
    agent.stdin.write(data)
    agent.stdin.flush()
agent.stdin.close()
sys.exit(agent.wait())
"""


def identity(w, n):
    """Which file the replica is: another one may have the same bytes."""
    st = os.stat(w.lab.replica(n))
    return (st.st_dev, st.st_ino) if w.kind in FILES else None


def comes_late(w):
    """who comes when all is sent already, right before the commit: nothing of the guest is changed then either"""
    w.lab.add_disk()
    w.create()
    w.run()
    before = w.bytes_of(0)
    file = identity(w, 0)
    for n in w.lab.disks:
        w.lab.write(n, 5)
    script = os.path.join(folder(w), "held.py")
    with open(script, "w") as f:
        f.write(HELD)
    w.c.set_agent("pve2", ["python3", script, folder(w)])
    run = subprocess.Popen(w.a.argv("pvesr", "run", "--id", w.job_id), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    rig.wait_for(lambda: os.path.exists(os.path.join(folder(w), "reached")), "the run's commit", 60)
    with writer(w.lab.replica(1), w) as (write, by):
        with open(os.path.join(folder(w), "go"), "w"):
            pass
        error = run.communicate()[1]
        postponed(w, subprocess.CompletedProcess(run.args, run.returncode, "", error), by, w.lab.names.volname(1))
        write(b"written there" + bytes(4096 - 13))
        assert w.bytes_of(0) == before and identity(w, 0) == file, "the disk that is not used moved on, or there and back"
    w.c.set_agent("pve2", [])
    settle()
    copy = w.copy(w.lab.replica(1))
    w.rest(1)
    w.run()
    w.proved(asides=True)
    assert w.kept_aside(w.b.store, 1, copy), w.asides(w.b.store)


def plan_tells(w):
    """a plan says that a run would be postponed, and why; the run takes no snapshot for it"""
    w.create()
    w.run()
    w.lab.write(0, 5)
    with writer(w.lab.replica(0), w) as (_, by):
        said = w.a.pvesr("plan", w.job_id, check=True).stdout
        assert "would be postponed" in said and f"in use by {by}" in said, said
        w.run(want=1)
        assert "freeze" not in w.log() and "snapshot" not in w.log(), w.log()
    said = w.a.pvesr("plan", w.job_id, check=True).stdout
    assert "in use" not in said, said


def reader(w):
    """who only reads a file is not in the way"""
    w.create()
    w.run()
    with open(w.lab.replica(0), "rb") as f:
        before = f.read()
        w.lab.write(0, 5)
        w.run()
        f.seek(0)
        assert f.read() == before
    w.proved()


FAILING = """#!/bin/sh
case "$*" in {}) echo "cannot do that: it is a test" >&2; exit 5;; esac
exec {} "$@"
"""


@contextlib.contextmanager
def stuck(w, n):
    """The live replica cannot be replaced: its file is immutable, its subvolume holds another, or the program that would do it fails."""
    if w.kind == "btrfs":
        inner = os.path.join(w.lab.names.image(w.b.store, n), "inner")
        rig.sh("btrfs", "subvolume", "create", inner)
        os.mkdir(os.path.join(inner, "something"))
        yield
        rig.sh("btrfs", "subvolume", "delete", inner)
        return
    if w.kind in FILES:
        path = w.lab.names.image(w.b.store, n)
        rig.sh("chattr", "+i", path)
        yield
        rig.sh("chattr", "-i", path)
        return
    name = w.lab.names.volname(n)
    program, pattern = ("zfs", f"promote*{w.b.store}*") if w.kind == "zfspool" else ("lvrename", f"*{w.b.store} {name} *")
    fake = os.path.join(folder(w), program)
    with open(fake, "w") as f:
        f.write(FAILING.format(pattern, shutil.which(program)))
    os.chmod(fake, 0o755)
    undo = mounted("--bind", folder(w), "/usr/local/sbin")  # where programs are looked for first
    yield
    undo()


def fails_often(w):
    """what was written is kept once, however often the commit fails for another reason"""
    w.create()
    w.run()
    put(w.lab.replica(0), b"written there")
    copy = w.copy(w.lab.replica(0))
    w.rest(0)
    with stuck(w, 0):
        for _ in range(3):
            w.lab.write(0, 5)
            assert "in use" not in w.run(want=1).stderr
            assert len(w.asides(w.b.store)) <= 1, w.asides(w.b.store)
    w.run()
    w.proved(asides=True)
    assert len(w.asides(w.b.store)) == 1 and w.kept_aside(w.b.store, 0, copy), w.asides(w.b.store)


class Container:
    job_id = "200-0"

    def __init__(self, c):
        self.c, self.a, self.b = c, c.node("pve1"), c.node("pve2")
        self.lab = TreeLab(c.storage, c.storage_id, self.a.store, self.b.store,
                           lambda text: c.write_guest("pve1", 200, text, kind="lxc"), seed=rig.SEED)
        for _ in range(2):
            self.lab.add_volume(files=5)
        self.a.pvesr("create-local-job", self.job_id, "pve2", check=True)

    log, status = World.log, World.status
    owner = "pve1"

    def run(self, want=0):
        done = self.a.pvesr("run", "--id", self.job_id)
        assert done.returncode == want, f"exit {done.returncode}: {done.stderr}"
        return done

    def proved(self):
        faults = self.lab.faults()
        assert not faults, faults

    def tree(self, n, snap=None):
        return self.lab.tree(self.b.store, n, snap, fresh=True)

    def change(self):
        """By a new file each: of one with a name of its own the random changes may make a symlink that leads out of the volume, or a device."""
        for n in self.lab.volumes:
            self.lab.change(n)
            with tempfile.NamedTemporaryFile(dir=self.lab.live(n), delete=False) as f:
                f.write(os.urandom(20))


def trees(w, use):
    w.run()
    w.proved()
    before = w.tree(0)
    path = w.lab.names.live(w.b.store, 1)
    with use(path, w) as (write, by):
        for i in range(3):
            w.change()
            write(b"written there %d" % i)
            postponed(w, w.run(want=75), by, w.lab.names.volname(1))
            assert w.tree(0) == before, "the volume that is not used moved on"
            assert not w.lab.asides(w.b.store), w.lab.asides(w.b.store)
        write(b"the last thing that was written")
    kept = w.tree(1)
    w.run()
    w.proved()
    asides = w.lab.asides(w.b.store)
    assert [n for n, _ in asides] == [1], asides
    assert not treelab.differences(kept, w.tree(*asides[0])), treelab.differences(kept, w.tree(*asides[0]))


def at_its_place(w):
    """a file system that is but mounted where it belongs is no use of it"""
    w.run()
    w.lab.names.live(w.b.store, 1)
    w.change()
    w.run()
    w.proved()


def play(kind, f, *more):
    with rig.Cluster(storage=kind, ssh=False) as c:
        return f(Used(c, kind), *more)


def play_container(kind, f, *more):
    with rig.Cluster(storage=kind, ssh=False) as c:
        return f(Container(c), *more)


def stories(kind):
    """(what, where, how it is played)"""
    for use, kinds, is_tree in FORMS:
        how, story = (play_container, trees) if is_tree else (play, disks)
        if kind in kinds:
            yield use, f"a {'tree' if is_tree else 'disk'} on {kind}", lambda h=how, s=story, u=use: h(kind, s, contextlib.contextmanager(u))
    for story in (removed, fails_often, comes_late, plan_tells, *([reader] if kind in FILES else [])):
        yield story, kind, lambda s=story: play(kind, s)
    if kind == "zfspool":
        yield at_its_place, kind, lambda: play_container(kind, at_its_place)


for storage in STORAGES:
    for what, where, test in stories(storage):
        if not ONLY or what.__name__ in ONLY:
            rig.check(f"{what.__name__} of {where}: {what.__doc__}", test, needs=("root", storage) if storage != "plain" else ("root",))
rig.main()
