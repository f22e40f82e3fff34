#!/usr/bin/env python3
"""Zvols, side by side with syncoid and with the plain pipeline `zfs send | ssh zfs receive` in the same run: two nodes with a pool each, in
two network namespaces, real ssh.

    tests/lab/run -c 'python3 bench/zfs.py [--mib 256] [--runs 5]'

Needs OpenZFS and two disks to spare (PVESR_TEST_DISKS); the test machine has them, and syncoid. Figures are ratios of this run.
"""
import argparse
import os
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests"))
import needs  # noqa: E402
import rig  # noqa: E402
from guestlab import GuestLab, same_file  # noqa: E402

SSH_OPTIONS = ("BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
SSH = ["ssh", *(word for option in SSH_OPTIONS for word in ("-o", option))]
JOB = "100-0"


def timed(argv):
    begin = time.monotonic()
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{argv}: {done.stderr}{done.stdout}")
    return time.monotonic() - begin


class Bench:
    def __init__(self, c, mib):
        self.c, self.mib = c, mib
        self.a, self.b = c.node("pve1"), c.node("pve2")
        self.lab = GuestLab("zfspool", c.storage_id, self.a.store, self.b.store, lambda text: c.write_guest("pve1", 100, text))
        self.lab.add_disk(size=mib << 20)
        with open(self.lab.live(0), "r+b") as f:
            for _ in range(mib):
                f.write(os.urandom(1 << 20))
        self.source = self.lab.names.dataset(self.a.store, 0)

    def job(self):
        time.sleep(1.02 - time.time() % 1)  # runs of one job are a second apart: the snapshot's name says so
        rig.sh("zpool", "sync")
        return timed(self.a.argv("pvesr", "run", "--id", JOB))

    def pipeline(self, name):
        rig.sh("zfs", "snapshot", f"{self.source}@peer")
        rig.sh("zpool", "sync")
        words = " ".join([*SSH, f"root@{self.b.address}", f"zfs receive -u {self.b.store}/{name}"])
        taken = timed(self.a.inside(["sh", "-c", f"zfs send -c -L {self.source}@peer | {words}"]))
        rig.sh("zfs", "destroy", f"{self.source}@peer")
        rig.sh("zfs", "destroy", "-r", f"{self.b.store}/{name}")
        return taken

    def first_sync(self, runs):
        ours, theirs = [], []
        for i in range(runs):
            theirs.append(self.pipeline(f"peer-{i}"))
            self.a.pvesr("create-local-job", JOB, "pve2", check=True)
            ours.append(self.job())
            assert same_file(self.lab.live(0), self.lab.replica(0))
            self.a.pvesr("delete", JOB, check=True)
            self.job()
        print(f"first sync of {self.mib} MiB: pvesr {min(ours):.1f} s, zfs send | ssh zfs receive {min(theirs):.1f} s, "
              f"speed ratio {min(theirs) / min(ours):.2f} (goal 0.95)", flush=True)

    def syncoid(self):
        """On a copy of its own: each leaves snapshots that the other would take for changes."""
        options = [word for option in SSH_OPTIONS for word in ("--sshoption", option)]
        return timed(self.a.inside(["syncoid", "--quiet", *options, self.copy, f"root@{self.b.address}:{self.b.store}/by-syncoid"]))

    def nothing_changed(self, runs):
        self.copy = f"{self.a.store}/for-syncoid"
        rig.sh("zfs", "snapshot", f"{self.source}@copy")
        rig.sh("sh", "-c", f"zfs send {self.source}@copy | zfs receive -u {self.copy}")
        rig.sh("zfs", "destroy", f"{self.source}@copy")
        self.a.pvesr("create-local-job", JOB, "pve2", check=True)
        self.job()
        self.syncoid()
        ours, theirs = [], []
        for _ in range(runs):
            ours.append(self.job())
            theirs.append(self.syncoid())
        ours, theirs = statistics.median(ours), statistics.median(theirs)
        print(f"nothing changed: pvesr {ours:.2f} s, syncoid {theirs:.2f} s, {ours / theirs:.2f} of it (goal 0.2)", flush=True)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--mib", type=int, default=256)
    p.add_argument("--runs", type=int, default=5)
    args = p.parse_args()
    needs.programs(rig.BUILD, {"zfs": "zfsutils-linux", "syncoid": "sanoid", "sshd": "openssh-server", "ip": "iproute2"})
    with rig.Cluster(storage="zfspool", ssh=True) as c:
        bench = Bench(c, args.mib)
        bench.first_sync(2)
        bench.nothing_changed(args.runs)


main()
