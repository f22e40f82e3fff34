#!/usr/bin/env python3
"""What goes wrong in the life of a job, made to happen, and what must come of it. Each scenario gets a fresh two-node cluster (the agent
is spawned directly, no ssh) on each kind of storage that it makes sense on."""
import fcntl
import json
import os
import re
import subprocess
import time

import rig
from guestlab import same_file
from scenario import play_all, scenario


@scenario("xfs", "btrfs", "plain")
def life(w):
    """first sync, increments, growth, an added and a removed disk"""
    w.create()
    w.run()
    w.proved()
    w.lab.write(0, 20)
    w.lab.grow_disk(0)
    n = w.lab.add_disk()
    w.run()
    w.proved()
    w.lab.remove_disk(n)
    with open(w.lab.live(0), "r+b") as f:
        f.write(b"changed")
    w.run()
    w.proved()
    state = w.status()["100-0"]
    assert state["fail_count"] == 0 and state["last_sync"] > 0 and "error" not in state, state
    log = w.log()
    for phrase in ("start replication job", "guest => VM 100, running => 0", "volumes => ", "create snapshot '__replicate_100-0_",
                   "using secure transmission, rate limit: none", "incremental sync '", "delete previous replication snapshot '",
                   "end replication job"):
        assert phrase in log, f"{phrase!r} is not in the log:\n{log}"
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d 100-0: ", line) for line in log.splitlines()), log


@scenario()
def nothing_changed(w):
    """nothing changed between two runs: the restore point gets the new name on both sides, no snapshot is made"""
    w.lab.add_disk()
    w.create()
    w.run()
    with open(w.lab.live(1), "r+b") as f:
        f.write(b"changed")
    w.run()
    w.proved()
    log = w.log()
    assert log.count("nothing changed on") == 1 and log.count("create snapshot") == 1, log
    w.run()
    w.proved()
    log = w.log()
    assert log.count("nothing changed on") == 2 and "create snapshot" not in log and "cannot" not in log, log
    last = w.status()["100-0"]["last_sync"]
    assert (1, f"__replicate_100-0_{last}__") in w.lab.names.entries(w.b.store)[0]
    w.write_there()
    w.run()
    w.proved(asides=True)
    assert len(w.asides(w.b.store)) == 1


@scenario()
def partial_first_sync(w):
    """the first permanent error of the described tool: a first sync that fails at its second volume"""
    w.lab.add_disk()
    w.create()
    w.run()  # make the folders, then forget it all
    w.a.pvesr("delete", "100-0", check=True)
    w.run()
    w.create()
    undo = w.block(1)
    w.run(want=1)
    assert w.status()["100-0"]["fail_count"] == 1
    undo()
    w.lab.write(0, 5)
    w.run()
    w.proved()
    assert w.status()["100-0"]["fail_count"] == 0


@scenario()
def partial_first_sync_snapshots_lost(w):
    """the same, and the source's snapshots are gone: what this job half-made is replaced"""
    partial_first_sync_setup(w)
    for n, snap in w.lab.names.entries(w.a.store)[0]:
        if snap:
            w.lab.names.drop_snapshot(w.a.store, n, snap)
    w.run()
    w.proved()


def partial_first_sync_setup(w):
    w.lab.add_disk()
    w.create()
    undo = w.block(1)
    w.run(want=1)
    undo()


@scenario()
def added_volume_then_failure(w):
    """the second permanent error: a volume is added, its first copy works, a later one fails"""
    w.create()
    w.run()
    w.lab.add_disk()
    w.lab.add_disk()
    undo = w.block(2)
    w.run(want=1)
    undo()
    w.lab.write(1, 5)
    w.run()
    w.proved()


