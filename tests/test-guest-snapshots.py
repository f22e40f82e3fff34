#!/usr/bin/env python3
"""Guest snapshots: rolled back to, made anew under their names, very many of them, and very many volumes."""
import fcntl
import os
import resource
import subprocess

import rig
import treeworld
from guestlab import same_file
from scenario import play_all, scenario

FICLONE = 0x40049409


def points(w, store, n=0):
    return sorted(s for d, s in w.lab.names.entries(store)[0] if d == n and (s or "").startswith("__replicate_"))


def acknowledged(w):
    """The target's restore point is the state of now: a copy of it."""
    w.run()
    w.proved()
    return w.copy(w.lab.restore_point(w.b.store, 0))


def drop_points(w):
    """As Proxmox VE does it on ZFS: replication snapshots newer than the one that is rolled back to go."""
    for n in w.lab.disks:
        for point in points(w, w.a.store, n):
            w.lab.names.drop_snapshot(w.a.store, n, point)


def back_to(w, snap, drop, without=None):
    """Two acknowledged increments after a guest snapshot, then back to it, when the one `without` has been deleted. What was acknowledged
    last is returned."""
    w.lab.write(0, 5)
    acknowledged(w)
    w.lab.write(0, 5)
    last = acknowledged(w)
    w.lab.write(0, 5)
    if drop:
        drop_points(w)
    if without:
        w.lab.drop_guest_snapshot(without)
    w.lab.roll_back(snap)
    return last


def is_back(w, last, drop):
    """The run after a rollback: incremental; the acknowledged state that the source has no more is kept aside, but is not lost."""
    w.run()
    w.proved(asides=True)
    assert "full sync" not in w.log(), w.log()
    assert len(w.asides(w.b.store)) == int(drop), w.asides(w.b.store)
    assert not drop or w.kept_aside(w.b.store, 0, last), "the acknowledged state that was rolled back is not kept"
    w.lab.write(0, 5)
    w.run()
    w.proved(asides=True)


def rollback(w, drop, snapshot_after):
    drop = drop or w.kind in ("zfspool", "zfscrypt")  # there nothing newer stays
    snap = w.lab.take_guest_snapshot()
    w.create()
    last = back_to(w, snap, drop)
    if snapshot_after:
        w.lab.write(0, 5)
        w.lab.take_guest_snapshot()
        w.lab.write(0, 5)
    is_back(w, last, drop)


@scenario()
def rolled_back(w):
    """rolled back to a guest snapshot, the newer replication snapshots stay: nothing to keep aside, incremental"""
    rollback(w, drop=False, snapshot_after=False)


@scenario("xfs", "btrfs", "dir-on-btrfs")
def base_by_another_name(w):
    """the only common point has another name here, and a new guest snapshot its old one: it stays a base until the new point is there, also of a run that is cut"""
    snap = w.lab.take_guest_snapshot()
    w.lab.write(0, 5)
    w.create()
    w.run()
    names, store = w.lab.names, w.a.store
    for _, point in [e for e in names.entries(store)[0] if (e[1] or "").startswith("__replicate")]:
        names.drop_snapshot(store, 0, point)
    image = (lambda name: names.subvolume(store, 0, name)) if w.kind == "btrfs" else (lambda name: names.snapshot(store, 0, name))
    os.rename(image(snap), image("mine"))
    w.lab.write(0, 5)
    names.make_snapshot(store, 0, snap)
    for fault in (True, False):
        undo = w.block(0) if fault else None
        w.run(want=1 if fault else 0)
        if undo:
            undo()
        assert "full sync" not in w.log() and "incremental sync" in w.log() or fault, w.log()
    assert same_file(w.lab.live(0), w.lab.replica(0)) and same_file(names.snapshot(store, 0, snap), names.snapshot(w.b.store, 0, snap)), w.log()


@scenario()
def rolled_back_then_snapshot(w):
    """rolled back, and a new guest snapshot is taken before the next run, newer replication snapshots gone"""
    rollback(w, drop=True, snapshot_after=True)


@scenario("xfs")
def rolled_back_then_snapshot_points_stay(w):
    """rolled back, and a new guest snapshot is taken before the next run, newer replication snapshots still there"""
    rollback(w, drop=False, snapshot_after=True)


