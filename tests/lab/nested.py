"""Containers in a machine of the cloud, on a lab that is up: both hosts take themselves for that machine, with an interface of its port's MAC, so
that two daemons change its port, and its trunk, at once."""

import re
import subprocess
import threading

from faults import address as address_on
from faults import details, difference, everything, let_dhcp_settle, promises, put_right, restart
from lab import HOSTS, TOOL, docker, eventually, lab, on, openstack, remove_network

NETWORK = "kuryr-faults"
RANGE = "10.88.0.0/24"
NEIGHBOUR = "10.88.0.250"  # outside of what Neutron gives to containers
CONTAINERS_RANGE = "start=10.88.0.2,end=10.88.0.200"
OPERATORS = "192.0.2.7"
CONTAINERS = [f"kuryr-n{number}" for number in range(3)]  # on each host; Neutron allows ten pairs on a port

# Behind the sections that are there: later ones of the same name go on with them.
DRIVER = r"$a\\n[DEFAULT]\ndefault_port_driver = {driver}\nenabled_port_drivers = {driver}\n[binding]\ndefault_driver = {binding}\nlink_iface = vm0"
INTERFACE = f"""ip link add vm0 address $1 type veth peer name vm1; ip address add {NEIGHBOUR}/24 dev vm1; ip link set vm0 up; ip link set vm1 up"""


def step_nested(cloud):
    assert cloud != "ovs", "no trunks are set up there"
    eventually(promises, "all that was promised before is done")
    before = everything()
    openstack("network", "create", "machines")
    openstack("subnet", "create", "--network", "machines", "--subnet-range", RANGE, "--allocation-pool", CONTAINERS_RANGE, "machines")
    machine = openstack("port", "create", "--network", "machines", "--allowed-address", f"ip-address={OPERATORS}", "machine")
    for host in HOSTS:
        on(host, "sh", "-c", INTERFACE, "interface", machine["mac_address"])
    try:
        macvlans_of_two_daemons(machine)
        sub_ports(machine)
    finally:
        for host in HOSTS:
            on(host, "ip", "link", "delete", "vm0")
        put_right(cloud)
    lab("openstack", "port", "delete", "machine")
    lab("openstack", "network", "delete", "machines")
    eventually(lambda: difference(before, everything()), "nothing is left of nested containers")


def create(host, start):
    docker(host, "network", "create", "--driver=kuryr", "--ipam-driver=kuryr", f"--subnet={start}.0/24", f"--gateway={start}.1", NETWORK)


def both(work):
    """Runs `work` for each container of each host, all at once."""
    failures = []

    def kept(host, container):
        try:
            work(host, container)
        except AssertionError as failure:
            failures.append(failure)

    threads = [threading.Thread(target=kept, args=(host, container)) for host in HOSTS for container in CONTAINERS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def macvlans_of_two_daemons(machine):
    for host in HOSTS:
        restart(host, DRIVER.format(driver="nested", binding="macvlan"))
        # On the machine's own network, which nobody names.
        create(host, "10.88.0")
    both(lambda host, container: docker(host, "run", "--detach", "--name", container, f"--net={NETWORK}", "busybox", "sleep", "1000000"))
    addresses = {address_on(host, container) for host in HOSTS for container in CONTAINERS}
    assert len(addresses) == 2 * len(CONTAINERS), addresses
    # Neutron now and then repeats one of two changes that meet without its If-Match, which kuryr puts right a moment later.
    eventually(lambda: pairs(machine) ^ (addresses | {OPERATORS}), "the machine's port has the pairs of all containers, and the operator's")
    for host in HOSTS:
        docker(host, "exec", CONTAINERS[0], "ping", "-c", "3", NEIGHBOUR)
    both(lambda host, container: docker(host, "rm", "--force", container))
    eventually(lambda: pairs(machine) ^ {OPERATORS}, "the containers' pairs go, and the operator's stays")
    let_dhcp_settle()
    for host in HOSTS:
        remove_network(host, NETWORK)


def pairs(machine):
    port = next(port for port in details("port") if port["id"] == machine["id"])
    return {pair["ip_address"] for pair in port["allowed_address_pairs"]}


def sub_ports(machine):
    """On a kernel without 8021q each start ends with its refusal; what was done on the trunk is taken back either way."""
    trunk = openstack("network", "trunk", "create", "--parent-port", machine["id"], "machine")
    for host, start in zip(HOSTS, ("10.89.0", "10.90.0"), strict=True):
        restart(host, DRIVER.format(driver="vlan", binding="vlan"))
        create(host, start)
    both(run_on_a_vlan)
    eventually(lambda: details_of(trunk)["sub_ports"], "the sub-ports go")
    # One change for each port that came and one when it went, whatever the two daemons chose at the same time.
    changes = details_of(trunk)["revision_number"] - trunk.get("revision_number", 0)
    assert changes >= 12, f"the trunk has had {changes} changes"
    let_dhcp_settle()
    for host in HOSTS:
        remove_network(host, NETWORK)
    lab("openstack", "network", "trunk", "delete", "machine")


def run_on_a_vlan(host, container):
    """However long it takes: the engine starts one after the other, and Neutron works on both hosts' trunk one at a time."""
    command = ["docker", "run", "--rm", "--name", container, f"--net={NETWORK}", "busybox", "true"]
    done = subprocess.run([TOOL, "exec", host, *command], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    sentence = done.stderr.strip()
    assert done.returncode == 0 or re.search("VLAN [0-9]+ .* lacks the driver", sentence), f"{' '.join(command)} on {host}: {sentence}"


def details_of(trunk):
    return next(each for each in details("trunk") if each["id"] == trunk["id"])
