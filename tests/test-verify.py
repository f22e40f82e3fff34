#!/usr/bin/env python3
"""pvesr verify: a byte that is another on the replica is found, wherever it is, named and sent anew; of what is equal nothing is said but that.
A run that is due does not wait for it.

PVESR_TEST_STORAGES (xfs btrfs plain) chooses the storages; also zfspool and lvmthin. PVESR_TEST_SCENARIOS: only those with these names.
PVESR_TEST_PLACES (hole begin middle end): where the byte is."""
# deadline: 1800
import fcntl
import json
import os
import re
import subprocess
import time

import rig
from byhand import BLOCK, HOLE, MIB, PLACES, byte_at, flip, flip_live, flip_point, newest, rot, touched
from guestlab import same_file
from rigdisk import gone
from scenario import STORAGES, World, play_all, scenario

ALL = ("xfs", "btrfs", "plain", "zfspool", "lvmthin")
POINTS = ("xfs", "btrfs", "lvmthin")  # whose restore points have data of their own that a hand can change


class Verified(World):
    def __init__(self, c, kind):
        super().__init__(c, kind)
        self.lab.names.punch(self.a.store, 0, HOLE, MIB)
        self.create()

    def verify(self, *words, want=0):
        done = self.a.pvesr("verify", "100-0", *words)
        assert done.returncode == want, f"exit {done.returncode}, not {want}: {done.stderr}{done.stdout}"
        return done.stdout

    def sound(self, *words):
        said = self.verify(*words)
        assert "equal" in said and "DIFFERS" not in said, said

    def history(self, *results):
        """The runs, or verifications, that ended so; the newest first."""
        rows = json.loads(self.a.pvesr("history", "--output-format", "json", "--verbose", check=True).stdout)
        return [row for row in rows if row["result"] in results]

    def last(self):
        return self.history("verified", "differs", "failed")[0]

    def differs(self, at, *words, n=0):
        """It is found and named: the block, and no other; the age of what it was compared with; in the history, too."""
        said = self.verify(*words, want=1)
        first = at // BLOCK * BLOCK
        volname = self.lab.names.volname(n)
        assert re.findall(rf"{re.escape(volname)}: bytes (\d+) to (\d+)", said) == [(str(first), str(first + BLOCK - 1))], said
        assert re.search(r"DIFFERS on 'pve2' from restore point '\S+' of 20\d\d-\S+ \S+, \d+ \w+ old", said), said
        assert self.last()["result"] == "differs", self.last()
        return said


def in_the_live_replica(w, where):
    """written to"""
    w.run()
    flip_live(w, PLACES[where])
    w.differs(PLACES[where])


def in_the_restore_point(w, where):
    """changed by hand"""
    w.run()
    flip_point(w, PLACES[where], newest(w))
    w.differs(PLACES[where])
    assert w.status()["100-0"]["differs"].endswith(w.lab.names.volname(0)), w.status()
    assert "DIFFERS on pve2" in w.a.pvesr("status", check=True).stdout


def repaired(w, *words):
    before = int(time.time())
    said = w.verify("--repair", *words)
    assert "anew" in said, said
    w.proved(asides=True)
    assert "differs" not in w.status()["100-0"], w.status()
    w.sound(*words)
    assert words or w.status()["100-0"]["verified"] >= before, w.status()
    w.lab.write(0, 5)
    w.run()
    w.proved(asides=True)
    w.sound(*words)


def play_flips(kind, story):
    """At one place after the other: each is found, and sent anew, in a replica that was sound."""
    with rig.Cluster(storage=kind, ssh=False) as c:
        w = Verified(c, kind)
        for where in os.environ.get("PVESR_TEST_PLACES", "").split() or PLACES:
            try:
                story(w, where)
                repaired(w)
            except AssertionError as e:
                raise AssertionError(f"{where}: {e}") from e
        if kind != "plain" and story is in_the_restore_point:
            logs = [row["log"] for row in w.history("ok")[:-1]]
            assert logs and not any("full sync" in log for log in logs), logs


