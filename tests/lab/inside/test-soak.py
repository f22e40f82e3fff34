#!/usr/bin/env python3
"""../../test-soak.py on the storages that only this machine has: in the long form, or where PVESR_TEST_STORAGES asks for it."""
import os
import runpy

import rig

if os.environ.get("PVESR_LAB_LONG") == "1":
    os.environ.setdefault("PVESR_TEST_STORAGES", "lvmthin")
if os.environ.get("PVESR_TEST_STORAGES"):
    runpy.run_path(os.path.join(rig.ROOT, "tests/test-soak.py"), run_name="__main__")
