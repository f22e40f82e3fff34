#!/usr/bin/env python3
"""The API of pvesrd over real HTTPS, on two nodes, by Python's own client, by curl and by clients that know nothing of us."""
import concurrent.futures
import contextlib
import functools
import json
import os
import signal
import socket
import sqlite3
import subprocess
import time
import urllib.parse

import npm
import rig
import rigapi
from apiworld import AUDITOR, MB, PASSWORD, SECRETS, as_browser, expect, first_line, has_keys, log_in, play_all, set_password, sign, told
from rigapi import token
from rigdaemon import Daemon, child_of, held, stop_doctor, wait_child


@told
def the_life_of_a_job(w):
    """a job is made, runs, is changed, disabled, triggered, read and removed by the API"""
    w.create(schedule="*/30", rate="7", comment="by hand: ä%20 \"<b>\"", disable="0")
    job, = expect(200, w.api.get("/cluster/replication")).data
    assert job["id"] == "100-0" and job["guest"] == 100 and job["jobnum"] == 0 and job["type"] == "local", job
    assert job["source"] == "pve1" and job["rate"] == 7 and isinstance(job["rate"], int), job
    assert job["comment"] == "by hand: ä%20 \"<b>\"" and "disable" not in job and "last_sync" not in job, job
    w.wait_synced()
    state = w.state()
    assert state["vmtype"] == "qemu" and state["fail_count"] == 0 and "error" not in state and state["duration"] > 0, state
    read = expect(200, w.api.get("/cluster/replication/100-0")).data
    expect(500, w.api.put("/cluster/replication/100-0", rate="8", digest="0" * 40), "detected modified configuration")
    expect(200, w.api.put("/cluster/replication/100-0", id="100-0", rate="8.5", delete="comment,schedule", digest=read["digest"]))
    read = expect(200, w.api.get("/cluster/replication/100-0")).data
    assert read["rate"] == 8.5 and "comment" not in read and "schedule" not in read, read
    expect(200, w.api.put("/cluster/replication/100-0", disable="1"))
    state, = expect(200, w.api.get("/nodes/pve1/replication", guest="100")).data
    assert state["disable"] == 1, state
    assert expect(200, w.api.get("/nodes/pve1/replication", guest="101")).data == []
    expect(200, w.api.put("/cluster/replication/100-0", delete="disable"))
    before = w.state()["last_sync"]
    rig.wait_for(lambda: time.time() > before + 1, "another second")
    assert expect(200, w.api.post("/nodes/pve1/replication/100-0/schedule_now")).data == ""
    w.wait_synced(after=before)
    assert expect(200, w.api.delete("/cluster/replication/100-0")).data is None
    rig.wait_for(lambda: w.ids() == [], "the removal")
    expect(404, w.api.get("/cluster/replication/100-0"), "no such replication job '100-0'")
    expect(404, w.api.get("/nodes/pve1/replication/100-0/status"), "no such replication job '100-0'")
    expect(404, w.api.put("/cluster/replication/100-0", rate="8"), "no such job '100-0'")
    expect(404, w.api.delete("/cluster/replication/100-0"), "no such job '100-0'")
    expect(200, w.api.delete("/cluster/replication/100-0", force="1"))


@told
def asked_where_the_guest_was(w):
    """who asks the node for a run on which the guest was a moment ago is told where it is, and not that a run will come"""
    run = "/nodes/{}/replication/100-0/schedule_now"
    w.create(schedule="1-1 3:00")
    w.wait_synced()
    expect(500, w.api2.post(run.format("pve2")), "guest 100 is on node 'pve1', and its jobs run there")
    w.c.move_guest(100, "pve1", "pve2")
    for api in (w.api, w.api2):
        expect(500, api.post(run.format("pve1")), "guest 100 is on node 'pve2', and its jobs run there")
    before = time.time()
    expect(200, w.api.post(run.format("pve2")))
    rig.wait_for(lambda: w.state(api=w.api2)["last_sync"] >= int(before), "a run there")
    os.unlink(os.path.join(w.c.tree, "nodes/pve2/qemu-server/100.conf"))
    expect(500, w.api.post(run.format("pve2")), "guest 100 does not exist")


@told
def two_change_a_job(w):
    """of two who change what they have read, the second is refused, whichever file of the jobs has the setting"""
    def change(read, **more):
        return w.api.put("/cluster/replication/100-0", digest=read["digest"], **more)

    def read():
        return expect(200, w.api.get("/cluster/replication/100-0")).data
    w.create(disable="1")
    for more, later in (({"rate": "8"}, {"rate": "9"}), ({"keep": "last=3"}, {"keep": "last=5"}), ({"keep": "last=7"}, {"max-age": "2h"}),
                        ({"delete": "keep"}, {"keep": "last=2"})):
        before = read()
        expect(200, change(before, **more))
        after = read()
        expect(500, change(before, **later), "detected modified configuration")
        assert read() == after, (after, read())
        said = json.loads(w.a.pvesr("read", "100-0", check=True).stdout)
        assert said["digest"] == after["digest"], said
        w.a.pvesr("update", "100-0", "--comment", "as it was read", "--digest", said["digest"], check=True)


@told
def the_job_file_is_emptied(w):
    """what removes the last job at once on another node may leave an empty job file: lists are empty then, no error"""
    w.create()
    w.wait_synced()
    w.c.write("replication.cfg", "")
    for path in ("/cluster/replication", "/nodes/pve1/replication"):
        rig.wait_for(lambda path=path: expect(200, w.api.get(path)).data == [], path)
    expect(404, w.api.get("/nodes/pve1/replication/100-0/status"), "no such replication job '100-0'")


@told
def what_is_refused(w):
    """what Proxmox VE refuses is refused with its words, in the status line and the body"""
    def create(**more):
        return w.api.post("/cluster/replication", **{"id": "100-0", "target": "pve2", "type": "local", **more})

    expect(500, create(id="999-0"), "Guest '999' does not exist.")
    expect(500, create(target="pve9"), "Target 'pve9' does not exist.")
    expect(500, create(target="pve1"), "Source and target must not be identical")
    expect(400, create(source="pve2"), "Parameter verification failed.", "source")
    w.c.write_guest("pve1", 103, "cores: 1\n")
    expect(500, create(id="103-0"), "No replicatable volumes found")
    w.create()
    expect(500, create(), "replication job '100-0' already exists")
    expect(500, create(id="100-1"), "replication job for guest '100' to target 'local/pve2' already exists")
    for field, value in (("id", "99-0"), ("id", "100-00"), ("id", "x"), ("target", "a b"), ("type", "remote"), ("rate", "0"), ("rate", "fast"),
                         ("schedule", "never"), ("disable", "perhaps"), ("remove_job", "half"), ("comment", "x" * 4097),
                         ("comment", "two\nlines"), ("nonsense", "1"), ("keep", "last=0")):
        expect(400, create(**{field: value}), "Parameter verification failed.", field)
    lacking = expect(400, w.api.post("/cluster/replication", id="100-0", target="pve2"), None, "type")
    assert lacking.body["errors"] == {"type": "property is missing and it is not optional"}, lacking
    expect(400, w.api.put("/cluster/replication/100-0", target="pve1"), None, "target")
    expect(400, w.api.put("/cluster/replication/100-0", delete="target"), None, "delete")
    expect(400, w.api.put("/cluster/replication/100-0", id="100-1"), None, "id")
    expect(400, w.api.delete("/cluster/replication/100-0", keep="1", force="1"), None, "keep")
    expect(400, w.api.get("/nodes/pve1/replication/100-0/log", limit="-1"), None, "limit")
    expect(404, w.api.get("/cluster/nothing"), "Path '/cluster/nothing' not found")
    expect(404, w.api.call("GET", "/", prefix=""))
    expect(404, w.api.call("GET", "/version", prefix="/api3/json"))
    expect(501, w.api.post("/version"), "Method 'POST /version' not implemented")
    expect(501, w.api.call("PATCH", "/version"))


