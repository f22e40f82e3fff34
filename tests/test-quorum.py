#!/usr/bin/env python3
"""What the cluster decides counts until the moment in which something is removed, and where it cannot decide, nothing is done."""
import contextlib
import fcntl
import json
import os
import shutil
import subprocess

import rig
import rigdaemon
from guestlab import same_file
from scenario import GUEST, play_all, scenario

REFUSED_LATER = "is no longer to be removed"


def look_like_pmxcfs(tree, quorate):
    """Both nodes are members; locks are made anew, since those of the two engines differ."""
    shutil.rmtree(os.path.join(tree, "priv/lock"), ignore_errors=True)
    texts = {".vmlist": {"version": 1, "ids": {str(GUEST): {"node": "pve1", "type": "qemu", "version": 1}}},
             ".members": {"nodename": "pve1", "version": 1, "cluster": {"name": "c", "version": 1, "nodes": 2, "quorate": quorate},
                          "nodelist": {n: {"id": 1, "online": 1, "ip": "127.0.0.1"} for n in ("pve1", "pve2")}}}
    for name, text in texts.items():
        path = os.path.join(tree, name)
        with open(path + ".new", "w") as f:
            json.dump(text, f)
        os.rename(path + ".new", path)


@contextlib.contextmanager
def minority(w, quorate=0):
    """The tree looks like pmxcfs, without quorum."""
    look_like_pmxcfs(w.c.tree, quorate)
    yield
    for name in (".members", ".vmlist"):
        os.unlink(os.path.join(w.c.tree, name))
    shutil.rmtree(os.path.join(w.c.tree, "priv/lock"), ignore_errors=True)


class Gate:
    """The agent of pve2 waits behind it."""

    def __init__(self, w):
        self.asked, self.open = (os.path.join(w.c.dir, name) for name in ("asked", "open"))
        script = os.path.join(w.c.dir, "gate")
        with open(script, "w") as f:
            f.write(f'touch {self.asked}\nwhile [ ! -e {self.open} ]; do sleep 0.05; done\nexec "$@"\n')
        w.c.set_agent("pve2", ["sh", script])

    def wait(self):
        rig.wait_for(lambda: os.path.exists(self.asked), "the agent")

    def let_go(self):
        with open(self.open, "x"):
            pass


def passes(w, want):
    done = w.a.pvesr("run")
    assert done.returncode == want, f"{done.returncode}: {done.stdout}{done.stderr}"
    return done.stderr


@scenario("xfs")
def whole_pass(w):
    """a pass over all due jobs without quorum says that nothing was done and how it goes on, and ends with 75; the next one with quorum makes up for it"""
    w.create()
    w.run()
    w.a.pvesr("schedule-now", "100-0", check=True)
    before = w.status()["100-0"]["last_sync"]
    with minority(w):
        said = passes(w, 75)
        assert "no quorum!" in said and "pvecm status" in said, said
        assert w.status()["100-0"]["last_sync"] == before
    assert "no quorum" not in passes(w, 0)
    assert w.status()["100-0"]["last_sync"] > before


def held(w):
    """All that is of the guest's on the target, and what the replica holds."""
    return w.lab.names.entries(w.b.store)[0], w.copy(w.lab.replica(0))


@scenario("xfs", "btrfs")
def removal_is_cancelled(w):
    """a removal that is cancelled while its run is on the way removes nothing, whatever was changed about the job"""
    w.create()
    w.run()
    changes = {"cancelled": ["update", "100-0", "--delete", "remove_job"], "gone": ["delete", "100-0", "--force"]}
    for what, words in changes.items():
        names, kept = held(w)
        gate = Gate(w)
        w.a.pvesr("update", "100-0", "--remove_job", "full", check=True)
        run = subprocess.Popen(w.a.argv("pvesr", "run", "--id", "100-0"), stderr=subprocess.PIPE, text=True)
        gate.wait()
        w.a.pvesr(*words, check=True)
        gate.let_go()
        said = run.communicate()[1]
        assert run.returncode != 0 and REFUSED_LATER in said, f"{what}: {said}"
        assert (w.lab.names.entries(w.b.store)[0], same_file(w.lab.replica(0), kept)) == (names, True), what
        os.unlink(gate.asked)
        os.unlink(gate.open)
        w.c.set_agent("pve2", [])
        if what == "cancelled":
            w.lab.write(0, 3)
            w.run()
            w.proved()
            assert "incremental sync" in w.log(), w.log()


@scenario("xfs")
def no_quorum(w):
    """a node without quorum runs nothing and removes nothing, which is no failure; with it, it goes on"""
    w.create()
    w.run()
    names, _ = held(w)
    before = w.status()["100-0"]
    for change in ([], ["update", "100-0", "--remove_job", "full"]):
        if change:
            w.a.pvesr(*change, check=True)
        with minority(w):
            done = w.run(want=1)
            assert "no quorum!" in done.stderr, done.stderr
            now = w.status()["100-0"]
        assert w.lab.names.entries(w.b.store)[0] == names
        assert (now["fail_count"], now["last_try"]) == (0, before["last_try"]), now
    w.run()
    assert not os.path.exists(w.lab.replica(0))


