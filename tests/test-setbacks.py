#!/usr/bin/env python3
"""What fails again and again, and what must come of it when it is repaired: nothing piles up meanwhile, nothing is lost, all is equal in the
end. And what cannot be written down is said."""
import collections
import contextlib
import os
import re
import subprocess

import rig
from guestlab import GuestLab, same_file
from scenario import GUEST, play_all, scenario


def piled_up(w, most):
    """What failing runs may leave per volume on each side: the acknowledged point, the finished and the unfinished transfer that the next
    run goes on from, and its own new one."""
    for store in (w.a.store, w.b.store):
        found, _ = w.lab.names.entries(store)
        for n in w.lab.disks:
            snaps = sorted(s for d, s in found if d == n and s)
            assert len(snaps) <= most, f"disk {n} in {store} has {snaps}"


def fails_again_and_again(w, times=6):
    """The guest writes on, the run fails on: what is left after the last failure is not more than after the fourth."""
    left = []
    for _ in range(times):
        for n in w.lab.disks:
            w.lab.write(n, 3)
        w.run(want=1)
        left.append(tuple(len(w.lab.names.entries(store)[0]) for store in (w.a.store, w.b.store)))
        piled_up(w, most=4)
    assert left[-1] <= left[3], f"it piles up: {left}"
    assert w.status()["100-0"]["fail_count"] == times, w.status()


def repaired(w):
    w.run()
    w.proved()
    state = w.status()["100-0"]
    assert state["fail_count"] == 0 and "error" not in state, state
    for n in w.lab.disks:
        w.lab.write(n, 3)
    w.run()
    w.proved()
    assert "full sync" not in w.log(), w.log()


@scenario("xfs", "plain")
def another_volume_fails(w):
    """a volume is added while another fails at each run: nothing piles up, after the repair all is equal"""
    w.lab.add_disk()
    w.create()
    w.run()
    w.lab.add_disk()
    w.lab.grow_disk(1)
    w.c.set_agent("pve2", ["prlimit", f"--fsize={w.lab.disks[1] - 1}"])
    fails_again_and_again(w)
    w.c.set_agent("pve2", [])
    repaired(w)


@scenario("btrfs")
def the_added_volume_fails(w):
    """a volume is added and fails at each run: nothing piles up, after the repair all is equal"""
    w.create()
    w.run()
    n = w.lab.add_disk(16 << 20)
    w.c.set_agent("pve2", ["prlimit", f"--fsize={w.lab.disks[n] - 1}"])
    fails_again_and_again(w)
    w.c.set_agent("pve2", [])
    repaired(w)


@scenario("xfs")
def full_again_and_again(w):
    """the target has no room for one of three volumes, one of them new: nothing piles up, after the repair all is equal"""
    w.lab.add_disk()
    w.create()
    w.run()
    w.lab.add_disk()
    w.lab.grow_disk(1, 64 << 20)
    with open(w.lab.live(1), "r+b") as f:
        for _ in range(64):
            f.write(os.urandom(1 << 20))
    filler = os.path.join(w.b.store, "filler")
    at = os.statvfs(w.b.store)
    with open(filler, "wb") as f:
        try:
            os.posix_fallocate(f.fileno(), 0, max(1, at.f_bavail * at.f_frsize - (24 << 20)))
        except OSError:
            pass
    fails_again_and_again(w, times=6)
    os.unlink(filler)
    os.sync()
    repaired(w)


class Mixed:
    """One guest with a disk on each kind of storage."""

    def __init__(self, w):
        self.w = w
        w.c.share_disk("btr", "btrfs")
        w.c.share_disk("pla", "plain")
        self.labs = [w.lab] + [GuestLab(kind, name, os.path.join(w.a.mount, name), os.path.join(w.b.mount, name), None, seed=i)
                               for i, (name, kind) in enumerate((("btr", "btrfs"), ("pla", "plain")))]
        for lab in self.labs:
            lab.write_config = lambda _: self.save()
        for lab in self.labs[1:]:
            lab.add_disk()

    def save(self):
        volumes = [f"{lab.storage_id}:{lab.names.volname(n)},size={size}" for lab in self.labs for n, size in sorted(lab.disks.items())]
        self.w.write_guest("".join(f"scsi{i}: {volume}\n" for i, volume in enumerate(volumes)))

    def write(self):
        for lab in self.labs:
            for n in lab.disks:
                lab.write(n, 10)

    def proved(self):
        faults = {lab.storage_id: lab.faults() for lab in self.labs}
        assert not any(faults.values()), faults


