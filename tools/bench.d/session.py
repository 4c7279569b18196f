"""One run: the lab with ours on network-1 and the Python on network-2, the sections in their order, and what they measured kept."""

import dataclasses
import datetime
import os
import pathlib
import platform
import subprocess

import alone
import containers
import figures
import life
import path
import plugins
import wire
from places import NETWORKERS, REPO, SUITE_OF_CLOUD
from station import Station

LAB_SECTIONS = {
    "starts": containers.starts,
    "bursts": containers.bursts,
    "networks": containers.networks,
    "path": path.path,
    "delay": containers.delay,
    "wire": wire.wire,
    "api": alone.api,
}
SECTIONS = [*LAB_SECTIONS, "growth"]


@dataclasses.dataclass
class Bench:
    """What a section works with."""

    figures: figures.Figures
    rounds: int
    binary: pathlib.Path
    lab: dict = None
    ours: Station = None
    theirs: Station = None


def default_out(cloud):
    return REPO / f"target/bench/{cloud}.json"


def run(sections, cloud, rounds, out):
    kept = figures.Figures(out)
    bench = Bench(kept, rounds, plugins.binary(life.say))
    kept.about(
        date=datetime.date.today().isoformat(),
        cloud=cloud,
        kernel=platform.release(),
        cores=os.cpu_count(),
        commit=subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=REPO, capture_output=True, text=True, check=True).stdout.strip(),
    )
    wanted = [name for name in sections if name in LAB_SECTIONS]
    if wanted:
        beside_a_cloud(bench, wanted, cloud)
    if "growth" in sections:
        life.say("growth")
        kept.begin("growth")
        alone.growth(bench)
        kept.save()


def beside_a_cloud(bench, sections, cloud):
    life.down()
    try:
        life.up(cloud, "kuryr", None, False)
        bench.lab = life.all_nodes()
        python = bench.lab[NETWORKERS[1]]
        plugins.prepare(SUITE_OF_CLOUD[cloud], life.say)
        plugins.end(python)
        plugins.start(python, "python")
        bench.ours, bench.theirs = (Station(bench.lab[name].command()) for name in NETWORKERS)
        docker = bench.ours.run("docker", "version", "--format", "{{.Server.Version}}")
        bench.figures.about(docker=docker)
        for name in sections:
            life.say(name)
            bench.figures.begin(name)
            LAB_SECTIONS[name](bench)
            bench.figures.save()
        bench.ours.close()
        bench.theirs.close()
    finally:
        life.down()
