"""Docker networks upon what the operator has in Neutron, by the neutron.* options; his things stay his."""

from engine import Range
from expectations import POOL_MARK, expect_network_refused, expect_untouched
from world import check, tags_of


def marks(network):
    return {*tags_of(network.id), f"kuryr.net.existing:{network.id[:12]}"}


def life_on(world, parent, subnet, **given):
    """A network upon these, one container, and back."""
    network = world.network([Range(subnet["cidr"], subnet["gateway_ip"])], **given)
    tags = set(world.neutron.show("network", parent["id"])["tags"])
    check(marks(network) <= tags, f"tags of the network: {tags}")  # before the reply, so that other hosts know of the user
    world.eventually(lambda: network.ranges[0].pool in world.neutron.show("subnet", subnet["id"])["tags"], "the subnet bears the pool's id")
    check(len(world.neutron.list("subnet", network_id=parent["id"])) == 1, "a subnet of the same range was made")
    endpoint = world.start(network)
    port = world.port(endpoint)
    check(port["network_id"] == parent["id"] and port["fixed_ips"][0]["subnet_id"] == subnet["id"], "the port is elsewhere")
    world.stop(endpoint)
    world.remove(network)
    world.eventually(lambda: not world.neutron.show("network", parent["id"])["tags"], "the tags are off the network")
    world.eventually(lambda: not world.ports(parent), "the port is gone")


def case_network_by_id(world):
    parent, subnet = world.operators_network({"cidr": world.v4()})
    life_on(world, parent, subnet, options={"neutron.net.uuid": parent["id"]})
    expect_untouched(world, "network", parent)
    expect_untouched(world, "subnet", subnet)


def case_network_by_name(world):
    parent, subnet = world.operators_network({"cidr": world.v4()})
    life_on(world, parent, subnet, options={"neutron.net.name": parent["name"]})
    expect_untouched(world, "network", parent)


def case_subnet_by_id(world):
    """As Zun does it: the pool bears the subnet's id, which tells equal ranges apart."""
    parent, subnet = world.operators_network({"cidr": world.v4()})
    named = {"neutron.subnet.uuid": subnet["id"]}
    network = world.network([Range(world.v4(), subnet["gateway_ip"])], options={"neutron.net.uuid": parent["id"], **named}, ipam_options=named)
    pool = world.neutron.list("subnetpool", name=f"kuryrPool-{world.v4()}")
    check(len(pool) == 1 and pool[0]["tags"] == [subnet["id"]], f"pools {[(found['id'], found['tags']) for found in pool]}")
    endpoint = world.start(network)
    check(world.port(endpoint)["network_id"] == parent["id"], "the port is elsewhere")
    world.stop(endpoint)
    world.remove(network)
    expect_untouched(world, "network", parent)


def case_subnet_by_name(world):
    parent, subnet = world.operators_network({"cidr": world.v4(), "name": f"operators-subnet-{world.number}"})
    named = {"neutron.subnet.name": subnet["name"]}
    life_on(world, parent, subnet, options={"neutron.net.uuid": parent["id"], **named}, ipam_options=named)
    expect_untouched(world, "subnet", subnet)


def case_dual_stack_by_id(world):
    # Neutron's own choice of an IPv6 gateway is the first address of the range.
    gateway = world.v6().removesuffix("/64")
    parent, v4, v6 = world.operators_network({"cidr": world.v4()}, {"cidr": world.v6(), "gateway_ip": gateway})
    ranges = [Range(subnet["cidr"], subnet["gateway_ip"]) for subnet in (v4, v6)]
    network = world.network(ranges, options={"neutron.net.uuid": parent["id"]})
    check(len(world.neutron.list("subnet", network_id=parent["id"])) == 2, "further subnets were made")
    world.remove(network)
    expect_untouched(world, "subnet", v4)
    expect_untouched(world, "subnet", v6)


def case_equal_ranges_told_apart_by_subnet(world):
    """Two of the operator's networks with one range and one address; upstream's test of release with the same IP."""
    chosen = {}
    for side in ("left", "right"):
        parent, subnet = world.operators_network({"cidr": world.v4(), "name": f"{side}-{world.number}"})
        named = {"neutron.subnet.name": subnet["name"]}
        network = world.network([Range(world.v4(), subnet["gateway_ip"])], options={"neutron.net.uuid": parent["id"], **named}, ipam_options=named)
        endpoint = world.start(network, ip=world.v4_gateway().replace(".0.1", ".0.40"))
        check(world.port(endpoint)["network_id"] == parent["id"], f"the container of {side} is on another network")
        chosen[side] = endpoint
    port = world.port(chosen["right"])
    world.stop(chosen["left"])
    world.eventually(lambda: not world.neutron.list("port", tags=",".join(tags_of(chosen["left"].id))), "the left port is gone")
    check(world.neutron.show("port", port["id"])["device_id"] == chosen["right"].id, "the right port was released with the left")


