"""The suite's own lab, and what a lab may leave in the cloud, on the hosts and on the machine."""

import json
import os
import pathlib
import select
import subprocess
import time

REPO = pathlib.Path(__file__).resolve().parent.parent.parent
TOOL = REPO / "tools/lab"
HOSTS = ("network-1", "network-2")
NAME = os.environ.setdefault("KURYR_LAB", "suite")
RUN = pathlib.Path(os.environ.get("KURYR_LAB_CACHE", "/var/cache/kuryr-lab")) / "run" / NAME
OPTIONS = []  # of every `up`
PATIENCE = 60  # seconds; releases end behind the engine's back
LONG = 240  # seconds; a start, and an agent, on a busy machine may take very long


def lab(*arguments):
    """`tools/lab`, and what it printed; AssertionError with everything it printed when it fails."""
    done = subprocess.run([TOOL, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, f"tools/lab {' '.join(arguments)}: ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def up(cloud, plugin="kuryr", *options):
    """Prints what it does: the first time on a machine it takes minutes."""
    subprocess.run([TOOL, "up", "--cloud", cloud, "--plugin", plugin, *OPTIONS, *options], stdin=subprocess.DEVNULL, check=True)


def on(host, *command):
    return lab("exec", host, *command)


def docker(host, *arguments):
    return on(host, "docker", *arguments)


def remove_network(host, network):
    """The engine counts an endpoint down a moment after its container."""

    def in_the_way():
        done = subprocess.run([TOOL, "exec", host, "docker", "network", "rm", network], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        # Anything else that it says is the plugin's.
        assert done.returncode == 0 or "has active endpoints" in done.stderr, f"docker network rm {network} on {host}: {done.stderr}"
        return done.returncode and done.stderr

    eventually(in_the_way, f"the engine of {host} lets {network} go")


def openstack(*arguments):
    return json.loads(lab("openstack", *arguments, "--format", "json"))


def eventually(condition, what, seconds=PATIENCE):
    """`condition` returns what is still in the way, or nothing."""
    end = time.monotonic() + seconds
    while left := condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}: {left}"
        time.sleep(0.5)


# What may be left


def of_kuryr():
    """What Neutron has of kuryr, and the containers' links on the hosts."""
    left = [each["Name"] for kind in (["network"], ["subnet", "pool"]) for each in openstack(*kind, "list") if "kuryr" in each["Name"].lower()]
    left += [f"port {port['ID']}" for port in openstack("port", "list", "--device-owner", "compute:kuryr")]
    for host in HOSTS:
        names = (line.split()[0] for line in on(host, "ip", "-brief", "link").splitlines())
        left += [f"{name} on {host}" for name in names if name.startswith(("tap", "t_c", "qvb", "qvo")) and "@" in name or name.startswith("qbr")]
    return left


def expect_nothing_of_kuryr(what):
    eventually(of_kuryr, f"nothing is left {what}")


def on_machine():
    """What a lab could leave on the machine itself: mounts, cgroups and files with its name, and links named as it names them."""
    links = {link["ifname"] for link in json.loads(subprocess.check_output(["ip", "-json", "link"]))} & {"wire", "controller", *HOSTS}
    mounts = {line for line in pathlib.Path("/proc/self/mounts").read_text().splitlines() if str(RUN) in line}
    # Containers that run elsewhere on the machine have cgroups that come and go while these are read.
    cgroups = subprocess.run(["find", "/sys/fs/cgroup", "-type", "d", "-name", f"kuryr-lab-{NAME}-*"], capture_output=True, text=True, check=False)
    return links | mounts | set(cgroups.stdout.split()) | {str(path) for path in RUN.parent.glob(RUN.name)}


def expect_clean_machine(when):
    found = on_machine()
    assert not found, f"{when} the machine should have nothing of a lab: {found}"


def namespaces():
    """The namespaces of all processes of the lab, containers' included; links and mounts live as long as they do."""
    children = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            children.setdefault(stat.read_text().rpartition(")")[2].split()[1], []).append(stat.parent.name)
        except OSError:
            continue  # it has ended
    # Whatever a node's daemons leave behind becomes a child of the node's process 1.
    found, unseen = set(), [file.read_text().split()[0] for file in RUN.glob("*.pid")]
    while unseen:
        process = unseen.pop()
        found |= namespaces_of(process)
        unseen += children.get(process, [])
    return found - namespaces_of("self")


def namespaces_of(process):
    try:
        return {os.readlink(f"/proc/{process}/ns/{kind}") for kind in ("net", "mnt", "pid", "uts", "ipc")}
    except OSError:
        return set()  # it has ended


def expect_gone(held):
    """No process is left in the namespaces that the lab had, nor anything of it on the machine. An `nsenter` whose command went with its node
    ends a moment later."""
    assert held, "the lab had no namespaces"
    alive = [process.name for process in pathlib.Path("/proc").iterdir() if process.name.isdigit() and held & namespaces_of(process.name)]
    alive = [pid for pid in alive if not ends(int(pid))]
    assert not alive, f"`down` left processes in the lab's namespaces: {alive}"
    expect_clean_machine("after `down`")


def ends(pid):
    """Whether the process ends by itself within 10 s."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], 10)[0])
    finally:
        os.close(process)


def logs():
    """What whoever reads a failure needs: the ends of the engines' logs, what went wrong in the cloud's agents, and last the ports and the plugin."""
    agents = "for log in /var/log/lab/*agent*.log; do grep -hE ' ERROR | TRACE |privsep log: ' $log | tail -n 25; done"
    shown = [(host, "dockerd", ["tail", "-n", "5", "/var/log/lab/dockerd.log"]) for host in HOSTS]
    shown += [(host, "errors of the agents", ["sh", "-c", agents]) for host in HOSTS]
    shown += [("controller", "ports", ["sh", "-c", ". /root/keystonerc_admin; openstack port list --long"])]
    shown += [(host, "kuryr", ["tail", "-n", "40", "/var/log/lab/kuryr.log"]) for host in HOSTS]
    text = ""
    for node, what, command in shown:
        done = subprocess.run([TOOL, "exec", node, *command], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        text += f"\n== {node}: {what}\n{done.stdout}{done.stderr}"
    return text
