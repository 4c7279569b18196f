#!/usr/bin/env python3
"""kuryr beside a real dockerd: one function for each promise, here, in daemon.py, engines.py, outages.py and tls.py. See --help."""

import argparse
import os
import signal
import sys
import time
import traceback

import daemon
import engines
import outages
import places
import tls
from machine import V4, V6, Machine, check

# What goes wrong once in many times; the way of a single one is in other tests.
REPEATED = ("test_200_in_a_row_leave_nothing", "test_50_in_parallel_leave_nothing", *(name for name in vars(outages) if name.startswith("test_")))


# Networks


def test_network_of_the_walkthrough(m):
    m.create_network("n", *V4)
    m.start("c1")
    m.start("c2")
    a, b = m.inspect("c1"), m.inspect("c2")
    check(a["MacAddress"].startswith("fa:16:3e"), f"the MAC is Neutron's: {a['MacAddress']}")
    check(a["IPAddress"].startswith("10.0.0."), f"the address is of the ip-range: {a['IPAddress']}")
    m.create_network("o", "--subnet", "10.8.0.0/16", "--gateway", "10.8.5.1", "--ip-range", "10.8.5.0/24")
    m.start("c3", network="o")
    c = m.inspect("c3", "o")
    check(c["IPAddress"].startswith("10.8.5."), f"the address is of the ip-range: {c['IPAddress']}")
    m.expect_reach("c3", "10.8.5.1")
    m.expect_reach("c1", b["IPAddress"])
    m.expect_reach("c1", "10.0.0.1")
    m.expect_reach("c1", "198.18.0.1")


def test_names_tags_and_owner_in_neutron(m):
    m.create_network("n", *V4)
    m.start("c1")
    docker_id = m.docker("network", "inspect", "--format", "{{.Id}}", "n")
    network = [n for n in m.neutron("networks")["networks"] if n["name"] == f"kuryr-net-{docker_id[:8]}"][0]
    wanted = {f"kuryr.net.uuid.lh:{docker_id[:32]}", f"kuryr.net.uuid.uh:{docker_id[32:]}"}
    check(wanted <= set(network["tags"]), f"tags of the network: {network['tags']}")
    subnet = m.neutron(f"subnets?network_id={network['id']}")["subnets"][0]
    check(subnet["name"] == "kuryr-subnet-10.0.0.0/24", subnet["name"])
    pools = m.neutron(f"subnetpools?id={subnet['subnetpool_id']}")["subnetpools"]
    check(pools and pools[0]["name"] == "kuryrPool-10.0.0.0/24", str(pools))
    check(pools[0]["id"] in subnet["tags"], f"tags of the subnet: {subnet['tags']}")
    endpoint = m.inspect("c1")["EndpointID"]
    tags = {"compute:kuryr", f"kuryr.net.uuid.lh:{endpoint[:32]}", f"kuryr.net.uuid.uh:{endpoint[32:]}"}
    # Tags and device_id are written behind the reply.
    m.await_(lambda: tags <= set(m.ports()[0]["tags"]), "the port carries its tags")
    port = m.ports()[0]
    check(port["device_owner"] == "compute:kuryr" and port["device_id"] == endpoint, f"owner {port['device_owner']}, device {port['device_id']}")
    m.await_(lambda: m.ports()[0]["status"] == "ACTIVE", "the port is ACTIVE")


def test_mtu_is_the_networks(m):
    m.create_network("n", *V4)
    m.start("c1")
    mtu = [n["mtu"] for n in m.neutron("networks")["networks"] if n["name"].startswith("kuryr-net-")][0]
    seen = m.docker("exec", "c1", "cat", "/sys/class/net/eth0/mtu")
    check(seen == str(mtu), f"eth0 has {seen}, the network {mtu}")


def test_ipv6_and_dual_stack_share_one_port(m):
    m.create_network("n", *V4, *V6)
    m.start("c1")
    m.start("c2")
    b = m.inspect("c2")
    check(len(m.ports()) == 2, f"one port for each container: {len(m.ports())}")
    m.expect_reach("c1", b["IPAddress"])
    m.expect_reach("c1", b["GlobalIPv6Address"])
    m.expect_reach("c1", "fd00:10::1")


def test_without_gateway(m):
    m.create_network("n", "--subnet", "10.1.0.0/24")
    m.start("c1")
    m.start("c2")
    m.expect_reach("c1", m.inspect("c2")["IPAddress"])


