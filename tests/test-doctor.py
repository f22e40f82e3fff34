#!/usr/bin/env python3
"""`pvesr doctor`: what is left over is named and goes on request; what a run or a person may need is left alone."""
import fcntl
import json
import os
import re
import signal
import subprocess

import rig
import rigdaemon
from guestlab import same_file
from scenario import play_all, scenario


def doctor(w, node, *more, want=0):
    """(state, disk, text) of each finding, and what was said beside."""
    done = node.pvesr("doctor", "--output-format", "json", *more)
    assert (done.returncode == 0) == (want == 0), f"exit {done.returncode}: {done.stderr}{done.stdout}"
    return [(f["state"], int(re.search(r"disk-(\d+)", f["volid"])[1]), f["text"]) for f in json.loads(done.stdout)
            if f["state"] != "takeover"], done.stderr


def finds(w, node, *states):
    """doctor with --repair if one of the states is what that does; all findings are of disk 0."""
    found, _ = doctor(w, node, *(["--repair"] if "removed" in states else []))
    assert sorted((state, n) for state, n, _ in found) == sorted((state, 0) for state in states), found


def cut(w):
    """A run is killed in the middle of sending disk 0: the target keeps what it has of it."""
    w.a.pvesr("update", "100-0", "--rate", "1", check=True)
    with open(w.lab.live(0), "r+b") as f:
        f.write(os.urandom(4 << 20))
        os.fsync(f.fileno())
    p = subprocess.Popen(w.a.argv("pvesr", "run", "--id", "100-0"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL, start_new_session=True)
    rig.wait_for(lambda: p.poll() is not None or unfinished(w), "the transfer")
    assert p.poll() is None, "the run ended before it was killed"
    os.killpg(p.pid, signal.SIGKILL)
    p.wait()
    w.a.pvesr("update", "100-0", "--delete", "rate", check=True)


def unfinished(w):
    return [name for name in w.lab.names.entries(w.b.store)[1] if "stage" in name]


@scenario()
def unfinished_copy(w):
    """an unfinished copy is left to the next run; when its job is gone, doctor names it and the job's points, and removes them on request"""
    w.create()
    w.run()
    cut(w)
    assert doctor(w, w.b)[0] == [] and unfinished(w), "what the next run needs"
    w.run()
    w.proved()
    cut(w)
    kept = w.copy(w.lab.replica(0))
    w.a.pvesr("delete", "100-0", "--force", check=True)
    points = sum(1 for n, snap in w.lab.names.entries(w.a.store)[0] if snap)
    assert points
    finds(w, w.a, *["left"] * points)
    finds(w, w.b, "kept", "left")
    assert unfinished(w)
    finds(w, w.a, *["removed"] * points)
    finds(w, w.b, "kept", "removed")
    assert w.lab.names.entries(w.a.store) == ({(0, None)}, []) and not unfinished(w)
    finds(w, w.a)
    finds(w, w.b, "kept")
    assert same_file(w.lab.replica(0), kept), "the replica was changed"


@scenario()
def kept_aside(w):
    """what was written on the target by hand is listed, and stays"""
    w.create()
    w.run()
    kept = w.write_there()
    w.run()
    for more in ((), ("--repair",)):
        found, _ = doctor(w, w.b, *more)
        assert len(found) == 1 and found[0][0] == "kept" and "diverged_100-0_" in found[0][2], found
    assert doctor(w, w.a, "--repair")[0] == []
    w.proved(asides=True)
    assert w.kept_aside(w.b.store, 0, kept)


@scenario("zfspool")
def died_between_two_renames(w):
    """what a crash in the middle of a commit leaves, a replica without its name, has it again; another time nothing is found"""
    w.create()
    w.run()
    live = w.lab.names.dataset(w.b.store, 0)
    subprocess.run(["zfs", "rename", live, live.replace("/vm-", "/pvesr-old-vm-")], check=True)
    assert not w.lab.names.get("guid", live)
    finds(w, w.b, "ended")
    w.proved()
    finds(w, w.b)


def points_of(w, store, job):
    return {snap for _, snap in w.lab.names.entries(store)[0] if snap and snap.startswith(f"__replicate_{job}_")}


def stays(w, node, job, says):
    """--repair changes nothing; each finding is a point of the job that is kept, with what it is and how it goes."""
    before = w.lab.names.entries(node.store)
    named, _ = doctor(w, node)
    assert doctor(w, node, "--repair")[0] == named and w.lab.names.entries(node.store) == before, named
    for state, n, text in named:
        assert (state, n) == ("kept", 0) and f"'__replicate_{job}_" in text and says in text and "'pvesr doctor --guest 100 --free " in text, named
    assert {snap for snap in points_of(w, node.store, job) if not any(f"'{snap}'" in text for _, _, text in named)} == set(), named
    return named


JOB_IS_GONE = "its job is no more"


@scenario("xfs", "btrfs", "zfspool", "lvmthin")
def one_of_two_jobs(w):
    """the points of a removed job are named and stay, whatever newer ones the guest's other job has: a new job to its target goes on from them"""
    w.c.add_node("pve3")
    w.create()
    w.create(job="100-1", target="pve3")
    w.run(job="100-1")
    w.a.pvesr("delete", "100-1", "--force", check=True)
    for _ in range(2):
        w.lab.write(0, 3)
        w.run()
    for node in (w.a, w.b):
        assert stays(w, node, "100-1", JOB_IS_GONE)
    finds(w, w.c.node("pve3"), "kept")
    w.create(job="100-2", target="pve3")
    w.lab.write(0, 3)
    plan = w.a.pvesr("plan", "100-2", check=True).stdout
    assert any(point in plan for point in points_of(w, w.a.store, "100-1")), plan
    w.run(job="100-2")
    assert "full sync" not in w.log(job="100-2"), w.log(job="100-2")
    w.face("pve3")
    assert same_file(w.lab.live(0), w.lab.replica(0))


@scenario("xfs", "plain", "btrfs", "zfspool", "lvmthin")
def job_of_another_id(w):
    """what a removed job made is named once a job of another id has a newer point, on both sides, and not before; it stays"""
    w.create("--keep", "last=3")
    for _ in range(3):
        w.lab.write(0, 3)
        w.run()
    w.a.pvesr("delete", "100-0", "--force", check=True)
    w.create(job="100-5")
    for node in (w.a, w.b):
        assert doctor(w, node, "--repair")[0] == [], "the first run of the new job needs its base"
    w.lab.write(0, 3)
    w.run(job="100-5")
    assert "full sync" not in w.log(job="100-5"), w.log(job="100-5")
    assert points_of(w, w.a.store, "100-0")
    for node in (w.a, w.b):
        stays(w, node, "100-0", JOB_IS_GONE)
    w.lab.write(0, 3)
    w.run(job="100-5")
    assert "full sync" not in w.log(job="100-5"), w.log(job="100-5")
    assert same_file(w.lab.live(0), w.lab.replica(0))


@scenario("xfs", "btrfs")
def newest_point_is_lost(w):
    """where the guest's node lost the points of today's job, the replica goes on from one of a removed job, which doctor on the target left there"""
    w.create("--keep", "last=5")
    for _ in range(2):
        w.lab.write(0, 3)
        w.run()
    w.a.pvesr("delete", "100-0", "--force", check=True)
    w.create("--keep", "last=5", job="100-5")
    w.lab.write(0, 3)
    w.run(job="100-5")
    assert stays(w, w.b, "100-0", JOB_IS_GONE)
    for snap in points_of(w, w.a.store, "100-5"):
        w.lab.names.drop_snapshot(w.a.store, 0, snap)
    w.lab.write(0, 3)
    w.run(job="100-5")
    assert "full sync" not in w.log(job="100-5"), w.log(job="100-5")
    assert same_file(w.lab.live(0), w.lab.replica(0))


@scenario("xfs", "btrfs")
def file_that_lost_what_it_said(w):
    """a guest's file that is empty or not understood makes nothing useless: --repair removes no base, and the job goes on when it is back"""
    w.lab.add_disk()
    w.create()
    w.run()
    path = os.path.join(w.c.tree, f"nodes/pve1/qemu-server/{w.lab.guest}.conf")
    with open(path) as f:
        good = f.read()
    before = w.lab.names.entries(w.a.store), w.lab.names.entries(w.b.store)
    for job in (True, False):
        if not job:
            w.a.pvesr("delete", "100-0", "--force", check=True)
        for text in ("", "name: lab\n", "\x01\x02 what is that?\n"):
            with open(path, "w") as f:
                f.write(text)
            for node in (w.a, w.b):
                assert "removed" not in node.pvesr("doctor", "--repair").stdout, f"{text!r}, job: {job}"
            assert (w.lab.names.entries(w.a.store), w.lab.names.entries(w.b.store)) == before, f"{text!r}, job: {job}"
    with open(path, "w") as f:
        f.write(good)
    w.create()
    w.lab.write(0, 3)
    w.run()
    w.proved()
    assert "full sync" not in w.log(), w.log()


def remove_live(w, path):
    """The disk alone, as who destroys a guest does it."""
    if w.kind == "btrfs":
        rig.sh("btrfs", "subvolume", "delete", os.path.dirname(path))
    else:
        os.unlink(path)


@scenario("xfs", "plain", "btrfs")
def destroyed_on_its_own_node(w):
    """what a guest leaves on its own node that was destroyed with its disks is named and stays, since it may be all that is left of it; so does what a target has"""
    w.create()
    w.run()
    kept = w.copy(w.lab.replica(0))
    there = w.lab.names.entries(w.b.store)
    os.unlink(os.path.join(w.c.tree, f"nodes/pve1/qemu-server/{w.lab.guest}.conf"))
    assert doctor(w, w.a, "--repair")[0] == [], "its disks are there"
    remove_live(w, w.lab.live(0))
    assert doctor(w, w.a, "--repair")[0] == [], "its job is there"
    w.a.pvesr("delete", "100-0", "--force", check=True)
    assert stays(w, w.a, "100-0", "may be the last copy") and points_of(w, w.a.store, "100-0")
    finds(w, w.b, "kept")
    assert doctor(w, w.b, "--repair")[0][0][0] == "kept"
    assert w.lab.names.entries(w.b.store) == there and same_file(w.lab.replica(0), kept)
    remove_live(w, w.lab.replica(0))
    assert "removed" not in w.b.pvesr("doctor", "--repair").stdout, "restore points may be all that is left of the guest"
    assert points_of(w, w.b.store, "100-0")
    for words in commands(doctor(w, w.b)[0]):
        w.b.pvesr(*words, check=True)
    if w.kind != "plain":  # what is left of a point there, its digests, is not named
        assert points_of(w, w.b.store, "100-0") == set() and doctor(w, w.b)[0] == []


def commands(found):
    """What doctor says to type, by the line that says so."""
    return [re.search(r"'pvesr (doctor --guest 100 --free [^']+)'$", text)[1].split() for _, _, text in found if "--free" in text]


def refuses_to_free(w, node, *names):
    """These stay, and doctor says of each that it did not remove it."""
    before = w.lab.names.entries(node.store)
    done = node.pvesr("doctor", "--free", ",".join(names))
    assert done.returncode == 1 and all(f"'{name}' is not removed" in done.stderr for name in names), done
    assert w.lab.names.entries(node.store) == before


@scenario("xfs", "plain", "btrfs", "zfspool", "lvmthin")
def freed_by_name(w):
    """what only a person can judge goes by the command that doctor gives, and nothing else does: not what a job needs, the guest's own, what is in use, nor what is misspelt"""
    volid = f"{w.c.storage_id}:{w.lab.names.volname(0)}"
    w.create("--keep", "last=3")
    for _ in range(2):
        w.lab.write(0, 3)
        w.run()
    mine = [f"{volid}@{point}" for point in points_of(w, w.a.store, "100-0")]
    for node in (w.a, w.b):
        refuses_to_free(w, node, volid, *mine)
    w.a.pvesr("delete", "100-0", "--force", check=True)
    w.create(job="100-5")
    w.lab.write(0, 3)
    w.run(job="100-5")
    for node in (w.a, w.b):
        refuses_to_free(w, node, volid, f"{volid}@__replicate_100-0_1__", *(f"{volid}@{point}" for point in points_of(w, node.store, "100-5")))
        for words in commands(doctor(w, node)[0]):
            assert re.search("^removed ", node.pvesr(*words, check=True).stdout, re.M), words
        assert points_of(w, node.store, "100-0") == set() and doctor(w, node)[0] == []
    w.lab.write(0, 3)
    w.run(job="100-5")
    assert "full sync" not in w.log(job="100-5") and same_file(w.lab.live(0), w.lab.replica(0))
    w.a.pvesr("delete", "100-5", "--force", check=True)
    (words,) = commands(doctor(w, w.b)[0])
    assert words[-1] == volid, words
    if w.kind != "zfspool":
        with open(w.lab.replica(0), "r+b"):
            done = w.b.pvesr(*words)
            assert done.returncode == 1 and "in use" in done.stderr, done
    assert same_file(w.lab.live(0), w.lab.replica(0))
    w.b.pvesr(*words, check=True)
    assert w.lab.names.entries(w.b.store)[0] == set() and doctor(w, w.b)[0] == []
    assert (0, None) in w.lab.names.entries(w.a.store)[0]


@scenario("xfs", "btrfs")
def freed_when_the_guest_is_gone(w):
    """what a destroyed guest left goes on both sides by the commands that doctor gives, and what was kept aside by its own"""
    w.create()
    w.run()
    w.write_there()
    w.run()
    w.a.pvesr("delete", "100-0", "--force", check=True)
    os.unlink(os.path.join(w.c.tree, f"nodes/pve1/qemu-server/{w.lab.guest}.conf"))
    remove_live(w, w.lab.live(0))
    for node in (w.a, w.b):
        all_of_it = commands(doctor(w, node)[0])
        assert all_of_it
        for words in all_of_it:
            assert "removed" in node.pvesr(*words, check=True).stdout, words
        assert doctor(w, node)[0] == [] and w.lab.names.entries(node.store) == (set(), []), w.lab.names.entries(node.store)


def there_and_back(w):
    """By two failovers: the guest is on pve1 again, whose disks were replicas meanwhile."""
    w.b.pvesr("failover", "100", "--force", check=True)
    w.run(w.b)
    w.a.pvesr("failover", "100", "--force", check=True)


def volid_of(w, n):
    return f"{w.c.storage_id}:{w.lab.names.volname(n)}"


def write_in_place(path, what):
    with open(path, "r+b") as f:
        f.write(what)
        os.fsync(f.fileno())


@scenario("xfs", "plain", "btrfs")
def freed_though_written_to(w):
    """what the guest wrote before it was failed over has no other copy: doctor says that it was written to, --free of the replica keeps that aside, and only the aside's own command removes it"""
    w.create()
    w.run()
    there_and_back(w)
    write_in_place(w.lab.live(0), b"nobody else has this")
    kept = w.copy(w.lab.live(0))
    w.b.pvesr("failover", "100", "--force", check=True)
    w.b.pvesr("delete", "100-0", "--force", check=True)
    ((state, _, text),) = [f for f in doctor(w, w.a)[0] if "restore point" in f[2]]
    assert state == "kept" and "written to" in text and "kept aside" in text, text
    (words,) = commands([(state, 0, text)])
    done = w.a.pvesr(*words, check=True)
    assert re.search("^removed ", done.stdout, re.M) and re.search("^kept .* is kept as 'diverged_100-0_", done.stdout, re.M), done.stdout
    assert (0, None) not in w.lab.names.entries(w.a.store)[0] and w.kept_aside(w.a.store, 0, kept), w.lab.names.entries(w.a.store)
    refuses_to_free(w, w.a, volid_of(w, 0))
    for words in commands(doctor(w, w.a)[0]):
        assert "diverged_" in words[-1], words
        w.a.pvesr(*words, check=True)
    assert w.lab.names.entries(w.a.store) == (set(), []) and doctor(w, w.a)[0] == []


def keep_out(w, n):
    """replicate=0 on disk n, and nothing else changes."""
    w.c.write_guest("pve1", 100, re.sub(rf"(disk-{n}\b[^\n]*)", r"\1,replicate=0", w.lab.config()))


@scenario("xfs", "plain", "btrfs")
def named_and_not_replicated(w):
    """a disk that the guest's file names with replicate=0 is called no leftover where the guest was, with a job or without, written to or not, and --free does not remove it"""
    w.lab.add_disk()
    w.create()
    w.run()
    there_and_back(w)
    keep_out(w, 1)
    w.run()
    for written in (False, True):
        if written:
            write_in_place(w.lab.live(1), b"nobody else has this")
        w.b.pvesr("failover", "100", "--force", check=True)
        for job in (True, False):
            if not job:
                w.b.pvesr("delete", "100-0", "--force", check=True)
            found = [f for f in doctor(w, w.a)[0] if f[1] == 1]
            assert [f[0] for f in found] == ["kept"] and "replicate=0" in found[0][2] and "--free" not in found[0][2], found
            refuses_to_free(w, w.a, volid_of(w, 1))
        w.c.move_guest(100, "pve2", "pve1")
        w.create()
        w.run()


@scenario("xfs", "btrfs")
def named_by_another_guest(w):
    """a replica that another guest of this node has as its own disk is called no leftover, in whatever section it is named"""
    w.create()
    w.run()
    w.a.pvesr("delete", "100-0", "--force", check=True)
    for text in ("scsi1: {},replicate=0", "unused3: {}", "[s1]\nscsi0: {}", "ide2: {},media=cdrom"):
        w.c.write_guest("pve2", 101, "name: other\n" + text.format(volid_of(w, 0)) + "\n")
        ((state, _, said),) = doctor(w, w.b)[0]
        assert state == "kept" and "guest 101" in said and "--free" not in said, said
        refuses_to_free(w, w.b, volid_of(w, 0))
    w.c.write_guest("pve2", 101, "name: other\n")
    ((_, _, said),) = doctor(w, w.b)[0]
    assert commands([("kept", 0, said)]), said


def sees(w, node, store):
    rig.sh("mount", "--bind", store, node.store)
    w.c.cleanup.callback(subprocess.run, ["umount", "-l", node.store], check=False, capture_output=True)


@scenario("xfs", "btrfs")
def storage_became_shared(w):
    """on a storage that is shared by now nothing is a replica: the guest's own disk, seen by another node, is not named, and --free does not remove it"""
    w.create()
    w.run()
    there_and_back(w)
    w.a.pvesr("delete", "100-0", "--force", check=True)
    sees(w, w.b, w.a.store)
    assert commands(doctor(w, w.b)[0]) == [], "who keeps it is noted"
    w.c.change_storage("shared 1")
    write_in_place(w.lab.live(0), b"by the guest")
    for node in (w.a, w.b):
        assert doctor(w, node, "--repair")[0] == []
        refuses_to_free(w, node, volid_of(w, 0))


@scenario("xfs", "btrfs")
def seen_by_a_third(w):
    """what another node keeps is not touched by one that sees its directory, be it a replica, a copy that a run goes on with, or the guest's own disk: doctor says whose it is"""
    third = w.c.add_node("pve3")
    w.create()
    w.run()

    def stays_there(keeper):
        before = w.lab.names.entries(third.store)
        for more in ((), ("--repair",)):
            ((state, n, text),) = doctor(w, third, *more)[0]
            assert (state, n) == ("kept", 0) and f"node '{keeper}' keeps" in text and "shared 1" in text and "--free" not in text, text
        refuses_to_free(w, third, volid_of(w, 0))
        assert w.lab.names.entries(third.store) == before
    cut(w)
    assert doctor(w, w.b)[0] == [], "the agent has ended"
    sees(w, third, w.b.store)
    stays_there("pve2")
    assert unfinished(w), "what the next run needs"
    w.run()
    there_and_back(w)
    subprocess.run(["umount", "-l", third.store], check=True)
    sees(w, third, w.a.store)
    stays_there("pve1")
    w.run()
    w.a.pvesr("delete", "100-0", "--force", check=True)
    stays_there("pve1")


@scenario("xfs")
def removal_without_its_guest(w):
    """a job that is marked for removal and whose guest is gone says that no run can remove it, and what does: in status, and by mail when its restore point is too old"""
    w.create("--max-age", "2s")
    w.run()
    w.a.pvesr("delete", "100-0", check=True)
    os.unlink(os.path.join(w.c.tree, f"nodes/pve1/qemu-server/{w.lab.guest}.conf"))
    said = w.status()["100-0"]["error"]
    assert "no run can remove job '100-0'" in said and "pvesr delete 100-0 --force" in said, said
    box = rig.Mailbox(w.a)
    d = rigdaemon.Daemon(w.a)
    rig.wait_for(lambda: any("no run can remove job" in mail for mail in box.mails()), "the mail")
    d.end()
    w.a.pvesr("delete", "100-0", "--force", check=True)
    assert w.status() == {}


@scenario("xfs")
def stolen_and_not_turned_round(w):
    """an unfinished copy on the node that was stolen from stays while the job has not been turned round"""
    w.create()
    w.run()
    cut(w)
    w.steal("pve2")
    finds(w, w.b, "left")
    assert doctor(w, w.a, "--repair")[0] == []
    w.run()
    w.proved(asides=True)


@scenario("xfs")
def in_doubt(w):
    """a section of replication.cfg that cannot be read may be the guest's job: nothing is removed"""
    w.create()
    w.run()
    cut(w)
    path = os.path.join(w.c.tree, "replication.cfg")
    with open(path) as f:
        text = f.read()
    with open(path, "w") as f:
        f.write(text.replace("target pve2", "target pve2:"))
    before = w.lab.names.entries(w.a.store), w.lab.names.entries(w.b.store)
    for node in (w.a, w.b):
        found, said = doctor(w, node, "--repair", want=1)
        assert found == [] and "replication.cfg" in said, (found, said)
    assert (w.lab.names.entries(w.a.store), w.lab.names.entries(w.b.store)) == before


@scenario("xfs")
def busy(w):
    """a guest on whose volumes a run is at work is not looked at, and doctor says so"""
    w.create()
    w.run()
    with open(os.path.join(w.b.lock_dir, "pvesr-agent-100"), "a") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        found, said = doctor(w, w.b, want=1)
        assert found == [] and "guest 100 was not looked at" in said, (found, said)
        assert doctor(w, w.b, "--guest", "101")[0] == []
    assert doctor(w, w.b)[0] == []


@scenario("xfs")
def guest_is_gone(w):
    """what is left of a guest that exists no more is found, and when it is asked for by its number"""
    w.create()
    w.run()
    cut(w)
    w.a.pvesr("delete", "100-0", "--force", check=True)
    os.unlink(os.path.join(w.c.tree, "nodes/pve1/qemu-server/100.conf"))
    assert sorted(f[0] for f in doctor(w, w.b)[0]) == ["kept", "left"]
    found, _ = doctor(w, w.b, "--guest", "100", "--repair")
    assert sorted(f[0] for f in found) == ["kept", "removed"], found
    assert not unfinished(w)


@scenario("xfs", "btrfs")
def job_file_is_gone(w):
    """a tree without replication.cfg says nothing of jobs that are gone: --repair removes no base, and the job goes on when it is back"""
    w.create()
    w.run()
    jobs = os.path.join(w.c.tree, "replication.cfg")
    os.rename(jobs, jobs + ".away")
    for node in (w.a, w.b):
        done = node.pvesr("doctor", "--repair")
        assert "removed" not in done.stdout, done.stdout
    os.rename(jobs + ".away", jobs)
    w.lab.write(0, 3)
    w.run()
    w.proved()
    assert "full sync" not in w.log(), w.log()


play_all()
