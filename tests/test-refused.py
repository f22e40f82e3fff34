#!/usr/bin/env python3
"""What a file system refuses of one file, folder or mount, and not of others: files without copy on write beside such with it, flags that bar changes,
quotas, no inodes, swap, a mount that went read-only. A run goes on by itself where that is safe; else it says what to do, and does it
when that is done.

PVESR_REFUSED_ALL=1: each flag on each path, not on one of them that PVESR_TEST_SEED chooses, and more stories of what is mixed."""
import contextlib
import json
import os
import random
import shutil
import subprocess

import rig
from guestlab import same_file
from scenario import GUEST, World
from treelab import TreeLab

KINDS = ("btrfs", "dir-on-btrfs")


def sh(*argv):
    subprocess.run(argv, check=True, capture_output=True)


# ---- without copy on write ----

def remount(node, options):
    sh("mount", "-o", f"remount,{options}", node.mount)


def turn(node, chance):
    """From now on new files on this node are of another kind."""
    folder = os.path.join(node.store, "images", str(GUEST))
    how = chance.choice(("+C", "-C", "nodatacow", "nodatasum", "datacow,datasum", "compress=zstd", None))
    if how in ("+C", "-C"):
        sh("chattr", how, folder)
    elif how:
        remount(node, how)
    return how


def recreated(path, nocow):
    """The same bytes in a new file that is copied on write, or not."""
    with open(path, "rb") as f:
        data = f.read()
    os.unlink(path)
    with open(path, "xb"):
        pass
    subprocess.run(["chattr", "+C" if nocow else "-C", path], check=True, capture_output=True)
    with open(path, "r+b") as f:
        f.write(data)


def mixed(kind, seed):
    """images, folders and mounts are with and without copy on write, at random on both sides: each run goes on, by a delta, also back"""
    chance = random.Random(seed)
    with rig.Cluster(storage=kind) as c:
        w = World(c, kind)
        other = {"pve1": "pve2", "pve2": "pve1"}
        w.create()
        w.run()
        story = []
        for i in range(8):
            story.append([turn(node, chance) for node in (w.a, w.b)])
            if chance.randrange(3) == 0:
                story.append("new file")
                recreated(w.lab.live(0), nocow=chance.random() < 0.5)
            w.lab.write(0, 10)
            if i % 4 == 3:
                w.steal(other[w.owner])
                story.append("moved")
            done = c.node(w.owner).pvesr("run", "--id", "100-0")
            assert done.returncode == 0, f"seed {seed}, {story}: {done.stderr}"
            assert not w.lab.faults(asides=True), f"seed {seed}, {story}: {w.lab.faults(asides=True)}"
            assert "full sync" not in w.log(), f"seed {seed}, {story}: {w.log()}"


def container(kind, seed):
    """a container with compressed files and such without copy on write, on targets that are mounted nodatasum and nodatacow: equal"""
    with rig.Cluster(storage=kind) as c:
        a, b = c.node("pve1"), c.node("pve2")
        lab = TreeLab(kind, c.storage_id, a.store, b.store, lambda text: c.write_guest("pve1", 200, text, kind="lxc"), seed=seed)
        lab.names.prepare(lab.source, lab.target)
        lab.add_volume(files=20)
        a.pvesr("create-local-job", "200-0", "pve2", check=True)
        for target, source in (("nodatasum", "datasum"), ("nodatacow", "nodatasum"), ("datacow,datasum", "nodatacow")):
            remount(b, target)
            remount(a, source)
            for _ in range(20):
                lab.change(0)
            with lab.names.opened(lab.source, 0) as root:
                for folder in ("packed", "loose"):
                    path = os.path.join(root, f"{folder}-{target}")
                    os.makedirs(path)
                    sh("chattr", "+C" if folder == "loose" else "+c", path)
                    for name in "ab":
                        with open(os.path.join(path, name), "wb") as f:
                            f.write(lab.random.randbytes(200000))
                sh("cp", "--reflink=auto", os.path.join(root, f"loose-{target}", "a"), os.path.join(root, f"loose-{target}", "c"))
            done = a.pvesr("run", "--id", "200-0")
            assert done.returncode == 0, f"{target}: {done.stderr}"
            assert not lab.faults(), f"{target}: {lab.faults()}"


# ---- flags ----

