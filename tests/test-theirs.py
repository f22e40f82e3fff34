#!/usr/bin/env python3
"""What somebody made of restore points and replicas, or put beside them, is theirs: no run, no removal of a job and no `doctor --repair`
removes, renames or changes it, and doctor names it. Every deletion is a line of the job log."""
import os
import re

import rig
from guestlab import same_file
from scenario import play_all, scenario
from theirs import PEOPLE

ALL = ("xfs", "btrfs", "plain", "zfspool", "lvmthin")


def person(w, node=None):
    return PEOPLE[w.kind](w, (node or w.b).store)


def change_and_run(w, times=3, want=0):
    for _ in range(times):
        w.lab.write(0, 5)
        w.run(want=want)


def same(w):
    assert same_file(w.lab.live(0), w.lab.replica(0)), "the replica is not what the guest has"


def unharmed(thing):
    assert thing.faults() is None, thing.faults()


def doctor(w, node, *more):
    done = node.pvesr("doctor", *more)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout


def stays(w, thing, told=True):
    """Through runs, doctor, the end of the job."""
    name = thing.name.rpartition("/")[2]
    for _ in range(2):
        change_and_run(w, 2)
        same(w)
        unharmed(thing)
        assert "diverged_" not in w.log(), w.log()
    found = doctor(w, w.b, "--repair")
    assert not told or name in found, found
    unharmed(thing)
    w.a.pvesr("delete", "100-0", check=True)
    w.run()
    unharmed(thing)
    doctor(w, w.b, "--repair")
    unharmed(thing)
    assert "100-0" not in w.status()


def begin(w, *more):
    w.create(*more)
    change_and_run(w, 2)
    return person(w)


@scenario(*ALL)
def renamed_point(w):
    """a restore point that somebody renamed to keep it, while runs go on from it"""
    mine = begin(w)
    thing = mine.rename_point(0, mine.newest())
    if not thing:
        return
    change_and_run(w, 1)
    assert "incremental sync" in w.log(), w.log()
    stays(w, thing)


@scenario(*(k for k in ALL if k != "plain"))
def renamed_of_several(w):
    """the same of one that is not the newest"""
    mine = begin(w, "--keep", "last=3")
    thing = mine.rename_point(0, mine.points()[0], "before-the-upgrade")
    stays(w, thing)


@scenario(*(k for k in ALL if k != "plain"))
def copied_point(w):
    """a copy of a restore point (cp -a, a snapshot, a clone)"""
    mine = begin(w)
    thing = mine.copy_point(0, mine.newest())
    if w.kind != "zfspool":
        stays(w, thing, told=w.kind != "lvmthin")
        return
    change_and_run(w, 2)
    unharmed(thing)
    w.a.pvesr("delete", "100-0", check=True)
    w.run(want=1)
    assert f"'{thing.name}'" in w.status()["100-0"]["error"], w.status()
    unharmed(thing)
    rig.sh("zfs", "promote", thing.name)
    w.run()
    unharmed(thing)


@scenario("xfs", "btrfs", "zfspool", "lvmthin")
def snapshot_of_a_replica(w):
    """a snapshot that somebody took of a replica, without any mark of ours"""
    mine = begin(w)
    stays(w, mine.plain_snapshot(0), told=False)


@scenario("btrfs")
def writable_copy(w):
    """a writable snapshot of a restore point"""
    mine = begin(w)
    stays(w, mine.writable_point(0, mine.newest()))


@scenario("xfs")
def linked_point(w):
    """a second name of a restore point's file"""
    mine = begin(w)
    stays(w, mine.link_point(0, mine.newest()))


@scenario(*ALL)
def copied_image(w):
    """a copy of a replica by the name of another disk of the guest"""
    mine = begin(w)
    stays(w, mine.copy_image(0, 7), told=w.kind not in ("lvmthin", "zfspool"))


@scenario(*ALL)
def copied_with_marks(w):
    """the same with all that the storage knows of it (zfs send -R)"""
    mine = begin(w)
    stays(w, mine.copy_with_marks(0, 7), told=w.kind != "lvmthin")


@scenario("xfs", "btrfs", "lvmthin")
def point_as_image(w):
    """a restore point that somebody made the image of another disk"""
    mine = begin(w, "--keep", "last=3")
    stays(w, mine.point_as_image(0, mine.points()[0], 7), told=w.kind != "btrfs")


@scenario(*ALL)
def renamed_image(w):
    """a replica that somebody renamed to the name of another disk: a new one is made, loudly"""
    mine = begin(w)
    thing = mine.rename_image(0, 7)
    w.run()
    assert "WARNING" in w.log() or w.kind == "plain", w.log()
    stays(w, thing)


