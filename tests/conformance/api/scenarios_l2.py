"""Networks, subnets, subnet pools and ports."""

NOWHERE = "11111111-2222-4333-8444-555555555555"


def network_life(cloud):
    network = cloud.make("network", name="life")
    cloud.show("network", network)
    cloud.change("network", network, name="other", description="text", shared=True)
    cloud.change("network", network, admin_state_up=False)
    cloud.change("network", network, port_security_enabled=False, mtu=1400)
    cloud.make("subnet", network_id=network["id"], ip_version=4, cidr="10.210.0.0/24", enable_dhcp=False)
    cloud.show("network", network)
    cloud.remove("network", network)
    cloud.remove("network", network)


def network_with_ports(cloud):
    network = cloud.make("network", name="used")
    port = cloud.make("port", network_id=network["id"])
    cloud.remove("network", network)
    cloud.remove("port", port)
    cloud.remove("network", network)


def subnet_life(cloud):
    network = cloud.make("network", name="subnets")
    subnet = cloud.make("subnet", network_id=network["id"], ip_version=4, cidr="10.211.0.0/24", enable_dhcp=False)
    cloud.show("subnet", subnet)
    cloud.change("subnet", subnet, name="other", description="text", dns_nameservers=["198.51.100.1"])
    cloud.change("subnet", subnet, host_routes=[{"destination": "198.51.100.0/24", "nexthop": "10.211.0.9"}])
    cloud.change("subnet", subnet, gateway_ip="10.211.0.254")
    cloud.change("subnet", subnet, gateway_ip=None)
    cloud.change("subnet", subnet, allocation_pools=[{"start": "10.211.0.10", "end": "10.211.0.20"}])
    cloud.change("subnet", subnet, cidr="10.212.0.0/24")
    cloud.search("subnet", f"network_id={network['id']}")
    cloud.search("subnet", "cidr=10.211.0.0/24&fields=cidr")
    cloud.remove("subnet", subnet)
    cloud.remove("subnet", subnet)


def subnet_ipv6(cloud):
    network = cloud.make("network", name="subnets")
    for number, fields in enumerate(
        (
            {},
            {"gateway_ip": None},
            {"gateway_ip": "fd00:d1::5"},
            {"ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac", "enable_dhcp": True},
            {"ipv6_ra_mode": "slaac", "ipv6_address_mode": "dhcpv6-stateful", "enable_dhcp": True},
            {"ipv6_address_mode": "sometimes"},
        )
    ):
        cloud.make("subnet", **{"network_id": network["id"], "ip_version": 6, "cidr": f"fd00:d1:{number}::/64", "enable_dhcp": False, **fields})
    cloud.make("subnet", network_id=network["id"], ip_version=6, cidr="FD00:D1:0009:0::/64", enable_dhcp=False)


def subnet_errors(cloud):
    network = cloud.make("network", name="subnets")
    ours = {"network_id": network["id"], "ip_version": 4, "enable_dhcp": False}
    cloud.make("subnet", cidr="10.213.0.0/24", **ours)
    for fields in (
        {"cidr": "10.213.0.0/25"},
        {"cidr": "10.214.0.7/24"},
        {"cidr": "10.214.0.0"},
        {"cidr": "no range"},
        {"cidr": "fd00::/64"},
        {"cidr": "10.214.0.0/24", "ip_version": 5},
        {"cidr": "10.214.0.0/24", "ip_version": 6},
        {"cidr": "10.214.0.0/24", "gateway_ip": "10.214.0.0"},
        {"cidr": "10.214.0.0/24", "gateway_ip": "10.214.0.255"},
        {"cidr": "10.214.0.0/24", "gateway_ip": "fd00::1"},
        {"cidr": "10.214.0.0/24", "gateway_ip": "nobody"},
        {"cidr": "10.214.0.0/24", "allocation_pools": [{"start": "10.215.0.1", "end": "10.215.0.9"}]},
        {"cidr": "10.214.0.0/24", "allocation_pools": [{"start": "10.214.0.9", "end": "10.214.0.1"}]},
        {"cidr": "10.214.0.0/24", "allocation_pools": [{"start": "10.214.0.1", "end": "10.214.0.9"}]},
        {"cidr": "10.214.0.0/24", "allocation_pools": "all"},
        {"cidr": "10.214.0.0/24", "dns_nameservers": ["nobody"]},
        {"cidr": "10.214.0.0/24", "host_routes": [{"destination": "10.0.0.0/8"}]},
        {"cidr": "10.214.0.0/24", "network_id": NOWHERE},
        {"cidr": "10.214.0.0/24", "subnetpool_id": NOWHERE},
        {"cidr": "10.214.0.0/24", "enable_dhcp": "perhaps"},
        {"cidr": "0.0.0.0/0"},
        {"cidr": "224.0.0.0/24"},
        {"cidr": "127.0.0.0/24"},
        {},
    ):
        made = cloud.make("subnet", **{**ours, **fields})
        cloud.discard("subnet", made)


