"""Who is compared: a Docker network each, on a node, made before anything is timed."""

import dataclasses
import ipaddress

import docker
from nodes import await_condition
from places import LabError

KURYR = ["--driver", "kuryr", "--ipam-driver", "kuryr"]


@dataclasses.dataclass
class Contender:
    name: str
    station: object
    create: list  # what `docker network create` is told besides the ranges; none for --net none
    subnet: str = ""
    subnet6: str = ""
    ahead: int = 0  # ports that kuryr is to have made before a container is started

    ours: bool = False  # whether our daemon serves it

    @property
    def network(self):
        return f"bench-{self.name.replace(' ', '-')}" if self.create is not None else "none"

    def options(self):
        ranges = ["--subnet", self.subnet, "--gateway", str(next(ipaddress.ip_network(self.subnet).hosts()))]
        if self.subnet6:
            ranges += ["--ipv6", "--subnet", self.subnet6, "--gateway", self.subnet6.replace("/64", "1")]
        pool = ["-o", f"kuryr.pool.min={self.ahead}", "-o", f"kuryr.pool.max={self.ahead}"] if self.ahead else []
        return [*self.create, *pool, *ranges]

    def set_up(self):
        """The network, and on it a container that answers pings."""
        if self.create is None:
            return self
        self.tear_down()
        self.station.run("docker", "network", "create", *self.options(), self.network)
        self.station.run(*self.start(self.anchor, "sleep", "1000000"))
        form = f'{{{{ (index .NetworkSettings.Networks "{self.network}").IPAddress }}}}'
        self.address = self.station.run("docker", "container", "inspect", "--format", form, self.anchor)
        return self

    def tear_down(self):
        if self.create is None:
            return
        self.remove(self.anchor)
        if self.network in self.station.run("docker", "network", "ls", "--format", "{{.Name}}").split():
            await_condition(self.network_goes, f"dockerd lets {self.network} go", 30)

    def network_goes(self):
        """The engine counts an endpoint down a moment after the container's end."""
        try:
            self.station.run("docker", "network", "rm", self.network)
            return True
        except LabError:
            return False

    @property
    def anchor(self):
        return f"{self.network}-anchor"

    def start(self, container, *command):
        """The command that starts a container."""
        return ["docker", "run", "--detach", "--pull", "never", "--name", container, "--net", self.network, docker.IMAGE, *command]

    def remove(self, *containers):
        return self.station.time("docker", "rm", "--force", *containers)

    def first_ping(self):
        """The command of a container that ends when it has had an answer, having said so."""
        script = f"until ping -c 1 -W 1 {self.address} >/dev/null 2>&1; do :; done; echo answered"
        return ["docker", "run", "--rm", "--pull", "never", "--net", self.network, docker.IMAGE, "sh", "-c", script]


def of_ours(station, dual_stack=False, ahead=4):
    """The contenders on the node of our plugin: bridge, warm and cold. Without options kuryr makes no ports ahead, so that a start is cold."""
    suffix, number = (" dual stack", 110) if dual_stack else ("", 100)

    def contender(name, place, create, **more):
        subnet6 = f"fd00:{place}::/64" if dual_stack else ""
        # Large enough for any pool, which may hold a share of a subnet's free addresses.
        return Contender(f"{name}{suffix}", station, create, f"10.{number}.{4 * place}.0/22", subnet6, **more)

    return [
        contender("bridge", 1, ["--driver", "bridge"]),
        contender("kuryr warm", 2, KURYR, ahead=ahead, ours=True),
        contender("kuryr cold", 3, KURYR, ours=True),
    ]


def of_the_python(station):
    """The contenders on the other node. The bridge shows whether the nodes are alike."""
    return [
        Contender("bridge there", station, ["--driver", "bridge"], "10.120.1.0/24"),
        Contender("python", station, KURYR, "10.120.2.0/24"),
    ]
