#!/usr/bin/env python3
"""A volume that is more than itself (a backing file, subvolumes or datasets below it) is refused, on either side, with the way out, and nothing
of it is destroyed. A storage that is not mounted is not there. A replica that is gone is told."""
import os
import struct
import subprocess

import rig
from guestlab import same_file
from scenario import GUEST, STORAGES, World, play_all, scenario
from treelab import TreeLab

FILES = ("xfs", "btrfs", "plain")


def refused(w, *words, job="100-0"):
    """The run fails with a sentence that has these words, before anything is sent."""
    w.run(want=1, job=job)
    log = w.log(job=job)
    assert all(word in log for word in words) and "full sync" not in log and "incremental sync" not in log, log


# ---- images that need another file ----

def qcow2(backing=b"", data_file=b"", version=3):
    """The beginning of an empty image, and what it says of others."""
    head = bytearray(1 << 16)
    struct.pack_into(">4sIQII", head, 0, b"QFI\xfb", version, 4096 if backing else 0, len(backing), 16)
    struct.pack_into(">Q", head, 72, 4 if data_file else 0)
    struct.pack_into(">I", head, 100, 104)
    if data_file:
        struct.pack_into(">II", head, 104, 0x44415441, len(data_file))
        head[112:112 + len(data_file)] = data_file
    head[4096:4096 + len(backing)] = backing
    return bytes(head)


def image(w, name, content):
    """The guest has one disk more, of this name and content."""
    path = os.path.join(w.lab.names.folder(w.a.store), name)
    with open(path, "wb") as f:
        f.write(content)
    w.lab.config_before = getattr(w.lab, "config_before", w.lab.config())
    w.write_guest(w.lab.config_before + f"virtio0: st:{GUEST}/{name},size=1M\n")
    return path


@scenario("xfs", "plain")
def backing_file(w):
    """a qcow2 that needs another file is refused, and replicated when it needs none any more"""
    w.create()
    w.run()
    for version in (2, 3):
        path = image(w, "vm-100-disk-5.qcow2", qcow2(backing=b"/etc/shadow", version=version))
        refused(w, "/etc/shadow", "qemu-img rebase")
    image(w, "vm-100-disk-5.qcow2", qcow2(data_file=b"vm-100-disk-5.data"))
    refused(w, "vm-100-disk-5.data", "qemu-img convert")
    assert not os.path.exists(path.replace(w.a.store, w.b.store))
    image(w, "vm-100-disk-5.qcow2", qcow2())
    w.run()
    assert same_file(path, path.replace(w.a.store, w.b.store))
    done = w.a.pvesr("run", "--id", "100-0")
    assert done.returncode == 0
    image(w, "vm-100-disk-5.qcow2", qcow2(backing=b"/etc/shadow"))
    refused(w, "/etc/shadow")


@scenario("xfs", "dir-on-btrfs", "plain")
def clones_stand_on_it(w):
    """a template's replica on which linked clones stand, there, is neither removed nor replaced by another; a run that changes nothing goes on"""
    w.create("--keep", "last=2")
    for name, content in (("base-100-disk-5.qcow2", qcow2()), ("base-100-disk-5.raw", os.urandom(1 << 20))):
        path = image(w, name, content)
        replica = path.replace(w.a.store, w.b.store)
        w.run()
        clone = os.path.join(w.b.store, "images", "101", "vm-101-disk-0.qcow2")
        os.makedirs(os.path.dirname(clone), exist_ok=True)
        with open(clone, "wb") as f:
            f.write(qcow2(backing=f"../100/{name}".encode()))
        w.lab.write(0, 5)
        w.run()
        before, others = w.copy(replica), w.copy(w.lab.replica(0))
        assert same_file(path, before)
        with open(path, "r+b") as f:
            f.seek(9000)
            f.write(b"another template")
        w.lab.write(0, 5)
        assert "vm-101-disk-0.qcow2" in w.run(want=1).stderr
        assert same_file(replica, before) and same_file(w.lab.replica(0), others)
        w.lab.save()
        os.unlink(path)
        w.run()  # it is a disk that the guest has no more
        assert "vm-101-disk-0.qcow2" in w.log() and same_file(replica, before), w.log()
        os.unlink(clone)
        w.run()
        assert not os.path.exists(replica)
    w.a.pvesr("delete", "100-0", check=True)
    w.run()


