#!/usr/bin/env python3
"""../../test-theirs.py and ../../test-complete.py on the storages that only this machine has; the long form plays all."""
# deadline: 2700
import os
import subprocess
import sys

import rig

os.environ.setdefault("PVESR_TEST_STORAGES", "zfspool lvmthin")
SOME = {"test-theirs.py": "renamed_point renamed_image bookmarked dependent", "test-complete.py": "below_a_replica"}
status = 0
for program, some in SOME.items():
    env = {**({} if os.environ.get("PVESR_LAB_LONG") == "1" else {"PVESR_TEST_SCENARIOS": some}), **os.environ}
    status = subprocess.run([sys.executable, "-u", os.path.join(rig.ROOT, "tests", program), *sys.argv[1:]], env=env, check=False).returncode or status
sys.exit(status)
