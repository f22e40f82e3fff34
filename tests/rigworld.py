"""A world of its own for a test program: nothing it starts or mounts can outlive it.

enter() runs the program again inside fresh mount and process namespaces (root only). When it ends, however it
ends, the kernel kills every process in there and unmounts every file system, which frees the loop devices. The
temporary directory is removed by the process that stays outside; one that was killed leaves its directory, which
the next program removes.
"""
import atexit
import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

# with numbers of guests in it, so that a test which looks for one in a path, or replaces it there, fails each time; never with a job's, as "100-0"
# would be where a process id ends so and a "-" stands behind it
PREFIX = 'pvesr-100-200-'
SHM = '/dev/shm'
# all programs at a time took 4 GiB
ROOM = 8 << 30
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
# An empty /run; udev remains, because LVM and ZFS ask whether it runs and then wait for it to make their device nodes.
OWN_RUN = ('mkdir -p /run/udev && mount -n --bind /run/udev /mnt && mount -n -t tmpfs -o mode=755 run /run && '
           'mkdir /run/lock /run/udev && mount -n --bind /mnt /run/udev && umount -n /mnt')


def die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _remove_stale(top):
    for name in os.listdir(top):
        m = re.fullmatch(PREFIX + r'(\d+)[-.].*', name)
        if m and not os.path.exists('/proc/' + m[1]):
            shutil.rmtree(os.path.join(top, name), ignore_errors=True)


def in_memory(room):
    """A directory in memory, where so many bytes of that are free, or None."""
    with contextlib.suppress(OSError), open('/proc/meminfo') as f:
        memory = int(re.search(r'MemAvailable: *(\d+) kB', f.read())[1]) << 10
        if min(memory, shutil.disk_usage(SHM).free) >= room and os.access(SHM, os.W_OK):
            return SHM
    return None


def make_home(top=None):
    """A new directory in top; without it in memory, or else in the temporary one. Those of processes that are gone are removed."""
    top = top or ('TMPDIR' not in os.environ and in_memory(ROOM)) or tempfile.gettempdir()
    _remove_stale(top)
    return tempfile.mkdtemp(prefix='%s%d.' % (PREFIX, os.getpid()), dir=top)


def _run_inside(home):
    child = subprocess.Popen(
        ['unshare', '--mount', '--pid', '--fork', '--kill-child=KILL', '--mount-proc', sys.executable] + sys.argv,
        env=dict(os.environ, PVESR_RIG_HOME=home), preexec_fn=die_with_parent)
    ended_by = []

    def end(number, frame):
        ended_by.append(number)
        child.kill()  # unshare takes everything inside along

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    status = child.wait()
    shutil.rmtree(home, ignore_errors=True)
    if ended_by:
        signal.signal(ended_by[0], signal.SIG_DFL)
        os.kill(os.getpid(), ended_by[0])
    sys.exit(status if status >= 0 else 128 - status)


def _become_init():
    """Process 1 of the namespace only buries; the tests go on in its child."""
    worker = os.fork()
    if worker == 0:
        die_with_parent()
        return
    while True:
        pid, status = os.wait()
        if pid == worker:
            os._exit(os.waitstatus_to_exitcode(status) & 255)


def enter():
    """The program's temporary directory. As root, returns inside the namespaces."""
    home = os.environ.pop('PVESR_RIG_HOME', None)
    if home is None:
        home = make_home()
        if os.geteuid() == 0:
            _run_inside(home)
        atexit.register(shutil.rmtree, home, ignore_errors=True)
        return home
    _become_init()
    subprocess.run(['sh', '-c', OWN_RUN], check=True)
    return home
