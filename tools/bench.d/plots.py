"""Plots of a section as SVG, by matplotlib, which is installed into a venv of its own when it is needed."""

import json
import subprocess
import sys

from places import REPO

VENV = REPO / "target/bench/venv"
# What is worth a picture; the tables have the rest.
PICTURES = {
    "starts": ("docker run", "docker rm", "docker run to first ping"),
    "bursts": ("20 at once: docker run", "50 at once: docker run"),
    "networks": ("docker network create", "docker network rm"),
    "delay": ("docker run, Neutron 0 ms later", "docker run, Neutron 100 ms later", "docker run, Neutron 1000 ms later"),
    "growth": ("the calls of one more start", "start of the daemon"),
}

DRAW = """
import json, sys
import matplotlib
matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "kuryr"
import matplotlib.pyplot as plot
asked = json.load(sys.stdin)
figure, axes = plot.subplots(1, len(asked["series"]), figsize=(4.5 * len(asked["series"]), 3.2), squeeze=False)
for place, (what, contenders) in zip(axes[0], asked["series"].items()):
    place.boxplot([[1000 * value for value in values] for values in contenders.values()], orientation="horizontal", showfliers=False)
    place.set_yticklabels(contenders)
    place.invert_yaxis()
    place.set_xlim(left=0)
    place.set_xlabel("ms")
    place.set_title(what, fontsize=10)
figure.tight_layout()
figure.savefig(asked["file"], metadata={"Date": None})
"""


def draw(kept, section, folder):
    """The pictures of the section; none for most."""
    table = kept.kept["sections"][section]
    series = {what: table[what] for what in PICTURES.get(section, ()) if what in table}
    if not series:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{kept.kept['about']['cloud']}-{section}.svg"
    subprocess.run([python(), "-c", DRAW], input=json.dumps({"series": series, "file": str(file)}), text=True, check=True)
    return [file]


def python():
    if not (VENV / "complete").exists():
        print("Installing matplotlib into target/bench/venv", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
        subprocess.run([VENV / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "matplotlib"], check=True, stdin=subprocess.DEVNULL)
        (VENV / "complete").touch()
    return VENV / "bin/python3"