def test_aux_address_is_kept_free(m):
    m.create_network("n", "--subnet", "10.2.0.0/29", "--gateway", "10.2.0.1", "--aux-address", "router=10.2.0.2")
    for number in range(4):
        m.start(f"c{number}")
    given = {m.inspect(f"c{number}")["IPAddress"] for number in range(4)}
    check(given == {f"10.2.0.{number}" for number in range(3, 7)}, f"the aux address was given away: {given}")


def test_internal_has_no_way_out(m):
    m.create_network("n", "--internal", "--subnet", "10.3.0.0/24")
    m.start("c1", "--cap-add", "NET_ADMIN")
    m.start("c2")
    m.expect_reach("c1", m.inspect("c2")["IPAddress"])
    # Without a route nothing would go out anyway.
    m.docker("exec", "c1", "ip", "route", "add", "default", "via", "10.3.0.1")
    m.expect_no_reach("c1", "198.18.0.1")
    owners = {port["device_owner"] for port in m.neutron("ports")["ports"]}
    check("network:router_interface" not in owners, f"a router is on the internal network: {owners}")


def test_default_subnet_pool(m):
    m.create_network("n")
    m.start("c1")
    check(m.inspect("c1")["IPAddress"], "no address")


def test_two_networks_do_not_reach_each_other(m):
    m.create_network("n", "--subnet", "10.4.0.0/24", "--gateway", "10.4.0.1")
    m.create_network("o", "--subnet", "10.5.0.0/24", "--gateway", "10.5.0.1")
    m.start("c1")
    m.start("c2", network="o")
    m.expect_reach("c1", "198.18.0.1")
    m.expect_reach("c2", "198.18.0.1")
    m.expect_no_reach("c1", m.inspect("c2", "o")["IPAddress"])


def test_equal_ranges_live_side_by_side(m):
    for network in ("n", "o"):
        m.create_network(network, "--subnet", "10.4.0.0/24", "--gateway", "10.4.0.1")
    m.start("c1", "--ip", "10.4.0.9")
    m.start("c2", "--ip", "10.4.0.9", network="o")
    m.start("c3", "--ip", "10.4.0.10", network="o")
    for container in ("c1", "c2"):
        m.expect_reach(container, "10.4.0.1")
        m.expect_reach(container, "198.18.0.1")
    m.expect_reach("c2", "10.4.0.10")
    m.expect_no_reach("c1", "10.4.0.10")


# Containers


def test_start_stop_restart(m):
    m.create_network("n", *V4)
    m.start("c1")
    m.start("c2")
    m.docker("stop", "--time", "1", "c1")
    m.await_(lambda: len(m.ports()) == 1, "the stopped container's port is gone")
    m.docker("start", "c1")
    m.docker("restart", "--time", "1", "c1")
    m.expect_reach("c1", m.inspect("c2")["IPAddress"])


def test_chosen_addresses(m):
    m.create_network("n", *V4, *V6)
    m.start("c1", "--ip", "10.0.0.77", "--ip6", "fd00:10::77", "--mac-address", "02:42:0a:00:00:77")
    a = m.inspect("c1")
    check(a["IPAddress"] == "10.0.0.77" and a["GlobalIPv6Address"] == "fd00:10::77", str(a))
    check(a["MacAddress"] == "02:42:0a:00:00:77", a["MacAddress"])
    check(m.ports()[0]["mac_address"] == "02:42:0a:00:00:77", "Neutron knows another MAC")
    m.expect_reach("c1", "10.0.0.1")


def test_networks_of_ipv6_alone_and_of_the_default_pools(m):
    m.create_network("n", *V6)
    m.create_network("o", "--ipv6")
    m.start("c1")
    m.start("c2")
    m.expect_reach("c1", m.inspect("c2")["GlobalIPv6Address"])
    m.start("c3", network="o")
    m.start("c4", network="o")
    m.expect_reach("c3", m.inspect("c4", "o")["GlobalIPv6Address"])
    m.expect_reach("c3", m.inspect("c4", "o")["IPAddress"])


def test_a_container_made_with_two_networks(m):
    m.create_network("n", *V4)
    m.create_network("o", "--subnet", "10.6.0.0/24", "--gateway", "10.6.0.1")
    m.docker("create", "--pull", "never", "--name", "c1", "--network", "n", "busybox-e2e", "sleep", "100000")
    m.docker("network", "connect", "--ip", "10.6.0.66", "o", "c1")
    m.docker("start", "c1")
    check(m.inspect("c1", "o")["IPAddress"] == "10.6.0.66", "another address than the one that was asked for")
    m.expect_reach("c1", "10.0.0.1")
    m.expect_reach("c1", "10.6.0.1")


