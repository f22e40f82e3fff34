#!/usr/bin/env python3
"""What is another node's to answer goes there: two pvesrd, one asked for the other's jobs."""
import concurrent.futures
import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse
from http.client import HTTPSConnection

import rig
from apiworld import SECRETS, as_browser, expect, has_keys, log_in, play_all, set_password, told
from rigapi import Answer, Api, token
from rigdaemon import Daemon, held, stop_doctor


@told
def a_job_of_another_node(w):
    """a job of pve2 is made, seen, triggered, read and removed by the API of pve1"""
    w.create("102-0", "pve1", schedule="yearly", disable="1")
    state, = expect(200, w.api.get("/nodes/pve2/replication")).data
    assert state["id"] == "102-0" and state["source"] == "pve2" and state["disable"] == 1 and state["last_sync"] == 0, state
    assert expect(200, w.api.get("/nodes/pve2/replication", guest="100")).data == []
    expect(200, w.api.put("/cluster/replication/102-0", delete="disable", comment="from afar"))
    status = "/nodes/pve2/replication/102-0/status"

    def synced(after):
        state = expect(200, w.api.get(status)).data
        return state["last_sync"] > after and "pid" not in state and state["comment"] == "from afar"
    rig.wait_for(lambda: synced(0), "the first run of 102-0")
    before = expect(200, w.api.get(status)).data["last_sync"]
    rig.wait_for(lambda: time.time() > before + 1, "another second")
    assert expect(200, w.api.post("/nodes/pve2/replication/102-0/schedule_now")).data == ""
    rig.wait_for(lambda: synced(before), "a run of 102-0")
    log = expect(200, w.api.get("/nodes/pve2/replication/102-0/log", limit="2", start="1"))
    assert [row["n"] for row in log.data] == [2, 3] and log.body["total"] > 3, log
    assert "102-0: " in log.data[0]["t"], log
    extjs = w.api.call("GET", "/nodes/pve2/replication/102-0/log", prefix="/api2/extjs")
    assert extjs.body["success"] == 1 and extjs.body["total"] == log.body["total"], extjs
    runs = expect(200, w.api.get("/nodes/pve2/replication/102-0/history", logs="0")).data
    assert [run["result"] for run in runs] == ["ok", "ok"] and runs == expect(200, w.api2.get("/nodes/pve2/replication/102-0/history", logs="0")).data, runs
    plan = expect(200, w.api.get("/nodes/pve2/replication/102-0/plan")).data
    assert plan[0].startswith("job 102-0: guest 102 from pve2 to pve1"), plan
    assert {"findings", "warnings"} == set(expect(200, w.api.post("/nodes/pve2/doctor")).data)
    expect(403, w.by("auditor@pve!test").post("/nodes/pve2/doctor"), "Permission check failed (/nodes/pve2, Sys.Modify)")
    expect(200, w.api.delete("/cluster/replication/102-0"))
    rig.wait_for(lambda: w.ids() == [], "the removal")
    expect(404, w.api.get("/nodes/pve2/replication/102-0/status"), "no such replication job '102-0'")
    expect(404, w.api.post("/nodes/pve2/replication/102-0/schedule_now"), "no such replication job '102-0'")


@told
def who_decides(w):
    """the other node decides, by the caller's own token or ticket; what is wrong is said here"""
    has_keys(w)
    w.create("102-0", "pve1", disable="1")
    status, run = "/nodes/pve2/replication/102-0/status", "/nodes/pve2/replication/102-0/schedule_now"
    assert [s["id"] for s in expect(200, w.by("auditor@pve!test").get("/nodes/pve2/replication")).data] == ["102-0"]
    expect(200, w.by("auditor@pve!test").get(status))
    expect(403, w.by("auditor@pve!test").post(run), "Permission check failed (/vms/102, VM.Replicate)")
    assert expect(200, w.by("one@pve!test").get("/nodes/pve2/replication")).data == []
    expect(403, w.by("one@pve!test").get(status), "Permission check failed (/vms/102, VM.Audit)")
    expect(401, Api(w.a, token("auditor@pve!test", SECRETS["one@pve!test"])).get(status))
    expect(401, Api(w.a, None).get(status))
    expect(400, w.api.get("/nodes/pve2/replication", guest="1"), None, "guest")
    expect(595, w.api.get("/nodes/pve9/replication"), "node 'pve9'")
    set_password(w, "auditor")
    data = expect(200, log_in(w, "auditor@pve")).data
    expect(200, w.api.call("GET", status, headers=as_browser(data, csrf=False)))
    expect(403, w.api.call("POST", run, {}, as_browser(data)), "VM.Replicate")
    expect(401, w.api.call("POST", run, {}, as_browser(data, csrf=False)))
    words = w.a.daemon.words() + w.b.daemon.words()
    assert data["ticket"] not in words and SECRETS["auditor@pve!test"] not in words, words


