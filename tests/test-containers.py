#!/usr/bin/env python3
"""Containers: their mount points are directory trees, sent as btrfs streams and applied by a receiver of our own, or sent by ZFS.

PVESR_CONTAINER_ROUNDS (15) and PVESR_TEST_SEED choose the length and the story, PVESR_TEST_STORAGES (btrfs) where it plays,
PVESR_TEST_SCENARIOS (all) what.
"""
import os
import signal
import subprocess

import rig
import treefacts
from byhand import READ_ONLY, set_subvolume_flags
from treelab import TreeLab

ROUNDS = int(os.environ.get("PVESR_CONTAINER_ROUNDS", "15"))
SCENARIOS = []


def scenario(f):
    SCENARIOS.append((f, None))
    return f


def scenario_on(*kinds):
    def add(f):
        SCENARIOS.append((f, kinds))
        return f
    return add


class World:
    def __init__(self, c):
        self.c, self.owner = c, "pve1"
        self.kept_aside = []
        self.a, self.b = c.node("pve1"), c.node("pve2")
        self.lab = TreeLab(c.storage, c.storage_id, self.a.store, self.b.store, self.write_guest, seed=rig.SEED)
        self.lab.add_volume()
        self.a.pvesr("create-local-job", "200-0", "pve2", check=True)

    def write_guest(self, text):
        self.c.write_guest(self.owner, 200, text, kind="lxc")

    def node(self):
        return self.c.node(self.owner)

    def run(self, want=0):
        done = self.node().pvesr("run", "--id", "200-0")
        assert (done.returncode == 0) == (want == 0), f"exit {done.returncode}: {done.stderr}"
        return done

    def proved(self):
        """The replica is right, and nobody took it for written to because it was read."""
        faults = self.lab.faults() + [f"kept aside: {a}" for a in self.lab.asides(self.lab.target) if a not in self.kept_aside]
        assert not faults, faults

    def log(self):
        with open(os.path.join(self.node().log_dir, "200-0")) as f:
            return f.read()

    def move(self, by_hand=True):
        """The guest's configuration is moved to the other node."""
        old, self.owner = self.owner, "pve2" if self.owner == "pve1" else "pve1"
        if by_hand:
            self.c.move_guest(200, old, self.owner, kind="lxc")
        else:
            self.c.node(self.owner).pvesr("failover", "200", "--force", check=True)
        self.lab.turn_round()

    def note_pid(self):
        """From now on the agent's process id is in the file returned."""
        path, script = os.path.join(self.c.dir, "agent.pid"), os.path.join(self.c.dir, "note-pid")
        with open(script, "w") as f:
            f.write(f'#!/bin/sh\necho $$ >{path}.new && mv {path}.new {path} && exec "$@"\n')
        os.chmod(script, 0o755)
        self.c.set_agent("pve2", [script])
        return path

    def in_transfer(self):
        """A run that is in the middle of its transfer."""
        growing = self.lab.names.receiving(self.lab.target)
        p = subprocess.Popen(self.node().argv("pvesr", "run", "--id", "200-0"), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.c.cleanup.callback(rig.stop, p)
        rig.wait_for(lambda: p.poll() is not None or growing(), "the middle of the transfer")
        assert p.poll() is None, f"the run ended before it could be disturbed: exit {p.returncode}: {p.stderr.read()}{self.log()}"
        return p

    def write_big(self, mib=24):
        """A file that takes its time; the random changes may have made anything of the last one, also what cannot be removed."""
        path = os.path.join(self.lab.live(0), "big")
        self.lab.gen.freed(os.fsencode(path))
        subprocess.run(["rm", "-rf", path], check=True)
        with open(path, "xb") as f:
            f.write(os.urandom(mib << 20))


@scenario
def story(w):
    """a first sync, random changes of the files, guest snapshots, a second mount point"""
    w.run()
    w.proved()
    assert "guest => CT 200, running => 0" in w.log() and "full sync" in w.log(), w.log()
    for i in range(ROUNDS):
        if i == ROUNDS // 3:
            w.lab.add_volume()
        w.lab.step()
        w.run()
        try:
            w.proved()
        except AssertionError as e:
            raise AssertionError(f"round {i}: {e}") from None
        assert "incremental sync" in w.log() or "nothing changed" in w.log(), w.log()
        assert ("full sync" in w.log()) == (i == ROUNDS // 3), w.log()


@scenario
def copies(w):
    """a restore point of a container is shown read-only and copied, file by file"""
    w.run()
    point = w.lab.point(w.b.store, 0)
    want = w.lab.tree(w.b.store, 0, point)
    folder = os.path.join(w.c.dir, "shown")
    os.mkdir(folder)
    path, = w.b.pvesr("mount", "200", point, folder, check=True).stdout.split()
    assert treefacts.tree(path) == want and os.statvfs(path).f_flag & os.ST_RDONLY
    subprocess.run(["umount", path], check=True)
    out = w.b.pvesr("clone", "200", point, "900", check=True).stdout
    assert out == f"{w.c.storage_id}:900/subvol-900-disk-0.subvol\n" or out.endswith("subvol-900-disk-0\n"), out
    copy = type(w.lab.names)(900).live(w.b.store, 0)
    assert treefacts.tree(copy) == want
    with open(os.path.join(copy, "written"), "w") as f:
        f.write("to a copy")
    w.lab.step()
    w.run()
    w.proved()


@scenario
def killed(w):
    """kill -9 of the source and of the agent in the middle of a first sync and of an increment: the next run repairs it"""
    pid_file = w.note_pid()
    kept = None
    for phase in ("first", "increment"):
        for victim in ("source", "agent"):
            w.lab.step()
            w.write_big()
            w.a.pvesr("update", "200-0", "--rate", 1, check=True)
            point = w.lab.point(w.b.store, 0)
            kept = point and w.lab.tree(w.b.store, 0, point)
            p = w.in_transfer()
            if victim == "source":
                p.kill()
            else:
                with open(pid_file) as f:
                    os.kill(int(f.read()), signal.SIGKILL)
            assert p.wait(timeout=60 * rig.SLOW) != 0
            if kept:
                assert w.lab.tree(w.b.store, 0, point, fresh=True) == kept, f"{phase}: the restore point was harmed"
                assert w.lab.tree(w.b.store, 0) == kept, f"{phase}: the live replica was harmed"
            w.a.pvesr("update", "200-0", "--delete", "rate", check=True)
            if (phase, victim) != ("first", "source"):
                w.run()
                w.proved()


@scenario
def failover(w):
    """the guest is moved to the other node, and back by hand: only changes travel, what was lost is kept aside"""
    w.lab.add_volume()
    w.lab.step()
    w.run()
    w.proved()
    with open(os.path.join(w.lab.live(0), "lost"), "w") as f:
        f.write("with the node")
    lost = w.lab.tree(w.lab.source, 0)
    for by_hand in (False, True):  # to pve2 and back
        w.move(by_hand)
        for again in (False, True):
            w.lab.step(drop=again)  # what is deleted before the first run towards its maker stays there
            w.run()
            w.kept_aside = w.lab.asides(w.a.store)
            w.proved()
            assert "full sync" not in w.log(), w.log()
    (n, snap), = w.lab.asides(w.a.store)
    assert n == 0 and w.lab.tree(w.a.store, 0, snap) == lost, "what is kept aside is not what was lost"
    assert not w.lab.asides(w.b.store)


@scenario
def planned_move(w):
    """moved after a last sync of each of its two jobs: the other job's point holds what the base holds, and is not kept aside"""
    w.c.add_node("pve3")
    w.a.pvesr("create-local-job", "200-1", "pve3", check=True)
    w.run()
    w.a.pvesr("run", "--id", "200-1", check=True)
    w.move()
    w.run()
    assert not w.lab.asides(w.a.store), w.log()
    assert w.lab.tree(w.lab.source, 0) == w.lab.tree(w.lab.target, 0) and "full sync" not in w.log(), w.log()


@scenario
def old_owner_returns(w):
    """the old owner comes back with a snapshot that was never acknowledged, later writes, and a guest snapshot since deleted"""
    snap = w.lab.take_guest_snapshot()
    w.run()
    w.proved()
    w.write_big()
    w.a.pvesr("update", "200-0", "--rate", 1, check=True)
    p = w.in_transfer()
    p.kill()
    p.wait()
    w.a.pvesr("update", "200-0", "--delete", "rate", check=True)
    alone = {"an unacknowledged snapshot": w.lab.tree(w.lab.source, 0)}
    with open(os.path.join(w.lab.live(0), "later"), "w") as f:
        f.write("than the snapshot")
    alone["later writes"] = w.lab.tree(w.lab.source, 0)
    w.move()
    for again in (False, True):
        w.lab.step(drop=False)
        if again:
            w.lab.drop_guest_snapshot(snap)
        w.run()
        w.kept_aside = w.lab.asides(w.a.store)
        w.proved()
        assert "full sync" not in w.log(), w.log()
        kept = [w.lab.tree(w.a.store, n, aside) for n, aside in w.kept_aside]
        lost = [what for what, tree in alone.items() if tree not in kept]
        assert not lost and len(kept) == 2, f"lost: {lost}, kept aside: {w.kept_aside}"


@scenario
def bind_mount(w):
    """a bind mount is refused, with replicate=0 it is skipped, and it does not block the removal of the job"""
    w.lab.more = ["mp5: /srv/data,mp=/srv"]
    w.lab.save()
    done = w.run(want=1)
    assert "unable to replicate mountpoint type 'bind'" in done.stderr, done.stderr
    w.lab.more = ["mp5: /srv/data,mp=/srv,replicate=0"]
    w.lab.save()
    w.run()
    w.proved()
    w.lab.more = ["mp5: /srv/data,mp=/srv"]
    w.lab.save()
    w.a.pvesr("delete", "200-0", check=True)
    w.run()
    assert w.a.pvesr("list", check=True).stdout.count("\n") == 1
    assert w.lab.entries(w.b.store) == (set(), []), w.lab.entries(w.b.store)
    assert w.lab.entries(w.a.store) == ({(0, None)}, []), w.lab.entries(w.a.store)


def write_in(path):
    """A file is changed in a snapshot, which looks afterwards as before."""
    set_subvolume_flags(path, 0)
    with open(os.path.join(path, "by-hand"), "xb") as f:
        f.write(b"somebody was here")
    os.sync()
    set_subvolume_flags(path, READ_ONLY)


@scenario_on("btrfs")
def changed_there(w):
    """somebody changed a file in the restore point on the target: everything is sent, and that is kept aside"""
    w.lab.add_volume()
    w.run()
    path = w.lab.names.path(w.b.store, 0, w.lab.point(w.b.store, 0))
    write_in(path)
    w.lab.step()
    w.run()
    asides = w.lab.asides(w.b.store)
    assert {n for n, _ in asides} == {0}, asides
    assert any(os.path.exists(os.path.join(w.lab.names.path(w.b.store, *aside), "by-hand")) for aside in asides)
    w.kept_aside = asides
    w.proved()
    assert "is not what it was" in w.log() and w.log().count("full sync") == 1, w.log()
    w.lab.step()
    w.run()
    w.proved()
    assert "full sync" not in w.log(), w.log()


@scenario_on("btrfs")
def changed_here(w):
    """somebody changed a file in the restore point on the source: what it would say of the changes since is not believed"""
    w.run()
    write_in(w.lab.names.path(w.a.store, 0, w.lab.point(w.a.store, 0)))
    w.lab.step()
    w.run()
    w.proved()
    assert "on this node was written to" in w.log() and "full sync" in w.log(), w.log()


@scenario_on("btrfs")
def balanced(w):
    """the file system was balanced, which writes all its trees anew: that is no change"""
    w.run()
    for node in (w.a, w.b):
        subprocess.run(["btrfs", "balance", "start", "--full-balance", node.store], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    w.lab.step()
    w.run()
    w.proved()
    assert "full sync" not in w.log() and "written to" not in w.log(), w.log()


@scenario_on("zfspool")
def kept_is_read(w):
    """somebody looks into what was kept aside, which sets access times: it is copied all the same when its base goes, and stands on its own"""
    w.a.pvesr("update", "200-0", "--keep", "last=2", check=True)
    w.run()
    with open(os.path.join(w.lab.names.live(w.b.store, 0), "by-hand"), "w", encoding="utf-8") as f:
        f.write("x")
    w.lab.step()
    w.run()
    (n, aside), = w.kept_aside = w.lab.asides(w.b.store)
    tree = w.lab.tree(w.b.store, n, aside)
    kept = w.lab.names.where(w.b.store, n, aside).partition("@")[0]
    assert w.lab.names.get("origin", kept) != ["-"], "it stands on its own already"
    rig.sh("zfs", "set", "atime=on", "relatime=off", kept)
    rig.sh("zfs", "mount", kept)
    subprocess.run(["ls", "-R", w.lab.names.get("mountpoint", kept)[0]], stdout=subprocess.DEVNULL, check=True)
    rig.sh("cat", os.path.join(w.lab.names.get("mountpoint", kept)[0], "by-hand"))
    rig.sh("zfs", "unmount", kept)
    rig.sh("zpool", "sync", kept.partition("/")[0])
    assert w.lab.names.get("written", kept) != ["0"], "nothing was written by reading"
    for _ in range(3):
        w.lab.step()
        w.run()
    there = rig.sh("zfs", "list", "-H", "-r", "-t", "all", "-o", "name,origin", w.b.store)
    kept = w.lab.names.where(w.b.store, n, aside).partition("@")[0]
    assert w.lab.names.get("origin", kept) == ["-"] and "pvesr-base-" not in there, there
    assert w.lab.asides(w.b.store) == w.kept_aside and w.lab.tree(w.b.store, n, aside) == tree
    assert w.lab.tree(w.lab.source, 0) == w.lab.tree(w.lab.target, 0)


def play(f, storage):
    with rig.Cluster(storage=storage, ssh=False) as c:
        f(World(c))


ONLY = os.environ.get("PVESR_TEST_SCENARIOS", "").split()
for kind in os.environ.get("PVESR_TEST_STORAGES", "btrfs").split():
    for function in [f for f, kinds in SCENARIOS if (not ONLY or f.__name__ in ONLY) and (not kinds or kind in kinds)]:
        rig.check(f"container on {kind}, {function.__name__}: {function.__doc__} (seed {rig.SEED})", lambda f=function, k=kind: play(f, k),
                  needs=("root", kind))
rig.main()
