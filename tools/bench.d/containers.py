"""Sections about containers on the engine."""

import itertools

import contenders
import plugins
import rest
from nodes import await_condition
from places import CONTROLLER, NETWORKERS, NEUTRON
from requests_log import Requests

BURSTS = (20, 50)
# The Python takes too long for more, and half of it fails.
BURST_ROUNDS = 3
DELAYS = (100, 1000)
DELAY_ROUNDS = 5
CONTAINER = "bench"
SLEEP = ("sleep", "1000000")


def starts(bench):
    """docker run, docker rm and the first answered ping, one container at a time, all contenders in turn."""
    nothing = contenders.Contender("none", bench.ours, None)
    four = [nothing, *contenders.of_ours(bench.ours), *contenders.of_the_python(bench.theirs)]
    six = contenders.of_ours(bench.ours, " dual stack", subnet6=True)
    everyone = [contender.set_up() for contender in four + six]
    try:
        for number in range(bench.rounds):
            # No contender always comes after the same other one.
            for contender in everyone[number % len(everyone) :] + everyone[: number % len(everyone)]:
                one_life(bench, contender)
        for contender in everyone[1:]:
            requests(bench, contender)
    finally:
        for contender in everyone:
            contender.tear_down()


def one_life(bench, contender):
    add = bench.figures.add
    add("docker run", contender.name, contender.station.time(*contender.start(CONTAINER, *SLEEP)))
    add("docker rm", contender.name, contender.remove(CONTAINER))
    if contender.create is not None:
        answer = contender.station.order("until_line", command=contender.first_ping())
        add("docker run to first ping", contender.name, answer["seconds"])


def requests(bench, contender):
    """What a start and a removal cost Neutron, by its own log: until the engine has its answer, and in all."""
    log = Requests(bench.lab, NETWORKERS[0] if contender.station is bench.ours else NETWORKERS[1])
    for _ in range(3):
        for what, action in (("start", lambda: contender.station.run(*contender.start(CONTAINER, *SLEEP))), ("removal", lambda: contender.remove(CONTAINER))):
            log.quiet()
            before = log.count()
            action()
            bench.figures.add(f"Neutron requests of a {what}, before it is done", contender.name, log.count() - before)
            log.quiet()
            bench.figures.add(f"Neutron requests of a {what}, in all", contender.name, log.count() - before)


def bursts(bench):
    """Many containers at once, and what is left of them afterwards."""
    warm = contenders.Contender("kuryr", bench.ours, [*contenders.KURYR, "-o", f"kuryr.pool.min={max(BURSTS)}", "-o", "kuryr.pool.max=100"], "10.100.2.0/24")
    bridge, _, cold = contenders.of_ours(bench.ours)
    there, python = contenders.of_the_python(bench.theirs)
    everyone = [contender.set_up() for contender in (bridge, warm, cold, there, python)]
    try:
        for size, _ in itertools.product(BURSTS, range(BURST_ROUNDS)):
            for contender in everyone:
                if contender is warm:
                    await_ports(bench, size + 1)
                one_burst(bench, contender, size)
    finally:
        for contender in everyone:
            contender.tear_down()


def one_burst(bench, contender, size):
    names = [f"{CONTAINER}-{number}" for number in range(size)]
    started = contender.station.order("together", commands=[contender.start(name, *SLEEP) for name in names])
    removed = contender.station.order("together", commands=[["docker", "rm", "--force", name] for name in names])
    bench.figures.add(f"{size} at once: docker run", contender.name, started["seconds"])
    bench.figures.add(f"{size} at once: docker rm", contender.name, removed["seconds"])
    bench.figures.add(f"{size} at once: starts that failed", contender.name, len(started["failures"]))


def await_ports(bench, number):
    """Until so many ports are ACTIVE on our node: those of the pool and of the anchor."""
    cloud = rest.Cloud(bench.lab[CONTROLLER])
    query = f"{NEUTRON}/v2.0/ports?binding:host_id={NETWORKERS[0]}&status=ACTIVE&fields=id&fields=device_owner"

    def there():
        ports = cloud.call("GET", query)["ports"]
        return sum(port["device_owner"].startswith("compute:kuryr") for port in ports) >= number

    await_condition(there, f"{number} ports are ACTIVE on {NETWORKERS[0]}", 180)


def networks(bench):
    """docker network create and rm."""
    everyone = [*contenders.of_ours(bench.ours), *contenders.of_the_python(bench.theirs)]
    for _ in range(bench.rounds):
        for contender in everyone:
            create = ["docker", "network", "create", *contender.options(), contender.network]
            bench.figures.add("docker network create", contender.name, contender.station.time(*create))
            bench.figures.add("docker network rm", contender.name, contender.station.time("docker", "network", "rm", contender.network))


def delay(bench):
    """Starts beside a Neutron whose answers come later."""
    ours, theirs = (bench.lab[name] for name in NETWORKERS)
    _, warm, cold = contenders.of_ours(bench.ours)
    _, python = contenders.of_the_python(bench.theirs)
    everyone = [warm, cold, python]
    try:
        for milliseconds in DELAYS:
            slow_down(ours, theirs, milliseconds)
            for contender in everyone:
                contender.set_up()
            for _ in range(DELAY_ROUNDS):
                for contender in everyone:
                    took = contender.station.time(*contender.start(CONTAINER, *SLEEP))
                    bench.figures.add(f"docker run, Neutron {milliseconds} ms later", contender.name, took)
                    contender.remove(CONTAINER)
            for contender in everyone:
                contender.tear_down()
    finally:
        slow_down(ours, theirs, None)


def slow_down(ours, theirs, milliseconds):
    """Starts both plugins anew: behind a proxy that holds each request back, or as they were."""
    proxy = (plugins.REPO / "tools/bench.d/slow_proxy.py").read_text()
    python = [f"{plugins.PYTHON}/bin/kuryr-server", "--config-file", plugins.CONF]
    for node, program, way in ((ours, ["kuryr", "serve"], ["--unix-socket", plugins.SOCKET]), (theirs, python, [])):
        for service in ("kuryr", "slow-neutron"):
            node.stop(service)
            node.run("rm", "-f", f"/run/lab/{service}.pid")
        environment = []
        if milliseconds is not None:
            host, port = NEUTRON.removeprefix("http://").split(":")
            node.launch("slow-neutron", "python3", "-c", proxy, "19696", host, port, str(milliseconds))
            environment = ["env", "OS_NEUTRON__ENDPOINT_OVERRIDE=http://127.0.0.1:19696"]
        node.launch("kuryr", *environment, *program)
        plugins.await_plugin(node, *way)