@told
def a_node_that_is_away(w):
    """a node that is away, silent, or not who the tree says is a 595 that names it, soon, and others are served meanwhile"""
    path, place = "/nodes/pve2/replication", os.path.join(w.c.tree, "nodes/pve2/pvesr-api")
    expect(200, w.api.get(path))
    with open(place) as f:
        line = f.read()
    w.b.daemon.kill(signal.SIGSTOP)  # it would put that right
    # another's key: the daemon of pve1 itself is not pve2
    with open(place, "w") as f:
        f.write(line.replace(w.api2.host, w.api.host))
    expect(595, w.api.get(path), "node 'pve2' does not answer: it has another key than the cluster's tree says")
    for bad in ("", "x", "127.0.0.1:1 md5//x", "127.0.0.1 sha256//AAAA", "nonsense sha256//" + "A" * 43 + "="):
        with open(place, "w") as f:
            f.write(bad)
        expect(500, w.api.get(path), "'nodes/pve2/pvesr-api' of the cluster is damaged")
    with open(place, "w") as f:
        f.write(line)
    # it stands still: the kernel takes connections, nobody answers
    w.api.patience = 1
    try:
        answers = []
        asking = [threading.Thread(target=lambda: answers.append(w.api.get(path))) for _ in range(8)]
        for thread in asking:
            thread.start()
        expect(200, w.api.get("/version"))
        for thread in asking:
            thread.join()
    finally:
        w.b.daemon.kill(signal.SIGCONT)
        w.api.patience = Api.patience
    assert len(answers) == 8
    for answer in answers:
        expect(595, answer, "node 'pve2' does not answer: ")
    expect(200, w.api.get(path))
    w.b.daemon.stop()
    expect(595, w.api.get(path), "node 'pve2' does not answer: ")
    os.unlink(place)
    expect(595, w.api.get(path), "node 'pve2' does not answer: no node of that name has served its API in this cluster yet")
    w.a.daemon.kill(signal.SIGTERM)
    assert w.a.daemon.process.wait(timeout=120 * rig.SLOW) == 0


@told
def a_place_that_is_lost(w):
    """what the tree says of where a node's API is comes back by itself when the tree has lost it, as one that is put back or of a cluster that the node joins"""
    path, place = "/nodes/pve2/replication", os.path.join(w.c.tree, "nodes/pve2/pvesr-api")
    with open(place) as f:
        line = f.read()
    os.unlink(place)
    expect(595, w.api.get(path), "no node of that name has served its API in this cluster yet")
    rig.wait_for(lambda: w.api.get(path).status == 200, "the node's place", 90)
    with open(place, "w") as f:
        f.write("damaged")
    rig.wait_for(lambda: w.api.get(path).status == 200, "the node's place again", 90)
    with open(place) as f:
        assert f.read() == line
    assert "other nodes" not in w.b.daemon.words(), w.b.daemon.words()


@told
def no_loops(w):
    """what came by a node goes on to no other"""
    headers = {"Authorization": w.api.auth, "PVESR-Forwarded-By": "pve2"}
    expect(200, w.api.call("GET", "/nodes/pve1/replication", headers=headers))
    expect(508, w.api.call("GET", "/nodes/pve2/replication", headers=headers), "this is node 'pve1': node 'pve2' took it for 'pve2'")
    # a tree that calls pve1's own address pve2: the daemon there would put it right
    w.b.daemon.kill(signal.SIGSTOP)
    with open(os.path.join(w.c.tree, "nodes/pve1/pvesr-api")) as f:
        line = f.read()
    w.c.write("nodes/pve2/pvesr-api", line)
    expect(508, w.api.get("/nodes/pve2/replication"), "this is node 'pve1': node 'pve1' took it for 'pve2'")


def new_certificate(folder, name, kind=("ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")):
    """A pair NAME.pem, NAME.key as an administrator makes it: texts."""
    pem, key = (os.path.join(folder, f"{name}.{end}") for end in ("pem", "key"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", *kind, "-nodes", "-keyout", key, "-out", pem,
                    "-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1,IP:127.0.0.2"], check=True, capture_output=True)
    return [open(path).read() for path in (pem, key)]