@scenario()
def written_replica(w):
    """the replica was written to: that state is kept aside, replication goes on"""
    w.create()
    w.run()
    w.lab.write(0, 3, path=w.lab.replica(0))
    written = os.path.join(w.c.dir, "written")
    subprocess.run(["cp", w.lab.replica(0), written], check=True)
    w.lab.write(0, 5)
    w.run()
    w.proved(asides=True)
    (n, snap), = w.asides(w.b.store)
    assert same_file(w.lab.names.aside(w.b.store, n, snap), written), "what is kept aside is not what was written"
    assert snap in w.log(), w.log()
    w.run()
    w.proved(asides=True)
    assert w.asides(w.b.store) == [(n, snap)], w.log()
    what, = w.status()["100-0"]["kept_aside"]
    assert what == f"{snap} of {w.c.storage_id}:{w.lab.names.volname(n)}", what
    assert w.a.pvesr("status", check=True).stdout.endswith(f" OK (kept aside on pve2: {what})\n")
    w.lab.names.drop_aside(w.b.store, n, snap)
    w.run()
    w.proved()
    assert "kept_aside" not in w.status()["100-0"]


@scenario()
def failover(w):
    """the node dies, the guest is moved by hand; the job turns round; what the dead node had more is kept aside"""
    w.lab.take_guest_snapshot()
    w.create()
    w.run()
    w.lab.write(0, 5)  # lost with the node
    lost = os.path.join(w.c.dir, "lost")
    subprocess.run(["cp", w.lab.live(0), lost], check=True)
    w.c.move_guest(100, "pve1", "pve2")
    w.owner = "pve2"
    w.lab.source, w.lab.target = w.b.store, w.a.store
    w.lab.write(0, 5)
    w.run(w.b)
    job = json.loads(w.b.pvesr("read", "100-0", check=True).stdout)
    assert (job["source"], job["target"]) == ("pve2", "pve1"), job
    w.proved(asides=True)
    (n, snap), = w.asides(w.a.store)
    assert same_file(w.lab.names.aside(w.a.store, n, snap), lost)
    w.lab.step()
    w.run(w.b)
    w.proved(asides=True)
    # and back again, without anything having been written: nothing more is kept aside
    w.run(w.b)
    w.c.move_guest(100, "pve2", "pve1")
    w.owner = "pve1"
    w.lab.source, w.lab.target = w.a.store, w.b.store
    w.lab.write(0, 2)
    w.run(w.a)
    w.proved(asides=True)
    assert not w.asides(w.b.store), w.asides(w.b.store)


@scenario()
def rollback(w):
    """the source is rolled back to a guest snapshot: the next run goes on from what is common"""
    w.lab.take_guest_snapshot()
    w.create()
    w.run()
    w.lab.write(0, 5)
    w.run()
    (snap, disks), = w.lab.snapshots.items()
    point = next(s for n, s in w.lab.names.entries(w.a.store)[0] if (s or "").startswith("__replicate_"))
    w.lab.names.drop_snapshot(w.a.store, 0, point)
    w.lab.names.roll_back(w.a.store, 0, snap)
    w.run()
    w.proved(asides=True)
    assert w.asides(w.b.store), "the acknowledged restore point that was rolled back is not kept"
    assert "full sync" not in w.log(), w.log()


@scenario()
def snapshot_made_anew(w):
    """a guest snapshot is deleted and made anew under its name between two runs: the new one is on the target"""
    w.lab.take_guest_snapshot()
    w.create()
    w.run()
    (snap, _), = w.lab.snapshots.items()
    w.lab.names.drop_snapshot(w.a.store, 0, snap)
    w.lab.write(0, 5)
    w.lab.names.make_snapshot(w.a.store, 0, snap)
    w.lab.write(0, 5)
    w.run()
    w.proved()


@scenario()
def state_lost(w):
    """the state file is lost: the newest common snapshot is the base, nothing is sent in full"""
    w.create()
    w.run()
    w.lab.write(0, 5)
    os.unlink(os.path.join(w.a.state_dir, "pve-replication-state.json"))
    w.run()
    assert "full sync" not in w.log(), w.log()
    w.proved()


@scenario("xfs")
def state_garbage(w):
    """a state file of garbage is an error that names it, and is not overwritten"""
    w.create()
    w.run()
    path = os.path.join(w.a.state_dir, "pve-replication-state.json")
    with open(path, "w") as f:
        f.write("garbage")
    done = w.run(want=1)
    assert path in done.stderr and open(path).read() == "garbage", done.stderr
    os.unlink(path)
    w.run()
    w.proved()


