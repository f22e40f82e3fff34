#!/usr/bin/env python3
"""The rig itself: if these fail, look here before looking at what the other tests say."""
import os
import subprocess

import rig


def ssh(c, a, b, *command):
    known = os.path.join(c.tree, "nodes", b.name, "ssh_known_hosts")
    argv = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=3", "-o", "GlobalKnownHostsFile=none", "-o", f"HostKeyAlias={b.name}",
            "-o", f"UserKnownHostsFile={known}", f"root@{b.address}", "--", *command]
    return subprocess.run(a.inside(argv), capture_output=True, text=True, timeout=60)


def both_ways():
    with rig.Cluster(storage="plain", ssh=True) as c:
        a, b = c.nodes.values()
        for x, y in ((a, b), (b, a)):
            assert ssh(c, x, y, "hostname").stdout == y.name + "\n"


def wrong_host_key():
    with rig.Cluster(storage="plain", ssh=True) as c:
        a, b = c.nodes.values()
        stranger = os.path.join(c.dir, "stranger")
        rig.sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", stranger)
        with open(stranger + ".pub") as f:
            c.write("nodes/pve2/ssh_known_hosts", "pve2 " + f.read())
        assert "verification failed" in ssh(c, a, b, "true").stderr


def lines():
    with rig.Cluster(storage="plain", ssh=True) as c:
        a, b = c.nodes.values()
        for silent, sign in ((False, "unreachable"), (True, "timed out")):
            c.cut_line(silent=silent)
            assert sign in ssh(c, a, b, "true").stderr
            c.restore_line()
            assert ssh(c, a, b, "true").returncode == 0


def apart():
    with rig.Cluster(storage="plain", ssh=True) as c:
        a, b = c.nodes.values()
        rig.sh(*a.inside(["mkdir", "/run/qemu-server"]))
        assert not os.path.exists("/run/qemu-server")
        assert subprocess.run(b.inside(["test", "-e", "/run/qemu-server"])).returncode == 1


def loops(kind):
    with rig.Cluster(storage=kind) as c:
        image = os.path.join(c.dir, "pve1.img")
        assert image in rig.sh("losetup", "-a")
        path = os.path.join(c.node("pve1").store, "f")
        with open(path, "wb") as f:
            f.write(b"x" * 8192)
        rig.sh("cp", "--reflink=always", path, path + ".copy")
    assert image not in rig.sh("losetup", "-a")


NETS = ("root", "netns")
rig.check("nodes reach each other by ssh", both_ways, needs=NETS)
rig.check("a wrong host key is refused", wrong_host_key, needs=NETS)
rig.check("lines can be cut, loudly and silently", lines, needs=NETS)
rig.check("the nodes' /run are apart", apart, needs=NETS)
for each in ("xfs", "btrfs"):
    rig.check(f"{each} shares blocks, and its loop device is freed", lambda k=each: loops(k), needs=("root", each))
rig.main()
