#!/usr/bin/env python3
"""An id comes again: of what a destroyed guest left on the target the newest is kept, and that is said. And what looks like another guest
and is none: nobody is warned, and nothing fails."""
import os
import shutil
import subprocess

import treeworld
from guestlab import same_file
from scenario import play_all, scenario

EVERY = ("xfs", "btrfs", "plain")
OTHER = "WARNING: guest 100 is another than that of the last run"


def known_as(w, uuid, mac):
    """The VM's configuration has these from now on; None: it has no such line."""
    w.bare = getattr(w, "bare", w.lab.config)
    lines = ([f"smbios1: uuid={uuid}"] if uuid else []) + ([f"net0: virtio={mac},bridge=vmbr0"] if mac else [])
    w.lab.config = lambda: "".join(line + "\n" for line in lines) + w.bare()
    w.lab.save()


ONE = ("99999999-2222-3333-4444-555555555555", "BC:24:11:00:00:01")
TWO = ("11111111-2222-3333-4444-555555555555", "BC:24:11:00:00:02")


def points(w, store):
    return sorted(s for _, s in w.lab.names.entries(store)[0] if (s or "").startswith("__replicate_"))


def note(node):
    return os.path.join(node.state_dir, "pvesr-guests", "100-0")


def some_runs(w, n=3):
    for _ in range(n):
        w.lab.write(0, 5)
        w.run()


def destroy(w):
    """The guest and its disk go as Proxmox VE's own tools remove them, who know nothing of what ours keep beside it."""
    w.c.node(w.owner).pvesr("delete", "100-0", "--force", check=True)
    renew(w)


def remove_live(w, n):
    store = w.lab.source
    if w.kind == "lvmthin":
        subprocess.run(["lvremove", "-q", "-f", w.lab.names.lv(store, n)], check=True, capture_output=True)
    elif w.kind == "btrfs":
        subprocess.run(["btrfs", "subvolume", "delete", w.lab.names.subvolume(store, n)], check=True, capture_output=True)
    else:
        os.unlink(w.lab.live(n))


def renew(w):
    """The live disk is another of the same name."""
    remove_live(w, 0)
    w.lab.names.create(w.lab.source, 0, w.lab.disks[0])
    w.lab.write(0, 40)


def is_told(w, done):
    """On stderr and in the log."""
    assert OTHER in done.stderr and OTHER in w.log(), done.stderr + w.log()


def goes_on(w):
    """As ever: what it says besides does not matter, but that there is nothing to be warned of."""
    w.lab.write(0, 20)
    done = w.run()
    assert same_file(w.lab.live(0), w.lab.replica(0)), w.log()
    assert "WARNING" not in w.log() and "WARNING" not in done.stderr and not w.asides(w.lab.target), w.log() + done.stderr


@scenario("xfs", "btrfs")
def plan_says_what_stays(w):
    """all disks of a guest that nothing tells from another one are new, a moment after the last run: plan says of the replicas what the run does"""
    w.create()
    w.run()
    w.lab.add_disk()
    w.lab.remove_disk(0)
    stays = f"'{w.c.storage_id}:{w.lab.names.volname(0)}' on the target"
    plan = w.a.pvesr("plan", "100-0", check=True).stdout
    assert f"keep {stays}" in plan and "destroy" not in plan, plan
    w.run()
    assert os.path.exists(w.lab.replica(0)) and stays in w.log(), w.log()


@scenario(*EVERY, "lvmthin")
def another_guest(w):
    """a new guest gets the id, the disk's name and the job's of one that was destroyed: plan and the run say so, and the dead one's newest restore point stays, whatever runs come"""
    known_as(w, *ONE)
    w.create()
    some_runs(w)
    dead = w.copy(w.lab.replica(0))
    assert points(w, w.a.store), "nothing is left that could be taken for a base"
    destroy(w)
    known_as(w, *TWO)
    w.create()
    plan = w.a.pvesr("plan", "100-0", check=True).stdout
    assert OTHER in plan, plan
    is_told(w, w.run())
    assert same_file(w.lab.live(0), w.lab.replica(0)) and w.kept_aside(w.b.store, 0, dead), w.log()
    for _ in range(3):
        w.lab.write(0, 5)
        done = w.run()
        assert OTHER not in w.log() + done.stderr, w.log()
    w.proved(asides=True)
    assert w.kept_aside(w.b.store, 0, dead), w.asides(w.b.store)
    assert "diverged_" in w.b.pvesr("doctor").stdout


@scenario(*EVERY)
def another_guest_in_its_job(w):
    """the same where nobody removed the job, and with rules of --keep"""
    known_as(w, *ONE)
    w.create("--keep", "last=3")
    some_runs(w)
    dead = w.copy(w.lab.replica(0))
    renew(w)
    known_as(w, *TWO)
    is_told(w, w.run())
    some_runs(w, 4)
    assert w.kept_aside(w.b.store, 0, dead), w.asides(w.b.store)
    assert OTHER not in w.log(), w.log()


