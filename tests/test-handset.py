#!/usr/bin/env python3
"""A replica is what the guest had: what is set on a volume by hand, and not written into it, comes along, there and back; and a failover that
says success leaves a disk that can be written to. In the test machine also on ZFS and LVM-thin."""
import os
import subprocess

import rig
from guestblocks import run as tool
from scenario import GUEST, play_all, scenario

SIZE = 8 << 20


def there_and_back(w, check):
    """check(): what is so on the replica, and on the guest's disk after each failover."""
    w.run()
    check(w.b.store)
    for node, other in ((w.b, w.a), (w.a, w.b)):
        node.pvesr("failover", str(GUEST), "--force", check=True)
        w.owner = node.name
        w.face(other.name)
        check(node.store)
        w.lab.write(0, 2)
        w.run()
        check(other.store)
        w.proved()


class Bars:
    """What keeps a guest from writing to the replica of disk 0, on each storage: [(set it, the remedy)]. The remedy is what the refusal says."""

    def __init__(self, w):
        self.w, self.store = w, w.b.store

    def xfs(self):
        path = self.w.lab.names.live(self.store, 0)
        yield lambda: tool("chattr", "+i", path), "is immutable: chattr -i", lambda: tool("chattr", "-i", path)

    plain = xfs

    def btrfs(self):
        path = self.w.lab.names.subvolume(self.store, 0)
        yield (lambda: tool("btrfs", "property", "set", path, "ro", "true"), f"btrfs property set {path} ro false",
               lambda: tool("btrfs", "property", "set", path, "ro", "false"))
        disk = self.w.lab.names.live(self.store, 0)
        yield lambda: tool("chattr", "+i", disk), "could not write", lambda: tool("chattr", "-i", disk)

    def zfspool(self):
        full = self.w.lab.names.dataset(self.store, 0)
        for where in (full, self.store):
            yield (lambda d=where: tool("zfs", "set", "readonly=on", d), f"zfs set readonly=off {where}",
                   lambda d=where: tool("zfs", "inherit", "readonly", d))

    zfscrypt = zfspool

    def lvmthin(self):
        full = f"{self.store}/{self.w.lab.names.volname(0)}"
        yield lambda: tool("lvchange", "-pr", full), f"lvchange -prw {full}", lambda: tool("lvchange", "-prw", full)


@scenario("xfs", "plain", "btrfs", "zfspool", "lvmthin")
def read_only(w):
    """a replica that cannot be written to is no success of a failover: refused, nothing is changed, the remedy is told"""
    w.create()
    w.lab.write(0, 3)
    w.run()
    for bar, remedy, end in getattr(Bars(w), w.kind)():
        bar()
        done = w.b.pvesr("failover", str(GUEST), "--force")
        assert done.returncode != 0 and remedy in done.stderr and "nothing was changed" in done.stderr, done.stderr
        assert os.path.exists(os.path.join(w.c.tree, "nodes", "pve1", "qemu-server", f"{GUEST}.conf")), "the guest was moved"
        assert w.b.pvesr("failover", str(GUEST), "--dry-run").returncode != 0
        end()
    w.b.pvesr("failover", str(GUEST), "--force", check=True)
    w.owner = "pve2"
    w.face("pve1")
    w.lab.write(0, 3)
    w.run()
    w.proved()


def reserved(w, store, n=0):
    return int(w.lab.names.get("refreservation", w.lab.names.dataset(store, n)))


FILES = ("xfs", "dir-on-btrfs", "plain", "btrfs")


def allocated(path):
    st = os.stat(path)
    return st.st_blocks * 512 >= st.st_size


def is_sparse(w, store, n=1):
    assert not allocated(w.lab.names.live(store, n)), f"disk {n} on {store} is not sparse"


@scenario(*FILES)
def preallocated(w):
    """a disk that is allocated whole, written or not, is so on the node that takes the guest over, there and back; a sparse one stays sparse"""
    w.lab.add_disk()
    tool("fallocate", "-n", "-l", SIZE, w.lab.live(0))
    w.create()

    def owned(store):
        if store == w.c.node(w.owner).store:
            assert allocated(w.lab.names.live(store, 0)), f"the disk on {store} is not allocated"
        is_sparse(w, store)

    there_and_back(w, owned)
    w.b.pvesr("failover", str(GUEST), "--force", check=True)
    w.c.move_guest(GUEST, "pve2", "pve1")  # it never ran there: what was allocated is no divergence
    w.lab.write(0, 2)
    w.run()
    assert not w.asides(w.b.store), w.log()
    w.proved()
    tool("fallocate", "-p", "-o", "0", "-l", "1M", w.lab.live(0))
    w.run()
    w.b.pvesr("failover", str(GUEST), "--force", check=True)
    is_sparse(w, w.b.store, 0)


