#!/usr/bin/env python3
"""The life of a job on zvols. The driver is offered only to its tests so far."""
import os
import subprocess
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
env = {**os.environ, "PVESR_TEST_ZFS": "1", "PVESR_TEST_STORAGES": "zfspool"}
words = [a for a in sys.argv[1:] if not a.startswith("-")]
sys.exit(subprocess.run([sys.executable, os.path.join(ROOT, "tests/test-scenarios.py"), "life", *words], env=env, check=False).returncode)
