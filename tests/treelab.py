"""A container whose files are changed at random, and the proof that its replica equals it. treenames.py knows what its mount points are
on each storage type.

Nothing here asks pvesr what it did: the trees are compared name by name, with everything that a container can see of a file.
"""
import random

from treefacts import differences, too_large, tree
from treegen import TreeGen
from treenames import NAMES


class TreeLab:
    """One container with mount points 0 (its root), 1, … `write_config(text)` puts its configuration into the tree."""

    def __init__(self, storage_type, storage_id, source, target, write_config, guest=200, seed=0):
        self.names = NAMES[storage_type](guest)
        self.storage_id, self.source, self.target = storage_id, source, target
        self.write_config, self.guest = write_config, guest
        self.random = random.Random(seed)
        self.volumes = []    # numbers; the first one is the root
        self.snapshots = {}  # name -> volumes at that time
        self.more = []       # further lines of the configuration
        self.seen = {}       # trees of snapshots
        self.snapshots_made = 0
        self.gen = TreeGen(self.random, clones=self.names.has_clones, flags=self.names.flags)

    def live(self, n):
        return self.names.live(self.source, n)

    def tree(self, store, n, snap=None, fresh=False):
        """What there is to see; fresh: a snapshot is read again."""
        key = self.names.identity(store, n, snap)
        if fresh or key not in self.seen:
            with self.names.opened(store, n, snap) as root:
                self.seen[key] = tree(root)
        return self.seen[key] if key else self.seen.pop(key)

    def state(self, n):
        """The live volume: its tree, and what is set on it."""
        with self.names.opened(self.source, n) as root:
            return tree(root), self.names.traits(self.source, n)

    def mount_points(self, volumes):
        for i, n in enumerate(volumes):
            volid = f"{self.storage_id}:{self.names.volname(n)}"
            yield f"rootfs: {volid},size=1G" if i == 0 else f"mp{i - 1}: {volid},mp=/data{i},size=1G"

    def save(self):
        lines = ["hostname: lab", "arch: amd64", *self.mount_points(self.volumes), *self.more]
        for snap, volumes in self.snapshots.items():
            lines += ["", f"[{snap}]", "snaptime: 1", *self.mount_points(volumes)]
        self.write_config("\n".join(lines) + "\n")

    # ---- what an administrator does ----

    def add_volume(self, files=40):
        n = len(self.volumes)
        self.names.create(self.source, n)
        self.volumes.append(n)
        self.populate(n, files)
        self.save()
        return n

    def take_guest_snapshot(self):
        snap = f"snap{self.snapshots_made}"
        self.snapshots_made += 1
        for n in self.volumes:
            self.names.make_snapshot(self.source, n, snap)
        self.snapshots[snap] = list(self.volumes)
        self.save()
        return snap

    def drop_guest_snapshot(self, snap):
        volumes = self.snapshots.pop(snap)
        self.save()
        for n in volumes:
            self.names.drop_snapshot(self.source, n, snap)

    def turn_round(self):
        self.source, self.target = self.target, self.source

    # ---- what a container does ----

    def populate(self, n, files):
        self.gen.populate(self.live(n), files, many=files * 10)

    def change(self, n):
        """One random change of a mount point's files."""
        self.gen.change(self.live(n))

    def step(self, drop=True):
        """Random changes; drop: perhaps a guest snapshot goes."""
        for _ in range(self.random.randrange(1, 40)):
            self.change(self.random.choice(self.volumes))
        roll = self.random.random()
        if roll < 0.25 and len(self.snapshots) < 3:
            self.take_guest_snapshot()
        elif drop and roll < 0.45 and self.snapshots:
            self.drop_guest_snapshot(self.random.choice(sorted(self.snapshots)))

    # ---- proof ----

    def entries(self, store):
        """{(volume, snapshot or None)} and what is neither."""
        return self.names.entries(store)

    def asides(self, store):
        return sorted((n, s) for n, s in self.entries(store)[0] if (s or "").startswith("diverged_"))

    def point(self, store, n):
        """The newest replication snapshot, None if there is none."""
        points = sorted((int(s.split("_")[-3]), s) for d, s in self.entries(store)[0] if d == n and (s or "").startswith("__replicate_"))
        return points[-1][1] if points else None

    def replica_faults(self, n, point):
        with self.names.opened(self.target, n) as replica, self.names.opened(self.source, n, point) as here:
            bad = differences(self.tree(self.source, n, point), tree(replica)) + too_large(here, replica)
        return [f"live replica {n}: {d}" for d in bad]

    def faults(self, job="200-0"):
        """Every way in which the two sides are not as they must be after a successful run."""
        with self.names.standing_still():
            return self.find_faults(job)

    def find_faults(self, job):
        here, odd_here = self.entries(self.source)
        there, odd_there = self.entries(self.target)
        bad = [f"left on the source: {name}" for name in odd_here] + [f"left on the target: {name}" for name in odd_there]
        here, there = ({e for e in side if not (e[1] or "").startswith("diverged_")} for side in (here, there))
        if here != there:
            bad.append(f"only on the source: {sorted(map(str, here - there))}, only on the target: {sorted(map(str, there - here))}")
        for n in self.volumes:
            points = [s for d, s in here if d == n and (s or "").startswith(f"__replicate_{job}_")]
            if len(points) != 1:
                bad.append(f"volume {n} has replication snapshots {points}")
                continue
            bad += self.replica_faults(n, points[0]) + self.names.volume_faults(self.source, self.target, n)
        for n, snap in here & there:
            if snap:
                bad += [f"volume {n}, snapshot {snap}: {d}" for d in differences(self.tree(self.source, n, snap), self.tree(self.target, n, snap))]
        bad += [f"guest snapshot {snap} of volume {n} is missing" for snap, volumes in self.snapshots.items() for n in volumes
                if (n, snap) not in there]
        return bad
