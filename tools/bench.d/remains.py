"""What a node holds at a moment, and what of it nobody has any more when its containers are gone."""

import contextlib
import time

import rest
from nodes import await_condition
from places import CONTROLLER, NETWORKERS, NEUTRON

METRICS = "/run/kuryr/metrics.sock"
# Neutron's name of a port that our daemon has made ahead.
POOLED = "kuryr-pool-port"
LINKS = ("tap", "t_c", "veth")
SETTLING = 30


def levels(station):
    """Our daemon's own levels by Prometheus' names, without `kuryr_`."""
    text = station.run("curl", "--silent", "--fail", "--unix-socket", METRICS, "http://kuryr/metrics")
    lines = (line.removeprefix("kuryr_").rpartition(" ") for line in text.splitlines() if line.startswith("kuryr_"))
    return {name: float(value) for name, _, value in lines}


def time_in_calls(station):
    """Seconds that our daemon has spent on the engine's calls so far."""
    return sum(value for name, value in levels(station).items() if name.startswith("plugin_call_duration_seconds_sum"))


def requests_of(station):
    """How many requests to Neutron our daemon has had an answer to so far."""
    return sum(value for name, value in levels(station).items() if name.startswith("neutron_requests_total"))


def await_ready(station, ports):
    """Until our daemon can hand out so many ports made ahead, and has nothing more to do behind the engine's back. It may have to try something
    again later; that is not waited for."""
    await_condition(lambda: pooled(station, "ready") >= ports, f"{ports} ports made ahead are ready", 180)
    with contextlib.suppress(TimeoutError):
        await_condition(lambda: is_idle(station), "nothing is left to do", 20)


def pooled(station, state):
    return levels(station).get(f'port_pool_ports{{state="{state}"}}', 0)


def is_idle(station):
    return levels(station)["journal_tasks"] == pooled(station, "unready") == 0


def resident(station):
    """KiB of the plugin."""
    status = station.run("sh", "-c", "cat /proc/$(cat /run/lab/kuryr.pid)/status")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))


class Remains:
    """What is there on a contender's node that was not there when this was made: ports in Neutron, links, promises in our journal. Ports that
    were made ahead belong to the pool, and so do their links."""

    def __init__(self, bench, contender):
        self.station, self.ours = contender.station, contender.station is bench.ours
        self.host = NETWORKERS[0] if self.ours else NETWORKERS[1]
        self.cloud = rest.Cloud(bench.lab[CONTROLLER])
        self.ports, self.links = self.seen()

    def seen(self):
        query = f"{NEUTRON}/v2.0/ports?binding:host_id={self.host}&fields=id&fields=name"
        listed = self.cloud.call("GET", query)["ports"]
        pooled = {port["id"][:11] for port in listed if port["name"] == POOLED}
        links = {link for link in self.station.run("ls", "/sys/class/net").split() if link.startswith(LINKS)}
        return {port["id"] for port in listed if port["name"] != POOLED}, {link for link in links if link[3:] not in pooled}

    def left(self):
        """How many of each are left once things have settled."""
        end = time.monotonic() + SETTLING
        while True:
            ports, links = self.seen()
            left = {"ports in Neutron": len(ports - self.ports), "links": len(links - self.links)}
            if self.ours:
                left["promises in the journal"] = levels(self.station)["journal_tasks"]
            if not any(left.values()) or time.monotonic() > end:
                return left
            time.sleep(0.5)
