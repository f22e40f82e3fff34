#!/usr/bin/env python3
"""The guest changes its owner: stolen by its target, by another target, by a stranger, in the middle of a run; and the owner that comes back
with something that nobody else has. That is kept aside on it, bit by bit, and replication goes on from what is common."""
import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess

import rig
from guestlab import same_file
from scenario import GUEST, play_all, scenario


DEAF = """#!/usr/bin/env python3
import os, subprocess, sys
agent, left = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, bufsize=0), {bytes}
while left and (data := os.read(0, min(left, 65536))):
    agent.stdin.write(data)
    left -= len(data)
agent.stdin.close()
sys.exit(agent.wait())
"""


def disturb(w, at, target):
    """The agent on the target will die, or hear no more, when disk `at` is sent to it."""
    if w.kind in rig.MAKE:
        others = max((size for n, size in w.lab.disks.items() if n < at), default=0)
        if w.lab.disks[at] <= others:
            w.lab.grow_disk(at)
        w.c.set_agent(target, ["prlimit", f"--fsize={w.lab.disks[at] - 1}"])
        return
    with open(w.lab.live(at), "r+b") as f:
        f.write(os.urandom(4 << 20))
    script = os.path.join(w.c.dir, "deaf")
    with open(script, "w") as f:
        f.write(DEAF.format(bytes=2 << 20))
    os.chmod(script, 0o755)
    w.c.set_agent(target, [script])


def fail(w, at, job="100-0", target="pve2"):
    """A run that fails at disk `at`: what was sent before, and what was begun, keeps its snapshot on the source."""
    before = set(w.lab.names.entries(w.lab.source)[0])
    disturb(w, at, target)
    w.run(want=1, job=job)
    w.c.set_agent(target, [])
    made = {n for n, snap in w.lab.names.entries(w.lab.source)[0] - before if snap}
    assert made == set(range(at + 1)), f"the failed run left snapshots on disks {made}"


def change_all(w):
    for n in w.lab.disks:
        w.lab.write(n, 5)


class Alone:
    """What only one node has: (what it is, disk, a copy of its bytes)."""

    def __init__(self, w, node):
        self.w, self.node, self.things = w, node, []

    def note(self, what, n):
        self.things.append((what, n, self.w.copy(self.w.lab.names.live(self.node.store, n))))

    def lost(self, *elsewhere):
        """Which of it is neither on the node, kept aside, nor on one of these other nodes."""
        stores = [node.store for node in (self.node, *elsewhere)]
        return [f"lost: {what}, disk {n}; kept aside is {self.w.asides(self.node.store)}" for what, n, copy in self.things
                if not any(self.w.kept_aside(store, n, copy) for store in stores)]


def diverge(w, node):
    """On three disks: an unacknowledged snapshot; one with later writes; later writes alone."""
    alone = Alone(w, node)
    change_all(w)
    fail(w, at=1)
    alone.note("an unacknowledged snapshot", 0)
    alone.note("an unacknowledged snapshot, before later writes", 1)
    w.lab.write(1, 5)
    alone.note("writes after an unacknowledged snapshot", 1)
    w.lab.write(2, 5)
    alone.note("writes after the last snapshot", 2)
    return alone


def goes_on(w, alone, asides, full=False, **how):
    """The new owner replicates to the old one: nothing is lost, and from then on all is as ever."""
    change_all(w)
    w.run()
    bad = alone.lost()
    log = w.log()
    if not full and "full sync" in log:
        bad.append("a full sync: " + log)
    bad += w.lab.faults(asides=True, **how)
    seen = w.asides(alone.node.store)
    if len(seen) != asides:
        bad.append(f"{len(seen)} states are kept aside instead of {asides}: {seen}")
    change_all(w)
    w.run()
    log = w.log()
    bad += w.lab.faults(asides=True, **how) + alone.lost()
    if w.asides(alone.node.store) != seen or "full sync" in log:
        bad.append(f"the second run: {w.asides(alone.node.store)}\n{log}")
    assert not bad, "; ".join(bad)


def three_disks(w):
    w.lab.add_disk()
    w.lab.add_disk()
    w.create()
    w.run()


def over_to_the_target(w, *more):
    """Two disks; what pve1 wrote after the last run, which only it has; then pve2 has the guest, on its replicas, and writes. Copies of what pve1 left."""
    w.lab.add_disk()
    w.create(*more)
    w.run()
    change_all(w)
    left = {n: w.copy(w.lab.live(n)) for n in w.lab.disks}
    over(w, "pve2")
    change_all(w)
    return left


def over(w, node, *more):
    done = w.c.node(node).pvesr("failover", "100", "--force", *more, check=True)
    before, w.owner = w.owner, node
    w.face(before)
    return done