@scenario()
def rolled_back_behind_another(w):
    """rolled back to the older of two guest snapshots when the younger was deleted: it goes from the target, nothing is sent in full"""
    w.lab.take_guest_snapshot()
    w.lab.write(0, 5)
    w.lab.take_guest_snapshot()
    w.create()
    last = back_to(w, "snap0", drop=True, without="snap1")
    is_back(w, last, drop=True)


@scenario()
def made_anew_between_runs(w):
    """a guest snapshot deleted and made anew under its name, twice, with and without a run between: the target has the new one's bytes"""
    snap = w.lab.take_guest_snapshot()
    w.create()
    w.run()
    for between in (False, True):
        w.lab.drop_guest_snapshot(snap)
        w.lab.write(0, 5)
        if between:
            w.run()
            w.proved()
        w.lab.next_snapshot = 0
        w.lab.take_guest_snapshot()
        w.lab.write(0, 5)
        w.run()
        w.proved()
        assert not w.asides(w.b.store) and "full sync" not in w.log(), w.log()


@scenario()
def made_anew_as_only_base(w):
    """the only snapshot of the same name on both sides was made anew: it is no base, and what the target has is kept aside"""
    snap = w.lab.take_guest_snapshot()
    w.create()
    w.run()
    w.lab.write(0, 5)
    drop_points(w)
    w.lab.drop_guest_snapshot(snap)
    w.lab.next_snapshot = 0
    w.lab.take_guest_snapshot()
    kept = w.copy(w.lab.replica(0))
    assert "no restore point in common" in w.run().stderr
    assert w.kept_aside(w.b.store, 0, kept) and (0, "diverged_" + snap) in w.asides(w.b.store), w.asides(w.b.store)
    w.proved(asides=True)


@scenario()
def long_names(w):
    """guest snapshots with the longest names are mirrored, and go when they are deleted"""
    w.create()
    names = ("a" * 40, "b" * 40)
    for name in names:
        w.lab.write(0, 3)
        w.lab.names.make_snapshot(w.a.store, 0, name)
        w.lab.snapshots[name] = [0]
    w.lab.save()
    w.run()
    w.proved()
    for name in names:
        w.lab.drop_guest_snapshot(name)
        w.lab.write(0, 3)
        w.run()
        w.proved()


# ---- what the target had is not there any more ----

LACKS = "WARNING: the target has not the guest's snapshot"


def gone(w, snap):
    w.lab.names.drop_snapshot(w.b.store, 0, snap)


def replaced(w, snap):
    gone(w, snap)
    w.lab.names.make_snapshot(w.b.store, 0, snap)


def written(w, snap):
    """And sealed again, as whoever did it might."""
    there = w.lab.names.subvolume(w.b.store, 0, snap)
    subprocess.run(["btrfs", "property", "set", "-f", "-ts", there, "ro", "false"], check=True)
    with open(w.lab.names.snapshot(w.b.store, 0, snap), "r+b") as f:
        f.write(b"somebody")
    subprocess.run(["btrfs", "property", "set", "-ts", there, "ro", "true"], check=True)


def writable(w, snap):
    """A person's own, of that name."""
    gone(w, snap)
    there = w.lab.names.subvolume(w.b.store, 0, snap)
    subprocess.run(["btrfs", "subvolume", "snapshot", w.lab.names.subvolume(w.b.store, 0), there], check=True, capture_output=True)
    with open(w.lab.names.snapshot(w.b.store, 0, snap), "r+b") as f:
        f.write(b"mine")


def a_folder(w, snap):
    gone(w, snap)
    os.mkdir(w.lab.names.snapshot(w.b.store, 0, snap))


def is_told(w, snap, job="100-0"):
    """By the next run, and by none after it; by plan and verify, each time, which change nothing; by a failover, if it is not there."""
    volid = f"{w.c.storage_id}:{w.lab.names.volname(0)}"
    done = w.run()
    assert [line for line in w.log().splitlines() if f"{LACKS} '{snap}'" in line and volid in line], w.log()
    assert f"{job}: {volid}: {LACKS} '{snap}'" in done.stderr, done.stderr
    for _ in range(2):
        done = w.run()
        assert "WARNING" not in w.log() + done.stderr, w.log()
    plan = w.a.pvesr("plan", job, check=True).stdout
    assert f"{LACKS} '{snap}'" in plan, plan
    was = w.lab.names.entries(w.b.store)
    done = w.a.pvesr("verify", job)
    assert f"WARNING: {volid}: the guest's snapshot '{snap}' is not on 'pve2'" in done.stdout, done.stdout + done.stderr
    assert job[0] == "2" or done.returncode == 0, done.stdout + done.stderr
    assert was == w.lab.names.entries(w.b.store)
    return w.b.pvesr("failover", job.partition("-")[0], "--dry-run", check=True).stdout


