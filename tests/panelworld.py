"""A server in place of pvesrd for looking at the panel: a cluster of three nodes in memory, with a job in each state, or with thousands of jobs. What a
page looks like must not depend on what time it is or how long a run takes; what is true of it the tests on the rig say, with the real one.

    python3 tests/panelworld.py PANEL-FOLDER PORT [JOBS]
"""
import contextlib
import http.server
import json
import os
import re
import sys
import threading
import time
import urllib.parse

TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
POLICY = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
NOW = 1767225600  # what is "now" for times in the past
LATER = 4102444800
HOSTILE = "<img src=x onerror=alert(1)> & \"quotes\" \u202e"
ERROR = ("no space left on storage 'local-xfs' of node pve2: 1.2 GiB are needed, 310 MiB are free: free some there, or remove job 101-0; the next run "
         "goes on from here")
LOG = """2026-01-01 00:00:03 100-0: start replication job
2026-01-01 00:00:03 100-0: guest => VM 100, running => 4711
2026-01-01 00:00:03 100-0: volumes => local-xfs:100/vm-100-disk-0.raw,local-xfs:100/vm-100-disk-1.raw
2026-01-01 00:00:04 100-0: freeze guest filesystem
2026-01-01 00:00:04 100-0: create snapshot '__replicate_100-0_1767225603__' on local-xfs:100/vm-100-disk-0.raw
2026-01-01 00:00:04 100-0: thaw guest filesystem
2026-01-01 00:00:06 100-0: incremental sync 'local-xfs:100/vm-100-disk-0.raw' (__replicate_100-0_1767224703__ => __replicate_100-0_1767225603__)
2026-01-01 00:00:09 100-0: end replication job"""


SENDING = LOG.rsplit("\n", 1)[0] + """
2026-01-01 00:00:08 100-1: local-xfs:100/vm-100-disk-0.raw: 512.0 MiB sent in 2.1 s
2026-01-01 00:00:09 100-1: local-xfs:100/vm-100-disk-1.raw: 1.4 GiB sent, 310.2 MiB/s, 42 %, 125 s left"""
PLAN = """job 100-0: guest 100 from pve1 to pve2, last sync 1767225600
note: the run would be postponed: another job is at work
local-xfs:100/vm-100-disk-0.raw
  remove stale snapshot '__replicate_100-0_1767220203__' here
  take snapshot '__replicate_100-0_1767226503__'
  send __replicate_100-0_1767225603__ => __replicate_100-0_1767226503__
  then remove '__replicate_100-0_1767225603__' here
local-xfs:100/vm-100-disk-1.raw
  take snapshot '__replicate_100-0_1767226503__'
  send __replicate_100-0_1767226503__ in full: the target does not have the volume"""
STEPS = [{"name": name, "seconds": seconds} for name, seconds in (("begin", 0.02), ("look", 0.3), ("connect", 0.4), ("plan", 0.1), ("snapshot", 0.2), ("transfer", 1.9),
                                                                  ("commit", 0.3), ("prune", 0.0), ("close", 0.05))]
FINDINGS = {
    "findings": [
        {"guest": 100, "state": "left", "volid": "local-xfs:100/vm-100-disk-0.raw", "text": "'__replicate_100-7_1767220203__': the guest has no job any more"},
        {"guest": 101, "state": "kept", "volid": "local-xfs:101/vm-101-disk-9.raw",
         "text": "a replica by job '101-0', 4096 MiB, its newest restore point of 2026-01-01 00:00:03, of a disk that the guest has not. The next run removes what it left "
                 "itself; not if it is of a former guest of this id, nor if the disk's image is still on the guest's node or was missing there: then it stays until somebody removes it: 'pvesr doctor --guest 101 --free local-xfs:101/vm-101-disk-9.raw'"},
        {"guest": 102, "state": "ended", "volid": "guest 102", "text": "a commit of its replicas was cut: its disks are of one instant again " + HOSTILE},
        {"guest": 0, "state": "takeover", "volid": "-", "text": "pvesrd starts the jobs of this node"}],
    "warnings": ["storage 'far' is not active: its volumes were not looked at"]}


