"""Makes the same requests at one cloud after the other, and keeps the answers in a form in which they can be compared."""

import json
import re

from neutron import COLLECTIONS, Neutron

# What two clouds can never have in common. The first that matches counts.
VARYING = (
    (re.compile(r"req-[0-9a-f]{8}-[0-9a-f-]{27}"), "<request>"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "<id>"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "<id>"),
    (re.compile(r"\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b"), "<mac>"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?Z?"), "<time>"),
    (re.compile(r"https?://[^/\"']+(?:/identity|/networking)?"), "<url>"),
)
# Lists whose order means nothing, and the fields by which they are put into one.
UNORDERED = {"security_group_rules", "roles", "catalog", "endpoints", "projects", "users"}
ORDER = ("direction", "ethertype", "protocol", "type", "interface", "name")

# The passwords of the two clouds differ, and a label is printed.
SECRET = re.compile(r"(?<='password': ')[^']+")


class Recorder:
    """One cloud; `answers` maps a label, which is the same at every cloud, to status and body."""

    def __init__(self, neutron):
        self.neutron = neutron
        self.answers = {}
        self.made = []
        self.scenario, self.number = "", 0

    def begin(self, scenario):
        self.scenario, self.number = scenario, 0

    def do(self, method, path, body=None):
        """Any request below /v2.0; returns the JSON of the answer."""
        return self.record(method, path, body, self.neutron.request(method, path, body))

    def identity(self, method, path, body=None, token=None):
        """The same at Keystone, below /v3; `token` in place of the administrator's, "" for none."""
        own = self.neutron.token
        headers = {"Content-Type": "application/json", "X-Auth-Token": own if token is None else token, "X-Subject-Token": own}
        text = body if body is None or isinstance(body, str) else json.dumps(body)
        keystone = self.neutron.environment["OS_AUTH_URL"]
        return self.record(method, path, body, self.neutron.node.request(keystone, method, path, text, headers))

    def record(self, method, path, body, answer):
        self.number += 1
        label = f"{self.scenario} {self.number:02}: {method} {vary(path)}"
        if body is not None:
            label += f" {SECRET.sub('<secret>', vary(str(body)))[:160]}"
        try:
            found = answer.json()
        except ValueError:
            found = answer.text
        self.answers[label] = {"status": answer.status, "body": normal(found), "request id": "x-openstack-request-id" in answer.headers}
        return found if isinstance(found, dict) else {}

    def make(self, resource, **fields):
        """The new object; {"id": "none"} when it was refused, so that the requests that follow are the same everywhere."""
        found = self.do("POST", f"/{COLLECTIONS[resource]}", {resource: fields}).get(resource)
        if not found:
            return {"id": "none"}
        self.made.append((resource, found["id"]))
        return found

    def show(self, resource, thing, query=""):
        return self.do("GET", f"/{COLLECTIONS[resource]}/{thing['id']}{query}").get(resource, {})

    def change(self, resource, thing, **fields):
        return self.do("PUT", f"/{COLLECTIONS[resource]}/{thing['id']}", {resource: fields}).get(resource, {})

    def remove(self, resource, thing):
        self.do("DELETE", f"/{COLLECTIONS[resource]}/{thing['id']}")

    def discard(self, resource, thing):
        """Removes an object that only one cloud may have made, without a record."""
        if thing["id"] != "none":
            self.neutron.delete(resource, thing["id"])
            self.made.remove((resource, thing["id"]))

    def search(self, resource, query):
        return self.do("GET", f"/{COLLECTIONS[resource]}?{query}")

    def clean(self):
        """Removes what the scenario left, without a record; floating IPs and routers first, since they hold ports of the rest."""
        request = self.neutron.request
        for resource, identifier in self.made:
            if resource == "floatingip":
                self.neutron.delete(resource, identifier)
        for resource, identifier in self.made:
            if resource == "router":
                request("PUT", f"/routers/{identifier}", {"router": {"routes": [], "external_gateway_info": None}})
                for port in self.neutron.list("port", device_id=identifier):
                    request("PUT", f"/routers/{identifier}/remove_router_interface", {"port_id": port["id"]})
        for resource, identifier in reversed(self.made):
            self.neutron.delete(resource, identifier)
        self.made.clear()


def log_in(node, environment):
    return Recorder(Neutron(node, environment))


def vary(text):
    for pattern, word in VARYING:
        text = pattern.sub(word, text)
    return text


def normal(value):
    if isinstance(value, dict):
        found = {vary(key): "<number>" if key == "revision_number" else normal(inner) for key, inner in value.items()}
        for key in UNORDERED & found.keys():
            found[key] = sorted(found[key], key=lambda one: [str(one.get(field)) for field in ORDER])
        return found
    if isinstance(value, list):
        return [normal(inner) for inner in value]
    return vary(value) if isinstance(value, str) else value
