#!/usr/bin/env python3
"""What must not look as if there were nothing to do, or all were well."""
import json
import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import time

import rig
from rigdaemon import Daemon, wait_child
from scenario import World

LOOKS = (["status"], ["status", "--output-format", "json"], ["at-risk"], ["doctor"], ["metrics"], ["run"])


def test(function):
    def play():
        with rig.Cluster(storage="xfs") as c:
            return function(World(c, "xfs"))
    rig.check("silence: " + function.__doc__, play, needs=("root", "xfs"))


def refused(w, words):
    """Whoever looks is told these words, and nothing else."""
    for look in LOOKS:
        done = w.a.pvesr(*look)
        assert done.returncode == 1 and words in done.stderr and not done.stdout, f"{look}: {done}"


@test
def empty_tree(w):
    """a tree that is empty where this node has had jobs: pvesrd pauses and goes on, and forgets nothing meanwhile"""
    w.create()
    w.run()
    before = w.status()["100-0"]["last_sync"]
    d = Daemon(w.a)
    away = w.c.tree + ".away"
    os.rename(w.c.tree, away)
    os.mkdir(w.c.tree)  # as a file system that is not mounted
    rig.wait_for(lambda: "is empty, and this node has had jobs: is it mounted?" in d.words(), "the pause, behind another one where it was not there", 60)
    rig.wait_for(lambda: d.told("STATUS=Paused: "), "the status, which comes behind the log")
    refused(w, "is empty, and this node has had jobs")
    assert d.stop() == 0
    d = Daemon(w.a)  # one that has never seen the jobs
    rig.wait_for(lambda: d.told("STATUS=Paused: "), "the pause of the next one")
    os.rmdir(w.c.tree)
    os.rename(away, w.c.tree)
    rig.wait_for(lambda: "scheduling goes on" in d.words(), "scheduling", 60)
    assert w.status()["100-0"]["last_sync"] >= before


@test
def another_node(w):
    """a name of the node that is in no tree: pvesrd pauses, and whoever looks is told"""
    w.create()
    w.a.write_config(node="pve1x")
    refused(w, "does not know this node, 'pve1x'")
    refused(w, "(known: pve1, pve2)")
    d = Daemon(w.a)
    rig.wait_for(lambda: d.told("STATUS=Paused: "), "the pause")
    assert "does not know this node, 'pve1x'" in d.words(), d.words()


@test
def new_cluster(w):
    """a cluster that is new has nothing, which is fine"""
    w.a.write_config(cluster=f"dir:{w.c.dir}/new")
    os.mkdir(f"{w.c.dir}/new")
    for look in LOOKS:
        w.a.pvesr(*look, check=True)
    d = Daemon(w.a)
    rig.wait_for(lambda: d.told("STATUS=0 jobs"), "the schedule")


def lost(w, how):
    """Whoever looks says that jobs are lost, each in its way; what there is, is shown all the same."""
    for look in LOOKS:
        done = w.a.pvesr(*look)
        assert done.returncode == (look[0] not in ("status", "metrics")) and "'100-0' (guest 100 to node 'pve2')" in done.stderr and how in done.stderr, f"{look}: {done}"


def age(w, days):
    """What this node knows of the runs is of so many days before."""
    path = os.path.join(w.a.state_dir, "pve-replication-state.json")
    with open(path) as f:
        states = json.load(f)
    for state in (one for of_guest in states.values() for one in of_guest.values()):
        for key in ("last_sync", "last_try"):
            state[key] -= days * 86400
    with open(path, "w") as f:
        json.dump(states, f)


@test
def job_file_lost(w):
    """a replication.cfg that is gone, or has nothing in it, where this node has run jobs: whoever looks says so, pvesrd pauses and forgets nothing; what targets hold says so, too"""
    w.create("--schedule", "yearly")
    w.run()
    before = w.status()["100-0"]["last_sync"]
    path = os.path.join(w.c.tree, "replication.cfg")
    with open(path) as f:
        text = f.read()
    names = w.lab.names.entries(w.a.store), w.lab.names.entries(w.b.store)
    for left, how in ((None, "replication.cfg is missing"), ("", "names no job"), ("\n", "names no job"), ("# mine\n", "names no job")):
        os.unlink(path) if left is None else w.c.write("replication.cfg", left)
        lost(w, how)
        assert "no job" in w.a.pvesr("at-risk").stdout, "what at-risk shows"
        for node in (w.a, w.b):
            found = json.loads(node.pvesr("doctor", "--repair", "--output-format", "json").stdout)
            assert any("restore points of job '100-0', and replication.cfg" in f["text"] for f in found), found
        d = Daemon(w.a)
        rig.wait_for(lambda how=how: d.told("STATUS=Paused: replication.cfg") and f"scheduling is paused: replication.cfg {how.removeprefix('replication.cfg ')}" in d.words(), "the pause")
        w.c.write("replication.cfg", text)
        rig.wait_for(lambda: "scheduling goes on" in d.words(), "scheduling", 60)
        assert d.stop() == 0
        os.unlink(d.log)
        assert w.status()["100-0"]["last_sync"] >= before
        assert w.lab.names.entries(w.a.store) == names[0] and w.lab.names.entries(w.b.store) == names[1]


@test
def removed_by_another_tool(w):
    """the last job was removed at once on another node by who knows nothing of our word: after eight days without a run nobody misses it"""
    w.create()
    w.run()
    w.c.write("replication.cfg", "")
    age(w, 7)
    lost(w, "or wait: a job that did not run for 8 days is missed no more")
    d = Daemon(w.a)
    rig.wait_for(lambda: d.told("STATUS=Paused: replication.cfg"), "the pause")
    age(w, 2)
    rig.wait_for(lambda: d.told("STATUS=0 jobs"), "the end of it", 60)
    d.stop()
    for look in LOOKS:
        done = w.a.pvesr(*look)
        assert done.returncode == 0 and "100-0" not in done.stderr, f"{look}: {done}"


