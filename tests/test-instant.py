#!/usr/bin/env python3
"""A guest's disks are one: whatever happens in the commit of three of them, what the target shows is of one instant.

The agent is killed at each step of the commit that a trace shows (at most PVESR_KILL_POINTS of each call, and PVESR_KILL_MOST of all, by
chance). Then the guest's disks on the target
are read: at once, when nobody but the agent's guard has done anything (the guest is moved by hand); after `pvesr failover`, when the guard
died, too, as all does when the power goes; and after the next run.
"""
import contextlib
import os
import random
import re
import signal
import subprocess
import time

import rig
from byhand import newest, rest
from guestlab import same_file
from scenario import play_all, scenario

ALL = ("xfs", "btrfs", "plain", *rig.ON_DISK)
FILES = ("xfs", "btrfs", "plain")
CALLS = ("ioctl", "fsync", "syncfs", "rename", "renameat", "renameat2", "unlink", "unlinkat", "linkat", "fsetxattr", "lsetxattr", "fremovexattr",
         "write", "vfork", "wait4")
COMMANDS = "(^|/)(zfs|lv[a-z]+) "
POINTS = int(os.environ.get("PVESR_KILL_POINTS", "3"))
MOST = int(os.environ.get("PVESR_KILL_MOST", "10000"))
os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"


def three_disks(w):
    while len(w.lab.disks) < 3:
        w.lab.add_disk()
    w.create()
    w.run()


def change(w):
    """Every disk is another than before: what a disk is tells its instant."""
    for n in w.lab.disks:
        w.lab.write(n, 5)


def copies(w):
    with w.lab.names.standing_still():
        return {n: w.copy(w.lab.live(n)) for n in w.lab.disks}


def shows(w, instant):
    with w.lab.names_there.standing_still():
        return [n for n in w.lab.disks if same_file(w.lab.replica(n), instant[n])]


def check_one(w, instants, what):
    """The disks on the target are all of one of these instants."""
    seen = [shows(w, instant) for instant in instants]
    assert list(w.lab.disks) in seen, f"{what}: the disks that show each of {len(instants)} instants: {seen}"


def intents(w):
    folder = os.path.join(w.b.dir, "state", "pvesr-commits")
    found = os.listdir(folder) if os.path.isdir(folder) else []
    return [name for name in found if name.endswith(".json")]  # what a kill leaves of one that was not written goes with a later look


# ---- kills ----

def strace(log, inject=None, alone=True):
    """alone: whoever the agent starts dies with it; else it lives on."""
    calls = (inject[0],) if inject else CALLS
    words = ["strace", *(["-f", "-b", "execve"] if alone else []), "-qq", "-y", "-s", "300", "-o", log,
             "-e", "trace=" + ",".join([*calls, "setsid"])]
    if inject:
        words += ["-e", f"inject={inject[0]}:signal=SIGKILL:when={inject[1]}"]
    if inject and alone:
        words += ["-e", "inject=setsid:signal=SIGKILL:when=1"]
    return words


def steps(log, points=POINTS, named=""):
    """(call, n) of the agent from when the intent is written, or of all where none is; of each call so many points, spread evenly.
    named: only where its words have that."""
    with open(log) as f:
        lines = [m for m in (re.match(r"(\d+) +(\w+)\((.*)", line) for line in f) if m and m[2] in CALLS]
    lines = [m for m in lines if m[1] == lines[0][1]]
    begun = next((i for i, m in enumerate(lines) if "pvesr-commits" in m[3]), 0)
    seen, after = {}, {}
    for i, m in enumerate(lines):
        seen[m[2]] = seen.get(m[2], 0) + 1
        if i >= begun and named in m[3]:
            after.setdefault(m[2], []).append(seen[m[2]])
    for call, numbers in sorted(after.items()):
        few = min(len(numbers), points)
        yield from ((call, numbers[round(i * (len(numbers) - 1) / max(1, few - 1))]) for i in range(few))


