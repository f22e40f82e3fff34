#!/usr/bin/env python3
"""What a life leaves behind: nothing. Disks that the guest has no more, guests that are gone, runs that were killed, jobs that were removed:
after each, all files with their attributes, datasets, LVs with their tags, processes and mounts are listed and compared with what was there
before.

PVESR_TEST_STORAGES (xfs btrfs plain) chooses the storages; also zfspool and lvmthin."""
import fcntl
import json
import os
import re
import shutil
import subprocess
import time

import rig
from guestlab import same_file
from scenario import GUEST, STORAGES, play_all, scenario

EVERY = [kind for kind in ("xfs", "btrfs", "plain", "zfspool", "lvmthin") if kind in STORAGES]


def attributes(path):
    try:
        return [name for name in os.listxattr(path, follow_symlinks=False) if "pvesr" in name]
    except OSError:
        return []


def below(top):
    """Every file and folder below, and what of ours is written into their attributes."""
    found = set()
    for folder, dirs, files in os.walk(top):
        for name in dirs + files:
            path = os.path.join(folder, name)
            found.add(os.path.relpath(path, top))
            found.update(f"{os.path.relpath(path, top)} {attribute}" for attribute in attributes(path))
    return found


def said(*argv):
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return set(done.stdout.splitlines()) if done.returncode == 0 else set()


def storage(w, store):
    """All that a node's storage holds."""
    if w.kind == "zfspool":
        return said("zfs", "list", "-H", "-o", "name", "-t", "all", "-r", store) | {
            line for line in said("zfs", "get", "-H", "-r", "-t", "all", "-s", "local", "-o", "name,property", "all", store)
            if "pvesr:" in line}
    if w.kind == "lvmthin":
        return said("lvs", "--noheadings", "-a", "-o", "lv_name,lv_tags", store)
    return below(store)


def processes(c):
    """Of ours, or started by us, that work for this cluster."""
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                line = f.read().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "pvesr" in line.partition(" ")[0] and c.dir in line:
            found.add(line)
    return found


def mounts(c):
    with open("/proc/self/mounts", encoding="utf-8") as f:
        return {line.split()[1] for line in f if c.dir in line}


def notes(node):
    """What is below the folders of state, logs, locks and running programs."""
    return {os.path.join(os.path.basename(top), name) for top in (node.state_dir, node.log_dir, node.lock_dir, node.run_dir)
            for name in below(top)}


def state(node):
    with open(os.path.join(node.state_dir, "pve-replication-state.json"), encoding="utf-8") as f:
        return json.load(f)


def entries(w, store, n):
    """Of disk n, whatever it is."""
    found, odd = w.lab.names.entries(store)
    return {snap for disk, snap in found if disk == n} | {name for name in odd if f"disk-{n}" in name}


def points(w, store, n):
    return {name for name in entries(w, store, n) if name and name.startswith("__replicate_")}


def forget(w, n):
    """Disk n is no more in the configuration; it stays where it is."""
    w.lab.disks.pop(n)
    w.lab.save()


DAMAGE = {
    "zeros at its end, as after a power cut": lambda line: "\0" * len(line),
    "a blank before it": lambda line: " " + line,
    "no colon": lambda line: line.replace(":", "", 1),
    "no value": lambda line: line[:line.index(":") + 1],
    "a conflict's mark": lambda line: "<<<<<<< " + line,
    "its key there twice": lambda line: line + "\n" + line.replace("disk-1", "disk-0"),
    "no volume among its options": lambda line: line[:line.index(":")] + ": size=4M",
    "its volume under a key that nobody knows": lambda line: line.replace(": ", ": FILE="),
    "blanks in it": lambda line: line.replace(": ", ": file = "),
    "two volumes": lambda line: line.replace(": ", ": cdrom,file="),
    "a medium, and the disk beside it": lambda line: line.replace(": ", ": none,media=cdrom,x="),
    "its key in capitals": str.upper,
    "its key in capitals, the volume as it was": lambda line: line[:line.index(":")].upper() + line[line.index(":"):],
    "a slot that there is not": lambda line: "scsi31" + line[line.index(":"):],
    "a section of its own before it": lambda line: "[special:x]\n" + line,
    "a bus that nobody knows": lambda line: "nvme1" + line[line.index(":"):],
}

