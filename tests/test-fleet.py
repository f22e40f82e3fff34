#!/usr/bin/env python3
"""A fleet with one bad node: three nodes with their daemons, thirty guests; pve3 is dead, slow, hostile, full, … to one job of another node in
each way. Every honest job keeps the age of its restore point below its limit; every other one says what is wrong with it, in `status` and by mail.

PVESR_FLEET_SECONDS: for so long (as long as it takes, two minutes; the long form is 1200) the bad node goes on, silent, dead and back again.
"""
import contextlib
import json
import os
import random
import re
import shutil
import signal
import threading
import time

import rig
from guestlab import same_file
from rigdaemon import Daemon

SECONDS = int(os.environ.get("PVESR_FLEET_SECONDS", "0"))
PEER_LIMIT = 30 * rig.SLOW
MB = 1 << 20
HERE = os.path.dirname(os.path.abspath(__file__))
PEER = os.path.join(HERE, "fleetpeer.py")
GONE = r"says that it lives|takes nothing|took nothing|sent nothing|has not done"

# way: source, what status and mails say of it, more of the job
WAYS = {
    "silent": ("pve2", "timed out|No route to host", ()),
    "refused": ("pve2", "refused", ()),
    "alive": ("pve1", GONE, ()), "alive too": ("pve1", GONE, ()),
    "drip": ("pve1", GONE, ()), "drip too": ("pve1", GONE, ()),
    "throttle": ("pve1", GONE, ()), "throttle too": ("pve1", GONE, ()),
    "garbage": ("pve2", "is damaged|unknown type", ()),
    "huge": ("pve2", "would take more than", ()),
    "liar": ("pve2", "damaged message", ()),
    "owner": ("pve2", "is on node 'pve1'", ()),
    "filler": ("pve2", "FILLER", ()),
    "full": ("pve2", "space|full", ()),
    "readonly": ("pve2", "[Rr]ead-only", ()),
    "missing": ("pve2", "is not there", ()),
    "busy": ("pve2", "in use by", ("--schedule", "*:*:0/5", "--max-age", f"{30 * rig.SLOW:.0f}s")),
    "twice": ("pve2", "two configuration files", ("--schedule", "*:*:0/5", "--max-age", f"{30 * rig.SLOW:.0f}s")),
    "killed": ("pve2", "signal 9", ("--rate", "1")),
}
STORAGE = {"full": "small", "readonly": "ro", "missing": "gone"}
CLOCK = 130
SIZE = {"throttle": 32 * MB, "throttle too": 32 * MB, "full": 24 * MB, "killed": 32 * MB}
BAD = {way: 200 + n for n, way in enumerate(WAYS)}
# source, target, schedule, seconds that its restore point may be old
FAST = ("*:*:0/10", 65)  # one run of it may be postponed
EACH_MINUTE = ("*:*", 150)
HONEST = {100: ("pve1", "pve2", *FAST), 110: ("pve2", "pve1", *FAST), 120: ("pve3", "pve1", *EACH_MINUTE),
          **{guest: ("pve1", "pve2", *EACH_MINUTE) for guest in (101, 102, 103)},
          **{guest: ("pve2", "pve1", *EACH_MINUTE) for guest in (111, 112, 113, 114)}}