def disks_are(w, copies):
    return [n for n in w.lab.disks if same_file(w.lab.live(n), copies[n])] == list(w.lab.disks)


@scenario("xfs", "btrfs", "plain", *rig.ON_DISK)
def there_and_back(w):
    """failed over, and back before a run from there: the former owner's disks are no replicas, and stay as it left them, which is told; runs go on"""
    left = over_to_the_target(w)
    for more in (("--dry-run",), ("--dry-run", "--as-is")):
        said = w.a.pvesr("failover", "100", "--force", *more, check=True).stdout
        assert "are no replicas, but the disks that guest 100 had on this node before it went to node 'pve2'" in said, said
    over(w, "pve1")
    assert disks_are(w, left)
    w.a.pvesr("failover", "100", check=True)
    assert disks_are(w, left)
    for _ in range(2):
        change_all(w)
        w.run()
        w.proved(asides=True)
        assert w.kind == "plain" or "full sync" not in w.log(), w.log()


@scenario("xfs", "btrfs", *rig.ON_DISK)
def there_and_back_to_a_point(w):
    """the same to a restore point: the disks show that, and what the former owner wrote since is kept aside"""
    w.lab.add_disk()
    w.create()
    w.run()
    point = {n: w.copy(w.lab.live(n)) for n in w.lab.disks}
    name = next(s for n, s in w.lab.names.entries(w.a.store)[0] if (s or "").startswith("__replicate_"))
    change_all(w)
    left = {n: w.copy(w.lab.live(n)) for n in w.lab.disks}
    over(w, "pve2")
    change_all(w)
    over(w, "pve1", "--point", name)
    assert disks_are(w, point)
    assert all(w.kept_aside(w.a.store, n, copy) for n, copy in left.items()), w.asides(w.a.store)
    for _ in range(2):
        change_all(w)
        w.run()
        assert all(same_file(w.lab.live(n), w.lab.replica(n)) for n in w.lab.disks)
        assert "full sync" not in w.log(), w.log()


@scenario("zfspool", "zfscrypt")
def back_behind_its_own_points(w):
    """a node that was the guest's in between shows an older point again: the newer ones are kept aside, also those of its own runs, and each is told"""
    kept = []

    def run():
        w.lab.write(0, 5)
        w.run()
        kept.append(w.copy(w.lab.live(0)))

    w.create("--keep", "last=9")
    run()
    first, = (s for _, s in w.lab.names.entries(w.b.store)[0] if (s or "").startswith("__replicate_"))
    run()
    for node in ("pve2", "pve1"):
        over(w, node)
        run()
    said = over(w, "pve2", "--point", first).stdout
    assert same_file(w.lab.live(0), kept[0]), said
    for copy in kept[1:]:
        assert w.kept_aside(w.b.store, 0, copy), (said, w.asides(w.b.store))
    assert said.count(" is newer, and is kept aside as ") == len(kept) - 1, said


@scenario("xfs", "btrfs", "plain")
def before_the_removal(w):
    """the job was told to go, with its replicas, and the owner died before that: the guest fails over to them; its removal then takes nothing of the guest"""
    w.lab.add_disk()
    w.create()
    w.run()
    left = {n: w.copy(w.lab.live(n)) for n in w.lab.disks}
    change_all(w)
    alone = Alone(w, w.a)
    for n in w.lab.disks:
        alone.note("what was written after the last run", n)
    w.a.pvesr("delete", "100-0", check=True)
    assert "job '100-0' is to be removed" in over(w, "pve2").stdout
    assert disks_are(w, left)
    w.run()
    assert disks_are(w, left) and "100-0" not in w.status()
    assert not alone.lost(), alone.lost()


@scenario("xfs", "btrfs", "plain")
def not_back_to_what_nobody_knows(w):
    """the same where the disk was made anew since, the note of the last run is lost, or the guest is another one: refused, unless it is taken as it is"""
    def refused():
        done = w.a.pvesr("failover", "100", "--force")
        assert done.returncode and "nothing tells that it is the disk" in done.stderr and "--as-is" in done.stderr, f"{done.stdout}{done.stderr}"
        assert w.a.pvesr("failover", "100", "--force", "--as-is", "--dry-run").returncode == 0

    w.write_guest(w.lab.config() + "smbios1: uuid=11111111-1111-4111-8111-111111111111\n")
    w.create()
    w.run()
    over(w, "pve2")
    known = w.lab.config() + "smbios1: uuid={0}{0}-1111-4111-8111-111111111111\n"
    w.write_guest(known.format("2222"))
    refused()
    w.write_guest(known.format("1111"))
    w.a.pvesr("failover", "100", "--force", "--dry-run", check=True)
    notes = os.path.join(w.a.dir, "state", "pvesr-guests", "100-0")
    os.rename(notes, notes + ".away")
    refused()
    os.rename(notes + ".away", notes)
    if w.kind == "xfs":
        live = w.lab.names.live(w.a.store, 0)
        shutil.copy(live, live + ".new")
        os.rename(live + ".new", live)
        refused()


