#!/usr/bin/env python3
"""The web panel in a real browser: on the rig with the real pvesrd, and with tests/panelworld.py where every state must be there at once.

tests/panelshots.py makes pictures of every page.
"""
import os
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.parse

import panelbrowser
import panelshots
import panelworld
import rig
import rigapi

PASSWORD = "secret-of-the-test"
SHADOW = "$6$panel$j0iqja6.4.C7cpF3E1/OOBc0ct3QPncgzK98K7kfPEl8LmL0uSqAdcWT3JUMKN/iH63aV8b1k6RLwooHUk5X70"
USERS = """user:admin@pve:1:0::::::
user:looker@pve:1:0::::::
user:one@pve:1:0::::::
user:keeper@pve:1:0::::::
role:Repl:VM.Audit,VM.Replicate:
role:Keep:Sys.Modify:
acl:1:/:admin@pve:PVEAdmin:
acl:1:/:looker@pve:PVEAuditor:
acl:1:/:one@pve:PVEAuditor:
acl:1:/vms/101:one@pve:Repl:
acl:1:/:keeper@pve:PVEAuditor,Keep:
user:boss@pve:1:0::::::
acl:1:/:boss@pve:PVEAdmin,Keep:
"""
MB = 1 << 20
CHANGES = ("Add", "Edit", "Enable", "Disable", "Schedule now", "Remove")
LONG = 90  # seconds that a run may take to be seen in the page


# ---- the real daemon ----

class World:
    """Two nodes with the API and the panel; guests 100 and 101 on pve1."""

    def __init__(self, c, browser=None):
        self.c, self.a, self.b, self.browser = c, c.node("pve1"), c.node("pve2"), browser
        for guest in (100, 101):
            folder = os.path.join(self.a.store, "images", str(guest))
            os.makedirs(folder)
            with open(self.disk(guest), "wb") as f:
                f.write(os.urandom(MB))
                f.truncate(256 * MB)
            c.write_guest("pve1", guest, f"scsi0: st:{guest}/vm-{guest}-disk-0.raw,size=256M\n")
        c.write("priv/shadow.cfg", "".join(f"{user}:{SHADOW}:\n" for user in ("admin", "looker", "one", "keeper", "boss")))
        panel = panelbrowser.lay_out(os.path.join(c.dir, "panel"))
        for node in (self.a, self.b):
            node.settings["panel-dir"] = panel
        self.api = rigapi.serve(c, USERS)[0]
        self.url = f"https://{self.api.host}:{self.api.port}"

    def disk(self, guest):
        return os.path.join(self.a.store, "images", str(guest), f"vm-{guest}-disk-0.raw")

    def log_in(self, user, place="", **more):
        b = self.browser
        b.open(url=f"{self.url}/{place}", **more)
        b.fill(label="User name", value=user)
        b.fill(label="Password", value=PASSWORD)
        b.choose(label="Realm", value="pve")
        b.button("Log in")
        b.wait(css=".frame")
        return b

    def state(self, job, text, **more):
        """Waits for the job's status to have the text."""
        self.browser.wait(css=f"[id='row-{job}'] .cell.state >> text={text}", seconds=LONG * rig.SLOW, **more)

    def choose(self, job):
        self.browser.click(css=f"[id='row-{job}']")

    def configured(self, job):
        answer = self.api.get(f"/cluster/replication/{job}")
        return answer.data if answer.status == 200 else None


def on_rig(f):
    def run():
        with rig.Cluster("xfs") as c, panelbrowser.visitor() as b:
            f(World(c, b), b)
    return run


def the_life_of_a_job(w, b):
    """log in, create, first run to OK, edit, disable, enable, read the log, a full target and its repair, remove"""
    w.log_in("admin")
    b.sees("There is no replication job here yet.")
    b.button("Add")
    b.fill(label="VM or CT ID", within="dialog", value="100")
    b.fill(label="Schedule", within="dialog", value="nonsense")
    b.button("Create")
    b.wait(css="#schedule-fault")
    b.fill(label="Schedule", within="dialog", value="yearly")
    b.fill(label="Comment", within="dialog", value="<b>made</b> & here")
    b.button("Create")
    b.sees("Job 100-0 is created.")
    w.state("100-0", "OK")
    assert "<b>made</b> & here" in b.text(css="[id='row-100-0'] .cell.comment")
    made = w.configured("100-0")
    assert (made["target"], made["schedule"], made["comment"]) == ("pve2", "yearly", "<b>made</b> & here"), made
    with open(w.disk(100), "rb") as here, open(w.disk(100).replace(w.a.store, w.b.store), "rb") as there:
        assert here.read() == there.read()

    edit(w, b)
    b.goto(url=f"{w.url}/#/guest/100")
    w.choose("100-0")
    b.button("Disable")
    w.state("100-0", "Disabled")
    assert w.configured("100-0")["disable"] == 1
    b.button("Enable")
    w.state("100-0", "OK")
    b.button("Log")
    b.sees("end replication job")
    b.press(key="Escape")
    b.wait(css="dialog", state="detached")
    full_and_repaired(w, b)
    b.button("Remove")
    b.sees("Remove job 100-0?")
    b.button("Remove", within="dialog")
    b.wait(css="[id='row-100-0']", state="detached", seconds=LONG * rig.SLOW)
    rig.wait_for(lambda: w.configured("100-0") is None, "the end of the job")
    rig.wait_for(lambda: not os.path.exists(w.disk(100).replace(w.a.store, w.b.store)), "the end of the replica")