@test
def made_anew(w):
    """the last job, which kept many, is removed at once on another node and made anew without that: this is meant"""
    w.create("--keep", "last=3")
    w.run()
    w.b.pvesr("delete", "100-0", "--force", check=True)
    w.b.pvesr("create-local-job", "100-0", "pve2", check=True)
    w.run()


@test
def settings_of_lost_jobs(w):
    """while the job file is emptied, no node takes the settings of its jobs for left over, also one that has run none"""
    w.create("--keep", "last=3")
    for _ in range(2):
        w.run()
    texts = [open(os.path.join(w.c.tree, name)).read() for name in ("replication.cfg", "replication-ext.cfg")]
    w.c.write("replication.cfg", "")
    d = Daemon(w.b)
    rig.wait_for(lambda: d.told("STATUS=0 jobs"), "the schedule")
    d.stop()
    assert open(os.path.join(w.c.tree, "replication-ext.cfg")).read() == texts[1]
    w.c.write("replication.cfg", texts[0])
    w.run()
    assert len([snap for _, snap in w.lab.names.entries(w.b.store)[0] if snap]) == 3


@test
def what_persons_write(w):
    """a person's comments stay as they are, whatever they begin with and the file ends with"""
    mine = "# no jobs at night"
    w.create()
    w.run()
    path = os.path.join(w.c.tree, "replication.cfg")
    with open(path) as f:
        text = f.read()
    w.c.write("replication.cfg", text + mine)
    w.a.pvesr("update", "100-0", "--rate", "10", check=True)
    assert open(path).read().endswith(mine), open(path).read()
    w.c.write("replication.cfg", mine)
    lost(w, "names no job")
    w.c.write("replication.cfg", text + mine)
    w.a.pvesr("delete", "100-0", "--force", check=True)
    assert open(path).read() == mine + "\n# no jobs: the last one was removed\n", open(path).read()
    w.create()
    assert "no jobs:" not in open(path).read() and mine + "\n" in open(path).read(), open(path).read()


@test
def settings_without_an_end(w):
    """a replication-ext.cfg without a line feed at its end: a warning, and a run goes on unless another number of restore points is left than the last one kept"""
    w.create("--keep", "last=30")
    w.run()
    path = os.path.join(w.c.tree, "replication-ext.cfg")
    with open(path) as f:
        text = f.read()
    end = text.index("last=30") + len("last=30")
    w.c.write("replication-ext.cfg", text[:end])
    w.run()
    assert "ends in the midst of a line" in w.a.pvesr("status", check=True).stderr
    for cut in (end - 1, end - len("last=30"), end - len("keep last=30")):
        w.c.write("replication-ext.cfg", text[:cut])
        done = w.a.pvesr("run", "--id", "100-0")
        assert done.returncode == 1, f"{text[:cut]!r}: {done}"
    w.c.write("replication-ext.cfg", text)
    w.run()


