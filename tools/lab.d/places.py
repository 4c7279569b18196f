"""Where the lab keeps its things, and the addresses of the original walkthrough."""

import os
import pathlib

REPO = pathlib.Path(__file__).resolve().parent.parent.parent
CODE = REPO / "tools/lab.d"

# Roots and downloaded packages outlive a lab; RUN is one lab's own and goes with `down`.
CACHE = pathlib.Path(os.environ.get("KURYR_LAB_CACHE", "/var/cache/kuryr-lab"))
NAME = os.environ.get("KURYR_LAB", "lab")
RUN = CACHE / "run" / NAME

CONTROLLER = "controller"
NETWORKERS = ("network-1", "network-2")
ADDRESS = {CONTROLLER: "172.16.1.115", "network-1": "172.16.1.118", "network-2": "172.16.1.119"}
PREFIX = 24

PASSWORD = "pass"  # of every account of the lab, which no other machine can reach
KEYSTONE = f"http://{ADDRESS[CONTROLLER]}:5000/v3"
KEYSTONE_OLD = f"http://{ADDRESS[CONTROLLER]}:35357/v2.0"  # as the walkthrough's kuryr.conf has it
NEUTRON = f"http://{ADDRESS[CONTROLLER]}:9696"

SUITE_OF_CLOUD = {"linuxbridge": "bookworm", "ovs": "trixie", "ovs-hybrid": "trixie", "ovn": "trixie"}
SUITE_OF_DOCKER = {"20.10": "bookworm", "26.1": "trixie", "28.5": "sid"}


class LabError(Exception):
    """Something a person has to know; the text says what was tried and what came back."""
