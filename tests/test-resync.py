#!/usr/bin/env python3
"""Both nodes have a volume of byte ranges, and no restore point in common: the run goes on by itself, compares the blocks and sends those that
differ, and what the target had is kept aside. What is not known to be a replica of the job is refused, and stays.

PVESR_TEST_STORAGES (xfs btrfs plain) chooses the storages; also lvmthin. PVESR_TEST_SCENARIOS: only those with these names."""
import json
import os
import re
import shutil
import subprocess

import rig
from byhand import BLOCK, MIB, flip_live, rot
from guestlab import same_file
from scenario import World, play_all, scenario

ALL = ("xfs", "btrfs", "plain", "lvmthin")
SIZE = 8 * MIB


def filled(w):
    """A replica of a disk that no compression makes small."""
    with open(w.lab.live(0), "r+b") as f:
        f.write(os.urandom(SIZE))
        f.flush()
        os.fsync(f.fileno())
    w.create()
    w.run()


def change(w, at, n=1):
    """n blocks of the guest's disk."""
    with open(w.lab.live(0), "r+b") as f:
        f.seek(at)
        f.write(os.urandom(n * BLOCK))
        f.flush()
        os.fsync(f.fileno())


def sent(w):
    """Bytes on the wire of the newest run."""
    return json.loads(w.a.pvesr("history", "--id", "100-0", "--output-format", "json", check=True).stdout)[0]["bytes"]


def points(w, store):
    return sorted(s for n, s in w.lab.names.entries(store)[0] if n == 0 and s and s.startswith("__replicate_"))


def drop_points(w, store):
    for point in points(w, store):
        w.lab.names.drop_snapshot(store, 0, point)


def rewritten(w, store, path):
    """The live volume is another file, subvolume or LV with these bytes, and nothing that tells what it was."""
    names = w.lab.names
    names.remove(store, 0)
    names.create(store, 0, os.path.getsize(path))
    with open(path, "rb") as f, open(names.live(store, 0), "r+b") as g:
        shutil.copyfileobj(f, g)
        g.flush()
        os.fsync(g.fileno())
    if w.kind == "lvmthin":
        rig.sh("lvchange", "-an", names.lv(store, 0))


def went_on(w, blocks, copy=None):
    """The run sent so many blocks and not the whole; copy: what the target had is kept aside."""
    log = w.log()
    assert "resync by digests" in log and "full sync" not in log, log
    assert sent(w) < (blocks + 6) * BLOCK, f"{sent(w)} bytes for {blocks} blocks: {log}"
    w.proved(asides=True)
    assert copy is None or w.kept_aside(w.b.store, 0, copy), (w.asides(w.b.store), log)
    change(w, 3 * MIB)
    w.run()
    assert "incremental sync" in w.log(), w.log()
    w.proved(asides=True)


@scenario(*ALL)
def points_lost_here(w):
    """this node lost its restore points: what has changed is sent, and what the target had is kept aside"""
    filled(w)
    kept = w.copy(w.lab.replica(0))
    drop_points(w, w.a.store)
    change(w, 5 * BLOCK, 2)
    said = w.a.pvesr("plan", "100-0", check=True).stdout
    assert "by digests" in said, said
    w.run()
    went_on(w, 2, kept)


@scenario(*ALL)
def points_lost_there(w):
    """the target lost its restore points, and kept the live replica"""
    filled(w)
    kept = w.copy(w.lab.replica(0))
    drop_points(w, w.b.store)
    change(w, SIZE - BLOCK)
    w.run()
    went_on(w, 1, kept)


