#!/usr/bin/env python3
"""The command line as a user meets it: texts, exit statuses, files, on two nodes in one directory.

Prints `ok NAME`, `not ok NAME - why` or `skip NAME - why` per case. PVESR_BUILD is the build directory.
"""
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

BUILD = os.path.abspath(os.environ.get("PVESR_BUILD", "build"))
PVESR = os.path.join(BUILD, "pvesr")
failures = 0


def report(name, why=None):
    global failures
    if why:
        failures += 1
        print("not ok %s - %s" % (name, " ".join(str(why).split())))
    else:
        print("ok %s" % name)


class Result:
    def __init__(self, p):
        self.status, self.out, self.err = p.returncode, p.stdout, p.stderr

    def __str__(self):
        return "status %d, stdout %r, stderr %r" % (self.status, self.out, self.err)


class Cluster:
    """A tree and the configurations of nodes pve1, pve2, pve3; guests 100, 101 (CT) on pve1, 200 on pve2."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="pvesr-cli.")
        self.tree = os.path.join(self.dir, "tree")
        self.write("nodes.cfg", "".join("node: %s\n\taddress local\n\tconfig %s\n\n" % (n, self.conf(n))
                                        for n in ("pve1", "pve2", "pve3")))
        self.write("storage.cfg", "dir: st\n\tpath /st\n\tcontent images,rootdir\n\n"
                                  "nfs: net\n\tpath /net\n\tcontent images\n\n"
                                  "lvm: blocks\n\tvgname vg\n\tcontent images\n\n")
        self.write("nodes/pve1/qemu-server/100.conf", "scsi0: st:100/vm-100-disk-0.raw,size=1M\n")
        self.write("nodes/pve1/lxc/101.conf", "rootfs: st:101/vm-101-disk-0.raw,size=1M\n")
        self.write("nodes/pve2/qemu-server/200.conf", "scsi0: st:200/vm-200-disk-0.raw,size=1M\n")
        for guest, line in (("110", "memory: 512"), ("111", "scsi0: gone:vm-111-disk-0"),
                            ("112", "scsi0: blocks:vm-112-disk-0"), ("113", "scsi0: /dev/sda"),
                            ("114", "scsi0: /dev/sda,replicate=0")):
            self.write("nodes/pve1/qemu-server/%s.conf" % guest, line + "\n")
        for node in ("pve1", "pve2", "pve3"):
            root = os.path.join(self.dir, node)
            os.makedirs(root + "/st/images")
            with open(self.conf(node), "w") as f:
                f.write("node: %s\ncluster: dir:%s\nstorage-root: %s\n" % (node, self.tree, root))
                for key in ("state", "log", "lock", "run"):
                    f.write("%s-dir: %s/%s\n" % (key, root, key))

    def conf(self, node):
        return os.path.join(self.dir, node + ".conf")

    def path(self, name):
        return os.path.join(self.tree, name)

    def write(self, name, text):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(text)

    def read(self, name="replication.cfg"):
        try:
            with open(self.path(name)) as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def state_file(self, node="pve1"):
        return os.path.join(self.dir, node, "state", "pve-replication-state.json")

    def set_states(self, text, node="pve1"):
        os.makedirs(os.path.dirname(self.state_file(node)), exist_ok=True)
        with open(self.state_file(node), "w") as f:
            f.write(text)

    def run(self, *args, node="pve1", env=None):
        return Result(subprocess.run([PVESR, *args], capture_output=True, text=True, timeout=60,
                                     stdin=subprocess.DEVNULL,
                                     env={"PVESR_CONFIG": self.conf(node), "TZ": "UTC", "PATH": "/nowhere",
                                          **(env or {})}))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        shutil.rmtree(self.dir)


JOB = "local: 100-0\n\ttarget pve2\n\tsource pve1\n\n"


def expect(name, result, status, out=None, err=None):
    """out, err: the whole text; a compiled pattern is searched for. Statuses: a number, or "fail"."""
    why = None
    if result.status != status if status != "fail" else result.status == 0:
        why = "status is not %s" % status
    for what, wanted, got in (("stdout", out, result.out), ("stderr", err, result.err)):
        if isinstance(wanted, str) and wanted != got:
            why = "%s is not %r" % (what, wanted)
        if isinstance(wanted, re.Pattern) and not wanted.search(got):
            why = "%s lacks %r" % (what, wanted.pattern)
    report(name, why and "%s: %s" % (why, result))


def expect_text(name, got, wanted):
    report(name, None if got == wanted else "%r is not %r" % (got, wanted))


# ---- words: what is refused before anything is read ----

REFUSED = [
    ("no command", [], 255, r"^ERROR: no command specified\nUSAGE: pvesr <COMMAND> \[ARGS\] \[OPTIONS\]\n"),
    ("unknown command", ["frobnicate"], 255, r"^ERROR: unknown command 'pvesr frobnicate'\nSee 'pvesr help'\.\n$"),
    ("command that moves the cursor", ["\x1b[2Jx\x9b"], 255, r"^ERROR: unknown command 'pvesr \?\[2Jx\?'\nSee"),
    ("option that moves the cursor", ["list", "--\x1b[2J"], 255, r"^Unknown option: \?\[2J\n400 unable"),
    ("leading option that moves the cursor", ["--\x1b[2J"], 255, r"^Unknown option: \?\[2J\n400 unable"),
    ("value that moves the cursor", ["enable", "100-0", "\x1b[2J"], 255, r"^400 [^\x1b]*\n$"),
    ("misspelt command", ["staus"], 255, r"^ERROR: unknown command 'pvesr staus'\nDid you mean 'status'\?\n$"),
    ("ambiguous command", ["s"], 255,
     r"^ERROR: unknown command 'pvesr s'\nDid you mean 'status', 'schedule-now', 'set-state' or 'settle'\?\n$"),
    ("not enough", ["create-local-job", "100-0"], 255,
     r"^400 not enough arguments\npvesr create-local-job <id> <target> \[OPTIONS\]\n$"),
    ("too many", ["list", "x"], 255, r"^400 too many arguments\npvesr list \[OPTIONS\]\n$"),
    ("unknown option", ["list", "--bogus"], 255,
     r"^Unknown option: bogus\n400 unable to parse option\npvesr list \[OPTIONS\]\n$"),
    ("two ways at once", ["failover", "100", "--as-is", "--point", "x"], 255, r"\npoint: not together with 'as-is'\n"),
    ("bad boolean", ["update", "100-0", "--disable", "maybe"], 255, r"^400 unable to parse boolean option"),
    ("bad id", ["read", "x"], 255,
     r"^400 Parameter verification failed\.\nid: .*does not match the regex pattern.*\npvesr read <id> "),
    ("reserved id", ["read", "99-0"], 255, r"invalid replication job id '99-0' \(guest IDs < 100 are reserved\)"),
    ("bad schedule", ["update", "100-0", "--schedule", "61"], 255, r"\nschedule: invalid calendar event"),
    ("leading bad option", ["--nonsense", "list"], 255, r"^Unknown option: nonsense\n"),
    ("config without file", ["--config"], 255, r"^Option config requires an argument\n"),
    ("help for what is not there", ["help", "fialover"], 255,
     r"^ERROR: unknown command 'pvesr fialover'\nDid you mean 'failover'\?\n$"),
]


def test_words():
    with Cluster() as c:
        for name, args, status, pattern in REFUSED:
            expect("words: " + name, c.run(*args), status, "", re.compile(pattern))
        expect("words: version", c.run("--version"), 0, re.compile(r"^pvesr \d+\.\d+"), "")
        expect("words: help", c.run("help"), 0, re.compile(r"\n\nRestoring:\n  restore-points +List "), "")
        expect("words: help of a command", c.run("help", "update"), 0, re.compile(r"--schedule <string>"), "")
        expect("words: help of all", c.run("help", "--verbose"), 0, re.compile(r"--parent_snapname"), "")
        expect("words: abbreviation", c.run("li"), 0, re.compile(r"^JobID "), "")
        for args in (["--config", c.conf("pve1"), "list"], ["list", "--config", c.conf("pve1")],
                     ["--config=" + c.conf("pve1"), "list"]):
            expect("words: " + " ".join(a if "/" not in a else "FILE" for a in args),
                   c.run(*args, env={"PVESR_CONFIG": "/does/not/exist"}), 0, re.compile(r"^JobID "), "")


# ---- create-local-job ----

CREATE_REFUSED = [
    ("no such guest", ["999-0", "pve2"], "Guest '999' does not exist.\n"),
    ("no such target", ["100-0", "pve9"], "Target 'pve9' does not exist.\n"),
    ("guest before target", ["999-0", "pve9"], "Guest '999' does not exist.\n"),
    ("wrong source", ["100-0", "pve2", "--source", "pve3"], re.compile("^source: guest '100' is on node 'pve1'")),
    ("source before identity", ["100-0", "pve1", "--source", "pve3"], re.compile("^source: ")),
    ("identical", ["100-0", "pve1"], "Source and target must not be identical\n"),
    ("guest without volumes", ["110-0", "pve2"], "No replicatable volumes found\n"),
    ("unknown storage", ["111-0", "pve2"], re.compile("storage 'gone' does not exist")),
    ("storage cannot", ["112-0", "pve2"], re.compile("missing replicate feature on volume 'blocks:vm-112-disk-0'")),
    ("device", ["113-0", "pve2"], re.compile("unable to replicate local file/device '/dev/sda'")),
    ("device left out, nothing left", ["114-0", "pve2"], "No replicatable volumes found\n"),
]


def test_create():
    for name, args, err in CREATE_REFUSED:
        with Cluster() as c:
            expect("create: " + name, c.run("create-local-job", *args), "fail", "", err)
            expect_text("create: %s: nothing written" % name, c.read(), "")
    with Cluster() as c:
        expect("create", c.run("create-local-job", "100-0", "pve2"), 0, "", "")
        expect_text("create: file", c.read(), JOB)
        expect("create: same id", c.run("create-local-job", "100-0", "pve3"), "fail", "",
               "replication job '100-0' already exists\n")
        expect("create: same target", c.run("create-local-job", "100-1", "pve2"), "fail", "",
               "replication job for guest '100' to target 'local/pve2' already exists\n")
        expect("create: everything, for another node's guest",
               c.run("create-local-job", "200-7", "pve1", "--comment", "50% of: é", "--disable", "--rate", "1.50",
                     "--remove_job", "local", "--schedule", "mon..fri 22:00", "--source", "pve2"), 0, "", "")
        expect_text("create: everything: file", c.read(),
                    JOB + "local: 200-7\n\tcomment 50%25 of%3A %C3%A9\n\tdisable\n\ttarget pve1\n\trate 1.5\n"
                    "\tremove_job local\n\tschedule mon..fri 22:00\n\tsource pve2\n\n")
        read = c.run("read", "200-7")
        expect_text("read: text", read.out, read_expected(c))
        expect("read: unknown", c.run("read", "300-0"), "fail", "", "no such replication job '300-0'\n")


def read_expected(c):
    lines = ['"comment" : "50% of: é"', '"digest" : "' + hashlib.sha1(c.read().encode()).hexdigest() + '"',
             '"disable" : 1', '"guest" : 200', '"id" : "200-7"', '"jobnum" : 7', '"rate" : 1.5',
             '"remove_job" : "local"', '"schedule" : "mon..fri 22:00"', '"source" : "pve2"', '"target" : "pve1"',
             '"type" : "local"']
    return "{\n   " + ",\n   ".join(lines) + "\n}\n"


# ---- list ----

LIST_HEAD = "JobID                Target                 Schedule  Rate  Enabled\n"


def test_list():
    with Cluster() as c:
        expect("list: no file", c.run("list"), 0, LIST_HEAD, "")
        c.write("replication.cfg",
                "local: 200-0\n\ttarget pve1\n\tsource pve2\n\n"
                "local: 100-2\n\tdisable\n\ttarget pve3\n\trate 10\n\tschedule mon..fri 22:00\n\n"
                "local: 100-10\n\ttarget pve2\n\trate 2.5\n\n")
        expect("list: columns and order", c.run("list"), 0, LIST_HEAD +
               "100-10               local/pve2                 */15   2.5      yes\n"
               "100-2                local/pve3           mon..fri 22:00    10       no\n"
               "200-0                local/pve1                 */15     -      yes\n", "")
        jobs = json.loads(c.run("list", "--output-format", "json").out)
        expect_text("list: json", jobs[1], {"id": "100-2", "guest": 100, "jobnum": 2, "type": "local",
                                            "target": "pve3", "rate": 10, "schedule": "mon..fri 22:00",
                                            "disable": 1})
        before = "# a note\nlocal: 100-0\n\ttarget pve2\n\nstrange: x\n\tkey value\n\nlocal: 100-1\n\trate 5\n\n"
        c.write("replication.cfg", before)
        r = c.run("list")
        expect("list: garbage is told", r, 0, LIST_HEAD +
               "100-0                local/pve2                 */15     -      yes\n",
               re.compile(r"replication\.cfg:8: .*'100-1' has no target"))
        expect("list: garbage: change another job", c.run("disable", "100-0"), 0, "")
        kept = c.read()
        report("list: garbage is kept", None if "# a note\n" in kept and "strange: x\n\tkey value\n" in kept and
               "local: 100-1\n\trate 5\n" in kept and "\tdisable\n" in kept else repr(kept))


# ---- update, enable, disable ----

UPDATES = [
    ("rate", ["--rate", "10"], "\ttarget pve2\n\trate 10\n\tsource pve1\n"),
    ("schedule", ["--schedule", "*/00"], "\ttarget pve2\n\tschedule *:00\n\tsource pve1\n"),
    ("comment", ["--comment", "x"], "\tcomment x\n\ttarget pve2\n\tsource pve1\n"),
    ("empty comment", ["--comment", ""], "\ttarget pve2\n\tsource pve1\n"),
    ("disable", ["--disable"], "\tdisable\n\ttarget pve2\n\tsource pve1\n"),
    ("not disable", ["--disable", "0"], "\ttarget pve2\n\tsource pve1\n"),
    ("remove_job", ["--remove_job", "full"], "\ttarget pve2\n\tremove_job full\n\tsource pve1\n"),
    ("source", ["--source", "pve3"], "\ttarget pve2\n\tsource pve3\n"),
    ("delete source", ["--delete", "source"], "\ttarget pve2\n"),
    ("nothing", [], "\ttarget pve2\n\tsource pve1\n"),
]


def test_update():
    for name, args, props in UPDATES:
        with Cluster() as c:
            c.write("replication.cfg", JOB)
            expect("update: " + name, c.run("update", "100-0", *args), 0, "", "")
            expect_text("update: %s: file" % name, c.read(), "local: 100-0\n%s\n" % props)
    with Cluster() as c:
        c.write("replication.cfg", JOB)
        digest = hashlib.sha1(JOB.encode()).hexdigest()
        expect("update: digest", c.run("update", "100-0", "--rate", "5", "--digest", digest), 0, "", "")
        expect("update: stale digest", c.run("update", "100-0", "--rate", "6", "--digest", digest), "fail", "",
               "detected modified configuration - file changed by other user? Try again.\n")
        expect("update: empty digest", c.run("update", "100-0", "--rate", "7", "--digest", ""), 0, "", "")
        expect("update: delete", c.run("update", "100-0", "--delete", "rate"), 0, "", "")
        expect_text("update: delete: file", c.read(), JOB)
        expect("update: keep", c.run("update", "100-0", "--keep", "last=3,daily=7"), 0, "", "")
        expect_text("update: keep: replication.cfg", c.read(), JOB)
        expect_text("update: keep: file", re.sub("\tmark pve2 .*\n", "", c.read("replication-ext.cfg")), "local: 100-0\n\tkeep last=3,daily=7\n\n")
        expect("update: keep: shown", c.run("list", "--output-format", "json"), 0, re.compile('"keep": ?"last=3,daily=7"'), "")
        expect("update: bad keep", c.run("update", "100-0", "--keep", "last=3,daily=x"), 255, "",
               re.compile("keep: .*'x'"))
        expect("update: delete keep", c.run("update", "100-0", "--delete", "keep"), 0, "", "")
        expect_text("update: delete keep: file", c.read("replication-ext.cfg"), "# no settings: the last one was removed\n")
        for command in ("update", "enable", "disable", "delete"):
            expect(command + ": unknown job", c.run(command, "300-0"), "fail", "", "no such job '300-0'\n")
        expect("disable", c.run("disable", "100-0"), 0, "", "")
        expect_text("disable: file", c.read(), JOB.replace("\ttarget", "\tdisable\n\ttarget"))
        expect("enable", c.run("enable", "100-0"), 0, "", "")
        expect_text("enable: file", c.read(), JOB)
        expect("update: target is fixed", c.run("update", "100-0", "--target", "pve3"), 255, "")


# ---- delete ----

def test_delete():
    marked = "local: 100-0\n\ttarget pve2\n\tremove_job %s\n\tsource pve1\n\n"
    for name, args, after in (("full", [], marked % "full"), ("keep", ["--keep"], marked % "local"),
                              ("keep 0", ["--keep", "0"], marked % "full"), ("force", ["--force"], "# no jobs: the last one was removed\n")):
        with Cluster() as c:
            c.write("replication.cfg", JOB)
            expect("delete: " + name, c.run("delete", "100-0", *args), 0, "",
                   "" if name == "force" else re.compile(r"\A.*background.*\n\Z"))
            expect_text("delete: %s: file" % name, c.read(), after)
    with Cluster() as c:
        c.write("replication.cfg", JOB)
        expect("delete: force, unknown job", c.run("delete", "300-0", "--force"), 0, "", "")
        expect("delete: force and keep", c.run("delete", "100-0", "--force", "--keep"), 255, "",
               re.compile(r"^400 Parameter verification failed\.\nkeep: "))
        expect("delete: mark", c.run("delete", "100-0"), 0)
        expect("delete: mark again", c.run("delete", "100-0", "--keep"), 0)
        expect("delete: take back", c.run("update", "100-0", "--delete", "remove_job"), 0, "", "")
        expect_text("delete: taken back: file", c.read(), JOB)
        c.write("replication.cfg", "local: 150-0\n\ttarget pve2\n\tsource pve1\n\n")
        before = c.read()
        remedy = re.search("remove the job with 'pvesr (.*)'", c.run("status").out)
        expect_text("delete: the remedy", remedy and remedy[1], "delete 150-0 --force")
        for more in ((), ("--keep",)):
            expect("delete: guest is gone", c.run("delete", "150-0", *more), 1, "",
                   re.compile(r"\Ano such guest '150': .*'pvesr delete 150-0 --force' removes it without any cleanup\n\Z"))
            expect_text("delete: guest is gone: file", c.read(), before)
        expect("delete: by the remedy", c.run(*remedy[1].split()), 0, "", "")
        expect_text("delete: by the remedy: file", c.read(), "# no jobs: the last one was removed\n")


# ---- status ----

STATUS_HEAD = ("JobID      Enabled    Target                           LastSync             NextSync"
               "   Duration  FailCount State\n")


def status_line(job, enabled, target, last, following, duration, fails, state):
    return "%-10s %-10s %-20s %20s %20s %10s %10s %s\n" % (job, enabled, "local/" + target, last, following,
                                                           duration, fails, state)


def test_status():
    with Cluster() as c:
        c.write("replication.cfg",
                JOB + "local: 100-1\n\tdisable\n\ttarget pve3\n\tschedule 2090-1-1\n\tsource pve1\n\n"
                "local: 101-0\n\ttarget pve2\n\tschedule 2091-1-1\n\tsource pve1\n\n"
                "local: 200-0\n\ttarget pve1\n\tsource pve2\n\n")
        expect("status: new", c.run("status"), 0, STATUS_HEAD +
               status_line("100-0", "Yes", "pve2", "-", "pending", "-", 0, "OK") +
               status_line("100-1", "No", "pve3", "-", "2090-01-01_00:00:00", "-", 0, "OK") +
               status_line("101-0", "Yes", "pve2", "-", "2091-01-01_00:00:00", "-", 0, "OK"), "")
        now = int(time.time())
        with open("/proc/self/stat") as f:
            ptime = f.read().rsplit(")", 1)[1].split()[19]
        states = json.dumps({
            "100": {"local/pve2": {"last_sync": 1767226503, "last_try": 1767226503, "last_iteration": 1767226503,
                                   "fail_count": 0, "duration": 3.2145670000000002, "storeid_list": ["st"]},
                    "local/pve3": {"last_sync": 0, "last_try": now, "last_iteration": now, "fail_count": 2,
                                   "error": "it broke", "duration": 0.5, "storeid_list": []}},
            "101": {"local/pve2": {"last_sync": 0, "last_try": now, "last_iteration": 0, "fail_count": 0,
                                   "pid": os.getpid(), "ptime": ptime, "storeid_list": []}}})
        c.set_states(states)
        retry = time.strftime("%Y-%m-%d_%H:%M:%S", time.gmtime(now + 600))
        expect("status: with states", c.run("status"), 0, STATUS_HEAD +
               status_line("100-0", "Yes", "pve2", "2026-01-01_00:15:03", "pending", "3.214567", 0,
                           "OVERDUE since 2026-01-01 01:00:00: no run has succeeded: is pvesrd running, and what does 'pvesr history' say?") +
               status_line("100-1", "No", "pve3", "-", retry, "0.5", 2, "it broke") +
               status_line("101-0", "Yes", "pve2", "-", "2091-01-01_00:00:00", "-", 0, "SYNCING"), "")
        expect("status: one guest", c.run("status", "--guest", "101"), 0, STATUS_HEAD +
               status_line("101-0", "Yes", "pve2", "-", "2091-01-01_00:00:00", "-", 0, "SYNCING"), "")
        halted = subprocess.Popen(["sleep", "infinity"])
        halted.send_signal(signal.SIGSTOP)
        os.waitpid(halted.pid, os.WUNTRACED)
        with open(f"/proc/{halted.pid}/stat") as f:
            ptime = f.read().rsplit(")", 1)[1].split()[19]
        for last, text in ((now, "SYNCING "), (now - 86400, "OVERDUE since .*: ")):
            c.set_states(json.dumps({"100": {"local/pve2": {"last_sync": last, "last_try": now, "last_iteration": 0, "fail_count": 0,
                                                            "pid": halted.pid, "ptime": ptime, "storeid_list": []}}}))
            expect(f"status: a stopped run, {text}", c.run("status", "--guest", "100"), 0,
                   re.compile(f"100-0 .* {text}.*process {halted.pid} is stopped: 'kill -CONT {halted.pid}' lets it go on"), "")
        halted.kill()
        halted.wait()
        c.set_states(states)
        expect("status: another node", c.run("status", node="pve2"), 0, STATUS_HEAD +
               status_line("200-0", "Yes", "pve1", "-", "pending", "-", 0, "OK"), "")
        jobs = json.loads(c.run("status", "--output-format", "json").out)
        expect_text("status: json", jobs[0], {
            "id": "100-0", "guest": 100, "jobnum": 0, "type": "local", "target": "pve2", "source": "pve1",
            "vmtype": "qemu", "next_sync": 1767226503 // 900 * 900 + 900, "last_sync": 1767226503,
            "last_try": 1767226503, "fail_count": 0, "duration": 3.214567, "overdue": 1767229200})
        for age, text in (("3650d", "OK"), ("1h", "OVERDUE since 2026-01-01 01:15:03")):
            expect(f"status: --max-age {age}", c.run("update", "100-0", "--max-age", age), 0, "", "")
            expect(f"status: within {age}", c.run("status", "--guest", "100"), 0, re.compile("3.214567 *0 " + text), "")
        expect("status: --max-age", c.run("update", "100-0", "--max-age", "2w"), 255, "", re.compile("'2w' is no age of 1s to 3650d"))
        expect("status: its schedule's age", c.run("update", "100-0", "--delete", "max-age"), 0, "", "")
        for name, text, again in (("nodes/pve2/qemu-server/100.conf", "guest 100 has two configuration files", True), (None, "there is no guest 100", False)):
            path = os.path.join(c.tree, "nodes/pve1/qemu-server/100.conf")
            if name:
                c.write(name, "")
            else:
                os.unlink(os.path.join(c.tree, "nodes/pve2/qemu-server/100.conf"))
                os.rename(path, path + ".kept")
            expect(f"status: {text}", c.run("status", "--guest", "100"), 0, re.compile("100-0 .* OVERDUE since .*: " + text), "")
        os.rename(path + ".kept", path)
        expect_text("status: json of a container", (jobs[2]["vmtype"], jobs[2]["pid"]), ("lxc", os.getpid()))
        expect_text("status: json of a failure", (jobs[1]["error"], jobs[1]["disable"], jobs[1]["next_sync"]),
                    ("it broke", 1, now + 600))
    with Cluster() as c:
        c.write("replication.cfg", "local: 100-0\n\ttarget pve2\n\tschedule nonsense\n\tsource pve1\n\n")
        expect("status: invalid schedule", c.run("status"), 0,
               re.compile(r" +- +- +- +0 invalid schedule 'nonsense'"))
        for event, state in (("2-30", "invalid schedule '2-30': .* it never comes"), ("2019-1-1", "OK")):
            c.write("replication.cfg", f"local: 100-0\n\ttarget pve2\n\tschedule {event}\n\tsource pve1\n\n")
            expect(f"status: {event}", c.run("status"), 0, re.compile(f"(?m) 0 {state}$"))
            expect(f"update: {event}", c.run("update", "100-0", "--schedule", f"{event} 3:00"), 255, "", re.compile("schedule: .* it never comes"))
            expect(f"update beside {event}", c.run("update", "100-0", "--comment", event), 0, "", "" if state == "OK" else re.compile(state))
        long_ago = int(time.time()) - 400 * 86400
        c.set_states(json.dumps({"100": {"local/pve2": {"last_sync": long_ago, "last_try": long_ago, "last_iteration": long_ago, "fail_count": 0,
                                                        "duration": 1, "storeid_list": []}}}))
        expect("status: a schedule that is over", c.run("status"), 0, re.compile("OVERDUE since .*: its schedule has no event any more: "), "")
        os.unlink(c.state_file())
        c.write("replication.cfg", "local: 100-0\n\ttarget pve1\n\tsource pve1\n\n")
        expect("status: job to this node", c.run("status"), 0, STATUS_HEAD, "")
        c.write("replication.cfg", "local: 100-0\n\ttarget pve1\n\tremove_job full\n\tsource pve1\n\n")
        expect("status: job to this node, being removed", c.run("status"), 0, STATUS_HEAD +
               status_line("100-0", "Yes", "pve1", "-", "pending", "-", 0, "OK"))
    with Cluster() as c:
        c.write("replication.cfg", "local: 100-0\n\ttarget pve1\n\tsource pve2\n\n"
                "local: 100-1\n\ttarget pve3\n\tsource pve2\n\nlocal: 200-0\n\ttarget pve1\n\n")
        c.run("status")
        expect_text("status: a stolen guest turns its jobs around", c.read(),
                    JOB + "local: 100-1\n\ttarget pve3\n\tsource pve1\n\nlocal: 200-0\n\ttarget pve1\n\n")


# ---- schedule-now, set-state ----

def test_state():
    with Cluster() as c:
        c.write("replication.cfg", JOB + "local: 200-0\n\ttarget pve1\n\tsource pve2\n\n")
        c.set_states('{"100":{"local/pve2":{"last_sync":1000,"last_try":4000000000,"fail_count":0,"kept":7}}}')
        expect("schedule-now", c.run("schedule-now", "100-0"), 0, "", "")
        with open(c.state_file()) as f:
            text = f.read()
        state = json.loads(text)["100"]["local/pve2"]
        expect_text("schedule-now: state", (state["last_try"], state["last_sync"], state["kept"]), (0, 1000, 7))
        expect_text("schedule-now: one line", len(text.strip("\n").split("\n")), 1)
        expect("schedule-now: due", c.run("status"), 0, re.compile("pending"))
        expect("schedule-now: unknown job", c.run("schedule-now", "300-0"), "fail", "",
               "no such replication job '300-0'\n")
        expect("schedule-now: another node's guest", c.run("schedule-now", "200-0"), 0, "",
               re.compile("guest '200' is on node pve2"))
        with open(c.state_file()) as f:
            expect_text("schedule-now: another node's guest: state", list(json.load(f)), ["100"])
        expect("set-state", c.run("set-state", "100", '{"local/pve3":{"last_sync":5}}'), 0, "", "")
        with open(c.state_file()) as f:
            expect_text("set-state: replaced", json.load(f)["100"], {"local/pve3": {"last_sync": 5}})
        for text in ("[]", "5", "{", "nonsense"):
            expect("set-state: " + text, c.run("set-state", "100", text), "fail", "", re.compile("."))
    with Cluster() as c:
        c.write("replication.cfg", JOB.replace("\ttarget", "\tdisable 1\n\ttarget"))
        expect("schedule-now: disabled", c.run("schedule-now", "100-0"), 0, "", re.compile("it runs once it is enabled: 'pvesr enable 100-0'\n$"))
        c.write("replication.cfg", JOB.replace("\ttarget", "\tschedule nonsense\n\ttarget"))
        expect("schedule-now: with a fault", c.run("schedule-now", "100-0"), 0, "", re.compile("^warning: .*job '100-0' is not run: .*nonsense.*\n$"))
        c.write("replication.cfg", JOB.replace("\ttarget", "\tschedule 2090-1-1\n\tremove_job full\n\ttarget"))
        expect("schedule-now: to be removed", c.run("schedule-now", "100-0"), 0, "", "")
    with Cluster() as c:
        c.write("replication.cfg", JOB.replace("\ttarget", "\tschedule 2090-1-1\n\ttarget"))
        expect("schedule-now: never ran, not due", c.run("status"), 0, re.compile(" 2090-01-01_00:00:00 "))
        expect("schedule-now: never ran", c.run("schedule-now", "100-0"), 0, "", "")
        expect("schedule-now: never ran, due", c.run("status"), 0, re.compile(" pending "))


# ---- history, calendar, completion ----

def test_history():
    with Cluster() as c:
        expect("history: empty", c.run("history"), 0, re.compile(r"\AJobID +Start +Duration Result +Sent +Delta Error\n\Z"))
        expect("history: empty json", c.run("history", "--output-format", "json"), 0, "[]\n", "")


# ---- at-risk ----

def risk_line(guest, job, target, newest, age, allowed, state):
    return "%-10s %-10s %-20s %20s %8s %8s %s\n" % (guest, job, target, newest, age, allowed, state)


RISK_HEAD = risk_line("Guest", "JobID", "Target", "Newest", "Age", "Allowed", "State")


def test_at_risk():
    with Cluster() as c:
        for guest in ("110", "111", "112", "113", "114"):
            os.remove(c.path(f"nodes/pve1/qemu-server/{guest}.conf"))
        c.write("nodes/pve1/qemu-server/102.conf", "scsi0: net:102/vm-102-disk-0.raw,size=1M\n")
        expect("at-risk: no job; what is shared is at no risk", c.run("at-risk"), 0, RISK_HEAD +
               risk_line(100, "-", "-", "-", "-", "-", "no job") + risk_line(101, "-", "-", "-", "-", "-", "no job"), "")
        c.write("nodes/pve1/qemu-server/103.conf", "scsi0: st:103/vm-103-disk-0.raw,size=1M\nscsi1: st:103/vm-103-disk-1.raw,replicate=0\n")
        c.write("nodes/pve1/qemu-server/104.conf", "scsi0: gone:vm-104-disk-0\n")
        c.write("replication.cfg", "".join(f"local: {job}\n\ttarget {target}\n\tsource pve1\n{more}\n" for job, target, more in (
            ("100-0", "pve2", ""), ("100-1", "pve3", ""), ("101-0", "pve2", ""), ("103-0", "pve2", "\tdisable\n"),
            ("200-0", "pve1", ""))))
        now = int(time.time())
        c.set_states(json.dumps({
            "100": {"local/pve2": {"last_sync": now - 93784, "last_try": now}, "local/pve3": {"last_sync": now - 200, "last_try": now}},
            "103": {"local/pve2": {"last_sync": 86400, "last_try": now}}}))
        shown = c.run("at-risk").out
        rows = [row.split(None, 6) for row in shown.splitlines()[1:]]
        expect_text("at-risk: who has most to lose comes first, the best target of each", [row[:3] + row[6:] for row in rows], [
            ["101", "101-0", "pve2", "never"],
            ["104", "-", "-", "no job; its volumes are not known: storage 'gone' does not exist"],
            ["103", "103-0", "pve2", "OVERDUE; on no target: st:103/vm-103-disk-1.raw"],
            ["100", "100-1", "pve3", "ok"], ["100", "100-0", "pve2", "OVERDUE"]])
        expect_text("at-risk: ages", rows[4][4], "1d2h")
        found = json.loads(c.run("at-risk", "--guest", "103", "--output-format", "json").out)
        expect_text("at-risk: json", {k: v for k, v in found[0].items() if k not in ("age", "allowed")}, {
            "guest": 103, "vmtype": "qemu", "job": "103-0", "target": "pve2", "newest": 86400, "state": "OVERDUE",
            "left-out": ["st:103/vm-103-disk-1.raw"]})
        for what, text, why in (
                ("an empty file", "", "its configuration names none"),
                ("only comments", "# a guest\n\n", "its configuration names none"),
                ("zeros", "\0" * 40, "line 1, is not 'key: value'"),
                ("a stray line", "scsi0: st:103/vm-103-disk-0.raw\n scsi1: st:103/vm-103-disk-1.raw\n", "line 2, is not 'key: value'"),
                ("a disk without a volume", "scsi0: st:103/vm-103-disk-0.raw\nscsi1: cache=none\n", "line 2, names no volume in 'scsi1'"),
                ("no disk any more", "name: x\n", "its configuration names none")):
            for guest, state in ((100, "faulty"), (103, "OVERDUE"), (106, "no job")):
                if guest == 106 and what == "no disk any more":
                    continue
                c.write(f"nodes/pve1/qemu-server/{guest}.conf", text)
                rows = json.loads(c.run("at-risk", "--guest", str(guest), "--output-format", "json").out)
                expect_text(f"at-risk: {what}: guest {guest}", [why in row.get("error", "") for row in rows], [True] * (2 if guest == 100 else 1))
                expect_text(f"at-risk: {what}: guest {guest}: state", rows[0]["state"], state)
                expect(f"at-risk: {what}: guest {guest}: table", c.run("at-risk", "--guest", str(guest)), 0,
                       re.compile(f"{guest} .* {state}; .*its volumes are not known: .*" + re.escape(why)))
        c.write("nodes/pve1/qemu-server/106.conf", "name: no disks\nide2: none,media=cdrom\n")
        expect("at-risk: a guest without disks and job", c.run("at-risk", "--guest", "106"), 0, RISK_HEAD)
        os.remove(c.path("nodes/pve1/qemu-server/106.conf"))
        c.write("nodes/pve1/qemu-server/105.conf", "scsi0: st:105/vm-105-disk-0.raw,size=1M\n")
        c.write("nodes/pve2/qemu-server/105.conf", "scsi0: st:105/vm-105-disk-0.raw,size=1M\n")
        expect("at-risk: a guest with two configurations, on both nodes", c.run("at-risk", "--guest", "105"), 0,
               RISK_HEAD + risk_line(105, "-", "-", "-", "-", "-", "two files"))
        expect_text("at-risk: the same on the other node, as json", [r["state"] for r in json.loads(
            c.run("at-risk", "--guest", "105", "--output-format", "json", node="pve2").out)], ["two files"])
        for node in ("pve1", "pve2"):
            os.remove(c.path(f"nodes/{node}/qemu-server/105.conf"))
        expect("at-risk: of another node", c.run("at-risk", node="pve2"), 0, re.compile("\n200 .* never\n\\Z"), "")


# ---- log ----

class Reader:
    """What a command that goes on has printed so far."""

    def __init__(self, c, *args):
        self.file = tempfile.TemporaryFile()
        self.process = subprocess.Popen([PVESR, *args], stdout=self.file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                        env={"PVESR_CONFIG": c.conf("pve1"), "TZ": "UTC"})

    def shows(self, name, wanted):
        """wanted: what all that was printed must come to, or a pattern that must be in it."""
        end = time.monotonic() + 60
        while time.monotonic() < end and self.process.poll() is None:
            text = os.pread(self.file.fileno(), 1 << 20, 0).decode()
            if text == wanted if isinstance(wanted, str) else wanted.search(text):
                return report(name)
            time.sleep(0.01)
        report(name, "%r" % os.pread(self.file.fileno(), 1 << 20, 0))

    def makes(self, name, folder):
        while not os.path.isdir(folder) and self.process.poll() is None:
            time.sleep(0.01)
        report(name, None if os.path.isdir(folder) else "it ended")

    def end(self):
        self.process.kill()
        self.process.wait()
        self.file.close()


def log_line(second, text):
    return f"2026-01-01 00:00:0{second} 100-0: {text}\n"


def test_log():
    with Cluster() as c:
        folder = os.path.join(c.dir, "pve1", "log")
        path = os.path.join(folder, "100-0")
        c.write("replication.cfg", JOB)
        expect("log: no job", c.run("log", "100-7"), "fail", "", re.compile("no such replication job '100-7'"))
        expect("log: no run yet", c.run("log", "100-0"), "fail", "", re.compile("it did not run yet; 'pvesr run --id 100-0'"))
        expect("log: elsewhere", c.run("log", "100-0", node="pve2"), "fail", "", re.compile("its guest is on 'pve1'"))
        follower = Reader(c, "log", "100-0", "--follow")
        first = log_line(1, "start") + log_line(2, "end")
        follower.makes("log: --follow makes the folder", folder)
        with open(path, "w") as f:
            f.write(first)
        follower.shows("log: --follow shows what comes", first)
        expect("log: as it is", c.run("log", "100-0"), 0, first, "")
        with open(path, "a") as f:
            f.write(log_line(3, "half")[:-4])
        with open(path, "a") as f:
            f.write(log_line(3, "half")[-4:])
        follower.shows("log: --follow shows whole lines", first + log_line(3, "half"))
        # another run, over before anybody looked, that says more than the one before it: nothing but its first line tells
        again = "".join(log_line(k, "again") for k in range(4, 9))
        follower.process.send_signal(signal.SIGSTOP)
        with open(path, "w") as f:
            f.write(again)
        follower.process.send_signal(signal.SIGCONT)
        follower.shows("log: --follow shows the next run", first + log_line(3, "half") + again)
        os.rename(path, path + ".old")
        with open(path, "w") as f:
            f.write(again)
        follower.shows("log: --follow shows another file", first + log_line(3, "half") + again + again)
        with open(path, "a") as f:
            f.write(log_line(9, "\x1b[2Jbad"))
        follower.shows("log: it shows no control characters", re.compile(r"\?\[2Jbad\n\Z"))
        follower.end()
        os.remove(path)
        os.symlink("/etc/passwd", path)
        expect("log: a symlink", c.run("log", "100-0"), "fail", "", re.compile("symlink or no regular file; remove it"))


def test_watch():
    with Cluster() as c:
        c.write("replication.cfg", JOB)
        watcher = Reader(c, "status", "--watch")
        watcher.shows("status: --watch", re.compile("jobs of node 'pve1', each 2 s\n\nJobID.*\n100-0 .*OK\n"))
        c.write("nodes/pve1/qemu-server/120.conf", "scsi0: st:120/vm-120-disk-0.raw,size=1M\n")
        c.write("replication.cfg", JOB + "local: 120-0\n\ttarget pve2\n\tsource pve1\n\n")
        watcher.shows("status: --watch sees a new guest", re.compile("\n100-0 .*OK\n120-0 .*OK\n"))
        os.rename(c.path("replication.cfg"), c.path("away"))
        os.mkdir(c.path("replication.cfg"))
        watcher.shows("status: --watch says what is wrong", re.compile("each 2 s\n\n[^\n]*replication.cfg[^\n]*\n"))
        os.rmdir(c.path("replication.cfg"))
        os.rename(c.path("away"), c.path("replication.cfg"))
        watcher.shows("status: --watch goes on", re.compile("replication.cfg[^\n]*\n(.*\n)*100-0 .*OK\n120-0 .*OK\n"))
        watcher.end()
        expect("status: --watch as json", c.run("status", "--watch", "--output-format", "json"), 255, "", re.compile("watch: for people"))


CALENDAR = [
    (["*/15", "--after", "1000"], "1800 Thu 1970-01-01 00:30:00 UTC\n"),
    (["*/00", "--after", "1000"], "3600 Thu 1970-01-01 01:00:00 UTC\n"),
    (["daily", "--after", "0", "--iterations", "2"],
     "86400 Fri 1970-01-02 00:00:00 UTC\n172800 Sat 1970-01-03 00:00:00 UTC\n"),
    (["2019-1-1", "--after", "1700000000"], "never\n"),
    (["2090-1-1", "--after", "1700000000", "--iterations", "5"], "3786912000 Sun 2090-01-01 00:00:00 UTC\n"),
]


def test_calendar():
    with Cluster() as c:
        for args, out in CALENDAR:
            expect("calendar: " + " ".join(args), c.run("calendar", *args), 0, out, "")
        expect("calendar: time zone", c.run("calendar", "daily", "--after", "1767225600", env={"TZ": "Europe/Vienna"}),
               0, "1767308400 Fri 2026-01-02 00:00:00 CET\n", "")
        expect("calendar: invalid", c.run("calendar", "61"), 255, "", re.compile("expr: invalid calendar event '61'"))
        expect("calendar: no configuration needed",
               c.run("calendar", "daily", "--after", "0", env={"PVESR_CONFIG": "/dev/full"}), 0, re.compile("^86400 "))


COMPLETIONS = [
    ("pvesr ", "list", True), ("pvesr l", "list", True), ("pvesr l", "status", False),
    ("pvesr read ", "100-0", True), ("pvesr read 2", "100-0", False),
    ("pvesr create-local-job 300-0 ", "pve2", True), ("pvesr update 100-0 --", "--schedule", True),
    ("pvesr update 100-0 --s", "--schedule", True), ("pvesr update 100-0 --rate 5 --", "--rate", False),
    ("pvesr update 100-0 --remove_job ", "full", True), ("pvesr status --output-format ", "json", True),
    ("pvesr list --", "--schedule", False), ("pvesr help ", "update", True), ("pvesr status --guest ", "100", True),
    ("pvesr help bash", "bashcomplete", False), ("pvesr takeover o", "off", True),
    ("pvesr create-local-job --comment 'a b c' 300-0 ", "pve2", True),
    ('pvesr create-local-job --comment "a b" 300-0 ', "100-0", False),
    ("pvesr create-local-job --schedule sun\\ 01:00 300-0 ", "pve2", True),
    ("pvesr --config /nowhere read ", "100-0", False), ("pvesr --config /nowhere l", "list", True),
    ("pvesr frobnicate ", "list", False), ("pvesr", "list", False),
]


def test_completion():
    with Cluster() as c:
        c.write("replication.cfg", JOB)
        for line, word, wanted in COMPLETIONS:
            r = c.run("bashcomplete", "pvesr", "--x", "y", env={"COMP_LINE": line, "COMP_POINT": str(len(line))})
            report("completion: '%s' → %s%s" % (line, "" if wanted else "not ", word),
                   None if r.status == 0 and (word in r.out.split()) == wanted else r)
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "completions", "pvesr")
        bash = shutil.which("bash")
        if not bash:
            print("skip completion: bash - no bash here")
            return
        r = subprocess.run([bash, "-c", ". %s && complete -p pvesr" % script], capture_output=True, text=True)
        expect_text("completion: bash", r.stdout, "complete -C 'pvesr bashcomplete' pvesr\n")


# ---- takeover, of a system in a folder ----

DROP_IN, MODULE = "usr/lib/systemd/system/pvescheduler.service.d/pvesr.conf", "usr/share/perl5/Pvesr/Takeover.pm"
STOCK = "usr/share/perl5/PVE/API2/Replication.pm"
IN_ETC, IN_RUN = ("%s/systemd/system/pvescheduler.service.d/pvesr.conf" % top for top in ("etc", "run"))
ON, OFF = "on: pvescheduler leaves replication to pvesrd\n", "off: pvescheduler runs replication jobs, too\n"


def test_takeover():
    with Cluster() as c:
        root = os.path.join(c.dir, "root")

        def put(name, text):
            os.makedirs(os.path.dirname(os.path.join(root, name)), exist_ok=True)
            with open(os.path.join(root, name), "w") as f:
                f.write(text)

        def see(name, *args, status=0, out="", err=""):
            expect("takeover: " + name, c.run("takeover", *args, "--root", root, env={"PVESR_CONFIG": "/dev/full"}), status, out, err)

        def there(name, *wanted):
            expect_text("takeover: %s: files" % name, [p for p in (IN_ETC, IN_RUN) if os.path.exists(os.path.join(root, p))], list(wanted))

        see("no Proxmox VE", "status", out="none: there is no pvescheduler here\n")
        put("usr/bin/pvescheduler", "")
        see("without the package", "status", out=OFF)
        see("without the package: on", "on", status="fail", err=re.compile("pvesr.conf' .*is missing: they come with the Debian package"))
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "debian", "takeover")
        for name, where in (("pvesr.conf", DROP_IN), ("Pvesr/Takeover.pm", MODULE)):
            with open(os.path.join(source, name)) as f:
                put(where, f.read())
        see("another Proxmox VE", "status", out=re.compile("^on, without effect: .*run_jobs"))
        put(STOCK, "sub run_jobs {}\n")
        see("installed", "status", out=ON)
        see("off", "off", out=OFF)
        there("off", IN_ETC)
        see("off again", "off", out=OFF)
        see("on", "on", out=ON)
        there("on")
        expect_text("takeover: on: folder", os.path.exists(os.path.join(root, os.path.dirname(IN_ETC))), False)
        see("on again", "on", out=ON)
        see("off until boot without systemd", "off", "--runtime", status="fail", err=re.compile("systemd does not run there"))
        there("off until boot without systemd")
        os.makedirs(os.path.join(root, "run/systemd/system"))
        see("off until boot", "off", "--runtime", out=OFF)
        there("off until boot", IN_RUN)
        see("off in both", "off", out=OFF)
        there("off in both", IN_ETC, IN_RUN)
        see("on from both", "on", out=ON)
        there("on from both")
        put(os.path.dirname(IN_ETC) + "/other.conf", "")
        os.symlink("/dev/null", os.path.join(root, IN_ETC))
        see("hidden by hand", "status", out=OFF)
        see("hidden by hand: on", "on", out=ON)
        report("takeover: somebody's file beside it", None if os.listdir(os.path.join(root, os.path.dirname(IN_ETC))) == ["other.conf"] else "gone")
        os.unlink(os.path.join(root, MODULE))
        see("no module", "status", out=re.compile("^on, but .*Takeover.pm' is missing"))
        see("no module: off", "off", out=OFF)
        see("no module: on", "on", status="fail", err=re.compile("Takeover.pm' is missing"))
        expect("takeover: what", c.run("takeover", "maybe"), 255, "", re.compile("what: "))
        expect("takeover: runtime", c.run("takeover", "on", "--runtime"), 255, "", re.compile("runtime: only together with 'off'"))
        expect("takeover: relative root", c.run("takeover", "status", "--root", "x"), 255, "", re.compile("root: 'x' is not an absolute path"))


# ---- the tour, as typed by hand ----

def test_tour():
    with Cluster() as c:
        for args in (["create-local-job", "100-0", "pve2", "--schedule", "*/5", "--rate", "10"], ["disable", "100-0"],
                     ["enable", "100-0"], ["update", "100-0", "--schedule", "*/00"], ["schedule-now", "100-0"]):
            expect("tour: " + " ".join(args), c.run(*args), 0, "", "")
        expect("tour: list", c.run("list"), 0, LIST_HEAD +
               "100-0                local/pve2                 *:00    10      yes\n", "")
        expect("tour: status", c.run("status"), 0, STATUS_HEAD +
               status_line("100-0", "Yes", "pve2", "-", "pending", "-", 0, "OK"), "")


# ---- jobs that cannot be read ----

UNREAD = [
    ("no target", "local: 101-0\n\tsource pve1\n\n", "line 1, has no target that is a node's name: correct it, or .*'pvesr delete 101-0 --force'"),
    ("a bad target", "local: 101-0\n\ttarget pve 2\n\tsource pve1\n\n", "line 1, has no target"),
    ("no empty line before it", "local: 100-0\n\ttarget pve2\n\tsource pve1\nlocal: 101-0\n\ttarget pve2\n\n", "line 4, is taken for a part"),
    ("blanks instead", "local: 100-0\n\ttarget pve2\n\tsource pve1\n  \nlocal: 101-0\n\ttarget pve2\n\n", "line 5, is taken for a part"),
    ("indented", " local: 101-0\n\ttarget pve2\n\n", "line 1, is taken for a part"),
]


def test_unread():
    """They are in `status`, never \"no such job\"; what belongs to them is left alone."""
    for name, text, why in UNREAD:
        with Cluster() as c:
            c.write("replication-ext.cfg", "local: 101-0\n\tkeep 7\n\tmax-age 1h\n\n")
            c.write("replication.cfg", text)
            expect("unread: status: " + name, c.run("status"), 0, re.compile("^101-0 .* local/- .* its section in replication.cfg, " + why, re.M))
            job = next(j for j in json.loads(c.run("status", "--output-format", "json").out) if j["id"] == "101-0")
            expect_text("unread: json: " + name, (job["guest"], bool(re.search(why, job["error"]))), (101, True))
            for args in (["run", "--id", "101-0"], ["plan", "101-0"], ["read", "101-0"], ["disable", "101-0"], ["schedule-now", "101-0"]):
                expect("unread: %s: %s" % (args[0], name), c.run(*args), 1, "", re.compile("job '101-0' is not understood: .*" + why))
            expect("unread: create: " + name, c.run("create-local-job", "101-0", "pve3"), 255, "", re.compile("already exists"))
            c.run("create-local-job", "200-1", "pve1", node="pve2")
            expect_text("unread: its other settings stay: " + name, "local: 101-0\n\tkeep 7" in c.read("replication-ext.cfg"), True)
            os.utime(c.path("replication.cfg"), (0, int(time.time()) - 7200))
            expect("unread: overdue: " + name, c.run("status"), 0, re.compile("^101-0 .* OVERDUE since .*: its section in", re.M))
    with Cluster() as c:
        c.write("replication.cfg", "\ufeff" + JOB)
        expect("unread: a byte order mark", c.run("list"), 0, re.compile("^100-0 ", re.M), "")
        c.write("nodes/pve2/qemu-server/100.conf", "")
        expect("unread: a guest with two files", c.run("run", "--id", "100-0"), 1, "", re.compile("guest 100 has two configuration files"))


