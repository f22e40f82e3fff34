#!/usr/bin/env python3
"""What real clients of Proxmox VE's API send and how they read what comes: each as a row of a table, against two real pvesrd."""
import json
import os

import rig
from apiworld import World, expect

NUMBER = (int, float)
#       field          as clients' decoders take it
JOB = {"id": str, "type": str, "guest": int, "jobnum": int, "source": str, "target": str}
JOB_MAY = {"schedule": str, "comment": str, "rate": NUMBER, "disable": int, "remove_job": str, "digest": str, "max-age": str, "keep": str,
           "scrub-days": int, "target-storage": str}
STATE = {**JOB, "vmtype": str, "last_sync": int, "last_try": int, "next_sync": int, "fail_count": int}
STATE_MAY = {**JOB_MAY, "duration": NUMBER, "error": str, "pid": int}

# who sends it: method, path, fields, headers → status, a part of the reason
CREATE = (
    ("Terraform, least", {"id": "100-0", "type": "local", "target": "pve2"}, {}),
    ("Terraform, all", {"id": "100-0", "type": "local", "target": "pve2", "schedule": "*/30", "rate": "50", "comment": "managed by terraform", "disable": 1},
     {"schedule": "*/30", "rate": 50, "comment": "managed by terraform", "disable": 1}),
    ("Terraform, not disabled", {"id": "100-0", "type": "local", "target": "pve2", "disable": 0, "rate": "10.5"}, {"rate": 10.5}),
    ("proxmox-csi-plugin", {"id": "100-0", "type": "local", "disable": "0", "target": "pve2", "schedule": "*/15", "comment": "CSI"}, {"comment": "CSI"}),
    ("PegaProx", {"id": "100-0", "type": "local", "target": "pve2", "schedule": "*/15", "rate": "10", "comment": ""}, {"rate": 10}),
)
# a PUT of Terraform's repeats the id, and names together what is to be as by default
UPDATE = (
    ({"id": "100-0", "schedule": "hourly"}, {"schedule": "hourly"}, ()),
    ({"id": "100-0", "rate": "25", "comment": "two", "disable": 1}, {"rate": 25, "comment": "two", "disable": 1}, ()),
    ({"id": "100-0", "delete": "comment,disable,rate"}, {"schedule": "hourly"}, ("comment", "disable", "rate")),
    ({"id": "100-0", "rate": "12.25", "delete": "schedule"}, {"rate": 12.25}, ("schedule",)),
    ({"id": "100-0", "comment": "again", "schedule": "*/45"}, {"comment": "again", "schedule": "*/45", "rate": 12.25}, ()),
)


def shaped(o, must, may):
    for field, kind in must.items():
        assert field in o, f"'{field}' is missing: {o}"
    for field, value in o.items():
        kind = {**must, **may}.get(field)
        assert kind is None or (isinstance(value, kind) and not isinstance(value, bool)), f"'{field}' is {value!r}: {o}"


def has(o, fields, lacking=()):
    for field, value in fields.items():
        assert o.get(field) == value and isinstance(o[field], type(value)), f"'{field}' is {o.get(field)!r}, not {value!r}"
    for field in lacking:
        assert field not in o, f"'{field}' is {o[field]!r}"


def gone(w):
    """As Terraform knows it: DELETE without parameters, then the list, until it is not there; no minute is waited for."""
    assert expect(200, w.api.delete("/cluster/replication/100-0")).data is None
    rig.wait_for(lambda: w.ids() == [], "the end of the job", 60)  # a guest that is busy with its first run is tried again after 30 s
    answer = expect(404, w.api.get("/cluster/replication/100-0"), "no such replication job '100-0'")
    assert answer.body["message"] == "no such replication job '100-0'\n", answer
    expect(404, w.api.delete("/cluster/replication/100-0"), "no such job '100-0'")  # the words that the CSI plugin looks for


