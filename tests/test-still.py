#!/usr/bin/env python3
"""The disks of a running VM without a guest agent are of one instant, where each snapshot is a step of its own: the guest is held meanwhile,
and goes on whatever becomes of the run.

The guest counts: to its first disk, then to the next, then to all again. Whatever instant its disks are of, none is more than one step behind
another.

PVESR_STILL_RUNS (5): how often it is looked at. PVESR_STILL_BESIDE_FILES (zfspool lvmthin): what a guest has a disk on beside one in a file.
"""
import contextlib
import json
import mmap
import os
import random
import re
import subprocess
import sys

import rig
from guestblocks import device
from scenario import GUEST, World, play_all, scenario

BLOCK = 4096
WORD = 8
FILES = ("xfs", "btrfs", "dir-on-btrfs")
# On one processor it would take half of it from whoever is to be done meanwhile; even so it makes many steps between two snapshots there.
GUEST_PROGRAM = f"""
import mmap, os, sys, time
rest = 0.02 if os.cpu_count() == 1 else 0
shown = mmap.mmap(os.open(sys.argv[1], os.O_RDWR), {WORD})
disks = [os.open(path, os.O_RDWR | os.O_DIRECT) for path in sys.argv[2:]]
block = mmap.mmap(-1, {BLOCK})
n = 0
while True:
    n += 1
    block[:{WORD}] = n.to_bytes({WORD}, "big")
    for disk in disks:
        os.pwrite(disk, block, 0)
    shown[:] = block[:{WORD}]
    if rest:
        time.sleep(rest)
"""
POINTS = int(os.environ.get("PVESR_KILL_POINTS", "3"))
RUNS = int(os.environ.get("PVESR_STILL_RUNS", "5"))


class Guest:
    def __init__(self, shown):
        self.path = shown
        with open(shown, "wb") as f:
            f.truncate(WORD)

    def steps(self):
        with open(self.path, "rb") as f:
            return int.from_bytes(f.read(), "big")

    def goes_on(self, what):
        before = self.steps()
        rig.wait_for(lambda: self.steps() > before + 2, f"the guest's next step {what}")


@contextlib.contextmanager
def counting(w, paths, group):
    guest = Guest(os.path.join(w.c.dir, "steps"))
    with rig.fake_running_vm(GUEST, [sys.executable, "-c", GUEST_PROGRAM, guest.path, *paths], group):
        guest.goes_on("at the begin")
        yield guest


@contextlib.contextmanager
def own_group():
    with rig.control_group(f"{GUEST}.scope") as group:
        yield group


def is_frozen(group):
    with open(os.path.join(group, "cgroup.events")) as f:
        return "frozen 1" in f.read()


def count_of(path):
    with open(path, "rb") as f, mmap.mmap(-1, BLOCK) as block:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
        try:
            os.preadv(fd, [block], 0)
        finally:
            os.close(fd)
        return int.from_bytes(block[:WORD], "big")


def check_one(paths, what):
    """Disks are written in this order."""
    counts = [count_of(path) for path in paths]
    assert counts == sorted(counts, reverse=True) and counts[0] - counts[-1] <= 1 and counts[-1] > 0, f"{what}: {counts}"
    return counts[0]


def replicas(w):
    return [w.lab.replica(n) for n in sorted(w.lab.disks)]


def three_disks(w):
    while len(w.lab.disks) < 3:
        w.lab.add_disk()
    w.create()
    w.run()
    return [w.lab.live(n) for n in sorted(w.lab.disks)]


@scenario(*FILES, "lvmthin")
def one_instant(w):
    """the disks of a guest that writes all the time to each in turn are of one instant on the target, run after run"""
    paths, last = three_disks(w), 0
    with own_group() as group, counting(w, paths, group) as guest:
        for _ in range(RUNS):
            w.run()
            with w.lab.names_there.standing_still():
                now = check_one(replicas(w), w.log())
            assert now > last, (last, now)
            assert f"hold the guest still, by {group}" in w.log() and "it was held for" in w.log(), w.log()
            assert not is_frozen(group)
            guest.goes_on("after a run")
            last = now


def set_hold_limit(node, seconds):
    with open(node.config, "a") as f:
        f.write(f"hold-limit: {seconds}\n")