def changed_meanwhile(w, b):
    """a form that is saved after somebody else has changed the jobs is refused, and what they did stays"""
    assert w.api.post("/cluster/replication", id="100-0", target="pve2", type="local", disable="1").status == 200
    w.log_in("admin", "#/node/pve1")
    w.choose("100-0")
    b.button("Edit")
    b.fill(label="Comment", within="dialog", value="mine")
    b.wait(css="dialog button.primary:not([disabled])")
    assert w.api.put("/cluster/replication/100-0", comment="theirs").status == 200
    b.button("Save")
    b.sees("Somebody else has changed the jobs meanwhile.")
    b.button("Cancel", within="dialog")
    assert w.configured("100-0")["comment"] == "theirs"
    b.sees("theirs")
    b.button("Edit")
    b.wait(css="dialog button.primary:not([disabled])")
    b.fill(label="Comment", within="dialog", value="mine")
    b.button("Save")
    b.sees("Job 100-0 is changed.")
    assert w.configured("100-0")["comment"] == "mine"


def edit(w, b):
    b.goto(url=f"{w.url}/#/node/pve1")
    b.click(css="[id='row-100-0']", twice=True)
    b.fill(label="Rate limit in MB/s", within="dialog", value="200")
    b.fill(label="Comment", within="dialog", value="")
    b.fill(label="Schedule", within="dialog", value="")
    b.button("Save")
    b.sees("Job 100-0 is changed.")
    now = w.configured("100-0")
    assert now["rate"] == 200 and "comment" not in now and "schedule" not in now, now


def full_and_repaired(w, b):
    ballast = os.path.join(w.b.mount, "ballast")
    at = os.statvfs(w.b.mount)
    with open(ballast, "wb") as f:
        os.posix_fallocate(f.fileno(), 0, at.f_bavail * at.f_frsize - 24 * MB)
    with open(w.disk(100), "r+b") as f:
        f.seek(8 * MB)
        f.write(os.urandom(100 * MB))
    w.choose("100-0")
    b.button("Schedule now")
    b.wait(css="[id='row-100-0'] .state.error", seconds=LONG * rig.SLOW)
    error = w.api.get("/nodes/pve1/replication/100-0/status").data["error"]
    assert "pve2" in error or "space" in error, error
    assert error.strip() in b.text(css=".replication > .banner.error"), b.text(css=".replication > .banner.error")
    os.unlink(ballast)
    b.button("Schedule now")
    w.state("100-0", "OK")


def who_may_only_look(w, b):
    """who may only look sees jobs and logs and no button that does not work; who may change one guest can do that and no more"""
    for guest in (100, 101):
        assert w.api.post("/cluster/replication", id=f"{guest}-0", target="pve2", type="local").status == 200
    w.log_in("looker")
    w.state("100-0", "OK")
    w.choose("100-0")
    for name in CHANGES:
        assert b.count(role="button", name=name) == 0, name
    b.button("Log")
    b.sees("end replication job")
    b.press(key="Escape")
    b.click(css="[id='row-100-0']", twice=True)
    assert b.count(css="dialog") == 0
    b.button("Log out")
    w.log_in("one")
    w.state("101-0", "OK")
    w.choose("100-0")
    for name in CHANGES[1:]:
        assert b.count(role="button", name=name) == 0, name
    w.choose("101-0")
    b.button("Disable")
    w.state("101-0", "Disabled")


def other_rights(w, b):
    """what somebody may is what they may now: buttons come and go with it, without a reload"""
    assert w.api.post("/cluster/replication", id="101-0", target="pve2", type="local", disable="1").status == 200
    path = os.path.join(w.c.tree, "user.cfg")
    with open(path, encoding="utf-8") as f:
        before = f.read()
    w.log_in("one")
    w.choose("101-0")
    b.wait(role="button", name="Edit")
    w.c.write("user.cfg", before.replace("acl:1:/vms/101:one@pve:Repl:\n", ""))
    b.wait(role="button", name="Edit", state="detached", seconds=LONG * rig.SLOW)
    w.c.write("user.cfg", before)
    b.wait(role="button", name="Edit", seconds=LONG * rig.SLOW)


def who_is_not_let_in(w, b):
    """a wrong password is refused with a text, a reload keeps the session, a log-out ends it, a node that is asked in vain is said beside it"""
    b.open(url=w.url)
    b.fill(label="User name", value="admin@pve")
    b.fill(label="Password", value="wrong")
    b.button("Log in")
    b.sees("user name or password is wrong")
    w.log_in("admin", "#/node/pve1")
    b.reload()
    b.wait(css="h1 >> text=Node pve1")
    b.click(css="a[href='#/guest/100']")
    b.wait(css="h1 >> text=100")
    b.back()
    b.wait(css="h1 >> text=Node pve1")
    b.button("Log out")
    b.wait(css="#username")
    b.reload()
    b.wait(css="#username")


