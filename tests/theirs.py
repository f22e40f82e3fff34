"""What a person does with restore points and replicas to keep them, on each kind of storage: renames, copies, puts things beside and below.

    mine = PEOPLE[w.kind](w, w.b.store)
    thing = mine.rename_point(0, snap)    # a Thing: what it is called, and the bytes that it had then
    thing.faults()                        # None, or what became of it
"""
import os
import subprocess

from guestblocks import device, run
from guestlab import same_file


class Thing:
    """path: a function, because a device may have to be made visible first."""

    def __init__(self, w, name, path, exists):
        self.name, self.path, self.exists = name, path, exists
        self.bytes = w.copy(path())

    def faults(self):
        if not self.exists():
            return f"{self.name} is gone"
        return None if same_file(self.path(), self.bytes) else f"{self.name} has other bytes"


class Person:
    """store: where. Disks are numbers, as in guestlab. What a storage does not have returns None."""

    def __init__(self, w, store):
        self.w, self.store, self.names = w, store, w.lab.names

    def points(self, n=0):
        return sorted(s for disk, s in self.names.entries(self.store)[0] if disk == n and s and s.startswith("__replicate_"))

    def newest(self, n=0):
        return self.points(n)[-1]

    def link_point(self, *_):
        return None

    bookmark = dependent = beside_disk = writable_point = point_as_image = copy_with_marks = link_point


class FilePerson(Person):
    def folder(self, name=""):
        return os.path.join(self.names.folder(self.store), name)

    def thing(self, name):
        path = self.folder(name)
        return Thing(self.w, name, lambda: path, lambda: os.path.exists(path))

    def copy(self, old, new):
        run("cp", "-a", "--reflink=auto", self.folder(old), self.folder(new))
        return self.thing(new)

    def rename(self, old, new):
        os.rename(self.folder(old), self.folder(new))
        return self.thing(new)

    def point(self, n, snap):
        return os.path.basename(self.names.snapshot(self.store, n, snap))

    def image(self, n):
        return f"vm-100-disk-{n}.raw"

    def rename_point(self, n, snap, new="mine"):
        return self.rename(self.point(n, snap), self.point(n, new))

    def copy_point(self, n, snap, new="copy"):
        return self.copy(self.point(n, snap), self.point(n, new))

    def link_point(self, n, snap, new="link"):
        os.link(self.folder(self.point(n, snap)), self.folder(self.point(n, new)))
        return self.thing(self.point(n, new))

    def point_as_image(self, n, snap, new):
        return self.copy(self.point(n, snap), self.image(new))

    def plain_snapshot(self, n, new="taken"):
        self.names.make_snapshot(self.store, n, new)
        return self.thing(self.point(n, new))

    def copy_image(self, n, new):
        return self.copy(self.image(n), self.image(new))

    copy_with_marks = copy_image

    def rename_image(self, n, new):
        return self.rename(self.image(n), self.image(new))


class PlainPerson(FilePerson):
    """A restore point is a map of digests there: it holds nothing that could be kept."""
    rename_point = copy_point = link_point = point_as_image = writable_point = Person.link_point


class BtrfsPerson(Person):
    def path(self, name):
        return os.path.join(self.names.folder(self.store), name)

    def thing(self, name, file="disk.raw"):
        path = os.path.join(self.path(name), file)
        return Thing(self.w, name, lambda: path, lambda: os.path.exists(path))

    def snapshot(self, old, new, *options):
        run("btrfs", "subvolume", "snapshot", *options, self.path(old), self.path(new))
        return self.thing(new)

    def rename(self, old, new):
        os.rename(self.path(old), self.path(new))
        return self.thing(new)

    def rename_point(self, n, snap, new="mine"):
        return self.rename(f"vm-100-disk-{n}@{snap}", f"vm-100-disk-{n}@{new}")

    def copy_point(self, n, snap, new="copy"):
        return self.snapshot(f"vm-100-disk-{n}@{snap}", f"vm-100-disk-{n}@{new}", "-r")

    def writable_point(self, n, snap, new="try"):
        return self.snapshot(f"vm-100-disk-{n}@{snap}", f"vm-100-disk-{n}@{new}")

    def point_as_image(self, n, snap, new):
        return self.snapshot(f"vm-100-disk-{n}@{snap}", f"vm-100-disk-{new}", "-r")

    def plain_snapshot(self, n, new="taken"):
        return self.snapshot(f"vm-100-disk-{n}", f"vm-100-disk-{n}@{new}", "-r")

    def copy_image(self, n, new):
        return self.snapshot(f"vm-100-disk-{n}", f"vm-100-disk-{new}")

    copy_with_marks = copy_image

    def rename_image(self, n, new):
        return self.rename(f"vm-100-disk-{n}", f"vm-100-disk-{new}")

    def beside_disk(self, n):
        """Files in the subvolume that holds the disk."""
        with open(os.path.join(self.path(f"vm-100-disk-{n}"), "notes.txt"), "w") as f:
            f.write("what I found out")
        return self.thing(f"vm-100-disk-{n}", "notes.txt")


