#!/usr/bin/env python3
"""pvesrd's API against those who mean it ill: random requests made from docs/openapi.json, 10,000 connections, bodies without an end; replication goes
on meanwhile.

PVESR_HOSTILE=100000 for a long one, PVESR_TEST_SEED=N for the same one again."""
import http.client
import json
import os
import random
import socket
import time
import urllib.parse

import rig
from apiworld import AUDITOR, SECRETS, World, expect
from rigapi import ROOT, Api, token

REQUESTS = int(os.environ.get("PVESR_HOSTILE", "500"))
SEED = rig.SEED
with open(os.path.join(rig.ROOT, "docs/openapi.json")) as f:
    PATHS = json.load(f)["paths"]
OPERATIONS = [(path, method.upper(), operation) for path, methods in PATHS.items() for method, operation in methods.items()]
STATUSES = {200, 400, 401, 403, 404, 413, 414, 431, 500, 501, 503, 508, 595}

#           whose guests they see, and change; None: nobody at all
CALLERS = ((ROOT, {100, 101, 102}, set()),  # changes are only asked for by others: jobs 101-0 and 102-0 stay
           (token("auditor@pve!test", SECRETS["auditor@pve!test"]), {100, 101, 102}, set()),
           (token("one@pve!test", SECRETS["one@pve!test"]), {100}, {100}),
           (token("noaccess@pve!test", SECRETS["noaccess@pve!test"]), {101, 102}, set()),
           (token("nobody@pve!test", SECRETS["nobody@pve!test"]), set(), set()),
           (token("root@pam!narrow", SECRETS["root@pam!narrow"]), {101}, set()),
           (token("auditor@pve!test", AUDITOR[:-1] + "0"), None, None), (None, None, None), ("PVEAPIToken=", None, None), ("Basic eDp5", None, None))
GOOD = {"id": ("100-0", "101-0", "102-0", "100-1", "999-0", "100-999999999"), "node": ("pve1", "pve2", "pve9", "localhost"),
        "vmid": ("100", "101", "102", "999"), "guest": ("100", "101"), "target": ("pve1", "pve2", "pve9"), "schedule": ("*/5", "mon..fri 2:00", "*:0/7 UTC"),
        "type": ("local", "vm", "node"), "comment": ("x", "ä", "<script>"), "path": ("/", "/vms/100"), "userid": ("root@pam", "one@pve!test"),
        "delete": ("comment", "rate,schedule", "digest"), "username": ("root@pam", "one@pve"), "password": ("x", "PVE:root@pam:00000000::x")}
EVIL = ("", "0", "-1", "1e999", "NaN", "18446744073709551616", "%", "%%", "../../etc/passwd", "/", "a" * 300, "a" * 5000, "\u202e\u0000", "\x1b[2J", "\r\nX: y",
        "--help", "-", "--config=/etc/shadow", "'; rm -rf /", "$(id)", "100-0\n", "１００-0", "null", "[]", "{}", "\xff\xfe", "100-00", "0100", " 100", "true")


class Chance(random.Random):
    def value(self, parameter):
        name, schema = parameter["name"], parameter["schema"]
        kind = self.random()
        if kind < 0.55 and name in GOOD:
            return self.choice(GOOD[name])
        if kind < 0.75 and "enum" in schema:
            return str(self.choice(schema["enum"]))
        if kind < 0.8 and "minimum" in schema:
            return str(self.choice((schema["minimum"], schema["maximum"], schema["minimum"] - 1, schema["maximum"] + 1)))
        return self.choice(EVIL)

    def request(self):
        """(caller, method, path, body, headers, guests that it is of)"""
        path, method, operation = self.choice(OPERATIONS)
        caller = self.choice(CALLERS[1:] if method != "GET" else CALLERS)
        names = [p for p in operation["parameters"]]
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {"properties": {}})
        names += [{"name": name, "in": "body", "schema": schema, "required": name in body.get("required", ())} for name, schema in body["properties"].items()]
        fields, of = {}, set()
        for p in names:
            if p["in"] == "path":
                value = self.value(p)
                of |= {int(n) for n in [value.split("-")[0]] if p["name"] in ("id", "vmid") and n.isdecimal()}
                path = path.replace("{%s}" % p["name"], urllib.parse.quote(value, safe=self.choice(("", "/"))))
            elif self.random() < (0.9 if p["required"] else 0.2):
                fields[p["name"]] = self.value(p)
        while self.random() < 0.1:
            fields[self.choice(("x", "id", "node", "", "data", "a" * 70, "\x00"))] = self.choice(EVIL)
        if path == "/cluster/replication" and fields.get("id", "").split("-")[0].isdecimal():
            of.add(int(fields["id"].split("-")[0]))
        return caller, of, method, *self.wire(method, path, fields)

    def wire(self, method, path, fields):
        headers, form = {}, urllib.parse.urlencode(fields)
        prefix = self.choice(("/api2/json",) * 8 + ("/api2/extjs", "/api2", ""))
        if method in ("GET", "DELETE") and self.random() < 0.9:
            return prefix + path + ("?" + form if form else ""), None, headers
        kind = self.random()
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        if kind < 0.3:
            headers["Content-Type"], form = "application/json", json.dumps(fields)
        if kind > 0.9:
            form = self.choice((form[:-3], form + "&" + form, "%" + form, "\x00" * 40, "{" * 2000, "[" * 100000, "a=b&" * 100, "x" * 140000))
        return prefix + path, form.encode(), headers