def configured(w):
    """jobs as Terraform, the CSI plugin and PegaProx make, change and remove them"""
    for who, fields, wanted in CREATE:
        assert expect(200, w.api.post("/cluster/replication", **fields)).data is None, who
        one = expect(200, w.api.get("/cluster/replication/100-0")).data
        listed, = expect(200, w.api.get("/cluster/replication")).data
        for o in (one, listed):
            shaped(o, JOB, JOB_MAY)
            has(o, {"id": "100-0", "type": "local", "target": "pve2", "source": "pve1", "guest": 100, "jobnum": 0, **wanted},
                {"schedule", "rate", "comment", "disable", "remove_job"} - {*wanted, "schedule", *(("comment",) if fields.get("comment") == "" else ())})
        assert len(one["digest"]) == 40 and "digest" not in listed, who
        gone(w)
    w.create(disable="1")
    for fields, wanted, lacking in UPDATE:
        assert expect(200, w.api.put("/cluster/replication/100-0", **fields)).data is None, fields
        has(expect(200, w.api.get("/cluster/replication/100-0")).data, wanted, lacking)
    expect(200, w.api.delete("/cluster/replication/100-0", force="1"))
    assert w.ids() == []


def watched(w):
    """states as the exporter, Pulse, cv4pve and ProxCenter read them, of each node by either"""
    for guest, source, target in ((100, "pve1", "pve2"), (102, "pve2", "pve1")):
        w.create(f"{guest}-0", target)
    for api in (w.api, w.api2):
        jobs = expect(200, api.get("/cluster/replication")).data
        assert isinstance(jobs, list) and [j["source"] for j in jobs] == ["pve1", "pve2"], jobs
        for job in jobs:  # Pulse leaves out what has no source, and asks that node
            of_node = expect(200, api.get(f"/nodes/{job['source']}/replication", guest=str(job["guest"]))).data
            assert [s["id"] for s in of_node] == [job["id"]], of_node
            state = expect(200, api.get(f"/nodes/{job['source']}/replication/{job['id']}/status")).data
            for o in (state, of_node[0]):
                shaped(o, STATE, STATE_MAY)
                has(o, {"source": job["source"], "target": job["target"], "vmtype": "qemu", "type": "local"})
            for row in expect(200, api.get(f"/nodes/{job['source']}/replication/{job['id']}/log", limit="5")).data:
                shaped(row, {"n": int, "t": str}, {})
    w.wait_synced()
    state = w.state()
    shaped(state, {**STATE, "duration": NUMBER}, STATE_MAY)
    assert state["last_sync"] > 1e9 and state["next_sync"] > state["last_sync"] and state["fail_count"] == 0, state
    text = json.dumps(state)
    assert "null" not in text and "true" not in text and "false" not in text, text
    local, = (n for n in expect(200, w.api.get("/cluster/status")).data if n["type"] == "node" and n["local"] == 1)
    shaped(local, {"name": str, "online": int, "nodeid": int, "ip": str}, {})
    for guest in expect(200, w.api.get("/cluster/resources", type="vm")).data:
        shaped(guest, {"id": str, "vmid": int, "node": str, "type": str, "name": str, "status": str, "template": int}, {})
        now = expect(200, w.api.get(f"/nodes/{guest['node']}/{guest['type']}/{guest['vmid']}/status/current")).data
        shaped(now, {"vmid": int, "name": str, "status": str, "cpus": int, "maxmem": int}, {})
        assert now["vmid"] == guest["vmid"] and now["name"] == guest["name"] and now["status"] == "stopped", now
        config = expect(200, w.api.get(f"/nodes/{guest['node']}/{guest['type']}/{guest['vmid']}/config")).data
        assert config["scsi0"].startswith("st:") and len(config["digest"]) == 40, config


