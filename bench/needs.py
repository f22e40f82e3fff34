"""What a program of bench/ needs is asked before it begins."""
import os
import shutil
import sys


def programs(build, packages):
    """packages: program → package. All that is missing is said at once; exit status 2."""
    missing = sorted({package for program, package in packages.items() if not shutil.which(program)})
    unbuilt = not os.path.exists(os.path.join(build, "pvesr"))
    if missing:
        sys.stderr.write(f"Not installed: {' '.join(missing)}\n    apt-get install {' '.join(missing)}\n")
    if unbuilt:
        sys.stderr.write(f"Not built: '{build}' has no pvesr\n    meson setup {build} && ninja -C {build}\n")
    if missing or unbuilt:
        sys.exit(2)