# ---- what the caller leaves open ----

def test_streams():
    """Closed, full, or without a reader: nothing of ours is written elsewhere, and what is told is true."""
    def shell(c, words, redirections):
        return Result(subprocess.run(["sh", "-c", '"$@" ' + redirections, "sh", PVESR, *words], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                                     timeout=60, env={"PVESR_CONFIG": c.conf("pve1"), "TZ": "UTC"}))
    with Cluster() as c:
        c.write("replication.cfg", JOB)
        for closed in (">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"):
            # all that it writes goes to files that it opened: of no run, log or lock may a word be in another one
            shell(c, ["run", "--id", "100-0", "--verbose"], closed)
            folder = os.path.join(c.dir, "pve1")
            files = [os.path.join(d, n) for d, _, names in os.walk(folder) for n in names]
            names = {os.path.basename(f) for f in files if b"start replication job" in open(f, "rb").read()}
            expect_text("streams: closed %s: nothing in a lock" % closed, names & {n for n in names if not re.fullmatch("100-0|pvesr-journal.*", n)}, set())
            with open(os.path.join(folder, "log", "100-0")) as f:
                expect_text("streams: closed %s: the log" % closed, [l for l in f.read().splitlines() if not re.match("[0-9-]{10} [0-9:]{8} 100-0: ", l)], [])
        expect("streams: closed output", shell(c, ["list"], ">&-"), 1, "", "cannot write the output: Bad file descriptor\n")
        expect("streams: closed errors", shell(c, ["list"], "2>&-"), 0, re.compile("100-0"))
        for name, to in (("full", "> /dev/full"), ("unread", "| true")):
            r = shell(c, ["run", "--id", "100-0", "--verbose"], to)
            expect_text("streams: %s while it runs" % name, re.search("cannot write the output: (.*)", r.err + ": none")[1] if name == "full" else
                        "cannot write" in r.err, "a part of it is missing" if name == "full" else False)
        r = Result(subprocess.run(["bash", "-c", 'ulimit -f 0; "$@"', "sh", PVESR, "run", "--id", "100-0"], capture_output=True, text=True,
                                  env={"PVESR_CONFIG": c.conf("pve1")}))
        expect("streams: no file may grow", r, 1, "", re.compile("File too large"))


