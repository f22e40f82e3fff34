"""A guest whose volumes are changed at random, and the proof that its replica equals it.

GuestLab works on two storage directories (the source's and the target's) and knows how each storage type names live volumes and
snapshots on disk. Nothing here asks pvesr what it did: the files are compared bit by bit.
"""
import contextlib
import errno
import os
import random
import subprocess

from guestblocks import ThinNames, ZvolNames

BLOCK = 4096
PART = 1 << 16
# In an emulated machine, 200 runs of a larger guest take longer than anybody waits.
MOST_DISKS, MOST_SNAPSHOTS = (3, 2) if os.environ.get("PVESR_LAB_LONG") == "1" else (4, 3)


def run(*argv):
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


def next_data(f, at, size):
    """Where a hole ends that begins here; a device has none."""
    try:
        return os.lseek(f.fileno(), at, os.SEEK_DATA)
    except OSError as e:
        return size if e.errno == errno.ENXIO else at


def next_hole(f, at, size):
    try:
        return os.lseek(f.fileno(), at, os.SEEK_HOLE)
    except OSError:
        return size


def same_file(a, b):
    """Byte by byte; devices, too. What is a hole of both is zeros of both, and is most of a disk. In small parts: the memory of large ones is
    new each time."""
    with open(a, "rb", buffering=0) as f, open(b, "rb", buffering=0) as g:
        size = f.seek(0, os.SEEK_END)
        if size != g.seek(0, os.SEEK_END):
            return False
        at = 0
        while (at := min(next_data(f, at, size), next_data(g, at, size))) < size:
            part = min(PART, size - at)
            here = os.pread(f.fileno(), part, at)
            if len(here) != part or here != os.pread(g.fileno(), part, at):
                return False
            at += part
        return True


def copy_file(path, to):
    """A new file with these bytes; what is a hole stays one, or each comparison would read it."""
    with open(path, "rb", buffering=0) as f, open(to, "wb", buffering=0) as g:
        size, at = f.seek(0, os.SEEK_END), 0
        g.truncate(size)
        while (at := next_data(f, at, size)) < size:
            part = os.pread(f.fileno(), min(PART, next_hole(f, at, size) - at), at)
            at += os.pwrite(g.fileno(), part, at)


def tree_facts(root):
    """Every name below root with what must be equal on a replica."""
    facts = {}
    for folder, dirs, files in os.walk(root):
        for name in dirs + files:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            key = os.path.relpath(path, root)
            content = None
            if os.path.islink(path):
                content = os.readlink(path)
            elif os.path.isfile(path):
                with open(path, "rb") as f:
                    content = f.read()
            facts[key] = (st.st_mode, st.st_uid, st.st_gid, st.st_mtime_ns, content)
    return facts


class Files:
    """What is the same for all live volumes that are files."""
    standing_still = contextlib.nullcontext

    def is_spare(self, _name, _store):
        return False

    def grow(self, store, n, size):
        os.truncate(self.live(store, n), size)

    def punch(self, store, n, start, length):
        run("fallocate", "--punch-hole", "--offset", str(start), "--length", str(length), self.live(store, n))


