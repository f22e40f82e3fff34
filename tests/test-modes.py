#!/usr/bin/env python3
"""Other users of a node are nobody: of all that runs leave on both nodes (replicas, restore points, stages, states, logs, journal, locks, notes)
they can open what the described tool shows them too, and nothing else; no lock can be held by them, and what is set-user-ID in a container
cannot be run.

PVESR_TEST_STORAGES (xfs btrfs plain) chooses the storages; also zfspool and lvmthin."""
# deadline: 1200
import os
import stat

import rig
from scenario import STORAGES, World
from treelab import TreeLab

NOBODY = 65534
# What everybody may open below a node's folder, beside the folders themselves. The last two are the rig's.
OPEN = {"pve-replication-state.json", "pvesr.conf", "key"}
TREES = {"btrfs", "zfspool"}


def as_nobody(function, *args):
    """What function says when it is called by a user who is nobody: a list of texts."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            with os.fdopen(theirs, "wb") as f:
                f.write(b"\0".join(os.fsencode(text) for text in function(*args)))
        except BaseException:
            os._exit(1)
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as f:
        said = f.read()
    assert os.waitpid(pid, 0)[1] == 0
    return [os.fsdecode(text) for text in said.split(b"\0")] if said else []


def can_open(paths):
    """Those of them that can be opened, or run: whoever can open a file can flock it."""
    found = []
    for path in paths:
        for flags in (os.O_RDONLY, os.O_WRONLY):
            try:
                os.close(os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY))
                found.append(path)
                break
            except OSError:
                pass
        else:
            if os.access(path, os.X_OK):
                found.append(path)
    return found


def all_below(top):
    """Files (and what is none, but no folder), folders; of one file system after the other."""
    files, folders = [], [top]
    for folder, dirs, names in os.walk(top):
        folders += [os.path.join(folder, name) for name in dirs]
        files += [os.path.join(folder, name) for name in names]
    return files, folders


def uncover(path):
    """What the rig closes above the nodes' folders is not what is tested."""
    while path != "/":
        os.chmod(path, os.stat(path).st_mode | 0o055)
        path = os.path.dirname(path)


def check(c):
    for node in c.nodes.values():
        uncover(node.mount)
        files, folders = all_below(node.dir)
        assert any(path.endswith("pve-replication-state.json") for path in files) or node.name != "pve1"
        found = [path for path in as_nobody(can_open, files) if os.path.basename(path) not in OPEN]
        own = (node.mount, os.path.join(node.dir, "pool"))  # the guest's own disks: not ours to close
        found = [path for path in found if node.name == "pve2" or not path.startswith(own)]
        assert not found, f"everybody can open {found}"
        loose = [path for path in folders if stat.S_IMODE(os.stat(path).st_mode) & 0o022 and not os.path.ismount(path)
                 and not path.startswith(own)]
        assert not loose, f"others can write to {loose}"


def devices(store):
    """Of a volume group: its nodes in /dev."""
    folder = f"/dev/{store}"
    return [os.path.realpath(os.path.join(folder, name)) for name in os.listdir(folder)] if os.path.isdir(folder) else []


def loosen(c):
    """As an earlier version, or the described tool, left them."""
    for node in c.nodes.values():
        for top in (node.state_dir, node.log_dir, node.lock_dir):
            for path in all_below(top)[0]:
                os.chmod(path, 0o644)
    target = os.path.join(c.node("pve2").store, "images", "100")
    if os.path.isdir(target):
        os.chmod(target, 0o755)
        for path in all_below(target)[0]:
            if os.path.basename(path) == "disk.raw" and os.access(path, os.W_OK):
                try:
                    os.chmod(path, 0o644)
                except OSError:  # a snapshot is read-only
                    pass


def disks(kind):
    """a disk: first copy, an increment, a failed run, and the modes of an earlier version"""
    with rig.Cluster(storage=kind, ssh=False) as c:
        w = World(c, kind)
        w.create()
        if kind == "plain":
            w.run()
            check(c)
            return
        for _ in range(2):
            w.run()
            w.lab.write(0, 5)
        check(c)
        loosen(c)
        w.run()
        w.lab.write(0, 5)
        undo = w.block(0)
        w.run(want=1)
        undo()
        w.run()
        check(c)
        found = as_nobody(can_open, devices(w.b.store))
        assert not found, f"everybody can open {found}"
        w.proved()


def containers(kind):
    """a container with programs that are set-user-ID: nobody but root reaches them in the replica, whatever happens to it"""
    with rig.Cluster(storage=kind, ssh=False) as c:
        a, b = c.node("pve1"), c.node("pve2")
        lab = TreeLab(kind, c.storage_id, a.store, b.store, lambda text: c.write_guest("pve1", 200, text, kind="lxc"), seed=3)
        lab.add_volume(files=5)
        a.pvesr("create-local-job", "200-0", "pve2", check=True)
        for i in range(2):
            with lab.names.opened(a.store, 0, None) as root:
                os.chmod(root, 0o755)
                path = os.path.join(root, f"su{i}")
                with open(path, "wb") as f:
                    f.write(b"#!/bin/sh\n")
                os.chmod(path, 0o4755)
            a.pvesr("run", "--id", "200-0", check=True)
            check(c)
        with lab.names.opened(b.store, 0, None) as root:
            facts = [os.stat(os.path.join(root, f"su{i}")).st_mode for i in range(2)]
        assert [stat.S_IMODE(mode) for mode in facts] == [0o4755, 0o4755], "the replica is not the container"
        assert not lab.faults(), lab.faults()


for storage in STORAGES:
    for play, kinds in ((disks, set(STORAGES)), (containers, TREES)):
        if storage in kinds:
            rig.check(f"{play.__name__} on {storage}: {play.__doc__}", lambda p=play, k=storage: p(k),
                      needs=("root", storage) if storage != "plain" else ("root",))
rig.main()
