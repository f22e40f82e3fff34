#!/usr/bin/env python3
"""What takes too long has an end: a guest that is frozen while its storage hangs, a target that says that it lives and does no more."""
import contextlib
import json
import mmap
import os
import random
import signal
import socket
import subprocess
import threading

import rig
from guestlab import same_file
from scenario import GUEST, play_all, scenario

QGA = f"/run/qemu-server/{GUEST}.qga"
LIVELY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "livelypeer.py")


def setting(node, line):
    with open(node.config, "a") as f:
        f.write(line + "\n")


class GuestAgent(threading.Thread):
    """A guest's agent as QEMU shows it. `on` has what is to happen when it is frozen and when it is thawed."""

    def __init__(self, **on):
        super().__init__(daemon=True)
        self.on, self.frozen, self.told, self.deaf = on, False, [], False
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(QGA)
        self.socket.listen()

    def run(self):
        while True:
            try:
                client = self.socket.accept()[0]
            except OSError:
                return
            with client, client.makefile("rwb", buffering=0) as stream, contextlib.suppress(OSError):
                for line in stream:
                    if self.deaf:
                        break
                    self.answer(stream, json.loads(line.lstrip(b"\xff")))

    def answer(self, stream, request):
        command = request["execute"].rpartition("-")[2]
        value = {"delimited": request.get("arguments", {}).get("id"), "ping": {}, "freeze": 1, "thaw": 1,
                 "status": "frozen" if self.frozen else "thawed"}[command]
        if command in ("freeze", "thaw"):
            self.frozen = command == "freeze"
            self.told.append(command)
            self.on.get(command, lambda: None)()
        stream.write((b"\xff" if command == "delimited" else b"") + json.dumps({"return": value}).encode() + b"\n")


@contextlib.contextmanager
def running(w, **on):
    with rig.fake_running_vm(GUEST):
        agent = GuestAgent(**on)
        agent.start()
        w.write_guest("agent: 1\n" + w.lab.config())
        try:
            yield agent
        finally:
            agent.socket.shutdown(socket.SHUT_RDWR)
            agent.socket.close()
            os.unlink(QGA)
            w.lab.save()


def hanging_storage(w, times):
    """What lets the storage hang from the moment the guest is frozen until somebody has thawed it, so many times; after it the guest writes."""
    left = [times, False]

    def freeze():
        if left[0]:
            left[:] = [left[0] - 1, True]
            subprocess.run(["fsfreeze", "-f", w.a.store], check=True)

    def thaw():
        if left[1]:
            left[1] = False
            subprocess.run(["fsfreeze", "-u", w.a.store], check=True)
            w.lab.write(0, 3)
    return {"freeze": freeze, "thaw": thaw}


@scenario("xfs", "btrfs")
def frozen_too_long(w):
    """snapshots that took longer than the guest may be frozen are discarded and taken anew; where that is in vain, the log calls them what they are"""
    setting(w.a, "freeze-limit: 3")
    w.create()
    w.run()
    for times, anew, crash in ((0, 0, 0), (1, 1, 0), (2, 1, 1), (0, 0, 0)):
        w.lab.write(0, 3)
        with running(w, **hanging_storage(w, times)) as agent:
            w.run()
            assert agent.told.count("freeze") == 1 + anew and not agent.frozen, agent.told
        log = w.log()
        assert log.count("taken anew") == anew, log
        assert log.count("crash-consistent") == crash, log
        if not crash:
            w.proved()


@scenario("xfs")
def frozen_only_once(w):
    """snapshots that are taken anew of a guest that cannot be frozen any more are called what they are"""
    setting(w.a, "freeze-limit: 3")
    w.create()
    w.run()
    w.lab.write(0, 3)
    hang = hanging_storage(w, 1)
    with running(w, **hang) as agent:
        def thaw():
            hang["thaw"]()
            agent.deaf = agent.told.count("thaw") == 2  # the watchdog's, and then the run's
        agent.on["thaw"] = thaw
        w.run()
    log = w.log()
    assert (log.count("taken anew"), log.count("they are only crash-consistent")) == (1, 1), log
    w.proved()


MANY = 17000  # extents


class Busy(threading.Thread):
    """A guest that writes all the time, past the page cache, but while it is held: as QEMU does for one with cache=none."""

    def __init__(self, path, size):
        super().__init__(daemon=True)
        self.path, self.blocks, self.going, self.end = path, size // 4096, threading.Lock(), threading.Event()

    def run(self):
        chance = random.Random(rig.SEED)
        fd = os.open(self.path, os.O_RDWR | os.O_DIRECT)
        with mmap.mmap(-1, 4096) as block:
            while not self.end.is_set():
                with self.going:
                    block[:] = chance.randbytes(4096)
                    os.pwrite(fd, block, chance.randrange(self.blocks) * 4096)
                self.end.wait(0.01)
        os.close(fd)


def fragmented(w):
    """A disk of many extents: its number."""
    n = w.lab.add_disk(MANY * 8192)
    with open(w.lab.live(n), "r+b", buffering=0) as f:
        for i in range(MANY):
            os.pwrite(f.fileno(), i.to_bytes(4, "big") * 1024, i * 8192)
        os.fsync(f.fileno())
    return n


def killed_ahead(w):
    """A run is killed while it clones ahead."""
    folder = w.lab.names.folder(w.a.store)
    p = subprocess.Popen(w.a.argv("pvesr", "run", "--id", "100-0"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL, start_new_session=True)
    rig.wait_for(lambda: p.poll() is not None or any(".pvesr-tmp." in name and "@__" in name for name in os.listdir(folder)), "the clone")
    with contextlib.suppress(ProcessLookupError):
        os.killpg(p.pid, signal.SIGKILL)
    p.wait()


@scenario("xfs")
def many_extents(w):
    """a disk of many extents is cloned before the freeze, and its replica is what the guest had then; a writer whom no freeze stops is found out"""
    n = fragmented(w)
    w.create()
    guest = Busy(w.lab.live(n), MANY * 8192)
    truth = []

    def freeze():
        guest.going.acquire()
        truth.append(w.copy(w.lab.live(n)))

    guest.start()
    with running(w, freeze=freeze, thaw=guest.going.release):
        killed_ahead(w)
        w.run()
        assert "cloned before the freeze" in w.log(), w.log()
        assert same_file(w.lab.replica(n), truth[-1]), f"the target has not what the guest had (seed {rig.SEED})"
    with running(w):
        w.run()
    guest.end.set()
    guest.join()
    w.proved(busy={n})


@scenario("xfs")
def lives_and_does_no_more(w):
    """a target that says that it lives and never answers is given up, whichever answer it is that does not come"""
    w.create()
    w.run()
    for n in range(6):
        limit = 1 if n < 5 else 5  # before the last of them, all the answers come, and each has to in time
        setting(w.a, f"peer-limit: {limit}")
        w.lab.write(0, 3)
        w.c.set_agent("pve2", ["python3", LIVELY, str(n)])
        w.run(want=n < 5)  # what is removed in the end may wait for the next run
        assert f"has not done in {limit} s what it was asked for" in w.log(), f"answer {n}: {w.log()}"
    w.c.set_agent("pve2", [])
    setting(w.a, "peer-limit: 600")
    w.run()
    w.proved()


play_all()
