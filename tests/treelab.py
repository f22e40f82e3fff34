"""A container whose files are changed at random, and the proof that its replica equals it. treenames.py knows what its mount points are
on each storage type.

Nothing here asks pvesr what it did: the trees are compared name by name, with everything that a container can see of a file.
"""
import hashlib
import os
import random
import shutil
import socket
import stat
import struct
import subprocess

from treenames import NAMES

BLOCK = 1 << 16
OWN_ATTRIBUTE = "trusted.pvesr.owner"  # of a live replica's root; a container cannot see it
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # cap_net_bind_service
ACL = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in (
    (0x01, 7, 0xffffffff), (0x02, 5, 1000), (0x04, 5, 0xffffffff), (0x10, 5, 0xffffffff), (0x20, 4, 0xffffffff)))


def run(*argv):
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


def digest(path):
    """Of the content; a hole is as good as zeroes, and read faster."""
    h = hashlib.blake2b()
    with open(path, "rb", buffering=0) as f:
        end, at = os.fstat(f.fileno()).st_size, 0
        while at < end:
            try:
                at = f.seek(at, os.SEEK_DATA) // BLOCK * BLOCK
            except OSError:
                break  # a hole up to the end
            stop = min(end, max(f.seek(at, os.SEEK_HOLE), at + BLOCK))
            f.seek(at)
            while at < stop:
                block = f.read(BLOCK)
                if block.count(0) != len(block):
                    h.update(b"%d:" % at + block)
                at += BLOCK
    return h.hexdigest()


def attributes(path):
    return {name: os.getxattr(path, name, follow_symlinks=False)
            for name in os.listxattr(path, follow_symlinks=False) if name != OWN_ATTRIBUTE}


def or_why(look, path):
    """What is damaged is a difference, and no end of the comparison."""
    try:
        return look(path)
    except OSError as e:
        return e.strerror


def facts_of(path):
    st = os.lstat(path)
    content = None
    if stat.S_ISLNK(st.st_mode):
        content = or_why(os.readlink, path)
    elif stat.S_ISREG(st.st_mode):
        content = (st.st_size, or_why(digest, path))
    elif stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
        content = st.st_rdev
    return st, (st.st_mode, st.st_uid, st.st_gid, st.st_mtime_ns, content, or_why(attributes, path))


def tree(root):
    """Every name below root (and root itself, b".") with what must be equal on a replica, hard links included."""
    root, facts, links = os.fsencode(root), {}, {}
    paths = [root]
    for folder, dirs, files in os.walk(root):
        paths += [os.path.join(folder, name) for name in dirs + files]
    for path in sorted(paths):
        name = os.path.relpath(path, root)
        st, what = facts_of(path)
        first = links.setdefault(st.st_ino, name) if not stat.S_ISDIR(st.st_mode) else name
        facts[name] = (*what, first)
    return facts


def differences(here, there, limit=5):
    bad = [f"{name!r} is only on one side" for name in here.keys() ^ there.keys()]
    bad += [f"{name!r}: {here[name]} became {there[name]}" for name in here.keys() & there.keys() if here[name] != there[name]]
    return sorted(bad)[:limit]