def of_the_other_node(w, b):
    """a job of the other node is made, watched, edited, started and read in this node's panel; when that node goes away it is said beside it"""
    folder = os.path.join(w.b.store, "images", "102")
    os.makedirs(folder)
    with open(os.path.join(folder, "vm-102-disk-0.raw"), "wb") as f:
        f.write(os.urandom(MB))
    w.c.write_guest("pve2", 102, "scsi0: st:102/vm-102-disk-0.raw,size=1M\n")
    w.log_in("admin", "#/node/pve2")
    b.sees("There is no replication job here yet.")
    b.button("Add")
    b.fill(label="VM or CT ID", within="dialog", value="102")
    b.fill(label="Schedule", within="dialog", value="yearly")
    b.button("Create")
    b.sees("Job 102-0 is created.")
    w.state("102-0", "OK")
    w.choose("102-0")
    b.button("Edit")
    b.fill(label="Comment", within="dialog", value="from afar")
    b.button("Save")
    b.sees("Job 102-0 is changed.")
    first = w.api.get("/nodes/pve2/replication/102-0/status").data["last_sync"]
    b.button("Schedule now")
    rig.wait_for(lambda: w.api.get("/nodes/pve2/replication/102-0/status").data["last_sync"] > first, "another run")
    b.button("Log")
    b.sees("end replication job")
    b.press(key="Escape")
    b.wait(css="dialog", state="detached")
    w.b.daemon.stop()
    b.sees("node 'pve2' does not answer: ")
    b.goto(url=f"{w.url}/#/node/pve1")
    b.sees("There is no replication job here yet.")


def what_is_at_risk(w, b):
    """the page of what is at risk shows the oldest replica first, and that it is too old; who may only look has no button there"""
    assert w.api.post("/cluster/replication", id="101-0", target="pve2", type="local", schedule="yearly", **{"max-age": "1s"}).status == 200
    assert w.api.post("/cluster/replication", id="100-0", target="pve2", type="local", schedule="yearly").status == 200

    def states():
        return [(row["guest"], row["state"]) for row in w.api.get("/nodes/pve1/at-risk").data]
    rig.wait_for(lambda: states() == [(101, "OVERDUE"), (100, "ok")], "a replica that is too old")
    w.log_in("looker")
    b.click(css=".tabs a[href='#/datacenter/risk']")
    b.wait(css="[id='row-101 pve1 101-0'] .state.error >> text=Overdue")
    assert [text.split(" ")[0] for text in b.texts(css=".rows .cell.guest")] == ["101", "100"]
    assert b.text(css="[id='row-101 pve1 101-0'] .cell.lost").startswith("The last ") and b.text(css="[id='row-100 pve1 100-0'] .cell.state") == "OK"
    b.sees("1 of 2 guests would lose more than they may")
    b.click(css="[id='row-101 pve1 101-0']")
    assert b.count(role="button", name="Fail over") == 0
    b.goto(url=f"{w.url}/#/guest/101/points")
    b.wait(css=".rows .cell.state >> text=What the replica shows")
    assert b.count(role="button", name="Fail over") == 0
    b.sees("of storage 'local' is not there")  # which is nowhere on the rig


def failover(w, b):
    """a failover says what it loses, needs the guest's number and a word that it does not run elsewhere; then its disk is the replica, byte by byte"""
    assert w.api.post("/cluster/replication", id="100-0", target="pve2", type="local", schedule="yearly").status == 200
    rig.wait_for(lambda: w.api.get("/nodes/pve1/replication/100-0/status").data["last_sync"], "the first run")
    with open(w.disk(100), "rb") as f:
        replicated = f.read()
    with open(w.disk(100), "r+b") as f:
        f.write(os.urandom(MB))
    w.log_in("admin", "#/guest/100/points")
    b.wait(css=".rows .row")
    b.button("Fail over")
    b.sees("What guest 100 wrote since ")
    b.sees("Guest 100 moves from pve1 to pve2")
    assert "st:100/vm-100-disk-0.raw, at __replicate_100-0_" in b.text(css="dialog .lines")
    assert b.count(css="dialog button.danger:disabled") == 1
    b.fill(label="Type 100 to confirm", value="101")
    assert b.count(css="dialog button.danger:disabled") == 1
    b.fill(label="Type 100 to confirm", value="100")
    b.button("Fail over now")
    b.sees("node 'pve1' may be alive: make sure that guest 100 does not run there")
    assert where(w, 100) == "pve1"
    b.sees("While node pve1 may be alive, only somebody with Sys.Modify on it can fail over.")
    assert b.count(css="#failover-force") == 0
    b.press(key="Escape")
    b.wait(css="dialog", state="detached")
    b.button("Log out")
    w.log_in("boss", "#/guest/100/points")
    b.wait(css=".rows .row")
    b.button("Fail over")
    b.fill(label="Type 100 to confirm", value="100")
    b.tick(label="Guest 100 does not run on pve1, and will not be started there", value=True)
    b.button("Fail over now")
    b.wait(css="dialog .banner.good >> text=Guest 100 is on pve2 now. It was not started.", seconds=LONG * rig.SLOW)
    b.sees("guest 100 is on node 'pve2' now")
    assert where(w, 100) == "pve2" and w.configured("100-0")["target"] == "pve1"
    with open(w.disk(100).replace(w.a.store, w.b.store), "rb") as f:
        assert f.read() == replicated, "the guest's disk is not what was replicated"
    b.click(css="dialog footer button")
    b.wait(css="dialog", state="detached")
    b.wait(css="#twig-guest-100")


