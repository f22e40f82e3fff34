#!/usr/bin/env python3
"""The Debian packages of each release, installed by apt in a fresh root of it, beside and without a stand-in for pve-manager."""
import contextlib
import functools
import gzip
import hashlib
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile

import rig

sys.path.insert(0, os.path.join(rig.ROOT, "tools"))
import roots  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
# What apt and dpkg know, and what is made from the files that are there.
NOT_LISTED = re.compile(r"/(dev|proc|tmp|build|var/lib/(dpkg|apt)|var/cache|var/log/(apt|dpkg\.log|alternatives\.log)|etc/ld\.so\.cache)(/|$)")
DIVERTED = ("/usr/bin/pvesr", "/usr/share/man/man1/pvesr.1.gz", "/usr/share/bash-completion/completions/pvesr")
DISPLACED = ("/usr/bin/pvesr.stock", "/usr/share/man/man1/pvesr.stock.1.gz", "/usr/share/bash-completion/completions/pvesr.stock")
MODULE = "/usr/share/perl5/Pvesr/Takeover.pm"
DROP_IN = "systemd/system/pvescheduler.service.d/pvesr.conf"
OFF = f"/etc/{DROP_IN}"
STATE, JOURNAL, LOG = "/var/lib/pve-manager/pve-replication-state.json", "/var/lib/pve-manager/pvesr-journal.db", "/var/log/pve/replicate/100-0"
ON_TEXT, OFF_TEXT = "on: pvescheduler leaves replication to pvesrd\n", "off: pvescheduler runs replication jobs, too\n"


# ---- packages ----

class Package:
    """Of a release, built on first use; str() is why this machine cannot have it."""

    def __init__(self, release):
        self.release, self.why, self.fault, self.deb = release, None, None, None

    def __str__(self):
        return self.why

    def __call__(self):
        if not (self.deb or self.why or self.fault):
            self.build()
        return not self.why

    def build(self):
        self.folder = os.path.join(tempfile.gettempdir(), f"package-{self.release}")
        log = self.folder + ".log"
        with open(log, "w+") as f:
            done = subprocess.run([os.path.join(rig.ROOT, "tools/package"), "--no-debug", "--release", self.release, "--to", self.folder], stdout=f,
                                  stderr=f, stdin=subprocess.DEVNULL, check=False)
            f.seek(0)
            lines = f.read().splitlines()
        if done.returncode == roots.cache.CANNOT:
            self.why = lines[-1]
        elif done.returncode != 0:
            self.fault = "tools/package failed: " + "\n".join(lines[-40:])
        else:
            found = [n for n in os.listdir(self.folder) if re.fullmatch(r"pvesr_.*\.deb", n)]
            self.deb, = (os.path.join(self.folder, n) for n in found)
            self.prepare()

    def prepare(self):
        """A layer with what the package depends on, so that a root before and after can be compared."""
        there, at = roots.of(self.release), self.folder + ".depends"
        root = roots.mount([f"{there}/minimal"], at)
        subprocess.run(["mount", "--bind", f"{there}/archives", f"{root}/var/cache/apt/archives"], check=True)
        done = roots.run(root, "apt-get", "-q", "-o", "Dpkg::Use-Pty=false", "satisfy", "-y", "--no-install-recommends",
                         self.field("Depends"), capture_output=True, text=True)
        if done.returncode != 0:
            self.deb, self.why = None, f"what the package depends on cannot be had: {(done.stdout + done.stderr).splitlines()[-1]}"
        self.layers = [f"{at}/upper", f"{there}/minimal"]

    def field(self, name):
        return rig.sh("dpkg-deb", "-f", self.deb, name).strip()

    def repacked(self, version, files=()):
        """The same with another version and more files."""
        folder = tempfile.mkdtemp(prefix="repacked-")
        rig.sh("dpkg-deb", "-R", self.deb, f"{folder}/new")
        control = f"{folder}/new/DEBIAN/control"
        with open(control) as f:
            text = f.read()
        with open(control, "w") as f:
            f.write(re.sub(r"(?m)^Version: .*", f"Version: {version}", text))
        for name in files:
            put(f"{folder}/new", name, "of pvesr\n")
        return pack(f"{folder}/new", f"{folder}/pvesr_{version}.deb")


def pack(folder, deb):
    rig.sh("dpkg-deb", "--root-owner-group", "-Znone", "-b", folder, deb)
    return deb