@scenario("xfs")
def mixed_storages(w):
    """one guest with disks on XFS, btrfs and plain ext4: full, deltas, an added disk, a failure at each kind: all kept equal"""
    mixed = Mixed(w)
    w.create()
    w.run()
    mixed.proved()
    mixed.write()
    w.run()
    mixed.proved()
    for lab in mixed.labs:
        n = lab.add_disk(16 << 20)
        w.c.set_agent("pve2", ["prlimit", f"--fsize={lab.disks[n] - 1}"])
        w.run(want=1)
        mixed.write()
        w.run(want=1)
        w.c.set_agent("pve2", [])
        mixed.write()
        w.run()
        mixed.proved()
        lab.remove_disk(n)
    mixed.write()
    w.run()
    mixed.proved()
    assert "full sync" not in w.log(), w.log()


@scenario("xfs")
def storage_of_one_is_missing(w):
    """the storage of one volume is not there on the target: nothing is left by failing runs, afterwards all is equal"""
    mixed = Mixed(w)
    w.create()
    w.run()
    mixed.write()
    there = os.path.join(w.b.mount, "pla")
    subprocess.run(["umount", there], check=True)
    os.rmdir(there)
    before = [lab.names.entries(side) for lab in mixed.labs for side in (lab.source, lab.target)]
    for _ in range(3):
        done = w.run(want=1)
        assert "pve2" in done.stderr and "'pla'" in done.stderr, done.stderr
        mixed.write()
    before[-1] = (set(), [])
    assert before == [lab.names.entries(side) for lab in mixed.labs for side in (lab.source, lab.target)]
    os.makedirs(there)
    subprocess.run(["mount", "--bind", os.path.join(w.c.dir, "pla", "pve2"), there], check=True)
    w.run()
    mixed.proved()
    assert "full sync" not in w.log(), w.log()


# ---- written to by hand, switched off ----

def written_by_hand(w, n):
    with open(w.lab.replica(n), "r+b") as f:
        f.seek(3 << 20)
        f.write(os.urandom(8192))
    return w.copy(w.lab.replica(n))


@scenario("xfs", "btrfs", "plain")
def written_again_and_again(w):
    """replicas are written to by hand, twice, with and without a change on the source: each state is kept aside, it goes on"""
    w.lab.add_disk()
    w.create()
    w.run()
    kept = []
    for changed in ((0,), (1,)):
        kept += [(n, written_by_hand(w, n)) for n in w.lab.disks]
        for n in changed:
            w.lab.write(n, 5)
        w.run()
        w.proved(asides=True)
        lost = [n for n, copy in kept if not w.kept_aside(w.b.store, n, copy)]
        assert not lost, f"disks {lost}: what was written is not kept: {w.asides(w.b.store)}"
        assert len(w.asides(w.b.store)) == len(kept), w.asides(w.b.store)
    for n in w.lab.disks:
        w.lab.write(n, 5)
    w.run()
    w.proved(asides=True)
    assert "full sync" not in w.log() and len(w.asides(w.b.store)) == len(kept), w.log()


@scenario("plain")
def touched(w):
    """the replica's times change, its bytes do not: nothing is kept aside, the next run is incremental"""
    w.create()
    w.run()
    os.utime(w.lab.replica(0))
    w.lab.write(0, 5)
    w.run()
    w.proved()
    assert "full sync" not in w.log(), w.log()


def switch(w, n, on):
    text = w.lab.config()
    line = next(l for l in text.splitlines() if f"disk-{n}" in l)
    w.write_guest(text if on else text.replace(line, line + ",replicate=0"))