def failover_from_the_dead(w, b):
    """with the guest's node away, the panel of the target knows what there is and fails over, to an older point where one is chosen, byte by byte"""
    assert w.api.post("/cluster/replication", id="100-0", target="pve2", type="local", schedule="yearly", keep="last=3").status == 200

    def state():
        return w.api.get("/nodes/pve1/replication/100-0/status").data
    rig.wait_for(lambda: state()["last_sync"], "the first run")
    first = state()["last_sync"]
    with open(w.disk(100), "rb") as f:
        replicated = f.read()
    with open(w.disk(100), "r+b") as f:
        f.write(os.urandom(MB))
    rig.wait_for(lambda: time.time() > first + 1, "another second")
    assert w.api.post("/nodes/pve1/replication/100-0/schedule_now").status == 200
    rig.wait_for(lambda: state()["last_sync"] > first, "the second run")
    w.a.daemon.stop()
    w.api = rigapi.Api(w.b)
    w.url = f"https://{w.api.host}:{w.api.port}"
    w.log_in("boss", "#/guest/100/points")
    b.wait(css=".rows .row >> nth=1")
    b.click(css=f"[id='row-pve2 __replicate_100-0_{first}__']")
    b.button("Fail over")
    b.wait(css=f"dialog .lines >> text=__replicate_100-0_{first}__")
    b.fill(label="Type 100 to confirm", value="100")
    b.tick(label="Guest 100 does not run on pve1, and will not be started there", value=True)
    b.button("Fail over now")
    b.wait(css="dialog .banner.good", seconds=LONG * rig.SLOW)
    assert where(w, 100) == "pve2"
    with open(w.disk(100).replace(w.a.store, w.b.store), "rb") as f:
        assert f.read() == replicated, "the guest's disk is not what was replicated first"


def where(w, guest):
    return next(row["node"] for row in w.api.get("/cluster/resources", type="vm").data if row["vmid"] == guest)


def two_panels(w, b):
    """a session in the node's own panel is known here, another user's log-in here leaves it, and a log-out ends what is the same user's"""
    def ticket(user):
        answer = rigapi.Api(w.a, None).call("POST", "/access/ticket", {"username": user, "password": PASSWORD})
        return urllib.parse.quote(answer.data["ticket"], safe="")
    rig.wait_for(lambda: os.path.exists(os.path.join(w.c.tree, "authkey.pub")), "the keys of tickets")
    theirs = "PVEAuthCookie=" + ticket("looker@pve")
    b.open(url=w.url)
    b.wait(css="#username")
    b.run(script=f"document.cookie = '{theirs}; path=/; secure'")
    b.reload()
    b.wait(css=".frame")
    b.sees("looker@pve")
    b.button("Log out")
    b.wait(css="#username")
    assert "AuthCookie" not in b.run(script="document.cookie"), "a ticket is left"
    w.log_in("admin", "#/node/pve1")
    b.sees("admin@pve")
    b.run(script=f"document.cookie = '{theirs}; path=/; secure'")
    cookies = b.run(script="document.cookie")
    assert theirs in cookies and "__Host-PVESRAuthCookie=PVE%3Aadmin" in cookies, cookies
    b.reload()
    b.sees("admin@pve")
    b.button("Log out")
    b.wait(css="#username")
    assert b.run(script="document.cookie") == theirs, "a log-out of admin ends looker's session"


def the_page_of_a_job(w, b):
    """a job's page shows its first run's progress, then each run with its steps and its log, plots of them, and what the next one would do"""
    with open(w.disk(100), "r+b") as f:
        f.write(os.urandom(64 * MB))
    assert w.api.post("/cluster/replication", id="100-0", target="pve2", type="local", schedule="yearly", rate="3", disable="1").status == 200
    w.log_in("admin", "#/guest/100")
    w.choose("100-0")
    b.button("Details")
    b.wait(css="h1 >> text=Job 100-0")
    b.sees("job '100-0' is disabled: enable it with 'pvesr enable 100-0'")
    assert w.api.put("/cluster/replication/100-0", delete="disable").status == 200
    b.wait(css="progress[value]", seconds=LONG * rig.SLOW)
    b.wait(css=".progress >> text=/st:100\\/vm-100-disk-0.raw \\(volume 1 of 1\\)/")
    b.wait(css=".progress >> text=/MiB sent, .*MiB\\/s/")
    b.wait(css=".cell-state .state.ok", seconds=LONG * rig.SLOW)
    b.wait(css=".progress", state="detached")
    b.wait(css=".run >> text=OK")
    run, = w.api.get("/nodes/pve1/replication/100-0/history").data
    assert run["delta"] == 64 * MB and "delta 64 MiB" in b.text(css=".run summary"), b.text(css=".run summary")
    assert b.count(css=".plot svg .mark") >= 3 and b.count(css=".plot") == 4
    b.wait(css=".page.job > .log >> text=end replication job")
    b.click(css=".run summary")
    b.wait(css=".step-names >> text=transfer")
    assert run["log"].strip() == b.text(css=".run .log").strip()
    b.wait(css=".plan >> text=st:100/vm-100-disk-0.raw")
    b.wait(css=f".plan >> text=send __replicate_100-0_{run['start']}__ =>")
    b.button("Schedule now")
    b.sees("Job 100-0 is due now.")
    b.wait(css=".run:nth-child(2)", seconds=LONG * rig.SLOW)
    rig.wait_for(lambda: [one["result"] for one in w.api.get("/nodes/pve1/replication/100-0/history").data] == ["ok", "ok"], "the second run's end")
    second = w.api.get("/nodes/pve1/replication/100-0/history").data[0]["start"]
    b.wait(css=f".plan >> text=send __replicate_100-0_{second}__ =>", seconds=LONG * rig.SLOW)
    b.back()
    b.wait(css="[id='row-100-0']")
    b.button("Log out")
    w.log_in("looker", "#/guest/100/job/100-0")
    b.wait(css=".plan >> text=st:100/vm-100-disk-0.raw")
    assert b.count(role="button", name="Schedule now") == 0
    b.goto(url=f"{w.url}/#/guest/100/job/100-7")
    b.sees("There is no job 100-7 here, or you may not see it.")