def history(number, logs):
    """Newest first: a few that failed, one that was cut, deltas by the time of day."""
    runs = []
    for i in range(number):
        result = "interrupted" if i == 5 else "failed" if i in (2, 3, 30) else "ok"
        delta = (40 + 37 * ((i * 7919) % 23)) << 20
        run = {"job": "100-0", "node": "pve1", "target": "pve2", "start": NOW - 900 * i, "result": result, "bytes": delta * 2 // 3, "delta": delta}
        if result != "interrupted":
            run.update(duration=2.0 + delta / (400 << 20), steps=STEPS)
        if result == "failed":
            run.update({"error": ERROR, "error-kind": "full"})
        if logs:
            run["log"] = LOG
        runs.append(run)
    return runs


def events(form):
    if form["schedule"] == "nonsense":
        raise Refused(400, "Parameter verification failed.", {"schedule": "invalid calendar event: 'nonsense'"})
    return [{"timestamp": at, "local": time.strftime("%Y-%m-%d %H:%M:%S CET", time.gmtime(at + 3600))}
            for at in range(NOW + 900, NOW + 900 + 900 * min(30, int(form.get("iterations", 10))), 900)]


def log_rows(form, name):
    lines = (SENDING if name == "100-1" else LOG).split("\n")
    return [{"n": n + 1, "t": text} for n, text in enumerate(lines)][int(form.get("start", 0)):]


def job(guest, number, target, **more):
    known = {"id": f"{guest}-{number}", "guest": guest, "jobnum": number, "type": "local", "target": target, "source": "pve1", "vmtype": "qemu",
             "last_sync": NOW, "last_try": NOW, "next_sync": LATER, "fail_count": 0, "duration": 3.214567}
    known.update(more)
    return {key: value for key, value in known.items() if value is not None}


def risk(guest, state, node="pve1", age=None, **more):
    known = {"guest": guest, "vmtype": "qemu", "state": state, "node": node, "left-out": []}
    if age is not None:
        known.update(newest=NOW - age, age=age, allowed=2700)
    return {**known, **more}


RISKS = [risk(300, "never", "pve3", job="300-0", target="pve1"), risk(200, "never", "pve2", job="200-0", target="pve1"),
         risk(102, "no job", **{"left-out": ["local-xfs:102/vm-102-disk-0.raw"]}), risk(103, "disabled", age=600, job="103-0", target="pve2"),
         risk(101, "OVERDUE", age=93784, job="101-0", target="pve2"), risk(100, "ok", age=240, job="100-0", target="pve2"),
         risk(100, "differs", age=5000, job="100-1", target="pve3")]


def point(at, state=None, job="100-0", **more):
    volumes = [{"volid": f"local-xfs:100/vm-100-disk-{n}.raw", "id": "0" * 32, "size": (n + 1) << 30, "readable": True, "changed": state == "changed",
                "shown": state == "shown", **({"damaged": NOW} if state == "damaged" else {})} for n in (0, 1)]
    return {"name": f"__replicate_{job}_{at}__", "job": job, "time": at, "aside": state == "aside", "volumes": volumes, **more}


POINTS = {"pve2": [point(NOW - 2700, "damaged"), point(NOW - 1800, "aside"), point(NOW - 900, lacks=["local-xfs:100/vm-100-disk-2.raw"]), point(NOW, "shown")],
          "pve3": [point(NOW - 1800, "shown", "100-1")]}
UNREAD = "some storages cannot be read: who has VM.Audit on /vms is told which, and why"
LOOKED = "warning: the path '/srv/old' of storage 'old' is not there (No such file or directory): is it mounted?"


class World:
    def __init__(self, jobs=0):
        self.nodes = [{"type": "node", "node": name, "status": "online" if name != "pve3" else "offline", "id": f"node/{name}"}
                      for name in ("pve1", "pve2", "pve3")]
        self.guests = [{"type": "lxc" if vmid == 101 else "qemu", "vmid": vmid, "name": name, "node": node, "status": status}
                       for vmid, name, node, status in ((100, "web", "pve1", "running"), (101, "mail", "pve1", "running"),
                                                        (102, HOSTILE, "pve1", "stopped"), (103, "database-of-the-whole-company", "pve1", "running"),
                                                        (200, "build", "pve2", "stopped"), (300, "far", "pve3", "unknown"))]
        self.jobs = [job(100, 0, "pve2", comment="the shop"), job(100, 1, "pve3", schedule="*/30", rate=12.5, pid=4711),
                     job(101, 0, "pve2", error=ERROR, fail_count=3, next_sync=NOW, schedule="mon..fri 7..18:00/15"),
                     job(102, 0, "pve2", comment=HOSTILE, disable=1, next_sync=None), job(103, 0, "pve2", remove_job="full", next_sync=1),
                     job(200, 0, "pve1", source="pve2", last_sync=0, last_try=0, duration=None, next_sync=NOW),
                     job(300, 0, "pve1", source="pve3")]
        for i in range(jobs):
            guest = 1000 + i
            self.guests.append({"type": "qemu", "vmid": guest, "name": f"guest{i}", "node": "pve1", "status": "running"})
            self.jobs.append(job(guest, 0, "pve2", comment=f"number {i}"))
        self.permissions = {"/": {p: 1 for p in ("VM.Audit", "VM.Replicate", "VM.Migrate", "Sys.Audit", "VM.Backup")}}
        self.silent = set()
        self.busy = 0  # so many looks are refused
        self.alive = True  # pve1, as far as a failover knows
        self.asked = 0
        self.permissions["/"]["Sys.Modify"] = 1

    def of_node(self, node, guest=None):
        owners = {one["vmid"]: one["node"] for one in self.guests}
        return [one for one in self.jobs if owners.get(one["guest"], one["source"]) == node and guest in (None, one["guest"])]

    def configured(self):
        """What is in replication.cfg, without the states."""
        return [{k: v for k, v in one.items() if k in ("id", "guest", "jobnum", "type", "target", "source", "schedule", "rate", "comment", "disable",
                                                       "remove_job")} for one in self.jobs]

    def find(self, name):
        found = [one for one in self.jobs if one["id"] == name]
        if not found:
            raise Refused(404, f"no such replication job '{name}'")
        return found[0]

    def answer(self, method, path, form):
        self.asked += 1
        for pattern, allowed, function in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and method == allowed:
                return function(self, form, *map(urllib.parse.unquote, match.groups()))
        raise Refused(501, f"Method '{method} {path}' not implemented")

    # ---- calls ----

    def log_in(self, form):
        user = form["username"] if "@" in form["username"] else f"{form['username']}@{form.get('realm', 'pam')}"
        if form["password"] != "secret" and not form["password"].startswith("PVE:"):
            raise Refused(401, "authentication failure")
        return {"username": user, "ticket": f"PVE:{user}:6955B900::c2lnbmF0dXJl", "CSRFPreventionToken": "6955B900:x", "clustername": "lab"}

    def node_jobs(self, form, node):
        if node in self.silent:
            raise Refused(595, f"no answer from node {node} within 3 s")
        return self.of_node(node, int(form["guest"]) if "guest" in form else None)

    def risks(self, form, node):
        if node in self.silent:
            raise Refused(595, f"no answer from node {node} within 3 s")
        return [row for row in RISKS if row["node"] == node]

    def points(self, form, node, guest):
        if self.busy:
            self.busy -= 1
            raise Refused(503, "8 requests that take long are under way: try again")
        found = POINTS.get(node, []) if guest == "100" else []
        return {"points": found, "problems": [LOOKED, UNREAD] if node == "pve3" and found else []}

    def failover_plan(self, form, node, guest):
        if not self.points(form, node, guest)["points"]:
            raise Refused(500, f"no job replicates guest {guest} to node '{node}': it has no replicas here")
        name = form.get("point", POINTS[node][-1]["name"])
        to = next(one for one in POINTS[node] if one["name"] == name)
        return {"guest": int(guest), "from": "pve1", "point": name, "time": to["time"], "said": [f"{volume['volid']}, at {name}" for volume in to["volumes"]]}

    def failover(self, form, node, guest):
        plan = self.failover_plan(form, node, guest)
        if self.alive and form.get("force") != "1":
            raise Refused(500, f"node 'pve1' may be alive: make sure that guest {guest} does not run there and will not be started, then repeat this with --force")
        return {**plan, "said": [*plan["said"], f"guest {guest} is on node '{node}' now"]}

    def create(self, form):
        if "schedule" in form and form["schedule"] == "nonsense":
            raise Refused(400, "Parameter verification failed.", {"schedule": "invalid calendar event: 'nonsense'"})
        guest, number = map(int, form["id"].split("-"))
        self.jobs.append(job(guest, number, form["target"], last_sync=0, last_try=0, duration=None, next_sync=NOW, **settings(form)))

    def change(self, form, name):
        one = self.find(name)
        one.update(settings(form))
        for key in filter(None, form.get("delete", "").split(",")):
            one.pop(key, None)

    def remove(self, form, name):
        self.find(name)["remove_job"] = "local" if form.get("keep") == "1" else "full"


def settings(form):
    given = {key: form[key] for key in ("schedule", "comment") if key in form}
    if "disable" in form:
        given["disable"] = int(form["disable"])
    if "rate" in form:
        given["rate"] = float(form["rate"])
    return given


class Refused(Exception):
    def __init__(self, status, text, errors=None):
        super().__init__(text)
        self.status, self.text, self.errors = status, text, errors


ROUTES = (
    ("/access/ticket", "POST", World.log_in),
    ("/access/permissions", "GET", lambda world, form: world.permissions),
    ("/cluster/resources", "GET", lambda world, form: world.nodes + world.guests),
    ("/cluster/jobs/schedule-analyze", "GET", lambda world, form: events(form)),
    ("/cluster/replication", "GET", lambda world, form: world.configured()),
    ("/cluster/replication", "POST", World.create),
    ("/cluster/replication/([^/]+)", "GET", lambda world, form, name: {**world.find(name), "digest": "0" * 40}),
    ("/cluster/replication/([^/]+)", "PUT", World.change),
    ("/cluster/replication/([^/]+)", "DELETE", World.remove),
    ("/nodes/([^/]+)/replication", "GET", World.node_jobs),
    ("/nodes/([^/]+)/replication/([^/]+)/log", "GET", lambda world, form, node, name: log_rows(form, name)),
    ("/nodes/([^/]+)/replication/([^/]+)/history", "GET", lambda world, form, node, name: history(int(form["limit"]), form.get("logs") != "0")),
    ("/nodes/([^/]+)/replication/([^/]+)/plan", "GET", lambda world, form, node, name: PLAN.split("\n")),
    ("/nodes/([^/]+)/doctor", "POST", lambda world, form, node: FINDINGS),
    ("/nodes/([^/]+)/at-risk", "GET", World.risks),
    ("/nodes/([^/]+)/restore-points/([^/]+)", "GET", World.points),
    ("/nodes/([^/]+)/failover/([^/]+)", "GET", World.failover_plan),
    ("/nodes/([^/]+)/failover/([^/]+)", "POST", World.failover),
    ("/nodes/([^/]+)/replication/([^/]+)/schedule_now", "POST", lambda world, form, node, name: world.find(name).update(next_sync=NOW) or ""),
)


def serve(folder, port, world):
    """Until shutdown(); port 0: any."""
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def put(self, status, kind, body, text=""):
            self.send_response(status, text or None)
            for key, value in (("Content-Type", kind), ("Content-Length", str(len(body))), ("Content-Security-Policy", POLICY)):
                self.send_header(key, value)
            with contextlib.suppress(ConnectionError):  # whoever asked may be at another page
                self.end_headers()
                self.wfile.write(body)

        def file(self, path):
            path = os.path.join(folder, path.lstrip("/") or "index.html")
            with open(path, "rb") as f:
                self.put(200, TYPES[os.path.splitext(path)[1]], f.read())

        def do(self):
            url = urllib.parse.urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            if not url.path.startswith("/api2/json/"):
                self.file(url.path)
                return
            form = dict(urllib.parse.parse_qsl(url.query or body, keep_blank_values=True))
            try:
                data = world.answer(self.command, url.path[len("/api2/json"):], form)
                self.put(200, "application/json", json.dumps({"data": data, "total": len(LOG.split("\n"))}).encode())
            except Refused as e:
                self.put(e.status, "application/json", json.dumps({"data": None, "message": e.text + "\n", "errors": e.errors or {}}).encode(), e.text)

        do_GET = do_POST = do_PUT = do_DELETE = do

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


if __name__ == "__main__":
    import panelbrowser
    serve(panelbrowser.lay_out(sys.argv[1]), int(sys.argv[2]), World(int((sys.argv[3:] or ["0"])[0])))
    while True:
        time.sleep(3600)
