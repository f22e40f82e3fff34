#!/usr/bin/env python3
"""Several restore points on the target: which of them stay, and that each still holds what the guest had.

Times are faked by renaming points on the target: a name says when the run began.
"""
import contextlib
import errno
import json
import os
import re
import sqlite3
import subprocess
import time
from unittest import mock

import rig
from guestlab import same_file
from rigdisk import gone
from scenario import GUEST, play_all, scenario

DAY = 86400


def rename(w, n, old, new):
    """A restore point of the target becomes an older one, with a mark that says that it is called so: else it would be somebody's."""
    names = w.lab.names
    if w.kind == "zfspool":
        name = names.dataset(w.b.store, n, new)
        rig.sh("zfs", "rename", names.dataset(w.b.store, n, old), name)
        rig.sh("zfs", "set", f"pvesr:name=@{new} {names.volname(n)}", name)
    elif w.kind == "lvmthin":
        name = names.lv(w.b.store, n, new)
        rig.sh("lvrename", "-q", names.lv(w.b.store, n, old), name)
        tag = rig.sh("lvs", "--noheadings", "-o", "lv_tags", name).strip()
        rig.sh("lvchange", "-q", "--deltag", tag, "--addtag", tag.replace(old, new), name)
    else:
        paths = [names.subvolume(w.b.store, n, s) if w.kind == "btrfs" else names.snapshot(w.b.store, n, s) for s in (old, new)]
        os.rename(*paths)
        marked = names.folder(w.b.store) if w.kind == "btrfs" else paths[1]
        for key in os.listxattr(marked):
            os.setxattr(marked, key, os.getxattr(marked, key).replace(old.encode(), new.encode()))


def points(w, node=None, n=0):
    """The job's restore points of a disk on a node, oldest first."""
    found, _ = w.lab.names.entries((node or w.b).store)
    return sorted(s for disk, s in found if disk == n and s and s.startswith("__replicate_100-0_"))


def newest(w):
    return points(w)[-1]


def run_and_copy(w, kept, disks=(0,)):
    """One run; what the guest had is remembered by the point's name."""
    w.run()
    kept[newest(w)] = [w.copy(w.lab.live(n)) for n in disks]


def same_points(w, kept, names, disks=(0,)):
    for i, n in enumerate(disks):
        assert points(w, n=n) == sorted(names), f"disk {n}: {points(w, n=n)}, not {sorted(names)}"
        for name in names:
            assert same_file(w.lab.names.snapshot(w.b.store, n, name), kept[name][i]), f"{name} of disk {n} differs"


@scenario("xfs", "btrfs", "zfspool", "lvmthin")
def the_last_ones_stay(w):
    """last=3 keeps three, bit by bit, on the target alone; each run makes one, though nothing changed"""
    w.create("--keep", "last=3")
    w.lab.add_disk()
    kept = {}
    for i in range(5):
        if i != 3:
            w.lab.write(0, 5)
        run_and_copy(w, kept, (0, 1))
        assert len(points(w, w.a)) == 1
    assert len(kept) == 5, kept
    same_points(w, kept, sorted(kept)[-3:], (0, 1))
    w.a.pvesr("update", "100-0", "--keep", "last=2", check=True)
    w.run()
    assert len(points(w)) == 2
    w.a.pvesr("update", "100-0", "--delete", "keep", check=True)
    w.run()
    assert len(points(w)) == 1
    w.proved()


@contextlib.contextmanager
def at_noon():
    """In a zone where it is noon: no day ends meanwhile, nor did one at this second of the day."""
    with mock.patch.dict(os.environ, TZ=f"NOON{time.gmtime().tm_hour - 12:+d}"):
        yield


@scenario("xfs", "btrfs", "zfspool", "lvmthin")
@at_noon()
def days_stay(w):
    """last=1,daily=3 keeps the newest, and the newest of each day before it"""
    w.create("--keep", "last=9")
    kept, now = {}, int(time.time())
    for _ in range(5):
        w.lab.write(0, 5)
        run_and_copy(w, kept)
    names = [f"__replicate_100-0_{now - age}__" for age in (9 * DAY, 2 * DAY + 1, 2 * DAY, DAY)]
    for old, new in zip(sorted(kept), names):
        rename(w, 0, old, new)
        kept[new] = kept.pop(old)
    w.a.pvesr("update", "100-0", "--keep", "last=1,daily=3", check=True)
    for _ in range(2):
        w.lab.write(0, 5)
        run_and_copy(w, kept)
        same_points(w, kept, [newest(w), names[0], *names[2:]])