@scenario("xfs", "btrfs", "lvmthin")
def its_other_disk(w):
    """the dead one had a disk more: its replica is not taken for one that the guest has no more, by no run, nor by the removal of the job"""
    known_as(w, *ONE)
    w.lab.add_disk()
    w.create()
    some_runs(w)
    dead = w.copy(w.lab.replica(1))
    remove_live(w, 1)
    w.lab.disks.pop(1)
    destroy(w)
    known_as(w, *TWO)
    w.create()
    is_told(w, w.run())
    some_runs(w)
    assert same_file(w.lab.names.live(w.b.store, 1), dead), w.log()
    w.a.pvesr("delete", "100-0", check=True)
    w.run()
    assert same_file(w.lab.names.live(w.b.store, 1), dead), w.log()


@scenario("xfs", "btrfs")
def cut_behind_its_commit(w):
    """the same, of a first run that is cut before it could note anything of its end: the next one knows whose it was"""
    known_as(w, *ONE)
    w.lab.add_disk()
    w.create()
    some_runs(w)
    dead = [w.copy(w.lab.replica(n)) for n in (0, 1)]
    remove_live(w, 1)
    w.lab.disks.pop(1)
    renew(w)
    known_as(w, *TWO)
    undo = w.block(0)
    w.run(want=1)
    undo()
    left = os.path.join(w.c.dir, "left")
    shutil.copytree(w.a.state_dir, left)
    w.run()
    for name in ("pvesr-guests/100-0", "pve-replication-state.json"):
        shutil.copy(os.path.join(left, name), os.path.join(w.a.state_dir, name))
    some_runs(w)
    assert same_file(w.lab.names.live(w.b.store, 1), dead[1]), w.log()
    assert w.kept_aside(w.b.store, 0, dead[0]) and same_file(w.lab.live(0), w.lab.replica(0)), w.asides(w.b.store)


MACHINE = "smbios1: uuid=%s\nnet0: virtio=%s,bridge=vmbr0\n" % ONE
NAMED = "arch: amd64\nhostname: %s\n"


def becomes(w, was, now):
    """Guest 100 was of that type and configuration, and another of this type and configuration gets its id and its disk's name."""
    def put(kind, text, key):
        for folder in ("qemu-server", "lxc"):
            if os.path.exists(path := os.path.join(w.c.tree, "nodes/pve1", folder, "100.conf")):
                os.unlink(path)
        w.c.write_guest("pve1", 100, f"{text}{key}: {w.lab.storage_id}:{w.lab.names.volname(0)},size=8M\n", kind)
    keys = {"qemu-server": "scsi0", "lxc": "rootfs"}
    put(*was, keys[was[0]])
    if not os.path.exists(os.path.join(w.c.tree, "replication.cfg")):
        w.create()
    some_runs(w)
    dead, asides = w.copy(w.lab.replica(0)), len(w.asides(w.b.store))
    renew(w)
    put(*now, keys[now[0]])
    plan = w.a.pvesr("plan", "100-0", check=True).stdout
    assert OTHER in plan, plan
    is_told(w, w.run())
    assert w.kept_aside(w.b.store, 0, dead) and same_file(w.lab.live(0), w.lab.replica(0)), w.log()
    some_runs(w, 2)
    assert OTHER not in w.log() and w.kept_aside(w.b.store, 0, dead) and len(w.asides(w.b.store)) == asides + 1, w.log()


@scenario("xfs", "plain")
def of_another_type(w):
    """a VM's id becomes a container's, and that one's a VM's, of which nothing else tells who they are; so does a container's that of a container of another name"""
    becomes(w, ("qemu-server", MACHINE), ("lxc", NAMED % "two"))
    becomes(w, ("lxc", NAMED % "two"), ("qemu-server", "name: three\n"))
    becomes(w, ("qemu-server", "name: three\n"), ("lxc", "arch: amd64\n"))
    becomes(w, ("lxc", NAMED % "four"), ("qemu-server", MACHINE))
    becomes(w, ("lxc", NAMED % "five"), ("lxc", NAMED % "six"))


@scenario("xfs", "btrfs", "lvmthin")
def removed_before_it_ran(w):
    """the job of the new guest is removed before it ran: the log says whose points go here, and the dead one's replica stays"""
    known_as(w, *ONE)
    w.create()
    some_runs(w)
    dead, began = w.copy(w.lab.replica(0)), points(w, w.b.store)
    destroy(w)
    known_as(w, *TWO)
    w.create()
    w.a.pvesr("delete", "100-0", check=True)
    w.run()
    assert "WARNING: guest 100 is another than that of the last run of this job" in w.log(), w.log()
    assert same_file(w.lab.replica(0), dead) and points(w, w.b.store) == began, w.log()