# ---- what is broken outside ----

def test_broken():
    with Cluster() as c:
        c.write("replication.cfg", JOB)
        for name, text, err in (("unknown key", "nodee: x\n", r"pvesr\.conf:1: .*nodee"),
                                ("bad number", "max-workers: many\n", r"pvesr\.conf:1: .*max-workers"),
                                ("garbage", "\x01\x02\n", r"pvesr\.conf:1: ")):
            path = os.path.join(c.dir, "pvesr.conf")
            with open(path, "w") as f:
                f.write(text)
            expect("broken: configuration: " + name, c.run("list", "--config", path), "fail", "", re.compile(err))
        path = os.path.join(c.dir, "pvesr.conf")
        with open(path, "w") as f:
            f.write("cluster: dir:%s/nowhere\n" % c.dir)
        expect("broken: no tree", c.run("list", "--config", path), "fail", None, re.compile("nowhere"))
        for name, make in (("a pipe", os.mkfifo), ("a folder", os.mkdir), ("too large", lambda p: open(p, "w").truncate(17 << 20))):
            c.set_states("")
            os.unlink(c.state_file())
            make(c.state_file())
            expect("broken: state file: " + name, c.run("status"), 1, None, re.compile("pve-replication-state.json.*move the file away"))
            expect("broken: state file: doctor: " + name, c.run("doctor", "--guest", "100"), 0)
            if os.path.isdir(c.state_file()):
                os.rmdir(c.state_file())
            else:
                os.unlink(c.state_file())
        journal = os.path.join(c.dir, "pve1", "state", "pvesr-journal.db")
        for name, make in (("a pipe", os.mkfifo), ("a folder", os.mkdir), ("a symlink", lambda p: os.symlink("/nowhere", p))):
            make(journal)
            expect("broken: journal: " + name, c.run("history"), 1, "", re.compile("journal.* is no regular file: move it away"))
            expect("broken: journal: metrics: " + name, c.run("metrics"), 0, None, re.compile("runs are not counted: .* is no regular file"))
            (os.rmdir if name == "a folder" else os.unlink)(journal)
        for name, make in (("a folder", os.mkdir), ("a symlink", lambda p: os.symlink("/nowhere", p))):
            lock = os.path.join(c.dir, "pve1", "state", "pve-replication-state.lck")
            make(lock)
            expect("broken: lock: " + name, c.run("schedule-now", "100-0"), 1, "", re.compile("lck': it must be a regular file, remove it"))
            (os.rmdir if name == "a folder" else os.unlink)(lock)
        for name, text in (("no JSON", "garbage"), ("a list", '["100"]'), ("cut", '{"100":{"local/pve2"')):
            c.set_states(text)
            r = c.run("status")
            expect("broken: state file: " + name, r, "fail", None, re.compile("pve-replication-state.json"))
            expect("broken: state file, schedule-now: " + name, c.run("schedule-now", "100-0"), "fail", "",
                   re.compile("pve-replication-state.json"))
            with open(c.state_file()) as f:
                expect_text("broken: state file is left: " + name, f.read(), text)
        c.write("replication.cfg", "\x00\x01garbage\n\n" + JOB + "\xff: :\n\tx\n")
        before = c.read()
        expect("broken: jobs with garbage", c.run("list"), 0, re.compile("100-0"), re.compile("replication.cfg:1"))
        expect_text("broken: reading leaves the file", c.read(), before)
        expect("broken: full output", Result(subprocess.run(
            [PVESR, "list"], stdout=open("/dev/full", "w"), stderr=subprocess.PIPE, text=True,
            env={"PVESR_CONFIG": c.conf("pve1")})), "fail", None, re.compile("cannot write the output"))