def held(w):
    """(node, disk, snapshot) of all that the two nodes hold; no snapshot: the volume."""
    return {(node.name, *entry) for node in (w.a, w.b) for entry in w.lab.names.entries(node.store)[0]}


def told_to_go(w, disks):
    """The same of what the plan says will be removed."""
    plan = w.a.pvesr("plan", "100-0", check=True).stdout
    volids = {f"{w.c.storage_id}:{w.lab.names.volname(n)}": n for n in disks}
    nodes = {"here": w.a.name, "on the target": w.b.name}
    found, n = set(), None
    for line in plan.splitlines():
        n = volids.get(line, n)
        if (m := re.fullmatch(r"  (?:then )?remove (?:stale snapshot )?'(.*)' (here|on the target)", line)):
            found.add((nodes[m[2]], n, m[1]))
        elif (m := re.fullmatch(r"destroy '(.*)' on the target: .*", line)):
            found |= {entry for entry in held(w) if entry[:2] == (w.b.name, volids[m[1]])}
    return found


@scenario("xfs", "btrfs", "zfspool", "lvmthin")
def the_plan_tells(w):
    """what a run takes away on either side, and the removal of a job, is what the plan said before, no more and no less"""
    w.create("--keep", "last=2")
    w.lab.add_disk()
    w.lab.take_guest_snapshot()
    for change in (lambda: None, lambda: None, lambda: w.lab.drop_guest_snapshot("snap0"), lambda: w.lab.remove_disk(1),
                   lambda: w.a.pvesr("delete", "100-0", check=True)):
        for n in w.lab.disks:
            w.lab.write(n, 5)
        change()
        before, told = held(w), told_to_go(w, (0, 1))
        w.run()
        gone = before - held(w)
        assert {entry for entry in gone if w.a.name != entry[0] or entry[1] in w.lab.disks} == told, (gone ^ told)
    assert told and not [entry for entry in held(w) if entry[0] == w.b.name]


@scenario("xfs")
def the_plan_of_a_job_that_leaves_its_replicas(w):
    """the removal of a job that leaves its replicas needs no target, for its plan neither"""
    w.create()
    w.run()
    w.a.pvesr("delete", "100-0", "--keep", check=True)
    w.c.set_agent("pve2", ["false"])
    before, told = held(w), told_to_go(w, (0,))
    w.run()
    assert told and before - held(w) == told, (told, held(w))


@scenario("xfs")
def asides_are_not_counted(w):
    """what was kept aside is neither counted nor removed"""
    w.create("--keep", "last=2")
    kept = {}
    run_and_copy(w, kept)
    w.lab.write(0, 3, path=w.lab.replica(0))
    mine = w.copy(w.lab.replica(0))
    for _ in range(3):
        w.lab.write(0, 5)
        run_and_copy(w, kept)
    assert len(w.asides(w.b.store)) == 1 and w.kept_aside(w.b.store, 0, mine), w.asides(w.b.store)
    same_points(w, kept, sorted(kept)[-2:])


@scenario("xfs", "btrfs", "zfspool", "lvmthin")
def history_survives_a_move(w):
    """where the guest moves to a target, the history there stays as long as the rules keep it"""
    w.create("--keep", "last=3")
    kept = {}
    for _ in range(3):
        w.lab.write(0, 5)
        run_and_copy(w, kept)
    w.steal(w.b.name)
    w.lab.write(0, 5)
    w.run()
    assert points(w, w.b)[:-1] == sorted(kept)[1:], (points(w, w.b), sorted(kept))
    for name in sorted(kept)[1:]:
        assert same_file(w.lab.names.snapshot(w.b.store, 0, name), kept[name][0])
    for _ in range(2):
        w.lab.write(0, 5)
        w.run()
    assert len(points(w, w.a)) == 3 and len(points(w, w.b)) == 1, (points(w, w.a), points(w, w.b))