class DirNames(Files):
    """dir: STORE/images/ID/vm-ID-disk-N.raw, snapshots .pvesr.FILE@SNAP beside it."""
    points_have_data = True

    def __init__(self, guest):
        self.guest = guest

    def folder(self, store):
        return os.path.join(store, "images", str(self.guest))

    def volname(self, n):
        return f"{self.guest}/vm-{self.guest}-disk-{n}.raw"

    def live(self, store, n):
        return os.path.join(self.folder(store), f"vm-{self.guest}-disk-{n}.raw")

    def snapshot(self, store, n, snap):
        return os.path.join(self.folder(store), f".pvesr.vm-{self.guest}-disk-{n}.raw@{snap}")

    def create(self, store, n, size):
        os.makedirs(self.folder(store), exist_ok=True)
        with open(self.live(store, n), "wb") as f:
            f.truncate(size)

    def remove(self, store, n):
        for name in os.listdir(self.folder(store)):
            if f"vm-{self.guest}-disk-{n}.raw" in name:
                os.unlink(os.path.join(self.folder(store), name))

    def make_snapshot(self, store, n, snap):
        run("cp", "--reflink=always", self.live(store, n), self.snapshot(store, n, snap))

    def drop_snapshot(self, store, n, snap):
        os.unlink(self.snapshot(store, n, snap))

    def roll_back(self, store, n, snap):
        new = self.live(store, n) + ".new"
        run("cp", "--reflink=always", self.snapshot(store, n, snap), new)
        os.rename(new, self.live(store, n))

    def aside(self, store, n, snap):
        """Where the bytes of a snapshot are that was kept aside."""
        return DirNames.snapshot(self, store, n, snap)

    def drop_aside(self, store, n, snap):
        os.unlink(self.aside(store, n, snap))

    def block(self, store, n):
        """Make that nothing of this disk can be received; returns the undo."""
        path = os.path.join(self.folder(store), ".pvesr-stage." + os.path.basename(self.image(store, n)))
        os.makedirs(os.path.join(path, "in", "the", "way"))
        os.chmod(path, 0)
        return lambda: run("rm", "-rf", path)

    def image(self, store, n):
        return self.live(store, n)

    def entries(self, store):
        """{(disk, snapshot or None)} and what is neither."""
        found, odd = set(), []
        for name in os.listdir(self.folder(store)) if os.path.isdir(self.folder(store)) else []:
            base, _, snap = name.removeprefix(".pvesr.").partition("@")
            if base.startswith(f"vm-{self.guest}-disk-") and base.endswith(".raw") and (name[0] != "." or snap):
                found.add((int(base[len(f"vm-{self.guest}-disk-"):-4]), snap or None))
            else:
                odd.append(name)
        return found, odd


class PlainNames(DirNames):
    """dir on a file system without reflinks: a restore point is the live replica and a map of digests."""
    points_have_data = False

    def snapshot(self, store, n, snap):
        return os.path.join(self.folder(store), f".pvesr-digest.vm-{self.guest}-disk-{n}.raw@{snap}")

    def entries(self, store):
        found, odd = set(), []
        for name in os.listdir(self.folder(store)) if os.path.isdir(self.folder(store)) else []:
            base, _, snap = name.removeprefix(".pvesr-digest.").partition("@")
            if snap.startswith("diverged_"):
                base = base.removeprefix(".pvesr.")
            if base.startswith(f"vm-{self.guest}-disk-") and base.endswith(".raw"):
                found.add((int(base[len(f"vm-{self.guest}-disk-"):-4]), snap or None))
            else:
                odd.append(name)
        return found, odd


class BtrfsNames(Files):
    """btrfs: STORE/images/ID/vm-ID-disk-N/disk.raw, snapshots are subvolumes vm-ID-disk-N@SNAP beside it."""
    points_have_data = True

    def __init__(self, guest):
        self.guest = guest

    folder = DirNames.folder
    volname = DirNames.volname

    def subvolume(self, store, n, snap=None):
        return os.path.join(self.folder(store), f"vm-{self.guest}-disk-{n}" + (f"@{snap}" if snap else ""))

    def live(self, store, n):
        return os.path.join(self.subvolume(store, n), "disk.raw")

    def snapshot(self, store, n, snap):
        return os.path.join(self.subvolume(store, n, snap), "disk.raw")

    def create(self, store, n, size):
        os.makedirs(self.folder(store), exist_ok=True)
        run("btrfs", "subvolume", "create", self.subvolume(store, n))
        with open(self.live(store, n), "wb") as f:
            f.truncate(size)

    def remove(self, store, n):
        """All of it, also what an interrupted transfer to this node left."""
        for name in os.listdir(self.folder(store)):
            path = os.path.join(self.folder(store), name)
            if name.partition("@")[0].removeprefix(".pvesr-stage.") == f"vm-{self.guest}-disk-{n}":
                run("btrfs", "subvolume", "delete", path)
            elif name == f".pvesr-stage.vm-{self.guest}-disk-{n}.info":
                os.unlink(path)

    def make_snapshot(self, store, n, snap):
        run("btrfs", "subvolume", "snapshot", "-r", self.subvolume(store, n), self.subvolume(store, n, snap))

    def drop_snapshot(self, store, n, snap):
        run("btrfs", "subvolume", "delete", self.subvolume(store, n, snap))

    def roll_back(self, store, n, snap):
        run("btrfs", "subvolume", "delete", self.subvolume(store, n))
        run("btrfs", "subvolume", "snapshot", self.subvolume(store, n, snap), self.subvolume(store, n))

    aside = snapshot
    drop_aside = drop_snapshot
    block = DirNames.block

    def image(self, store, n):
        return self.subvolume(store, n)

    def entries(self, store):
        found, odd = set(), []
        for name in os.listdir(self.folder(store)) if os.path.isdir(self.folder(store)) else []:
            base, _, snap = name.partition("@")
            if base.startswith(f"vm-{self.guest}-disk-"):
                found.add((int(base[len(f"vm-{self.guest}-disk-"):]), snap or None))
            else:
                odd.append(name)
        return found, odd