@told
def a_new_certificate(w):
    """a certificate that is renewed is served without a restart, connections go on, other nodes know it, and one that is none changes nothing"""
    def shown():
        return ssl.get_server_certificate((w.api2.host, w.api2.port))

    def put(name, text):
        w.c.write(f"nodes/pve2/{name}", text)
    open_one = w.api2.connect()
    open_one.connect()
    first = shown()
    pem, key = new_certificate(w.c.dir, "renewed")
    put("pveproxy-ssl.key", key)
    put("pveproxy-ssl.pem", pem)
    rig.wait_for(lambda: shown().strip() == pem.strip(), "the new certificate")
    assert expect(200, w.api.get("/nodes/pve2/replication")).data == []
    open_one.request("GET", "/api2/json/version", headers={"Authorization": w.api.auth})
    assert open_one.getresponse().status == 200
    other, _ = new_certificate(w.c.dir, "other")
    for bad, why in ((other, "the key is not that of the certificate"), ("nonsense\n", "certificate and key cannot be read")):
        put("pveproxy-ssl.pem", bad)
        rig.wait_for(lambda: f"cannot be used: {why}" in w.b.daemon.words(), "its word")
        assert shown().strip() == pem.strip()
    for end in ("pem", "key"):
        os.unlink(os.path.join(w.c.tree, f"nodes/pve2/pveproxy-ssl.{end}"))
    rig.wait_for(lambda: shown() == first, "the node's own certificate")
    assert expect(200, w.api.get("/nodes/pve2/replication")).data == []


@told
def a_certificate_in_two_steps(w):
    """an administrator who takes the node's certificate away before there is another one for its key keeps the key, and what is no key stays, too"""
    folder = os.path.join(w.c.tree, "nodes/pve2")

    def shown():
        return ssl.get_server_certificate((w.api2.host, w.api2.port)).strip()

    def put(name, text):
        w.c.write(f"nodes/pve2/{name}", text)

    def key_there():
        with open(os.path.join(folder, "pve-ssl.key")) as f:
            return f.read()
    for more in ({}, {"kind": ("rsa:2048",)}):
        pem, key = new_certificate(w.c.dir, "own", **more)
        put("pve-ssl.key", key)
        put("pve-ssl.pem", pem)
        rig.wait_for(lambda pem=pem: shown() == pem.strip(), "the administrator's certificate")
        os.unlink(os.path.join(folder, "pve-ssl.pem"))
        rig.wait_for(lambda pem=pem: shown() != pem.strip(), "one that is made")
        assert key_there() == key, "the administrator's key is gone"
        expect(200, w.api.get("/nodes/pve2/replication"))
        put("pve-ssl.pem", pem)
        rig.wait_for(lambda pem=pem: shown() == pem.strip(), "the administrator's certificate again")
    put("pve-ssl.key", "nonsense\n")
    os.unlink(os.path.join(folder, "pve-ssl.pem"))
    rig.wait_for(lambda: "nodes/pve2/pve-ssl.key' cannot be read" in w.b.daemon.words(), "its word")
    assert key_there() == "nonsense\n" and shown() == pem.strip()
    expect(200, w.api.get("/nodes/pve2/replication"))


class Strange:
    """In place of pve2's API, with its certificate: what it is told to say, and what it was asked."""

    def __init__(self, w):
        self.asked, self.answer = [], b""
        pem = os.path.join(w.c.tree, "nodes/pve2/pve-ssl")
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pem + ".pem", pem + ".key")
        self.socket = socket.create_server((w.api2.host, w.api2.port))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                plain, _ = self.socket.accept()
                with self.context.wrap_socket(plain, server_side=True) as s:
                    got = b""
                    while b"\r\n\r\n" not in got:
                        got += s.recv(65536)
                    self.asked.append(got.decode())
                    s.sendall(self.answer)
            except OSError:
                if self.socket.fileno() < 0:
                    return


class Holding(Strange):
    """It takes each request, and answers when it is released."""

    def __init__(self, w):
        self.released = threading.Event()
        super().__init__(w)

    def serve(self):
        while True:
            try:
                plain, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.hold, args=(plain,), daemon=True).start()

    def hold(self, plain):
        with contextlib.suppress(OSError), self.context.wrap_socket(plain, server_side=True) as s:
            self.asked.append(s.recv(65536).decode())
            self.released.wait()
            s.sendall(self.answer)


def http(status, body):
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


