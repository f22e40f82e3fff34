#!/usr/bin/env python3
"""../../test-scenarios.py and its like on the storages that only this machine has: those in which something could be lost, by default on zvols
alone, and of those that lead the driver the same way one. PVESR_TEST_SCENARIOS="" plays all of them."""
# deadline: 3000
# long: lvmthin zfspool zfscrypt
import os
import subprocess
import sys

import rig

SOME = {
    "test-scenarios.py": "written_replica failover",
    "test-owners.py": "planned_moves",
    "test-guest-snapshots.py": "rolled_back_behind_another lost_guest_snapshot",
    "test-same-id.py": "another_guest its_other_disk restored",
    "test-places.py": "twice_the_same one_for_both",
    "test-history.py": "clone a_chosen_point_stays of_a_job_that_is_no_more",
    "test-instant.py": "tested_and_kept written_within_the_commit failed_over_again killed_with_commands_under_way",
}
LONG = os.environ.get("PVESR_LAB_LONG") == "1"
if LONG:
    SOME["test-instant.py"] += " kill_at_every_step source_killed_with_commands_under_way"
    SOME["test-scenarios.py"] += " added_volume_then_failure partial_first_sync_snapshots_lost rollback state_lost"
    SOME["test-owners.py"] += " stolen_twice there_and_back there_and_back_to_a_point back_behind_its_own_points"
    SOME["test-doctor.py"] = "unfinished_copy died_between_two_renames"
    SOME["test-places.py"] += " renamed removed_once doctor_sees_one one_for_both_at_once"
    SOME["test-guest-snapshots.py"] += " rolled_back_at_home"
    SOME["test-history.py"] += " history_survives_a_move clones_at_once mounts"
    SOME["test-history.py"] += " a_point_chosen_behind_a_cut_run tested_behind_a_cut_run lost_behind_a_cut_run"

os.environ.setdefault("PVESR_TEST_STORAGES", "zfspool zfscrypt lvmthin" if LONG else "zfspool")
os.environ.setdefault("PVESR_KILL_MOST", "30" if LONG else "4")
status = 0
for program, some in SOME.items():
    env = {"PVESR_TEST_SCENARIOS": some, **os.environ}
    status = subprocess.run([sys.executable, "-u", os.path.join(rig.ROOT, "tests", program), *sys.argv[1:]], env=env, check=False).returncode or status
sys.exit(status)
