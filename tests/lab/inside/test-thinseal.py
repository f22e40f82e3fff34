#!/usr/bin/env python3
"""Restore points on LVM-thin: whoever writes to one, on either side, is noticed by the next run that would build upon it, though it was made
read-only again; what is written there at once, or behind it, costs nothing of the replica. What only looks at them, or takes snapshots from
them, is never taken for that.

PVESR_SEAL_RUNS (6; in the long form 20) runs of the second kind.
"""
# deadline: 2400
import contextlib
import os
import random
import shutil
import subprocess

import rig

os.environ["PVESR_TEST_STORAGES"] = "lvmthin"
from byhand import flip, newest  # noqa: E402
from scenario import play_all, scenario  # noqa: E402

RUNS = int(os.environ.get("PVESR_SEAL_RUNS", "20" if os.environ.get("PVESR_LAB_LONG") == "1" else "6"))
MIB, CHUNK = 1 << 20, 65536
MAPPED, HOLE, END = 2 * MIB + 70001, 5 * MIB + 77, 8 * MIB - 1
COMPARED = "it is compared first"


@contextlib.contextmanager
def writable(w, node, snap, n=0):
    """Its device."""
    lv = f"{node.store}/{w.lab.names.lv_name(n, snap)}"
    rig.sh("lvchange", "-prw", lv)
    rig.sh("lvchange", "-ay", "-K", lv)
    yield f"/dev/{lv}"
    rig.sh("lvchange", "-an", lv)
    rig.sh("lvchange", "-pr", lv)


