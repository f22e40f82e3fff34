"""Talking to the API of a rig's node, and the users of its tree."""
import http.client
import json
import os
import re
import socket
import ssl
import time
import urllib.parse

import rig
import rigdaemon

SECRET = "01234567-89ab-cdef-0123-456789abcdef"
ROOT = f"PVEAPIToken=root@pam!test={SECRET}"


class Answer:
    def __init__(self, response):
        self.status, self.reason, self.headers = response.status, response.reason, response.headers
        self.text = response.read()
        self.body = json.loads(self.text) if self.text else None

    @property
    def data(self):
        return self.body["data"]

    def __str__(self):
        return f"{self.status} {self.reason}: {self.text[:500]!r}"


def token(who, secret=SECRET):
    return f"PVEAPIToken={who}={secret}"


class Api:
    """The API of a node; `auth` is sent with each request that brings no headers of its own. A node that was too slow for the other, as all are on a
    busy machine, is asked again: no request has reached it."""
    patience = 20

    def __init__(self, node, auth=ROOT):
        self.node, self.auth = node, auth
        self.host, self.port = f"127.0.0.{node.number}", node.cluster.api_port
        self.context = ssl.create_default_context(cafile=os.path.join(node.cluster.tree, f"nodes/{node.name}/pve-ssl.pem"))

    def connect(self):
        return http.client.HTTPSConnection(self.host, self.port, timeout=60, context=self.context)

    def call(self, method, path, fields=None, headers=None, body=None, prefix="/api2/json"):
        if headers is None:
            headers = {"Authorization": self.auth} if self.auth else {}
        if fields is not None and method == "GET":
            path, fields = path + "?" + urllib.parse.urlencode(fields), None
        if fields is not None:
            body, headers = urllib.parse.urlencode(fields), {"Content-Type": "application/x-www-form-urlencoded", **headers}
        for _ in range(self.patience):
            answer = self.once(method, prefix + path, body, headers)
            if answer.status != 595 or not re.search("connection time(d )?out", answer.reason, re.IGNORECASE):
                break
        return answer

    def once(self, method, path, body, headers):
        connection = self.connect()
        try:
            connection.request(method, path, body=body, headers=headers)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def get(self, where, /, **fields):
        return self.call("GET", where, fields or None)

    def post(self, where, /, **fields):
        return self.call("POST", where, fields)

    def put(self, where, /, **fields):
        return self.call("PUT", where, fields)

    def delete(self, where, /, **fields):
        return self.call("DELETE", where + ("?" + urllib.parse.urlencode(fields) if fields else ""))


class Stream:
    """The events of a node, in their order."""

    def __init__(self, api, last=None, headers=None, room=None):
        self.connection = api.connect()
        if room:  # bytes that the machine keeps for who does not read
            self.connection.sock = narrow(api, room)
        auth = {"Authorization": api.auth} if headers is None else headers
        self.connection.request("GET", "/api2/json/events", headers={**auth, **({"Last-Event-ID": last} if last else {})})
        self.response = self.connection.getresponse()
        self.status, self.id = self.response.status, None

    def line(self):
        """b"" is the end that was said; None: it was cut."""
        try:
            line = self.response.readline()
        except (http.client.HTTPException, ConnectionError, ssl.SSLEOFError):
            return None
        return line if line.endswith(b"\n") or not line else None

    def next(self):
        """(kind, data), or None at the end."""
        kind, data, deadline = None, None, time.monotonic() + 90 * rig.SLOW
        while line := self.line():
            assert time.monotonic() < deadline, "nothing is told but signs of life"
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "id":
                self.id = value
            elif name == "event":
                kind = value
            elif name == "data":
                data = json.loads(value)
            elif not name and data is not None:
                return kind, data
        return None

    def until(self, found):
        """What comes up to the event of which found(kind, data) is true."""
        events = []
        while event := self.next():
            events.append(event)
            if found(*event):
                return events
        raise AssertionError(f"the stream ended behind {events[-3:]}")

    def until_end(self):
        """Reads on, comments too, until it comes."""
        deadline = time.monotonic() + 90 * rig.SLOW
        while self.line():
            assert time.monotonic() < deadline, "the stream does not end"

    def close(self):
        self.response.close()
        self.connection.close()


def narrow(api, room):
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    plain.settimeout(60)
    plain.connect((api.host, api.port))
    return api.context.wrap_socket(plain, server_hostname=api.host)


def keep_port(cluster):
    """Free on all of 127.0.0.0/8, and given to no other program while there is the cluster, also when nobody listens: who names it can bind it."""
    s = socket.socket()
    cluster.cleanup.callback(s.close)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("0.0.0.0", 0))
    return s.getsockname()[1]


def serve(cluster, users="", tokens=""):
    """A daemon with an API on each node of the cluster: [Api, …]. root@pam has the token "t"."""
    cluster.api_port = keep_port(cluster)
    cluster.write("user.cfg", f"user:root@pam:1:0::::::\ntoken:root@pam!test:0:0::\n{users}")
    os.makedirs(os.path.join(cluster.tree, "priv"), exist_ok=True)
    cluster.write("priv/token.cfg", f"root@pam!test {SECRET}\n{tokens}")
    apis = []
    for node in cluster.nodes.values():
        node.settings.update({"api": "on", "listen": f"127.0.0.{node.number}:{cluster.api_port}"})
        node.write_config()
        node.daemon = rigdaemon.Daemon(node)
        apis.append(Api(node))
    return apis