@scenario("xfs", "btrfs", "plain")
def off_and_on_with_asides(w):
    """replicate=0 and on again for a volume of which states are kept aside on the target: copied anew, what is aside stays"""
    n = w.lab.add_disk()
    w.create()
    w.run()
    first = written_by_hand(w, n)
    w.run()
    second = written_by_hand(w, n)
    switch(w, n, on=False)
    w.run()
    left = {s for d, s in w.lab.names.entries(w.b.store)[0] if d == n}
    assert None not in left and all(s.startswith("diverged_") for s in left), left
    w.lab.write(n, 3)
    switch(w, n, on=True)
    for _ in range(2):
        w.run()
        w.proved(asides=True)
        for what, copy in (("first", first), ("second", second)):
            assert w.kept_aside(w.b.store, n, copy), f"the {what} state is lost: {w.asides(w.b.store)}"
        w.lab.write(n, 3)
    w.run()
    w.proved(asides=True)
    assert "full sync" not in w.log(), w.log()


@scenario("xfs", "btrfs", "plain")
def removed_and_created_with_asides(w):
    """the job is removed and created again where states are kept aside: a new first copy, what is aside stays"""
    w.create()
    w.run()
    copy = written_by_hand(w, 0)
    w.run()
    w.a.pvesr("delete", "100-0", check=True)
    w.run()
    assert {s[:9] for _, s in w.lab.names.entries(w.b.store)[0]} == {"diverged_"}, w.lab.names.entries(w.b.store)
    w.create()
    for _ in range(2):
        w.run()
        w.proved(asides=True)
        assert w.kept_aside(w.b.store, 0, copy)
        w.lab.write(0, 3)


# ---- written to in the middle of a run ----

def has_begun(w, n):
    """Does the stage have the first bytes of what is sent? Without reflinks it is a copy of the replica before, made while nobody may write."""
    folder = w.lab.names.folder(w.b.store)
    with open(w.lab.live(n), "rb") as f:
        first = f.read(4096)
    for path in (os.path.join(at, name) for at, _, files in os.walk(folder) for name in files):
        with contextlib.suppress(FileNotFoundError):
            if "stage" in os.path.relpath(path, folder):
                with open(path, "rb") as f:
                    if f.read(4096) == first:
                        return True
    return False