def put(root, name, text, mode=0o644):
    path = root + name
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(text if isinstance(text, bytes) else text.encode())
    os.chmod(path, mode)


SCHEDULER = """#!/usr/bin/perl
use strict;
use warnings;
use PVE::API2::Replication;

for my $tick (1 .. 2) {
    for my $work (sub { PVE::API2::Replication::run_jobs($tick, undef, 0, 1) }, sub { PVE::API2::Replication::note("backup") },
                  sub { exec "/usr/bin/pve-child" }, sub { exec "/usr/bin/pve-tainted" }) {
        my $pid = fork // die;
        if (!$pid) { $work->(); exit 0 }
        waitpid $pid, 0;
        die "a child failed" if $?;
    }
}
"""
CHILD = """#!/usr/bin/perl%s
use strict;
use warnings;
use lib "/usr/share/perl5";
use PVE::API2::Replication;
PVE::API2::Replication::run_jobs(1, undef, 0, 1) ; # whoever else calls it
PVE::API2::Replication::note("%s");
"""
REPLICATION = """package PVE::API2::Replication;
use strict;
use warnings;
sub note { open my $f, '>>', '/ran' or die; print $f "$_[0]\\n"; }
%s
1;
"""
RUN_JOBS = 'sub run_jobs($;$$$) { note("replication of $0") }'
UNIT = "[Service]\nExecStart=/usr/bin/pvescheduler start\n"


def stand_in(release, run_jobs=RUN_JOBS):
    """pve-manager, as far as it matters here."""
    folder = tempfile.mkdtemp(prefix="stand-in-")
    top = f"{folder}/root"
    put(top, "/DEBIAN/control", "Package: pve-manager\nVersion: 8.0\nArchitecture: all\nMaintainer: nobody <nobody@example.com>\n"
                                "Description: stand-in\n")
    put(top, "/usr/bin/pvesr", "#!/bin/sh\necho stock pvesr\n", 0o755)
    put(top, "/usr/bin/pvescheduler", SCHEDULER, 0o755)
    put(top, "/usr/bin/pve-child", CHILD % ("", "child"), 0o755)
    put(top, "/usr/bin/pve-tainted", CHILD % (" -T", "tainted child"), 0o755)
    put(top, "/usr/share/perl5/PVE/API2/Replication.pm", REPLICATION % run_jobs)
    put(top, "/usr/share/man/man1/pvesr.1.gz", gzip.compress(b".TH stock", mtime=0))
    put(top, "/usr/share/bash-completion/completions/pvesr", "# stock\ncomplete -C 'pvesr bashcomplete' pvesr\n")
    put(top, "/usr/lib/systemd/system/pvescheduler.service" if release != "bookworm" else "/lib/systemd/system/pvescheduler.service", UNIT)
    return pack(top, f"{folder}/pve-manager_8.0_all.deb")


# ---- roots ----

@functools.lru_cache(maxsize=None)
def digest(path, *_):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def describe(path):
    s = os.lstat(path)
    what = [stat.filemode(s.st_mode), s.st_uid, s.st_gid]
    if stat.S_ISLNK(s.st_mode):
        what.append(os.readlink(path))
    elif stat.S_ISREG(s.st_mode):
        what.append(digest(path, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns))
    return tuple(what)


class Root:
    def __init__(self, package):
        self.package = package
        self.dir = roots.mount(package.layers, tempfile.mkdtemp(prefix="fresh-"))
        shutil.copy(package.deb, f"{self.dir}/tmp/pvesr.deb")

    def run(self, *argv, check=True, env=None):
        done = roots.run(self.dir, *argv, env=env, capture_output=True, text=True, errors="replace", timeout=rig.RUN_SECONDS)
        assert done.returncode == 0 or not check, f"{' '.join(argv)}: exit {done.returncode}: {done.stderr}{done.stdout}"
        return done

    def say(self, *argv):
        done = self.run(*argv)
        assert not done.stderr, f"{argv}: {done.stderr}"
        return done.stdout

    def apt(self, *words):
        return self.run("apt-get", "-q", "-y", "-o", "Dpkg::Use-Pty=false", *words).stdout

    def install(self, deb):
        self.run("dpkg", "--force-unsafe-io", "-i", self.bring(deb))

    def bring(self, deb):
        shutil.copy(deb, f"{self.dir}/tmp/")
        return "/tmp/" + os.path.basename(deb)

    def there(self, *names):
        return [n for n in names if os.path.lexists(self.dir + n)]

    def read(self, name):
        with open(self.dir + name, "rb") as f:
            return f.read()

    def listing(self):
        found = {}
        for folder, names, files in os.walk(self.dir):
            at = folder[len(self.dir):]
            names[:] = [n for n in names if not NOT_LISTED.match(f"{at}/{n}")]
            for n in names + files:
                if not NOT_LISTED.match(f"{at}/{n}"):
                    found[f"{at}/{n}"] = describe(f"{folder}/{n}")
        return found

    def diversions(self):
        return [line for line in self.say("dpkg-divert", "--list").splitlines() if "pvesr" in line]

    def takeover(self, word="status"):
        return self.say("pvesr", "takeover", word)