def guests(w):
    """a guest's configuration is as it is now, without snapshots and secrets, and for who may see the guest"""
    w.c.write_guest("pve2", 103, "#a note%3A\n#more\nname: web\ncores: 2\ncipassword: $5$secret\ntags: a;b\nonboot: 1\nargs: -a: b\nparent: s\n\n"
                                 "[s]\ncores: 7\nsnaptime: 1\n")
    for api in (w.api, w.api2):
        config = expect(200, api.get("/nodes/pve2/qemu/103/config")).data
        digest = config.pop("digest")
        assert len(digest) == 40 and config == {"description": "a note:\nmore\n", "name": "web", "cores": 2, "cipassword": "**********", "tags": "a;b",
                                                "onboot": 1, "args": "-a: b", "parent": "s"}, config
    for path in ("/nodes/pve1/qemu/103/config", "/nodes/pve2/lxc/103/config", "/nodes/pve2/qemu/999/config"):
        expect(500, w.api.get(path), "does not exist")
    expect(403, w.by("one@pve!test").get("/nodes/pve2/qemu/103/config"), "Permission check failed (/vms/103, VM.Audit)")
    expect(400, w.api.get("/nodes/pve2/qemu/x/config"), None, "vmid")


def running(w):
    """a guest's status is what its own node knows: running while its process is there, with what its configuration gives it"""
    w.c.write_guest("pve1", 103, "name: 007\ncores: 2\nsockets: 2\nmemory: current=2048\nlock: backup\ntags: a;b\n\n[s]\nname: old\ncores: 7\n")
    w.c.write_guest("pve2", 104, "hostname: ct\nmemory: 256\nswap: 0\ntemplate: 1\n", kind="lxc")
    machine, container = "/nodes/pve1/qemu/103/status/current", "/nodes/pve2/lxc/104/status/current"
    stopped = {"vmid": 103, "name": "007", "status": "stopped", "cpus": 4, "maxmem": 2048 << 20, "lock": "backup", "tags": "a;b"}
    with rig.fake_running_vm(103) as process:
        for api in (w.api, w.api2):
            now = expect(200, api.get(machine)).data
            assert isinstance(now["uptime"], int) and 0 <= now.pop("uptime") < 600, now
            assert now == {**stopped, "status": "running", "pid": process.pid}, now
        assert [(r["vmid"], r["name"], r["status"]) for r in expect(200, w.api2.get("/nodes/pve1/qemu")).data] == [
            (100, "VM 100", "stopped"), (101, "VM 101", "stopped"), (103, "007", "running")]
        status = {r["vmid"]: r["status"] for r in expect(200, w.api.get("/cluster/resources", type="vm")).data}
        assert status == {100: "stopped", 101: "stopped", 102: "unknown", 103: "running", 104: "unknown"}, status
    assert expect(200, w.api.get(machine)).data == stopped
    rig.wait_for(lambda: {r["status"] for r in expect(200, w.api.get("/nodes/pve1/qemu")).data} == {"stopped"}, "the end in the list", 60)
    now = expect(200, w.api.get(container)).data
    assert now == {"vmid": 104, "type": "lxc", "name": "ct", "status": "stopped", "maxmem": 256 << 20, "maxswap": 0, "template": 1}, now
    row, = expect(200, w.api.get("/nodes/pve2/lxc")).data
    assert (row["vmid"], row["name"], row["status"], row["type"], row["template"]) == (104, "ct", "stopped", "lxc", 1), row
    w.c.write_guest("pve2", 104, "hostname: other\n", kind="lxc")
    rig.wait_for(lambda: expect(200, w.api.get("/nodes/pve2/lxc")).data[0]["name"] == "other", "the new name in the list", 60)
    for path in ("/nodes/pve1/qemu/104/status/current", "/nodes/pve2/qemu/104/status/current", "/nodes/pve1/lxc/103/status/current"):
        expect(500, w.api.get(path), "does not exist")


