#!/usr/bin/env python3
"""../../test-kill.py on the storages that only this machine has. In the long form each side dies at PVESR_KILL_MOST (10) of its steps, by
chance; thin volumes have the short one in test-lvmthin.py."""
# deadline: 1800
# long: lvmthin zfspool zfscrypt
import os
import runpy

import rig

if os.environ.get("PVESR_LAB_LONG") == "1":
    os.environ.setdefault("PVESR_TEST_STORAGES", "zfspool zfscrypt lvmthin")
    os.environ.setdefault("PVESR_KILL_MOST", "10")
else:
    os.environ.setdefault("PVESR_TEST_STORAGES", "zfspool")
    os.environ.setdefault("PVESR_KILL_MOST", "1")
runpy.run_path(os.path.join(rig.ROOT, "tests/test-kill.py"), run_name="__main__")