def when_it_would_run(w, b):
    """the simulator shows the events that the node says, in the viewer's zone, the node's time beside them, and what is wrong with a schedule"""
    w.log_in("looker", zone="Asia/Tokyo")
    b.click(role="link", name="Schedule simulator")
    b.wait(css=".events time")
    b.fill(label="Schedule", value="nonsense")
    b.wait(css="#schedule-fault")
    assert "nonsense" in b.text(css="#schedule-fault") and b.count(css=".events") == 0
    b.button("sun 01:00")
    b.sees("Sunday at 01:00")
    events = w.api.get("/cluster/jobs/schedule-analyze", schedule="sun 01:00", iterations="10").data
    iso = [time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(one["timestamp"])) for one in events]
    b.wait(css=f".events tr:last-child time[datetime='{iso[-1]}']")
    assert b.run(script="[...document.querySelectorAll('.events time')].map((one) => one.dateTime)") == iso
    assert b.run(script="[...document.querySelectorAll('.events time')].map((one) => one.title)") == [f"on the node: {one['local']}" for one in events]
    seen = time.strftime("%a %Y-%m-%d %H:%M:%S", time.gmtime(events[0]["timestamp"] + 9 * 3600))
    assert b.text(css=".events time").startswith(seen), (b.text(css=".events time"), seen)
    b.choose(label="Events", value="25")
    b.wait(css=".events tr:nth-child(25)")


def what_is_left(w, b):
    """a node's doctor names what is left over with its command, which ends it; who may not change the node has no such page"""
    assert w.api.post("/cluster/replication", id="100-0", target="pve2", type="local", schedule="yearly").status == 200
    rig.wait_for(lambda: "pid" not in (state := w.api.get("/nodes/pve1/replication/100-0/status").data) and state["last_sync"], "the first run")
    assert w.api.delete("/cluster/replication/100-0", force="1").status == 200
    w.log_in("admin", "#/node/pve1")
    b.sees("There is no replication job here yet.")
    assert b.count(role="link", name="Doctor") == 0
    b.button("Log out")
    w.log_in("keeper", "#/node/pve1")
    b.click(role="link", name="Doctor")
    b.button("Examine")
    b.wait(css=".finding >> text=Left over", seconds=LONG * rig.SLOW)
    assert "st:100/vm-100-disk-0.raw" in b.text(css=".finding") and "the guest has no job any more" in b.text(css=".finding")
    command = b.text(css=".command code")
    assert command == "pvesr doctor --guest 100 --repair", command
    w.a.pvesr(*command.split()[1:], check=True)
    b.button("Examine")
    b.sees("Nothing is left over.", seconds=LONG * rig.SLOW)
    b.goto(url=f"{w.url}/#/node/pve2/doctor")
    b.wait(css="h1 >> text=Node pve2")
    b.button("Examine")
    b.wait(css=".finding >> text=For you to judge", seconds=LONG * rig.SLOW)


def by_itself(w, b):
    """what changes is shown without asking for it, and by asking where nothing is told"""
    def asked():
        return b.run(script="performance.getEntriesByType('resource').filter((e) => /\\/replication(\\?|$)/.test(e.name)).length")

    def told_alone(comment):
        """False: there was a question meanwhile, however rare they are."""
        before = asked()
        rig.wait_for(lambda: w.api.put("/cluster/replication/100-0", comment=comment).status == 200, "a change")
        b.wait(css=f"[id='row-100-0'] .cell.comment >> text={comment}")
        return asked() == before
    assert w.api.post("/cluster/replication", id="100-0", target="pve2", type="local", disable="1").status == 200
    w.log_in("admin", "#/node/pve1")
    b.wait(css="[id='row-100-0']")
    numbers = iter(range(100))
    rig.wait_for(lambda: told_alone(f"number {next(numbers)}"), "a change without a question", 90)
    assert w.api.post("/cluster/replication", id="101-0", target="pve2", type="local", disable="1").status == 200
    b.wait(css="[id='row-101-0']")
    b.goto(url=f"{w.url}/#/datacenter")
    b.wait(css="[id='row-101-0']")
    assert w.api.put("/cluster/replication/101-0", comment="everywhere").status == 200
    b.wait(css="[id='row-101-0'] .cell.comment >> text=everywhere")
    # a server that ends and comes again is heard again, as is one that tells nothing
    assert w.a.daemon.stop() == 0
    w.a.daemon = rigapi.rigdaemon.Daemon(w.a)
    assert w.api.put("/cluster/replication/101-0", comment="again").status == 200
    b.wait(css="[id='row-101-0'] .cell.comment >> text=again", seconds=LONG * rig.SLOW)
    b.run(script="window.EventSource = undefined")
    b.button("Log out")
    b.fill(label="User name", value="admin")
    b.fill(label="Password", value=PASSWORD)
    b.choose(label="Realm", value="pve")
    b.button("Log in")
    b.wait(css="[id='row-101-0']")
    assert w.api.put("/cluster/replication/101-0", comment="asked").status == 200
    b.wait(css="[id='row-101-0'] .cell.comment >> text=asked", seconds=LONG * rig.SLOW)


