"""One container with a job on a fresh cluster: what scenario.World is of a VM. treelab.py is the container."""
import os

import rig
from scenario import STORAGES
from treelab import TreeLab

GUEST, JOB = 200, "200-0"


class TreeWorld:
    def __init__(self, c, seed=7):
        self.c, self.a, self.b = c, c.node("pve1"), c.node("pve2")
        self.lab = TreeLab(c.storage, c.storage_id, self.a.store, self.b.store, lambda text: c.write_guest("pve1", GUEST, text, kind="lxc"),
                           guest=GUEST, seed=seed)
        self.lab.names.prepare(self.lab.source, self.lab.target)
        self.lab.add_volume(files=10)

    def create(self, *more):
        self.a.pvesr("create-local-job", JOB, "pve2", *more, check=True)

    def run(self, *more, want=0):
        done = self.a.pvesr("run", "--id", JOB, *more)
        assert (done.returncode == 0) == (want == 0), f"exit {done.returncode}: {done.stderr}{done.stdout}"
        return done

    def log(self):
        with open(os.path.join(self.a.log_dir, JOB)) as f:
            return f.read()


def play(name, kind, function):
    """A test `function(w)` on a storage type, where neither variable of scenario.py leaves it out."""
    only = os.environ.get("PVESR_TEST_SCENARIOS", "").split()
    if kind not in STORAGES or (only and function.__name__ not in only):
        return

    def it():
        with rig.Cluster(storage=kind, ssh=False) as c:
            function(TreeWorld(c))
    rig.check(f"{function.__name__} on {kind}: {name}", it, needs=("root", kind))