def ended(pattern):
    rig.wait_for(lambda: subprocess.run(["pgrep", "-f", pattern], stdout=subprocess.DEVNULL, check=False).returncode, f"the end of {pattern}", 60)


def run_behind(w, words, **more):
    w.c.set_agent("pve2", words)
    done = w.a.pvesr("run", "--id", "100-0", **more)
    w.c.set_agent("pve2", [])
    ended(f"pvesr.* agent|{COMMANDS}")
    return done


def by_hand(w, instants, what):
    check_one(w, instants, f"{what}, moved by hand")


def by_command(w, instants, what):
    done = w.b.pvesr("failover", "100", "--force")
    if done.returncode and w.kind == "plain" and "no restore point in common" in done.stderr:
        return
    assert done.returncode == 0, f"{what}: {done.stdout}{done.stderr}"
    check_one(w, instants, f"{what}, failed over: {done.stdout}")
    assert not intents(w), f"{what}: {intents(w)}"
    w.c.move_guest(100, "pve2", "pve1")  # it never ran there


def by_run(w, instants, what):
    w.run()
    check_one(w, instants[1:], f"{what}, next run")
    assert not intents(w), f"{what}: {intents(w)}"


def killed(w, most=MOST, also=lambda what: None):
    """also: what else must hold after each kill."""
    log = os.path.join(w.c.dir, "trace")
    three_disks(w)
    change(w)
    done = run_behind(w, strace(log))
    assert done.returncode == 0, done.stderr
    plan = list(steps(log))
    assert len(plan) > 5, plan
    plan = random.Random(rig.SEED).sample(plan, min(most, len(plan)))
    for number, (call, n) in enumerate(plan):
        proof = (by_hand, by_command, by_run)[number % 3]
        before = copies(w)
        change(w)
        done = run_behind(w, strace(log, (call, n), alone=proof != by_hand))
        what = f"killed at {call} {n} (seed {rig.SEED})"
        proof(w, (before, copies(w)), what)
        also(what)
        w.run()
        faults = w.lab.faults()
        assert not faults, f"{what}, {proof.__name__}, next run: {faults}"
    print(f"# {len(plan)} steps on {w.kind}, seed {rig.SEED}")


@scenario(*ALL)
def kill_at_every_step(w):
    """after a kill at any step of the commit of three disks they are of one instant, by hand, by failover and by the next run"""
    killed(w)


LATE = "/usr/local/sbin"  # where programs are looked for first
LATE_ONES = {"zfspool": ["zfs"], "zfscrypt": ["zfs"], "lvmthin": ["lvchange", "lvconvert", "lvcreate", "lvremove", "lvrename"]}
LATE_SCRIPT = """#!/bin/sh
case $1 in list | get | diff | create | send) exec /usr/sbin/{name} "$@" ;; esac
if tr '\\0' ' ' < /proc/$PPID/cmdline | grep -q "{starter}"; then
    echo "$$ $*" >> {folder}/changes
    if [ $(wc -l < {folder}/changes) = "$(cat {folder}/nth)" ]; then
        echo "$$ $*" > {folder}/late
        kill -9 $PPID
        {wait}
    fi
fi
exec /usr/sbin/{name} "$@"
"""


class Late:
    """The nth program that changes something on a node's storage for `starter` (a pattern of its command line) kills that, and does what it was
    told only behind `wait`, when whoever comes next is at work."""

    def __init__(self, w, starter, wait):
        self.kind, self.folder, self.starter = w.kind, os.path.join(w.c.dir, "late"), starter
        self.wait = wait.format(folder=self.folder)

    def __enter__(self):
        os.mkdir(self.folder)
        self.choose(0)
        for name in LATE_ONES[self.kind]:
            path = os.path.join(LATE, name)
            with open(path, "w") as f:
                f.write(LATE_SCRIPT.format(name=name, starter=self.starter, folder=self.folder, wait=self.wait))
            os.chmod(path, 0o755)
        return self

    def __exit__(self, *_):
        for name in LATE_ONES[self.kind]:
            os.unlink(os.path.join(LATE, name))

    def write(self, name, text):
        with open(os.path.join(self.folder, name), "w") as f:
            f.write(text)

    def read(self, name):
        with open(os.path.join(self.folder, name)) as f:
            return f.read()

    def choose(self, nth):
        """0: none. Who comes next is left alone."""
        self.write("nth", str(nth))
        self.write("changes", "")
        self.write("late", "")


