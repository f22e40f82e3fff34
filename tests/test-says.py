#!/usr/bin/env python3
"""What a failure says: one sentence that names the thing and the way out, whoever calls, whatever ssh's configuration holds, and where the
cluster's file system has died."""
import ctypes
import json
import os
import re
import subprocess

import rig
from scenario import World

NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]


def doubled(text):
    """Does a sentence say a context twice, one right behind the other or behind a node's name?"""
    parts = text.split(": ")
    return [p for i, p in enumerate(parts) if p in parts[i + 1:i + 3]] or \
        re.findall(r"node '(\w+)': \1: ", text)


def one_sentence(args, done):
    """The last one; those before it are of single guests or storages."""
    lines = done.stderr.strip().splitlines()
    before = [line for line in lines[:-1] if not line.startswith("warning: ")]
    assert lines and not before and not any(doubled(line) for line in lines), f"{args}: {done.returncode} {done.stdout}{done.stderr}"
    return done.stderr


# ---- ssh ----

EVERYWHERE = ("StdinNull yes", "RequestTTY force", "RemoteCommand uptime", "ForkAfterAuthentication yes", "SessionType none",
              "PermitLocalCommand yes\nLocalCommand echo hello", "LogLevel QUIET", "VisualHostKey yes", "EscapeChar ~",
              "ControlMaster auto\nControlPath /run/mine", "LocalForward 1 x:1\nExitOnForwardFailure yes", "Compression yes")


def ssh_config():
    """what ssh_config(5) sets for all hosts, and would keep the agent's words from us: does not count here"""
    with rig.Cluster(storage="xfs", ssh=True) as c:
        w = World(c, "xfs")
        w.create()
        for lines in (*EVERYWHERE, "\n".join(EVERYWHERE)):
            with open(os.path.join(w.a.dir, ".ssh", "config"), "w") as f:
                f.write(f"Host *\n{lines}\n")
            for name in os.listdir(w.a.run_dir):
                os.unlink(os.path.join(w.a.run_dir, name))  # the shared connection is made anew
            done = w.a.pvesr("run", "--id", "100-0")
            assert done.returncode == 0, f"{lines}: {done.stderr}"
        w.proved()


# ---- who is not root ----

COMMANDS = (["list"], ["status"], ["read", "100-0"], ["run"], ["run", "--id", "100-0"], ["plan", "100-0"], ["verify", "100-0"], ["doctor"],
            ["restore-points", "100"], ["failover", "100"], ["schedule-now", "100-0"], ["enable", "100-0"], ["disable", "100-0"],
            ["update", "100-0", "--comment", "x"], ["delete", "100-0"], ["create-local-job", "100-1", "pve3"], ["history"],
            ["set-state", "100", "{}"], ["settle"], ["mount", "100", "x", "/mnt"], ["clone", "100", "x", "200"])


def not_root():
    """another user than root: each command works, or says in one sentence that it is to be run as root; on the target, too"""
    with rig.Cluster(storage="xfs", nodes=("pve1", "pve2", "pve3")) as c:
        w = World(c, "xfs")
        w.create()
        w.run()
        for path in (c.dir, os.path.dirname(c.dir)):
            os.chmod(path, 0o755)
        found = []
        point = json.loads(w.b.pvesr("restore-points", "100", "--output-format", "json", check=True).stdout)[0]["name"]
        for args in COMMANDS:
            args = [point if word == "x" else word for word in args]
            done = w.a.pvesr(*args, prefix=NOBODY)
            if done.returncode == 0:
                assert all(line.startswith("warning: ") for line in done.stderr.splitlines()), f"{args}: {done.stderr}"
            elif "as root" not in one_sentence(args, done):
                found.append(f"{args}: {done.stderr}")
        assert not found, "\n".join(found)
        c.set_agent("pve2", NOBODY)
        done = w.a.pvesr("run", "--id", "100-0")
        assert done.returncode and "pve2" in one_sentence("run", done) and "as root" in done.stderr, done.stderr


# ---- a dead pmxcfs ----

def dead_fuse(path):
    """What is left of a FUSE file system whose server died: all calls answer ENOTCONN."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"fuse", path.encode(), b"fuse", 0, options) < 0:
        raise OSError(ctypes.get_errno(), "mount of a FUSE file system")
    os.close(fd)


def dead_pmxcfs():
    """pmxcfs has died: each command says so, and how it is started again; nothing is done"""
    with rig.Cluster(storage="xfs", nodes=("pve1", "pve2", "pve3")) as c:
        w = World(c, "xfs")
        w.create()
        w.run()
        dead_fuse(c.tree)
        try:
            for args in COMMANDS:
                done = w.a.pvesr(*args)
                if done.returncode == 0:
                    continue
                said = one_sentence(args, done)
                assert done.returncode == 75 and "has died: systemctl restart pve-cluster" in said, f"{args}: {done.returncode} {said}"
        finally:
            subprocess.run(["umount", "-l", c.tree], check=True)
        w.run()


# ---- locks ----

def foreign_lock():
    """a lock file on the target that another user made is no other run's"""
    with rig.Cluster(storage="xfs") as c:
        w = World(c, "xfs")
        w.create()
        w.run()
        os.makedirs(w.b.lock_dir, exist_ok=True)
        os.chmod(w.b.lock_dir, 0o1777)
        path = os.path.join(w.b.lock_dir, "pvesr-agent-100")
        if os.path.exists(path):
            os.unlink(path)
        with open(path, "w", encoding="utf-8"):
            os.chown(path, 65534, 65534)
        told = w.run(want=1).stderr
        assert path in told and "remove it" in told and "still at work" not in told, told


# ---- damaged settings ----

def settings():
    """settings that may be damaged count, and status and the daemon warn of each: cut in a value, twice, nothing, zero bytes"""
    with rig.Cluster(storage="xfs") as c:
        w = World(c, "xfs")
        w.create()
        path = os.path.join(w.a.dir, "pvesr.conf")
        with open(path, encoding="utf-8") as f:
            whole = f.read()
        assert "warning" not in w.a.pvesr("status", check=True).stderr
        for text, warning in ((whole + "mail-to: admin@examp", f"{path} ends in the midst of a line"),
                              (whole + "mail-to: a\nmail-to: b\n", "'mail-to' is there twice, the last one counts"),
                              (whole + "\0" * 64, f"{path} has zero bytes behind its first {len(whole)} bytes"),
                              ("", f"{path} is empty, so all defaults count"),
                              ("\0" * 64, f"{path} has zero bytes behind its first 0 bytes")):
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
            done = w.a.pvesr("status")
            assert warning in done.stderr and (done.returncode == 0) == (whole in text and bool(text)), f"{text[-30:]!r}: {done.stderr}"
        with open(path, "w", encoding="utf-8") as f:
            f.write(whole)
        w.run()


rig.check(f"settings: {settings.__doc__}", settings, needs=("root", "xfs"))
rig.check(f"lock: {foreign_lock.__doc__}", foreign_lock, needs=("root", "xfs"))
rig.check(f"ssh: {ssh_config.__doc__}", ssh_config, needs=("root", "xfs"))
rig.check(f"not root: {not_root.__doc__}", not_root, needs=("root", "xfs"))
rig.check(f"dead pmxcfs: {dead_pmxcfs.__doc__}", dead_pmxcfs, needs=("root", "xfs"))
rig.main()