@scenario()
def old_owner_returns(w):
    """stolen by the target; the old owner comes back with snapshots and writes that nobody else has"""
    three_disks(w)
    alone = diverge(w, w.a)
    w.steal("pve2")
    goes_on(w, alone, asides=4)
    job = w.job()
    assert (job["source"], job["target"]) == ("pve2", "pve1"), job


@scenario()
def old_owner_returns_to_an_old_state(w):
    """the same, and the new owner remembers a last sync to that node from an earlier time"""
    three_disks(w)
    for owner in ("pve2", "pve1"):
        w.steal(owner)
        change_all(w)
        w.run()
        w.proved()
    alone = diverge(w, w.a)
    w.steal("pve2")
    goes_on(w, alone, asides=4)


@scenario("xfs", "btrfs", "plain")
def failed_over(w):
    """the guest comes by the command, as often as it likes: without a map of storages its configuration stays as it is"""
    three_disks(w)
    w.write_guest("#comment\n" + w.lab.config() + "odd line\n")
    path = os.path.join(w.c.tree, "nodes", "{}", "qemu-server", "100.conf")
    with open(path.format("pve1")) as f:
        config = f.read()
    for node in ("pve2", "pve1"):
        said = w.c.node(node).pvesr("failover", "100", "--force", check=True).stdout
        assert f"guest 100 is on node '{node}' now" in said and "->" not in said, said
        with open(path.format(node)) as f:
            assert f.read() == config
        target, w.owner = w.owner, node
        w.face(target)
        w.c.node(node).pvesr("failover", "100", check=True)
        w.lab.write(0, 5)
        w.run()
        w.proved()


@scenario("xfs", "btrfs", "plain")
def old_owner_has_a_grown_disk(w):
    """the old owner's disk grew after the last sync: it is kept aside whole, the replica has the size of the new owner's"""
    w.create()
    w.run()
    w.lab.grow_disk(0)
    with open(w.lab.live(0), "r+b") as f:
        f.seek(9 << 20)
        f.write(os.urandom(8192))
    alone = Alone(w, w.a)
    alone.note("a grown disk", 0)
    w.steal("pve2")
    w.lab.disks[0] = os.path.getsize(w.lab.live(0))
    w.lab.save()
    goes_on(w, alone, asides=1, full=True)


@scenario()
def old_owner_has_a_removed_disk(w):
    """a disk is removed on the new owner; what the old owner alone had of it is kept aside when it goes there"""
    three_disks(w)
    alone = diverge(w, w.a)
    w.steal("pve2")
    for n in (0, 1, 2):
        if n == 0:
            w.lab.add_disk()
        w.lab.remove_disk(n)
    for _ in range(2):
        w.run()
        w.proved(asides=True)
        assert not alone.lost(), alone.lost()
        w.lab.write(3, 5)


def is_renamed(w, store, n):
    """Does a mark say that a snapshot of the disk gets, or has, the name of what is kept aside?"""
    folder = w.lab.names.folder(store)
    marks = []
    for path in (folder, *(os.path.join(folder, name) for name in os.listdir(folder))):
        with contextlib.suppress(OSError):  # a run is under way: files and attributes go
            marks += [os.getxattr(path, name) for name in os.listxattr(path)]
    return any(b"diverged_" in mark and f"disk-{n}".encode() in mark for mark in marks)


