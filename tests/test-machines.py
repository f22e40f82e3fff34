#!/usr/bin/env python3
"""How the machine of tests/lab comes to be, without making one: where packages come from, what is kept, which kernels are refused."""
import os
import subprocess
import sys
import time
from unittest import mock

import rig

LAB = os.path.join(rig.ROOT, "tests/lab")
sys.path.insert(0, LAB)
import cache  # noqa: E402
import debian  # noqa: E402
import kinds  # noqa: E402
import uml  # noqa: E402

OURS = [("http://mirror.example/debian", ["bookworm", "bookworm-updates"], "/key"), ("http://mirror.example/security", ["bookworm-security"], None),
        ("http://other.example", ["stable-of-others"], None)]


def stanzas(*words, **more):
    with mock.patch("debian.codename", return_value="bookworm"), mock.patch("debian.own_sources", return_value=OURS):
        return debian.sources(*words, **more).replace("Types: deb\n", "").replace(f"Components: {debian.COMPONENTS}\n", "").splitlines()


def sources():
    assert stanzas() == ["URIs: http://mirror.example/debian", "Suites: bookworm bookworm-updates", "Signed-By: /key", "",
                         "URIs: http://mirror.example/security", "Suites: bookworm-security"], stanzas()
    other = stanzas("trixie", more=["-backports"])
    assert other[1] == "Suites: trixie trixie-updates trixie-backports" and other[5] == "Suites: trixie-security", other


def kept():
    made = []

    def make(folder, _log):
        made.append(folder)
        if len(made) == 1:
            raise RuntimeError("the first one fails")

    with mock.patch("cache.CACHE", os.path.join(rig.tempfile.gettempdir(), "cache")):
        os.makedirs(old := cache.where("thing", "old"))
        os.utime(old, (0, time.time() - cache.UNUSED_SECONDS - 60))
        os.makedirs(recent := cache.where("thing", "recent"))
        for _ in range(3):
            try:
                cache.kept("thing", "1", make)
            except RuntimeError:
                assert not os.path.exists(cache.where("thing", "1")) and os.path.exists(old)
        assert len(made) == 2 and not os.path.exists(made[1]), made
        assert os.path.isdir(cache.where("thing", "1")) and os.path.isdir(recent) and not os.path.exists(old)


def strange_kernel():
    done = subprocess.run([os.path.join(LAB, "kernel")], env={**os.environ, "PVESR_LAB_KERNEL": sys.executable}, capture_output=True, text=True)
    assert done.returncode == 1 and "linux.sha256" in done.stderr and "unset it" in done.stderr, done


def refused(function, error, words):
    try:
        function()
    except error as e:
        assert words in str(e), e
    else:
        raise AssertionError("nothing was refused")


def no_kernel():
    refused(lambda: uml.try_kernel("/bin/echo"), cache.CannotError, "does not run here")
    with mock.patch.dict(os.environ, PVESR_LAB_MACHINE="abacus"):
        refused(kinds.ready, RuntimeError, "uml or qemu")


def without_uml():
    """Where user-mode Linux cannot be had it is QEMU, unless it was asked for."""
    with mock.patch.object(uml.Machine, "prepare", side_effect=cache.CannotError("no")), mock.patch("qemu.Machine.prepare"):
        with mock.patch.dict(os.environ, PVESR_LAB_MACHINE=""):
            assert kinds.ready().NAME == "qemu"
        with mock.patch.dict(os.environ, PVESR_LAB_MACHINE="uml"):
            refused(kinds.ready, cache.CannotError, "no")


rig.check("machines: packages of another release come from this machine's own mirror", sources)
rig.check("machines: what is made is kept once it is whole, and what nobody used goes", kept)
rig.check("machines: a kernel that nobody tried is refused", strange_kernel)
rig.check("machines: what is no kernel, or no kind, is refused", no_kernel)
rig.check(f"machines: {without_uml.__doc__}", without_uml)
rig.main()