@scenario("xfs")
def not_held(w):
    """a guest is not held where that is turned off, where somebody else is in its control group or below, or it is in none: the log says so"""
    paths = three_disks(w)
    with own_group() as group, counting(w, paths, group):
        for place in (group, os.path.join(group, "below")):
            os.makedirs(place, exist_ok=True)
            other = subprocess.Popen(["sh", "-c", f"echo 0 >{place}/cgroup.procs && exec sleep infinity"])
            rig.wait_for(lambda: open(f"{place}/cgroup.procs").read().count("\n") == (2 if place == group else 1), "the stranger")
            w.run()
            assert "are of several instants" in w.log() and f"holds process {other.pid}, too" in w.log(), w.log()
            rig.stop(other)
        os.rmdir(place)
        w.run()
        assert "it was held for" in w.log(), w.log()
        set_hold_limit(w.a, 0)
        w.run()
        assert "are of several instants" in w.log() and "hold-limit is 0" in w.log() and not is_frozen(group), w.log()
        set_hold_limit(w.a, 10)
    with counting(w, paths, None):
        w.run()
        assert "are of several instants" in w.log() and "no control group of its own" in w.log(), w.log()


def was_taken(w, n):
    log = w.log()
    reused, taken = (sorted(m[1] for m in re.finditer(how, log)) for how in (r"nothing changed on (\S+) since", r"create snapshot '\S+' on (\S+)"))
    assert len(taken) == n and len(reused) == len(w.lab.disks) - n, f"{n} snapshots were to be taken: {log}"


@scenario("xfs", "btrfs", "dir-on-btrfs", "zfspool")
def none_or_all(w):
    """of a guest that goes on, a disk that is as it was when it was asked and the snapshot of another are of two instants: all are taken, or none"""
    paths = three_disks(w)
    set_hold_limit(w.a, 0)
    with own_group() as group, rig.fake_running_vm(GUEST, group=group):
        for n in (2, 0):
            w.lab.write(n, 3)
            w.run()
            was_taken(w, len(paths))
            w.proved()
        w.run()
        was_taken(w, 0)
        if w.kind == "zfspool":
            return  # one command takes them all: it is never held
        set_hold_limit(w.a, 10)
        w.lab.write(1, 3)
        w.run()
        assert "it was held for" in w.log(), w.log()
        was_taken(w, 1)
        w.proved()


@scenario("xfs")
def a_single_disk(w):
    """a guest with one disk is not held: one snapshot is one instant"""
    w.create()
    w.run()
    with own_group() as group, counting(w, [w.lab.live(0)], group):
        w.run()
        assert "guest still" not in w.log() and "several instants" not in w.log(), w.log()


@scenario("xfs")
def held_already(w):
    """a guest that somebody froze is still, and stays so"""
    paths = three_disks(w)
    with own_group() as group, counting(w, paths, group) as guest:
        with open(os.path.join(group, "cgroup.freeze"), "w") as f:
            f.write("1")
        rig.wait_for(lambda: is_frozen(group), "the freeze")
        before = guest.steps()
        w.run()
        assert "guest still" not in w.log() and "several instants" not in w.log(), w.log()
        assert is_frozen(group) and guest.steps() == before
        check_one(replicas(w), "frozen by a person")
        rig.thaw_group(group)


@scenario("xfs")
def left_still(w):
    """what a run and its watchdog, killed at once, leave of a guest that was held: doctor names it, with what lets it go on"""
    paths = three_disks(w)

    def found(*of):
        done = w.a.pvesr("doctor", *of, "--output-format", "json", check=True)
        return [f["text"] for f in json.loads(done.stdout) if f["volid"] == f"guest {GUEST}"]

    with own_group() as group, counting(w, paths, group) as guest:
        assert found() == []
        with open(os.path.join(group, "cgroup.freeze"), "w") as f:
            f.write("1")
        rig.wait_for(lambda: is_frozen(group), "the freeze")
        text, = found()
        assert found("--guest", GUEST) == [text]
        assert f">{group}/" in text and "its control group is frozen: 'echo " in text, text
        subprocess.run(["sh", "-c", re.search("'(echo .*)' lets it go on", text)[1]], check=True)
        guest.goes_on("after what doctor says")
        assert found() == []


@scenario("xfs", "btrfs")
def held_too_long(w):
    """a guest is let go when its time is over, whatever the snapshots do; they are taken anew, and the log calls them what they are"""
    paths = three_disks(w)
    set_hold_limit(w.a, 1)
    with own_group() as group, counting(w, paths, group) as guest:
        late = rig.strace("-qq", "-o", "/dev/null", "-P", os.path.join(group, "cgroup.freeze"), "-e", "trace=write", "-e",
                "inject=write:delay_enter=1500000:when=2+2")  # whenever the run is to let it go
        done = w.a.pvesr("run", "--id", "100-0", prefix=late)
        assert done.returncode == 0, done.stderr
        log = w.log()
        assert "guest was let go while its snapshots were taken" in log and "they are of several instants (see hold-limit" in log, log
        assert not is_frozen(group)
        guest.goes_on("after it was let go")