READ = {
    "its options first": lambda line: ": cache=none,discard=on,".join(line.split(": ", 1)),
    "the other name of its volume": lambda line: line.replace(": ", ": cache=none,volume="),
    "the name of its volume behind options": lambda line: line.replace(": ", ": cache=none,file="),
    "words about it": lambda line: line + "\ndescription: was " + line + "\nargs: -device x,drive=" + line[line.index(":") + 2:],
    "words about it of a snapshot": lambda line: line + "\n[before]\ndescription: was " + line + "\n" + line,
    "words of its options": lambda line: line + ",serial=a:vm-100-disk-1,wwn=a:vm-100-x",
}


@scenario("xfs", "plain", "btrfs")
def kept_by_its_name(w):
    """a job is removed whose replica was written to: what its log says is kept, and nothing else, is there"""
    w.create()
    w.run()
    kept = w.write_there()
    w.a.pvesr("delete", "100-0", check=True)
    said = w.a.pvesr("run", "--id", "100-0", "--verbose")
    log = said.stdout + said.stderr + (w.log() if os.path.exists(os.path.join(w.a.log_dir, "100-0")) else "")
    assert said.returncode == 0 and w.lab.names.entries(w.b.store)[0] == {(0, name) for _, name in w.asides(w.b.store)}, log
    assert set(re.findall(r"kept as '([^']+)'", log)) == {name for _, name in w.asides(w.b.store)} and w.kept_aside(w.b.store, 0, kept), log


@scenario()
def configuration_that_hides_a_disk(w):
    """a line of the guest's configuration is damaged: the run fails and names it, and the disk that it was about keeps its replica and its points"""
    w.lab.add_disk()
    w.create()
    w.run()
    path = os.path.join(w.c.tree, f"nodes/pve1/qemu-server/{GUEST}.conf")
    with open(path, encoding="utf-8") as f:
        sound = f.read()
    line = next(l for l in sound.splitlines() if "disk-1" in l)
    before = [w.lab.names.entries(node.store)[0] for node in (w.a, w.b)]
    replicas = {n: w.copy(w.lab.replica(n)) for n in w.lab.disks}
    for what, damage in DAMAGE.items():
        w.c.write_guest("pve1", GUEST, sound.replace(line, damage(line)))
        w.lab.write(0, 1)
        said = w.run(want=1).stderr
        assert f"{GUEST}.conf, line " in said and "is not understood" in said, f"{what}: {said}"
        assert w.a.pvesr("plan", "100-0").returncode == 1, what
        assert w.a.pvesr("create-local-job", "100-1", "pve3").returncode == 1, what
        there = w.b.pvesr("failover", str(GUEST), "--force")
        assert there.returncode and "is not understood" in there.stderr and os.path.exists(path), f"{what}: {there.stdout}{there.stderr}"
        assert [w.lab.names.entries(node.store)[0] for node in (w.a, w.b)] == before, f"{what}: {w.log()}"
        assert all(same_file(w.lab.replica(n), replicas[n]) for n in replicas), what
    for what, other in READ.items():
        w.c.write_guest("pve1", GUEST, sound.replace(line, other(line)))
        w.lab.write(1, 1)
        w.run()
        assert "full sync" not in w.log(), f"{what}: {w.log()}"
        w.proved()
    w.c.write_guest("pve1", GUEST, sound)
    for n in w.lab.disks:
        w.lab.write(n, 3)
    w.run()
    assert "full sync" not in w.log(), w.log()
    w.proved()


def delete_as_stock(w, n):
    """The image of a disk here, without what it does not know."""
    if w.kind in ("xfs", "plain"):
        os.unlink(w.lab.names.live(w.a.store, n))
    elif w.kind == "lvmthin":
        subprocess.run(["lvremove", "-qq", "-y", w.lab.names.live(w.a.store, n)], check=True)
    else:
        w.lab.names.remove(w.a.store, n)


