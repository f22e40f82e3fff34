#!/usr/bin/env python3
"""Peers are bounded and known: whose key it is, whose guest it is, and whatever comes from elsewhere (an agent, names on a storage or in the
tree) is one line of printable text wherever a person reads it. What a peer may make us hold: src/run/target/test-agent-quota.c and
src/run/source/test-peer.c."""
import os
import re
import shlex
import shutil

import rig
from guestlab import same_file
from scenario import STORAGES, World

ESCAPE = "\x1b[2J\x1b]0;x\x07\u009b2J\u202e"
# All control characters but the line's end, and what turns the direction of writing.
UNPRINTABLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\ufeff]")


def clean(what, text):
    found = UNPRINTABLE.search(text)
    assert not found, f"{what}: {text[max(found.start() - 80, 0):found.start() + 40]!r}"


def read_all(w, words=()):
    """What a person may read on both nodes after the run that was."""
    for node in (w.a, w.b):
        for args in (["status"], ["list"], ["history", "--verbose"], ["plan", "100-0"], ["restore-points", "100"], ["doctor"],
                     ["failover", "100", "--dry-run"], ["read", "103-0"], *[[word, "--output-format", "json"] for word in
                     ("status", "list", "history", "doctor")], ["restore-points", "100", "--output-format", "json"], *words):
            done = node.pvesr(*args)
            clean(f"{node.name}: {' '.join(args)}", done.stdout + done.stderr)
    if os.path.exists(os.path.join(w.a.log_dir, "100-0")):
        clean("the log", w.log())


def whose_key():
    """the forced command of a key says whose it is: another node is refused with it, before it can ask for anything"""
    with rig.Cluster(storage="xfs", ssh=False) as c:
        w = World(c, "xfs")
        w.create()
        agent = shlex.quote(rig.program("pvesr"))
        c.set_agent("pve2", [agent, "agent", "--peer", "pve3"], whole=True)
        done = w.run(want=1)
        assert "the key of node 'pve3' was used by one that says it is node 'pve1'" in done.stderr, done.stderr
        assert not os.path.exists(os.path.join(w.b.store, "images")), "a stranger made something"
        c.set_agent("pve2", [agent, "agent", "--peer", "pve1"], whole=True)
        w.run()
        w.proved()


def whose_guest():
    """a node whom the target's tree does not call the owner: it may not write to the replica, nor remove nor read anything of it"""
    with rig.Cluster(storage="xfs", ssh=False, nodes=("pve1", "pve2", "pve3")) as c:
        w = World(c, "xfs")
        w.create("--keep", "last=3")
        for _ in range(2):
            w.run()
            w.lab.write(0, 5)
        before = sorted(os.listdir(os.path.join(w.b.store, "images", "100")))
        held = w.copy(w.lab.replica(0))
        theirs = os.path.join(w.b.dir, "tree")
        shutil.copytree(c.tree, theirs)
        os.rename(os.path.join(theirs, "nodes/pve1/qemu-server/100.conf"), os.path.join(theirs, "nodes/pve3/qemu-server/100.conf"))
        w.b.write_config(cluster=f"dir:{theirs}")
        for args in (["run", "--id", "100-0"], ["verify", "100-0"], ["verify", "100-0", "--repair"], ["plan", "100-0"]):
            done = w.a.pvesr(*args)
            assert done.returncode != 0 and "is on node 'pve3'" in done.stderr, f"{args}: {done.returncode} {done.stderr}"
        w.a.pvesr("delete", "100-0", check=True)
        done = w.a.pvesr("run", "--id", "100-0")
        assert "is on node 'pve3'" in done.stderr, f"removal: {done.returncode} {done.stderr}"
        assert sorted(os.listdir(os.path.join(w.b.store, "images", "100"))) == before and same_file(held, w.lab.replica(0))


def talking():
    """an agent that prints to the terminal instead of speaking: its words are in errors, status, history and mail, but move no cursor"""
    with rig.Cluster(storage="xfs", ssh=False) as c:
        box = rig.Mailbox(c.node("pve1"))
        w = World(c, "xfs")
        w.create()
        path = os.path.join(w.b.dir, "agent")
        for stream in (1, 2):
            with open(path, "w") as f:
                f.write(f"#!/bin/sh\nprintf '%s' {shlex.quote(ESCAPE + 'OK' + chr(10) + '100-1 Yes ' + ESCAPE)} >&{stream}\nexit 1\n")
            os.chmod(path, 0o755)
            c.set_agent("pve2", [path], whole=True)
            w.a.pvesr("schedule-now", "100-0", check=True)
            done = w.a.pvesr("run", "--mail")
            clean("run", done.stdout + done.stderr)
            read_all(w)
        lines = [line for line in w.a.pvesr("status", check=True).stdout.splitlines() if line.startswith("100-")]
        assert len(lines) == 1, f"a line of status was forged: {lines}"
        assert box.mails()
        for mail in box.mails():
            clean("mail", mail)


