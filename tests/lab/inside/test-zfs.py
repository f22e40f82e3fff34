#!/usr/bin/env python3
"""Zvols from one pool to another, what the storages without ZFS have no counterpart of: resume tokens, bookmarks, encryption, bases that
somebody destroyed, one instant for all volumes."""
# deadline: 2800
import contextlib
import json
import os
import re
import signal
import subprocess

import rig
import told
from guestblocks import device
from guestlab import GuestLab, same_file

JOB = "100-0"


class World:
    def __init__(self, c):
        self.c = c
        self.a, self.b = c.node("pve1"), c.node("pve2")
        self.owner = self.a
        self.lab = GuestLab(c.storage, c.storage_id, self.a.store, self.b.store, lambda text: c.write_guest(self.owner.name, 100, text), seed=11)

    def create(self):
        self.a.pvesr("create-local-job", JOB, "pve2", check=True)

    def run(self, want=0, **more):
        done = self.owner.pvesr("run", "--id", JOB, **more)
        assert (done.returncode == 0) == (want == 0), f"exit {done.returncode}: {done.stderr}{done.stdout}"
        return done

    def log(self):
        with open(os.path.join(self.owner.log_dir, JOB)) as f:
            return f.read()

    def incremental(self, **more):
        self.run()
        assert "incremental sync" in self.log() and "full sync" not in self.log(), self.log()
        self.proved(**more)

    def proved(self, **more):
        faults = self.lab.faults(**more)
        assert not faults, faults

    def move(self, node):
        """The guest's file is moved by hand."""
        self.c.move_guest(100, self.owner.name, node.name)
        self.lab.source, self.lab.target = node.store, self.owner.store
        self.owner = node

    def volume(self, node, snap=None):
        return self.lab.names.dataset(node.store, 0, snap)

    def point(self, node):
        """The newest replication snapshot's name."""
        return sorted(s for n, s in self.lab.names.entries(node.store)[0] if n == 0 and s and s.startswith("__replicate_"))[-1]

    def get(self, key, name):
        return self.lab.names.get(key, name)


@contextlib.contextmanager
def world(storage="zfspool", disk=True):
    with rig.Cluster(storage=storage, ssh=False) as c:
        w = World(c)
        if disk:
            w.lab.add_disk()
            w.create()
        yield w


def random_disk(w, mib):
    w.lab.add_disk(size=mib << 20)
    with open(w.lab.live(0), "r+b") as f:
        for _ in range(mib):
            f.write(w.lab.random.randbytes(1 << 20))


def stream_size(*options):
    with subprocess.Popen(["zfs", "send", "-c", "-L", *options], stdout=subprocess.PIPE) as p:
        return sum(len(block) for block in iter(lambda: p.stdout.read(1 << 20), b""))


def cut(w, stage):
    """A run is killed in the middle of its transfer; returns the token that is left on the target."""
    w.a.pvesr("update", JOB, "--rate", "4", check=True)
    run = w.a.popen("run", "--id", JOB)
    rig.wait_for(lambda: int(w.get("used", stage) or 0) > 6 << 20, "the first quarter of the transfer", seconds=120)
    run.send_signal(signal.SIGKILL)
    run.wait()
    rig.wait_for(lambda: w.get("receive_resume_token", stage) not in ("", "-"), "the token", seconds=60)
    rig.wait_for(lambda: subprocess.run(["pgrep", "-x", "zfs"], stdout=subprocess.DEVNULL, check=False).returncode, "the end of zfs", seconds=60)
    w.a.pvesr("update", JOB, "--delete", "rate", check=True)
    return w.get("receive_resume_token", stage)


def told_bytes(token):
    return int(re.search(r"bytes = (\w+)", rig.sh("zfs", "send", "-nvt", token))[1], 0)


def resumed():
    """a first sync that was cut goes on by token and sends at most 1.05 times what was missing"""
    with world(disk=False) as w:
        random_disk(w, 64)
        w.create()
        token = cut(w, f"{w.b.store}/pvesr-stage-vm-100-disk-0")
        missing = stream_size(w.volume(w.a, w.point(w.a))) - told_bytes(token)
        w.run()
        assert "of an interrupted transfer" in w.log(), w.log()
        w.proved()
        sent = json.loads(w.a.pvesr("history", "--limit", "1", "--output-format", "json", check=True).stdout)[0]["bytes"]
        print(f"# missing {missing}, sent {sent}: {sent / missing:.3f}", flush=True)
        assert missing <= sent <= 1.05 * missing, (missing, sent)


