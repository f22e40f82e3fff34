#!/usr/bin/env python3
"""Thin volumes of LVM, from one volume group to another, with the real programs: random changes and growth, kills, a replica written to, a
replica in use, a full pool, a metadata snapshot left behind. What the replica holds is compared bit by bit.

PVESR_SOAK_RUNS (2; in the long form 3), PVESR_KILL_POINTS (1; in the long form 10) and PVESR_TEST_SEED choose the length and the story. The long stories are those of
test-soak.py and test-kill.py.
"""
# deadline: 3000
import contextlib
import os
import re
import signal
import subprocess

import rig
import told
from guestlab import GuestLab, same_file
from rigdisk import gone

LONG = os.environ.get("PVESR_LAB_LONG") == "1"
RUNS = int(os.environ.get("PVESR_SOAK_RUNS", "3" if LONG else "2"))
POINTS = int(os.environ.get("PVESR_KILL_POINTS", "10" if LONG else "1"))
JOB = "100-0"


class World:
    def __init__(self, stack, ssh=False):
        self.c = stack.enter_context(rig.Cluster(storage="lvmthin", ssh=ssh))
        self.a, self.b = self.c.node("pve1"), self.c.node("pve2")
        self.lab = GuestLab("lvmthin", self.c.storage_id, self.a.store, self.b.store, lambda text: self.c.write_guest("pve1", 100, text),
                            seed=rig.SEED)
        self.disk = self.lab.add_disk()
        self.a.pvesr("create-local-job", JOB, "pve2", check=True)

    def run(self, **more):
        return self.a.pvesr("run", "--id", JOB, **more)

    def replicate(self, what):
        done = self.run()
        assert done.returncode == 0, f"{what} (seed {rig.SEED}): {done.stderr.strip()}"
        faults = self.lab.faults(asides=True)
        assert not faults, f"{what} (seed {rig.SEED}): {faults}"

    def replica(self):
        """What it holds; it is inactive again afterwards, as a replica is."""
        path = self.lab.replica(self.disk)
        with open(path, "rb") as f:
            data = f.read()
        gone(["lvchange", "-an", path.removeprefix("/dev/")])
        return data


@contextlib.contextmanager
def world(**more):
    with contextlib.ExitStack() as stack:
        yield World(stack, **more)


def pool_device(vg):
    return f"{vg.replace('-', '--')}-thin-tpool"


def metadata_snapshot(vg):
    return rig.sh("dmsetup", "status", pool_device(vg)).split()[6] != "-"


def soak():
    with world(ssh=True) as w:
        for i in range(RUNS):
            story = [w.lab.step() for _ in range(w.lab.random.randrange(0, 5))]
            w.replicate(f"run {i} after {story}")
        assert not metadata_snapshot(w.a.store)


def commands(log):
    with open(log) as f:
        return len(re.findall(r"wait4\(", f.read()))


def kill(side):
    """Where the programs that a run starts are waited for, at some of them; they come to their end without it."""
    with world() as w:
        log = os.path.join(w.c.dir, "trace")
        w.replicate("the first run")

        def traced(*inject):
            trace = ["strace", "-qq", "-o", log, "-e", "trace=wait4", *inject]
            w.lab.write(w.disk, 5)
            w.c.set_agent("pve2", trace if side == "target" else [])
            done = w.run(prefix=trace if side == "source" else [])
            w.c.set_agent("pve2", [])
            return done

        done = traced()
        assert done.returncode == 0, done.stderr
        total = commands(log)
        points = sorted({1 + round(i * (total - 1) / max(1, POINTS - 1)) for i in range(POINTS)})
        print(f"# {side}: waits {total} times for a program, killed at {points}", flush=True)
        for at in points:
            before = w.replica()
            traced("-e", f"inject=wait4:signal=SIGKILL:when={at}")
            wait_for_lvm()
            if (w.disk, None) in w.lab.names.entries(w.b.store)[0]:
                assert w.replica() in (before, now(w)), f"killed at {at}: the replica is neither of the two"
            w.replicate(f"after the {side} was killed at {at}")
        assert not metadata_snapshot(w.a.store)


def wait_for_lvm():
    words = ["pgrep", "-x", "lv.*|thin_delta"]
    rig.wait_for(lambda: subprocess.run(words, stdout=subprocess.DEVNULL, check=False).returncode, "the end of LVM's programs")