@told
def the_log(w):
    """the log of a run is given in parts, with the number of its lines"""
    log = "/nodes/pve1/replication/100-0/log"
    w.create(disable="1")
    answer = expect(200, w.api.get(log))
    assert answer.data == [{"n": 1, "t": "unable to open file - No such file or directory"}] and answer.body["total"] == 1, answer
    os.makedirs(w.a.log_dir, exist_ok=True)
    path = os.path.join(w.a.log_dir, "100-0")
    with open(path, "w") as f:
        pass
    assert expect(200, w.api.get(log)).data == [{"n": 1, "t": "no content"}]
    with open(path, "w") as f:
        f.writelines(f"line {n}\n" for n in range(1, 121))
    answer = expect(200, w.api.get(log))
    assert answer.body["total"] == 120 and [r["n"] for r in answer.data] == list(range(1, 51)), answer
    answer = expect(200, w.api.get(log, start="118", limit="0"))
    assert answer.data == [{"n": 119, "t": "line 119"}, {"n": 120, "t": "line 120"}] and answer.body["total"] == 120, answer
    assert len(expect(200, w.api.get(log, limit="0")).data) == 120
    assert expect(200, w.api.get(log, start="500")).data == []
    os.unlink(path)
    os.symlink("/etc/shadow", path)
    assert "root" not in expect(200, w.api.get(log)).text.decode()


@told
def history_and_plan(w):
    """the runs of a job are given as `pvesr history` has them, with and without logs, and what the next one would do as `pvesr plan` says it"""
    history, plan = "/nodes/pve1/replication/100-0/history", "/nodes/pve1/replication/100-0/plan"
    expect(404, w.api.get(history), "no such replication job '100-0'")
    expect(404, w.api.get(plan), "no such replication job '100-0'")
    w.create(disable="1")
    assert expect(200, w.api.get(history)).data == []
    expect(500, w.api.get(plan), "job '100-0' is disabled")
    expect(200, w.api.put("/cluster/replication/100-0", delete="disable", schedule="yearly"))
    w.wait_synced()
    runs = expect(200, w.api.get(history)).data
    assert runs == json.loads(w.a.pvesr("history", "--id", "100-0", "--output-format", "json").stdout), runs
    run, = runs
    assert run["result"] == "ok" and run["target"] == "pve2" and run["start"] == w.state()["last_sync"] and run["delta"] >= MB, run
    assert "end replication job" in run["log"] and {"name", "seconds"} == set(run["steps"][0]), run
    without, = expect(200, w.api.get(history, logs="0")).data
    assert without == {key: run[key] for key in run if key != "log"}, without
    rig.wait_for(lambda: time.time() > run["start"] + 1, "another second")
    expect(200, w.api.post("/nodes/pve1/replication/100-0/schedule_now"))
    w.wait_synced(after=run["start"])
    newest, = expect(200, w.api.get(history, limit="1")).data
    assert newest["start"] > run["start"] and newest["delta"] == 0, newest
    assert expect(200, w.api.get(history)).data == [newest, run]
    said = w.a.pvesr("plan", "100-0").stdout.splitlines()
    lines = expect(200, w.api.get(plan)).data
    assert lines[:2] == said[:2] == [f"job 100-0: guest 100 from pve1 to pve2, last sync {newest['start']}", "st:100/vm-100-disk-0.raw"], lines
    assert f"  send __replicate_100-0_{newest['start']}__ => " in "\n".join(lines), lines
    for bad in ({"limit": "0"}, {"limit": "1001"}, {"logs": "perhaps"}):
        expect(400, w.api.get(history, **bad), None, *bad)


@told
def long_logs(w):
    """of many runs with long logs only the newest have theirs in one answer"""
    history = "/nodes/pve1/replication/100-0/history"
    begin = int(time.time()) - 60  # what is older than history-days goes
    w.create(disable="1")
    w.a.pvesr("history", check=True)  # makes it
    with contextlib.closing(sqlite3.connect(os.path.join(w.a.state_dir, "pvesr-journal.db"))) as journal, journal:
        journal.executemany("INSERT INTO run (job, node, target, start, duration, result, err_kind, bytes, delta, log, pid, ptime, boot)"
                            " VALUES ('100-0', 'pve1', 'pve2', ?, 1, 'ok', '', 0, 0, ?, 0, 0, '')", [(begin + at, "x" * (1 << 18)) for at in range(40)])
    answer = expect(200, w.api.get(history, limit="1000"))
    assert [(run["start"] - begin, "log" in run) for run in answer.data] == [(at, at >= 24) for at in range(39, -1, -1)], [list(run) for run in answer.data]
    assert len(answer.text) < 5 << 20


@told
def a_damaged_journal(w):
    """a damaged journal is said, and not mended by who asks, nor waited for; where none is yet none is made"""
    history, path = "/nodes/pve1/replication/100-0/history", os.path.join(w.a.state_dir, "pvesr-journal.db")
    w.create(disable="1")
    assert expect(200, w.api.get(history)).data == []
    assert not [name for name in os.listdir(w.a.state_dir) if name.startswith("pvesr-journal")]
    for garbage in (b"garbage" * 4000, b""):
        with open(path, "wb") as f:
            f.write(garbage)
        with held(path + ".lck"):
            answer = w.api.get(history)
            if garbage:
                expect(503, answer, "file is not a database")
            else:
                assert expect(200, answer).data == []
        with open(path, "rb") as f:
            assert f.read() == garbage
    os.unlink(path)
    os.mkfifo(path)
    expect(503, w.api.get(history), "is no regular file")
    os.unlink(path)
    expect(200, w.api.put("/cluster/replication/100-0", delete="disable", schedule="yearly"))
    w.wait_synced()
    assert [run["result"] for run in expect(200, w.api.get(history)).data] == ["ok"]


