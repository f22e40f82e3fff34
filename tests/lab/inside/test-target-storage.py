#!/usr/bin/env python3
"""A job maps storages of different kinds: thin volumes to files and back. A guest's life, the owner's death, the way back as a delta, the
job's end; what the replica holds is compared bit by bit.

PVESR_SOAK_RUNS (1; in the long form 15) runs after random changes before it. The short form begins on files: after the owner's death the
same map leads from thin volumes to files.
"""
# deadline: 2400
import os

import rig
from guestlab import same_file
from mapped import MappedWorld, failover, incremental

LONG = os.environ.get("PVESR_LAB_LONG") == "1"
RUNS = int(os.environ.get("PVESR_SOAK_RUNS", "15" if LONG else "1"))


def world(c, thin_first, files):
    """The guest begins on the thin pool of pve1, or on its directory; its replicas are on the other kind."""
    a, b = c.node("pve1"), c.node("pve2")
    thin, folder = ((lambda node: ("st", "lvmthin", node.store)), (lambda node: ("files", files, os.path.join(node.mount, "st"))))
    first, then = (thin, folder) if thin_first else (folder, thin)
    return MappedWorld(c, first(a), then(b))


def replicate(w, what):
    w.run()
    faults = w.lab.faults(asides=True)
    assert not faults, f"{what}: {faults}"


def life(thin_first, files):
    with rig.Cluster(storage="lvmthin", ssh=False, also=files) as c:
        w = world(c, thin_first, files)
        w.create("--target-storage", "st=files")
        replicate(w, "the first run")
        for i in range(RUNS):
            replicate(w, f"run {i} after {[w.lab.step() for _ in range(w.lab.random.randrange(1, 4))]}")
        disks = list(w.lab.disks)
        replicas = [w.copy(w.lab.replica(n)) for n in disks]
        failover(w, "pve2", "--force")
        assert w.guest_config("pve2") == w.lab.config()
        assert all(same_file(w.lab.live(n), copy) for n, copy in zip(disks, replicas))
        for n in disks:
            w.lab.write(n, 10)
        replicate(w, "on the way back")
        incremental(w)
        w.lab.add_disk()
        w.lab.grow_disk(disks[0])
        w.lab.take_guest_snapshot()
        replicate(w, "the second run back")
        failover(w, "pve1", "--force")
        for n in disks:
            w.lab.write(n, 3)
        replicate(w, "at home again")
        incremental(w)
        w.a.pvesr("delete", "100-0", check=True)
        w.run()
        found, odd = w.lab.names_there.entries(w.lab.target)
        left = [entry for entry in found if not (entry[1] or "").startswith("diverged_")]
        assert not left and not odd, f"left on the target: {left} {odd}"


def odd_size():
    """Files have any size, thin volumes whole extents: what is beyond the guest's disk is zero."""
    size = (5 << 20) + 1536
    with rig.Cluster(storage="lvmthin", ssh=False, also="xfs") as c:
        w = world(c, False, "xfs")
        w.create("--target-storage", "st=files")
        n = w.lab.add_disk(size)
        for what in ("full", "delta"):
            w.run()
            with open(w.lab.live(n), "rb") as f, open(w.lab.replica(n), "rb") as g:
                live, replica = f.read(), g.read()
            assert replica.startswith(live) and not replica[len(live):].strip(b"\0"), what
            w.lab.write(n, 5)
        w.run()
        failover(w, "pve2", "--force")
        w.lab.write(n, 5)
        w.run()
        incremental(w)
        with open(w.lab.live(n), "rb") as f, open(w.lab.replica(n), "rb") as g:
            live, replica = f.read(), g.read()
        assert live[:len(replica)] == replica[:len(live)], "back"
        assert not live[len(replica):].strip(b"\0") and not replica[len(live):].strip(b"\0"), "beyond the end"


def from_zvol(files, kind="zfspool"):
    """A zvol gives byte ranges, but takes none: after the owner's death the job wants another place for its replicas."""
    with rig.Cluster(storage=kind, ssh=False, also=files) as c:
        a, b = c.node("pve1"), c.node("pve2")
        w = MappedWorld(c, ("st", "zfspool", a.store), ("files", files, b.also_store))
        w.create("--target-storage", "st=files")
        if kind == "zfscrypt":
            error = w.run(want=1).stderr
            assert "is encrypted" in error and "would not be" in error, error
            assert not w.lab.names_there.entries(w.lab.target)[0]
            return
        replicate(w, "the first run")
        for i in range(RUNS):
            replicate(w, f"run {i} after {[w.lab.step() for _ in range(w.lab.random.randrange(1, 4))]}")
        disks = list(w.lab.disks)
        w.lab.write(disks[0], 3)
        w.lab.punch(disks[0])
        replicate(w, "a hole")
        if files != "plain":
            incremental(w)
            w.run()
            assert "nothing changed" in w.log(a), w.log(a)
        failover(w, "pve2", "--force")
        assert w.guest_config("pve2") == w.lab.config()
        error = w.run(want=1).stderr
        assert "takes only a stream of its own kind" in error and "--target-storage" in error, error
        b.pvesr("update", "100-0", "--delete", "target-storage", check=True)
        w.kinds["pve1"] = ("files", files, a.also_store)
        w.face("pve1")
        replicate(w, f"between two of {files}")


for files in ("xfs", "btrfs") if LONG else ("xfs",):
    for thin in (False, True) if LONG else (False,):
        name = f"a guest on {'lvmthin' if thin else files}, its replicas on {files if thin else 'lvmthin'}"
        rig.check(name, lambda t=thin, k=files: life(t, k), needs=("root", "lvmthin", files))
for files in ("xfs", "btrfs", "plain", "lvmthin") if LONG else ("xfs", "lvmthin"):
    rig.check(f"a guest on zfspool, its replicas on {files}", lambda k=files: from_zvol(k), needs=("root", "zfspool", *({files} & rig.NEEDS.keys())))
rig.check("an encrypted zvol does not become a plain file", lambda: from_zvol("xfs", "zfscrypt"), needs=("root", "zfspool", "xfs"))
rig.check("a file that is no whole number of extents, to lvmthin and back", odd_size, needs=("root", "lvmthin", "xfs"))
rig.main()
