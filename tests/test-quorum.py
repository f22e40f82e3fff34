#!/usr/bin/env python3
"""What the cluster decides counts until the moment in which something is removed, and where it cannot decide, nothing is done."""
import contextlib
import json
import os
import subprocess

import rig
from guestlab import same_file
from scenario import GUEST, play_all, scenario

REFUSED_LATER = "is no longer to be removed"


@contextlib.contextmanager
def minority(w):
    """The tree looks like pmxcfs without quorum."""
    w.c.write(".vmlist", json.dumps({"version": 1, "ids": {str(GUEST): {"node": "pve1", "type": "qemu", "version": 1}}}))
    w.c.write(".members", json.dumps({"nodename": "pve1", "version": 1, "cluster": {"name": "c", "version": 1, "nodes": 2, "quorate": 0},
                                      "nodelist": {n: {"id": 1, "online": 1, "ip": "127.0.0.1"} for n in ("pve1", "pve2")}}))
    yield
    for name in (".members", ".vmlist"):
        os.unlink(os.path.join(w.c.tree, name))


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


play_all()