@told
def what_is_left_over(w):
    """what a node's doctor finds is shown to who may change the node, of the guests that they may see"""
    for job in ("100-0", "101-0"):
        w.create(job, schedule="yearly")
        w.wait_synced(job)
        expect(200, w.api.delete(f"/cluster/replication/{job}", force="1"))
    with open(os.path.join(w.c.tree, "storage.cfg"), "a") as f:
        f.write("dir: gone\n\tpath /nowhere/at/all\n\tcontent images\n")
    found = expect(200, w.api.post("/nodes/pve1/doctor")).data
    left = [(one["guest"], one["state"], one["volid"]) for one in found["findings"] if one["state"] == "left"]
    assert left == [(100, "left", "st:100/vm-100-disk-0.raw"), (101, "left", "st:101/vm-101-disk-0.raw")], found
    assert "the guest has no job any more" in found["findings"][0]["text"], found
    assert any("gone" in line for line in found["warnings"]), found
    assert {one["guest"] for one in expect(200, w.api.post("/nodes/pve1/doctor", guest="100")).data["findings"]} == {100}
    keeper = w.by("keeper@pve!test")
    mine = expect(200, keeper.post("/nodes/pve1/doctor")).data
    assert mine == {"findings": [one for one in found["findings"] if one["guest"] in (0, 101)], "warnings": []}, mine
    expect(403, keeper.post("/nodes/pve2/doctor"), "Permission check failed (/nodes/pve2, Sys.Modify)")
    there = expect(200, w.api.post("/nodes/pve2/doctor")).data
    assert {(one["guest"], one["state"]) for one in there["findings"] if one["guest"]} == {(100, "kept"), (101, "kept")}, there
    expect(400, w.api.post("/nodes/pve1/doctor", guest="1"), None, "guest")
    expect(501, w.api.get("/nodes/pve1/doctor"))


@told
def what_clients_ask_first(w):
    """what clients ask before they come to the jobs is answered as they expect it"""
    version = expect(200, w.api.get("/version")).data
    assert float(version["release"]) >= 9 and version["version"] and version["repoid"], version
    assert [n["node"] for n in expect(200, w.api.get("/nodes")).data] == ["pve1", "pve2"]
    status = expect(200, w.api.get("/cluster/status")).data
    assert [s["name"] for s in status if s["type"] == "node" and s["local"] == 1] == ["pve1"], status
    assert [s["nodes"] for s in status if s["type"] == "cluster"] == [2], status
    resources = expect(200, w.api.get("/cluster/resources", type="vm")).data
    assert [(r["id"], r["vmid"], r["node"]) for r in resources] == [("qemu/100", 100, "pve1"), ("qemu/101", 101, "pve1"),
                                                                    ("qemu/102", 102, "pve2")], resources
    assert [(r["name"], r["status"]) for r in resources] == [("VM 100", "stopped"), ("VM 101", "stopped"), ("VM 102", "unknown")], resources
    there, = expect(200, w.api.get("/nodes/pve2/qemu")).data  # as that node knows it
    assert (there["vmid"], there["name"], there["status"]) == (102, "VM 102", "stopped"), there
    assert expect(200, w.api.get("/nodes/pve1/lxc")).data == []
    links = expect(200, w.api.get("/nodes/pve1/replication/100-0")).data
    assert [x["name"] for x in links] == ["schedule_now", "log", "status", "history", "plan"], links
    events = expect(200, w.api.get("/cluster/jobs/schedule-analyze", schedule="*/15 UTC", starttime="0", iterations="2")).data
    assert [(one["timestamp"], one["utc"]) for one in events] == [(900, "Thu Jan  1 00:15:00 1970"), (1800, "Thu Jan  1 00:30:00 1970")], events
    assert [one["local"] for one in events] == [time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(at)) for at in (900, 1800)], events
    expect(400, w.api.get("/cluster/jobs/schedule-analyze", schedule="*/15", iterations="101"), None, "iterations")
    assert expect(200, w.api.get("/nodes/pve2/replication")).data == []
    assert expect(200, w.api2.get("/nodes/pve2/replication")).data == []
    extjs = w.api.call("GET", "/cluster/replication/100-7", prefix="/api2/extjs")
    assert extjs.status == 200 and extjs.body["success"] == 0 and extjs.body["status"] == 404, extjs
    extjs = w.api.call("GET", "/version", prefix="/api2/extjs")
    assert extjs.body["success"] == 1 and extjs.body["data"] == version, extjs
    assert "Cache-Control" in extjs.headers and extjs.headers["Content-Type"].startswith("application/json")


@told
def bodies(w):
    """a body is understood as a form and as JSON"""
    body = json.dumps({"id": "100-0", "target": "pve2", "type": "local", "rate": 5, "disable": True, "comment": None})
    headers = {"Authorization": w.api.auth, "Content-Type": "application/json"}
    expect(200, w.api.call("POST", "/cluster/replication", body=body, headers=headers))
    job = expect(200, w.api.get("/cluster/replication/100-0")).data
    assert job["rate"] == 5 and job["disable"] == 1 and "comment" not in job, job
    expect(200, w.api.call("PUT", "/cluster/replication/100-0", body=json.dumps({"delete": ["rate", "disable"]}), headers=headers))
    job = expect(200, w.api.get("/cluster/replication/100-0")).data
    assert "rate" not in job and "disable" not in job, job
    for bad in ("[1]", "{", '{"a":{"b":1}}', '{"rate":1,"rate":2}', "null", '{"comment":"\\u0000"}', "\xff"):
        expect(400, w.api.call("PUT", "/cluster/replication/100-0", body=bad.encode("latin-1"), headers=headers))
    headers["Content-Type"] = "text/plain"
    expect(400, w.api.call("PUT", "/cluster/replication/100-0", body="rate=1", headers=headers))
    # as a query, and percent-encoded in the path
    expect(200, w.api.call("PUT", "/cluster/replication/100%2d0?rate=6"))
    assert expect(200, w.api.get("/cluster/replication/100-0")).data["rate"] == 6


# ---- while a child is under way ----

def hold_agent(w):
    """The agent of pve2 waits for whoever holds this file."""
    path = os.path.join(w.c.dir, "agent-waits")
    w.c.set_agent("pve2", ["flock", path])
    return path


@told
def who_goes_meanwhile(w):
    """while children are under way it becomes unknown who may what: each answers with that, or what needs no rights, and the daemon goes on"""
    users = os.path.join(w.c.tree, "user.cfg")
    w.create(schedule="yearly")
    w.wait_synced()
    with concurrent.futures.ThreadPoolExecutor(4) as pool, held(hold_agent(w)), contextlib.ExitStack() as lock:
        lock.enter_context(held(os.path.join(w.a.lock_dir, "pve-migrate-100")))
        doctor = pool.submit(w.api.post, "/nodes/pve1/doctor", guest="100")
        plan = pool.submit(w.api.get, "/nodes/pve1/replication/100-0/plan")
        wait_child(w.a.daemon, "doctor")
        plans = wait_child(w.a.daemon, "plan")
        os.rename(users, users + ".away")
        os.mkdir(users)
        expect(401, w.api.get("/version"))
        lock.close()
        expect(500, doctor.result(), "user.cfg")
        os.rmdir(users)
        os.rename(users + ".away", users)
        expect(200, w.api.get("/version"))
        os.kill(plans, signal.SIGKILL)
        expect(500, plan.result(), "pvesr ended with status 137")
    assert w.a.daemon.process.poll() is None
    expect(200, w.api.post("/nodes/pve1/doctor", guest="100"))


