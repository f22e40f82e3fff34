#!/usr/bin/env python3
"""../../test-handset.py on the storages that only this machine has; the long form plays all."""
# deadline: 1200
import os
import runpy

import rig

os.environ.setdefault("PVESR_TEST_STORAGES", "zfspool lvmthin")
if os.environ.get("PVESR_LAB_LONG") != "1":
    os.environ.setdefault("PVESR_TEST_SCENARIOS", "thick properties")
runpy.run_path(os.path.join(rig.ROOT, "tests/test-handset.py"), run_name="__main__")