def foreign_token():
    """a target that offers a token of somebody else's dataset does not get that"""
    with world(disk=False) as w:
        random_disk(w, 64)
        w.create()
        stage = f"{w.b.store}/pvesr-stage-vm-100-disk-0"
        cut(w, stage)
        mark = w.get("pvesr:stage", stage)
        rig.sh("zfs", "destroy", "-r", stage)
        secret = f"{w.a.store}/vm-200-disk-0"
        rig.sh("zfs", "create", "-s", "-V", "32m", secret)
        with open(device(f"/dev/zvol/{secret}"), "r+b") as f:
            f.write(os.urandom(16 << 20))
        rig.sh("zfs", "snapshot", f"{secret}@s")
        with subprocess.Popen(["zfs", "send", f"{secret}@s"], stdout=subprocess.PIPE) as send:
            with subprocess.Popen(["zfs", "receive", "-s", "-u", "-o", f"pvesr:stage={mark}", stage], stdin=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL) as receive:
                receive.stdin.write(send.stdout.read(8 << 20))
                receive.stdin.close()
            send.kill()
        assert w.get("receive_resume_token", stage) != "-"
        w.run()
        assert "begins anew" in w.log() and "vm-200" in w.log(), w.log()
        rig.sh("zfs", "destroy", "-r", secret)
        w.proved()


def base_destroyed_on_source():
    """the base was destroyed by hand on the source: its bookmark is the base"""
    with world() as w:
        w.run()
        w.lab.write(0, 5)
        rig.sh("zfs", "destroy", w.volume(w.a, w.point(w.a)))
        w.incremental()
        w.lab.write(0, 5)
        w.incremental()
        marks = rig.sh("zfs", "list", "-H", "-o", "name", "-t", "bookmark", "-r", w.a.store).split()
        assert marks == [f"{w.volume(w.a)}#{w.point(w.a)}"], marks


def base_destroyed_on_target():
    """the base was destroyed by hand on the target: an older common point is the base; without one the run says what to do"""
    with world() as w:
        w.lab.take_guest_snapshot()
        w.lab.write(0, 5)
        w.run()
        w.lab.write(0, 5)
        rig.sh("zfs", "destroy", w.volume(w.b, w.point(w.b)))
        w.incremental(asides=True)
        w.lab.drop_guest_snapshot("snap0")
        w.run()
        lost = w.point(w.b)
        rig.sh("zfs", "destroy", w.volume(w.b, lost))
        before = copy(w)
        w.lab.write(0, 5)
        said = w.run(want=1).stderr
        assert "No common base snapshot on volume(s) st:vm-100-disk-0" in said and "Please" in said, said
        assert same_file(before, w.lab.replica(0)), "the replica was touched"


def base_destroyed_on_both():
    """the base was destroyed by hand on both sides: the run says what to do and touches nothing; renamed there, the replica stays"""
    with world() as w:
        w.run()
        for node in (w.a, w.b):
            rig.sh("zfs", "destroy", w.volume(node, w.point(node)))
        before = copy(w)
        said = w.run(want=1).stderr
        assert "No common base snapshot on volume(s) st:vm-100-disk-0" in said and "renamed there" in said, said
        assert same_file(before, w.lab.replica(0)), "the replica was touched"
        rig.sh("zfs", "rename", w.volume(w.b), f"{w.b.store}/by-hand")
        w.run()
        assert same_file(before, device(f"/dev/zvol/{w.b.store}/by-hand")), "what was renamed was touched"


def removed_with_aside():
    """the replica was written to, later the job is deleted: the replica goes, what was written by hand stays"""
    with world() as w:
        written, _ = keep_aside(w)
        w.lab.write(0, 3)
        w.run()
        w.a.pvesr("delete", JOB, check=True)
        w.run()
        found, odd = w.lab.names.entries(w.b.store)
        (n, snap), = [entry for entry in found if (entry[1] or "").startswith("diverged_")]
        assert (n, None) not in found and not odd, (found, odd)
        assert same_file(w.lab.names.aside(w.b.store, n, snap), written)