@scenario(*FILES)
def zeros_are_allocated(w):
    """a disk that was written whole with zeros is allocated on the node that takes the guest over"""
    with open(w.lab.live(0), "r+b") as f:
        f.write(bytes(SIZE))
        os.fsync(f.fileno())
    assert allocated(w.lab.live(0))
    w.create()
    w.run()
    w.b.pvesr("failover", str(GUEST), "--force", check=True)
    assert allocated(w.lab.replica(0))


@scenario(*FILES)
def no_room_to_allocate(w):
    """where there is no room for it, failover says so, allocates nothing of it, and moves the guest; when there is, it does so, called again"""
    w.lab.grow_disk(0, 1 << 30)
    tool("fallocate", "-n", "-l", w.lab.disks[0], w.lab.live(0))
    w.create()
    w.run()
    before = os.stat(w.lab.replica(0)).st_blocks
    free = os.statvfs(w.b.store)
    tool("fallocate", "-l", free.f_bavail * free.f_frsize - (600 << 20), os.path.join(w.b.store, "filler"))
    for words in (["--dry-run"], ["--force"]):
        out = w.b.pvesr("failover", str(GUEST), *words, check=True).stdout
        assert "allocation=full is not set on" in out and "bytes more, and" in out and f"'{w.lab.replica(0)}'" in out, out
    assert os.stat(w.lab.replica(0)).st_blocks <= before + 64
    os.unlink(os.path.join(w.b.store, "filler"))
    tool("sync", "-f", w.b.store)
    out = w.b.pvesr("failover", str(GUEST), check=True).stdout
    assert "is not set" not in out and allocated(w.lab.replica(0)), f"{out}{os.stat(w.lab.replica(0))}"


@scenario("zfspool")
def thick(w):
    """a thick zvol has a thick replica, a thin one a thin one, there and back, also when it grows; nothing that is kept aside reserves room"""
    w.lab.add_disk()
    tool("zfs", "set", "refreservation=auto", w.lab.names.dataset(w.a.store, 0))
    w.create()

    def check(store):
        size = int(w.lab.names.get("volsize", w.lab.names.dataset(store, 0)))
        assert reserved(w, store) >= size, f"{reserved(w, store)} of {size} are reserved on {store}"
        assert reserved(w, store, 1) == 0

    there_and_back(w, check)
    w.lab.grow_disk(0)
    w.run()
    check(w.b.store)
    tool("zfs", "set", "refreservation=none", w.lab.names.dataset(w.a.store, 0))  # without a write
    w.run()
    assert reserved(w, w.b.store) == 0
    tool("zfs", "set", "refreservation=auto", w.lab.names.dataset(w.a.store, 0))
    w.run()
    check(w.b.store)
    w.steal("pve2")
    w.lab.write(0, 1)
    lost = w.lab.names.live(w.a.store, 0)
    with open(lost, "r+b") as f:
        f.write(b"written on the old owner")
    w.run()
    assert w.asides(w.a.store), w.log()
    kept = [d for d in tool("zfs", "list", "-Hp", "-t", "volume", "-o", "name,refreservation", "-r", w.a.store).splitlines() if "pvesr-kept" in d]
    assert kept and all(line.split("\t")[1] == "0" for line in kept), kept