@test
def job_file_replaced(w):
    """a replication.cfg that is away for a moment, while somebody replaces it, says nothing"""
    w.create()
    w.run()
    path = os.path.join(w.c.tree, "replication.cfg")
    os.rename(path, path + ".away")
    trace = os.path.join(w.c.dir, "trace")
    words = ["strace", "-qq", "-o", trace, "-e", "trace=clock_nanosleep", "-e", "inject=clock_nanosleep:signal=SIGSTOP"]
    look = subprocess.Popen([*words, *w.a.argv("pvesr", "status")], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    rig.wait_for(lambda: look.poll() is not None or os.path.exists(trace) and "stopped by SIGSTOP" in open(trace).read(), "who looks to wait")
    os.rename(path + ".away", path)
    with open(f"/proc/{look.pid}/task/{look.pid}/children") as f:
        os.kill(int(f.read()), signal.SIGCONT)
    assert look.wait() == 0 and not look.stderr.read(), "status"
    d = Daemon(w.a)
    rig.wait_for(lambda: d.told("STATUS=1 jobs"), "the schedule")
    for _ in range(50):
        os.rename(path, path + ".away")
        os.rename(path + ".away", path)
    before = w.status()["100-0"]["last_sync"]
    w.a.pvesr("schedule-now", "100-0", check=True)
    rig.wait_for(lambda: w.status()["100-0"]["last_sync"] > before, "a run")
    assert "paused" not in d.words(), d.words()


@test
def jobs_removed(w):
    """jobs that were removed by somebody who meant it are missed by nobody: by a run, at once, on another node, by hand with a word, and by a guest that moved away"""
    w.create()
    for how in (lambda: (w.a.pvesr("delete", "100-0", check=True), w.run()), lambda: w.a.pvesr("delete", "100-0", "--force", check=True),
                lambda: w.b.pvesr("delete", "100-0", "--force", check=True), lambda: w.c.write("replication.cfg", "# no jobs\n")):
        w.run()
        how()
        for look in LOOKS:
            done = w.a.pvesr(*look)
            assert done.returncode == 0 and "replication.cfg names no" not in done.stderr, f"{look}: {done}"
        d = Daemon(w.a)
        rig.wait_for(lambda: d.told("STATUS=0 jobs"), "the schedule")
        d.stop()
        assert w.b.pvesr("doctor").returncode == 0
        w.create()
    w.run()
    w.steal("pve2")
    w.c.write("replication.cfg", "")
    for look in LOOKS:
        w.a.pvesr(*look, check=True)


@test
def one_job_of_two_lost(w):
    """a job that is cut off replication.cfg, where others stay, is named by who looks, and by pvesrd when its state goes"""
    w.c.write_guest("pve1", 101, "")
    w.create()
    w.run()
    with open(os.path.join(w.c.tree, "replication.cfg")) as f:
        text = f.read()
    w.c.write("replication.cfg", text.replace("100-0", "101-0"))
    for look in (["status"], ["at-risk"], ["doctor"]):
        done = w.a.pvesr(*look)
        assert "job '100-0' (guest 100 to node 'pve2') is not in replication.cfg any more" in done.stderr, f"{look}: {done}"
    w.c.write("replication.cfg", text)
    assert not w.a.pvesr("status", check=True).stderr


@test
def refused_mail(w):
    """a mail that the mail program does not take waits, which status says, and is tried again until it does, by another pvesrd, too"""
    box = rig.Mailbox(w.a)
    box.answer(75)
    w.c.set_agent("pve2", ["false"], whole=True)
    w.create()
    d = Daemon(w.a)
    rig.wait_for(lambda: len(box.mails()) > 1, "another try")
    tried = box.mails()
    rig.wait_for(lambda: "waits since" in w.a.pvesr("status").stderr, "the words of status")
    d.stop()
    box.answer(0)
    before = len(box.mails())
    Daemon(w.a)
    rig.wait_for(lambda: len(box.mails()) > before, "the mail", 90)
    assert box.mails()[before] == tried[0], "another mail"
    rig.wait_for(lambda: "waits since" not in w.a.pvesr("status").stderr, "the end of it")


def told_overdue(w, why):
    """Log, mail and status say why nobody knows of a run."""
    box = rig.Mailbox(w.a)
    d = Daemon(w.a)
    rig.wait_for(box.mails, "the mail")
    for said in (d.words(), box.mails()[0], w.a.pvesr("status", check=True).stdout):
        assert f"nothing can be recorded in '{w.a.state_dir}': {why}" in said, said
    assert why in w.status()["100-0"]["error"], w.status()
    rig.wait_for(lambda: "OVERDUE" in w.a.pvesr("at-risk", check=True).stdout, "OVERDUE")
    d.stop()


@test
def nothing_recorded(w):
    """where no run can be recorded, because the state directory is full or read-only, that is why a job is overdue"""
    os.makedirs(w.a.state_dir)
    rig.sh("mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", w.a.state_dir)
    w.c.cleanup.callback(rig.sh, "umount", "-l", w.a.state_dir)
    w.create("--schedule", "yearly", "--max-age", "2s")
    w.run()
    with open(os.path.join(w.a.state_dir, "fill"), "wb", buffering=0) as f, contextlib.suppress(OSError):
        while True:
            f.write(bytes(4096))
    told_overdue(w, "No space left on device")
    os.unlink(os.path.join(w.a.state_dir, "fill"))
    rig.sh("mount", "-o", "remount,ro", w.a.state_dir)
    shutil.rmtree(os.path.join(w.a.dir, "mails"))
    told_overdue(w, "Read-only file system")


@contextlib.contextmanager
def daemon_of_its_own(w):
    """A pvesrd beside a pvesr that may be damaged: its path."""
    folder = os.path.join(w.a.dir, "bin")
    os.mkdir(folder)
    for name in ("pvesr", "pvesrd"):
        shutil.copy(rig.program(name), folder)
    yield os.path.join(folder, "pvesr")
    shutil.rmtree(folder)


def write_program(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def append(path, text):
    with open(path, "a", encoding="utf-8") as f:
        f.write(text)


@test
def no_program(w):
    """a run that cannot be started, or that ends before it can record anything, is a failure that says why: by mail at the first, in status and history"""
    w.create("--schedule", "2099-1-1")
    w.run()
    damages = (("cannot start '{0}': No such file or directory", os.unlink),
               ("cannot start '{0}': Permission denied", lambda p: os.chmod(p, 0)),
               ("the run ended with exit status 127 and recorded nothing: error while loading shared libraries: libjansson.so.4",
                lambda p: write_program(p, "#!/bin/sh\necho 'error while loading shared libraries: libjansson.so.4' >&2\nexit 127\n")),
               ("the run ended, and recorded nothing", lambda p: write_program(p, "#!/bin/sh\n")),
               ("unknown key 'max-worker', see pvesr.conf(5)", lambda _: append(w.a.config, "max-worker: 3\n")))
    for why, damage in damages:
        box = rig.Mailbox(w.a)
        settings = open(w.a.config, encoding="utf-8").read()
        with daemon_of_its_own(w) as program:
            why = why.format(program)
            d = Daemon(w.a, program=program + "d")
            damage(program)
            for n in (1, 2) if "start" in why else (1,):
                write_program(w.a.config + ".whole", settings)
                rig.sh(rig.program("pvesr"), "schedule-now", "100-0", "--config", w.a.config + ".whole")
                rig.wait_for(lambda n=n: sum("failed" in m and why in m for m in box.mails()) == n, why)
            assert f"Failures in a row:     {n}\n" in "".join(box.mails()), box.mails()
            d.stop()
        write_program(w.a.config, settings)
        assert why in w.status()["100-0"]["error"] and w.status()["100-0"]["fail_count"] == n, w.status()
        assert why in w.a.pvesr("history", "--id", "100-0", check=True).stdout
        shutil.rmtree(os.path.join(w.a.dir, "mails"))
        w.run()
        assert w.status()["100-0"]["fail_count"] == 0 and "error" not in w.status()["100-0"], w.status()


@test
def state_that_cannot_be_replaced(w):
    """a state file that nobody can replace: what a run could not record is a failure all the same, each that is told; status knows it"""
    w.create("--schedule", "2099-1-1", "--max-age", "2s")
    w.run()
    w.a.pvesr("schedule-now", "100-0", check=True)
    path = os.path.join(w.a.state_dir, "pve-replication-state.json")
    box = rig.Mailbox(w.a)
    rig.sh("chattr", "+i", path)
    try:
        d = Daemon(w.a)
        rig.wait_for(lambda: any("failed" in m for m in box.mails()), "the mail")
        rig.wait_for(lambda: any("overdue" in m for m in box.mails()), "the other mail")
        status = w.a.pvesr("status", check=True).stdout
        for said in (*box.mails(), status, d.words()):
            assert f"'{path}' is immutable: chattr -i '{path}'" in said, said
        d.stop()
    finally:
        rig.sh("chattr", "-i", path)
    w.run()


@test
def no_lock(w):
    """where a run cannot be recorded because what is to be its lock is no file, that is why a job is overdue"""
    w.create("--schedule", "yearly", "--max-age", "2s")
    w.run()
    path = os.path.join(w.a.state_dir, "pve-replication-state.lck")
    os.unlink(path)
    os.mkdir(path)
    told_overdue(w, "'pve-replication-state.lck' is no regular file: remove it")
    os.rmdir(path)
    w.run()


@test
def settings_lost(w):
    """a replication-ext.cfg that is gone or emptied costs no restore point: runs fail with what was kept and both ways out; who takes the setting back means it"""
    w.create("--keep", "last=3")
    for _ in range(3):
        w.run()
    path = os.path.join(w.c.tree, "replication-ext.cfg")
    with open(path) as f:
        text = f.read()
    points = lambda: {snap for _, snap in w.lab.names.entries(w.b.store)[0] if snap}
    before = points()
    assert len(before) == 3, before
    for lose in (lambda: os.unlink(path), lambda: w.c.write("replication-ext.cfg", ""), lambda: w.c.write("replication-ext.cfg", "\n")):
        lose()
        w.a.pvesr("update", "100-0", "--rate", "10", check=True)
        said = w.run(want=1).stderr
        assert "keep 'last=3'" in said and "'pvesr update 100-0 --keep last=3'" in said, said
        assert said.strip() in w.status()["100-0"]["error"] and w.status()["100-0"]["fail_count"] == 1 and points() == before
        w.c.write("replication-ext.cfg", text)
        w.run()
        before = points()
        assert len(before) == 3, before
    os.unlink(path)
    w.run(want=1)
    w.a.pvesr("update", "100-0", "--keep", "last=2", check=True)
    w.run()
    assert len(points()) == 2
    w.a.pvesr("update", "100-0", "--delete", "keep", check=True)
    w.run()
    assert len(points()) == 1


def kept_points(w):
    """The restore points that the target has."""
    return {snap for _, snap in w.lab.names.entries(w.lab.target)[0] if snap and "_100-0_" in snap}


def keep_four(w):
    """A job that keeps as many, and another guest's, which has settings as well; the text of their file."""
    w.c.write_guest("pve1", 101, "memory: 16\nscsi0: st:101/vm-101-disk-0.raw,size=8M\n")
    w.create("--schedule", "yearly", "--keep", "last=4")
    w.a.pvesr("create-local-job", "101-0", "pve2", "--keep", "last=7", check=True)
    for _ in range(4):
        w.run()
    with open(os.path.join(w.c.tree, "replication-ext.cfg")) as f:
        text = f.read()
    begin = text.index("local: 100-0")
    return text, text[begin:text.index("\n\n", begin) + 2]


def refused_run(w, node=None, words="keep 'last=4'"):
    """It says what was kept and both ways out, in the state, too, and removes nothing on either side."""
    node = node or w.c.node(w.owner)
    before = kept_points(w), w.lab.names.entries(w.lab.source)[0]
    assert len(before[0]) == 4, before
    said = w.run(node, want=1).stderr
    assert words in said and "'pvesr update 100-0 --keep last=4'" in said and "'last=1' leaves the newest" in said, said
    told = w.status(node)["100-0"]
    assert told["error"].strip() in said and told["fail_count"], told
    assert (kept_points(w), w.lab.names.entries(w.lab.source)[0]) == before, "what is kept"


@test
def settings_lost_in_part(w):
    """what replication-ext.cfg says of one job is lost, or a part of it, while it says something of others: runs and plans fail, and no restore point goes"""
    text, section = keep_four(w)
    keep = "\tkeep last=4\n"
    for what, lost in (("the section", ""), ("its header", section.replace("local: 100-0", "local: 100-O")), ("its type", section.replace("local", "locl")), ("the line", section.replace(keep, "")),
                       ("the key", section.replace("keep", "keeps")), ("a letter", section.replace("keep", "Keep")), ("the comment sign", section.replace(keep, "#" + keep))):
        left = text.replace(section, lost)
        assert left != text and "101-0" in left
        w.c.write("replication-ext.cfg", left)
        w.a.pvesr("update", "100-0", "--rate", "10", check=True)
        refused_run(w)
        plan = w.a.pvesr("plan", "100-0")
        assert plan.returncode == 1 and "keep 'last=4'" in plan.stderr, (what, plan)
    w.c.write("replication-ext.cfg", text)
    w.run()
    assert len(kept_points(w)) == 4
    # whoever says how many means it: other settings that are given do not
    w.c.write("replication-ext.cfg", text.replace(section, ""))
    w.a.pvesr("update", "100-0", "--max-age", "3d", check=True)
    refused_run(w)
    w.a.pvesr("update", "100-0", "--keep", "last=3", check=True)
    w.run()
    assert len(kept_points(w)) == 3


@test
def unknown_setting(w):
    """a setting that is not known is a warning of who looks and who runs, and stays; so does what a later version wrote"""
    text, section = keep_four(w)
    w.c.write("replication-ext.cfg", text.replace(section, section.replace("\tkeep", "\tcolour red\n\tkeep")))
    assert "settings of job '100-0' that this version does not know: 'colour'" in w.a.pvesr("status", check=True).stderr
    assert "'colour'" in w.run().stderr
    w.a.pvesr("update", "100-0", "--max-age", "3d", check=True)
    with open(os.path.join(w.c.tree, "replication-ext.cfg")) as f:
        assert "\tcolour red\n" in f.read()
    assert len(kept_points(w)) == 4


@test
def settings_run_together(w):
    """an empty line is lost between two sections: neither job takes the other's settings for its own, and both say why they are not run"""
    text, section = keep_four(w)
    w.a.pvesr("update", "100-0", "--delete", "keep", check=True)
    w.c.write("replication-ext.cfg", text.replace(section, "local: 100-0\n\tmax-age 3d\n") + "\n")
    for job in ("100-0", "101-0"):
        done = w.a.pvesr("run", "--id", job)
        assert done.returncode == 1 and "needs an empty line before it" in done.stderr, done
        assert "needs an empty line before it" in w.status()[job]["error"], w.status()
    assert len(kept_points(w)) == 4


@test
def settings_lost_with_the_owner(w):
    """the guest changed its owner when the settings are lost: a new owner that was the target knows them, and one that was not learns of the target what is kept there"""
    w.c.add_node("pve3")
    text, section = keep_four(w)
    w.create("--schedule", "yearly", job="100-1", target="pve3")
    w.run(job="100-1")
    path = os.path.join(w.c.tree, "replication-ext.cfg")
    with open(path) as f:
        text = f.read()
    w.steal("pve3", "pve2")  # was no target of this job
    for left in (None, "", text.replace(section, "")):
        os.unlink(path) if left is None else w.c.write("replication-ext.cfg", left)
        w.face("pve2")
        refused_run(w)
    w.c.write("replication-ext.cfg", text)
    w.c.move_guest(100, "pve3", "pve1")
    w.owner = "pve1"
    w.face("pve2")
    w.run()
    w.a.pvesr("delete", "100-1", "--force", check=True)
    assert w.b.pvesr("failover", "100", "--force").returncode == 0
    w.owner = "pve2"
    w.face("pve1")
    for left in (None, "", text.replace(section, "")):
        os.unlink(path) if left is None else w.c.write("replication-ext.cfg", left)
        before = w.lab.names.entries(w.b.store)[0]
        said = w.run(want=1).stderr
        assert "keep 'last=4'" in said, said
        assert w.lab.names.entries(w.b.store)[0] == before
    w.b.pvesr("update", "100-0", "--delete", "keep", check=True)
    w.run()
    w.proved()


@test
def settings_taken_back(w):
    """who takes a setting back, removes a job and makes it anew, or moves the guest, means it: no run fails, whatever is said of other jobs meanwhile"""
    keep_four(w)
    update = lambda job, *more: w.a.pvesr("update", job, *more, check=True)
    update("101-0", "--delete", "keep")
    update("100-0", "--delete", "keep")  # the last of all settings…
    update("101-0", "--keep", "last=7")  # …which there are again before a run
    w.run()
    assert len(kept_points(w)) == 1
    for more in ((), ("--max-age", "3d")):
        update("100-0", "--keep", "last=4")
        for _ in range(3):
            w.run()
        assert len(kept_points(w)) > 1
        w.b.pvesr("delete", "100-0", "--force", check=True)
        w.b.pvesr("create-local-job", "100-0", "pve2", "--schedule", "yearly", *more, check=True)
        w.run()
        assert len(kept_points(w)) == 1
    update("100-0", "--keep", "last=4")
    w.run()
    w.steal("pve2")
    w.run()
    w.b.pvesr("update", "100-0", "--delete", "keep", check=True)
    w.steal("pve1")
    w.run()
    w.proved()
    assert len(kept_points(w)) == 1


@test
def no_state_dir(w):
    """a state directory that is a symlink to nowhere, or a file, is no node without runs"""
    w.create()
    shutil.rmtree(w.a.state_dir)
    for make in (lambda: os.symlink("/nowhere", w.a.state_dir), lambda: open(w.a.state_dir, "x").close()):
        make()
        for look in (["status"], ["at-risk"], ["metrics"]):
            done = w.a.pvesr(*look)
            assert done.returncode == 1 and "is no folder, or a symlink to none" in done.stderr, done
        os.unlink(w.a.state_dir)
    w.run()


def second_storage(w, more=""):
    """A storage s2, which is there on both nodes."""
    for node in (w.a, w.b):
        os.makedirs(node.mount + "/s2/images/100", exist_ok=True)
    w.c.storages_more = f"dir: s2\n\tpath /s2\n{more}\n"
    w.c.write_tree()


@test
def words_of_storages(w):
    """a storage that is `shared false` is no shared one, and one that is `shared maybe` is none at all, which a run says"""
    second_storage(w)
    disk = "s2:100/vm-100-disk-7.raw"
    image = w.a.mount + "/s2/images/100/vm-100-disk-7.raw"
    with open(image, "wb") as f:
        f.write(b"monday" * 1000)
    w.c.write_guest("pve1", 100, "scsi0: st:100/vm-100-disk-0.raw\nscsi1: " + disk + "\n")
    w.create()
    for word in ("false", "No", "OFF", "0"):
        second_storage(w, f"\tshared {word}\n\tdisable {word}\n")
        with open(image, "wb") as f:
            f.write(word.encode() * 1000)
        w.run()
        with open(w.b.mount + "/s2/images/100/vm-100-disk-7.raw", "rb") as f:
            assert f.read() == word.encode() * 1000, word
    second_storage(w, "\tshared maybe\n")
    done = w.run(want=1)
    assert "'shared' of storage 's2' is 'maybe': make it 1 or 0" in done.stderr, done
    assert "is 'maybe'" in w.a.pvesr("at-risk").stdout


def image(w, node, volume):
    """The file of a volume on a node, of storage st or s2."""
    storage, name = volume.split(":")
    return f"{node.store if storage == 'st' else node.mount + '/' + storage}/images/{name}"


def fill(w, word, *volumes):
    for volume in volumes:
        path = image(w, w.a, volume)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(word * 1000)


def risk_of(w, guest):
    return next(line for line in w.a.pvesr("at-risk", "--guest", str(guest), check=True).stdout.splitlines() if line.startswith(str(guest)))


@test
def image_of_another_guest(w):
    """a disk whose image bears another guest's id is on no target, and whoever asks is told, until that guest's job carries it"""
    foreign = "st:101/vm-101-disk-0.raw"
    fill(w, b"monday", foreign)
    w.c.write_guest("pve1", 100, f"scsi0: st:100/vm-100-disk-0.raw\nscsi1: {foreign}\n")
    w.create()
    assert f"'{foreign}' is on no target" in w.a.pvesr("plan", "100-0", check=True).stdout
    for again in range(2):
        done = w.run()
        assert (f"'{foreign}' is on no target" in done.stderr) == (again == 0) and "is on no target" in w.log(), done
    assert foreign in "".join(w.status()["100-0"]["notes"])
    assert foreign in w.a.pvesr("status", check=True).stdout
    assert f"; on no target: {foreign}" in risk_of(w, 100)
    done = w.b.pvesr("failover", "100", "--force", "--dry-run", check=True)
    assert f"note: '{foreign}' is by its name another guest's" in done.stdout + done.stderr, done
    w.c.write_guest("pve1", 100, f"scsi0: st:100/vm-100-disk-0.raw\nscsi1: {foreign},replicate=0\n")
    assert "WARNING" not in w.run().stderr and "WARNING" not in w.log() and "notes" not in w.status()["100-0"]
    assert f"; on no target: {foreign}" in risk_of(w, 100)
    w.c.write_guest("pve1", 100, f"scsi0: st:100/vm-100-disk-0.raw\nscsi1: {foreign}\n")
    w.c.write_guest("pve1", 101, f"scsi0: {foreign}\n")  # both have it
    w.a.pvesr("create-local-job", "101-0", "pve2", check=True)
    assert "WARNING" not in w.run().stderr and "on no target" not in risk_of(w, 100)


@test
def moved_to_another_file(w):
    """a disk whose line is moved by hand into another guest's file: its replica stays with its history, and that guest's runs say that they do not carry it"""
    fill(w, b"monday", "st:100/vm-100-disk-1.raw", "st:200/vm-200-disk-0.raw")
    one, two, data = "scsi0: st:100/vm-100-disk-0.raw\n", "scsi0: st:200/vm-200-disk-0.raw\n", "scsi1: st:100/vm-100-disk-1.raw\n"
    w.c.write_guest("pve1", 100, one + data)
    w.c.write_guest("pve1", 200, two)
    for guest in ("100", "200"):
        w.a.pvesr("create-local-job", f"{guest}-0", "pve2", "--keep", "last=5", check=True)
        w.run(job=f"{guest}-0")
    w.c.write_guest("pve1", 100, one)
    w.c.write_guest("pve1", 200, two + data)
    for guest in ("100", "200"):
        w.run(job=f"{guest}-0")
    with open(image(w, w.b, "st:100/vm-100-disk-1.raw"), "rb") as f:
        assert f.read() == b"monday" * 1000
    assert "vm-100-disk-1.raw" in w.b.pvesr("restore-points", "100", check=True).stdout
    assert "on no target: st:100/vm-100-disk-1.raw" in risk_of(w, 200)
    assert "'st:100/vm-100-disk-1.raw' is on no target" in w.log(job="200-0")


@test
def called_shared(w):
    """a storage that is called shared after disks on it were replicated: runs and failover refuse disks of two instants, until a person says what is true"""
    disk = "s2:100/vm-100-disk-7.raw"
    second_storage(w)
    fill(w, b"monday", disk)
    w.c.write_guest("pve1", 100, f"scsi0: st:100/vm-100-disk-0.raw\nscsi1: {disk}\n")
    w.create()
    w.run()
    second_storage(w, "\tshared 1\n")
    fill(w, b"tuesday", disk)
    done = w.run(want=1)
    assert f"volume '{disk}' was replicated" in done.stderr and "set replicate=0" in done.stderr, done
    assert w.a.pvesr("plan", "100-0").returncode == 1
    assert f"faulty; its volumes are not known: volume '{disk}' was replicated" in risk_of(w, 100)
    for more in ((), ("--dry-run",)):
        done = w.b.pvesr("failover", "100", "--force", *more)
        assert done.returncode == 1 and f"volume '{disk}' was replicated" in done.stderr, done
    assert os.path.exists(os.path.join(w.c.tree, "nodes/pve1/qemu-server/100.conf"))
    w.c.write_guest("pve1", 100, f"scsi0: st:100/vm-100-disk-0.raw\nscsi1: {disk},replicate=0\n")
    w.run()
    w.c.write_guest("pve1", 100, f"scsi0: st:100/vm-100-disk-0.raw\nscsi1: {disk}\n")
    second_storage(w)
    w.run()
    with open(image(w, w.b, disk), "rb") as f:
        assert f.read() == b"tuesday" * 1000
    other = "s3:100/vm-100-disk-7.raw"  # moved to a storage that is shared in truth
    for node in (w.a, w.b):
        os.makedirs(node.mount + "/s3", exist_ok=True)
    w.c.storages_more += "dir: s3\n\tpath /s3\n\tshared 1\n\n"
    w.c.write_tree()
    os.makedirs(os.path.dirname(image(w, w.a, other)))
    subprocess.run(["cp", "-a", image(w, w.a, disk), image(w, w.a, other)], check=True)
    os.unlink(image(w, w.a, disk))
    w.c.write_guest("pve1", 100, f"scsi0: st:100/vm-100-disk-0.raw\nscsi1: {other}\n")
    assert "WARNING" not in w.run().stderr and not os.path.exists(image(w, w.b, disk)), w.log()
    w.b.pvesr("failover", "100", "--force", check=True)


def state(w):
    with open(os.path.join(w.a.state_dir, "pve-replication-state.json")) as f:
        return json.load(f)["100"]["local/pve2"]


def set_state(w, **more):
    """As if time had passed; None takes a key away."""
    path = os.path.join(w.a.state_dir, "pve-replication-state.json")
    with open(path) as f:
        states = json.load(f)
    states["100"]["local/pve2"] = {k: v for k, v in {**states["100"]["local/pve2"], **more}.items() if v is not None}
    with open(path + ".new", "w") as f:
        json.dump(states, f)
    os.rename(path + ".new", path)


def whole_replica(w):
    shutil.rmtree(w.lab.names.folder(w.b.store))


def live_replica(w):
    os.unlink(w.lab.replica(0))


@test
def replica_gone(w):
    """a verification that finds no replica: status, at-risk, metrics and a mail say so, and a run sends it anew at once, whatever its schedule"""
    w.create("--schedule", "yearly")
    w.run()
    box = rig.Mailbox(w.a)
    for n, damage in enumerate((whole_replica, live_replica)):
        damage(w)
        assert w.a.pvesr("verify", "100-0", "--part").returncode == 1
        assert "GONE on pve2: " in w.a.pvesr("status", check=True).stdout and w.status()["100-0"]["gone"], w.status()
        assert w.a.pvesr("at-risk", check=True).stdout.splitlines()[1].endswith(" gone")
        assert 'pvesr_job_gone{job="100-0",guest="100",source="pve1",target="pve2"} 1' in w.a.pvesr("metrics", check=True).stdout
        d = Daemon(w.a)
        rig.wait_for(lambda: "gone" not in w.status()["100-0"] and "pid" not in w.status()["100-0"], "the run that makes it anew")
        d.stop()
        rig.wait_for(lambda n=n: len(box.mails()) == n + 1, "the mail")
        assert "GONE on pve2: " in box.mails()[n] and "100-0 (guest 100 to node 'pve2')" in box.mails()[n], box.mails()[n]
        w.proved()
    d = Daemon(w.a)
    d.stop()
    assert len(box.mails()) == 2, box.mails()[2:]


@test
def disk_not_replicated_yet(w):
    """a disk that the guest was given since the last run is not gone from the target"""
    w.create("--schedule", "yearly")
    w.run()
    w.lab.add_disk(1 << 20)
    w.a.pvesr("verify", "100-0", "--part")
    assert "gone" not in w.status()["100-0"] and "OK" in w.a.pvesr("status", check=True).stdout, w.status()


@test
def verification_fails(w):
    """a verification that fails three times in a row, or does not come through in three times its days: status says why, and one mail"""
    w.create("--schedule", "yearly", "--scrub-days", "1")
    w.run()
    box = rig.Mailbox(w.a)
    w.c.set_agent("pve2", ["false"], whole=True)
    for _ in range(3):
        assert "OK" in w.a.pvesr("status", check=True).stdout
        assert w.a.pvesr("verify", "100-0", "--part").returncode == 1
    assert "cannot be verified, 3 times in a row: cannot start the agent on node 'pve2'" in w.a.pvesr("status", check=True).stdout
    assert "3 times" in w.status()["100-0"]["unverified"]
    d = Daemon(w.a)
    rig.wait_for(box.mails, "the mail")
    d.stop()
    d = Daemon(w.a)
    d.stop()
    assert len(box.mails()) == 1 and "3 times in a row: cannot start the agent" in box.mails()[0], box.mails()
    w.c.set_agent("pve2", None)
    w.a.pvesr("verify", "100-0", "--part", check=True)
    assert "verify_fails" not in state(w) and "unverified" not in w.status()["100-0"], state(w)
    set_state(w, verified=state(w)["verified"] - 4 * 86400, verify_since=None)
    assert "was not verified since" in w.a.pvesr("status", check=True).stdout
    w.a.pvesr("update", "100-0", "--scrub-days", "0", check=True)
    assert "unverified" not in w.status()["100-0"], w.status()


@test
def verification_stands_still(w):
    """a verification that is stopped is killed and counted, so that others come"""
    w.create("--schedule", "yearly", "--scrub-days", "1")
    w.run()
    set_state(w, verify_next=1)
    w.a.write_config(**{"peer-limit": 1})
    w.c.set_agent("pve2", ["sleep", "60"], whole=True)
    d = Daemon(w.a)
    os.kill(wait_child(d, "verify", "--part"), signal.SIGSTOP)
    rig.wait_for(lambda: "has done nothing for 1 s: it is killed" in d.words(), "the end of it")
    rig.wait_for(lambda: state(w).get("verify_fails") == 1, "the failure")
    assert "signal 9" in state(w)["verify_error"], state(w)
    d.stop()


def paused(w, words):
    """A daemon that stands by, and says these words."""
    d = Daemon(w.a)
    rig.wait_for(lambda: d.told("STATUS=Paused: ") and words in d.words(), f"the pause: {words}")
    return d


@test
def cannot_begin(w):
    """where pvesrd has no state directory or no lock it stands by, paused, says why, and goes on by itself; status has the jobs all the same"""
    w.create("--schedule", "*:*")
    away = w.a.state_dir + ".away"
    os.rename(w.a.state_dir, away)
    for make in (lambda: os.symlink("/nowhere/x", w.a.state_dir), lambda: open(w.a.state_dir, "x").close()):
        make()
        box = rig.Mailbox(w.a)
        d = paused(w, "scheduling is paused: ")
        done = w.a.pvesr("status")
        assert done.returncode == 1 and "100-0 " in done.stdout and "state cannot be read: " in done.stdout, done
        done = w.a.pvesr("status", "--output-format", "json")
        assert json.loads(done.stdout)[0]["error"].startswith("state cannot be read: "), done
        rig.wait_for(box.mails, "the mail", 60)
        assert "Subject: Replication: nothing is scheduled on node 'pve1'" in box.mails()[0], box.mails()
        os.unlink(w.a.state_dir)
        rig.wait_for(lambda: "scheduling goes on" in d.words(), "scheduling", 60)
        assert d.stop() == 0
        os.unlink(d.log)
        shutil.rmtree(box.dir)
        shutil.rmtree(w.a.state_dir)
    os.rename(away, w.a.state_dir)
    lock = os.path.join(w.a.run_dir, "pvesrd.lock")
    os.unlink(lock)
    os.mkdir(lock)
    d = paused(w, "it must be a regular file, remove it")
    assert f"pvesrd schedules nothing: '{lock}'" in w.a.pvesr("status", check=True).stderr
    os.rmdir(lock)
    rig.wait_for(lambda: "scheduling goes on" in d.words(), "scheduling", 60)
    other = w.a.popen(program="pvesrd", stderr=subprocess.PIPE, text=True)
    assert "another pvesrd schedules" in other.communicate()[1] and other.returncode == 1


@test
def no_inotify(w):
    """where the kernel has no inotify left, or no watches, pvesrd looks for changes itself, and one warning names the sysctl"""
    w.create("--schedule", "yearly")
    real = rig.program("pvesrd")
    for call, error, sysctl in (("inotify_init1", "EMFILE", "max_user_instances"), ("inotify_add_watch", "ENOSPC", "max_user_watches")):
        script = os.path.join(w.c.dir, f"pvesrd-{call}")
        words = " ".join(rig.strace("-D", "-f", "-qqq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:error={error}", real))
        with open(script, "w") as f:
            f.write(f'#!/bin/sh\nexec {words} "$@"\n')
        os.chmod(script, 0o755)
        before = w.status()["100-0"]["last_sync"]
        d = Daemon(w.a, program=script)
        w.a.pvesr("schedule-now", "100-0", check=True)
        rig.wait_for(lambda before=before: w.status()["100-0"]["last_sync"] > before, "the run")
        assert d.words().count(f"raise 'fs.inotify.{sysctl}'") == 1, d.words()
        d.stop()
        os.unlink(d.log)


def leave(w, job, days):
    """What a run of this job so long ago left: a row, and the log."""
    with contextlib.closing(sqlite3.connect(os.path.join(w.a.state_dir, "pvesr-journal.db"))) as db:
        columns = ", ".join(row[1] for row in db.execute("PRAGMA table_info(run)") if row[1] not in ("row", "job", "start"))
        db.execute(f"INSERT INTO run (job, start, {columns}) SELECT ?, ?, {columns} FROM run LIMIT 1", (job, int(time.time()) - days * 86400))
        db.commit()
    path = os.path.join(w.a.log_dir, job)
    with open(path, "w") as f:
        f.write("said\n")
    os.utime(path, (time.time() - days * 86400,) * 2)


def left(w):
    with contextlib.closing(sqlite3.connect(os.path.join(w.a.state_dir, "pvesr-journal.db"))) as db:
        rows = {job: n for job, n in db.execute("SELECT job, count(*) FROM run GROUP BY job")}
    return rows, set(os.listdir(w.a.log_dir))


@test
def removed_jobs_leave_nothing(w):
    """what jobs that were removed left, runs in the history and logs, goes after history-days, by pvesrd and by a pass; not while no job can be read"""
    w.create("--schedule", "yearly")
    w.run()
    path = os.path.join(w.c.tree, "replication.cfg")
    with open(path) as f:
        text = f.read()
    for tidy in (lambda: Daemon(w.a).stop(), lambda: w.a.pvesr("run", check=True)):
        for _ in range(12):
            leave(w, "200-0", 40)
        leave(w, "201-0", 20)
        leave(w, "100-0", 40)
        before = left(w)
        assert before[0]["200-0"] == 12 and "200-0" in before[1], before
        w.c.write("replication.cfg", "# nothing\n")
        w.a.pvesr("run")
        d = Daemon(w.a)
        rig.wait_for(lambda d=d: d.told("STATUS=Paused: "), "the pause")
        d.stop()
        assert left(w) == before, left(w)
        w.c.write("replication.cfg", text)
        tidy()
        rows, logs = left(w)
        assert "200-0" not in rows and rows["201-0"] == before[0]["201-0"] and rows["100-0"] == before[0]["100-0"], (before, rows)
        assert logs == {"100-0", "201-0"}, logs


rig.main()