def changes_of(w, late):
    """Of the programs that change something in a run, or on its target, the number of the first of each kind, and of at most 12 others by chance;
    with few kills the former alone."""
    three_disks(w)
    late.choose(0)
    change(w)
    w.run()
    verbs = [line.split()[1] for line in late.read("changes").splitlines()]
    assert len(verbs) > 5, verbs
    first = sorted(verbs.index(verb) + 1 for verb in set(verbs))
    return [*first, *random.Random(rig.SEED).sample(range(1, len(verbs) + 1), min(12, len(verbs)))] if MOST >= 12 else first[:6]


@scenario(*rig.ON_DISK)
def killed_with_commands_under_way(w):
    """what an agent had started is over before anybody ends its commit: no disk is taken for written to, and all are of one instant"""
    with Late(w, " agent", "sleep 3") as late:
        for n in changes_of(w, late):
            before = copies(w)
            change(w)
            late.choose(n)
            w.a.pvesr("run", "--id", "100-0")  # which succeeds where only the pruning was cut
            what = f"killed with '{late.read('late').strip()}' under way (seed {rig.SEED})"
            assert late.read("late"), f"change {n} of {late.read('changes')}"
            ended(f"pvesr.* agent|{COMMANDS}")
            by_hand(w, (before, copies(w)), what)
            w.run()
            faults = w.lab.faults()
            assert not faults, f"{what}: {faults}"


@scenario(*rig.ON_DISK)
def source_killed_with_commands_under_way(w):
    """a run is over when what it started is, also where it was killed: until then another one is told who is at work, then it finds what they did"""
    with Late(w, "pvesr.* run ", "while [ -d {folder} ] && ! [ -e {folder}/go ]; do sleep 0.1; done") as late:
        for n in changes_of(w, late):
            change(w)
            late.choose(n)
            assert w.a.pvesr("run", "--id", "100-0").returncode
            holder = late.read("late").split()
            what = f"killed with {holder} under way (seed {rig.SEED})"
            assert holder, late.read("changes")
            done = w.a.pvesr("run", "--id", "100-0")
            assert done.returncode == 75 and f"held by process {holder[0]}, " in done.stderr, f"{what}: {done.stdout}{done.stderr}"
            late.write("go", "")
            ended(COMMANDS)
            os.unlink(os.path.join(late.folder, "go"))
            w.run()
            faults = w.lab.faults()
            assert not faults, f"{what}: {faults}"


@scenario("btrfs")
def limits_outlive_a_kill(w):
    """what is set on the disks is set on what the target shows after a kill at any step of the commit, whoever ended it"""
    def subvolumes(store):
        return [w.lab.names.subvolume(store, n) for n in w.lab.disks]

    def limited(what):
        for path in subvolumes(w.b.store):
            shown = subprocess.run(["btrfs", "qgroup", "show", "-r", "-f", "--raw", path], stdout=subprocess.PIPE, text=True, check=True).stdout
            assert " 5368709120" in shown, f"{what}: {path}: {shown}"

    for node in (w.a, w.b):
        subprocess.run(["btrfs", "quota", "enable", node.store], check=True)
    w.lab.add_disk()
    w.lab.add_disk()
    for path in subvolumes(w.a.store):
        subprocess.run(["btrfs", "qgroup", "limit", "5G", path], check=True)
    killed(w, min(MOST, 24), limited)


# ---- a commit that keeps failing ----

