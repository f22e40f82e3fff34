#!/usr/bin/env python3
"""One place under two names. Two entries of storage.cfg lead to one directory, pool or volume group, as they are or by another way (symlink,
bind mount), and a guest has a disk through each: what a run made is never taken for what it should remove. And two nodes that see one
storage which nobody called shared: the guest's own disk is never taken for its replica."""
import os
import re
import subprocess

import rig
from guestlab import same_file
from scenario import STORAGES, play_all, scenario

ON_DISK = tuple(kind for kind in STORAGES if kind in rig.ON_DISK)
FILES = tuple(kind for kind in STORAGES if kind in rig.MAKE)


def alias(w, how="same"):
    """A second entry, `two`, for the storage of the guest."""
    if w.kind in rig.ON_DISK:
        w.c.write("storage.cfg", w.c.storage_section(w.kind, "st") + "\n" + w.c.storage_section(w.kind, "two"))
        return
    path = {"same": "/st", "dots": "/st/../st/", "symlink": "/link", "bind": "/bound"}[how]
    for node in (w.a, w.b):
        if how == "symlink":
            os.symlink("st", os.path.join(node.mount, "link"))
        elif how == "bind":
            os.mkdir(os.path.join(node.mount, "bound"))
            subprocess.run(["mount", "--bind", node.store, os.path.join(node.mount, "bound")], check=True)
            w.c.cleanup.callback(subprocess.run, ["umount", "-l", os.path.join(node.mount, "bound")], check=False)
    w.c.write("storage.cfg", w.c.storage_section(w.kind, "st") + "\n" + w.c.storage_section(w.kind, "two", path))


def through(w, n, storage="two"):
    """Disk n is the guest's through the other storage from now on."""
    volname = w.lab.names.volname(n)
    write = w.lab.write_config
    w.lab.write_config = lambda text: write(text.replace(f": st:{volname}", f": {storage}:{volname}"))
    w.lab.save()


def change(w):
    for n in w.lab.disks:
        w.lab.write(n, 5)


def points(w):
    found, _ = w.lab.names.entries(w.b.store)
    return found


def two_disks(w, how):
    alias(w, how)
    w.lab.add_disk()
    through(w, 1)
    w.create()
    for _ in range(3):
        w.run()
        w.proved()
        assert "stale" not in w.log(), w.log()
        change(w)


@scenario(*FILES, *ON_DISK)
def twice_the_same(w):
    """a disk through each of two storages of one place: both replicas and their restore points stay"""
    two_disks(w, "same")


@scenario(*(k for k in FILES if k != "plain"))
def by_a_symlink(w):
    """the same, the second path being a symlink"""
    two_disks(w, "symlink")


@scenario(*(k for k in FILES if k != "plain"))
def by_a_bind_mount(w):
    """the same, the second path being a bind mount"""
    two_disks(w, "bind")


@scenario(*(k for k in STORAGES if k != "plain"))
def points_stay(w):
    """the same with several restore points: all that are to be kept are there"""
    alias(w)
    w.lab.add_disk()
    through(w, 1)
    w.create("--keep", "last=3")
    for _ in range(5):
        w.run()
        change(w)
    for n in (0, 1):
        assert sum(disk == n and snap is not None for disk, snap in points(w)) == 3, points(w)


@scenario(*FILES, *ON_DISK)
def renamed(w):
    """a disk is the guest's through the other storage from one run to the next: its replica stays, and nothing is sent anew"""
    alias(w)
    w.create()
    w.run()
    before = points(w)
    through(w, 0)
    change(w)
    w.run()
    w.proved()
    assert w.kind == "plain" or "full sync" not in w.log(), w.log()
    assert {n for n, _ in points(w)} == {n for n, _ in before}


@scenario(*FILES, *ON_DISK)
def removed_once(w):
    """a disk that is gone from the guest is removed once, and the job can be deleted"""
    alias(w)
    w.lab.add_disk()
    through(w, 1)
    w.create()
    w.run()
    w.lab.remove_disk(1)
    w.run()
    assert {n for n, _ in points(w)} == {0}, points(w)
    w.proved()
    w.a.pvesr("delete", "100-0", check=True)
    w.run()
    assert not points(w), points(w)
    assert "100-0" not in w.status()


