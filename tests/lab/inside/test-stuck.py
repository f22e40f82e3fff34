#!/usr/bin/env python3
"""What a person does by hand to a pool or a volume group: the next run goes on by itself where that is safe, else its message has the command
that helps; and what only reads, reads. The data are compared bit by bit. The long form plays all."""
# deadline: 1500
# long: zfspool lvmthin
import json
import os

import rig

os.environ.setdefault("PVESR_TEST_STORAGES", "zfspool lvmthin")
if os.environ.get("PVESR_LAB_LONG") != "1":
    os.environ.setdefault("PVESR_TEST_SCENARIOS", "promoted rolled_back unknown_device")
from byhand import newest  # noqa: E402
from guestlab import same_file  # noqa: E402
from rigdisk import gone  # noqa: E402
from scenario import play_all, scenario  # noqa: E402
from theirs import PEOPLE  # noqa: E402


def begin(w, *more, runs=1):
    w.create(*more)
    for _ in range(runs):
        w.lab.write(0, 10)
        w.run()


def zvol(w, node, snap=None):
    return w.lab.names.dataset(node.store, 0, snap)


def goes_on(w, runs=2):
    """By increments, and the replica is what the guest has."""
    for _ in range(runs):
        w.lab.write(0, 5)
        w.run()
        assert "full sync" not in w.log(), w.log()
        assert same_file(w.lab.live(0), w.lab.replica(0)), "the replica is not what the guest has"


def fails(w, *words):
    """With a message that has these words; what it is that was there stays."""
    said = w.run(want=1).stderr
    assert all(word in said for word in words), said
    return said


def reads(w):
    """Whatever only looks does so."""
    for node, *words in ((w.b, "restore-points", "100"), (w.b, "doctor"), (w.a, "plan", "100-0")):
        done = node.pvesr(*words)
        assert done.returncode == 0, f"{words}: {done.stderr}{done.stdout}"
    assert newest(w) in w.b.pvesr("restore-points", "100").stdout


def promote(w, node, mine="mine"):
    """Somebody's clone of the newest point takes the points over."""
    snap = PEOPLE[w.kind](w, node.store).newest()
    rig.sh("zfs", "clone", zvol(w, node, snap), f"{node.store}/{mine}")
    rig.sh("zfs", "promote", f"{node.store}/{mine}")
    return PEOPLE[w.kind](w, node.store).snapshot(f"{node.store}/{mine}@{snap}")


@scenario("zfspool")
def promoted(w):
    """`zfs promote` of a clone took the points away, on the target and on the source: they are bases still, and somebody's, who keeps them"""
    begin(w)
    things = [promote(w, w.b)]
    assert "zfs promote" in w.b.pvesr("doctor").stdout
    goes_on(w)
    assert not w.asides(w.b.store), w.asides(w.b.store)
    things.append(promote(w, w.a))
    goes_on(w)
    assert not w.asides(w.b.store), w.asides(w.b.store)
    things.append(promote_again(w))
    goes_on(w, runs=1)
    assert not w.asides(w.b.store) and not any(t.faults() for t in things), [t.faults() for t in things]


def promote_again(w):
    """On the target, where nothing has changed since; a failover then shows what stands elsewhere, and was written to meanwhile."""
    thing = promote(w, w.b, "mine2")
    w.run()
    assert same_file(w.lab.live(0), w.lab.replica(0))
    return thing


@scenario("zfspool")
def rolled_back(w):
    """the replica was rolled back to an older point that --keep has: that is the base, by the bookmark that the source has of it"""
    begin(w, "--keep", "last=3", runs=3)
    points = PEOPLE[w.kind](w, w.b.store).points()
    assert len(points) == 3, points
    rig.sh("zfs", "rollback", "-r", zvol(w, w.b, points[0]))
    goes_on(w, runs=4)
    marks = rig.sh("zfs", "list", "-H", "-r", "-t", "bookmark", "-o", "name", w.a.store).split()
    assert sorted(m.partition("#")[2] for m in marks) == PEOPLE[w.kind](w, w.b.store).points(), marks
    w.a.pvesr("delete", "100-0", check=True)
    w.run()
    assert not rig.sh("zfs", "list", "-H", "-r", "-t", "bookmark", "-o", "name", w.a.store)