@scenario()
def same_name_on_target(w):
    """a volume of that name is on the target, made by somebody else: refused, untouched"""
    w.lab.names.create(w.b.store, 0, 1 << 20)
    w.create()
    done = w.run(want=1)
    assert "No common base snapshot on volume(s)" in done.stderr, done.stderr
    assert os.path.getsize(w.lab.replica(0)) == 1 << 20
    assert {s for _, s in w.lab.names.entries(w.a.store)[0]} == {None}, "a snapshot was left on the source"


@scenario()
def target_symlink(w):
    """the guest's folder on the target is a symlink elsewhere: refused, nothing is written there"""
    w.create()
    elsewhere = os.path.join(w.c.dir, "elsewhere")
    os.makedirs(elsewhere)
    os.makedirs(os.path.dirname(w.lab.names.folder(w.b.store)), exist_ok=True)
    os.symlink(elsewhere, w.lab.names.folder(w.b.store))
    done = w.run(want=1)
    assert "symlink" in done.stderr, done.stderr
    assert os.listdir(elsewhere) == []
    os.unlink(w.lab.names.folder(w.b.store))
    w.run()
    w.proved()


@scenario()
def target_full(w):
    """the target is full: the run fails and says so, the earlier restore point is whole, and it works once there is room"""
    w.create()
    w.run()
    filler = os.path.join(w.b.store, "filler")
    size = os.statvfs(w.b.store).f_bavail * os.statvfs(w.b.store).f_frsize
    with open(filler, "wb") as f:
        try:
            os.posix_fallocate(f.fileno(), 0, max(1, size - (12 << 20)))
        except OSError:
            pass
    before = w.lab.restore_point(w.b.store, 0)
    kept = os.path.join(w.c.dir, "kept")
    subprocess.run(["cp", before, kept], check=True)
    with open(w.lab.live(0), "r+b") as f:
        os.truncate(w.lab.live(0), 64 << 20)
        for _ in range(64):
            f.write(os.urandom(1 << 20))
    w.lab.disks[0] = 64 << 20
    done = w.run(want=1)
    assert re.search(r"full|No space|not enough|free", done.stderr), done.stderr
    assert same_file(before, kept), "the earlier restore point was harmed"
    os.unlink(filler)
    os.sync()
    w.run()
    w.proved()


@scenario("xfs", "btrfs")
def storage_missing_on_target(w):
    """the same-named storage is missing on the target"""
    w.create()
    w.c.change_storage("nodes pve1")
    done = w.run(want=1)
    assert w.c.storage_id in done.stderr and "pve2" in done.stderr, done.stderr
    assert "pve2" in w.log() and w.status()["100-0"]["fail_count"] == 1


@scenario()
def partial_increment(w):
    """an increment fails at its second volume: the next run goes on, nothing is sent in full"""
    w.lab.add_disk()
    w.create()
    w.run()
    for n in (0, 1):
        with open(w.lab.live(n), "r+b") as f:
            f.write(b"changed")
    undo = w.block(1)
    w.run(want=1)
    undo()
    w.run()
    w.proved()
    assert "full sync" not in w.log(), w.log()


