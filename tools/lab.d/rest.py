"""The cloud's REST API as admin, asked by curl on the controller: the openstack command takes seconds to start, and cannot start without
a catalog entry for Neutron."""

import json

from places import KEYSTONE, PASSWORD, LabError


class Cloud:
    def __init__(self, node):
        self.node = node
        scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
        user = {"name": "admin", "password": PASSWORD, "domain": {"id": "default"}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        answer = self.curl("POST", f"{KEYSTONE}/auth/tokens", body, "--include")
        head = answer.partition("\r\n\r\n")[0]
        tokens = [line.partition(":")[2].strip() for line in head.splitlines() if line.lower().startswith("x-subject-token:")]
        if not tokens:
            raise LabError(f"Keystone gave no token to admin: {answer[:2000]}")
        self.token = tokens[0]

    def curl(self, method, url, body, *options):
        data = ["--header", "Content-Type: application/json", "--data", json.dumps(body)] if body is not None else []
        return self.node.run("curl", "--silent", "--show-error", "--request", method, *options, *data, url)

    def call(self, method, url, body=None):
        """The answer's JSON; LabError for anything but success."""
        text = self.curl(method, url, body, "--header", f"X-Auth-Token: {self.token}", "--write-out", "\n%{http_code}")
        text, _, code = text.rpartition("\n")
        if not code.startswith("2"):
            raise LabError(f"{method} {url}: {code}: {text[:2000]}")
        return json.loads(text) if text else None

    def find_or_create(self, collection, kind, attributes):
        """An object of Keystone with these attributes; the first that has them all, else a new one."""
        compared = {key: value for key, value in attributes.items() if key != "password"}
        for known in self.call("GET", f"{KEYSTONE}/{collection}")[collection]:
            if compared.items() <= known.items():
                return known
        return self.call("POST", f"{KEYSTONE}/{collection}", {kind: attributes})[kind]