def lost_on_the_target(w, how):
    """Two guest snapshots, of which the older is lost there, and then the other."""
    snap = w.lab.take_guest_snapshot()
    w.lab.write(0, 20)
    w.create()
    w.run()
    w.lab.write(0, 20)
    other = w.lab.take_guest_snapshot()
    w.lab.write(0, 20)
    w.run()
    w.proved()
    how(w, snap)
    over = is_told(w, snap)
    assert how is not gone or f"the guest's snapshot '{snap}' is not here" in over, over
    assert f"'{other}'" not in over and same_file(w.lab.live(0), w.lab.replica(0)), over
    gone(w, other)
    w.run()
    assert f"{LACKS} '{other}'" in w.log() and f"'{snap}'" not in w.log(), w.log()
    for lost in (snap, other):
        w.lab.drop_guest_snapshot(lost)
    w.lab.write(0, 20)
    done = w.run()
    assert "WARNING" not in w.log() + done.stderr and same_file(w.lab.live(0), w.lab.replica(0)), w.log()


@scenario()
def lost_guest_snapshot(w):
    """a guest snapshot is removed on the target: the next run, plan, verify and failover name it"""
    lost_on_the_target(w, gone)


@scenario("xfs", "btrfs", "dir-on-btrfs")
def replaced_guest_snapshot(w):
    """a guest snapshot on the target is made anew there, of the replica: the same"""
    lost_on_the_target(w, replaced)


@scenario("btrfs")
def written_guest_snapshot(w):
    """somebody wrote to a guest snapshot on the target, and made it read-only again: the same"""
    lost_on_the_target(w, written)


@scenario("btrfs")
def a_persons_subvolume(w):
    """a person's writable subvolume has its name: the same, nothing fails, and it stays as it is"""
    lost_on_the_target(w, writable)
    with open(w.lab.names.snapshot(w.b.store, 0, "snap0"), "rb") as f:
        assert f.read(4) == b"mine"


@scenario("xfs")
def a_persons_folder(w):
    """a person's folder has its name: the same"""
    lost_on_the_target(w, a_folder)


@scenario("xfs", "btrfs")
def newer_is_not_lost(w):
    """a guest snapshot taken since the last run is nothing that verify misses; a failover says that it is not there"""
    w.create()
    w.run()
    snap = w.lab.take_guest_snapshot()
    done = w.a.pvesr("verify", "100-0", check=True)
    assert "WARNING" not in done.stdout, done.stdout
    over = w.b.pvesr("failover", "100", "--dry-run", check=True).stdout
    assert f"the guest's snapshot '{snap}' is not here" in over, over
    w.run()
    w.proved()
    assert "WARNING" not in w.log() and "WARNING" not in w.b.pvesr("failover", "100", "--dry-run", check=True).stdout


@scenario("xfs", "btrfs")
def spare_is_not_here(w):
    """what the guest starts without (a snapshot's memory, a disk that only a snapshot has, an unused one) and came after the last run keeps no guest from moving: it is told; what it starts with does, and the way out is told"""
    w.create()
    w.run()
    main, new = w.lab.config(), f"{w.c.storage_id}:{w.lab.names.volname(7)}"
    for starts, lines in ((False, f"unused0: {new}\n"), (False, f"\n[g1]\nscsi5: {new}\n"), (True, f"vmstate: {new}\n"), (True, f"scsi5: {new}\n"),
                          (True, f"\n[PENDING]\nscsi5: {new}\n"), (True, f"scsi5: {new}\n\n[g1]\nvmstate: {new}\n"), (False, f"\n[g1]\nvmstate: {new}\n")):
        w.write_guest(main + lines)
        for more in ((), ("--as-is",)):
            done = w.b.pvesr("failover", "100", "--force", "--dry-run", *more)
            assert (done.returncode != 0) == starts, f"{lines}{done.stdout}{done.stderr}"
            assert (f"'{new}' has no replica on this node, nothing was changed" in done.stderr and "replicate=0" in done.stderr) == starts, done.stderr
            assert (f"{new} is not here" in done.stdout) != starts, done.stdout
    before = w.copy(w.lab.replica(0))
    assert "its snapshot 'g1'" in w.b.pvesr("failover", "100", "--force", check=True).stdout
    w.owner = "pve2"
    w.face("pve1")
    assert same_file(w.lab.live(0), before)
    w.run(want=1)
    w.lab.save()
    w.run()
    w.proved()