@scenario("zfspool")
def renamed_on_both(w):
    """somebody renamed the only common point on both sides: it is what it was, and stays under that name"""
    w.lab.take_guest_snapshot()  # no bookmarks
    w.lab.drop_guest_snapshot("snap0")
    begin(w)
    was = newest(w)
    things = [PEOPLE[w.kind](w, node.store).rename_point(0, was) for node in (w.a, w.b)]
    rig.sh("zfs", "destroy", f"{zvol(w, w.a)}#{was}")
    goes_on(w)
    assert not any(t.faults() for t in things), [t.faults() for t in things]


@scenario("zfspool")
def taken_back(w):
    """a commit is cut and goes back: what it had kept aside in a dataset of its own keeps the name by which everybody finds it"""
    w.lab.add_disk()
    begin(w)
    w.lab.write(0, 5, w.lab.replica(0))
    w.run()
    (n, aside), = asides = w.asides(w.b.store)
    one = {"as": newest(w), "was": "", "aside": "diverged_100-0_1", "keep-live": False, "anew": False}
    shown = f"{int(rig.sh('zfs', 'get', '-Hpo', 'value', 'guid', zvol(w, w.b, newest(w)))):032x}"
    volumes = [dict(one, volume=f"{w.c.storage_id}:vm-100-disk-0", id=shown, points=["__replicate_100-0_1__"], **{"points-as": [aside]}),
               dict(one, volume=f"{w.c.storage_id}:vm-100-disk-1", id="0" * 31 + "1")]
    folder = os.path.join(w.b.state_dir, "pvesr-commits")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "100.json"), "w", encoding="utf-8") as f:
        json.dump({"volumes": volumes}, f)
    done = w.b.pvesr("settle", "100")
    assert n == 0 and done.returncode and w.asides(w.b.store) == asides, f"{w.asides(w.b.store)}, not {asides}: {done.stdout}{done.stderr}"
    goes_on(w)
    w.proved(asides=True)


@scenario("zfspool")
def moved(w):
    """the guest moves after a last sync of each of its jobs: what the former owner has more says nothing new, and no dataset is kept for it"""
    w.c.add_node("pve3")
    begin(w)
    w.create(job="100-1", target="pve3")
    w.run(job="100-1")
    w.steal("pve2")
    w.status()
    goes_on(w, runs=1)
    left = rig.sh("zfs", "list", "-H", "-r", "-o", "name", w.a.store)
    assert "pvesr-kept-" not in left, left


@scenario("zfspool")
def held(w):
    """somebody holds points on both sides: they stay, runs go on, the log has the command"""
    begin(w)
    for node in (w.a, w.b):
        rig.sh("zfs", "hold", "mine", zvol(w, node, newest(w)))
    w.lab.write(0, 5, w.lab.replica(0))
    goes_on(w)
    assert w.log().count("zfs holds -r") >= 2, w.log()


@scenario("zfspool")
def old_pools(w):
    """pools without any of the features of OpenZFS, bookmarks among them"""
    for node in (w.a, w.b):
        pool = node.store.partition("/")[0]
        device = rig.sh("zpool", "list", "-vHP", "-o", "name", pool).split()[1]
        rig.sh("zpool", "destroy", "-f", pool)
        rig.sh("zpool", "create", "-f", "-d", "-o", "cachefile=none", "-m", os.path.join(node.dir, "pool"), pool, device)
        rig.sh("zfs", "create", node.store)
    w.lab.names.create(w.a.store, 0, w.lab.disks[0])
    begin(w)
    goes_on(w)
    w.proved()


