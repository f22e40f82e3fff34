#!/usr/bin/env python3
"""A guest that writes all the time, N runs with random changes between them, over real ssh between two namespaces: after each run the
replica equals the source's snapshots bit by bit, and nothing is left over on either side; nor does anything grow that outlives a run: disk,
journal, logs, the daemons' descriptors, processes. What there is of each at the begin and at the end is printed.

PVESR_SOAK_RUNS (100; the long form 200) and PVESR_TEST_SEED choose the length and the story, PVESR_TEST_STORAGES (xfs btrfs) where it plays.
"""
import contextlib
import os
import random
import sqlite3
import threading

import rig
from guestlab import GuestLab
from rigdaemon import Daemon

RUNS = int(os.environ.get("PVESR_SOAK_RUNS", "200" if os.environ.get("PVESR_LAB_LONG") == "1" else "100"))


# Where all is slow, the guest is too: else it has the machine to itself.
PAUSE = 0.005 if rig.SLOW == 1 else 0.01 * rig.SLOW


def bytes_below(folder):
    return sum(os.lstat(os.path.join(at, name)).st_blocks * 512 for at, _, names in os.walk(folder) for name in names)


class Figures:
    """What two nodes hold besides the guest's own data, and what a run may leave of each at most."""
    MOST = {"points": 8, "state": 2 << 20, "log": 1 << 18, "run": 1 << 16, "descriptors": 8, "processes": 3}

    def __init__(self, c, lab, daemons):
        self.c, self.lab, self.daemons, self.first = c, lab, daemons, None

    def now(self):
        found = {}
        for node, daemon in zip(self.c.linked(), self.daemons):
            points = self.lab.names.entries(node.store)[0]
            found[node.name] = {
                "points": len(points), "state": bytes_below(node.state_dir), "log": bytes_below(node.log_dir), "run": bytes_below(node.run_dir),
                "descriptors": len(os.listdir(f"/proc/{daemon.process.pid}/fd")), "processes": len(self.c.processes(node)),
                "disk": bytes_below(node.store) >> 20, "daemon MiB": memory(daemon.process.pid) >> 10}
        return found

    def begin(self):
        self.first = self.now()
        print(f"# at the begin: {self.first}", flush=True)

    def grown(self):
        last = self.now()
        for name, figures in last.items():
            print(f"# {name}: " + ", ".join(f"{what} {self.first[name][what]} -> {value}" for what, value in figures.items()))
        return [f"{name}: {what} grew from {self.first[name][what]} to {figures[what]}" for name, figures in last.items()
                for what, most in self.MOST.items() if figures[what] > self.first[name][what] + most]


def memory(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))


def days_go_by(node):
    """What the journal has is of the day before yesterday."""
    with contextlib.closing(sqlite3.connect(os.path.join(node.state_dir, "pvesr-journal.db"))) as journal, journal:
        journal.execute("UPDATE run SET start = start - 172800 WHERE start > strftime('%s', 'now') - 86400")


def log(node):
    with open(os.path.join(node.log_dir, "100-0")) as f:
        return f.read()


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
        for node in (a, b):
            node.settings["history-days"] = 1
            node.write_config()
        lab = GuestLab(storage, c.storage_id, a.store, b.store, lambda text: c.write_guest("pve1", 100, text), seed=rig.SEED)
        lab.add_disk()
        lab.add_disk()
        a.pvesr("create-local-job", "100-0", "pve2", "--schedule", "1-1 3:00", check=True)
        a.pvesr("run", "--id", "100-0", check=True)
        figures = Figures(c, lab, [Daemon(node, "--stop-timeout", "1") for node in (a, b)])
        writer = Writer(lab, rig.SEED + 1)
        writer.start()
        history = []
        try:
            for i in range(RUNS):
                if i == min(RUNS // 2, 50):
                    figures.begin()
                if i % 20 == 10:
                    days_go_by(a)
                for daemon in figures.daemons:
                    daemon.told("")
                history.append([lab.step() for _ in range(lab.random.randrange(0, 4))])
                done = a.pvesr("run", "--id", "100-0")
                if done.returncode != 0:
                    return f"run {i} failed (seed {rig.SEED}): {done.stderr.strip()} after {history[-3:]}"
                faults = lab.faults(busy={min(lab.disks)})
                if faults:
                    return f"run {i} (seed {rig.SEED}): {faults} after {history[-3:]}: {log(a)}"
        finally:
            writer.stop.set()
            writer.join()
        return "; ".join(figures.grown()) or None


for kind in os.environ.get("PVESR_TEST_STORAGES", "xfs btrfs").split():
    rig.check(f"{RUNS} random runs over ssh on {kind}, seed {rig.SEED}", lambda kind=kind: soak(kind), needs=("root", kind, "netns"))
rig.main()
