#!/usr/bin/env python3
"""The line between two nodes and what goes wrong on it: down before a run, cut in the middle of one, a dead sshd, a hung agent, wrong
keys, the shared connection killed, the wrong machine at an address. Each time the run ends by itself with a reason that names the node,
other runs are not held up, and the next run works.

Two nodes with real ssh between them, and a third one that is reached without it. PVESR_LINE_MIB is the size of the interrupted copy.
"""
import json
import os
import shutil
import signal
import subprocess

import rig
from guestlab import GuestLab

# A run that TCP itself would end takes longer, and pvesr ends it long before, however busy the computer is.
SECONDS = 110
MIB = int(os.environ.get("PVESR_LINE_MIB", "256"))
SCENARIOS = []


def scenario(f):
    SCENARIOS.append(f)
    return f


class World:
    def __init__(self, c):
        self.c = c
        self.a, self.b, self.third = (c.node(name) for name in ("pve1", "pve2", "pve3"))
        self.lab = self.guest(100, self.b)
        self.a.pvesr("create-local-job", "100-0", "pve2", check=True)

    def guest(self, number, target):
        lab = GuestLab(self.c.storage, self.c.storage_id, self.a.store, target.store,
                       lambda text: self.c.write_guest("pve1", number, text), guest=number, seed=number)
        lab.add_disk()
        return lab

    def fill(self, lab, mib):
        lab.disks[0] = mib << 20
        with open(lab.live(0), "r+b") as f:
            for _ in range(mib):
                f.write(os.urandom(1 << 20))
        lab.save()

    def run(self, job="100-0"):
        done = self.a.pvesr("run", "--id", job)
        assert done.returncode == 0, f"exit {done.returncode}: {done.stderr}"

    def run_when_free(self):
        """The agent of a run that vanished without a word holds the guest until it has heard nothing for a minute: postponed until then."""
        def ended():
            done = self.a.pvesr("run", "--id", "100-0")
            assert done.returncode in (0, 75), f"exit {done.returncode}: {done.stderr}"
            return done.returncode == 0
        rig.wait_for(ended, "a run that is not postponed", 90)

    def fails(self, *reasons):
        """The run fails before the deadline; what it says, the status and the log name the node and the reason."""
        try:
            done = subprocess.run(self.a.argv("pvesr", "run", "--id", "100-0"), capture_output=True, text=True,
                                  stdin=subprocess.DEVNULL, timeout=SECONDS * rig.SLOW)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the run did not end within {SECONDS} s") from None
        assert done.returncode != 0, f"the run succeeded:\n{self.log()}"
        return self.recorded(done.stderr, *reasons)

    def recorded(self, said, *reasons):
        """What a failed run said is in the status and in the log."""
        state = next(s for s in json.loads(self.a.pvesr("status", "--output-format", "json", check=True).stdout) if s["id"] == "100-0")
        assert state["fail_count"] > 0, state
        for where, text in (("stderr", said), ("the status", state["error"]), ("the log", self.log())):
            assert "'pve2'" in text, f"{where} does not name the node: {text}"
            assert any(r in text for r in reasons), f"{where} does not tell any of {reasons}: {text}"
        return said

    def log(self, job="100-0"):
        with open(os.path.join(self.a.log_dir, job)) as f:
            return f.read()

    def proved(self):
        faults = self.lab.faults()
        assert not faults, faults

    def works_again(self):
        self.lab.write(0, 5)
        self.run()
        self.proved()

    def master(self):
        """The process of the shared connection to pve2, None if there is none."""
        found = self.c.processes(self.a, "ControlMaster=yes")
        assert len(found) <= 1, f"{len(found)} shared connections"
        return found[0] if found else None

    def staged(self, lab):
        """Bytes that an unfinished copy of disk 0 takes on the target so far."""
        folder = lab.names.folder(lab.target)
        try:
            return sum(os.stat(os.path.join(folder, name)).st_blocks * 512 for name in os.listdir(folder) if "stage" in name)
        except FileNotFoundError:
            return 0

    def begin(self, lab, job, least=1 << 20):
        """A run that is in the middle of its transfer."""
        process = subprocess.Popen(self.a.argv("pvesr", "run", "--id", job), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True, start_new_session=True)
        self.c.cleanup.callback(rig.stop, process)
        rig.wait_for(lambda: process.poll() is not None or self.staged(lab) >= least, f"the transfer of job {job}")
        assert process.poll() is None, f"job {job} ended before it could be disturbed: {process.stderr.read()}"
        return process

    def ends(self, process, *reasons):
        """A disturbed run fails before the deadline."""
        try:
            _, said = process.communicate(timeout=SECONDS * rig.SLOW)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the run did not end within {SECONDS} s") from None
        assert process.returncode > 0, f"exit {process.returncode}: {said}"
        return self.recorded(said, *reasons)

    def limit(self, rate, job="100-0"):
        self.a.pvesr("update", job, *(("--rate", rate) if rate else ("--delete", "rate")), check=True)

    def other_guest(self):
        lab = self.guest(101, self.third)
        self.a.pvesr("create-local-job", "101-0", "pve3", check=True)
        return lab

    def another_run_works(self, lab):
        lab.write(0, 5)
        self.run("101-0")
        faults = lab.faults("101-0")
        assert not faults, faults


@scenario
def line_down(w):
    """the target's line is down before the run"""
    w.c.cut_line()
    w.fails("unreachable")
    w.c.restore_line()
    w.works_again()