@scenario("xfs", "btrfs", "lvmthin")
def its_runs_fail_at_first(w):
    """runs of the new guest fail, some behind the first of its disks: the dead one's points are kept by that which succeeds"""
    known_as(w, *ONE)
    w.lab.add_disk()
    w.create()
    some_runs(w)
    dead = [w.copy(w.lab.replica(n)) for n in (0, 1)]
    renew(w)
    remove_live(w, 1)
    w.lab.names.create(w.lab.source, 1, w.lab.disks[1])
    known_as(w, *TWO)
    for n in (0, 1, 1):
        undo = w.block(n)
        w.lab.write(0, 5)
        w.lab.write(1, 5)
        w.run(want=1)
        undo()
    is_told(w, w.run())
    some_runs(w)
    for n in (0, 1):
        assert w.kept_aside(w.b.store, n, dead[n]), w.asides(w.b.store)
        assert same_file(w.lab.live(n), w.lab.replica(n))
    assert OTHER not in w.log(), w.log()


@scenario("xfs", "btrfs", "lvmthin")
def died_where_it_failed_over(w):
    """a guest fails over, is destroyed there, and another gets its id there: the replica on the former node is the dead one's"""
    known_as(w, *ONE)
    w.create()
    some_runs(w)
    w.b.pvesr("failover", "100", "--force", check=True)
    w.owner = "pve2"
    w.face("pve1")
    dead = w.copy(w.lab.names.live(w.a.store, 0))
    destroy(w)
    known_as(w, *TWO)
    w.create(target="pve1")
    is_told(w, w.run())
    assert w.kept_aside(w.a.store, 0, dead), w.asides(w.a.store)


@scenario(*EVERY)
def a_note_is_a_hint(w):
    """what was noted is damaged, of a time to come, a directory, or gone: runs go on, and are not refused; the first two are mended"""
    known_as(w, *ONE)
    w.create()
    some_runs(w, 1)
    for text in ("what", "epoch 1\nguest uuid:1111\ndisk 1\n", "epoch 99999999999\nguest uuid:1111\ndisk 1\n"):
        with open(note(w.a), "w") as f:
            f.write(text)
        with open(note(w.b), "w") as f:
            f.write(text)
        w.run()
        assert ("WARNING: which guest the last run was of cannot be read" in w.log()) == (text == "what"), w.log()
        assert OTHER not in w.log() and not w.asides(w.b.store), w.log()
        goes_on(w)
    for node in (w.a, w.b):
        shutil.rmtree(os.path.dirname(note(node)))
    goes_on(w)
    for node in (w.a, w.b):
        os.unlink(note(node))
        os.mkdir(note(node))
    w.run()
    assert w.log().count("WARNING: which guest") == 2 and "on the target" not in w.log(), w.log()
    w.proved()


# ---- one guest all the time ----

@scenario(*EVERY)
def other_names_and_addresses(w):
    """it gets other addresses, on its disk and with one made anew; another UUID and address on its old disk; loses both, and gets others"""
    known_as(w, *ONE)
    w.create()
    some_runs(w, 1)
    known_as(w, ONE[0], TWO[1])
    goes_on(w)
    renew(w)
    known_as(w, ONE[0], "BC:24:11:00:00:03")
    goes_on(w)
    known_as(w, TWO[0], "BC:24:11:00:00:04")
    goes_on(w)
    for uuid, mac in ((None, None), (None, "BC:24:11:00:00:05"), ONE, (None, None)):
        renew(w)
        known_as(w, uuid, mac)
        goes_on(w)


@scenario("xfs", "btrfs")
def rolled_back(w):
    """rolled back to a snapshot, at whose time it had another UUID and address"""
    known_as(w, *ONE)
    w.create()
    some_runs(w, 1)
    snap = w.lab.take_guest_snapshot()
    bare = w.bare
    w.bare = lambda: bare().replace(f"[{snap}]\n", f"[{snap}]\nsmbios1: uuid={ONE[0]}\nnet0: virtio={ONE[1]},bridge=vmbr0\n")
    known_as(w, *TWO)
    goes_on(w)
    w.lab.roll_back(snap)
    known_as(w, *ONE)
    goes_on(w)
    goes_on(w)


@scenario(*EVERY)
def restored(w):
    """restored from a backup over itself, twice: another disk, its UUID; the job stays, or is made anew"""
    known_as(w, *ONE)
    w.create()
    some_runs(w, 2)
    renew(w)
    goes_on(w)
    destroy(w)
    known_as(w, ONE[0], TWO[1])
    w.create()
    goes_on(w)