def test_connect_and_disconnect_while_running(m):
    m.create_network("n", *V4)
    m.create_network("o", "--subnet", "10.6.0.0/24", "--gateway", "10.6.0.1")
    m.start("c1")
    m.start("c2", network="o")
    m.docker("network", "connect", "o", "c1")
    m.expect_reach("c1", m.inspect("c2", "o")["IPAddress"])
    m.expect_reach("c1", "10.0.0.1")
    m.docker("network", "disconnect", "o", "c1")
    m.await_(lambda: len(m.ports()) == 2, "the port of the left network is gone")


def test_security_group_drops_and_admits(m):
    m.create_network("n", *V4)
    m.start("c1")
    m.start("c2")
    address = m.inspect("c2")["IPAddress"]
    m.expect_reach("c1", address)
    port = [p for p in m.ports() if p["fixed_ips"][0]["ip_address"] == address][0]
    group = m.neutron("security-groups", "POST", {"security_group": {"name": "closed", "project_id": port["project_id"]}})["security_group"]
    m.neutron(f"ports/{port['id']}", "PUT", {"port": {"security_groups": [group["id"]]}})
    m.await_(lambda: not m.reaches("c1", address), "the closed group drops")
    rule = {"security_group_id": group["id"], "direction": "ingress", "ethertype": "IPv4", "protocol": "icmp"}
    m.neutron("security-group-rules", "POST", {"security_group_rule": rule})
    m.expect_reach("c1", address)
    m.remove("c2")
    m.await_(lambda: len(m.ports()) == 1, "the port that uses the group is gone")
    m.neutron(f"security-groups/{group['id']}", "DELETE")


def test_options_of_an_endpoint_choose_its_groups(m):
    m.create_network("n", *V4)
    project = m.neutron("networks?name=" + f"kuryr-net-{m.docker('network', 'inspect', '--format', '{{.Id}}', 'n')[:8]}")["networks"][0]["project_id"]
    group = m.neutron("security-groups", "POST", {"security_group": {"name": "closed", "project_id": project}})["security_group"]
    m.start("c1")
    m.start("c2", network=f"name=n,driver-opt=neutron.port.security_groups={group['id']}")
    address = m.inspect("c2")["IPAddress"]
    port = [p for p in m.ports() if p["fixed_ips"][0]["ip_address"] == address][0]
    check(port["security_groups"] == [group["id"]], f"the port has the groups {port['security_groups']}")
    m.expect_reach("c2", "10.0.0.1")
    check(not m.reaches("c1", address), "the closed group lets others in")
    m.expect_refused(("qos",), lambda: m.start("x1", network="name=n,driver-opt=neutron.port.qos_policy=gold"))
    m.remove("c2")
    m.await_(lambda: len(m.ports()) == 1, "the port that uses the group is gone")
    m.neutron(f"security-groups/{group['id']}", "DELETE")


def test_published_ports_are_exposed_and_not_forwarded(m):
    """A container has an address of its own, which others reach; nothing on the host stands for it."""
    m.create_network("n", *V4)
    m.start("c1", "--publish", "8080:80")
    m.start("c2")
    address = m.inspect("c1")["IPAddress"]
    m.docker("exec", "--detach", "c1", "sh", "-c", "while true; do echo hello | nc -l -p 80; done")
    heard = ("docker", "exec", "c2", "sh", "-c", f"nc -w 2 {address} 80 < /dev/null | grep hello")
    m.await_(lambda: not m.fails(*heard), "the published port answers at the container's address", 10)
    connect = "import socket; socket.create_connection(('127.0.0.1', 8080), 2)"
    check(m.fails("python3", "-c", connect), "somebody listens for the published port on the host")


