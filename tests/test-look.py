#!/usr/bin/env python3
"""What cannot be looked at is not what is not there, nor what differs: a disk, a network or a permission that fails once, anywhere in a run, costs
no replica and no restore point. The run fails and says so, or it goes on as ever; the next one goes on from where the last one ended."""
import collections
import json
import os
import random
import re

import rig
from guestlab import same_file
from scenario import GUEST, play_all, scenario

CALLS = ("openat", "openat2", "newfstatat", "statx", "fstat", "fstatfs", "statfs", "fgetxattr", "flistxattr", "getdents64", "ioctl", "faccessat2")
ERRORS = ("EIO", "ESTALE", "EACCES")
POINTS = int(os.environ.get("PVESR_LOOK_POINTS", "2"))


def places(w, node):
    """All that there is of the guest on a node."""
    folder = os.path.join(node.store, "images", str(GUEST))
    for top, folders, files in os.walk(os.path.dirname(folder)):
        yield top
        yield from (os.path.join(top, name) for name in folders + files)


def of_storage(w, node):
    return [word for path in sorted(set(places(w, node))) for word in ("-P", path)]


def lookings(log):
    """How often each call looks at the storage."""
    with open(log) as f:
        return collections.Counter(m[1] for m in (re.match(r"(?:\d+ +)?(\w+)\(", line) for line in f) if m and m[1] in CALLS)


def some(chance, n):
    return sorted({1, n, *chance.sample(range(1, n + 1), min(n, POINTS))})


def change(w):
    for n in w.lab.disks:
        w.lab.write(n, 2)


def one_fails(w, node, chance, log):
    change(w)
    words = rig.strace("-f", "-qq", "-o", log, *of_storage(w, node))
    assert w.a.pvesr("run", "--id", "100-0", prefix=[*words, "-e", "trace=" + ",".join(CALLS)]).returncode == 0
    looked, failed = lookings(log), 0
    assert {"openat", "fgetxattr"} <= set(looked), f"{node.name}: no run looks at the storage: {looked}"
    for call, most in sorted(looked.items()):
        for n in some(chance, most):
            error = chance.choice(ERRORS if call != "ioctl" else ERRORS[1:])  # where the data lies, the disk has to say, as the data: EIO is "differs"
            what = f"{call} {n} of {most} on {node.name}: {error} (seed {rig.SEED})"
            change(w)
            words = rig.strace("-f", "-qq", "-o", "/dev/null", *of_storage(w, node), "-e", f"trace={call}", "-e",
                               f"inject={call}:error={error}:when={n}")
            done = w.a.pvesr("run", "--id", "100-0", prefix=words)
            failed += done.returncode != 0
            check(w, what, done)
            w.run()
            check(w, f"{what}, the run after that", done)
            w.proved()
    assert failed, f"no look on {node.name} that failed was noticed"


def check(w, what, done):
    log = w.log()
    assert not w.asides(w.a.store) and not w.asides(w.b.store), f"{what}: kept aside: {log}"
    assert "full sync" not in log and "compares" not in log, f"{what}: {log}"
    assert done.returncode == 0 or done.stderr.strip(), what
    points = {(n, s) for n, s in w.lab.names.entries(w.b.store)[0] if s and s.startswith("__replicate")}
    assert len({n for n, _ in points}) == len(w.lab.disks), f"{what}: restore points are gone: {points}: {log}"


def play(w, node):
    w.lab.add_disk()
    w.create()
    w.run()
    change(w)
    w.run()
    chance = random.Random(rig.SEED)
    one_fails(w, node, chance, os.path.join(w.c.dir, "trace"))


@scenario("xfs", "btrfs", "dir-on-btrfs")
def on_the_target(w):
    """a look at the target's storage fails once: nothing is kept aside, nothing is sent anew, no restore point goes"""
    play(w, w.b)


@scenario("xfs", "btrfs", "dir-on-btrfs")
def on_the_source(w):
    """the same of the source's storage"""
    play(w, w.a)


@scenario("xfs", "plain")
def no_room_for_a_name(w):
    """the target has no room for the second name that what was live gets before it is replaced: the run fails as full, and the replica is as it was"""
    w.lab.add_disk()
    w.create()
    w.run()
    for nth in (1, 2):
        change(w)
        before = {n: w.copy(w.lab.replica(n)) for n in w.lab.disks}
        done = w.a.pvesr("run", "--id", "100-0", prefix=rig.strace("-f", "-qq", "-o", "/dev/null", *of_storage(w, w.b), "-e", "trace=linkat", "-e",
                                                                   f"inject=linkat:error=ENOSPC:when={nth}"))
        assert done.returncode and "No space left on device" in done.stderr, done
        assert all(same_file(w.lab.replica(n), before[n]) for n in w.lab.disks), f"not one instant: {w.log()}"
        w.run()
        assert "full sync" not in w.log() and not w.asides(w.b.store), w.log()
        w.proved()


@scenario("xfs")
def restore_points_unread(w):
    """a storage of the target cannot be read: restore-points names it, lists the rest, and does not succeed"""
    w.create()
    w.run()
    words = ("restore-points", "100", "--output-format", "json")
    assert len(json.loads(w.b.pvesr(*words, check=True).stdout)) == 1
    os.rename(w.b.store, w.b.store + ".gone")
    done = w.b.pvesr(*words)
    os.rename(w.b.store + ".gone", w.b.store)
    assert done.returncode and json.loads(done.stdout) == [], done
    assert "is not there" in done.stderr and "there may be more restore points: not all" in done.stderr, done.stderr
    images = os.path.join(w.b.store, "images", str(GUEST))
    one = next(name for name in os.listdir(images) if "@" in name)
    done = w.b.pvesr(*words, prefix=rig.strace("-qq", "-o", "/dev/null", "-P", os.path.join(images, one), "-e", "trace=fgetxattr", "-e",
                                               "inject=fgetxattr:error=EIO:when=1"))
    assert done.returncode and "Input/output error" in done.stderr, done


play_all()
