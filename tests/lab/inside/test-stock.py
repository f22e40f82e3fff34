#!/usr/bin/env python3
"""Side by side with Proxmox VE's own tool, on real ZFS: the commands that it gives, in their order, played by this program. A replica made by
either is gone on with by the other, and only what changed travels; what one leaves is in nobody's way. The long form plays all, in twelve turns,
with more moves and more of the clock's snapshots."""
# deadline: 1800
import json
import os
import re
import subprocess
import time

import rig
import treefacts
from guestlab import GuestLab, same_file
from treelab import TreeLab

LONG = os.environ.get("PVESR_LAB_LONG") == "1"
TURNS, CLOCK, MOVES = (12, 6, 3) if LONG else (4, 4, 2)


class Stock:
    """One guest's job as the other tool runs it: its snapshots, its pipeline, its state file."""

    def __init__(self, c, lab, guest, datasets):
        self.c, self.lab, self.guest, self.datasets = c, lab, guest, datasets
        self.sent = 0
        self.alone = False  # the target has no program of ours

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

    def remove_job(self, node, target):
        """Its removal: the replicas go, then its snapshots here; of bookmarks it knows nothing."""
        target.pvesr("prepare-local-job", f"{self.guest}-0", "--scan", self.lab.storage_id, "--last_sync", 1, "--force", check=True)
        for n, snap in self.lab.names.entries(node.store)[0]:
            if (snap or "").startswith(f"__replicate_{self.guest}-0_"):
                rig.sh("zfs", "destroy", self.lab.names.full(node.store, n, snap))
        self.c.write("replication.cfg", "")
        with open(self.state_path(node), "w") as f:
            f.write("{}")

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
        volids = () if self.alone else self.prepare(node, self.c.node(target), last)
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
        self.finalize(self.c.node(target), volids, epoch, base)
        return epoch

    def finalize(self, target, volids, epoch, base):
        if not self.alone:
            target.pvesr("finalize-local-job", f"{self.guest}-0", *volids, "--last_sync", epoch, check=True)
        for n in self.datasets() if self.alone and base else ():
            rig.sh("zfs", "destroy", self.lab.names.full(target.store, n, base))


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

    def run(self):
        done = self.owner.pvesr("run", "--id", f"{self.guest}-0")
        assert done.returncode == 0, f"exit {done.returncode}: {done.stderr}"
        with open(self.stock.state_path(self.owner)) as f:
            return json.load(f).get(str(self.guest), {}).get(f"local/{self.other.name}", {}).get("last_sync")

    def our_run(self, full=False):
        self.run()
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

    def write_some(self):
        for n in self.volumes():
            self.lab.write(n, 3)

    def seen_there(self, snap):
        """What a snapshot of the first replica says."""
        with open(self.lab.names.snapshot(self.other.store, 0, snap), "rb") as f:
            return f.read()

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

    def write_some(self):
        self.lab.change(0)

    def seen_there(self, snap):
        return self.lab.tree(self.other.store, 0, snap)

    def change(self):
        for _ in range(5):
            self.lab.change(0)
        self.lab.take_guest_snapshot()
        self.lab.change(0)

    def faults(self):
        """The other tool's receive mounts what it receives, and where is no matter here: the trees count."""
        with self.lab.names.standing_still():
            return self.faults_now()

    def faults_now(self):
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


class Large(Container):
    """With files in blocks of 1 MiB."""

    def make_lab(self):
        lab = super().make_lab()
        rig.sh("zfs", "set", "recordsize=1M", self.dataset(self.owner, lab))
        self.grow(lab)
        return lab

    def dataset(self, node, lab=None):
        return (lab or self.lab).names.full(node.store, 0)

    def grow(self, lab=None):
        lab = lab or self.lab
        for name in ("large", f"new-{lab.random.randrange(1 << 30)}"):  # what was received in parts stays so
            with open(os.path.join(lab.live(0), name), "ab") as f:
                f.write(lab.random.randbytes(3 << 20))

    def change(self):
        super().change()
        self.grow()

    def touch(self):
        """A few bytes within what is there."""
        with open(os.path.join(self.lab.live(0), "large"), "r+b") as f:
            f.seek(1 << 20)
            f.write(self.lab.random.randbytes(100))


class LargeDisks(Disks):
    """One of them with blocks of 256 KiB."""

    def make_lab(self):
        lab = super().make_lab()
        full = lab.names.full(self.owner.store, 1)
        rig.sh("udevadm", "settle")
        rig.sh("zfs", "destroy", full)
        rig.sh("zfs", "create", "-s", "-V", lab.disks[1], "-b", "256K", full)
        lab.write(1, 40)
        return lab

    def touch(self):
        self.write_some()


def in_turn(kind):
    """runs in turn, the other tool's and ours"""
    with rig.Cluster(storage="zfspool", ssh=False) as c:
        w = kind(c)
        last = w.our_run(full=True)
        for i in range(TURNS):
            last = w.stock_run(last) if i % 2 == 0 else w.our_run()
            w.change()
            if i > 1:
                w.lab.drop_guest_snapshot(f"snap{i - 2}")