@scenario(*FILES, *ON_DISK)
def doctor_sees_one(w):
    """doctor finds nothing wrong and removes nothing, on either node"""
    alias(w)
    w.lab.add_disk()
    through(w, 1)
    w.create()
    for _ in range(2):
        w.run()
        change(w)
    assert {n for n, snap in points(w) if snap is None} == {0, 1}, points(w)
    before = points(w), w.lab.names.entries(w.a.store)[0]
    for node in (w.a, w.b):
        done = node.pvesr("doctor", "--repair")
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    assert (points(w), w.lab.names.entries(w.a.store)[0]) == before
    w.run()
    w.proved()


@scenario(*FILES, *ON_DISK)
def doctor_without_the_storage(w):
    """the guest's storage is disabled for a while, and another entry leads to the same place: doctor removes nothing, and calls nothing superfluous"""
    alias(w)
    w.create()
    w.run()
    change(w)
    w.run()
    text = open(os.path.join(w.c.tree, "storage.cfg")).read()
    before = points(w), w.lab.names.entries(w.a.store)[0]
    first, rest = text.split("\n", 1)
    w.c.write("storage.cfg", f"{first}\n\tdisable\n{rest}")
    for node in (w.a, w.b):
        done = node.pvesr("doctor", "--repair")
        assert done.returncode == 0 and not done.stdout, f"{done.stdout}{done.stderr}"
    assert (points(w), w.lab.names.entries(w.a.store)[0]) == before
    w.c.write("storage.cfg", text)
    w.run()
    w.proved()


@scenario(*FILES)
def doctor_knows_the_mapped(w):
    """the storage of a map has a second entry, which comes first: doctor does not call the replica one of a disk that the guest has not"""
    for node in (w.a, w.b):
        os.mkdir(os.path.join(node.mount, "x"))
    sections = [w.c.storage_section(w.kind, name, "/x") for name in ("twin", "other")]
    w.c.write("storage.cfg", "\n".join([*sections, w.c.storage_section(w.kind, "st")]))
    w.create("--target-storage", "st=other")
    w.run()
    done = w.b.pvesr("doctor", check=True)
    assert not done.stdout, done.stdout


@scenario(*FILES)
def two_in_one(w):
    """two volumes of the guest that would be one on the target are refused before anything is written there"""
    alias(w)
    w.c.share_disk("other", "xfs")
    folder = os.path.join(w.a.mount, "other", "images", "100")
    os.makedirs(folder)
    name = os.path.basename(w.lab.names.volname(0))
    with open(os.path.join(folder, name), "wb") as f:
        f.write(os.urandom(1 << 20))
    w.c.write("storage.cfg", w.c.storage_section(w.kind, "st") + "\n" + w.c.storage_section(w.kind, "two") + "\n"
              + w.c.storage_section("xfs", "other", "/other"))
    w.write_guest(w.lab.config() + f"scsi9: other:100/{name},size=1M\n")
    w.create("--target-storage", "other=two")
    done = w.run(want=1)
    assert "one and the same" in done.stderr, done.stderr
    assert not points(w), points(w)


def see_one(w, here, there):
    """From now on node `there` has the storage of node `here`, and nobody said so."""
    if w.kind in rig.ON_DISK:
        there.settings["pool-prefix"] = here.settings["pool-prefix"]
        there.write_config()
        return
    subprocess.run(["mount", "--bind", here.store, there.store], check=True)
    w.c.cleanup.callback(subprocess.run, ["umount", "-l", there.store], check=False)


def untouched(w, act):
    """Do something that must fail; nothing of the storage that both see changes by it, and who has the disk open writes to the disk."""
    folder = w.lab.names.entries(w.lab.source)
    with open(w.lab.live(0), "r+b") as guest:
        before = guest.read()
        act()
        guest.seek(0)
        assert guest.read() == before
        guest.seek(0)
        guest.write(b"written after it")
        guest.flush()
        os.fsync(guest.fileno())
        with open(w.lab.live(0), "rb") as again:
            assert again.read(16) == b"written after it", "the guest writes to a disk that has no name any more"
    assert w.lab.names.entries(w.lab.source) == folder, (folder, w.lab.names.entries(w.lab.source))