def story(*kinds):
    def add(f):
        def played(w):
            w.__class__ = Verified
            w.lab.names.punch(w.a.store, 0, HOLE, MIB)
            w.create()
            f(w)
        played.__name__, played.__doc__ = f.__name__, f.__doc__
        scenario(*kinds)(played)
        return f
    return add


@story(*ALL)
def sound(w):
    """what is equal is said to be so, in the status and the history too; few bytes travel"""
    done = w.a.pvesr("verify", "100-0")
    assert done.returncode == 1 and "let the job run first" in done.stderr, done
    w.run()
    for _ in range(2):
        before = int(time.time())
        w.sound()
        row = w.last()
        assert row["result"] == "verified" and 0 < row["bytes"] <= w.lab.disks[0] // 100, row
        assert w.status()["100-0"]["verified"] >= before
        assert re.search(r"OK \(verified 20\d\d-\d\d-\d\d \d\d:\d\d\)", w.a.pvesr("status", check=True).stdout)
        w.lab.write(0, 3)
        w.run()
        w.proved()
    said = w.a.pvesr("verify", "--all", check=True).stdout
    assert re.match("100-0: .*equal", said), said
    done = w.a.pvesr("verify")
    assert done.returncode == 255 and "--all" in done.stderr, done


@story(*POINTS)
def older_point(w):
    """a guest snapshot is compared and repaired by itself"""
    w.lab.take_guest_snapshot()
    w.lab.write(0, 20)
    w.run()
    w.lab.write(0, 20)
    w.run()
    w.sound("--point", "snap0")
    flip_point(w, PLACES["middle"], "snap0")
    w.sound()
    w.differs(PLACES["middle"], "--point", "snap0")
    assert damaged_there(w) == {"snap0"}, damaged_there(w)
    repaired(w, "--point", "snap0")
    assert not damaged_there(w), damaged_there(w)
    assert not w.asides(w.b.store), w.asides(w.b.store)
    done = w.a.pvesr("verify", "100-0", "--point", "nothing")
    assert done.returncode == 1 and "no restore point 'nothing' on both nodes" in done.stderr, done


@story(*POINTS)
def healed_by_the_next_run(w):
    """what was found is not built upon: the next run sends what differs with what has changed, and no more"""
    w.lab.add_disk()
    w.run()
    flip_point(w, PLACES["end"], newest(w, 1), n=1)
    w.differs(PLACES["end"], n=1)
    w.run()
    w.proved(asides=True)
    assert "full sync" not in w.log() and "is not what it was" in w.log(), w.log()
    assert w.history("ok")[0]["bytes"] < MIB, w.history("ok")
    w.sound()