def subnet_small(cloud):
    """Which addresses of a range are a gateway's and which are given out."""
    network = cloud.make("network", name="subnets")
    for number, length in enumerate((29, 30, 31, 32)):
        cloud.make("subnet", network_id=network["id"], ip_version=4, cidr=f"10.216.{number}.0/{length}", enable_dhcp=False)
    for number, length in enumerate((126, 127, 128)):
        cloud.make("subnet", network_id=network["id"], ip_version=6, cidr=f"fd00:d2:{number}::/{length}", enable_dhcp=False)


def subnet_in_use(cloud):
    network = cloud.make("network", name="subnets")
    subnet = cloud.make("subnet", network_id=network["id"], ip_version=4, cidr="10.217.0.0/24", enable_dhcp=False)
    port = cloud.make("port", network_id=network["id"], fixed_ips=[{"ip_address": "10.217.0.9"}])
    cloud.remove("subnet", subnet)
    cloud.change("subnet", subnet, gateway_ip="10.217.0.9")
    cloud.change("subnet", subnet, allocation_pools=[{"start": "10.217.0.20", "end": "10.217.0.30"}])
    cloud.remove("port", port)
    cloud.remove("subnet", subnet)


def pool_life(cloud):
    pool = cloud.make("subnetpool", name="pool", prefixes=["10.218.0.0/16"], default_prefixlen=24)
    cloud.show("subnetpool", pool)
    cloud.change("subnetpool", pool, name="other", default_prefixlen="26")
    cloud.change("subnetpool", pool, prefixes=["10.218.0.0/16", "10.219.0.0/16"])
    cloud.change("subnetpool", pool, prefixes=["10.219.0.0/16"])
    network = cloud.make("network", name="pooled")
    ours = {"network_id": network["id"], "ip_version": 4, "subnetpool_id": pool["id"], "enable_dhcp": False}
    chosen = cloud.make("subnet", cidr="10.218.7.0/24", **ours)
    cloud.make("subnet", cidr="10.218.7.0/25", **ours)
    cloud.make("subnet", cidr="10.220.0.0/24", **ours)
    cloud.make("subnet", prefixlen=27, **ours)
    cloud.make("subnet", prefixlen=4, **ours)
    cloud.make("subnet", cidr="10.218.9.0/24", prefixlen=24, **ours)
    cloud.make("subnet", **ours)
    cloud.make("subnet", network_id=network["id"], ip_version=4, cidr="10.221.0.0/24", enable_dhcp=False)
    cloud.make("subnet", network_id=network["id"], ip_version=6, cidr="fd00:d3::/64", enable_dhcp=False)
    cloud.search("subnet", f"subnetpool_id={pool['id']}&cidr=10.218.7.0/24&fields=cidr")
    cloud.remove("subnetpool", pool)
    cloud.remove("subnet", chosen)


def pool_of_another_network(cloud):
    """Two networks, one range of one pool: what kuryr meets on two networks of equal range."""
    pool = cloud.make("subnetpool", name="kuryrPool-10.222.0.0/24", prefixes=["10.222.0.0/24"], default_prefixlen=24)
    for name in ("first", "second"):
        network = cloud.make("network", name=name)
        cloud.make("subnet", network_id=network["id"], ip_version=4, cidr="10.222.0.0/24", subnetpool_id=pool["id"], enable_dhcp=False)


