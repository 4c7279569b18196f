"""Endpoints: the port and the link of a container, from CreateEndpoint to DeleteEndpoint."""

from engine import Endpoint, Range
from sandbox import Sandbox
from world import check, tags_of


def case_port_of_a_container(world):
    network = world.network()
    endpoint = world.start(network)
    wanted = {"compute:kuryr", *tags_of(endpoint.id)}
    world.eventually(lambda: wanted <= set(world.port(endpoint)["tags"]), "the port bears its tags")
    port = world.port(endpoint)
    check(set(port["tags"]) == wanted, f"tags {port['tags']}")
    check(port["device_owner"] == "compute:kuryr", f"owner {port['device_owner']}")
    world.eventually(lambda: world.port(endpoint)["device_id"] == endpoint.id, "device_id is the endpoint's id")
    check(port["binding:host_id"] == world.node.host_name(), f"bound to {port['binding:host_id']}, not {world.node.host_name()}")
    check(port["mac_address"] == endpoint.mac, f"Neutron has {port['mac_address']}, the engine {endpoint.mac}")
    check(port["binding:vif_type"] not in ("unbound", "binding_failed"), f"vif_type {port['binding:vif_type']}")
    check(len(world.ports(world.neutron_network(network))) == 1, "there is more than one port")
    world.eventually(lambda: world.port(endpoint)["status"] == "ACTIVE", "the port is ACTIVE", 60)


def case_links_of_a_container(world):
    network = world.network()
    endpoint = world.start(network)
    port = world.port(endpoint)
    links = world.node.links()
    host, inner = f"tap{port['id']}"[:14], f"t_c{port['id']}"[:14]
    check(host in links and inner in links, f"{host} and {inner} are not among {sorted(links)}")
    check(links[inner]["address"] == endpoint.mac, f"{inner} has {links[inner]['address']}, the port {endpoint.mac}")
    mtu = world.neutron_network(network)["mtu"]
    check(links[inner]["mtu"] == mtu, f"{inner} has an MTU of {links[inner]['mtu']}, the network {mtu}")
    world.stop(endpoint)
    world.eventually(lambda: not {host, inner} & set(world.node.links()), "the links are gone")


def case_reply_to_join(world):
    network = world.network()
    endpoint = world.start(network)
    port, joined = world.port(endpoint), endpoint.joined
    check(joined["InterfaceName"] == {"SrcName": f"t_c{port['id']}"[:14], "DstPrefix": "eth"}, str(joined))
    check(joined["Gateway"] == world.v4_gateway(), str(joined))
    check(not joined.get("GatewayIPv6") and not joined.get("StaticRoutes"), str(joined))
    check(joined["DisableGatewayService"] is True, "the engine would add its own bridge, past the security groups")


def case_containers_reach_each_other(world):
    """Through Neutron's datapath, with the addresses of the replies; the group `default` lets its members in."""
    network = world.network()
    one, two = world.start(network), world.start(network)
    inside = Sandbox(world, one)
    other = Sandbox(world, two)
    world.eventually(lambda: inside.reaches(two.ip()), f"{one.ip()} reaches {two.ip()}", 60)
    for sandbox, endpoint in ((inside, one), (other, two)):
        sandbox.leave()
        world.stop(endpoint)


def case_wanted_mac(world):
    network = world.network()
    endpoint = world.start(network, mac="02:11:22:33:44:55")
    check(world.port(endpoint)["mac_address"] == "02:11:22:33:44:55", f"{world.port(endpoint)['mac_address']}")
    inner = endpoint.joined["InterfaceName"]["SrcName"]
    check(world.node.links()[inner]["address"] == "02:11:22:33:44:55", "the link has another MAC")


def case_dual_stack(world):
    network = world.network(world.ranges(v6=True))
    endpoint = world.start(network)
    port = world.port(endpoint)
    addresses = {fixed["ip_address"] for fixed in port["fixed_ips"]}
    check(addresses == {endpoint.ip(), endpoint.ip(v6=True)}, f"the port has {addresses}")
    check(len(world.ports(world.neutron_network(network))) == 1, "one container has several ports")
    check(endpoint.joined["GatewayIPv6"] == network.ranges[1].gateway, str(endpoint.joined))
    world.stop(endpoint)
    world.remove(network)


