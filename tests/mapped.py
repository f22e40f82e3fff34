"""One guest whose job maps storages: where its owner has it, and where and under which names the target has its replicas, differ."""
import os

from guestlab import NAMES, GuestLab
from scenario import GUEST, World


class MappedWorld(World):
    """here, there: storage, kind and store at pve1, which has the guest at first, and at pve2."""

    def __init__(self, c, here, there):
        self.c, self.a, self.b = c, c.node("pve1"), c.node("pve2")
        self.kind, self.owner, self.copies = here[1], "pve1", 0
        self.kinds = {"pve1": here, "pve2": there}
        self.lab = GuestLab(here[1], here[0], here[2], there[2], self.write_guest, seed=7)
        self.face("pve2")
        self.lab.add_disk()

    def face(self, target):
        """The guest's volumes are where its owner has them, the replicas where the target has them."""
        lab = self.lab
        lab.storage_id, kind, lab.source = self.kinds[self.owner]
        _, other, lab.target = self.kinds[target]
        lab.names, lab.names_there = NAMES[kind](GUEST), NAMES[other](GUEST)

    def disks_at(self, node):
        """Everything of the guest on a node, on both storages."""
        found = []
        for store in (self.c.node(node).store, os.path.join(self.c.node(node).mount, "other")):
            folder = os.path.join(store, "images", str(GUEST))
            found += os.listdir(folder) if os.path.isdir(folder) else []
        return found

    def guest_config(self, node):
        with open(os.path.join(self.c.tree, "nodes", node, "qemu-server", f"{GUEST}.conf")) as f:
            return f.read()


def incremental(w):
    """Were all disks sent as a delta in the last run?"""
    log = w.log(w.c.node(w.owner))
    assert "incremental sync" in log and "full sync" not in log, log


def failover(w, node, *more, want=0):
    """To `node` by the command; the proofs follow."""
    before = w.owner
    done = w.c.node(node).pvesr("failover", str(GUEST), *more)
    assert (done.returncode == 0) == (want == 0), done.stderr
    if want == 0 and "--dry-run" not in more:
        w.owner = node
        w.face(before)
    return done
