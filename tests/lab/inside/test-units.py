#!/usr/bin/env python3
"""The unit tests of the storage drivers, where the kernel has what they drive."""
# deadline: 3600
# plays unit tests
import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import rig

# Programs of the build, and what each is told in its environment. PVESR_TEST_PLACE: one of places[] in src/volume/test-world.c.
UNITS = (
    ("test-zfs*", {"PVESR_TEST_ZFS": "1"}),
    ("test-zvol*", {}),
    ("test-lvm*", {}),
    ("test-thin*", {}),
    ("test-volume", {"PVESR_TEST_PLACE": "lvmthin", "PVESR_TEST_LVM": "1"}),
    ("test-resync", {"PVESR_TEST_PLACE": "lvmthin", "PVESR_TEST_LVM": "1"}),
)
# A death at each of many system calls takes long in an emulated machine.
LONG_UNITS = (
    ("test-crash", {"PVESR_TEST_PLACE": "lvmthin", "PVESR_TEST_LVM": "1"}),
)


def units():
    words = [a for a in sys.argv[1:] if not a.startswith("-")]
    built = sorted(os.listdir(rig.BUILD))
    all_units = UNITS + (LONG_UNITS if os.environ.get("PVESR_LAB_LONG") == "1" else ())
    found = [(name, env) for pattern, env in all_units for name in fnmatch.filter(built, pattern)]
    return [(name, env) for name, env in found if all(w in f"{name} {env.get('PVESR_TEST_PLACE', '')}" for w in words)]


def lvm_of_loops(folder):
    """A configuration of LVM for whoever has it in the environment: volume groups are on loop devices here, and of each device that it may look
    at, each command reads 128 KiB."""
    shutil.copytree("/etc/lvm", folder)
    with open(os.path.join(folder, "lvmlocal.conf"), "r+") as f:
        text = f.read()
        new, n = re.subn(r"(?m)^( *global_filter = ).*", r'\1[ "a|^/dev/loop|", "r|.*|" ]', text)
        assert n == 1, text
        f.seek(0)
        f.write(new)
        f.truncate()
    return {"LVM_SYSTEM_DIR": folder}


def record(name, env):
    done = subprocess.run([os.path.join(rig.BUILD, name)], capture_output=True, text=True, errors="replace", check=False,
                          stdin=subprocess.DEVNULL, env={**os.environ, **env, "CMOCKA_MESSAGE_OUTPUT": "TAP"})
    place = env.get("PVESR_TEST_PLACE")
    return {"name": f"{name} on {place}" if place else name, "stdout": done.stdout, "stderr": done.stderr, "returncode": done.returncode,
            "result": "OK" if done.returncode == 0 else "FAIL"}


def main():
    with tempfile.TemporaryDirectory() as top, tempfile.NamedTemporaryFile("w", suffix=".json") as log:
        lvm = lvm_of_loops(os.path.join(top, "lvm"))
        for name, env in units():
            log.write(json.dumps(record(name, {**env, **lvm})) + "\n")
        log.flush()
        results = subprocess.run([os.path.join(rig.ROOT, "tests/unit-results"), "", log.name], capture_output=True, text=True, check=True).stdout
    print(results, end="")
    sys.exit(1 if "\nnot ok " in "\n" + results else 0)


if units():
    main()