def let_go(w, node, n):
    """A person says that nobody needs what this node has of a disk."""
    node.pvesr("doctor", "--guest", "100", "--free", f"{w.lab.storage_id}:{w.lab.names_there.volname(n)}", check=True)


@scenario(*EVERY)
def disk_is_gone(w):
    """a disk that is deleted as stock does it: nothing of the job is left of it; of one that only the configuration lost all stays, until it is deleted, or let go on the target"""
    for _ in range(3):
        w.lab.add_disk()
    w.create()
    w.run()
    for n in (1, 2, 3):
        forget(w, n)
    delete_as_stock(w, 2)
    here, there = ([entries(w, store, n) for n in (1, 3)] for store in (w.a.store, w.b.store))
    assert all(len(e) > 1 for e in here) and all(there)
    for again in range(2):
        w.lab.write(0, 3)
        done = w.run()
        assert not entries(w, w.a.store, 2) and not entries(w, w.b.store, 2), f"left: {entries(w, w.a.store, 2)}, {entries(w, w.b.store, 2)}"
        assert [entries(w, w.a.store, n) for n in (1, 3)] == here and [entries(w, w.b.store, n) for n in (1, 3)] == there, w.log()
        assert w.log().count("is still on this node") == 2 and done.stderr.count("is still on this node") == 2 * (again == 0), done
    assert "disk-1" in "".join(w.status()["100-0"]["notes"]), w.status()
    assert "is still on this node" in w.a.pvesr("plan", "100-0", check=True).stdout
    let_go(w, w.b, 1)
    delete_as_stock(w, 3)
    w.lab.write(0, 3)
    w.run()
    assert entries(w, w.a.store, 1) == {None}, f"left on the source: {entries(w, w.a.store, 1)}"
    assert not any(entries(w, store, n) for store, n in ((w.b.store, 1), (w.a.store, 3), (w.b.store, 3))), w.log()
    assert "notes" not in w.status()["100-0"], w.status()
    w.lab.names.remove(w.a.store, 1)
    w.proved()


@scenario(*(kind for kind in EVERY if kind in ("xfs", "btrfs", "plain")))
def disk_is_lost(w):
    """disks that were missing when a run looked for them: once the configuration names them no more, their replicas and history stay, until they are let go"""
    w.lab.add_disk()
    w.lab.add_disk()
    w.create("--keep", "last=3")
    for _ in range(2):
        w.lab.write(1, 3)
        w.run()
    there = [entries(w, w.b.store, n) for n in (1, 2)]
    w.lab.names.remove(w.a.store, 1)
    w.lab.names.remove(w.a.store, 2)
    done = w.run(want=1)
    assert "What node 'pve2' has of it" in done.stderr and "stays in either case" in done.stderr, done
    forget(w, 1)
    forget(w, 2)
    for again in range(5):
        w.lab.write(0, 3)
        done = w.run()
        assert [entries(w, w.b.store, n) for n in (1, 2)] == there, w.log()
        assert "may be the only copy" in w.log() and ("may be the only copy" in done.stderr) == (again == 0), done
    let_go(w, w.b, 1)
    let_go(w, w.b, 2)
    w.run()
    assert not entries(w, w.b.store, 1) and not entries(w, w.b.store, 2) and "WARNING" not in w.log(), w.log()
    w.lab.next_disk = 1
    w.lab.add_disk()
    w.run()
    assert entries(w, w.b.store, 1), w.log()
    w.lab.remove_disk(1)
    w.run()
    assert not entries(w, w.b.store, 1) and "WARNING" not in w.log(), w.log()


