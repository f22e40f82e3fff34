"""Whole disks for pools and volume groups: PVESR_TEST_DISKS lists block devices whose contents tests may destroy. The test machine of
tests/lab has such; who has a spare disk and the kernel modules can name it too.

    with Disk() as disk, disk.zpool("tank") as pool: …       # pool is "t-vdc-tank"
    with Disk() as disk, disk.thin_pool("vg", "thin") as vg: …

A disk belongs to one test at a time, and what is made on it has the disk's name in its own, so that programs can run side by side. What a
test that was killed left on a disk is removed by the next that takes it.
"""
import contextlib
import fcntl
import glob
import os
import subprocess
import time

SECONDS = 600
BESIDE = "beside"
CLEAR = "clear\n"  # in the lock file: who had the disk before left nothing on it


def sh(*argv):
    return subprocess.run([str(a) for a in argv], check=True, capture_output=True, text=True).stdout


def given():
    return os.environ.get("PVESR_TEST_DISKS", "").split()


def gone(argv, seconds=60):
    """Repeat what fails as long as processes and mounts that were just ended still hold it."""
    end = time.monotonic() + seconds
    while True:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        if time.monotonic() > end:
            raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()}")
        time.sleep(0.1)


class Disk:
    def __enter__(self):
        self.cleanup = contextlib.ExitStack()
        self.made = set()
        try:
            lock = self.take()
            if lock.read() != CLEAR:
                self.find_and_remove()
                self.clear()
            lock.truncate(0)
        except BaseException:
            self.cleanup.close()
            raise
        self.cleanup.callback(self.leave, lock)
        return self

    def leave(self, lock):
        if self.made:  # and could not be removed
            self.find_and_remove()
        self.clear()
        lock.seek(0)
        lock.write(CLEAR)

    def __exit__(self, *_):
        self.cleanup.close()

    def take(self):
        folder = "/var/tmp/pvesr-test-disks"
        os.makedirs(folder, exist_ok=True)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for path in given():
                self.device = os.path.realpath(path)
                self.name = os.path.basename(self.device)
                lock = open(os.path.join(folder, self.name), "a+")  # pylint: disable=consider-using-with
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self.cleanup.callback(lock.close)
                    lock.seek(0)
                    return lock
                except OSError:
                    lock.close()
            time.sleep(0.1)
        raise TimeoutError("all of PVESR_TEST_DISKS are taken" if given() else "PVESR_TEST_DISKS names no disk")

    @property
    def prefix(self):
        """Put before the names of pools and volume groups: pvesr.conf's pool-prefix."""
        return f"t-{self.name}-"

    def find_and_remove(self):
        """Pools and volume groups that are on the disk. Only where there may be some: it takes a good part of what making them does."""
        for pool in sh("zpool", "list", "-H", "-o", "name").split():
            if pool.startswith(self.prefix):
                sh("zpool", "destroy", "-f", pool)
        for vg in sh("vgs", "--noheadings", "-o", "vg_name", "-S", f"vg_name=~^{self.prefix}").split():
            for _ in range(2):  # what was open may have hidden what it is made of
                subprocess.run(["vgremove", "-q", "-ff", "-y", vg], capture_output=True, check=False)
        self.made.clear()

    def clear(self):
        """Devices that were made by hand go, and what is on the disk."""
        escaped = self.prefix.replace("-", "--")
        for path in sorted(glob.glob(f"/dev/mapper/{escaped}*")):
            subprocess.run(["dmsetup", "remove", "--force", path], capture_output=True, check=False)
        sh("blkdiscard", "-f", self.device)
        sh("udevadm", "settle")

    @contextlib.contextmanager
    def zpool(self, name, *options, device=None):
        """On the whole disk, or on this device, which is a part of it."""
        pool = self.prefix + name
        self.made.add(pool)
        sh("zpool", "create", "-f", "-o", "cachefile=none", *options, pool, device or self.device)
        try:
            yield pool
        finally:
            gone(["zpool", "destroy", "-f", pool])
        self.made.discard(pool)

    @contextlib.contextmanager
    def thin_pool(self, group, thin, size="75%PVS", metadata="64m"):
        vg = self.prefix + group
        self.made.add(vg)
        sh("vgcreate", "-q", "-y", "-s", "4m", vg, self.device)
        try:
            sh("lvcreate", "-q", "-y", "-Zn", "-l", size, "--poolmetadatasize", metadata, "--poolmetadataspare", "n", "-T", f"{vg}/{thin}")
            yield vg
        finally:
            gone(["vgremove", "-q", "-ff", "-y", vg])
        self.made.discard(vg)

    @staticmethod
    def beside_thin(vg):
        """What a thin pool of the usual size leaves of its volume group, as a device."""
        sh("lvcreate", "-q", "-y", "-Wn", "-Zn", "-l", "90%FREE", "-n", BESIDE, vg)
        return f"/dev/{vg}/{BESIDE}"


def has_zfs():
    return given() and os.path.exists("/sys/module/zfs")


def has_thin():
    return given() and "thin-pool" in subprocess.run(["dmsetup", "targets"], capture_output=True, text=True, check=False).stdout