def the_files():
    """files come with their types and a strict policy, are not sent twice, and lead to nothing else"""
    with rig.Cluster("xfs") as c:
        look_at_files(World(c))


def look_at_files(w):
    def ask(path, method="GET", **headers):
        connection = w.api.connect()
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer, text

    for path, kind in (("/", "text/html"), ("/main.js", "text/javascript"), ("/lib/preact.js", "text/javascript"), ("/panel.css", "text/css"),
                       ("/icon.svg", "image/svg+xml")):
        answer, text = ask(path)
        assert answer.status == 200 and answer.getheader("Content-Type").startswith(kind) and text, path
        policy = answer.getheader("Content-Security-Policy")
        assert "default-src 'self'" in policy and "unsafe" not in policy, policy
        again, text = ask(path, **{"If-None-Match": answer.getheader("ETag")})
        assert again.status == 304 and not text, path
    for path in ("/../nodes.cfg", "/data/../../tree/priv/token.cfg", "/%2e%2e/tree/priv/token.cfg", "//etc/passwd", "/package.json", "/data", "/nothing.js"):
        answer, text = ask(path)
        assert answer.status in (400, 404) and rigapi.SECRET.encode() not in text, (path, answer.status)
    answer, _ = ask("/main.js", "POST")
    assert answer.status == 404, answer.status


# ---- a world in memory ----

def in_memory(f, jobs=0):
    def run():
        world = panelworld.World(jobs)
        with tempfile.TemporaryDirectory() as folder, panelbrowser.visitor() as b:
            server = panelworld.serve(panelbrowser.lay_out(os.path.join(folder, "panel")), 0, world)
            try:
                f(world, b, f"http://127.0.0.1:{server.server_port}")
            finally:
                server.shutdown()
    return run


def begin(b, url, place="#/datacenter", **look):
    b.open(url=f"{url}/{place}", **look)
    panelshots.log_in(b, panelshots.WORDS["en"])
    b.wait(css=".grid, .calm:not([role])")


def nothing_serious(world, b, url):
    """axe-core finds nothing serious on any page, in light, dark, and narrow"""
    found = []

    def look(page):
        found.extend((page, "light", one) for one in b.serious())
        b.scheme(scheme="dark")
        found.extend((page, "dark", one) for one in b.told("axe", rules=["color-contrast"]))
        b.scheme(scheme="light")

    panelshots.pages(b, url, panelshots.LOOKS["light"], look)
    panelshots.pages(b, url, panelshots.LOOKS["narrow"], lambda page: found.extend((page, "narrow", one) for one in b.serious()),
                     ("chosen", "add", "menu", "job-run", "job-running", "simulator-refused", "doctor-found", "risk", "points", "failover", "failover-refused"))
    assert not found, "\n".join(map(str, found))


def thousands_of_rows(world, b, url):
    """of 5,000 jobs only what is seen is in the page; the last one is reached by a key, and found by its words"""
    begin(b, url, "#/node/pve1")
    b.sees("5005 jobs")
    assert b.count(css=".rows .row") < 60
    b.click(css=".rows .row")
    b.press(key="End")
    b.wait(css="[id='row-5999-0'][aria-selected=true]")
    assert b.count(css=".rows .row") < 60 and b.count(css=".twig") < 60
    b.fill(label="Filter", value="number 4321")
    b.wait(css="[id='row-5321-0']")
    b.sees("2 of 5005 jobs")


def texts_are_texts(world, b, url):
    """markup in names, comments and errors is shown and does nothing; an object in place of a text is shown as a text"""
    world.jobs[0]["comment"] = {"nodeName": "img", "attributes": {"src": "x", "onerror": "alert(1)"}}
    begin(b, url)
    b.sees("<img src=x onerror=alert(1)>")
    assert b.count(css="img") == 0 and "[object Object]" in b.text(css="[id='row-100-0'] .cell.comment")


