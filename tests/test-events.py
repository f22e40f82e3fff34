#!/usr/bin/env python3
"""What pvesrd tells, as it happens, to who listens (GET /events): what, to whom, from where on, how much, and until when."""
import contextlib
import json
import os
import signal
import time

import rig
import rigapi
from apiworld import SECRETS, World, as_browser, expect, has_keys, log_in, raw, set_password, sign
from rigapi import Api, Stream

TESTS = []
STREAMS_USER = 32
LOST = 200  # jobs of a large file
LARGE = 4000  # bytes of each one's comment


def told(f):
    TESTS.append(f)
    return f


def listen(api, last=None, **more):
    s = Stream(api, last, **more)
    assert s.status == 200 and s.response.getheader("Content-Type") == "text/event-stream", (s.status, s.response.read())
    return s


def begun(api):
    """A stream of which what is there now is known."""
    s = listen(api)
    event = s.next()
    assert event == ("reset", {"node": api.node.name}), event
    return s


def is_job(job, kind=None, **wanted):
    return lambda k, data: data.get("id") == job and kind in (None, k) and all(data.get(key) == value for key, value in wanted.items())


def append(w, name, text):
    with open(os.path.join(w.c.tree, name), "a") as f:
        f.write(text)


def drop(w, name, words):
    with open(os.path.join(w.c.tree, name)) as f:
        lines = f.readlines()
    w.c.write(name, "".join(line for line in lines if words not in line))


@told
def the_life_of_a_job(w):
    """a job that is made, runs, is changed and goes is told as the lists have it, by all nodes"""
    here, there = begun(w.api), begun(w.api2)
    w.create(schedule="yearly", comment="one \"and\" <b>two</b> ä")
    first, = here.until(lambda *_: True)
    assert first[0] == "added" and first[1]["id"] == "100-0" and first[1]["comment"] == "one \"and\" <b>two</b> ä", first
    assert there.next() == ("added", w.api2.get("/cluster/replication").data[0])
    events = here.until(lambda kind, data: data["last_sync"] > 0 and "pid" not in data)
    assert all(kind == "changed" and data["id"] == "100-0" for kind, data in events), events
    assert events[-1][1] == w.state(), (events[-1], w.state())
    expect(200, w.api.put("/cluster/replication/100-0", comment="other"))
    assert here.until(is_job("100-0", "changed", comment="other"))[-1][1] == w.state()
    there.until(is_job("100-0", "changed", comment="other"))
    expect(200, w.api.delete("/cluster/replication/100-0"))
    assert here.until(is_job("100-0", "removed"))[-1][1] == {"id": "100-0", "guest": 100}
    there.until(is_job("100-0", "removed"))
    # what is wrong with the state file is no end
    path = os.path.join(w.a.state_dir, "pve-replication-state.json")
    with open(path, "w") as f:
        f.write("{")
    with open(path + ".new", "w") as f:
        f.write("{}")
    os.rename(path + ".new", path)
    w.create("101-0", disable="1")
    here.until(is_job("101-0", "added", disable=1))


@told
def who_sees_what(w):
    """each is told of the guests that they may see, as of now; whoever's rights change asks anew, and whoever is nobody is told nothing"""
    see = {"auditor@pve!test": {100, 101, 102}, "one@pve!test": {100}, "pool@pve!test": {101}, "noaccess@pve!test": {101, 102}, "nobody@pve!test": set(),
           "root@pam!narrow": {101}}
    streams = {who: begun(w.by(who)) for who in see}
    for guest, target in ((100, "pve2"), (101, "pve2"), (102, "pve1")):
        w.create(f"{guest}-0", target, disable="1")
    begun(w.api).close()
    append(w, "user.cfg", "acl:1:/vms/102:nobody@pve:Repl:\n")
    for who, guests in see.items():
        events = streams[who].until(lambda kind, _: kind == "reset")[:-1]
        assert {data["guest"] for _, data in events} == guests, (who, events)
    expect(200, w.api.put("/cluster/replication/102-0", comment="x"))
    streams["nobody@pve!test"].until(is_job("102-0", "changed", comment="x"))
    for headers in ({}, {"Authorization": "PVEAPIToken=one@pve!test=x"}, {"Cookie": "PVEAuthCookie=PVE:root@pam:00000000::x"}):
        assert Stream(w.api, headers=headers).status == 401, headers
    for who in ("gone@pve!test", "off@pve!test"):
        assert Stream(w.by(who)).status == 401, who


