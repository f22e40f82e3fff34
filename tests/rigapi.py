"""Talking to the API of a rig's node, and the users of its tree."""
import http.client
import json
import os
import re
import socket
import ssl
import urllib.parse

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


def free_port():
    """Free on all of 127.0.0.0/8."""
    with socket.socket() as s:
        s.bind(("0.0.0.0", 0))
        return s.getsockname()[1]


def serve(cluster, users="", tokens=""):
    """A daemon with an API on each node of the cluster: [Api, …]. root@pam has the token "t"."""
    cluster.api_port = free_port()
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
