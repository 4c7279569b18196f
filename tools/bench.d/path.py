"""The plugin's calls without an engine: what the plugin itself takes."""

import json

import plugins
from engine import DockerNetwork, Endpoint, Engine, Range
from places import NETWORKERS
from remains import await_ready
from requests_log import Requests

# The calls of a start that the engine waits for one after the other.
STARTING = ("IpamDriver.RequestAddress", "NetworkDriver.CreateEndpoint", "NetworkDriver.Join")
STOPPING = ("NetworkDriver.Leave", "NetworkDriver.DeleteEndpoint", "IpamDriver.ReleaseAddress")
# Ports ahead, and how many of them are used up before the pool is waited for.
AHEAD = 40


class TimedNode:
    """A node as the conformance suite takes it, with the seconds of the last of each call."""

    def __init__(self, station):
        self.station, self.took = station, {}

    def request(self, address, method, path, text, headers):
        answer = self.station.order("call", address=address, method=method, path=path, text=text, headers=headers)
        self.took[path.lstrip("/")] = answer["seconds"]
        return Reply(answer["status"], answer["text"])


class CountedNode(TimedNode):
    """The same, with what each call asks of Neutron until it is answered, and after that until the next one."""

    def __init__(self, station, log):
        super().__init__(station)
        self.log, self.asked = log, {}

    def request(self, address, method, path, text, headers):
        self.log.quiet()
        before = self.log.count()
        reply = super().request(address, method, path, text, headers)
        until_reply = self.log.count() - before
        self.log.quiet()
        self.asked[path.lstrip("/")] = (until_reply, self.log.count() - before)
        return reply


class Reply:
    def __init__(self, status, text):
        self.status, self.text = status, text

    def json(self):
        return json.loads(self.text) if self.text.strip() else {}


def path(bench):
    """The calls of a start and a stop over the plugin's socket, as the engine makes them."""
    warm = {"kuryr.pool.min": str(AHEAD), "kuryr.pool.max": str(AHEAD)}
    for name, station, host, address, place, options, ahead, rounds in (
        ("kuryr warm", bench.ours, NETWORKERS[0], plugins.SOCKET, "10.130.0", warm, AHEAD, 20 * bench.rounds),
        ("kuryr cold", bench.ours, NETWORKERS[0], plugins.SOCKET, "10.131.0", {}, 0, 2 * bench.rounds),
        ("python", bench.theirs, NETWORKERS[1], plugins.URI, "10.132.0", {}, 0, bench.rounds),
    ):
        node = TimedNode(station)
        # Of a small subnet only a share is held ahead.
        network = DockerNetwork(Engine(node, address), [Range(f"{place}.0/16", f"{place}.1")], options).create()
        try:
            for number in range(rounds):
                if number % max(1, ahead) == 0:
                    await_ready(bench.ours, ahead)
                one_start(bench, name, node, network)
            counted = CountedNode(station, Requests(bench.lab, host))
            network.engine.node = counted
            await_ready(bench.ours, ahead)
            Endpoint(network).start().stop()
            for call, (until_reply, in_all) in counted.asked.items():
                bench.figures.add(f"Neutron requests of {call} until its answer", name, until_reply)
                bench.figures.add(f"Neutron requests of {call} until the next call", name, in_all)
            for what, calls in (("start", STARTING), ("stop", STOPPING)):
                on_its_way = sum(counted.asked[call][0] for call in calls)
                bench.figures.add(f"Neutron requests on the way of a {what}", name, on_its_way)
            network.engine.node = node
        finally:
            network.remove()


def one_start(bench, name, node, network):
    node.took = {}
    Endpoint(network).start().stop()
    for call, seconds in node.took.items():
        bench.figures.add(call, name, seconds)
    bench.figures.add("a start: address, endpoint and join", name, sum(node.took[call] for call in STARTING))