def write_middle(w):
    with open(w.lab.live(0), "r+b") as f:
        f.seek(PLACES["middle"] // BLOCK * BLOCK)
        f.write(os.urandom(BLOCK))


@story("xfs", "btrfs", "plain")
def rotten(w):
    """a disk of the target that rots leaves no trace: it is found, or cannot be read, and is sent anew"""
    write_middle(w)
    w.run()
    path = w.lab.replica(0) if w.kind == "plain" else touched(w, newest(w))
    rot(w, w.b, path, PLACES["middle"], [w.lab.replica(0)])
    w.differs(PLACES["middle"])
    repaired(w)


@story("plain")
def rotten_base(w):
    """…where a run stands upon it before anybody looked: it fails and says so, the next one sends what differs"""
    write_middle(w)
    w.run()
    rot(w, w.b, w.lab.replica(0), PLACES["middle"])
    w.lab.write(0, 5)
    said = w.run(want=1).stderr
    assert "was written to since its restore point" in said, said
    w.run()
    w.proved(asides=True)
    assert "resync by digests" in w.log(), w.log()


def begun(w):
    """A slow verification that has compared the first disk, and what it said of that."""
    p = subprocess.Popen(w.a.argv("pvesr", "verify", "100-0", "--rate", "1"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    w.c.cleanup.callback(rig.stop, p)
    said = p.stdout.readline()
    assert w.lab.names.volname(0) in said and p.poll() is None, said
    return p, said


@story(*ALL)
def due_run(w):
    """a run does not wait for a verification, which goes on afterwards with the new restore point"""
    w.lab.add_disk()
    w.run()
    p, said = begun(w)
    assert "equal" in said, said
    for n in w.lab.disks:
        w.lab.write(n, 5)
    w.run()
    assert p.poll() is None, "the run waited for the verification"
    w.proved()
    rest, _ = p.communicate(timeout=rig.RUN_SECONDS)
    assert p.returncode == 0 and "equal" in rest, rest
    assert w.last()["result"] == "verified", w.last()


def states(w):
    with open(os.path.join(w.a.state_dir, "pve-replication-state.json"), encoding="utf-8") as f:
        return json.load(f)


def force(w):
    w.a.pvesr("delete", "100-0", "--force", check=True)


def remove(w):
    w.a.pvesr("delete", "100-0", check=True)
    w.run()


@story("xfs", "btrfs", "plain")
def gone_while_compared(w):
    """a replica is removed by hand, one that was compared already and one that is being read, or the job is: it is not equal, the verification \
fails, and nothing is remembered of a job that is no more"""
    w.lab.add_disk()
    for what, take_away in (("compared", lambda w: w.lab.names.remove(w.b.store, 0)), ("being read", lambda w: w.lab.names.remove(w.b.store, 1)),
                            ("job out of the file", force), ("job and replica", remove)):
        w.run()
        p, _ = begun(w)
        take_away(w)
        known = states(w)
        assert p.poll() is None, "it was over before"
        rest, _ = p.communicate(timeout=rig.RUN_SECONDS)
        assert p.returncode == 1, f"{what}: exit {p.returncode}: {rest}"
        assert states(w) == known and (take_away != remove or "100" not in known), f"{what}: {known}, then {states(w)}"
        if take_away in (force, remove):
            w.create()
        assert w.last()["result"] == "failed" and "verified" not in w.status()["100-0"], f"{what}: {w.last()} {w.status()}"


@story("xfs", "btrfs")
def guest_wanted(w):
    """who takes the guest's lock here alone, as a rollback does, finds its disks closed; afterwards the verification goes on"""
    w.lab.grow_disk(0, 16 << 30)  # an hour and more
    w.run()
    p = subprocess.Popen(w.a.argv("pvesr", "verify", "100-0", "--rate", "1"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    w.c.cleanup.callback(rig.stop, p)

    def reads():
        assert p.poll() is None, p.returncode
        return rig.has_open(p.pid, newest(w))
    with open(os.path.join(w.a.lock_dir, "pve-migrate-100"), "a+b") as lock:
        rig.wait_for(reads, "the comparison")
        fcntl.flock(lock, fcntl.LOCK_EX)
        rig.wait_for(lambda: not reads(), "its end")
    rig.wait_for(reads, "its going on")


@story("xfs", "btrfs")
def killed(w):
    """kill -9 of a verification that has said what differs: no run builds upon that"""
    w.lab.add_disk()
    w.run()
    flip_point(w, PLACES["begin"], newest(w))
    p, said = begun(w)
    assert "DIFFERS" in said, said
    p.kill()
    p.wait()
    assert w.status()["100-0"]["differs"].endswith(w.lab.names.volname(0)), w.status()
    assert damaged_there(w) == {newest(w)}, damaged_there(w)
    w.lab.write(0, 5)
    w.run()
    w.proved(asides=True)


@story("xfs", "btrfs")
def one_left_out(w):
    """one disk has nothing that could be compared: the others are, what they have is remembered, and it is no success"""
    w.lab.add_disk()
    w.lab.add_disk()
    w.run()
    flip_point(w, PLACES["middle"], newest(w, 2), n=2)
    for n in (0, 1):
        w.lab.names.drop_snapshot(w.a.store, n, newest(w, n))
    done = w.a.pvesr("verify", "100-0")
    assert done.returncode == 1 and done.stdout.count("not compared") == 2, done
    assert w.status()["100-0"]["differs"].endswith(w.lab.names.volname(2)), w.status()
    w.lab.names.drop_snapshot(w.a.store, 2, newest(w, 2))
    done = w.a.pvesr("verify", "100-0")
    assert done.returncode == 1 and "let the job run first" in done.stderr, done
    assert w.last()["result"] == "failed" and "verified" not in w.status()["100-0"], w.last()


@story("xfs", "btrfs")
def replica_gone(w):
    """the replica is removed by hand, and its restore points are sound: that is no success, until a run has made it anew"""
    w.lab.add_disk()
    w.run()
    if w.kind == "btrfs":
        subprocess.run(["btrfs", "subvolume", "delete", w.lab.names.subvolume(w.b.store, 1)], check=True, capture_output=True)
    else:
        os.unlink(w.lab.replica(1))
    done = w.a.pvesr("verify", "100-0")
    assert done.returncode == 1 and "only its restore points are" in done.stderr, done
    assert w.last()["result"] == "failed" and "verified" not in w.status()["100-0"], w.last()
    w.run()
    w.proved()
    w.a.pvesr("verify", "100-0", check=True)
    assert w.status()["100-0"]["verified"]


@story(*POINTS)
def run_between(w):
    """a run that comes in between sends anew what was found, and the new restore point is looked at from there on"""
    w.lab.add_disk()
    w.run()
    flip_point(w, PLACES["begin"], newest(w))
    p, said = begun(w)
    assert "DIFFERS" in said, said
    w.lab.write(1, 5)
    w.run()
    w.proved(asides=True)
    rest, _ = p.communicate(timeout=rig.RUN_SECONDS)
    assert p.returncode == 0 and "looked at again" in rest and rest.count("equal") >= 2, rest
    assert w.last()["result"] == "verified" and newest(w) in w.last()["log"], w.last()


# ---- what was found is known where the restore point is ----

def damaged_there(w, node=None):
    """Names of the restore points of which that node knows that they are damaged, and since when."""
    points = json.loads((node or w.b).pvesr("restore-points", "100", "--output-format", "json", check=True).stdout)
    found = {p["name"]: v["damaged"] for p in points for v in p["volumes"] if "damaged" in v}
    assert all(abs(since - time.time()) < 600 for since in found.values()), found
    return set(found)


def rot_zvol(w, at):
    """The pool's only copy of a block of random bytes is another now; its checksum is not."""
    device = subprocess.run(["zpool", "list", "-vHPL", "-o", "name", w.b.store.split("/", maxsplit=1)[0]], capture_output=True, text=True,
                            check=True).stdout.split("\n")[1].split()[0]
    with open(w.lab.live(0), "rb") as f:
        f.seek(at // BLOCK * BLOCK)
        piece = f.read(4096)
    with open(device, "rb") as disk:
        where = None
        while where is None:
            begin = disk.tell()
            found = disk.read(MIB).find(piece)  # blocks lie at multiples of their ashift
            assert disk.tell() > begin, "the block is nowhere on the disk"
            where = begin + found if found >= 0 else None
    flip(device, where)
    pool = w.b.store.split("/", maxsplit=1)[0]
    gone(["zpool", "export", pool])
    rig.sh("zpool", "import", "-o", "cachefile=none", "-d", os.path.dirname(device), pool)


def spoil(w, at):
    """What the replica shows rots, without a trace in its storage."""
    if w.kind == "zfspool":
        rot_zvol(w, at)
    elif w.kind == "lvmthin":
        flip_point(w, at, newest(w))
        flip_live(w, at)
    else:
        rot(w, w.b, w.lab.replica(0) if w.kind == "plain" else touched(w, newest(w)), at, [w.lab.replica(0)])


def found_damaged(w):
    """A replica that is known to be damaged, on both nodes."""
    write_middle(w)
    w.run()
    spoil(w, PLACES["middle"])
    w.verify(want=1)
    assert damaged_there(w) == {newest(w)}, damaged_there(w)


def refused(w, *words):
    done = w.b.pvesr("failover", "100", "--force", *words)
    assert done.returncode and "was found on 20" in done.stderr and newest(w) in done.stderr and w.lab.names.volname(0) in done.stderr, done
    assert "--as-is" in done.stderr, done.stderr
    return done.stderr


@story(*ALL)
def failover_refuses(w):
    """the target knows what was found: it lists it, a failover refuses it and names the newest sound point, which --point takes"""
    w.a.pvesr("update", "100-0", "--keep", "last=3", check=True)
    w.run()
    older, then = newest(w), w.copy(w.lab.live(0))
    found_damaged(w)
    refused(w)
    said = refused(w, "--point", newest(w))
    assert re.search(rf"(?m)^ *20\S+ +100-0 +damaged .*{newest(w)}", w.b.pvesr("restore-points", "100", check=True).stdout)
    assert newest(w) in w.b.pvesr("doctor", check=True).stdout
    done = w.b.pvesr("clone", "100", newest(w), "900")
    assert "warning: " in done.stderr and "was found on 20" in done.stderr, done
    if w.kind == "plain":
        assert "no other one in common" in said, said
        w.b.pvesr("failover", "100", "--force", "--as-is", check=True)
        return
    assert f"--point {older}" in said, said
    done = w.b.pvesr("failover", "100", "--force", "--point", "__replicate_100-0_5__")
    assert done.returncode and "restore point '__replicate_100-0_5__'" in done.stderr, done
    w.b.pvesr("failover", "100", "--force", "--point", older, check=True)
    with w.lab.names_there.standing_still():
        assert same_file(then, w.lab.replica(0))


@story(*ALL)
def failover_after_the_repair(w):
    """a run sends it anew: a failover takes that; what is kept aside of it stays known to be damaged"""
    found_damaged(w)
    w.run()
    w.proved(asides=True)
    assert newest(w) not in damaged_there(w) and all(s.startswith("diverged_") for s in damaged_there(w)), damaged_there(w)
    assert w.kind in ("plain", "zfspool") or damaged_there(w)
    w.b.pvesr("failover", "100", "--force", check=True)


@story("xfs", "plain", "lvmthin")
def moved_as_it_is(w):
    """the guest goes on from a damaged replica: its new node does not take the point for what the former node has"""
    found_damaged(w)
    was = newest(w)
    w.b.pvesr("failover", "100", "--force", "--as-is", check=True)
    w.owner = "pve2"
    w.face("pve1")
    assert damaged_there(w) == {was}, damaged_there(w)
    done = w.b.pvesr("verify", "100-0")
    assert done.returncode == 1 and "was found damaged when it was a replica's" in done.stderr + done.stdout, done
    assert not damaged_there(w, w.a), damaged_there(w, w.a)
    w.lab.write(0, 5)
    w.run()
    w.proved(asides=True)
    assert not damaged_there(w, w.a), damaged_there(w, w.a)
    w.lab.write(0, 5)
    w.run()
    w.proved(asides=True)


@story(*ALL)
def state_lost(w):
    """the source's state is lost: its next run knows from the target, and builds nothing upon it but what it has compared"""
    found_damaged(w)
    os.unlink(state_file(w))
    plan = w.a.pvesr("plan", "100-0", check=True).stdout
    assert ("found to be another than it was: it is compared" if w.kind in POINTS else "nothing sound" if w.kind == "plain" else "not what was sent") in plan, plan
    w.lab.write(0, 5)
    w.run()
    w.proved(asides=True)
    assert newest(w) not in damaged_there(w), damaged_there(w)


@story("xfs", "plain")
def false_alarm(w):
    """what was found is right again: the next verification takes it back, on both nodes, and a failover takes the point"""
    found_damaged(w)
    spoil(w, PLACES["middle"])
    w.sound()
    assert not damaged_there(w) and "differs" not in w.status()["100-0"], damaged_there(w)
    w.b.pvesr("failover", "100", "--force", check=True)


@story("xfs", "btrfs", "plain")
def not_noted(w):
    """the target's file system is read-only: what is found is told, and that nobody knows of it there"""
    write_middle(w)
    w.run()
    spoil(w, PLACES["middle"])
    rig.sh("mount", "-o", "remount,ro", w.b.mount)
    said = w.verify(want=1)
    assert w.history("differs"), w.history("failed")
    assert "DIFFERS" in said and "could not be noted on 'pve2'" in said and "ead-only" in said, said
    rig.sh("mount", "-o", "remount,rw", w.b.mount)
    assert not damaged_there(w) and w.status()["100-0"]["differs"], w.status()
    w.verify(want=1)
    assert damaged_there(w) == {newest(w)}, damaged_there(w)


def state_file(w):
    return os.path.join(w.a.state_dir, "pve-replication-state.json")


def state(w):
    with open(state_file(w)) as f:
        return json.load(f)["100"]["local/pve2"]


def make_due(w):
    with open(state_file(w)) as f:
        text = json.load(f)
    text["100"]["local/pve2"]["verify_next"] = 1
    with open(state_file(w) + ".new", "w") as f:
        json.dump(text, f)
    os.rename(state_file(w) + ".new", state_file(w))


def await_verified(w):
    """A verification outlives the pvesrd that began it, and no other of the guest begins meanwhile."""
    with open(os.path.join(w.a.lock_dir, "pvesr-verify-100"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert w.a.pvesr("verify", "--part", "100-0", check=True).stdout == ""
        done = w.a.pvesr("verify", "100-0")
        assert done.returncode == 75 and "is being verified already" in done.stderr, done


@story(*ALL)
def rolling(w):
    """pvesrd verifies a part when it is due, and plans the next; what it finds is sent anew by the next run; 0 days: never"""
    w.a.pvesr("update", "100-0", "--schedule", "2035-1-1", "--scrub-days", "20", check=True)
    assert w.job()["scrub-days"] == 20
    w.run()
    make_due(w)
    daemon = w.a.popen(program="pvesrd")
    rig.wait_for(lambda: "verified" in w.status()["100-0"] and w.history("verified"), "the verification, in the history too")
    assert abs(state(w)["verify_next"] - time.time() - 20 * 86400) < 600 and "verify_at" not in state(w), state(w)
    assert w.last()["result"] == "verified", w.last()
    rig.stop(daemon)
    await_verified(w)
    if w.kind in POINTS:
        flip_point(w, PLACES["hole"], newest(w))
        make_due(w)
        daemon = w.a.popen(program="pvesrd")
        rig.wait_for(lambda: "differs" in w.status()["100-0"] and w.history("differs"), "what differs, in the history too")
        w.a.pvesr("schedule-now", "100-0", check=True)
        rig.wait_for(lambda: "differs" not in w.status()["100-0"], "the repair")
        rig.wait_for(lambda: "pid" not in w.status()["100-0"], "the end of the run")
        w.proved(asides=True)
        rig.stop(daemon)
    w.a.pvesr("update", "100-0", "--scrub-days", "0", check=True)
    make_due(w)
    before = len(w.history("verified", "differs", "failed"))
    began = state(w)["last_sync"]
    daemon = w.a.popen(program="pvesrd")
    w.a.pvesr("schedule-now", "100-0", check=True)
    rig.wait_for(lambda: state(w)["last_sync"] > began and "pid" not in w.status()["100-0"], "a run")
    assert len(w.history("verified", "differs", "failed")) == before and state(w)["verify_next"] == 1, state(w)
    rig.stop(daemon)


@story("xfs", "btrfs")
def in_parts(w):
    """what is large is verified in parts, each goes on where the one before it ended, and what any of them finds is kept in mind"""
    w.lab.add_disk(4 << 30)
    w.run()
    done = [w.a.pvesr("verify", "100-0", "--part", check=True) and state(w).get("verify_at") for _ in range(3)]
    first, second, third = (int(at.split()[0]) for at in done)
    assert 0 < first < second < third < 4 << 30 and all("disk-1" in at for at in done), done
    assert "verified" not in state(w), state(w)
    w.a.pvesr("verify", "100-0", "--part", check=True)
    assert "verify_at" not in state(w) and state(w)["verified"] == state(w)["verify_began"], state(w)
    for at in (100 << 20, 2 << 30):
        flip_point(w, at, newest(w, 1), n=1)
    found = [w.a.pvesr("verify", "100-0", "--part").returncode for _ in range(4)]
    assert found == [1, 0, 1, 0], found
    assert damaged_there(w) == {newest(w, 1)}, damaged_there(w)  # what a part finds sound is not all of it
    assert f"{100 << 20}+65536,{2 << 30}+65536" in state(w)["damaged"][0], state(w)
    w.run()
    for path in (w.lab.replica(1), w.lab.restore_point(w.b.store, 1)):
        assert all(byte_at(path, at) == byte_at(w.lab.live(1), at) for at in (100 << 20, 2 << 30))
    w.sound()


def staged(w):
    """What of disk 0 is durable on the target of what a run sends."""
    stage = os.path.join(w.lab.names.folder(w.b.store), ".pvesr-stage." + os.path.basename(w.lab.names.image(w.b.store, 0)))
    try:
        return int(os.getxattr(stage if w.kind == "xfs" else os.path.join(stage, "disk.raw"), "user.pvesr.stage").split()[7])
    except OSError:
        return 0


@story("xfs", "btrfs")
def what_was_sent_upon_it_before(w):
    """what was sent upon a damaged base before anybody knew is not gone on with"""
    size = 128 * MIB
    w.lab.names.grow(w.a.store, 0, size)
    w.lab.disks[0] = size
    w.lab.save()
    with open(w.lab.live(0), "r+b") as f:
        f.write(os.urandom(8 * MIB))
    w.run()
    rot(w, w.b, touched(w, newest(w)), PLACES["middle"], others=[w.lab.replica(0)])
    with open(w.lab.live(0), "r+b") as f:
        f.seek(size // 4)
        f.write(os.urandom(size - size // 4))
    w.lab.take_guest_snapshot()
    w.a.pvesr("update", "100-0", "--rate", "40", check=True)
    with w.a.popen("run", "--id", "100-0") as run:
        rig.wait_for(lambda: run.poll() is not None or staged(w), "a part that is durable")
        assert run.poll() is None, "the run ended before a part was durable"
        run.kill()
    w.a.pvesr("update", "100-0", "--delete", "rate", check=True)
    w.verify("--repair")
    w.proved(asides=True)


ONLY = os.environ.get("PVESR_TEST_SCENARIOS", "").split()
for tell, kinds_ in ((in_the_live_replica, ALL), (in_the_restore_point, POINTS)):
    for kind_ in (kind_ for kind_ in STORAGES if kind_ in kinds_):
        if not ONLY or tell.__name__ in ONLY:
            rig.check(f"{tell.__name__} on {kind_}: {tell.__doc__}", lambda k=kind_, t=tell: play_flips(k, t),
                      needs=("root", kind_) if kind_ != "plain" else ("root",))
play_all()
