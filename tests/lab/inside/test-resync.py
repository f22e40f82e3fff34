#!/usr/bin/env python3
"""../../test-resync.py on LVM-thin. The short form restores the shorter disk only, and what is cut at its commit."""
# deadline: 1800
import os
import runpy

import rig

os.environ.setdefault("PVESR_TEST_STORAGES", "lvmthin")
if os.environ.get("PVESR_LAB_LONG") != "1":
    os.environ.setdefault("PVESR_TEST_SCENARIOS", "points_lost_here restored_shorter cut")
runpy.run_path(os.path.join(rig.ROOT, "tests/test-resync.py"), run_name="__main__")