def slow_run(w, n, during):
    """A run that is in the middle of sending disk n when `during` is called. Returns its exit status and what it said."""
    w.a.pvesr("update", "100-0", "--rate", "1", check=True)
    with open(w.lab.live(n), "r+b") as f:
        f.write(os.urandom(4 << 20))
    p = subprocess.Popen(w.a.argv("pvesr", "run", "--id", "100-0"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                         stderr=subprocess.PIPE, text=True)
    w.c.cleanup.callback(rig.stop, p)
    rig.wait_for(lambda: p.poll() is not None or has_begun(w, n), "the transfer")
    assert p.poll() is None, "the run ended too early"
    during()
    _, errors = p.communicate(timeout=rig.RUN_SECONDS)
    w.a.pvesr("update", "100-0", "--delete", "rate", check=True)
    return p.returncode, errors


@scenario("xfs", "btrfs", "plain")
def replica_written_meanwhile(w):
    """the replica is written to while it is replaced: that state is kept aside"""
    w.create()
    w.run()
    copies = []
    status, errors = slow_run(w, 0, lambda: copies.append(written_by_hand(w, 0)))
    assert status == 0, errors
    w.proved(asides=True)
    assert w.kept_aside(w.b.store, 0, copies[0]) and len(w.asides(w.b.store)) == 1, w.asides(w.b.store)
    w.lab.write(0, 3)
    w.run()
    w.proved(asides=True)
    assert "full sync" not in w.log() and len(w.asides(w.b.store)) == 1, w.log()


@scenario("xfs", "btrfs")
def source_written_meanwhile(w):
    """the guest writes while its snapshot is sent: the replica is the snapshot, nothing of what was written later"""
    w.create()
    w.run()
    copies = []

    def during():
        copies.append(w.copy(w.lab.live(0)))
        w.lab.write(0, 20)
    status, errors = slow_run(w, 0, during)
    assert status == 0, errors
    assert same_file(w.lab.replica(0), copies[0])
    w.run()
    w.proved()


@scenario("plain")
def plain_source_written_meanwhile(w):
    """without reflinks: a disk that is written to while it is sent is not acknowledged, the replica stays as it was"""
    w.create()
    w.run()
    before = w.copy(w.lab.replica(0))

    def during():
        with open(w.lab.live(0), "r+b") as f:
            f.seek(2 << 20)  # what was sent already is what the restore point has
            f.write(os.urandom(2 << 20))
    status, errors = slow_run(w, 0, during)
    assert status != 0 and "vm-100-disk-0" in errors, f"exit {status}: {errors}"
    assert same_file(w.lab.replica(0), before)
    w.run()
    w.proved()
    assert "full sync" not in w.log(), w.log()


# ---- what cannot be written down ----

def tmpfs(w, path, *options):
    os.makedirs(path, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", path], check=True)

    def undo():
        subprocess.run(["umount", "-l", path], check=True)
    w.c.cleanup.callback(subprocess.run, ["umount", "-l", path], check=False, capture_output=True)
    return undo


def fill(path):
    with open(os.path.join(path, "filler"), "wb", buffering=0) as f:
        try:
            while f.write(bytes(4096)):
                pass
        except OSError:
            pass


@scenario("xfs")
def log_cannot_be_written(w):
    """the folder of the logs is read-only, or full: the run says so and goes on, and later logs are whole"""
    w.create()
    for options in (("ro",), ("size=16k",)):
        undo = tmpfs(w, w.a.log_dir, *options)
        if "ro" not in options:
            fill(w.a.log_dir)
        w.lab.write(0, 3)
        done = w.a.pvesr("run", "--id", "100-0")
        assert "log" in done.stderr and w.a.log_dir in done.stderr, done.stderr
        w.proved()
        undo()
    w.run()
    assert "end replication job" in w.log(), w.log()


def state_file(w):
    return os.path.join(w.a.state_dir, "pve-replication-state.json")


@scenario("xfs")
def state_is_read_only(w):
    """the state cannot be written: refused with the reason before anything is done"""
    w.create()
    w.run()
    before = [w.lab.names.entries(store) for store in (w.a.store, w.b.store)]
    kept = w.copy(w.lab.replica(0))
    w.lab.write(0, 3)
    subprocess.run(["mount", "--bind", w.a.state_dir, w.a.state_dir], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", w.a.state_dir], check=True)
    done = w.run(want=1)
    assert "pve-replication-state" in done.stderr and "ead-only" in done.stderr, done.stderr
    assert before == [w.lab.names.entries(store) for store in (w.a.store, w.b.store)]
    assert same_file(w.lab.replica(0), kept)
    subprocess.run(["umount", w.a.state_dir], check=True)
    w.run()
    w.proved()


@scenario("xfs")
def state_is_full(w):
    """no room for the state: refused with the reason, the state of before is whole"""
    tmpfs(w, w.a.state_dir, "size=1m")
    w.create()
    w.run()
    with open(state_file(w)) as f:
        text = f.read()
    fill(w.a.state_dir)
    w.lab.write(0, 3)
    done = w.run(want=1)
    assert w.a.state_dir in done.stderr and "No space left" in done.stderr, done.stderr
    assert open(state_file(w)).read() == text
    os.unlink(os.path.join(w.a.state_dir, "filler"))
    w.run()
    w.proved()


@scenario("xfs", "btrfs", "plain")
def state_of_the_target_is_full(w):
    """no room for what a commit writes down on the target: nothing is shown, what was written there is kept, and the message says where room is needed"""
    tmpfs(w, w.b.state_dir, "size=1m")
    w.create()
    w.run()
    w.lab.write(0, 3, path=w.lab.replica(0))
    mine = w.copy(w.lab.replica(0))
    fill(w.b.state_dir)
    w.lab.write(0, 3)
    for _ in range(2):
        done = w.run(want=1)
        assert w.b.state_dir in done.stderr and "No space left" in done.stderr and "bytes free" in done.stderr, done.stderr
        assert same_file(w.lab.replica(0), mine), "the replica was changed"
    os.unlink(os.path.join(w.b.state_dir, "filler"))
    w.run()
    assert w.kept_aside(w.b.store, 0, mine) and len(w.asides(w.b.store)) == 1, w.asides(w.b.store)
    w.proved(asides=True)


@scenario("xfs")
def end_cannot_be_recorded(w):
    """the state can no longer be written when the run ends: it fails and says so; the next run finds the acknowledged point"""
    state = os.path.join(w.a.mount, "state")
    w.a.state_dir = state
    w.a.write_config()
    w.create()
    w.run()
    w.c.cleanup.callback(subprocess.run, ["chattr", "-i", state], check=False)
    status, errors = slow_run(w, 0, lambda: subprocess.run(["chattr", "+i", state], check=True))
    assert status > 0 and state in errors, f"exit {status}: {errors}"
    assert same_file(w.lab.live(0), w.lab.replica(0)), "the target did not commit"
    subprocess.run(["chattr", "-i", state], check=True)
    w.run()
    w.proved()
    assert "full sync" not in w.log() and w.status()["100-0"]["fail_count"] == 0


@scenario("xfs", "plain")
def stage_from_a_backup(w):
    """a copy of an unfinished transfer, made of it while it went on, has the attributes of its end and bytes of before: it is not gone on with"""
    size = 200 << 20
    w.lab.grow_disk(0, size - w.lab.disks[0])
    with open(w.lab.live(0), "r+b") as f:
        for _ in range(size >> 20):
            f.write(os.urandom(1 << 20))
    w.create("--rate", "40")
    stage = os.path.join(w.lab.names.folder(w.b.store), ".pvesr-stage.vm-100-disk-0.raw")

    def offset():
        try:
            return int(os.getxattr(stage, "user.pvesr.stage").split()[7])
        except OSError:
            return 0
    p = subprocess.Popen(w.a.argv("pvesr", "run", "--id", "100-0"), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    w.c.cleanup.callback(rig.stop, p)
    rig.wait_for(lambda: p.poll() is not None or offset() > 0, "a part that is durable")
    assert p.poll() is None, p.stderr.read()
    p.kill()
    p.wait()
    with open(stage + ".copy", "xb") as f:
        f.truncate(os.path.getsize(stage))
    for name in os.listxattr(stage):
        os.setxattr(stage + ".copy", name, os.getxattr(stage, name))
    os.rename(stage + ".copy", stage)
    w.a.pvesr("update", "100-0", "--delete", "rate", check=True)
    w.run()
    w.proved()
    assert "goes on at byte" not in w.log(), w.log()


@scenario("plain")
def digests_are_lost(w):
    """digests of a restore point that read as zeros, on either node, after which the guest writes zeros: no block is taken for one that is there"""
    w.create()
    w.run()
    w.proved()
    for node in (w.a, w.b):
        w.lab.write(0, 20)
        w.run()
        snap, = (s for n, s in w.lab.names.entries(node.store)[0] if s and s.startswith("__replicate_"))
        path = w.lab.names.snapshot(node.store, 0, snap)
        with open(path, "r+b") as f:
            f.seek(32)
            f.write(bytes(os.path.getsize(path) - 32))
        with open(w.lab.live(0), "r+b") as f:
            f.write(bytes(4 << 20))
        w.run()
        assert same_file(w.lab.live(0), w.lab.replica(0)), "a block of zeros was taken for one that is there"
        w.run()


@scenario("plain")
def digests_are_lost_of_what_did_not_change(w):
    """the digests that were lost are those of a file that did not change since: they are made anew, not copied"""
    w.create()
    w.run()
    kept = w.copy(w.lab.live(0))
    for _ in range(2):
        for name in (s for n, s in w.lab.names.entries(w.a.store)[0] if s and s.startswith("__replicate_")):
            path = w.lab.names.snapshot(w.a.store, 0, name)
            with open(path, "r+b") as f:
                f.seek(32)
                f.write(bytes(os.path.getsize(path) - 32))
        w.run()
        assert same_file(w.lab.replica(0), kept), "blocks were left out"
    w.lab.write(0, 5)
    w.run()
    assert same_file(w.lab.replica(0), w.lab.live(0))
    assert "full sync" not in w.log(), w.log()


@scenario("xfs", "btrfs")
def started_before_the_snapshots(w):
    """a VM that is started between the question whether it runs and the snapshots: a disk that had not changed by then is not taken for unchanged"""
    w.lab.add_disk()
    w.create()
    w.run()
    w.lab.write(1, 3)
    trace = os.path.join(w.c.tree, "trace")
    words = rig.strace("-f", "-qq", "-o", trace, "-P", f"/run/qemu-server/{GUEST}.pid", "-e", "trace=openat",
                       "-e", "inject=openat:delay_enter=3000000:when=4")
    p = subprocess.Popen([*words, *w.a.argv("pvesr", "run", "--id", "100-0")], stdin=subprocess.DEVNULL)
    w.c.cleanup.callback(rig.stop, p)

    def asked():
        if p.poll() is not None or not os.path.exists(trace):
            return p.poll() is not None
        with open(trace, encoding="utf-8") as f:
            return f.read().count("ENOENT") >= 3
    rig.wait_for(asked, "the question")
    with rig.fake_running_vm(GUEST):
        w.lab.write(0, 3)
        w.lab.write(1, 4)
        assert p.wait() == 0, w.log()
    for n in (0, 1):
        assert same_file(w.lab.live(n), w.lab.replica(n)), f"disk {n}: {w.log()}"


def traced(w, node, *words):
    """A run of which the source, or the agent on the target, is traced with these words."""
    prefix = rig.strace("-f", "-qq", *words)
    for n in w.lab.disks:
        w.lab.write(n, 20)
    w.c.set_agent("pve2", prefix if node is w.b else [])
    done = w.a.pvesr("run", "--id", "100-0", prefix=prefix if node is w.a else ())
    w.c.set_agent("pve2", [])
    return done


def calls_of(w, node, call):
    """At the begin, in the middle and at the end of a run: which of its calls of this name are for the guest's images."""
    trace = os.path.join(w.c.dir, "trace")
    assert traced(w, node, "-y", "-o", trace, "-e", f"trace={call}").returncode == 0
    count, found = collections.Counter(), collections.defaultdict(list)
    with open(trace, encoding="utf-8", errors="replace") as f:
        for process, name, words in re.findall(r"(?m)^(\d+) +(\w+)\((.*)$", f.read()):
            count[process] += name == call
            if "/images/" in words.partition(">")[0]:
                found[process].append(count[process])
    mine = max(found.values(), key=len, default=[])
    return sorted({mine[0], mine[len(mine) // 2], mine[-1]}) if mine else []


@scenario("xfs", "btrfs", "plain")
def disk_fails(w):
    """the disk gives errors from some read, write or flush on, on either node: the run fails and says so, the replica is one instant, and all goes on"""
    w.lab.add_disk()
    w.create()
    w.run()
    failed = 0
    for node, call in ((w.a, "pread64"), (w.a, "fsync"), (w.b, "pread64"), (w.b, "pwrite64"), (w.b, "fsync")):
        for nth in calls_of(w, node, call):
            w.proved(asides=w.kind == "plain")  # what its disk does not give counts as written to
            before = {n: w.copy(w.lab.replica(n)) for n in w.lab.disks}
            done = traced(w, node, "-o", "/dev/null", "-e", f"inject={call}:error=EIO:when={nth}+")
            what = f"{node.name}, {call} from the {nth}th on: {done.stderr}"
            same = {same_file(w.lab.replica(n), before[n]) for n in w.lab.disks}
            if done.returncode:
                failed += 1
                assert len(same) == 1 or "may be of two instants" in done.stderr, f"disks of two instants: {what}"
                said = done.stderr + w.status()["100-0"].get("error", "")
                assert "Input/output error" in said and "see dmesg" in said, what
            w.run()
            assert "full sync" not in w.log(), f"{what}; {w.log()}"
    assert failed >= 6, f"{failed} runs failed"
    w.proved(asides=w.kind == "plain")


play_all()
