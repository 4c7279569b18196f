"""Networks that kuryr makes: what of them is in Neutron, and that it goes."""

import contextlib
import ipaddress

from engine import CallFailed, DockerNetwork, Range, new_id
from expectations import expect_network_refused, expect_untouched
from world import Skipped, check, tags_of


def case_names_and_tags(world):
    network = world.network()
    found = world.neutron_network(network)
    check(found["name"] == f"kuryr-net-{network.id[:8]}", f"the network is called {found['name']}")
    check(sorted(found["tags"]) == sorted(tags_of(network.id)), f"tags of the network: {found['tags']}")
    check(found["admin_state_up"] and not found["shared"], str(found))
    (subnet,) = world.subnets(network)
    cidr = world.v4()
    check(subnet["name"] == f"kuryr-subnet-{cidr}" and subnet["cidr"] == cidr, f"the subnet is {subnet['name']}, {subnet['cidr']}")
    check(subnet["gateway_ip"] == world.v4_gateway() and subnet["enable_dhcp"], f"{subnet['gateway_ip']}, DHCP {subnet['enable_dhcp']}")
    pool = world.neutron.show("subnetpool", subnet["subnetpool_id"])
    # A plugin may write them behind its reply, and those of the network first.
    world.eventually(lambda: world.subnets(network)[0]["tags"], "the subnet has tags")
    (subnet,) = world.subnets(network)
    check(subnet["tags"] == [pool["id"]] == [network.ranges[0].pool], f"tags {subnet['tags']}, pool {pool['id']}")
    check(pool["name"] == f"kuryrPool-{cidr}" and pool["prefixes"] == [cidr], f"{pool['name']}, {pool['prefixes']}")
    check(pool["default_prefixlen"] in (24, "24") and not pool["shared"] and pool["tags"] == [], str(pool))
    world.remove(network)


def case_range_of_the_walkthrough(world):
    """`--subnet 10.0.0.0/16 --ip-range 10.0.0.0/24`: everything is the range."""
    whole, part = world.v4().replace(".0.0/24", ".0.0/16"), world.v4()
    network = world.network([Range(whole, world.v4_gateway(), part)])
    granted = network.ranges[0]
    check(granted.cidr == part, f"the pool is {granted.cidr}")
    check(granted.granted_gateway == f"{world.v4_gateway()}/24", f"the gateway is {granted.granted_gateway}")
    (subnet,) = world.subnets(network)
    check((subnet["name"], subnet["cidr"]) == (f"kuryr-subnet-{part}", part), str(subnet))
    world.remove(network)


def case_range_outside_of_the_subnet(world):
    """The text is the engine's user's only hint."""
    outside = world.v4().replace("10.", "11.", 1)
    expect_network_refused(world, [outside], ranges=[Range(world.v4(), world.v4_gateway(), outside)])


def case_dual_stack(world):
    network = world.network(world.ranges(v6=True))
    names = sorted((subnet["ip_version"], subnet["name"]) for subnet in world.subnets(network))
    check(names == [(4, f"kuryr-subnet-{world.v4()}"), (6, f"kuryr-subnet-{world.v6()}")], str(names))
    pools = {subnet["subnetpool_id"] for subnet in world.subnets(network)}
    named = sorted(world.neutron.show("subnetpool", pool)["name"] for pool in pools)
    check(named == [f"kuryrPool-{world.v4()}", f"kuryrPool-{world.v6()}"], str(named))
    world.remove(network)


def case_ipv6_alone(world):
    """Engines from 28 on make no IPv4 pool for it."""
    network = world.network(world.ranges(v4=False, v6=True))
    check([subnet["cidr"] for subnet in world.subnets(network)] == [world.v6()], str(world.subnets(network)))
    world.remove(network)


def case_gateway_is_chosen(world):
    network = world.network([Range(world.v4())])
    check(network.ranges[0].granted_gateway == f"{world.v4_gateway()}/24", str(network.ranges[0].granted_gateway))
    (subnet,) = world.subnets(network)
    check(subnet["gateway_ip"] == world.v4_gateway(), str(subnet["gateway_ip"]))


def case_gateway_in_the_middle(world):
    gateway = world.v4_gateway().replace(".0.1", ".0.200")
    network = world.network([Range(world.v4(), gateway)])
    (subnet,) = world.subnets(network)
    check(subnet["gateway_ip"] == gateway, str(subnet["gateway_ip"]))