def failed_over(w, runs=4, keep=("--keep", "last=5")):
    """After so many runs the guest is on the target, whose points hold what is returned."""
    w.create(*keep)
    kept = {}
    for _ in range(runs):
        w.lab.write(0, 5)
        run_and_copy(w, kept)
    w.b.pvesr("failover", "100", "--force", check=True)
    w.owner = "pve2"
    w.face("pve1")
    return kept


def all_there(w, kept):
    """On the node of the guest, which was the target; what it has besides of that job is returned."""
    found = points(w, w.b)
    for name in kept:
        assert name in found, f"{name} is gone: {w.log()}"
        assert same_file(w.lab.names.snapshot(w.b.store, 0, name), kept[name][0]), name
    return [name for name in found if name not in kept]


@scenario("xfs")
def history_survives_a_target_that_keeps_one(w):
    """the history stays where the guest moved to, as long as the rules keep it, whatever the other node's storage keeps"""
    kept = failed_over(w)
    w.on_plain(w.a)
    for _ in range(3):
        w.lab.write(0, 5)
        w.run()
        assert len(all_there(w, kept)) == 1, points(w, w.b)
    w.b.pvesr("update", "100-0", "--keep", "last=3", check=True)
    w.run()
    assert sorted(points(w, w.b))[:-1] == sorted(kept)[-2:], points(w, w.b)
    w.b.pvesr("update", "100-0", "--delete", "keep", check=True)
    w.run()
    assert len(points(w, w.b)) == 1, points(w, w.b)


def freed(w, node, names):
    """Doctor names each with the command that removes it, and removes none else; that does."""
    before = points(w, node)
    for name in names:
        volid = f"{w.c.storage_id}:{w.lab.names.volname(0)}@{name}"
        said = node.pvesr("doctor", "--repair", check=True).stdout
        line, = [line for line in said.splitlines() if f"--free {volid}'" in line]
        assert line.startswith("kept ") and "the only one of its time" in line, said
        node.pvesr("doctor", "--guest", "100", "--free", volid, check=True)
    assert points(w, node) == [name for name in before if name not in names]


@scenario("xfs", "btrfs")
def a_former_jobs_history_stays(w):
    """the guest failed over, its job is taken out by force, and another made: the history stays until a person frees it, and then what is left goes"""
    kept = failed_over(w)
    w.b.pvesr("delete", "100-0", "--force", check=True)
    w.create("--keep", "last=2", job="100-1", target="pve1")
    for _ in range(3):
        w.lab.write(0, 5)
        w.run(job="100-1")
        all_there(w, kept)
    freed(w, w.b, sorted(kept)[:-1])
    w.run(job="100-1")
    assert points(w, w.b) == [], w.log(job="100-1")


@scenario("xfs", "btrfs")
def a_former_jobs_history_on_the_target(w):
    """a job is taken out by force and made anew to the same target by another number: its history there stays, until a person frees it; with one point, that goes"""
    for number, keep in (("0", ("--keep", "last=5")), ("2", ())):
        kept, job, new = [], f"100-{number}", f"100-{int(number) + 1}"
        prefix = f"__replicate_{job}_"

        def there():
            return sorted(s for d, s in w.lab.names.entries(w.b.store)[0] if (s or "").startswith(prefix))
        w.create(*keep, job=job)
        for _ in range(4):
            w.lab.write(0, 5)
            w.run(job=job)
        kept = there()
        w.a.pvesr("delete", job, "--force", check=True)
        w.create(job=new)
        for _ in range(3):
            w.lab.write(0, 5)
            w.run(job=new)
        old = w.lab.names.entries(w.a.store)[0]
        assert there() == (kept if keep else [name for name in kept if (0, name) in old]), (kept, there())
        w.a.pvesr("delete", new, "--force", check=True)


