#!/usr/bin/env python3
"""kuryr on a real OpenStack, from nothing to nothing: `tools/lab` on one cloud, and on it everything that is to be tried there.

  tests/lab/suite.py CLOUD [STEP…] [--docker 20.10|26.1|28.5]

A STEP is one of the functions of steps.py without their `step_`; without any, those of DEFAULT are taken. The first failure ends it. In the
end `down` has to leave the machine as it was, also after a failure and when told to end by a signal.
"""

import argparse
import signal
import sys
import time
import traceback

sys.dont_write_bytecode = True

import lab
import steps

# The quick ones first, and the conformance suite, which takes longest, last.
DEFAULT = {
    "linuxbridge": [
        "up_again", "walkthrough", "security_groups", "faults", "outages", "nested", "old_configuration", "published_ports", "python_to_ours",
        "ours_to_python", "book", "controller", "conformance",
    ],
    "ovn": ["walkthrough", "security_groups", "nested", "book", "conformance"],
    "ovs": ["walkthrough", "security_groups", "python_to_ours", "ours_to_python", "conformance"],
    "ovs-hybrid": ["walkthrough", "hybrid", "security_groups", "conformance"],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cloud", choices=sorted(DEFAULT), metavar="CLOUD")
    parser.add_argument("steps", nargs="*", metavar="STEP")
    parser.add_argument("--docker", metavar="VERSION", help="default: the one of the cloud's Debian")
    given = parser.parse_intermixed_args()
    cloud = given.cloud
    functions = {name: getattr(steps, f"step_{name}", None) for name in given.steps or DEFAULT[cloud]}
    if None in functions.values():
        parser.error(f"steps.py has no step of {[name for name, function in functions.items() if function is None]}")
    if given.docker:
        lab.OPTIONS += ["--docker", given.docker]
    # As an exception, so that `finally` is reached.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    # What a run that was killed left behind is no finding of this one.
    lab.lab("down")
    lab.expect_clean_machine("before the start")
    try:
        timed("up", lambda: lab.up(cloud))
        for name, function in functions.items():
            timed(name, lambda function=function: function(cloud))
    except Exception:
        # After the failure's own text, since of a long output only the end may be kept.
        traceback.print_exc()
        print(lab.logs(), flush=True)
        sys.exit(1)
    finally:
        held = lab.namespaces()
        lab.lab("down")
    lab.expect_gone(held)
    print(f"{cloud}: {len(functions)} passed, 0 failed; `down` left nothing")


def timed(name, step):
    began = time.monotonic()
    print(f"-- {name}", flush=True)
    step()
    print(f"ok {name} ({time.monotonic() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
