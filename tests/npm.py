"""Modules of npm that tests want: tests/NAME/package-lock.json says which. They are installed into the build folder once."""
import filecmp
import os
import shutil
import subprocess

import rig


def source(name):
    return os.path.join(rig.ROOT, "tests", name)


def folder(name):
    return os.path.join(rig.BUILD, f"{name}-tests")


def install(name):
    """Why they are not there; None: they are."""
    for program in ("node", "npm"):
        if not shutil.which(program):
            return f"{program} is not installed"
    lock, kept = os.path.join(source(name), "package-lock.json"), os.path.join(folder(name), "installed")
    if os.path.exists(kept) and filecmp.cmp(lock, kept, shallow=False):
        return None
    os.makedirs(folder(name), exist_ok=True)
    for file in ("package.json", "package-lock.json"):
        shutil.copy(os.path.join(source(name), file), folder(name))
    try:
        done = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=30000"], cwd=folder(name),
                              capture_output=True, text=True, timeout=300, check=False)
        why = None if done.returncode == 0 else f"npm ci failed: {done.stderr.strip().splitlines()[-1:]}"
    except (OSError, subprocess.TimeoutExpired) as e:
        why = f"npm ci failed: {e}"
    if why is None:
        shutil.copy(lock, kept)
    return why
