#!/usr/bin/env python3
"""pvesrd as an administrator meets it: it runs jobs when they are due, notices changes, stops cleanly, survives a kill."""
import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess

import rig
from guestlab import same_file
from rigdaemon import Daemon, child_of, held

MB = 1000 * 1000


class World:
    """Two nodes; pve1 has guest 100 and whatever is added, each with one disk of random data."""

    def __init__(self, c):
        self.c, self.a, self.b = c, c.node("pve1"), c.node("pve2")
        self.add_guest(100, 2 * MB)

    def image(self, node, guest):
        return os.path.join(node.store, "images", str(guest), f"vm-{guest}-disk-0.raw")

    def add_guest(self, guest, size):
        path = self.image(self.a, guest)
        os.makedirs(os.path.dirname(path))
        with open(path, "wb") as f:
            f.write(os.urandom(size))
            f.truncate(32 * 1024 * 1024)
        self.c.write_guest("pve1", guest, f"scsi0: st:{guest}/vm-{guest}-disk-0.raw,size=32M\n")

    def create(self, job, *more, target="pve2"):
        self.a.pvesr("create-local-job", job, target, *more, check=True)

    def states(self, node=None):
        """Every job's status by its id; a state file that is being damaged on purpose says nothing."""
        done = (node or self.a).pvesr("status", "--output-format", "json")
        return {s["id"]: s for s in json.loads(done.stdout)} if done.returncode == 0 else {}

    def state(self, job, node=None):
        return self.states(node).get(job, {})

    def synced(self, job="100-0", after=0, node=None):
        return self.state(job, node).get("last_sync", 0) > after

    def wait_synced(self, job="100-0", after=0, node=None, seconds=30):
        rig.wait_for(lambda: self.synced(job, after, node), f"a run of {job}", seconds)

    def running(self, job="100-0"):
        return bool(self.state(job).get("pid"))

    def runs(self, job="100-0", node=None):
        done = (node or self.a).pvesr("history", "--id", job, "--output-format", "json", check=True)
        return json.loads(done.stdout)

    def same(self, guest=100):
        return same_file(self.image(self.a, guest), self.image(self.b, guest))


def test(function):
    def play():
        with rig.Cluster(storage="xfs") as c:
            return function(World(c))
    rig.check("daemon: " + function.__doc__, play, needs=("root", "xfs"))


@test
def at_once(w):
    """a new job runs at once, whatever its schedule"""
    w.create("100-0", "--schedule", "1-1 3:00")
    Daemon(w.a)
    w.wait_synced()
    assert w.same(), "the replica differs"
    assert len(w.runs()) == 1


@test
def changes(w):
    """jobs, guests and schedule-now are noticed at once"""
    d = Daemon(w.a)
    w.create("100-0", "--schedule", "1-1 3:00")
    w.wait_synced()
    w.add_guest(101, MB)
    w.create("101-0", "--schedule", "1-1 3:00")
    w.wait_synced("101-0")
    before = w.state("100-0")["last_sync"]
    w.a.pvesr("schedule-now", "100-0", check=True)
    w.wait_synced("100-0", after=before)
    w.a.pvesr("disable", "101-0", check=True)
    w.a.pvesr("delete", "100-0", check=True)
    rig.wait_for(lambda: "100-0" not in w.states(), "the removal")
    assert not os.path.exists(w.image(w.b, 100)), "the replica is still there"
    assert os.path.exists(w.image(w.b, 101))
    assert d.stop() == 0
    assert d.told("STOPPING=1") or "stopping" not in d.words()


@test
def schedule(w):
    """an event of the calendar starts a run"""
    w.create("100-0", "--schedule", "*:*:0/5")
    Daemon(w.a)
    w.wait_synced()
    w.wait_synced(after=w.state("100-0")["last_sync"])


@test
def parallel(w):
    """guests run in parallel, jobs of one guest one after the other"""
    w.add_guest(101, 10 * MB)
    third = w.c.add_node("pve3")
    for job, target in (("100-0", "pve2"), ("100-1", "pve3"), ("101-0", "pve2")):
        w.create(job, "--rate", 1, "--schedule", "1-1 3:00", target=target)
    Daemon(w.a)
    rig.wait_for(lambda: {job.split("-")[0] for job, s in w.states().items() if s.get("pid")} == {"100", "101"}, "a run of each guest")
    seen = []

    def done():
        states = w.states()
        seen.append([j for j, s in states.items() if s.get("pid")])
        return all(s.get("last_sync") for s in states.values())
    rig.wait_for(done, "all runs", 60)
    both = [s for s in seen if "100-0" in s and "100-1" in s]
    assert not both, "two runs of one guest at once"
    assert os.path.exists(w.image(third, 100))


