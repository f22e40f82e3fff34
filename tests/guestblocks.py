"""How zvols and thin volumes are named and handled, as Proxmox VE does it: the counterparts of guestlab.DirNames for storages without
files. A store is what rig.Node.store says: a dataset ("t-vdc-tank/vm"), a volume group ("t-vdc-guests").

What is compared are bytes. live() is the device itself; snapshot() is a copy in a file, made when it is first asked for, and a path that
does not exist when there is no such snapshot.
"""
import contextlib
import os
import re
import shutil
import struct
import subprocess
import tempfile
import time

from rigdisk import BESIDE, gone

MIB = 1 << 20
DEVICE_SECONDS = 60


def run(*argv):
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, argv))}: {done.stderr.strip()}")
    return done.stdout


def device(path):
    """udev makes it a moment after the volume."""
    end = time.monotonic() + DEVICE_SECONDS
    while not os.path.exists(path):
        if time.monotonic() > end:
            raise TimeoutError(f"{path} did not come within {DEVICE_SECONDS} s")
        time.sleep(0.01)
    return path


RECORD = 312
BEGIN, OBJECT, FREEOBJECTS, WRITE, FREE, END, EMBEDDED = 0, 1, 2, 3, 4, 5, 8


def blocks_of(stream):
    """(offset, data) out of a zvol's plain full stream: its data is object 1."""
    while (record := stream.read(RECORD)):
        kind, payload = struct.unpack_from("=II", record)
        if kind == WRITE:
            number, offset, length = *struct.unpack_from("=Q", record, 8), *struct.unpack_from("=QQ", record, 24)
            data = stream.read(length)
            if number == 1:
                yield offset, data
        elif kind in (OBJECT, EMBEDDED):
            stream.read(struct.unpack_from("=I", record, 28 if kind == OBJECT else 52)[0] + 7 & ~7)
        elif kind == BEGIN:
            stream.read(payload)
        elif kind not in (FREEOBJECTS, FREE, END):
            raise ValueError(f"record {kind} in the stream")


class BlockNames:
    """What both have in common: a volume's name is its volid's, and its disk's number is all that tells it from its siblings."""
    points_have_data = True

    def __init__(self, guest):
        self.guest = guest
        self.copies = os.path.join(tempfile.gettempdir(), "points")
        self.identities, self.sizes = {}, {}
        self.still = False

    @contextlib.contextmanager
    def standing_still(self):
        """Nothing changes meanwhile: what a listing tells of all snapshots need not be asked for each of them."""
        self.still = True
        try:
            yield
        finally:
            self.still = False
            self.identities.clear()
            self.sizes.clear()

    def is_spare(self, _name, _store):
        return False

    def note(self, name, identity, size=None):
        if self.still:
            self.identities[name] = identity
            self.sizes[name] = size

    def volname(self, n):
        return f"vm-{self.guest}-disk-{n}"

    def number(self, name):
        """None: not a volume of the guest."""
        before, found, n = name.partition(f"vm-{self.guest}-disk-")
        return int(n) if found and not before and n.isdigit() else None

    def snapshot(self, store, n, snap, dataset=None):
        """dataset: where it is, if not at the volume."""
        whole = f"{dataset}@{snap}" if dataset else self.full(store, n, snap)
        identity = self.identities.get(whole) or self.identity(whole)
        if not identity:
            return os.path.join(self.copies, "none")
        path = os.path.join(self.copies, f"{store.replace('/', '-')}-{n}@{snap}", identity)
        if not os.path.exists(path):
            shutil.rmtree(os.path.dirname(path), ignore_errors=True)
            os.makedirs(os.path.dirname(path))
            self.copy_out(store, n, whole, path + ".new")
            os.rename(path + ".new", path)
        return path

    def aside(self, store, n, snap):
        return self.snapshot(store, n, snap)

    def forget_copies(self, store, found):
        there = os.listdir(self.copies) if os.path.isdir(self.copies) else []
        known = {f"{store.replace('/', '-')}-{n}@{snap}" for n, snap in found}
        for name in there:
            if name.startswith(store.replace("/", "-") + "-") and name not in known:
                shutil.rmtree(os.path.join(self.copies, name), ignore_errors=True)