@scenario("xfs", "btrfs", "plain")
def disk_is_being_removed(w):
    """a run comes between the removal of a disk's image and that of its line: while somebody edits the configuration it is not lost, and its replica goes"""
    w.lab.add_disk()
    w.create()
    w.run()
    folder = "/run/lock/qemu-server"
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "lock-100.conf"), "a", encoding="utf-8") as edit:
        fcntl.flock(edit, fcntl.LOCK_EX)
        w.lab.names.remove(w.a.store, 1)
        w.run(want=1)
        forget(w, 1)
    w.run()
    assert not entries(w, w.b.store, 1) and "WARNING" not in w.log(), w.log()
    shutil.rmtree(folder)


@scenario(*(kind for kind in EVERY if kind in ("xfs", "btrfs", "plain")))
def job_goes_while_a_disk_is_lost(w):
    """a job is removed while a disk is missing here: of that disk the replica stays, as the plan says, and doctor on the target names it"""
    w.lab.add_disk()
    w.create()
    w.run()
    there = entries(w, w.b.store, 1)
    w.lab.names.remove(w.a.store, 1)
    w.run(want=1)
    w.a.pvesr("delete", "100-0", check=True)
    plan = w.a.pvesr("plan", "100-0", check=True).stdout
    assert "may be the only copy" in plan and plan.count("destroy '") == 1, plan
    w.run()
    assert entries(w, w.b.store, 1) == there and not entries(w, w.b.store, 0), w.log()
    assert any("disk-1" in volid and "--free" in text for _, volid, text in doctor(w.b)), doctor(w.b)
    let_go(w, w.b, 1)
    assert not entries(w, w.b.store, 1)