@scenario("xfs", "btrfs")
def spare_lacks_the_point(w):
    """an unused disk, or a snapshot's memory, that is younger than a restore point keeps no guest from going back to that"""
    w.create("--keep", "last=4")
    w.run()
    point, main = points(w, w.b.store)[0], w.lab.config()
    old = w.copy(w.lab.replica(0))
    w.lab.write(0, 5)
    first = w.lab.add_disk()
    w.lab.disks.pop(first)
    spare = f"{w.c.storage_id}:{w.lab.names.volname(first)}"
    w.write_guest(f"{main}unused0: {spare}\n")
    w.run()
    stays = w.copy(w.lab.names.live(w.b.store, first))
    done = w.b.pvesr("failover", "100", "--force", "--point", point, check=True)
    assert f"{spare} has no restore point {point}, and stays as it is" in done.stdout, done.stdout
    w.owner = "pve2"
    w.face("pve1")
    assert same_file(w.lab.live(0), old) and same_file(w.lab.live(first), stays)
    w.lab.write(0, 5)
    w.run()
    assert all(same_file(w.lab.live(n), w.lab.replica(n)) for n in (0, first))


@scenario("xfs", "btrfs")
def lived_here_then(w):
    """guest snapshots of all times and nodes of a guest that fails over there and back, and is rolled back: nobody is warned"""
    w.lab.take_guest_snapshot()
    w.create()
    w.run()
    for node, other in (("pve2", "pve1"), ("pve1", "pve2")) * 2:
        over = w.c.node(node).pvesr("failover", "100", "--force", check=True).stdout
        assert "WARNING" not in over, over
        w.owner = node
        w.face(other)
        snap = w.lab.take_guest_snapshot()
        w.lab.write(0, 20)
        w.run()
        assert "WARNING" not in w.log(), w.log()
        w.lab.roll_back(snap)
        w.run()
        assert "WARNING" not in w.log() + w.c.node(node).pvesr("plan", "100-0", check=True).stdout, w.log()
        assert "WARNING" not in w.c.node(node).pvesr("verify", "100-0", check=True).stdout


@scenario("xfs", "btrfs")
def renamed_guest_snapshot(w):
    """somebody gave a guest snapshot on the target another name: that is said once, until it has its own again"""
    snap = w.lab.take_guest_snapshot()
    w.create()
    w.run()
    image = (lambda name: w.lab.names.subvolume(w.b.store, 0, name)) if w.kind == "btrfs" else (lambda name: w.lab.names.snapshot(w.b.store, 0, name))
    os.rename(image(snap), image("mine"))
    w.lab.write(0, 20)
    w.run()
    assert f"WARNING: the target has the guest's snapshot '{snap}' by the name 'mine'" in w.log(), w.log()
    assert f"the guest's snapshot '{snap}' is not here" in w.b.pvesr("failover", "100", "--dry-run", check=True).stdout
    os.rename(image("mine"), image(snap))
    w.run()
    w.proved()
    assert "WARNING" not in w.log(), w.log()


ALONE = "WARNING: this node has not the guest's snapshot"


@scenario("xfs", "btrfs")
def lost_at_home(w):
    """a guest snapshot is lost on the guest's own node, and its configuration lists it: the target's copy stays, which the plan, and the next run, say; it goes when the guest's snapshot is deleted"""
    snap = w.lab.take_guest_snapshot()
    kept = w.copy(w.lab.live(0))
    w.create()
    w.run()
    w.lab.names.drop_snapshot(w.a.store, 0, snap)
    w.lab.write(0, 5)
    plan = w.a.pvesr("plan", "100-0", check=True).stdout
    assert f"{ALONE} '{snap}'" in plan and f"remove '{snap}'" not in plan, plan
    done = w.run()
    assert f"{ALONE} '{snap}'" in w.log() and f"{ALONE} '{snap}'" in done.stderr, w.log()
    for _ in range(2):
        assert same_file(w.lab.names.snapshot(w.b.store, 0, snap), kept), w.lab.names.entries(w.b.store)
        w.lab.write(0, 5)
        assert "WARNING" not in w.run().stderr, w.log()
    w.lab.snapshots.pop(snap)
    w.lab.save()
    w.run()
    assert (0, snap) not in w.lab.names.entries(w.b.store)[0] and "WARNING" not in w.log(), w.log()
    w.proved()


