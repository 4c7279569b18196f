"""Sections about the embedded controller: its API beside the real Neutron's, and its growth."""

import json

import rest
from engine import DockerNetwork, Endpoint, Engine, Range
from path import STARTING, TimedNode
from places import CONTROLLER, NEUTRON
from station import Station

# A network, a mount and an IPC namespace with loopback, an empty /run and nothing else.
ALONE = ["unshare", "--net", "--mount", "--ipc", "--", "sh", "-c",
         'mount --make-rprivate /; mount -t tmpfs tmpfs /run; mount -t sysfs sysfs /sys; ip link set lo up; exec "$@"', "alone"]
EMBEDDED = "http://127.0.0.1:9696"
SOCKET = "/run/docker/plugins/kuryr.sock"
WORKERS = 4
REQUESTS = 100
LEVELS = (0, 1000, 10000)
# A bridge of Linux takes 1024 ports.
PORTS_OF_A_NETWORK = 1000
SAMPLES = 30


class Alone:
    """Our daemon with its embedded controller in namespaces of its own."""

    def __init__(self, binary):
        self.binary = str(binary)
        self.station = Station(ALONE)
        self.state = self.station.run("mktemp", "--directory")
        self.pid = None

    def environment(self):
        return {"OS_KURYR__STATE_PATH": self.state}

    def start(self):
        """Seconds until it serves."""
        started = self.station.order("spawn", command=[self.binary, "serve", "--embedded"], env=self.environment(), until="ready")
        self.pid = started["pid"]
        return started["seconds"]

    def end(self):
        self.station.order("end", pid=self.pid)
        self.pid = None

    def resident(self):
        """KiB."""
        status = self.station.run("cat", f"/proc/{self.pid}/status")
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))

    def token(self):
        settings = " ".join(f"{name}={value}" for name, value in self.environment().items())
        lines = self.station.run("sh", "-c", f"{settings} {self.binary} controller rc").splitlines()
        rc = dict(line.removeprefix("export ").split("=", 1) for line in lines if "=" in line)
        rc = {name: value.strip("'\"") for name, value in rc.items()}
        domain = {"name": rc.get("OS_USER_DOMAIN_NAME", "Default")}
        user = {"name": rc["OS_USERNAME"], "password": rc["OS_PASSWORD"], "domain": domain}
        scope = {"project": {"name": rc["OS_PROJECT_NAME"], "domain": domain}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        answer = self.station.order("call", address=EMBEDDED, method="POST", path="/identity/v3/auth/tokens", text=json.dumps(body), headers={})
        return answer["headers"]["x-subject-token"]

    def close(self):
        if self.pid:
            self.end()
        self.station.run("rm", "-rf", self.state)
        self.station.close()


def api(bench):
    """Requests a second with four clients: ports made, listed, removed."""
    alone, real = Alone(bench.binary), Station(bench.lab[CONTROLLER].command())
    try:
        alone.start()
        rivals = (
            ("embedded controller", alone.station, EMBEDDED, "/networking", alone.token()),
            ("real Neutron", real, NEUTRON, "", rest.Cloud(bench.lab[CONTROLLER]).token),
        )
        for _ in range(3):
            for rival in rivals:
                one_load(bench, *rival)
    finally:
        real.close()
        alone.close()


def one_load(bench, name, station, address, prefix, token):
    def load(requests, texts=False):
        answer = station.order("load", address=address, headers={"X-Auth-Token": token}, requests=requests, workers=WORKERS, texts=texts)
        return answer["rate"], [json.loads(text) for text in answer["texts"]]

    def one(method, path, body):
        return load([(method, f"{prefix}/v2.0{path}", body)], texts=True)[1][0]

    network = one("POST", "/networks", {"network": {"name": "bench"}})["network"]["id"]
    one("POST", "/subnets", {"subnet": {"network_id": network, "ip_version": 4, "cidr": "10.140.0.0/20"}})
    made = [("POST", f"{prefix}/v2.0/ports", {"port": {"network_id": network, "name": "bench"}})] * REQUESTS
    rate, ports = load(made, texts=True)
    bench.figures.add("ports made a second", name, rate)
    listing = [("GET", f"{prefix}/v2.0/ports?network_id={network}&limit=50", None)] * (REQUESTS // 4)
    bench.figures.add("lists of 50 ports a second", name, load(listing)[0])
    gone = [("DELETE", f"{prefix}/v2.0/ports/{port['port']['id']}", None) for port in ports]
    bench.figures.add("ports removed a second", name, load(gone)[0])
    load([("DELETE", f"{prefix}/v2.0/networks/{network}", None)])


def growth(bench):
    """Endpoints without containers, up to the last level: what one more start takes then, the daemon's memory, and its restart."""
    alone = Alone(bench.binary)
    try:
        for _ in range(bench.rounds):
            bench.figures.add("start of the daemon", "0 endpoints", alone.start())
            bench.figures.add("KiB resident after its start", "0 endpoints", alone.resident())
            alone.end()
        alone.start()
        node = TimedNode(alone.station)
        engine, made, network = Engine(node, SOCKET), 0, None
        for level in LEVELS:
            while made < level:
                if made % PORTS_OF_A_NETWORK == 0:
                    place = f"10.{150 + made // PORTS_OF_A_NETWORK}"
                    network = DockerNetwork(engine, [Range(f"{place}.0.0/20", f"{place}.0.1")]).create()
                Endpoint(network).start()
                made += 1
            if level == 0:
                network = DockerNetwork(engine, [Range("10.149.0.0/20", "10.149.0.1")]).create()
            name = f"{level} endpoints"
            for _ in range(SAMPLES):
                node.took = {}
                Endpoint(network).start().stop()
                bench.figures.add("the calls of one more start", name, sum(node.took[call] for call in STARTING))
            if level:
                bench.figures.add("KiB resident", name, alone.resident())
                alone.end()
                bench.figures.add("start of the daemon", name, alone.start())
                bench.figures.add("KiB resident after its start", name, alone.resident())
            bench.figures.save()
    finally:
        alone.close()