@scenario("zfspool")
def read_only_pool(w):
    """the target's pool was imported read-only: runs fail and say so, what only reads does, and all goes on afterwards"""
    begin(w)
    pool = w.b.store.partition("/")[0]
    device = rig.sh("zpool", "list", "-vHP", "-o", "name", pool).split()[1]
    again = ["zpool", "import", "-o", "cachefile=none", "-d", device]
    gone(["zpool", "export", pool])  # udev may look at a volume of it
    rig.sh(*again, "-o", "readonly=on", pool)
    try:
        w.lab.write(0, 5)
        reads(w)
        fails(w, "read-only", "zpool export", "zpool import")
        done = w.b.pvesr("failover", "100", "--force")
        assert done.returncode and "zpool import" in done.stderr, done.stderr
    finally:
        gone(["zpool", "export", pool])  # udev may look at a volume of it
        rig.sh(*again, pool)
    goes_on(w)
    w.proved()


@scenario("lvmthin")
def merge_pending(w):
    """a point of the guest is to be merged into its volume at the next activation: the run says how that is ended"""
    begin(w)
    volume = f"{w.a.store}/vm-100-disk-0"
    with open(w.lab.live(0), "rb"):
        rig.sh("lvconvert", "--merge", f"{w.a.store}/snap_vm-100-disk-0_{newest(w)}")
        fails(w, f"lvchange -an {volume}", f"lvchange -ay {volume}")


@scenario("lvmthin")
def unknown_device(w):
    """the pool has a thin device of which LVM knows nothing, with the id that it gives to the next volume: the message has the command"""
    begin(w)
    pool = f"{w.b.store.replace('-', '--')}-thin-tpool"
    used = 1 + max(int(i) for i in rig.sh("lvs", "--noheadings", "-o", "thin_id", w.b.store).split())
    rig.sh("dmsetup", "message", pool, "0", f"create_thin {used}")
    w.lab.write(0, 5)
    reads(w)
    said = fails(w, f'dmsetup message /dev/mapper/{pool} 0 "delete {used}"')
    assert f"device {used}" in said, said
    rig.sh("dmsetup", "message", pool, "0", f"delete {used}")
    goes_on(w)
    w.proved()


@scenario("lvmthin")
def missing_disk(w):
    """a disk of the target's volume group is gone, though not one of the thin pool: runs fail with what to do, nothing goes, and all goes on afterwards"""
    begin(w)
    image = os.path.join(w.b.dir, "second.img")
    with open(image, "wb") as f:
        f.truncate(64 << 20)
    attach = ("losetup", "-f", "--show", image)
    loop = rig.sh(*attach).strip()
    rig.sh("pvcreate", "-qq", loop)
    rig.sh("vgextend", "-qq", w.b.store, loop)
    rig.sh("lvcreate", "-qq", "-an", "-l", "4", "-n", "other", w.b.store, loop)
    rig.sh("losetup", "-d", loop)
    before = w.lab.names.entries(w.b.store)
    w.lab.write(0, 5)
    reads(w)
    fails(w, "A disk of it is missing", f"vgextend --restoremissing {w.b.store}")
    assert "A disk of it is missing" in w.status()["100-0"]["error"], w.status()
    assert w.lab.names.entries(w.b.store) == before
    loop = rig.sh(*attach).strip()
    w.c.cleanup.callback(rig.sh, "losetup", "-d", loop)
    goes_on(w)
    rig.sh("lvremove", "-qq", "-y", f"{w.b.store}/other")
    w.proved()


@scenario("lvmthin")
def skipped(w):
    """volumes and points with other flags of activation than ours, and not active"""
    begin(w)
    for node in (w.a, w.b):
        for lv, flag in (("vm-100-disk-0", "-ky"), (f"snap_vm-100-disk-0_{newest(w)}", "-kn")):
            rig.sh("lvchange", flag, f"{node.store}/{lv}")
            rig.sh("lvchange", "-an", f"{node.store}/{lv}")
        w.run()
    goes_on(w)
    w.proved()


play_all()
