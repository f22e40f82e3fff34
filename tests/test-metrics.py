#!/usr/bin/env python3
"""What Prometheus reads of a node: `pvesr metrics`, /metrics of pvesrd, and the alerts that are shipped, judged by promtool on what was recorded here."""
import json
import os
import re
import shutil
import subprocess
import time

import rig
import rigapi
from rigapi import Api, token

MB = 1000 * 1000
SHARED = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "share/prometheus")
RULES, DASHBOARD = os.path.join(SHARED, "pvesr.rules.yml"), os.path.join(SHARED, "pvesr.dashboard.json")
AUDITOR, NOBODY = "11111111-0000-0000-0000-000000000001", "11111111-0000-0000-0000-000000000002"
USERS = ("user:auditor@pve:1:0::::::\nuser:nobody@pve:1:0::::::\ntoken:auditor@pve!test:0:0::\ntoken:nobody@pve!test:0:0::\n"
         "acl:1:/:auditor@pve:PVEAuditor:\n")
TOKENS = f"auditor@pve!test {AUDITOR}\nnobody@pve!test {NOBODY}\n"
SAMPLE = re.compile(r'^(\w+)(\{(?:\w+="(?:[^"\\]|\\.)*",?)*\})? (-?[0-9.e+-]+)$')


class World:
    """pve1 has guests 100 and 101, each with one disk."""

    def __init__(self, c):
        self.c, self.a, self.b = c, c.node("pve1"), c.node("pve2")
        for guest in (100, 101):
            self.add_guest(guest)

    def add_guest(self, guest):
        folder = os.path.join(self.a.store, "images", str(guest))
        os.makedirs(folder)
        with open(os.path.join(folder, f"vm-{guest}-disk-0.raw"), "wb") as f:
            f.write(os.urandom(MB))
            f.truncate(4 * MB)
        self.c.write_guest("pve1", guest, f"scsi0: st:{guest}/vm-{guest}-disk-0.raw,size=4000000\n")

    def create(self, job, *more):
        self.a.pvesr("create-local-job", job, "pve2", *more, check=True)

    def record(self, **state):
        """What is printed of job 100-0 in this state."""
        self.a.pvesr("set-state", "100", json.dumps({"local/pve2": state}), check=True)
        return parse(self.metrics())

    def metrics(self):
        return self.a.pvesr("metrics", check=True).stdout


def parse(text):
    """{(name, labels): value}; every line is one that OpenMetrics knows."""
    found, families = {}, []
    lines = text.split("\n")
    assert lines[-2:] == ["# EOF", ""], lines[-3:]
    for line in lines[:-2]:
        if line.startswith("# "):
            kind, name = line.split(" ")[1:3]
            assert kind in ("HELP", "TYPE", "UNIT"), line
            if kind == "HELP":
                assert name not in families, f"{name} comes twice"
                families.append(name)
            continue
        m = SAMPLE.match(line)
        assert m and m[1] == families[-1], line
        assert (m[1], m[2] or "") not in found, line
        found[m[1], m[2] or ""] = float(m[3])
    return found


def of(found, name, job="100-0", more=""):
    guest = job.split("-")[0]
    return found[name, f'{{job="{job}",guest="{guest}",source="pve1",target="pve2"{more}}}']