def barred(w, path, flag):
    """With this flag a run does not mind; or it fails, or leaves what it should remove, with the command that takes it."""
    sh("chattr", f"+{flag}", path)
    try:
        if path != w.lab.live(0):
            w.lab.write(0, 5)
        done = w.a.pvesr("run", "--id", "100-0")
        if done.returncode or w.lab.faults(asides=True):
            said = done.stderr + w.log()
            assert f"chattr -{flag} '{path}'" in said, f"+{flag} {path}: {said}"
        if not done.returncode:
            assert same_file(w.lab.live(0), w.lab.replica(0))
    finally:
        sh("chattr", f"-{flag}", path)
    w.run()
    w.proved(asides=True)
    assert "full sync" not in w.log(), w.log()


def tree_barred():
    """chattr +i and +a on the folder of the cluster's configuration, and on a file in it, +i on the journal: what would change it has the command that takes the flag"""
    with rig.Cluster(storage="xfs") as c:
        w = World(c, "xfs")
        w.create()
        for path in (c.tree, os.path.join(c.tree, "replication.cfg")):
            for flag in "ia":
                sh("chattr", f"+{flag}", path)
                try:
                    done = w.a.pvesr("update", "100-0", "--rate", "5")
                finally:
                    sh("chattr", f"-{flag}", path)
                assert done.returncode and f"chattr -{flag} '{path}'" in done.stderr, f"+{flag} {path}: {done.stderr}"
        w.a.pvesr("update", "100-0", "--rate", "5", check=True)
        w.run()
        journal = os.path.join(w.a.state_dir, "pvesr-journal.db")
        sh("chattr", "+i", journal)
        try:
            said = w.run().stderr
        finally:
            sh("chattr", "-i", journal)
        assert "history is not kept" in said and f"chattr -i '{journal}'" in said, said


def flags(kind):
    """chattr +i and +a on image, replica, restore point and folder: a run does not mind, or has the command that takes the flag"""
    with rig.Cluster(storage=kind) as c:
        w, chance = World(c, kind), random.Random(rig.SEED)
        w.create()
        w.run()
        on = {"btrfs": lambda store: os.path.join(store, "images", "100", "vm-100-disk-0")}.get(
            kind, lambda store: os.path.join(store, "images", "100", "vm-100-disk-0.raw"))
        for store in (w.a.store, w.b.store):
            folder = os.path.join(store, "images", str(GUEST))
            live = w.lab.names.live(store, 0)
            for flag in "ia":
                points = [] if kind == "btrfs" else [os.path.join(folder, name) for name in os.listdir(folder) if "@" in name]
                paths = sorted({live, on(store), folder, *points[:1]})
                for path in paths if ALL else chance.sample(paths, 1):
                    barred(w, path, flag)
        # what was barred when the guest's own node took its snapshots is so on the way back, too
        sh("chattr", "+i", w.lab.live(0))
        w.run()
        sh("chattr", "-i", w.lab.live(0))
        w.run()
        w.steal("pve2")
        for _ in range(2):
            w.lab.write(0, 5)
            w.run()
            w.proved(asides=True)


# ---- no room that bytes do not show, and what cannot be a volume ----

def mounted(w, path, kind, *options):
    """A file system of memory at this path, with what was there; returns the undo."""
    held = os.path.join(w.c.dir, "held")
    shutil.copytree(path, held, ignore=shutil.ignore_patterns(".pvesr*"))
    sh("mount", "-t", kind, *(["-o", ",".join(options)] if options else []), "none", path)
    shutil.copytree(held, path, dirs_exist_ok=True)
    shutil.rmtree(held)
    return lambda: sh("umount", "-l", path)


def fails_saying(w, *words):
    done = w.run(want=1)
    for word in words:
        assert word in done.stderr, f"{word}: {done.stderr}"
    return done.stderr


def no_inodes():
    """no inodes are left, on the target's storage and for the state: it says inodes, not bytes"""
    with rig.Cluster(storage="xfs") as c:
        w = World(c, "xfs")
        w.create()
        undo = mounted(w, w.b.store, "tmpfs", "size=64m", "nr_inodes=3")
        os.makedirs(os.path.join(w.b.store, "images"))
        fails_saying(w, "pve2: volume 'st:100/", "no inodes are left", f"df -i '{w.b.store}'")
        undo()
        w.run()
        w.proved()
        undo = mounted(w, w.a.state_dir, "tmpfs", "size=64m", f"nr_inodes={1 + sum(len(below) + len(files) for _, below, files in os.walk(w.a.state_dir))}")
        fails_saying(w, "pve-replication-state", "no inodes are left", f"df -i '{w.a.state_dir}'")
        undo()
        w.run()


