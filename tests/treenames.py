"""How a container's mount points are named and handled, as Proxmox VE does it: the counterparts for directory trees of what guestlab and
guestblocks know of disks. A store is what rig.Node.store says: a directory (btrfs), a dataset ("t-vdc-tank/vm").

opened() shows a tree without writing to it or to the volume that it belongs to.
"""
import contextlib
import ctypes
import fcntl
import os
import subprocess
import tempfile
import time

from guestblocks import ZvolNames, run
from rigdisk import gone

_libc = ctypes.CDLL(None)
# struct btrfs_ioctl_get_subvol_info_args, and where its members are
GET_SUBVOL_INFO, SUBVOL_INFO_SIZE = 0x81f8943c, 504
SUBVOL_FLAGS, SUBVOL_UUID_END, SUBVOL_CTRANSID, SUBVOL_OTRANSID, SUBVOL_CTIME, SUBVOL_OTIME = 288, 312, 344, 352, 376, 392


class TreeNames:
    has_clones = True  # cp --reflink
    flags = ()         # of treefacts.FLAGS

    def __init__(self, guest):
        self.guest = guest

    def name(self, n):
        return f"subvol-{self.guest}-disk-{n}"

    def number(self, name):
        """None: not a volume of the guest."""
        before, found, n = name.partition(f"subvol-{self.guest}-disk-")
        return int(n) if found and not before and n.isdigit() else None


class SubvolNames(TreeNames):
    """btrfs: STORE/images/ID/subvol-ID-disk-N, snapshots are subvolumes subvol-ID-disk-N@SNAP beside it."""
    flags = ("immutable", "append", "nodump", "noatime", "sync", "dirsync", "nocow")

    def volname(self, n):
        return f"{self.guest}/{self.name(n)}.subvol"

    def folder(self, store):
        return os.path.join(store, "images", str(self.guest))

    def path(self, store, n, snap=None):
        return os.path.join(self.folder(store), self.name(n) + (f"@{snap}" if snap else ""))

    live = path

    def create(self, store, n):
        os.makedirs(self.folder(store), exist_ok=True)
        run("btrfs", "subvolume", "create", self.path(store, n))

    def make_snapshot(self, store, n, snap):
        run("btrfs", "subvolume", "snapshot", "-r", self.path(store, n), self.path(store, n, snap))

    def drop_snapshot(self, store, n, snap):
        run("btrfs", "subvolume", "delete", self.path(store, n, snap))

    @staticmethod
    def standing_still():
        return contextlib.nullcontext()

    def identity(self, store, n, snap):
        """Of a snapshot as it is: what is done to any of its files changes the time of its last change, what is written when it goes to the
        disk."""
        if not snap:
            return None
        fd, info = os.open(self.path(store, n, snap), os.O_RDONLY), bytearray(SUBVOL_INFO_SIZE)
        try:
            _libc.syncfs(fd)
            fcntl.ioctl(fd, GET_SUBVOL_INFO, info)
        finally:
            os.close(fd)
        return bytes(info[SUBVOL_FLAGS:SUBVOL_UUID_END] + info[SUBVOL_CTRANSID:SUBVOL_OTRANSID] + info[SUBVOL_CTIME:SUBVOL_OTIME])

    @contextlib.contextmanager
    def opened(self, store, n, snap=None):
        path = self.path(store, n, snap)
        os.lstat(path)
        yield path

    def receiving(self, store):
        """A function that says whether some more of the file "big" of disk 0 has been received since now."""
        begin = time.time()

        def growing():
            try:
                st = os.stat(os.path.join(self.folder(store), f".pvesr-stage.{self.name(0)}", "big"))
            except FileNotFoundError:
                return False
            return st.st_size > 1 << 20 and st.st_mtime > begin
        return growing

    def entries(self, store):
        """{(volume, snapshot or None)} and what is neither."""
        found, odd = set(), []
        for name in os.listdir(self.folder(store)) if os.path.isdir(self.folder(store)) else []:
            base, _, snap = name.partition("@")
            n = self.number(base)
            if n is not None:
                found.add((n, snap or None))
            else:
                odd.append(name)
        return found, odd

    def volume_faults(self, source, target, n):
        """What else is to be equal."""
        here, there = self.traits(source, n), self.traits(target, n)
        return [] if here == there else [f"volume {n}: the limits {here} became {there}"]

    @staticmethod
    def prepare(*stores):
        """So that volumes can have traits."""
        for store in stores:
            run("btrfs", "quota", "enable", store)

    def traits(self, store, n):
        """What is set on a volume beside its files: {} without quotas."""
        done = subprocess.run(["btrfs", "qgroup", "show", "-r", "-e", "-f", "--raw", self.path(store, n)], capture_output=True, text=True, check=False)
        lines = [line.split() for line in done.stdout.splitlines() if line.startswith("0/")]
        return {key: value for line in lines for key, value in zip(("referenced", "exclusive"), line[3:5]) if value != "none"}

    def change_traits(self, store, n, random):
        limit = random.choice(("none", "4G", "6G", str(7 << 30 | 4096)))
        run("btrfs", "qgroup", "limit", *random.choice(((), ("-e",))), limit, self.path(store, n))


