#!/usr/bin/env python3
"""A node loses its power: its disk is what had been written to it at that instant, and the machine is started again. What a run called a
replica is there, and what was written to a disk is found, whatever the file system knows of that."""
import mmap
import os
import subprocess
import uuid

import rig
from guestlab import same_file
from scenario import STORAGES, play_all, scenario

FILES = tuple(kind for kind in STORAGES if kind in rig.MAKE)
BLOCK = 4096
BOOT = "/proc/sys/kernel/random/boot_id"


def image(node):
    return os.path.join(node.cluster.dir, f"{node.name}.img")


def mount(w, path, where):
    options = "loop,nouuid" if w.kind == "xfs" else "loop"
    rig.sh("mount", "-o", options, path, where)


def started_again(w):
    """The kernel has another name for the time since its start; on both nodes, which is no matter."""
    path = os.path.join(w.c.dir, f"boot-{uuid.uuid4()}")
    with open(path, "w") as f:
        f.write(f"{uuid.uuid4()}\n")
    rig.sh("mount", "--bind", path, BOOT)
    w.c.cleanup.callback(subprocess.run, ["umount", "-l", BOOT], check=False)


def at_this_instant(node, name):
    """A copy of what the node's disk has."""
    to = f"{image(node)}.{name}"
    rig.sh("cp", "--sparse=always", image(node), to)
    return to


def power_cut(w, node):
    disk = at_this_instant(node, "cut")
    rig.sh("umount", "-l", node.mount)
    mount(w, disk, node.mount)
    started_again(w)


def write_around_the_cache(path, at):
    """As QEMU does it for a guest that flushes: the data is on the disk, the time of its change needs not be."""
    block = mmap.mmap(-1, BLOCK)
    block.write(os.urandom(BLOCK))
    fd = os.open(path, os.O_RDWR | os.O_DIRECT)
    try:
        os.pwrite(fd, block, at)
        os.fdatasync(fd)
    finally:
        os.close(fd)
        block.close()


def allocated(w, path):
    """There is nothing to allocate when its blocks are written again, where files are written in place."""
    with open(path, "r+b") as f:
        f.write(os.urandom(w.lab.disks[0]))
        f.flush()
        os.fsync(f.fileno())


def times_are_late(w, node):
    if w.kind == "plain":
        rig.sh("mount", "-o", "remount,lazytime,commit=300", node.mount)


def cut_after_a_write(w, node, path):
    times_are_late(w, node)
    allocated(w, w.lab.live(0))
    w.create()
    w.run()
    w.proved()
    os.sync()
    write_around_the_cache(path, 1 << 20)
    kept = w.copy(path)
    power_cut(w, node)
    assert w.kind != "plain" or same_file(path, kept), "what was written is not on the disk: the test shows nothing"
    return kept


@scenario(*FILES)
def source_loses_power(w):
    """what the guest wrote in place before its node went down is in the next replica, though no time tells of it"""
    cut_after_a_write(w, w.a, w.lab.live(0))
    w.run()
    w.proved()


@scenario(*FILES)
def target_loses_power(w):
    """what was written to a replica before its node went down is found and kept aside, though no time tells of it"""
    kept = cut_after_a_write(w, w.b, w.lab.replica(0))
    w.lab.write(0, 3)
    w.run()
    assert same_file(w.lab.live(0), w.lab.replica(0))
    assert w.kind != "plain" or w.kept_aside(w.b.store, 0, kept), w.asides(w.b.store)


@scenario(*FILES)
def started_again_and_nothing_else(w):
    """a node is started again: nothing is kept aside, nothing is sent, the restore point can be copied"""
    w.create()
    w.run()
    for node in (w.a, w.b):
        started_again(w)
        point, = (s for n, s in w.lab.names.entries(w.b.store)[0] if s)
        w.b.pvesr("clone", "100", point, str(200 + (node is w.b)), check=True)
        w.run()
        w.proved()
        assert "full sync" not in w.log() and "resync" not in w.log(), w.log()
    started_again(w)
    w.b.pvesr("failover", "100", "--force", check=True)
    assert not w.asides(w.b.store), w.asides(w.b.store)


def missing(w, node, disk, where):
    """What the node shows and the copy of its disk has not, or has in another form."""
    os.mkdir(where)
    mount(w, disk, where)
    store, bad = os.path.join(where, "st"), []
    there = w.lab.names.entries(store)[0]
    for n, snap in w.lab.names.entries(node.store)[0]:
        of = (lambda s: w.lab.names.snapshot(s, n, snap)) if snap else (lambda s: w.lab.names.live(s, n))
        if (n, snap) not in there:
            bad.append(f"{node.name}: disk {n}, {snap}: not there")
        elif not same_file(of(store), of(node.store)):
            bad.append(f"{node.name}: disk {n}, {snap}: other bytes")
        elif marks(of(store)) != marks(of(node.store)):
            bad.append(f"{node.name}: disk {n}, {snap}: other marks")
    rig.sh("umount", where)
    os.unlink(disk)
    return bad


def marks(path):
    return {name: os.getxattr(path, name) for name in os.listxattr(path)}


@scenario(*FILES)
def success_is_on_the_disk(w):
    """at the instant at which a run says success all that it speaks of is on the disks of both nodes"""
    w.lab.add_disk()
    w.create("--keep", "last=3")
    for i in range(4):
        w.run()
        disks = {node: at_this_instant(node, f"cut{i}") for node in (w.a, w.b)}
        for node, disk in disks.items():
            live = [] if node is w.b else [f"pve1: disk {n}, None: other bytes" for n in w.lab.disks]
            bad = [x for x in missing(w, node, disk, f"{disk}.mount") if x not in live]
            assert not bad, bad
        w.lab.write(0, 5)
        (w.lab.grow_disk if i == 1 else w.lab.punch)(1)


play_all()