def large_already():
    """a replica that has large blocks takes no others: it goes on getting them"""
    with rig.Cluster(storage="zfspool", ssh=False) as c:
        w = Large(c)
        w.owner.write_config(**{"large-blocks": 1})
        w.our_run(full=True)
        w.owner.write_config()
        for _ in range(2):
            w.change()
            w.our_run()


def sent(w):
    """How the last run sent what it sent."""
    with open(os.path.join(w.owner.log_dir, f"{w.guest}-0")) as f:
        log = f.read()
    assert not w.faults(), w.faults()
    return "full" if "full sync" in log else "delta"


def in_parts(kind):
    """moved to a replica that has in parts what is in large blocks here, and back: what is in parts there fits no large blocks, whoever sent it"""
    with rig.Cluster(storage="zfspool", ssh=False) as c:
        w = kind(c)
        last = w.stock_run(None)
        w.change()
        w.stock.recall(w.owner, w.other.name)
        last = w.our_run()
        w.stock_run(last)
        for write, how in ((w.touch, "full"), (w.change, "delta"), (w.touch, "full" if kind is Large else "delta"))[:MOVES]:
            w.move()
            write()
            planned = w.owner.pvesr("plan", f"{w.guest}-0", check=True).stdout
            w.run()
            assert sent(w) == how and ("above 128 KiB" in planned) == (how == "full"), (sent(w), planned)
            w.touch()
            w.run()
            assert sent(w) == "delta", planned


def datasets(store, *words):
    """Whatever there is below the store, of which the name has one of these words in it."""
    names = rig.sh("zfs", "list", "-H", "-r", "-t", "all", "-o", "name", store).split("\n")
    return [name for name in names if name and any(word in name for word in words)]


def write_replica(w, n=0):
    """By hand; what it is then, as a file."""
    w.lab.write(n, 3, path=w.lab.replica(n))
    kept = os.path.join(w.c.dir, "kept")
    rig.sh("cp", w.lab.replica(n), kept)
    return kept


def asides(w, node):
    return {entry for entry in w.lab.names.entries(node.store)[0] if (entry[1] or "").startswith("diverged_")}


def kept_whole(w, n, kept):
    (_, snap), = asides(w, w.other)
    assert same_file(w.lab.names.aside(w.other.store, n, snap), kept), f"{snap} is not what was written"


def run_beside_asides(w, last, kept):
    """Both tools in turn, with something kept aside on the target."""
    for alone in (False, True):
        w.change()
        w.stock.alone = alone
        last = w.stock.run(w.owner, w.other.name, last)
        kept_whole(w, 0, kept)
        w.change()
        last = w.run()
        kept_whole(w, 0, kept)
    faults = w.lab.faults(asides=True)
    assert not faults, faults


def kept_aside():
    """what was written to the replica stays, and is in nobody's way"""
    with rig.Cluster(storage="zfspool", ssh=False) as c:
        w = Disks(c)
        w.our_run(full=True)
        kept = write_replica(w)
        w.lab.write(0, 3)
        last = w.run()
        assert len(asides(w, w.other)) == 1 and not datasets(w.other.store, "pvesr-base-"), datasets(w.other.store, "/")
        run_beside_asides(w, last, kept)
        w.owner.pvesr("delete", "100-0", check=True)
        w.run()
        kept_whole(w, 0, kept)
        assert "diverged_" in w.other.pvesr("doctor", check=True).stdout, "nothing names what is kept"


def kept_upon_a_guest_snapshot():
    """the same where it stands on a guest's snapshot, which both sides have until the guest deletes it"""
    with rig.Cluster(storage="zfspool", ssh=False) as c:
        w = Disks(c)
        w.our_run(full=True)
        w.lab.take_guest_snapshot()
        w.run()
        for name in datasets(w.owner.store, "disk-0@__replicate_", "disk-0#"):
            rig.sh("zfs", "destroy", name)
        rig.sh("zfs", "rollback", "-r", w.lab.names.full(w.other.store, 0, "snap0"))
        w.lab.names.look_anew(w.other.store, 0)
        kept = write_replica(w)
        last = w.run()
        kept_whole(w, 0, kept)
        last = w.stock.run(w.owner, w.other.name, last)
        w.lab.drop_guest_snapshot("snap0")
        run_beside_asides(w, last, kept)


