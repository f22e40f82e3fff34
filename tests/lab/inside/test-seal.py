#!/usr/bin/env python3
"""../../test-seal.py on LVM-thin; ZFS snapshots cannot be written to. Whose the restore point is, which the long form asks, too, is no matter of
the driver."""
# deadline: 1800
import os
import runpy

import rig

os.environ.setdefault("PVESR_TEST_STORAGES", "lvmthin")
if os.environ.get("PVESR_LAB_LONG") != "1":
    os.environ.setdefault("PVESR_TEST_SCENARIOS", "byte left_writable while_a_run_builds")
runpy.run_path(os.path.join(rig.ROOT, "tests/test-seal.py"), run_name="__main__")
