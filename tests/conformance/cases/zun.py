"""Zun's way of using a kuryr: it makes the ports and writes into them, and the Docker networks are only the places where it puts containers."""

import contextlib

from engine import CallFailed, Range
from expectations import expect_untouched
from world import check, tags_of

ZUN = "7f3c1f0e-0000-4000-8000-00000000c0de"  # Zun's own id of the container
TENANT = "0123456789abcdef0123456789abcdef"
OWN_TAG = "zun.tag"
KEPT = ("name", "device_id", "mac_address", "fixed_ips", "security_groups", "binding:profile", "project_id", "admin_state_up")


def place(world, *subnets, **fields):
    """A tenant's network and its Docker network on the first host."""
    parent, *subnets = world.operators_network(*({**subnet, "project_id": TENANT} for subnet in subnets), project_id=TENANT, **fields)
    return docker_network(world, parent, subnets), parent, subnets


def docker_network(world, parent, subnets, **given):
    """One for each network and host, with at most one subnet of a family; a subnet without a gateway has null for one."""
    named = {"neutron.net.shared": str(parent["shared"])}
    for subnet in subnets:
        named[f"neutron.subnet.{'v6.' if subnet['ip_version'] == 6 else ''}uuid"] = subnet["id"]
    ranges = [Range(subnet["cidr"], subnet["gateway_ip"] or "") for subnet in subnets]
    return world.network(ranges, options={"neutron.net.uuid": parent["id"], **named}, ipam_options=named, **given)


def zuns_port(world, parent, addresses, **fields):
    fixed = [{"subnet_id": subnet["id"], "ip_address": address} for subnet, address in addresses]
    group = world.make("security_group", name=f"zun-{len(world.objects)}-{world.number}", project_id=TENANT)
    fields = {"device_id": ZUN, "device_owner": "compute:kuryr", "security_groups": [group["id"]], "project_id": TENANT, **fields}
    port = world.make("port", network_id=parent["id"], name=f"zun-{world.number}", fixed_ips=fixed, **fields)
    world.neutron.expect("PUT", f"/ports/{port['id']}/tags", {"tags": [OWN_TAG]})
    return world.neutron.show("port", port["id"])


def expect_kept(before, after):
    changed = [f"{field}: {before[field]} -> {after[field]}" for field in KEPT if before[field] != after[field]]
    check(not changed, f"Zun's port has changed: {', '.join(changed)}")


def released(world, port):
    """Owner and host are cleared, our tags are off, and Zun's stays."""

    def is_free():
        now = world.neutron.show("port", port["id"])
        return (now["tags"], now["device_owner"], now["binding:host_id"]) == ([OWN_TAG], "", "")

    world.eventually(is_free, "our tags, owner and host are off the port, Zun's tag is not")
    expect_kept(port, world.neutron.show("port", port["id"]))


def case_first_network(world):
    """The port is bound by Zun, and comes with its addresses and its MAC: there is nothing to write into it but tags."""
    network, parent, (v4, v6) = place(world, {"cidr": world.v4(), "gateway_ip": None}, {"cidr": world.v6(), "gateway_ip": None})
    check([wanted.granted_gateway for wanted in network.ranges] == ["0.0.0.0/0", "::/0"], "a gateway out of nowhere")
    ip, ip6 = world.v4_gateway().replace(".0.1", ".0.40"), world.v6().replace("/64", "40")
    port = zuns_port(world, parent, [(v4, ip), (v6, ip6)], **{"binding:host_id": world.node.host_name()})
    endpoint = world.start(network, ip=ip, ip6=ip6, mac=port["mac_address"])
    check(world.port(endpoint)["id"] == port["id"], "another port was made")
    wanted = {OWN_TAG, "kuryr.port.existing", *tags_of(endpoint.id)}
    world.eventually(lambda: set(world.neutron.show("port", port["id"])["tags"]) == wanted, "the port bears the tags of both")
    used = world.neutron.show("port", port["id"])
    expect_kept(port, used)
    check((used["device_owner"], used["binding:host_id"]) == (port["device_owner"], port["binding:host_id"]), "owner or host has changed")
    check(world.node.links()[endpoint.joined["InterfaceName"]["SrcName"]]["address"] == port["mac_address"], "the link has another MAC")
    world.stop(endpoint)
    released(world, port)


