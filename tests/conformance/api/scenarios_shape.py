"""What holds for every resource: unknown fields and ids, bodies, lists, filters, pages."""

NOWHERE = "11111111-2222-4333-8444-555555555555"
COLLECTIONS = ("networks", "subnets", "subnetpools", "ports", "security-groups", "security-group-rules", "routers", "floatingips")


def unknown_ids(cloud):
    for collection in COLLECTIONS:
        for method in ("GET", "DELETE"):
            cloud.do(method, f"/{collection}/{NOWHERE}")
    for collection, member in (("networks", "network"), ("subnets", "subnet"), ("subnetpools", "subnetpool"), ("ports", "port"), ("routers", "router")):
        cloud.do("PUT", f"/{collection}/{NOWHERE}", {member: {"name": "x"}})
    cloud.do("GET", "/networks/not-an-id")


def unknown_paths(cloud):
    cloud.do("GET", "/no-such-things")
    cloud.do("POST", "/no-such-things", {})
    cloud.do("DELETE", "/networks")
    cloud.do("PATCH", "/networks")


def bodies(cloud):
    for body in ("{", "[]", "{}", '{"network": []}', '{"subnet": {}}', '{"network": {}, "x": 1}', "null", ""):
        cloud.do("POST", "/networks", body)
    cloud.do("POST", "/subnets", {"subnet": {}})
    cloud.do("POST", "/ports", {"port": {}})
    cloud.do("POST", "/subnetpools", {"subnetpool": {}})
    cloud.do("POST", "/security-group-rules", {"security_group_rule": {}})
    cloud.do("POST", "/floatingips", {"floatingip": {}})


def wrong_fields(cloud):
    cloud.make("network", name="x", colour="blue")
    cloud.make("network", name="x", colour="blue", size=1)
    cloud.make("network", name=5)
    cloud.make("network", name="x" * 256)
    cloud.make("network", admin_state_up="perhaps")
    cloud.make("network", shared=None)
    cloud.make("network", id=NOWHERE)
    cloud.make("network", status="ACTIVE")
    cloud.make("network", tags=["x"])
    network = cloud.make("network", name="fields")
    cloud.change("network", network, status="DOWN")
    cloud.change("network", network, id=NOWHERE)
    cloud.change("network", network, colour="blue")
    cloud.change("network", network, project_id=NOWHERE)
    cloud.change("network", network)


def booleans_and_numbers(cloud):
    network = cloud.make("network", name="truth", admin_state_up="true", shared="0")
    cloud.change("network", network, admin_state_up=0)
    cloud.change("network", network, admin_state_up="True")
    cloud.make("network", name="mtu", mtu="1400")
    cloud.make("network", name="mtu", mtu=50)
    cloud.make("network", name="mtu", mtu=-1)
    cloud.make("network", name="mtu", mtu="large")


def lists(cloud):
    for name in ("list-a", "list-b", "list-c"):
        cloud.make("network", name=name, description="of the list")
    ours = "description=of%20the%20list"
    cloud.search("network", f"{ours}&sort_key=name&sort_dir=asc&fields=name")
    cloud.search("network", f"{ours}&sort_key=name&sort_dir=desc&fields=name&fields=status")
    cloud.search("network", "name=list-a&name=list-b&sort_key=name&sort_dir=asc&fields=name")
    cloud.search("network", f"{ours}&limit=2&sort_key=name&sort_dir=asc&fields=name")
    cloud.search("network", "name=no-such-network")
    cloud.search("network", "name=")
    cloud.search("network", "colour=blue")
    cloud.search("network", "fields=colour")
    cloud.search("network", f"{ours}&sort_key=colour&sort_dir=asc")
    cloud.search("network", f"{ours}&sort_key=name")
    cloud.search("network", f"{ours}&sort_key=name&sort_dir=sideways")
    cloud.search("network", f"{ours}&limit=many")
    cloud.search("network", f"{ours}&limit=-1")
    cloud.search("network", f"{ours}&limit=1&marker={NOWHERE}")
    cloud.search("network", "admin_state_up=perhaps")
    cloud.search("network", f"{ours}&admin_state_up=true&sort_key=name&sort_dir=asc&fields=name")
    cloud.search("network", f"{ours}&shared=False&sort_key=name&sort_dir=asc&fields=name")


def several_at_once(cloud):
    found = cloud.do("POST", "/networks", {"networks": [{"name": "bulk-a"}, {"name": "bulk-b"}]})
    cloud.made += [("network", network["id"]) for network in found.get("networks", [])]
    cloud.do("POST", "/networks", {"networks": []})
    cloud.do("POST", "/networks", {"networks": [{"name": "bulk-c"}, {"name": "bulk-d", "colour": "blue"}]})
    cloud.search("network", "name=bulk-c")


def tags(cloud):
    network = cloud.make("network", name="tagged")
    path = f"/networks/{network['id']}/tags"
    cloud.do("GET", path)
    cloud.do("PUT", f"{path}/red")
    cloud.do("PUT", f"{path}/red")
    cloud.do("GET", f"{path}/red")
    cloud.do("GET", f"{path}/blue")
    cloud.do("DELETE", f"{path}/blue")
    cloud.do("PUT", path, {"tags": ["a", "b"]})
    cloud.do("PUT", path, {"tags": "a"})
    cloud.do("PUT", path, {})
    cloud.do("PUT", f"{path}/{'x' * 256}")
    cloud.do("PUT", path, {"tags": ["x" * 256]})
    cloud.do("GET", path)
    for query in ("tags=a", "tags=a,b", "tags=a,c", "tags-any=a,c", "not-tags=a&name=tagged", "not-tags-any=c&name=tagged"):
        cloud.search("network", f"{query}&fields=name")
    cloud.do("DELETE", f"{path}/a")
    cloud.do("DELETE", path)
    cloud.do("GET", path)
    cloud.do("GET", f"/networks/{NOWHERE}/tags")
    cloud.do("PUT", f"/networks/{NOWHERE}/tags/a")


def revisions(cloud):
    network = cloud.make("network", name="revised")
    cloud.show("network", network, "?fields=name&fields=description")
    cloud.show("network", network, "?fields=colour")
    cloud.change("network", network, description="other")
    cloud.remove("network", network)
    cloud.show("network", network)