def no_attributes():
    """a storage whose file system keeps no attributes of users: it says so, on either side"""
    with rig.Cluster(storage="xfs") as c:
        w = World(c, "xfs")
        w.create()
        for node in (w.b, w.a):
            undo = mounted(w, node.store, "ramfs")
            fails_saying(w, "the file system keeps no extended attributes", "XFS, btrfs or ext4")
            undo()
        w.run()
        w.proved()


def quota(kind):
    """a quota of btrfs is reached, on the target or on the source: it says so, and goes on when it is raised"""
    with rig.Cluster(storage=kind) as c:
        w = World(c, kind)
        w.create()
        w.run()
        for node in (w.b, w.a):
            with open(w.lab.live(0), "r+b") as f:
                f.write(os.urandom(6 << 20))
            os.sync()
            sh("btrfs", "quota", "enable", node.mount)
            sh("btrfs", "quota", "rescan", "-w", node.mount)
            sh("btrfs", "qgroup", "limit", "16K", node.mount)
            fails_saying(w, "volume 'st:100/", "a quota of", f"btrfs qgroup show -pcre '{node.store}'")
            sh("btrfs", "quota", "disable", node.mount)
            w.run()
            w.proved()


@contextlib.contextmanager
def used_as_swap(path):
    """False: this machine does not take it. What a kernel swaps out goes to the disk past the pages of the file that it holds: they are forgotten."""
    sh("mkswap", path)
    on = subprocess.run(["swapon", path], capture_output=True).returncode == 0
    try:
        yield on
    finally:
        if on:
            sh("swapoff", path)
        with open(path, "rb") as f:
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def not_shared(kind):
    """an image that is swap space of the node, or of another file system than its folder: it says which and what to do"""
    with rig.Cluster(storage=kind) as c:
        w = World(c, kind)
        w.create()
        w.run()
        live = w.lab.live(0)
        os.chmod(live, 0o600)
        held = w.copy(live)
        sh("dd", "if=/dev/zero", f"of={live}", "bs=1M", "count=8", "conv=notrunc,fsync")
        with used_as_swap(live) as on:
            if on:
                fails_saying(w, f"swapoff '{live}'")
        w.run()
        w.proved()
        sh("mount", "--bind", held, live)
        fails_saying(w, f"cp --sparse=always --reflink=never '{live}' '{live}.new' && mv '{live}.new' '{live}'")
        sh("umount", live)
        w.run()
        w.proved()


def swap_inside():
    """a container with a swap file that the node uses: it says swap, and which volume"""
    with rig.Cluster(storage="btrfs") as c:
        a, b = c.node("pve1"), c.node("pve2")
        lab = TreeLab("btrfs", c.storage_id, a.store, b.store, lambda text: c.write_guest("pve1", 200, text, kind="lxc"))
        lab.names.prepare(lab.source, lab.target)
        lab.add_volume(files=2)
        a.pvesr("create-local-job", "200-0", "pve2", check=True)
        with lab.names.opened(lab.source, 0) as root:
            path = os.path.join(root, "swap")
            sh("truncate", "-s", "0", path)
            sh("chattr", "+C", path)
            sh("dd", "if=/dev/zero", f"of={path}", "bs=1M", "count=2", "conv=fsync")
            os.chmod(path, 0o600)
            with used_as_swap(path) as on:
                if on:
                    done = a.pvesr("run", "--id", "200-0")
                    assert "swapoff" in done.stderr and "subvol-200-disk-0" in done.stderr, done.stderr
        a.pvesr("run", "--id", "200-0", check=True)
        assert not lab.faults(), lab.faults()