@scenario("xfs", "btrfs")
def a_removal_by_force(w):
    """the guest failed over and its job is taken out by force: doctor removes nothing of the history, and names each point with the command that does; what was one base, it removes"""
    kept = failed_over(w)
    w.b.pvesr("delete", "100-0", "--force", check=True)
    said = w.b.pvesr("doctor", "--repair", check=True).stdout
    assert all_there(w, kept) == [] and [line.split()[0] for line in said.splitlines()] == ["kept"] * len(kept), said
    freed(w, w.b, sorted(kept)[:-1])
    assert "the guest has no job any more" in w.b.pvesr("doctor", "--repair", check=True).stdout
    assert points(w, w.b) == [], points(w, w.b)


@scenario("xfs", "btrfs")
def a_disk_left_out(w):
    """the guest failed over, and one of its disks is replicated no more: neither a run nor doctor takes its history, which goes by the rules"""
    w.lab.add_disk()
    kept = failed_over(w)
    w.write_guest(w.lab.config().replace(w.lab.names.volname(1), w.lab.names.volname(1) + ",replicate=0"))
    w.run()
    said = w.b.pvesr("doctor", "--repair", check=True).stdout
    volid = f"{w.c.storage_id}:{w.lab.names.volname(1)}"
    assert all(line.startswith("kept ") and f"--free {volid}@" in line for line in said.splitlines()), said
    assert points(w, w.b, 1) == sorted(kept) and said.count("--free") == len(kept), said
    w.b.pvesr("update", "100-0", "--keep", "last=3", check=True)
    w.run()
    assert points(w, w.b, 1) == [max(kept)], points(w, w.b, 1)


@scenario("xfs", "btrfs")
def a_base_ends(w):
    """the guest failed over to where one point was kept, its job is taken out by force, and another made: nothing of it is left"""
    failed_over(w, keep=())
    w.b.pvesr("delete", "100-0", "--force", check=True)
    w.create(job="100-1", target="pve1")
    for _ in range(2):
        w.lab.write(0, 5)
        w.run(job="100-1")
    assert points(w, w.b) == [], points(w, w.b)


@scenario("xfs", "btrfs")
def a_removal_that_leaves_all(w):
    """the guest failed over, and its job is deleted with --keep: the points where it is now stay"""
    kept = failed_over(w)
    w.b.pvesr("delete", "100-0", "--keep", check=True)
    w.run()
    assert all_there(w, kept) == []


def all_points(w):
    """(node, job, path) of each restore point of disk 0 on all nodes; no job: it is kept aside."""
    for node in ("pve1", "pve2", "pve3"):
        store = w.c.node(node).store
        for n, snap in w.lab.names.entries(store)[0] if os.path.isdir(w.lab.names.folder(store)) else ():
            if n == 0 and (m := re.match("(__replicate|diverged)_(100-[01])_", snap or "")):
                yield node, m[2] if m[1] == "__replicate" else None, w.lab.names.snapshot(store, 0, snap)


@scenario("xfs", "btrfs")
def histories_of_two_jobs(w):
    """a guest with two jobs moves round three nodes: each job's points go by its own rules, on whatever node; and when these let them go, none is left"""
    w.c.add_node("pve3")
    jobs, made = ("100-0", "100-1"), []
    for job, target in zip(jobs, ("pve2", "pve3")):
        w.create("--keep", "last=9", job=job, target=target)
    for node in ("pve1", "pve2", "pve3", "pve1"):
        if node != w.owner:
            w.c.node(node).pvesr("failover", "100", "--force", check=True)
            w.owner = node
            w.face(node)
        for job in 2 * jobs:
            w.lab.write(0, 3)
            w.run(job=job)
            made.append((job, w.copy(w.lab.live(0))))
            for of in jobs:  # a rule counts what its own run sees
                for i, (_, copy) in enumerate([one for one in made if one[0] == of][-5:]):
                    assert any(same_file(path, copy) for _, _, path in all_points(w)), f"{of}, {i}: {list(all_points(w))}"
    for job in jobs:
        w.a.pvesr("update", job, "--delete", "keep", check=True)
    for job in 3 * jobs:
        w.lab.write(0, 3)
        w.run(job=job)
    left = [(node, job) for node, job, _ in all_points(w) if job]
    assert len(left) == len(set(left)), sorted(left)


