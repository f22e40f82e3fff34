#!/usr/bin/env python3
"""Side by side with Proxmox VE's own tool, on real ZFS: the commands that it gives, in their order, played by this program. A replica made by
either is gone on with by the other, and only what changed travels."""
import json
import os
import re
import subprocess
import time

import rig
import treefacts
from guestlab import GuestLab
from treelab import TreeLab


class Stock:
    """One guest's job as the other tool runs it: its snapshots, its pipeline, its state file."""

    def __init__(self, c, lab, guest, datasets):
        self.c, self.lab, self.guest, self.datasets = c, lab, guest, datasets
        self.last, self.sent = None, 0

    def state_path(self, node):
        return os.path.join(node.state_dir, "pve-replication-state.json")

    def remember(self, node, target, epoch):
        entry = {"last_sync": epoch, "last_try": epoch, "last_iteration": epoch, "fail_count": 0, "duration": 1.5, "storeid_list": ["st"],
                 "last_node": node.name}
        os.makedirs(node.state_dir, exist_ok=True)
        with open(self.state_path(node) + ".new", "w") as f:
            f.write(json.dumps({str(self.guest): {f"local/{target}": entry}}))
        os.rename(f.name, self.state_path(node))

    def recall(self, node, target):
        """The last sync that our own program recorded."""
        with open(self.state_path(node)) as f:
            return json.load(f)[str(self.guest)][f"local/{target}"]["last_sync"]

    def name(self, epoch):
        return f"__replicate_{self.guest}-0_{epoch}__"

    def pipe(self, here, there, snapshot, base):
        send = ["zfs", "send", "-Rpv", *(["-I", base] if base else []), "--", f"{here}@{snapshot}"]
        with subprocess.Popen(send, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as source:
            receive = subprocess.Popen(["zfs", "recv", "-F", "-x", "encryption", "--", there], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
            for block in iter(lambda: source.stdout.read(1 << 20), b""):
                self.sent += len(block)
                receive.stdin.write(block)
            error = receive.communicate()[1]
        if os.path.exists(f"/dev/zvol/{there}"):
            rig.sh("blockdev", "--flushbufs", f"/dev/zvol/{there}")  # what was read of it before
        assert source.returncode == 0 and receive.returncode == 0, f"{send}: {error.decode()}"

    def guid(self, node, n, snapshot):
        return rig.sh("zfs", "get", "-Hp", "-o", "value", "guid", self.lab.names.full(node.store, n, snapshot)).strip()

    def prepare(self, node, target, last):
        """What the target answers is compared as text with what `zfs get` tells here: no base without."""
        volids = {n: f"{self.lab.storage_id}:{self.lab.names.volname(n)}" for n in self.datasets()}
        said = target.pvesr("prepare-local-job", f"{self.guest}-0", "--scan", self.lab.storage_id, *volids.values(), "--last_sync", last or 0,
                            check=True).stdout
        answer = json.loads(said.splitlines()[-1])
        for n, volid in volids.items():
            for snapshot, told in answer.get(volid, {}).items():
                assert told["id"] == self.guid(target, n, snapshot), f"{volid}@{snapshot}: {told}"
            assert not last or answer[volid][self.name(last)]["id"] == self.guid(node, n, self.name(last)), f"No common base snapshot on {volid}: {answer}"
        return volids.values()

    def run(self, node, target, last):
        """last: the epoch of the last sync, None for a first one."""
        epoch = max(int(time.time()), (last or 0) + 1)
        base = self.name(last) if last else None
        self.sent = 0
        volids = self.prepare(node, self.c.node(target), last)
        for n in self.datasets():
            full = self.lab.names.full(node.store, n, self.name(epoch))
            rig.sh("zfs", "snapshot", full)
            if "subvol-" in full:
                rig.sh("zfs", "set", "pve-storage:refquota=" + self.lab.names.get("refquota", self.lab.names.full(node.store, n))[0], full)
        for n in self.datasets():
            self.pipe(self.lab.names.full(node.store, n), self.lab.names.full(self.c.node(target).store, n), self.name(epoch), base)
        self.remember(node, target, epoch)
        for n in self.datasets() if base else ():
            rig.sh("zfs", "destroy", self.lab.names.full(node.store, n, base))
        self.c.node(target).pvesr("finalize-local-job", f"{self.guest}-0", *volids, "--last_sync", epoch, check=True)
        return epoch


class Story:
    kind, guest = "qemu-server", 100

    def __init__(self, c):
        self.c, self.owner, self.other = c, c.node("pve1"), c.node("pve2")
        self.lab = self.make_lab()
        self.stock = Stock(c, self.lab, self.guest, self.volumes)
        self.owner.pvesr("create-local-job", f"{self.guest}-0", "pve2", check=True)

    def write_guest(self, text):
        self.c.write_guest(self.owner.name, self.guest, text, kind=self.kind)

    def stock_run(self, last):
        """The other tool knows nothing of bookmarks: those of points that it destroyed stay until our next run."""
        epoch = self.stock.run(self.owner, self.other.name, last)
        faults = [f for f in self.faults() if "#__replicate_" not in f]
        assert not faults, faults
        return epoch

    def our_run(self, full=False):
        done = self.owner.pvesr("run", "--id", f"{self.guest}-0")
        assert done.returncode == 0, f"exit {done.returncode}: {done.stderr}"
        with open(os.path.join(self.owner.log_dir, f"{self.guest}-0")) as f:
            log = f.read()
        assert ("full sync" in log) == full, log
        assert not re.search("kept aside|replaced", log), log
        faults = self.faults()
        assert not faults, faults
        return self.stock.recall(self.owner, self.other.name)

    def faults(self):
        return self.lab.faults(job=f"{self.guest}-0")

    def move(self):
        self.c.move_guest(self.guest, self.owner.name, self.other.name, kind=self.kind)
        self.owner, self.other = self.other, self.owner
        self.lab.source, self.lab.target = self.lab.target, self.lab.source


class Disks(Story):
    def make_lab(self):
        lab = GuestLab("zfspool", "st", self.owner.store, self.other.store, self.write_guest, guest=self.guest, seed=5)
        lab.add_disk(16 << 20)
        lab.add_disk()
        return lab

    def volumes(self):
        return sorted(self.lab.disks)

    def change(self):
        for n in self.volumes():
            self.lab.write(n, 5)
        self.lab.take_guest_snapshot()
        self.lab.write(0, 5)


class Container(Story):
    kind, guest = "lxc", 200

    def make_lab(self):
        lab = TreeLab("zfspool", "st", self.owner.store, self.other.store, self.write_guest, guest=self.guest, seed=5)
        lab.add_volume(files=10)
        return lab

    def volumes(self):
        return self.lab.volumes

    def change(self):
        for _ in range(5):
            self.lab.change(0)
        self.lab.take_guest_snapshot()
        self.lab.change(0)

    def faults(self):
        """The other tool's receive mounts what it receives, and where is no matter here: the trees count."""
        (here, odd_here), (there, odd_there) = (self.lab.entries(store) for store in (self.owner.store, self.other.store))
        bad = [f"left: {name}" for name in odd_here + odd_there] + [f"only on one side: {entry}" for entry in here ^ there]
        for n, snap in here & there:
            if snap:
                bad += treefacts.differences(self.lab.tree(self.owner.store, n, snap), self.lab.tree(self.other.store, n, snap))
        return bad


def stock_first(kind):
    """made by the other tool, gone on with here; and it goes on with that; the guest moves, and the same from the other side"""
    with rig.Cluster(storage="zfspool", ssh=False) as c:
        w = kind(c)
        last = w.stock_run(None)
        whole = w.stock.sent
        w.change()
        last = w.stock_run(last)
        w.change()
        w.our_run()
        w.lab.drop_guest_snapshot("snap0")
        last = w.our_run()
        w.change()
        w.lab.drop_guest_snapshot("snap1")
        w.stock_run(last)
        assert w.stock.sent < whole / 2, (w.stock.sent, whole)
        w.our_run()
        w.move()
        w.change()
        last = w.our_run()
        w.change()
        w.stock_run(last)
        assert w.stock.sent < whole / 2, (w.stock.sent, whole)


def ours_first(kind):
    """made here, gone on with by the other tool, and here again"""
    with rig.Cluster(storage="zfspool", ssh=False) as c:
        w = kind(c)
        last = w.our_run(full=True)
        w.change()
        last = w.stock_run(last)
        w.change()
        last = w.our_run()
        w.change()
        w.stock_run(last)


LONG = os.environ.get("PVESR_LAB_LONG") == "1"

for story, f in ((Disks, stock_first), (Container, ours_first), (Container, stock_first), (Disks, ours_first))[:4 if LONG else 2]:
    rig.check(f"{f.__name__}, {story.__name__.lower()}: {f.__doc__}", lambda f=f, s=story: f(s), needs=("root", "zfspool"))
rig.main()