@told
def until_when(w):
    """a user who is disabled, a token that is gone and a ticket that expires end their streams, and no other"""
    set_password(w, "one")
    ticket = expect(200, log_in(w, "one@pve")).data
    stays, token, other = begun(w.by("auditor@pve!test")), begun(w.by("pool@pve!test")), begun(w.by("one@pve!test"))
    by_ticket = listen(w.api, headers=as_browser(ticket, csrf=False))
    drop(w, "priv/token.cfg", "pool@pve!test")
    token.until_end()
    drop(w, "user.cfg", "user:one@pve:1")
    append(w, "user.cfg", "user:one@pve:0:0::::::\n")
    for s in (other, by_ticket):
        s.until_end()
    left, old = 5, None
    while not old or old.status != 200:  # however slow this machine is
        left *= 2
        old = Stream(w.api, headers=as_browser({"ticket": sign(w, f"PVE:auditor@pve:{int(time.time()) - 7200 + left:08X}")}, csrf=False))
        assert left < 2000, old.status
    old.until_end()
    w.create(disable="1")
    stays.until(is_job("100-0", "added"))


@told
def from_where_on(w):
    """whoever comes back is told what they missed, and whoever comes from nowhere that they missed something"""
    w.create(disable="1")
    s = begun(w.api)
    expect(200, w.api.put("/cluster/replication/100-0", comment="1"))
    s.until(is_job("100-0", comment="1"))
    s.close()
    other = begun(w.api)
    for n in "234":
        expect(200, w.api.put("/cluster/replication/100-0", comment=n))
        other.until(is_job("100-0", comment=n))
    again = listen(w.api, s.id)
    assert [data["comment"] for _, data in again.until(is_job("100-0", comment="4"))] == ["2", "3", "4"]
    assert again.id == other.id
    again = listen(w.api, other.id)
    expect(200, w.api.put("/cluster/replication/100-0", comment="5"))
    assert again.next()[1]["comment"] == "5"
    boot, _, number = s.id.partition("-")
    auth = f"GET /api2/json/events HTTP/1.1\r\nHost: x\r\nAuthorization: {w.api.auth}\r\nLast-Event-ID: "
    for last in (f"{boot}-{int(number) + 10 ** 6}", f"{boot}-{10 ** 18}", f"{boot}-{2 ** 64 + 1}", f"{boot}--1", f"{boot}-", f"{boot}- 1", f"{boot}-1x", f"{boot}-0x1",
                 f"{boot[::-1]}-{number}", f"{boot[:-1]}-{number}", boot, number, "-", "%", "../..", "a" * 8000, "\u202e", "1\t2"):
        with_id = first_events(w, auth.encode() + last.encode() + b"\r\n\r\n")
        assert b"event: reset\n" in with_id, (last[:60], with_id)
    # heads that are none at all
    for last in (b"x\r\nX", b"x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3", b"\x00", b"a" * 40000):
        got = first_events(w, auth.encode() + last + b"\r\nConnection: close\r\n\r\n0\r\n\r\n")
        assert not got or got.split()[1][:1] == b"4" or b"event: reset\n" in got, got
    expect(501, w.api.post("/events"))
    assert b"HTTP/1.1 200" in raw(w, auth.replace("GET", "HEAD").encode() + b"x\r\nConnection: close\r\n\r\n")
    # one daemon's places are not the next one's
    assert w.a.daemon.stop(signal.SIGTERM) == 0
    w.a.daemon = rigapi.rigdaemon.Daemon(w.a)
    assert listen(w.api, other.id).next()[0] == "reset"