def case_auxiliary_address(world):
    """`--aux-address`: no container gets it. A /29 leaves four others, of which a DHCP server may take one; containers take the rest."""
    small = world.v4().replace("/24", "/29")
    reserved = world.v4_gateway().replace(".0.1", ".0.3")
    network = world.network([Range(small, world.v4_gateway(), aux={"printer": reserved})])
    got = []
    with contextlib.suppress(CallFailed):
        while len(got) < 5:
            got.append(world.start(network).ip())
    check(reserved not in got and len(got) in (3, 4), f"beside {reserved} containers got {got}")


def case_swarm_id(world):
    """25 characters fit into one tag."""
    swarm_id = "xqqzd9p112o4kvok38n3caxjm"
    network = world.network(network_id=swarm_id)
    found = world.neutron_network(network)
    check(found["name"] == "kuryr-net-xqqzd9p1" and found["tags"] == tags_of(swarm_id), f"{found['name']} {found['tags']}")
    world.remove(network)


def case_shared(world):
    """As seen by the whole cloud."""
    network = world.network(options={"neutron.net.shared": "True"}, ipam_options={"neutron.net.shared": "True"})
    check(world.neutron_network(network)["shared"], "the network is not shared")
    pool = world.neutron.show("subnetpool", network.ranges[0].pool)
    check(pool["shared"], "the subnet pool is not shared")
    world.remove(network)


def case_mtu(world):
    """The engine's own option for the frames of a network."""
    network = world.network(options={"com.docker.network.driver.mtu": "1300"})
    inner = world.start(network).joined["InterfaceName"]["SrcName"]
    seen = (world.neutron_network(network)["mtu"], world.node.links()[inner]["mtu"])
    check(seen == (1300, 1300), f"network and link have an MTU of {seen}")


def case_creation_twice(world):
    """The engine repeats a call whose connection broke."""
    network = world.network()
    world.engines[0].call("NetworkDriver.CreateNetwork", network.creation())
    world.neutron_network(network)  # there is exactly one
    world.remove(network)


def case_removal_twice(world):
    network = world.network()
    world.remove(network)
    network.remove()


def case_equal_ranges_on_two_networks(world):
    """Neutron's networks may overlap, and the containers of one never see the other."""
    first, second = world.network(), world.network()
    check(len({world.neutron_network(network)["id"] for network in (first, second)}) == 2, "one network in Neutron for both")
    one, two = world.start(first), world.start(second)
    check(world.port(one)["network_id"] != world.port(two)["network_id"], "both containers are on one network")
    world.stop(two)
    world.remove(second)
    check(world.port(one)["fixed_ips"], "the first container's port has no address any more")


def case_foreign_subnet_of_an_equal_range(world):
    """Somebody's subnet elsewhere in the cloud is none of our business."""
    world.operators_network({"cidr": world.v4(), "gateway_ip": world.v4_gateway().replace(".0.1", ".0.254")})
    network = world.network()
    endpoint = world.start(network)
    check(world.port(endpoint)["network_id"] == world.neutron_network(network)["id"], "the port is on the other network")


def case_default_pool(world):
    """No --subnet: a range of the operator's default pool, which stays his."""
    prefix = world.v4().replace(".0.0/24", ".0.0/16")
    present = world.neutron.list("subnetpool", name="kuryr")
    pool = present[0] if present else world.make("subnetpool", name="kuryr", prefixes=[prefix], default_prefixlen=24)
    network = world.network([Range("")])
    (subnet,) = world.subnets(network)
    check(subnet["subnetpool_id"] == pool["id"], "the subnet is of another pool")
    endpoint = world.start(network)
    inside = any(ipaddress.ip_address(endpoint.ip()) in ipaddress.ip_network(cidr) for cidr in pool["prefixes"])
    check(inside, f"{endpoint.ip()} is not of the pool")
    world.stop(endpoint)
    world.remove(network)
    world.eventually(lambda: not world.neutron_networks(network), "the network is gone")
    expect_untouched(world, "subnetpool", pool)


def case_no_default_pool(world):
    """The error says what is missing."""
    if world.neutron.list("subnetpool", name="kuryr"):
        raise Skipped("the cloud has a default pool")
    expect_network_refused(world, ["kuryr"], ranges=[Range("")])


def case_failed_network_leaves_nothing(world):
    """Neutron refuses the subnet after it has made the network, or the plugin sees it before: the range's first address is no gateway."""
    gateway = world.v4().removesuffix("/24")
    expect_network_refused(world, [gateway], ranges=[Range(world.v4(), gateway)])


def case_pool_without_a_network(world):
    """An engine that gives up after RequestPool gives it back, and nobody was told of a network."""
    network = DockerNetwork(world.engines[0], world.ranges(), network_id=new_id())
    network.request_range(network.ranges[0])
    network.release_ranges(strict=True)
