"""What an engine does at its start, its end and in between by its version and its options. See suite.py."""

import json

from machine import V4, V6, check


def since(*version):
    """A test for engines from this version on."""

    def mark(test):
        test.since = version
        return test

    return mark


def pid(m, container):
    return m.docker("container", "inspect", "--format", "{{.State.Pid}}", container)


def running(m):
    return set(m.docker("ps", "--format", "{{.Names}}").split())


def expect_pings(m, pids, address):
    """Containers reach an address without an engine to ask them through."""
    for process in pids:
        m.run("nsenter", "--target", process, "--net", "busybox", "ping", "-c", "1", "-W", "3", address)


@since(28)
def test_a_network_of_ipv6_alone(m):
    m.create_network("n", "--ipv4=false", *V6)
    m.create_network("o", "--ipv4=false", "--ipv6")
    m.start("c1")
    m.start("c2", "--ip6", "fd00:10::22")
    check(not m.inspect("c1")["IPAddress"], "there is an IPv4 address")
    check([len(port["fixed_ips"]) for port in m.ports()] == [1, 1], f"a port has another family's address: {m.ports()}")
    m.expect_reach("c1", "fd00:10::22")
    m.expect_reach("c1", "fd00:10::1")
    m.start("c3", network="o")
    m.start("c4", network="o")
    m.expect_reach("c3", m.inspect("c4", "o")["GlobalIPv6Address"])


def test_live_restore_keeps_containers_over_the_end_and_the_death_of_dockerd(m):
    m.restart_dockerd("--live-restore")
    m.create_network("n", *V4, *V6)
    m.start("c1")
    m.start("c2")
    before = {name: (pid(m, name), m.inspect(name)["EndpointID"], m.inspect(name)["IPAddress"]) for name in ("c1", "c2")}
    for signal in ("TERM", "KILL"):
        m.end_dockerd(signal)
        expect_pings(m, [process for process, _, _ in before.values()], before["c2"][2])
        # The plugin may go and come as well meanwhile.
        m.restart_kuryr()
        m.start_dockerd("--live-restore")
        after = {name: (pid(m, name), m.inspect(name)["EndpointID"], m.inspect(name)["IPAddress"]) for name in before}
        check(after == before, f"other containers after SIG{signal}: {before}, {after}")
        m.expect_reach("c1", before["c2"][2])
        m.expect_reach("c1", m.inspect("c2")["GlobalIPv6Address"])
    m.start("c3")
    m.expect_reach("c3", before["c1"][2])
    m.docker("restart", "--time", "1", "c1")
    m.expect_reach("c3", m.inspect("c1")["IPAddress"])
    m.clean()
    m.restart_dockerd()


def test_sandboxes_elsewhere(m):
    m.restart_dockerd("--exec-root", "/run/elsewhere")
    m.create_network("n", *V4)
    m.start("c1")
    m.start("c2")
    key = json.loads(m.docker("container", "inspect", "c1"))[0]["NetworkSettings"]["SandboxKey"]
    check(key.startswith("/run/elsewhere/"), f"the sandbox is {key}")
    m.docker("restart", "--time", "1", "c1")
    m.expect_reach("c1", m.inspect("c2")["IPAddress"])
    m.clean()
    m.restart_dockerd()


def test_dockerd_killed_without_live_restore(m):
    m.create_network("n", *V4, *V6)
    m.start("c1")
    m.start("c2", "--ip", "10.0.0.77")
    m.start("c3", "--restart", "always")
    m.start("c4", "--restart", "always", "--ip", "10.0.0.99")
    m.end_dockerd("KILL")
    m.start_dockerd()
    m.await_(lambda: {"c3", "c4"} <= running(m), "containers with restart policy run again", 60)
    check(m.inspect("c4")["IPAddress"] == "10.0.0.99", "another address than the one that was asked for")
    for name in {"c1", "c2"} - running(m):
        m.docker("start", name)
    check(m.inspect("c2")["IPAddress"] == "10.0.0.77", "another address than the one that was asked for")
    for name in ("c1", "c2", "c4"):
        m.expect_reach("c3", m.inspect(name)["IPAddress"])
        m.expect_reach("c3", m.inspect(name)["GlobalIPv6Address"])
    # What dockerd had before its death is given back, although it never said so.
    m.await_(lambda: len(m.ports()) == 4, "each container has one port", 60)


def test_reboot_of_the_node(m):
    m.create_network("n", *V4, *V6)
    m.create_network("o", "--internal", "--subnet", "10.3.0.0/24")
    m.start("c1", "--restart", "always")
    m.start("c2", "--restart", "always", "--ip", "10.0.0.77", "--mac-address", "02:42:0a:00:00:77")
    m.start("c3")
    m.start("c4", "--restart", "always", network="o")
    m.reboot()
    m.await_(lambda: running(m) == {"c1", "c2", "c4"}, "containers with restart policy run again, and no others", 60)
    again = m.inspect("c2")
    check(again["IPAddress"] == "10.0.0.77" and again["MacAddress"] == "02:42:0a:00:00:77", f"it came back as {again}")
    m.expect_reach("c1", "10.0.0.77")
    m.expect_reach("c1", again["GlobalIPv6Address"])
    m.expect_reach("c1", "198.18.0.1")
    m.await_(lambda: len(m.ports()) == 3, "the ports of before are gone", 60)
    m.docker("start", "c3")
    m.expect_reach("c3", m.inspect("c1")["IPAddress"])


def test_dockerd_starts_without_its_plugin(m):
    m.create_network("n", *V4)
    m.start("c1", "--restart", "always")
    m.start("c2")
    m.end_dockerd()
    m.end_kuryr()
    m.start_dockerd()
    m.start_kuryr()
    for name in {"c1", "c2"} - running(m):
        m.docker("start", name)
    m.expect_reach("c1", m.inspect("c2")["IPAddress"])
    m.start("c3")
    m.expect_reach("c3", m.inspect("c1")["IPAddress"])
