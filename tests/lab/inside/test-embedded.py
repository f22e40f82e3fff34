#!/usr/bin/env python3
"""Containers on ZFS whose system attributes fit into block pointers: `zfs send -e` of OpenZFS 2.3 and later loses them (src/volume/zfs/zfs.h,
"Embedded blocks"). Nothing is lost in any stream of ours; a replica of a version that sent so is found, and made whole by one run.

Such a version is played by a `zfs` that adds -e to what sends. The long form plays all, the short form some."""
# deadline: 2400
import contextlib
import os
import re
import signal
import subprocess

import rig
import treefacts
from treelab import TreeLab

JOB = "200-0"
LOST = "in which OpenZFS loses"


class World:
    def __init__(self, c, key=None):
        self.c, self.a, self.b = c, c.node("pve1"), c.node("pve2")
        self.owner, self.asides = self.a, []
        self.lab = TreeLab("zfspool", c.storage_id, self.a.store, self.b.store, self.write_guest, seed=rig.SEED)
        if key:
            self.lab.names.create = lambda store, n: rig.sh("zfs", "create", "-o", "acltype=posixacl", "-o", "xattr=sa", *key, self.lab.names.full(store, n))
        self.lab.add_volume(files=1)
        self.fill("first")
        self.a.pvesr("create-local-job", JOB, "pve2", check=True)

    def write_guest(self, text):
        self.c.write_guest(self.owner.name, 200, text, kind="lxc")

    def path(self, *names):
        return os.path.join(self.lab.live(0), *names)

    def fill(self, name, count=12):
        """A folder of what can be lost, some of each."""
        os.mkdir(self.path(name))
        for i in range(count):
            os.symlink("x" * (200 + 60 * i), self.path(name, f"link{i}"))
            for kind, size in (("small", 10 + 330 * i), ("empty", 0), ("large", 300000)):
                if kind != "large" or i < 3:
                    with open(self.path(name, f"{kind}{i}"), "wb") as f:
                        f.write(self.lab.random.randbytes(size))
                    self.spill(name, f"{kind}{i}")
        os.mkdir(self.path(name, "folder"))
        self.spill(name, "folder")
        os.mkdir(self.path(name, "plain"))

    def spill(self, *names, letter=b"a"):
        """An attribute for which the file's node has no room, and which a block pointer has."""
        os.setxattr(self.path(*names), "user.spilled", letter * 900)

    def touch(self, name):
        """Change some of it: most of the files stay as they are."""
        os.unlink(self.path(name, "link0"))
        os.symlink("y" * 500, self.path(name, "link0"))
        with open(self.path(name, "small1"), "r+b") as f:
            f.write(b"changed")
        os.chmod(self.path(name, "small2"), 0o4711)
        old, new = sorted((self.path(name, n) for n in ("small3", "moved")), key=os.path.exists, reverse=True)
        os.rename(old, new)
        self.spill(name, "small4", letter=self.lab.random.choice((b"b", b"c", b"d")))
        if "user.spilled" in os.listxattr(self.path(name, "small5")):
            os.removexattr(self.path(name, "small5"), "user.spilled")
        self.spill(name, "plain")

    def run(self, want=0):
        done = self.owner.pvesr("run", "--id", JOB)
        assert (done.returncode == 0) == (want == 0), f"exit {done.returncode}: {done.stderr}"
        return self.log()

    def log_path(self):
        return os.path.join(self.owner.log_dir, JOB)

    def log(self):
        with open(self.log_path()) as f:
            return f.read()

    def whole(self):
        """An ordinary run, and the replica is as the source is."""
        log = self.run()
        assert "full sync" not in log and LOST not in log, log
        self.proved()

    def anew(self):
        """A run that makes the replica anew, as the plan said."""
        said = self.owner.pvesr("plan", JOB, check=True).stdout
        assert LOST in said and "everything is sent anew" in said and "in full: to take the place of the replica" in said, said
        log = self.run()
        assert "full sync" in log and "everything is sent anew" in log, log
        self.proved()
        return log

    def proved(self):
        faults = self.lab.faults() + [f"kept aside: {a}" for a in self.lab.asides(self.lab.target) if a not in self.asides]
        assert not faults, f"{faults}: {self.log()}"

    def lost(self, store=None):
        """What the live replica has lost of what its newest point was on the source."""
        with self.lab.names.opened(store or self.lab.target, 0) as replica:
            return treefacts.differences(self.lab.tree(self.lab.source, 0, self.lab.point(self.lab.source, 0)), treefacts.tree(replica), limit=1000)

    def move(self):
        """The guest's file is moved by hand to the other node."""
        other = self.b if self.owner is self.a else self.a
        self.c.move_guest(200, self.owner.name, other.name, kind="lxc")
        self.lab.turn_round()
        self.owner = other

    def full(self, node, snap=None):
        return self.lab.names.full(node.store, 0, snap)

    def get(self, key, name):
        return self.lab.names.get(key, name)[0]

    def stage(self):
        return f"{self.lab.target}/pvesr-stage-{self.lab.names.name(0)}"

    def damage(self, snapshots=False):
        """What the earlier version leaves: a first sync and an increment."""
        with embedding(self.c):
            self.run()
            assert self.lost(), "nothing was lost: is the fault mended in this OpenZFS?"
            self.believe()
            if snapshots:
                self.lab.take_guest_snapshot()
            self.touch("first")
            self.fill("second")
            log = self.run()
        assert "full sync" not in log, log
        lost = self.lost()
        assert any("first/link9" in line for line in lost) and any("second/" in line for line in lost), lost

    def believe(self):
        """Let the replica pass for one that is whole."""
        live = self.full(self.c.node("pve2" if self.owner is self.a else "pve1"))
        rig.sh("zfs", "set", f"pvesr:whole={self.get('pvesr:base', live)}", live)


