#!/usr/bin/env python3
"""A restore point on the target that somebody wrote to is no base: the next run finds out, says so, and makes the replica right, with what
differs and no more where the storage is one of ranges. What somebody wrote is kept aside. What only looks like it costs a comparison.

PVESR_TEST_STORAGES (xfs btrfs plain) chooses the storages; also lvmthin. PVESR_TEST_SCENARIOS: only those with these names.
"""
# deadline: 1800
import json
import os
import shutil
import subprocess

import rig
from byhand import PLACES, READ_ONLY, byte_at, flip, flip_point, newest, set_subvolume_flags, touched
from guestlab import same_file
from scenario import play_all, scenario

POINTS = ("xfs", "btrfs", "lvmthin")
FILES = ("xfs", "btrfs")  # a restore point is, or has, a file
MIB = 1 << 20


def rows(w):
    found = json.loads(w.a.pvesr("history", "--output-format", "json", "--verbose", check=True).stdout)
    return [row for row in found if row["result"] == "ok"]


def begin(w, *more):
    w.create(*more)
    w.lab.add_disk()
    w.run()
    return newest(w, 1)


def healed(w, changed=1):
    """By a run that sends little, and whose log names what it found."""
    w.run()
    w.proved(asides=True)
    log = w.log()
    assert "full sync" not in log and "are not what they were" in log and "what differs is sent" in log, log
    assert w.lab.names.volname(changed) in log and rows(w)[0]["bytes"] < MIB, rows(w)[0]


@scenario(*POINTS)
def byte(w):
    """a byte of it is another: found, and what was there is kept aside"""
    was = begin(w)
    flip_point(w, PLACES["middle"], was, n=1)
    wrong = w.copy(touched(w, was, 1)) if w.kind != "lvmthin" else None
    w.lab.write(1, 5)
    healed(w)
    assert (1, "diverged_" + was.strip("_").removeprefix("replicate_")) in w.asides(w.b.store), w.asides(w.b.store)
    assert not wrong or w.kept_aside(w.b.store, 1, wrong)
    w.lab.write(1, 5)
    w.run()
    w.proved(asides=True)
    assert "compared" not in w.log(), w.log()


@scenario(*POINTS)
def nothing_else_changed(w):
    """the guest was idle meanwhile: the point is not taken for the next one under a new name"""
    was = begin(w)
    flip_point(w, PLACES["end"], was, n=1)
    healed(w)


@scenario("xfs")
def seal_lost(w):
    """…and what was noted of it is not there any more: the directory was copied, or an earlier version made it"""
    was = begin(w)
    path = touched(w, was, 1)
    os.removexattr(os.path.dirname(path), "user.pvesr.seal." + os.getxattr(path, "user.pvesr.id").decode())
    flip_point(w, PLACES["begin"], was, n=1)
    healed(w)


@scenario(*FILES)
def renamed(w):
    """…and it was given another name, by which it is somebody's: no base, and it stays as it is"""
    was = begin(w)
    names, store = w.lab.names, w.b.store
    rename = (names.subvolume if w.kind == "btrfs" else names.snapshot)
    os.rename(rename(store, 1, was), rename(store, 1, "mine"))
    flip_point(w, PLACES["middle"], "mine", n=1)
    wrong = w.copy(touched(w, "mine", 1))
    w.lab.write(1, 5)
    for _ in range(2):
        w.run()
        assert same_file(w.lab.live(1), w.lab.replica(1)) and same_file(touched(w, "mine", 1), wrong)
    assert "full sync" not in w.log() and "compared" not in w.log(), w.log()


@scenario(*POINTS)
def changed_here(w):
    """the source's own was written to, with what the guest wrote to its disk as well: that it has it already tells nothing of the target"""
    was = begin(w)
    flip_point(w, PLACES["middle"], was, n=1, node=w.a)
    flip(w.lab.live(1), PLACES["middle"])
    assert byte_at(w.lab.live(1), PLACES["middle"]) == byte_at(w.lab.names.snapshot(w.a.store, 1, was), PLACES["middle"])
    w.run()
    w.proved(asides=True)
    assert "full sync" not in w.log(), w.log()


@scenario("xfs")
def times_put_back(w):
    """…and the file's times were put back"""
    was = begin(w)
    before = os.stat(touched(w, was, 1))
    flip_point(w, PLACES["begin"], was, n=1)
    os.utime(touched(w, was, 1), ns=(before.st_atime_ns, before.st_mtime_ns))
    healed(w)


