#!/usr/bin/env python3
"""../../test-modes.py on the storages that only this machine has."""
# deadline: 1200
import os
import runpy

import rig

os.environ.setdefault("PVESR_TEST_STORAGES", "zfspool lvmthin")
runpy.run_path(os.path.join(rig.ROOT, "tests/test-modes.py"), run_name="__main__")
