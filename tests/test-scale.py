#!/usr/bin/env python3
"""What grows with a fleet, or with a history, and by how much: counted, not timed."""
import ctypes
import os
import struct

from scenario import play_all, scenario

LIBC = ctypes.CDLL(None, use_errno=True)
IN_OPEN, IN_CLOSE = 0x20, 0x18
IN_Q_OVERFLOW = 0x4000


class Opened:
    """How often files of a directory are opened inside the `with`: {name: times}."""

    def __init__(self, path):
        self.path, self.times = path, {}

    def __enter__(self):
        self.fd = LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        # closing as well: two equal events in a row are told once
        assert self.fd >= 0 and LIBC.inotify_add_watch(self.fd, self.path.encode(), IN_OPEN | IN_CLOSE) >= 0, self.path
        return self

    def __exit__(self, *_):
        data = b""
        while True:
            try:
                data += os.read(self.fd, 1 << 16)
            except BlockingIOError:
                break
        os.close(self.fd)
        while data:
            _, mask, _, n = struct.unpack_from("iIII", data)
            name = data[16:16 + n].rstrip(b"\0").decode()
            assert not mask & IN_Q_OVERFLOW, "too many events to count"
            if mask & IN_OPEN:
                self.times[name] = self.times.get(name, 0) + 1
            data = data[16 + n:]


@scenario("xfs")
def the_state_file_of_a_run(w):
    """a run reads the state file once and changes it at its begin, with the ACK and at its end, however many jobs its guest has"""
    w.create()
    w.run()
    for number, target in enumerate(("pve3", "pve4"), 1):
        w.c.add_node(target)
        w.create(job=f"100-{number}", target=target)
    w.lab.write(0, 5)
    with Opened(w.a.state_dir) as seen:
        w.run()
    assert seen.times.get("pve-replication-state.json", 0) == 4, seen.times


def opened_snapshots(w, points):
    """A run that has `points` of them to remove on both sides: how often their files were opened."""
    w.a.pvesr("update", "100-0", "--keep", f"last={points}", check=True)
    for _ in range(points):
        w.lab.write(0, 1)
        w.run()
    w.a.pvesr("update", "100-0", "--keep", "last=1", check=True)
    w.lab.write(0, 1)
    counts = []
    with Opened(folder(w.a)) as here, Opened(folder(w.b)) as there:
        w.run()
    for seen in (here, there):
        counts.append(sum(n for name, n in seen.times.items() if name.startswith(".pvesr.")))
    return counts


def folder(node):
    return os.path.join(node.store, "images", "100")


@scenario("xfs")
def the_pruning_of_many_points(w):
    """to remove three times as many restore points, their files are opened three times as often, not nine times"""
    w.create("--keep", "last=2")
    w.run()
    few, many = opened_snapshots(w, 6), opened_snapshots(w, 18)
    for of_few, of_many in zip(few, many):
        assert of_many <= 3 * of_few + 10, (few, many)


play_all()