@test
def busy(w):
    """a busy guest puts its job off, without a failure"""
    w.create("100-0", "--schedule", "1-1 3:00")
    os.makedirs(w.a.lock_dir, exist_ok=True)
    with open(os.path.join(w.a.lock_dir, "pve-migrate-100"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        d = Daemon(w.a)
        rig.wait_for(lambda: "got timeout" in d.words(), "a run that finds the guest busy")
        rig.wait_for(lambda: d.told("0 running, 0 due, next 2"), "the job put off")
        assert w.state("100-0")["fail_count"] == 0
    w.wait_synced(seconds=60)
    assert d.words().count("got timeout") == 1, d.words()
    assert "failed" not in d.words()


@test
def failure(w):
    """a failure is told once and waits its five minutes"""
    box = rig.Mailbox(w.a)
    w.create("100-0", "--schedule", "*:*:0/5")
    w.c.set_agent("pve2", ["/bin/false"], whole=True)
    d = Daemon(w.a)
    rig.wait_for(lambda: "'100-0' to 'pve2' failed 1 times" in d.words(), "the report")
    s = w.state("100-0")
    assert s["fail_count"] == 1 and s["error"], s
    assert s["next_sync"] == s["last_try"] + 300, s
    rig.wait_for(box.mails, "the mail")
    mail, = box.mails()
    assert "To: admin@example.com, root\nSubject: Replication Job: '100-0' failed\n" in mail and s["error"] in mail, mail
    rig.wait_for(lambda: d.told("1 jobs, 0 running, 0 due, next 2"), "the waiting")
    w.c.set_agent("pve2", None)
    w.a.pvesr("schedule-now", "100-0", check=True)
    rig.wait_for(lambda: w.synced() and w.state("100-0")["fail_count"] == 0, "success")


@test
def killed(w):
    """after kill -9 of the daemon the run goes on and is not started twice"""
    w.add_guest(101, 6 * MB)
    w.create("101-0", "--rate", 1, "--schedule", "1-1 3:00")
    with held(hold_agent(w)):  # however long the second daemon takes to come
        first = Daemon(w.a)
        rig.wait_for(lambda: w.running("101-0"), "the run")
        pid = w.state("101-0")["pid"]
        first.kill(signal.SIGKILL)
        first.process.wait()
        second = Daemon(w.a)
        rig.wait_for(lambda: second.told("1 jobs, 1 running"), "the adoption")
        assert w.state("101-0")["pid"] == pid
    w.wait_synced("101-0")
    rig.wait_for(lambda: second.told("1 jobs, 0 running, 0 due"), "the end of the adopted run")
    assert len(w.runs("101-0")) == 1, w.runs("101-0")
    assert second.stop() == 0


@test
def killed_run(w):
    """a run that is killed counts as one failure, and is told as what it was"""
    box = rig.Mailbox(w.a)
    w.add_guest(101, 6 * MB)
    w.create("101-0", "--rate", 1, "--schedule", "1-1 3:00")
    d = Daemon(w.a)
    rig.wait_for(lambda: w.running("101-0"), "the run")
    os.killpg(w.state("101-0")["pid"], signal.SIGKILL)
    rig.wait_for(lambda: "signal 9" in d.words(), "the report")
    rig.wait_for(lambda: d.told("1 jobs, 0 running, 0 due, next 2"), "the waiting")
    s = w.state("101-0")
    assert s["fail_count"] == 1 and "killed by signal 9 (Killed)" in s["error"] and s["next_sync"] == s["last_try"] + 300, s
    rig.wait_for(box.mails, "the mail")
    assert "killed by signal 9 (Killed)" in box.mails()[0], box.mails()
    said = w.a.pvesr("history", "--id", "101-0", check=True).stdout
    assert "interrupted" in said and "killed by signal 9 (Killed)" in said, said
    w.a.pvesr("update", "101-0", "--delete", "rate", check=True)
    w.a.pvesr("schedule-now", "101-0", check=True)
    w.wait_synced("101-0")
    assert w.same(101)


@test
def killed_at_its_start(w):
    """runs that are killed before they record anything count, are told, and are in the history"""
    box = rig.Mailbox(w.a)
    w.create("100-0", "--schedule", "1-1 3:00")
    bin = os.path.join(w.a.dir, "bin")
    os.mkdir(bin)
    shutil.copy(rig.program("pvesrd"), bin)
    with open(os.path.join(bin, "pvesr"), "w") as f:
        os.fchmod(f.fileno(), 0o755)
        f.write(f'#!/bin/sh\n[ "$1" != run ] || kill -9 $$\nexec {rig.program("pvesr")} "$@"\n')
    Daemon(w.a, program=os.path.join(bin, "pvesrd"))
    rig.wait_for(box.mails, "the mail")
    s = w.state("100-0")
    assert s["fail_count"] == 1 and "killed by signal 9" in s["error"] and s["next_sync"] == s["last_try"] + 300, s
    assert "killed by signal 9" in box.mails()[0], box.mails()
    runs = w.runs()
    assert [r["result"] for r in runs] == ["interrupted"] and "signal 9" in runs[0]["error"] and runs[0]["target"] == w.b.name, runs


@test
def lost_run(w):
    """a run whose end nobody saw is told, by status at once, by the next daemon as a failure, and by the next run"""
    box = rig.Mailbox(w.a)
    w.add_guest(101, 6 * MB)
    w.create("101-0", "--rate", 1, "--schedule", "1-1 3:00")

    def lose(fails):
        run = w.a.popen("run", "--id", "101-0", start_new_session=True)
        rig.wait_for(lambda: w.running("101-0"), "the run")
        os.killpg(w.state("101-0")["pid"], signal.SIGKILL)
        run.wait()
        s = w.state("101-0")
        assert s["fail_count"] == fails and ("left no word" in s["error"]) and "pid" not in s, s
        assert re.search("^101-0 .* left no word", w.a.pvesr("status").stdout, re.M)
    lose(0)
    lose(1)
    Daemon(w.a)
    rig.wait_for(lambda: w.state("101-0")["fail_count"] == 2, "the failure")
    rig.wait_for(box.mails, "the mail")
    assert "left no word" in box.mails()[0], box.mails()
    w.a.pvesr("update", "101-0", "--delete", "rate", check=True)
    w.a.pvesr("schedule-now", "101-0", check=True)
    w.wait_synced("101-0")
    rig.wait_for(lambda: not w.running("101-0"), "its end")  # which takes the failures back
    assert w.same(101) and w.state("101-0")["fail_count"] == 0 and len(box.mails()) == 1


@test
def waits(w):
    """SIGTERM lets a run end and starts no other"""
    w.add_guest(101, 4 * MB)
    w.create("101-0", "--rate", 1, "--schedule", "1-1 3:00")
    d = Daemon(w.a)
    rig.wait_for(lambda: w.running("101-0"), "the run")
    d.kill(signal.SIGTERM)
    rig.wait_for(lambda: d.told("STOPPING=1"), "STOPPING")
    w.create("100-0")
    assert d.process.wait(timeout=60) == 0
    assert w.synced("101-0") and w.same(101)
    assert not w.synced("100-0")


@test
def ends(w):
    """a run that takes too long to end is ended, and the next one succeeds"""
    w.add_guest(101, 25 * MB)
    w.create("101-0", "--rate", 1, "--schedule", "1-1 3:00")
    d = Daemon(w.a, "--stop-timeout", "0.2")
    rig.wait_for(lambda: w.running("101-0"), "the run")
    group = w.state("101-0")["pid"]
    assert d.stop() == 0
    try:
        os.killpg(group, 0)
        return "processes of the run are left"
    except ProcessLookupError:
        pass
    assert not w.synced("101-0") and w.state("101-0")["fail_count"] == 0
    w.a.pvesr("update", "101-0", "--delete", "rate", check=True)
    w.a.pvesr("run", "--id", "101-0", check=True)
    assert w.same(101)


@test
def stopped_with_all_under_way(w):
    """runs of its own and of others, and a mail that nobody takes: what is under way when it stops holds up nothing and leaves nothing"""
    for guest in (101, 102):
        w.add_guest(guest, 25 * MB)
        w.create(f"{guest}-0", "--rate", 1, "--max-age", "1s")
    box = rig.Mailbox(w.a)
    with open(box.program, "w", encoding="utf-8") as f:
        f.write(f"#!/bin/sh\necho $$ >{box.dir}/pid.new && mv {box.dir}/pid.new {box.dir}/pid\nexec sleep 1000\n")
    w.a.popen("run", "--id", "101-0")
    rig.wait_for(lambda: w.running("101-0"), "a run of another")
    d = Daemon(w.a, "--stop-timeout=0")
    rig.wait_for(lambda: w.running("102-0"), "a run of its own")
    pid = os.path.join(box.dir, "pid")
    rig.wait_for(lambda: os.path.exists(pid), "the mail")
    w.c.cleanup.callback(os.kill, int(open(pid, encoding="utf-8").read()), signal.SIGKILL)
    assert d.stop() == 0, d.words()
    assert not w.running("102-0")


@test
def twice(w):
    """one daemon a node"""
    Daemon(w.a)
    for _ in range(2):
        done = subprocess.run(w.a.argv("pvesrd"), capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and "another pvesrd" in done.stderr, done
        shutil.rmtree(w.a.run_dir)  # as a cleaner of temporary files does


@test
def damaged(w):
    """a damaged state file pauses, is told once, and is left alone"""
    os.makedirs(w.a.state_dir, exist_ok=True)
    path = os.path.join(w.a.state_dir, "pve-replication-state.json")
    with open(path, "w") as f:
        f.write("{garbage\n")
    w.create("100-0")
    d = Daemon(w.a)
    rig.wait_for(lambda: d.told("STATUS=Paused: "), "the pause")
    d.kill(signal.SIGHUP)
    rig.wait_for(lambda: d.told("RELOADING=1"), "the reload")
    assert open(path).read() == "{garbage\n"
    os.unlink(path)
    w.wait_synced()
    assert d.words().count("scheduling is paused") == 1, d.words()
    assert "scheduling goes on" in d.words()


@test
def quorum(w):
    """without quorum nothing is scheduled"""
    w.create("100-0")
    members = {"nodename": "pve1", "version": 1, "cluster": {"name": "c", "version": 1, "nodes": 2, "quorate": 0},
               "nodelist": {n: {"id": 1, "online": 1, "ip": "127.0.0.1"} for n in ("pve1", "pve2")}}
    w.c.write(".vmlist", json.dumps({"version": 1, "ids": {"100": {"node": "pve1", "type": "qemu", "version": 1}}}))
    w.c.write(".version", json.dumps({"starttime": 1, "clinfo": 1, "vmlist": 1, "replication.cfg": 1}))
    w.c.write(".members", json.dumps(members))
    d = Daemon(w.a)
    assert d.told("STATUS=Paused: no quorum!"), d.notices
    assert not w.runs()
    for version, quorate in ((2, 1), (3, 0), (4, 1)):
        d.notices.clear()
        members["cluster"]["quorate"] = quorate
        w.c.write(".members", json.dumps(members))
        w.c.write(".version", json.dumps({"starttime": 1, "clinfo": version, "vmlist": 1, "replication.cfg": 1}))
        rig.wait_for(lambda: d.told("STATUS=1 jobs" if quorate else "STATUS=Paused: no quorum!"), "the change")


@test
def stolen(w):
    """a guest that was moved by hand is replicated back from its new node"""
    w.create("100-0", "--schedule", "1-1 3:00")
    Daemon(w.a)
    Daemon(w.b)
    w.wait_synced()
    w.c.move_guest(100, "pve1", "pve2")
    w.wait_synced(node=w.b)
    job = json.loads(w.b.pvesr("read", "100-0", check=True).stdout)
    assert (job["source"], job["target"]) == ("pve2", "pve1"), job
    assert len(w.runs(node=w.a)) == 1


@test
def overdue(w):
    """a job that is only put off, or whose end cannot be recorded, is told by mail when its restore point is too old; so is one without a guest"""
    box = rig.Mailbox(w.a)
    os.makedirs(w.a.lock_dir, exist_ok=True)
    for guest in (101, 102):
        w.add_guest(guest, MB)
    w.create("100-0", "--max-age", "2s")
    w.create("101-0", "--max-age", "2s")
    w.create("102-0", "--max-age", "1d")
    path = os.path.join(w.c.tree, "nodes/pve1/qemu-server/101.conf")
    os.rename(path, path + ".away")
    with open(os.path.join(w.a.lock_dir, "pve-migrate-100"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        d = Daemon(w.a)
        rig.wait_for(box.mails, "the mail")
        told = "".join(box.mails())
        rig.wait_for(lambda: all(f"overdue: {guest}-0" in d.words() for guest in (100, 101)), "the log")
        status = w.a.pvesr("status", check=True).stdout
        rig.wait_for(lambda: re.search("^100-0 .* OVERDUE .* postponed, [0-9]+ in a row: .*got timeout", w.a.pvesr("status").stdout, re.M),
                     "the reason")
        assert len(re.findall("^10[01]-0 .* OVERDUE since ", status, re.M)) == 2, status
        assert w.states()["100-0"]["overdue"] and "overdue" not in w.states()["102-0"]
        assert "overdue on node 'pve1'" in told and "102-0" not in told, told
    assert d.words().count("overdue: 100-0") == 1, d.words()
    os.rename(path + ".away", path)
    w.wait_synced("100-0", seconds=60)
    w.wait_synced("101-0", seconds=60)


@test
def never_a_success(w):
    """a job without a success is overdue by the time since it was first seen, however often somebody edits another one; one that is made anew begins anew"""
    w.add_guest(101, MB)
    w.create("100-0", "--max-age", "6s")
    w.create("101-0", "--schedule", "2099-1-1")
    os.makedirs(w.a.lock_dir, exist_ok=True)
    box, edits = rig.Mailbox(w.a), []
    with open(os.path.join(w.a.lock_dir, "pve-migrate-100"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        Daemon(w.a)

        def edited():
            edits.append(1)
            w.a.pvesr("update", "101-0", "--comment", str(len(edits)), check=True)
            return any("overdue" in mail and "100-0" in mail for mail in box.mails())
        rig.wait_for(edited, "the mail", 60)
        assert re.search("^100-0 .*OVERDUE since", w.a.pvesr("status", check=True).stdout, re.M)
    w.wait_synced("100-0", seconds=60)
    w.a.pvesr("delete", "100-0", check=True)
    rig.wait_for(lambda: "100-0" not in w.states(), "the removal")
    rig.wait_for(lambda: "100-0" not in open(os.path.join(w.a.state_dir, "pvesr-seen")).read(), "that it is forgotten")
    w.create("100-0", "--max-age", "1d")
    rig.wait_for(lambda: "job 100-0 pve2 " in open(os.path.join(w.a.state_dir, "pvesr-seen")).read(), "the new one")
    assert "overdue" not in w.state("100-0")


@test
def dies_again_and_again(w):
    """a daemon that never lives long enough tells what is overdue all the same, and once"""
    w.create("100-0", "--max-age", "3s", "--schedule", "2099-1-1")
    w.a.pvesr("run", "--id", "100-0", check=True)
    box = rig.Mailbox(w.a)

    def live(sign=signal.SIGKILL):
        d = Daemon(w.a)
        d.kill(sign)
        d.process.wait()
        return [mail for mail in box.mails() if "overdue" in mail]

    def noted():
        if not live():
            return False
        with open(os.path.join(w.a.state_dir, "pvesr-seen"), encoding="utf-8") as f:
            return re.search("^job 100-0 pve2 [0-9]+ [1-9][0-9]* [1-9][0-9]*$", f.read(), re.M)
    rig.wait_for(noted, "the mail, and that it is noted", 60)
    mails = live()  # more than one, where the daemon died between the two
    for _ in range(3):
        assert live() == mails, mails
    mail = mails[0]
    assert "100-0 (guest 100 to node 'pve2')" in mail, mail
    d = Daemon(w.a)
    assert d.stop() == 0  # which ends that: the next one has its time
    with open(os.path.join(w.a.state_dir, "pvesr-seen"), encoding="utf-8") as f:
        assert re.fullmatch("job 100-0 pve2 [0-9]+ 0 0\n", f.read())


HASTE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
int sd_event_add_time_relative(void *e, void **s, int clock, uint64_t usec, uint64_t accuracy, void *f, void *arg)
{
    int (*real)(void *, void **, int, uint64_t, uint64_t, void *, void *) = (int (*)(void *, void **, int, uint64_t, uint64_t, void *, void *))
        dlsym(RTLD_NEXT, "sd_event_add_time_relative");
    return real(e, s, clock, usec == 300000000 ? 1000000 : usec, accuracy, f, arg);
}
"""


def in_haste(w):
    """For a program in this environment five minutes are a second."""
    source, library = (os.path.join(w.c.dir, "haste" + end) for end in (".c", ".so"))
    with open(source, "w", encoding="utf-8") as f:
        f.write(HASTE)
    rig.sh("cc", "-shared", "-fPIC", "-o", library, source)
    return {"LD_PRELOAD": library, "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}


@test
def mail_program_that_hangs(w):
    """a program that takes no mail, and what it started, is ended, and that is logged; runs go on meanwhile"""
    box = rig.Mailbox(w.a)
    with open(box.program, "w", encoding="utf-8") as f:
        f.write(f"#!/bin/sh\nsleep 100000 & echo $$ $! >>{w.a.dir}/pids\nwait\n")
    w.c.set_agent("pve2", ["/bin/false"], whole=True)
    w.create("100-0")
    d = Daemon(w.a, env=in_haste(w))
    rig.wait_for(lambda: "has not taken a mail within 300 s" in d.words() and "was ended by signal 9" in d.words(), "the end of the mail program")
    with open(f"{w.a.dir}/pids", encoding="utf-8") as f:
        pids = f.read().split()[:2]  # behind them those of the next try
    rig.wait_for(lambda: not any(os.path.exists(f"/proc/{pid}/exe") for pid in pids), "its processes")
    w.c.set_agent("pve2", None)
    w.a.pvesr("schedule-now", "100-0", check=True)
    w.wait_synced()


@test
def service_manager_that_stands_still(w):
    """whom pvesrd tells how it is reads nothing: the jobs run"""
    w.create("100-0", "--schedule", "2035-1-1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(os.path.join(w.a.dir, "deaf"))
        w.a.popen(program="pvesrd", env={**os.environ, "NOTIFY_SOCKET": os.path.join(w.a.dir, "deaf")})
        with open("/proc/sys/net/unix/max_dgram_qlen") as f:
            enough = min(int(f.read()), 20)
        for _ in range(enough):
            before = (w.state("100-0") or {}).get("last_sync", 0)
            w.a.pvesr("schedule-now", "100-0", check=True)
            w.wait_synced(after=before)


@test
def properties_go_with_their_job(w):
    """a tool that does not know them removes a job: its properties go, too, before a new job of that id could get them"""
    w.add_guest(101, MB)
    for guest in (100, 101):
        w.create(f"{guest}-0", "--keep", "last=3")
    extras, jobs = (os.path.join(w.c.tree, name) for name in ("replication-ext.cfg", "replication.cfg"))
    with open(extras) as f:
        before = f.read()
    assert "100-0" in before and "101-0" in before, before
    Daemon(w.a)
    with open(jobs) as f:
        sections = f.read().split("\n\n")
    os.rename(jobs, jobs + ".away")  # a tree without it says nothing of what is gone
    w.a.pvesr("status", check=True)
    os.rename(jobs + ".away", jobs)
    w.c.write("replication.cfg", "\n\n".join(s for s in sections if "100-0" not in s))

    def left():
        with open(extras) as f:
            return re.findall("local: (.*)", f.read())
    rig.wait_for(lambda: left() == ["101-0"], "the properties gone")


@test
def asked_for_during_a_run(w):
    """a run that is asked for while one is under way, as by whoever makes a job and wants it to run, or asks twice, follows it, and nobody waits for that"""
    w.create("100-0", "--schedule", "1-1 3:00")
    with held(hold_agent(w)):
        Daemon(w.a)
        rig.wait_for(lambda: guest_is_locked(w), "the run, before it has said so")
        for _ in range(2):
            assert w.a.pvesr("schedule-now", "100-0", check=True).stdout == ""
    rig.wait_for(lambda: [one["result"] for one in w.runs()] == ["ok", "ok"], "two runs")
    rig.wait_for(lambda: not w.running(), "the end of the second, which is in the history before")
    assert len(w.runs()) == 2, "one more than was asked for"


def hold_agent(w, *instead):
    """The agent of pve2, or what is there instead, waits for whoever holds this file."""
    path = os.path.join(w.c.dir, "agent-waits")
    w.c.set_agent("pve2", ["flock", path, *instead], whole=bool(instead))
    return path


def guest_is_locked(w):
    path = os.path.join(w.a.lock_dir, "pve-migrate-100")
    with contextlib.suppress(FileNotFoundError), open(path) as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@test
def properties_mended_by_hand(w):
    """a fault of replication-ext.cfg is seen, and mended, as soon as somebody writes the file, in place too"""
    w.create("100-0", "--keep", "last=3", "--schedule", "*:*:0/2")
    extras = os.path.join(w.c.tree, "replication-ext.cfg")
    with open(extras) as f:
        good = f.read()
    d = Daemon(w.a)
    w.wait_synced()
    w.c.write("replication-ext.cfg", good.replace("last=3", "lost=3"))
    rig.wait_for(lambda: "invalid keep 'lost=3'" in d.words(), "the fault in the log")
    before = w.state("100-0")["last_sync"]
    with open(extras, "w") as f:
        f.write(good)
    w.wait_synced(after=before)


@test
def made_anew_elsewhere(w):
    """a job that is removed by force while its run fails, or is killed, and made anew to another node has failed nowhere, and runs at once"""
    w.c.add_node("pve3")
    path, d = hold_agent(w, "true"), Daemon(w.a)
    for job, end in (("100-0", None), ("100-1", signal.SIGKILL)):
        with held(path):
            w.create(job)
            rig.wait_for(lambda job=job: w.running(job), "the run")
            pid = w.state(job)["pid"]
            w.a.pvesr("delete", job, "--force", check=True)
            w.create(job, target="pve3")
            if end:
                os.killpg(pid, end)
        w.wait_synced(job)
        assert w.state(job)["fail_count"] == 0, w.state(job)
        with open(os.path.join(w.a.state_dir, "pve-replication-state.json")) as f:
            states = json.load(f)["100"]
            assert list(states) == ["local/pve3"], f"the job that is no more has a state: {states}"
        w.a.pvesr("delete", job, "--force", check=True)
    assert "failed" not in d.words() and "recorded nothing" not in d.words(), d.words()


@test
def removed_during_its_run(w):
    """a job that is removed by force while its run goes on leaves no state by which it would seem to be lost, and one that is made anew meanwhile begins without"""
    path = hold_agent(w)
    w.add_guest(101, MB)
    w.create("101-0", "--disable", "1")
    for again in (False, True):
        w.create("100-0")
        with held(path):
            run = w.a.popen("run", "--id", "100-0")
            rig.wait_for(lambda: w.running(), "the run")
            w.a.pvesr("delete", "100-0", "--force", check=True)
            if again:
                w.create("100-0", "--keep", "last=2")
        assert run.wait(60 * rig.SLOW) == 0
        with open(os.path.join(w.a.state_dir, "pve-replication-state.json")) as f:
            assert "100" not in json.load(f)
        told = w.a.pvesr("status", check=True)
        assert "100-0" not in told.stderr and ("100-0" in told.stdout) == again, told


@test
def off_and_on_again(w):
    """a job that is disabled, or gone, for no more than the moment in which its run looks has not failed, and runs soon"""
    d, lock = Daemon(w.a), os.path.join(w.a.lock_dir, "pve-migrate-100")
    w.create("100-0", "--schedule", "1-1 3:00")
    with open(os.path.join(w.c.tree, "replication.cfg")) as f:
        text = f.read()
    w.wait_synced()
    for gone, why in ((text.replace("target", "disable\n\ttarget"), "is disabled"), ("# no jobs\n", "no such job")):
        before, told = w.state("100-0")["last_sync"], d.words().count(why)
        rig.wait_for(lambda: not child_of(d, "run", "100-0"), "the end of the run before, which has recorded it")
        with held(lock):
            edit_state(w, last_try=0)
            rig.wait_for(lambda: child_of(d, "run", "100-0"), "the run, which waits")
            w.c.write("replication.cfg", gone)
        rig.wait_for(lambda why=why, told=told: d.words().count(why) > told, "its end")
        w.c.write("replication.cfg", text)
        w.wait_synced(after=before)
        assert w.state("100-0")["fail_count"] == 0, w.state("100-0")
    assert "failed" not in d.words() and "recorded nothing" not in d.words(), d.words()


def edit_state(w, **more):
    path = os.path.join(w.a.state_dir, "pve-replication-state.json")
    with open(path) as f:
        states = json.load(f)
    states["100"]["local/pve2"].update(more)
    with open(path + ".new", "w") as f:
        json.dump(states, f)
    os.rename(path + ".new", path)


@test
def one_bad_target(w):
    """a node that lives and does no more keeps two workers from the others, and no more"""
    w.c.add_node("pve3")
    w.c.set_agent("pve2", ["python3", os.path.join(os.path.dirname(os.path.abspath(__file__)), "livelypeer.py"), "1"])
    for guest in (101, 102, 103, 104):
        w.add_guest(guest, MB)
    for guest in (100, 101, 102, 103):
        w.create(f"{guest}-0", "--schedule", "1-1 3:00")
    w.create("104-0", "--schedule", "1-1 3:00", target="pve3")
    d = Daemon(w.a, "--stop-timeout", "1")
    w.wait_synced("104-0")
    rig.wait_for(lambda: [w.running(f"{guest}-0") for guest in (100, 101, 102, 103)] == [True, True, False, False], "two runs")
    assert d.stop() == 0


def stop_run(w, job):
    """Not before it sends: until then it may have a lock that every run needs."""
    log = os.path.join(w.a.log_dir, job)

    def sends():
        with open(log, encoding="utf-8") as f:
            return "full sync" in f.read()
    rig.wait_for(lambda: w.running(job) and sends(), f"the run of {job}")
    pid = w.state(job)["pid"]
    os.kill(pid, signal.SIGSTOP)
    return pid


@test
def runs_that_are_stopped(w):
    """a run that somebody stopped is named as what holds a place, which is given to others; one of this daemon's own is ended, as a failure that says why"""
    for guest in (101, 102, 103):
        w.add_guest(guest, 30 * MB)
    for job in ("101-0", "102-0", "103-0"):
        w.create(job, "--rate", 1, "--schedule", "1-1 3:00", "--max-age", "2s")
    d = Daemon(w.a)
    pids = [stop_run(w, job) for job in ("101-0", "102-0")]

    def another(**env):  # to which their runs are somebody's, who may have stopped them on purpose
        d.kill(signal.SIGKILL)
        d.process.wait()
        os.unlink(os.path.join(w.a.state_dir, "pvesr-seen"))  # the next one shall tell all anew
        return Daemon(w.a, **env)
    box = rig.Mailbox(w.a)
    d = another()
    holders = ", ".join(f"{job} (process {pid}, state T)" for job, pid in zip(("101-0", "102-0"), pids))
    waits = f"it waits for a place: 'max-workers-per-target' allows 2 runs to node 'pve2', and they are held by {holders}"
    rig.wait_for(lambda: waits in "".join(box.mails()), "the mail")
    told = w.a.pvesr("status", check=True).stdout
    assert waits in d.words() and re.search(f"^103-0 .* OVERDUE since .*: {re.escape(waits)}$", told, re.M), told
    for pid in pids:
        assert f"its process {pid} is stopped: 'kill -CONT {pid}' lets it go on" in "".join(box.mails()) and f"its process {pid} is stopped" in told, told
    d = another(env=in_haste(w))
    own = stop_run(w, "103-0")
    assert d.words().count("state T) stands still, and its place is given to others") == 2, d.words()
    rig.wait_for(lambda: w.state("103-0").get("fail_count") == 1, "the failure")
    s = w.state("103-0")
    assert "it was stopped, and nobody let it go on" in s["error"] and s.get("pid") != own, s
    assert [w.state(job)["pid"] for job in ("101-0", "102-0")] == pids
    os.kill(pids[0], signal.SIGCONT)
    rig.wait_for(lambda: "moves again" in d.words(), "that it moves")
    for pid in pids:
        os.killpg(pid, signal.SIGKILL)


@test
def storage_that_hangs(w):
    """a storage that does not answer has all places but one, and its runs give them back: jobs of another storage run, and what waits says for whom"""
    w.c.share_disk("other", "xfs")
    for node in ("pve3", "pve4", "pve5", "pve6"):
        w.c.add_node(node)
    for guest in (101, 102, 103):
        w.add_guest(guest, MB)
    path = os.path.join(w.a.mount, "other/images/104/vm-104-disk-0.raw")
    os.makedirs(os.path.dirname(path))
    with open(path, "wb") as f:
        f.write(os.urandom(MB))
    w.c.write_guest("pve1", 104, "scsi0: other:104/vm-104-disk-0.raw,size=1M\n")
    jobs = ("100-0", "101-0", "102-0", "103-0")
    for job, target in zip((*jobs, "104-0"), ("pve3", "pve4", "pve5", "pve6", "pve2")):
        w.create(job, "--max-age", "2s", "--schedule", "2099-1-1", target=target)
        w.a.pvesr("run", "--id", job, check=True)
    rig.sh("fsfreeze", "-f", w.a.mount)
    try:
        for job in (*jobs, "104-0"):
            w.a.pvesr("schedule-now", job, check=True)
        before = {job: s["last_sync"] for job, s in w.states().items()}
        d = Daemon(w.a, "--stop-timeout", "1", env=in_haste(w))
        w.wait_synced("104-0", after=before["104-0"])
        rig.wait_for(lambda: d.words().count("stands still") == 3, "three runs")
        assert [w.running(job) for job in jobs] == [True, True, True, False], w.states()
        told = w.a.pvesr("status", check=True).stdout
        assert re.search("^100-0 .*process [0-9]+, and waits for a disk or file system of this node .state D.", told, re.M), told
        assert re.search("^103-0 .*it waits for a place: of storage 'st' 3 runs may be under way at once, and they are held by 100-0 .process [0-9]+, state D., 101-0 ",
                         told, re.M), told
        w.a.pvesr("schedule-now", "104-0", check=True)
        w.wait_synced("104-0", after=w.state("104-0")["last_sync"])
    finally:
        rig.sh("fsfreeze", "-u", w.a.mount)
    for job in jobs:
        rig.wait_for(lambda job=job: w.synced(job, after=before[job]) and not w.running(job), job)


@test
def watchdog(w):
    """the watchdog is fed"""
    os.environ["WATCHDOG_USEC"] = "500000"
    try:
        d = Daemon(w.a)
    finally:
        del os.environ["WATCHDOG_USEC"]
    rig.wait_for(lambda: d.told("WATCHDOG=1"), "WATCHDOG")


if __name__ == "__main__":
    rig.main()