AHEAD = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
int clock_gettime(clockid_t clock, struct timespec *t)
{
    int (*real)(clockid_t, struct timespec *) = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int r = real(clock, t);
    if (clock == CLOCK_REALTIME)
        t->tv_sec += 315360000;
    return r;
}
"""


def ten_years_ahead(w):
    """The environment of a program for which it is ten years later."""
    source, library = (os.path.join(w.c.dir, "ahead" + end) for end in (".c", ".so"))
    with open(source, "w") as f:
        f.write(AHEAD)
    rig.sh("cc", "-shared", "-fPIC", "-o", library, source)
    return {"LD_PRELOAD": library, "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}


def clock_says_nothing(w):
    """All that there is was made later than now: no age is told, and it is overdue."""
    jobs = os.path.join(w.c.tree, "replication.cfg")
    changed = os.stat(jobs).st_mtime_ns
    os.utime(jobs, (time.time() + 86400,) * 2)
    for words in (["status"], ["at-risk"], ["metrics"]):
        said = w.a.pvesr(*words, check=True).stdout
        assert "1970-" not in said and "restore_point_age_seconds{" not in said and "verified 20" not in said, said
    risk, = json.loads(w.a.pvesr("at-risk", "--output-format", "json", check=True).stdout)
    assert risk["state"] == "OVERDUE" and "age" not in risk and risk["newest"] > time.time(), risk
    assert time.time() - 60 < w.status()["100-0"]["overdue"] <= time.time(), w.status()
    os.utime(jobs, ns=(changed, changed))


@scenario()
def clock_ahead(w):
    """the clock of the nodes is ten years ahead for one run: status says so, it is due at once, goes on by increments, and its restore point is \
counted where it came"""
    w.create("--keep", "last=2")
    for _ in range(2):
        w.run()
        w.lab.write(0, 3)
    for words in (["run", "--id", "100-0"], ["verify", "100-0"]):
        w.a.pvesr(*words, env=ten_years_ahead(w), check=True)
    later = [s for n, s in w.lab.names.entries(w.b.store)[0] if s and int(s.split("_")[-3]) > time.time() + 300000000]
    assert len(later) == 1, w.lab.names.entries(w.b.store)
    said = w.a.pvesr("status", check=True).stdout
    assert "pending" in said and "the clock of this node was ahead" in said, said
    clock_says_nothing(w)
    w.lab.write(0, 3)
    said = w.a.pvesr("run", check=True).stderr  # a pass: what is due
    assert "WARNING" in said and "still to come" in said, said
    assert "incremental sync" in w.log() and w.status()["100-0"]["last_sync"] <= time.time(), w.log()
    kept = w.copy(w.lab.replica(0))
    assert same_file(kept, w.lab.live(0))
    assert (0, later[0]) in w.lab.names.entries(w.b.store)[0], "it was acknowledged, and two are kept"
    w.run()
    points = {s for _, s in w.lab.names.entries(w.b.store)[0] if s}
    assert len(points) == 2 and later[0] not in points, points
    assert "the clock" not in w.a.pvesr("status", check=True).stdout
    moved = w.b.pvesr("failover", "100", "--force", check=True).stdout
    assert same_file(kept, w.lab.replica(0)), moved


@scenario("xfs")
def storage_forgotten(w):
    """a storage that the last run used is gone from storage.cfg: it is not scanned but remembered, the job goes on"""
    w.create()
    w.run()
    path = os.path.join(w.a.state_dir, "pve-replication-state.json")
    state = json.load(open(path))
    state["100"]["local/pve2"]["storeid_list"] = ["gone", w.c.storage_id]
    with open(path, "w") as f:
        f.write(json.dumps(state, separators=(",", ":")))
    w.run()
    w.proved()
    assert json.load(open(path))["100"]["local/pve2"]["storeid_list"] == ["gone", w.c.storage_id]


@scenario("xfs", "btrfs")
def two_at_once(w):
    """two runs of one job at the same time: one works, the other waits for it or is postponed; the replica is right"""
    w.create()
    w.run()
    with open(w.lab.live(0), "r+b") as f:
        f.write(b"changed")
    both = [w.a.popen("run", "--id", "100-0") for _ in range(2)]
    codes = sorted(p.wait() for p in both)
    assert codes in ([0, 0], [0, 75]), codes
    w.proved()


@scenario("xfs")
def local_target(w):
    """a job whose target is the local node does not run; its removal does"""
    w.create()
    w.c.write("replication.cfg", "local: 100-0\n\ttarget pve1\n\tsource pve1\n\n")
    done = w.run(want=1)
    assert "unable to sync to local node" in done.stderr, done.stderr
    assert w.status() == {}
    w.a.pvesr("delete", "100-0", check=True)
    w.run()
    assert w.a.pvesr("list", check=True).stdout.count("\n") == 1


@scenario("xfs")
def read_only_tree(w):
    """the tree cannot be written: changing a job is refused with the reason, a run that needs no change goes on"""
    w.create()
    w.run()
    subprocess.run(["mount", "--bind", w.c.tree, w.c.tree], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", w.c.tree], check=True)
    try:
        done = w.a.pvesr("disable", "100-0")
        assert done.returncode and "ead-only" in done.stderr, done
        w.run()
        w.proved()
    finally:
        subprocess.run(["umount", w.c.tree], check=True)


@scenario("xfs")
def busy_guest(w):
    """the guest's migration lock is taken: postponed, nothing is recorded"""
    w.create()
    path = os.path.join(w.a.lock_dir, "pve-migrate-100")
    os.makedirs(w.a.lock_dir, exist_ok=True)
    with open(path, "a") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        done = w.run(want=1)
        assert done.returncode == 75 and "got timeout" in done.stderr, done
    assert w.status()["100-0"]["last_try"] == 0
    w.run()
    w.proved()


