#!/usr/bin/env python3
"""../../test-life.py on the storages that only this machine has."""
# deadline: 1200
import os
import runpy

import rig

os.environ.setdefault("PVESR_TEST_STORAGES", "zfspool lvmthin")
os.environ.setdefault("PVESR_TEST_SCENARIOS", "disk_is_gone")  # PVESR_TEST_SCENARIOS="": all
runpy.run_path(os.path.join(rig.ROOT, "tests/test-life.py"), run_name="__main__")