CALLS = ("openat", "write", "read", "ioctl", "fsync", "poll", "sendto", "close", "socketpair", "wait4", "pread64", "unlinkat", "fsetxattr")


def held_steps(log):
    """(call, n) of the run while it holds the guest, and a little before and after; of each call so many points, spread evenly."""
    with open(log) as f:
        lines = [m for m in (re.match(r"(?:\d+ +)?(\w+)\((.*)", line) for line in f) if m and m[1] in CALLS]
    held = [i for i, m in enumerate(lines) if "cgroup.freeze" in m[2]]
    assert len(held) > 2, "the guest was not held"
    seen, within = {}, {}
    for i, m in enumerate(lines):
        seen[m[1]] = seen.get(m[1], 0) + 1
        if held[0] - 10 <= i <= held[-1] + 10:
            within.setdefault(m[1], []).append(seen[m[1]])
    for call, numbers in sorted(within.items()):
        few = min(len(numbers), POINTS)
        yield from ((call, numbers[round(i * (len(numbers) - 1) / max(1, few - 1))]) for i in range(few))


@scenario("xfs", "btrfs")
def killed_at_every_step(w):
    """a run is killed at each step while it holds the guest: the guest goes on, and the next run's disks are of one instant"""
    paths, log = three_disks(w), os.path.join(w.c.dir, "trace")
    with own_group() as group, counting(w, paths, group) as guest:
        words = rig.strace("-b", "execve", "-qq", "-y", "-o", log)
        assert w.a.pvesr("run", "--id", "100-0", prefix=[*words, "-e", "trace=" + ",".join(CALLS)]).returncode == 0
        plan = list(held_steps(log))
        most = int(os.environ.get("PVESR_KILL_MOST", "10000"))
        plan = random.Random(rig.SEED).sample(plan, min(most, len(plan)))
        for call, n in plan:
            what = f"after a kill at {call} {n} (seed {rig.SEED})"
            w.a.pvesr("run", "--id", "100-0", prefix=[*words, "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={n}"])
            guest.goes_on(what)
            rig.wait_for(lambda: not is_frozen(group), f"the thaw {what}")
            w.run()
            assert "it was held for" in w.log(), f"{what}: {w.log()}"
            check_one(replicas(w), what)
        print(f"# {len(plan)} steps on {w.kind}, seed {rig.SEED}")


def beside(w, volid, path):
    """One more disk, behind those of the lab."""
    w.write_guest(w.lab.config() + f"scsi9: {volid}\n")
    w.create()
    w.run()
    with own_group() as group, counting(w, [w.lab.live(0), path(w.a)], group):
        for _ in range(min(RUNS, 3)):
            w.run()
            check_one([w.lab.replica(0), path(w.b)], w.log())
    return w.log()


@scenario("zfspool")
def one_pool(w):
    """disks on two storages of one ZFS pool are of one instant by one command: the guest is not held"""
    for node in (w.a, w.b):
        rig.sh("zfs", "create", f"{node.store}/more")
    rig.sh("zfs", "create", "-s", "-V", "8M", f"{w.a.store}/more/vm-{GUEST}-disk-9")
    w.c.storages_more += f"zfspool: aa\n\tpool {rig.POOL}/more\n\tsparse 1\n\n"
    w.c.write_tree()
    w.lab.add_disk()
    log = beside(w, f"aa:vm-{GUEST}-disk-9", lambda node: device(f"/dev/zvol/{node.store}/more/vm-{GUEST}-disk-9"))
    assert "guest still" not in log and "several instants" not in log, log


def two_kinds(kind):
    """One disk there, one in a file."""
    with rig.Cluster(storage=kind, also="xfs") as c:
        w = World(c, kind)
        def path(node):
            return os.path.join(node.mount, "st/images", str(GUEST), f"vm-{GUEST}-disk-9.raw")
        os.makedirs(os.path.dirname(path(w.a)))
        with open(path(w.a), "wb") as f:
            f.truncate(8 << 20)
        log = beside(w, f"{c.also_id}:{GUEST}/vm-{GUEST}-disk-9.raw", path)
        assert "it was held for" in log, log


for KIND in os.environ.get("PVESR_STILL_BESIDE_FILES", "zfspool lvmthin").split():
    rig.check(f"two_kinds: a disk on {KIND} and one in a file are of one instant", lambda kind=KIND: two_kinds(kind), needs=("root", KIND, "xfs"))
play_all()
