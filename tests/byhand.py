"""What a person with a shell does to a replica or a restore point: writing a byte to it, wherever its storage keeps it."""
import fcntl
import os
import struct

import rig

MIB, BLOCK = 1 << 20, 65536
HOLE = 5 * MIB
PLACES = {"begin": 0, "middle": 4 * MIB + 70001, "end": 8 * MIB - 1, "hole": HOLE + 3 * BLOCK + 5}


def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 0x40]))
        f.flush()
        os.fsync(f.fileno())


def byte_at(path, at):
    with open(path, "rb") as f:
        f.seek(at)
        return f.read(1)


def rest(w):
    """As thin volumes rest."""
    if w.kind == "lvmthin":
        for n in w.lab.disks:
            rig.sh("lvchange", "-an", f"{w.b.store}/{w.lab.names.volname(n)}")


def flip_live(w, at, n=0):
    flip(w.lab.replica(n), at)
    rest(w)


SETFLAGS, READ_ONLY = 0x4008941A, 2  # BTRFS_IOC_SUBVOL_SETFLAGS; btrfs(8) would take the id away, too


def set_subvolume_flags(path, flags):
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, SETFLAGS, struct.pack("=Q", flags))
    finally:
        os.close(fd)


def flip_point(w, at, snap, n=0, node=None):
    """On the target, or on another node."""
    names, store = w.lab.names, (node or w.b).store
    if w.kind == "btrfs":
        set_subvolume_flags(names.subvolume(store, n, snap), 0)
    if w.kind == "lvmthin":
        lv = f"{store}/snap_{names.volname(n)}_{snap}"
        rig.sh("lvchange", "-prw", lv)
        rig.sh("lvchange", "-ay", "-K", lv)
        flip(f"/dev/{lv}", at)
        rig.sh("lvchange", "-an", lv)
        rig.sh("lvchange", "-pr", lv)
        return
    flip(names.snapshot(store, n, snap), at)
    if w.kind == "btrfs":
        set_subvolume_flags(names.subvolume(store, n, snap), READ_ONLY)


def newest(w, n=0):
    return sorted(s for d, s in w.lab.names.entries(w.b.store)[0] if d == n and (s or "").startswith("__replicate_100-0_"))[-1]
