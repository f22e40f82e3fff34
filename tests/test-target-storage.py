#!/usr/bin/env python3
"""A job maps storages: what the guest has on "st" has its replica on "other", a storage of another kind, and the other way round after a
change of the owner. "st" is not for the target, so that nothing works by chance."""
import fcntl
import os
import shutil
import subprocess

import rig
from guestlab import same_file
from mapped import MappedWorld, failover, incremental
from scenario import GUEST

MAP = ("--target-storage", "st=other")
PAIRS = (("xfs", "btrfs"), ("btrfs", "xfs"), ("xfs", "xfs"), ("xfs", "plain"), ("plain", "btrfs"))
CASES = []


def mapped(*pairs):
    def add(f):
        CASES.append((f, pairs))
        return f
    return add


def play(f, kind, other):
    with rig.Cluster(storage=kind, ssh=False) as c:
        c.share_disk("other", other)
        c.change_storage("nodes pve1")
        a, b = c.node("pve1"), c.node("pve2")
        return f(MappedWorld(c, ("st", kind, a.store), ("other", other, os.path.join(b.mount, "other"))))


@mapped(*PAIRS)
def life(w):
    """full copy, increments, a disk grows, comes, goes: the replica on the other storage is equal, and of what went nothing is left"""
    w.create(*MAP)
    assert w.job()["target-storage"] == "st=other"
    w.run()
    w.proved()
    log = w.log()
    line = f"st:{w.lab.names.volname(0)} -> other:{w.lab.names_there.volname(0)}"
    assert log.count(line) == 1, log
    w.lab.write(0, 20)
    w.lab.punch(0)
    assert line in w.a.pvesr("plan", "100-0", check=True).stdout
    w.run()
    w.proved()
    if w.kinds["pve2"][1] != "plain":
        incremental(w)
    w.run()
    w.proved()
    w.lab.grow_disk(0)
    w.lab.add_disk()
    w.lab.write(0, 5)
    w.run()
    w.proved()
    w.lab.remove_disk(1)
    w.run()
    w.proved()


@mapped(("xfs", "btrfs"), ("btrfs", "xfs"))
def random_life(w):
    """random changes, guest snapshots among them"""
    w.create(*MAP)
    for _ in range(int(os.environ.get("PVESR_SOAK_RUNS", "25"))):
        w.lab.step()
        w.run()
        w.proved()


@mapped(("xfs", "btrfs"), ("btrfs", "xfs"), ("xfs", "plain"))
def removal(w):
    """deleting the job removes the replicas from the other storage, and nothing from the guest's"""
    w.create(*MAP)
    w.lab.add_disk()
    w.run()
    before = w.copy(w.lab.live(0))
    w.a.pvesr("delete", "100-0", check=True)
    w.run()
    assert not w.disks_at("pve2"), w.disks_at("pve2")
    assert same_file(w.lab.live(0), before)
    extras = os.path.join(w.c.tree, "replication-ext.cfg")
    assert not os.path.exists(extras) or os.path.getsize(extras) == 0


@mapped(("xfs", "btrfs"), ("xfs", "xfs"))
def map_lost(w):
    """what replication-ext.cfg says of the map is lost: no run makes another replica elsewhere and removes the one that there is"""
    w.create(*MAP, "--keep", "last=3")
    w.c.storage_more.clear()  # "st" is on both nodes
    w.c.write_tree()
    for _ in range(3):
        w.run()
    before = w.disks_at("pve2")
    with open(os.path.join(w.c.tree, "replication-ext.cfg"), encoding="utf-8") as f:
        text = f.read()
    for left in ("", text.replace("local: 100-0", "local: 100-9"), text.replace("target-storage", "target-stores"), text.replace("\ttarget-storage st=other\n", "")):
        assert left != text
        w.c.write("replication-ext.cfg", left)
        said = w.run(want=1).stderr
        assert ("'pvesr update 100-0 --target-storage st=other'" in said and "'--delete target-storage'" in said) or "--keep last=3" in said, said
        assert w.disks_at("pve2") == before, w.disks_at("pve2")
    w.a.pvesr("update", "100-0", "--keep", "last=3", check=True)
    assert "'pvesr update 100-0 --target-storage st=other'" in w.run(want=1).stderr
    assert w.disks_at("pve2") == before, w.disks_at("pve2")
    w.a.pvesr("update", "100-0", *MAP, "--keep", "last=1", check=True)
    w.run()
    w.proved()
    w.a.pvesr("update", "100-0", "--delete", "target-storage", check=True)
    w.run()


