#!/usr/bin/env python3
"""The test machine itself: if these fail, look here before looking at what the other tests say. ZFS and LVM do what the drivers build on,
and the programs under test run."""
import contextlib
import os
import subprocess
import xml.etree.ElementTree

import rig

SIZE = 64 << 20


def write(path, offset, data):
    with open(path, "r+b", buffering=0) as f:
        f.seek(offset)
        f.write(data)
        os.fsync(f.fileno())


def read(path, offset, n):
    with open(path, "rb") as f:
        f.seek(offset)
        return f.read(n)


def programs():
    for name in ("pvesr", "pvesrd"):
        assert rig.sh(rig.program(name), "--version").startswith(name)


def zfs():
    with rig.Disk() as a, rig.Disk() as b, a.zpool("one") as one, b.zpool("two") as two:
        rig.sh("zfs", "create", "-V", SIZE, "-o", "snapdev=visible", f"{one}/v")
        device = f"/dev/zvol/{one}/v"
        rig.wait_for(lambda: os.path.exists(device), device)
        for step in ("first", "second"):
            write(device, 1 << 20, step.encode())
            rig.sh("zfs", "snapshot", f"{one}/v@{step}")
        for more in ([f"{one}/v@first"], ["-i", "@first", f"{one}/v@second"]):
            stream = subprocess.run(["zfs", "send", *more], check=True, stdout=subprocess.PIPE).stdout
            subprocess.run(["zfs", "receive", "-o", "snapdev=visible", f"{two}/v"], check=True, input=stream)
        for step in ("first", "second"):
            path = f"/dev/zvol/{two}/v@{step}"
            rig.wait_for(lambda path=path: os.path.exists(path), path)
            assert read(path, 1 << 20, len(step)) == step.encode()


def thin():
    with rig.Disk() as disk, disk.thin_pool("vg", "thin") as vg:
        rig.sh("lvcreate", "-q", "-V", f"{SIZE}b", "--thinpool", "thin", "-n", "v", vg)
        write(f"/dev/{vg}/v", 0, b"a" * (1 << 20))
        rig.sh("lvcreate", "-q", "-s", "-kn", "-n", "s", f"{vg}/v")
        write(f"/dev/{vg}/v", 8 << 20, b"b" * 4096)
        ids = [rig.sh("lvs", "--noheadings", "-o", "thin_id", f"{vg}/{name}").strip() for name in ("s", "v")]
        pool = f"{vg.replace('-', '--')}-thin-tpool"
        with contextlib.ExitStack() as stack:
            rig.sh("dmsetup", "message", pool, "0", "reserve_metadata_snap")
            stack.callback(rig.sh, "dmsetup", "message", pool, "0", "release_metadata_snap")
            delta = rig.sh("thin_delta", "-m", "--thin1", ids[0], "--thin2", ids[1], f"/dev/mapper/{vg.replace('-', '--')}-thin_tmeta")
        tree = xml.etree.ElementTree.fromstring(delta)
        block = int(tree.get("data_block_size")) * 512
        changed = [(int(e.get("begin")) * block, e.tag) for e in tree.iter() if e.tag in ("different", "right_only", "left_only")]
        assert changed == [((8 << 20) // block * block, "right_only")], delta
        assert read(f"/dev/{vg}/s", 8 << 20, 1) == b"\0"


def nodes(kind):
    with rig.Cluster(storage=kind, ssh=True) as c:
        a, b = c.nodes.values()
        assert a.store != b.store
        for node in (a, b):
            assert node.name in rig.sh(*node.inside(["hostname"]))
            listing = rig.sh(*node.inside(["zfs", "list", "-H", "-o", "name", node.store] if kind == "zfspool" else ["vgs", node.store]))
            assert node.store in listing
        a.pvesr("status", check=True)


rig.check("the programs run here", programs)
rig.check("zvols, snapshots, send and receive", zfs, needs=("root", "zfspool"))
rig.check("thin volumes, snapshots, thin_delta", thin, needs=("root", "lvmthin"))
for each in ("zfspool", "lvmthin"):
    rig.check(f"two nodes with {each}", lambda kind=each: nodes(kind), needs=("root", "netns", each))
rig.main()
