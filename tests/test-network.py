#!/usr/bin/env python3
"""The dedicated network of datacenter.cfg: two nodes with several addresses and real ssh between them. The network with one, no and two
addresses of the target, IPv6, an address that changed, the fallbacks between `replication` and `migration`, and the rate limit in it."""
import json
import os
import time

import rig
from guestlab import GuestLab

SCENARIOS = []
OTHER = "10.79.0"


def scenario(f):
    SCENARIOS.append(f)
    return f


class World:
    def __init__(self, c):
        self.c, self.a, self.b = c, c.node("pve1"), c.node("pve2")
        self.lab = GuestLab(c.storage, c.storage_id, self.a.store, self.b.store, lambda text: c.write_guest("pve1", 100, text), seed=1)
        self.lab.add_disk()
        self.a.pvesr("create-local-job", "100-0", "pve2", check=True)
        self.address(self.a, f"{OTHER}.1/24")

    def address(self, node, text, do="add"):
        more = ["nodad"] if ":" in text and do == "add" else []
        rig.sh(*node.inside(["ip", "address", do, text, "dev", "eth0", *more]))

    def config(self, text):
        self.c.write("datacenter.cfg", text)

    def network(self, text):
        self.config(f"replication: secure,network={text}\n")

    def run(self):
        self.lab.write(0, 3)
        done = self.a.pvesr("run", "--id", "100-0")
        assert done.returncode == 0, f"exit {done.returncode}: {done.stderr}"
        faults = self.lab.faults()
        assert not faults, faults
        return self.log()

    def fails(self, *reasons):
        done = self.a.pvesr("run", "--id", "100-0")
        assert done.returncode != 0, f"the run succeeded:\n{self.log()}"
        state = json.loads(self.a.pvesr("status", "--output-format", "json", check=True).stdout)[0]
        for text in (done.stderr, state["error"], self.log()):
            assert all(r in text for r in reasons), f"not all of {reasons} in: {text}"

    def log(self):
        with open(os.path.join(self.a.log_dir, "100-0")) as f:
            return f.read()

    def masters(self):
        """The addresses of pve2 to which there is a shared connection."""
        found = []
        for pid in self.c.processes(self.a, "ControlMaster=yes"):
            with open(f"/proc/{pid}/cmdline") as f:
                found += [word.split("@")[1] for word in f.read().split("\0") if word.startswith("root@")]
        return sorted(found)


@scenario
def one_address(w):
    """the target has one address in the network: it is asked for once and used"""
    w.address(w.b, f"{OTHER}.2/24")
    w.network(f"{OTHER}.0/24")
    assert f"using secure transmission over {OTHER}.0/24, rate limit: none" in w.run()
    assert w.masters() == [w.b.address, f"{OTHER}.2"], w.masters()
    w.address(w.b, f"{w.b.address}/24", "del")  # nobody asks again
    w.run()


@scenario
def no_address(w):
    """the target has no address in the network"""
    w.network(f"{OTHER}.0/24")
    w.fails("failed to get ip for node 'pve2' in network '10.79.0.0/24'", "none")
    w.address(w.b, f"{OTHER}.2/24")
    w.run()


@scenario
def two_addresses(w):
    """the target has two addresses in the network"""
    w.address(w.b, f"{OTHER}.2/24")
    w.address(w.b, f"{OTHER}.3/24")
    w.network(f"{OTHER}.0/24")
    w.fails("failed to get ip for node 'pve2' in network '10.79.0.0/24'", f"{OTHER}.2", f"{OTHER}.3")
    w.network(f"{OTHER}.3/32")
    w.run()
    assert f"{OTHER}.3" in w.masters()


@scenario
def ipv6(w):
    """a network of IPv6"""
    w.address(w.a, "fd79::1/64")
    w.address(w.b, "fd79::2/64")
    w.network("fd79::/64")
    assert "using secure transmission over fd79::/64" in w.run()
    assert "fd79::2" in w.masters()


@scenario
def moved(w):
    """the target's address in the network changes: a run fails, the next one asks again"""
    w.address(w.b, f"{OTHER}.2/24")
    w.network(f"{OTHER}.0/24")
    w.run()
    w.address(w.b, f"{OTHER}.2/24", "del")
    w.address(w.b, f"{OTHER}.3/24")
    for pid in w.c.processes(w.a, f"root@{OTHER}.2"):
        os.kill(pid, 9)
    w.fails("'pve2'", f"{OTHER}.0/24", f"{OTHER}.2")
    w.run()
    assert f"{OTHER}.3" in w.masters()


@scenario
def fallbacks(w):
    """replication counts, or else migration, or else nothing; a broken line is told and dropped; insecure stays secure"""
    w.address(w.b, f"{OTHER}.2/24")
    over = f"using secure transmission over {OTHER}.0/24"
    migration = f"migration: secure,network={OTHER}.0/24\n"
    for text, want, unwanted in ((migration, over, "datacenter.cfg"),
                                 (migration + "replication: secure\n", "using secure transmission, rate", over),
                                 (migration + "replication: network=10.1.0.0/16\n", "datacenter.cfg:2: replication ignored", "insecure transmission"),
                                 (migration + "replication: network=10.1.0.0/16\n", over, "insecure transmission"),
                                 (f"replication: insecure,network={OTHER}.0/24\n", "the link stays secure", "ignored"),
                                 (f"replication: insecure,network={OTHER}.0/24\n", over, "ignored"),
                                 ("", "using secure transmission, rate", over)):
        w.config(text)
        log = w.run()
        assert want in log and unwanted not in log, f"{text!r} gave:\n{log}"


@scenario
def limited(w):
    """the rate limit holds in the network"""
    w.address(w.b, f"{OTHER}.2/24")
    w.network(f"{OTHER}.0/24")
    w.run()
    w.a.pvesr("update", "100-0", "--rate", 4, check=True)
    with open(w.lab.live(0), "r+b") as f:
        f.write(os.urandom(8 << 20))
    w.lab.disks[0] = max(w.lab.disks[0], 8 << 20)
    w.lab.save()
    begin = time.monotonic()
    assert f"over {OTHER}.0/24, rate limit: 4 MByte/s" in w.run()
    took = time.monotonic() - begin
    assert took > 1.6, f"8 MiB at 4 MB/s took {took:.2f} s"


def play(f):
    with rig.Cluster(storage="xfs", ssh=True) as c:
        f(World(c))


for function in SCENARIOS:
    rig.check(f"network, {function.__name__}: {function.__doc__}", lambda f=function: play(f), needs=("root", "xfs", "netns"))
rig.main()
