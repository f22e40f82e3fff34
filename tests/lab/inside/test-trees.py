#!/usr/bin/env python3
"""../../test-trees.py on ZFS filesystems. The long form plays each storage by itself: 200 rounds, 100 where it is encrypted."""
# deadline: 2000
# long: zfspool zfscrypt
import os
import runpy

import rig

LONG = os.environ.get("PVESR_LAB_LONG") == "1"
os.environ.setdefault("PVESR_TEST_STORAGES", "zfspool zfscrypt" if LONG else "zfspool")
LONG_ROUNDS = "100" if os.environ["PVESR_TEST_STORAGES"] == "zfscrypt" else "200"
os.environ.setdefault("PVESR_TREE_ROUNDS", LONG_ROUNDS if LONG else "2")
runpy.run_path(os.path.join(rig.ROOT, "tests/test-trees.py"), run_name="__main__")
