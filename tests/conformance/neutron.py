"""Keystone and Neutron as an operator reaches them: by the OS_* variables, from a node."""

import json
import urllib.parse

# The path of each resource, and the key of one object in a body.
COLLECTIONS = {
    "network": "networks",
    "subnet": "subnets",
    "subnetpool": "subnetpools",
    "port": "ports",
    "security_group": "security-groups",
    "router": "routers",
    "floatingip": "floatingips",
    "security_group_rule": "security-group-rules",
    "policy": "qos/policies",
}


class Refused(Exception):
    """Neutron's error; `status` is its HTTP status."""

    def __init__(self, answer, asked):
        self.status = answer.status
        super().__init__(f"{asked}: {answer.status} {answer.text[:500]}")


class Neutron:
    def __init__(self, node, environment):
        self.node = node
        self.environment = environment
        self.token, self.address, self.project = self.log_in()

    def log_in(self):
        env = self.environment
        user = {
            "name": env["OS_USERNAME"],
            "password": env["OS_PASSWORD"],
            "domain": {"name": env.get("OS_USER_DOMAIN_NAME", "Default")},
        }
        project = {"name": env["OS_PROJECT_NAME"], "domain": {"name": env.get("OS_PROJECT_DOMAIN_NAME", "Default")}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": {"project": project}}}
        headers = {"Content-Type": "application/json"}
        answer = self.node.request(env["OS_AUTH_URL"], "POST", "/auth/tokens", json.dumps(body), headers)
        if answer.status != 201:
            raise Refused(answer, f"log in at {env['OS_AUTH_URL']}")
        token = answer.json()["token"]
        endpoints = [point for service in token["catalog"] if service["type"] == "network" for point in service["endpoints"]]
        public = next(point["url"] for point in endpoints if point["interface"] == "public")
        return answer.headers["x-subject-token"], public.rstrip("/"), token["project"]["id"]

    def request(self, method, path, body=None):
        """Any request, with its answer as it is; `path` begins behind /v2.0."""
        headers = {"X-Auth-Token": self.token, "Content-Type": "application/json", "Accept": "application/json"}
        text = body if body is None or isinstance(body, str) else json.dumps(body)
        return self.node.request(self.address, method, f"/v2.0{path}", text, headers)

    def expect(self, method, path, body=None):
        answer = self.request(method, path, body)
        if answer.status >= 400:
            raise Refused(answer, f"{method} {path}")
        return answer.json()

    def list(self, resource, **filters):
        collection = COLLECTIONS[resource]
        query = urllib.parse.urlencode(filters, doseq=True)
        return self.expect("GET", f"/{collection}?{query}")[collection.rpartition("/")[2].replace("-", "_")]

    def show(self, resource, identifier):
        return self.expect("GET", f"/{COLLECTIONS[resource]}/{identifier}")[resource]

    def create(self, resource, **fields):
        return self.expect("POST", f"/{COLLECTIONS[resource]}", {resource: fields})[resource]

    def update(self, resource, identifier, **fields):
        return self.expect("PUT", f"/{COLLECTIONS[resource]}/{identifier}", {resource: fields})[resource]

    def delete(self, resource, identifier):
        """Gone is gone, whoever was faster."""
        answer = self.request("DELETE", f"/{COLLECTIONS[resource]}/{identifier}")
        if answer.status >= 400 and answer.status != 404:
            raise Refused(answer, f"delete {resource} {identifier}")
