#!/usr/bin/env python3
"""A guest that writes all the time, N runs with random changes between them, over real ssh between two namespaces: after each run the
replica equals the source's snapshots bit by bit, and nothing is left over on either side.

PVESR_SOAK_RUNS (100; the long form 200) and PVESR_TEST_SEED choose the length and the story, PVESR_TEST_STORAGES (xfs btrfs) where it plays.
"""
import contextlib
import os
import random
import threading

import rig
from guestlab import GuestLab

RUNS = int(os.environ.get("PVESR_SOAK_RUNS", "200" if os.environ.get("PVESR_LAB_LONG") == "1" else "100"))


# Where all is slow, the guest is too: else it has the machine to itself.
PAUSE = 0.005 if rig.SLOW == 1 else 0.01 * rig.SLOW


class Writer(threading.Thread):
    """The guest: writes into its first disk until told to stop. It keeps that open as QEMU does: udev looks at a device whenever somebody
    who could write closes it."""

    def __init__(self, lab, seed):
        super().__init__(daemon=True)
        self.lab, self.random, self.stop = lab, random.Random(seed), threading.Event()

    def run(self):
        with contextlib.ExitStack() as held:
            disk = None
            while not self.stop.wait(PAUSE):
                try:
                    n = min(self.lab.disks)
                    if n != disk:
                        held.close()
                        f, disk = held.enter_context(open(self.lab.live(n), "r+b", buffering=0)), n
                    f.seek(self.random.randrange(0, (8 << 20) // 4096) * 4096)
                    f.write(self.random.randbytes(4096))
                except (OSError, ValueError):
                    disk = None  # it was just removed


def soak(storage):
    with rig.Cluster(storage=storage, ssh=True) as c:
        a, b = c.node("pve1"), c.node("pve2")
        lab = GuestLab(storage, c.storage_id, a.store, b.store, lambda text: c.write_guest("pve1", 100, text), seed=rig.SEED)
        lab.add_disk()
        lab.add_disk()
        a.pvesr("create-local-job", "100-0", "pve2", check=True)
        writer = Writer(lab, rig.SEED + 1)
        writer.start()
        history = []
        try:
            for i in range(RUNS):
                history.append([lab.step() for _ in range(lab.random.randrange(0, 4))])
                done = a.pvesr("run", "--id", "100-0")
                if done.returncode != 0:
                    return f"run {i} failed (seed {rig.SEED}): {done.stderr.strip()} after {history[-3:]}"
                faults = lab.faults(busy={min(lab.disks)})
                if faults:
                    return f"run {i} (seed {rig.SEED}): {faults} after {history[-3:]}"
        finally:
            writer.stop.set()
            writer.join()
    return None


for kind in os.environ.get("PVESR_TEST_STORAGES", "xfs btrfs").split():
    rig.check(f"{RUNS} random runs over ssh on {kind}, seed {rig.SEED}", lambda kind=kind: soak(kind), needs=("root", kind, "netns"))
rig.main()