def case_dual_stack_with_wanted_addresses(world):
    network = world.network(world.ranges(v6=True))
    ip, ip6 = world.v4_gateway().replace(".0.1", ".0.50"), world.v6().replace("/64", "50")
    endpoint = world.start(network, ip=ip, ip6=ip6)
    addresses = {fixed["ip_address"] for fixed in world.port(endpoint)["fixed_ips"]}
    check(addresses == {ip, ip6}, f"the port has {addresses}")


def case_ipv6_alone(world):
    network = world.network(world.ranges(v4=False, v6=True))
    one, two = world.start(network), world.start(network)
    check("Gateway" not in one.joined or not one.joined["Gateway"], str(one.joined))
    check(one.joined["GatewayIPv6"] == network.ranges[0].gateway, str(one.joined))
    inside, _ = Sandbox(world, one), Sandbox(world, two)
    world.eventually(lambda: inside.reaches(two.ip(v6=True)), f"{one.ip(v6=True)} reaches {two.ip(v6=True)}", 60)


def case_internal(world):
    """The engine does not strip a gateway from the reply, and would install the route."""
    network = world.network(internal=True)
    endpoint = world.start(network)
    check(not endpoint.joined.get("Gateway"), f"an internal network has the gateway {endpoint.joined.get('Gateway')}")


def case_routes_of_the_subnet(world):
    """`host_routes` of the container's own subnet, and none of another one on the same network."""
    first, second = world.v4(), world.v4(1)
    own = {"destination": "198.51.100.0/24", "nexthop": world.v4_gateway().replace(".0.1", ".0.9")}
    others = {"destination": "203.0.113.0/24", "nexthop": world.v4_gateway(1).replace(".1.1", ".1.9")}
    parent, _, _ = world.operators_network({"cidr": first, "host_routes": [own]}, {"cidr": second, "host_routes": [others]})
    network = world.network([Range(first, world.v4_gateway())], options={"neutron.net.uuid": parent["id"]})
    endpoint = world.start(network)
    wanted = [{"Destination": own["destination"], "RouteType": 0, "NextHop": own["nexthop"]}]
    check(endpoint.joined["StaticRoutes"] == wanted, str(endpoint.joined["StaticRoutes"]))


def case_every_sandbox_key(world):
    """Swarm's sandboxes, another --exec-root and rootless Docker have keys of other forms."""
    network = world.network()
    world.start(network, sandbox="/var/run/docker/netns/lb_xqqzd9p11")
    world.start(network, sandbox="/run/user/1000/docker/netns/0123456789ab")


def case_creation_twice(world):
    """The engine repeats a call whose connection broke."""
    network = world.network()
    endpoint = world.start(network)
    endpoint.create()
    endpoint.join()
    check(len(world.ports(world.neutron_network(network))) == 1, "there are two ports")


def case_removal_twice(world):
    network = world.network()
    endpoint = world.start(network)
    world.stop(endpoint)
    endpoint.stop()


def case_link_that_is_gone(world):
    """The kernel removes the link with the sandbox's namespace when that ended first."""
    network = world.network()
    endpoint = world.start(network)
    world.node.run("ip", "link", "delete", endpoint.joined["InterfaceName"]["SrcName"])
    world.stop(endpoint)
    world.remove(network)


def case_restart_of_a_container(world):
    """Same address, other endpoint."""
    network = world.network()
    wanted = world.v4_gateway().replace(".0.1", ".0.60")
    first = world.start(network, ip=wanted)
    world.stop(first)
    second = world.start(network, ip=wanted)
    check(second.ip() == wanted and world.port(second)["fixed_ips"], "the address is another")