class ZfsPerson(Person):
    def dataset(self, name):
        return f"{self.store}/{name}"

    def there(self, name):
        return bool(self.names.get("guid", name))

    def find(self, guid, kind):
        """A run may put it out of the way of a replica, with its dataset; what counts is that it is there by its own name."""
        lines = run("zfs", "list", "-H", "-r", "-t", kind, "-o", "guid,name", self.store).splitlines()
        return [line.split("\t")[1] for line in lines if line.startswith(f"{guid}\t")]

    def snapshot(self, name):
        guid = self.names.get("guid", name)

        def path():
            now = next(found for found in self.find(guid, "snapshot") if found.endswith("@" + name.partition("@")[2]))
            return self.names.snapshot(self.store, 0, name.partition("@")[2], dataset=now.partition("@")[0])
        return Thing(self.w, name, path, lambda: any(found.endswith("@" + name.partition("@")[2]) for found in self.find(guid, "snapshot")))

    def volume(self, name):
        return Thing(self.w, name, lambda: device(f"/dev/zvol/{name}"), lambda: self.there(name))

    def rename_point(self, n, snap, new="mine"):
        run("zfs", "rename", self.dataset(f"vm-100-disk-{n}@{snap}"), self.dataset(f"vm-100-disk-{n}@{new}"))
        return self.snapshot(self.dataset(f"vm-100-disk-{n}@{new}"))

    def copy_point(self, n, snap, new="copy"):
        """A clone, by a name that is none of an image."""
        run("zfs", "clone", self.dataset(f"vm-100-disk-{n}@{snap}"), self.dataset(new))
        return self.volume(self.dataset(new))

    def plain_snapshot(self, n, new="taken"):
        run("zfs", "snapshot", self.dataset(f"vm-100-disk-{n}@{new}"))
        return self.snapshot(self.dataset(f"vm-100-disk-{n}@{new}"))

    def copy_image(self, n, new, *options):
        with subprocess.Popen(["zfs", "send", *options, self.dataset(f"vm-100-disk-{n}@{self.newest(n)}")], stdout=subprocess.PIPE) as send:
            subprocess.run(["zfs", "receive", "-u", self.dataset(f"vm-100-disk-{new}")], stdin=send.stdout, check=True)
        return self.volume(self.dataset(f"vm-100-disk-{new}"))

    def copy_with_marks(self, n, new):
        return self.copy_image(n, new, "-R")

    def rename_image(self, n, new):
        run("zfs", "rename", self.dataset(f"vm-100-disk-{n}"), self.dataset(f"vm-100-disk-{new}"))
        return self.volume(self.dataset(f"vm-100-disk-{new}"))

    def bookmark(self, n, snap, new="mine"):
        name = self.dataset(f"vm-100-disk-{n}#{new}")
        run("zfs", "bookmark", self.dataset(f"vm-100-disk-{n}@{snap}"), name)
        guid = self.names.get("guid", name)
        thing = Thing.__new__(Thing)
        thing.name = name
        thing.faults = lambda: None if any(found.endswith(f"#{new}") for found in self.find(guid, "bookmark")) else f"{name} is gone"
        return thing


class ThinPerson(Person):
    def volume(self, name):
        def path():
            run("lvchange", "-q", "-ay", "-K", f"{self.store}/{name}")
            return device(f"/dev/{self.store}/{name}")

        def there():
            return name in run("lvs", "--noheadings", "-o", "lv_name", self.store).split()
        return Thing(self.w, name, path, there)

    def rename(self, old, new):
        run("lvrename", "-q", self.store, old, new)
        return self.volume(new)

    def snapshot(self, old, new, *options):
        run("lvcreate", "-q", "-s", "-kn", *options, "-n", new, f"{self.store}/{old}")
        return self.volume(new)

    def rename_point(self, n, snap, new="mine"):
        return self.rename(f"snap_vm-100-disk-{n}_{snap}", f"snap_vm-100-disk-{n}_{new}")

    def copy_point(self, n, snap, new="copy"):
        return self.snapshot(f"snap_vm-100-disk-{n}_{snap}", f"snap_vm-100-disk-{n}_{new}")

    def plain_snapshot(self, n, new="taken"):
        return self.snapshot(f"vm-100-disk-{n}", f"snap_vm-100-disk-{n}_{new}", "-pr")

    def point_as_image(self, n, snap, new):
        return self.rename(f"snap_vm-100-disk-{n}_{snap}", f"vm-100-disk-{new}")

    def copy_image(self, n, new):
        return self.snapshot(f"vm-100-disk-{n}", f"vm-100-disk-{new}")

    copy_with_marks = copy_image

    def rename_image(self, n, new):
        return self.rename(f"vm-100-disk-{n}", f"vm-100-disk-{new}")

    def dependent(self, n):
        """A classic snapshot of the live volume, which LVM removes with that. It is not read: that would activate the replica."""
        run("lvcreate", "-q", "-s", "-L", "16m", "-n", "mine", f"{self.store}/vm-100-disk-{n}")
        uuid = self.names.identity(f"{self.store}/mine")
        thing = Thing.__new__(Thing)
        thing.name = "mine"
        thing.faults = lambda: None if self.names.identity(f"{self.store}/mine") == uuid else "the classic snapshot is gone"
        return thing


PEOPLE = {"xfs": FilePerson, "btrfs": BtrfsPerson, "plain": PlainPerson, "zfspool": ZfsPerson, "zfscrypt": ZfsPerson, "lvmthin": ThinPerson}
