#!/usr/bin/env python3
"""A program of a storage that fails once, anywhere in a run, on either side, before it did anything or behind it: what it was to say is neither
"not there" nor "differs". Nothing is kept aside, nothing is sent anew, no restore point goes; the run fails and says so, or goes on as ever, and
the next one goes on from where the last one ended. The short form plays a sample of the calls, the long one all (`PVESR_LOOK_POINTS`)."""
# deadline: 1500
# long: zfspool lvmthin
import os
import random
import shutil

import rig

os.environ.setdefault("PVESR_TEST_STORAGES", "zfspool lvmthin")
from scenario import play_all, scenario  # noqa: E402

POINTS = int(os.environ.get("PVESR_LOOK_POINTS", "10000" if os.environ.get("PVESR_LAB_LONG") == "1" else "8"))
PROGRAMS = {"zfspool": ("zfs", "zpool"),
            "lvmthin": ("lvs", "vgs", "lvcreate", "lvremove", "lvchange", "lvrename", "dmsetup", "thin_delta", "thin_dump", "blkdiscard")}
HERE = "/usr/local/sbin"  # before all others where pvesr looks for programs
NOTES = "/run/pvesr-look"
WRAPPER = """#!/bin/sh
echo "{name} $*" >>{notes}/calls
n=0
while read -r call; do n=$((n + 1)); done <{notes}/calls
read -r failing how <{notes}/failing
[ "$n" != "$failing" ] || {{
    [ "$how" = before ] || {path} "$@" >/dev/null
    echo "{name}: no answer" >&2
    exit 5
}}
exec {path} "$@"
"""


class Wrapped:
    """The programs, each call of which is counted."""

    def __init__(self, cluster, names):
        os.makedirs(NOTES, exist_ok=True)
        for name in names:
            path = shutil.which(name)
            assert path, f"there is no {name}"
            wrapper = os.path.join(HERE, name)
            with open(wrapper, "w") as f:
                f.write(WRAPPER.format(name=name, notes=NOTES, path=path))
            os.chmod(wrapper, 0o755)
            cluster.cleanup.callback(os.unlink, wrapper)
        self.fail(0, "never")

    def fail(self, n, how):
        """The nth call from now on."""
        for name, text in (("calls", ""), ("failing", f"{n} {how}\n")):
            with open(os.path.join(NOTES, name), "w") as f:
                f.write(text)

    def calls(self):
        with open(os.path.join(NOTES, "calls")) as f:
            return f.read().splitlines()


def change(w):
    for n in w.lab.disks:
        w.lab.write(n, 2)


def check(w, what, done):
    log = w.log()
    assert not w.asides(w.a.store) and not w.asides(w.b.store), f"{what}: kept aside: {log}"
    assert "full sync" not in log and "compares" not in log, f"{what}: {log}"
    assert done.returncode == 0 or "no answer" in done.stderr, f"{what}: {done.stderr}"
    points = {n for n, s in w.lab.names.entries(w.b.store)[0] if s and s.startswith("__replicate")}
    assert len(points) == len(w.lab.disks), f"{what}: restore points are gone: {points}: {log}"


@scenario("zfspool", "lvmthin")
def one_fails(w):
    """one call of a program of the storage fails, at each place of a run: the next run goes on from there"""
    w.create()
    w.run()
    change(w)
    w.run()
    wrapped = Wrapped(w.c, PROGRAMS[w.kind])
    change(w)
    w.run()
    most, chance = len(wrapped.calls()), random.Random(rig.SEED)
    assert most > 5, f"a run starts no more than {wrapped.calls()}"
    failed = 0
    for n in sorted(chance.sample(range(1, most + 1), min(most, POINTS))):
        how = chance.choice(("before", "behind"))
        change(w)
        wrapped.fail(n, how)
        done = w.a.pvesr("run", "--id", "100-0")
        what = f"call {n} of {most} fails, {how} it: {(wrapped.calls() + [''] * n)[n - 1]} (seed {rig.SEED})"
        wrapped.fail(0, "never")
        failed += done.returncode != 0
        check(w, what, done)
        w.run()
        check(w, f"{what}, the run after that", done)
        w.proved()
    assert failed, "no call that failed was noticed"


play_all()
