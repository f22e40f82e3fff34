#!/usr/bin/env python3
"""kill -9 at every step of a run, on the source and on the target: the earlier restore point stays readable, the next run succeeds,
nothing is lost and nothing is left over; so at every step of a job's removal, after which nothing of it is anywhere, and of a clone, of which
`doctor --repair` leaves but whole disks.

The steps are not named by hand: a run is traced once, and then killed at each occurrence of each system call that changes
something (at most PVESR_KILL_POINTS of each, spread evenly, and of a container's run two; of all these at most PVESR_KILL_MOST, by
chance).
"""
import os
import random
import re
import subprocess

import rig
import treenames
from guestlab import GuestLab, copy_file, same_file
from treelab import TreeLab

CALLS = ("ioctl", "fsync", "fdatasync", "syncfs", "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "mkdir",
         "mkdirat", "link", "linkat", "ftruncate", "fallocate", "fsetxattr", "setxattr", "lsetxattr", "fremovexattr", "pwrite64",
         "write", "writev", "sendmsg")
# where other programs do the changing
SPAWNS = ("vfork", "clone", "clone3", "wait4")
POINTS = int(os.environ.get("PVESR_KILL_POINTS", "3"))
MOST = int(os.environ.get("PVESR_KILL_MOST", "10000"))
# A leak check is a tracer, too, and there can be only one.
os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"


def counts(log):
    """How often each call occurs in a trace."""
    found = {}
    with open(log) as f:
        for line in f:
            m = re.match(r"(?:\d+ +)?(\w+)\(", line)
            if m and m.group(1) in CALLS + SPAWNS:
                found[m.group(1)] = found.get(m.group(1), 0) + 1
    return found


def spread(n, points):
    """Up to `points` of 1..n, the first and the last among them."""
    points = min(n, points)
    return sorted({1 + round(i * (n - 1) / max(1, points - 1)) for i in range(points)})


def strace(log, calls, inject=None):
    words = ["strace", "-qq", "-o", log, "-e", "trace=" + ",".join(inject[:1] if inject else calls)]
    if inject:
        words += ["-e", f"inject={inject[0]}:signal=SIGKILL:when={inject[1]}"]
    return words


def snapshot_name(path):
    """The snapshot's name in a path, whatever the storage."""
    return re.search(r"@(__replicate_[0-9-]+_[0-9]+__)", path).group(1)


