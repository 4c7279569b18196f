#!/usr/bin/env python3
"""The embedded controller beside a real Neutron: the same requests at both, answer by answer.

  compare.py [--wording] [WORD…]      only scenarios whose name holds a WORD

Starts `kuryr serve --embedded` on a node of its own and the linuxbridge lab; see ../targets.py. A difference is either listed in
differences.py, with its reason, or an error; what is listed and not seen is one too.
"""

import argparse
import importlib
import inspect
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
sys.dont_write_bytecode = True

from differences import DIFFERENCES  # noqa: E402
from node import Node  # noqa: E402
from recorder import log_in  # noqa: E402
from targets import embedded, end_in_order, lab  # noqa: E402

MODULES = ("shape", "l2", "groups", "l3", "admin", "identity")
WORDING = ("body.NeutronError.message", "body.NeutronError.detail", "body.error.message")


def scenarios(words):
    """Functions of one recorder, by `module.name`, in the order of the files."""
    found = {}
    for module in map(importlib.import_module, (f"scenarios_{name}" for name in MODULES)):
        for name, function in vars(module).items():
            if inspect.isfunction(function) and function.__module__ == module.__name__ and not name.startswith("_"):
                found[name] = function
    return {name: function for name, function in found.items() if not words or any(word in name for word in words)}


def record(target, wanted):
    prefix, _ = target.hosts[0]
    node = Node("host", prefix)
    try:
        recorder = log_in(node, target.environment)
        for name, function in wanted.items():
            recorder.begin(name)
            try:
                function(recorder)
            finally:
                recorder.clean()
        return recorder.answers
    finally:
        node.close()


def differences(ours, theirs, where=""):
    """Each as a pair: the place, and what is there on either side."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted({*ours, *theirs}):
            place = f"{where}.{key}" if where else key
            if key not in ours:
                yield place, f"only Neutron has it: {short(theirs[key])}"
            elif key not in theirs:
                yield place, f"only kuryr has it: {short(ours[key])}"
            else:
                yield from differences(ours[key], theirs[key], place)
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, pair in enumerate(zip(ours, theirs)):
            yield from differences(*pair, f"{where}[{number}]")
    elif type(ours) is not type(theirs) or ours != theirs:
        yield where, f"kuryr {short(ours)}, Neutron {short(theirs)}"


def short(value):
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:300]}…"


def compare(ours, theirs, wording=False):
    """Prints what is not listed; returns the number of it, what is listed in vain, and how many texts differ only in their words."""
    used, bad, worded = set(), 0, 0
    for label in [*ours, *(label for label in theirs if label not in ours)]:
        if label not in ours or label not in theirs:
            bad += 1
            print(f"{label}\n    asked of one side only; an earlier answer differs")
            continue
        for place, what in differences(ours[label], theirs[label]):
            listed = next((entry for entry in DIFFERENCES if entry.matches(label, place)), None)
            said = place in WORDING and what.startswith("kuryr ")
            if listed:
                used.add(listed)
            worded += said
            bad += not (listed or said)
            if wording if said else not listed:
                print(f"{label}\n    {place}: {what}")
    return bad, [entry for entry in DIFFERENCES if entry not in used], worded


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wording", action="store_true", help="show where errors of one type are worded differently, which is no error here")
    parser.add_argument("words", nargs="*", metavar="WORD")
    given = parser.parse_args()
    end_in_order()
    wanted = scenarios(given.words)
    with embedded() as target:
        ours = record(target, wanted)
    with lab("linuxbridge", "none") as target:
        theirs = record(target, wanted)
    bad, unused, worded = compare(ours, theirs, given.wording)
    unused = [] if given.words else unused
    for entry in unused:
        print(f"listed in differences.py, but not seen: {entry}")
    print(f"{len(ours)} answers in {len(wanted)} scenarios compared: {bad} differences that are not listed, {worded} errors in other words")
    return 1 if bad or unused else 0


if __name__ == "__main__":
    sys.exit(main())