def refuses(node, *words):
    done = node.pvesr(*words)
    assert done.returncode == 75 and "no quorum!" in done.stderr, f"{words}: {done.returncode} {done.stdout}{done.stderr}"


@scenario("xfs", "btrfs")
def nothing_is_removed(w):
    """without quorum a node removes and replaces nothing of a guest, whoever asks: status 75; what only looks goes on; one that is quorate again does it"""
    w.create()
    w.run()
    w.a.pvesr("delete", "100-0", "--force", check=True)
    here, there = w.lab.names.entries(w.a.store), w.lab.names.entries(w.b.store)
    kept = w.copy(w.lab.replica(0))
    point = next(snap for n, snap in there[0] if snap)
    prepare = ["prepare-local-job", "100-0", "--scan", w.c.storage_id, "--last_sync", "1", "--force"]
    finalize = ["finalize-local-job", "100-0", "--last_sync", "1", f"{w.c.storage_id}:{w.lab.names.volname(0)}"]
    with minority(w):
        for words in (prepare, finalize, ["doctor", "--repair"], ["doctor", "--free", "st:x"], ["failover", "100", "--force"], ["clone", "100", point, "300"]):
            refuses(w.b, *words)
        refuses(w.a, "doctor", "--repair")
        for node in (w.a, w.b):
            node.pvesr("doctor", check=True)
        assert point in w.b.pvesr("restore-points", "100", check=True).stdout
        assert (w.lab.names.entries(w.a.store), w.lab.names.entries(w.b.store)) == (here, there)
        assert same_file(w.lab.replica(0), kept)
    with minority(w, quorate=1):
        w.a.pvesr("doctor", "--repair", check=True)
        assert w.lab.names.entries(w.a.store)[0] == {(0, None)}
        w.b.pvesr(*prepare, check=True)
        assert not os.path.exists(w.lab.replica(0))


@scenario("xfs", "btrfs")
def target_without_quorum(w):
    """a target whose own tree has no quorum takes nothing and prunes nothing, which is no failure of the job; it still lets its replica be compared"""
    w.create()
    w.run()
    names, kept = held(w)
    tree = os.path.join(w.c.dir, "tree-of-pve2")
    shutil.copytree(w.c.tree, tree)
    look_like_pmxcfs(tree, 0)
    w.b.write_config(cluster="dir:" + tree)
    w.lab.write(0, 5)
    refuses(w.a, "run", "--id", "100-0")
    assert w.status()["100-0"]["fail_count"] == 0
    assert w.lab.names.entries(w.b.store) == (names, []) and same_file(w.lab.replica(0), kept)
    w.a.pvesr("verify", "100-0", check=True)
    look_like_pmxcfs(tree, 1)
    w.run()
    w.proved()


def cut_commit(w):
    """The agent and its guard die between the two disks of a commit. Copies of the disks: what they showed, and what they are to show."""
    w.lab.add_disk()
    w.create()
    w.run()
    old = [w.copy(w.lab.live(n)) for n in w.lab.disks]
    for n in w.lab.disks:
        w.lab.write(n, 5)
    new = [w.copy(w.lab.live(n)) for n in w.lab.disks]
    name = os.path.basename(w.lab.names.subvolume(w.b.store, 1) if w.kind == "btrfs" else w.lab.replica(1))
    w.c.set_agent("pve2", ["strace", "-f", "-b", "execve", "-qq", "-o", os.path.join(w.c.dir, "trace"), "-P", name, "-e", "trace=renameat,renameat2",
                           "-e", "inject=renameat,renameat2:signal=SIGKILL"])
    w.run(want=1)
    w.c.set_agent("pve2", [])
    rig.wait_for(lambda: lock_is_free(w.b), "the end of the agent and its guard")
    assert is_mixed(w, old, new)
    return old, new


def lock_is_free(node):
    with open(os.path.join(node.lock_dir, f"pvesr-agent-{GUEST}"), "a") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def records(node):
    folder = os.path.join(node.state_dir, "pvesr-commits")
    return [name for name in os.listdir(folder) if name.endswith(".json")]


def is_mixed(w, old, new):
    return same_file(w.lab.replica(0), new[0]) and same_file(w.lab.replica(1), old[1]) and records(w.b)


@scenario("xfs", "btrfs")
def daemon_starts_without_quorum(w):
    """a daemon that starts before its node has a quorum, as every node does that boots, has ended what was cut of commits when it is ready"""
    _, new = cut_commit(w)
    with minority(w):
        d = rigdaemon.Daemon(w.b)  # it is ready
        shown = [same_file(w.lab.replica(n), new[n]) for n in w.lab.disks]
        assert shown == [True, True] and not records(w.b), (shown, d.words())
        assert "no quorum!" in d.words() and "half replaced" not in d.words(), d.words()
        d.end()
    w.run()
    w.proved()


play_all()
