"""Sections about containers on the engine."""

import contextlib
import os
import pathlib
import random
import time

import contenders
import plugins
from nodes import await_condition
from places import CONTROLLER, NETWORKERS, NEUTRON
from remains import Remains, await_ready, resident, time_in_calls
from requests_log import Requests

BURSTS = (20, 50)
BURST_ROUNDS = 3
# A pool is filled again when a quarter of it is left, so that one for a burst of so many holds a third more.
BURST_POOL = 67
DELAYS = (0, 100, 1000)
DELAY_ROUNDS = 2
# The proxy's port, on a node's loopback.
PROXY = "19696"
COUNTED = 1
CONTAINER = "bench"
SLEEP = ("sleep", "1000000")
# The share of the cores' time that is idle on a calm machine, and for how many seconds that is waited for.
CALM = 0.85
CALMING = 20


def in_turns(everyone, rounds):
    """All of them so many times, each time in another order, so that nobody always comes after the same other one; the same in every run."""
    dice = random.Random(1)
    for _ in range(rounds):
        yield from dice.sample(everyone, len(everyone))


def settle(bench, contender):
    """Until nobody does anything more for what was measured before that would take the machine's time from what is measured next: neither our
    daemon behind the engine's back, nor the cloud, whose agents come to a port seconds later. The same for all contenders."""
    await_ready(bench.ours, contender.ahead)
    with contextlib.suppress(TimeoutError):
        await_condition(is_calm, "the machine is calm", CALMING)


def is_calm():
    """Whether all cores together had next to nothing to do for half a second; the agents' polling alone is less than that."""
    before, began = cpu_seconds_idle(), time.monotonic()
    time.sleep(0.5)
    return cpu_seconds_idle() - before > CALM * os.cpu_count() * (time.monotonic() - began)


def cpu_seconds_idle():
    """Of all cores, idle or waiting for a disk."""
    times = pathlib.Path("/proc/stat").read_text().splitlines()[0].split()
    return (int(times[4]) + int(times[5])) / os.sysconf("SC_CLK_TCK")


def starts(bench):
    """docker run, docker rm and the first answered ping, one container at a time, all contenders in turn."""
    nothing = contenders.Contender("none", bench.ours, None)
    there, python = contenders.of_the_python(bench.theirs)
    everyone = [nothing, *contenders.of_ours(bench.ours), there, python, *contenders.of_ours(bench.ours, dual_stack=True)]
    for contender in everyone:
        contender.set_up()
    try:
        for contender in in_turns(everyone, bench.rounds):
            one_life(bench, contender)
        for contender in everyone:
            if contender.ours or contender is python:
                requests(bench, contender)
        for name, station in (("kuryr", bench.ours), ("python", bench.theirs)):
            bench.figures.add("KiB resident after these starts", name, resident(station))
    finally:
        for contender in everyone:
            contender.tear_down()


def one_life(bench, contender):
    add = bench.figures.add
    settle(bench, contender)
    calls = time_in_calls(bench.ours)
    add("docker run", contender.name, contender.station.time(*contender.start(CONTAINER, *SLEEP)))
    if contender.ours:
        add("docker run: of it in the plugin's calls", contender.name, time_in_calls(bench.ours) - calls)
    settle(bench, contender)
    calls = time_in_calls(bench.ours)
    add("docker rm", contender.name, contender.remove(CONTAINER))
    if contender.ours:
        add("docker rm: of it in the plugin's calls", contender.name, time_in_calls(bench.ours) - calls)
    if contender.create is not None:
        settle(bench, contender)
        answer = contender.station.order("until_line", command=contender.first_ping())
        add("docker run to first ping", contender.name, answer["seconds"])


def still(bench):
    """docker run while the cloud's machine stands still, which here has its cores in common with the host: what is left is the host's own."""
    nothing = contenders.Contender("none", bench.ours, None)
    bridge, warm, _ = contenders.of_ours(bench.ours)
    everyone = [contender.set_up() for contender in (nothing, bridge, warm)]
    cloud = bench.lab[CONTROLLER]
    try:
        for contender in in_turns(everyone, bench.rounds):
            settle(bench, contender)
            # All processes of the node but its first.
            cloud.run("sh", "-c", "kill -STOP -1")
            try:
                took = contender.station.time(*contender.start(CONTAINER, *SLEEP))
            finally:
                cloud.run("sh", "-c", "kill -CONT -1")
            bench.figures.add("docker run, the cloud standing still", contender.name, took)
            contender.remove(CONTAINER)
    finally:
        for contender in everyone:
            contender.tear_down()


def requests(bench, contender):
    """What a start and a removal cost Neutron in all, by its own log."""
    log = Requests(bench.lab, NETWORKERS[0] if contender.station is bench.ours else NETWORKERS[1])
    for _ in range(COUNTED):
        count(bench, log, contender, "start", lambda: contender.station.run(*contender.start(CONTAINER, *SLEEP)))
        count(bench, log, contender, "removal", lambda: contender.remove(CONTAINER))