@scenario(*(k for k in ALL if k in rig.MAKE))
def copied_elsewhere(w):
    """a copy of a replica by its own name in another storage, which the job uses for another disk"""
    w.c.write("storage.cfg", w.c.storage_section(w.kind, "st") + "\n" + w.c.storage_section(w.kind, "two", "/two"))
    for node in (w.a, w.b):
        os.makedirs(os.path.join(node.mount, "two"))
    w.lab.add_disk()
    name, write = w.lab.names.volname(1), w.lab.write_config
    os.makedirs(os.path.join(w.a.mount, "two/images/100"))
    image = w.lab.names.image(w.a.store, 1)
    os.rename(image, os.path.join(w.a.mount, "two/images/100", os.path.basename(image)))
    w.lab.write_config = lambda text: write(text.replace(f": st:{name}", f": two:{name}"))
    w.lab.save()
    w.create()
    w.run()
    there = os.path.join(w.b.mount, "two/images/100")
    if w.kind == "btrfs":
        rig.sh("btrfs", "subvolume", "snapshot", w.lab.names.image(w.b.store, 0), there)
        copy = os.path.join(there, "vm-100-disk-0/disk.raw")
    else:
        rig.sh("cp", "-a", w.lab.names.image(w.b.store, 0), there)
        copy = os.path.join(there, "vm-100-disk-0.raw")
    kept = w.copy(copy)
    for _ in range(3):
        w.lab.write(0, 5)
        w.run()
        assert os.path.exists(copy) and same_file(copy, kept), "the copy in the other storage"
        assert "stale" not in w.log(), w.log()


@scenario("zfspool")
def bookmarked(w):
    """a person's bookmark of a restore point, on the target and on the source"""
    mine, here = begin(w), person(w, w.a)
    things = [mine.bookmark(0, mine.newest()), here.bookmark(0, here.newest())]
    change_and_run(w, 1)
    assert mine.there(things[0].name), "it is not the live volume's any more"
    for _ in range(2):
        change_and_run(w, 1)
        same(w)
        for thing in things:
            unharmed(thing)
    assert "#mine" in doctor(w, w.b, "--repair")
    w.a.pvesr("delete", "100-0", check=True)
    w.run(want=1)
    assert "#mine" in w.status()["100-0"]["error"], w.status()
    unharmed(things[0])
    rig.sh("zfs", "destroy", things[0].name)
    w.run()
    unharmed(things[1])


@scenario("zfspool")
def renamed_on_the_source(w):
    """a restore point that somebody renamed on the source: it stays, and what goes on is incremental"""
    begin(w)
    here = person(w, w.a)
    thing = here.rename_point(0, here.newest())
    change_and_run(w, 1)
    assert "full sync" not in w.log(), w.log()
    change_and_run(w, 2)
    unharmed(thing)
    same(w)


@scenario("btrfs")
def beside_the_disk(w):
    """files beside a disk in its subvolume on the target: nothing is replaced, the run says why"""
    mine = begin(w)
    thing = mine.beside_disk(0)
    w.lab.write(0, 5)
    w.run(want=1)
    assert "notes.txt" in w.log(), w.log()
    unharmed(thing)
    w.a.pvesr("delete", "100-0", check=True)
    w.run(want=1)
    unharmed(thing)
    os.unlink(thing.path())
    w.run()


@scenario("lvmthin")
def dependent(w):
    """a classic snapshot of a replica, which lvremove would take along: nothing is replaced, the run says why"""
    mine = begin(w)
    thing = mine.dependent(0)
    w.lab.write(0, 5)
    w.run(want=1)
    assert "'mine'" in w.log(), w.log()
    unharmed(thing)
    rig.sh("lvremove", "-q", "-f", f"{w.b.store}/mine")
    w.run()
    w.proved()


@scenario("xfs", "btrfs", "zfspool", "lvmthin")
def deletions_are_told(w):
    """what a run removes, here and there, is in its log, with the reason"""
    w.create()
    for _ in range(2):
        w.lab.write(0, 5)
        before = [person(w, node).points() for node in (w.a, w.b)]
        w.run()
        for node, points in zip((w.a, w.b), before):
            for gone in set(points) - set(person(w, node).points()):
                where = "delete previous replication snapshot" if node is w.a else f"removed on '{w.b.name}': .*"
                assert re.search(f"{where}.*{gone}", w.log()), (gone, w.log())
    w.lab.add_disk()
    w.run()
    w.lab.remove_disk(1)
    w.run()
    assert re.search("removed on 'pve2': .*disk-1.*: the whole replica", w.log()), w.log()
    w.a.pvesr("delete", "100-0", check=True)
    w.run()
    assert re.search("removed on 'pve2': .*disk-0.*: the whole replica: the job is removed", w.log()), w.log()


play_all()
