"""The images of the test machine's two kinds: folders of the cache. Only root can make one."""
import glob
import os
import shutil
import subprocess

import cache
import debian
from cache import CannotError, say

HERE = os.path.dirname(os.path.abspath(__file__))
DISK_SIZE = "32G"
UNWANTED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")

PROGRAMS = """
    zfsutils-linux lvm2 thin-provisioning-tools
    kmod udev mount util-linux procps iproute2 openssh-server openssh-client python3 strace fdisk
    xfsprogs btrfs-progs e2fsprogs acl attr libcap2-bin
    sanoid mbuffer pv lzop rsync
    libsystemd0 libjansson4 libsqlite3-0 libzstd1 libxxhash0 libcrypt1 libpam0g libcmocka0 libasan8 libubsan1
""".split()

# dmeventd is nothing for machines that last minutes. Of memory that LVM touches beforehand, lest it need some while devices are suspended, any at
# all is 2500 pages, half of what a command takes that makes or removes a volume; nothing is swapped here. LVM must not look at zvols, as on a
# Proxmox VE node: it and `zfs receive` have blocked each other for good in the kernel (zvol_open, zvol_os_create_minor). Of each device that it
# may look at, each command reads 128 KiB: not of the root.
LVM = ("printf '%s\\n' 'activation {' 'monitoring = 0' 'reserved_memory = 0' 'reserved_stack = 0' '}' "
       "'devices {' 'global_filter = [ \"r|/dev/zd.*|\", \"r|/dev/ubda|\" ]' '}' \\\n         >\"$1/etc/lvm/lvmlocal.conf\" ")

# A shell script for each event of each disk, to look for a file of aliases that is not there.
UDEV = "ln -s /dev/null \"$1/etc/udev/rules.d/69-vdev.rules\""

# The initrd needs no more than what finds the root.
QEMU = {
    "packages": ["linux-image-cloud-amd64", "linux-headers-cloud-amd64", "zfs-dkms", "libmd0", "libgnutls30", "libmicrohttpd12", "libcurl3-gnutls", *PROGRAMS],
    "hooks": ["sed -i 's/^MODULES=.*/MODULES=list/' \"$1/etc/initramfs-tools/initramfs.conf\"",
              "printf 'virtio_blk\\nvirtio_pci\\next4\\n' >>\"$1/etc/initramfs-tools/modules\"", LVM,
              "chroot \"$1\" update-initramfs -u",
              "test -e \"$1\"/lib/modules/*/updates/dkms/zfs.ko || { echo 'zfs-dkms built no module for the kernel' >&2; exit 1; }"],
    "mke2fs": ["-E", "lazy_itable_init=1,lazy_journal_init=1"],
}

# The tools of ZFS are of the series that the kernel has built in. No journal: nothing of the root outlives the machine.
UML = {
    "packages": ["libmd0", "libgnutls30t64", "libmicrohttpd12t64", "libcurl3t64-gnutls", *PROGRAMS],
    "setup": ["mkdir -p \"$1/etc/apt/preferences.d\" && "
              "printf 'Package: src:zfs-linux\\nPin: version 2.4.*\\nPin-Priority: 990\\n' >\"$1/etc/apt/preferences.d/lab\""],
    "hooks": [LVM, UDEV],
    "mke2fs": ["-O", "^has_journal", "-E", "lazy_itable_init=0", "-N", "262144"],
    "release": "trixie", "more": ["-backports"],
}
# whose programs, built on this machine, find their libraries in the image
UML_HOSTS = ("bookworm", "trixie")


def missing(*programs):
    away = [p for p in programs if not shutil.which(p)]
    if away:
        raise CannotError(f"not installed: {' '.join(away)}")


def root(recipe, init, folder, log):
    """The image's files, in a folder."""
    release, where = recipe.get("release", debian.codename()), os.path.join(folder, "root")
    with open(os.path.join(folder, "lab.sources"), "w") as f:
        f.write(debian.sources(recipe.get("release"), recipe.get("more", ())))
    hooks = [*recipe["hooks"], f"install -m 755 {init} \"$1/usr/local/sbin/lab-init\""]
    debian.run(["mmdebstrap", "--variant=minbase", f"--include={','.join(recipe['packages'])}", "--dpkgopt=force-unsafe-io",
                "--aptopt=APT::Install-Recommends \"false\";", *(f"--aptopt={o}" for o in debian.apt_options()),
                *(f"--dpkgopt=path-exclude={p}" for p in UNWANTED), *(f"--setup-hook={h}" for h in recipe.get("setup", ())),
                *(f"--customize-hook={h}" for h in hooks), release, where, os.path.join(folder, "lab.sources")], log, "mmdebstrap")
    return where


def one(pattern):
    found = glob.glob(pattern)
    if len(found) != 1:
        raise RuntimeError(f"the image has {len(found)} of {os.path.basename(pattern)}")
    return found[0]


def image(kind, recipe):
    """The folder of it: disk.img, and for QEMU vmlinuz and initrd."""
    init = os.path.join(HERE, f"init-{kind}")
    digest = cache.digest(debian.codename(), recipe, UNWANTED, DISK_SIZE, cache.content(init))

    def make(folder, log):
        say(f"building the image of the test machine (some minutes, once): {log.name}")
        files = root(recipe, init, folder, log)
        if kind == "qemu":
            shutil.copy(one(files + "/boot/vmlinuz-*"), folder + "/vmlinuz")
            shutil.copy(one(files + "/boot/initrd.img-*"), folder + "/initrd")
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-m", "0", *recipe["mke2fs"], "-d", files, folder + "/disk.img", DISK_SIZE], stdout=log,
                       stderr=log, check=True)
        shutil.rmtree(files)

    if not os.path.isdir(cache.where(f"image-{kind}", digest)) and os.geteuid() != 0:
        raise CannotError("only root can build the image")
    return cache.kept(f"image-{kind}", digest, make)


def qemu():
    if os.uname().machine != "x86_64":
        raise CannotError(f"the machine is an x86_64, and this is a {os.uname().machine}")
    missing("mmdebstrap", "qemu-system-x86_64", "qemu-img", "mke2fs", "apt-config", "ssh-keygen")
    return image("qemu", QEMU)


def uml():
    if debian.codename() not in UML_HOSTS:
        raise CannotError(f"the machine is a Debian {UML['release']}, which may lack libraries of a {debian.codename()}")
    missing("mmdebstrap", "mke2fs", "apt-config")
    return image("uml", UML)