def case_failed_join_is_taken_back(world):
    """The engine calls DeleteEndpoint and ReleaseAddress, but not Leave."""
    network = world.network()
    endpoint = Endpoint(network)
    endpoint.request_addresses()
    endpoint.create()
    endpoint.tell(True, "NetworkDriver.DeleteEndpoint")
    endpoint.release_addresses(strict=True)
    world.eventually(lambda: not world.ports(world.neutron_network(network)), "no port is left")


def case_operational_info(world):
    network = world.network()
    endpoint = world.start(network)
    value = world.engines[0].call("NetworkDriver.EndpointOperInfo", endpoint.ids())["Value"]
    check(isinstance(value, dict) and value, f"nothing is known of the endpoint: {value}")


def case_exposed_ports(world):
    """EXPOSE opens the ports in a group of the port's own, beside those it has."""
    network = world.network()
    before = set(group["id"] for group in world.neutron.list("security_group"))
    endpoint = world.start(network, exposed=[(6, 80), (6, 81), (17, 53)])
    port = world.port(endpoint)
    group = f"{port['id']}-exposed_ports"
    wanted = {("tcp", 80, 81), ("udp", 53, 53)}
    world.eventually(lambda: opened(world, group) == wanted, f"the group {group} opens {wanted}")
    (found,) = world.neutron.list("security_group", name=group)
    check(found["description"] == "Docker exposed ports created by Kuryr.", found["description"])
    world.eventually(lambda: found["id"] in world.port(endpoint)["security_groups"], "the port has the group")
    check(set(world.port(endpoint)["security_groups"]) & before, "the port has lost the group it had")
    world.stop(endpoint)
    world.eventually(lambda: not world.neutron.list("security_group", name=group), "the group is gone")


def case_exposed_ports_of_both_families(world):
    """Each run of ports and each protocol with a rule for each family of the port."""
    network = world.network(world.ranges(v6=True))
    endpoint = world.start(network, exposed=[(132, 9), (6, 8081), (6, 8080), (17, 53), (6, 8082), (6, 443)])
    group = f"{world.port(endpoint)['id']}-exposed_ports"
    wanted = {("tcp", 443, 443), ("tcp", 8080, 8082), ("udp", 53, 53), ("sctp", 9, 9)}
    for family in ("IPv4", "IPv6"):
        world.eventually(lambda family=family: opened(world, group, family) == wanted, f"the group {group} opens {wanted} by {family}")


def case_exposed_ports_without_a_revoke(world):
    """An engine that was killed never revokes; the endpoint's end is enough."""
    network = world.network()
    endpoint = world.start(network, exposed=[(6, 80)])
    group = f"{world.port(endpoint)['id']}-exposed_ports"
    world.eventually(lambda: opened(world, group) == {("tcp", 80, 80)}, "the port is open")
    endpoint.tell(True, "NetworkDriver.DeleteEndpoint")
    endpoint.release_addresses(strict=True)
    world.endpoints.remove(endpoint)
    world.eventually(lambda: not world.neutron.list("security_group", name=group), "the group is gone")


def case_published_ports(world):
    """`-p`: the port is open at the container's own address, and the host's port is nobody's."""
    network = world.network()
    outside = 18080 + world.number
    endpoint = world.start(network, published=[(6, 80, outside)])
    connect = f"import socket; socket.create_connection(('127.0.0.1', {outside}), 2)"
    check(not world.node.succeeds("python3", "-c", connect), "somebody listens for the published port on the host")
    group = f"{world.port(endpoint)['id']}-exposed_ports"
    world.eventually(lambda: opened(world, group) == {("tcp", 80, 80)}, "the published port is open")


def opened(world, group, family="IPv4"):
    """Protocol and ports that the groups of this name let in by a family."""
    rules = [rule for found in world.neutron.list("security_group", name=group) for rule in found["security_group_rules"]]
    ingress = [rule for rule in rules if rule["direction"] == "ingress" and rule["ethertype"] == family]
    return {(rule["protocol"], rule["port_range_min"], rule["port_range_max"]) for rule in ingress}