NEEDY = ((qcow2(backing=b"/etc/shadow"), "/etc/shadow", "qemu-img rebase"), (qcow2(data_file=b"other.data"), "other.data", "qemu-img convert"))
NAMED = ("unused0: {}", "vmstate: {}", "\n[old]\nsnaptime: 1\nscsi1: {}", "\n[PENDING]\nscsi1: {}",
         "scsi1: {},replicate=0\n\n[old]\nsnaptime: 1\nscsi1: {}")


@scenario("xfs", "dir-on-btrfs", "plain")
def wherever_it_is_named(w):
    """such an image is refused by the plan, and by whoever makes a job of its guest, wherever the configuration names it"""
    w.create()
    w.run()
    path = image(w, "vm-100-disk-5.qcow2", b"")
    for content, other, remedy in NEEDY:
        with open(path, "wb") as f:
            f.write(content)
        for line in NAMED:
            w.write_guest(w.lab.config_before + line.replace("{}", f"st:{GUEST}/vm-100-disk-5.qcow2") + "\n")
            w.c.node("pve1").pvesr("delete", "100-0", "--force", check=True)
            made = w.a.pvesr("create-local-job", "100-0", "pve2")
            assert made.returncode and other in made.stderr and remedy in made.stderr, (line, made.stderr)
            w.lab.save()
            w.create()
            w.write_guest(w.lab.config_before + line.replace("{}", f"st:{GUEST}/vm-100-disk-5.qcow2") + "\n")
            plan = w.a.pvesr("plan", "100-0")
            assert plan.returncode and os.path.basename(path) in plan.stderr and other in plan.stderr and remedy in plan.stderr, (line, plan.stderr)
            refused(w, other, remedy)
    assert not os.path.exists(path.replace(w.a.store, w.b.store))


@scenario("xfs", "dir-on-btrfs")
def a_point_needs_another(w):
    """a restore point from when the disk needed another file is refused by the plan, before anything of it is sent; without it the run goes on"""
    w.create()
    w.run()
    for content, other, remedy in NEEDY:
        path = image(w, "vm-100-disk-5.qcow2", content)
        w.write_guest(w.lab.config_before + f"virtio0: st:{GUEST}/vm-100-disk-5.qcow2,size=1M\n\n[old]\nsnaptime: 1\n"
                      f"virtio0: st:{GUEST}/vm-100-disk-5.qcow2\n")
        point = os.path.join(os.path.dirname(path), ".pvesr.vm-100-disk-5.qcow2@old")
        rig.sh("cp", "--reflink=always", path, point)
        with open(path, "wb") as f:
            f.write(qcow2())
        plan = w.a.pvesr("plan", "100-0")
        assert plan.returncode and other in plan.stderr and remedy in plan.stderr and f"rm '{point}'" in plan.stderr, plan.stderr
        refused(w, other, remedy)
        os.unlink(point)
    w.run()
    assert same_file(path, path.replace(w.a.store, w.b.store))


@scenario("xfs")
def raw_stays_raw(w):
    """a raw disk may begin with what looks like one"""
    path = image(w, "vm-100-disk-5.raw", qcow2(backing=b"/etc/shadow"))
    w.create()
    w.run()
    assert same_file(path, path.replace(w.a.store, w.b.store))


# ---- below a container's root ----