def immovable(w, n):
    """The replica of disk n cannot be replaced; returns the undo."""
    image = w.lab.names.image(w.b.store, n)
    subprocess.run(["chattr", "+i", image], check=True)
    return lambda: subprocess.run(["chattr", "-i", image], check=True)


def fails_at(w, n):
    """A run whose commit can replace the replicas before disk n, and not that one: nothing tells before."""
    name = os.path.basename(w.lab.names.subvolume(w.b.store, n) if w.kind == "btrfs" else w.lab.replica(n))
    done = run_behind(w, ["strace", "-f", "-b", "execve", "-qq", "-o", "/dev/null", "-P", name, "-e", "trace=renameat,renameat2",
                          "-e", "inject=renameat,renameat2:error=EPERM"])
    assert done.returncode, done.stderr
    return done


@scenario(*FILES)
def one_cannot_change(w):
    """where the second of three replicas cannot be replaced, none moves on, however often it is tried; then all do"""
    three_disks(w)
    before = copies(w)
    for _ in range(3):
        change(w)
        done = fails_at(w, 1)
        assert "cannot rename" in done.stderr and len(shows(w, before)) == 3, (done.stderr, shows(w, before))
        assert not intents(w)
    undo = immovable(w, 1)
    done = w.b.pvesr("failover", "100", "--force")
    if w.kind == "btrfs":  # the file in the subvolume can be written to
        assert done.returncode == 0 and "the disks stay as they were" in done.stdout, done.stdout + done.stderr
        w.c.move_guest(100, "pve2", "pve1")
    else:
        assert done.returncode != 0 and "immutable" in done.stderr and "nothing was changed" in done.stderr, done.stdout + done.stderr
    assert len(shows(w, before)) == 3 and not intents(w), done.stdout
    undo()
    w.run()
    w.proved()


# ---- written to ----

@scenario(*(k for k in ALL if k != "plain"))
def written_replica(w):
    """a replica that was written to on the target goes back to its restore point at a failover, and what was written is kept aside"""
    three_disks(w)
    now = copies(w)
    w.lab.write(1, 5, path=w.lab.replica(1))
    mine = w.copy(w.lab.replica(1))
    said = w.b.pvesr("failover", "100", "--force", check=True).stdout
    assert "disk-1" in said and "kept aside" in said, said
    check_one(w, (now,), said)
    assert w.kept_aside(w.b.store, 1, mine)


@scenario(*(k for k in ALL if k != "plain"))
def tested_and_kept(w):
    """a replica that was written to goes back to its restore point at a failover, whatever snapshot has what was written: the disks are one"""
    three_disks(w)
    now = copies(w)
    w.lab.write(1, 5, path=w.lab.replica(1))
    w.lab.names_there.make_snapshot(w.b.store, 1, "mytest")
    mine = w.copy(w.lab.replica(1))
    said = w.b.pvesr("failover", "100", "--force", check=True).stdout
    check_one(w, (now,), said)
    assert same_file(w.lab.names_there.aside(w.b.store, 1, "mytest"), mine)


def killed_before_it_is_written_down(w):
    """The agent, when it has kept what was written to a replica, and before anything else says so."""
    done = run_behind(w, ["strace", "-f", "-b", "execve", "-qq", "-o", "/dev/null", "-P", "100.json", "-e", "trace=renameat",
                          "-e", "inject=renameat:signal=SIGKILL"])
    assert done.returncode and not intents(w), done.stderr


@scenario(*ALL)
def kept_by_a_commit_that_was_killed(w):
    """what was kept of a written replica when the agent was killed has one name, which is the one that is told"""
    three_disks(w)
    w.lab.write(1, 5, path=w.lab.replica(1))
    mine = w.copy(w.lab.replica(1))
    change(w)
    for _ in range(2):
        killed_before_it_is_written_down(w)
        names = w.asides(w.b.store)
        assert len(names) == 1, names
        change(w)
    w.run()
    assert w.asides(w.b.store) == names, (names, w.asides(w.b.store))
    assert w.kept_aside(w.b.store, 1, mine)
    told = [line for line in w.log().splitlines() if "is kept as '" in line]
    assert all(f"'{names[0][1]}'" in line for line in told), (names, told)
    state = w.status()["100-0"]
    assert [k.split()[0] for k in state.get("kept_aside", [])] == [names[0][1]], (names, state)
    w.proved(asides=True)