def what_is_wrong_beside(world, b, url):
    """what is overdue, differs, was postponed or kept aside is said in the grid and on the job's page; a moment that is no date breaks neither"""
    kept = ["diverged_100-0_1 of st:x", "diverged_100-0_2 of st:x"]
    world.jobs[0].update(overdue=panelworld.NOW, kept_aside=kept, postponed=4, verified=panelworld.NOW)
    world.find("200-0").update(last_sync=panelworld.NOW, differs="65536 bytes of st:x")
    world.find("101-0").update(overdue=panelworld.NOW, next_sync=1e17, last_sync=1e17)
    begin(b, url)
    state = lambda job: b.text(css=f"[id='row-{job}'] .cell.state").strip()
    assert state("100-0") == "Overdue · kept aside: 2 · postponed 4 times in a row", state("100-0")
    assert state("200-0") == "Differs from the guest" and state("101-0") == f"{panelworld.ERROR} · Overdue", (state("200-0"), state("101-0"))
    assert not b.serious()
    b.goto(url=f"{url}/#/guest/100/job/100-0")
    for text in ("Older than it may be since 2026-01-01 00:00:00", ", ".join(kept), "postponed 4 times in a row"):
        b.wait(css=f".banner >> text={text}")
    b.wait(css=".cell-verified >> text=2026-01-01 00:00")


def typed_too_early(world, b, url):
    """what is typed before the job has been read is kept, and what somebody else changed stays as they left it"""
    read, answer, job = threading.Event(), world.answer, world.find("100-0")

    def late(method, path, form):
        if (method, path) == ("GET", "/cluster/replication/100-0"):
            read.wait(60)
        return answer(method, path, form)
    world.answer = late
    begin(b, url)
    b.click(css="[id='row-100-0']", twice=True)
    b.wait(css="dialog[open]")
    b.fill(css="#schedule", value=" hourly ")
    job["comment"] = "by somebody else"
    read.set()
    b.wait(css="dialog .primary:enabled")
    b.button("Save", within="dialog")
    b.sees("Job 100-0 is changed.")
    assert (job["schedule"], job["comment"]) == ("hourly", "by somebody else"), job


def one_is_silent(world, b, url):
    """a node that does not answer is said beside it, and the other jobs are there; a server that is away is said, and the page goes on when it is back"""
    world.silent.add("pve2")
    begin(b, url)
    b.sees("What node pve2 knows is not shown: no answer from node pve2 within 3 s")
    b.wait(css=".twig .note >> text=no data")
    assert "OK" in b.text(css="[id='row-100-0'] .cell.state") and "Unknown" in b.text(css="[id='row-200-0'] .cell.state")
    world.silent.clear()
    b.wait(css=".twig .note >> text=no data", state="detached")
    b.wait(css="[id='row-200-0'] .cell.state >> text=Waiting")


def by_keyboard(world, b, url):
    """choose a row, open it, change it and come back, without a mouse"""
    begin(b, url, "#/node/pve1")
    b.run(script="document.querySelector('.grid').focus()")
    for key in ("Home", "ArrowDown", "Enter"):
        b.press(key=key)
    b.wait(css="dialog[open] >> text=Replication job 100-1")
    b.run(script="document.querySelector('#comment').focus()")
    b.wait(css="dialog .primary:enabled")
    b.run(script="document.querySelector('#comment').value = 'typed'; document.querySelector('#comment').dispatchEvent(new Event('input', {bubbles: true}))")
    b.press(key="Enter")
    b.sees("Job 100-1 is changed.")
    assert world.find("100-1")["comment"] == "typed"
    assert b.run(script="document.activeElement.className") == "grid"


def sorted_by_keyboard(world, b, url):
    """the heads of a grid sort it without a mouse, and open no row meanwhile"""
    begin(b, url)
    b.click(css="[id='row-100-0']")
    b.run(script="document.querySelector('.grid').focus()")
    for key in ("Tab", "Tab", "Enter"):
        b.press(key=key)
    b.wait(css=".head .cell.guest[aria-sort=descending]")
    assert b.texts(css=".rows .cell.guest")[0].startswith("300") and b.count(css="dialog") == 0, b.texts(css=".rows .cell.guest")
    b.run(script="document.querySelector('.grid').focus()")
    b.press(key="Enter")
    b.wait(css="dialog[open] >> text=Replication job 100-0")


def pages_by_keyboard(world, b, url):
    """from a row to the job's page, open one of its runs, and back to the jobs, without a mouse"""
    begin(b, url, "#/guest/100")
    b.run(script="document.querySelector('.grid').focus()")
    b.press(key="Home")
    for element, key in (("[...document.querySelectorAll('.buttons button')].find((one) => one.textContent.includes('Details'))", "Enter"),
                         ("document.querySelector('.run summary')", "Enter")):
        b.run(script=f"{element}.focus()")
        b.press(key=key)
        b.wait(css=".run")
    b.wait(css=".run[open] .step-names")
    b.run(script="document.querySelector('.tabs a').focus()")
    b.press(key="Enter")
    b.wait(css=".grid")
    assert b.url().endswith("#/guest/100"), b.url()


