"""The plugin's calls without an engine: what the plugin itself takes."""

import json

import plugins
from engine import DockerNetwork, Endpoint, Engine, Range
from places import NETWORKERS
from remains import await_ready, requests_of
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
    """The same, with the requests to Neutron that each call had to wait for."""

    def __init__(self, bench, station):
        super().__init__(station)
        self.ours = station is bench.ours
        self.log = Requests(bench.lab, NETWORKERS[0] if self.ours else NETWORKERS[1])
        self.asked = {}

    def request(self, address, method, path, text, headers):
        self.log.quiet()
        before = self.count()
        reply = super().request(address, method, path, text, headers)
        if not self.ours:
            # The Python does all before it answers, and Neutron writes its log a moment later.
            self.log.quiet()
        self.asked[path.lstrip("/")] = self.count() - before
        return reply

    def count(self):
        return requests_of(self.station) if self.ours else self.log.count()


class Reply:
    def __init__(self, status, text):
        self.status, self.text = status, text

    def json(self):
        return json.loads(self.text) if self.text.strip() else {}


def path(bench):
    """The calls of a start and a stop over the plugin's socket, as the engine makes them."""
    warm = {"kuryr.pool.min": str(AHEAD), "kuryr.pool.max": str(AHEAD)}
    for name, station, address, place, options, ahead, rounds in (
        ("kuryr warm", bench.ours, plugins.SOCKET, "10.130.0", warm, AHEAD, 20 * bench.rounds),
        ("kuryr cold", bench.ours, plugins.SOCKET, "10.131.0", {}, 0, 2 * bench.rounds),
        ("python", bench.theirs, plugins.URI, "10.132.0", {}, 0, bench.rounds),
    ):
        node = TimedNode(station)
        # Of a small subnet only a share is held ahead.
        network = DockerNetwork(Engine(node, address), [Range(f"{place}.0/16", f"{place}.1")], options).create()
        try:
            for number in range(rounds):
                if number % max(1, ahead) == 0:
                    await_ready(bench.ours, ahead)
                one_start(bench, name, node, network)
            counted = CountedNode(bench, station)
            network.engine.node = counted
            await_ready(bench.ours, ahead)
            Endpoint(network).start().stop()
            for call, asked in counted.asked.items():
                bench.figures.add(f"Neutron requests on the way of {call}", name, asked)
            for what, calls in (("start", STARTING), ("stop", STOPPING)):
                bench.figures.add(f"Neutron requests on the way of a {what}", name, sum(counted.asked[call] for call in calls))
            network.engine.node = node
        finally:
            network.remove()


def one_start(bench, name, node, network):
    node.took = {}
    Endpoint(network).start().stop()
    for call, seconds in node.took.items():
        bench.figures.add(call, name, seconds)
    bench.figures.add("a start: address, endpoint and join", name, sum(node.took[call] for call in STARTING))