class ZvolNames(BlockNames):
    def dataset(self, store, n, snap=None):
        return f"{store}/{self.volname(n)}" + (f"@{snap}" if snap else "")

    def live(self, store, n):
        return device(f"/dev/zvol/{self.dataset(store, n)}")

    def create(self, store, n, size):
        run("zfs", "create", "-s", "-V", size, self.dataset(store, n))
        self.live(store, n)

    def grow(self, store, n, size):
        run("zfs", "set", f"volsize={size}", self.dataset(store, n))

    def punch(self, store, n, start, length):
        run("blkdiscard", "-f", "-o", start, "-l", length, self.live(store, n))

    def remove(self, store, n):
        gone(["zfs", "destroy", "-r", self.dataset(store, n)])

    def make_snapshot(self, store, n, snap):
        self.write_out(store, n)
        run("zfs", "snapshot", self.dataset(store, n, snap))

    def drop_snapshot(self, store, n, snap):
        run("zfs", "destroy", self.dataset(store, n, snap))

    def roll_back(self, store, n, snap):
        gone(["zfs", "rollback", "-r", self.dataset(store, n, snap)])
        self.look_anew(store, n)

    def look_anew(self, store, n):
        """After a rollback whoever has the device open, as udev has after each write, keeps the old blocks in the page cache: they are read
        again from there until the last one closes it."""
        run("udevadm", "settle")
        self.write_out(store, n)

    def write_out(self, store, n):
        """To the device, and what is read next is read from there. Closing does it, too, but only for the last one that has it open."""
        run("blockdev", "--flushbufs", self.live(store, n))

    full = dataset

    def identity(self, snapshot):
        return self.get("guid", snapshot)

    @staticmethod
    def get(key, name):
        done = subprocess.run(["zfs", "get", "-Hp", "-o", "value", key, name], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              text=True, check=False)
        return done.stdout.strip()

    def copy_out(self, _store, _n, snapshot, path):
        """Not through a clone: it waits for the pool twice and for udev. That a stream says what the device has is seen where a live
        volume is compared with its snapshot."""
        with open(path, "wb") as f, subprocess.Popen(["zfs", "send", "-L", snapshot], stdout=subprocess.PIPE) as p:
            f.truncate(int(self.sizes.get(snapshot) or self.get("volsize", snapshot)))
            for offset, data in blocks_of(p.stdout):
                f.seek(offset)
                f.write(data)
        if p.returncode != 0:
            raise RuntimeError(f"zfs send of {snapshot}: exit {p.returncode}")

    def block(self, store, n):
        """Make that nothing of this disk can be received: what is in the way cannot be destroyed. Returns the undo."""
        stage = f"{store}/pvesr-stage-{self.volname(n)}"
        run("zfs", "create", "-s", "-V", MIB, stage)
        run("zfs", "snapshot", f"{stage}@held")
        run("zfs", "hold", "test", f"{stage}@held")

        def undo():
            run("zfs", "release", "test", f"{stage}@held")
            gone(["zfs", "destroy", "-r", stage])
        return undo

    def kept(self, store):
        """(disk, snapshot) → dataset, of what was taken out of the way of a replica."""
        return self.kept_among(run("zfs", "list", "-H", "-r", "-t", "snapshot", "-o", "name", store).splitlines())

    def kept_among(self, names):
        matches = [re.fullmatch(r"(.*/pvesr-kept-(\w+-\d+-disk-\d+)-[0-9a-f]{32})@(.+)", name) for name in names]
        return {(self.number(m[2]), m[3]): m[1] for m in matches if m}

    def is_spare(self, name, store):
        """A bookmark of what the other side has as a snapshot."""
        return "#" in name and self.get("guid", name) in run("zfs", "list", "-Hp", "-r", "-t", "snapshot", "-o", "guid", store).split()

    def aside(self, store, n, snap):
        return self.snapshot(store, n, snap, self.kept(store).get((n, snap)))

    def drop_aside(self, store, n, snap):
        kept = self.kept(store).get((n, snap))
        gone(["zfs", "destroy", "-r", kept] if kept else ["zfs", "destroy", self.dataset(store, n, snap)])

    def entries(self, store):
        odd, bookmarks, guids = [], {}, set()
        lines = run("zfs", "list", "-Hp", "-r", "-t", "filesystem,volume,snapshot,bookmark", "-o", "name,receive_resume_token,guid,volsize", store).splitlines()
        found = set(self.kept_among(line.partition("\t")[0] for line in lines))
        for line in lines:
            name, token, guid, size = line.split("\t")
            if "#" in name:
                bookmarks[name] = guid
                continue
            guids.add(guid)
            self.note(name, guid, size)
            volume, _, snap = name.removeprefix(store).lstrip("/").partition("@")
            n = self.number(volume)
            if n is not None and snap.startswith("pvesr-base-") and self.get("defer_destroy", name) == "on":
                continue
            if n is not None and token == "-":
                found.add((n, snap or None))
            elif name != store and not volume.startswith("pvesr-kept-"):
                odd.append(name + ("" if token == "-" else " (partly received)"))
        odd += [name for name, guid in bookmarks.items() if guid not in guids]
        self.forget_copies(store, found)
        return found, odd


