"""Ports that the operator, Zun or somebody else has made, chosen by `--ip` or `--mac-address`."""

from engine import Range
from expectations import expect_container_refused, expect_untouched
from world import check, tags_of

EXISTING = "kuryr.port.existing"


def prepared(world, **fields):
    """A network of the operator's with a port on it, and the Docker network upon it."""
    parent, subnet = world.operators_network({"cidr": world.v4()})
    fixed = [{"subnet_id": subnet["id"], "ip_address": world.v4_gateway().replace(".0.1", ".0.88")}]
    port = world.make("port", network_id=parent["id"], name=f"operators-port-{world.number}", fixed_ips=fixed, **fields)
    network = world.network([Range(world.v4(), subnet["gateway_ip"])], options={"neutron.net.uuid": parent["id"]})
    return network, port


def address(port):
    return port["fixed_ips"][0]["ip_address"]


def case_port_by_address(world):
    """It gets the host and the tags while it is used; it keeps its name, and it stays."""
    network, port = prepared(world)
    mac = port["mac_address"] if world.engines[0].wants_mac else ""
    endpoint = world.start(network, ip=address(port), mac=mac)
    wanted = {EXISTING, *tags_of(endpoint.id)}
    world.eventually(lambda: wanted <= set(world.neutron.show("port", port["id"])["tags"]), "the port bears its tags")
    used = world.neutron.show("port", port["id"])
    check(used["name"] == port["name"] and "compute:kuryr" not in used["tags"], f"{used['name']}, {used['tags']}")
    check(used["binding:host_id"] == world.node.host_name(), f"bound to {used['binding:host_id']}")
    check(endpoint.mac == port["mac_address"], f"the engine has {endpoint.mac}, the port {port['mac_address']}")
    world.stop(endpoint)
    world.eventually(lambda: not world.neutron.show("port", port["id"])["tags"], "the tags are off the port")
    world.eventually(lambda: not world.neutron.show("port", port["id"])["device_owner"], "the port belongs to nobody again")
    after = world.neutron.show("port", port["id"])
    check(after["fixed_ips"] == port["fixed_ips"] and after["name"] == port["name"], "the port is not what it was")


def case_port_is_used_again(world):
    network, port = prepared(world)
    for _ in range(2):
        endpoint = world.start(network, ip=address(port))
        check(world.port(endpoint)["id"] == port["id"], "another port was made")
        world.stop(endpoint)
        world.eventually(lambda: not world.neutron.show("port", port["id"])["tags"], "the tags are off the port")


def case_device_id_is_kept(world):
    """Zun writes its container's id there, and finds the port by it."""
    network, port = prepared(world, device_id="zun-container", device_owner="compute:kuryr")
    endpoint = world.start(network, ip=address(port), mac=port["mac_address"])
    check(world.port(endpoint)["device_id"] == "zun-container", f"{world.port(endpoint)['device_id']}")
    world.stop(endpoint)
    world.eventually(lambda: not world.neutron.show("port", port["id"])["tags"], "the tags are off the port")
    check(world.neutron.show("port", port["id"])["device_id"] == "zun-container", "device_id is gone")


def case_port_of_a_machine_is_refused(world):
    """`--ip` of somebody's machine takes nothing away from it."""
    network, port = prepared(world, device_id="a-machine", device_owner="compute:nova")
    expect_container_refused(world, network, [address(port)], ip=address(port))
    expect_untouched(world, "port", port)


def case_dual_stack_port(world):
    """Upstream's test with an existing port: one port, both families."""
    parent, v4, v6 = world.operators_network({"cidr": world.v4()}, {"cidr": world.v6()})
    ip, ip6 = world.v4_gateway().replace(".0.1", ".0.88"), world.v6().replace("/64", "88")
    fixed = [{"subnet_id": v4["id"], "ip_address": ip}, {"subnet_id": v6["id"], "ip_address": ip6}]
    port = world.make("port", network_id=parent["id"], name=f"operators-port-{world.number}", fixed_ips=fixed)
    ranges = [Range(world.v4(), v4["gateway_ip"]), Range(world.v6(), v6["gateway_ip"])]
    network = world.network(ranges, options={"neutron.net.uuid": parent["id"]})
    endpoint = world.start(network, ip=ip, ip6=ip6)
    check(world.port(endpoint)["id"] == port["id"], "another port was made")
    world.stop(endpoint)
    world.eventually(lambda: not world.neutron.show("port", port["id"])["tags"], "the tags are off the port")