class Line:
    """A connection that is kept, and begun anew when the other side has enough."""

    def __init__(self, api):
        self.api, self.open = api, None

    def ask(self, method, path, body, headers):
        for again in (True, False):
            try:
                self.open = self.open or self.api.connect()
                self.open.request(method, path, body=body, headers=headers)
                answer = self.open.getresponse()
                if answer.getheader("Content-Type") == "text/event-stream":  # which has no end: the first line is enough
                    text = answer.readline()
                    self.open = self.open.close()
                    return answer.status, answer.reason, text
                return answer.status, answer.reason, answer.read()
            except (OSError, http.client.HTTPException):
                self.open = self.open.close()
                if not again:
                    raise
        return None


def judge(what, answer):
    """The message of a 500, or None."""
    (who, seen, changes), named, method, path, *_ = what
    status, reason, text = answer
    name = (who or "=nobody=").partition("=")[2].partition("=")[0]
    told = f"PVESR_TEST_SEED={SEED}: {method} {path[:300]} by {name}: {status} {text[:300]!r}"
    if path.split("?")[0].endswith("/metrics") and not text.startswith(b"{"):  # no JSON, and of all guests
        assert status == 200 and (who == ROOT or "auditor@" in who or "noaccess@" in who), "beyond the ACL: " + told
        assert text.endswith(b"# EOF\n"), told
        return None
    if text.startswith(b"id: "):
        assert status == 200 and seen is not None and path.split("?")[0].endswith("/events"), "nobody gets something: " + told
        return None
    body = json.loads(text)
    if path.startswith("/api2/extjs") and status == 200 and body["success"] == 0:
        status = body["status"]
    assert status in STATUSES, told
    if status != 200:
        assert body["data"] is None and body["message"].endswith("\n"), told
    free = path.split("?")[0].startswith(("/api2/json/access/ticket", "/api2/extjs/access/ticket"))
    if seen is None:
        assert status != 200 or (free and method == "GET"), "nobody gets something: " + told
    elif status == 200:
        parts = urllib.parse.unquote(path.split("?")[0]).split("/")
        log = parts[-1] in ("log", "history") and ("auditor@" in who or "noaccess@" in who)  # by Sys.Audit on the node
        assert method == "GET" or free or named <= changes, "beyond the ACL: " + told
        links = parts[-2:-1] == ["replication"] and parts[3] == "nodes"  # says nothing of the job
        gone = parts[-2:-1] == ["restore-points"] and len(seen) > 1 and not named & {100, 101, 102}  # a guest that is no more may have some
        assert named <= seen or log or links or gone, "beyond the ACL: " + told
        rows = body["data"] if isinstance(body["data"], list) else body["data"]["risks"] if parts[-1] == "at-risk" else [body["data"]]
        shown = {int(row[key]) for row in rows if isinstance(row, dict) for key in ("guest", "vmid") if key in row}
        assert shown <= seen, "beyond the ACL: " + told
    return body["message"].strip() if status == 500 else None


