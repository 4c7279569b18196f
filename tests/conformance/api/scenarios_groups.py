"""Security groups and their rules."""

NOWHERE = "11111111-2222-4333-8444-555555555555"


def group_life(cloud):
    group = cloud.make("security_group", name="group", description="text")
    cloud.show("security_group", group)
    cloud.change("security_group", group, name="other", description="more")
    cloud.change("security_group", group, stateful=False)
    cloud.search("security_group", "name=other&fields=name")
    cloud.remove("security_group", group)
    cloud.remove("security_group", group)


def group_default(cloud):
    found = cloud.search("security_group", f"name=default&project_id={cloud.neutron.project}")
    default = found["security_groups"][0]
    cloud.change("security_group", default, name="other")
    cloud.make("security_group", name="default")
    cloud.make("security_group")
    cloud.make("security_group", name=None)
    cloud.make("security_group", name="x" * 256)
    cloud.make("security_group", name="x", stateful="perhaps")
    cloud.make("security_group", name="x", colour="blue")


def group_in_use(cloud):
    network = cloud.make("network", name="grouped")
    group = cloud.make("security_group", name="group")
    port = cloud.make("port", network_id=network["id"], security_groups=[group["id"]])
    cloud.show("port", port)
    cloud.remove("security_group", group)
    cloud.change("security_group", group, stateful=False)
    cloud.change("port", port, security_groups=[])
    cloud.remove("security_group", group)


def rule_life(cloud):
    group = cloud.make("security_group", name="group")
    ours = {"security_group_id": group["id"], "direction": "ingress"}
    rule = cloud.make("security_group_rule", protocol="tcp", port_range_min=80, port_range_max=81, **ours)
    cloud.show("security_group_rule", rule)
    cloud.make("security_group_rule", protocol="tcp", port_range_min=80, port_range_max=81, **ours)
    cloud.make("security_group_rule", protocol=6, port_range_min="80", port_range_max="81", description="again", **ours)
    cloud.make("security_group_rule", protocol="UDP", port_range_min=53, port_range_max=53, remote_ip_prefix="198.51.100.7/24", **ours)
    cloud.make("security_group_rule", protocol="icmp", ethertype="IPv6", **ours)
    cloud.make("security_group_rule", protocol="icmp", port_range_min=8, **ours)
    cloud.make("security_group_rule", remote_group_id=group["id"], **ours)
    cloud.make("security_group_rule", remote_ip_prefix="198.51.100.9", **ours)
    cloud.make("security_group_rule", remote_ip_prefix="fd00::/64", ethertype="IPv6", protocol="any", **ours)
    cloud.make("security_group_rule", protocol="132", port_range_min=7, port_range_max=7, **ours)
    cloud.make("security_group_rule", ethertype="ipv4", protocol="47", **ours)
    cloud.do("PUT", f"/security-group-rules/{rule['id']}", {"security_group_rule": {"description": "x"}})
    cloud.search("security_group_rule", f"security_group_id={group['id']}&protocol=udp&fields=protocol&fields=remote_ip_prefix")
    cloud.remove("security_group_rule", rule)
    cloud.remove("security_group_rule", rule)
    cloud.remove("security_group", group)


def rule_errors(cloud):
    group = cloud.make("security_group", name="group")
    other = cloud.make("security_group", name="other")
    for fields in (
        {"direction": "sideways"},
        {"direction": None},
        {"ethertype": "IPX"},
        {"ethertype": None},
        {"protocol": "carrier-pigeon"},
        {"protocol": 256},
        {"protocol": -1},
        {"protocol": "icmpv6"},
        {"protocol": "tcp", "port_range_min": 90, "port_range_max": 80},
        {"protocol": "tcp", "port_range_min": 80},
        {"protocol": "tcp", "port_range_max": 80},
        {"protocol": "tcp", "port_range_min": 0, "port_range_max": 80},
        {"protocol": "tcp", "port_range_min": 1, "port_range_max": 65536},
        {"protocol": "tcp", "port_range_min": "http", "port_range_max": "http"},
        {"protocol": "icmp", "port_range_max": 0},
        {"protocol": "icmp", "port_range_min": 256},
        {"port_range_min": 80, "port_range_max": 80},
        {"protocol": "gre", "port_range_min": 80, "port_range_max": 80},
        {"remote_ip_prefix": "nobody"},
        {"remote_ip_prefix": "fd00::/64"},
        {"remote_ip_prefix": "198.51.100.0/24", "remote_group_id": other["id"]},
        {"remote_group_id": NOWHERE},
        {"security_group_id": NOWHERE},
        {"security_group_id": None},
        {"remote_ip_prefix": "0.0.0.0/0", "protocol": "tcp"},
        {"protocol": "tcp"},
    ):
        cloud.make("security_group_rule", **{"security_group_id": group["id"], "direction": "ingress", **fields})


def rules_at_once(cloud):
    group = cloud.make("security_group", name="group")
    rules = [{"security_group_id": group["id"], "direction": "ingress", "protocol": protocol} for protocol in ("tcp", "udp")]
    cloud.do("POST", "/security-group-rules", {"security_group_rules": rules})
    cloud.do("POST", "/security-group-rules", {"security_group_rules": rules})