def points_that_can_be_read(world, b, url):
    """what could be read is shown with what could not; a point that is not the newest is named to the failover; a node that is silent is said beside it"""
    world.silent.add("pve2")
    begin(b, url, "#/datacenter/risk")
    b.sees("What node pve2 knows is not shown: no answer from node pve2 within 3 s")
    assert [text.split(" ")[0] for text in b.texts(css=".rows .cell.guest")] == ["102", "101", "103", "100", "100"]
    b.click(css="[id='row-101 pve1 101-0']", twice=True)
    b.wait(css="h1 >> text=101")
    b.sees("No target has a restore point of this guest.")
    b.goto(url=f"{url}/#/guest/100/points")
    b.sees("pve3: warning: the path '/srv/old' of storage 'old' is not there")
    b.sees("pve3: Some storages cannot be read: who has VM.Audit on /vms is told which")
    assert [text.strip() for text in b.texts(css=".rows .cell.state")][:2] == ["What the replica shows", "Not of all disks"]
    b.click(css="[id='row-pve2 __replicate_100-0_1767224700__']")
    b.sees("pvesr mount 100 __replicate_100-0_1767224700__ /mnt")
    world.busy = 1
    b.button("Fail over")  # whose question is sent again
    b.wait(css="dialog .lines >> text=at __replicate_100-0_1767224700__")
    b.press(key="Escape")
    b.wait(css="dialog", state="detached")


def failover_by_keyboard(world, b, url):
    """fail over without a mouse; a target that refuses is said when it is chosen"""
    begin(b, url, "#/guest/101/points")
    b.sees("No target has a restore point of this guest.")
    b.run(script="document.querySelector('.points .bar button').focus()")
    b.press(key="Enter")
    b.wait(css="dialog [role=alert] >> text=no job replicates guest 101 to node 'pve2'")
    assert b.count(css="dialog button.danger:disabled") == 1
    b.press(key="Escape")
    b.wait(css="dialog", state="detached")
    assert b.run(script="document.activeElement.textContent").strip() == "Fail over"
    b.goto(url=f"{url}/#/guest/100/points")
    b.wait(css=".rows .row")
    world.alive = False
    b.run(script="document.querySelector('.points .bar button').focus()")
    b.press(key="Enter")
    b.fill(css="#failover-typed", value="100")
    b.choose(css="#failover-target", value="pve3")
    b.wait(css="dialog .lines >> text=__replicate_100-1_")
    assert b.run(script="document.querySelector('#failover-typed').value") == "", "what was typed for another node counts"
    b.choose(css="#failover-target", value="pve2")
    b.wait(css="dialog .lines >> text=__replicate_100-0_")
    b.run(script="document.querySelector('#failover-typed').focus()")
    for key in ("1", "0", "0", "Enter"):
        b.press(key=key)
    b.wait(css="dialog .banner.good")
    b.press(key="Enter")
    b.sees("Guest 100 is on pve2 now.")
    b.wait(css="dialog", state="detached")


def columns_are_kept(world, b, url):
    """hidden columns are chosen and stay, apart for the datacenter and below; languages and colours stay"""
    begin(b, url)
    assert b.count(css=".head .cell.rate") == 0
    b.click(css=".columns summary")
    b.tick(label="Rate limit", value=True)
    b.wait(css=".head .cell.rate")
    b.goto(url=f"{url}/#/node/pve1")
    b.wait(css="h1 >> text=Node pve1")
    b.wait(css=".grid")
    assert b.count(css=".head .cell.rate") == 0
    b.choose(label="Language", value="de")
    b.choose(label="Farben", value="dark")
    b.reload()
    b.wait(css="h1 >> text=Knoten pve1")
    assert b.run(script="document.documentElement.lang + document.documentElement.dataset.theme") == "dedark"
    b.goto(url=f"{url}/#/datacenter")
    b.wait(css=".head .cell.rate")


def pure_modules():
    """the modules that take values and give values"""
    done = subprocess.run(["node", "--test", os.path.join(panelbrowser.HERE, "pure.test.mjs")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


if __name__ == "__main__":
    rig.NEEDS["browser"] = (lambda: WHY is None, WHY) if (WHY := panelbrowser.cannot()) else (lambda: True, "")
    rig.NEEDS["node"] = (lambda: shutil.which("node"), "node is not installed")
    # what the daemon does for a browser; of the panel itself, which is of no C, the plain build tells
    lives = (the_life_of_a_job, changed_meanwhile, of_the_other_node, what_is_at_risk, failover, failover_from_the_dead, who_may_only_look, who_is_not_let_in, two_panels)
    once = (nothing_serious, texts_are_texts, one_is_silent, by_keyboard, points_that_can_be_read, failover_by_keyboard, columns_are_kept)
    lives += (the_page_of_a_job, when_it_would_run, what_is_left, by_itself, other_rights)
    once += (pages_by_keyboard, sorted_by_keyboard, what_is_wrong_beside, typed_too_early)
    if os.environ.get("PVESR_SANITIZED"):
        lives, once = (who_is_not_let_in,), ()
    for test in lives:
        rig.check("panel: " + test.__doc__, on_rig(test), needs=("root", "xfs", "browser"))
    rig.check("panel: " + the_files.__doc__, the_files, needs=("root", "xfs", "browser"))  # which is built where there is a browser for it
    for test in once:
        rig.check("panel: " + test.__doc__, in_memory(test), needs=("browser",))
    if once:
        rig.check("panel: " + pure_modules.__doc__, pure_modules, needs=("node",))
        rig.check("panel: " + thousands_of_rows.__doc__, in_memory(thousands_of_rows, 5000), needs=("browser",))
    rig.main()
