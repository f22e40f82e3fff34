#!/usr/bin/env python3
"""`pvesr doctor`: what is left over is named and goes on request; what a run or a person may need is left alone."""
import fcntl
import json
import os
import re
import signal
import subprocess

import rig
from guestlab import same_file
from scenario import play_all, scenario


def doctor(w, node, *more, want=0):
    """(state, disk, text) of each finding, and what was said beside."""
    done = node.pvesr("doctor", "--output-format", "json", *more)
    assert (done.returncode == 0) == (want == 0), f"exit {done.returncode}: {done.stderr}{done.stdout}"
    return [(f["state"], int(re.search(r"disk-(\d+)", f["volid"])[1]), f["text"]) for f in json.loads(done.stdout)
            if f["state"] != "takeover"], done.stderr


def finds(w, node, *states):
    """doctor with --repair if one of the states is what that does; all findings are of disk 0."""
    found, _ = doctor(w, node, *(["--repair"] if "removed" in states else []))
    assert sorted((state, n) for state, n, _ in found) == sorted((state, 0) for state in states), found


def cut(w):
    """A run is killed in the middle of sending disk 0: the target keeps what it has of it."""
    w.a.pvesr("update", "100-0", "--rate", "1", check=True)
    with open(w.lab.live(0), "r+b") as f:
        f.write(os.urandom(4 << 20))
        os.fsync(f.fileno())
    p = subprocess.Popen(w.a.argv("pvesr", "run", "--id", "100-0"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL, start_new_session=True)
    rig.wait_for(lambda: p.poll() is not None or unfinished(w), "the transfer")
    assert p.poll() is None, "the run ended before it was killed"
    os.killpg(p.pid, signal.SIGKILL)
    p.wait()
    w.a.pvesr("update", "100-0", "--delete", "rate", check=True)


def unfinished(w):
    return [name for name in w.lab.names.entries(w.b.store)[1] if "stage" in name]


@scenario()
def unfinished_copy(w):
    """an unfinished copy is left to the next run; when its job is gone, doctor names it and the job's points, and removes them on request"""
    w.create()
    w.run()
    cut(w)
    assert doctor(w, w.b)[0] == [] and unfinished(w), "what the next run needs"
    w.run()
    w.proved()
    cut(w)
    kept = w.copy(w.lab.replica(0))
    w.a.pvesr("delete", "100-0", "--force", check=True)
    points = sum(1 for n, snap in w.lab.names.entries(w.a.store)[0] if snap)
    assert points
    finds(w, w.a, *["left"] * points)
    finds(w, w.b, "kept", "left")
    assert unfinished(w)
    finds(w, w.a, *["removed"] * points)
    finds(w, w.b, "kept", "removed")
    assert w.lab.names.entries(w.a.store) == ({(0, None)}, []) and not unfinished(w)
    finds(w, w.a)
    finds(w, w.b, "kept")
    assert same_file(w.lab.replica(0), kept), "the replica was changed"


@scenario()
def kept_aside(w):
    """what was written on the target by hand is listed, and stays"""
    w.create()
    w.run()
    kept = w.write_there()
    w.run()
    for more in ((), ("--repair",)):
        found, _ = doctor(w, w.b, *more)
        assert len(found) == 1 and found[0][0] == "kept" and "diverged_100-0_" in found[0][2], found
    assert doctor(w, w.a, "--repair")[0] == []
    w.proved(asides=True)
    assert w.kept_aside(w.b.store, 0, kept)


@scenario("zfspool")
def died_between_two_renames(w):
    """what a crash in the middle of a commit leaves, a replica without its name, has it again; another time nothing is found"""
    w.create()
    w.run()
    live = w.lab.names.dataset(w.b.store, 0)
    subprocess.run(["zfs", "rename", live, live.replace("/vm-", "/pvesr-old-vm-")], check=True)
    assert not w.lab.names.get("guid", live)
    finds(w, w.b, "ended")
    w.proved()
    finds(w, w.b)


@scenario("xfs")
def one_of_two_jobs(w):
    """the points of a removed job stay while the guest has another: it may go on from them"""
    w.c.add_node("pve3")
    w.create()
    w.create(job="100-1", target="pve3")
    w.run()
    w.run(job="100-1")
    w.a.pvesr("delete", "100-0", "--force", check=True)
    before = w.lab.names.entries(w.a.store)
    assert doctor(w, w.a, "--repair")[0] == [] and w.lab.names.entries(w.a.store) == before
    finds(w, w.b, "kept")
    assert doctor(w, w.c.node("pve3"), "--repair")[0] == []
    w.run(job="100-1")


@scenario("xfs")
def stolen_and_not_turned_round(w):
    """an unfinished copy on the node that was stolen from stays while the job has not been turned round"""
    w.create()
    w.run()
    cut(w)
    w.steal("pve2")
    finds(w, w.b, "left")
    assert doctor(w, w.a, "--repair")[0] == []
    w.run()
    w.proved(asides=True)


@scenario("xfs")
def in_doubt(w):
    """a section of replication.cfg that cannot be read may be the guest's job: nothing is removed"""
    w.create()
    w.run()
    cut(w)
    path = os.path.join(w.c.tree, "replication.cfg")
    with open(path) as f:
        text = f.read()
    with open(path, "w") as f:
        f.write(text.replace("target pve2", "target pve2:"))
    before = w.lab.names.entries(w.a.store), w.lab.names.entries(w.b.store)
    for node in (w.a, w.b):
        found, said = doctor(w, node, "--repair", want=1)
        assert found == [] and "replication.cfg" in said, (found, said)
    assert (w.lab.names.entries(w.a.store), w.lab.names.entries(w.b.store)) == before


@scenario("xfs")
def busy(w):
    """a guest on whose volumes a run is at work is not looked at, and doctor says so"""
    w.create()
    w.run()
    with open(os.path.join(w.b.lock_dir, "pvesr-agent-100"), "a") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        found, said = doctor(w, w.b, want=1)
        assert found == [] and "guest 100 was not looked at" in said, (found, said)
        assert doctor(w, w.b, "--guest", "101")[0] == []
    assert doctor(w, w.b)[0] == []


@scenario("xfs")
def guest_is_gone(w):
    """what is left of a guest that exists no more is found, and when it is asked for by its number"""
    w.create()
    w.run()
    cut(w)
    w.a.pvesr("delete", "100-0", "--force", check=True)
    os.unlink(os.path.join(w.c.tree, "nodes/pve1/qemu-server/100.conf"))
    assert sorted(f[0] for f in doctor(w, w.b)[0]) == ["kept", "left"]
    found, _ = doctor(w, w.b, "--guest", "100", "--repair")
    assert sorted(f[0] for f in found) == ["kept", "removed"], found
    assert not unfinished(w)


@scenario("xfs", "btrfs")
def job_file_is_gone(w):
    """a tree without replication.cfg says nothing of jobs that are gone: --repair removes no base, and the job goes on when it is back"""
    w.create()
    w.run()
    jobs = os.path.join(w.c.tree, "replication.cfg")
    os.rename(jobs, jobs + ".away")
    for node in (w.a, w.b):
        done = node.pvesr("doctor", "--repair")
        assert "removed" not in done.stdout, done.stdout
    os.rename(jobs + ".away", jobs)
    w.lab.write(0, 3)
    w.run()
    w.proved()
    assert "full sync" not in w.log(), w.log()


play_all()
