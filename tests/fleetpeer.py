#!/usr/bin/env python3
"""The agent of a node that is bad in many ways, to each job in another: fleetpeer.py WAYS CONFIG COMMAND…

WAYS is a file of JSON, {JOB: WAY}; a job that is not in it has the real agent, whose command this is. CONFIG is that of a node whose tree says
that another node owns all guests.
"""
import ctypes
import json
import os
import re
import struct
import subprocess
import sys
import threading
import time

HELLO, CALL, REPLY, ERROR, ALIVE = 1, 2, 3, 4, 9
NOTHING = {"exists": False, "stream": False, "many": True, "encrypts": False, "size": 0, "available": 0, "written": False, "owner": "",
           "base": "", "stage": None, "snapshots": []}


def frame(kind, payload, compress=False):
    flags = 0
    if compress:
        zstd = ctypes.CDLL("libzstd.so.1")
        packed = ctypes.create_string_buffer(len(payload) + 1024)
        n = zstd.ZSTD_compress(packed, len(packed), payload, len(payload), 1)
        payload, flags = struct.pack("<I", len(payload)) + packed.raw[:n], 1
    digest = ctypes.CDLL("libxxhash.so.0").XXH3_64bits
    digest.argtypes, digest.restype = (ctypes.c_char_p, ctypes.c_size_t), ctypes.c_uint64
    head = struct.pack("<IBBH", len(payload), kind, flags, 0)
    return head + struct.pack("<Q", digest(head + payload, len(head + payload))) + payload


def read_all(fd, n):
    data = b""
    while len(data) < n and (more := os.read(fd, n - len(data))):
        data += more
    return data


def read_frame(fd):
    """Empty at the end of the stream. Nothing of what comes after it is read."""
    head = read_all(fd, 16)
    return head + read_all(fd, struct.unpack_from("<I", head)[0]) if len(head) == 16 else b""


def say(data, fd=1):
    while data:
        data = data[os.write(fd, data):]


class Agent:
    def __init__(self, argv):
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def ask(self, question):
        say(question, self.process.stdin.fileno())
        return read_frame(self.process.stdout.fileno())

    def end(self):
        self.process.kill()
        self.process.wait()


def copy(source, sink, piece=1 << 16, pause=0):
    """Until either end is gone."""
    try:
        while data := os.read(source, piece):
            say(data, sink)
            time.sleep(pause)
    except OSError:
        pass
    os.close(sink)


def go_between(agent, piece=1 << 16, pause=0):
    """What the source sends is passed on in pieces of so many bytes."""
    answers = threading.Thread(target=copy, args=(agent.process.stdout.fileno(), os.dup(1)), daemon=True)
    answers.start()
    copy(0, os.dup(agent.process.stdin.fileno()), piece, pause)
    agent.process.stdin.close()
    answers.join(10)
    agent.process.wait()


# ---- the ways ----

def alive(agent, answer):
    while True:
        say(frame(ALIVE, b""))
        time.sleep(0.2)


def drip(agent, answer):
    while True:
        for byte in answer:
            say(bytes([byte]))
            time.sleep(1)
        answer = frame(ALIVE, b"")


def throttle(agent, answer):
    say(answer)
    for _ in range(3):
        question = read_frame(0)
        say(agent.ask(question))
        if b'"stage"' in question:
            break
    go_between(agent, 64, 0.5)


def garbage(agent, answer):
    say(b"\x1b[2Jlast login: never\n" * 50)


def huge(agent, answer):
    say(frame(REPLY, b'{"volumes":[' + b"{}," * 1000000 + b'{}],"stale":[],"kept":[]}', compress=True))


def liar(agent, answer):
    say(frame(REPLY, json.dumps({"volumes": [{**NOTHING, "exists": True, "size": -1, "snapshots": [
        {"name": "../x\n", "id": "0" * 32, "created": -1}]}], "stale": [], "kept": []}).encode()))


def filler(agent, answer):
    text = "FILLER " + "x\n100-0 OK\x1b[A" * 200000
    say(frame(ERROR, json.dumps({"kind": "system", "code": 0, "text": text}).encode(), compress=True))


WAYS = {f.__name__: f for f in (alive, drip, throttle, garbage, huge, liar, filler)}


def main():
    with open(sys.argv[1]) as f:
        ways = json.load(f)
    agent, hello = Agent(sys.argv[3:]), read_frame(0)
    say(agent.ask(hello))
    question = read_frame(0)
    job = re.search(rb'"job": ?"([0-9-]+)"', question)
    way = ways.get(job[1].decode()) if job else None
    try:
        if way == "owner":
            agent.end()
            agent = Agent([*sys.argv[3:5], "--config", sys.argv[2]])
            agent.ask(hello)
        answer = agent.ask(question)
        if way in WAYS:
            WAYS[way](agent, answer)
        else:
            say(answer)
            go_between(agent)
    except BrokenPipeError:
        sys.stderr.close()
    finally:
        agent.end()


if __name__ == "__main__":
    main()