@scenario()
def rolled_back_at_home(w):
    """somebody rolls the guest's disk back, and destroys a snapshot of the guest's for that which its configuration lists: its data stays on the target"""
    first = w.lab.take_guest_snapshot()
    w.lab.write(0, 5)
    w.create()
    w.run()
    w.lab.write(0, 5)
    lost = w.lab.take_guest_snapshot()
    kept = w.copy(w.lab.live(0))
    w.lab.write(0, 5)
    w.run()
    drop_points(w)
    w.lab.names.drop_snapshot(w.a.store, 0, lost)
    w.lab.roll_back(first)
    for _ in range(2):
        w.run()
        assert "full sync" not in w.log() and same_file(w.lab.live(0), w.lab.replica(0)), w.log()
        named = (0, lost) in w.lab.names.entries(w.b.store)[0] and same_file(w.lab.names.snapshot(w.b.store, 0, lost), kept)
        assert named or w.kept_aside(w.b.store, 0, kept), w.log()
        w.lab.write(0, 5)


def moved(w, to, other):
    w.c.node(to).pvesr("failover", "100", "--force", check=True)
    w.owner = to
    w.face(other)


@scenario("xfs")
def lost_on_the_way(w):
    """a guest that came here with its snapshot goes to a storage that keeps none, and its first run is back to here: the snapshot stays here"""
    w.create()
    w.run()
    moved(w, "pve2", "pve1")
    snap = w.lab.take_guest_snapshot()
    kept = w.copy(w.lab.live(0))
    w.lab.write(0, 5)
    w.run()
    moved(w, "pve1", "pve2")
    w.on_plain(w.b)
    w.run()
    moved(w, "pve2", "pve1")
    for _ in range(2):
        w.lab.write(0, 5)
        w.run()
        assert (0, snap) in w.lab.names.entries(w.a.store)[0], w.log()
        assert same_file(w.lab.names.snapshot(w.a.store, 0, snap), kept), w.log()
    moved(w, "pve1", "pve2")
    assert same_file(w.lab.names.snapshot(w.a.store, 0, snap), kept)


@scenario("plain")
def not_held_there(w):
    """a storage that keeps one restore point has no guest snapshots: that is so, and nobody is warned of it"""
    w.create()
    w.run()
    w.lab.snapshots["snap0"] = [0]
    w.lab.save()
    w.run()
    assert "WARNING" not in w.log(), w.log()


def container_lost(w, how):
    snap = w.lab.take_guest_snapshot()
    w.lab.step(drop=False)
    w.create()
    w.run()
    w.lab.change(0)
    w.run()
    path = w.lab.names.path(w.b.store, 0, snap)
    if how == "written":
        subprocess.run(["btrfs", "property", "set", "-f", "-ts", path, "ro", "false"], check=True)
        with open(os.path.join(path, "somebody"), "w") as f:
            f.write("was here")
        subprocess.run(["btrfs", "property", "set", "-ts", path, "ro", "true"], check=True)
    else:
        w.lab.names.drop_snapshot(w.b.store, 0, snap)
    if how == "replaced":
        subprocess.run(["btrfs", "subvolume", "snapshot", "-r", w.lab.names.path(w.b.store, 0), path], check=True, capture_output=True)
    over = is_told(w, snap, job="200-0")
    assert how != "gone" or f"the guest's snapshot '{snap}' is not here" in over, over


def container_lost_one(w):
    container_lost(w, "gone")


def container_replaced_one(w):
    container_lost(w, "replaced")


def container_written_one(w):
    container_lost(w, "written")


# ---- many ----