def case_further_network(world):
    """Connected later: the port has no host yet, and only addresses are passed. Zun deletes it afterwards."""
    network, parent, (v4,) = place(world, {"cidr": world.v4()})
    ip = world.v4_gateway().replace(".0.1", ".0.40")
    port = zuns_port(world, parent, [(v4, ip)])
    endpoint = world.start(network, ip=ip)
    used = world.neutron.show("port", port["id"])
    check(used["binding:host_id"] == world.node.host_name(), f"bound to {used['binding:host_id']}")
    check(used["device_id"] == ZUN and used["name"] == port["name"], f"{used['device_id']}, {used['name']}")
    world.stop(endpoint)
    world.eventually(lambda: world.neutron.show("port", port["id"])["tags"] == [OWN_TAG], "our tags are off the port")
    world.neutron.delete("port", port["id"])
    world.remove(network)
    world.eventually(lambda: not world.neutron.show("network", parent["id"])["tags"], "the tags are off the network")


def case_shared_network(world):
    """Zun says of each network whether it is shared."""
    network, parent, (v4,) = place(world, {"cidr": world.v4()}, shared=True)
    ip = world.v4_gateway().replace(".0.1", ".0.40")
    port = zuns_port(world, parent, [(v4, ip)], **{"binding:host_id": world.node.host_name()})
    endpoint = world.start(network, ip=ip, mac=port["mac_address"])
    check(world.port(endpoint)["id"] == port["id"], "another port was made")
    world.stop(endpoint)
    released(world, port)
    world.remove(network)
    expect_untouched(world, "network", parent)


def case_network_is_removed_on_one_host(world):
    """By Zun, or by an operator who prunes: the other host's containers stay, and the Docker network can be made again."""
    engine = world.second()
    network, parent, subnets = place(world, {"cidr": world.v4()})
    other = docker_network(world, parent, subnets, engine=engine)
    ips = [world.v4_gateway().replace(".0.1", f".0.{number}") for number in (40, 41, 42)]
    ports = [zuns_port(world, parent, [(subnets[0], ip)]) for ip in ips]
    first = world.start(network, ip=ips[0])
    world.remove(other)
    check(world.neutron.list("subnet", network_id=parent["id"]), "the subnet is gone")
    second = world.start(network, ip=ips[1])
    other = docker_network(world, parent, subnets, engine=engine)
    third = world.start(other, ip=ips[2])
    for endpoint, port in zip((first, second, third), ports, strict=True):
        check(world.port(endpoint)["id"] == port["id"], "another port was made")
        check(world.port(endpoint)["binding:host_id"] == endpoint.engine.node.host_name(), "the port is bound to the other host")
    for endpoint, port in zip((first, second, third), ports, strict=True):
        world.stop(endpoint)
        released(world, port)
    world.remove(network)
    world.remove(other)
    world.eventually(lambda: not world.neutron.show("network", parent["id"])["tags"], "the tags are off the network")


def case_port_is_deleted_first(world):
    """Zun may delete the port while the container still goes; everything else goes on."""
    network, parent, (v4,) = place(world, {"cidr": world.v4()})
    ip = world.v4_gateway().replace(".0.1", ".0.40")
    port = zuns_port(world, parent, [(v4, ip)])
    endpoint = world.start(network, ip=ip)
    world.neutron.delete("port", port["id"])
    world.stop(endpoint)
    world.remove(network)
    world.eventually(lambda: not world.neutron.show("network", parent["id"])["tags"], "the tags are off the network")


def case_port_of_a_virtual_function(world):
    """Zun writes the device into the profile. A host or a cloud without SR-IOV refuses the container, and the port is as it was."""
    network, parent, (v4,) = place(world, {"cidr": world.v4()})
    ip = world.v4_gateway().replace(".0.1", ".0.40")
    profile = {"pci_vendor_info": "8086:10ed", "pci_slot": "0000:ff:1f.7", "physical_network": "physnet9"}
    port = zuns_port(world, parent, [(v4, ip)], **{"binding:vnic_type": "direct", "binding:profile": profile})
    with contextlib.suppress(CallFailed):
        world.stop(world.start(network, ip=ip))
        raise AssertionError("a device that is not there was plugged")
    released(world, port)


def case_unconfirmed_container_leaves_the_port(world):
    """A container that is refused takes nothing from Zun's port, which is somewhere else by now."""
    network, parent, (v4,) = place(world, {"cidr": world.v4()})
    ip = world.v4_gateway().replace(".0.1", ".0.40")
    port = zuns_port(world, parent, [(v4, ip)], **{"binding:host_id": "another-host"})
    with contextlib.suppress(CallFailed):
        world.start(network, ip=ip)
        raise AssertionError("a port of another host was used")
    expect_untouched(world, "port", port)