def differences(before, after):
    return sorted([f"gone: {n}" for n in before.keys() - after.keys()] + [f"new: {n}" for n in after.keys() - before.keys()] +
                  [f"changed: {n}: {before[n]} {after[n]}" for n in before.keys() & after.keys() if before[n] != after[n]])


def same(before, after, what):
    wrong = differences(before, after)
    assert not wrong, f"{what}: {wrong[:20]}"


def is_ours(r):
    """The package is installed whole, and stock's files, if any, are aside."""
    assert r.say("pvesr", "--version") == f"pvesr {r.package.field('Version').split('+')[0]}\n"
    assert r.say("pvesrd", "--version").startswith("pvesrd ")
    assert r.there(*DIVERTED) == list(DIVERTED) and len(r.diversions()) == 3, (r.there(*DIVERTED), r.diversions())
    assert not any(b"stock" in text for text in (r.read(DIVERTED[2]), gzip.decompress(r.read(DIVERTED[1]))[:8]))


def is_stock_aside(r):
    assert r.say("pvesr.stock") == "stock pvesr\n" and r.there(*DISPLACED) == list(DISPLACED)


# ---- a node that replicates ----

DISK = os.urandom(3 << 20)


def configure(r):
    """A guest on this node, a job of it to a node that is a folder here."""
    for node, config in (("pve1", "/etc/pvesr/pvesr.conf"), ("pve2", "/srv/pve2/pvesr.conf")):
        base = "/srv/" + node
        own = "" if node == "pve1" else "".join(f"{k}-dir: {base}/{k}\n" for k in ("state", "log", "lock", "run"))
        put(r.dir, config, f"node: {node}\nmail-to: none\nstorage-root: {base}\n{own}")
        os.makedirs(f"{r.dir}{base}/tank")
    put(r.dir, "/etc/pve/nodes.cfg", "node: pve1\n\taddress local\n\nnode: pve2\n\taddress local\n\tconfig /srv/pve2/pvesr.conf\n\n")
    put(r.dir, "/etc/pve/storage.cfg", "dir: tank\n\tpath /tank\n\tcontent images\n\n")
    put(r.dir, "/etc/pve/nodes/pve1/qemu-server/100.conf", "scsi0: tank:100/vm-100-disk-0.raw,size=3M\n")
    os.makedirs(r.dir + "/etc/pve/nodes/pve2/qemu-server")
    put(r.dir, "/srv/pve1/tank/images/100/vm-100-disk-0.raw", DISK)
    r.say("pvesr", "create-local-job", "100-0", "pve2")


