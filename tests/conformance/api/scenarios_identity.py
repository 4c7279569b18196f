"""Keystone, as far as clients of Neutron need it, and its errors."""

NOWHERE = "11111111111141118111111111111111"


def _password(environment, **other):
    name, password = other.get("name", environment["OS_USERNAME"]), other.get("password", environment["OS_PASSWORD"])
    user = {"name": name, "password": password, "domain": {"id": "default"}}
    return {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}


def versions(cloud):
    cloud.identity("GET", "", token="")
    cloud.identity("GET", "/", token="")


def log_in(cloud):
    environment = cloud.neutron.environment
    project = {"project": {"name": environment["OS_PROJECT_NAME"], "domain": {"id": "default"}}}
    for body in (
        {"auth": {**_password(environment)["auth"], "scope": project}},
        _password(environment),
        _password(environment, password="wrong"),
        _password(environment, name="nobody"),
        {"auth": {**_password(environment)["auth"], "scope": {"project": {"id": NOWHERE}}}},
        {"auth": {"identity": {"methods": ["password"]}}},
        {"auth": {"identity": {"methods": ["handshake"], "handshake": {}}}},
        {"auth": {"identity": {"methods": ["token"], "token": {"id": "nonsense"}}}},
        {"auth": {}},
        {},
        "{",
    ):
        cloud.identity("POST", "/auth/tokens", body, token="")


def tokens(cloud):
    cloud.identity("GET", "/users", token="")
    cloud.identity("GET", "/users", token="nonsense")
    cloud.identity("GET", "/auth/tokens")
    cloud.identity("GET", "/auth/projects")


def unknown_identities(cloud):
    for collection in ("users", "projects", "domains", "roles", "services", "endpoints"):
        cloud.identity("GET", f"/{collection}/{NOWHERE}")
    cloud.identity("DELETE", f"/projects/{NOWHERE}")
    cloud.identity("GET", "/no-such-things")


def project_life(cloud):
    made = cloud.identity("POST", "/projects", {"project": {"name": "conformance", "description": "text"}}).get("project", {"id": "none"})
    cloud.identity("POST", "/projects", {"project": {"name": "conformance"}})
    cloud.identity("POST", "/projects", {"project": {}})
    cloud.identity("POST", "/projects", {"project": {"name": ""}})
    cloud.identity("GET", f"/projects/{made['id']}")
    cloud.identity("GET", "/projects?name=conformance")
    cloud.identity("PATCH", f"/projects/{made['id']}", {"project": {"enabled": False}})
    cloud.identity("PATCH", f"/projects/{made['id']}", {"project": {"name": 5}})
    cloud.identity("DELETE", f"/projects/{made['id']}")
    cloud.identity("DELETE", f"/projects/{made['id']}")


def user_life(cloud):
    made = cloud.identity("POST", "/users", {"user": {"name": "conformance", "password": "secret"}}).get("user", {"id": "none"})
    cloud.identity("POST", "/users", {"user": {"name": "conformance", "password": "secret"}})
    cloud.identity("POST", "/users", {"user": {}})
    cloud.identity("GET", f"/users/{made['id']}")
    cloud.identity("PATCH", f"/users/{made['id']}", {"user": {"description": "text"}})
    cloud.identity("GET", "/users?name=conformance")
    cloud.identity("DELETE", f"/users/{made['id']}")


def application_credentials(cloud):
    path = "/users/none/application_credentials"
    cloud.identity("GET", path)
    user = next((found["id"] for found in cloud.identity("GET", "/users?name=admin").get("users", [])), "none")
    path = f"/users/{user}/application_credentials"
    secret = {"application_credential": {"name": "conformance", "secret": "secret"}}
    made = cloud.identity("POST", path, secret).get("application_credential", {"id": "none"})
    cloud.identity("POST", path, secret)
    cloud.identity("POST", path, {"application_credential": {}})
    cloud.identity("GET", f"{path}/{made['id']}")
    method = {"methods": ["application_credential"], "application_credential": {"id": made["id"], "secret": "secret"}}
    cloud.identity("POST", "/auth/tokens", {"auth": {"identity": method}}, token="")
    cloud.identity("DELETE", f"{path}/{made['id']}")
    cloud.identity("DELETE", f"{path}/{made['id']}")
