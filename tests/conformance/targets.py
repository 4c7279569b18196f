"""What the suite is held against: each target is started with everything it needs, and stopped with nothing left of it."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

from node import Node

HERE = pathlib.Path(__file__).resolve().parent
REPO = HERE.parent.parent
SOCKET = "/run/docker/plugins/kuryr.sock"
URI = "http://127.0.0.1:23750"


class Target:
    """`hosts` are pairs of a command prefix and the plugin's address there, `environment` has the OS_* variables of the cloud, `faults` names
    the list of known ones."""

    def __init__(self, hosts, environment, faults="none"):
        self.hosts, self.environment, self.faults = hosts, environment, faults


def end_in_order():
    """Being told to end is an exception, so that targets are stopped."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))


def binary():
    """KURYR_BINARY, else the release build."""
    return os.environ.get("KURYR_BINARY", str(REPO / "target/release/kuryr"))


def exports(text):
    """The variables of an openrc."""
    lines = (line.removeprefix("export ").split("=", 1) for line in text.splitlines() if line.startswith("export "))
    return {name: value.strip("'\"") for name, value in lines}


@contextlib.contextmanager
def embedded():
    """Our daemon with the controller inside, on one machine made of a namespace. No engine runs there."""
    name = os.environ.get("KURYR_CONFORMANCE_NODE", "conformance")
    tool = str(REPO / "tests/e2e/node")
    prefix = [tool, "run", name]
    subprocess.run([tool, "bare", name], check=True, stdin=subprocess.DEVNULL)
    log = pathlib.Path(f"/var/tmp/kuryr-node.{name}/kuryr.log")
    try:
        with open(log, "w") as output:
            daemon = subprocess.Popen([*prefix, binary(), "serve", "--embedded"], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        await_plugin(prefix, daemon, log)
        rc = subprocess.run([*prefix, binary(), "controller", "rc"], check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        yield Target([(prefix, SOCKET)], exports(rc.stdout), "kuryr")
    finally:
        subprocess.run([tool, "down", name], check=True, stdin=subprocess.DEVNULL)


def await_plugin(prefix, daemon, log):
    node = Node("the node", prefix)
    end = time.monotonic() + 30
    while not node.succeeds("test", "-S", SOCKET):
        if daemon.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"kuryr does not start: {log.read_text()[-2000:]}")
        time.sleep(0.1)
    node.close()


@contextlib.contextmanager
def lab(cloud, plugin):
    """The real Neutron, and the plugin on both network nodes. A lab of KURYR_LAB's name that is up already is used and left up."""
    tool = str(REPO / "tools/lab")
    was_up = subprocess.run([tool, "status"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False).returncode == 0
    try:
        subprocess.run([tool, "up", "--cloud", cloud, "--plugin", plugin], check=True, stdin=subprocess.DEVNULL)
        rc = subprocess.run(
            [tool, "exec", "controller", "cat", "/root/keystonerc_admin"], check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        address = SOCKET if plugin == "kuryr" else URI
        hosts = [([tool, "exec", name], address) for name in ("network-1", "network-2")]
        yield Target(hosts, exports(rc.stdout), plugin if plugin in ("kuryr", "python") else "none")
    finally:
        if not was_up:
            subprocess.run([tool, "down"], check=True, stdin=subprocess.DEVNULL)


TARGETS = {
    "embedded": embedded,
    "lab": lambda: lab("linuxbridge", "kuryr"),
    "lab-ovn": lambda: lab("ovn", "kuryr"),
    "lab-ovs": lambda: lab("ovs", "kuryr"),
    "lab-ovs-hybrid": lambda: lab("ovs-hybrid", "kuryr"),
    "lab-python": lambda: lab("linuxbridge", "python"),
}