@contextlib.contextmanager
def played(c, words):
    """`zfs` is a shell script with these lines before the real command."""
    real, played = os.path.join(c.dir, "zfs"), os.path.join(c.dir, "zfs-played")
    place = rig.sh("sh", "-c", "command -v zfs").strip()
    rig.sh("cp", place, real)
    with open(played, "w") as f:
        f.write(f'#!/bin/sh\n{words.replace("REAL", real)}\nexec {real} "$@"\n')
    os.chmod(played, 0o755)
    rig.sh("mount", "--bind", played, place)
    try:
        yield
    finally:
        rig.sh("umount", place)


def embedding(c):
    """`zfs send` is `zfs send -e`."""
    return played(c, '[ "$1" = send ] && [ "$2" != -nvt ] && [ "$2" != -t ] && shift && exec REAL send -e "$@"')


@contextlib.contextmanager
def world(storage="zfspool", key=None):
    with rig.Cluster(storage=storage, ssh=False) as c:
        yield World(c, key(c) if key else None)


def cut(w):
    """A run is killed in the middle of its transfer: the token of the stage."""
    w.owner.pvesr("update", JOB, "--rate", "1", check=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(w.log_path())
    run = w.owner.popen("run", "--id", JOB)
    rig.wait_for(lambda: run.poll() is not None or (os.path.exists(w.log_path()) and re.search(r"\b([5-9]|[1-9]\d)\.\d MiB sent,", w.log())),
                 "a part of the transfer", seconds=120)
    assert run.poll() is None, f"the run ended before it could be cut: {w.log()}"
    run.send_signal(signal.SIGKILL)
    run.wait()
    rig.wait_for(lambda: w.get("receive_resume_token", w.stage()) not in ("", "-"), "the token", seconds=60)
    rig.wait_for(lambda: subprocess.run(["pgrep", "-f", "zfs (send|receive)"], stdout=subprocess.DEVNULL, check=False).returncode, "the end of zfs",
                 seconds=60)
    w.owner.pvesr("update", JOB, "--delete", "rate", check=True)
    return w.get("receive_resume_token", w.stage())


def write_big(w, name="big"):
    with open(w.path(name), "wb") as f:
        for _ in range(24):
            f.write(w.lab.random.randbytes(1 << 20))


def told(token):
    return rig.sh("zfs", "send", "-nvt", token)


def changes(w):
    w.proved()
    for i, name in enumerate(("second", "third")):
        w.touch("first" if i == 0 else "second")
        w.fill(name)
        w.lab.take_guest_snapshot()
        w.spill(name, "small9", letter=b"c")
        w.whole()
    w.lab.change(0)
    w.whole()


def plain():
    """full and increments, also of files that the increment did not touch"""
    with world() as w:
        w.run()
        changes(w)


def encrypted():
    """the same, encrypted by each node's key"""
    with world("zfscrypt") as w:
        w.run()
        changes(w)


def raw():
    """the same, encrypted with a key that the target has not"""
    with world(key=lambda c: c.encryption(c.node("pve1"))) as w:
        w.run()
        w.touch("first")
        w.fill("second")
        w.run()
        assert w.get("keystatus", w.full(w.b)) == "unavailable"
        rig.sh("zfs", "load-key", "-L", "file://" + os.path.join(w.a.dir, "key"), w.full(w.b))
        assert not w.lost(), w.lost()


def resumed():
    """a first sync and an increment that were cut go on, and nothing is lost"""
    with world() as w:
        for name in ("one", "two"):
            write_big(w, name)
            w.fill("before-" + name)
            assert "embedok" not in told(cut(w))
            assert "of an interrupted transfer" in w.run()
            w.proved()
        w.fill("last")
        w.whole()


def resumed_with_another_version():
    """what an earlier version was cut in is not gone on with, in a first sync nor in an increment"""
    with world() as w:
        for name in ("one", "two"):
            write_big(w, name)
            w.fill("before-" + name)
            with embedding(w.c):
                assert "embedok" in told(cut(w))
            log = w.run()
            assert "with embedded blocks" in log and "going on" not in log and LOST not in log, log
            w.proved()
        w.touch("first")
        w.whole()


def made_whole():
    """a replica of an earlier version is found, the plan says so, and one run makes it whole; then all is as ever, also after a move and back"""
    with world() as w:
        w.damage(snapshots=True)
        log = w.anew()
        assert "kept aside" not in log, log
        for node in (w.b, w.a):
            w.touch("second")
            w.whole()
            w.move()
            w.fill(f"on-{node.name}")
            w.whole()
        w.lab.drop_guest_snapshot("snap0")
        w.whole()


def history():
    """its older restore points, which may be damaged, too, are not thrown away"""
    with world() as w:
        w.a.pvesr("update", JOB, "--keep", "last=5", check=True)
        w.damage()
        points = sorted(s for _, s in w.lab.entries(w.b.store)[0] if s)
        assert len(points) == 2, points
        had = sorted(w.lab.tree(w.b.store, 0, points[0]))
        w.touch("second")
        log = w.run()
        w.asides = w.lab.asides(w.b.store)
        (_, aside), = w.asides
        assert aside == "diverged_" + points[0].removeprefix("__replicate_").removesuffix("__"), aside
        assert f"'{points[0]}' on the target is kept aside" in log, log
        assert sorted(w.lab.tree(w.b.store, 0, aside, fresh=True)) == had
        assert aside in w.a.pvesr("status", check=True).stdout
        assert not w.lost()
        w.touch("first")
        w.run()
        assert not w.lost()
        rig.sh("zfs", "destroy", "-r", w.lab.names.zvols.kept(w.b.store)[0, aside])


def written():
    """what was written to it is not thrown away"""
    with world() as w:
        w.damage()
        live = w.lab.names.place(w.b.store, 0)
        rig.sh("zfs", "mount", w.full(w.b))
        with open(os.path.join(live, "by hand"), "w") as f:
            f.write("on the target")
        have = sorted(treefacts.tree(live))
        rig.sh("zfs", "unmount", w.full(w.b))
        w.run()
        w.asides = w.lab.asides(w.b.store)
        (_, aside), = w.asides
        assert b"by hand" in have and sorted(w.lab.tree(w.b.store, 0, aside)) == have
        assert not w.lost()


def interrupted():
    """it is cut, and goes on where it was; until it is done the target shows what it had"""
    with world() as w:
        w.damage(snapshots=True)
        write_big(w)
        with w.lab.names.opened(w.b.store, 0) as replica:
            had = sorted(treefacts.tree(replica))  # what ZFS reads of a damaged file is another thing each time
        cut(w)
        with w.lab.names.opened(w.b.store, 0) as replica:
            assert sorted(treefacts.tree(replica)) == had
        said = w.a.pvesr("plan", JOB, check=True).stdout
        assert "(resumed)" in said and LOST in said, said
        log = w.run()
        assert "of an interrupted transfer" in log, log
        w.proved()
        w.touch("second")
        w.whole()


def interrupted_within_commit():
    """the target dies at each step with which the new copy takes its place: the next run ends it"""
    for step in ('"rename -- "*/subvol-200-disk-0" "*', '"rename -- "*/pvesr-stage-*', '*"program "*/pvesr-old-*|*"destroy "*/pvesr-old-*'):
        with world() as w:
            w.damage(snapshots=True)
            with played(w.c, f'case "$*" in {step}) exit 1;; esac'):
                w.run(want=1)
            log = w.run()
            assert "kept aside" not in log, log
            w.proved()
            w.touch("first")
            w.whole()


def moved_to_it():
    """the guest is moved to such a replica: what its former node has is sound, and is kept aside; moved back, what was damaged is made whole, once"""
    with world() as w:
        w.damage()
        sound = w.lab.tree(w.a.store, 0, w.lab.point(w.a.store, 0))
        w.move()
        with open(w.path("new"), "w") as f:
            f.write("written where the replica was")
        log = w.run()
        assert "full sync" not in log and "the target has its state from before" in log, log
        asides = w.lab.asides(w.a.store)
        (_, aside), = asides
        assert w.lab.tree(w.a.store, 0, aside) == sound
        with w.lab.names.opened(w.a.store, 0) as replica:
            assert b"new" in treefacts.tree(replica)
        assert aside in w.b.pvesr("status", check=True).stdout
        log = w.run()
        assert LOST not in log and "full sync" not in log and w.lab.asides(w.a.store) == asides, log
        w.move()
        w.asides = []
        w.touch("first")
        w.anew()
        for name in ("third", "fourth"):
            w.fill(name)
            w.whole()
            w.move()
            w.asides = w.lab.asides(w.lab.target)
            w.touch(name)
            w.whole()


def both_damaged():
    """the guest was moved with the earlier version, there and back: neither replica is made anew of the other, and each run says so"""
    with world() as w:
        w.damage()
        w.move()
        with embedding(w.c):
            w.fill("on-pve2")
            w.run()
        for name in ("third", "fourth"):
            w.fill(name)
            log = w.run()
            assert "full sync" not in log and "were both received" in log and "kept aside" not in log, log
        w.c.add_node("pve3")
        w.b.pvesr("create-local-job", "200-1", "pve3", check=True)
        assert w.b.pvesr("run", "--id", "200-1").returncode, "was a damaged filesystem sent whole?"
        assert "refuses a whole copy" in w.b.pvesr("plan", "200-1", check=True).stdout
        rig.sh("zfs", "inherit", "pvesr:owner", w.full(w.b))
        said = w.b.pvesr("plan", JOB, check=True).stdout
        assert "in full: to take the place of the replica" in said, said


def has_fault():
    with open("/sys/module/zfs/version") as f:
        return tuple(map(int, re.match(r"(\d+)\.(\d+)", f.read()).groups())) >= (2, 3)


rig.NEEDS["fault"] = (has_fault, "needs OpenZFS 2.3 or later, whose fault it is")
LONG = os.environ.get("PVESR_LAB_LONG") == "1"
SHORT = (plain, made_whole)
for function in (plain, encrypted, raw, resumed, resumed_with_another_version, made_whole, history, written, interrupted, interrupted_within_commit,
                 moved_to_it, both_damaged):
    if LONG or function in SHORT:
        rig.check(f"embedded blocks, {function.__name__}: {function.__doc__} (seed {rig.SEED})", function,
                  needs=("root", "zfspool", *(() if function in (plain, encrypted, raw, resumed) else ("fault",))))
rig.main()