@scenario("xfs")
def mails(w):
    """which failures of a job are told by mail, and what the mails say"""
    box = rig.Mailbox(w.a)
    w.c.write("datacenter.cfg", "email_from: pve@example.com\n")
    w.create("--schedule", "mon..fri 22:00")
    told = []

    def run_pass(*mail):
        w.a.pvesr("schedule-now", "100-0", check=True)
        done = w.a.pvesr("run", *mail, check=True)
        if len(box.mails()) > len(told):
            told.append(w.status()["100-0"]["fail_count"])
        assert len(box.mails()) == len(told), "more than one mail of one failure"
        return done.stderr

    def count(n):
        state = {"last_sync": 0, "last_try": 1, "last_iteration": 1, "fail_count": n, "error": "x"}
        w.a.pvesr("set-state", 100, json.dumps({"local/pve2": state}), check=True)

    w.c.set_agent("pve2", ["/bin/false"], whole=True)
    for _ in range(5):
        assert "replication job error" in run_pass("--mail")
    assert told == [1, 2, 3], told
    for before in (46, 47, 48, 95, 96, 143, 191):
        count(before)
        run_pass("--mail")
    assert told == [1, 2, 3, 48, 96, 192], told
    first, third = box.mails()[0], box.mails()[2]
    for words in ("-i -t\nFrom: pve@example.com\nTo: admin@example.com, root\nSubject: Replication Job: '100-0' failed\n",
                  "guest 100 from node 'pve1' to node 'pve2'", "mon..fri 22:00", "never", "row:     1\n", "cannot start the agent on node 'pve2'"):
        assert words in first, first
    assert "less often" in third and "less often" not in first, third
    w.c.set_agent("pve2", [])
    run_pass("--mail")
    w.proved()
    w.c.set_agent("pve2", ["/bin/false"], whole=True)
    run_pass()  # nobody asked for mails
    assert len(told) == 6, "success, or a pass without --mail, was told"
    count(0)
    box.answer(75)
    assert "100-0: the failure was not mailed: sendmail -i: exit status 75" in run_pass("--mail")
    with open(os.path.join(w.a.lock_dir, "pve-migrate-100"), "a") as lock:
        count(0)
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = w.a.pvesr("run", "--mail", check=True)
        assert "got timeout" in done.stderr and len(box.mails()) == 7, "a busy guest was told"


@scenario("xfs")
def busy_target(w):
    """another run for the guest is still at work on the target: postponed, not a failure"""
    w.create()
    w.run()
    before = w.status()["100-0"]
    os.makedirs(w.b.lock_dir, exist_ok=True)
    with open(os.path.join(w.b.lock_dir, "pvesr-agent-100"), "a") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        done = w.run(want=1)
        assert done.returncode == 75 and "still at work on this target" in done.stderr, done
    after = w.status()["100-0"]
    assert (after["fail_count"], after["last_try"]) == (0, before["last_try"]) and "error" not in after, after
    w.run()
    w.proved()