class Victim:
    """One cluster and a VM; each kill is followed by the proof."""
    JOB, POINTS = "100-0", POINTS

    def __init__(self, c, storage):
        self.c, self.storage = c, storage
        self.a, self.b = c.node("pve1"), c.node("pve2")
        self.lab = self.make_lab(storage)
        self.log = os.path.join(c.dir, "trace")
        self.ended = 0
        self.calls = CALLS + SPAWNS if storage in rig.ON_DISK else CALLS

    def make_lab(self, storage):
        lab = GuestLab(storage, self.c.storage_id, self.a.store, self.b.store,
                       lambda text: self.c.write_guest("pve1", 100, text), seed=rig.SEED)
        lab.add_disk()
        lab.add_disk()
        return lab

    def change(self):
        for n in list(self.lab.disks):
            self.lab.write(n, 5)
        for _ in range(2):
            self.lab.step()

    def run(self, side, inject=None):
        prefix = strace(self.log, self.calls, inject) if side == "source" else []
        self.c.set_agent("pve2", strace(self.log, self.calls, inject) if side == "target" else [])
        done = self.a.pvesr("run", "--id", self.JOB, prefix=prefix)
        self.c.set_agent("pve2", [])
        return done

    def keep_restore_points(self):
        """Copies of what the target shows now, to compare with after the kill: disk → (path, copy)."""
        kept = {}
        for n in self.lab.disks:
            path = self.lab.restore_point(self.b.store, n)
            if path:
                kept[n] = path, os.path.join(self.c.dir, f"kept-{n}")
                copy_file(*kept[n])
        return kept

    def lost(self, kept):
        """Each earlier restore point is whole, has got a new name because nothing had changed since, or made place for a newer one that equals
        the source's (the kill came after the ACK)."""
        bad = []
        for n, (was, copy) in kept.items():
            path = self.lab.names.snapshot(self.b.store, n, snapshot_name(was))
            newest = self.lab.restore_point(self.b.store, n)
            here = self.lab.names.snapshot(self.a.store, n, snapshot_name(newest)) if newest else None
            replaced = newest not in (None, path) and (same_file(newest, copy) or os.path.exists(here) and same_file(newest, here))
            if not replaced and (not os.path.exists(path) or not same_file(path, copy)):
                bad.append(was)
        return bad

    def settle(self):
        """What the killed one had started comes to its end, and what it left half done is put right as an administrator would."""
        words = ["pgrep", "-f", "pvesr.* agent|^(zfs|lv[a-z]+) "]
        rig.wait_for(lambda: subprocess.run(words, stdout=subprocess.DEVNULL, check=False).returncode, "the end of the agent")
        if self.storage in rig.ON_DISK:
            done = self.b.pvesr("doctor", "--guest", self.JOB.partition("-")[0], check=True)
            self.ended += done.stdout.count("ended ")

    def kill_at(self, side, call, n):
        self.change()
        kept = self.keep_restore_points()
        done = self.run(side, (call, n))
        self.settle()
        bad = [f"the restore point {path} was lost" for path in self.lost(kept)] if done.returncode else []
        again = self.a.pvesr("run", "--id", self.JOB)
        if again.returncode != 0:
            bad.append(f"the next run failed: {again.stderr.strip()}")
        else:
            bad += self.lab.faults()
        return [f"{side} killed at {call} {n} (seed {rig.SEED}): {b}" for b in bad]


    def replicate(self):
        self.a.pvesr("create-local-job", self.JOB, "pve2", check=True)
        self.change()
        if not self.lab.snapshots:
            self.lab.take_guest_snapshot()
        self.a.pvesr("run", "--id", self.JOB, check=True)

    def remove(self, side, inject=None):
        self.a.pvesr("delete", self.JOB, check=True)
        return self.run(side, inject)

    def remove_at(self, side, call, n):
        self.replicate()
        self.remove(side, (call, n))
        self.settle()
        again = self.a.pvesr("run", "--id", self.JOB)
        listed = self.a.pvesr("list", check=True).stdout.splitlines()[1:]
        left = [*sorted(map(str, self.lab.names.entries(self.b.store)[0])), *self.lab.names.entries(self.b.store)[1],
                *(f"{snap} on the source" for _, snap in self.lab.names.entries(self.a.store)[0] if snap and "__replicate_" in snap)]
        ended = not listed and (again.returncode == 0 or "no such job" in again.stderr)
        return [f"removal, {side} killed at {call} {n} (seed {rig.SEED}): {left}, {listed}, {again.stderr}"] if left or not ended else []


class ContainerVictim(Victim):
    """A container with two mount points."""
    JOB, POINTS = "200-0", min(POINTS, 2)

    def make_lab(self, storage):
        lab = TreeLab(storage, self.c.storage_id, self.a.store, self.b.store,
                      lambda text: self.c.write_guest("pve1", 200, text, kind="lxc"), seed=rig.SEED)
        lab.add_volume(files=4)
        lab.add_volume(files=4)
        return lab

    def change(self):
        self.lab.step()

    def keep_restore_points(self):
        """What the target shows now: mount point → (snapshot, tree)."""
        points = {n: self.lab.point(self.b.store, n) for n in self.lab.volumes}
        return {n: (point, self.lab.tree(self.b.store, n, point)) for n, point in points.items() if point}

    def lost(self, kept):
        bad = []
        for n, (was, tree) in kept.items():
            newest = self.lab.point(self.b.store, n)
            there = self.lab.entries(self.b.store)[0]
            replaced = newest not in (None, was) and self.lab.tree(self.b.store, n, newest, fresh=True) in (
                tree, self.lab.tree(self.a.store, n, newest) if (n, newest) in self.lab.entries(self.a.store)[0] else None)
            if not replaced and ((n, was) not in there or self.lab.tree(self.b.store, n, was, fresh=True) != tree):
                bad.append(f"{was} of mount point {n}")
        return bad


