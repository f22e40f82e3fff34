"""Two (or more) nodes on one machine for the integration tests: real file systems, real ssh between network namespaces, the real
programs. Standard library only.

    with rig.Cluster(storage="xfs", ssh=True) as c:
        c.node("pve1").pvesr("status", check=True)

    rig.check("name of the test", function, needs=("root", "xfs"))
    rig.main()

A test function returns nothing (or None) when it passed; a text, or an exception, is the reason why it failed. What a machine lacks makes
a test a named skip. Arguments filter the tests by a part of their names, -l lists them.

Environment: PVESR_BUILD is the build folder (default: build). PVESR_TEST_SEED repeats what chance made. PVESR_SLOW multiplies deadlines
(sanitizers, valgrind). PVESR_TEST_TURN=one plays what is told on several storages on one of them, in turn, PVESR_TEST_TURN=others on the
others, and nothing else. PVESR_WRAP is put before each program ("valgrind -q --log-file=%REPORT%"). What a sanitizer or valgrind reports in
any program makes the test fail.

Everything that was started, mounted or made is gone at the end, also after a failure or a signal: see rigworld.py. A node reached by ssh
has mount, network and host name space of its own, with its own /run and home directory of root.
"""
import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

import rigtell
import rigworld
from rigdisk import Disk, has_thin, has_zfs

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.abspath(os.environ.get("PVESR_BUILD", os.path.join(ROOT, "build")))
IMAGE_SIZE = os.environ.get("PVESR_TEST_IMAGE", "8G")
SLOW = float(os.environ.get("PVESR_SLOW", "1"))
RUN_SECONDS = 600 * SLOW
TEST_SECONDS = 1800 * SLOW
SEED = int(os.environ.get("PVESR_TEST_SEED", random.SystemRandom().randrange(1 << 32)))
TURN = os.environ.get("PVESR_TEST_TURN")
SANITIZERS = ("ASAN_OPTIONS", "UBSAN_OPTIONS")

MAKE = {
    "xfs": ["mkfs.xfs", "-q", "-m", "reflink=1"],
    "btrfs": ["mkfs.btrfs", "-q"],
    "dir-on-btrfs": ["mkfs.btrfs", "-q"],
    "plain": ["mkfs.ext4", "-q", "-F"],
}
# what storage.cfg says of a storage that lies on a disk of its own
POOL, GROUP, THIN = "tank/vm", "guests", "thin"
ON_DISK = {
    "zfspool": f"\tpool {POOL}\n\tsparse 1\n",
    "zfscrypt": f"\tpool {POOL}\n\tsparse 1\n",
    "lvmthin": f"\tvgname {GROUP}\n\tthinpool {THIN}\n",
}
STORAGE_WORD = re.compile(rf"\b({'|'.join(sorted({*MAKE, *ON_DISK}, key=len, reverse=True))})\b")


def sh(*argv, **more):
    return subprocess.run([str(a) for a in argv], check=True, capture_output=True, text=True, **more).stdout


def program(name):
    """The program under test; behind PVESR_WRAP a script that runs it so."""
    real = os.path.join(BUILD, name)
    wrap = os.environ.get("PVESR_WRAP")
    if not wrap:
        return real
    script = os.path.join(tempfile.gettempdir(), f"wrapped-{name}")
    if not os.path.exists(script):
        with open(script, "w") as f:
            wrap = wrap.replace("%REPORT%", f"{tempfile.gettempdir()}/report.%p")
            f.write(f'#!/bin/sh\nexec {wrap} {real} "$@"\n')
        os.chmod(script, 0o755)
    return script


def wait_for(condition, what, seconds=30):
    """Poll a condition: a test waits for what it needs, never for a time. One that takes long, for it starts a program, rests four times as
    long before it is asked again: the processor belongs to what is waited for."""
    end = time.monotonic() + seconds * SLOW
    while True:
        begun = time.monotonic()
        if condition():
            return
        now = time.monotonic()
        if now > end:
            raise TimeoutError(f"{what} did not come within {seconds} s")
        time.sleep(min(max(4 * (now - begun), 0.01), 0.5))


def strace(*words):
    """The sanitizers' check of leaks is a tracer, too, and there can be only one."""
    return ["env", f"ASAN_OPTIONS={os.environ.get('ASAN_OPTIONS', '')}:detect_leaks=0", "strace", *words]


