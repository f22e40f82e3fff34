#!/usr/bin/env python3
"""Trees of everything that a file system can keep (treegen.py), compared in all that can be seen (treefacts.py): a container that changes, is
replicated, moves to its replica by `pvesr failover`, and back.

PVESR_TREE_ROUNDS (10) and PVESR_TEST_SEED choose the length and the story, PVESR_TEST_STORAGES (btrfs) where it plays. A long one is told in
parts, each of a container of its own and with a seed of its own, by which it can be played alone.
"""
import os

import rig
import treefacts
from treelab import TreeLab

ROUNDS = int(os.environ.get("PVESR_TREE_ROUNDS", "10"))
PART = 10
JOB = "200-0"


class World:
    def __init__(self, c, seed):
        self.c, self.owner = c, c.node("pve1")
        self.lab = TreeLab(c.storage, c.storage_id, c.node("pve1").store, c.node("pve2").store, self.write_guest, seed=seed)
        self.lab.names.prepare(self.lab.source, self.lab.target)
        self.lab.add_volume(files=20)
        self.lab.add_volume(files=10)
        self.owner.pvesr("create-local-job", JOB, "pve2", check=True)

    def write_guest(self, text):
        self.c.write_guest(self.owner.name, 200, text, kind="lxc")

    def log(self):
        with open(os.path.join(self.owner.log_dir, JOB)) as f:
            return f.read()

    def run(self):
        done = self.owner.pvesr("run", "--id", JOB)
        assert done.returncode == 0, f"exit {done.returncode}: {done.stderr}{self.log()}"
        faults = self.lab.faults() + [f"kept aside: {a}" for a in self.lab.asides(self.lab.target)]
        assert not faults, "\n".join(faults)

    def failover(self):
        """What the guest has then is what it had."""
        before = [self.lab.state(n) for n in self.lab.volumes]
        other = self.c.node("pve2" if self.owner.name == "pve1" else "pve1")
        other.pvesr("failover", "200", "--force", check=True)
        self.lab.turn_round()
        self.owner = other
        for n, (tree, traits) in enumerate(before):
            self.lab.live(n)  # mounts it as a start does: before that the quotas of an encrypted one are not told
            now, traits_now = self.lab.state(n)
            bad = treefacts.differences(tree, now) + ([] if traits == traits_now else [f"{traits} became {traits_now}"])
            assert not bad, f"volume {n} after the failover: " + "\n".join(bad)


def story(storage, rounds, seed):
    with rig.Cluster(storage=storage) as c:
        w = World(c, seed)
        w.run()
        moved = 0
        for i in range(rounds):
            try:
                for n in w.lab.volumes:
                    for _ in range(w.lab.random.randrange(1, 40)):
                        w.lab.change(n)
                    w.lab.names.change_traits(w.lab.source, n, w.lab.random)
                w.run()
                if i % 4 in (1, 3):
                    w.failover()
                    moved += 1
            except AssertionError as e:
                raise AssertionError(f"round {i}: {e}") from None
        gen = w.lab.gen
        print(f"# {storage}: {moved} failovers; made {sorted(gen.made.items())}; not possible here {sorted(gen.refused.items())}")
        missing = [kind for kind in gen.KINDS if kind not in gen.made and kind not in gen.refused]
        assert not missing, f"never made: {missing}"


for kind_of in os.environ.get("PVESR_TEST_STORAGES", "btrfs").split():
    for part, first in enumerate(range(0, ROUNDS, PART)):
        length = min(PART, ROUNDS - first)
        rig.check(f"trees on {kind_of}, {length} rounds (seed {rig.SEED + part})", lambda k=kind_of, n=length, s=rig.SEED + part: story(k, n, s),
                  needs=("root", kind_of))
rig.main()
