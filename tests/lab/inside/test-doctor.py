#!/usr/bin/env python3
"""../../test-doctor.py on the storages that only this machine has: what --free removes."""
# deadline: 600
import os
import runpy

import rig

os.environ.setdefault("PVESR_TEST_STORAGES", "zfspool lvmthin")
os.environ.setdefault("PVESR_TEST_SCENARIOS", "freed_by_name")  # PVESR_TEST_SCENARIOS="": all
runpy.run_path(os.path.join(rig.ROOT, "tests/test-doctor.py"), run_name="__main__")