def run_daemon(r):
    """Until it has run the job that is due."""
    replica = r.dir + "/srv/pve2/tank/images/100/vm-100-disk-0.raw"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(r.dir + "/tmp/notify")
        notify.settimeout(60 * rig.SLOW)
        p = subprocess.Popen(["chroot", r.dir, "pvesrd"], env={**roots.ENVIRONMENT, "NOTIFY_SOCKET": "/tmp/notify"}, stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            while b"READY=1" not in notify.recv(65536):
                pass
            rig.wait_for(lambda: '"last_sync":1' in r.run("pvesr", "status", "--output-format", "json").stdout.replace(" ", ""), "the run", 60)
            p.send_signal(signal.SIGTERM)
            said = p.communicate(timeout=60 * rig.SLOW)[1]
        finally:
            rig.stop(p)
    with open(replica, "rb") as f:
        assert f.read() == DISK, "the replica is another one"
    assert p.returncode == 0, f"pvesrd: exit {p.returncode}: {said}"
    assert r.there(STATE, JOURNAL, LOG) == [STATE, JOURNAL, LOG]


def take_away(r):
    """What configure() and the nodes' own files made, and stock's."""
    for name in ("/srv/pve1", "/srv/pve2", "/etc/pve", "/var/log/pve", "/var/lib/pve-manager", "/run/lock/pve-manager", "/run/lock/pvesr.lck"):
        with contextlib.suppress(NotADirectoryError, FileNotFoundError):
            shutil.rmtree(r.dir + name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(r.dir + name)


# ---- the tests ----

def play(test, package):
    return package.fault or test(package)


def life_beside_stock(package):
    r = Root(package)
    fresh = r.listing()
    r.install(stand_in(package.release))
    before = r.listing()
    r.apt("install", "/tmp/pvesr.deb")
    is_ours(r)
    is_stock_aside(r)
    assert r.takeover() == ON_TEXT and not r.there(OFF)
    configure(r)
    run_daemon(r)
    # what is off stays off
    assert r.takeover("off") == OFF_TEXT
    r.apt("install", r.bring(package.repacked(package.field("Version") + "+1")))
    is_ours(r)
    is_stock_aside(r)
    assert r.takeover() == OFF_TEXT and r.takeover("on") == ON_TEXT and r.takeover("off") == OFF_TEXT
    r.apt("remove", "pvesr")
    assert r.say("pvesr") == "stock pvesr\n" and not r.there(*DISPLACED, MODULE) and not r.diversions()
    assert r.there(STATE, JOURNAL, LOG, OFF, "/etc/pvesr/pvesr.conf") == [STATE, JOURNAL, LOG, OFF, "/etc/pvesr/pvesr.conf"]
    after = r.listing()
    same(before, {n: after[n] for n in after.keys() & before.keys()}, "removed")
    r.apt("purge", "pvesr")
    assert r.there(STATE, JOURNAL, LOG, OFF, "/etc/pvesr") == [STATE, LOG], "what is purged"
    take_away(r)
    same(before, r.listing(), "purged")
    r.run("dpkg", "--purge", "pve-manager")
    same(fresh, r.listing(), "stand-in purged")


def stock_comes_later(package):
    r, alone = Root(package), Root(package)
    fresh = r.listing()
    alone.install(stand_in(package.release))
    r.install(package.deb)
    is_ours(r)
    assert r.takeover() == "none: there is no pvescheduler here\n" and not r.there(*DISPLACED)
    mine = r.listing()
    r.install(stand_in(package.release))
    is_ours(r)
    is_stock_aside(r)
    assert r.takeover() == ON_TEXT
    r.run("dpkg", "--purge", "pve-manager")
    same(mine, r.listing(), "stand-in gone again")
    r.install(stand_in(package.release))
    r.run("dpkg", "--purge", "pvesr")
    assert not r.diversions()
    same(alone.listing(), r.listing(), "pvesr gone")
    r.run("dpkg", "--purge", "pve-manager")
    same(fresh, r.listing(), "both gone")


def life_without_stock(package):
    r = Root(package)
    before = r.listing()
    r.apt("install", "/tmp/pvesr.deb")
    is_ours(r)
    assert r.there("/etc/pam.d/pvesr", "/etc/pam.d/common-auth", "/etc/pam.d/common-account"), "log-ins have no PAM service"
    configure(r)
    run_daemon(r)
    assert "takeover" not in r.run("pvesr", "doctor").stdout
    r.apt("remove", "pvesr")
    assert r.there(STATE, JOURNAL, LOG) == [STATE, JOURNAL, LOG] and not r.there(*DIVERTED)
    r.install(package.deb)
    assert "100-0" in r.say("pvesr", "history")
    r.run("dpkg", "--purge", "pvesr")
    assert not r.there(STATE, JOURNAL, LOG, "/var/lib/pve-manager", "/var/log/pve", "/etc/pvesr") and not r.diversions()
    assert r.there("/etc/pve/replication.cfg")
    for name in ("/srv/pve1", "/srv/pve2", "/etc/pve"):
        shutil.rmtree(r.dir + name)
    same(before, r.listing(), "purged")


def failed_installs(package):
    """A file that belongs to pve-manager stops dpkg in the middle of the unpacking."""
    broken = package.repacked(package.field("Version") + "+2", ["/usr/bin/pvescheduler"])
    r = Root(package)
    r.install(stand_in(package.release))
    before = r.listing()
    done = r.run("dpkg", "--force-unsafe-io", "-i", r.bring(broken), check=False)
    assert done.returncode != 0 and "trying to overwrite" in done.stderr, done.stderr
    assert not r.diversions() and r.say("pvesr") == "stock pvesr\n"
    same(before, r.listing(), "not installed")
    r.install(package.deb)
    installed = r.listing()
    done = r.run("dpkg", "--force-unsafe-io", "-i", r.bring(broken), check=False)
    assert done.returncode != 0 and "trying to overwrite" in done.stderr, done.stderr
    is_ours(r)
    is_stock_aside(r)
    same(installed, r.listing(), "not upgraded")
    r.run("dpkg", "--purge", "pvesr")
    same(before, r.listing(), "purged")


def environment(r):
    """PERL5OPT, as systemd would give it to the scheduler."""
    for top in ("/etc", "/run", "/usr/lib"):
        if r.there(f"{top}/{DROP_IN}"):
            return dict(re.findall(r"(?m)^Environment=(\w+)=(.*)$", r.read(f"{top}/{DROP_IN}").decode()))
    return {}


def schedule(r):
    """What ran in the scheduler's two rounds, and what it said."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(r.dir + "/ran")
    done = r.run("pvescheduler", "start", env=environment(r))
    return r.read("/ran").decode().splitlines(), done.stderr


def scheduler(package):
    r = Root(package)
    r.install(stand_in(package.release))
    children = ["backup", "replication of /usr/bin/pve-child", "child", "replication of /usr/bin/pve-tainted", "tainted child"]
    stock = (["replication of /usr/bin/pvescheduler", *children] * 2, "")
    assert schedule(r) == stock, schedule(r)
    r.install(package.deb)
    assert environment(r) and schedule(r) == (children * 2, ""), schedule(r)
    put(r.dir, "/etc/pve/storage.cfg", "")
    assert re.search(f"(?m)^takeover .* {re.escape(ON_TEXT)}", r.run("pvesr", "doctor").stdout)
    r.takeover("off")
    assert schedule(r) == stock, schedule(r)
    r.takeover("on")
    assert schedule(r) == (children * 2, ""), schedule(r)
    # a Proxmox VE that has the function no more
    for name in ("pve-child", "pve-tainted", "pvescheduler"):
        put(r.dir, f"/usr/bin/{name}", r.read(f"/usr/bin/{name}").replace(b"run_jobs", b"run_all"), 0o755)
    put(r.dir, "/usr/share/perl5/PVE/API2/Replication.pm", REPLICATION % RUN_JOBS.replace("run_jobs", "run_all"))
    ran, said = schedule(r)
    assert ran == stock[0] and said.count("\n") == 1 and "to take over" in said, (ran, said)
    assert r.takeover().startswith("on, without effect: ")
    r.run("dpkg", "--purge", "pvesr")
    assert schedule(r) == stock, schedule(r)


SYSTEMCTL = """#!/bin/sh
# Instead of systemd: the "scheduler" is a process that waits, started with the environment that its unit and drop-ins give it.
while [ "${1#--}" != "$1" ]; do shift; done
[ -e %(module)s ] && module=module || module=gone
echo "$1 ${2#--*} ${3#--} $module" >>/tmp/systemctl.log
start() {
    perl5opt=
    for top in /etc /run /usr/lib; do
        if [ -e $top/%(dropin)s ]; then
            perl5opt=$(sed -n 's/^Environment=PERL5OPT=//p' $top/%(dropin)s)
            break
        fi
    done
    PERL5OPT=$perl5opt sleep infinity </dev/null >/dev/null 2>&1 &
    echo $! >/tmp/scheduler.pid
}
case $1 in
show) cat /tmp/scheduler.pid ;;
start-for-test) start ;;
try-restart) kill "$(cat /tmp/scheduler.pid)"; start ;;
esac
""" % {"module": MODULE, "dropin": DROP_IN}


def services(package):
    """With a systemd that only writes down what it is told."""
    r = Root(package)
    r.install(stand_in(package.release))
    put(r.dir, "/usr/bin/systemctl", SYSTEMCTL, 0o755)
    put(r.dir, "/usr/bin/deb-systemd-invoke", '#!/bin/sh\nexec systemctl "$@"\n', 0o755)
    os.makedirs(r.dir + "/run/systemd/system")
    before = r.listing()
    r.run("systemctl", "start-for-test")

    def told():
        said = [" ".join(line.split()) for line in r.read("/tmp/systemctl.log").decode().splitlines()]
        os.unlink(r.dir + "/tmp/systemctl.log")
        return [line for line in said if not re.match("show|is-active", line)]

    def is_sleep(pid):
        with open(f"/proc/{pid}/comm") as f:
            return f.read() == "sleep\n"

    def runs_with(word):
        pid = int(r.read("/tmp/scheduler.pid"))
        rig.wait_for(lambda: is_sleep(pid), "the scheduler, which is a copy of its shell before")
        with open(f"/proc/{pid}/environ") as f:
            return word in f.read().split("\0")

    module, restart = "PERL5OPT=-MPvesr::Takeover", "try-restart pvescheduler.service module"
    told()
    r.install(package.deb)
    assert runs_with(module) and r.takeover() == ON_TEXT
    said = told()
    assert said[-1] == restart and said.index("start pvesrd.service module") < said.index(restart), said
    r.install(package.repacked(package.field("Version") + "+1"))
    assert runs_with(module) and restart not in told(), "an upgrade restarts the stock scheduler"
    r.takeover("off")
    assert told() == ["daemon-reload module", restart] and not runs_with(module)
    r.install(package.repacked(package.field("Version") + "+2"))
    assert not runs_with(module) and restart not in told() and r.takeover() == OFF_TEXT
    r.takeover("on")
    assert told()[-1] == restart and runs_with(module)
    r.run("dpkg", "--remove", "pvesr")
    said = told()
    assert not runs_with(module) and said.count(restart) == 1 and said[-1] == "daemon-reload gone", said
    assert said.index(restart) < said.index("stop pvesrd.service module"), said
    assert not r.there(f"/run/{DROP_IN}", OFF)
    r.install(package.deb)
    assert runs_with(module), "installed again"
    r.run("dpkg", "--purge", "pvesr")
    assert not runs_with(module)
    same(before, r.listing(), "purged")


def lintian(package):
    changes, = (n for n in os.listdir(package.folder) if n.endswith(".changes"))
    done = subprocess.run(["lintian", "--allow-root", "--fail-on", "error", os.path.join(package.folder, changes)], capture_output=True,
                          text=True, check=False)
    print("".join(f"# {line}\n" for line in done.stdout.splitlines()), end="")
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr}{done.stdout}"


def one_version():
    with open(os.path.join(rig.ROOT, "meson.build")) as build, open(os.path.join(rig.ROOT, "debian/changelog")) as log:
        wanted, got = re.search(r"version: '(.*?)'", build.read())[1], re.search(r"\((.*?)\)", log.readline())[1]
    assert wanted == got, f"meson.build has {wanted}, debian/changelog {got}"


# the packages are built anew, whatever build is tested
releases = () if os.environ.get("PVESR_SANITIZED") else roots.RELEASES
rig.NEEDS["plain build"] = (lambda: releases, "the packages are tried once, with the plain build")
rig.NEEDS["lintian"] = (lambda: shutil.which("lintian"), "needs lintian")
rig.check("packages: meson.build and debian/changelog have one version", one_version, needs=("plain build",))
for package in map(Package, releases):
    rig.NEEDS[package.release] = (package, package)
    for title, test, more in (("beside Proxmox VE: installed by apt, a run, upgraded, removed, purged without a trace", life_beside_stock, ()),
                              ("installed before Proxmox VE: what comes is displaced, and given back", stock_comes_later, ()),
                              ("without Proxmox VE: installed by apt, a run, removed, purged without a trace", life_without_stock, ()),
                              ("an installation or an upgrade that fails leaves all as it was", failed_installs, ()),
                              ("the stock scheduler leaves out replication and nothing else, until it is off or the package gone", scheduler, ()),
                              ("the stock scheduler is restarted when it must know, and before the module goes", services, ()),
                              # of both releases it would read the same files, and it is this computer's
                              *((("lintian has no errors", lintian, ("lintian",)),) if package.release == releases[0] else ())):
        rig.check(f"{package.release}: {title}", lambda test=test, package=package: play(test, package), needs=("root", package.release, *more))
rig.main()
