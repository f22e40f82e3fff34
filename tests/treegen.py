"""The generator of directory trees: everything that a file system can keep, in sizes around the thresholds at which storages change how they
keep it, and changes of it. The same random numbers make the same tree.

    gen = TreeGen(random.Random(seed), clones=True)
    gen.populate(root)          # some of each kind of KINDS, many names
    gen.change(root)            # one of CHANGES
    gen.made, gen.refused       # kinds that were made, or that this file system has not

What has a flag that keeps root from changing it (chattr +i, +a) loses that for the change and gets it back, mostly.
"""
import errno
import fcntl
import os
import shutil
import socket
import stat
import struct
import subprocess

import treefacts
from treefacts import BARS, FLAGS

CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # cap_net_bind_service
CAPABILITY_OF_USER = struct.pack("<IIIIII", 0x03000001, 1 << 10, 0, 0, 0, 100000)  # within a user namespace
NOBODY = 0xffffffff


def acl(*named, mask=5):
    entries = ((0x01, 7, NOBODY), *((0x02, bits, user) for user, bits in named), (0x04, 5, NOBODY), (0x10, mask, NOBODY), (0x20, 4, NOBODY))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


ACL = acl((1000, 5))
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
# compressible or not, inline in a node or a block pointer, a block of 512 and of 4 KiB, a record of 128 KiB; one below, at and above each
EDGES = (0, 1, 2, 111, 112, 113, 511, 512, 513, 2047, 2048, 2049, 3995, 4095, 4096, 4097, 16383, 16384, 16385, 65537, 131071, 131072, 131073, 300000)
LINKS = (1, 15, 59, 60, 61, 111, 112, 113, 191, 255, 256, 1000, 1023, 1024, 2000, 3000, 4094, 4095)
ATTRIBUTES = (0, 1, 20, 64, 100, 112, 250, 900, 1000, 2000, 3000, 3900)
USERS = (0, 33, 1000, 65534, 100000, 165535, 1 << 31, (1 << 32) - 2)
MODES = (0o000, 0o400, 0o600, 0o644, 0o755, 0o1777, 0o2755, 0o4755, 0o6711, 0o7777)
TIMES = (-1, -(10 ** 9), -(1 << 31) * 10 ** 9, -12345 * 10 ** 9 + 6789, 0, 1, 5, 10 ** 9 - 1, 10 ** 9, 1234567890 * 10 ** 9 + 1, ((1 << 31) - 1) * 10 ** 9 + 999999999, (1 << 32) * 10 ** 9 + 123456789)
ABSENT = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.ENOSPC, errno.E2BIG, errno.EOVERFLOW,  # the last three: attributes that are too large
          errno.EDQUOT)  # of a user whose quota a round has set before


def run(*argv):
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def below(path, folder):
    return (path + b"/").startswith(folder + b"/")


