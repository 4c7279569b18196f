"""The plugin under Docker on the network nodes: our kuryr, the Python kuryr-libnetwork for comparison, or none."""

import filecmp
import os
import pathlib
import subprocess

import docker
import roots
from conf import ini
from places import KEYSTONE, PASSWORD, REPO, LabError

CONF = "/etc/kuryr/kuryr.conf"
SPEC = "/etc/docker/plugins/kuryr.spec"
OURS = "/usr/local/bin/kuryr"
SOCKET = "/run/docker/plugins/kuryr.sock"
OURS_WAS_HERE = "/run/lab/ours-was-here"
URI = "http://127.0.0.1:23750"
VENV = "kuryr-python"
PYTHON = f"/opt/{VENV}"


def binds(suite):
    """What a network node sees of the machine's file system for the plugin's sake: the venv, which may be filled later."""
    place = roots.venv(VENV, suite)
    place.mkdir(parents=True, exist_ok=True)
    return [(place, PYTHON)]


def prepare(suite, say):
    """The Python plugin, installed once."""
    roots.ensure_venv(VENV, suite, ["kuryr-libnetwork"], say)


def credentials():
    return {
        "neutron": {
            "auth_type": "password",
            "auth_url": KEYSTONE,
            "username": "admin",
            "password": PASSWORD,
            "project_name": "admin",
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        }
    }


def binary(say):
    """KURYR_BINARY, else the release build of this repository."""
    if "KURYR_BINARY" in os.environ:
        path = pathlib.Path(os.environ["KURYR_BINARY"]).resolve()
    else:
        path = REPO / "target/release/kuryr"
        say("Building kuryr (release)")
        subprocess.run(["cargo", "build", "--locked", "--quiet", "--release"], cwd=REPO, check=True, stdin=subprocess.DEVNULL)
    if not path.is_file():
        raise LabError(f"{path} is no file; KURYR_BINARY names the program to test")
    return path


def end(node):
    """Ends the plugin that runs, and with it goes its configuration."""
    node.stop("kuryr")
    node.run("rm", "-f", "/run/lab/kuryr.pid", SOCKET, SPEC, CONF)


def write_spec(node):
    node.write(SPEC, f"{URI}\n")


def start(node, plugin, program=None):
    if plugin == "kuryr":
        start_ours(node, program)
    elif plugin == "python":
        start_python(node)


def configure(node, default):
    """Writes kuryr.conf unless somebody has written one on the node."""
    if not node.file(CONF).exists():
        node.write(CONF, ini({"DEFAULT": default}, credentials()), 0o600)


def start_ours(node, program):
    if node.runs("kuryr") and not filecmp.cmp(program, node.file(OURS), shallow=False):
        # Another build takes its place, as a package's would.
        node.stop("kuryr")
    if not node.runs("kuryr"):
        node.install(program, OURS)
        configure(node, {"kuryr_uri": URI})
    node.launch("kuryr", "kuryr", "serve")
    await_plugin(node, "--unix-socket", SOCKET)
    node.write(OURS_WAS_HERE, "")


def start_python(node):
    """dockerd keeps the address at which it found its plugin first: the Python's TCP address serves both, our socket only ours. So after ours
    dockerd has to start anew, with its containers left running. By then the plugin has to answer: a dockerd that starts under containers
    asks for the plugin of their networks and gives up after 15 s."""
    if not node.runs("kuryr"):
        configure(node, {"kuryr_uri": URI, "bindir": f"{PYTHON}/libexec/kuryr", "use_stderr": "true"})
        write_spec(node)
    node.launch("kuryr", f"{PYTHON}/bin/kuryr-server", "--config-file", CONF)
    await_plugin(node)
    if node.file(OURS_WAS_HERE).exists():
        docker.restart_under_containers(node)
        node.file(OURS_WAS_HERE).unlink()


def await_plugin(node, *way):
    request = ["--data", "", "--output", "/dev/null", f"{URI}/Plugin.Activate"]
    node.await_service("kuryr", 120, "curl", "--silent", "--fail", *way, *request)