class TreeLab:
    """One container with mount points 0 (its root), 1, … `write_config(text)` puts its configuration into the tree."""

    def __init__(self, storage_type, storage_id, source, target, write_config, guest=200, seed=0):
        self.names = NAMES[storage_type](guest)
        self.storage_id, self.source, self.target = storage_id, source, target
        self.write_config, self.guest = write_config, guest
        self.random = random.Random(seed)
        self.volumes = []    # numbers; the first one is the root
        self.snapshots = {}  # name -> volumes at that time
        self.more = []       # further lines of the configuration
        self.seen = {}       # trees of snapshots
        self.names_made = self.snapshots_made = 0

    def live(self, n):
        return self.names.live(self.source, n)

    def tree(self, store, n, snap=None, fresh=False):
        """What there is to see; fresh: a snapshot is read again."""
        key = self.names.identity(store, n, snap)
        if fresh or key not in self.seen:
            with self.names.opened(store, n, snap) as root:
                self.seen[key] = tree(root)
        return self.seen[key] if key else self.seen.pop(key)

    def mount_points(self, volumes):
        for i, n in enumerate(volumes):
            volid = f"{self.storage_id}:{self.names.volname(n)}"
            yield f"rootfs: {volid},size=1G" if i == 0 else f"mp{i - 1}: {volid},mp=/data{i},size=1G"

    def save(self):
        lines = ["hostname: lab", "arch: amd64", *self.mount_points(self.volumes), *self.more]
        for snap, volumes in self.snapshots.items():
            lines += ["", f"[{snap}]", "snaptime: 1", *self.mount_points(volumes)]
        self.write_config("\n".join(lines) + "\n")

    # ---- what an administrator does ----

    def add_volume(self, files=40):
        n = len(self.volumes)
        self.names.create(self.source, n)
        self.volumes.append(n)
        self.populate(n, files)
        self.save()
        return n

    def take_guest_snapshot(self):
        snap = f"snap{self.snapshots_made}"
        self.snapshots_made += 1
        for n in self.volumes:
            self.names.make_snapshot(self.source, n, snap)
        self.snapshots[snap] = list(self.volumes)
        self.save()
        return snap

    def drop_guest_snapshot(self, snap):
        volumes = self.snapshots.pop(snap)
        self.save()
        for n in volumes:
            self.names.drop_snapshot(self.source, n, snap)

    def turn_round(self):
        self.source, self.target = self.target, self.source

    # ---- what a container does ----

    def name(self):
        self.names_made += 1
        word = self.random.choice((b"file", "größe".encode(), b"two words", b"line\nbreak", b"not\xffutf8", b"-dash", b"long" * 55))
        return word + b".%d" % self.names_made

    def populate(self, n, files):
        root = os.fsencode(self.live(n))
        for folder in (b"etc", b"var", b"var/log", b"a/b/c/d/e/f"):
            os.makedirs(os.path.join(root, folder), exist_ok=True)
        os.makedirs(os.path.join(root, b"many"))
        for i in range(files * 10):
            with open(os.path.join(root, b"many", b"%d" % i), "wb") as f:
                f.write(self.random.randbytes(self.random.choice((0, 1, 100, 3000, 5000))))
        with open(os.path.join(root, b"sparse"), "wb") as f:
            f.truncate(256 << 20)
            for _ in range(10):
                f.seek(self.random.randrange(0, 256 << 20))
                f.write(self.random.randbytes(5000))
        for kind in self.KINDS:
            self.make(root, kind)
        for _ in range(files):
            self.make(root, self.random.choice(self.KINDS))

    def existing(self, root, want):
        """A random file of a kind below root, None if there is none; without the folder of many files, or it would be always that."""
        found = []
        for folder, dirs, files in os.walk(root):
            found += [path for path in (os.path.join(folder, name) for name in dirs + files) if want(os.lstat(path).st_mode)]
            if folder == root and b"many" in dirs:
                dirs.remove(b"many")
        return self.random.choice(sorted(found)) if found else None

    def directory(self, root):
        return self.existing(root, stat.S_ISDIR) if self.random.random() < 0.8 else root

    KINDS = ("file", "file", "file", "folder", "symlink", "hard link", "fifo", "device", "disk", "socket", "clone", "acl", "capability")

    def make(self, root, kind):
        path = os.path.join(self.directory(root), self.name())
        old = self.existing(root, stat.S_ISREG)
        if kind == "folder":
            os.mkdir(path)
        elif kind == "symlink":
            os.symlink(self.random.choice((b"/etc/passwd", b"../up", b"x" * 1000, old or b"nothing")), path)
        elif kind == "hard link" and old:
            os.link(old, path)
        elif kind == "fifo":
            os.mkfifo(path, 0o640)
        elif kind in ("device", "disk"):
            os.mknod(path, (stat.S_IFCHR if kind == "device" else stat.S_IFBLK) | 0o660, os.makedev(self.random.randrange(1, 400), self.random.randrange(70000)))
        elif kind == "socket":
            folder = os.open(os.path.dirname(path), os.O_PATH)
            with socket.socket(socket.AF_UNIX) as s:
                s.bind(b"/proc/self/fd/%d/s%d" % (folder, self.names_made))  # the whole path would be too long for a socket
            os.close(folder)
        elif kind == "clone" and old:
            run("cp", "--reflink=" + ("always" if self.names.has_clones else "auto"), "--", old, path)
        else:
            with open(path, "wb") as f:
                f.write(self.random.randbytes(self.random.choice((0, 10, 4096, 70000, 300000))))
            os.chmod(path, self.random.choice((0o600, 0o644, 0o4755, 0o2755, 0o000, 0o1777)))
            self.own(path)
            if kind == "acl":
                os.setxattr(path, "system.posix_acl_access", ACL)
            elif kind == "capability":
                os.setxattr(path, "security.capability", CAPABILITY)

    def own(self, path):
        os.chown(path, self.random.choice((0, 33, 100000, 165535)), self.random.choice((0, 4, 100000)), follow_symlinks=False)

    def write(self, path):
        with open(path, "r+b") as f:
            size = os.path.getsize(path)
            how = self.random.randrange(4)
            f.seek(self.random.randrange(size + 1) if how else size)
            if how == 3:
                f.truncate()
            else:
                f.write(self.random.randbytes(self.random.choice((1, 4096, 50000))))

    def punch(self, path):
        run("fallocate", "--punch-hole", "--offset", str(self.random.randrange(64) * 4096), "--length", "8192", "--", path)

    def move(self, root, path):
        folder = self.directory(root)
        if not (folder + b"/").startswith(path + b"/"):
            os.rename(path, os.path.join(folder, self.name()))

    def swap(self, root, path):
        """A file and a folder exchange their names."""
        folder = self.existing(root, stat.S_ISDIR)
        if folder and folder != path and not path.startswith(folder + b"/"):
            aside = os.path.join(root, self.name())
            os.rename(path, aside)
            os.rename(folder, path)
            os.rename(aside, folder)

    def remove(self, path):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)

    def replace(self, root, path):
        """Something else under the same name."""
        folder, name = os.path.split(path)
        self.remove(path)
        if self.random.random() < 0.5:
            os.mkdir(path)
        else:
            os.symlink(b"..", os.path.join(folder, name))

    def change(self, n):
        """One random change of a mount point's files."""
        root = os.fsencode(self.live(n))
        regular = self.existing(root, stat.S_ISREG)
        anything = self.existing(root, lambda mode: True)
        if not regular or not anything or self.random.random() < 0.35:
            return self.make(root, self.random.choice(self.KINDS))
        return self.random.choice((
            lambda: self.write(regular), lambda: self.write(regular), lambda: self.punch(regular), lambda: self.own(anything),
            lambda: os.path.islink(anything) or os.chmod(anything, self.random.choice((0o700, 0o751, 0o6755, 0o1777))),
            lambda: os.utime(anything, ns=(5, self.random.randrange(1 << 60)), follow_symlinks=False),
            lambda: os.setxattr(regular, self.random.choice(("user.one", "trusted.two", "user.empty")), self.random.randbytes(20)),
            lambda: [os.removexattr(regular, name) for name in os.listxattr(regular)],
            lambda: self.move(root, anything), lambda: self.move(root, anything), lambda: self.swap(root, regular),
            lambda: self.remove(regular), lambda: self.remove(anything), lambda: self.replace(root, anything)))()

    def step(self, drop=True):
        """Random changes; drop: perhaps a guest snapshot goes."""
        for _ in range(self.random.randrange(1, 40)):
            self.change(self.random.choice(self.volumes))
        roll = self.random.random()
        if roll < 0.25 and len(self.snapshots) < 3:
            self.take_guest_snapshot()
        elif drop and roll < 0.45 and self.snapshots:
            self.drop_guest_snapshot(self.random.choice(sorted(self.snapshots)))

    # ---- proof ----

    def entries(self, store):
        """{(volume, snapshot or None)} and what is neither."""
        return self.names.entries(store)

    def asides(self, store):
        return sorted((n, s) for n, s in self.entries(store)[0] if (s or "").startswith("diverged_"))

    def point(self, store, n):
        """The newest replication snapshot, None if there is none."""
        points = sorted((int(s.split("_")[-3]), s) for d, s in self.entries(store)[0] if d == n and (s or "").startswith("__replicate_"))
        return points[-1][1] if points else None

    def replica_faults(self, n, point):
        with self.names.opened(self.target, n) as replica:
            bad = [f"live replica {n}: {d}" for d in differences(self.tree(self.source, n, point), tree(replica))]
            sparse = os.path.join(replica, "sparse")
            if os.path.isfile(sparse) and not os.path.islink(sparse) and os.stat(sparse).st_blocks * 512 > 64 << 20:
                bad.append(f"the sparse file of replica {n} is not sparse")
        return bad

    def faults(self, job="200-0"):
        """Every way in which the two sides are not as they must be after a successful run."""
        with self.names.standing_still():
            return self.find_faults(job)

    def find_faults(self, job):
        here, odd_here = self.entries(self.source)
        there, odd_there = self.entries(self.target)
        bad = [f"left on the source: {name}" for name in odd_here] + [f"left on the target: {name}" for name in odd_there]
        here, there = ({e for e in side if not (e[1] or "").startswith("diverged_")} for side in (here, there))
        if here != there:
            bad.append(f"only on the source: {sorted(map(str, here - there))}, only on the target: {sorted(map(str, there - here))}")
        for n in self.volumes:
            points = [s for d, s in here if d == n and (s or "").startswith(f"__replicate_{job}_")]
            if len(points) != 1:
                bad.append(f"volume {n} has replication snapshots {points}")
                continue
            bad += self.replica_faults(n, points[0]) + self.names.volume_faults(self.source, self.target, n)
        for n, snap in here & there:
            if snap:
                bad += [f"volume {n}, snapshot {snap}: {d}" for d in differences(self.tree(self.source, n, snap), self.tree(self.target, n, snap))]
        bad += [f"guest snapshot {snap} of volume {n} is missing" for snap, volumes in self.snapshots.items() for n in volumes
                if (n, snap) not in there]
        return bad