def now(w):
    with open(w.lab.live(w.disk), "rb") as f:
        return f.read()


def written():
    """What somebody wrote into the replica is kept aside, and replication goes on."""
    with world() as w:
        w.replicate("the first run")
        with open(w.lab.replica(w.disk), "r+b") as f:
            f.seek(1 << 20)
            f.write(b"by hand")
        copy = os.path.join(w.c.dir, "copy")
        with open(copy, "wb") as f:
            f.write(w.replica())
        w.lab.write(w.disk, 5)
        w.replicate("after the replica was written to")
        asides = [snap for _, snap in w.lab.names.entries(w.b.store)[0] if (snap or "").startswith("diverged_")]
        assert len(asides) == 1, asides
        assert same_file(w.lab.names.aside(w.b.store, w.disk, asides[0]), copy)


def in_use():
    """A replica that somebody has open is not touched."""
    with world() as w:
        w.replicate("the first run")
        w.lab.write(w.disk, 5)
        with open(w.lab.replica(w.disk), "rb"):
            done = w.run()
            assert done.returncode != 0 and "in use" in done.stderr, done.stderr
        w.replicate("after it was closed")


def full():
    """The target's pool is nearly full: a run ends before harm, says so, and the next goes on once there is room."""
    with world() as w:
        w.replicate("the first run")
        rig.sh("lvremove", "-f", f"{w.b.store}/thin")
        rig.sh("lvcreate", "-q", "-y", "-L", "32m", "--chunksize", "64k", "--poolmetadatasize", "4m", "-T", f"{w.b.store}/thin")
        n = w.lab.add_disk(size=48 << 20)
        with open(w.lab.live(n), "r+b") as f:
            f.write(w.lab.random.randbytes(48 << 20))
        done = w.run()
        assert done.returncode != 0, "a run into a full pool succeeded"
        assert "thin pool" in done.stderr and "bytes free" in done.stderr and "lvextend" in done.stderr, done.stderr
        status = rig.sh("lvs", "--noheadings", "-o", "data_percent", f"{w.b.store}/thin")
        assert float(status) < 100, status
        rig.sh("lvextend", "-q", "-L", "+256m", f"{w.b.store}/thin")
        w.replicate("after the pool was extended")


def used_before(vg):
    """A pool that shows what somebody else had in its chunks, whose size is no power of two. The next chunk is sought behind the last one, so
    twice most of them are all."""
    rig.sh("lvremove", "-f", f"{vg}/thin")
    rig.sh("lvcreate", "-q", "-y", "-Zn", "-L", "32m", "--chunksize", "192k", "--poolmetadatasize", "4m", "-T", f"{vg}/thin")
    for _ in range(2):
        rig.sh("lvcreate", "-q", "-y", "-Wn", "-V", "20m", "-n", "somebody", "--thinpool", f"{vg}/thin")
        with open(f"/dev/{vg}/somebody", "r+b", buffering=0) as f:
            f.write(b"secret--" * (20 << 17))
            os.fsync(f.fileno())
        rig.sh("lvremove", "-f", f"{vg}/somebody")


def stale_chunks():
    """The target's chunks hold what somebody else had: where the guest has zeros, or discards, the replica has zeros."""
    with world() as w:
        used_before(w.b.store)
        n = w.lab.add_disk()
        rig.sh("blkdiscard", "-f", w.lab.live(n))
        with open(w.lab.live(n), "r+b") as f:
            for at in (512, 3 << 20, (5 << 20) + 4096):
                f.seek(at)
                f.write(w.lab.random.randbytes(512))
        w.replicate("the first run")
        rig.sh("blkdiscard", "-f", w.lab.live(n))
        w.replicate("after all was discarded")


def stranger_is_respected(w, vg):
    """Somebody else's metadata snapshot outlives a run, which says so, and the next one goes on once it was released."""
    done = w.run()
    assert done.returncode != 0 and "somebody else holds" in done.stderr, done.stderr
    assert metadata_snapshot(vg)
    rig.sh("dmsetup", "message", pool_device(vg), "0", "release_metadata_snap")
    w.replicate("after the stranger went")