def moved(kind, to):
    """the source's storage is copied to a file system that can share blocks, or cannot any more: the next run goes on"""
    with rig.Cluster(storage=kind) as c:
        w = World(c, kind)
        w.create()
        for _ in range(2):
            w.lab.write(0, 10)
            w.run()
        image, there = os.path.join(c.dir, "new.img"), os.path.join(c.dir, "new")
        os.makedirs(there)
        sh("truncate", "-s", "2G", image)
        sh(*rig.MAKE[to], image)
        sh("mount", "-o", "loop", image, there)
        sh("cp", "-a", "--sparse=always", f"{w.a.mount}/.", there)
        sh("umount", there)
        sh("umount", w.a.mount)
        sh("mount", "-o", "loop", image, w.a.mount)
        for _ in range(3):
            w.lab.write(0, 10)
            w.lab.punch(0)
            w.run()
            assert same_file(w.lab.live(0), w.lab.replica(0))
            if kind == "plain":
                assert "full sync" not in w.log(), w.log()


# ---- read-only ----

SAYS_SO = "is mounted read-only, perhaps by the kernel after an error: see dmesg, then mount -o remount,rw"


def points(w):
    return json.loads(w.b.pvesr("restore-points", "100", "--output-format", "json", check=True).stdout)


def shown(w, point):
    """The bytes of a restore point's disk, as `mount` on the target shows them."""
    there = os.path.join(w.b.dir, "look")
    os.makedirs(there, exist_ok=True)
    w.b.pvesr("mount", "100", point, there, check=True)
    name, = os.listdir(there)
    with open(os.path.join(there, name), "rb") as f:
        data = f.read()
    sh("umount", os.path.join(there, name))
    os.unlink(os.path.join(there, name))
    return data


def went_read_only(node, by_itself):
    """Returns the undo. By itself: ext4 finds an error."""
    if not by_itself:
        remount(node, "ro")
        return lambda: remount(node, "rw")
    device = subprocess.run(["findmnt", "-no", "SOURCE", node.mount], check=True, capture_output=True, text=True).stdout.strip()
    remount(node, "errors=remount-ro")
    with open(f"/sys/fs/ext4/{os.path.basename(device)}/trigger_fs_error", "w") as f:
        f.write("test")

    def undo():
        image = os.path.join(node.cluster.dir, f"{node.name}.img")
        sh("umount", node.mount)
        subprocess.run(["e2fsck", "-fy", image], capture_output=True)
        sh("mount", "-o", "loop", image, node.mount)
    return undo


def read_only(kind, by_itself=False):
    """the target went read-only: runs say so, and what only reads is as before: restore points, mount, plan, doctor, verify; failover refuses"""
    with rig.Cluster(storage=kind) as c:
        w = World(c, kind)
        w.create("--keep", "last=3")
        for _ in range(3):
            w.lab.write(0, 20)
            w.run()
        before, held = points(w), w.copy(w.lab.replica(0))
        can_mount = w.lab.names.points_have_data if hasattr(w.lab.names, "points_have_data") else True
        bytes_before = shown(w, before[0]["name"]) if can_mount else None
        undo = went_read_only(w.b, by_itself)
        for node, args in ((w.a, ["plan", "100-0"]), (w.b, ["doctor"]), (w.b, ["doctor", "--repair"]), (w.a, ["verify", "100-0"])):
            done = node.pvesr(*args)
            assert done.returncode == 0, f"{args}: {done.stdout}{done.stderr}"
        for _ in range(2):
            w.lab.write(0, 5)
            done = w.run(want=1)
            assert done.stderr.startswith("pve2: volume 'st:") and SAYS_SO in done.stderr, done.stderr
            assert points(w) == before
            assert not can_mount or shown(w, before[0]["name"]) == bytes_before
        done = w.b.pvesr("failover", "100", "--force")
        assert done.returncode and "read-only" in done.stderr and "remount,rw" in done.stderr, f"failover: {done.stdout}{done.stderr}"
        assert os.path.exists(os.path.join(c.tree, "nodes/pve1/qemu-server/100.conf")), "the guest was moved to where it cannot write"
        assert same_file(w.lab.replica(0), held)
        undo()
        w.run()
        assert same_file(w.lab.replica(0), w.lab.live(0)) and "full sync" not in w.log(), w.log()