@scenario("zfspool")
def thick_without_room(w):
    """where there is no room to reserve, the run says so, the failover says so, and the way back is thick"""
    tool("zfs", "set", "refreservation=auto", w.lab.names.dataset(w.a.store, 0))
    w.create()
    w.lab.write(0, 3)
    pool = w.b.store.partition("/")[0]
    free = int(w.lab.names.get("available", w.b.store))
    tool("zfs", "create", "-o", f"refreservation={free - (SIZE // 2)}", f"{pool}/filler")
    w.run()
    assert "refreservation=auto is not set on" in w.log() and "available space" in w.log(), w.log()
    w.lab.write(0, 2)
    w.run()
    assert not w.asides(w.b.store), w.log()
    out = w.b.pvesr("failover", str(GUEST), "--dry-run", check=True).stdout
    assert "refreservation=auto is not set on" in out, out
    out = w.b.pvesr("failover", str(GUEST), "--force", check=True).stdout
    assert "refreservation=auto is not set on" in out and reserved(w, w.b.store) == 0, out
    w.owner = "pve2"
    w.face("pve1")
    w.lab.write(0, 2)
    w.run()
    assert reserved(w, w.a.store) >= SIZE, "the way back is thin"
    w.proved()
    tool("zfs", "destroy", f"{pool}/filler")
    w.a.pvesr("failover", str(GUEST), "--force", check=True)
    w.owner = "pve1"
    w.face("pve2")
    w.lab.write(0, 2)
    w.run()
    assert reserved(w, w.a.store) >= SIZE and reserved(w, w.b.store) >= SIZE
    w.proved()


CARRIED = {"compression": "gzip-3", "checksum": "sha256", "copies": "2", "primarycache": "metadata", "secondarycache": "none", "sync": "disabled",
           "logbias": "throughput", "redundant_metadata": "most"}
LEFT = {"volmode": "dev", "dedup": "on", "my:note": "by-hand"}  # as pvesr(1) says


@scenario("zfspool")
def properties(w):
    """what is set by hand on a zvol: what the manual says comes along, and is taken away again; what it says does not, does not"""
    full = w.lab.names.dataset(w.a.store, 0)
    tool("zfs", "set", *(f"{k}={v}" for k, v in {**CARRIED, **LEFT}.items()), full)
    w.create()

    def check(store):
        have = {k: w.lab.names.get(k, w.lab.names.dataset(store, 0)) for k in CARRIED}
        assert have == CARRIED, have
        if store == w.b.store:
            assert not any(w.lab.names.get(k, w.lab.names.dataset(store, 0)) == v for k, v in LEFT.items())

    there_and_back(w, check)
    with open(os.path.join(rig.ROOT, "man/pvesr.1.scd")) as f:
        manual = f.read().partition("# WHAT A REPLICA HAS")[2].partition("\n# ")[0].replace("\\_", "_")
    missing = [k for k in (*CARRIED, "dedup", "volmode") if f"*{k}*" not in manual]
    assert not missing, f"the manual does not speak of {missing}"
    for key in CARRIED:
        tool("zfs", "inherit", key, w.lab.names.dataset(w.a.store, 0))
    w.run()
    local = subprocess.run(["zfs", "get", "-H", "-s", "local", "-o", "property", ",".join(CARRIED), w.lab.names.dataset(w.b.store, 0)],
                           capture_output=True, text=True, check=True).stdout
    assert not local, local


@scenario("btrfs")
def limits(w):
    """the limits of a quota group: carried without a write, remembered where quotas are off, and back"""
    def limit(store):
        lines = tool("btrfs", "qgroup", "show", "-r", "-f", "--raw", w.lab.names.subvolume(store, 0)).splitlines()
        return next(line.split()[3] for line in lines if line.startswith("0/"))

    tool("btrfs", "quota", "enable", w.a.store)
    tool("btrfs", "qgroup", "limit", "5G", w.lab.names.subvolume(w.a.store, 0))
    w.create()
    w.run()
    assert "limit=5368709120 is not set on" in w.log() and "btrfs quota enable" in w.log(), w.log()
    out = w.b.pvesr("failover", str(GUEST), "--force", check=True).stdout
    assert "limit=5368709120 is not set on" in out, out
    w.owner = "pve2"
    w.face("pve1")
    w.lab.write(0, 2)
    w.run()
    assert limit(w.a.store) == "5368709120"
    tool("btrfs", "quota", "enable", w.b.store)
    w.a.pvesr("failover", str(GUEST), "--force", check=True)
    w.owner = "pve1"
    w.face("pve2")
    w.run()
    assert limit(w.b.store) == "5368709120"
    tool("btrfs", "qgroup", "limit", "6G", w.lab.names.subvolume(w.a.store, 0))
    w.run()
    assert limit(w.b.store) == "6442450944"
    tool("btrfs", "qgroup", "limit", "none", w.lab.names.subvolume(w.a.store, 0))
    w.run()
    assert limit(w.b.store) == "none"
    w.proved()


play_all()