def promtool(*words, text=None):
    done = subprocess.run(["promtool", *words], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "FAILED" not in done.stdout + done.stderr, f"promtool {' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def what_is_printed(w):
    w.create("100-0")
    w.create("101-0", "--disable", "1")
    before = parse(w.metrics())
    assert of(before, "pvesr_job_last_success_timestamp_seconds") == 0 and of(before, "pvesr_job_enabled", "101-0") == 0
    assert not any(name == "pvesr_job_restore_point_age_seconds" for name, _ in before), before
    begin = int(time.time())
    w.a.pvesr("run", "--id", "100-0", check=True)
    w.c.set_agent("pve2", ["/bin/false"], whole=True)
    assert w.a.pvesr("run", "--id", "100-0").returncode != 0
    found = parse(w.metrics())
    assert of(found, "pvesr_job_last_success_timestamp_seconds") >= begin
    assert of(found, "pvesr_job_last_try_timestamp_seconds") >= of(found, "pvesr_job_last_success_timestamp_seconds")
    assert of(found, "pvesr_job_restore_point_age_seconds") <= time.time() + 1 - begin
    assert of(found, "pvesr_job_sent_bytes") >= MB, "a first copy of a megabyte that cannot be squeezed"
    assert of(found, "pvesr_job_consecutive_failures") == 1
    counts = {result: of(found, "pvesr_job_runs_last_day", more=f',result="{result}"') for result in ("ok", "failed", "postponed", "interrupted")}
    assert counts == {"ok": 1, "failed": 1, "postponed": 0, "interrupted": 0}, counts


def who_may_scrape(w):
    w.create("100-0")
    api, _ = rigapi.serve(w.c, USERS, TOKENS)
    rig.wait_for(lambda: json.loads(w.a.pvesr("status", "--output-format", "json").stdout)[0]["last_sync"], "a run")

    def scrape(headers=None, path="/metrics"):
        return Raw(api, path, headers or {})
    assert scrape().status == 401 and scrape({"Authorization": token("nobody@pve!test", NOBODY)}).status == 403
    good = token("auditor@pve!test", AUDITOR)
    for header in (good, good.replace("PVEAPIToken=", "PVEAPIToken ")):
        answer = scrape({"Authorization": header})
        assert answer.status == 200 and answer.type.startswith("text/plain"), answer.text
        found = parse(answer.text)
        assert found["pvesr_daemon_jobs", ""] == 1 and found["pvesr_daemon_workers", ""] == 4 and of(found, "pvesr_job_enabled") == 1
        assert found["pvesr_daemon_resident_memory_bytes", ""] > MB and found["pvesr_daemon_paused", ""] == 0
    answer = scrape({"Authorization": good, "Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.type.startswith("application/openmetrics-text"), answer.type
    assert scrape({"Authorization": good}, "/metrics?x=1").status == 400 and scrape({"Authorization": good}, "/metrics/x").status == 404
    w.a.daemon.stop()
    w.a.write_config(**{"metrics-allow": "10.0.0.0/8, 127.0.0.1"})
    w.a.daemon = rigapi.rigdaemon.Daemon(w.a)
    assert scrape().status == 200 and scrape({"Authorization": "nonsense"}).status == 200
    assert Api(w.a, None).get("/cluster/replication").status == 401, "an address that may scrape may do no more"
    w.a.daemon.stop()
    w.a.write_config(**{"metrics-allow": "10.0.0.0/8, fd00::/8"})
    w.a.daemon = rigapi.rigdaemon.Daemon(w.a)
    assert scrape().status == 401


class Raw:
    def __init__(self, api, path, headers):
        connection = api.connect()
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            self.status, self.type, self.text = response.status, response.headers["Content-Type"], response.read().decode()
        finally:
            connection.close()


# ---- alerts ----

def series(found, more=None):
    lines = []
    for (name, labels), value in {**found, **(more or {})}.items():
        lines.append(f"      - {{series: '{name}{labels}', values: '{value:.15g}+0x200'}}")
    return "\n".join(lines)


def firing(w, found, more=None):
    """The alerts that fire after two hours of that, by promtool's own reckoning: it is told that none does."""
    names = re.findall("- alert: (.*)", open(RULES, encoding="utf-8").read())
    path = os.path.join(w.c.dir, "rules-test.yml")
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"rule_files: ['{RULES}']\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n{series(found, more)}\n    alert_rule_test:\n")
        f.writelines(f"      - {{eval_time: 2h, alertname: {name}, exp_alerts: []}}\n" for name in names)
    done = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True, check=False)
    fires = set(re.findall(r"alertname: *(\w+)", done.stdout + done.stderr))
    assert bool(fires) == (done.returncode != 0) and fires <= set(names), done.stdout + done.stderr
    return fires


PARSER = "import sys; from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse; print(len(list(parse(sys.stdin.read()))))"


def the_parser_of_openmetrics(w):
    w.create("100-0")
    w.a.pvesr("run", "--id", "100-0", check=True)
    done = subprocess.run(["/usr/bin/python3", "-c", PARSER], input=w.metrics(), capture_output=True, text=True, check=False)
    assert done.returncode == 0 and int(done.stdout) > 15, done.stdout + done.stderr


def alerts(w):
    w.create("100-0", "--max-age", "1h")
    promtool("check", "rules", RULES)
    now = int(time.time())
    fine = {"last_sync": now, "last_try": now, "fail_count": 0, "duration": 1.5}
    plain = w.record(**fine)
    promtool("check", "metrics", text=w.metrics())
    daemon = {("pvesr_daemon_paused", '{instance="pve1:8006"}'): 0, ("pvesr_daemon_notifications_waiting", '{instance="pve1:8006"}'): 0,
              ("up", '{job="pvesr",instance="pve1:8006"}'): 1}
    assert firing(w, plain, daemon) == set()
    assert firing(w, w.record(**{**fine, "last_sync": now - 7200})) == {"PvesrReplicaOverdue"}
    assert firing(w, w.record(**{**fine, "fail_count": 2, "error": "no"})) == set()
    failing = w.record(**{**fine, "fail_count": 3, "error": "no"})
    assert firing(w, failing) == {"PvesrJobFails"}
    assert firing(w, w.record(**{**fine, "kept_aside": ["diverged_100-0_1 of st:x"]})) == {"PvesrKeptAside"}
    w.record(**fine)
    w.a.pvesr("update", "100-0", "--schedule", "*/30", check=True)
    path = os.path.join(w.c.tree, "replication.cfg")
    with open(path, encoding="utf-8") as f:
        text = f.read()
    w.c.write("replication.cfg", text.replace("*/30", "nonsense"))
    assert firing(w, parse(w.metrics())) == {"PvesrJobCannotRun"}
    w.c.write("replication.cfg", text)
    for name, value, alert in (("pvesr_daemon_paused", 1, "PvesrPaused"), ("pvesr_daemon_notifications_waiting", 2, "PvesrNotificationsWait")):
        assert firing(w, plain, {**daemon, (name, '{instance="pve1:8006"}'): value}) == {alert}
    assert firing(w, plain, {**daemon, ("up", '{job="pvesr",instance="pve1:8006"}'): 0}) == {"PvesrDown"}


def queries(w):
    """Each query of the dashboard finds something in what is printed, and it asks for nothing else."""
    w.create("100-0")
    w.a.pvesr("run", "--id", "100-0", check=True)
    api, _ = rigapi.serve(w.c, USERS, TOKENS)
    recorded = {**parse(Raw(api, "/metrics", {"Authorization": token("auditor@pve!test", AUDITOR)}).text),
                **w.record(last_sync=1, last_try=1, fail_count=3, error="no", duration=1.5, sent=MB, delta=MB)}
    with open(DASHBOARD, encoding="utf-8") as f:
        board = json.load(f)
    wanted = [t["expr"].replace("$guest", ".*") for p in board["panels"] for t in p["targets"]]
    assert len(wanted) > 15 and not any("$" in x for x in wanted), wanted
    path = os.path.join(w.c.dir, "queries-test.yml")
    for query in wanted:
        names = set(re.findall(r"pvesr_\w+", query))
        assert names <= {name for name, _ in recorded}, f"{query}: nothing is printed of {names - {name for name, _ in recorded}}"
        with open(path, "w", encoding="utf-8") as f:
            f.write(f"evaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n{series(recorded)}\n"
                    f"    promql_expr_test:\n      - {{eval_time: 1h, exp_samples: [], expr: '{query}'}}\n")
        done = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True, check=False)
        assert done.returncode != 0 and re.search(r"got:\s*\S*\{", done.stdout + done.stderr), f"{query}: {done.stdout}{done.stderr}"


rig.NEEDS["openmetrics"] = (lambda: os.path.isdir("/usr/lib/python3/dist-packages/prometheus_client"), "needs python3-prometheus-client")
rig.NEEDS["promtool"] = (lambda: shutil.which("promtool"), "needs promtool (Debian: prometheus)")


def play(f):
    def run():
        with rig.Cluster("xfs") as c:
            f(World(c))
    return run


rig.check("metrics: each line is one of OpenMetrics, and says what is so", play(what_is_printed), needs=("root", "xfs"))
rig.check("metrics: /metrics is for whoever has Sys.Audit, or the address for it", play(who_may_scrape), needs=("root", "xfs"))
rig.check("metrics: the parser of OpenMetrics takes them", play(the_parser_of_openmetrics), needs=("root", "xfs", "openmetrics"))
rig.check("metrics: promtool takes them, and each alert fires on what was recorded, and no other", play(alerts), needs=("root", "xfs", "promtool"))
rig.check("metrics: each query of the dashboard finds something", play(queries), needs=("root", "xfs", "promtool"))
rig.main()