def left_behind():
    """A metadata snapshot with the note of a killed run is released; a stranger's is respected."""
    with world() as w:
        w.replicate("the first run")
        w.lab.write(w.disk, 5)
        note = f"/var/lib/pvesr/metadata-snapshot-of-{w.a.store}-thin"
        rig.sh("dmsetup", "message", pool_device(w.a.store), "0", "reserve_metadata_snap")
        with open(note, "w") as f:
            f.write("reserve_metadata_snap\n")
        w.replicate("with a metadata snapshot of ours left")
        assert not metadata_snapshot(w.a.store)
        rig.sh("dmsetup", "message", pool_device(w.a.store), "0", "reserve_metadata_snap")
        w.lab.write(w.disk, 5)
        stranger_is_respected(w, w.a.store)


def lost_race():
    """A stranger reserves a metadata snapshot on the target just before a run does: it stays, then and at the next run. The agent stands
    still when it has looked and has made its note."""
    with world() as w:
        w.replicate("the first run")
        w.lab.write(w.disk, 5)
        log = os.path.join(w.c.dir, "trace")
        trace = ["strace", "-qq", "-y", "-o", log, "-e", "trace=fdatasync", "-e", "signal=SIGSTOP"]
        w.c.set_agent("pve2", trace)
        w.replicate("the second run")
        with open(log) as f:
            at = next(i for i, line in enumerate(f, 1) if "metadata-snapshot-of" in line)
        w.lab.write(w.disk, 5)
        agent, script = os.path.join(w.c.dir, "agent.pid"), os.path.join(w.c.dir, "note-pid")
        with open(script, "w") as f:
            f.write(f'#!/bin/sh\necho $$ >{agent}.new && mv {agent}.new {agent} && exec "$@"\n')
        os.chmod(script, 0o755)
        w.c.set_agent("pve2", [*trace, "-e", f"inject=fdatasync:signal=SIGSTOP:when={at}", script])
        run = subprocess.Popen(w.a.argv("pvesr", "run", "--id", JOB), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        w.c.cleanup.callback(rig.stop, run)
        rig.wait_for(lambda: "stopped by SIGSTOP" in open(log).read(), "the agent that stands still")
        rig.sh("dmsetup", "message", pool_device(w.b.store), "0", "reserve_metadata_snap")
        with open(agent) as f:
            os.kill(int(f.read()), signal.SIGCONT)
        said = run.communicate()[1]
        w.c.set_agent("pve2", [])
        assert run.returncode != 0 and "busy" in said, said
        assert metadata_snapshot(w.b.store)
        stranger_is_respected(w, w.b.store)


def tag_lost():
    """A snapshot that somebody else made gets the same id from whoever sees it first: without its tag it is still the one on the target"""
    def known_as():
        tags = rig.sh("lvs", "--noheadings", "-o", "lv_tags", lv).strip().split(",")
        return next(t for t in tags if not t.startswith("pvesr_seal="))
    with world() as w:
        w.lab.take_guest_snapshot()
        w.replicate("the first run")
        lv = w.lab.names.lv(w.a.store, w.disk, "snap0")
        tag = known_as()
        rig.sh("lvchange", "--deltag", tag, lv)
        w.lab.write(w.disk, 5)
        w.replicate("after the tag was lost")
        assert known_as().split("/")[2] == tag.split("/")[2], (tag, known_as())


def debug_level():
    """Every command that changes a volume group is told at debug level, by whichever side executes it."""
    with world() as w:
        w.lab.take_guest_snapshot()
        for change in (None, lambda: w.lab.write(w.disk, 5), lambda: w.lab.drop_guest_snapshot("snap0")):
            if change:
                change()
            said, did, untold = told.run(w)
            assert did and not untold, untold
            for side in ("", "pve2: "):
                assert f"debug: {side}+ lv" in said, said
                # no program does it, and it is told as the one that would; a first copy has nothing to compare
                assert not change or f"debug: {side}+ dmsetup message" in said, said
        assert "debug:" not in w.run().stderr


rig.check(f"{RUNS} random runs on lvmthin over ssh, seed {rig.SEED}", soak, needs=("root", "netns", "lvmthin"))
for each in ("source", "target"):
    rig.check(f"kill -9 of the {each} on lvmthin", lambda side=each: kill(side), needs=("root", "lvmthin", "strace"))
SHORT = (written, stale_chunks, tag_lost, debug_level)
for function in (*SHORT, in_use, full, left_behind, lost_race) if LONG else SHORT:
    rig.check(f"lvmthin, {function.__name__}: {' '.join(function.__doc__.split())}", function, needs=("root", "lvmthin"))
rig.main()