def subnet_of_a_pool_beside_one_without(cloud):
    network = cloud.make("network", name="mixed")
    cloud.make("subnet", network_id=network["id"], ip_version=4, cidr="10.223.0.0/24", enable_dhcp=False)
    pool = cloud.make("subnetpool", name="mixed", prefixes=["10.223.1.0/24"], default_prefixlen=24)
    cloud.make("subnet", network_id=network["id"], ip_version=4, cidr="10.223.1.0/24", subnetpool_id=pool["id"], enable_dhcp=False)


def pool_errors(cloud):
    for fields in (
        {"prefixes": []},
        {"prefixes": "10.0.0.0/8"},
        {"prefixes": ["10.0.0.0/8", "fd00::/48"]},
        {"prefixes": ["10.224.0.0/16"], "default_prefixlen": 8, "min_prefixlen": 16},
        {"prefixes": ["10.224.0.0/16"], "default_prefixlen": 40},
        {"prefixes": ["10.224.0.0/16"], "min_prefixlen": 28, "max_prefixlen": 24},
        {"prefixes": ["10.224.0.0/16"], "default_prefixlen": "long"},
        {"prefixes": ["10.224.0.0/16"], "default_quota": -5},
        {"prefixes": ["10.224.0.0/16", "10.224.1.0/24"]},
        {"prefixes": ["10.224.0.7/16"]},
        {"prefixes": ["10.224.0.0/16"], "shared": "perhaps"},
    ):
        made = cloud.make("subnetpool", **{"name": "pool", **fields})
        cloud.discard("subnetpool", made)
    cloud.make("subnetpool", prefixes=["10.224.0.0/16"])


def port_life(cloud):
    network = cloud.make("network", name="ports")
    subnet = cloud.make("subnet", network_id=network["id"], ip_version=4, cidr="10.225.0.0/24", enable_dhcp=False)
    fixed = [{"subnet_id": subnet["id"], "ip_address": "10.225.0.9"}]
    port = cloud.make("port", network_id=network["id"], name="port", fixed_ips=fixed, device_owner="compute:kuryr")
    cloud.show("port", port)
    cloud.change("port", port, name="other", device_id="endpoint", description="text")
    cloud.change("port", port, fixed_ips=[{"subnet_id": subnet["id"], "ip_address": "10.225.0.10"}])
    cloud.change("port", port, mac_address="fa:16:3e:00:00:09")
    cloud.change("port", port, admin_state_up=False)
    cloud.change("port", port, allowed_address_pairs=[{"ip_address": "198.51.100.9"}])
    cloud.change("port", port, security_groups=[])
    cloud.change("port", port, port_security_enabled=False)
    cloud.change("port", port, allowed_address_pairs=[], port_security_enabled=False)
    cloud.change("port", port, network_id=NOWHERE)
    cloud.change("port", port, fixed_ips=[])
    cloud.remove("port", port)
    cloud.remove("port", port)


def port_binding(cloud):
    network = cloud.make("network", name="ports")
    for fields in (
        {"binding:host_id": "nowhere"},
        {"binding:vnic_type": "direct"},
        {"binding:vnic_type": "wireless"},
        {"binding:profile": {"pci_slot": "0000:00:00.0"}},
        {"binding:profile": "text"},
        {"binding:vif_type": "bridge"},
        {"binding:host_id": None},
    ):
        cloud.make("port", network_id=network["id"], **fields)