def first_events(w, data):
    """What comes up to the first event's end."""
    with rigapi.narrow(w.api, 65536) as s:
        s.sendall(data)
        got = b""
        with contextlib.suppress(ConnectionError):
            while b"\n\n" not in got and (more := s.recv(4096)):
                got += more
        return got


@told
def how_many(w):
    """a user has so many streams and another one still gets theirs; who goes makes room"""
    streams = [begun(w.by("one@pve!test")) for _ in range(STREAMS_USER)]
    refused = Stream(w.by("one@pve!test"))
    assert refused.status == 503, refused.status
    body = json.loads(refused.response.read())
    assert f"'one@pve' listens to events {STREAMS_USER} times" in body["message"], body
    begun(w.by("auditor@pve!test")).close()
    for s in streams:
        s.close()
    rig.wait_for(lambda: Stream(w.by("one@pve!test")).status == 200, "room for another one", 90)
    expect(200, w.api.get("/version"))


def rewrite(w, comment):
    """All jobs of a large file of guests that are gone, with a comment of LARGE bytes."""
    w.c.write("replication.cfg", "".join(f"local: {1000 + n}-0\n\ttarget pve2\n\tsource pve1\n\tdisable\n\tcomment {comment:x<{LARGE}}\n\n" for n in range(LOST)))


def resident(w):
    with open(f"/proc/{w.a.daemon.process.pid}/status") as f:
        return int(f.read().split("VmRSS:")[1].split()[0])


@told
def who_does_not_read(w):
    """whoever does not read costs no memory and is cut, who reads slowly is told that they missed something, and neither delays anybody"""
    rewrite(w, "first")
    s, slow = begun(w.api), [listen(w.api, room=4096) for _ in range(20)]
    dawdlers = [listen(w.api, room=4096) for _ in range(2)]

    def round_of(n):
        rewrite(w, f"round {n} ")
        s.until(is_job(f"{999 + LOST}-0", "changed"))
        for one in dawdlers:
            for _ in range(LOST // 3):
                one.next()
    sanitized = os.environ.get("PVESR_SANITIZED")
    rounds, held = 12 if sanitized else 40, []
    for n in range(rounds):
        round_of(n)
        held.append(resident(w))
    # what is kept is less than 6 of them; a moment's need is not counted, only what stays
    grown = min(held[-6:]) - max(held[4:10])
    assert grown < 8 << 10 or sanitized, f"{grown} KiB for who does not read: {held}"
    for one in slow + dawdlers:
        seen = []
        while event := one.next():
            seen.append(event)
            assert len(seen) < rounds * LOST, "nothing was left out"
            if event[0] == "reset" and len(seen) > 1:
                break
        one.close()


@told
def until_the_end(w):
    """a daemon that ends ends its streams, whoever reads them, and leaves nothing"""
    w.create(disable="1")
    streams, silent = [begun(w.api) for _ in range(20)], [listen(w.api, room=4096) for _ in range(5)]
    streams[0].close()
    rewrite(w, "x")
    streams[1].until(is_job(f"{999 + LOST}-0"))
    assert w.a.daemon.stop(signal.SIGTERM) == 0, w.a.daemon.words()[-2000:]
    for s in streams[1:]:
        s.until_end()
    assert silent and streams[1].line() == b"", "the stream of who has read all was cut"


@told
def signs_of_life(w):
    """where nothing happens a comment comes, and who is gone is noticed by it"""
    s = begun(w.api)
    assert (s.line(), s.line()) == (b":\n", b"\n"), "no comment"
    w.create(disable="1")
    s.until(is_job("100-0", "added"))


def play(f):
    def run():
        with rig.Cluster("xfs") as c:
            w = World(c)
            has_keys(w)  # when they come, all are told to ask anew
            f(w)
    return run


for test in TESTS:
    rig.check("events: " + test.__doc__, play(test), needs=("root", "xfs"))
rig.main()
