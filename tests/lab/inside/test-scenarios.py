#!/usr/bin/env python3
"""../../test-scenarios.py and its like on zvols: by default those in which something could be lost, in the long form all."""
# deadline: 1800
import os
import runpy

import rig

os.environ.setdefault("PVESR_TEST_STORAGES", "zfspool")
if os.environ.get("PVESR_LAB_LONG") != "1":
    os.environ.setdefault("PVESR_TEST_SCENARIOS", "nothing_changed partial_first_sync_snapshots_lost added_volume_then_failure written_replica "
                          "failover rollback snapshot_made_anew state_lost")
runpy.run_path(os.path.join(rig.ROOT, "tests/test-scenarios.py"), run_name="__main__")