def test_an_operators_port_is_used_and_stays(m):
    network = m.neutron("networks", "POST", {"network": {"name": "theirs"}})["network"]
    subnet = {"network_id": network["id"], "ip_version": 4, "cidr": "10.9.0.0/24"}
    m.neutron("subnets", "POST", {"subnet": subnet})
    fixed = [{"ip_address": "10.9.0.88"}]
    port = m.neutron("ports", "POST", {"port": {"network_id": network["id"], "name": "theirs", "fixed_ips": fixed}})["port"]
    m.create_network("n", "--subnet", "10.9.0.0/24", "-o", f"neutron.net.uuid={network['id']}")
    m.start("c1", "--ip", "10.9.0.88", network=f"name=n,driver-opt=neutron.port.uuid={port['id']}")
    check(m.inspect("c1")["MacAddress"] == port["mac_address"], "the container has another MAC than the port")
    m.start("c2")
    m.expect_reach("c2", "10.9.0.88")
    m.docker("restart", "--time", "0", "c1")
    m.expect_reach("c2", "10.9.0.88")
    m.remove("c1", "c2")
    m.have_network_go("n")

    def as_before():
        now = m.neutron(f"ports/{port['id']}")["port"]
        return all(now[field] == port[field] for field in ("name", "tags", "device_id", "device_owner", "binding:host_id", "fixed_ips"))

    m.await_(as_before, "the port is as it was")
    m.neutron(f"ports/{port['id']}", "DELETE")
    m.neutron(f"networks/{network['id']}", "DELETE")


def test_floating_ip_leads_to_a_container(m):
    m.create_network("n", *V4)
    m.start("c1")
    port = m.ports()[0]
    external = [network["id"] for network in m.neutron("networks")["networks"] if network["router:external"]][0]
    body = {"floatingip": {"floating_network_id": external, "port_id": port["id"]}}
    floating = m.neutron("floatingips", "POST", body)["floatingip"]
    m.run("ip", "-n", "internet", "route", "add", "172.24.4.0/24", "via", "198.18.0.2")
    ping = ("ip", "netns", "exec", "internet", "busybox", "ping", "-c", "1", "-W", "1", floating["floating_ip_address"])
    try:
        check(m.fails(*ping), "the default group lets strangers in")
        rule = {"security_group_id": port["security_groups"][0], "direction": "ingress", "ethertype": "IPv4", "protocol": "icmp"}
        rule = m.neutron("security-group-rules", "POST", {"security_group_rule": rule})["security_group_rule"]
        m.await_(lambda: not m.fails(*ping), "the floating address leads to the container")
        m.neutron(f"security-group-rules/{rule['id']}", "DELETE")
    finally:
        m.run("ip", "-n", "internet", "route", "del", "172.24.4.0/24")
        m.neutron(f"floatingips/{floating['id']}", "DELETE")


def arguments():
    parser = argparse.ArgumentParser(description="Runs kuryr on a node beside a real dockerd. KURYR_NODE names the node.")
    parser.add_argument("words", nargs="*", metavar="WORD", help="only tests whose name holds one of the words")
    parser.add_argument("--docker", choices=sorted(places.SUITE_OF_DOCKER), help="the engine, by default the machine's own")
    parser.add_argument("--quick", action="store_true", help="without the tests that repeat one thing many times")
    return parser.parse_args()


def chosen(given, machine):
    tests = {name: test for name, test in {**globals(), **vars(daemon), **vars(engines), **vars(outages), **vars(tls)}.items() if name.startswith("test_")}
    for name, test in tests.items():
        if any(word in name for word in given.words or [""]):
            since = getattr(test, "since", (0,))
            if machine.engine < since:
                print(f"left out {name}: it is for engines from {since[0]} on")
            elif not (given.quick and name in REPEATED):
                yield name, test


def main():
    given = arguments()
    machine, passed, failed = Machine(os.environ.get("KURYR_NODE", "e2e"), given.docker), 0, 0
    # As an exception, so that the machine is taken down.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        machine.up()
        print(f"Docker {machine.engine[0]}.{machine.engine[1]}", flush=True)
        for name, test in chosen(given, machine):
            began = time.monotonic()
            try:
                test(machine)
                machine.clean()
                passed += 1
                print(f"ok      {name} ({time.monotonic() - began:.1f} s)", flush=True)
            except Exception:
                failed += 1
                print(f"FAILED  {name}\n{traceback.format_exc()}", flush=True)
                # The next test starts on a new node, so that one failure does not make others.
                if machine.log.exists():
                    print(machine.log.read_text()[-3000:], flush=True)
                machine.down()
                machine.up()
    finally:
        machine.down()
    print(f"e2e: {passed} passed, {failed} failed")
    # A word that no test has is an error as well.
    sys.exit(bool(failed or not passed))


if __name__ == "__main__":
    main()