@scenario("xfs", "btrfs")
def kept_by_a_commit_that_failed(w):
    """what a run kept aside of a written replica before its commit failed is not what the guest starts with"""
    three_disks(w)
    before = copies(w)
    w.lab.write(2, 5, path=w.lab.replica(2))
    mine = w.copy(w.lab.replica(2))
    change(w)
    fails_at(w, 1)
    assert w.kept_aside(w.b.store, 2, mine) and not intents(w)
    by_hand(w, (before,), "the commit failed")
    w.lab.write(2, 5, path=w.lab.replica(2))
    w.lab.names_there.make_snapshot(w.b.store, 2, "diverged_mytest")
    by_command(w, (before,), "the commit failed")


def rolled_back(w):
    """The guest is, behind the newest restore point, which is gone here: the next commit keeps it aside. What the replicas show."""
    snap = w.lab.take_guest_snapshot()
    change(w)
    w.run()
    shown = copies(w)
    for n in w.lab.disks:  # as Proxmox VE does it on ZFS
        w.lab.names.drop_snapshot(w.a.store, n, newest(w, n))
    w.lab.roll_back(snap)
    change(w)
    return shown


def renames_of_a_rollback(w, log, *words):
    """Of the agent, by the trace of a run that keeps the points of two disks aside."""
    w.lab.add_disk()
    w.create("--keep", "last=5")
    w.run()
    rolled_back(w)
    assert run_behind(w, strace(log)).returncode == 0
    return [step for step in steps(log, 1000, *words) if step[0] == "renameat2"]


@scenario("xfs", "btrfs")
def killed_while_points_are_kept(w):
    """the same after a kill at some steps of a commit that keeps restore points aside: what it kept is there, or is shown"""
    log = os.path.join(w.c.dir, "trace")
    plan = renames_of_a_rollback(w, log)
    for step in random.Random(rig.SEED).sample(plan, min(len(plan), MOST, 3)):
        shown = rolled_back(w)
        run_behind(w, strace(log, step))
        by_command(w, (shown, copies(w)), f"killed at {step} (seed {rig.SEED})")
        w.run()
        assert all(w.kept_aside(w.b.store, n, shown[n]) for n in w.lab.disks), step


@scenario("xfs", "btrfs")
def moved_before_it_showed(w):
    """a commit is killed when it has kept the points of some disks aside, and the guest is moved there by hand: they get their names back, which all disks have then"""
    log = os.path.join(w.c.dir, "trace")
    plan = renames_of_a_rollback(w, log, "diverged_")
    rolled_back(w)
    had = w.lab.names.entries(w.b.store)[0]
    run_behind(w, strace(log, plan[1]))
    assert intents(w) and w.lab.names.entries(w.b.store)[0] != had, plan
    w.steal("pve2")
    w.b.pvesr("settle", "--guest", "100", check=True)
    assert not intents(w) and w.lab.names.entries(w.b.store)[0] == had


