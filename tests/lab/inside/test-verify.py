#!/usr/bin/env python3
"""../../test-verify.py on the storages that only this machine has; the long form plays all of it, the short one what their drivers find, keep and
heal."""
# deadline: 2400
# long: zfspool lvmthin
import os
import runpy

import rig

os.environ.setdefault("PVESR_TEST_STORAGES", "zfspool lvmthin")
if os.environ.get("PVESR_LAB_LONG") != "1":
    os.environ.setdefault("PVESR_TEST_SCENARIOS", "in_the_live_replica healed_by_the_next_run failover_refuses")
    os.environ.setdefault("PVESR_TEST_PLACES", "middle")
runpy.run_path(os.path.join(rig.ROOT, "tests/test-verify.py"), run_name="__main__")