@told
def few_looks(w):
    """whoever may only look takes at most 2 children, one at a guest; those that nobody waits for count; all have 8, and log-ins and changes go on"""
    plan, begun = "/nodes/pve1/replication/{}/plan", []
    set_password(w, "auditor")
    for job in ("100-0", "101-0"):
        w.create(job, schedule="yearly")
        w.wait_synced(job)
    auditor = w.by("auditor@pve!test")
    with concurrent.futures.ThreadPoolExecutor(4) as pool, held(hold_agent(w)):
        begun.append(pool.submit(auditor.get, plan.format("100-0")))
        rig.wait_for(lambda: child_of(w.a.daemon, "plan", "100-0"), "the first")
        for api in (auditor, w.api):
            expect(503, api.get(plan.format("100-0")), "the same is being done for guest 100: try again")
        gone = auditor.connect()
        gone.request("GET", "/api2/json" + plan.format("101-0"), headers={"Authorization": auditor.auth})
        rig.wait_for(lambda: child_of(w.a.daemon, "plan", "101-0"), "the second")
        gone.close()
        for path in ("/nodes/pve1/at-risk", "/nodes/pve1/restore-points/100", "/metrics"):
            expect(503, auditor.get(path), "2 requests of yours that take long are under way: try again")
        expect(503, w.api.get(plan.format("101-0")), "the same is being done for guest 101: try again")
        assert w.api.get("/nodes/pve1/at-risk").status == 200
        expect(200, log_in(w, "auditor@pve"))
        expect(200, w.api.put("/cluster/replication/101-0", comment="meanwhile"))
    expect(200, begun[0].result())
    rig.wait_for(lambda: auditor.get(plan.format("101-0")).status == 200, "the end of what nobody waits for, which the daemon has to see, too")