@scenario(*EVERY)
def disks_change(w):
    """a disk comes, the first is moved to another name, the second goes; the UUID and the address are others then"""
    known_as(w, *ONE)
    w.create()
    some_runs(w, 1)
    w.lab.add_disk()
    goes_on(w)
    w.lab.add_disk()
    known_as(w, *TWO)
    goes_on(w)
    w.lab.remove_disk(1)
    goes_on(w)
    w.lab.remove_disk(2)
    goes_on(w)


@scenario(*EVERY)
def there_and_back(w):
    """it fails over, lives there for a while with other addresses and a UUID of then, and comes back; and once more"""
    known_as(w, *ONE)
    w.create()
    some_runs(w, 2)
    for turn, (node, other) in enumerate((("pve2", "pve1"), ("pve1", "pve2")) * 2):
        w.c.node(node).pvesr("failover", "100", "--force", check=True)
        w.owner = node
        w.face(other)
        known_as(w, *(ONE if turn % 2 else TWO))
        goes_on(w)
        goes_on(w)


@scenario(*EVERY)
def migrated(w):
    """it is migrated by hand, and lives there with other addresses behind a note of long ago; then it comes back on another disk"""
    known_as(w, *ONE)
    w.create()
    some_runs(w, 2)
    old = open(note(w.a)).read()
    w.steal("pve2", target="pve1")
    known_as(w, ONE[0], TWO[1])
    goes_on(w)
    known_as(w, *TWO)
    goes_on(w)
    with open(note(w.a), "w") as f:  # as an earlier version on that node would have left it
        f.write(old)
    w.steal("pve1", target="pve2")
    goes_on(w)


@scenario(*EVERY)
def job_made_anew(w):
    """the job is removed and made anew, with what it left and without"""
    known_as(w, *ONE)
    w.create()
    some_runs(w, 1)
    w.a.pvesr("delete", "100-0", "--force", check=True)
    w.create()
    goes_on(w)
    w.a.pvesr("delete", "100-0", check=True)
    w.run()
    assert "WARNING" not in w.log(), w.log()
    w.create()
    goes_on(w)


@scenario("xfs", "btrfs")
def cloned_and_a_template(w):
    """a restore point becomes a guest of its own; it becomes a template"""
    known_as(w, *ONE)
    w.create()
    some_runs(w, 1)
    w.b.pvesr("clone", "100", points(w, w.b.store)[-1], "101", check=True)
    goes_on(w)
    w.lab.names.make_snapshot(w.a.store, 0, "__base__")
    text = w.lab.config
    w.lab.config = lambda: "template: 1\n" + text()
    w.lab.save()
    w.run()
    w.run()
    assert "WARNING" not in w.log() and not w.asides(w.b.store), w.log()


# ---- containers ----

def named(w, name, mac):
    w.lab.more = [f"net0: name=eth0,hwaddr={mac},bridge=vmbr0"]
    save = type(w.lab).save
    write = w.lab.write_config
    w.lab.write_config = lambda text: write(text.replace("hostname: lab", f"hostname: {name}"))
    save(w.lab)
    w.lab.write_config = write


def root_anew(w):
    subprocess.run(["btrfs", "subvolume", "delete", w.lab.live(0)], check=True, capture_output=True)
    w.lab.names.create(w.a.store, 0)
    w.lab.populate(0, 10)


def one_container(w):
    named(w, "one", ONE[1])
    w.create()
    w.run()
    named(w, "one", TWO[1])
    w.run()
    assert "WARNING" not in w.log(), w.log()
    root_anew(w)
    named(w, "one", "BC:24:11:00:00:03")
    w.run()
    assert "WARNING" not in w.log(), w.log()
    named(w, "two", "BC:24:11:00:00:04")
    w.run()
    assert "WARNING" not in w.log() and not w.lab.asides(w.b.store) and not w.lab.faults(), w.log()


def another_container(w):
    named(w, "one", ONE[1])
    w.create()
    w.run()
    dead = w.lab.tree(w.b.store, 0, fresh=True)
    root_anew(w)
    named(w, "two", TWO[1])
    done = w.run()
    assert "WARNING: guest 200 is another than that of the last run" in done.stderr, done.stderr + w.log()
    for _ in range(2):
        w.lab.change(0)
        w.run()
        assert "WARNING" not in w.log(), w.log()
    asides = w.lab.asides(w.b.store)
    assert len(asides) == 1 and w.lab.tree(w.b.store, 0, asides[0][1], fresh=True) == dead, asides
    assert not w.lab.faults(), w.lab.faults()


treeworld.play("a container's address changes, also with a root made anew; its name and address on its root: nobody is warned", "btrfs", one_container)
treeworld.play("another container gets the id: that is said, and the dead one's newest restore point stays", "btrfs", another_container)
play_all()