@scenario(*(kind for kind in EVERY if kind in ("xfs", "btrfs", "plain")))
def disk_comes_back(w):
    """a disk that the guest had not when a run began, and has again when it ends, keeps its replica and its points on both sides"""
    w.lab.add_disk()
    w.create()
    w.run()
    w.proved()
    here, there = entries(w, w.a.store, 1), entries(w, w.b.store, 1)
    text = w.lab.config()
    image = w.lab.names.image(w.a.store, 1)
    os.rename(image, image + ".away")
    w.write_guest("\n".join(line for line in text.splitlines() if "disk-1" not in line) + "\n")
    w.lab.write(0, 3)
    with open(w.lab.live(0), "r+b") as f:
        f.write(os.urandom(3 << 20))
    w.a.pvesr("update", "100-0", "--rate", "1", check=True)
    p = subprocess.Popen(w.a.argv("pvesr", "run", "--id", "100-0"), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    w.c.cleanup.callback(rig.stop, p)
    stage = os.path.join(w.lab.names.folder(w.b.store), ".pvesr-stage." + os.path.basename(w.lab.names.image(w.b.store, 0)))
    rig.wait_for(lambda: p.poll() is not None or os.path.exists(stage), "the transfer")
    assert p.poll() is None
    os.rename(image + ".away", image)
    w.write_guest(text)  # it was a mistake, and corrected at once
    p.wait()
    assert entries(w, w.b.store, 1) == there, f"on the target: {entries(w, w.b.store, 1)}, not {there}: {w.log()}"
    assert entries(w, w.a.store, 1) == here, f"on the source: {entries(w, w.a.store, 1)}, not {here}: {w.log()}"
    assert "has it again by now" in w.log(), w.log()
    w.a.pvesr("update", "100-0", "--rate", "0", check=False)
    w.run()
    w.proved()


@scenario(*EVERY)
def next_guest_of_this_id(w):
    """what a guest left that is gone, with its job, is not removed by the runs, nor with the job, of the next guest of its id; that job's own is"""
    w.lab.add_disk()
    w.lab.remove_disk(0)
    w.create()
    w.run()
    w.proved()
    left = entries(w, w.b.store, 1)
    assert left
    w.a.pvesr("delete", "100-0", "--force", check=True)
    os.unlink(os.path.join(w.c.tree, "nodes/pve1/qemu-server/100.conf"))
    w.lab.names.remove(w.a.store, 1)
    w.lab.disks.clear()
    w.a.pvesr("run", "--mail", "0")
    began = int(time.time())
    rig.wait_for(lambda: time.time() >= began + 1, "the next second: points carry that in which their run began")
    w.lab.next_disk = 0
    w.lab.add_disk()
    w.create()
    w.run()
    assert entries(w, w.b.store, 1) == left, w.log()
    assert re.search(r"is of a former job '100-0'.* on that node: 'pvesr doctor --guest 100 --free \S*disk-1", w.log()), w.log()
    told = [f for f in doctor(w.b) if "former guest" in f[2]]
    assert [f[0] for f in told] == ["kept"] and "disk-1" in told[0][1] and f"'pvesr doctor --guest 100 --free {told[0][1]}'" in told[0][2], told
    w.lab.next_disk = 2
    w.lab.add_disk()
    w.run()
    forget(w, 2)
    delete_as_stock(w, 2)
    w.run()
    assert not entries(w, w.b.store, 2), w.log()
    assert entries(w, w.b.store, 1) == left, w.log()
    w.a.pvesr("delete", "100-0", check=True)
    w.run()
    assert not entries(w, w.b.store, 0), w.log()
    assert entries(w, w.b.store, 1) == left, w.log()


@scenario(*(kind for kind in EVERY if kind != "plain"))
def history_of_a_disk_that_is_gone(w):
    """a disk is detached on the node that was the target: what that received, and the job's rules keep, stays there; other points go"""
    w.lab.add_disk()
    w.create("--keep", "last=3")
    for _ in range(3):
        w.lab.write(0, 3)
        w.lab.write(1, 3)
        w.run()
    received = points(w, w.b.store, 1)
    assert len(received) == 3
    w.steal("pve2")
    w.lab.write(1, 3)
    w.run()
    forget(w, 1)
    let_go(w, w.a, 1)
    w.lab.write(0, 3)
    w.run()
    left, both = points(w, w.b.store, 1), points(w, w.b.store, 0)
    assert left and left == received & both, f"{left} of {received}, disk 0 has {both}: {w.log()}"
    w.b.pvesr("delete", "100-0", check=True)
    w.run()
    assert not points(w, w.b.store, 1), w.log()


@scenario(*EVERY)
def all_disks_are_replaced(w):
    """all disks of a guest are replaced at once (moved to another storage, restored): what is left of the old ones is no former guest's, and goes"""
    bare = w.lab.config
    w.lab.config = lambda: "net0: virtio=BC:24:11:00:00:0A,bridge=vmbr0\n" + bare()
    w.lab.add_disk()
    w.create()
    w.run()
    w.proved()
    began = int(time.time())
    rig.wait_for(lambda: time.time() >= began + 1, "the next second: points carry that in which their run began")
    for n in list(w.lab.disks):
        w.lab.remove_disk(n)
    w.lab.add_disk()
    w.run()
    assert "former" not in w.log(), w.log()
    assert not entries(w, w.b.store, 0) and not entries(w, w.b.store, 1), w.log()
    w.proved()


def doctor(node, *more):
    """(state, volid, text) of each finding."""
    done = node.pvesr("doctor", "--output-format", "json", *more, check=True)
    return [(f["state"], f["volid"], f["text"]) for f in json.loads(done.stdout) if f["state"] != "takeover"]


@scenario(*EVERY)
def job_is_disabled(w):
    """a disk that is detached while no run comes, doctor names its points here, and removes them on request"""
    w.lab.add_disk()
    w.create()
    w.run()
    w.a.pvesr("disable", "100-0", check=True)
    forget(w, 1)
    left = [f for f in doctor(w.a) if f[0] == "left"]
    assert len(left) == 1 and "disk-1" in left[0][1], left
    assert [f[0] for f in doctor(w.a, "--repair")] == ["removed"] and doctor(w.a) == []
    assert entries(w, w.a.store, 1) == {None} and None in entries(w, w.b.store, 1)
    w.lab.names.remove(w.a.store, 1)
    w.a.pvesr("enable", "100-0", check=True)
    w.run()
    w.proved()


@scenario(*EVERY)
def guest_is_destroyed(w):
    """a guest that exists no more, with its job or without: doctor on the target finds its replica, and what is kept aside, by itself"""
    w.create()
    w.run()
    w.write_there()
    w.run()
    kept = w.lab.names.entries(w.b.store)
    os.unlink(os.path.join(w.c.tree, "nodes/pve1/qemu-server/100.conf"))
    found = doctor(w.b, "--repair")
    assert all("exists no more" not in f[2] for f in found), f"with its job: {found}"
    w.a.pvesr("delete", "100-0", "--force", check=True)
    found = doctor(w.b, "--repair")
    assert {f[0] for f in found} == {"kept"} and any("replica of job '100-0'" in f[2] and "exists no more" in f[2] for f in found), found
    assert w.lab.names.entries(w.b.store) == kept, "something was removed"
    if w.kind == "plain":
        return  # what is kept aside is a file of its own there, which goes with nothing
    w.lab.names.remove(w.b.store, 0) if w.kind == "zfspool" else leave_asides(w, w.b.store)
    found = doctor(w.b)
    assert w.kind == "zfspool" or any("diverged_" in f[2] for f in found), f"nobody sees what is kept aside: {found}"


def killed(w, node, call, nth):
    """A run of which the source, or the agent on the target, is killed at the nth of these calls."""
    words = rig.strace("-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={nth}")
    w.lab.write(0, 3)
    if node is w.b:
        w.c.set_agent("pve2", words)
    w.a.pvesr("run", "--id", "100-0", prefix=words if node is w.a else ())
    w.c.set_agent("pve2", [])


# What is kept of each guest or job that ever was: nothing that grows with its runs, and of no content. A guest's folder stays, as stock
# leaves it; attributes of subvolumes that are gone are removed when there are more of them than names.
KEPT = re.compile(r"lock/(pvesr\.lck|pve-migrate-\d+|pvesr-(agent|verify)-\d+)$|state/pvesr-journal\.db(-wal|-shm|\.lck)?$|"
                  r"state/pve-replication-state\.(json|lck)$|state/pvesr-(commits|guests(/100-0)?)$|log/100-0$|tree/priv(/lock(/file-replication_cfg)?)?$|"
                  r"images(/100)?( user\.pvesr\.(bonds|at\.\w+))?$")


def all_there_is(w):
    found = {f"{node.name} {name}" for node in (w.a, w.b) for name in storage(w, node.store) if not KEPT.match(name)}
    found |= {f"{node.name} {name}" for node in (w.a, w.b) for name in notes(node) if not KEPT.search(name)}
    found |= {f"tree/{name}" for name in below(w.c.tree) if not KEPT.search(f"tree/{name}") and (name != "replication-ext.cfg" or ext(w))}
    return found | processes(w.c) | mounts(w.c)


def ready(w):
    """Both nodes have been at work once, so that what only the first run makes is there."""
    w.c.write("replication.cfg", "\n")
    for node in (w.a, w.b):
        node.pvesr("doctor", check=True)


@scenario(*EVERY)
def whole_life(w):
    """runs that end, fail, or are killed on either side, disks that come and go; then the job is removed: all is as before it was made"""
    w.lab.add_disk()
    ready(w)
    before = all_there_is(w)
    w.create("--keep", "last=3")
    for node, call, nth in ((w.a, "fsync", 3), (w.b, "fsync", 2), (w.a, "rename,renameat,renameat2", 2), (w.b, "rename,renameat,renameat2", 1)):
        killed(w, node, call, nth)
        w.run()
    w.lab.add_disk()
    undo = w.block(0)
    w.lab.write(0, 3)
    w.run(want=1)
    undo()
    w.run()
    w.a.pvesr("verify", "100-0", check=True)
    forget(w, 2)
    for node, call, nth in ((w.a, "rename,renameat,renameat2", 1), (w.b, "fsync", 4)):
        killed(w, node, call, nth)
    w.run()
    assert state(w.a)["100"]["local/pve2"].get("pid") is None
    killed(w, w.a, "fsync", 4)
    w.a.pvesr("delete", "100-0", check=True)
    w.run()
    w.lab.names.remove(w.a.store, 2)
    for node in (w.a, w.b):
        assert doctor(node, "--repair") == []
    assert state(w.a) == {}, state(w.a)
    after = all_there_is(w)
    assert after == before, f"left: {sorted(after - before)}, gone: {sorted(before - after)}"


def made_anew(w, new_id="100-0", target="pve2", more=""):
    """The described tool removes the job and makes another, while no daemon of ours looks: it drops the section and appends one."""
    path = os.path.join(w.c.tree, "replication.cfg")
    with open(path, encoding="utf-8") as f:
        sections = [s for s in f.read().split("\n\n") if s.strip() and not s.startswith("local: 100-0")]
    with open(path, "w", encoding="utf-8") as f:
        f.write("".join(f"{s.strip()}\n\n" for s in [*sections, f"local: {new_id}\n\ttarget {target}\n\tsource pve1{more}"]))


def ext(w):
    with open(os.path.join(w.c.tree, "replication-ext.cfg"), encoding="utf-8") as f:
        return f.read()


@scenario("xfs")
def job_is_made_anew(w):
    """a job that another tool removed and made anew has nothing of the settings and the state of the one before, as far as that can be known"""
    w.c.add_node("pve3")
    w.c.write_guest("pve1", 101, "memory: 16\nscsi0: st:101/vm-101-disk-0.raw,size=8M\n")
    w.create("--keep", "last=5", "--max-age", "3d")
    w.a.pvesr("create-local-job", "101-0", "pve2", "--keep", "last=7", check=True)
    # a tool's edit, a move and the way back: the settings stay
    w.run()
    w.steal("pve2")
    w.b.pvesr("status", check=True)
    w.steal("pve1")
    w.a.pvesr("status", check=True)
    assert w.job()["keep"] == "last=5"
    # to another target
    made_anew(w, target="pve3")
    assert "keep" not in w.job() and "max_age" not in w.job() and "max-age" not in w.job(), w.job()
    # appended behind what stood behind it
    made_anew(w)
    done = w.a.pvesr("status", check=True)
    assert "job '100-0' has moved within replication.cfg" in done.stderr and w.job()["keep"] == "last=5", done.stderr
    made_anew(w, target="pve3", more="\n\tdisable")
    daemon = w.a.popen(program="pvesrd")
    rig.wait_for(lambda: "local: 100-0" not in ext(w), "the daemon")
    rig.stop(daemon)
    made_anew(w)
    # the settings that are given now are its own, and of the last section nobody can know
    w.a.pvesr("update", "100-0", "--keep", "last=2", check=True)
    assert w.job()["keep"] == "last=2" and w.job("101-0")["keep"] == "last=7"
    # another id to the same target: the state is of the former, whose history stays until a person frees it
    w.run()
    assert w.status()["100-0"]["last_sync"]
    made_anew(w, "100-4")
    assert not w.status()["100-4"].get("last_sync"), w.status()
    w.run(job="100-4")
    w.proved(job="100-4", others=True)
    assert sum((s or "").startswith("__replicate_100-0_") for _, s in w.lab.names.entries(w.b.store)[0]) == 2


def leave_asides(w, store):
    """Somebody removes the replica with the storage's own tools, but not what is kept aside."""
    for n, snap in sorted(w.lab.names.entries(store)[0], key=str):
        if (snap or "").startswith("diverged_"):
            continue
        if w.kind == "lvmthin":  # its snapshot() is a copy
            subprocess.run(["lvremove", "-qq", "-y", w.lab.names.full(store, n, snap)], check=True)
            continue
        path = w.lab.names.snapshot(store, n, snap) if snap else w.lab.names.live(store, n)
        if w.kind == "btrfs":
            subprocess.run(["btrfs", "-q", "subvolume", "delete", os.path.dirname(path)], check=True)
        else:
            os.unlink(path)


play_all()
