"""The plugin's calls without an engine: what the plugin itself takes."""

import json
import time

import contenders
import plugins
from engine import DockerNetwork, Endpoint, Engine, Range

# The calls of a start that the engine waits for one after the other.
STARTING = ("IpamDriver.RequestAddress", "NetworkDriver.CreateEndpoint", "NetworkDriver.Join")


class TimedNode:
    """A node as the conformance suite takes it, with the seconds of the last of each call."""

    def __init__(self, station):
        self.station, self.took = station, {}

    def request(self, address, method, path, text, headers):
        answer = self.station.order("call", address=address, method=method, path=path, text=text, headers=headers)
        self.took[path.lstrip("/")] = answer["seconds"]
        return Reply(answer["status"], answer["text"])


class Reply:
    def __init__(self, status, text):
        self.status, self.text = status, text

    def json(self):
        return json.loads(self.text) if self.text.strip() else {}


def path(bench):
    """The calls of a start and a stop over the plugin's socket, as the engine makes them."""
    no_pool = dict([contenders.COLD[1].split("=")])
    for name, station, address, place, options, rounds in (
        ("kuryr", bench.ours, plugins.SOCKET, "10.130.1", {}, 10 * bench.rounds),
        ("kuryr cold", bench.ours, plugins.SOCKET, "10.130.2", no_pool, 2 * bench.rounds),
        ("python", bench.theirs, plugins.URI, "10.130.3", {}, bench.rounds),
    ):
        node = TimedNode(station)
        network = DockerNetwork(Engine(node, address), [Range(f"{place}.0/24", f"{place}.1")], options).create()
        try:
            for _ in range(rounds):
                node.took = {}
                Endpoint(network).start().stop()
                for call, seconds in node.took.items():
                    bench.figures.add(call, name, seconds)
                bench.figures.add("a start: address, endpoint and join", name, sum(node.took[call] for call in STARTING))
                # As an engine leaves time between two containers.
                time.sleep(0.1)
        finally:
            network.remove()