class FilesystemNames(TreeNames):
    """zfspool: the filesystem STORE/subvol-ID-disk-N."""
    has_clones = False
    flags = ("immutable", "append", "nodump")
    EQUAL = ("type", "refquota", "acltype", "xattr", "atime", "recordsize")

    def __init__(self, guest):
        super().__init__(guest)
        self.zvols = ZvolNames(guest)
        self.zvols.number, self.zvols.volname = self.number, self.name
        self.places = {}
        self.full, self.standing_still = self.zvols.dataset, self.zvols.standing_still

    volname = TreeNames.name

    def get(self, keys, name):
        return run("zfs", "get", "-Hp", "-o", "value", keys, name).split("\n")[:-1]

    def place(self, store, n):
        """Where Proxmox VE expects it to be mounted."""
        if store not in self.places:
            self.places[store], = self.get("mountpoint", store)
        return os.path.join(self.places[store], self.name(n))

    def create(self, store, n):
        run("zfs", "create", "-o", "acltype=posixacl", "-o", "xattr=sa", "-o", "refquota=1G", self.full(store, n))

    def live(self, store, n):
        """Mounted, as for a container that starts."""
        path = self.place(store, n)
        if not os.path.ismount(path):
            run("zfs", "mount", self.full(store, n))
            assert os.path.ismount(path), f"{self.full(store, n)} was not mounted at {path}"
        return path

    def make_snapshot(self, store, n, snap):
        full = self.full(store, n, snap)
        run("zfs", "snapshot", full)
        run("zfs", "set", "pve-storage:refquota=" + self.get("refquota", self.full(store, n))[0], full)

    def drop_snapshot(self, store, n, snap):
        run("zfs", "destroy", self.full(store, n, snap))

    def where(self, store, n, snap):
        """The snapshot; what was taken out of the way is in a dataset of its own."""
        aside = self.zvols.kept(store).get((n, snap)) if snap.startswith("diverged_") else None
        return f"{aside}@{snap}" if aside else self.full(store, n, snap)

    def identity(self, store, n, snap):
        if not snap:
            return None
        guid = self.zvols.identities.get(self.full(store, n, snap))  # what the last look at all of them told, while nothing changes
        return (store, guid or self.get("guid", self.where(store, n, snap))[0])

    @contextlib.contextmanager
    def opened(self, store, n, snap=None):
        if not snap and os.path.ismount(self.place(store, n)):
            yield self.place(store, n)
            return
        path = tempfile.mkdtemp(prefix="look-")
        try:
            # a filesystem's own mount point is no matter of mount(8): it would have to be "legacy"
            run("mount", "-t", "zfs", "-o", "ro" if snap else "ro,zfsutil", self.where(store, n, snap) if snap else self.full(store, n), path)
            try:
                yield path
            finally:
                gone(["umount", path])
        finally:
            os.rmdir(path)

    def receiving(self, store):
        """What comes on top of what it has is beside the dataset until it is complete: `used` counts that, `written` does not."""
        def received():
            run("zpool", "sync", store.partition("/")[0])
            done = subprocess.run(["zfs", "get", "-Hp", "-o", "value", "guid,used", f"{store}/pvesr-stage-{self.name(0)}"],
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
            return [int(n) for n in done.stdout.split()] or [0, 0]

        guid, size = received()

        def growing():
            now, more = received()
            return more > (size if now == guid else 0) + (4 << 20)
        return growing

    def entries(self, store):
        found, odd = self.zvols.entries(store)
        return found, [name for name in odd if self.name(0)[:-1] in name or "/subvol-" not in name]  # there may be other guests

    def volume_faults(self, source, target, n):
        keys = ("mounted", "mountpoint", *self.EQUAL)
        (_, _, *here), (mounted, place, *there) = (self.get(",".join(keys), self.full(store, n)) for store in (source, target))
        bad = [f"volume {n}: {key} is {b} and not {a}" for key, a, b in zip(self.EQUAL, here, there) if a != b]
        if mounted != "no" or place != self.place(target, n):
            bad.append(f"volume {n}: mounted: {mounted}, at {place} and not at {self.place(target, n)}")
        here, there = (self.quotas(store, n) for store in (source, target))
        set_here, set_there = (self.traits(store, n) for store in (source, target))
        # quotas of users travel in the stream; of an encrypted one that was never mounted nobody can tell, and it is asked once the guest is there
        untold = {key for key in self.QUOTAS if "@" in key and set_there.get(key) == "-"}
        bad += [f"volume {n}: {key} is {set_there.get(key)} and not {set_here.get(key)}" for key in (set_here.keys() | set_there.keys()) - untold
                if set_here.get(key) != set_there.get(key)]
        return bad + [f"volume {n}: the quota of snapshot {snap} is {there[snap]} and not {here[snap]}" for snap in here.keys() & there.keys()
                      if here[snap] != there[snap]]

    def prepare(self, *stores):
        """All that a volume can have, it can have. The second one keeps its attributes and nodes as an older one does."""
        self.create = lambda store, n: run("zfs", "create", "-o", "acltype=posixacl", "-o", "refquota=1G", *(
            ("-o", "xattr=sa", "-o", "dnodesize=auto") if n % 2 == 0 else ("-o", "xattr=dir", "-o", "recordsize=16K")), self.full(store, n))

    SET = {"compression": ("off", "zstd", "gzip-9", "lz4"), "checksum": ("sha256", "fletcher4"), "copies": ("1", "2"), "primarycache": ("metadata", "all"),
           "secondarycache": ("none", "all"), "sync": ("disabled", "standard"), "logbias": ("throughput", "latency"),
           "redundant_metadata": ("most", "all"), "quota": ("20G", "none"), "reservation": ("5M", "none"), "refreservation": ("6M", "none")}
    QUOTAS = ("userquota@1234", "groupquota@33", "userobjquota@1234", "projectquota@4711", "refquota", "atime", "relatime", "exec", "setuid", "devices")

    def traits(self, store, n):
        """What was set on the volume itself, and what its files count against."""
        def get(keys, *more):
            lines = run("zfs", "get", "-Hp", *more, "-o", "property,value", ",".join(keys), self.full(store, n)).splitlines()
            return dict(line.split("\t") for line in lines)
        return {**{key: value for key, value in get(self.SET, "-s", "local,received").items() if value != "0"}, **get(self.QUOTAS)}

    def change_traits(self, store, n, random):
        for key in random.sample(sorted(self.SET), 2):
            if random.random() < 0.3 and "none" not in self.SET[key]:
                run("zfs", "inherit", key, self.full(store, n))
            else:
                run("zfs", "set", f"{key}={random.choice(self.SET[key])}", self.full(store, n))
        quota = random.choice(("userquota@1234", "groupquota@33", "userobjquota@1234", "projectquota@4711", "refquota"))
        run("zfs", "set", f"{quota}={random.choice(('900M', '800M', 'none')) if 'obj' not in quota else random.choice(('5000', 'none'))}", self.full(store, n))
        run("zfs", "set", f"{random.choice(('exec', 'setuid', 'devices', 'relatime'))}={random.choice(('on', 'off'))}", self.full(store, n))

    def quotas(self, store, n):
        """What each snapshot would be rolled back to."""
        lines = run("zfs", "list", "-Hp", "-d", "1", "-t", "snapshot", "-o", "name,pve-storage:refquota", self.full(store, n)).splitlines()
        return {name.partition("@")[2]: quota for name, quota in (line.split("\t") for line in lines)}


NAMES = {"btrfs": SubvolNames, "zfspool": FilesystemNames, "zfscrypt": FilesystemNames}