def test_read_only():
    """A tree mounted read-only: in a mount namespace of its own, so that root is refused too."""
    with Cluster() as c:
        c.write("replication.cfg", JOB)
        os.makedirs(c.path("priv/lock"))
        script = ("mount --bind %s %s && mount -o remount,ro,bind %s && exec \"$@\"" % (c.tree, c.tree, c.tree))
        r = subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", "true"], capture_output=True, text=True)
        if r.returncode:
            print("skip read-only tree - cannot mount: %s" % " ".join(r.stderr.split()))
            return
        for name, args in (("disable", ["disable", "100-0"]), ("delete", ["delete", "100-0"]),
                           ("create", ["create-local-job", "101-0", "pve2"])):
            r = Result(subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", PVESR, *args], text=True,
                                      capture_output=True, env={**os.environ, "PVESR_CONFIG": c.conf("pve1")}))
            expect("read-only tree: " + name, r, "fail", "", re.compile("Read-only file system"))
            expect_text("read-only tree: %s: file" % name, c.read(), JOB)
        r = Result(subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", PVESR, "list"], text=True,
                                  capture_output=True, env={**os.environ, "PVESR_CONFIG": c.conf("pve1")}))
        expect("read-only tree: list", r, 0, re.compile("100-0"), "")


def main():
    if not os.access(PVESR, os.X_OK):
        print("not ok cli - %s is not there: build first" % PVESR)
        return 1
    if os.environ.get("PVESR_TEST_TURN") == "others":
        return 0
    for test in (test_words, test_create, test_list, test_update, test_delete, test_status, test_watch, test_at_risk, test_state, test_history, test_log,
                 test_calendar, test_completion, test_takeover, test_tour, test_unread, test_streams, test_broken, test_read_only):
        test()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