def bounded(most):
    """No program that came to its end had more MiB resident, not even those of the tests themselves. Not of a build whose sanitizer or valgrind
    has memory of its own."""
    mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    bare = "asan" not in subprocess.run(["ldd", rig.program("pvesr")], capture_output=True, text=True, check=False).stdout
    assert not bare or "PVESR_WRAP" in os.environ or mib <= most, f"{mib:.0f} MiB resident"


def many_snapshots(w, n, count):
    """Guest snapshots m0, m1, … of disk n, each of another state."""
    for i in range(count):
        with open(w.lab.live(n), "r+b") as f:
            f.seek(i * 4096)
            f.write(i.to_bytes(4, "little") * 1024)
        with open(w.lab.live(n), "rb") as live, open(w.lab.names.snapshot(w.a.store, n, f"m{i}"), "xb") as snap:
            fcntl.ioctl(snap.fileno(), FICLONE, live.fileno())
        w.lab.snapshots[f"m{i}"] = [n]
    w.lab.save()


@scenario("xfs")
def many_guest_snapshots(w):
    """300 guest snapshots of one volume: all mirrored, increments with them, all deleted again, in bounded memory"""
    n = w.lab.add_disk(size=2 << 20)
    many_snapshots(w, n, 300)
    w.create()
    w.run()
    w.proved()
    w.lab.write(n, 5)
    w.lab.take_guest_snapshot()
    w.lab.write(n, 5)
    w.run()
    w.proved()
    w.lab.drop_guest_snapshot("snap0")
    w.lab.snapshots = {}
    w.lab.save()
    for i in range(300):
        w.lab.names.drop_snapshot(w.a.store, n, f"m{i}")
    w.run()
    w.proved()
    bounded(48)


@scenario("xfs", "btrfs")
def many_volumes(w):
    """30 volumes: a first copy, a failure at the last, increments, in bounded memory"""
    for _ in range(29):
        w.lab.add_disk(size=1 << 20)
    w.create()
    w.run()
    w.proved()
    for n in w.lab.disks:
        w.lab.write(n, 3)
    last = max(w.lab.disks)
    w.lab.grow_disk(last, 16 << 20)
    w.c.set_agent("pve2", ["prlimit", f"--fsize={w.lab.disks[last] - 1}"])
    w.run(want=1)
    w.c.set_agent("pve2", [])
    w.run()
    w.proved()
    assert "full sync" not in w.log(), w.log()
    bounded(48)


@scenario("xfs")
def too_many_snapshots(w):
    """more snapshots on the target than a run can speak of: a clear error, nothing is changed"""
    w.create()
    w.run()
    kept = w.copy(w.lab.replica(0))
    for i in range(8193):
        with open(w.lab.names.snapshot(w.b.store, 0, f"m{i}"), "xb") as f:
            for name, value in (("id", f"{i:032x}"), ("seq", str(i + 1)), ("created", "1")):
                os.setxattr(f.fileno(), "user.pvesr." + name, value.encode())
    w.lab.write(0, 5)
    done = w.run(want=1)
    assert "snapshots" in done.stderr and "vm-100-disk-0" in done.stderr and "8192" in done.stderr, done.stderr
    assert same_file(w.lab.replica(0), kept)
    for i in range(8193):
        os.unlink(w.lab.names.snapshot(w.b.store, 0, f"m{i}"))
    w.run()
    w.proved()


@scenario("xfs")
def too_many_volumes(w):
    """more volumes than a run can speak of: a clear error, nothing is begun"""
    for i in range(1, 515):
        w.lab.names.create(w.a.store, i, 4096)
    text = ""
    for i in range(515):  # the limit of a guest's own lines is below that of a run; its snapshots may name more
        text += f"\n[s{i}]\n" if i in (256, 512) else ""
        text += f"unused{i % 256}: {w.c.storage_id}:{w.lab.names.volname(i)}\n"
    w.write_guest(text)
    w.create()
    done = w.run(want=1)
    assert "515" in done.stderr and "512" in done.stderr and "100" in done.stderr, done.stderr
    assert {snap for _, snap in w.lab.names.entries(w.a.store)[0]} == {None}, "a snapshot was left"


treeworld.play("a container's snapshot is removed on the target: run, plan, verify and failover name it", "btrfs", container_lost_one)
treeworld.play("…or made anew there", "btrfs", container_replaced_one)
treeworld.play("…or written to", "btrfs", container_written_one)
play_all()
