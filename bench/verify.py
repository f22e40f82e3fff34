#!/usr/bin/env python3
"""pvesr verify beside two plain readers of the same bytes, one a side, at the same time: both nodes are on this machine and share its disk.

    sudo bench/verify.py [--storage xfs|btrfs] [--mib 1024]

Prints the ratio of the speeds (goal 0.8) and the bytes on the wire (goal 1 %), each the median of five rounds in turns.
"""
import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests"))
os.environ.setdefault("PVESR_TEST_IMAGE", "8G")
import needs  # noqa: E402
import rig  # noqa: E402
from scenario import World  # noqa: E402

ROUNDS = 5


def drop_caches():
    subprocess.run(["sync"], check=True)
    with open("/proc/sys/vm/drop_caches", "w") as f:
        f.write("3")


def fill(path, size):
    noise = random.Random(1).randbytes(16 << 20)
    with open(path, "r+b") as f:
        for at in range(0, size, len(noise)):
            f.write(noise[:-8] + at.to_bytes(8, "little"))
        os.fsync(f.fileno())


def readers(paths):
    """Until the slower one is done."""
    drop_caches()
    begin = time.monotonic()
    both = [subprocess.Popen(["dd", f"if={path}", "of=/dev/null", "bs=1M", "status=none"]) for path in paths]
    for p in both:
        assert p.wait() == 0
    return time.monotonic() - begin


def verify(w):
    drop_caches()
    begin = time.monotonic()
    w.a.pvesr("verify", "100-0", check=True)
    return time.monotonic() - begin


def bench(c, kind, mib):
    w = World(c, kind)
    size = mib << 20
    w.lab.grow_disk(0, size - w.lab.disks[0])
    fill(w.lab.live(0), size)
    w.create()
    w.run()
    paths = [w.lab.restore_point(store, 0) for store in (w.a.store, w.b.store)]
    ours, theirs = [], []
    for _ in range(ROUNDS):
        theirs.append(readers(paths))
        ours.append(verify(w))
    row = json.loads(w.a.pvesr("history", "--output-format", "json", "--limit", "1", check=True).stdout)[0]
    ratio = statistics.median(t / o for o, t in zip(ours, theirs))
    print(f"{mib} MiB on {kind}: pvesr verify {statistics.median(ours):.2f} s, two readers {statistics.median(theirs):.2f} s, "
          f"speed ratio {ratio:.2f} (goal 0.8); bytes on the wire {row['bytes'] * 100 / size:.3f} % of the volume (goal 1)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", choices=("xfs", "btrfs"), default="xfs")
    parser.add_argument("--mib", type=int, default=1024)
    args = parser.parse_args()
    needs.programs(rig.BUILD, {f"mkfs.{args.storage}": {"xfs": "xfsprogs", "btrfs": "btrfs-progs"}[args.storage]})
    with rig.Cluster(storage=args.storage, ssh=False) as c:
        bench(c, args.storage, args.mib)


main()