def port_errors(cloud):
    network = cloud.make("network", name="ports")
    other = cloud.make("network", name="ports-of-others")
    subnet = cloud.make("subnet", network_id=network["id"], ip_version=4, cidr="10.226.0.0/29", enable_dhcp=False)
    foreign = cloud.make("subnet", network_id=other["id"], ip_version=4, cidr="10.227.0.0/24", enable_dhcp=False)
    cloud.make("port", network_id=network["id"], fixed_ips=[{"ip_address": "10.226.0.3"}], mac_address="fa:16:3e:00:00:07")
    for fields in (
        {"fixed_ips": [{"ip_address": "10.226.0.3"}]},
        {"fixed_ips": [{"subnet_id": subnet["id"], "ip_address": "10.226.0.3"}]},
        {"fixed_ips": [{"ip_address": "10.228.0.3"}]},
        {"fixed_ips": [{"subnet_id": subnet["id"], "ip_address": "10.228.0.3"}]},
        {"fixed_ips": [{"subnet_id": subnet["id"], "ip_address": "10.226.0.7"}]},
        {"fixed_ips": [{"subnet_id": foreign["id"]}]},
        {"fixed_ips": [{"subnet_id": NOWHERE}]},
        {"fixed_ips": [{"ip_address": "nobody"}]},
        {"fixed_ips": [{}]},
        {"fixed_ips": "10.226.0.4"},
        {"mac_address": "fa:16:3e:00:00:07"},
        {"mac_address": "no mac"},
        {"mac_address": "FA:16:3E:00:00:0A", "fixed_ips": []},
        {"security_groups": [NOWHERE]},
        {"security_groups": "default"},
        {"network_id": NOWHERE},
        {"allowed_address_pairs": [{"mac_address": "fa:16:3e:00:00:08"}]},
        {"allowed_address_pairs": [{"ip_address": "nobody"}]},
        {"port_security_enabled": False, "security_groups": [NOWHERE]},
        {"device_owner": 5},
        {"device_id": None, "fixed_ips": []},
        {"admin_state_up": "perhaps"},
        {"name": None, "fixed_ips": []},
    ):
        made = cloud.make("port", **{"network_id": network["id"], **fields})
        cloud.discard("port", made)


def port_gateway_address(cloud):
    network = cloud.make("network", name="ports")
    cloud.make("subnet", network_id=network["id"], ip_version=4, cidr="10.229.0.0/24", enable_dhcp=False)
    cloud.make("port", network_id=network["id"], fixed_ips=[{"ip_address": "10.229.0.1"}])


def port_exhaustion(cloud):
    network = cloud.make("network", name="ports")
    cloud.make("subnet", network_id=network["id"], ip_version=4, cidr="10.230.0.0/30", enable_dhcp=False)
    for _ in range(2):
        cloud.make("port", network_id=network["id"])


def port_filters(cloud):
    network = cloud.make("network", name="ports")
    one = cloud.make("subnet", network_id=network["id"], ip_version=4, cidr="10.231.0.0/24", enable_dhcp=False)
    two = cloud.make("subnet", network_id=network["id"], ip_version=6, cidr="fd00:d4::/64", enable_dhcp=False)
    cloud.make("port", network_id=network["id"], name="p1", fixed_ips=[{"ip_address": "10.231.0.5"}, {"ip_address": "fd00:d4::5"}], device_id="d1")
    cloud.make("port", network_id=network["id"], name="p2", fixed_ips=[{"ip_address": "10.231.0.6"}], mac_address="fa:16:3e:00:01:02")
    ours = f"network_id={network['id']}&sort_key=name&sort_dir=asc&fields=name"
    for query in (
        "fixed_ips=ip_address%3D10.231.0.5",
        f"fixed_ips=subnet_id%3D{one['id']}",
        f"fixed_ips=subnet_id%3D{two['id']}&fixed_ips=ip_address%3D10.231.0.5",
        "fixed_ips=ip_address%3D10.231.0.5&fixed_ips=ip_address%3D10.231.0.6",
        "fixed_ips=ip_address_substr%3D231.0",
        "fixed_ips=colour%3Dblue",
        "mac_address=fa:16:3e:00:01:02",
        "mac_address=",
        "device_id=d1",
        "device_id=",
        "status=DOWN",
        "admin_state_up=True",
        "security_groups=11111111-2222-4333-8444-555555555555",
    ):
        cloud.search("port", f"{ours}&{query}")