class Node:
    def __init__(self, cluster, name, number):
        self.cluster, self.name, self.number = cluster, name, number
        self.dir = os.path.join(cluster.dir, name)
        self.config = os.path.join(self.dir, "pvesr.conf")
        self.state_dir = os.path.join(self.dir, "state")
        self.log_dir = os.path.join(self.dir, "log")
        self.lock_dir = os.path.join(self.dir, "lock")
        self.run_dir = os.path.join(self.dir, "run")
        self.mount = os.path.join(self.dir, "disk")
        # zfspool, zfscrypt (the same, encrypted): the dataset; lvmthin: the volume group. also_store: of the storage `also`
        self.store = self.also_store = os.path.join(self.mount, "st")
        self.settings = {}
        self.address = f"10.77.0.{number}" if cluster.ssh and number <= cluster.machines else "local"
        self.agent = None
        self.holder = self.sshd = None
        for path in (self.dir, self.mount, self.run_dir):
            os.makedirs(path)

    def write_config(self, **more):
        keys = {"node": self.name, "cluster": f"dir:{self.cluster.tree}", "state-dir": self.state_dir, "log-dir": self.log_dir,
                "lock-dir": self.lock_dir, "run-dir": self.run_dir, "storage-root": self.mount, "mail-to": "none", **self.settings,
                **more}
        with open(self.config, "w") as f:
            f.writelines(f"{k}: {v}\n" for k, v in keys.items())

    def inside(self, argv):
        """argv, to be run on this node."""
        return ["nsenter", "-t", str(self.holder.pid), "-m", "-n", "-u", "--", *argv] if self.holder else list(argv)

    def argv(self, name, *args, prefix=()):
        return self.inside([*prefix, program(name), "--config", self.config, *map(str, args)])

    def pvesr(self, *args, check=False, prefix=(), env=None):
        done = subprocess.run(self.argv("pvesr", *args, prefix=prefix), capture_output=True, text=True, timeout=RUN_SECONDS,
                              stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})})
        if check and done.returncode != 0:
            raise AssertionError(f"pvesr {' '.join(map(str, args))}: exit {done.returncode}: {done.stderr}{done.stdout}")
        return done

    def popen(self, *args, program="pvesr", **more):
        p = subprocess.Popen(self.argv(program, *args),
                             **{"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **more})
        self.cluster.cleanup.callback(stop, p)
        return p


class Mailbox:
    """In place of a node's sendmail: a program that keeps what it is given."""

    def __init__(self, node):
        self.dir = os.path.join(node.dir, "mails")
        self.program = os.path.join(node.dir, "sendmail")
        os.makedirs(self.dir)
        self.answer(0)
        node.write_config(**{"sendmail": self.program, "mail-to": "admin@example.com, root"})

    def answer(self, status):
        with open(self.program + ".new", "w") as f:
            f.write(f'#!/bin/sh\nf={self.dir}/$(date +%s%N)\n(echo "$@"; cat) >$f.new && mv $f.new $f.mail\nexit {status}\n')
        os.chmod(self.program + ".new", 0o755)
        os.rename(self.program + ".new", self.program)

    def mails(self):
        found = []
        for name in sorted(n for n in os.listdir(self.dir) if n.endswith(".mail")):
            with open(os.path.join(self.dir, name)) as f:
                found.append(f.read())
        return found


def has_open(pid, path):
    """Has the process a file of this name open, perhaps in another mount namespace?"""
    try:
        return any(path in os.readlink(f.path) for f in os.scandir(f"/proc/{pid}/fd"))
    except FileNotFoundError:
        return False


def stop(process):
    if process.poll() is None:
        process.kill()
    process.wait()


class Cluster:
    """`storage` is the storage "st" of each node. `also`: beside one on a disk of its own ("zfspool", "lvmthin"), under the name "files", a
    directory storage ("xfs", "btrfs", "plain") in the folder st of the node's mount; beside "zfspool", "lvmthin", too, on the same disk.
    `machines`: with ssh, so many of the nodes have one of their own; more than two are at a switch."""

    def __init__(self, storage="xfs", ssh=False, nodes=("pve1", "pve2"), also=None, machines=2):
        self.storage, self.ssh, self.names, self.also, self.machines = storage, ssh, nodes, also, machines
        self.storage_id, self.also_id = "st", "files"
        self.storage_more = []
        self.storages_more = ""  # whole sections
        self.on_shared_disks = {}
        self.nodes = {}
        self.cleanup = contextlib.ExitStack()

    def __enter__(self):
        try:
            self.set_up()
        except BaseException:
            self.cleanup.close()
            raise
        return self

    def __exit__(self, kind, *_):
        if kind:
            rigtell.tell(self)
        self.cleanup.close()

    def set_up(self):
        self.dir = tempfile.mkdtemp(prefix="pvesr-test-")
        self.cleanup.callback(shutil.rmtree, self.dir, ignore_errors=True)
        self.tree = os.path.join(self.dir, "tree")
        os.makedirs(self.tree)
        for name in self.names:
            self.add_node(name)
        if self.ssh:
            self.connect()
        self.write_tree()

    def node(self, name):
        return self.nodes[name]

    def add_node(self, name):
        node = Node(self, name, len(self.nodes) + 1)
        self.nodes[name] = node
        self.add_storage(node)
        for kind in ("qemu-server", "lxc"):
            os.makedirs(os.path.join(self.tree, "nodes", name, kind))
        node.write_config()
        self.write_tree()
        return node

    def add_storage(self, node):
        """Nodes share one storage.cfg: directories are told apart by storage-root, pools and volume groups by pool-prefix."""
        if self.storage in ON_DISK:
            self.add_disk(node)
        for kind in {self.storage, self.also} & MAKE.keys():
            image = os.path.join(self.dir, f"{node.name}.img")
            sh("truncate", "-s", IMAGE_SIZE, image)
            sh(*MAKE[kind], image)
            sh("mount", "-o", "loop", image, node.mount)
            self.cleanup.callback(subprocess.run, ["umount", "-l", node.mount], check=False)
            os.makedirs(os.path.join(node.mount, "st"))

    def add_disk(self, node):
        disk, device = self.cleanup.enter_context(Disk()), None
        node.settings["pool-prefix"] = disk.prefix
        if "lvmthin" in (self.storage, self.also):
            group = self.cleanup.enter_context(disk.thin_pool(GROUP, THIN))
            if self.storage == "lvmthin":
                node.store = group
                return
            node.also_store, device = group, disk.beside_thin(group)
        node.store = disk.prefix + POOL
        self.cleanup.enter_context(disk.zpool(POOL.split("/", maxsplit=1)[0], "-m", os.path.join(node.dir, "pool"), device=device))
        sh("zfs", "create", *(self.encryption(node) if self.storage == "zfscrypt" else []), node.store)

    @staticmethod
    def encryption(node):
        """Of a dataset of this node: the options that encrypt it, with a key of the node's own."""
        key = os.path.join(node.dir, "key")
        with open(key, "w") as f:
            f.write(f"the passphrase of {node.name}\n")
        return ["-o", "encryption=on", "-o", "keyformat=passphrase", "-o", "pbkdf2iters=100000", "-o", f"keylocation=file://{key}"]

    def share_disk(self, storage_id, kind):
        """One more storage at NODE.mount/ID: each node has a directory of its own of one file system, on one loop device."""
        image, top = os.path.join(self.dir, f"{storage_id}.img"), os.path.join(self.dir, storage_id)
        sh("truncate", "-s", IMAGE_SIZE, image)
        sh(*MAKE[kind], image)
        os.makedirs(top)
        sh("mount", "-o", "loop", image, top)
        self.cleanup.callback(subprocess.run, ["umount", "-l", top], check=False)
        for node in self.nodes.values():
            here, there = os.path.join(top, node.name), os.path.join(node.mount, storage_id)
            os.makedirs(here)
            os.makedirs(there)
            sh("mount", "--bind", here, there)
            self.cleanup.callback(subprocess.run, ["umount", "-l", there], check=False)
        self.on_shared_disks[storage_id] = kind
        self.write_tree()

    # ---- the tree ----

    def write(self, name, text):
        path = os.path.join(self.tree, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + ".new", "w") as f:
            f.write(text)
        os.rename(path + ".new", path)

    def write_tree(self):
        more = "".join(f"\t{line}\n" for line in self.storage_more)
        text = self.storage_section(self.storage, self.storage_id) + more + "\n"
        if self.also:
            text += self.storage_section(self.also, self.also_id) + "\n"
        for name, kind in self.on_shared_disks.items():
            text += self.storage_section(kind, name, f"/{name}") + "\n"
        self.write("storage.cfg", text + self.storages_more)
        text = ""
        for node in self.nodes.values():
            agent = node.agent or program("pvesr") + " agent"
            text += f"node: {node.name}\n\taddress {node.address}\n\tconfig {node.config}\n\tagent {agent}\n\n"
        self.write("nodes.cfg", text)

    @staticmethod
    def storage_section(storage, name, path="/st"):
        kind = {"zfscrypt": "zfspool"}.get(storage, storage if storage in (*ON_DISK, "btrfs") else "dir")
        return f"{kind}: {name}\n" + ON_DISK.get(storage, f"\tpath {path}\n")

    def change_storage(self, line):
        self.storage_more.append(line)
        self.write_tree()

    def set_agent(self, name, words, whole=False):
        """Run the agent of a node behind these words, or (whole) these words instead of it."""
        self.nodes[name].agent = " ".join(words if whole else [*words, program("pvesr"), "agent"]) if words else None
        self.write_tree()

    def write_guest(self, node, guest, text, kind="qemu-server"):
        self.write(f"nodes/{node}/{kind}/{guest}.conf", text)

    def move_guest(self, guest, source, target, kind="qemu-server"):
        os.rename(os.path.join(self.tree, "nodes", source, kind, f"{guest}.conf"),
                  os.path.join(self.tree, "nodes", target, kind, f"{guest}.conf"))

    # ---- ssh between namespaces: the first two nodes, or `machines`; any other shares the machine of whoever talks to it ----

    def linked(self):
        return list(self.nodes.values())[:self.machines]

    def connect(self):
        keys = os.path.join(self.dir, "keys")
        os.makedirs(keys)
        for name in ("user", "host"):
            sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", os.path.join(keys, name))
        shutil.copy(os.path.join(keys, "user.pub"), os.path.join(keys, "authorized"))
        with open(os.path.join(keys, "host.pub")) as f:
            host_key = " ".join(f.read().split()[:2])
        for node in self.linked():
            self.write(f"nodes/{node.name}/ssh_known_hosts", f"{node.name} {host_key}\n")
            self.hold(node, keys)
        self.lay_wires()
        for node in self.linked():
            sh(*node.inside(["ip", "address", "add", f"{node.address}/24", "dev", "eth0"]))
            for device in ("lo", "eth0"):
                sh(*node.inside(["ip", "link", "set", device, "up"]))
        for node in self.linked():
            self.serve(node)

    def lay_wires(self):
        """Each end is made where it belongs: programs that run at the same time share the namespace they began in."""
        nodes = self.linked()
        if len(nodes) == 2:
            sh(*nodes[0].inside(["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", str(nodes[1].holder.pid)]))
            return
        ready = os.path.join(self.dir, "switch")
        switch = subprocess.Popen(["unshare", "--net", "sh", "-c", f"ip link add br0 type bridge && ip link set br0 up && touch {ready} && "
                                   "exec sleep infinity"], start_new_session=True, preexec_fn=rigworld.die_with_parent)
        self.cleanup.callback(stop, switch)
        wait_for(lambda: os.path.exists(ready), "the switch")
        inside = ["nsenter", "-t", str(switch.pid), "-n", "--"]
        for node in nodes:
            sh(*inside, "ip", "link", "add", node.name, "type", "veth", "peer", "name", "eth0", "netns", node.holder.pid)
            sh(*inside, "ip", "link", "set", node.name, "master", "br0", "up")

    def hold(self, node, keys):
        """A process that keeps the node's namespaces; root's home there is the node's directory."""
        ssh_dir = os.path.join(node.dir, ".ssh")
        os.makedirs(ssh_dir, mode=0o700)
        shutil.copy(os.path.join(keys, "user"), os.path.join(ssh_dir, "id_ed25519"))
        # "!" would be a locked account; the person's own shell may do anything when it starts
        for name, pattern, root in (("shadow", "(?m)^root:[^:]*", "root:*"),
                                    ("passwd", "(?m)^root:.*", f"root:x:0:0:root:{node.dir}:/bin/sh")):
            with open("/etc/" + name) as f, open(os.path.join(node.dir, name), "w") as own:
                own.write(re.sub(pattern, root, f.read()))
        ready = os.path.join(node.dir, "ready")
        script = (f"for f in shadow passwd; do mount --bind {node.dir}/$f /etc/$f || exit; done; hostname {node.name} && "
                  f"{rigworld.OWN_RUN} && mkdir -p /run/sshd && touch {ready} && exec sleep infinity")
        node.holder = subprocess.Popen(["unshare", "--mount", "--net", "--uts", "sh", "-c", script], start_new_session=True,
                                       preexec_fn=rigworld.die_with_parent)
        self.cleanup.callback(stop, node.holder)
        wait_for(lambda: os.path.exists(ready), f"the namespace of {node.name}")

    def serve(self, node):
        keys = os.path.join(self.dir, "keys")
        log = os.path.join(node.dir, "sshd.log")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(log)
        node.sshd = subprocess.Popen(node.inside(
            ["/usr/sbin/sshd", "-D", "-f", "/dev/null", "-p", "22", "-h", os.path.join(keys, "host"), "-E", log,
             "-o", f"AuthorizedKeysFile={keys}/authorized", "-o", "StrictModes=no", "-o", "UsePAM=no", "-o", "PidFile=none",
             "-o", "PermitRootLogin=yes", "-o", "MaxSessions=100", *self.sanitizers_for_sshd()]), start_new_session=True)
        self.cleanup.callback(self.end_ssh, node)
        wait_for(lambda: os.path.exists(log) and "Server listening" in open(log).read(), f"sshd of {node.name}")

    @staticmethod
    def sanitizers_for_sshd():
        given = " ".join(f"{k}={os.environ[k]}" for k in SANITIZERS if k in os.environ)
        return ["-o", f"SetEnv={given}"] if given else []

    @staticmethod
    def processes(node, *words):
        """Processes in the node's network namespace whose command line has all these words."""
        inode, found = os.stat(f"/proc/{node.holder.pid}/ns/net").st_ino, []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/cmdline", errors="replace") as f:
                    line = f.read().replace("\0", " ")
                if os.stat(f"/proc/{pid}/ns/net").st_ino == inode and all(w in line for w in words) and int(pid) != node.holder.pid:
                    found.append(int(pid))
        return found

    def end_ssh(self, node):
        """Everything in the node's network namespace, the shared ssh connections of pvesr among it."""
        for pid in self.processes(node):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        node.sshd.wait()

    def cut_line(self, silent=False):
        """The card of pve1 goes down, and its kernel knows. silent: packets vanish on the way, as behind a broken switch."""
        if not silent:
            sh(*self.node("pve1").inside(["ip", "link", "set", "eth0", "down"]))
            return
        self.mute(*self.linked()[:2])

    @staticmethod
    def mute(a, b):
        """What the two send each other vanishes on the way."""
        for here, there in ((a, b), (b, a)):
            sh(*here.inside(["ip", "neigh", "replace", there.address, "lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "permanent"]))

    def restore_line(self):
        self.unmute(*self.linked()[:2])
        sh(*self.node("pve1").inside(["ip", "link", "set", "eth0", "up"]))

    @staticmethod
    def unmute(a, b):
        for here, there in ((a, b), (b, a)):
            subprocess.run(here.inside(["ip", "neigh", "del", there.address, "dev", "eth0"]), capture_output=True)


@contextlib.contextmanager
def fake_running_vm(guest, argv=("sleep", "infinity"), group=None):
    """What Proxmox VE leaves of a running VM: a pid file of a live process. group: the control group that it is started in."""
    folder = "/run/qemu-server"
    made = not os.path.isdir(folder)
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, f"{guest}.pid")
    inside = ["sh", "-c", f'echo 0 >{group}/cgroup.procs && exec "$@"', "sh"] if group else []
    process = subprocess.Popen([*inside, *argv])
    try:
        with open(path, "x") as f:
            f.write(f"{process.pid}\n")
        yield process
    finally:
        stop(process)
        os.unlink(path)
        if made:
            os.rmdir(folder)


@contextlib.contextmanager
def control_group(*parts):
    """A group that can be frozen, below one of this program's own; yields its path. It is thawed in the end."""
    top = next((t for t in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified") if os.path.exists(t + "/cgroup.controllers")), "/sys/fs/cgroup/freezer")
    made = []
    try:
        for part in (os.path.basename(tempfile.gettempdir()), *parts):
            top = os.path.join(top, part)
            os.makedirs(top, exist_ok=True)
            made.append(top)
        yield top
    finally:
        if made:
            thaw_group(made[-1])
        for path in reversed(made):
            with contextlib.suppress(OSError):
                os.rmdir(path)


def thaw_group(path):
    for name, word in (("cgroup.freeze", "0"), ("freezer.state", "THAWED")):
        control = os.path.join(path, name)
        if os.path.exists(control):
            with open(control, "w") as f:
                f.write(word)


def can_hold():
    return any(os.access(t, os.W_OK) for t in ("/sys/fs/cgroup/cgroup.controllers", "/sys/fs/cgroup/unified/cgroup.controllers",
                                           "/sys/fs/cgroup/freezer/cgroup.procs"))


# ---- running tests ----

def can_unshare():
    return subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True).returncode == 0


_BTRFS = (lambda: shutil.which("mkfs.btrfs") and "btrfs" in open("/proc/filesystems").read(), "needs btrfs")
NEEDS = {
    "root": (lambda: os.geteuid() == 0, "needs root"),
    "xfs": (lambda: shutil.which("mkfs.xfs"), "needs mkfs.xfs"),
    "btrfs": _BTRFS,
    "dir-on-btrfs": _BTRFS,
    "netns": (lambda: shutil.which("ip") and os.path.exists("/usr/sbin/sshd") and can_unshare(),
              "needs network namespaces, ip and sshd"),
    "zfspool": (has_zfs, "needs OpenZFS in the kernel and PVESR_TEST_DISKS: see tests/lab"),
    "zfscrypt": (has_zfs, "needs OpenZFS in the kernel and PVESR_TEST_DISKS: see tests/lab"),
    "lvmthin": (has_thin, "needs dm-thin in the kernel and PVESR_TEST_DISKS: see tests/lab"),
    "cgroup": (can_hold, "needs control groups that can be frozen"),
    "strace": (lambda: shutil.which("strace"), "needs strace"),
}

_checks = []


def check(name, function, needs=()):
    _checks.append((name, function, needs))


def too_late(*_):
    raise TimeoutError(f"not done within {TEST_SECONDS:.0f} s")


# old valgrinds complain of system calls that they do not know, in lines of their own kind; the check of leaks finds a thread in /proc that was joined
# already and is about to leave it
NO_REPORT = re.compile("--|==[0-9]+==Unable to get registers from thread [0-9]+")


def reports():
    """What sanitizers and valgrind wrote since the last call."""
    text = ""
    for name in os.listdir(tempfile.gettempdir()):
        if name.startswith("report."):
            path = os.path.join(tempfile.gettempdir(), name)
            with open(path, errors="replace") as f:
                text += "".join(line for line in f if not NO_REPORT.match(line))
            os.unlink(path)
    return text.strip()


def play(function):
    signal.signal(signal.SIGALRM, too_late)
    signal.alarm(int(TEST_SECONDS))
    try:
        why = function()
    except BaseException as e:
        if isinstance(e, (KeyboardInterrupt, SystemExit)):
            raise
        where = traceback.extract_tb(e.__traceback__)
        lines = [f"{os.path.basename(f.filename)}:{f.lineno}" for f in where if f.filename.startswith(ROOT)]
        why = f"{type(e).__name__}: {e} ({' < '.join(reversed(lines))})"
    finally:
        signal.alarm(0)
    report = reports()
    if report:
        print("\n".join("# " + line for line in report.splitlines()[:100]))
        why = why or "a sanitizer or valgrind reported, see above"
    return why


def in_turn(checks):
    """Those of PVESR_TEST_TURN. Names that differ in storages alone are of one story."""
    stories = {}
    for c in checks:
        stories.setdefault(STORAGE_WORD.sub("*", c[0]), []).append(c)
    ones = {told[n % len(told)] for n, told in enumerate(stories.values())}
    return [c for c in checks if not TURN or (c in ones) == (TURN == "one")]


def main():
    words = [a for a in sys.argv[1:] if not a.startswith("-")]
    chosen = [c for c in in_turn(_checks) if all(word in c[0] for word in words)]
    if "-l" in sys.argv[1:]:
        print("\n".join(name for name, _, _ in chosen))
    if "-l" in sys.argv[1:] or not chosen:
        sys.exit(0)
    tempfile.tempdir = rigworld.enter()
    for name in SANITIZERS:
        os.environ[name] = f"{os.environ.get(name, '')}:log_path={tempfile.tempdir}/report"
    failed = 0
    for name, function, needs in chosen:
        lacking = next((why for need in needs for test, why in [NEEDS[need]] if not test()), None)
        if lacking:
            print(f"skip {name} - {lacking}", flush=True)
            continue
        why = play(function)
        failed += why is not None
        print(f"ok {name}" if why is None else f"not ok {name} - {' / '.join(str(why).splitlines())}", flush=True)
    sys.exit(1 if failed else 0)