def case_subnet_is_added_to_a_network(world):
    """A range that the operator's network has not becomes kuryr's subnet on it, and goes with the Docker network."""
    parent, own = world.operators_network({"cidr": world.v4(1)})
    network = world.network(options={"neutron.net.uuid": parent["id"]})
    made = [subnet for subnet in world.neutron.list("subnet", network_id=parent["id"]) if subnet["id"] != own["id"]]
    check([subnet["name"] for subnet in made] == [f"kuryr-subnet-{world.v4()}"], str(made))
    world.remove(network)
    world.eventually(lambda: len(world.neutron.list("subnet", network_id=parent["id"])) == 1, "kuryr's subnet is gone")
    expect_untouched(world, "subnet", own)
    world.eventually(lambda: not world.neutron.show("network", parent["id"])["tags"], "the tags are off the network")


def case_pool_by_id(world):
    """A pool of the operator's survives more than one user."""
    pool = world.make("subnetpool", name=f"operators-pool-{world.number}", prefixes=[world.v4()], default_prefixlen=24)
    named = {"neutron.pool.uuid": pool["id"]}
    for _ in range(2):
        network = world.network(options=named, ipam_options=named)
        (subnet,) = world.subnets(network)
        check(subnet["subnetpool_id"] == pool["id"], "the subnet is of another pool")
        world.eventually(lambda: POOL_MARK in world.neutron.show("subnetpool", pool["id"])["tags"], "the pool bears its mark")
        world.remove(network)
        world.eventually(lambda gone=network: not world.neutron_networks(gone), "the network is gone")
    expect_untouched(world, "subnetpool", pool)


def case_pool_by_name(world):
    pool = world.make("subnetpool", name=f"operators-pool-{world.number}", prefixes=[world.v4()], default_prefixlen=24)
    named = {"neutron.pool.name": pool["name"]}
    network = world.network(options=named, ipam_options=named)
    check(world.subnets(network)[0]["subnetpool_id"] == pool["id"], "the subnet is of another pool")
    world.remove(network)
    expect_untouched(world, "subnetpool", pool)


def case_pool_with_two_users_at_once(world):
    """The first to leave takes nothing from the second."""
    prefix = world.v4().replace(".0.0/24", ".0.0/16")
    pool = world.make("subnetpool", name=f"operators-pool-{world.number}", prefixes=[prefix], default_prefixlen=24)
    named = {"neutron.pool.uuid": pool["id"]}
    first = world.network([Range(world.v4(), world.v4_gateway())], options=named, ipam_options=named)
    second = world.network([Range(world.v4(1), world.v4_gateway(1))], options=named, ipam_options=named)
    world.remove(first)
    endpoint = world.start(second)
    world.stop(endpoint)
    world.remove(second)
    expect_untouched(world, "subnetpool", pool)


def case_gateway_that_differs(world):
    parent, subnet = world.operators_network({"cidr": world.v4(), "gateway_ip": world.v4_gateway().replace(".0.1", ".0.254")})
    expect_network_refused(
        world, [subnet["gateway_ip"]], ranges=[Range(world.v4(), world.v4_gateway())], options={"neutron.net.uuid": parent["id"]}
    )
    expect_untouched(world, "network", parent)


def case_subnet_without_a_gateway(world):
    """As Zun does it: no gateway is asked for, and the answer says that there is none."""
    parent, subnet = world.operators_network({"cidr": world.v4(), "gateway_ip": None})
    named = {"neutron.subnet.uuid": subnet["id"]}
    network = world.network([Range(world.v4())], options={"neutron.net.uuid": parent["id"], **named}, ipam_options=named)
    check(network.ranges[0].granted_gateway == "0.0.0.0/0", str(network.ranges[0].granted_gateway))
    endpoint = world.start(network)
    check(not endpoint.joined.get("Gateway"), f"a gateway out of nowhere: {endpoint.joined.get('Gateway')}")


def case_shared_that_differs(world):
    """Refused before anything is written."""
    parent, subnet = world.operators_network({"cidr": world.v4()})
    options = {"neutron.net.uuid": parent["id"], "neutron.net.shared": "true"}
    expect_network_refused(world, ["shared"], ranges=[Range(world.v4(), subnet["gateway_ip"])], options=options)
    expect_untouched(world, "network", parent)