class TreeGen:
    def __init__(self, random, clones, flags=(), largest=1 << 28):
        self.random, self.clones, self.flags, self.largest = random, clones, flags, largest
        self.names_made = 0
        self.made, self.refused = {}, {}

    # ---- choosing ----

    def name(self):
        self.names_made += 1
        n = b".%d" % self.names_made
        word = self.random.choice((b"file", "größe".encode(), b"two words", b"line\nbreak", b"not\xffutf8", b"-dash", b"tab\t\x01\x7f", b"%2f\\",
                                   b".hidden", b"n" * 200, b"x" * (255 - len(n))))
        return word + n

    def existing(self, root, want):
        """A random file of a kind below root, None if there is none; without the folders of many files, or it would be always that."""
        found = []
        for folder, dirs, files in os.walk(root):
            found += [path for path in (os.path.join(folder, name) for name in dirs + files) if want(os.lstat(path).st_mode)]
            if folder == root:
                dirs[:] = [name for name in dirs if not name.startswith(b"many")]
        return self.random.choice(sorted(found)) if found else None

    def directory(self, root):
        return self.random.random() < 0.8 and self.existing(root, stat.S_ISDIR) or root

    def bytes(self, n):
        return self.random.choice((self.random.randbytes, lambda n: b"\0" * n, lambda n: b"text " * (n // 5) + b"." * (n % 5)))(n)

    # ---- flags that bar ----

    def freed(self, path):
        """Take the bars from path, from the folder that it is in and from what is below; returns what to put back."""
        barred = []
        for one in (os.path.dirname(path), path):
            self.free_one(one, barred)
        if os.path.isdir(path) and not os.path.islink(path):
            for folder, dirs, files in os.walk(path):
                for name in dirs + files:
                    self.free_one(os.path.join(folder, name), barred)
        return barred

    @staticmethod
    def free_one(path, barred):
        flags = treefacts.get_flags(path) if os.path.lexists(path) else 0
        if flags & BARS:
            treefacts.set_flags(path, flags & ~BARS)
            barred.append((path, flags))

    def bar_again(self, barred):
        for path, flags in barred:
            if os.path.lexists(path) and self.random.random() < 0.8 and stat.S_IFMT(os.lstat(path).st_mode) in (stat.S_IFREG, stat.S_IFDIR):
                treefacts.set_flags(path, treefacts.get_flags(path) | flags & BARS)

    # ---- making ----

    def populate(self, root, files=20, many=400):
        root = os.fsencode(root)
        for folder in (b"etc", b"var", b"var/log", b"a/b/c/d/e/f", b"/".join([b"deep" * 25] * 12)):
            os.makedirs(os.path.join(root, folder), exist_ok=True)
        for i in range(many):
            with open(self.in_folder(root, b"many", b"%d" % i), "wb") as f:
                f.write(self.bytes(EDGES[i % len(EDGES)] if i < 3 * len(EDGES) else self.random.choice((0, 1, 100, 3000, 5000))))
        with open(os.path.join(root, b"sparse"), "wb") as f:
            f.truncate(self.largest)
            for _ in range(10):
                f.seek(self.random.randrange(0, self.largest))
                f.write(self.random.randbytes(5000))
        for kind in self.KINDS:
            self.make(root, kind)
        for i, size in enumerate(LINKS):
            os.symlink(b"l" * size, self.in_folder(root, b"many links", b"%d" % i))
        for _ in range(files):
            self.make(root, self.random.choice(tuple(self.KINDS)))

    @staticmethod
    def in_folder(root, folder, name):
        os.makedirs(os.path.join(root, folder), exist_ok=True)
        return os.path.join(root, folder, name)

    def make(self, root, kind):
        """What the file system has not is no failure: `refused` says so."""
        folder = self.directory(root)
        path = os.path.join(folder, self.name())
        barred = []
        self.free_one(folder, barred)
        try:
            self.KINDS[kind](self, root, path)
            self.made[kind] = self.made.get(kind, 0) + 1
        except (OSError, subprocess.CalledProcessError) as e:
            if getattr(e, "errno", errno.EOPNOTSUPP) not in ABSENT:
                raise
            self.refused[kind] = self.refused.get(kind, 0) + 1
        self.bar_again(barred)

    def file(self, root, path):
        with open(path, "wb") as f:
            f.write(self.bytes(self.random.choice(EDGES)))
        os.chmod(path, self.random.choice(MODES))
        self.own(path)

    def holes(self, root, path):
        """At the beginning, in the middle, at the end."""
        block = self.random.choice((512, 4096, 131072))
        with open(path, "wb") as f:
            for at in sorted(self.random.sample(range(8), self.random.randrange(0, 5))):
                f.seek(at * block + self.random.choice((0, 0, 1)))
                f.write(self.bytes(self.random.choice((1, block - 1, block))))
            f.truncate(self.random.choice((9 * block, f.tell(), self.random.randrange(9 * block))))

    def large_hole(self, root, path):
        with open(path, "wb") as f:
            f.truncate(self.random.choice((1 << 30, (1 << 40) + 1)))
            f.seek(self.random.randrange(1 << 29))
            f.write(b"data")

    def allocated(self, root, path):
        """Room that nothing was written to, within the size and beyond."""
        with open(path, "wb") as f:
            f.write(self.bytes(self.random.choice((0, 100, 5000))))
        keep = self.random.choice(((), ("--keep-size",)))
        run("fallocate", *keep, "--length", str(self.random.choice((4096, 100000))), "--", path)

    def folder(self, root, path):
        os.mkdir(path)
        if self.random.random() < 0.5:
            os.chmod(path, self.random.choice((0o700, 0o751, 0o1777, 0o2775)))
            self.own(path)
        if self.random.random() < 0.5:
            with open(os.path.join(path, self.name()), "wb") as f:
                f.write(self.bytes(self.random.choice(EDGES)))

    def symlink(self, root, path):
        old = self.existing(root, stat.S_ISREG)
        os.symlink(self.random.choice((b"/etc/passwd", b"../up", old or b"nothing", b"s" * self.random.choice(LINKS))), path)
        self.own(path)

    def hard_link(self, root, path):
        """In the same folder or another; perhaps of a symlink or a device."""
        old = self.existing(root, lambda mode: not stat.S_ISDIR(mode) and (stat.S_ISREG(mode) or self.random.random() < 0.3))
        if old:
            barred = self.freed(old)
            for _ in range(self.random.choice((1, 1, 3))):
                folder = os.path.dirname(self.random.choice((path, old)))
                os.link(old, os.path.join(folder, self.name()), follow_symlinks=False)
            self.bar_again(barred)

    def fifo(self, root, path):
        os.mkfifo(path, 0o640)

    def device(self, root, path):
        kind = self.random.choice((stat.S_IFCHR, stat.S_IFBLK))
        os.mknod(path, kind | 0o660, os.makedev(self.random.choice((1, 8, 254, 255, 399)), self.random.choice((0, 3, 255, 256, 70000))))
        self.own(path)

    def socket(self, root, path):
        folder = os.open(os.path.dirname(path), os.O_PATH)
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(b"/proc/self/fd/%d/s%d" % (folder, self.names_made))  # the whole path would be too long for a socket
        os.close(folder)

    def clone(self, root, path):
        """Where it is no reflink, cp has the kernel copy it, and OpenZFS clones a TiB of holes block by block."""
        old = self.existing(root, stat.S_ISREG)
        if not old:
            return
        reflink = self.clones and not treefacts.get_flags(old) & FLAGS["nocow"]
        if reflink or os.stat(old).st_size <= self.largest:
            run("cp", "--reflink=" + ("always" if reflink else "auto"), "--", old, path)

    def with_acl(self, root, path):
        """Of files and folders; a default one of folders, perhaps of the root."""
        if self.random.random() < 0.5:
            self.file(root, path)
        else:
            os.mkdir(path)
            os.setxattr(path if self.random.random() < 0.8 else root, DEFAULT, acl((33, 7), (100000, 1), mask=7))
        os.setxattr(path, ACCESS, self.random.choice((ACL, acl(*((u, 4) for u in range(1, 40))))))

    def capability(self, root, path):
        self.file(root, path)
        os.setxattr(path, "security.capability", self.random.choice((CAPABILITY, CAPABILITY_OF_USER)))

    def attributes(self, root, path):
        """Some, few or many, large or small, in each namespace; of files, folders, and (trusted) of what is no file."""
        kind = self.random.choice(("file", "file", "folder", "fifo", "symlink"))
        self.KINDS[kind](self, root, path)
        spaces = ("user", "trusted", "security") if kind in ("file", "folder") else ("trusted",)
        for i in range(self.random.choice((1, 1, 2, 30))):
            name = f"{self.random.choice(spaces)}.{self.random.choice(('one', 'größe', 'n' * 200))}.{i}"
            os.setxattr(path, name, self.bytes(self.random.choice(ATTRIBUTES)), follow_symlinks=False)

    def flagged(self, root, path):
        """chattr +i, +a, …: of a file or a folder with something in it. +C before there is anything."""
        flag = FLAGS[self.random.choice(self.flags or ("nodump",))]
        if self.random.random() < 0.5:
            os.mkdir(path)
            if flag == FLAGS["nocow"]:
                treefacts.set_flags(path, flag)
            self.file(root, os.path.join(path, b"in it"))
        else:
            with open(path, "xb") as f:
                if flag == FLAGS["nocow"]:
                    treefacts.set_flags(path, flag)
                f.write(self.bytes(self.random.choice(EDGES)))
        treefacts.set_flags(path, treefacts.get_flags(path) | flag)

    def compressed(self, root, path):
        """A property of btrfs."""
        if self.random.random() < 0.5:
            os.mkdir(path)
            os.setxattr(path, "btrfs.compression", b"zstd")
            self.file(root, os.path.join(path, b"in it"))
        else:
            self.file(root, path)
            os.setxattr(path, "btrfs.compression", b"zlib")

    def in_project(self, root, path):
        """`zfs project`, chattr -p."""
        self.file(root, path)
        fd, value = os.open(path, os.O_RDONLY), bytearray(28)
        try:
            fcntl.ioctl(fd, treefacts.GET_EXTRA, value)
            struct.pack_into("I", value, 12, self.random.choice((1, 4711)))
            fcntl.ioctl(fd, 0x401c5820, bytes(value))
        finally:
            os.close(fd)

    KINDS = {"file": file, "holes": holes, "large hole": large_hole, "allocated": allocated, "folder": folder, "symlink": symlink, "hard link": hard_link,
             "fifo": fifo, "device": device, "socket": socket, "clone": clone, "acl": with_acl, "capability": capability, "attributes": attributes,
             "flagged": flagged, "compressed": compressed, "project": in_project}

    # ---- changing ----

    def own(self, path):
        """Which takes away what makes a file run as somebody else, on files."""
        mode = os.lstat(path).st_mode
        os.chown(path, self.random.choice(USERS), self.random.choice(USERS), follow_symlinks=False)
        if not stat.S_ISLNK(mode) and self.random.random() < 0.8:
            os.chmod(path, stat.S_IMODE(mode))

    def write(self, path):
        with open(path, "r+b") as f:
            size = os.path.getsize(path)
            f.seek(self.random.choice((size, 0, self.random.randrange(size + 1))))
            f.write(self.bytes(self.random.choice((1, 4096, 50000))))

    def truncate(self, path):
        size = os.path.getsize(path)
        os.truncate(path, self.random.choice((0, self.random.randrange(size + 1), size + 1, size + 5000, *EDGES)))

    def punch(self, path):
        """A hole into data: whole blocks, parts of some, the end."""
        block = self.random.choice((512, 4096, 131072))
        run("fallocate", "--punch-hole", "--offset", str(self.random.randrange(8) * block), "--length", str(self.random.choice((1, block, 2 * block))), "--",
            path)

    def change_mode(self, path):
        if not os.path.islink(path):
            os.chmod(path, self.random.choice(MODES if os.path.isfile(path) else (0o700, 0o751, 0o755, 0o1777, 0o2775)))

    def change_time(self, path):
        """Nothing but the time; of folders, symlinks and devices, too."""
        os.utime(path, ns=(5, self.random.choice((*TIMES, self.random.randrange(1 << 60)))), follow_symlinks=False)

    def set_attribute(self, path):
        names = [n for n in os.listxattr(path, follow_symlinks=False) if n.partition(".")[0] in ("user", "trusted")]
        space = "user" if os.path.isfile(path) and not os.path.islink(path) else "trusted"
        name = self.random.choice([*names, f"{space}.one", f"{space}.two"])
        if name != treefacts.OWN_ATTRIBUTE:
            os.setxattr(path, name, self.bytes(self.random.choice(ATTRIBUTES)), follow_symlinks=False)

    def drop_attributes(self, path):
        for name in os.listxattr(path, follow_symlinks=False):
            if name != treefacts.OWN_ATTRIBUTE and self.random.random() < 0.6:
                os.removexattr(path, name, follow_symlinks=False)

    def change_flags(self, root, path):
        """One comes or goes; +C only of what holds nothing. A volume whose root cannot be changed nobody can move."""
        if stat.S_IFMT(os.lstat(path).st_mode) in (stat.S_IFREG, stat.S_IFDIR):
            flag = FLAGS[self.random.choice(self.flags or ("nodump",))]
            if (flag != FLAGS["nocow"] or os.path.isdir(path)) and not (flag & BARS and path == root):
                treefacts.set_flags(path, treefacts.get_flags(path) ^ flag)

    def move(self, root, path):
        folder = self.directory(root)
        if not below(folder, path):
            self.into(folder, lambda: os.rename(path, os.path.join(folder, self.name())))

    def over(self, root, path):
        """In place of another of its kind, perhaps one of several names."""
        old = self.existing(root, lambda mode: not stat.S_ISDIR(mode))
        if old and old != path and not os.path.isdir(path):
            barred = self.freed(old)
            os.rename(path, old)
            self.bar_again(barred)

    def into(self, folder, act):
        barred = []
        self.free_one(folder, barred)
        act()
        self.bar_again(barred)

    def swap(self, root, path):
        """A file and a folder exchange their names."""
        folder = self.existing(root, stat.S_ISDIR)
        if folder and folder != path and not below(path, folder) and not below(folder, path):
            barred, aside = self.freed(folder), os.path.join(root, self.name())
            os.rename(path, aside)
            os.rename(folder, path)
            os.rename(aside, folder)
            self.bar_again(barred)

    def remove(self, path):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)

    def replace(self, root, path):
        """Something of another kind under the same name."""
        self.remove(path)
        kind = self.random.choice(("folder", "symlink", "fifo", "file", "device", "acl"))
        self.KINDS[kind](self, root, path)

    def link_away(self, root, path):
        """Its first name goes, another stays."""
        folder = self.directory(root)
        if not os.path.isdir(path):
            self.into(folder, lambda: os.link(path, os.path.join(folder, self.name()), follow_symlinks=False))
            os.unlink(path)

    ANY, REGULAR = "any", "regular"
    CHANGES = ((REGULAR, "write"), (REGULAR, "write"), (REGULAR, "truncate"), (REGULAR, "punch"), (ANY, "own"), (ANY, "change_mode"), (ANY, "change_time"),
               (ANY, "set_attribute"), (ANY, "drop_attributes"), (ANY, "change_flags"), (ANY, "move"), (ANY, "move"), (ANY, "over"), (REGULAR, "swap"),
               (REGULAR, "remove"), (ANY, "remove"), (ANY, "replace"), (ANY, "link_away"))
    NEED_ROOT = ("change_flags", "move", "over", "swap", "replace", "link_away")

    def change(self, root):
        """One random change of what is below root, or of root itself."""
        root = os.fsencode(root)
        what, how = self.random.choice(self.CHANGES)
        path = self.existing(root, stat.S_ISREG if what == self.REGULAR else lambda mode: True)
        if not path or self.random.random() < 0.35:
            self.make(root, self.random.choice(tuple(self.KINDS)))
            return
        if how in ("own", "change_mode", "change_time", "set_attribute", "drop_attributes", "change_flags") and self.random.random() < 0.05:
            path = root
        barred = self.freed(path) if path != root else []
        if path == root:
            self.free_one(root, barred)
        try:
            getattr(self, how)(*((root, path) if how in self.NEED_ROOT else (path,)))
            self.made[how] = self.made.get(how, 0) + 1
        except (OSError, subprocess.CalledProcessError) as e:
            if getattr(e, "errno", errno.EOPNOTSUPP) not in ABSENT:
                raise
            self.refused[how] = self.refused.get(how, 0) + 1
        if how != "change_flags":
            self.bar_again(barred)