def taken_over_within_commit():
    """the target died within a commit, the guest was moved to it and wrote there: its disk is not exchanged for the stage"""
    with world() as w:
        w.run()
        live, point, stage = w.volume(w.b), w.point(w.b), f"{w.b.store}/pvesr-stage-vm-100-disk-0"
        guid = w.get("guid", w.volume(w.b, point))
        mark = f"pvesr:stage=1 {point} {int(guid):032x} - {JOB}"
        rig.sh("zfs", "clone", "-o", mark, f"{live}@{point}", stage)
        rig.sh("zfs", "promote", stage)
        w.move(w.b)
        w.lab.write(0, 5)
        before = os.path.join(w.c.dir, "before")
        rig.sh("cp", w.lab.live(0), before)
        w.run()
        assert same_file(w.lab.live(0), before), "the guest's disk was exchanged"
        w.proved(asides=True)


def cut_between_the_renames():
    """the target died within a commit, when the disk had no name: failover finds it"""
    with world() as w:
        w.run()
        kept = copy(w)
        rig.sh("zfs", "rename", w.volume(w.b), f"{w.b.store}/pvesr-old-vm-100-disk-0")
        w.b.pvesr("failover", "100", "--force", check=True)
        assert same_file(device(f"/dev/zvol/{w.volume(w.b)}"), kept)


def first_copy_abandoned():
    """a first copy was cut and the job is deleted: nothing of it stays"""
    with world(disk=False) as w:
        random_disk(w, 64)
        w.create()
        cut(w, f"{w.b.store}/pvesr-stage-vm-100-disk-0")
        w.a.pvesr("delete", JOB, check=True)
        w.run()
        assert w.lab.names.entries(w.b.store) == (set(), []), w.lab.names.entries(w.b.store)


def foreign_snapshots():
    """somebody takes snapshots of a replica, under names that are none here: they stay, and replication goes on"""
    names = ("before upgrade", "autosnap_2024-01-01_00:00:02_hourly")
    with world() as w:
        w.run()
        for name in names:
            rig.sh("zfs", "snapshot", f"{w.volume(w.b)}@{name}")
        for _ in range(2):
            w.lab.write(0, 5)
            w.run()
            assert same_file(w.lab.names.snapshot(w.a.store, 0, w.point(w.a)), w.lab.replica(0))
        w.a.pvesr("delete", JOB, check=True)
        w.run()
        left = rig.sh("zfs", "list", "-H", "-o", "name", "-t", "snapshot", "-r", w.b.store)
        assert all(f"@{name}\n" in left for name in names), left


def rolled_back():
    """to a guest snapshot, as Proxmox VE does it: it removes replication snapshots and knows of no bookmarks"""
    with world() as w:
        w.run()
        w.lab.take_guest_snapshot()
        for _ in range(2):
            w.lab.write(0, 5)
            w.run()
        w.lab.write(0, 5)
        rig.sh("zfs", "destroy", w.volume(w.a, w.point(w.a)))
        rig.sh("zfs", "rollback", w.volume(w.a, "snap0"))
        w.lab.names.look_anew(w.a.store, 0)
        w.incremental(asides=True)


def aside_copied():
    """what was written to the replica by hand is listed, and can be copied"""
    with world() as w:
        written, snap = keep_aside(w)
        w.b.pvesr("clone", "100", snap, "900", check=True)
        assert same_file(device(f"/dev/zvol/{w.b.store}/vm-900-disk-0"), written)


def make_linked(w):
    """Guest 900, a template with one disk, and guest 100, its linked clone; returns the template's dataset by node."""
    base = {node: f"{node.store}/base-900-disk-0" for node in (w.a, w.b)}
    rig.sh("zfs", "create", "-s", "-V", "16M", base[w.a])
    with open(device(f"/dev/zvol/{base[w.a]}"), "r+b") as f:
        f.write(w.lab.random.randbytes(8 << 20))
    rig.sh("zfs", "snapshot", f"{base[w.a]}@__base__")
    rig.sh("zfs", "clone", f"{base[w.a]}@__base__", w.volume(w.a))
    w.c.write_guest("pve1", 900, "template: 1\nscsi0: st:base-900-disk-0,size=16M\n")
    w.lab.write_config = lambda text: w.c.write_guest(w.owner.name, 100, text.replace("st:vm-100", "st:base-900-disk-0/vm-100"))
    w.lab.disks[0] = 16 << 20
    w.lab.write(0, 5)
    w.lab.save()
    return base