def case_names_that_nothing_has(world):
    unknown = "11111111-2222-4333-8444-555555555555"
    for options, word in (
        ({"neutron.net.uuid": unknown}, unknown),
        ({"neutron.net.name": "no-such-network"}, "no-such-network"),
    ):
        expect_network_refused(world, [word], options=options)


def case_subnet_that_nothing_has(world):
    named = {"neutron.subnet.name": "no-such-subnet"}
    expect_network_refused(world, ["no-such-subnet"], options=named, ipam_options=named)


def case_pool_that_nothing_has(world):
    named = {"neutron.pool.name": "no-such-pool"}
    expect_network_refused(world, ["no-such-pool"], options=named, ipam_options=named)


def case_name_that_two_networks_have(world):
    for _ in range(2):
        world.operators_network({"cidr": world.v4()})
    expect_network_refused(world, [f"operators-{world.number}"], options={"neutron.net.name": f"operators-{world.number}"})


def case_subnets_of_both_families(world):
    """By id and by name; the operator has two networks with these ranges."""
    parents = []
    for side in ("left", "right"):
        ranges = {"four": world.v4(), "six": world.v6()}
        subnets = ({"cidr": cidr, "name": f"{side}-{family}-{world.number}"} for family, cidr in ranges.items())
        parents.append(world.operators_network(*subnets))
    parent, v4, v6 = parents[1]
    for named in (
        {"neutron.subnet.uuid": v4["id"], "neutron.subnet.v6.uuid": v6["id"]},
        {"neutron.subnet.name": v4["name"], "neutron.subnet.v6.name": v6["name"]},
    ):
        network = world.network([Range(subnet["cidr"], subnet["gateway_ip"]) for subnet in (v4, v6)], options=named, ipam_options=named)
        endpoint = world.start(network)
        port = world.port(endpoint)
        check({fixed["subnet_id"] for fixed in port["fixed_ips"]} == {v4["id"], v6["id"]}, f"the port is on {port['fixed_ips']}")
        world.stop(endpoint)
        world.remove(network)
    for thing, what in ((parent, "network"), (v4, "subnet"), (v6, "subnet")):
        expect_untouched(world, what, thing)


def case_pool_of_several_prefixes(world):
    """A range in the second of them, of IPv4 and of IPv6, that is smaller than the prefix."""
    wide = world.v4(0).replace(".0.0/24", ".128.0/17")
    four = world.make("subnetpool", name=f"four-{world.number}", prefixes=[world.v4(), wide], default_prefixlen=24)
    other, narrow = world.v6().replace("fd00", "fd01"), world.v6().replace("fd00", "fd02")
    six = world.make("subnetpool", name=f"six-{world.number}", prefixes=[other, narrow.replace("/64", "/56")], default_prefixlen=64)
    named = {"neutron.pool.uuid": four["id"], "neutron.pool.v6.name": six["name"]}
    network = world.network([Range(world.v4(130), world.v4_gateway(130)), Range(narrow, narrow.replace("/64", "1"))], ipam_options=named)
    check({subnet["subnetpool_id"] for subnet in world.subnets(network)} == {four["id"], six["id"]}, "the subnets are of other pools")
    world.remove(network)
    for pool in (four, six):
        expect_untouched(world, "subnetpool", pool)


def case_sixty_docker_networks_on_one_network(world):
    """An object of Neutron takes 50 tags, and each Docker network has three."""
    parent, subnet = world.operators_network({"cidr": world.v4()})
    networks = [
        world.network([Range(world.v4(), subnet["gateway_ip"])], options={"neutron.net.uuid": parent["id"]}) for _ in range(60)
    ]
    check(len(world.neutron.list("subnet", network_id=parent["id"])) == 1, "subnets were made beside the operator's")
    for network in (networks[0], networks[-1]):
        endpoint = world.start(network)
        check(world.port(endpoint)["network_id"] == parent["id"], "the port is elsewhere")
        world.stop(endpoint)
    for network in list(networks):
        world.remove(network)
    world.eventually(lambda: not world.neutron.show("network", parent["id"])["tags"], "the tags are off the network")
    # Each is a request of its own.
    world.eventually(lambda: not world.neutron.show("subnet", subnet["id"])["tags"], "the tags are off the subnet", 120)
    expect_untouched(world, "network", parent)
    expect_untouched(world, "subnet", subnet)
