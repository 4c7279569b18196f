"""The original walkthrough, typed on the nodes: a network made on one host, joined on another, and a ping between two containers."""

import json
import re
import shlex

import docker
import rest
from life import CHOICE
from nodes import Failed, Node, await_condition
from places import CONTROLLER, NETWORKERS, NEUTRON, LabError

SUBNET = ["--subnet", "10.0.0.0/16", "--gateway", "10.0.0.1", "--ip-range", "10.0.0.0/24"]
CREATE = ["docker", "network", "create", "--driver=kuryr", "--ipam-driver=kuryr", *SUBNET]
NETWORK = "kuryr"
CONTAINERS = {"network-1": "kuryr-c1", "network-2": "kuryr-c2"}
# The old client's `neutron net-list` under its present name; by driver name as in the original.
NETWORK_ID = "openstack network list | awk '/kuryr/ { print $2 }'"


def run():
    """Types it all; what an earlier run left on the nodes goes first. Ends with LabError at the first command that fails."""
    if not CHOICE.exists():
        raise LabError("no lab is up; `tools/lab up` starts one")
    plugin = json.loads(CHOICE.read_text())["plugin"]
    if plugin == "none":
        raise LabError("this lab has no plugin under Docker; `tools/lab down`, then `tools/lab up --plugin kuryr`")
    controller, first, second = (Node(name) for name in (CONTROLLER, *NETWORKERS))
    for node in (second, first):
        clean(node)
    await_condition(lambda: not networks(controller), "the network of an earlier run is gone; see `tools/lab openstack network list`", 60)

    typed(controller, "openstack user list")

    typed(first, *CREATE, NETWORK)
    typed(first, "docker", "network", "inspect", NETWORK)
    start_container(first)
    typed(first, "docker", "exec", CONTAINERS[first.name], "ip", "-4", "a")
    address = container_address(first)

    network = typed(controller, NETWORK_ID).strip()
    if not re.fullmatch(r"[0-9a-f-]{36}", network):
        raise LabError(f"the controller should list one network of kuryr; it printed {network!r}")

    # kuryr-libnetwork also wants the pool by name when Neutron knows the subnet already; it names it by the range.
    pool = ["--ipam-opt", f"neutron.pool.name=kuryrPool-{SUBNET[-1]}"] if plugin == "python" else []
    typed(second, *CREATE, *pool, "-o", f"neutron.net.uuid={network}", NETWORK)
    start_container(second)
    typed(second, "docker", "exec", CONTAINERS[second.name], "ip", "-4", "a")
    await_ports(controller)
    typed(second, "docker", "exec", CONTAINERS[second.name], "ping", "-c", "3", address)

    typed(controller, "openstack port list")
    print("\nTwo containers on one Neutron network, on two hosts. They stay until `tools/lab walkthrough` or `tools/lab down`.")


def start_container(node):
    typed(node, "docker", "run", "--detach", "--name", CONTAINERS[node.name], f"--net={NETWORK}", docker.IMAGE, "sleep", "1000000")


def container_address(node):
    form = f'{{{{ (index .NetworkSettings.Networks "{NETWORK}").IPAddress }}}}'
    return node.run("docker", "container", "inspect", "--format", form, CONTAINERS[node.name]).strip()


def networks(controller):
    """What Neutron has of kuryr's, which goes a moment after Docker's."""
    return [found for found in rest.Cloud(controller).call("GET", f"{NEUTRON}/v2.0/networks")["networks"] if "kuryr" in found["name"]]


def await_ports(controller):
    """As long as a person takes to type: until the agents have told Neutron that both containers' ports are wired."""

    def wired():
        ports = rest.Cloud(controller).call("GET", f"{NEUTRON}/v2.0/ports?device_owner=compute:kuryr")["ports"]
        return sum(port["status"] == "ACTIVE" for port in ports) >= len(CONTAINERS)

    await_condition(wired, "the ports of both containers are ACTIVE; see `tools/lab openstack port list`", 120)


def clean(node):
    if node.succeeds("docker", "container", "inspect", CONTAINERS[node.name]):
        node.run("docker", "rm", "--force", CONTAINERS[node.name])
    if node.succeeds("docker", "network", "inspect", NETWORK):
        await_condition(lambda: network_goes(node), f"the engine of {node.name} lets the network {NETWORK} go", 60)


def network_goes(node):
    """Docker counts an endpoint down a moment after its container. Anything else that it says is the plugin's."""
    try:
        node.run("docker", "network", "rm", NETWORK)
    except Failed as refusal:
        if "has active endpoints" not in str(refusal):
            raise
        return False
    return True


def typed(node, *command):
    """Shows the command at the node's prompt, runs it and shows what it prints. A single word is a line of shell."""
    if len(command) == 1:
        line, command = command[0], ["sh", "-c", f". /root/keystonerc_admin; {command[0]}"]
    else:
        line = shlex.join(command)
    print(f"\n[root@{node.name} ~]# {line}", flush=True)
    try:
        output = node.run(*command)
    except Failed as error:
        log = node.log("kuryr")
        raise LabError(f"{error}\nThe end of kuryr's log on {node.name}:\n{log}") from None
    print(output, end="" if output.endswith("\n") else "\n", flush=True)
    return output
