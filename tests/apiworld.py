"""Two nodes with the API of pvesrd, users of all kinds, and what the tests of it ask again and again."""
import base64
import contextlib
import os
import socket
import ssl
import subprocess
import urllib.parse

import rig
import rigapi
from rigapi import Api, token

MB = 1000 * 1000
PASSWORD = "correct horse ä battery"
AUDITOR = "11111111-0000-0000-0000-000000000001"
SECRETS = {f"{who}@pve!test": f"11111111-0000-0000-0000-{number:012d}" for number, who in enumerate(
    ("auditor", "one", "pool", "noaccess", "nobody", "gone", "off", "mover"), 1)}
SECRETS["keeper@pve!test"] = "11111111-0000-0000-0000-000000000099"
SECRETS["root@pam!narrow"] = "22222222-0000-0000-0000-000000000001"

USERS = """user:keeper@pve:1:0::::::
token:keeper@pve!test:0:0::
role:Keep:Sys.Modify:
acl:1:/nodes/pve1:keeper@pve:Keep:
acl:1:/vms/101:keeper@pve:PVEAuditor:
user:auditor@pve:1:0::::::
user:one@pve:1:0::::::
user:pool@pve:1:0::::::
user:noaccess@pve:1:0::::::
user:nobody@pve:1:0::::::
user:gone@pve:1:1000::::::
user:off@pve:0:0::::::
user:mover@pve:1:0::::::
token:auditor@pve!test:0:0::
token:one@pve!test:0:0::
token:pool@pve!test:0:0::
token:noaccess@pve!test:0:0::
token:nobody@pve!test:0:0::
token:gone@pve!test:0:0::
token:off@pve!test:0:0::
token:mover@pve!test:0:0::
token:root@pam!narrow:0:1::
role:Repl:VM.Audit,VM.Replicate:
role:Move:VM.Audit,VM.Migrate:
pool:p::101::
acl:1:/:auditor@pve:PVEAuditor:
acl:1:/vms/100:one@pve:Repl:
acl:1:/pool/p:pool@pve:Repl:
acl:1:/vms/101:mover@pve:Move:
acl:1:/:noaccess@pve:PVEAuditor:
acl:1:/vms/100:noaccess@pve:NoAccess:
acl:1:/vms/101:root@pam!narrow:PVEAuditor:
"""
TOKENS = "".join(f"{who} {secret}\n" for who, secret in SECRETS.items())


class World:
    """Guests 100 and 101 on pve1, 102 on pve2, each with one disk."""

    def __init__(self, c):
        self.c, self.a, self.b = c, c.node("pve1"), c.node("pve2")
        for guest, node in ((100, self.a), (101, self.a), (102, self.b)):
            self.add_guest(guest, node)
        self.api, self.api2 = rigapi.serve(c, USERS, TOKENS)

    def add_guest(self, guest, node):
        folder = os.path.join(node.store, "images", str(guest))
        os.makedirs(folder)
        with open(os.path.join(folder, f"vm-{guest}-disk-0.raw"), "wb") as f:
            f.write(os.urandom(MB))
            f.truncate(4 * MB)
        self.c.write_guest(node.name, guest, f"scsi0: st:{guest}/vm-{guest}-disk-0.raw,size=4000000\n")

    def by(self, who):
        return Api(self.a, token(who, SECRETS.get(who, "33333333-0000-0000-0000-000000000000")))

    def create(self, job="100-0", target="pve2", **more):
        return expect(200, self.api.post("/cluster/replication", id=job, target=target, type="local", **more))

    def ids(self):
        return [j["id"] for j in expect(200, self.api.get("/cluster/replication")).data]

    def state(self, job="100-0", api=None):
        return expect(200, (api or self.api).get(f"/nodes/{(api or self.api).node.name}/replication/{job}/status")).data

    def wait_synced(self, job="100-0", after=0):
        def over():
            state = self.state(job)
            return state["last_sync"] > after and "pid" not in state
        rig.wait_for(over, f"a run of {job}")


def expect(status, answer, reason=None, error=None):
    assert answer.status == status, f"{answer}, not {status}"
    if reason is not None:
        assert reason in answer.reason, f"the status line says '{answer.reason}', not '{reason}'"
    if error is not None:
        assert error in answer.body["errors"], f"{answer}: no error of '{error}'"
    if status != 200:
        assert answer.body["data"] is None and answer.body["message"].endswith("\n"), str(answer)
        assert answer.body["message"].strip() == answer.reason, str(answer)
    return answer


def set_password(w, user, password=PASSWORD):
    crypted = subprocess.run(["openssl", "passwd", "-6", "-stdin"], input=password, capture_output=True, text=True, check=True).stdout
    with open(os.path.join(w.c.tree, "priv/shadow.cfg"), "a") as f:
        f.write(f"{user}:{crypted}")


def log_in(w, user, password=PASSWORD, **more):
    return Api(w.a, None).call("POST", "/access/ticket", {"username": user, "password": password, **more})


def as_browser(data, csrf=True):
    cookie = {"Cookie": "other=1; PVEAuthCookie=" + urllib.parse.quote(data["ticket"], safe="")}
    return {**cookie, "CSRFPreventionToken": data["CSRFPreventionToken"]} if csrf else cookie


def sign(w, plain):
    """A ticket as this cluster's own key makes it."""
    key = os.path.join(w.c.tree, "priv/authkey.key")
    signature = subprocess.run(["openssl", "dgst", "-sha1", "-sign", key], input=plain.encode(), capture_output=True, check=True).stdout
    return f"{plain}::{base64.b64encode(signature).decode()}"


def has_keys(w):
    rig.wait_for(lambda: os.path.exists(os.path.join(w.c.tree, "authkey.pub")), "the keys of tickets")
    for name in ("pve-www.key", "nodes/pve1/pve-ssl.key"):
        assert os.stat(os.path.join(w.c.tree, name)).st_mode & 0o077 == 0, name


def raw(w, data, seconds=60):
    """What comes back when these bytes are sent, until the other side closes."""
    with socket.create_connection((w.api.host, w.api.port), timeout=seconds) as plain:
        with w.api.context.wrap_socket(plain, server_hostname=w.api.host) as s:
            with contextlib.suppress(ConnectionError, ssl.SSLError):  # who was closed before it was through may have an answer
                s.sendall(data)
            got = b""
            while True:
                try:
                    more = s.recv(65536)
                except (ConnectionResetError, ssl.SSLError):
                    break
                got += more
                if not more:
                    break
            return got


def first_line(w, data):
    return raw(w, data).split(b"\r\n", maxsplit=1)[0].decode()


# ---- the tests of a file ----

TESTS = []


def told(f, needs=()):
    """In the order in which they are told, each on a fresh cluster."""
    TESTS.append((f, needs))
    return f


def play(f):
    def run():
        with rig.Cluster("xfs") as c:
            f(World(c))
    return run


def play_all(what):
    for f, needs in TESTS:
        rig.check(f"{what}: {f.__doc__}", play(f), needs=("root", "xfs", *needs))
    rig.main()
