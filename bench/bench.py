#!/usr/bin/env python3
"""Speed, side by side with a peer in the same run: two nodes in two network namespaces, real ssh, XFS with reflinks (or `--storage btrfs`).

    sudo bench/bench.py [--storage xfs|btrfs] [--mib 4096]

Needs root, a built `build/` and some packages, which it names. Figures are ratios or medians of this run; the machine's own speed
divides out.
"""
import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests"))
os.environ.setdefault("PVESR_TEST_IMAGE", "24G")
import needs  # noqa: E402
import rig  # noqa: E402
from guestlab import NAMES, same_file  # noqa: E402

SSH = ["ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]


def timed(argv, **more):
    begin = time.monotonic()
    done = subprocess.run(argv, capture_output=True, text=True, **more)
    if done.returncode:
        raise RuntimeError(f"{argv}: {done.stderr}")
    return time.monotonic() - begin


def next_second():
    """Runs of one job are a second apart: the snapshot's name says so."""
    time.sleep(1.02 - time.time() % 1)


class PeakMemory(threading.Thread):
    """The highest resident memory of any pvesr process, by looking often (VmHWM remembers what was between two looks)."""

    def __init__(self):
        super().__init__(daemon=True)
        self.peak, self.end = {}, threading.Event()

    def run(self):
        while not self.end.wait(0.02):
            for pid in filter(str.isdigit, os.listdir("/proc")):
                try:
                    with open(f"/proc/{pid}/cmdline") as f:
                        words = f.read().split("\0")
                    if os.path.basename(words[0]) != "pvesr":
                        continue
                    kind = "agent" if "agent" in words else "run"
                    with open(f"/proc/{pid}/status") as f:
                        for line in f:
                            if line.startswith("VmHWM"):
                                self.peak[kind] = max(self.peak.get(kind, 0), int(line.split()[1]))
                except OSError:
                    pass


class Bench:
    def __init__(self, c, kind, mib):
        self.c, self.kind, self.size = c, kind, mib << 20
        self.a, self.b = c.node("pve1"), c.node("pve2")
        self.names = NAMES[kind](100)
        self.random = random.Random(1)

    def image(self, n, data):
        """Disk n with `data` bytes of noise."""
        self.names.create(self.a.store, n, self.size)
        noise = [self.random.randbytes(1 << 20) for _ in range(64)]
        with open(self.names.live(self.a.store, n), "r+b") as f:
            for i in range(data >> 20):
                f.write(noise[self.random.randrange(64)][:-8] + i.to_bytes(8, "little"))
            os.fsync(f.fileno())

    def guest(self, disks):
        self.c.write_guest("pve1", 100, "".join(f"scsi{i}: st:{self.names.volname(n)}\n" for i, n in enumerate(disks)))

    def run_job(self):
        next_second()
        return timed(self.a.argv("pvesr", "run", "--id", "100-0"))

    def last(self):
        rows = json.loads(self.a.pvesr("history", "--id", "100-0", "--output-format", "json", check=True).stdout)
        return rows[0]

    def ssh(self, *argv):
        return self.a.inside([*SSH, self.b.address, *argv])

    # ---- the figures ----

    def first_sync(self):
        self.image(0, self.size)
        live = self.names.live(self.a.store, 0)
        self.guest([0])
        self.a.pvesr("create-local-job", "100-0", "pve2", check=True)
        subprocess.run(["sync"])
        ours, theirs, memory = [], [], PeakMemory()
        memory.start()
        for _ in range(2):
            drop_caches()
            theirs.append(timed(["sh", "-c", " ".join([f"dd if={live} bs=1M status=none", "|",
                                                       *self.ssh(f"'dd of={self.b.mount}/peer bs=1M conv=fsync status=none'")])]))
            os.unlink(f"{self.b.mount}/peer")
            drop_caches()
            ours.append(self.run_job())
            if len(ours) < 2:
                self.a.pvesr("delete", "100-0", check=True)
                self.run_job()
                self.a.pvesr("create-local-job", "100-0", "pve2", check=True)
        memory.end.set()
        memory.join()
        speed = self.size / min(ours) / 1e6
        print(f"first sync of {self.size >> 20} MiB: pvesr {min(ours):.1f} s ({speed:.0f} MB/s), ssh + dd conv=fsync {min(theirs):.1f} s, "
              f"speed ratio {min(theirs) / min(ours):.2f} (goal 0.95)")
        print(f"peak memory: run {memory.peak.get('run', 0) / 1024:.1f} MiB, agent {memory.peak.get('agent', 0) / 1024:.1f} MiB (goal 32)")

    def delta(self):
        live = self.names.live(self.a.store, 0)
        peer = f"{self.b.mount}/peer"
        subprocess.run(["cp", "--sparse=always", live, peer], check=True)
        with open(live, "r+b") as f:
            for block in self.random.sample(range(self.size // 4096), 1000):
                f.seek(block * 4096)
                f.write(self.random.randbytes(4096))
        subprocess.run(["sync"])
        drop_caches()
        ours = self.run_job()
        sent = self.last()["bytes"]
        drop_caches()
        theirs = timed(self.a.inside(["rsync", "--inplace", "--no-whole-file", "--ignore-times", "-e", " ".join(SSH), live,
                                      f"{self.b.address}:{peer}"]))
        assert same_file(live, peer) and same_file(live, self.names.live(self.b.store, 0))
        print(f"1,000 random 4 KiB blocks in {self.size >> 20} MiB: pvesr {ours:.2f} s, rsync --inplace {theirs:.1f} s, "
              f"{theirs / ours:.0f} times faster (goal 20); bytes on the wire {sent / 4096000:.3f} x the changed (goal 1.1)")

    def fixed_cost(self, image):
        self.run_job()
        runs = [self.run_job() for _ in range(15)]
        inside = [self.last()["duration"]]
        warm = [timed(self.a.inside(["true"])) for _ in range(15)]
        fresh = [timed(self.ssh("true")) for _ in range(5)]
        ms = statistics.median(runs) * 1000
        print(f"nothing changed, {image}: {ms:.0f} ms a run (min {min(runs) * 1000:.0f}, max {max(runs) * 1000:.0f}; goal 50), its own duration "
              f"{inside[0] * 1000:.0f} ms; entering the namespace alone {statistics.median(warm) * 1000:.0f} ms, a fresh ssh connection "
              f"{statistics.median(fresh) * 1000:.0f} ms")
        print("  steps: " + ", ".join(f"{s['name']} {s['seconds'] * 1000:.1f}" for s in self.last()["steps"]) + " ms")

    def dirty(self, mib):
        with open(self.names.live(self.a.store, 0), "r+b") as f:
            f.write(os.urandom(mib << 20))

    def freeze(self, mib=256):
        """A guest has just written: how long does the step take for which it is frozen, and how long would it without the write-out before?"""
        pid_file, copy = "/run/qemu-server/100.pid", os.path.join(self.a.store, "copy")
        if self.kind == "btrfs":
            peer = ["btrfs", "subvolume", "snapshot", "-r", self.names.subvolume(self.a.store, 0), copy]
        else:
            peer = ["cp", "--reflink=always", self.names.live(self.a.store, 0), copy]
        subprocess.run(self.a.inside(["sh", "-c", f"mkdir -p /run/qemu-server && echo {self.a.holder.pid} >{pid_file}"]), check=True)
        ours, theirs, log = [], [], os.path.join(self.a.dir, "strace")
        for _ in range(5):
            next_second()
            self.dirty(mib)
            timed(self.a.argv("pvesr", "run", "--id", "100-0", prefix=["strace", "-f", "-T", "-o", log, "-e", "trace=ioctl"]))
            with open(log) as f:
                ours.append(sum(float(line.rsplit("<", 1)[1].rstrip(">\n")) for line in f if "FICLONE" in line or "SNAP_CREATE" in line))
            self.dirty(mib)
            theirs.append(timed(peer))
            subprocess.run(["btrfs", "-q", "subvolume", "delete", copy] if self.kind == "btrfs" else ["rm", copy], check=True)
        subprocess.run(self.a.inside(["rm", pid_file]), check=True)
        ours, theirs = statistics.median(ours), statistics.median(theirs)
        print(f"snapshot of a guest with {mib} MiB not yet on disk: frozen for {ours * 1000:.1f} ms, {theirs / ours:.0f} times as long "
              f"({theirs * 1000:.0f} ms) without writing out first")

    def rate(self):
        self.image(1, 200 << 20)
        self.guest([0, 1])
        self.a.pvesr("update", "100-0", "--rate", "20", check=True)
        taken = self.run_job()
        seconds = next(s["seconds"] for s in self.last()["steps"] if s["name"] == "transfer")
        rate = self.last()["bytes"] / seconds / 1e6
        print(f"rate limit 20 MB/s over {taken:.1f} s: {rate:.2f} MB/s ({(rate / 20 - 1) * 100:+.1f} %, goal 5 %)")


def drop_caches():
    subprocess.run(["sync"])
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3\n")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--storage", default="xfs", choices=("xfs", "btrfs"))
    p.add_argument("--mib", type=int, default=4096)
    args = p.parse_args()
    needs.programs(rig.BUILD, {"rsync": "rsync", "sshd": "openssh-server", "strace": "strace", "ip": "iproute2",
                               **({"mkfs.xfs": "xfsprogs"} if args.storage == "xfs" else {"btrfs": "btrfs-progs"})})
    rig.tempfile.tempdir = rig.rigworld.enter()  # nothing is left mounted, however this ends
    with rig.Cluster(storage=args.storage, ssh=True) as c:
        b = Bench(c, args.storage, args.mib)
        print(f"storage {args.storage}, two namespaces, ssh")
        sys.stdout.reconfigure(line_buffering=True)
        b.first_sync()
        b.fixed_cost("image as written")
        b.delta()
        b.fixed_cost("image in 2,000 pieces")
        b.freeze()
        b.rate()


main()
