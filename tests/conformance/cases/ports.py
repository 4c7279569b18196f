"""Ports that the operator, Zun or somebody else has made, chosen by `--ip` or `--mac-address`."""

from engine import Range
from expectations import expect_container_refused, expect_untouched
from world import Skipped, check, tags_of

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


def case_port_with_several_addresses_of_a_family(world):
    """The container gets the one that is asked for, and the port keeps the other."""
    parent, first, second = world.operators_network({"cidr": world.v4()}, {"cidr": world.v4(1)})
    wanted = world.v4_gateway(1).replace(".1.1", ".1.88")
    fixed = [{"subnet_id": first["id"]}, {"subnet_id": second["id"], "ip_address": wanted}]
    port = world.make("port", network_id=parent["id"], name=f"operators-port-{world.number}", fixed_ips=fixed)
    network = world.network([Range(second["cidr"], second["gateway_ip"])], options={"neutron.net.uuid": parent["id"]})
    endpoint = world.start(network, ip=wanted)
    check(world.port(endpoint)["id"] == port["id"], "another port was made")
    check(endpoint.joined["Gateway"] == second["gateway_ip"], str(endpoint.joined))
    world.stop(endpoint)
    world.eventually(lambda: not world.neutron.show("port", port["id"])["tags"], "the tags are off the port")
    expect_untouched(world, "port", port)


def need_extension(world, alias):
    if alias not in {extension["alias"] for extension in world.neutron.expect("GET", "/extensions")["extensions"]}:
        raise Skipped(f"the cloud has no {alias}")


def case_groups_of_a_network_and_of_an_endpoint(world):
    """`-o neutron.port.security_groups`, and `--driver-opt` of the same name in its place."""
    web, db = (world.make("security_group", name=f"{name}-{world.number}") for name in ("web", "db"))
    network = world.network(options={"neutron.port.security_groups": web["name"]})
    check(world.port(world.start(network))["security_groups"] == [web["id"]], "the network's group is not on the port")
    given = {"neutron.port.security_groups": f"{web['id']},{db['name']}"}
    groups = world.port(world.start(network, driver_options=given))["security_groups"]
    check(sorted(groups) == sorted([web["id"], db["id"]]), f"{groups}")


def case_port_by_id(world):
    """The engine asks for the address before it tells of the port, so that both are given; an error says which."""
    network, port = prepared(world)
    given = {"neutron.port.uuid": port["id"]}
    expect_container_refused(world, network, [address(port)], driver_options=given)
    endpoint = world.start(network, ip=address(port), driver_options=given)
    check(world.port(endpoint)["id"] == port["id"], "another port was made")
    world.stop(endpoint)
    world.eventually(lambda: not world.neutron.show("port", port["id"])["tags"], "the tags are off the port")


def case_quality_of_service(world):
    need_extension(world, "qos")
    policies = [world.make("policy", name=f"{name}-{world.number}") for name in ("gold", "silver")]
    network, port = prepared(world)
    given = {"neutron.port.qos_policy": policies[0]["name"]}
    endpoint = world.start(network, ip=address(port), driver_options=given)
    check(world.port(endpoint)["qos_policy_id"] == policies[0]["id"], "the policy is not on the port")
    world.stop(endpoint)
    world.eventually(lambda: not world.neutron.show("port", port["id"])["tags"], "the tags are off the port")
    check(world.neutron.show("port", port["id"])["qos_policy_id"] is None, "the operator's port keeps the policy")
    whole = world.network([Range(world.v4(1), world.v4_gateway(1))], options={"neutron.port.qos_policy": policies[1]["id"]})
    check(world.port(world.start(whole))["qos_policy_id"] == policies[1]["id"], "the network's policy is not on the port")


def case_dns_name(world):
    need_extension(world, "dns-integration")
    network = world.network()
    endpoint = world.start(network, driver_options={"neutron.port.dns_name": "web-1"})
    port = world.port(endpoint)
    names = {assigned["hostname"] for assigned in port["dns_assignment"]}
    check(port["dns_name"] == "web-1" and names == {"web-1"}, f"{port['dns_name']}, {names}")
    same = world.start(world.network([Range(world.v4(1), world.v4_gateway(1))], options={"neutron.port.dns_name": "web-2"}))
    check(world.port(same)["dns_name"] == "web-2", "the network's name is not on the port")


def case_extension_that_is_not_there(world):
    """The error says which."""
    aliases = {extension["alias"] for extension in world.neutron.expect("GET", "/extensions")["extensions"]}
    network = world.network()
    for option, alias in (("neutron.port.qos_policy", "qos"), ("neutron.port.dns_name", "dns-integration")):
        if alias not in aliases:
            expect_container_refused(world, network, [alias], driver_options={option: "web"})


def case_port_of_another_project(world):
    """On its network, with kuryr's user allowed to."""
    project = "0123456789abcdef0123456789abcdef"
    parent, subnet = world.operators_network({"cidr": world.v4(), "project_id": project}, project_id=project)
    fixed = [{"subnet_id": subnet["id"], "ip_address": world.v4_gateway().replace(".0.1", ".0.88")}]
    port = world.make("port", network_id=parent["id"], name=f"theirs-{world.number}", fixed_ips=fixed, project_id=project)
    network = world.network([Range(world.v4(), subnet["gateway_ip"])], options={"neutron.net.uuid": parent["id"]})
    endpoint = world.start(network, ip=address(port))
    check(world.port(endpoint)["id"] == port["id"], "another port was made")
    world.stop(endpoint)
    world.eventually(lambda: not world.neutron.show("port", port["id"])["tags"], "the tags are off the port")
    expect_untouched(world, "port", port)