def kill_everywhere(storage, side, victim):
    with rig.Cluster(storage=storage, ssh=False) as c:
        v = victim(c, storage)
        v.a.pvesr("create-local-job", v.JOB, "pve2", check=True)
        total = 0
        # The first runs are full syncs: they are killed on a guest of their own before the increments are.
        for phase in ("first", "increment"):
            if phase == "increment":
                v.change()
                done = v.run(side)
                if done.returncode != 0:
                    return f"the traced run failed: {done.stderr.strip()}"
                points = [(call, n) for call, k in sorted(counts(v.log).items()) for n in spread(k, v.POINTS)]
            else:
                points = [("fsync", 1), ("fsync", 2), ("renameat2", 1), ("rename", 1), ("pwrite64", 2), ("write", 3), ("ioctl", 1)]
            for call, n in random.Random(rig.SEED).sample(points, min(MOST, len(points))):
                bad = v.kill_at(side, call, n)
                if bad:
                    return "; ".join(bad)
                total += 1
        ended = f", after {v.ended} of them doctor gave a volume its name back" if v.ended else ""
        print(f"# {total} kills of the {side} of job {v.JOB} on {storage}{ended}, seed {rig.SEED}")
    return None


def removal_everywhere(storage, side, victim):
    with rig.Cluster(storage=storage, ssh=False) as c:
        v = victim(c, storage)
        v.replicate()
        done = v.remove(side)
        if done.returncode != 0:
            return f"the traced removal failed: {done.stderr.strip()}"
        points = [(call, n) for call, k in sorted(counts(v.log).items()) for n in spread(k, v.POINTS)]
        points = random.Random(rig.SEED).sample(points, min(MOST, len(points)))
        for call, n in points:
            bad = v.remove_at(side, call, n)
            if bad:
                return "; ".join(bad)
        print(f"# {len(points)} kills of the {side} in the removal of job {v.JOB} on {storage}, seed {rig.SEED}")
    return None


def clone_everywhere(storage, victim):
    with rig.Cluster(storage=storage, ssh=False) as c:
        v = victim(c, storage)
        v.replicate()
        guest, names = v.JOB.partition("-")[0], v.lab.names
        point = next(snap for _, snap in sorted(names.entries(v.b.store)[0], key=str) if snap and "__replicate_" in snap)

        def clone(new, inject=None):
            return v.b.pvesr("clone", guest, point, str(new), prefix=strace(v.log, v.calls, inject))
        done = clone(900)
        if done.returncode != 0:
            return f"the traced clone failed: {done.stderr.strip()}"
        points = [(call, n) for call, k in sorted(counts(v.log).items()) for n in spread(k, v.POINTS)]
        points = random.Random(rig.SEED).sample(points, min(MOST, len(points)))
        for new, (call, n) in enumerate(points, 901):
            clone(new, (call, n))
            v.settle()
            v.b.pvesr("doctor", "--repair", "--guest", str(new), check=True)
            found, odd = type(names)(new).entries(v.b.store)
            odd = [name for name in odd if f"-{new}-" in name]
            if odd or any(snap for _, snap in found):
                return f"clone killed at {call} {n} (seed {rig.SEED}): {found}, {odd}"
        print(f"# {len(points)} kills of a clone of guest {guest} on {storage}, seed {rig.SEED}")
    return None


for kind in os.environ.get("PVESR_TEST_STORAGES", "xfs btrfs").split():
    for guest, victim in (("VM", Victim), ("container", ContainerVictim)):
        for side in ("source", "target") if guest == "VM" or kind in treenames.NAMES else ():
            rig.check(f"kill -9 of the {side} at every step of a {guest} on {kind}", lambda k=kind, s=side, v=victim: kill_everywhere(k, s, v),
                      needs=("root", kind, "strace"))
            rig.check(f"kill -9 of the {side} at every step of a removal of a {guest}'s job on {kind}",
                      lambda k=kind, s=side, v=victim: removal_everywhere(k, s, v), needs=("root", kind, "strace"))
        if guest == "VM" and not kind.startswith("zfs"):  # what a stream brought has the name of the restore point: only a person removes it
            rig.check(f"kill -9 at every step of a clone of a {guest} on {kind}", lambda k=kind: clone_everywhere(k, Victim),
                      needs=("root", kind, "strace"))
rig.main()