@mapped(("xfs", "btrfs"))
def removal_with_a_bad_map(w):
    """the same when the map was broken by hand meanwhile: no run, but the removal knows where the replicas are"""
    w.create(*MAP)
    w.run()
    w.c.write("replication-ext.cfg", "local: 100-0\n\ttarget-storage st\n\n")
    assert "invalid target-storage 'st'" in w.run(want=1).stderr
    w.a.pvesr("delete", "100-0", check=True)
    w.run()
    assert not w.disks_at("pve2"), w.disks_at("pve2")


@mapped(("xfs", "btrfs"))
def lost_state(w):
    """without the state the other storage is still searched: for a removed disk, and for what the job leaves"""
    w.create(*MAP)
    w.lab.add_disk()
    w.run()
    shutil.rmtree(w.a.state_dir)
    w.lab.remove_disk(1)
    w.run()
    w.proved()
    shutil.rmtree(w.a.state_dir)
    w.a.pvesr("delete", "100-0", check=True)
    w.run()
    assert not w.disks_at("pve2"), w.disks_at("pve2")


@mapped(("xfs", "btrfs"))
def map_changed(w):
    """the map changes: a full copy to the new storage, then the replica on the old one goes"""
    w.c.share_disk("third", "xfs")
    w.create(*MAP)
    w.run()
    w.a.pvesr("update", "100-0", "--target-storage", "st=third", check=True)
    w.kinds["pve2"] = ("third", "xfs", os.path.join(w.b.mount, "third"))
    w.face("pve2")
    w.run()
    w.proved()
    assert not w.disks_at("pve2"), w.disks_at("pve2")
    w.lab.write(0, 3)
    w.run()
    w.proved()
    incremental(w)


@mapped(("xfs", "btrfs"))
def map_removed(w):
    """without the map the run is refused, and the sentence names the remedy"""
    w.create(*MAP)
    w.run()
    w.a.pvesr("update", "100-0", "--delete", "target-storage", check=True)
    assert "target-storage" not in w.job()
    why = w.run(want=1).stderr
    assert "storage 'st' is not available on node 'pve2'" in why and "--target-storage" in why, why
    w.a.pvesr("update", "100-0", *MAP, check=True)
    w.lab.write(0, 3)
    w.run()
    w.proved()
    incremental(w)


@mapped(("xfs", "btrfs"))
def refused(w):
    """maps that cannot be are refused, at creation and at a change"""
    w.c.share_disk("common", "xfs")
    with open(os.path.join(w.c.tree, "storage.cfg"), "a") as f:
        f.write("dir: here\n\tpath /here\n\tnodes pve1\n\nnfs: remote\n\tpath /r\n\tserver x\n\texport /y\n\n")
    bad = {"st": "'st' is not STORAGE=STORAGE", "st=st": "mapped to itself", "st=other,st=common": "'st' is there twice",
           "st=other,common=other": "'other' is there twice", "st=other,other=common": "'other' is there twice",
           "st=nowhere": "storage 'nowhere' of target-storage 'st=nowhere' does not exist", "st=here": "not available on node 'pve2'",
           "st=remote": "is shared"}
    for text, why in bad.items():
        done = w.a.pvesr("create-local-job", "100-0", "pve2", "--target-storage", text)
        assert done.returncode != 0 and why in done.stderr, f"{text}: {done.stderr}"
    w.create(*MAP)
    for text, why in bad.items():
        done = w.a.pvesr("update", "100-0", "--target-storage", text)
        assert done.returncode != 0 and why in done.stderr, f"{text}: {done.stderr}"
    w.run()
    w.proved()