@scenario(*FILES)
def journal_replayed(w):
    """a file system was mounted from it, which wrote to it"""
    w.create()
    w.lab.add_disk(64 << 20)
    rig.sh("mkfs.ext4", "-q", "-F", w.lab.live(1))
    w.run()
    was, there = newest(w, 1), os.path.join(w.c.dir, "mnt")
    os.mkdir(there)
    if w.kind == "btrfs":
        set_subvolume_flags(w.lab.names.subvolume(w.b.store, 1, was), 0)
    rig.sh("mount", "-o", "loop", touched(w, was, 1), there)
    rig.sh("umount", there)
    if w.kind == "btrfs":
        set_subvolume_flags(w.lab.names.subvolume(w.b.store, 1, was), READ_ONLY)
    w.run()
    w.proved(asides=True)
    assert "are not what they were" in w.log(), w.log()


@scenario(*POINTS)
def only_looked_at(w):
    """reading it, copying it, a mount that only reads: no doubt is left"""
    was = begin(w)
    path = touched(w, was, 1)
    with open(path, "rb") as f:
        assert f.read(MIB)
    if w.kind != "lvmthin":
        shutil.copyfile(path, os.path.join(w.c.dir, "copy"))
        subprocess.run(["cp", "--reflink=always", path, path + ".mine"], check=w.kind == "xfs", stderr=subprocess.DEVNULL)
        if w.kind == "xfs":
            os.unlink(path + ".mine")
    for more in (0, 5, 0):
        w.lab.write(1, more)
        w.run()
        w.proved()
        assert "compared" not in w.log(), w.log()


@scenario("xfs")
def only_its_times(w):
    """its mode or times were changed, not its bytes: it is compared, and is a base; nothing is kept aside"""
    was = begin(w)
    os.chmod(touched(w, was, 1), 0o440)
    said = w.a.pvesr("plan", "100-0", check=True).stdout
    assert "may have been written to: it is compared" in said, said
    assert any(p["name"] == was and any(v["changed"] for v in p["volumes"])
               for p in json.loads(w.b.pvesr("restore-points", "100", "--output-format", "json", check=True).stdout))
    w.lab.write(1, 5)
    w.run()
    w.proved()
    assert "is what it was" in w.log() and "full sync" not in w.log(), w.log()


@scenario("btrfs", "lvmthin")
def left_writable(w):
    """it was made writable and left so: it may be another a moment later, so nothing is built upon it, and it is kept aside"""
    was = begin(w)
    names, store = w.lab.names, w.b.store
    if w.kind == "btrfs":
        set_subvolume_flags(names.subvolume(store, 1, was), 0)
        flip(touched(w, was, 1), PLACES["middle"])
    else:
        rig.sh("lvchange", "-prw", f"{store}/snap_{names.volname(1)}_{was}")
    w.lab.write(1, 5)
    w.run()
    w.proved(asides=True)
    assert "nothing is built upon it" in w.log() and w.log().count("resync by digests") == 1 and "full sync" not in w.log(), w.log()
    kept = (1, "diverged_" + was.strip("_").removeprefix("replicate_"))
    assert kept in w.asides(store) and {n for n, _ in w.asides(store)} == {1}, w.asides(store)
    w.lab.write(1, 5)
    w.run()
    w.proved(asides=True)
    assert "full sync" not in w.log(), w.log()


@scenario(*POINTS)
def older_base(w):
    """the newest is damaged and known to be: the older one that a run would use instead was written to, too"""
    w.create()
    w.lab.take_guest_snapshot()
    w.lab.write(0, 10)
    w.run()
    was = newest(w)
    for snap, place in (("snap0", "begin"), (was, "middle")):
        flip_point(w, PLACES[place], snap)
    w.lab.write(0, 5)
    w.run()
    live = w.lab.live(0), w.lab.replica(0)
    assert all(byte_at(live[0], at) == byte_at(live[1], at) for at in PLACES.values())
    assert "are not what they were" in w.log(), w.log()