class Container(World):
    """The same with a container."""

    def __init__(self, w):
        self.__dict__.update(w.__dict__)
        self.lab = TreeLab(w.c.storage, w.c.storage_id, self.a.store, self.b.store, self.write_container)
        self.lab.add_volume(files=2)
        self.a.pvesr("create-local-job", "200-0", "pve2", check=True)

    def write_container(self, text):
        self.c.write_guest(self.owner, 200, text, kind="lxc")

    def below(self, node, name):
        """Something of its own below the container's root on a node, with a file in it."""
        if self.kind == "btrfs":
            path = os.path.join(self.lab.names.path(node.store, 0), name)
            rig.sh("btrfs", "subvolume", "create", path)
        else:
            path = os.path.join(self.c.dir, f"below-{node.name}-{name}")
            os.makedirs(path)
            rig.sh("zfs", "create", "-o", f"mountpoint={path}", f"{self.lab.names.full(node.store, 0)}/{name}")
        with open(os.path.join(path, "only copy"), "w") as f:
            f.write("nobody else has it")
        return os.path.join(path, "only copy")

    def remove_below(self, node, name):
        if self.kind == "btrfs":
            rig.sh("btrfs", "subvolume", "delete", os.path.join(self.lab.names.path(node.store, 0), name))
        else:
            rig.sh("zfs", "destroy", f"{self.lab.names.full(node.store, 0)}/{name}")

    def run200(self, want=0):
        return self.run(want=want, job="200-0")

    def proved(self):
        faults = [f for f in self.lab.faults() if "vm-100-disk-0" not in f]  # the scenario's other guest has a disk beside
        assert not faults, faults


@scenario("btrfs", "zfspool")
def below_the_source(w):
    """a subvolume or dataset below a container's root is refused on the source, also when it comes later; its only copy stays where it is when
    the guest has moved"""
    w = Container(w)
    kept = w.below(w.a, "docker")
    refused(w, "docker", job="200-0")
    w.remove_below(w.a, "docker")
    w.run200()
    w.proved()
    kept = w.below(w.a, "machines")
    refused(w, "machines", job="200-0")
    w.c.move_guest(200, "pve1", "pve2", kind="lxc")
    w.owner = "pve2"
    for _ in range(2):
        refused(w, "machines", job="200-0")
        assert os.path.exists(kept), "the only copy is gone"
    w.b.pvesr("delete", "200-0", check=True)
    w.run200(want=1)
    assert os.path.exists(kept), "the only copy is gone"
    w.remove_below(w.a, "machines")
    w.run200()
    assert "200-0" not in w.status()


@scenario("btrfs", "zfspool")
def below_a_replica(w):
    """what somebody put below a replica is never destroyed: runs say that it is there, and so does the removal of the job"""
    w = Container(w)
    w.run200()
    kept = w.below(w.b, "mine")
    refused(w, "mine", job="200-0")
    assert os.path.exists(kept)
    w.a.pvesr("delete", "200-0", check=True)
    w.run200(want=1)
    assert os.path.exists(kept)
    w.remove_below(w.b, "mine")
    w.run200()
    assert "200-0" not in w.status()


@scenario("btrfs")
def empty_below(w):
    """an empty subvolume, as systemd makes them, is no reason to refuse"""
    w = Container(w)
    rig.sh("btrfs", "subvolume", "create", os.path.join(w.lab.names.path(w.a.store, 0), "portables"))
    w.run200()
    rig.sh("btrfs", "subvolume", "create", os.path.join(w.lab.names.path(w.b.store, 0), "machines"))
    w.run200()


@scenario("btrfs")
def beside_a_disk(w):
    """a file beside a disk in its subvolume does not travel: it is refused"""
    w.create()
    path = os.path.join(w.lab.names.subvolume(w.a.store, 0), "notes.txt")
    with open(path, "w") as f:
        f.write("mine")
    refused(w, "notes.txt")
    os.unlink(path)
    w.run()
    w.proved()


# ---- where a storage lies ----

def storage_cfg(w, *more):
    w.c.write("storage.cfg", w.c.storage_section(w.kind, "st") + "".join(f"\t{line}\n" for line in more))


