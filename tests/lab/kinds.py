"""Which kind of test machine it is: PVESR_LAB_MACHINE (uml, qemu); by default user-mode Linux where it runs, else QEMU."""
import os

import qemu
import uml
from cache import CannotError, note

KINDS = {kind.NAME: kind for kind in (uml.Machine, qemu.Machine)}


def ready():
    """The class of machine, with all that it needs made."""
    asked = os.environ.get("PVESR_LAB_MACHINE") or ""
    if asked and asked not in KINDS:
        raise RuntimeError(f"PVESR_LAB_MACHINE is '{asked}'; it can be {' or '.join(KINDS)}")
    kind = KINDS[asked or "uml"]
    try:
        kind.prepare()
    except CannotError as e:
        if asked:
            raise
        note(f"not in {kind.WORDS} but in {qemu.Machine.WORDS}: {e}")
        kind = qemu.Machine
        kind.prepare()
    return kind


def at(folder):
    """The machine that `tests/lab/boot` keeps there."""
    with open(os.path.join(folder, "kind")) as f:
        return KINDS[f.read()].at(folder)