@scenario("xfs", "btrfs")
def not_set_aside_before(w):
    """where a commit does not come about, what it was to keep aside, since the guest was rolled back, is still what failover starts"""
    w.lab.add_disk()
    w.create("--keep", "last=5")
    w.run()
    shown = rolled_back(w)
    with open(w.lab.live(0), "r+b") as f:
        f.write(os.urandom(3 << 20))
    w.a.pvesr("update", "100-0", "--rate", "1", check=True)
    stage = os.path.join(w.lab.names.folder(w.b.store), ".pvesr-stage." + os.path.basename(w.lab.names.image(w.b.store, 0)))
    ran = w.a.popen("run", "--id", "100-0")
    rig.wait_for(lambda: ran.poll() is not None or os.path.exists(stage), "the transfer")
    with open(w.lab.replica(1), "r+b"):
        assert ran.wait() == 75
    assert not intents(w) and not w.asides(w.b.store)
    by_command(w, (shown,), "the commit was postponed")
    w.run()
    assert all(w.kept_aside(w.b.store, n, shown[n]) for n in w.lab.disks)


@scenario(*ALL)
def failed_over_again(w):
    """the disks of a guest that ran here are what it wrote, whatever snapshots there are of that: failover leaves them"""
    w.create(*([] if w.kind == "plain" else ["--keep", "last=5"]))
    w.run()
    w.b.pvesr("failover", "100", "--force", check=True)
    w.owner = "pve2"
    w.face("pve1")
    w.lab.write(0, 5)
    w.run()
    w.lab.write(0, 5)
    if w.kind != "plain":
        w.lab.take_guest_snapshot()
    now = w.copy(w.lab.live(0))
    done = w.b.pvesr("failover", "100", "--force")
    assert same_file(w.lab.live(0), now), done.stdout + done.stderr


@scenario(*(k for k in ALL if k != "plain"))
def written_as_is(w):
    """--as-is takes what was written there"""
    three_disks(w)
    w.lab.write(1, 5, path=w.lab.replica(1))
    mine = w.copy(w.lab.replica(1))
    w.b.pvesr("failover", "100", "--force", "--as-is", check=True)
    assert same_file(w.lab.replica(1), mine)


@scenario("plain")
def nothing_in_common(w):
    """where the disks have no restore point in common, failover refuses them, changes nothing and says what would take them"""
    three_disks(w)
    w.lab.write(1, 5, path=w.lab.replica(1))
    mine = w.copy(w.lab.replica(1))
    done = w.b.pvesr("failover", "100", "--force")
    assert done.returncode and "--as-is" in done.stderr and "written to on this node since" in done.stderr, done.stdout + done.stderr
    assert same_file(w.lab.replica(1), mine)
    assert os.path.exists(os.path.join(w.c.tree, "nodes/pve1/qemu-server/100.conf"))
    w.b.pvesr("failover", "100", "--force", "--as-is", check=True)
    assert same_file(w.lab.replica(1), mine)


@scenario("plain")
def the_only_copy(w):
    """a single replica that was written to is no restore point any more: failover refuses it, says what it is and what takes it, and so do the others"""
    w.create()
    w.run()
    point = newest(w, 0)
    w.lab.write(0, 5, path=w.lab.replica(0))
    mine = w.copy(w.lab.replica(0))
    listed = w.b.pvesr("restore-points", "100", check=True).stdout
    assert " no-data " in listed and " shown " not in listed, listed
    for words in (["--force"], ["--dry-run"], ["--force", "--point", point]):
        done = w.b.pvesr("failover", "100", *words)
        assert done.returncode and not os.path.exists(os.path.join(w.c.tree, "nodes/pve2/qemu-server/100.conf")), (words, done.stdout)
        assert "--point" in words or ("written to on this node since" in done.stderr and "--as-is" in done.stderr), done.stderr
    said = w.b.pvesr("failover", "100", "--force", "--as-is", check=True).stdout
    assert f"{w.lab.storage_id}:{w.lab.names.volname(0)} was written to on this node since {point}" in said, said
    assert same_file(w.lab.replica(0), mine)


@scenario(*FILES)
def moved_and_written(w):
    """the disks of a guest that was moved by hand are left as they are, and which of them are not their restore point is said"""
    w.lab.add_disk()
    w.create()
    w.run()
    w.lab.write(1, 5, path=w.lab.replica(1))
    mine = w.copy(w.lab.replica(1))
    w.c.move_guest(100, "pve1", "pve2")
    said = w.b.pvesr("failover", "100", "--force", check=True).stdout
    assert said.count("was written to on this node") == 1 and "disk-1" in said.partition("note: ")[2], said
    assert same_file(w.lab.replica(1), mine)