@scenario("xfs", "btrfs")
def written_while_it_goes(w):
    """somebody writes to a former disk after it was asked whether anything would be lost with it, and before it goes: that is kept aside, too"""
    three_disks(w)
    alone = diverge(w, w.a)
    w.steal("pve2")
    w.lab.remove_disk(0)
    path = w.lab.names.live(w.a.store, 0)
    # the agent is slow to rename the snapshot that was made here: by then the first answer is there
    w.c.set_agent("pve1", rig.strace("-f", "-qq", "-o", "/dev/null", "-e", "trace=renameat,renameat2,rename",
                                     "-e", "inject=renameat,renameat2,rename:delay_enter=1500000"))
    p = subprocess.Popen(w.b.argv("pvesr", "run", "--id", "100-0"), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    w.c.cleanup.callback(rig.stop, p)
    rig.wait_for(lambda: p.poll() is not None or is_renamed(w, w.a.store, 0), "the snapshot that is about to be kept aside")
    found = []
    if p.poll() is None and os.path.exists(path):
        w.lab.disks[0] = os.path.getsize(path)
        w.lab.write(0, 5, path)
        w.lab.disks.pop(0)
        found.append(w.copy(path))
    _, said = p.communicate(timeout=rig.RUN_SECONDS)
    w.c.set_agent("pve1", [])
    assert p.returncode == 0, said
    assert found, f"it was gone before anybody could write to it: {w.log(w.b)}"
    if os.path.exists(path):  # it stays until it is known what it has
        assert same_file(path, found[0]) and "cannot clean up on the target, the next run will" in w.log(w.b), w.log(w.b)
        w.run()
    assert w.kept_aside(w.a.store, 0, found[0]), f"what was written is lost: {w.asides(w.a.store)}: {w.log(w.b)}"
    assert not os.path.exists(path) and not alone.lost(), alone.lost()
    w.proved(asides=True)


@scenario()
def removed_after_the_theft(w):
    """the job was to be removed when the guest was stolen: the old owner's disks go, but not what it alone had"""
    w.lab.add_disk()
    w.create()
    w.run()
    w.lab.write(1, 5)
    alone = Alone(w, w.a)
    alone.note("writes after the last snapshot", 1)
    whole = [w.copy(w.lab.replica(n)) for n in w.lab.disks]
    w.a.pvesr("delete", "100-0", check=True)
    w.steal("pve2")
    w.run()
    assert w.status() == {} and not alone.lost(), (w.status(), alone.lost())
    found, odd = w.lab.names.entries(w.b.store)
    assert (found, odd) == ({(0, None), (1, None)}, []), (found, odd)
    assert all(same_file(w.lab.live(n), copy) for n, copy in enumerate(whole)), "the guest's own disks were changed"
    left, odd = w.lab.names.entries(w.a.store)
    assert all((snap or "").startswith("diverged_") for _, snap in left) and not odd, (left, odd)


@scenario("xfs")
def disabled_when_stolen(w):
    """a disabled job turns round, too, and does nothing until it is enabled"""
    w.create()
    w.run()
    w.a.pvesr("disable", "100-0", check=True)
    w.lab.write(0, 5)
    alone = Alone(w, w.a)
    alone.note("writes after the last snapshot", 0)
    w.steal("pve2")
    assert w.status() == {} or w.status()["100-0"]["target"] == "pve1", w.status()
    job = w.job()
    assert (job["source"], job["target"], job["disable"]) == ("pve2", "pve1", 1), job
    assert not w.asides(w.a.store)
    done = w.run(want=1)
    assert "disabled" in done.stderr, done.stderr
    w.b.pvesr("enable", "100-0", check=True)
    goes_on(w, alone, asides=1)


@scenario("plain")
def old_owner_returns_plain(w):
    """the same without reflinks: the live file is kept aside, one full copy, then increments"""
    w.lab.add_disk()
    w.create()
    w.run()
    alone = Alone(w, w.a)
    w.lab.write(0, 5)
    fail(w, at=0)
    alone.note("an unacknowledged snapshot", 0)
    w.lab.write(1, 5)
    alone.note("writes after the last snapshot", 1)
    w.steal("pve2")
    goes_on(w, alone, asides=2, full=True)


@scenario()
def point_of_another_job(w):
    """the returning owner has a snapshot of the guest's other job, newer than what is common, known nowhere else"""
    w.c.add_node("pve3")
    w.lab.add_disk()
    w.create()
    w.create(job="100-1", target="pve3")
    w.run(job="100-1")
    w.run()
    change_all(w)
    alone = Alone(w, w.a)
    fail(w, at=1, job="100-1", target="pve3")
    alone.note("a snapshot of job 100-1", 0)
    alone.note("a snapshot of job 100-1, before later writes", 1)
    w.lab.write(1, 5)
    alone.note("writes after a snapshot of job 100-1", 1)
    w.steal("pve2")
    goes_on(w, alone, asides=3, others=True)
    w.face("pve3")
    w.run(job="100-1")
    w.proved(job="100-1", asides=True, others=True)
    tidy_again(w, {"100-0": "pve1", "100-1": "pve3"})


def tidy_again(w, targets):
    """Each job has run from here; after one run more each has one point, and each target has that of its own."""
    for job, target in targets.items():
        w.lab.write(0, 3)
        w.face(target)
        w.run(job=job)
        w.proved(job=job, asides=True, others=True)
        assert "full sync" not in w.log(job=job), w.log(job=job)
    found, odd = w.lab.names.entries(w.lab.source)
    for n in w.lab.disks:
        points = sorted(s for d, s in found if d == n and (s or "").startswith("__replicate_"))
        assert len(points) == len(targets) and not odd, f"disk {n} of the owner has {points}, and {odd}"


def two_jobs(w):
    """The jobs' targets as they are now: {job: (source, target)}."""
    return {job: (w.job(job)["source"], w.job(job)["target"]) for job in ("100-0", "100-1")}


@scenario("xfs", "btrfs", "plain", "zfspool", "lvmthin")
def planned_moves(w):
    """a guest moves to and fro between nodes, each time after a last sync of each of its jobs: nothing is lost, so nothing is kept aside"""
    w.c.add_node("pve3")
    w.lab.add_disk()
    w.create()
    w.create(job="100-1", target="pve3")
    w.run()
    w.run(job="100-1")
    for owner in ("pve2", "pve3"):
        w.lab.write(0, 5)
        for job in two_jobs(w):
            w.run(job=job)
        w.steal(owner)
        w.status()  # turns the jobs round
        if w.kind == "plain":  # it keeps one restore point, of one job
            w.run()
            assert same_file(w.lab.live(0), w.lab.replica(0))
            break
        for job, (_, target) in 2 * list(two_jobs(w).items()):
            w.face(target)
            w.run(job=job)
            w.proved(job=job, others=True)
            assert "full sync" not in w.log(job=job), w.log(job=job)
    left = [w.asides(w.c.node(n).store) for n in ("pve1", "pve2", "pve3")]
    assert not any(left), left


@scenario("xfs")
def one_that_moved_and_cannot_be_turned_round(w):
    """a guest moved while replication.cfg cannot be written: its job cannot run and says why, those of other guests go on"""
    w.create()
    w.run()
    other = os.path.join(w.b.store, "images/200")
    os.makedirs(other)
    disk = os.path.join(other, "vm-200-disk-0.raw")
    with open(disk, "wb") as f:
        f.write(os.urandom(1 << 20))
    w.c.write_guest("pve2", 200, f"scsi0: {w.c.storage_id}:200/vm-200-disk-0.raw\n")
    w.b.pvesr("create-local-job", "200-0", "pve1", check=True)
    w.steal("pve2")
    locks = os.path.join(w.c.tree, "priv/lock")
    shutil.rmtree(locks)
    with open(locks, "w", encoding="utf-8"):
        pass
    w.run(job="200-0")
    assert same_file(disk, disk.replace(w.b.store, w.a.store))
    why = "job '100-0' cannot run: guest 100 is on this node, but the source of its job cannot be set to 'pve2' yet: "
    assert why in w.run(want=1).stderr
    for words in (("status",), ("at-risk",), ("plan", "200-0"), ("run",)):
        done = w.b.pvesr(*words, check=True)
        assert words[0] in ("plan", "run") or why in done.stderr, f"{words}: {done.stdout}{done.stderr}"
    assert w.status()["200-0"]["fail_count"] == 0 and "priv/lock" in json.dumps(w.status()["100-0"]), w.status()
    os.unlink(locks)
    w.lab.write(0, 3)
    w.run()
    assert "full sync" not in w.log(), w.log()
    w.proved()


@scenario()
def sibling_that_cannot_be_read(w):
    """two targets, stolen by the first, while the section of the other job cannot be read: what its target needs stays until it can, and it goes on \
by increments"""
    w.c.add_node("pve3")
    w.create()
    w.create(job="100-1", target="pve3")
    w.run(job="100-1")
    change_all(w)
    w.run()
    w.steal("pve2", target="pve1")
    with open(os.path.join(w.c.tree, "replication.cfg"), encoding="utf-8") as f:
        jobs = f.read()
    w.c.write("replication.cfg", jobs.replace("target pve3", "target pve 3"))
    for _ in range(3):
        change_all(w)
        w.run()
    assert "is not understood" in w.run(job="100-1", want=1).stderr
    with open(os.path.join(w.c.tree, "replication.cfg"), encoding="utf-8") as f:
        jobs = f.read()
    w.c.write("replication.cfg", jobs.replace("target pve 3", "target pve3"))
    w.run(job="100-1")
    assert "incremental sync" in w.log(job="100-1") and "full sync" not in w.log(job="100-1"), w.log(job="100-1")
    w.run()
    w.face("pve3")
    w.proved(job="100-1", asides=True, others=True)


@scenario()
def stolen_by_the_other_target(w):
    """two targets, stolen by the second: its job turns round, the first goes on; what each target had more is kept aside"""
    w.c.add_node("pve3")
    w.lab.add_disk()
    w.lab.add_disk()
    w.create()
    w.create(job="100-1", target="pve3")
    w.run(job="100-1")
    w.run()
    change_all(w)
    w.run()  # acknowledged by pve2, never seen by pve3
    newest = Alone(w, w.b)
    for n in w.lab.disks:
        newest.note("the newest restore point of pve2", n)
    alone = Alone(w, w.a)
    w.lab.write(2, 5)
    alone.note("writes after the last snapshot", 2)
    w.steal("pve3")
    change_all(w)
    w.run(job="100-1")
    assert two_jobs(w) == {"100-0": ("pve3", "pve2"), "100-1": ("pve3", "pve1")}, two_jobs(w)
    w.proved(job="100-1", asides=True, others=True)
    assert "full sync" not in w.log(job="100-1"), w.log(job="100-1")
    w.face("pve2")
    w.run()
    w.proved(asides=True, others=True)
    assert "full sync" not in w.log(), w.log()
    bad = alone.lost() + newest.lost(w.a)
    assert not bad, bad
    tidy_again(w, {"100-1": "pve1", "100-0": "pve2"})


@scenario()
def stolen_twice(w):
    """two targets, stolen by the first, then by the second: all three hold the same in the end, nothing was sent in full"""
    w.c.add_node("pve3")
    w.create()
    w.create(job="100-1", target="pve3")
    w.run(job="100-1")
    w.run()
    for owner, after in (("pve2", {"100-0": ("pve2", "pve1"), "100-1": ("pve2", "pve3")}),
                         ("pve3", {"100-0": ("pve3", "pve1"), "100-1": ("pve3", "pve2")})):
        w.steal(owner)
        w.lab.take_guest_snapshot()
        for job, (_, target) in after.items():
            w.lab.write(0, 3)
            w.face(target)
            w.run(job=job)
            w.proved(job=job, others=True)
            assert "full sync" not in w.log(job=job), w.log(job=job)
        assert two_jobs(w) == after, two_jobs(w)
        tidy_again(w, {job: target for job, (_, target) in after.items()})


@scenario("xfs")
def stolen_by_a_stranger(w):
    """stolen by a node without a replica, which gets the bare disks by hand: refused, the replica stays; back home it goes on"""
    c3 = w.c.add_node("pve3")
    w.create()
    w.run()
    kept = w.copy(w.lab.replica(0))
    w.lab.names.create(c3.store, 0, 0)
    shutil.copyfile(w.lab.live(0), w.lab.names.live(c3.store, 0))
    w.steal("pve3", target="pve2")
    done = w.run(want=1)
    assert "No common base snapshot on volume(s)" in done.stderr, done.stderr
    job = w.job()
    assert (job["source"], job["target"]) == ("pve3", "pve2"), job
    assert same_file(w.lab.replica(0), kept) and same_file(w.lab.restore_point(w.b.store, 0), kept)
    assert w.lab.names.entries(c3.store) == ({(0, None)}, []), "the refused run left something"
    w.steal("pve1", target="pve2")
    w.lab.write(0, 3)
    w.run()
    w.proved()
    assert "full sync" not in w.log(), w.log()


@scenario("xfs")
def moved_to_a_stranger(w):
    """stolen by a node that got the disks with all their snapshots and attributes: it goes on from there"""
    c3 = w.c.add_node("pve3")
    w.create()
    w.run()
    subprocess.run(["cp", "-a", os.path.join(w.a.store, "images"), c3.store], check=True)
    w.steal("pve3", target="pve2")
    w.lab.write(0, 3)
    w.run()
    w.proved()
    assert "full sync" not in w.log(), w.log()


@scenario()
def deleted_on_the_new_owner(w):
    """a guest snapshot of the former owner is deleted on the new one: it goes from the former, too"""
    w.lab.take_guest_snapshot()
    w.lab.take_guest_snapshot()
    w.create()
    w.run()
    w.steal("pve2")
    w.run()
    w.lab.drop_guest_snapshot("snap0")
    w.lab.write(0, 3)
    w.run()
    w.proved()
    w.steal("pve1")
    w.lab.drop_guest_snapshot("snap1")
    w.run()
    w.proved()


@scenario()
def guest_snapshot_of_the_old_owner(w):
    """a guest snapshot that the old owner took after the last sync is not destroyed; the new owner may use its name"""
    w.create()
    w.run()
    w.lab.write(0, 5)
    alone = Alone(w, w.a)
    alone.note("a guest snapshot", 0)
    w.lab.take_guest_snapshot()
    w.lab.write(0, 5)
    alone.note("writes after a guest snapshot", 0)
    w.steal("pve2")
    w.lab.snapshots, w.lab.next_snapshot = {}, 0  # the new owner was restored from a backup of the configuration
    w.lab.save()
    w.lab.write(0, 5)
    w.run()
    bad = [f"{what} is lost" for what, n, copy in alone.things
           if not w.kept_aside(w.a.store, n, copy) and not same_if_there(w.lab.names.snapshot(w.a.store, n, "snap0"), copy)]
    assert not bad, bad
    assert w.lab.take_guest_snapshot() == "snap0"
    w.lab.write(0, 5)
    w.run()
    w.proved(asides=True)
    assert not alone.lost(), alone.lost()


def same_if_there(path, copy):
    return os.path.exists(path) and same_file(path, copy)


# ---- in the middle of a run ----

def held(w, node):
    """All that a node shows of the guest: {(disk, snapshot): bytes}."""
    return {(n, snap): w.copy(w.lab.names.live(node.store, n) if snap is None else w.lab.names.snapshot(node.store, n, snap))
            for n, snap in w.lab.names.entries(node.store)[0]}


def same_as(w, node, before):
    now = w.lab.names.entries(node.store)[0]
    assert now == set(before), f"the target holds {now} instead of {set(before)}"
    for (n, snap), copy in before.items():
        path = w.lab.names.live(node.store, n) if snap is None else w.lab.names.snapshot(node.store, n, snap)
        assert same_file(path, copy), f"{path} was changed"


def refused(w, p, text):
    """The run ended with an error that names the guest and its new owner."""
    _, errors = p.communicate(timeout=rig.RUN_SECONDS)
    assert p.returncode not in (0, -signal.SIGKILL), f"exit {p.returncode}: {errors}"
    for word in ("100", text):
        assert word in errors, f"{word!r} is not in: {errors}"


def start(w):
    p = subprocess.Popen(w.a.argv("pvesr", "run", "--id", "100-0"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                         stderr=subprocess.PIPE, text=True)
    w.c.cleanup.callback(rig.stop, p)
    return p


def has_open(p, path):
    for fd in os.listdir(f"/proc/{p.pid}/fd"):
        try:
            if os.readlink(f"/proc/{p.pid}/fd/{fd}") == path:
                return True
        except OSError:
            pass
    return False


def steal_while_locked(w, owner, lock):
    w.c.add_node("pve3")
    w.create()
    w.run()
    w.lab.write(0, 5)
    before = held(w, w.b)
    path = os.path.join(w.a.lock_dir, lock)
    with open(path, "a") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        p = start(w)
        rig.wait_for(lambda: p.poll() is not None or has_open(p, path), "the run at the lock")
        w.c.move_guest(100, "pve1", owner)
    refused(w, p, owner)
    same_as(w, w.b, before)
    w.c.move_guest(100, owner, "pve1")
    w.run()
    w.proved()


@scenario("xfs")
def stolen_while_waiting(w):
    """stolen by a third node while the run waits for the node's lock: a clear error, the target is as before"""
    steal_while_locked(w, "pve3", "pvesr.lck")


@scenario("xfs")
def stolen_while_the_guest_is_busy(w):
    """stolen by the target while the run waits for the guest's lock: a clear error, the target is as before"""
    steal_while_locked(w, "pve2", "pve-migrate-100")


def steal_while_transferring(w, owner):
    w.c.add_node("pve3")
    w.lab.add_disk()
    w.create("--rate", "1")
    w.run()
    with open(w.lab.live(0), "r+b") as f:
        f.write(os.urandom(2 << 20))
    before = held(w, w.b)
    p = start(w)
    stage = lambda: any("stage" in name for name in os.listdir(w.lab.names.folder(w.b.store)))
    rig.wait_for(lambda: p.poll() is not None or stage(), "the transfer")
    assert p.poll() is None, "the run ended before the guest was stolen"
    w.c.move_guest(100, "pve1", owner)
    refused(w, p, owner)
    same_as(w, w.b, before)
    w.c.move_guest(100, owner, "pve1")
    w.a.pvesr("update", "100-0", "--delete", "rate", check=True)
    w.run()
    w.proved()


@scenario("xfs")
def stolen_by_a_third_during_the_transfer(w):
    """stolen by a third node during the transfer: a clear error, nothing is committed on the target"""
    steal_while_transferring(w, "pve3")


@scenario("xfs", "btrfs")
def stolen_by_the_target_during_the_transfer(w):
    """stolen by the target during the transfer: a clear error, the new owner's disks are left alone"""
    steal_while_transferring(w, "pve2")


@scenario("xfs", "plain", "btrfs")
def disk_that_only_the_target_has(w):
    """a disk with replicate=0 that the guest left behind on its former node stays there, written to or not: no run and no removal of the job takes what its file names and its node has not"""
    w.lab.add_disk()
    w.create()
    w.run()
    w.b.pvesr("failover", "100", "--force", check=True)
    w.run(w.b)
    w.a.pvesr("failover", "100", "--force", check=True)
    w.c.write_guest("pve1", 100, re.sub(r"(disk-1\b[^\n]*)", r"\1,replicate=0", w.lab.config()))
    w.run()
    assert not os.path.exists(w.lab.replica(1)), "it is not replicated any more"
    for written in (False, True):
        if written:
            with open(w.lab.live(1), "r+b") as f:
                f.write(b"nobody else has this")
                os.fsync(f.fileno())
        kept = w.copy(w.lab.live(1))
        w.b.pvesr("failover", "100", "--force", check=True)
        assert "destroy" not in w.b.pvesr("plan", "100-0", check=True).stdout
        w.run(w.b)
        volid = f"{w.c.storage_id}:{w.lab.names.volname(1)}"
        assert f"WARNING: '{volid}' on node 'pve1' stays, although it is replicated no more: the guest's configuration names" in w.log(w.b), w.log(w.b)
        assert f"pve1 keeps {volid}, which this node has no more" in w.b.pvesr("status", check=True).stdout, w.b.pvesr("status").stdout
        assert same_file(w.lab.live(1), kept)
        w.a.pvesr("failover", "100", "--force", check=True)
        w.run()
        assert "WARNING" not in w.log() and same_file(w.lab.live(1), kept), w.log()
    w.b.pvesr("failover", "100", "--force", check=True)
    w.run(w.b)
    w.b.pvesr("delete", "100-0", check=True)
    w.run(w.b)
    assert w.status(w.b) == {} and not os.path.exists(w.lab.live(0)) and same_file(w.lab.live(1), kept)


def left_behind(w):
    """A disk that only pve1 has, alone on its storage, while the guest is on pve2: its image, and what the last run there said."""
    w.c.share_disk("other", "xfs")
    image = [os.path.join(node.mount, "other/images/100/vm-100-disk-1.raw") for node in (w.a, w.b)]
    os.makedirs(os.path.dirname(image[0]))
    with open(image[0], "wb") as f:
        f.write(os.urandom(1 << 20))
    config = w.lab.config().strip()
    w.c.write_guest("pve1", 100, f"{config}\nscsi9: other:100/vm-100-disk-1.raw,size=1M\n")
    w.create()
    w.run()
    w.b.pvesr("failover", "100", "--force", check=True)
    w.run(w.b)
    os.unlink(image[1])
    w.c.write_guest("pve2", 100, f"{config}\nscsi9: other:100/vm-100-disk-1.raw,replicate=0,size=1M\n")
    for _ in range(2):
        w.run(w.b)
        assert "may be all that there is of it" in w.log(w.b) and os.path.exists(image[0]), w.log(w.b)
    return image[0], config


@scenario("xfs")
def taken_out_where_it_is_not(w):
    """…also on a storage where it is alone: each run tells of it, until the configuration names it no more: then it goes"""
    image, config = left_behind(w)
    w.c.write_guest("pve2", 100, config + "\n")
    w.run(w.b)
    assert not os.path.exists(image), w.log(w.b)


@scenario("xfs")
def taken_out_after_the_job(w):
    """…also when the job is removed, whose log has the command by which it goes then"""
    image, config = left_behind(w)
    w.b.pvesr("delete", "100-0", check=True)
    w.run(w.b)
    command = re.search("on that node: 'pvesr (doctor --guest 100 --free other:.*)'", w.log(w.b))
    assert command and os.path.exists(image), w.log(w.b)
    w.c.write_guest("pve2", 100, config + "\n")
    w.a.pvesr(*command[1].split(), check=True)
    assert not os.path.exists(image)


@scenario("xfs")
def edited_meanwhile(w):
    """a disk is added while `pvesr failover` waits for the tree's lock: the guest does not move to where it has no replica of that"""
    w.create()
    w.run()
    folder = os.path.join(w.c.tree, "priv", "lock")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "file-replication_cfg")
    with open(path, "a+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        p = subprocess.Popen(w.b.argv("pvesr", "failover", "100", "--force"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        w.c.cleanup.callback(rig.stop, p)
        rig.wait_for(lambda: p.poll() is not None or rig.has_open(p.pid, path), "the failover")
        assert p.poll() is None, p.communicate()
        w.lab.add_disk()
    said, _ = p.communicate(timeout=rig.RUN_SECONDS)
    assert p.returncode and "were changed in its configuration meanwhile" in said, said
    w.run()
    w.proved()
    w.b.pvesr("failover", "100", "--force", check=True)


@scenario("xfs")
def state_is_of_an_ownership(w):
    """what a node remembers of its runs is not used again when the guest comes back by hand, nor for a new job of the old id"""
    def fails(owner, other):
        w.c.set_agent(other, ["/bin/false"], whole=True)
        w.run(want=1)
        w.c.set_agent(other, [])
        state = w.status()["100-0"]
        assert state["fail_count"] == 1 and state["error"], state

    def is_new():
        state = w.status()["100-0"]
        assert (state["fail_count"], state["last_sync"], state["last_try"], "error" in state) == (0, 0, 0, False), state
    w.create()
    w.run()
    fails("pve1", "pve2")
    w.steal("pve2")
    w.run()
    fails("pve2", "pve1")
    w.steal("pve1")
    is_new()
    w.run()
    w.proved()
    fails("pve1", "pve2")
    w.a.pvesr("delete", "100-0", "--force", check=True)
    w.create()
    is_new()
    w.run()
    w.proved()


play_all()