@scenario("xfs", "btrfs")
def a_history_of_the_past_ends(w):
    """what a target has of another job, of when it was that one's, goes by that one's rules, though that replicates elsewhere; and no more of it gathers there then"""
    w.c.add_node("pve3")
    w.create("--keep", "last=4")
    w.create(job="100-1", target="pve3")
    jobs, kept = ("100-0", "100-1"), []

    def runs(times):
        for job in times * jobs:
            w.lab.write(0, 3)
            w.run(job=job)

    def on(node):
        return sum((job, at) == ("100-0", node) for at, job, _ in all_points(w))
    runs(4)
    assert (on("pve2"), on("pve3")) == (4, 1), list(all_points(w))
    for node in ("pve2", "pve3"):
        w.c.node(node).pvesr("failover", "100", "--force", check=True)
        w.owner = node
        w.face(node)
        runs(1)
        kept.append(on("pve2"))
    assert w.job()["target"] == "pve1" and w.job("100-1")["target"] == "pve2" and min(kept) >= 4, kept
    for _ in range(6):
        runs(1)
        kept.append(on("pve2"))
        assert kept[-1] <= 4, kept
    assert kept[-1] == 1, kept


@scenario("plain")
def plain_files_keep_one(w):
    """a plain file has one restore point: `keep` changes nothing, and the plan and the log say so"""
    w.create("--keep", "last=3")
    for _ in range(3):
        w.lab.write(0, 5)
        w.run()
    assert len(points(w)) == 1, points(w)
    told = "'keep' has no effect on it"
    assert told in w.log() and told in w.a.pvesr("plan", "100-0", check=True).stdout
    w.proved()


def listed(node):
    return {p["name"]: p for p in json.loads(node.pvesr("restore-points", "100", "--output-format", "json", check=True).stdout)}


@scenario("xfs", "btrfs", "zfspool", "lvmthin")
def clone(w):
    """each restore point is listed, and its copies hold what the guest had, bit by bit; nothing else changes"""
    w.create("--keep", "last=3")
    w.lab.add_disk()
    kept = {}
    for _ in range(3):
        w.lab.write(0, 5)
        w.lab.punch(1)
        run_and_copy(w, kept, (0, 1))
    found = listed(w.b)
    assert sorted(found) == sorted(kept), found
    for name, point in found.items():
        assert point["job"] == "100-0" and point["time"] == int(name.split("_")[-3]) and not point["aside"], point
        assert [v["shown"] for v in point["volumes"]] == [name == max(kept)] * 2, point
        assert [v["size"] for v in point["volumes"]] == [w.lab.disks[0], w.lab.disks[1]], point
    assert list(listed(w.a)) == [max(kept)]
    before, _ = w.lab.names.entries(w.b.store)
    for at, name in enumerate(sorted(kept)):
        new = 900 + at
        out = w.b.pvesr("clone", "100", name, str(new), check=True).stdout
        copies = type(w.lab.names)(new)
        assert out == "".join(f"{w.c.storage_id}:{copies.volname(n)}\n" for n in (0, 1)), out
        for n in (0, 1):
            assert same_file(copies.live(w.b.store, n), kept[name][n]), f"{name} of disk {n}"
        found, odd = copies.entries(w.b.store)
        others = [f"-{guest}-" for guest in (GUEST, *range(900, new))]
        assert found == {(0, None), (1, None)} and all(any(o in name for o in others) for name in odd), (found, odd)
        with open(copies.live(w.b.store, 0), "r+b") as f:
            f.write(b"a copy is written to")
    assert w.lab.names.entries(w.b.store)[0] == before
    same_points(w, kept, kept, (0, 1))
    w.run()