def what_to_do():
    """a node that cannot be reached for a known reason: the message has the reason and the remedy, and neither is a failure of a frame"""
    cases = (("echo 'Welcome to pve2, last login: today'; exec \"$@\"", "before the agent's first word comes 'Welcome to pve2"),
             ("exec <&-; echo hello there; exit 1", "before the agent's first word comes 'hello there"),
             ("head -c 300 /dev/zero | tr '\\000' '\\273'; exec cat >/dev/null", "what answers is no agent: what does '"),
             ("echo '1) status 2) quit'; read x; exit 0", "sshd, the key there or nodes.cfg has in the agent's place"),
             ("exit 0", "closed before a word was said: what does '"),
             ("exec <&-; exit 0", "closed before a word was said: what does '"),
             ("echo 'disabled by policy' >&2; exit 3", "before a word was said (disabled by policy): what does '"),
             ("echo 'Connection closed by UNKNOWN port 65535' >&2; exit 255", "ProxyJump or ProxyCommand"),
             ("echo hello there; exit 1", "before the agent's first word comes 'hello there"),
             ("echo \"ERROR: unknown command 'pvesr agent'\" >&2; exit 255", "install this one there, too"),
             ("echo \"ERROR: unknown command 'pvesr agent'\nUSAGE: pvesr <COMMAND>\" >&2; exit 255", "install this one there, too"),
             ("echo 'sh: 1: pvesr: not found' >&2; exit 127", "install pvesr on that node"),
             ("echo 'ssh: connect to host 10.0.0.2 port 22: Connection timed out' >&2; exit 255", "can this one ping"),
             ("echo 'ssh: connect to host 10.0.0.2 port 22: No route to host' >&2; exit 255", "can this one ping"),
             ("echo 'ssh: Could not resolve hostname pve2.lan: Name or service not known' >&2; exit 255", "correct its address"),
             ("echo 'bash: line 1: pvesr: command not found' >&2; exit 127", "install pvesr on that node"),
             ("echo 'root@10.0.0.2: Permission denied (publickey,password).' >&2; exit 255", "authorized_keys"),
             ("echo 'Host key verification failed.' >&2; exit 255", "is looked for under the name 'pve2' in "))
    with rig.Cluster(storage="xfs", ssh=False) as c:
        w = World(c, "xfs")
        w.create()
        path = os.path.join(w.b.dir, "agent")
        for script, remedy in cases:
            with open(path, "w") as f:
                f.write(script + "\n")
            c.set_agent("pve2", ["sh", path])
            done = w.run(want=1)
            assert remedy in done.stderr and "frame" not in done.stderr and ".: " not in done.stderr, f"{script}: {done.stderr}"
        c.set_agent("pve2", [])
        w.run()
        w.proved()


def plant(folder, names):
    for name in names:
        path = os.path.join(folder, name)
        if not os.path.lexists(path):
            with open(path, "w") as f:
                f.write("x")


def names(kind):
    """files and folders whose names move a terminal's cursor, in storages and in the tree, beside what is ours"""
    with rig.Cluster(storage=kind, ssh=False) as c:
        w = World(c, kind)
        w.create()
        w.run()
        for node in (w.a, w.b):
            folder = os.path.join(node.store, "images", "100")
            entries = [n for n in os.listdir(folder) if not n.startswith(".pvesr-stage")]
            plant(folder, [f"{n}{ESCAPE}" for n in entries] + [f"{n}@{ESCAPE}" for n in entries] +
                  [f".pvesr.{n}@a{ESCAPE}" for n in entries] + [f"vm-100-disk-7{ESCAPE}.raw", f".pvesr-stage-{ESCAPE}"])
            os.makedirs(os.path.join(folder, f"vm-100-disk-8@a{ESCAPE}"))
            os.makedirs(os.path.join(node.store, "images", f"100{ESCAPE}"))
        for name in ("pve1", "pve2"):
            plant(os.path.join(c.tree, "nodes", name, "qemu-server"), [f"101{ESCAPE}.conf", "300.conf"])
        strange = os.path.join(c.tree, "nodes", f"p{ESCAPE}", "qemu-server")
        os.makedirs(strange)
        plant(strange, ["301.conf", "300.conf"])
        c.write("replication.cfg", open(os.path.join(c.tree, "replication.cfg")).read() + f"\nlocal: 102-0{ESCAPE}\n\ttarget x{ESCAPE}\n"
                f"\nlocal: 103-0\n\ttarget pve2\n\tcomment {ESCAPE}\n\tschedule {ESCAPE}\n")
        w.a.pvesr("run", "--id", "100-0")
        read_all(w, [["verify", "100-0"], ["doctor", "--repair"]])


rig.check(f"key: {whose_key.__doc__}", whose_key, needs=("root", "xfs"))
rig.check(f"guest: {whose_guest.__doc__}", whose_guest, needs=("root", "xfs"))
rig.check(f"talk: {talking.__doc__}", talking, needs=("root", "xfs"))
rig.check(f"remedies: {what_to_do.__doc__}", what_to_do, needs=("root", "xfs"))
for storage in STORAGES:
    if storage in ("xfs", "btrfs"):
        rig.check(f"names on {storage}: {names.__doc__}", lambda k=storage: names(k), needs=("root", storage))
rig.main()