def written_while_building(w):
    """The job is slow, and has had its first run. What the next one said, upon whose base somebody wrote."""
    was = newest(w)
    w.lab.write(0, 1500)
    p = subprocess.Popen(w.a.argv("pvesr", "run", "--id", "100-0"), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    w.c.cleanup.callback(rig.stop, p)
    rig.wait_for(lambda: p.poll() is not None or "incremental sync" in w.log(), "the transfer")
    assert p.poll() is None, p.stderr.read()
    flip_point(w, PLACES["end"], was)
    said = p.communicate(timeout=rig.RUN_SECONDS)[1]
    assert p.returncode, w.log()
    w.a.pvesr("update", "100-0", "--delete", "rate", check=True)
    return said


def begin_slowly(w):
    w.lab.grow_disk(0, 8 * MIB)
    w.create("--rate", "1")
    w.run()


@scenario(*POINTS)
def while_a_run_builds(w):
    """it is written to while a run builds upon it: nothing is committed, the run is postponed, the next one goes on"""
    begin_slowly(w)
    said = written_while_building(w)
    assert "was written to while a run was building upon it" in said, said
    assert w.status()["100-0"]["fail_count"] == 0, w.status()
    w.run()
    w.proved(asides=True)
    assert "are not what they were" in w.log(), w.log()


@scenario(*POINTS)
def written_to_again(w):
    """…and had been written to before: what that was is not all that is sent anew"""
    begin_slowly(w)
    flip_point(w, PLACES["begin"], newest(w))
    written_while_building(w)
    w.run()
    w.proved(asides=True)


@scenario(*POINTS)
def two_nodes_changed_places(w):
    """the guest moved to its replica: what it left on the former node, and somebody wrote to there, is the target's now"""
    w.create()
    w.run()
    was = newest(w)
    w.steal("pve2", target="pve1")
    w.lab.write(0, 5)
    w.a, w.b = w.b, w.a
    flip_point(w, PLACES["middle"], was)
    w.run()
    w.proved(asides=True)
    assert "are not what they were" in w.log(), w.log()


@scenario(*POINTS)
def failover(w):
    """the restore point was changed, and the replica is another: a failover does not choose, --as-is takes the replica"""
    was = begin(w)
    copy = w.copy(w.lab.live(1))
    flip_point(w, PLACES["middle"], was, n=1)
    done = w.b.pvesr("failover", "100", "--force")
    assert done.returncode and "nothing tells which of them" in done.stderr and "--as-is" in done.stderr, done
    w.b.pvesr("failover", "100", "--force", "--as-is", check=True)
    assert same_file(copy, w.lab.replica(1)) and not w.asides(w.b.store), w.asides(w.b.store)


@scenario("xfs")
def failover_all_the_same(w):
    """…where both are the same bytes, it does not matter"""
    was = begin(w)
    os.chmod(touched(w, was, 1), 0o440)
    copy = w.copy(w.lab.live(1))
    w.b.pvesr("failover", "100", "--force", check=True)
    assert same_file(copy, w.lab.replica(1)) and not w.asides(w.b.store), w.asides(w.b.store)


@scenario(*POINTS)
def guest_snapshot(w):
    """a guest's snapshot, older than the base, was written to: each run says so, and how it is set right"""
    w.create()
    w.lab.take_guest_snapshot()
    w.lab.write(0, 10)
    w.run()
    flip_point(w, PLACES["middle"], "snap0")
    w.lab.write(0, 5)
    w.run()
    assert "--point snap0 --repair" in w.log() and "full sync" not in w.log(), w.log()
    w.a.pvesr("verify", "100-0", "--point", "snap0", "--repair")
    w.proved()
    w.run()
    assert "snap0" not in w.log(), w.log()


@scenario("btrfs")
def bonds(w):
    """what the directory says of subvolumes that somebody removed does not pile up"""
    begin(w, "--keep", "last=9")
    folder = w.lab.names.folder(w.b.store)
    for _ in range(7):
        w.lab.write(0, 3)
        w.run()
        for n, snap in sorted(w.lab.names.entries(w.b.store)[0], key=str):
            if snap and snap != newest(w, n):
                w.lab.names.drop_snapshot(w.b.store, n, snap)
    told = [a for a in os.listxattr(folder) if a.startswith("user.pvesr.at.")]
    assert len(told) <= len(os.listdir(folder)) + 2, told
    w.proved()


@scenario("xfs")
def leftovers(w):
    """no seal outlives its restore point, whoever removed that"""
    was = begin(w, "--keep", "last=3")
    folder = os.path.dirname(touched(w, was, 1))

    def seals():
        return sorted(a.removeprefix("user.pvesr.seal.") for a in os.listxattr(folder) if a.startswith("user.pvesr.seal."))

    def ids():
        return sorted(os.getxattr(e.path, "user.pvesr.id").decode() for e in os.scandir(folder) if "@" in e.name)
    assert seals() == ids() and len(seals()) == 2, (seals(), ids())
    for _ in range(4):
        w.lab.write(0, 3)
        w.run()
    assert seals() == ids() and len(seals()) == 6, (seals(), ids())
    os.unlink(touched(w, sorted(s for n, s in w.lab.names.entries(w.b.store)[0] if n == 1 and s)[0], 1))
    w.run()
    assert seals() == ids(), (seals(), ids())
    w.a.pvesr("delete", "100-0", check=True)
    w.run()
    assert seals() == ids() == [], (seals(), ids())


play_all()
