#!/usr/bin/env python3
"""An id comes again: what a destroyed guest left is another's, whatever its names are; and what looks like another guest and is none."""
import os
import shutil
import subprocess
import time

import rig
import treeworld
from guestlab import same_file
from scenario import play_all, scenario

EVERY = ("xfs", "btrfs", "plain")


def known_as(w, uuid, mac):
    """The VM's configuration has these from now on; None: it has no such line."""
    w.bare = getattr(w, "bare", w.lab.config)
    lines = ([f"smbios1: uuid={uuid}"] if uuid else []) + ([f"net0: virtio={mac},bridge=vmbr0"] if mac else [])
    w.lab.config = lambda: "".join(line + "\n" for line in lines) + w.bare()
    w.lab.save()


ONE = ("99999999-2222-3333-4444-555555555555", "BC:24:11:00:00:01")
TWO = ("11111111-2222-3333-4444-555555555555", "BC:24:11:00:00:02")


def points(w, store):
    return sorted(s for _, s in w.lab.names.entries(store)[0] if (s or "").startswith("__replicate_"))


def some_runs(w, n=3):
    for _ in range(n):
        w.lab.write(0, 5)
        w.run()


def destroy(w):
    """The guest and its disk go as Proxmox VE's own tools remove them, who know nothing of what ours keep beside it."""
    os.unlink(os.path.join(w.c.tree, "nodes/pve1/qemu-server/100.conf"))
    w.a.pvesr("delete", "100-0", "--force", check=True)
    renew(w)


def renew(w):
    """The live disk is another of the same name."""
    if w.kind == "lvmthin":
        subprocess.run(["lvremove", "-q", "-f", w.lab.names.lv(w.a.store, 0)], check=True, capture_output=True)
    elif w.kind == "btrfs":
        subprocess.run(["btrfs", "subvolume", "delete", w.lab.names.subvolume(w.a.store, 0)], check=True, capture_output=True)
    else:
        os.unlink(w.lab.live(0))
    w.lab.names.create(w.a.store, 0, w.lab.disks[0])
    w.lab.write(0, 40)


def all_of(w, store):
    """What the storage has, by bytes where it has files."""
    if w.kind == "lvmthin":
        return w.lab.names.entries(store), w.copy(w.lab.replica(0))
    to = os.path.join(w.c.dir, f"all-{w.copies}")
    w.copies += 1
    shutil.copytree(w.lab.names.folder(store), to)
    return to


def unchanged(w, store, copy):
    if w.kind == "lvmthin":
        assert w.lab.names.entries(store) == copy[0] and same_file(w.lab.replica(0), copy[1]), w.log()
        return
    there = w.lab.names.folder(store)
    assert sorted(os.listdir(there)) == sorted(os.listdir(copy)), f"{os.listdir(there)}, and there was {os.listdir(copy)}"
    subprocess.run(["diff", "-r", there, copy], check=True)


@scenario(*EVERY, "lvmthin")
def another_guest(w):
    """a new guest gets the id, the disk's name and the job's of one that was destroyed: refused, nothing on either node goes; with --resync it has its replica, and what the dead one had is there"""
    known_as(w, *ONE)
    w.create()
    some_runs(w)
    dead, left = w.copy(w.lab.replica(0)), points(w, w.a.store)
    assert left, "nothing is left that could be taken for a base"
    destroy(w)
    known_as(w, *TWO)
    w.create()
    was = all_of(w, w.b.store)
    for _ in range(2):  # the second knows it from the first
        done = w.run(want=1)
        assert "No common base snapshot" in done.stderr and "--resync" in done.stderr, done.stderr
        assert "WARNING: 1 snapshots of the guest's disks on this node are of another guest 100" in w.log(), w.log()
        unchanged(w, w.b.store, was)
        assert points(w, w.a.store) == left, w.log()
    plan = w.a.pvesr("plan", "100-0")
    assert plan.returncode == 1 and "No common base" in plan.stderr, plan.stdout + plan.stderr
    w.a.pvesr("run", "--id", "100-0", "--resync", check=True)
    some_runs(w, 2)
    assert same_file(w.lab.live(0), w.lab.replica(0)), w.log()
    assert w.kept_aside(w.b.store, 0, dead), w.asides(w.b.store)
    assert set(left) < set(points(w, w.a.store)), w.log()