@mapped(("xfs", "btrfs"))
def no_counterpart(w):
    """a qcow2 file goes to another directory storage, but not to btrfs: the sentence names it"""
    w.create(*MAP)
    path = os.path.join(w.lab.names.folder(w.lab.source), "vm-100-disk-9.qcow2")
    shutil.copyfile(w.lab.live(0), path)
    w.write_guest(w.lab.config() + "scsi9: st:100/vm-100-disk-9.qcow2\n")
    why = w.run(want=1).stderr
    assert "st:100/vm-100-disk-9.qcow2" in why and "convert the disk to raw" in why, why
    os.unlink(path)
    w.lab.save()
    w.run()
    w.proved()


@mapped(("btrfs", "btrfs"))
def container(w):
    """a container's subvolume goes to another btrfs storage; to a directory it is refused"""
    w.c.share_disk("files", "xfs")
    folder = os.path.join(w.a.store, "images", "101")
    os.makedirs(folder)
    sub = os.path.join(folder, "subvol-101-disk-0.subvol")
    subprocess.run(["btrfs", "subvolume", "create", sub[:-7]], check=True, stdout=subprocess.DEVNULL)
    w.c.write_guest("pve1", 101, "rootfs: st:101/subvol-101-disk-0.subvol,size=8M\n", kind="lxc")
    done = w.a.pvesr("create-local-job", "101-0", "pve2", "--target-storage", "st=files")
    assert done.returncode != 0 and "containers can be mapped" in done.stderr, done.stderr
    w.create(*MAP, job="101-0")
    for text in ("one", "two"):
        with open(os.path.join(sub[:-7], "hello"), "w") as f:
            f.write(text)
        w.run(job="101-0")
        with open(os.path.join(w.b.mount, "other", "images", "101", "subvol-101-disk-0", "hello")) as f:
            assert f.read() == text


@mapped(("xfs", "btrfs"), ("btrfs", "xfs"), ("xfs", "xfs"))
def owner_changes(w):
    """the guest goes to the target, with its disks named by hand, and back: only what changed travels, over the same entry"""
    w.create(*MAP)
    w.lab.add_disk()
    w.lab.take_guest_snapshot()
    w.run()
    w.steal("pve2")
    w.lab.save()
    w.lab.write(0, 10)
    w.lab.write(1, 10)
    w.run()
    w.proved()
    incremental(w)
    assert w.job()["source"] == "pve2"
    assert w.job()["target-storage"] == "st=other"
    w.lab.drop_guest_snapshot("snap0")
    w.lab.add_disk()
    w.run()
    w.proved()
    w.steal("pve1")
    w.lab.save()
    w.lab.write(0, 10)
    w.run()
    w.proved()
    incremental(w)


@mapped(("xfs", "btrfs"), ("btrfs", "xfs"))
def failed_over(w):
    """the owner dies: failover moves the guest and names its disks, in snapshots too; what it writes goes back as a delta"""
    w.create(*MAP)
    w.lab.add_disk()
    w.lab.take_guest_snapshot()
    w.run()
    replicas = [w.copy(w.lab.replica(n)) for n in w.lab.disks]
    w.write_guest("#a comment: st:100/vm-100-disk-0.raw\n" + w.lab.config() + "odd line\n")
    config = w.guest_config("pve1")
    said = failover(w, "pve2", "--dry-run").stdout
    assert "st:100/vm-100-disk-1.raw -> other:100/vm-100-disk-1.raw, at __replicate_100-0_" in said, said
    assert w.guest_config("pve1") == config, w.guest_config("pve1")
    assert "may be alive" in failover(w, "pve2", want=1).stderr
    assert w.guest_config("pve1") == config, w.guest_config("pve1")
    failover(w, "pve2", "--force")
    first, rest = config.split("\n", maxsplit=1)
    assert w.guest_config("pve2") == first + "\n" + rest.replace(" st:", " other:")
    assert not os.path.exists(os.path.join(w.c.tree, "nodes", "pve1", "qemu-server", f"{GUEST}.conf"))
    assert w.job()["source"] == "pve2" and w.job()["target"] == "pve1"
    assert all(same_file(w.lab.live(n), copy) for n, copy in zip(w.lab.disks, replicas))
    failover(w, "pve2")
    w.lab.write(0, 10)
    w.lab.grow_disk(1)
    w.run()
    w.proved()
    incremental(w)
    failover(w, "pve1", "--force")
    assert w.guest_config("pve1") == w.lab.config(), w.guest_config("pve1")
    w.lab.write(0, 3)
    w.run()
    w.proved()
    incremental(w)