def discard(path, at):
    rig.sh("blkdiscard", "-f", "-o", str(at // CHUNK * CHUNK), "-l", str(CHUNK), path)


def put_forward(path):
    """The pool's time: a snapshot from it, which goes again."""
    rig.sh("lvcreate", "-q", "-n", "passing", "-s", path.removeprefix("/dev/"))
    rig.sh("lvremove", "-q", "-f", os.path.dirname(path).removeprefix("/dev/") + "/passing")


def byte(at):
    return lambda path: flip(path, at)


def twice(path):
    flip(path, MAPPED)
    put_forward(path)
    flip(path, MAPPED + 1)


def there_and_back(path):
    flip(path, MAPPED)
    put_forward(path)
    flip(path, MAPPED)


def chunk_again(path):
    """The chunk of the pool that was free for a moment may be the same again."""
    flip(path, MAPPED)
    discard(path, MAPPED)
    flip(path, MAPPED)


WAYS = {"a mapped byte": byte(MAPPED), "a hole": byte(HOLE), "the end": byte(END), "twice": twice, "there and back": there_and_back,
        "a chunk that was free": chunk_again, "a discard": lambda path: discard(path, MAPPED)}


def begin(w):
    with open(w.lab.live(0), "r+b") as f:
        f.write(random.Random(5).randbytes(4 * MIB))
    w.lab.names.punch(w.a.store, 0, 5 * MIB, MIB)
    w.create()
    w.run()
    w.lab.write(0, 3)
    w.run()
    assert COMPARED not in w.log(), w.log()


def change(w, node, way, *args):
    was = newest(w)
    with writable(w, node, was) as path:
        way(path, *args)
    shutil.rmtree(w.lab.names.copies, ignore_errors=True)
    return was


def noticed(w, what):
    w.run()
    assert COMPARED in w.log() and "full sync" not in w.log(), f"{what}: {w.log()}"
    w.proved(asides=True)
    w.lab.write(0, 3)
    w.run()
    assert COMPARED not in w.log(), f"after {what}: {w.log()}"


@scenario("lvmthin")
def written_there(w):
    """on the target, by each way to write to it"""
    begin(w)
    for what, way in WAYS.items():
        change(w, w.b, way)
        w.lab.write(0, 3)
        noticed(w, what)


@scenario("lvmthin")
def written_here(w):
    """on the source, by each way to write to it, with what the guest did as well"""
    begin(w)
    for what, way in WAYS.items():
        change(w, w.a, way)
        way(w.lab.live(0))
        noticed(w, what)


@scenario("lvmthin")
def with_its_replica(w):
    """…and the replica by the same byte, which so tells nothing; while the guest is idle, too"""
    begin(w)
    for write in (3, 0):
        change(w, w.b, flip, MAPPED)
        flip(w.lab.replica(0), MAPPED)
        rig.sh("lvchange", "-an", f"{w.b.store}/{w.lab.names.volname(0)}")
        w.lab.write(0, write)
        noticed(w, f"{write} writes of the guest")


@scenario("lvmthin")
def older(w):
    """the base after a rollback: an older one that was written to, and before that one that nobody touched"""
    begin(w)
    for touch in (False, True):
        snap = w.lab.take_guest_snapshot()
        w.lab.write(0, 5)
        w.run()
        if touch:
            with writable(w, w.b, snap) as path:
                flip(path, HOLE)
            shutil.rmtree(w.lab.names.copies, ignore_errors=True)
        w.lab.roll_back(snap)
        w.lab.names.drop_snapshot(w.a.store, 0, newest(w))
        w.lab.write(0, 3)
        w.run()
        assert (COMPARED in w.log()) == touch and "full sync" not in w.log(), w.log()
        rig.sh("cmp", w.lab.live(0), w.lab.replica(0))


@scenario("lvmthin")
def of_an_earlier_version(w):
    """what has no seal is compared once, where nothing else tells that it is as it was made"""
    begin(w)
    for node, compared in ((w.a, False), (w.b, True)):
        lv = f"{node.store}/{w.lab.names.lv_name(0, newest(w))}"
        seal, = [t for t in rig.sh("lvs", "--noheadings", "-o", "lv_tags", lv).strip().split(",") if t.startswith("pvesr_seal=")]
        rig.sh("lvchange", "--deltag", seal, lv)
        w.lab.write(0, 3)
        w.run()
        assert (COMPARED in w.log()) == ("is what it was" in w.log()) == compared, w.log()
        w.proved()
    w.lab.write(0, 3)
    w.run()
    assert COMPARED not in w.log(), w.log()


def look_at_it(w):
    """At a restore point: read, refused to be changed, a snapshot from it."""
    n = min(w.lab.disks)
    for node in (w.a, w.b):
        lv = f"{node.store}/{w.lab.names.lv_name(n, newest(w, n))}"
        rig.sh("lvchange", "-ay", "-K", lv)
        with open(f"/dev/{lv}", "rb") as f:
            f.read()
        subprocess.run(["blkdiscard", "-f", f"/dev/{lv}"], stderr=subprocess.DEVNULL, check=False)
        put_forward(f"/dev/{lv}")
        rig.sh("lvchange", "-an", lv)


def pool_device(node):
    return f"/dev/mapper/{node.store.replace('-', '--')}-thin-tpool"


def held(node):
    return rig.sh("dmsetup", "status", pool_device(node)).split()[6] != "-"


def hold(node):
    rig.sh("dmsetup", "message", pool_device(node), "0", "reserve_metadata_snap")


def undoubted(w, what):
    w.lab.write(0, 3)
    w.run()
    assert COMPARED not in w.log() and "nothing tells" not in w.log(), f"{what}: {w.log()}"
    w.proved()


@scenario("lvmthin")
def cared_for(w):
    """the pool and its data grow, the disk grows, a copy is made of a restore point and written to, all is verified: no doubt is left"""
    begin(w)
    for node in (w.a, w.b):
        rig.sh("lvextend", "-q", "-L", "+64m", f"{node.store}/thin")
        rig.sh("lvextend", "-q", "--poolmetadatasize", "+8m", f"{node.store}/thin")
    undoubted(w, "pools that grew")
    w.lab.grow_disk(0)
    undoubted(w, "a disk that grew")
    w.b.pvesr("clone", "100", newest(w), "900", check=True)
    copies = type(w.lab.names)(900)
    flip(copies.live(w.b.store, 0), MAPPED)
    w.lab.write(0, 3)
    w.run()
    assert COMPARED not in w.log(), w.log()
    copies.remove(w.b.store, 0)
    w.a.pvesr("verify", "100-0", "--repair", check=True)
    undoubted(w, "a verification")


@scenario("lvmthin")
def metadata_held(w):
    """a metadata snapshot that a killed process of ours left goes with the next look; beside one of somebody else all is listed"""
    begin(w)
    points = w.b.pvesr("restore-points", "100", check=True).stdout
    hold(w.b)
    assert w.b.pvesr("restore-points", "100", check=True).stdout == points and held(w.b)
    with open(f"/var/lib/pvesr/metadata-snapshot-of-{w.b.store}-thin", "w") as f:
        f.write("reserve_metadata_snap\n")
    assert w.b.pvesr("restore-points", "100", check=True).stdout == points and not held(w.b)
    undoubted(w, "one that was left")
    assert not held(w.a) and not held(w.b)


@scenario("lvmthin")
def nobody_wrote(w):
    """runs of a guest with all that its administrator does, failovers, and whatever only looks: no doubt is left"""
    begin(w)
    for i in range(RUNS):
        story = [w.lab.step() for _ in range(3)]
        w.run()
        assert COMPARED not in w.log(), (story, w.log())
        w.proved()
        if i % 3 != 2:
            look_at_it(w)
        if i % 3 == 2:
            w.b.pvesr("failover", "100", "--force", check=True)
            w.a, w.b = w.b, w.a
            w.owner = w.a.name
            w.face(w.b.name)


play_all()