@told
def strange_answers(w):
    """whatever a node says is data, and only what is the caller's own is sent there"""
    has_keys(w)
    set_password(w, "auditor")
    data = expect(200, log_in(w, "auditor@pve")).data
    w.b.daemon.stop()
    strange = Strange(w)
    path = "/nodes/pve2/replication"
    try:
        for answer in (b"", b"nonsense\r\n\r\n", http(200, b""), http(200, b"<html>"), http(200, b"[]"), http(301, b"{}"), http(200, b'{"data":')[:-3],
                       http(999, b'{"data":1}'), http(200, b"{" * 1000), b"HTTP/1.1 200 X\r\nContent-Length: 9000000\r\n\r\n" + b" " * 8500000):
            strange.answer = answer
            reply = w.api.get(path)
            assert reply.status in (301, 595), f"{answer[:60]!r}: {reply}"
        strange.answer = http(500, json.dumps({"data": None, "message": "odd \x1b[2J\r\nX-Evil: 1\n", "errors": 7}).encode())
        reply = expect(500, w.api.get(path), "odd ")
        assert "X-Evil" not in reply.headers and "\x1b" not in reply.body["message"] and "errors" not in reply.body, reply
        strange.answer = http(401, b"{}")
        expect(595, w.api.get(path), "node 'pve2' does not know who this node knows")
        strange.answer = http(200, b'{"data":[{"id":"7"}],"total":4}')
        strange.asked.clear()
        headers = {**as_browser(data), "Cookie": as_browser(data)["Cookie"] + "; session=of-another-page", "X-Mine": "1", "User-Agent": "mine"}
        reply = expect(200, w.api.call("GET", path + "?guest=100", headers=headers))
        assert reply.data == [{"id": "7"}] and reply.body["total"] == 4, reply
        asked, = strange.asked
        assert asked.startswith("GET /api2/json/nodes/pve2/replication?guest=100 HTTP/1.1\r\n"), asked
        others = "\n".join(line for line in asked.split("\r\n") if not line.startswith("Cookie: "))  # a ticket's signature may have any word in it
        assert "of-another-page" not in asked and "mine" not in others.lower() and "CSRF" not in others, asked
        assert "PVESR-Forwarded-By: pve1\r\n" in asked and asked.count("Cookie: ") == 1, asked
    finally:
        strange.socket.close()


@told
def one_of_many(w):
    """a node that holds 16 requests of one caller gets no more of them, and those of another"""
    w.b.daemon.stop()
    holding, path, answers = Holding(w), "/nodes/pve2/replication", []
    holding.answer = http(200, b'{"data":[]}')

    def ask(api):
        thread = threading.Thread(target=lambda: answers.append(api.get(path)))
        thread.start()
        return thread
    try:
        asking = [ask(w.api) for _ in range(16)]
        rig.wait_for(lambda: len(holding.asked) == 16, "16 requests there")
        expect(503, w.api.get(path), "16 requests of yours to other nodes are under way: try again")
        asking.append(ask(w.by("auditor@pve!test")))
        rig.wait_for(lambda: len(holding.asked) == 17, "the other caller's")
        expect(200, w.api.get("/version"))
        holding.released.set()
        for thread in asking:
            thread.join()
        assert [answer.status for answer in answers] == [200] * 17, answers
        expect(200, w.api.get(path))
    finally:
        holding.released.set()
        holding.socket.close()


def ask_patiently(api, path, **fields):
    connection = HTTPSConnection(api.host, api.port, timeout=600, context=api.context)
    with contextlib.closing(connection):
        connection.request("POST", "/api2/json" + path, urllib.parse.urlencode(fields),
                           {"Authorization": api.auth, "Content-Type": "application/x-www-form-urlencoded"})
        return Answer(connection.getresponse())


@told
def what_takes_long(w):
    """a doctor that takes longer than other requests may is waited for, by the node itself and by the one in between"""
    w.add_guest(112, w.b)
    begun, answers = time.monotonic(), []
    with concurrent.futures.ThreadPoolExecutor(2) as pool, contextlib.ExitStack() as stopped:
        for api, guest in ((w.api2, 102), (w.api, 112)):
            with held(os.path.join(w.b.lock_dir, f"pve-migrate-{guest}")):
                answers.append(pool.submit(ask_patiently, api, "/nodes/pve2/doctor", guest=guest))
                stopped.callback(os.kill, stop_doctor(w.b.daemon, guest), signal.SIGCONT)
        rig.wait_for(lambda: time.monotonic() > begun + 125 or any(answer.done() for answer in answers), "the end of what other requests have", 200)
        stopped.close()
        for answer in answers:
            assert {"findings", "warnings"} == set(expect(200, answer.result()).data)


@told
def told_later(w):
    """a node whose place could not be written into the tree when it began is known to the others once it can be"""
    w.b.daemon.stop()
    place = os.path.join(w.c.tree, "nodes/pve2/pvesr-api")
    os.unlink(place)
    os.mkdir(place)  # nothing replaces a folder
    w.b.daemon = Daemon(w.b)
    rig.wait_for(lambda: "other nodes cannot ask this one's API until that is mended" in w.b.daemon.words(), "its word")
    os.rmdir(place)
    rig.wait_for(lambda: "other nodes can ask this one's API now" in w.b.daemon.words(), "the word that it can", 120)
    assert expect(200, w.api.get("/nodes/pve2/replication")).data == []


play_all("relay")