@scenario
def line_silent(w):
    """packets to the target vanish; a run to another node is not held up"""
    other = w.other_guest()
    w.c.cut_line(silent=True)
    hung = subprocess.Popen(w.a.argv("pvesr", "run", "--id", "100-0"), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    w.c.cleanup.callback(rig.stop, hung)
    w.another_run_works(other)
    w.ends(hung, "timed out")
    w.c.restore_line()
    w.works_again()


@scenario
def line_silent_with_master(w):
    """packets vanish while the shared connection to the target is open"""
    w.run()
    assert w.master()
    w.c.cut_line(silent=True)
    w.fails("stood still", "silent", "said nothing")
    w.fails("timed out")  # the dead connection is not used again
    w.c.restore_line()
    w.works_again()


def cut_in_transfer(w, silent):
    w.fill(w.lab, MIB)
    w.limit(MIB / 15)
    process = w.begin(w.lab, "100-0", least=(MIB << 20) // 4)
    w.c.cut_line(silent)
    w.ends(process, "")
    w.c.restore_line()
    w.limit(None)
    w.run_when_free()
    w.proved()
    assert "going on at byte" in w.log(), w.log()


@scenario
def cut_in_first_sync(w):
    """packets vanish in the middle of a first sync: it fails, the next run resumes it"""
    cut_in_transfer(w, silent=True)


@scenario
def card_down_in_first_sync(w):
    """the source's card goes down in the middle of a first sync: it fails, the next run resumes it"""
    cut_in_transfer(w, silent=False)


@scenario
def sshd_killed(w):
    """sshd and all its sessions are killed in the middle of a transfer, and sshd is gone for the next run"""
    w.fill(w.lab, 64)
    w.limit(8)
    process = w.begin(w.lab, "100-0")
    for pid in w.c.processes(w.b, "sshd"):
        os.kill(pid, signal.SIGKILL)
    w.b.sshd.wait()
    w.ends(process, "")
    w.fails("Connection refused")
    w.c.serve(w.b)
    w.limit(None)
    w.works_again()


@scenario
def agent_hung(w):
    """the agent hangs in the middle of a transfer; another run is not held up, a next one says what it waits for"""
    other = w.other_guest()
    w.fill(w.lab, 64)
    w.limit(8)
    process = w.begin(w.lab, "100-0")
    agents = w.c.processes(w.b, "agent", w.b.config)
    for pid in agents:
        os.kill(pid, signal.SIGSTOP)
    w.another_run_works(other)
    assert process.poll() is None
    w.ends(process, "")
    w.limit(None)
    for pid in agents:
        os.kill(pid, signal.SIGKILL)
    w.works_again()


@scenario
def agent_hung_at_start(w):
    """the agent does not say hello"""
    w.c.set_agent("pve2", ["sleep", "1000", "#"], whole=True)
    w.fails("cannot start the agent")
    w.c.set_agent("pve2", [])
    w.works_again()


@scenario
def host_key(w):
    """the target has another host key than the pinned one"""
    pinned = "nodes/pve2/ssh_known_hosts"
    with open(os.path.join(w.c.tree, pinned)) as f:
        right = f.read()
    with open(os.path.join(w.c.dir, "keys", "user.pub")) as f:
        w.c.write(pinned, "pve2 " + " ".join(f.read().split()[:2]) + "\n")
    w.fails("Host key verification failed: the key of the machine at ")
    w.c.write(pinned, right)
    w.works_again()


@scenario
def user_key(w):
    """the target does not accept our key"""
    key = os.path.join(w.a.dir, ".ssh", "id_ed25519")
    os.rename(key, key + ".right")
    shutil.copy(os.path.join(w.c.dir, "keys", "host"), key)
    w.fails("Permission denied")
    os.rename(key + ".right", key)
    w.works_again()


@scenario
def master_killed(w):
    """the process of the shared connection is killed between two runs: the next one makes a new one"""
    w.run()
    first = w.master()
    os.kill(first, signal.SIGKILL)
    w.works_again()
    second = w.master()
    assert second and second != first
    w.works_again()
    assert w.master() == second, "the shared connection is not shared"


@scenario
def group_killed(w):
    """the process group of the run that made the shared connection is killed: another run through it goes on"""
    second = w.guest(102, w.b)
    w.a.pvesr("create-local-job", "102-0", "pve2", check=True)
    for lab, job in ((w.lab, "100-0"), (second, "102-0")):
        w.fill(lab, 32)
        w.limit(8, job)
    victim = w.begin(w.lab, "100-0")
    master = w.master()
    assert master
    survivor = w.begin(second, "102-0")
    os.killpg(victim.pid, signal.SIGKILL)
    victim.wait()
    _, said = survivor.communicate(timeout=rig.RUN_SECONDS)
    assert survivor.returncode == 0, said
    faults = second.faults("102-0")
    assert not faults, faults
    assert w.master() == master
    w.limit(None)
    w.works_again()
    assert w.master() == master


@scenario
def wrong_machine(w):
    """the machine at the target's address is another node"""
    w.b.write_config(node="pve9")
    w.fails("says that it is node 'pve9'")
    w.b.write_config()
    w.works_again()


@scenario
def no_agent(w):
    """the agent's program is not on the target"""
    for words in (["/usr/lib/nowhere/pvesr", "agent"], ["pvesr-nowhere", "agent"]):
        w.c.set_agent("pve2", words, whole=True)
        w.fails("not found")
    w.c.set_agent("pve2", [])
    w.works_again()


def play(f):
    with rig.Cluster(storage="xfs", ssh=True, nodes=("pve1", "pve2", "pve3")) as c:
        f(World(c))


for function in SCENARIOS:
    rig.check(f"line, {function.__name__}: {function.__doc__}", lambda f=function: play(f), needs=("root", "xfs", "netns"))
rig.main()