class ThinNames(BlockNames):
    EXTENT = 4 * MIB
    THIN = "thin"

    def lv(self, store, n, snap=None):
        return f"{store}/{self.lv_name(n, snap)}"

    def lv_name(self, n, snap=None):
        return f"snap_{self.volname(n)}_{snap}" if snap else self.volname(n)

    def live(self, store, n):
        path = "/dev/" + self.lv(store, n)
        if not os.path.exists(path):
            run("lvchange", "-q", "-ay", "-K", self.lv(store, n))
        return device(path)

    def create(self, store, n, size):
        run("lvcreate", "-q", "-aly", "-V", f"{size}b", "--name", self.volname(n), "--thinpool", f"{store}/{self.THIN}")

    def grow(self, store, n, size):
        run("lvextend", "-q", "-L", f"{size}b", self.lv(store, n))

    def punch(self, store, n, start, length):
        # the kernel drops whole chunks and leaves what is beside them
        run("blkdiscard", "-f", "-o", start, "-l", length, self.live(store, n))

    def remove(self, store, n):
        for d, snap in self.entries(store)[0]:
            if d == n:
                gone(["lvremove", "-q", "-f", self.lv(store, n, snap)])

    def drop_aside(self, store, n, snap):
        self.drop_snapshot(store, n, snap)

    def block(self, store, n):
        """Make that nothing of this disk can be received: its device's name is taken. Returns the undo."""
        name = f"{store}/pvesr_stage_{self.volname(n)}".replace("-", "--").replace("/", "-")
        run("dmsetup", "create", name, "--table", "0 8 error")
        return lambda: gone(["dmsetup", "remove", name])

    def make_snapshot(self, store, n, snap):
        run("lvcreate", "-q", "-n", self.lv_name(n, snap), "-pr", "-s", self.lv(store, n))

    def drop_snapshot(self, store, n, snap):
        gone(["lvremove", "-q", "-f", self.lv(store, n, snap)])

    def roll_back(self, store, n, snap):
        gone(["lvremove", "-q", "-f", self.lv(store, n)])
        run("lvcreate", "-q", "-kn", "-n", self.volname(n), "-s", self.lv(store, n, snap))

    full = lv

    def identity(self, snapshot):
        done = subprocess.run(["lvs", "--noheadings", "-o", "lv_uuid", snapshot], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True, check=False)
        return done.stdout.strip()

    def copy_out(self, _store, _n, snapshot, path):
        run("lvchange", "-q", "-ay", "-K", snapshot)
        try:
            run("cp", "--sparse=always", device("/dev/" + snapshot), path)
        finally:
            gone(["lvchange", "-q", "-an", snapshot])

    def entries(self, store):
        found, odd = set(), []
        for line in run("lvs", "--noheadings", "-o", "lv_name,lv_uuid", store).splitlines():
            name, uuid = line.split()
            self.note(f"{store}/{name}", uuid)
            snapped = name.startswith(f"snap_vm-{self.guest}-disk-")
            volume, _, snap = name.removeprefix("snap_").partition("_") if snapped else (name, "", None)
            n = self.number(volume)
            if n is not None:
                found.add((n, snap))
            elif name not in (self.THIN, BESIDE):
                odd.append(name)
        self.forget_copies(store, found)
        return found, odd
