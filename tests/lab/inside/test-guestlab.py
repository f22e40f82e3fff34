#!/usr/bin/env python3
"""The guest on zvols and on thin volumes, without the programs under test: what it changes, and that its proof sees a difference."""
import os

import rig
from guestlab import GuestLab, same_file

STEPS = 20


def changes(kind):
    with rig.Cluster(storage=kind, ssh=False) as c:
        a, b = c.nodes.values()
        lab = GuestLab(kind, c.storage_id, a.store, b.store, lambda text: c.write_guest("pve1", 100, text), seed=1)
        lab.add_disk()
        lab.add_disk()
        for _ in range(STEPS):
            lab.step()
        lab.grow_disk(max(lab.disks))
        lab.take_guest_snapshot()
        snap, names = max(lab.snapshots), lab.names
        here, odd = names.entries(a.store)
        assert not odd, odd
        assert {n for n, s in here if s is None} == set(lab.disks)
        assert {(n, s) for s, disks in lab.snapshots.items() for n in disks} == {e for e in here if e[1]}
        n = max(lab.disks)
        assert same_file(lab.live(n), names.snapshot(a.store, n, snap))
        with open(lab.live(n), "r+b") as f:
            f.write(os.urandom(512))
        assert not same_file(lab.live(n), names.snapshot(a.store, n, snap))
        names.roll_back(a.store, n, snap)
        assert same_file(lab.live(n), names.snapshot(a.store, n, snap))
        assert any("only on the source" in fault for fault in lab.faults())
        lab.drop_guest_snapshot(snap)
        assert not os.path.exists(names.snapshot(a.store, n, snap))
        lab.remove_disk(n)
        assert n not in {d for d, _ in names.entries(a.store)[0]}


for each in ("zfspool", "lvmthin"):
    rig.check(f"a guest's changes on {each}", lambda kind=each: changes(kind), needs=("root", each))
rig.main()