@scenario("xfs", "btrfs", "lvmthin")
def only_points_are_left(w):
    """of a replica of which only restore points are left, as of one whose removal was cut, failover says so, and a clone has what the guest had"""
    w.create("--keep", "last=3")
    kept = {}
    for _ in range(2):
        w.lab.write(0, 5)
        run_and_copy(w, kept, (0,))
    _, newest = kept
    image = w.lab.replica(0)
    if w.kind == "btrfs":
        subprocess.run(["btrfs", "subvolume", "delete", w.lab.names.subvolume(w.b.store, 0)], stdout=subprocess.DEVNULL, check=True)
    elif w.kind == "lvmthin":
        gone(["lvremove", "-y", image.removeprefix("/dev/")])
    else:
        os.unlink(image)
    done = w.b.pvesr("failover", "100", "--force")
    assert done.returncode and f"only restore points are left on node 'pve2', the newest '{newest}': 'pvesr clone 100 {newest} NEWID'" in done.stderr, done.stderr
    w.b.pvesr("clone", "100", newest, "900", check=True)
    assert same_file(type(w.lab.names)(900).live(w.b.store, 0), kept[newest][0])
    w.run()
    assert same_file(w.lab.live(0), w.lab.replica(0))


@scenario("xfs", "btrfs")
def clones_refused(w):
    """no copy over what is there, of what is not there, or of half a point: and nothing is left of it"""
    w.create("--keep", "last=3")
    w.lab.add_disk()
    kept = {}
    run_and_copy(w, kept, (0, 1))
    name, = kept
    names = type(w.lab.names)(900)
    for point, new, why in (("nothing", 900, "there is no restore point 'nothing'"), (name, 100, "guest '100' exists")):
        done = w.b.pvesr("clone", "100", point, str(new))
        assert done.returncode and why in done.stderr, done.stderr
    names.create(w.b.store, 1, 4096)
    done = w.b.pvesr("clone", "100", name, "900")
    assert done.returncode and "exists: choose another guest id" in done.stderr, done.stderr
    assert names.entries(w.b.store) == ({(1, None)}, []), names.entries(w.b.store)
    w.proved()


@scenario("xfs", "btrfs", "zfspool", "lvmthin")
def a_part_of_a_point(w):
    """of a restore point of which not all disks have their part, it is said when it is listed, copied and mounted: of the newest, of one before others, and of one whose disk is here no more"""
    w.lab.add_disk()
    w.create("--keep", "last=3")
    kept = {}
    run_and_copy(w, kept, (0, 1))
    run_and_copy(w, kept, (0, 1))
    first, last = kept

    def said(point, new, of):
        done = w.b.pvesr("clone", "100", point, str(new))
        assert done.returncode == 0, done.stderr
        assert (f"'{point}' has nothing of '" in done.stderr) == of, f"{point}: {done.stderr!r}"
        listed = {p["name"]: p for p in json.loads(w.b.pvesr("restore-points", "100", "--output-format", "json", check=True).stdout)}
        assert ("lacks" in listed[point]) == of, listed
        return done

    said(first, 900, False)
    said(last, 901, False)
    w.lab.names.drop_snapshot(w.b.store, 1, first)
    said(first, 902, True)
    said(last, 903, False)
    config = w.lab.config()
    w.write_guest("\n".join(line for line in config.splitlines() if "disk-1" not in line) + "\n")
    said(first, 904, True)  # the next point tells it
    w.write_guest(config)
    w.lab.names.remove(w.b.store, 1)
    said(last, 905, True)