def linked():
    """a linked clone is sent as what differs from its template, and stands on the template's replica; after a move and back, too"""
    with world(disk=False) as w:
        base = make_linked(w)

        def proved():
            w.run()
            assert "incremental sync" in w.log() and "full sync" not in w.log(), w.log()
            assert same_file(w.lab.live(0), w.lab.replica(0))
            for node in base:
                assert w.get("origin", w.volume(node)) == f"{base[node]}@__base__"
                names = rig.sh("zfs", "list", "-H", "-r", "-o", "name", node.store)
                assert "/pvesr-" not in names, names

        w.create()
        said = w.run(want=1).stderr
        assert "'st:base-900-disk-0/vm-100-disk-0' is a linked clone" in said and "replicate the template there first" in said, said
        w.a.pvesr("create-local-job", "900-0", "pve2", check=True)
        w.a.pvesr("run", "--id", "900-0", check=True)
        assert same_file(device(f"/dev/zvol/{base[w.a]}"), device(f"/dev/zvol/{base[w.b]}"))
        proved()
        for change in (w.lab.take_guest_snapshot, lambda: w.move(w.b), lambda: w.move(w.a), lambda: w.a.pvesr("run", "--id", "900-0", check=True)):
            change()
            w.lab.write(0, 5)
            proved()
        volid = "st:base-900-disk-0/vm-100-disk-0"
        said = w.b.pvesr("prepare-local-job", JOB, volid, "--last_sync", w.point(w.a).strip("_").rpartition("_")[2], check=True).stdout
        assert list(json.loads(said.splitlines()[-1])) == [volid], said
        w.a.pvesr("delete", "900-0", check=True)
        done = w.a.pvesr("run", "--id", "900-0")
        assert done.returncode != 0 and "dependent clones" in done.stderr, done.stderr
        assert same_file(w.lab.live(0), w.lab.replica(0))
        for job in (JOB, "900-0"):
            if job == JOB:
                w.a.pvesr("delete", JOB, check=True)
            w.a.pvesr("run", "--id", job, check=True)
        left = rig.sh("zfs", "list", "-H", "-r", "-t", "all", "-o", "name", w.b.store).split()
        assert left == [w.b.store], left


def keep_aside(w):
    """Write to the replica of a first run; the next run keeps that aside: a copy of it, and its name."""
    w.run()
    w.lab.write(0, 3, path=w.lab.replica(0))
    written = copy(w)
    w.lab.write(0, 3)
    w.run()
    (_, snap), = [entry for entry in w.lab.names.entries(w.b.store)[0] if (entry[1] or "").startswith("diverged_")]
    return written, snap


def copy(w):
    path = os.path.join(w.c.dir, "copy")
    rig.sh("cp", w.lab.replica(0), path)
    return path


def encrypted():
    """encrypted on both nodes, by each node's key: full, increments, failover and back"""
    with world("zfscrypt") as w:
        w.run()
        w.proved()
        assert w.get("encryptionroot", w.volume(w.b)) == w.b.store
        w.lab.write(0, 5)
        w.incremental()
        for node in (w.b, w.a):
            w.move(node)
            w.lab.write(0, 5)
            w.incremental()


def raw():
    """encrypted with a key that the target has not: sent as stored; sent back as stored it would be damaged, so that is refused"""
    with world(disk=False) as w:
        names = w.lab.names
        w.lab.names.create = lambda store, n, size: rig.sh("zfs", "create", "-s", "-V", size, *w.c.encryption(w.a), names.dataset(store, n))
        w.lab.add_disk()
        w.create()
        w.run()
        for _ in range(2):
            w.lab.write(0, 5)
            w.run()
            assert w.get("encryption", w.volume(w.b)) != "off" and w.get("keystatus", w.volume(w.b)) == "unavailable"
        key = re.search(r"file://(\S+)", " ".join(w.c.encryption(w.a)))[1]
        rig.sh("zfs", "load-key", "-L", f"file://{key}", w.volume(w.b))
        w.proved()
        w.move(w.b)
        w.lab.write(0, 5)
        said = w.run(want=1).stderr
        assert "encrypted" in said and "16351" in said, said


