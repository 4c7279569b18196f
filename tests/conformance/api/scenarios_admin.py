"""Quotas, extensions, agents."""

NOWHERE = "11111111-2222-4333-8444-555555555555"


def quotas(cloud):
    project = cloud.neutron.project
    cloud.do("GET", f"/quotas/{project}")
    cloud.do("GET", f"/quotas/{project}/default")
    cloud.do("PUT", f"/quotas/{project}", {"quota": {"network": 50}})
    cloud.do("PUT", f"/quotas/{project}", {"quota": {"colour": 1}})
    cloud.do("PUT", f"/quotas/{project}", {"quota": {"network": "many"}})
    cloud.do("PUT", f"/quotas/{project}", {"quota": {"network": -2}})
    cloud.do("PUT", f"/quotas/{project}", {"quota": {"subnetpool": 0}})
    cloud.make("subnetpool", name="one too many", prefixes=["10.250.0.0/24"])
    cloud.do("DELETE", f"/quotas/{project}")
    cloud.do("DELETE", f"/quotas/{project}")


def extensions(cloud):
    cloud.do("GET", "/extensions/no-such-extension")
    for alias in ("standard-attr-tag", "subnet_allocation", "security-group", "router", "quotas", "binding", "net-mtu"):
        cloud.do("GET", f"/extensions/{alias}?fields=alias&fields=name")
    cloud.do("POST", "/extensions", {"extension": {}})
    cloud.do("DELETE", "/extensions/router")


def agents(cloud):
    cloud.do("GET", f"/agents/{NOWHERE}")
    cloud.do("GET", "/agents?binary=no-such-agent")
    cloud.do("POST", "/agents", {"agent": {}})