@scenario("xfs", "plain")
def full_in_the_middle(w):
    """the target has no room for what differs: the run fails as often as it likes, what is there stays as it was, and with room it goes on"""
    filled(w)
    kept = w.copy(w.lab.replica(0))
    drop_points(w, w.b.store)
    change(w, 0, 6 * MIB // BLOCK)
    filler = os.path.join(w.b.store, "filler")
    there = os.statvfs(w.b.store)
    with open(filler, "wb") as f:
        os.posix_fallocate(f.fileno(), 0, there.f_bavail * there.f_frsize - 3 * MIB)
    before = w.lab.names.entries(w.b.store)[0]
    for _ in range(2):
        said = w.run(want=1).stderr
        assert "No space left" in said or "bytes" in said, said
        assert same_file(w.lab.replica(0), kept), "the replica is another"
        assert before <= w.lab.names.entries(w.b.store)[0], "something of the replica is gone"
        assert not w.asides(w.b.store), w.asides(w.b.store)
    os.unlink(filler)
    os.sync()
    w.run()
    assert "full sync" not in w.log(), w.log()
    w.proved(asides=True)
    assert w.kept_aside(w.b.store, 0, kept), (w.asides(w.b.store), w.log())


@scenario(*ALL)
def restored(w):
    """the replica was restored from an older backup of its bytes alone"""
    filled(w)
    old = w.copy(w.lab.replica(0))
    change(w, MIB, 3)
    w.run()
    rewritten(w, w.b.store, old)
    change(w, 2 * MIB)
    w.run()
    went_on(w, 4, old)


@scenario(*ALL)
def restored_shorter(w):
    """the same, of a time when the disk was smaller, and with zeros here since"""
    filled(w)
    old = w.copy(w.lab.replica(0))
    w.lab.grow_disk(0)
    w.lab.names.punch(w.a.store, 0, MIB, MIB)
    w.run()
    rewritten(w, w.b.store, old)
    change(w, SIZE + MIB)
    w.run()
    went_on(w, 1, old)


@scenario(*ALL)
def guest_restored_here(w):
    """the guest's disk was restored here from a backup, without its restore points"""
    filled(w)
    old = w.copy(w.lab.live(0))
    change(w, 4 * MIB, 2)
    w.run()
    kept = w.copy(w.lab.replica(0))
    rewritten(w, w.a.store, old)
    w.run()
    went_on(w, 2, kept)


@scenario("xfs", "btrfs")
def guest_restored_with_a_history(w):
    """the same of a job that keeps two: it is said, the newest point stays by its name, and nothing is kept aside twice"""
    filled(w)
    w.a.pvesr("update", "100-0", "--keep", "last=2", check=True)
    old = w.copy(w.lab.live(0))
    for at in (3 * MIB, 4 * MIB):
        change(w, at, 2)
        w.run()
    points = sorted(s for _, s in w.lab.names.entries(w.b.store)[0] if s)
    kept = w.copy(w.lab.replica(0))
    rewritten(w, w.a.store, old)
    said = w.run().stderr
    assert "no restore point in common" in said and "but for restore points of --keep, which stay and go as its rules say" in said, (said, w.log())
    now = {s for _, s in w.lab.names.entries(w.b.store)[0] if s}
    assert points[-1] in now and not w.asides(w.b.store), (points, now, w.log())
    assert same_file(w.lab.names.snapshot(w.b.store, 0, points[-1]), kept) and same_file(w.lab.live(0), w.lab.replica(0))


def folder_restored(w, how):
    """The folder of the guest's images on the target is what it was two runs ago, as a program copies it."""
    filled(w)
    folder, old = w.lab.names.folder(w.b.store), os.path.join(w.b.store, "backup")
    rig.sh("cp", how, folder, old)
    bytes_then = w.copy(w.lab.replica(0))
    for at in (MIB, 2 * MIB):
        change(w, at)
        w.run()
    shutil.rmtree(folder)
    rig.sh("cp", how, old, folder)
    shutil.rmtree(old)
    change(w, 3 * MIB)
    return bytes_then


@scenario("xfs", "plain")
def folder_restored_with_attributes(w):
    """all of the guest's folder on the target was restored from an older backup, attributes and all"""
    folder_restored(w, "-a")
    w.run()
    assert "full sync" not in w.log() and sent(w) < 16 * BLOCK, w.log()
    w.proved(asides=True)


@scenario("xfs", "plain")
def folder_restored_without(w):
    """the same by a program that keeps no attributes: what was there is kept aside"""
    kept = folder_restored(w, "-r")
    w.run()
    went_on(w, 3, kept)


@scenario("xfs", "btrfs", "lvmthin")
def one_of_two_disks(w):
    """one of two disks has nothing in common, and the job keeps a history: older instants stay whole, and go by its rules"""
    w.lab.add_disk()
    w.create("--keep", "last=3")
    for _ in range(3):
        w.run()
        for n in (0, 1):
            w.lab.write(n, 3)
    drop_points(w, w.a.store)
    before = points(w, w.b.store)
    w.run()
    assert "resync by digests" in w.log() and "full sync" not in w.log(), w.log()
    there = {n: {s for d, s in w.lab.names.entries(w.b.store)[0] if d == n and s} for n in (0, 1)}
    assert there[0] == there[1] and set(before[1:]) < there[0] and len(there[0]) == 3, there
    w.run()
    assert not w.asides(w.b.store) and before[1] not in points(w, w.b.store), w.lab.names.entries(w.b.store)
    for n in (0, 1):
        assert same_file(w.lab.live(n), w.lab.replica(n)), w.log()


@scenario("btrfs")
def restored_as_a_directory(w):
    """the same, by a program that knows no subvolumes: the run says how to make it one, and that command does"""
    filled(w)
    image = w.lab.names.subvolume(w.b.store, 0)
    old = w.copy(w.lab.replica(0))
    rig.sh("btrfs", "subvolume", "delete", image)
    os.mkdir(image)
    shutil.copyfile(old, os.path.join(image, "disk.raw"))
    change(w, MIB)
    command = re.search(r"'(mv .*)' makes it one", w.run(want=1).stderr)[1]
    subprocess.run(command, shell=True, check=True, cwd=os.path.dirname(image))
    w.run()
    shutil.rmtree(image + ".old")
    assert "full sync" not in w.log() and same_file(w.lab.live(0), w.lab.replica(0)), w.log()
    assert sent(w) < 8 * BLOCK, w.log()


@scenario("btrfs")
def file_removed(w):
    """somebody removed the file of a replica and not its subvolume: the run says what to do, and then it is made anew from its restore points"""
    filled(w)
    os.unlink(w.lab.replica(0))
    change(w, MIB)
    command = re.search(r"'(btrfs subvolume delete [^']*)'", w.run(want=1).stderr)[1]
    subprocess.run(command, shell=True, check=True, capture_output=True)
    w.run()
    w.proved()
    assert "full sync" not in w.log() and sent(w) < 8 * BLOCK, w.log()


@scenario("btrfs")
def point_without_its_file(w):
    """the same of a restore point, an older one and the newest: it stands in the way of no run and no failover"""
    filled(w)
    w.a.pvesr("update", "100-0", "--keep", "last=3", check=True)
    change(w, MIB)
    w.run()
    for at in (0, -1):
        subvolume = w.lab.names.subvolume(w.b.store, 0, points(w, w.b.store)[at])
        rig.sh("btrfs", "property", "set", "-f", subvolume, "ro", "false")
        os.unlink(os.path.join(subvolume, "disk.raw"))
        rig.sh("btrfs", "property", "set", subvolume, "ro", "true")
        if at == 0:
            w.b.pvesr("failover", "100", "--force", "--dry-run", check=True)
        change(w, 2 * MIB)
        w.run()
        assert same_file(w.lab.live(0), w.lab.replica(0)) and "full sync" not in w.log(), w.log()
        w.b.pvesr("failover", "100", "--force", "--dry-run", check=True)


@scenario("plain")
def written_there(w):
    """a file without reflinks that was written to"""
    filled(w)
    flip_live(w, 5 * MIB)
    kept = w.copy(w.lab.replica(0))
    change(w, 0)
    w.run()
    went_on(w, 2, kept)


@scenario("plain")
def rotted(w):
    """a file without reflinks that rotted: at most the run that finds it fails"""
    filled(w)
    rot(w, w.b, w.lab.replica(0), 5 * MIB)
    change(w, 0)
    first = w.a.pvesr("run", "--id", "100-0")
    if first.returncode:
        w.run()
    went_on(w, 2)


@scenario(*ALL)
def cut(w):
    """it fails at its commit: the next one goes on with what was sent"""
    filled(w)
    kept = w.copy(w.lab.replica(0))
    drop_points(w, w.a.store)
    change(w, MIB, 32)
    in_the_way = os.path.join(w.b.state_dir, "pvesr-commits", "100.json", "in the way")
    os.makedirs(in_the_way)
    w.run(want=1)
    assert same_file(w.lab.replica(0), kept), "a run that failed changed the replica"
    shutil.rmtree(os.path.dirname(in_the_way))
    change(w, 4 * MIB)
    w.run()
    again = w.kind == "plain"  # without data of its own a snapshot cannot be gone on with once the guest has written
    assert again or "going on at byte" in w.log(), w.log()
    went_on(w, 33 if again else 1, kept)


@scenario(*ALL)
def nobodys(w):
    """a volume of that name that no run of the job made: refused, untouched, and the message says how to go on"""
    w.lab.names.create(w.b.store, 0, SIZE)
    with open(w.lab.names.live(w.b.store, 0), "r+b") as f:
        f.write(os.urandom(MIB))
    w.create()
    kept = w.copy(w.lab.replica(0))
    done = w.run(want=1)
    assert "No common base snapshot on volume(s)" in done.stderr and "'pvesr run --id 100-0 --resync'" in done.stderr, done.stderr
    assert same_file(w.lab.replica(0), kept) and not w.asides(w.b.store)
    w.a.pvesr("run", "--id", "100-0", "--resync", check=True)
    assert w.kept_aside(w.b.store, 0, kept), w.log()
    w.proved(asides=True)


@scenario(*ALL)
def own_snapshots(w):
    """guest snapshots of both sides have one name and nothing in common: those of the target are kept aside"""
    if w.kind == "plain":
        return
    filled(w)
    snap = w.lab.take_guest_snapshot()
    w.run()
    kept = w.copy(w.lab.names.snapshot(w.b.store, 0, snap)) if w.kind != "lvmthin" else None
    drop_points(w, w.a.store)
    w.lab.drop_guest_snapshot(snap)
    w.lab.next_snapshot = 0
    change(w, 0)
    w.lab.take_guest_snapshot()
    change(w, MIB)
    w.run()
    assert (0, "diverged_" + snap) in w.asides(w.b.store), w.asides(w.b.store)
    went_on(w, 2, kept)


play_all()
