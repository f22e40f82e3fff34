#!/usr/bin/env python3
"""How many programs an incremental run starts, on both sides: each costs tens of milliseconds and, of LVM's, the lock of the group, and there
are hundreds of runs in an hour. What was executed is seen by strace. Who adds a call here raises a bound.

PVESR_COST_SHOW: print each command, in its order.
"""
import os
import re
import shlex
from collections import Counter

import rig
import told
from guestlab import GuestLab
from treelab import TreeLab

SHOW = "PVESR_COST_SHOW" in os.environ
OURS = ("pvesr", "strace")
# What is seen is believed for some seconds: on a loaded machine there are more of these.
LOOKS = ("lvs", "zfs list", "zfs get", "zpool get", "zpool sync")
RUNS = 3  # the best of them counts
# of a kind of guest, with so many volumes: (looks, all others)
BOUNDS = {
    "thin volumes": {1: (8, 24), 3: (15, 68)},
    "zvols": {1: (10, 14), 3: (17, 36)},
    "container's datasets": {1: (10, 15), 3: (18, 39)},
}


class World:
    """The guest of a lab, and its job."""

    def __init__(self, c, lab_of):
        self.c, self.a = c, c.node("pve1")
        self.lab = lab_of(c, c.node("pve1").store, c.node("pve2").store)


class Machine(World):
    guest, job = 100, "100-0"

    def __init__(self, c):
        super().__init__(c, lambda c, here, there: GuestLab(c.storage, c.storage_id, here, there, self.write_guest, seed=5))

    def write_guest(self, text):
        self.c.write_guest("pve1", self.guest, text)

    def grow(self, n):
        for _ in range(n):
            self.lab.add_disk()

    def change(self):
        for n in self.lab.disks:
            self.lab.write(n, 5)


class Container(World):
    guest, job = 200, "200-0"

    def __init__(self, c):
        super().__init__(c, lambda c, here, there: TreeLab(c.storage, c.storage_id, here, there, self.write_guest, seed=5))

    def write_guest(self, text):
        self.c.write_guest("pve1", self.guest, text, kind="lxc")

    def grow(self, n):
        for _ in range(n):
            self.lab.add_volume()

    def change(self):
        for n in self.lab.volumes:
            with open(os.path.join(self.lab.live(n), "changed"), "ab") as f:
                f.write(os.urandom(3000))


def flush(storage):
    """What was written is on the disk, as all but the last seconds of what a guest wrote is."""
    os.sync()
    if storage == "zfspool":
        rig.sh("zpool", "sync")


def what(argv):
    """A program with the word that says what it does."""
    name = os.path.basename(argv[0])
    return f"{name} {argv[1]}" if name in ("zfs", "zpool", "dmsetup") else name


def increment(w, n):
    w.change()
    flush(w.c.storage)
    programs = [argv for argv in told.traced(w, w.job)[1] if os.path.basename(argv[0]) not in OURS]
    assert not w.lab.faults(), w.lab.faults()
    with open(os.path.join(w.a.log_dir, w.job)) as f:
        log = f.read()
    assert len(re.findall("incremental sync", log)) == n, log
    for argv in programs if SHOW else ():
        print("#   " + shlex.join(argv)[:300], flush=True)
    return Counter(map(what, programs))


def marked(w, n):
    """One command marks what was received of several volumes: each has its own name in the mark."""
    store = w.c.node("pve2").store
    lines = rig.sh("zfs", "list", "-H", "-r", "-t", "snapshot", "-o", "name,pvesr:received,pvesr:name", store).splitlines()
    assert len(lines) == n, lines
    for line in lines:
        name, received, names = line.split("\t")
        volume, snapshot = name.removeprefix(f"{store}/").split("@")
        assert received == "1" and {f"@{snapshot}", volume} <= set(names.split()), line


def cost(w, kind, n):
    most = BOUNDS[kind][n]
    for _ in range(2):  # the second has what a first one leaves
        w.a.pvesr("run", "--id", w.job, check=True)
        w.change()
    for _ in range(RUNS):
        counted = increment(w, n)
        looks = sum(counted[k] for k in LOOKS)
        others = counted.total() - looks
        print(f"# {kind}, {n}: {looks} + {others} programs: " + ", ".join(f"{k} {v}" for k, v in sorted(counted.items())), flush=True)
        if looks <= most[0] and others <= most[1]:
            return
    raise AssertionError(f"{n}: {looks} + {others} programs, not {most[0]} + {most[1]}: {dict(counted)}")


def costs(kind, storage, make):
    with rig.Cluster(storage=storage, ssh=False) as c:
        w, had = make(c), 0
        for n in BOUNDS[kind]:
            w.grow(n - had)
            if not had:
                w.a.pvesr("create-local-job", w.job, "pve2", check=True)
            had = n
            cost(w, kind, n)
            if storage == "zfspool":
                marked(w, n)


for kind, storage, make in (("thin volumes", "lvmthin", Machine), ("zvols", "zfspool", Machine), ("container's datasets", "zfspool", Container)):
    rig.check(f"what an increment costs: {kind}", lambda kind=kind, storage=storage, make=make: costs(kind, storage, make),
              needs=("root", storage, "strace"))
rig.main()
