#!/usr/bin/env python3
"""../../test-theirs.py and ../../test-complete.py on the storages that only this machine has."""
# deadline: 2700
import os
import subprocess
import sys

import rig

os.environ.setdefault("PVESR_TEST_STORAGES", "zfspool lvmthin")
status = 0
for program in ("test-theirs.py", "test-complete.py"):
    status = subprocess.run([sys.executable, "-u", os.path.join(rig.ROOT, "tests", program), *sys.argv[1:]], check=False).returncode or status
sys.exit(status)