@scenario("xfs", "btrfs")
def removal(w):
    """delete: the replica and all snapshots go; --keep: the replica stays"""
    w.create()
    w.run()
    w.a.pvesr("delete", "100-0", check=True)
    w.run()
    assert w.a.pvesr("list", check=True).stdout.count("\n") == 1
    assert w.lab.names.entries(w.b.store) == (set(), []), w.lab.names.entries(w.b.store)
    assert w.lab.names.entries(w.a.store) == ({(0, None)}, [])
    w.create()
    w.run()
    w.a.pvesr("delete", "100-0", "--keep", check=True)
    w.run()
    assert w.lab.names.entries(w.a.store) == ({(0, None)}, [])
    assert len(w.lab.names.entries(w.b.store)[0]) == 2
    assert json.load(open(os.path.join(w.a.state_dir, "pve-replication-state.json"))) == {}


@scenario("xfs", "btrfs")
def removal_unreachable(w):
    """full removal with a target that cannot be reached: the job stays and the failure is counted"""
    w.create()
    w.run()
    w.c.set_agent("pve2", ["/bin/false"])
    w.a.pvesr("delete", "100-0", check=True)
    w.run(want=1)
    assert w.status()["100-0"]["fail_count"] == 1 and w.status()["100-0"]["remove_job"] == "full"
    w.c.set_agent("pve2", [])
    w.run()
    assert w.status() == {}


@scenario("xfs", "btrfs")
def replicate_off_and_on(w):
    """replicate=0: the replica is destroyed at the next run; switched on again: a full sync"""
    n = w.lab.add_disk()
    w.create()
    w.run()
    text = w.lab.config()
    line = next(l for l in text.splitlines() if f"disk-{n}" in l)
    w.write_guest(text.replace(line, line + ",replicate=0"))
    w.run()
    assert n not in {d for d, _ in w.lab.names.entries(w.b.store)[0]}
    w.write_guest(text)
    w.run()
    w.proved()


@scenario("xfs")
def prefix_clash(w):
    """job 100-1 leaves the snapshots of job 100-10 alone"""
    w.c.add_node("pve3")
    w.a.pvesr("create-local-job", "100-1", "pve2", check=True)
    w.a.pvesr("create-local-job", "100-10", "pve3", check=True)
    for job in ("100-1", "100-10", "100-1", "100-1", "100-10"):
        assert w.a.pvesr("run", "--id", job).returncode == 0
        w.lab.write(0, 3)
    points = {s for _, s in w.lab.names.entries(w.a.store)[0] if s}
    assert len([p for p in points if "_100-1_" in p]) == 1 and len([p for p in points if "_100-10_" in p]) == 1, points


@scenario("xfs", "btrfs")
def third_node(w):
    """two targets; the guest is stolen by one of them: the other goes on incrementally"""
    c3 = w.c.add_node("pve3")
    w.create()
    w.a.pvesr("create-local-job", "100-1", "pve3", check=True)
    for job in ("100-0", "100-1", "100-0"):
        assert w.a.pvesr("run", "--id", job).returncode == 0
        w.lab.write(0, 3)
    w.c.move_guest(100, "pve1", "pve2")
    w.owner = "pve2"
    done = w.b.pvesr("run", "--id", "100-1")
    assert done.returncode == 0, done.stderr
    with open(os.path.join(w.b.log_dir, "100-1")) as f:
        assert "full sync" not in f.read()
    lab3 = w.lab
    lab3.source, lab3.target = w.b.store, c3.store
    newest = lab3.restore_point(w.b.store, 0)
    assert same_file(newest, lab3.replica(0))


@scenario("plain")
def plain_running(w):
    """a running guest on a file system without reflinks is refused, with what would help"""
    w.create()
    with rig.fake_running_vm(100):
        done = w.run(want=1)
    assert "reflink" in done.stderr, done.stderr


