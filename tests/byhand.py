"""What a person with a shell does to a replica or a restore point: writing a byte to it, wherever its storage keeps it."""
import fcntl
import os
import re
import struct
import subprocess

import rig
from rigdisk import gone

MIB, BLOCK = 1 << 20, 65536
HOLE = 5 * MIB
# the hole first: what the guest writes in between may fill it
PLACES = {"hole": HOLE + 3 * BLOCK + 5, "begin": 0, "middle": 4 * MIB + 70001, "end": 8 * MIB - 1}


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
            gone(["lvchange", "-an", f"{w.b.store}/{w.lab.names.volname(n)}"])


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
        gone(["lvchange", "-an", lv])
        rig.sh("lvchange", "-pr", lv)
        return
    flip(names.snapshot(store, n, snap), at)
    if w.kind == "btrfs":
        set_subvolume_flags(names.subvolume(store, n, snap), READ_ONLY)


# ---- a disk that rots ----

FIEMAP, FIEMAP_SYNC = 0xC020660B, 1


def where(path, at):
    """Where the file system has this byte of a file: an address on its device, on btrfs a logical one."""
    request = bytearray(struct.pack("=QQIIII", at, 1, FIEMAP_SYNC, 0, 1, 0) + bytes(56))
    with open(path, "rb") as f:
        fcntl.ioctl(f, FIEMAP, request, True)
    assert struct.unpack_from("=I", request, 20)[0] == 1, f"{path}: nothing is at byte {at}"
    logical, physical = struct.unpack_from("=QQ", request, 32)
    return physical + at - logical


def on_device(device, logical):
    """Of btrfs, by the first copy that its tree of chunks names."""
    chunk, length = None, 0
    said = subprocess.run(["btrfs", "inspect-internal", "dump-tree", "-t", "chunk", device], capture_output=True, text=True, check=True).stdout
    for line in said.splitlines():
        if found := re.search(r"CHUNK_ITEM (\d+)\)", line):
            chunk = int(found[1])
        elif found := re.search(r"length (\d+) owner", line):
            length = int(found[1])
        elif (found := re.search(r"stripe 0 devid \d+ offset (\d+)", line)) and chunk is not None and chunk <= logical < chunk + length:
            return int(found[1]) + logical - chunk
    raise AssertionError(f"no chunk of {device} has {logical}")


def rot(w, node, path, at, others=()):
    """The disk gives another byte than was written to it: no file system knows. others: files that share it."""
    at_device, before = where(path, at), byte_at(path, at)
    device = subprocess.run(["findmnt", "-nro", "SOURCE", "-T", path], capture_output=True, text=True, check=True).stdout.split("[")[0].strip()
    if w.kind == "btrfs":
        at_device = on_device(device, at_device)
    os.sync()
    image = os.path.join(w.c.dir, f"{node.name}.img")
    assert byte_at(image, at_device) == before
    flip(image, at_device)
    rig.sh("blockdev", "--flushbufs", device)
    for name in (path, *others):
        with open(name, "rb") as f:
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def touched(w, snap, n=0):
    """Where the target has the data of a restore point."""
    return w.lab.names.snapshot(w.b.store, n, snap)


def newest(w, n=0):
    return sorted(s for d, s in w.lab.names.entries(w.b.store)[0] if d == n and (s or "").startswith("__replicate_100-0_"))[-1]