@scenario(*EVERY)
def another_guest_in_its_job(w):
    """the same where nobody removed the job: the guest is another than that of which its state tells; after --resync its rules of --keep take nothing of the dead one"""
    known_as(w, *ONE)
    w.create("--keep", "last=3")
    some_runs(w)
    left = points(w, w.a.store)
    renew(w)
    known_as(w, *TWO)
    was = all_of(w, w.b.store)
    for _ in range(2):
        assert "No common base snapshot" in w.run(want=1).stderr
        unchanged(w, w.b.store, was)
    assert points(w, w.a.store) == left
    had = [w.copy(w.lab.names.snapshot(w.b.store, 0, point)) for point in points(w, w.b.store)] if w.lab.names.points_have_data else [
        w.copy(w.lab.replica(0))]
    w.a.pvesr("run", "--id", "100-0", "--resync", check=True)
    some_runs(w, 4)
    assert all(w.kept_aside(w.b.store, 0, copy) for copy in had), w.asides(w.b.store)


@scenario("xfs", "btrfs", "lvmthin")
def its_removal_leaves_the_dead_ones(w):
    """the job of the new guest is removed again: what the destroyed one left on either node stays"""
    known_as(w, *ONE)
    w.create()
    some_runs(w)
    began = int(time.time())
    rig.wait_for(lambda: time.time() >= began + 1, "the next second: points carry that in which their run began")
    destroy(w)
    known_as(w, *TWO)
    w.create()
    w.run(want=1)
    was, here = all_of(w, w.b.store), points(w, w.a.store)
    w.a.pvesr("delete", "100-0", check=True)
    w.run()
    unchanged(w, w.b.store, was)
    assert points(w, w.a.store) == here, w.log()


def goes_on(w):
    """Incremental, and without a word of another guest."""
    w.lab.write(0, 20)
    w.run()
    w.proved()
    assert "incremental sync" in w.log() and "another guest" not in w.log(), w.log()


@scenario(*EVERY)
def the_same_guest(w):
    """restored under its UUID, its disk made anew; then another UUID and address on its old disk; then without either; then an address again: one guest all the time"""
    known_as(w, *ONE)
    w.create()
    some_runs(w, 1)
    renew(w)
    known_as(w, ONE[0], TWO[1])
    goes_on(w)
    known_as(w, TWO[0], "BC:24:11:00:00:03")
    goes_on(w)
    known_as(w, None, None)
    goes_on(w)
    known_as(w, None, "BC:24:11:00:00:04")
    goes_on(w)


@scenario(*EVERY)
def unknown_guest(w):
    """what an earlier version noted nothing of goes on, and is known from then on"""
    known_as(w, *ONE)
    w.create()
    some_runs(w, 1)
    shutil.rmtree(os.path.join(w.a.state_dir, "pvesr-guests"))
    renew(w)
    known_as(w, *TWO)
    goes_on(w)
    renew(w)
    known_as(w, *ONE)
    assert "No common base snapshot" in w.run(want=1).stderr


@scenario("xfs", "btrfs")
def comes_home_as_another(w):
    """an id is given again on another node, and its guest comes to where a dead one of that id was: what it brought is its own"""
    known_as(w, *ONE)
    w.create()
    some_runs(w, 1)
    destroy(w)
    for node in (w.a, w.b):
        w.lab.names.remove(node.store, 0)
    w.owner = "pve2"
    w.face("pve1")
    w.lab.names.create(w.b.store, 0, w.lab.disks[0])
    w.lab.write(0, 40)
    known_as(w, *TWO)
    w.create(target="pve1")
    w.run()
    w.proved()
    w.steal("pve1", target="pve2")
    goes_on(w)


def container_of_the_id(w):
    """Its only network address is what a container is known by."""
    w.lab.more = ["net0: name=eth0,hwaddr=BC:24:11:00:00:01,bridge=vmbr0"]
    w.lab.save()
    w.create()
    w.run()
    w.lab.change(0)
    w.lab.more = ["net0: name=eth0,hwaddr=BC:24:11:00:00:02,bridge=vmbr0"]
    w.lab.save()
    w.run()
    assert "incremental sync" in w.log() and not w.lab.faults(), w.log()
    subprocess.run(["btrfs", "subvolume", "delete", w.lab.live(0)], check=True, capture_output=True)
    w.lab.names.create(w.a.store, 0)
    w.lab.populate(0, 10)
    w.lab.more = ["net0: name=eth0,hwaddr=BC:24:11:00:00:03,bridge=vmbr0"]
    w.lab.save()
    was = w.lab.tree(w.b.store, 0, fresh=True), w.lab.entries(w.a.store), w.lab.entries(w.b.store)
    assert "No common base snapshot" in w.run(want=1).stderr
    assert was == (w.lab.tree(w.b.store, 0, fresh=True), w.lab.entries(w.a.store), w.lab.entries(w.b.store)), w.log()


treeworld.play("a container's address changes: it goes on; another container of its id, whose root is another, is refused", "btrfs",
               container_of_the_id)
play_all()