def told(w):
    """What each snapshot kept aside begins with."""
    texts = []
    for n, snap in w.asides(w.b.store):
        with open(w.lab.names_there.aside(w.b.store, n, snap), "rb") as f:
            texts.append(f.read(len(MINE)))
    return texts


MINE = b"what a person wrote"


def written_early(w, n):
    """Run the job; once it has begun to commit, somebody writes to a replica. True: that was before it was replaced."""
    record, path = os.path.join(w.b.state_dir, "pvesr-commits", "100.json"), w.lab.replica(n)
    ran = w.a.popen("run", "--id", "100-0")
    while ran.poll() is None and not os.path.exists(record):
        time.sleep(0.0002)
    with open(path, "r+b", buffering=0) as f:
        f.write(MINE)
        os.fsync(f.fileno())
        inode = os.fstat(f.fileno()).st_ino
    early = os.path.exists(record) and os.path.exists(path) and os.stat(path).st_ino == inode
    assert ran.wait() in (0, 75)
    return early


@scenario(*ALL)
def written_within_the_commit(w):
    """what somebody writes to the last replica while a commit replaces those before it is kept aside"""
    w.lab.add_disk((64 if w.kind == "plain" else 8) << 20)
    while len(w.lab.disks) < (3 if w.kind in rig.ON_DISK else 6):
        w.lab.add_disk()
    last = max(w.lab.disks)
    w.create()
    w.run()
    for _ in range(20):
        change(w)
        if written_early(w, last):
            break
    else:
        raise AssertionError("no commit was met in 20 runs")
    with open(w.lab.replica(last), "rb") as f:
        shown = f.read(len(MINE))
    rest(w)
    assert MINE in [*told(w), shown], w.asides(w.b.store)


