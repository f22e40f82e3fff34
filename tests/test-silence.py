#!/usr/bin/env python3
"""What must not look as if there were nothing to do, or all were well."""
import json
import contextlib
import os
import shutil

import rig
from rigdaemon import Daemon
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
    assert d.told("STATUS=Paused: ")
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
    w.create("--max-age", "2s")
    w.run()
    with open(os.path.join(w.a.state_dir, "fill"), "wb", buffering=0) as f, contextlib.suppress(OSError):
        while True:
            f.write(bytes(4096))
    told_overdue(w, "No space left on device")
    os.unlink(os.path.join(w.a.state_dir, "fill"))
    rig.sh("mount", "-o", "remount,ro", w.a.state_dir)
    shutil.rmtree(os.path.join(w.a.dir, "mails"))
    told_overdue(w, "Read-only file system")


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


rig.main()