@scenario(*FILES, *ON_DISK)
def one_for_both(w):
    """both nodes see one storage that is not called shared: no run, plan or removal touches the guest's own disk, and no verification calls it sound"""
    w.create()
    w.run()
    w.steal("pve2")
    if w.kind != "plain":
        w.run()
    w.lab.source = w.b.store
    see_one(w, w.b, w.a)

    def run():
        done = w.run(want=1)
        assert "which both nodes see" in done.stderr, done.stderr

    def plan():
        done = w.b.pvesr("plan", "100-0")
        assert done.returncode and "which both nodes see" in done.stderr, f"{done.stdout}{done.stderr}"

    def verify():
        done = w.b.pvesr("verify", "100-0")
        assert done.returncode and "which both nodes see" in done.stderr, f"{done.stdout}{done.stderr}"

    def remove():
        w.b.pvesr("delete", "100-0", check=True)
        done = w.run(want=1)
        assert "which both nodes see" in done.stderr, done.stderr

    for act in (run, plan, verify, remove):
        untouched(w, act)
        w.lab.source = w.b.store


@scenario(*FILES)
def no_failover_to_the_one(w):
    """the same: a failover to the other node does not take the guest's own disk for its replica, and takes nothing of it back"""
    w.create()
    w.run()
    w.steal("pve2")
    w.status()  # turns the job round
    w.lab.source = w.b.store
    w.lab.write(0, 5)
    see_one(w, w.b, w.a)
    before = w.copy(w.lab.live(0))
    for more in ((), ("--dry-run",)):
        done = w.a.pvesr("failover", "100", "--force", *more)
        assert done.returncode and "both nodes see" in done.stderr, f"{done.stdout}{done.stderr}"
        assert same_file(w.lab.live(0), before)
    w.a.pvesr("failover", "100", "--force", "--as-is", check=True)
    assert same_file(w.lab.live(0), before)


@scenario(*FILES)
def no_failover_to_the_first_one(w):
    """the same where the guest was never moved: its disk looks like what a former owner has of it, and is none"""
    w.create()
    w.run()
    see_one(w, w.a, w.b)
    before = w.copy(w.lab.live(0))
    for more in ((), ("--dry-run",)):
        done = w.b.pvesr("failover", "100", "--force", *more)
        assert done.returncode and "was never received on this node" in done.stderr, f"{done.stdout}{done.stderr}"
    w.b.pvesr("failover", "100", "--force", "--as-is", check=True)
    assert same_file(w.lab.live(0), before)


@scenario(*FILES, *ON_DISK)
def one_for_both_at_once(w):
    """the same at the first run"""
    w.create()
    see_one(w, w.a, w.b)
    untouched(w, lambda: w.run(want=1))


@scenario(*FILES)
def detached_in_the_one(w):
    """the same of a disk that the guest has no more, or has on a shared storage: neither a run nor the end of the job takes it for a replica"""
    kind = w.c.storage_section(w.kind, "x").split(":")[0]
    w.c.storages_more = f"{kind}: other\n\tpath /other\n\n{kind}: two\n\tpath /st\n\n"
    w.c.write_tree()
    for node in (w.a, w.b):
        os.mkdir(os.path.join(node.mount, "other"))
    elsewhere = os.path.join(w.a.mount, "other")
    w.lab.names.create(elsewhere, 7, 1 << 20)
    w.lab.add_disk()
    has = [f"scsi7: other:{w.lab.names.volname(7)}", f"scsi0: st:{w.lab.names.volname(0)}", f"scsi1: two:{w.lab.names.volname(1)}"]
    w.write_guest("\n".join(has) + "\n")
    w.create()
    w.run()
    see_one(w, w.a, w.b)
    before = [w.copy(w.lab.live(n)) for n in (0, 1)]
    for now, shared in ((has[:1], []), (has[:2], ["shared 1"])):
        w.write_guest("\n".join(now) + "\n")
        w.c.storage_more = shared
        w.c.write_tree()
        for remove in (False, True):
            if remove:
                w.a.pvesr("delete", "100-0", check=True)
            done = w.run(want=1)
            assert "which both nodes see" in done.stderr or (shared and "is called shared by now" in done.stderr), done.stderr
            assert all(same_file(w.lab.live(n), before[n]) for n in (0, 1))
        w.a.pvesr("update", "100-0", "--delete", "remove_job", check=True)