def no_room(w, former, when):
    """A run whose agent finds no room for another name of that file, from the nth on, and stops where the replica is replaced."""
    names = [word for path in (former, w.lab.replica(0)) for word in ("-P", os.path.basename(path))]
    w.c.set_agent("pve2", ["strace", "-f", "-b", "execve", "-qq", "-o", os.path.join(w.c.dir, "trace"), *names, "-e", "trace=linkat,renameat,renameat2",
                           "-e", f"inject=linkat:error=ENOSPC:when={when}+", "-e", "inject=renameat,renameat2:signal=SIGSTOP"])
    return w.a.popen("run", "--id", "100-0", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def words_of(pid):
    with open(f"/proc/{pid}/cmdline") as f:
        return f.read()


def go_on(w):
    """Whom no_room has stopped: nothing it does comes between the replacement and this."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as f:
            tracer = f.read().split("TracerPid:")[1].split()[0]
            if tracer != "0" and os.path.join(w.c.dir, "trace") in words_of(tracer):
                os.kill(int(pid), signal.SIGCONT)


def begins_with_mine(path):
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as f:
        return f.read(len(MINE)) == MINE
    return False


def replaced(former, live):
    return os.path.exists(former) and not os.path.samefile(former, live)


@scenario("xfs", "plain")
def no_room_for_what_is_written_within_the_commit(w):
    """what is written within a commit, and finds no room to be kept, stays: that run succeeds, the next one says what to do, until there is room"""
    w.create()
    w.run()
    former, live = os.path.join(w.lab.names.folder(w.b.store), f".pvesr-tmp.{os.path.basename(w.lab.replica(0))}@@former"), w.lab.replica(0)
    change(w)
    ran = no_room(w, former, 2)
    rig.wait_for(lambda: ran.poll() is not None or replaced(former, live), "the moment in which the replica is replaced", seconds=120)
    with open(former, "r+b", buffering=0) as f:
        f.write(MINE)
        os.fsync(f.fileno())
    go_on(w)
    said = ran.communicate()[0]
    assert ran.returncode == 0, said
    assert begins_with_mine(former), said
    assert same_file(w.lab.replica(0), w.lab.live(0))
    change(w)
    said = no_room(w, former, 1).communicate()[0]
    assert "is to be kept first" in said and "No space left" in said and w.b.store in said, said
    assert begins_with_mine(former)
    w.c.set_agent("pve2", [])
    w.run()
    assert MINE in told(w), w.asides(w.b.store)
    assert not os.path.exists(former) or w.kind == "plain"
    w.proved(asides=True)


def run_stopped_behind_the_exchange(w, names):
    """A run whose agent stops once it has replaced the replica, and the log of its calls."""
    log = os.path.join(w.c.dir, "trace")
    words = [word for name in names for word in ("-P", name)]
    w.c.set_agent("pve2", ["strace", "-f", "-b", "execve", "-qq", "-o", log, *words, "-e", "trace=renameat2", "-e", "inject=renameat2:signal=SIGSTOP"])
    ran = w.a.popen("run", "--id", "100-0", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    rig.wait_for(lambda: ran.poll() is not None or os.path.exists(log) and "stopped by SIGSTOP" in open(log).read(), "the exchange", seconds=120)
    assert ran.poll() is None, ran.communicate()
    return ran


@scenario("btrfs")
def no_room_for_a_subvolume_that_is_written_within_the_commit(w):
    """what is written to a subvolume within a commit, and for which a full file system has no second name, stays: that run succeeds, and it is kept once there is room"""
    w.create()
    w.run()
    image = os.path.basename(w.lab.names.subvolume(w.b.store, 0))
    former = os.path.join(w.lab.names.folder(w.b.store), f".pvesr-tmp.{image}")
    change(w)
    ran = run_stopped_behind_the_exchange(w, (os.path.basename(former), image))
    with open(os.path.join(former, "disk.raw"), "r+b", buffering=0) as f:
        f.write(MINE)
        os.fsync(f.fileno())
    for words in (("quota", "enable"), ("quota", "rescan", "-w"), ("qgroup", "limit", "16K")):
        rig.sh("btrfs", *words, w.b.mount)
    go_on(w)
    said = ran.communicate()[0]
    assert ran.returncode == 0 and begins_with_mine(os.path.join(former, "disk.raw")), said
    assert same_file(w.lab.replica(0), w.lab.live(0))
    w.c.set_agent("pve2", [])
    w.b.pvesr("doctor", check=True)
    assert begins_with_mine(os.path.join(former, "disk.raw"))
    rig.sh("btrfs", "quota", "disable", w.b.mount)
    change(w)
    w.run()
    assert MINE in told(w) and not os.path.exists(former), w.asides(w.b.store)
    w.proved(asides=True)


# ---- the guest was started in the middle ----

@scenario(*FILES)
def started_in_the_middle(w):
    """a guest that was moved by hand and written to before the commit was ended is not replicated on until a person has said what holds"""
    log = os.path.join(w.c.dir, "trace")
    three_disks(w)
    change(w)
    run_behind(w, strace(log))
    renames = [step for step in steps(log, 1000, "disk-") if "rename" in step[0]]
    change(w)
    run_behind(w, strace(log, renames[-1]))
    assert intents(w) == ["100.json"]
    w.steal("pve2")
    w.lab.write(0, 5)
    mine = {n: w.copy(w.lab.live(n)) for n in w.lab.disks}
    done = w.run(want=1)
    assert "two instants" in done.stderr and "--as-is" in done.stderr, done.stderr
    assert all(same_file(mine[n], w.lab.live(n)) for n in mine)
    w.b.pvesr("settle", "--guest", "100", "--as-is", check=True)
    assert all(same_file(mine[n], w.lab.live(n)) for n in mine)
    w.run()
    w.proved(asides=True)


play_all()
