#!/usr/bin/env python3
"""../../test-soak.py on the storages that only this machine has. In the long form it is as long as there; thin volumes have the short one
in test-lvmthin.py."""
# deadline: 2400
# long: lvmthin zfspool zfscrypt
import os
import runpy

import rig

if os.environ.get("PVESR_LAB_LONG") == "1":
    os.environ.setdefault("PVESR_TEST_STORAGES", "zfspool zfscrypt lvmthin")
else:
    os.environ.setdefault("PVESR_TEST_STORAGES", "zfspool")
    os.environ.setdefault("PVESR_SOAK_RUNS", "4")
runpy.run_path(os.path.join(rig.ROOT, "tests/test-soak.py"), run_name="__main__")
