"""What takes minutes to make and is made once: folders in PVESR_LAB_CACHE (/var/cache/pvesr-lab), named by a digest of how they are made.
Those that nobody used for two weeks are removed."""
import contextlib
import fcntl
import glob
import hashlib
import json
import os
import shutil
import sys
import time

CACHE = os.environ.get("PVESR_LAB_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME", "/var/cache"), "pvesr-lab")
UNUSED_SECONDS = 14 * 86400
CANNOT = 77


class CannotError(Exception):
    """This machine lacks something; no fault of the project's."""


def say(text):
    print(text, flush=True)


def note(text):
    """What ./check shows."""
    sys.stderr.write(f"# {text}\n")


def digest(*parts):
    """Of what a thing is made from: anything that JSON can say."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def content(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def where(kind, recipe):
    return os.path.join(CACHE, f"{kind}-{recipe}")


def kept(kind, recipe, make):
    """The folder; where there is none, make(folder, log) fills a new one, which gets its name when it is whole."""
    target = where(kind, recipe)
    if not os.path.isdir(target):
        os.makedirs(CACHE, exist_ok=True)
        with open(os.path.join(CACHE, f"lock-{kind}"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # whoever makes it now makes it for all
            if not os.path.isdir(target):
                fill(target, make)
            forget_unused(kind.partition("-")[0], target)
    with contextlib.suppress(OSError):
        os.utime(target)
    return target


def fill(target, make):
    folder = target + ".new"
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    try:
        with open(target + ".log", "w") as log:
            make(folder, log)
        os.rename(folder, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def forget_unused(kind, keep):
    for path in glob.glob(os.path.join(CACHE, f"{kind}-*")):
        if path.startswith(keep) or time.time() - os.stat(path).st_mtime < UNUSED_SECONDS:
            continue
        with contextlib.suppress(OSError):
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)


def program(main):
    """A program that makes something: what it has made is the last line of its output; status 77, the last line says why this machine
    cannot have it; else the first line of the error."""
    try:
        sys.exit(main())
    except CannotError as e:
        say(str(e))
        sys.exit(CANNOT)
    except (RuntimeError, OSError) as e:
        sys.stderr.write(f"{e}\n")
        say(str(e).splitlines()[0])
        sys.exit(1)
