"""One guest with a job on a fresh cluster (agents are spawned directly, no ssh): what a scenario is told in.

    @scenario("xfs", "btrfs")
    def what_happens(w):
        \"\"\"the sentence that names the test\"\"\"
        w.create()
        w.run()
        w.proved()

    play_all()

PVESR_TEST_STORAGES (xfs btrfs plain): of the scenarios for any storage only those on these; also on dir-on-btrfs, zfspool and lvmthin.
PVESR_TEST_SCENARIOS: only those with these names.
"""
import json
import os
import subprocess

import rig
from guestlab import GuestLab, copy_file, same_file

GUEST = 100
STORAGES = os.environ.get("PVESR_TEST_STORAGES", "xfs btrfs plain").split()
SCENARIOS = []


def scenario(*kinds):
    """None: it makes sense on any storage with snapshots."""
    def add(f):
        SCENARIOS.append((f, kinds or [kind for kind in STORAGES if kind != "plain"]))
        return f
    return add


class World:
    def __init__(self, c, kind):
        self.c, self.kind = c, kind
        self.a, self.b = c.node("pve1"), c.node("pve2")
        self.lab = GuestLab(kind, c.storage_id, self.a.store, self.b.store, self.write_guest, seed=7)
        self.owner = "pve1"
        self.copies = 0
        self.lab.add_disk()

    def write_guest(self, text):
        self.c.write_guest(self.owner, GUEST, text)

    def create(self, *more, job="100-0", target="pve2"):
        self.c.node(self.owner).pvesr("create-local-job", job, target, *more, check=True)

    def run(self, node=None, want=0, job="100-0"):
        """Run the job on the guest's owner, or on another node. want: does it fail?"""
        done = (node or self.c.node(self.owner)).pvesr("run", "--id", job)
        assert (done.returncode == 0) == (want == 0), f"exit {done.returncode}: {done.stderr}{done.stdout}"
        return done

    def status(self, node=None):
        done = (node or self.c.node(self.owner)).pvesr("status", "--output-format", "json", check=True)
        return {s["id"]: s for s in json.loads(done.stdout)}

    def job(self, job="100-0"):
        return json.loads(self.a.pvesr("read", job, check=True).stdout)

    def log(self, node=None, job="100-0"):
        with open(os.path.join((node or self.c.node(self.owner)).log_dir, job)) as f:
            return f.read()

    def steal(self, node, target=None):
        """The guest's configuration is moved by hand: `node` owns it now. What is proved from now on is the replica on `target`."""
        target = target or self.owner
        self.c.move_guest(GUEST, self.owner, node)
        self.owner = node
        self.face(target)

    def on_plain(self, node):
        """The node's storage is on another file system from now on, which is empty and keeps one restore point."""
        image = os.path.join(self.c.dir, f"{node.name}.plain")
        rig.sh("truncate", "-s", "512M", image)
        rig.sh("mkfs.ext4", "-q", "-F", image)
        rig.sh("mount", "-o", "loop", image, node.store)
        self.c.cleanup.callback(subprocess.run, ["umount", "-l", node.store], check=False)

    def face(self, target):
        self.lab.source, self.lab.target = self.c.node(self.owner).store, self.c.node(target).store

    # ---- faults ----

    def block(self, n, node=None):
        """Make staging disk n fail on the target; returns the undo."""
        return self.lab.names.block((node or self.b).store, n)

    # ---- proof ----

    def proved(self, **more):
        faults = self.lab.faults(**more)
        assert not faults, faults

    def asides(self, store):
        found, _ = self.lab.names.entries(store)
        return sorted((n, s) for n, s in found if (s or "").startswith("diverged_"))

    def copy(self, path):
        """A copy of a disk as it is now, to compare with later."""
        self.copies += 1
        to = os.path.join(self.c.dir, f"copy-{self.copies}")
        copy_file(path, to)
        return to

    def write_there(self, n=0):
        """Somebody writes to a replica by hand. A copy of what it is then."""
        with open(self.lab.replica(n), "r+b") as f:
            f.write(b"written on the target")
            os.fsync(f.fileno())
        return self.copy(self.lab.replica(n))

    def kept_aside(self, store, n, copy):
        """Does a snapshot that was kept aside hold these bytes?"""
        return any(disk == n and same_file(self.lab.names.aside(store, n, snap), copy) for disk, snap in self.asides(store))


def play(f, kind):
    with rig.Cluster(storage=kind, ssh=False) as c:
        return f(World(c, kind))


def play_all():
    only = os.environ.get("PVESR_TEST_SCENARIOS", "").split()
    for function, kinds in SCENARIOS:
        if only and function.__name__ not in only:
            continue
        for kind in (kind for kind in kinds if kind in STORAGES):
            rig.check(f"{function.__name__} on {kind}: {function.__doc__.splitlines()[0]}",
                      lambda f=function, k=kind: play(f, k), needs=("root", kind) if kind != "plain" else ("root",))
    rig.main()