def random_requests(w):
    print(f"# PVESR_TEST_SEED={SEED} PVESR_HOSTILE={REQUESTS}")
    chance, lines, faults = Chance(SEED), [Line(w.api), Line(w.api2)], set()
    for job, target in (("100-0", "pve2"), ("101-0", "pve2"), ("102-0", "pve1")):
        w.create(job, target)
    w.wait_synced("101-0")
    before, resident = w.state("101-0")["last_sync"], [kib_of(node) for node in (w.a, w.b)]
    for number in range(REQUESTS):
        if number % max(REQUESTS // 4, 1) == 0:
            expect(200, w.api.post("/nodes/pve1/replication/101-0/schedule_now"))
        caller, _, method, path, body, headers = what = chance.request()
        if caller[0]:
            headers["Authorization"] = caller[0]
        answer = chance.choice(lines).ask(method, path, body, headers)
        assert answer, f"PVESR_TEST_SEED={SEED}: no answer to {what}"
        faults.add(judge(what, answer))
    rig.wait_for(lambda: w.state("101-0")["last_sync"] > before, "a run of 101-0", 60)
    print("# resident KiB: " + ", ".join(f"{node.name} {was} before, {kib_of(node)} after" for node, was in zip((w.a, w.b), resident)))
    words = w.a.daemon.words() + w.b.daemon.words()
    for fault in faults - {None}:
        assert f"500 {fault}"[:300] in words, f"PVESR_TEST_SEED={SEED}: no line of the log says: 500 {fault}"
    jobs = {job["id"]: job for job in expect(200, w.api.get("/cluster/replication")).data}
    assert "101-0" in jobs and "102-0" in jobs and not {"comment", "disable", "rate"} & {*jobs["101-0"], *jobs["102-0"]}, jobs
    alive(w)


random_requests.__doc__ = "random requests: no crash, nothing beyond the ACL, no 500 without a line of the log, and replication goes on"


def kib_of(node):
    with open(f"/proc/{node.daemon.process.pid}/status") as f:
        return int(f.read().split("VmRSS:")[1].split()[0])


def alive(w):
    """Also of leaks: the sanitizer speaks at the end."""
    for node in (w.a, w.b):
        assert node.daemon.process.poll() is None, node.daemon.words()[-2000:]
        assert node.daemon.stop() == 0, node.daemon.words()[-2000:]


def many_connections(w):
    """10,000 connections of many addresses: runs begin and end, the other node answers, and this one again when they are gone"""
    w.create("101-0", "pve2")
    w.wait_synced("101-0")
    before = w.state("101-0")["last_sync"]
    idle = []
    for n in range(10000):
        s = socket.socket()
        s.setblocking(False)
        s.bind((f"127.1.{n % 50}.{n // 50 % 250 + 1}", 0))
        s.connect_ex((w.api.host, w.api.port))
        idle.append(s)
    rig.wait_for(lambda: time.time() > before + 1, "another second")
    w.a.pvesr("schedule-now", "101-0")
    rig.wait_for(lambda: state_of(w, "101-0")["last_sync"] > before, "a run of 101-0", 60)
    expect(200, w.api2.get("/version"))
    kib = kib_of(w.a)
    assert kib < 64 << 10 or os.environ.get("PVESR_SANITIZED"), f"the daemon has {kib} KiB"
    for s in idle:
        s.close()
    rig.wait_for(lambda: answers(w), "an answer", 90)
    alive(w)


def state_of(w, job):
    with open(os.path.join(w.a.state_dir, "pve-replication-state.json")) as f:
        return next(s for s in json.load(f)[job.split("-", maxsplit=1)[0]].values())


def answers(w):
    try:
        return w.api.get("/version").status == 200
    except OSError:
        return False


def endless_bodies(w):
    """bodies that do not end are cut, and cost no memory"""
    begin = (f"POST /api2/json/cluster/replication HTTP/1.1\r\nAuthorization: {w.api.auth}\r\nHost: x\r\n"
             "Transfer-Encoding: chunked\r\n\r\n").encode()
    streams = []
    for _ in range(5):
        plain = socket.create_connection((w.api.host, w.api.port), timeout=60)
        s = w.api.context.wrap_socket(plain, server_hostname=w.api.host)
        s.sendall(begin)
        s.setblocking(False)
        streams.append(s)
    block = b"10000\r\n" + b"x" * 65536 + b"\r\n"

    def all_cut():
        alive_now = []
        for s in streams:
            try:
                s.send(block)
                alive_now.append(s)
            except BlockingIOError:
                alive_now.append(s)
            except OSError as e:
                if "want" in str(e).lower() or "did not complete" in str(e):
                    alive_now.append(s)
        streams[:] = alive_now
        return not streams
    expect(200, w.api.get("/version"))
    rig.wait_for(all_cut, "the end of all bodies", 90)
    kib = kib_of(w.a)
    assert kib < 64 << 10 or os.environ.get("PVESR_SANITIZED"), f"the daemon has {kib} KiB"
    alive(w)


def the_document():
    """docs/openapi.json is OpenAPI 3.1"""
    import openapi_spec_validator
    with open(os.path.join(rig.ROOT, "docs/openapi.json")) as f:
        openapi_spec_validator.validate(json.load(f))


def has_validator():
    try:
        import openapi_spec_validator  # noqa: F401
    except ImportError:
        return False
    return True


def the_table():
    """each operation of docs/openapi.json has its parameters, a name of its own and who may"""
    with open(os.path.join(rig.ROOT, "docs/openapi.json")) as f:
        document = json.load(f)
    assert document["openapi"].startswith("3.1."), document["openapi"]
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(names) == len(set(names)), names
    for path, method, operation in OPERATIONS:
        in_path = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
        assert {part[1:-1] for part in path.split("/") if part.startswith("{")} == in_path, path
        csrf = any("csrf" in way for way in operation["security"])
        assert csrf == (method != "GET") or path == "/access/ticket", f"{method} {path}"
        assert ("requestBody" in operation) <= (method in ("POST", "PUT")), f"{method} {path}"
        assert {"200", "default"} <= set(operation["responses"]), path


def play(f):
    def run():
        with rig.Cluster("xfs") as c:
            f(World(c))
    return run


rig.NEEDS["validator"] = (has_validator, "needs openapi-spec-validator for Python")
rig.check("hostile: " + the_table.__doc__, the_table)
rig.check("hostile: " + the_document.__doc__, the_document, needs=("validator",))
for test in (random_requests, many_connections, endless_bodies):
    rig.check("hostile: " + test.__doc__, play(test), needs=("root", "xfs"))
rig.main()