def plain_replica():
    """a replica that is plain although all around it is encrypted takes no increment of what is encrypted"""
    with world("zfscrypt") as w:
        w.run()
        there, plain = w.volume(w.b), f"{w.b.store}/plain"
        rig.sh("sh", "-c", f"zfs send {there}@{w.point(w.b)} | zfs receive -o encryption=off {plain}")
        assert w.get("encryption", plain) == "off"
        rig.sh("zfs", "destroy", "-r", there)
        rig.sh("zfs", "rename", plain, there)
        w.lab.write(0, 5)
        said = w.run(want=1).stderr
        assert "its replica on node 'pve2' is not" in said, said
        rig.sh("zfs", "rename", there, f"{w.b.store}/put-by")
        w.run()
        assert w.get("encryptionroot", there) == w.b.store
        rig.sh("zfs", "destroy", "-r", f"{w.b.store}/put-by")
        w.proved()


def one_instant():
    """all volumes of a guest are taken by one command, and what changes a pool is told at debug level"""
    with world() as w:
        w.lab.add_disk()
        said, did, untold = told.run(w)
        assert len(did) > 5 and not untold, untold
        one = next(line for line in said.splitlines() if "debug: + zfs snapshot" in line)
        assert "vm-100-disk-0@" in one and "vm-100-disk-1@" in one, one
        assert said.count("debug: + zfs bookmark") == 2 and "debug: pve2: + zfs receive" in said, said
        w.lab.take_guest_snapshot()
        for change in (lambda: w.lab.write(0, 1), lambda: w.lab.drop_guest_snapshot("snap0")):
            change()
            said, did, untold = told.run(w)
            assert "+ zfs destroy" in said and not untold, (said, untold)
        assert "debug:" not in w.run().stderr


def directory_on_a_dataset():
    """a directory storage on a dataset, which clones no file that is not on its disks yet: it is one without reflinks"""
    with contextlib.suppress(FileNotFoundError), open("/sys/module/zfs/parameters/zfs_bclone_wait_dirty", "w") as f:
        f.write("0")
    with rig.Cluster("zfspool") as c:
        a, b = c.node("pve1"), c.node("pve2")
        for node in (a, b):
            rig.sh("zfs", "create", "-o", f"mountpoint={node.mount}/files", f"{node.store.split('/')[0]}/files")
            os.makedirs(f"{node.mount}/files/images/101")
        c.storages_more = "dir: files\n\tpath /files\n"
        c.write_tree()
        here, there = (f"{node.mount}/files/images/101/vm-101-disk-0.raw" for node in (a, b))
        c.write_guest("pve1", 101, "scsi0: files:101/vm-101-disk-0.raw,size=4M\n")
        with open(here, "wb") as f:
            f.truncate(4 << 20)
        a.pvesr("create-local-job", "101-0", "pve2", check=True)
        for block in range(3):
            with open(here, "r+b") as f:
                f.seek(block << 20)
                f.write(os.urandom(100000))
            a.pvesr("run", "--id", "101-0", check=True)
            assert same_file(here, there)
        a.pvesr("plan", "101-0", check=True)
        assert len(json.loads(b.pvesr("restore-points", "101", "--output-format", "json", check=True).stdout)) == 1


SHORT = (directory_on_a_dataset, resumed, base_destroyed_on_both, taken_over_within_commit, cut_between_the_renames, linked, raw, one_instant)
REST = (foreign_token, base_destroyed_on_source, base_destroyed_on_target, removed_with_aside, first_copy_abandoned, foreign_snapshots, rolled_back,
        aside_copied, encrypted, plain_replica)
for function in SHORT + REST if os.environ.get("PVESR_LAB_LONG") == "1" else SHORT:
    rig.check(f"zfs, {function.__name__}: {function.__doc__}", function, needs=("root", "zfspool"))
rig.main()
