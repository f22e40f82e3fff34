#!/usr/bin/env python3
"""../../test-still.py on the storages that only this machine has: what is held still without them is proved without them. The short form looks
at two runs each, and has a file beside a zvol only: thin volumes are held in one_instant."""
# deadline: 1800
import os
import runpy

import rig

os.environ.setdefault("PVESR_TEST_STORAGES", "zfspool lvmthin")
if os.environ.get("PVESR_LAB_LONG") != "1":
    os.environ.setdefault("PVESR_STILL_RUNS", "2")
    os.environ.setdefault("PVESR_STILL_BESIDE_FILES", "zfspool")
runpy.run_path(os.path.join(rig.ROOT, "tests/test-still.py"), run_name="__main__")
