"""The plugin under Docker on the network nodes: our kuryr, the Python kuryr-libnetwork for comparison, or none."""

import os
import pathlib
import subprocess

import roots
from conf import ini
from places import KEYSTONE, PASSWORD, REPO, LabError

CONF = "/etc/kuryr/kuryr.conf"
SPEC = "/usr/lib/docker/plugins/kuryr/kuryr.spec"
PYTHON = "/opt/kuryr-python"


def binds(suite):
    """What a network node sees of the machine's file system for the plugin's sake: the venv, which may be filled later."""
    place = roots.python_plugin(suite)
    place.mkdir(parents=True, exist_ok=True)
    return [(place, PYTHON)]


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


def stop(node):
    """Before another plugin takes over. Docker looks at sockets before it looks at spec files, so neither may stay."""
    node.stop("kuryr")
    node.run("rm", "-f", "/run/lab/kuryr.pid", "/run/docker/plugins/kuryr.sock", SPEC)


def start(node, plugin, program=None):
    if plugin == "kuryr":
        start_ours(node, program)
    elif plugin == "python":
        start_python(node)


def start_ours(node, program):
    if not node.runs("kuryr"):
        node.install(program, "/usr/local/bin/kuryr")
        node.write(CONF, ini(credentials()), 0o600)
    node.launch("kuryr", "kuryr", "serve")
    node.await_service("kuryr", 60, "curl", "--silent", "--fail", "--unix-socket", "/run/docker/plugins/kuryr.sock",
                       "--data", "", "--output", "/dev/null", "http://plugin/Plugin.Activate")


def start_python(node):
    node.write(CONF, ini({"DEFAULT": {"bindir": f"{PYTHON}/libexec/kuryr", "use_stderr": "true"}}, credentials()), 0o600)
    node.write(SPEC, "http://127.0.0.1:23750\n")
    node.launch("kuryr", f"{PYTHON}/bin/kuryr-server", "--config-file", CONF)
    node.await_service("kuryr", 120, "curl", "--silent", "--fail", "--data", "", "--output", "/dev/null",
                       "http://127.0.0.1:23750/Plugin.Activate")