def count(bench, log, contender, what, action):
    """What goes on behind belongs to it, such as a port made in the place of the one that was handed out."""
    settle(bench, contender)
    log.quiet()
    before = log.count()
    action()
    settle(bench, contender)
    log.quiet()
    bench.figures.add(f"Neutron requests of a {what}", contender.name, log.count() - before)


def bursts(bench):
    """Many containers at once, and what is left of them afterwards."""
    bridge, warm, cold = contenders.of_ours(bench.ours, ahead=BURST_POOL)
    # These take up to two minutes for one, so that they have only one.
    slow = [cold, *contenders.of_the_python(bench.theirs)]
    for contender in (bridge, warm, *slow):
        contender.set_up()
    try:
        for size in BURSTS:
            for contender in [*in_turns([bridge, warm], min(BURST_ROUNDS, bench.rounds)), *slow]:
                settle(bench, contender)
                one_burst(bench, contender, size)
                bench.figures.save()
    finally:
        for contender in (bridge, warm, *slow):
            contender.tear_down()


def one_burst(bench, contender, size):
    names = [f"{CONTAINER}-{number}" for number in range(size)]
    remains = Remains(bench, contender)
    started = contender.station.order("together", commands=[contender.start(name, *SLEEP) for name in names])
    # The pool need not be full again for this.
    await_ready(bench.ours, 0)
    removed = contender.station.order("together", commands=[["docker", "rm", "--force", name] for name in names])
    add = bench.figures.add
    add(f"{size} at once: docker run", contender.name, started["seconds"])
    add(f"{size} at once: docker rm", contender.name, removed["seconds"])
    add(f"{size} at once: starts that failed", contender.name, len(started["failures"]))
    for what, left in remains.left().items():
        add(f"{size} at once: left afterwards, {what}", contender.name, left)


def networks(bench):
    """docker network create and rm, and what they cost Neutron."""
    bridge, _, kuryr = contenders.of_ours(bench.ours)
    there, python = contenders.of_the_python(bench.theirs)
    everyone = [bridge, kuryr, there, python]
    for contender in everyone:
        # A section that failed may have left its networks.
        contender.tear_down()
    for contender in in_turns(everyone, bench.rounds):
        settle(bench, contender)
        bench.figures.add("docker network create", contender.name, contender.station.time(*create(contender)))
        settle(bench, contender)
        bench.figures.add("docker network rm", contender.name, contender.station.time(*remove(contender)))
    for contender, node in ((kuryr, NETWORKERS[0]), (python, NETWORKERS[1])):
        log = Requests(bench.lab, node)
        for _ in range(COUNTED):
            count(bench, log, contender, "network create", lambda: contender.station.run(*create(contender)))
            count(bench, log, contender, "network rm", lambda: contender.station.run(*remove(contender)))


def create(contender):
    return ["docker", "network", "create", *contender.options(), contender.network]


def remove(contender):
    return ["docker", "network", "rm", contender.network]


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
            for contender in in_turns(everyone, min(DELAY_ROUNDS, bench.rounds)):
                settle(bench, contender)
                took = contender.station.time(*contender.start(CONTAINER, *SLEEP))
                bench.figures.add(f"docker run, Neutron {milliseconds} ms later", contender.name, took)
                settle(bench, contender)
                took = contender.remove(CONTAINER)
                bench.figures.add(f"docker rm, Neutron {milliseconds} ms later", contender.name, took)
            for contender in everyone:
                contender.tear_down()
    finally:
        slow_down(ours, theirs, None)


def slow_down(ours, theirs, milliseconds):
    """Starts both plugins anew: behind a proxy that holds each request back, or as they were. The node leads root's connections to Neutron to
    the proxy, which is another user's, since the Python cannot be told of another address."""
    proxy = (plugins.REPO / "tools/bench.d/slow_proxy.py").read_text()
    python = [f"{plugins.PYTHON}/bin/kuryr-server", "--config-file", plugins.CONF]
    for node, program, way in ((ours, ["kuryr", "serve"], ["--unix-socket", plugins.SOCKET]), (theirs, python, [])):
        for service in ("kuryr", "slow-neutron"):
            node.stop(service)
            node.run("rm", "-f", f"/run/lab/{service}.pid")
        host, port = NEUTRON.removeprefix("http://").split(":")
        to_neutron = ["OUTPUT", "-p", "tcp", "-d", host, "--dport", port, "-m", "owner", "--uid-owner", "root", "-j", "REDIRECT", "--to-ports", PROXY]
        if node.succeeds("iptables", "-w", "-t", "nat", "-C", *to_neutron):
            node.run("iptables", "-w", "-t", "nat", "-D", *to_neutron)
        if milliseconds is not None:
            node.launch("slow-neutron", "python3", "-c", proxy, PROXY, host, port, str(milliseconds), user="daemon")
            node.run("iptables", "-w", "-t", "nat", "-I", *to_neutron)
        node.launch("kuryr", *program)
        plugins.await_plugin(node, *way)
