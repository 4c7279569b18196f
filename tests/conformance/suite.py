#!/usr/bin/env python3
"""The conformance suite: what a Docker plugin for Neutron has to do, seen from outside, by its address and Neutron's.

  suite.py --plugin ADDRESS --via 'COMMAND' [--plugin ADDRESS --via 'COMMAND'] [--faults kuryr|python] [WORD...]

ADDRESS is the plugin's socket or URL as seen on the host on which COMMAND runs commands; a second pair is a second host on the same cloud.
Neutron is found by OS_AUTH_URL and the other OS_* variables, from the first host. Only cases whose name holds a WORD are run.
"""

import argparse
import importlib
import os
import pathlib
import shlex
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "cases")]
sys.dont_write_bytecode = True

from engine import Engine  # noqa: E402
from kuryr_faults import KURYR_FAULTS  # noqa: E402
from neutron import Neutron  # noqa: E402
from node import Node  # noqa: E402
from python_faults import PYTHON_FAULTS, PYTHON_RACES  # noqa: E402
from world import Skipped, World  # noqa: E402

MODULES = ("protocol", "networks", "addresses", "endpoints", "existing", "ports", "zun", "two_hosts")
FAULTS = {"none": ({}, {}), "kuryr": (KURYR_FAULTS, {}), "python": (PYTHON_FAULTS, PYTHON_RACES)}


def cases(words=()):
    """Name and function of each case, in the order of the files. A case is a function `case_…` of one world."""
    found = {}
    for module in map(importlib.import_module, MODULES):
        for name, function in vars(module).items():
            if name.startswith("case_"):
                found[f"{module.__name__}.{name.removeprefix('case_')}"] = function
    unknown = {*KURYR_FAULTS, *PYTHON_FAULTS, *PYTHON_RACES} - set(found)
    if unknown:
        sys.exit(f"the lists of faults name cases that are not there: {sorted(unknown)}")
    return {name: function for name, function in found.items() if not words or any(word in name for word in words)}


def run_case(function, engines, neutron):
    """Returns what went wrong, "" when nothing did. Raises Skipped."""
    world = World(engines, neutron)
    wrong = ""
    try:
        function(world)
    except Skipped:
        raise
    except AssertionError as error:
        wrong = str(error)
    except Exception as error:
        wrong = f"{type(error).__name__}: {error}"
        if os.environ.get("CONFORMANCE_TRACE"):
            traceback.print_exc()
    finally:
        # A case that failed leaves things behind more often than not.
        left = world.clean(*([10] if wrong else []))
    if left:
        wrong += f"{'; and ' if wrong else ''}left behind: {', '.join(left)}"
    return wrong


def judge(name, wrong, faults, races):
    """The word in the table, and whether the suite may pass with it."""
    if name in races:
        return ("lost the race" if wrong else "won the race"), True
    if name in faults:
        return ("known fault", True) if wrong else ("LISTED, YET PASSES", False)
    return ("FAILS", False) if wrong else ("passes", True)


def run(hosts, environment, faults="none", words=()):
    """Runs the cases on `hosts`, pairs of a command prefix and an address; returns case → word of the table, and whether all is well."""
    nodes = [Node(f"host {number}", prefix) for number, (prefix, _) in enumerate(hosts, 1)]
    table, well = {}, True
    try:
        engines = [Engine(node, address) for node, (_, address) in zip(nodes, hosts)]
        neutron = Neutron(nodes[0], environment)
        for name, function in cases(words).items():
            began = time.monotonic()
            try:
                wrong = run_case(function, engines, neutron)
                table[name], fine = judge(name, wrong, *FAULTS[faults])
            except Skipped as reason:
                # With two hosts at hand nothing is missing.
                wrong, table[name], fine = "", f"not run: {reason}", len(hosts) == 1
            well &= fine
            print(f"{table[name]:<20} {name:<50} {time.monotonic() - began:5.1f} s{': ' + wrong if wrong else ''}", flush=True)
    finally:
        for node in nodes:
            node.close()
    return table, well


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plugin", action="append", required=True, metavar="ADDRESS")
    parser.add_argument("--via", action="append", required=True, metavar="COMMAND")
    parser.add_argument("--faults", choices=sorted(FAULTS), default="none", help="the list of known faults to hold the plugin to")
    parser.add_argument("words", nargs="*", metavar="WORD")
    given = parser.parse_args()
    if len(given.plugin) != len(given.via):
        parser.error("each --plugin needs its --via")
    hosts = [(shlex.split(via), plugin) for via, plugin in zip(given.via, given.plugin)]
    _, well = run(hosts, os.environ, given.faults, given.words)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