class Fleet:
    def __init__(self, c):
        self.c, self.random = c, random.Random(rig.SEED)
        self.boxes, self.daemons, self.oldest, self.faults = {}, {}, {}, []
        self.over, self.judging = threading.Event(), threading.Event()

    # ---- what is there ----

    def image(self, node, guest, storage="st"):
        return os.path.join(self.c.node(node).mount, storage, "images", str(guest), f"vm-{guest}-disk-0.raw")

    def add_guest(self, guest, source, size=MB, storage="st"):
        path = self.image(source, guest, storage)
        os.makedirs(os.path.dirname(path))
        with open(path, "wb") as f:
            f.write(self.random.randbytes(size))
        self.c.write_guest(source, guest, f"scsi0: {storage}:{guest}/vm-{guest}-disk-0.raw,size={size >> 20}M\n")

    def job(self, guest, source, target, *more):
        self.c.node(source).pvesr("create-local-job", f"{guest}-0", target, *more, check=True)

    def set_up(self):
        for name, node in self.c.nodes.items():
            node.settings.update({"peer-limit": f"{PEER_LIMIT:.0f}", **({"max-workers": 3} if name == "pve1" else {})})
            self.boxes[name] = rig.Mailbox(node)
        self.bad_storages()
        ways, other = os.path.join(self.c.dir, "ways.json"), os.path.join(self.c.dir, "other.conf")
        with open(ways, "w") as f:
            json.dump({f"{guest}-0": way.removesuffix(" too") for way, guest in BAD.items()}, f)
        self.c.set_agent("pve3", ["python3", PEER, ways, other])
        for guest, (source, *_) in HONEST.items():
            self.add_guest(guest, source)
        for way, guest in BAD.items():
            self.add_guest(guest, WAYS[way][0], SIZE.get(way, MB), STORAGE.get(way, "st"))
        self.other_tree(other)

    def bad_storages(self):
        """What is a plain folder on the good nodes, on pve3 is small, cannot be written to, or is not there."""
        for storage in STORAGE.values():
            self.c.storages_more += f"dir: {storage}\n\tpath /{storage}\n" + ("\tis_mountpoint yes\n" if storage == "gone" else "") + "\n"
            for node in self.c.nodes.values():
                os.makedirs(os.path.join(node.mount, storage))
        self.c.write_tree()
        bad, gone = self.c.node("pve3"), os.path.join(self.c.node("pve2").mount, "gone")
        small, ro = (os.path.join(bad.mount, name) for name in ("small", "ro"))
        image = os.path.join(self.c.dir, "small.img")
        rig.sh("truncate", "-s", "12M", image)
        rig.sh(*rig.MAKE["plain"], image)
        rig.sh(*self.c.node("pve2").inside(["mount", "--bind", gone, gone]))
        rig.sh(*bad.inside(["mount", "-o", "loop", image, small]))
        rig.sh(*bad.inside(["mount", "--bind", ro, ro]))
        rig.sh(*bad.inside(["mount", "-o", "remount,bind,ro", ro]))

    def other_tree(self, config):
        """A tree that says that pve1 owns the guests of pve2."""
        theirs = os.path.join(self.c.dir, "other-tree")
        shutil.copytree(self.c.tree, theirs)
        for name in os.listdir(os.path.join(theirs, "nodes/pve2/qemu-server")):
            os.rename(os.path.join(theirs, "nodes/pve2/qemu-server", name), os.path.join(theirs, "nodes/pve1/qemu-server", name))
        with open(self.c.node("pve3").config) as f, open(config, "w") as g:
            g.write(f.read().replace(f"dir:{self.c.tree}", f"dir:{theirs}"))

    # ---- what can be seen ----

    def states(self, node):
        done = self.c.node(node).pvesr("status", "--output-format", "json")
        return {s["id"]: s for s in json.loads(done.stdout)} if done.returncode == 0 else {}

    def said(self, node):
        return self.c.node(node).pvesr("status", check=True).stdout

    def mails(self, node):
        return "\n\n".join(self.boxes[node].mails())

    def synced(self, guest, source, after=0):
        return self.states(source).get(f"{guest}-0", {}).get("last_sync", 0) > after

    def wait_all_synced(self, after=0, seconds=60):
        def behind():
            states = {node: self.states(node) for node in self.c.nodes}
            return [f"{guest}-0" for guest, (source, *_) in HONEST.items()
                    if states[source].get(f"{guest}-0", {}).get("last_sync", 0) <= after]
        rig.wait_for(lambda: not behind(), f"a run of {', '.join(behind())}", seconds)

    def told(self, way, also=""):
        """What status and mails lack of it. also: what else may be the last that was wrong."""
        source, reason, _ = WAYS[way]
        reason += also
        job, lacking = f"{BAD[way]}-0", []
        line = next((line for line in self.said(source).splitlines() if line.startswith(job + " ")), "no line")
        state = self.states(source).get(job, {})
        if not (state.get("fail_count") or state.get("overdue")) or not re.search(reason, line):
            lacking.append(f"status: {line}")
        if not any(job in mail and re.search(reason, mail) for mail in self.boxes[source].mails()):
            lacking.append(f"mails: {[mail for mail in self.boxes[source].mails() if job in mail]}")
        return lacking

    def wait_told(self, ways, seconds, also=""):
        lacking = {}

        def all_told():
            for way in ways:
                if lacking.get(way) != []:
                    lacking[way] = self.told(way, also)
            time.sleep(1)
            return not any(lacking.values())
        with contextlib.suppress(TimeoutError):
            rig.wait_for(all_told, "", seconds)
        faults = [f"{way} ({BAD[way]}-0): {'; '.join(lacks)}" for way, lacks in lacking.items() if lacks]
        assert not faults, "not told: " + " / ".join(faults)

    def watch(self):
        """No honest job is ever overdue, nor fails."""
        while not self.over.wait(2):
            for node in self.c.nodes:
                self.daemons[node].told("")  # else its messages would fill their socket, and it would wait
                for job, s in self.states(node).items():
                    if (guest := s["guest"]) not in HONEST or not self.judging.is_set():
                        continue
                    self.oldest[guest] = max(self.oldest.get(guest, 0), time.time() - s["last_sync"] if s["last_sync"] else 0)
                    if s.get("overdue") or s.get("error"):
                        self.faults.append(f"{job}: {'overdue, ' if s.get('overdue') else ''}{s.get('error')}")

    def guests_write(self):
        """All honest guests write now and then."""
        chance = random.Random(rig.SEED + 1)
        while not self.over.wait(0.5):
            guest = chance.choice(list(HONEST))
            with open(self.image(HONEST[guest][0], guest), "r+b") as f:
                f.seek(chance.randrange(MB >> 12) << 12)
                f.write(chance.randbytes(4096))

    def kill_runs(self):
        """As the kernel does where there is no memory left."""
        while not self.over.wait(1):
            with contextlib.suppress(OSError):
                if pid := self.states("pve2").get(f"{BAD['killed']}-0", {}).get("pid"):
                    os.killpg(pid, signal.SIGKILL)

    # ---- what happens ----

    def begin(self, *ways):
        for way in ways:
            self.job(BAD[way], WAYS[way][0], "pve3", *WAYS[way][2])

    def no_quorum(self):
        """A while in which no node has a quorum: the daemons say so, and then go on. Only after it jobs are to have a limit again."""
        self.judging.clear()
        rig.wait_for(self.idle, "a moment in which nothing runs", 300)
        nodes = {name: {"id": n + 1, "online": 1, "ip": "127.0.0.1"} for n, name in enumerate(self.c.nodes)}
        for d in self.daemons.values():
            d.notices.clear()
        self.c.write(".vmlist", json.dumps({"version": 1, "ids": {
            str(guest): {"node": node, "type": "qemu", "version": 1}
            for guest, node in [(g, row[0]) for g, row in HONEST.items()] + [(g, WAYS[way][0]) for way, g in BAD.items()]}}))
        self.c.write(".version", json.dumps({"starttime": 1, "clinfo": 1, "vmlist": 1, "replication.cfg": 1}))
        self.c.write(".members", json.dumps({"nodename": "pve1", "version": 1, "nodelist": nodes, "cluster": {
            "name": "c", "version": 1, "nodes": 3, "quorate": 0}}))
        for d in self.daemons.values():
            rig.wait_for(lambda d=d: d.told("STATUS=Paused: no quorum!"), "no quorum", 60)
        for d in self.daemons.values():
            d.notices.clear()
        for name in (".members", ".version", ".vmlist"):
            os.unlink(os.path.join(self.c.tree, name))
        for d in self.daemons.values():
            rig.wait_for(lambda d=d: d.told(" jobs, "), "scheduling", 60)
        after = time.time()
        for guest in (100, 110):
            rig.wait_for(lambda g=guest: self.synced(g, HONEST[g][0], after), f"a run of {guest}", 120)
        self.judging.set()

    def idle(self):
        """Nothing runs, nor is about to: the tree is about to change under whoever reads it."""
        time.sleep(0.2)
        return 3 < time.time() % 10 < 6 and not any(s.get("pid") for node in self.c.nodes for s in self.states(node).values())

    @contextlib.contextmanager
    def silence(self):
        a, b = self.c.node("pve2"), self.c.node("pve3")
        self.c.mute(a, b)
        yield
        self.c.unmute(a, b)

    @contextlib.contextmanager
    def dead(self):
        node = self.c.node("pve3")
        node.sshd.kill()
        node.sshd.wait()
        yield
        self.c.serve(node)

    def ask_again(self, ways):
        for way in ways:
            self.c.node(WAYS[way][0]).pvesr("schedule-now", f"{BAD[way]}-0")

    def long_form(self, until):
        """The bad node goes on: silent, dead, and back; its jobs are asked for again each time."""
        rounds = 0
        while time.monotonic() < until:
            rounds += 1
            self.ask_again(WAYS)
            with self.silence() if rounds % 3 == 1 else self.dead() if rounds % 3 == 2 else contextlib.nullcontext():
                for _ in range(60):
                    time.sleep(1)
            if rounds % 2:
                self.no_quorum()
        print(f"# {rounds} rounds more")

    def clock_was_ahead(self):
        """One run of a job with a clock ten years ahead: the next ones go on by themselves."""
        node, job, then = self.c.node("pve2"), f"{CLOCK}-0", int(time.time()) + 10 * 365 * 86400
        self.add_guest(CLOCK, "pve2")
        self.job(CLOCK, "pve2", "pve1", "--schedule", FAST[0])
        rig.wait_for(lambda: self.synced(CLOCK, "pve2"), "the run before", 60)
        node.pvesr("disable", job, check=True)
        rig.wait_for(lambda: not self.states("pve2")[job].get("pid"), "its end", 60)
        node.pvesr("set-state", CLOCK, json.dumps({"local/pve1": {"last_sync": then, "last_try": then, "last_iteration": then, "fail_count": 0,
                                                                  "storeid_list": ["st"], "last_node": "pve2"}}), check=True)
        node.pvesr("enable", job, check=True)
        rig.wait_for(lambda: 0 < self.states("pve2")[job]["last_sync"] <= time.time(), "a run by the right clock", 120)

    def story(self, held):
        begun = time.monotonic()
        for guest, (source, target, schedule, age) in HONEST.items():
            self.job(guest, source, target, "--schedule", schedule, "--max-age", f"{age * rig.SLOW:.0f}s")
        for name, node in self.c.nodes.items():
            self.daemons[name] = Daemon(node, "--stop-timeout", "1")
        self.wait_all_synced()
        for work in (self.watch, self.guests_write, self.kill_runs):
            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            held.callback(thread.join)
        held.callback(self.over.set)
        self.no_quorum()
        with self.silence():
            self.begin("silent")
            self.wait_told(["silent"], 60)
        with self.dead():
            self.begin("refused")
            self.wait_told(["refused"], 60)
        self.begin(*[way for way in WAYS if way not in ("silent", "refused")])
        self.clock_was_ahead()
        rig.wait_for(lambda: self.synced(BAD["busy"], "pve2") and self.synced(BAD["twice"], "pve2"), "what is to be busy", 60)
        held.enter_context(open(self.image("pve3", BAD["busy"]), "r+b"))
        self.c.write_guest("pve3", BAD["twice"], "scsi0: none\n")
        self.wait_told([way for way in WAYS if WAYS[way][0] == "pve2"], 120)
        self.wait_told(WAYS, 180)
        self.long_form(begun + SECONDS)
        if SECONDS:  # a node that is back is no fault any more
            lasting = [way for way in WAYS if way not in ("silent", "refused")]
            self.ask_again(lasting)
            self.wait_told(lasting, 600, "|timed out|no connection|was closed")
        self.over.set()
        self.wait_all_synced(time.time(), 150)
        return time.monotonic() - begun


def fleet():
    with rig.Cluster(storage="xfs", ssh=True, nodes=("pve1", "pve2", "pve3"), machines=3) as c, contextlib.ExitStack() as held:
        f = Fleet(c)
        f.set_up()
        took = f.story(held)
        held.close()
        print(f"# {took:.0f} s; oldest restore point of an honest job, seconds of those that it may be old: " + ", ".join(
            f"{guest}: {f.oldest.get(guest, 0):.0f}/{age * rig.SLOW:.0f}" for guest, (*_, age) in HONEST.items()))
        assert not f.faults, "; ".join(dict.fromkeys(f.faults))
        for guest, (source, target, *_) in HONEST.items():
            assert same_file(f.image(source, guest), f.image(target, guest)), f"the replica of {guest} differs"


rig.check(f"fleet: {len(HONEST) + len(BAD)} guests, one bad node: no honest job is overdue, every other one says why", fleet,
          needs=("root", "xfs", "netns"))
rig.main()
