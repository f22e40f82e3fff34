"""The test machine in QEMU: a Debian of the release that runs here with its own kernel. Commands run through ssh, over a port of the loopback
address and with keys of this one boot; a machine writes to an overlay of the image.

PVESR_LAB_KVM=1 uses KVM (by default all is emulated: KVM hangs where it is itself emulated badly).
"""
import os
import subprocess
import socket

import images
import machine

# what is cheap to emulate: newer ones have instructions that make everything slower here
CPU = "Nehalem"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Machine(machine.Machine):
    NAME, WORDS = "qemu", "QEMU"
    SHARED = True  # a boot takes 30 s of CPU time

    @classmethod
    def prepare(cls):
        cls.image = images.qemu()

    @classmethod
    def at(cls, folder):
        m = super().at(folder)
        with open(m.path("port")) as f:
            m.port = int(f.read())
        return m

    @staticmethod
    def disk(n):
        return f"/dev/disk/by-id/virtio-lab{n}"

    def seed(self):
        for key in ("user", "host"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", key, "-f", self.path(key)], check=True)
        subprocess.run(["tar", "-C", self.dir, "--owner=0", "--group=0", "-cf", self.path("seed"), "user.pub", "host", "host.pub"], check=True)
        with open(self.path("host.pub")) as f, open(self.path("known"), "w") as known:
            known.write("lab " + " ".join(f.read().split()[:2]) + "\n")

    def start(self):
        self.seed()
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", os.path.join(self.image, "disk.img"),
                        self.path("root")], check=True)
        kvm = os.environ.get("PVESR_LAB_KVM") == "1"
        self.port = free_port()
        with open(self.path("port"), "w") as f:
            f.write(f"{self.port}\n")
        # no_timer_check: under load the emulated timer is late, and the kernel panics
        argv = ["qemu-system-x86_64", "-M", "q35", "-accel", "kvm" if kvm else "tcg,thread=multi", "-cpu", "host" if kvm else CPU,
                "-smp", "2", "-m", machine.MEMORY, "-nodefaults", "-display", "none", "-no-reboot",
                "-serial", f"file:{self.path('serial.log')}", "-device", "virtio-rng-pci",
                "-kernel", os.path.join(self.image, "vmlinuz"), "-initrd", os.path.join(self.image, "initrd"),
                "-append", "root=/dev/vda rw init=/usr/local/sbin/lab-init console=ttyS0 net.ifnames=0 panic=-1 quiet mitigations=off norandmaps "
                           "no_timer_check",
                "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:22",
                "-device", "virtio-net-pci,netdev=net,romfile="]
        for name, form in [("root", "qcow2"), ("seed", "raw"), *((f"lab{n}", "raw") for n in range(1, self.DISKS + 1))]:
            argv += ["-drive", f"file={self.path(name)},if=none,id={name},format={form},cache=unsafe,discard=unmap",
                     "-device", f"virtio-blk-pci,drive={name},serial={name}"]
        self.popen(argv)

    def ssh(self, *more):
        return ["ssh", "-F", "none", "-i", self.path("user"), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "HostKeyAlias=lab",
                "-o", f"UserKnownHostsFile={self.path('known')}", "-o", "GlobalKnownHostsFile=none", "-o", "LogLevel=ERROR",
                "-o", "ServerAliveInterval=30", "-o", "ServerAliveCountMax=10", "-p", str(self.port), *more, "root@127.0.0.1"]

    def command(self, text, seconds, stdin, stdout, stderr):
        return subprocess.run([*self.ssh(), text], timeout=seconds, check=False, stdin=stdin, stdout=stdout, stderr=stderr).returncode

    def terminal(self, text):
        return subprocess.run([*self.ssh("-t"), text], check=False).returncode
