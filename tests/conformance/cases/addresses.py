"""IpamDriver: what the engine asks for with and without `--ip`."""

import concurrent.futures
import ipaddress

from engine import CallFailed, Endpoint, Range
from expectations import expect_container_refused
from world import check


def case_addresses_are_neutrons(world):
    network = world.network()
    endpoints = [world.start(network) for _ in range(3)]
    addresses = [endpoint.ip() for endpoint in endpoints]
    check(len(set(addresses)) == 3, f"{addresses}")
    inside = ipaddress.ip_network(world.v4())
    check(all(ipaddress.ip_address(address) in inside for address in addresses), f"{addresses}")
    for endpoint in endpoints:
        check(endpoint.addresses[False][1].endswith("/24"), f"{endpoint.addresses[False][1]}")
        check([fixed["ip_address"] for fixed in world.port(endpoint)["fixed_ips"]] == [endpoint.ip()], "Neutron has another address")


def case_wanted_address(world):
    network = world.network()
    wanted = world.v4_gateway().replace(".0.1", ".0.77")
    endpoint = world.start(network, ip=wanted)
    check(endpoint.ip() == wanted, f"got {endpoint.ip()}")
    world.stop(endpoint)
    again = world.start(network, ip=wanted)
    check(again.ip() == wanted, "a restarted container does not get its address back")


def case_address_in_use_is_refused(world):
    """And the container that has it keeps it."""
    network = world.network()
    first = world.start(network)
    port = world.port(first)
    expect_container_refused(world, network, [first.ip()], ip=first.ip())
    check(world.neutron.show("port", port["id"])["device_id"] == first.id, "the first container's port belongs to another")


def case_address_outside_is_refused(world):
    network = world.network()
    expect_container_refused(world, network, ["192.0.2.9"], ip="192.0.2.9")


def case_gateway_as_an_address_is_refused(world):
    network = world.network()
    expect_container_refused(world, network, [world.v4_gateway()], ip=world.v4_gateway())


def case_released_address_is_free(world):
    """Its port is gone from Neutron, behind the reply or before it."""
    network = world.network()
    endpoint = world.start(network)
    port = world.port(endpoint)
    world.stop(endpoint)
    world.eventually(lambda: not world.neutron.list("port", id=port["id"]), "the port is deleted")


def case_address_of_no_endpoint(world):
    """A start that ends between RequestAddress and CreateEndpoint."""
    network = world.network()
    endpoint = Endpoint(network)
    endpoint.request_addresses()
    endpoint.release_addresses(strict=True)
    world.eventually(lambda: not world.ports(world.neutron_network(network)), "no port is left")


def case_release_twice(world):
    network = world.network()
    endpoint = world.start(network)
    world.stop(endpoint)
    endpoint.release_addresses(strict=True)


def case_many_at_once(world):
    """The engine asks for addresses one by one and does the rest at the same time."""
    network = world.network()
    endpoints = [Endpoint(network) for _ in range(8)]
    for endpoint in endpoints:
        endpoint.request_addresses()
        endpoint.create()
        world.endpoints.append(endpoint)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(Endpoint.join, endpoints))
        check(len({endpoint.joined["InterfaceName"]["SrcName"] for endpoint in endpoints}) == 8, "two endpoints share a link")
        list(pool.map(world.stop, list(endpoints)))
    world.eventually(lambda: not world.ports(world.neutron_network(network)), "no port is left")


def case_full_subnet(world):
    """A /30 has room for one beside the gateway, and a DHCP server may have taken it; the text names what is full."""
    network = world.network([Range(world.v4().replace("/24", "/30"), world.v4_gateway())])
    subnet, others = world.subnets(network)[0], 0
    try:
        while others < 3:
            world.start(network)
            others += 1
    except CallFailed as failure:
        known = (subnet["id"], subnet["network_id"], network.id, subnet["cidr"])
        check(any(word in failure.text for word in known), f"the error does not say what is full: {failure.text[:300]}")
        return
    raise AssertionError(f"{others} containers on a /30")


def case_allocation_pools(world):
    """Neutron's choice is within, the user's need not be."""
    base = world.v4().removesuffix(".0/24")
    parent, subnet = world.operators_network({"cidr": world.v4(), "allocation_pools": [{"start": f"{base}.20", "end": f"{base}.21"}]})
    network = world.network([Range(world.v4(), subnet["gateway_ip"])], options={"neutron.net.uuid": parent["id"]})
    chosen = {world.start(network).ip() for _ in range(2)}
    check(chosen == {f"{base}.20", f"{base}.21"}, f"{chosen}")
    expect_container_refused(world, network, [parent["id"], network.id, world.v4()])
    check(world.start(network, ip=f"{base}.99").ip() == f"{base}.99", "an address outside of the pool was not given")


def case_slaac_and_dhcpv6(world):
    """The address is what Neutron makes it, and the container's."""
    for number, mode in enumerate(("slaac", "dhcpv6-stateless", "dhcpv6-stateful")):
        range6 = world.v6().replace("::", f":{number + 1:x}::")
        modes = {"ipv6_ra_mode": mode, "ipv6_address_mode": mode, "enable_dhcp": True}
        parent = world.make("network", name=f"{mode}-{world.number}")
        v4 = world.make("subnet", network_id=parent["id"], ip_version=4, cidr=world.v4(number), enable_dhcp=False)
        v6 = world.make("subnet", network_id=parent["id"], ip_version=6, cidr=range6, **modes)
        ranges = [Range(v4["cidr"], v4["gateway_ip"]), Range(v6["cidr"], v6["gateway_ip"])]
        network = world.network(ranges, options={"neutron.net.uuid": parent["id"]})
        endpoint = world.start(network)
        port = world.port(endpoint)
        addresses = {fixed["ip_address"] for fixed in port["fixed_ips"]}
        check(addresses == {endpoint.ip(), endpoint.ip(v6=True)}, f"{mode}: the port has {addresses}")
        first, *rest = (int(byte, 16) for byte in port["mac_address"].split(":"))
        made = ipaddress.ip_network(range6)[int.from_bytes(bytes([first ^ 2, *rest[:2], 0xFF, 0xFE, *rest[2:]]), "big")]
        check((str(made) in addresses) == (mode != "dhcpv6-stateful"), f"{mode}: {addresses}, and {made} is made of the MAC")