@scenario("xfs", "btrfs", "zfspool", "lvmthin")
def clones_at_once(w):
    """two copies under one new id at the same time: one is made and stays whole, the other is refused"""
    w.create("--keep", "last=3")
    w.lab.add_disk()
    kept = {}
    run_and_copy(w, kept, (0, 1))
    name, = kept
    for new in range(900, 903):
        both = [subprocess.Popen(w.b.argv("pvesr", "clone", "100", name, str(new)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                 text=True) for _ in range(2)]
        said = [p.communicate()[1] for p in both]
        assert sorted(p.returncode == 0 for p in both) == [False, True], said
        assert any("exists: choose another guest id" in text for text in said), said
        copies = type(w.lab.names)(new)
        assert copies.entries(w.b.store)[0] == {(0, None), (1, None)}, copies.entries(w.b.store)
        assert all(same_file(copies.live(w.b.store, n), kept[name][n]) for n in (0, 1))


@scenario()
def mounts(w):
    """a restore point is shown read-only, bit by bit; what fails leaves no mount"""
    w.create("--keep", "last=2")
    w.lab.add_disk()
    kept = {}
    for _ in range(2):
        w.lab.write(0, 5)
        run_and_copy(w, kept, (0, 1))
    folder = os.path.join(w.c.dir, "shown")
    os.mkdir(folder)
    old = min(kept)
    paths = w.b.pvesr("mount", "100", old, folder, check=True).stdout.split()
    assert sorted(os.listdir(folder)) == [os.path.basename(w.lab.names.volname(n)) for n in (0, 1)], paths
    for n, path in enumerate(paths):
        assert os.path.ismount(path) and same_file(path, kept[old][n]), path
        try:
            with open(path, "r+b", buffering=0) as f:
                f.write(b"no")
            raise AssertionError(f"{path} can be written to")
        except OSError as e:
            assert e.errno in (errno.EROFS, errno.EACCES, errno.EPERM), e  # a file's, a device's
    done = w.b.pvesr("mount", "100", old, folder)
    assert done.returncode and "give an empty one" in done.stderr, done.stderr
    subprocess.run(["umount", *paths], check=True)
    os.unlink(paths[0])
    done = w.b.pvesr("mount", "100", old, folder)  # the second place is taken
    assert done.returncode and not os.path.lexists(paths[0]), done.stderr
    w.lab.write(0, 5)
    w.run()


@scenario("plain")
def plain_points(w):
    """on a plain file system the shown point can be copied until the replica is written to"""
    w.create()
    w.run()
    name, = listed(w.b)
    w.b.pvesr("clone", "100", name, "900", check=True)
    names = type(w.lab.names)(900)
    assert same_file(names.live(w.b.store, 0), w.lab.live(0))
    folder = os.path.join(w.c.dir, "shown")
    os.mkdir(folder)
    done = w.b.pvesr("mount", "100", name, folder)
    assert done.returncode and "has no data of its own" in done.stderr and not os.listdir(folder), done.stderr
    w.lab.write(0, 3, path=w.lab.replica(0))
    done = w.b.pvesr("clone", "100", name, "901")
    assert done.returncode and "has no data of its own" in done.stderr, done.stderr


@scenario("xfs")
def old_runs_are_forgotten(w):
    """a run drops what the journal has of its job that is older than history-days, but for the newest ten"""
    w.create()
    w.run()
    with open(w.a.config, "a") as f:
        f.write("history-days: 7\n")
    with sqlite3.connect(os.path.join(w.a.state_dir, "pvesr-journal.db")) as db:
        columns = "node, target, duration, result, err_kind, bytes, delta, pid, ptime, boot"
        for job, n in (("100-0", 40), ("200-0", 12)):
            for i in range(n):
                db.execute(f"INSERT INTO run (job, start, {columns}) SELECT ?, start - 8 * 86400 - ?, {columns} FROM run LIMIT 1", (job, i))
    w.run()
    runs = json.loads(w.a.pvesr("history", "--output-format", "json", check=True).stdout)
    assert sorted(r["job"] for r in runs) == ["100-0"] * 10 + ["200-0"] * 12, [r["job"] for r in runs]


@scenario()
def of_a_job_that_is_no_more(w):
    """a job is removed, and its restore points are kept; another one to the same node begins at a guest snapshot that is older: the points stay, by their names or kept aside"""
    kept = {}
    w.lab.take_guest_snapshot()
    w.create("--keep", "last=4")
    for _ in range(3):
        w.lab.write(0, 5)
        run_and_copy(w, kept)
    w.a.pvesr("delete", "100-0", "--keep", check=True)
    w.run()
    w.create(job="100-1")
    for _ in range(2):
        w.lab.write(0, 5)
        w.run(job="100-1")
        assert same_file(w.lab.live(0), w.lab.replica(0)) and "full sync" not in w.log(job="100-1"), w.log(job="100-1")
        for point, (copy,) in kept.items():
            named = point in points(w) and same_file(w.lab.names.snapshot(w.b.store, 0, point), copy)
            assert named or w.kept_aside(w.b.store, 0, copy), w.log(job="100-1")


def newer_are_aside(w, kept, said, newer):
    """Where snapshots are of one line, those that were newer are kept aside, which is told with the command that makes a guest of them."""
    for n, point in enumerate(newer):
        commands = {line.split("'")[1] for line in said if f"restore point {point} is newer" in line}
        assert len(commands) == 1, said
        w.b.pvesr(*commands.pop().replace("NEWID", str(900 + n)).split()[1:], check=True)
        for disk, copy in zip(w.lab.disks, kept[point]):
            assert w.kept_aside(w.b.store, disk, copy), (point, w.asides(w.b.store))


@scenario("xfs", "btrfs", *rig.ON_DISK)
def a_chosen_point_stays(w):
    """a guest that was failed over to an older restore point, and again without naming it: it stays there, which is told; another one by its name"""
    line = w.kind.startswith("zfs")
    kept = {}
    w.lab.add_disk()
    w.create("--keep", "last=4")
    for _ in range(3):
        for n in w.lab.disks:
            w.lab.write(n, 5)
        run_and_copy(w, kept, w.lab.disks)
    old, mid, new = points(w)

    def fail_over(*more):
        done = w.b.pvesr("failover", "100", "--force", "--output-format", "json", *more, check=True)
        return json.loads(done.stdout)

    def shows(point):
        return all(same_file(w.lab.names.live(w.b.store, n), copy) for n, copy in zip(w.lab.disks, kept[point]))

    if line:
        newer_are_aside(w, kept, fail_over("--point", old)["said"], (mid, new))
    else:
        fail_over("--point", old)
    for _ in range(2):
        said = fail_over()
        assert said["point"] == old and (line or any("stay at restore point" in one and new in one for one in said["said"])), said
        assert shows(old)
    if not line:
        fail_over("--point", mid)
        assert shows(mid)


def cut_behind_a_snapshot(w):
    """The guest is on the target, whose first disk had got a snapshot of the guest's, and no more, when the last run was cut."""
    kept = {}
    w.lab.add_disk()
    w.create("--keep", "last=4")
    for _ in range(2):
        w.lab.write(0, 5)
        run_and_copy(w, kept)
    w.lab.write(0, 5)
    w.lab.take_guest_snapshot()
    came = w.copy(w.lab.live(0))
    w.lab.write(0, 5)
    undo = w.block(1)
    w.run(want=1)
    undo()
    return kept, came


def fail_over_to(w, kept, point, *more):
    w.b.pvesr("failover", "100", "--force", *more, check=True)
    w.owner = "pve2"
    w.face("pve1")
    assert same_file(w.lab.live(0), kept[point][0])


@scenario("zfspool", "zfscrypt")
def a_point_chosen_behind_a_cut_run(w):
    """the guest is failed over to an older point where a run was cut behind a snapshot of the guest's: what came of that stays, too"""
    kept, came = cut_behind_a_snapshot(w)
    fail_over_to(w, kept, points(w)[0], "--point", points(w)[0])
    assert w.kept_aside(w.b.store, 0, came), w.asides(w.b.store)


@scenario("zfspool", "zfscrypt")
def tested_behind_a_cut_run(w):
    """the same where the other disk's replica was written to: both show the last point, and runs from there go on"""
    kept, came = cut_behind_a_snapshot(w)
    w.lab.write(1, 5, path=w.lab.replica(1))
    fail_over_to(w, kept, points(w)[-1])
    for _ in range(2):
        w.lab.write(0, 5)
        w.run()
        assert same_file(w.lab.live(0), w.lab.replica(0)), w.log()
        assert w.kept_aside(w.b.store, 0, came), w.asides(w.b.store)


@scenario("zfspool", "zfscrypt")
def lost_behind_a_cut_run(w):
    """that snapshot is destroyed at home by hand: the next run begins anew, and what came of it is kept aside"""
    _, came = cut_behind_a_snapshot(w)
    for n in w.lab.disks:
        w.lab.names.drop_snapshot(w.a.store, n, *w.lab.snapshots)
    for _ in range(2):
        w.run()
        assert same_file(w.lab.live(0), w.lab.replica(0)), w.log()
        assert w.kept_aside(w.b.store, 0, came), w.asides(w.b.store)


play_all()
