"""Sections about the embedded controller: its API beside the real Neutron's, and its growth."""

import json

import figures
import rest
from engine import DockerNetwork, Endpoint, Engine, Range
from nodes import await_condition
from path import STARTING, TimedNode
from places import CONTROLLER, NEUTRON, LabError
from station import Station

# A network, a mount and an IPC namespace with loopback, an empty /run and nothing else.
ALONE = ["unshare", "--net", "--mount", "--ipc", "--", "sh", "-c",
         'mount --make-rprivate /; mount -t tmpfs tmpfs /run; mount -t sysfs sysfs /sys; ip link set lo up; exec "$@"', "alone"]
EMBEDDED = "http://127.0.0.1:9696"
SOCKET = "/run/docker/plugins/kuryr.sock"
WORKERS = 4
REQUESTS = 40
LEVELS = (0, 1000, 10000)
DAEMON, EMBEDDED_DAEMON, CONTROLLER_ALONE = ("serve",), ("serve", "--embedded"), ("controller",)
READY = "start of the daemon"
RESIDENT = "KiB resident after its start"
# A bridge of Linux takes 1024 ports.
PORTS_OF_A_NETWORK = 1000
SAMPLES = 30


class Alone:
    """Our daemon with its embedded controller, in one process or in two, in namespaces of their own."""

    def __init__(self, binary):
        self.binary = str(binary)
        self.station = Station(ALONE)
        self.state = self.station.run("mktemp", "--directory")
        self.running = {}

    def environment(self):
        return {"OS_KURYR__STATE_PATH": self.state}

    def start(self, *words, until="ready", **environment):
        """Seconds until `kuryr WORDS` serves."""
        order = {"command": [self.binary, *words], "env": {**self.environment(), **environment}, "until": until}
        started = self.station.order("spawn", **order)
        self.running[words] = started["pid"]
        return started["seconds"]

    def start_controller(self):
        """Without the daemon; returns the environment for one beside it."""
        self.start(*CONTROLLER_ALONE, until="")
        await_condition(self.controller_answers, "the embedded controller answers", 30)
        return self.credentials()

    def controller_answers(self):
        try:
            return self.station.order("call", address=EMBEDDED, method="GET", path="/", text=None, headers={})["status"] < 500
        except LabError:
            return False

    def end(self, *words):
        self.station.order("end", pid=self.running.pop(words))

    def resident(self, *words):
        """KiB."""
        status = self.station.run("cat", f"/proc/{self.running[words]}/status")
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")))

    def credentials(self):
        """OS_* for the controller."""
        settings = " ".join(f"{name}={value}" for name, value in self.environment().items())
        lines = self.station.run("sh", "-c", f"{settings} {self.binary} controller rc").splitlines()
        rc = dict(line.removeprefix("export ").split("=", 1) for line in lines if "=" in line)
        return {name: value.strip("'\"") for name, value in rc.items()}

    def token(self):
        rc = self.credentials()
        domain = {"name": rc.get("OS_USER_DOMAIN_NAME", "Default")}
        user = {"name": rc["OS_USERNAME"], "password": rc["OS_PASSWORD"], "domain": domain}
        scope = {"project": {"name": rc["OS_PROJECT_NAME"], "domain": domain}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        answer = self.station.order("call", address=EMBEDDED, method="POST", path="/identity/v3/auth/tokens", text=json.dumps(body), headers={})
        return answer["headers"]["x-subject-token"]

    def close(self):
        for words in list(self.running):
            self.end(*words)
        self.station.run("rm", "-rf", self.state)
        self.station.close()


def api(bench):
    """Requests a second with four clients: ports made, listed, removed."""
    alone, real = Alone(bench.binary), Station(bench.lab[CONTROLLER].command())
    try:
        alone.start(*EMBEDDED_DAEMON)
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
    """Endpoints without containers, up to the last level: what one more start takes then, the daemon's memory, and its restart. The controller
    is a process of its own here, so that the daemon's memory is the daemon's."""
    alone, add = Alone(bench.binary), bench.figures.add
    try:
        for _ in range(bench.rounds):
            add(READY, "0 endpoints, embedded controller", alone.start(*EMBEDDED_DAEMON))
            add(RESIDENT, "0 endpoints, embedded controller", alone.resident(*EMBEDDED_DAEMON))
            alone.end(*EMBEDDED_DAEMON)
        cloud = alone.start_controller()
        for _ in range(bench.rounds):
            add(READY, "0 endpoints", alone.start(*DAEMON, **cloud))
            add(RESIDENT, "0 endpoints", alone.resident(*DAEMON))
            alone.end(*DAEMON)
        empty = figures.median(bench.figures.values(RESIDENT, "0 endpoints"))
        alone.start(*DAEMON, **cloud)
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
                add("the calls of one more start", name, sum(node.took[call] for call in STARTING))
            if level:
                add("KiB resident", name, alone.resident(*DAEMON))
                for _ in range(bench.rounds):
                    alone.end(*DAEMON)
                    add(READY, name, alone.start(*DAEMON, **cloud))
                    add(RESIDENT, name, alone.resident(*DAEMON))
                    add("KiB resident for each endpoint", name, (alone.resident(*DAEMON) - empty) / level)
            bench.figures.save()
    finally:
        alone.close()
