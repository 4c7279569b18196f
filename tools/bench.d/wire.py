"""Throughput and round trip between containers."""

import json

import contenders
import rest
from nodes import await_condition
from places import CONTROLLER, NEUTRON

SECONDS = 3


def wire(bench):
    """Two containers on one host, on a bridge and on a Neutron network; and on two hosts, the second one's end plugged by the Python."""
    bridge, kuryr, _ = (contender.set_up() for contender in contenders.of_ours(bench.ours))
    network = bench.ours.run("docker", "network", "inspect", "--format", "{{.Id}}", kuryr.network)
    listed = rest.Cloud(bench.lab[CONTROLLER]).call("GET", f"{NEUTRON}/v2.0/networks?name=kuryr-net-{network[:8]}")["networks"]
    there = contenders.Contender("far", bench.theirs, [*contenders.KURYR, "-o", f"neutron.net.uuid={listed[0]['id']}",
                                 "--ipam-opt", f"neutron.pool.name=kuryrPool-{kuryr.subnet}"], kuryr.subnet).set_up()
    # Neutron's agents have to hear of each other's port before frames cross.
    await_condition(lambda: reaches(there, kuryr.address), "the container there reaches the one here", 60)
    ends = (("one host, bridge", bridge, bridge), ("one host, kuryr", kuryr, kuryr), ("two hosts, kuryr", kuryr, there))
    try:
        for number in range(max(3, bench.rounds // 3)):
            for name, server, client in ends:
                measure(bench, name, server, client, number)
    finally:
        for contender in (there, kuryr, bridge):
            contender.tear_down()


def reaches(contender, address):
    return "0 received" not in contender.station.run("sh", "-c", f"docker exec {contender.anchor} ping -c 1 -W 1 {address}; true")


def measure(bench, name, server, client, number):
    container = f"bench-end-{number}"
    client.station.run(*client.start(container, "sleep", "1000"))
    inside = ["nsenter", f"--net=/proc/{pid(client.station, container)}/ns/net"]
    host = ["nsenter", f"--net=/proc/{pid(server.station, server.anchor)}/ns/net"]
    try:
        await_condition(lambda: reaches_from(client.station, inside, server.address), "the end answers", 30)
        server.station.run(*host, "iperf3", "--server", "--one-off", "--daemon", "--pidfile", "/run/bench-iperf3.pid")
        answer = json.loads(client.station.run(*inside, "iperf3", "--json", "--time", str(SECONDS), "--client", server.address))
        bench.figures.add("Gbit/s of one TCP stream", name, answer["end"]["sum_received"]["bits_per_second"] / 1e9)
        text = client.station.run(*inside, "ping", "-q", "-c", "200", "-i", "0.002", server.address)
        bench.figures.add("round trip, ms", name, float(text.rsplit("=", 1)[1].split("/")[1]))
    finally:
        client.remove(container)


def reaches_from(station, inside, address):
    return "1 received" in station.run("sh", "-c", f"{' '.join(inside)} ping -c 1 -W 1 {address}; true")


def pid(station, container):
    return station.run("docker", "container", "inspect", "--format", "{{.State.Pid}}", container)