@mapped(("xfs", "btrfs"))
def edited_by_the_tools(w):
    """a tool that edits the guest's configuration on the node to which it fails over is waited for, and then finds it with its new names"""
    w.create(*MAP)
    w.run()
    folder = "/run/lock/qemu-server"
    os.makedirs(folder)
    path = os.path.join(folder, f"lock-{GUEST}.conf")
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        p = subprocess.Popen(w.b.argv("pvesr", "failover", str(GUEST), "--force"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        w.c.cleanup.callback(rig.stop, p)
        rig.wait_for(lambda: rig.has_open(p.pid, path), "the wait for the lock")
        assert os.path.exists(os.path.join(w.c.tree, "nodes", "pve1", "qemu-server", f"{GUEST}.conf"))
    assert p.wait(timeout=60 * rig.SLOW) == 0
    assert " other:" in w.guest_config("pve2") and " st:" not in w.guest_config("pve2")
    os.unlink(path)
    os.rmdir(folder)


@mapped(("xfs", "btrfs"))
def failover_killed(w):
    """killed before each renaming of a file: the guest has one configuration, and repeated, the command ends what it began"""
    w.create(*MAP)
    w.run()
    before, trace = w.lab.config(), os.path.join(w.c.dir, "trace")
    w.owner = "pve2"
    w.face("pve1")
    kills = [(call, when) for call in ("renameat2", "renameat") for when in range(1, 4)]
    # a leak check is a tracer, too, and there can be only one
    no_tracer = {"ASAN_OPTIONS": os.environ["ASAN_OPTIONS"] + ":detect_leaks=0"}
    done = []
    for call, when in kills:
        words = ["strace", "-qq", "-f", "-o", trace, "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={when}"]
        if w.b.pvesr("failover", str(GUEST), "--force", prefix=words, env=no_tracer).returncode != 0:
            done.append((call, when))
        owners = [n for n in ("pve1", "pve2") if os.path.exists(os.path.join(w.c.tree, "nodes", n, "qemu-server", "100.conf"))]
        assert len(owners) == 1 and w.guest_config(owners[0]) in (before, w.lab.config()), owners
        w.b.pvesr("failover", str(GUEST), "--force", check=True)
        assert w.guest_config("pve2") == w.lab.config() and w.job()["source"] == "pve2"
        w.c.write_guest("pve2", GUEST, before)
        w.c.move_guest(GUEST, "pve2", "pve1")
        w.a.pvesr("status", check=True)
    assert done == [("renameat2", 1), ("renameat", 1), ("renameat", 2), ("renameat", 3)], done
    w.b.pvesr("failover", str(GUEST), "--force", check=True)
    w.lab.write(0, 5)
    w.run()
    w.proved()
    incremental(w)


@mapped(("xfs", "plain"), ("plain", "xfs"))
def failed_over_plain(w):
    """the same where one of the two has no reflinks and keeps one restore point"""
    w.create(*MAP)
    w.lab.add_disk()
    for node, other in (("pve2", "pve1"), ("pve1", "pve2")):
        w.run()
        replicas = [w.copy(w.lab.replica(n)) for n in w.lab.disks]
        failover(w, node, "--force")
        assert w.guest_config(node) == w.lab.config()
        assert w.job()["target"] == other
        assert all(same_file(w.lab.live(n), copy) for n, copy in zip(w.lab.disks, replicas))
        w.lab.write(0, 5)
        w.run()
        w.proved()
        incremental(w)


@mapped(("xfs", "btrfs"))
def unlike_after_failover(w):
    """what the old owner wrote after the last run is kept aside there, on its own storage"""
    w.create(*MAP)
    w.run()
    w.lab.write(0, 5)
    lost = w.copy(w.lab.live(0))
    failover(w, "pve2", "--force")
    w.lab.write(0, 5)
    w.run()
    w.proved(asides=True)
    found, _ = w.lab.names_there.entries(w.lab.target)
    asides = [snap for n, snap in found if (snap or "").startswith("diverged_")]
    assert len(asides) == 1 and same_file(w.lab.names_there.aside(w.lab.target, 0, asides[0]), lost), found


@mapped(("xfs", "btrfs"), ("btrfs", "xfs"))
def back_at_once(w):
    """failed over, and back before a run: the disks have their former names again, and are what the former owner left"""
    w.create(*MAP)
    w.run()
    before = w.guest_config("pve1")
    w.lab.write(0, 5)
    left = w.copy(w.lab.live(0))
    failover(w, "pve2", "--force")
    failover(w, "pve1", "--force")
    assert w.guest_config("pve1") == before and same_file(w.lab.live(0), left)
    w.lab.write(0, 5)
    w.run()
    w.proved(asides=True)
    incremental(w)


@mapped(("xfs", "btrfs"))
def moved_by_hand(w):
    """the file was moved by hand with the old names: the run is refused and names the remedy, failover gives the disks their names"""
    w.create(*MAP)
    w.run()
    w.steal("pve2")
    why = w.run(want=1).stderr
    assert "pvesr failover 100" in why, why
    said = failover(w, "pve2", "--dry-run").stdout
    assert "-> other:100/vm-100-disk-0.raw" in said, said
    w.b.pvesr("failover", str(GUEST), check=True)
    assert w.guest_config("pve2") == w.lab.config()
    w.lab.write(0, 5)
    w.run()
    w.proved()
    incremental(w)


@mapped(("xfs", "btrfs"))
def failover_refused(w):
    """no job to the node, a disk that was never replicated, a storage that is written to: nothing is moved"""
    w.c.add_node("pve3")
    w.create(*MAP)
    config = w.guest_config("pve1")
    assert "has no replica on this node" in failover(w, "pve2", "--force", want=1).stderr
    w.run()
    assert "no job replicates guest 100" in failover(w, "pve3", "--force", want=1).stderr
    w.lab.add_disk()
    config = w.guest_config("pve1")
    why = failover(w, "pve2", "--force", want=1).stderr
    assert "st:100/vm-100-disk-1.raw" in why and "nothing was changed" in why, why
    assert w.guest_config("pve1") == config, w.guest_config("pve1")
    w.run()
    w.proved()


@mapped(("xfs", "btrfs"))
def failover_before_the_new_map(w):
    """the map was changed, and the owner died before a run: the replica on the old storage is taken, under its old name"""
    w.c.storage_more.clear()
    w.c.write_tree()
    w.create()
    w.run()
    w.a.pvesr("update", "100-0", *MAP, check=True)
    w.kinds["pve2"] = ("st", "xfs", w.b.store)
    failover(w, "pve2", "--force")
    assert w.guest_config("pve2") == w.lab.config()
    w.lab.write(0, 5)
    w.kinds["pve1"] = ("other", "btrfs", os.path.join(w.a.mount, "other"))
    w.face("pve1")
    w.run()
    w.proved()


def two_replicas(w, first, then):
    """The map changes while a replica is in use, so that it cannot be removed: two of them are on pve2. A copy of what each is, and the older one's point."""
    w.c.storage_more.clear()
    w.c.write_tree()
    w.create(*first)
    w.run()
    old = w.copy(w.lab.live(0))
    stores = {MAP: os.path.join(w.b.mount, "other"), (): w.b.store}
    names = {MAP: w.lab.names_there, (): w.lab.names}
    point = next(s for n, s in names[first].entries(stores[first])[0] if (s or "").startswith("__replicate_"))
    w.a.pvesr("update", "100-0", *(then or ("--delete", "target-storage")), check=True)
    w.lab.write(0, 20)
    with open(names[first].live(stores[first], 0), "r+b"):
        w.a.pvesr("run", "--id", "100-0", check=True)
    assert "WARNING" not in w.log(), w.log()
    w.a.pvesr("update", "100-0", *(first or ("--delete", "target-storage")), check=True)
    return old, w.copy(w.lab.live(0)), point


def now_on(w, store, copy):
    """The guest, on pve2, has its disk on that storage, and it is this."""
    path = {"st": w.lab.names.live(w.b.store, 0), "other": w.lab.names_there.live(os.path.join(w.b.mount, "other"), 0)}[store]
    assert f"scsi0: {store}:" in w.guest_config("pve2") and same_file(path, copy), w.guest_config("pve2")


@mapped(("xfs", "xfs"), ("xfs", "btrfs"))
def map_there_and_back(w):
    """the map is taken back, and set again, while what is no more wanted cannot be removed: no replica is said to be lost; one that is lost then, is"""
    two_replicas(w, MAP, ())
    w.lab.write(0, 20)
    w.run()
    assert "WARNING: the target had" not in w.log(), w.log()
    w.lab.write(0, 20)
    w.run()
    assert "WARNING" not in w.log() and not os.path.exists(w.lab.names.live(w.b.store, 0)), w.log()
    assert same_file(w.lab.live(0), w.lab.names_there.live(os.path.join(w.b.mount, "other"), 0))
    folder = os.path.join(w.b.mount, "other", "images", "100")
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        subprocess.run(["btrfs", "subvolume", "delete", path] if w.kinds["pve2"][1] == "btrfs" else ["rm", path], check=True, stdout=subprocess.DEVNULL)
    w.lab.write(0, 20)
    w.run()
    assert "WARNING: the target had" in w.log(), w.log()


@mapped(("xfs", "xfs"), ("xfs", "btrfs"))
def failover_to_the_newest(w):
    """the map was taken back, and set again before the old replica could be removed: the newest of the two is taken, though the map leads to the other, which is told; an older one by its point"""
    old, new, point = two_replicas(w, MAP, ())
    assert "-> other:" in w.b.pvesr("failover", "100", "--force", "--dry-run", "--point", point, check=True).stdout
    said = w.b.pvesr("failover", "100", "--force", check=True).stdout
    assert "'other:" in said and "is here, too" in said and point in said, said
    now_on(w, "st", new)


@mapped(("xfs", "xfs"), ("xfs", "btrfs"))
def failover_to_the_older_by_its_point(w):
    """the same, to the older one by the name of its point"""
    old, new, point = two_replicas(w, MAP, ())
    w.b.pvesr("failover", "100", "--force", "--point", point, check=True)
    now_on(w, "other", old)


@mapped(("xfs", "xfs"))
def moved_by_hand_to_the_newest(w):
    """the map was set, and the owner's file moved by hand before the replica of the same name could be removed: the newest is taken; what the guest has written is not given up for it"""
    old, new, point = two_replicas(w, (), MAP)
    w.a.pvesr("update", "100-0", *MAP, check=True)
    w.c.move_guest(100, "pve1", "pve2")
    live = w.lab.names.live(w.b.store, 0)
    with open(live, "r+b") as f:
        f.write(b"the guest was started here")
        os.fsync(f.fileno())
    said = w.b.pvesr("failover", "100", "--dry-run", check=True).stdout
    assert "-> other" not in said and "'other:" in said, said
    shutil.copyfile(old, live)
    w.b.pvesr("failover", "100", check=True)
    now_on(w, "other", new)


@mapped(("xfs", "btrfs"))
def other_job(w):
    """another job's replicas have the names of the old owner: failover says what would happen, and a map on that job lets it go on"""
    w.c.add_node("pve3")
    w.c.share_disk("third", "xfs")
    w.create(*MAP)
    w.create("--target-storage", "st=third", job="100-1", target="pve3")
    w.run()
    w.run(job="100-1")
    said = failover(w, "pve2", "--force").stdout
    assert "on node 'pve3' the replica of job '100-1' is 'third:100/vm-100-disk-0.raw'" in said, said
    w.b.pvesr("update", "100-1", "--target-storage", "other=third", check=True)
    w.lab.write(0, 5)
    w.run(job="100-1")
    log = w.log(w.b, "100-1")
    assert "incremental sync" in log and "full sync" not in log, log
    assert same_file(w.lab.live(0), os.path.join(w.c.node("pve3").mount, "third", "images", "100", "vm-100-disk-0.raw"))


for function, kinds in CASES:
    for one in kinds:
        rig.check(f"{function.__name__} from {one[0]} to {one[1]}: {function.__doc__.splitlines()[0]}",
                  lambda f=function, k=one: play(f, *k), needs=("root", "strace", *(k for k in set(one) if k != "plain")))
rig.main()
