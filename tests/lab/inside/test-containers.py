#!/usr/bin/env python3
"""../../test-containers.py on the storages that only this machine has. The long form plays all, on ZFS filesystems with a story of 60
rounds, of which each takes longer than the one before; the short one a brief story: test-trees.py plays more of that. What a planned move
leaves is asked of zvols, in test-scenarios.py."""
# deadline: 1800
# long: zfspool zfscrypt
import os
import runpy

import rig

if os.environ.get("PVESR_LAB_LONG") == "1":
    os.environ.setdefault("PVESR_TEST_STORAGES", "zfspool zfscrypt")
    os.environ.setdefault("PVESR_CONTAINER_ROUNDS", "60" if os.environ["PVESR_TEST_STORAGES"] == "zfspool" else "15")
else:
    os.environ.setdefault("PVESR_TEST_STORAGES", "zfspool")
    os.environ.setdefault("PVESR_CONTAINER_ROUNDS", "2")
    os.environ.setdefault("PVESR_TEST_SCENARIOS", "story failover")
runpy.run_path(os.path.join(rig.ROOT, "tests/test-containers.py"), run_name="__main__")