NAMES = {"xfs": DirNames, "dir-on-btrfs": DirNames, "btrfs": BtrfsNames, "plain": PlainNames, "zfspool": ZvolNames, "zfscrypt": ZvolNames,
         "lvmthin": ThinNames}


class GuestLab:
    """One VM. `write_config(text)` puts its configuration into the tree."""

    def __init__(self, storage_type, storage_id, source, target, write_config, guest=100, seed=0):
        self.names = self.names_there = NAMES[storage_type](guest)  # they differ where a job maps storages
        self.storage_id, self.source, self.target = storage_id, source, target
        self.write_config, self.guest = write_config, guest
        self.random = random.Random(seed)
        self.disks = {}      # n -> size
        self.proved = set()  # those of the last look at both sides
        self.snapshots = {}  # name -> [n] at that time
        self.parent = None
        self.next_disk = 0
        self.next_snapshot = 0

    def config(self):
        lines = ["name: lab", "memory: 128"] + ([f"parent: {self.parent}"] if self.parent else [])
        lines += [f"scsi{i}: {self.storage_id}:{self.names.volname(n)},size={size}"
                  for i, (n, size) in enumerate(sorted(self.disks.items()))]
        for snap, disks in self.snapshots.items():
            lines += ["", f"[{snap}]", "snaptime: 1"]
            lines += [f"scsi{i}: {self.storage_id}:{self.names.volname(n)}" for i, n in enumerate(disks)]
        return "\n".join(lines) + "\n"

    def save(self):
        self.write_config(self.config())

    def live(self, n):
        return self.names.live(self.source, n)

    def replica(self, n):
        return self.names_there.live(self.target, n)

    # ---- what a guest and its administrator do ----

    def add_disk(self, size=8 << 20):
        n = self.next_disk
        self.next_disk += 1
        self.names.create(self.source, n, size)
        self.disks[n] = size
        self.write(n, 40)
        self.save()
        return n

    def remove_disk(self, n):
        self.disks.pop(n)
        self.snapshots = {s: [d for d in disks if d != n] for s, disks in self.snapshots.items()}
        self.save()
        self.names.remove(self.source, n)

    def grow_disk(self, n, more=4 << 20):
        self.disks[n] += more
        self.names.grow(self.source, n, self.disks[n])
        self.save()

    def write(self, n, count, path=None):
        size = self.disks[n]
        with open(path or self.live(n), "r+b") as f:
            for _ in range(count):
                length = self.random.choice((512, BLOCK, BLOCK, BLOCK, 3 * BLOCK, 65536))
                f.seek(self.random.randrange(0, max(1, size - length)) // 512 * 512)
                f.write(self.random.choice((self.random.randbytes(length), self.random.randbytes(length), bytes(length))))

    def punch(self, n):
        start = self.random.randrange(0, self.disks[n] // BLOCK) * BLOCK
        length = self.random.randrange(1, 64) * BLOCK
        self.names.punch(self.source, n, start, min(length, self.disks[n] - start))

    def take_guest_snapshot(self):
        snap = f"snap{self.next_snapshot}"
        self.next_snapshot += 1
        for n in self.disks:
            self.names.make_snapshot(self.source, n, snap)
        self.snapshots[snap] = sorted(self.disks)
        self.save()
        return snap

    def roll_back(self, snap):
        """To a guest snapshot, as Proxmox VE does it: the disks are its state, and it is the parent of what comes."""
        for n in self.snapshots[snap]:
            self.names.roll_back(self.source, n, snap)
        self.parent = snap
        self.save()

    def drop_guest_snapshot(self, snap):
        disks = self.snapshots.pop(snap)
        self.parent = None if self.parent == snap else self.parent
        self.save()
        for n in disks:
            self.names.drop_snapshot(self.source, n, snap)

    def step(self):
        """One random change; says what it did."""
        roll = self.random.random()
        if roll < 0.06 and len(self.disks) < MOST_DISKS:
            return f"add disk {self.add_disk()}"
        if roll < 0.10 and len(self.disks) > 1:
            n = self.random.choice(sorted(self.disks))
            if self.proved and not self.proved & self.disks.keys() - {n}:
                return "nothing"  # of a guest that has none of its disks any more the replicas stay: it may be another one
            self.remove_disk(n)
            return f"remove disk {n}"
        n = self.random.choice(sorted(self.disks))
        if roll < 0.18 and self.disks[n] < 32 << 20:
            self.grow_disk(n)
            return f"grow disk {n}"
        if roll < 0.26 and len(self.snapshots) < MOST_SNAPSHOTS:
            self.take_guest_snapshot()
            return "guest snapshot"
        if roll < 0.34 and self.snapshots:
            snap = self.random.choice(sorted(self.snapshots))
            self.drop_guest_snapshot(snap)
            return f"delete guest snapshot {snap}"
        if roll < 0.5:
            self.punch(n)
            return f"punch disk {n}"
        if roll < 0.55:
            return "nothing"
        self.write(n, self.random.randrange(1, 30))
        return f"write disk {n}"

    # ---- proof ----

    def faults(self, job="100-0", asides=False, busy=(), others=False):
        """Every way in which the two sides are not as they must be after a successful run. `busy`: disks that are being written to;
        the others' newest restore point must be their state of now. `others`: other jobs of the guest have points of theirs, for which a
        new owner also keeps the one that it came from."""
        with self.names.standing_still(), self.names_there.standing_still():
            return self.faults_now(job, asides, busy, others)

    def faults_now(self, job, asides, busy, others):
        self.proved, bad = set(self.disks), []
        here, odd_here = self.names.entries(self.source)
        there, odd_there = self.names_there.entries(self.target)
        bad += [f"left on the source: {name}" for name in odd_here if not self.names.is_spare(name, self.target)] + [f"left on the target: {name}" for name in odd_there]
        if asides:
            here, there = ({e for e in side if not (e[1] or "").startswith("diverged_")} for side in (here, there))
        if others:
            here, there = ({e for e in side if not self.of_another_job(e[1], job)} for side in (here, there))
        if self.names.points_have_data != self.names_there.points_have_data:
            here, there = ({(n, None) for n, snap in side if not snap} for side in (here, there))
        if here != there:
            bad.append(f"only on the source: {sorted(map(str, here - there))}, only on the target: {sorted(map(str, there - here))}")
        if {n for n, snap in here if snap is None} != set(self.disks):
            bad.append(f"disks on the source: {here}")
        if not (self.names.points_have_data and self.names_there.points_have_data):
            return bad + [f"disk {n}: replica and source differ" for n in self.disks if not same_file(self.live(n), self.replica(n))]
        for n in self.disks:
            points = sorted(s for d, s in here if d == n and s and s.startswith(f"__replicate_{job}_"))
            if not 1 <= len(points) <= 1 + others:
                bad.append(f"disk {n} has replication snapshots {points}")
            elif not same_file(self.names_there.snapshot(self.target, n, points[-1]), self.replica(n)):
                bad.append(f"disk {n}: the live replica differs from its restore point")
            elif n not in busy and not same_file(self.live(n), self.replica(n)):
                bad.append(f"disk {n}: the replica is not what the guest has")
        for n, snap in here & there:
            if snap and not same_file(self.names.snapshot(self.source, n, snap),
                                          self.names_there.snapshot(self.target, n, snap)):
                bad.append(f"disk {n}, snapshot {snap}: replica and source differ")
        for snap, disks in self.snapshots.items():
            bad += [f"guest snapshot {snap} of disk {n} is missing" for n in disks if (n, snap) not in there]
        return bad

    @staticmethod
    def of_another_job(snap, job):
        return (snap or "").startswith("__replicate_") and not snap.startswith(f"__replicate_{job}_")

    def restore_point(self, store, n):
        """The newest replication snapshot's path on one side, None if there is none."""
        found, _ = self.names.entries(store)
        points = sorted((int(s.split("_")[-3]), s) for d, s in found if d == n and s and s.startswith("__replicate_"))
        return self.names.snapshot(store, n, points[-1][1]) if points else None
