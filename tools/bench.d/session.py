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
from places import NETWORKERS, REPO, SUITE_OF_CLOUD, LabError
from station import Station

LAB_SECTIONS = {
    "starts": containers.starts,
    "still": containers.still,
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
    failed: list = dataclasses.field(default_factory=list)


def default_out(cloud):
    return REPO / f"target/bench/{cloud}.json"


# The embedded controller runs on the machine itself, in namespaces.
INSTALL = ". tools/install; need_root; need_commands ip=iproute2 nft=nftables iptables=iptables"


def run(sections, cloud, rounds, out):
    subprocess.run(["bash", "-euc", INSTALL, "tools/bench"], cwd=REPO, check=True, stdin=subprocess.DEVNULL)
    kept = figures.Figures(out)
    bench = Bench(kept, rounds, plugins.binary(life.say))
    kept.about(
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        cloud=cloud,
        kernel=platform.release(),
        cores=os.cpu_count(),
        memory=f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        commit=subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=REPO, capture_output=True, text=True, check=True).stdout.strip(),
    )
    wanted = [name for name in sections if name in LAB_SECTIONS]
    if wanted:
        beside_a_cloud(bench, wanted, cloud)
    if "growth" in sections:
        measure(bench, "growth", alone.growth)
    if bench.failed:
        raise LabError(f"sections that failed: {', '.join(bench.failed)}; what they had measured is in {out}")


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
            measure(bench, name, LAB_SECTIONS[name])
        bench.ours.close()
        bench.theirs.close()
    finally:
        life.down()


def measure(bench, name, section):
    """What a section measured before it failed is kept, and the others have their turn."""
    life.say(name)
    bench.figures.begin(name)
    try:
        section(bench)
    except Exception as error:  # whatever it is, hours of measuring must not be lost by it
        life.say(f"{name} failed: {type(error).__name__}: {error}")
        bench.failed.append(name)
    bench.figures.save()