def monitors(w):
    """what monitors ask of cluster and node is there, as numbers where they are, of each node by either, and for who has Sys.Audit there"""
    assert set(expect(200, w.api.get("/cluster/options")).data) == {"digest"}
    w.c.write("datacenter.cfg", "#a note%3A\nkeyboard: de\nmigration: insecure,network=10.0.0.0/24\nreplication: secure\nmax_workers: 4\nemail_from: a@b\n")
    for api in (w.api, w.api2, w.by("auditor@pve!test")):
        options = expect(200, api.get("/cluster/options")).data
        assert len(options.pop("digest")) == 40 and options == {
            "description": "a note:\n", "keyboard": "de", "migration": {"type": "insecure", "network": "10.0.0.0/24"}, "replication": {"type": "secure"},
            "max_workers": 4, "email_from": "a@b"}, options
    w.c.write("datacenter.cfg", "migration: network=10.0.0.0/24\nreplication: type=secure,network=10.0.0.1/33\n")
    assert set(expect(200, w.api.get("/cluster/options")).data) == {"digest"}, "what is wrong counts as not there"
    for api in (w.api, w.api2):
        for node in ("pve1", "pve2"):
            status = expect(200, api.get(f"/nodes/{node}/status")).data
            shaped(status, {"uptime": int, "loadavg": list, "memory": dict, "swap": dict, "rootfs": dict, "cpuinfo": dict, "kversion": str, "pveversion": str}, {})
            for key in ("memory", "swap", "rootfs"):
                shaped(status[key], {"total": int, "used": int, "free": int}, {"avail": int})
                assert status[key]["total"] == status[key]["used"] + status[key]["free"] >= status[key]["used"] >= 0, status
            assert status["memory"]["total"] > 1 << 26 and status["cpuinfo"]["cpus"] >= 1 and len([float(one) for one in status["loadavg"]]) == 3, status
    for who in ("one@pve!test", "nobody@pve!test", "pool@pve!test"):
        expect(403, w.by(who).get("/cluster/options"), "Permission check failed (/, Sys.Audit)")
        for node in ("pve1", "pve2"):
            expect(403, w.by(who).get(f"/nodes/{node}/status"), f"Permission check failed (/nodes/{node}, Sys.Audit)")
    expect(200, w.by("auditor@pve!test").get("/nodes/pve2/status"))
    expect(595, w.api.get("/nodes/pve9/status"))


def settings(w):
    """how replication goes is changed in datacenter.cfg by who has Sys.Modify on /, and every other line stays as it is"""
    path = os.path.join(w.c.tree, "datacenter.cfg")

    def text():
        with open(path, encoding="utf-8") as f:
            return f.read()
    assert expect(200, w.api.put("/cluster/options", replication="insecure,network=10.0.0.0/24")).data is None
    assert text() == "replication: insecure,network=10.0.0.0/24\n"
    w.c.write("datacenter.cfg", "# ours\nreplication: secure\nkeyboard:de\n\n  migration: secure\nreplication: insecure\nlast: 1")
    expect(200, w.api2.put("/cluster/options", replication="type=secure,network=fd00::/64"))
    assert text() == "# ours\nreplication: type=secure,network=fd00::/64\nkeyboard:de\n\n  migration: secure\nlast: 1", text()
    options = expect(200, w.api.get("/cluster/options")).data
    assert options["replication"] == {"type": "secure", "network": "fd00::/64"} and options["keyboard"] == "de", options
    expect(200, w.api.put("/cluster/options", delete="replication", migration="insecure"))
    before = "# ours\nkeyboard:de\n\nmigration: insecure\nlast: 1"
    assert text() == before, text()
    for field, value in (("replication", "network=10.0.0.0/24"), ("replication", "fast"), ("migration", ""), ("delete", "keyboard"), ("keyboard", "en")):
        expect(400, w.api.put("/cluster/options", **{field: value}), "Parameter verification failed.", field)
    expect(400, w.api.put("/cluster/options", replication="secure", delete="replication"), None, "delete")
    expect(200, w.api.put("/cluster/options"))
    for who in ("auditor@pve!test", "one@pve!test", "keeper@pve!test"):
        expect(403, w.by(who).put("/cluster/options", replication="secure"), "Permission check failed (/, Sys.Modify)")
    assert text() == before, text()


def play(f):
    def run():
        with rig.Cluster("xfs") as c:
            f(World(c))
    return run


for test in (configured, watched, guests, running, monitors, settings):
    rig.check("clients: " + test.__doc__, play(test), needs=("root", "xfs"))
rig.main()