# ---- two targets that see one storage ----


def second_target(w):
    """A third node with a storage of its own, as long as nobody calls see_one."""
    node = w.c.add_node("pve3")
    w.create(job="100-1", target="pve3")
    return node


def bytes_of_replica(w):
    return w.lab.names.entries(w.b.store), [w.copy(w.lab.replica(n)) for n in w.lab.disks]


def still_there(w, before):
    entries, copies = before
    assert w.lab.names.entries(w.b.store) == entries, (entries, w.lab.names.entries(w.b.store))
    assert all(same_file(w.lab.replica(n), copy) for n, copy in zip(w.lab.disks, copies))


def refused(w, job="100-1"):
    done = w.run(want=1, job=job)
    assert "sees the same storage" in done.stderr, done.stderr
    assert "sees the same storage" in w.status()[job]["error"], w.status()
    attribute, folder = re.search(r"if that node does not see it any more: setfattr -x (\S+) (\S+)", done.stderr).groups()
    assert attribute in os.listxattr(folder), os.listxattr(folder)


@scenario(*FILES)
def two_targets_in_one(w):
    """two targets see one storage: the second job is refused, and what ends it takes nothing of the first one's replica"""
    w.create()
    there = second_target(w)
    w.run()
    see_one(w, w.b, there)
    before = bytes_of_replica(w)
    refused(w)
    still_there(w, before)
    w.a.pvesr("delete", "100-1", check=True)
    w.run(job="100-1")
    still_there(w, before)
    change(w)
    w.run()
    w.proved()


@scenario(*FILES)
def two_targets_in_one_later(w):
    """the same where both had replicas already: neither the removal of a job, nor of a disk, takes anything of the other's"""
    w.lab.add_disk()
    w.create()
    there = second_target(w)
    for job in ("100-1", "100-0"):
        w.run(job=job)
        change(w)
    see_one(w, w.b, there)
    before = bytes_of_replica(w)
    refused(w)
    w.lab.disks.pop(1)
    w.lab.save()
    refused(w)
    w.a.pvesr("delete", "100-1", check=True)
    w.a.pvesr("run", "--id", "100-1")
    assert w.lab.names.entries(w.b.store) == before[0]
    if "100-1" in w.status():  # one restore point has the live volume only: then nothing there is of this job
        w.a.pvesr("delete", "100-1", "--keep", check=True)
        w.run(job="100-1")
    assert w.lab.names.entries(w.b.store) == before[0]
    assert list(w.status()) == ["100-0"], w.status()
    w.run()
    assert same_file(w.lab.live(0), w.lab.replica(0))


@scenario(*FILES)
def a_target_takes_over(w):
    """a job whose other target is gone goes on with what that one had, once its job is removed; what was noted of it is forgotten with the replica"""
    w.create()
    there = second_target(w)
    w.run()
    see_one(w, w.b, there)
    refused(w)
    w.a.pvesr("delete", "100-0", "--force", check=True)
    change(w)
    w.a.pvesr("run", "--id", "100-1", "--resync", check=True)
    assert same_file(w.lab.live(0), w.lab.replica(0))
    w.create()
    refused(w, job="100-0")
    for job in ("100-0", "100-1"):
        w.a.pvesr("delete", job, check=True)
    w.run(job="100-1")
    assert not any("keeper" in name for name in os.listxattr(w.lab.names.folder(w.b.store))) if os.path.isdir(w.lab.names.folder(w.b.store)) else True


play_all()