@scenario("xfs", "btrfs", "plain")
def resume(w):
    """kill -9 in the middle of a first sync: the next run sends only what is missing"""
    size = int(os.environ.get("PVESR_RESUME_MIB", "1024")) << 20
    with open(w.lab.live(0), "r+b") as f:
        os.truncate(w.lab.live(0), size)
        for _ in range(size >> 20):
            f.write(os.urandom(1 << 20))
        os.fsync(f.fileno())
    w.lab.disks[0] = size
    w.create()
    p = w.a.popen("run", "--id", "100-0")
    folder = w.lab.names.folder(w.b.store)
    while p.poll() is None:
        used = sum(int(l.split()[0]) for l in subprocess.run(["du", "-sk", folder], capture_output=True, text=True).stdout.splitlines())
        if used << 10 > size // 2:
            p.kill()
            p.wait()
    assert p.returncode == -9, "the run ended before it could be killed"
    w.run()
    w.proved()
    sent = json.loads(w.a.pvesr("history", "--id", "100-0", "--output-format", "json", check=True).stdout)[0]["bytes"]
    assert sent < size * 0.7, f"{sent} of {size} bytes were sent again"
    assert "going on at byte" in w.log(), w.log()


def waits_for_the_agent(w, *words):
    path = os.path.join(w.b.lock_dir, "pvesr-agent-100")
    with open(path, "a+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        p = subprocess.Popen(w.b.argv("pvesr", *words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        w.c.cleanup.callback(rig.stop, p)
        rig.wait_for(lambda: p.poll() is not None or rig.has_open(p.pid, path), "its turn")
        assert p.poll() is None, f"{words} did not wait for the agent"
    assert p.wait(rig.RUN_SECONDS) == 0


@scenario("xfs")
def stock_calls(w):
    """prepare-local-job and finalize-local-job as a stock source calls them"""
    w.create()
    w.run()
    volid = f"{w.c.storage_id}:{w.lab.names.volname(0)}"
    last = w.status()["100-0"]["last_sync"]
    done = w.b.pvesr("prepare-local-job", "100-0", volid, "--last_sync", str(last), check=True)
    answer = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1 and list(answer) == [volid], done.stdout
    (name, facts), = answer[volid].items()
    assert name == f"__replicate_100-0_{last}__" and set(facts) == {"id", "timestamp"} and isinstance(facts["timestamp"], str)
    done = w.b.pvesr("prepare-local-job", "100-0")
    assert done.returncode and "no volumes specified" in done.stderr
    done = w.a.pvesr("prepare-local-job", "100-0", volid)
    assert done.returncode and "guest '100' is on local node" in done.stderr
    done = w.b.pvesr("prepare-local-job", "100-0", f"{w.c.storage_id}:101/vm-101-disk-0.raw")
    assert done.returncode and "wrong owner" in done.stderr
    w.b.pvesr("finalize-local-job", "100-0", volid, "--last_sync", str(last), check=True)
    for call in ("prepare-local-job", "finalize-local-job"):
        waits_for_the_agent(w, call, "100-0", volid, "--last_sync", str(last))
    done = w.b.pvesr("prepare-local-job", "100-0", "--scan", w.c.storage_id, "--last_sync", "1", "--force", check=True)
    assert json.loads(done.stdout) == {} and w.lab.names.entries(w.b.store)[0] == set()


LIES = {
    "nothing": b"",
    "noise of a login script": b"Welcome to the machine\n" * 100,
    "a length of 4 GiB": b"\xff\xff\xff\xff\x01\x00\x00\x00" + bytes(8),
    "zeroes": bytes(1 << 16),
}


@scenario("xfs")
def lying_agent(w):
    """an agent that says nonsense: a clear error, nothing lost"""
    w.create()
    w.run()
    w.lab.write(0, 3)
    for what, lie in LIES.items():
        path = os.path.join(w.c.dir, "lie")
        with open(path, "wb") as f:
            f.write(lie)
        w.c.set_agent("pve2", ["cat", path], whole=True)
        done = w.run(want=1)
        assert "pve2" in done.stderr, f"{what}: {done.stderr}"
    w.c.set_agent("pve2", [])
    w.run()
    w.proved()


play_all()