def shut_down():
    """the target's file system fails: run, doctor and failover say that it cannot be read, not that nothing is there, and how it is repaired"""
    with rig.Cluster(storage="xfs") as c:
        w = World(c, "xfs")
        w.create()
        w.run()
        device = subprocess.run(["findmnt", "-no", "SOURCE", w.b.mount], check=True, capture_output=True, text=True).stdout.strip()
        sh("xfs_io", "-x", "-c", "shutdown", w.b.mount)
        for node, args in ((w.a, ["run", "--id", "100-0"]), (w.b, ["doctor"]), (w.b, ["failover", "100", "--dry-run"])):
            done = node.pvesr(*args)
            said = done.stderr
            assert done.returncode and "Input/output error (see dmesg" in said and f"xfs_repair '{device}'" in said, f"{args}: {said}"
            assert "has no replica" not in said and said.count(f"xfs_repair '{device}'") == said.count("see dmesg"), f"{args}: {said}"
        assert "has a replica on this node cannot be read" in said, said
        sh("umount", w.b.mount)
        sh("mount", "-o", "loop", os.path.join(c.dir, "pve2.img"), w.b.mount)
        w.run()
        w.proved()


def state_shut_down():
    """the file system of the state fails: what runs, shows and looks back says so, and how it is repaired; mounted anew all goes on"""
    with rig.Cluster(storage="xfs") as c:
        w = World(c, "xfs")
        image = os.path.join(c.dir, "state.img")
        sh("truncate", "-s", "400M", image)
        sh("mkfs.xfs", "-q", image)
        os.makedirs(w.a.state_dir, exist_ok=True)
        sh("mount", "-o", "loop", image, w.a.state_dir)
        c.cleanup.callback(lambda: subprocess.run(["umount", "-l", w.a.state_dir], capture_output=True))
        w.create()
        w.run()
        sh("xfs_io", "-x", "-c", "shutdown", w.a.state_dir)
        for args in (["run", "--id", "100-0"], ["status"], ["history"], ["at-risk"]):
            done = w.a.pvesr(*args)
            assert done.returncode and "see dmesg" in done.stderr and "xfs_repair '/dev/" in done.stderr, f"{args}: {done.stderr}"
        sh("umount", w.a.state_dir)
        sh("mount", "-o", "loop", image, w.a.state_dir)
        w.run()
        w.proved()


ALL = bool(os.environ.get("PVESR_REFUSED_ALL"))
SEED = rig.SEED % 100000

for storage in KINDS:
    rig.check(f"mixed on {storage}: {mixed.__doc__}", lambda k=storage: [mixed(k, SEED + i) for i in range(5 if ALL else 1)] and None,
              needs=("root", "btrfs"))
    rig.check(f"quota on {storage}: {quota.__doc__}", lambda k=storage: quota(k), needs=("root", "btrfs"))
rig.check(f"container: {container.__doc__}", lambda: container("btrfs", SEED), needs=("root", "btrfs"))
for storage in ("xfs", "btrfs", "dir-on-btrfs", "plain"):
    needs = ("root",) if storage == "plain" else ("root", storage)
    rig.check(f"flags on {storage}: {flags.__doc__}", lambda k=storage: flags(k), needs=needs)
    rig.check(f"read-only {storage}: {read_only.__doc__}", lambda k=storage: read_only(k), needs=needs)
rig.check(f"read-only by itself: {read_only.__doc__}", lambda: read_only("plain", by_itself=True), needs=("root",))
rig.check(f"shut down: {shut_down.__doc__}", shut_down, needs=("root", "xfs"))
rig.check(f"state shut down: {state_shut_down.__doc__}", state_shut_down, needs=("root", "xfs"))
rig.check(f"flags on the tree: {tree_barred.__doc__}", tree_barred, needs=("root", "xfs"))
rig.check(f"no inodes: {no_inodes.__doc__}", no_inodes, needs=("root", "xfs"))
rig.check(f"no attributes: {no_attributes.__doc__}", no_attributes, needs=("root", "xfs"))
rig.check(f"not shared: {not_shared.__doc__}", lambda: not_shared("xfs"), needs=("root", "xfs"))
rig.check(f"swap inside: {swap_inside.__doc__}", swap_inside, needs=("root", "btrfs"))
for before, after in (("plain", "xfs"), ("xfs", "plain"), ("plain", "dir-on-btrfs"))[:3 if ALL else 2]:
    rig.check(f"moved {before} to {after}: {moved.__doc__}", lambda b=before, a=after: moved(b, a), needs=("root", "xfs", "btrfs"))
rig.main()
