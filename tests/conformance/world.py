"""What one case has at hand: the hosts, Neutron, ranges of its own; and after it, the proof that nothing is left."""

import contextlib
import itertools
import time

from engine import DockerNetwork, Endpoint, Range
from neutron import Refused
from node import CommandFailed

PATIENCE = 30  # seconds; a plugin may finish a release behind its reply
# In the order in which they can be deleted.
RESOURCES = ("port", "security_group", "router", "subnet", "network", "subnetpool")
numbers = itertools.count(1)


class Skipped(Exception):
    """The target has not what the case needs."""


def check(condition, message):
    if not condition:
        raise AssertionError(message)


def tags_of(docker_id):
    """The tags by which kuryr finds the network or the port of a Docker id; a swarm's id fits into one."""
    lower = [f"kuryr.net.uuid.lh:{docker_id[:32]}"]
    return lower + ([f"kuryr.net.uuid.uh:{docker_id[32:]}"] if len(docker_id) > 32 else [])


class World:
    def __init__(self, engines, neutron):
        self.engines, self.neutron = engines, neutron
        self.number = next(numbers)
        self.endpoints, self.networks, self.objects, self.sandboxes = [], [], [], []
        agents = neutron.expect("GET", "/agents")["agents"]
        self.with_dhcp_agent = any(agent["agent_type"] == "DHCP agent" and agent["alive"] for agent in agents)
        self.before = self.everything()

    @property
    def node(self):
        return self.engines[0].node

    def second(self):
        """The second host's engine."""
        if len(self.engines) < 2:
            raise Skipped("one host only")
        return self.engines[1]

    # Ranges no other case uses

    def v4(self, third=0):
        return f"10.{100 + self.number}.{third}.0/24"

    def v6(self):
        return f"fd00:{self.number:x}::/64"

    def v4_gateway(self, third=0):
        return f"10.{100 + self.number}.{third}.1"

    def ranges(self, v4=True, v6=False):
        wanted = [Range(self.v4(), self.v4_gateway())] if v4 else []
        return wanted + ([Range(self.v6(), f"fd00:{self.number:x}::1")] if v6 else [])

    # What Docker's user does

    def network(self, ranges=None, engine=None, **given):
        network = DockerNetwork(engine or self.engines[0], ranges or self.ranges(), **given)
        network.create()
        self.networks.append(network)
        return network

    def start(self, network, **given):
        endpoint = Endpoint(network, **given).start()
        self.endpoints.append(endpoint)
        return endpoint

    def stop(self, endpoint):
        self.endpoints.remove(endpoint)
        endpoint.stop()

    def remove(self, network):
        self.networks.remove(network)
        self.let_dhcp_settle(network)
        network.remove()

    def let_dhcp_settle(self, network):
        """Neutron's DHCP agent, when a network goes that it is about to serve, tries on for five minutes; and while all its threads do that,
        no port of the cloud becomes ACTIVE."""
        for found in self.neutron_networks(network) if self.with_dhcp_agent else []:
            if any(subnet["enable_dhcp"] for subnet in self.neutron.list("subnet", network_id=found["id"])):
                served = {"network_id": found["id"], "device_owner": "network:dhcp", "status": "ACTIVE"}
                with contextlib.suppress(AssertionError):
                    self.eventually(lambda served=served: self.neutron.list("port", **served), "")

    # What the operator has in Neutron beforehand

    def make(self, resource, **fields):
        made = self.neutron.create(resource, **fields)
        self.objects.append((resource, made["id"]))
        return made

    def operators_network(self, *subnets, **fields):
        """A network with a subnet for each dict of fields; without DHCP, see let_dhcp_settle."""
        network = self.make("network", name=f"operators-{self.number}", **fields)
        made = []
        for wanted in subnets:
            family = 6 if ":" in wanted["cidr"] else 4
            made.append(self.make("subnet", network_id=network["id"], ip_version=family, enable_dhcp=False, **wanted))
        return network, *made

    # What is seen in Neutron

    def neutron_networks(self, network):
        return self.neutron.list("network", tags=",".join(tags_of(network.id)))

    def neutron_network(self, network):
        """By its tags, which a plugin may write behind its reply."""
        self.eventually(lambda: self.neutron_networks(network), "a network bears the tags of the Docker network")
        found = self.neutron_networks(network)
        check(len(found) == 1, f"{len(found)} networks in Neutron bear the tags of {network.id}")
        return found[0]

    def subnets(self, network):
        return self.neutron.list("subnet", network_id=self.neutron_network(network)["id"])

    def ports(self, neutron_network):
        """The ports of containers and machines, without those of routers and DHCP servers."""
        found = self.neutron.list("port", network_id=neutron_network["id"])
        return [port for port in found if not port["device_owner"].startswith("network:")]

    def port(self, endpoint):
        """The endpoint's port by its tags, which a plugin may write behind its reply."""

        def tagged():
            return self.neutron.list("port", tags=",".join(tags_of(endpoint.id)))

        self.eventually(tagged, "a port bears the tags of the endpoint")
        found = tagged()
        check(len(found) == 1, f"{len(found)} ports bear the tags of endpoint {endpoint.id}")
        return found[0]

    def eventually(self, condition, what, seconds=PATIENCE):
        end = time.monotonic() + seconds
        while not condition():
            check(time.monotonic() < end, f"not within {seconds} s: {what}")
            time.sleep(0.2)

    # What is left

    def everything(self):
        """All that a case could leave behind, in Neutron and on the hosts, each with a name for a person."""
        seen = {}
        for resource in RESOURCES:
            for thing in self.neutron.list(resource):
                # A project's default group comes into being whenever the project first needs it.
                if resource != "security_group" or thing["name"] != "default":
                    seen[(resource, thing["id"])] = thing["name"] or thing.get("device_owner", "")
        for engine in self.engines:
            seen.update({(engine.node.name, link): "" for link in engine.node.plugged()})
        return seen

    def left(self):
        return {key: name for key, name in self.everything().items() if key not in self.before}

    def clean(self, patience=PATIENCE):
        """Undoes what the case did not; returns what then is left all the same, and removes that as well."""
        for sandbox in self.sandboxes:
            sandbox.remove()
        for endpoint in self.endpoints:
            endpoint.stop(strict=False)
        for network in self.networks:
            self.let_dhcp_settle(network)
            network.remove(strict=False)
        for resource, identifier in reversed(self.objects):
            with contextlib.suppress(AssertionError):
                self.eventually(lambda what=resource, which=identifier: self.deleted(what, which), "", patience)
        try:
            self.eventually(lambda: not self.left(), "", patience)
            return []
        except AssertionError:
            left = self.left()
            self.sweep(left)
            return [f"{kind} {name} ({identifier})" if name else f"{kind} {identifier}" for (kind, identifier), name in sorted(left.items())]

    def deleted(self, resource, identifier):
        try:
            self.neutron.delete(resource, identifier)
            return True
        except Refused:
            return False  # still used: the plugin may not have finished

    def sweep(self, left):
        for resource in RESOURCES:
            for kind, identifier in left:
                if kind == resource:
                    self.deleted(resource, identifier)
        for engine in self.engines:
            for kind, link in left:
                if kind == engine.node.name:
                    with contextlib.suppress(CommandFailed):
                        engine.node.run("ip", "link", "delete", link)