@told
def few_of_all(w):
    """8 looks are all that there are at a time, whoever asks and whatever for, and each endpoint that has a child that takes long is one of them"""
    for guest in range(103, 112):
        w.add_guest(guest, w.a)
    names = [f"root@pam!many{n}" for n in range(5)]
    with open(os.path.join(w.c.tree, "user.cfg"), "a") as users, open(os.path.join(w.c.tree, "priv/token.cfg"), "a") as tokens:
        users.writelines(f"token:{name}:0:0::\n" for name in names)
        tokens.writelines(f"{name} {rigapi.SECRET}\n" for name in names)
    many = [rigapi.Api(w.a, token(name)) for name in names]
    expect(200, many[4].get("/version"))
    with concurrent.futures.ThreadPoolExecutor(8) as pool, contextlib.ExitStack() as stopped:
        begun = []
        for n in range(8):
            with held(os.path.join(w.a.lock_dir, f"pve-migrate-{103 + n}")):
                begun.append(pool.submit(many[n // 2].post, "/nodes/pve1/doctor", guest=103 + n))
                stopped.callback(os.kill, stop_doctor(w.a.daemon, 103 + n), signal.SIGCONT)
        for path in ("/nodes/pve1/at-risk", "/nodes/pve1/restore-points/111", "/nodes/pve1/failover/102", "/metrics"):
            expect(503, many[4].get(path), "8 requests that take long are under way: try again")
        expect(503, many[4].post("/nodes/pve1/doctor"), "8 requests that take long are under way: try again")
        w.create("111-0", disable="1")
        expect(503, many[4].get("/nodes/pve1/replication/111-0/plan"), "8 requests that take long are under way: try again")
    for answer in begun:
        expect(200, answer.result())
    expect(200, many[4].post("/nodes/pve1/doctor"))


# ---- who may ----

def every():
    """All that the API has, but for what is asked by who is nobody yet."""
    with open(os.path.join(rig.ROOT, "docs/openapi.json"), encoding="utf-8") as f:
        paths = json.load(f)["paths"]
    values = {"{id}": "100-0", "{node}": "pve1", "{vmid}": "100"}
    for path, methods in paths.items():
        for method, endpoint in methods.items():
            if isinstance(endpoint, dict) and endpoint.get("security"):
                yield method.upper(), functools.reduce(lambda text, name: text.replace(name, values[name]), values, path)


PLAN = "/nodes/{node}/replication/{job}/plan"
DOCTOR = "/nodes/pve1/doctor"

GUESTS = {"100-0": 100, "101-0": 101, "102-0": 102}
#          who                    whose jobs they see    whose they change
CALLERS = {"root@pam!test":         ({100, 101, 102}, {100, 101, 102}),
           "keeper@pve!test":       ({101}, set()),
           "auditor@pve!test":      ({100, 101, 102}, set()),
           "one@pve!test":          ({100}, {100}),
           "pool@pve!test":         ({101}, {101}),
           "noaccess@pve!test":     ({101, 102}, set()),
           "nobody@pve!test":       (set(), set()),
           "mover@pve!test":        ({101}, set()),
           "root@pam!narrow":    ({101}, set())}
STRANGERS = {"no credentials": {}, "a wrong secret": {"Authorization": token("auditor@pve!test", AUDITOR[:-1] + "9")},
             "no such token": {"Authorization": token("auditor@pve!other", AUDITOR)},
             "an expired user": {"Authorization": token("gone@pve!test", SECRETS["gone@pve!test"])},
             "a disabled user": {"Authorization": token("off@pve!test", SECRETS["off@pve!test"])},
             "nonsense": {"Authorization": "Basic cm9vdDpyb290"}, "half a token": {"Authorization": "PVEAPIToken=root@pam!test="},
             "a ticket of nobody's": {"Cookie": "PVEAuthCookie=PVE%3Aroot%40pam%3A00000000%3A%3AAAAA"},
             "a half-done log-in": {"Cookie": "PVEAuthCookie=PVE%3A!tfa!root%40pam%3A65000000%3A%3AAAAA"}}

MOVERS = {"root@pam!test": {100, 101, 102}, "mover@pve!test": {101}}  # whose guests they may fail over

READ_LIST = (("GET", "/cluster/replication"), ("GET", "/nodes/pve1/replication"), ("GET", "/cluster/resources?type=vm"), ("GET", "/nodes/pve1/at-risk"),
             ("GET", "/nodes/pve2/at-risk"), ("GET", "/cluster/at-risk"))
READ_ONE = (("GET", "/cluster/replication/{job}"), ("GET", "/nodes/{node}/replication/{job}/status"), ("GET", "/nodes/{node}/replication/{job}/log"),
            ("GET", "/nodes/{node}/replication/{job}/history"))
ANY_USER = (("GET", "/version"), ("GET", "/nodes"), ("GET", "/cluster/status"), ("GET", "/nodes/pve1/qemu"), ("GET", "/nodes/pve1/lxc"),
            ("GET", "/nodes/pve1/replication/100-0"), ("GET", "/cluster/jobs/schedule-analyze?schedule=daily"), ("GET", "/access/permissions"))
READ_GUEST = (("GET", "/nodes/pve1/restore-points/{guest}"), ("GET", "/nodes/pve2/restore-points/{guest}"),
              ("GET", "/nodes/{home}/qemu/{guest}/config"), ("GET", "/nodes/{home}/qemu/{guest}/status/current"))
FAILOVERS = (("GET", "/nodes/{target}/failover/{guest}"), ("POST", "/nodes/{target}/failover/{guest}"))
CHANGES = (("PUT", "/cluster/replication/{job}", {"comment": "x"}), ("POST", "/nodes/{node}/replication/{job}/schedule_now", {}))


@told
def who_may_what(w):
    """each kind of caller is allowed and refused what access.md says, and sees what may be seen"""
    for job, guest in GUESTS.items():
        expect(200, w.api.post("/cluster/replication", id=job, target="pve1" if guest == 102 else "pve2", type="local", disable="1"))
    local = {job: guest for job, guest in GUESTS.items() if guest != 102}
    for name, headers in STRANGERS.items():
        for method, path in (*every(), ("GET", "/nothing"), ("GET", "/nodes/pve2/at-risk"), ("GET", "/nodes/pve2/restore-points/100"), ("POST", "/nodes/pve2/failover/100")):
            answer = w.api.call(method, path, headers=headers)
            assert answer.status == 401 and answer.reason == "authentication failure" and answer.data is None, f"{name}: {path}: {answer}"
    for who, (seen, changed) in CALLERS.items():
        api = w.by(who) if who in SECRETS else w.api
        for method, path in READ_LIST + ANY_USER:
            expect(200, api.call(method, path))
        assert {j["guest"] for j in api.get("/cluster/replication").data} == seen, who
        assert {j["guest"] for j in api.get("/nodes/pve1/replication").data} == seen & set(local.values()), who
        assert {r["vmid"] for r in api.get("/cluster/resources", type="vm").data} == seen, who
        assert {r["vmid"] for r in api.get("/nodes/pve1/qemu").data} == seen - {102}, who
        assert [{r["guest"] for r in api.get(f"/nodes/{node}/at-risk").data} for node in ("pve1", "pve2")] == [seen - {102}, seen & {102}], who
        assert {r["guest"] for r in all_at_risk(api)} == seen, who
        for guest in GUESTS.values():
            for method, path in READ_GUEST:
                answer = api.call(method, path.format(guest=guest, home="pve2" if guest == 102 else "pve1"))
                assert answer.status == (200 if guest in seen else 403), f"{who} {path} {guest}: {answer}"
            for method, path in FAILOVERS:  # of replicas that were never made
                answer = api.call(method, path.format(guest=guest, target="pve1" if guest == 102 else "pve2"), {} if method == "POST" else None)
                assert answer.status == (500 if guest in MOVERS.get(who, ()) else 403), f"{who} {path} {guest}: {answer}"
        for job, guest in local.items():
            for method, path in READ_ONE:
                see_log = path.endswith(("log", "history")) and who in ("auditor@pve!test", "noaccess@pve!test")  # by Sys.Audit on the node
                answer = api.call(method, path.format(job=job, node="pve1"))
                assert answer.status == (200 if guest in seen or see_log else 403), f"{who} {path} {job}: {answer}"
            plan = api.get(PLAN.format(job=job, node="pve1"))
            assert (plan.status, "is disabled" in plan.reason) == ((500, True) if guest in seen else (403, False)), f"{who} {job}: {plan}"
            for method, path, fields in CHANGES:
                answer = api.call(method, path.format(job=job, node="pve1"), fields)
                assert answer.status == (200 if guest in changed else 403), f"{who} {path} {job}: {answer}"
        assert api.post(DOCTOR).status == (200 if who in ("root@pam!test", "keeper@pve!test") else 403), who
    for who, (_, changed) in CALLERS.items():
        api = w.by(who) if who in SECRETS else w.api
        for job, guest in GUESTS.items():
            if guest in changed:
                expect(200, api.delete(f"/cluster/replication/{job}", force="1"))
                expect(200, api.post("/cluster/replication", id=job, target="pve1" if guest == 102 else "pve2", type="local", disable="1"))
            else:
                expect(403, api.delete(f"/cluster/replication/{job}", force="1"), "Permission check failed (/vms/")
                expect(403, api.post("/cluster/replication", id=job, target="pve1", type="local"), "VM.Replicate")
    # that a node is gone says who may change that node
    mover, path = w.by("mover@pve!test"), "/nodes/pve2/failover/101"
    expect(403, mover.post(path, force="1"), "Permission check failed (/nodes/pve1, Sys.Modify)")
    for node, status in (("pve2", 403), ("pve1", 500)):
        with open(os.path.join(w.c.tree, "user.cfg"), "a") as f:
            f.write(f"acl:1:/nodes/{node}:mover@pve:Keep:\n")
        expect(status, mover.post(path, force="1"), "Sys.Modify" if status == 403 else "has no replica on this node")
    # where replicas go is also for who may fill these storages
    one = w.by("one@pve!test")
    for fields in ({"target-storage": "st=other"}, {"target-storage": "other=st"}):
        expect(403, one.put("/cluster/replication/100-0", **fields), "Permission check failed (/storage/")
        expect(403, one.post("/cluster/replication", id="100-1", target="pve2", type="local", **fields), "Datastore.AllocateSpace")
    expect(400, one.put("/cluster/replication/100-0", **{"target-storage": "st"}), None, "target-storage")
    with open(os.path.join(w.c.tree, "user.cfg"), "a") as f:
        f.write("acl:1:/storage/st:one@pve:PVEDatastoreUser:\n")
    expect(403, one.put("/cluster/replication/100-0", **{"target-storage": "st=other"}), "(/storage/other, Datastore.AllocateSpace)")
    with open(os.path.join(w.c.tree, "user.cfg"), "a") as f:
        f.write("acl:1:/storage/other:one@pve:PVEDatastoreUser:\n")
    assert one.put("/cluster/replication/100-0", **{"target-storage": "st=other"}).status != 403
    permissions = w.by("one@pve!test").get("/access/permissions").data
    assert {path: permissions[path] for path in permissions if "/vms" in path} == {"/vms/100": {"VM.Audit": 1, "VM.Replicate": 1}}, permissions
    expect(403, w.by("one@pve!test").get("/access/permissions", userid="root@pam"))
    other = expect(200, w.by("auditor@pve!test").get("/access/permissions", userid="one@pve", path="/vms/100")).data
    assert other == {"/vms/100": permissions["/vms/100"]}, other


# ---- what would be lost, and going to what is left ----

def bytes_of(w, node, guest=100):
    with open(os.path.join(node.store, "images", str(guest), f"vm-{guest}-disk-0.raw"), "rb") as f:
        return f.read()


def all_at_risk(api, **fields):
    """What all nodes say: one that was too slow for the other is asked again."""
    said = {}

    def complete():
        said.update(expect(200, api.get("/cluster/at-risk", **fields)).data)
        return not said["silent"]
    rig.wait_for(complete, "an answer of all nodes", 60)
    return said["risks"]


@told
def at_risk(w):
    """what would be lost is said of each node's guests, that with most to lose first"""
    w.create(schedule="yearly")
    w.create("101-0", disable="1")
    w.wait_synced()
    first, second = expect(200, w.api2.get("/nodes/pve1/at-risk")).data
    assert (first["guest"], first["state"], first["node"], first["target"]) == (101, "never", "pve1", "pve2") and "newest" not in first, first
    assert (second["guest"], second["job"], second["state"]) == (100, "100-0", "ok"), second
    assert second["newest"] == w.state()["last_sync"] and 0 <= second["age"] < second["allowed"], second
    found, = expect(200, w.api.get("/nodes/pve2/at-risk")).data
    assert (found["guest"], found["state"], found["left-out"]) == (102, "no job", []), found
    assert [row["guest"] for row in expect(200, w.api.get("/nodes/pve1/at-risk", guest="100")).data] == [100]
    expect(400, w.api.get("/nodes/pve1/at-risk", guest="1"), None, "guest")
    # of all nodes at once; whoever does not say is named
    assert [(row["guest"], row["node"], row["state"]) for row in all_at_risk(w.api)] == [(101, "pve1", "never"), (102, "pve2", "no job"), (100, "pve1", "ok")]
    assert [row["guest"] for row in all_at_risk(w.api2, guest="102")] == [102]
    expect(400, w.api.get("/cluster/at-risk", guest="1"), None, "guest")
    w.b.daemon.stop()
    with open(os.path.join(w.c.tree, "nodes.cfg"), "a") as f:
        f.write("\nnode: pve3\n\taddress 127.0.0.3\n")
    every = expect(200, w.api.get("/cluster/at-risk")).data
    assert [row["guest"] for row in every["risks"]] == [101, 100], every
    away, unknown = every["silent"]
    assert (away["node"], unknown["node"]) == ("pve2", "pve3") and away["problem"], every
    assert unknown["problem"].startswith("no node of that name has served its API in this cluster yet"), every
    many = [f"pve{n}" for n in range(4, 24)]  # more than one caller may have under way to other nodes
    with open(os.path.join(w.c.tree, "nodes.cfg"), "a") as f:
        f.write("".join(f"\nnode: {node}\n\taddress 127.0.0.1\n" for node in many))
    for node in many:
        w.c.write(f"nodes/{node}/pvesr-api", f"127.0.0.1:1 sha256//{'A' * 43}=\n")
    every = expect(200, w.api.get("/cluster/at-risk")).data
    assert [row["guest"] for row in every["risks"]] == [101, 100], every
    assert {one["node"] for one in every["silent"]} == {"pve2", "pve3", *many}, every
    assert not [one for one in every["silent"] if "under way" in one["problem"]], every


@told
def restore_points(w):
    """what each node holds of a guest is told by any of them"""
    w.create(keep="last=3", schedule="yearly")
    w.wait_synced()
    before = w.state()["last_sync"]
    rig.wait_for(lambda: time.time() > before + 1, "another second")
    expect(200, w.api.post("/nodes/pve1/replication/100-0/schedule_now"))
    w.wait_synced(after=before)
    for api in (w.api, w.api2):
        points = expect(200, api.get("/nodes/pve2/restore-points/100")).data["points"]
        assert [(p["job"], p["aside"]) for p in points] == [("100-0", False)] * 2 and points[0]["time"] == before, points
        assert [v["volid"] for v in points[1]["volumes"]] == ["st:100/vm-100-disk-0.raw"] and points[1]["volumes"][0]["shown"], points
    none = expect(200, w.api.get("/nodes/pve2/restore-points/101")).data
    assert none["points"] == [] and "of storage 'local' is not there" in none["problems"][0], none  # which is nowhere on the rig
    assert expect(200, w.by("auditor@pve!test").get("/nodes/pve2/restore-points/101")).data == none
    mine = expect(200, w.by("pool@pve!test").get("/nodes/pve2/restore-points/101")).data
    assert mine == {"points": [], "problems": ["some storages cannot be read: who has VM.Audit on /vms is told which, and why"]}, mine
    expect(400, w.api.get("/nodes/pve2/restore-points/1"), None, "vmid")


@told
def failover(w):
    """a failover says what it would do, is refused in the command line's words while the former node may be alive, and then has the data of its point"""
    path = "/nodes/pve2/failover/100"
    expect(500, w.api.get(path), "no job replicates guest 100 to node 'pve2'")
    w.create(schedule="yearly")
    w.wait_synced()
    replicated = bytes_of(w, w.a)
    with open(os.path.join(w.a.store, "images/100/vm-100-disk-0.raw"), "r+b") as f:
        f.write(os.urandom(1 << 20))
    assert bytes_of(w, w.a) != replicated
    plan = expect(200, w.api.get(path)).data
    assert (plan["guest"], plan["from"], plan["time"]) == (100, "pve1", w.state()["last_sync"]), plan
    assert plan["point"].startswith("__replicate_100-0_") and any(plan["point"] in line for line in plan["said"]), plan
    expect(500, w.api.post(path), "node 'pve1' may be alive: make sure that guest 100 does not run there")
    expect(500, w.api.post(path, force="1", point="nothing"), "nothing")
    assert [r["node"] for r in w.api.get("/cluster/resources", type="vm").data if r["vmid"] == 100] == ["pve1"]
    assert expect(200, w.api.get(path)).data == plan
    done = expect(200, w.api.post(path, force="1", point=plan["point"])).data
    assert done["said"][-1] == "guest 100 is on node 'pve2' now" and (done["from"], done["point"]) == ("pve1", plan["point"]), done
    assert [r["node"] for r in w.api.get("/cluster/resources", type="vm").data if r["vmid"] == 100] == ["pve2"]
    assert bytes_of(w, w.b) == replicated
    assert expect(200, w.api.get("/cluster/replication/100-0")).data["target"] == "pve1"
    assert "failover of guest 100 to this node, asked for by root@pam!test from " in w.b.daemon.words()


# ---- log-ins ----

@told
def tickets(w):
    """a password gives a ticket, that lets its user do what they may, and nobody gets in by less"""
    for user in ("one", "auditor", "off", "tfa"):
        set_password(w, user)
    with open(os.path.join(w.c.tree, "user.cfg"), "a") as f:
        f.write("user:tfa@pve:1:0::::::\n")
    w.c.write("priv/tfa.cfg", '{"users":{"tfa@pve":{"totp":[{"info":{},"entry":"x"}]}}}')
    w.create(disable="1")
    data = expect(200, log_in(w, "one@pve")).data
    has_keys(w)
    assert data["username"] == "one@pve" and data["ticket"].startswith("PVE:one@pve:") and "clustername" not in data, data
    assert data["cap"]["vms"] == {} and "dc" in data["cap"], data
    assert expect(200, log_in(w, "one", realm="pve")).data["username"] == "one@pve"
    assert "clustername" in expect(200, log_in(w, "auditor@pve")).data

    expect(401, log_in(w, "tfa@pve"))
    assert "user 'tfa@pve' needs a second factor" in w.a.daemon.words()

    def call(method, path, headers, fields=None):
        return w.api.call(method, path, fields, headers)
    job = "/cluster/replication/100-0"
    assert expect(200, call("GET", job, as_browser(data, csrf=False))).data["id"] == "100-0"
    expect(200, call("PUT", job, as_browser(data), {"comment": "by ticket"}))
    expect(401, call("PUT", job, as_browser(data, csrf=False), {"comment": "forged"}))
    expect(401, call("PUT", job, {**as_browser(data), "CSRFPreventionToken": data["CSRFPreventionToken"][:-1] + "!"}, {"comment": "forged"}))
    other = expect(200, log_in(w, "auditor@pve")).data
    expect(401, call("PUT", job, {**as_browser(data), "CSRFPreventionToken": other["CSRFPreventionToken"]}, {"comment": "forged"}))
    expect(403, call("PUT", job, as_browser(other), {"comment": "forged"}))
    # of two identities one counts, good or bad
    both = {"Cookie": as_browser(data)["Cookie"] + "; __Host-PVESRAuthCookie=" + urllib.parse.quote(other["ticket"], safe="")}
    expect(403, call("PUT", job, {**both, "CSRFPreventionToken": other["CSRFPreventionToken"]}, {"comment": "as auditor"}))
    expect(401, call("PUT", job, {**both, "CSRFPreventionToken": data["CSRFPreventionToken"]}, {"comment": "as one"}))
    expect(401, call("GET", job, {"Cookie": as_browser(data)["Cookie"] + "; __Host-PVESRAuthCookie=stale"}))
    expect(403, call("PUT", job, {**as_browser(data), "Authorization": token("auditor@pve!test", AUDITOR)}, {"comment": "as auditor"}))
    expect(401, call("GET", job, {**as_browser(data), "Authorization": token("auditor@pve!test", SECRETS["one@pve!test"])}))
    renewed = expect(200, log_in(w, "one@pve", data["ticket"])).data
    assert expect(200, call("GET", job, as_browser(renewed))).data["comment"] == "by ticket"
    now = int(time.time())
    good = [sign(w, f"PVE:one@pve:{at:08X}") for at in (now - 7000, now + 200)]
    for ticket in good:
        expect(200, call("GET", job, as_browser({"ticket": ticket}, csrf=False)))
    bad = [sign(w, f"PVE:one@pve:{at:08X}") for at in (now - 7300, now + 400)] + [
        data["ticket"][:-4], data["ticket"].replace("one@", "root@").replace("pve:", "pam:"), sign(w, f"PVE:!tfa!one@pve:{now:08X}"),
        sign(w, f"PVE:gone@pve:{now:08X}"), sign(w, f"PVE:off@pve:{now:08X}"), sign(w, f"PVE:nobody-there@pve:{now:08X}"),
        sign(w, f"PVEVNC:one@pve:{now:08X}"), "PVE:", ""]
    for ticket in bad:
        expect(401, call("GET", job, as_browser({"ticket": ticket}, csrf=False)), "authentication failure")
    for answer in together(lambda ticket: log_in(w, "one@pve", ticket or "x"), bad):
        expect(401, answer)
    refused = (("one@pve", "wrong"), ("off@pve", PASSWORD), ("gone@pve", PASSWORD), ("tfa@pve", PASSWORD), ("nobody@nowhere", PASSWORD),
               ("root@pam", PASSWORD), ("nobody@pam", PASSWORD), ("nobody@pve", PASSWORD), ("x" * 60, PASSWORD), ("one@pve", bad[0]))
    for answer, seconds in together(lambda who: timed(lambda: log_in(w, *who)), refused):
        expect(401, answer)
        assert answer.reason == "authentication failure" and list(answer.body) == ["data", "message"], answer
        assert seconds >= 2, f"refused after {seconds} s: the time tells who there is"
    words = w.a.daemon.words()
    assert PASSWORD not in words and data["ticket"] not in words, words
    expect(401, log_in(w, "one@pve\x00"[:-1] + "%00"))


@told
def keys_of_tickets(w):
    """a log-in waits for the keys of tickets, makes those that are lost, and says what keeps them from being made"""
    has_keys(w)
    set_password(w, "one")
    pair, www = ("priv/authkey.key", "authkey.pub"), "pve-www.key"

    def lose(*names):
        for name in names:
            os.unlink(os.path.join(w.c.tree, name))

    def lets_in(answer):
        expect(200, w.api.call("GET", "/version", headers=as_browser(expect(200, answer).data)))
    before = expect(200, log_in(w, "one@pve")).data
    for lost in (pair, pair[:1], pair[1:], (www,), (*pair, www)):
        lose(*lost)
        lets_in(log_in(w, "one@pve"))
    # whoever replaced them was killed between the two
    os.replace(os.path.join(w.c.tree, "priv/authkey.key"), os.path.join(w.c.tree, "priv/kept"))
    lets_in(log_in(w, "one@pve"))
    os.replace(os.path.join(w.c.tree, "priv/kept"), os.path.join(w.c.tree, "priv/authkey.key"))
    lets_in(log_in(w, "one@pve", expect(200, log_in(w, "one@pve")).data["ticket"]))
    expect(401, w.api.call("GET", "/version", headers=as_browser(before)))

    lose(*pair)
    lock = held(os.path.join(w.c.tree, "priv/lock/file-authkey"))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        with lock:
            begun = [pool.submit(log_in, w, "one@pve") for _ in range(4)]
            rig.wait_for(lambda: child_of(w.a.daemon, "--make-keys"), "a log-in that waits")
        for one in begun:
            lets_in(one.result())
    lose(*pair)
    with held(os.path.join(w.c.tree, "priv/lock/file-authkey")):
        expect(503, log_in(w, "one@pve"), "authkey")
    lets_in(log_in(w, "one@pve"))


@told
def a_tree_that_is_away(w):
    """a tree that is empty because it is not mounted is said, and stays empty: the API makes nothing there by which it would seem to be this node's; when it is back, all goes on"""
    tree, away, why = w.c.tree, w.c.tree + ".away", "is empty, and this node has had jobs: is it mounted?"

    def is_paused():
        return w.a.daemon.told("STATUS=Paused: the configuration tree") and "1 jobs" not in w.a.daemon.notices[-1]

    def stays_so(seconds):
        end = time.monotonic() + seconds
        rig.wait_for(lambda: time.monotonic() > end or os.listdir(tree), "that nothing comes", 2 * seconds)
        assert os.listdir(tree) == [] and is_paused(), (os.listdir(tree), w.a.daemon.notices)
        told = w.a.pvesr("status")
        assert told.returncode == 1 and why in told.stderr, told
    w.create()
    w.wait_synced()
    has_keys(w)
    set_password(w, "auditor")
    session = as_browser(expect(200, log_in(w, "auditor@pve")).data)
    w.b.daemon.stop()
    os.rename(tree, away)
    os.mkdir(tree)
    rig.wait_for(is_paused, "the pause")
    for headers in (session, {"Authorization": w.api.auth}):
        expect(503, w.api.call("GET", "/version", headers=headers), "nobody can be known now")
    expect(401, w.api.call("GET", "/version", headers={}))
    stays_so(6)
    w.a.daemon.stop()
    w.a.daemon = Daemon(w.a)
    rig.wait_for(is_paused, "the pause of the next one")
    stays_so(13)
    assert "the API is not served: the configuration tree" in w.a.daemon.words(), w.a.daemon.words()
    os.rmdir(tree)
    os.rename(away, tree)
    rig.wait_for(lambda: answers(w), "the API", 60)
    expect(200, w.api.call("GET", "/version", headers=session))
    assert w.ids() == ["100-0"] and w.state()["last_sync"], w.state()
    rig.wait_for(lambda: w.a.daemon.told("STATUS=1 jobs"), "the schedule")


@told
def guessing(w):
    """whoever guesses passwords is not listened to for a while, and tokens and tickets go on"""
    set_password(w, "one")
    data = expect(200, log_in(w, "one@pve")).data
    for answer in together(lambda _: log_in(w, "auditor@pve", "wrong"), range(10)) + together(lambda _: log_in(w, "auditor@pve", "wrong"), range(10)):
        expect(401, answer)
    expect(401, log_in(w, "one@pve"), "authentication failure")
    assert "too many failed" in w.a.daemon.words()
    expect(200, log_in(w, "one@pve", data["ticket"]))
    # the log has so many of them, and their number
    lines = len(w.a.daemon.words().splitlines())
    for answer in together(lambda n: w.api.call("GET", "/version", headers={"Cookie": f"PVEAuthCookie=forged{n}"}), range(200)):
        expect(401, answer)
    added = w.a.daemon.words().splitlines()[lines:]
    assert len(added) <= 62, added  # those of two minutes, if one ends just now
    rig.wait_for(lambda: "more lines of refused requests" in w.a.daemon.words(), "the number of the others", 90)
    expect(200, w.api.get("/version"))


def timed(f):
    begin = time.monotonic()
    return f(), time.monotonic() - begin


def together(f, what):
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        return list(pool.map(f, what))


# ---- hostile ----

@told
def strange_bytes(w):
    """paths with tricks, control characters, large heads and bodies are refused, and the daemon goes on"""
    for path in ("/api2/json/../json/version", "/api2/json//version", "/api2/json/%2e%2e/version", "/api2/json/nodes/%2fetc/replication",
                 "/api2/json/version%00", "/api2/json/%zz", "/api2/json/%", "/api2/json/cluster/replication/100-0%0d%0aX", "/api2/json/" + "a/" * 40):
        answer = w.api.call("GET", path, prefix="")
        assert answer.status in (400, 401, 404), f"{path}: {answer}"
    for query in ("?guest=%00", "?guest=1%", "?guest=100&guest=101", "?" + "&".join(f"a{i}=1" for i in range(100)), "?guest=\x7f", "?=1"):
        answer = w.api.call("GET", "/nodes/pve1/replication" + query.replace("\x7f", "%7f"))
        assert answer.status == 400, f"{query}: {answer}"
    expect(400, w.api.post("/cluster/replication", id="100-0", target="pve2", type="local", comment="a\x1b[2Jb"))
    auth = f"Authorization: {w.api.auth}\r\nHost: x\r\n"
    large = "x" * 200000
    for head in ("Content-Length: 20000000", "Content-Length: 200000\r\nExpect: 100-continue"):
        assert " 413 " in first_line(w, f"POST /api2/json/cluster/replication HTTP/1.1\r\n{auth}{head}\r\n\r\n".encode())
    # who sends first and reads then gets its answer
    assert all(w.api.call("POST", "/cluster/replication", headers={"Content-Type": "application/json"}, body=b" " * 3000000).status == 413 for _ in range(5))
    assert " 413 " in first_line(w, f"POST /api2/json/cluster/replication HTTP/1.1\r\n{auth}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
                                    f"{len(large):x}\r\n{large}\r\n0\r\n\r\n".encode())
    for head in (f"GET /{large} HTTP/1.1\r\n{auth}\r\n", f"GET /api2/json/version HTTP/1.1\r\n{auth}X: {large}\r\n\r\n", "\x00\x01\x02\r\n\r\n",
                 "GET\r\n\r\n", f"GET /api2/json/version HTTP/9.9\r\n{auth}\r\n", f"POST /api2/json/version HTTP/1.1\r\n{auth}Content-Length: -1\r\n\r\n",
                 f"GET http://x@y:z/api2/json/version HTTP/1.1\r\n{auth}Connection: close\r\n\r\n"):
        line = first_line(w, head.encode())
        assert not line or line.split()[1][0] in "45", f"{head[:60]!r}: {line}"
    # one answer's words are never another's
    expect(404, w.api.get("/cluster/replication/100-5"), "no such replication job '100-5'")
    assert first_line(w, b"GET\r\n\r\n").count("100-5") == 0
    expect(200, w.api.get("/version"))


@told
def slow_and_many(w):
    """whoever sends a byte now and then is cut, too many connections are not taken, and others are served meanwhile"""
    slow = []
    for _ in range(150):
        plain = socket.create_connection((w.api.host, w.api.port), timeout=60)
        slow.append(w.api.context.wrap_socket(plain, server_hostname=w.api.host))
    for s in slow:
        s.sendall(b"GET /api2/json/version HTTP/1.1\r\nHost: x\r\n")
    expect(200, w.api.get("/version"))
    idle, refused = [], 0
    for _ in range(500):
        try:
            idle.append(socket.create_connection((w.api.host, w.api.port), timeout=5))
        except OSError:
            refused += 1
    expect(200, w.api2.get("/version"))

    def all_cut():
        alive = 0
        for s in slow:
            try:
                s.sendall(b"X-A: b\r\n")
                alive += 1
            except OSError:
                pass
        return not alive
    rig.wait_for(all_cut, "the end of the slow ones", 90)
    for s in slow + idle:
        s.close()
    rig.wait_for(lambda: answers(w), "an answer")
    assert w.a.daemon.process.poll() is None


def answers(w):
    try:
        return w.api.get("/version").status == 200
    except OSError:
        return False


# ---- clients that know nothing of us ----

@told
def curl_and_old_tls(w):
    """curl gets a list; plain HTTP and TLS before 1.2 get nothing"""
    cert = os.path.join(w.c.tree, "nodes/pve1/pve-ssl.pem")
    w.create()
    url = f"https://127.0.0.1:{w.api.port}/api2/json/cluster/replication"
    done = subprocess.run(["curl", "-sS", "--cacert", cert, "-H", f"Authorization: {w.api.auth}", url], capture_output=True, text=True, check=True)
    assert [j["id"] for j in json.loads(done.stdout)["data"]] == ["100-0"], done.stdout
    for more in (["--tls-max", "1.1", "--cacert", cert, url], [url.replace("https", "http")]):
        assert subprocess.run(["curl", "-sS", *more], capture_output=True).returncode != 0


def by_proxmoxer(w, secret, *words):
    subprocess.run(["/usr/bin/python3", os.path.join(rig.ROOT, "tests/byproxmoxer.py"), w.api.host, str(w.api.port), *words],
                   input=secret, text=True, check=True, timeout=rig.RUN_SECONDS)


@functools.partial(told, needs=("proxmoxer",))
def proxmoxer_unchanged(w):
    """Debian's proxmoxer lists, makes, changes, triggers, reads and removes jobs by token and by password"""
    has_keys(w)
    set_password(w, "one")
    by_proxmoxer(w, rigapi.SECRET, "root@pam", "test")
    by_proxmoxer(w, PASSWORD, "one@pve")


def by_npm(w, secret, who):
    subprocess.run(["node", os.path.join(npm.source("clients"), "bynpm.mjs"), npm.folder("clients"), w.api.host, str(w.api.port), who],
                   input=secret, text=True, check=True, timeout=rig.RUN_SECONDS, env={**os.environ, "NODE_EXTRA_CA_CERTS": os.path.join(w.c.tree, "nodes/pve1/pve-ssl.pem")})


@functools.partial(told, needs=("npm",))
def npm_unchanged(w):
    """npm's proxmox-api lists, makes, changes, triggers, reads and removes jobs by token and by password"""
    has_keys(w)
    set_password(w, "one")
    by_npm(w, rigapi.SECRET, "root@pam!test")
    by_npm(w, PASSWORD, "one@pve")


rig.NEEDS["npm"] = (lambda: npm.install("clients") is None, "needs npm's proxmox-api")
rig.NEEDS["proxmoxer"] = (lambda: os.path.isdir("/usr/lib/python3/dist-packages/proxmoxer"), "needs python3-proxmoxer")


play_all("api")
