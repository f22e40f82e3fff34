#!/usr/bin/env python3
"""What storage.cfg may become between two runs: shared, limited to a node, of another type. A disk of the guest is never taken for a
replica of it, and a replica that cannot be reached is not called removed. And jobs that go while others of the guest stay."""
import json
import os
import subprocess

from guestlab import same_file
from scenario import play_all, scenario


def share(w, here, there):
    """The storage becomes a shared one: `there` sees the folder of `here`."""
    subprocess.run(["mount", "--bind", here.store, there.store], check=True)
    w.c.cleanup.callback(subprocess.run, ["umount", "-l", there.store], check=False)
    w.c.change_storage("shared 1")


@scenario("xfs", "btrfs")
def shared_then_removed(w):
    """the storage became shared, then the job is deleted: the guest's disk stays"""
    w.create()
    w.run()
    live = w.lab.live(0)
    copy = w.copy(live)
    share(w, w.a, w.b)
    w.a.pvesr("delete", "100-0", check=True)
    w.run()
    assert same_file(live, copy)


@scenario("xfs", "btrfs")
def shared_on_a_former_target(w):
    """the same where the owner was the target once, and its disk is what it received"""
    w.create()
    w.run()
    w.steal("pve2")
    w.run()
    live = w.lab.live(0)
    copy = w.copy(live)
    share(w, w.b, w.a)
    w.b.pvesr("delete", "100-0", check=True)
    w.run()
    assert same_file(live, copy)


@scenario("xfs")
def shared_beside_another(w):
    """the same in an ordinary run, because the guest has a disk on another storage; it goes on once somebody has said that this disk stays out"""
    w.c.share_disk("two", "xfs")
    w.create()
    w.run()
    live = w.lab.live(0)
    copy = w.copy(live)
    folder = os.path.join(w.a.mount, "two", "images", "100")
    os.makedirs(folder)
    with open(os.path.join(folder, "vm-100-disk-9.raw"), "wb") as f:
        f.write(os.urandom(1 << 20))
    more = "scsi9: two:100/vm-100-disk-9.raw,size=1M\n"
    w.write_guest(w.lab.config() + more)
    share(w, w.a, w.b)
    assert "is called shared by now" in w.run(want=1).stderr and same_file(live, copy)
    w.write_guest(w.lab.config().replace(",size=", ",replicate=0,size=") + more)
    w.run()
    assert same_file(live, copy)


@scenario("xfs")
def not_for_the_target(w):
    """the storage is not for the target when the job is deleted: the removal fails and says so, and works later"""
    w.create()
    w.run()
    folder = w.lab.names.folder(w.b.store)
    w.c.change_storage("nodes pve1")
    w.a.pvesr("delete", "100-0", check=True)
    assert "its replicas cannot be removed" in w.run(want=1).stderr
    assert os.listdir(folder)
    w.c.storage_more.clear()
    w.c.write_tree()
    w.run()
    assert not os.listdir(folder), os.listdir(folder)


@scenario("xfs")
def of_another_type(w):
    """a storage where a replica was once has a type now that cannot replicate: the others go on"""
    w.c.share_disk("old", "xfs")
    w.create()
    w.run()
    path = os.path.join(w.a.state_dir, "pve-replication-state.json")
    with open(path) as f:
        state = json.load(f)
    state["100"]["local/pve2"]["storeid_list"] = ["old", "st"]
    with open(path, "w") as f:
        json.dump(state, f)
    with open(os.path.join(w.c.tree, "storage.cfg")) as f:
        text = f.read()
    w.c.write("storage.cfg", text.replace("dir: old\n\tpath /old", "nfs: old\n\tpath /old\n\tserver x\n\texport /y"))
    w.lab.write(0, 2)
    w.run()
    w.proved()


@scenario("xfs", "btrfs")
def sibling_removed(w):
    """after a change of the owner one of two jobs is deleted before the other ran: that one still goes on incrementally"""
    w.c.add_node("pve3")
    w.create()
    w.create(job="100-1", target="pve3")
    for job in ("100-0", "100-1") * 2:
        w.run(job=job)
        w.lab.write(0, 3)
    w.steal("pve2")
    w.b.pvesr("status", check=True)
    w.b.pvesr("delete", "100-0", "--keep", check=True)
    w.run()
    w.lab.write(0, 3)
    w.run(job="100-1")
    assert "incremental sync" in w.log(job="100-1"), w.log(job="100-1")
    w.run(job="100-1")
    found, _ = w.lab.names.entries(w.b.store)
    left = sorted(s for _, s in found if (s or "").startswith("__replicate_100-0"))
    assert not left, f"of the job that is gone: {left}"


play_all()