def replicas_of_stock():
    """what the other tool received last is a replica: it goes with its disk and with the job, by either tool; what was written to it stays"""
    with rig.Cluster(storage="zfspool", ssh=False) as c:
        w = Disks(c)
        for _ in range(3):
            w.lab.add_disk()
        store = w.other.store
        w.stock.alone = True
        last = w.stock.run(w.owner, w.other.name, None)
        gone = [w.lab.names.full(store, n) for n in (1, 2)]
        w.lab.remove_disk(1)
        w.our_run()  # none of our own before
        assert not datasets(store, "disk-1"), datasets(store, "disk-1")
        w.stock.alone = False
        w.change()
        last = w.stock.run(w.owner, w.other.name, w.stock.recall(w.owner, w.other.name))
        w.lab.remove_disk(2)
        w.our_run()
        assert not datasets(store, *(name.partition("/")[2] for name in gone)), datasets(store, "/")
        last = w.stock.run(w.owner, w.other.name, w.stock.recall(w.owner, w.other.name))
        w.lab.remove_disk(3)
        w.stock.prepare(w.owner, w.other, last)
        assert not datasets(store, "disk-3"), datasets(store, "disk-3")
        kept = write_replica(w, 4)
        w.owner.pvesr("delete", "100-0", check=True)
        w.run()
        assert asides(w, w.other) == w.lab.names.entries(store)[0], datasets(store, "/")
        kept_whole(w, 4, kept)


def job_of_stock():
    """the other tool removes the job: replicas go, and our bookmarks are named and removed"""
    with rig.Cluster(storage="zfspool", ssh=False) as c:
        w = Disks(c)
        last = w.our_run(full=True)
        w.lab.write(0, 3)
        w.stock.run(w.owner, w.other.name, last)
        w.stock.remove_job(w.owner, w.other)
        assert not w.lab.names.entries(w.other.store)[0], datasets(w.other.store, "/")
        assert datasets(w.owner.store, "#")
        assert "__replicate_100-0_" in w.owner.pvesr("doctor", check=True).stdout
        w.owner.pvesr("doctor", "--repair", check=True)
        assert not datasets(w.owner.store, "#"), datasets(w.owner.store, "#")


def deleted_guest_snapshots():
    """a guest's snapshot that the other tool brought goes when the guest deletes it, by our run too"""
    with rig.Cluster(storage="zfspool", ssh=False) as c:
        w = Disks(c)
        last = w.our_run(full=True)
        w.lab.take_guest_snapshot()
        w.stock_run(last)
        w.lab.drop_guest_snapshot("snap0")
        w.our_run()
        assert not datasets(w.other.store, "@snap0"), datasets(w.other.store, "@")


def marks(node, lab, n=0):
    """What of ours is set on a live volume or came along with it."""
    said = rig.sh("zfs", "get", "-Hp", "-s", "local,received", "-o", "property,value,source", "all", lab.names.full(node.store, n))
    return [line for line in said.splitlines() if line.startswith(("pvesr:", "canmount\tnoauto"))]


def moved(kind):
    """a replica that is the guest's volume now has nothing of a replica any more, and gives nothing of that on"""
    with rig.Cluster(storage="zfspool", ssh=False) as c:
        w = kind(c)
        w.our_run(full=True)
        assert marks(w.other, w.lab), "a replica has marks"
        w.move()
        w.change()
        last = w.our_run()
        assert not marks(w.owner, w.lab), marks(w.owner, w.lab)
        w.change()
        w.stock_run(last)
        bad = [mark for mark in marks(w.other, w.lab) if mark.endswith("received")]
        assert not bad, bad
        w.move()
        w.change()
        w.our_run()
        assert not marks(w.owner, w.lab), marks(w.owner, w.lab)


def autosnap(kind):
    """a tool takes snapshots of all datasets of the target by the clock: it finds its own, and nothing grows"""
    with rig.Cluster(storage="zfspool", ssh=False) as c:
        w = kind(c)
        w.our_run(full=True)
        expected = {}
        for i in range(CLOCK):
            label = f"2024-01-01_00:0{i}:02"
            names = [f"autosnap_{label}_{period}" for period in (("hourly", "daily") if i == CLOCK - 3 else ("frequently",))]
            for dataset in [name for name in datasets(w.other.store, "") if not re.search("[@#]", name)]:
                for name in names:
                    rig.sh("zfs", "snapshot", f"{dataset}@{name}")
            expected[names[-1]] = w.seen_there(names[-1])
            w.write_some()
            last = w.run()
            left = datasets(w.other.store, "pvesr-kept-", "pvesr-base-")
            assert not left, left
        for name, seen in expected.items():
            assert w.seen_there(name) == seen, name
        w.stock.run(w.owner, w.other.name, last)
        left = datasets(w.other.store, names[0])
        assert left == [f"{w.other.store}@{names[0]}"], "the other tool removes what is not the source's"


SHORT = ((kept_aside,), (replicas_of_stock,), (autosnap, Disks), (moved, Container), (in_turn, Large), (in_parts, Large), (stock_first, Disks))
REST = ((in_parts, LargeDisks), (in_turn, LargeDisks), (deleted_guest_snapshots,), (kept_upon_a_guest_snapshot,), (job_of_stock,), (large_already,),
        (autosnap, Container), (moved, Disks), (in_turn, Disks), (ours_first, Container), (stock_first, Container), (ours_first, Disks))
for function, *kind in SHORT + REST if LONG else SHORT:
    name = ", ".join([function.__name__, *(k.__name__.lower() for k in kind)])
    rig.check(f"{name}: {function.__doc__}", lambda f=function, k=kind: f(*k), needs=("root", "zfspool"))
rig.main()
