"""Two hosts on one network, as in the original walkthrough: the first makes it, the second joins it by its Neutron id."""

import concurrent.futures

from engine import DockerNetwork, Endpoint
from expectations import expect_container_refused
from sandbox import Sandbox
from world import check


def joined(world):
    """The Docker network of each host on the one Neutron network."""
    second = world.second()
    first = world.network()
    neutron_id = world.neutron_network(first)["id"]
    return first, world.network(engine=second, options={"neutron.net.uuid": neutron_id})


def case_walkthrough(world):
    first, second = joined(world)
    check(len(world.subnets(first)) == 1, "the second host made a subnet of its own")
    one, two = world.start(first), world.start(second)
    check(one.ip() != two.ip(), "both have one address")
    for endpoint in (one, two):
        host, node = world.port(endpoint)["binding:host_id"], endpoint.engine.node
        check(host == node.host_name(), f"the port of a container on {node.host_name()} is bound to {host}")
    inside, other = Sandbox(world, one), Sandbox(world, two)
    world.eventually(lambda: inside.reaches(two.ip()), f"{one.ip()} reaches {two.ip()} on the other host", 90)
    for sandbox, endpoint in ((inside, one), (other, two)):
        sandbox.leave()
        world.stop(endpoint)
    world.remove(second)
    world.remove(first)


def case_second_leaves_while_the_first_is_idle(world):
    """`docker network rm` on one host is no reason for the other to lose subnet and pool."""
    first, second = joined(world)
    endpoint = world.start(second)
    world.stop(endpoint)
    world.remove(second)
    check(world.subnets(first), "the subnet is gone")
    world.start(first)


def case_second_leaves_while_the_first_has_a_container(world):
    first, second = joined(world)
    endpoint = world.start(first)
    world.remove(second)
    world.stop(endpoint)
    world.eventually(lambda: not world.ports(world.neutron_network(first)), "the port is gone")
    world.remove(first)


def case_first_leaves_before_the_second(world):
    """What the maker cannot remove, since others use it, the last user removes."""
    first, second = joined(world)
    endpoint = world.start(second)
    world.remove(first)
    again = world.start(second)
    for container in (endpoint, again):
        world.stop(container)
    world.remove(second)


def case_both_make_one_pool_at_once(world):
    """Each its own network of one range: whoever is slower takes the other's pool, or gets one of its own."""
    engines = [world.engines[0], world.second()]
    networks = [DockerNetwork(engine, world.ranges()) for engine in engines]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(lambda network: network.request_range(network.ranges[0]), networks))
    for network in networks:
        network.engine.call("NetworkDriver.CreateNetwork", network.creation())
        world.networks.append(network)
    for network in networks:
        endpoint = Endpoint(network).start()
        world.endpoints.append(endpoint)
        world.stop(endpoint)
        world.remove(network)


def case_addresses_of_hosts_are_apart(world):
    """`--ip` of a container on the other host is refused."""
    first, second = joined(world)
    one = world.start(first)
    expect_container_refused(world, second, [one.ip()], ip=one.ip())
    check(world.port(one)["device_id"] == one.id, "the first container's port belongs to another")