def unmount(w, node):
    rig.sh("umount", node.mount)
    os.makedirs(node.store, exist_ok=True)  # what lies below a mount point often looks like what is mounted there


def mount(w, node):
    rig.sh("mount", "-o", "loop", os.path.join(w.c.dir, f"{node.name}.img"), node.mount)


@scenario("xfs", "plain")
def not_mounted(w):
    """is_mountpoint: without what is mounted there a storage is not there, and nothing is written below the mount point"""
    for option in ("is_mountpoint /", "is_mountpoint yes"):
        storage_cfg(w, option)
        if option.endswith("yes"):  # the path itself
            for node in (w.a, w.b):
                rig.sh("mount", "--bind", node.store, node.store)
        else:
            w.create()
        w.run()
        w.proved()
        for node in (w.b, w.a):
            subprocess.run(["umount", node.store], check=False, stderr=subprocess.DEVNULL)
            unmount(w, node)
            refused(w, "is not there", "is_mountpoint")
            assert os.listdir(node.store) == [], os.listdir(node.store)
            mount(w, node)
            if option.endswith("yes"):
                refused(w, "is_mountpoint")
                rig.sh("mount", "--bind", node.store, node.store)
            w.lab.write(0, 5)
            w.run()
            w.proved()
        storage_cfg(w, "is_mountpoint 0")
        w.run()
    storage_cfg(w, "is_mountpoint /somewhere")
    refused(w, "is_mountpoint")


@scenario("btrfs")
def not_mounted_btrfs(w):
    """the same on btrfs, where a subvolume is no mount point"""
    w.create()
    w.run()
    storage_cfg(w, "is_mountpoint 1")
    refused(w, "is_mountpoint")
    storage_cfg(w, "is_mountpoint /")
    w.lab.write(0, 5)
    w.run()
    w.proved()


@scenario(*FILES)
def content_dirs(w):
    """content-dirs: the images lie where it says, on both sides, and nowhere else"""
    for node in (w.a, w.b):
        os.makedirs(os.path.join(node.store, "vms"), exist_ok=True)
    os.rename(os.path.join(w.a.store, "images"), os.path.join(w.a.store, "vms/disks"))
    storage_cfg(w, "content-dirs iso=isos,images=vms/disks")
    w.lab.names.folder = lambda store: os.path.join(store, "vms/disks", str(GUEST))
    w.create()
    for _ in range(2):
        w.run()
        w.proved()
        w.lab.write(0, 5)
    assert not any(os.path.exists(os.path.join(node.store, "images")) for node in (w.a, w.b))
    for bad in ("../disks", "/disks", "vms/../../disks"):
        storage_cfg(w, f"content-dirs images={bad}")
        w.run(want=1)
        assert not os.path.exists(os.path.join(w.b.mount, "disks"))


# ---- what is gone ----

@scenario(*FILES, "zfspool", "lvmthin")
def replica_gone(w):
    """a replica that was there at the last sync and is gone is told, before it is made anew; a new disk has never been there"""
    w.create()
    w.run()
    assert "WARNING" not in w.log(), w.log()
    w.lab.add_disk()
    w.run()
    assert "WARNING" not in w.log(), w.log()
    for n, snap in sorted(w.lab.names.entries(w.b.store)[0], key=str):
        if n == 0 and snap:
            w.lab.names.drop_snapshot(w.b.store, n, snap) if w.kind != "plain" else os.unlink(w.lab.names.snapshot(w.b.store, n, snap))
    w.lab.names.remove(w.b.store, 0)
    plan = w.a.pvesr("plan", "100-0", check=True).stdout
    assert "WARNING" in plan, plan
    w.lab.write(1, 5)
    done = w.run()
    log = w.log()
    assert "WARNING" in done.stderr and log.index("WARNING") < log.index("full sync"), (done.stderr, log)
    assert log.count("WARNING") == 1, log
    w.proved()
    w.lab.write(0, 5)
    w.run()
    assert "WARNING" not in w.log(), w.log()


assert STORAGES
play_all()
