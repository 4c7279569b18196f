"""Horizon on the controller, and a person's look at it by a headless Chromium."""

import json
import shutil

import keystone
import nodes
import rest
import roots
import wsgi
from places import ADDRESS, CODE, CONTROLLER, KEYSTONE, NEUTRON, PASSWORD, REPO, LabError

VENV = "horizon"
URL = f"http://{ADDRESS[CONTROLLER]}"
SETTINGS = "lab_dashboard_settings"
PLACE = "/etc/lab-dashboard"
STATIC = "/var/lib/lab-dashboard/static"
BROWSER = "bookworm-browser"
PICTURES = REPO / "target/lab"

# What Horizon calls local settings, in a module of our own because its own place lies in the venv that labs share.
LOCAL = f"""from openstack_dashboard.settings import *

DEBUG = False
ALLOWED_HOSTS = ["*"]
SECRET_KEY = "{PASSWORD}"
OPENSTACK_KEYSTONE_URL = "{KEYSTONE}"
SESSION_ENGINE = "django.contrib.sessions.backends.cache"
CACHES = {{"default": {{"BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache", "LOCATION": "127.0.0.1:11211"}}}}
STATIC_ROOT = COMPRESS_ROOT = "{STATIC}"
COMPRESS_OFFLINE = False
"""


def binds(suite):
    place = roots.venv(VENV, suite)
    place.mkdir(parents=True, exist_ok=True)
    return [(place, f"/opt/{VENV}")]


def prepare(suite, say):
    roots.ensure_venv(VENV, suite, ["horizon", "pymemcache"], say)
    roots.ensure(BROWSER, say)


def start(node):
    node.write(f"{PLACE}/{SETTINGS}.py", LOCAL)
    environment = {"DJANGO_SETTINGS_MODULE": SETTINGS, "PYTHONPATH": PLACE}
    if not node.file(STATIC).exists():
        node.run(f"/opt/{VENV}/bin/python3", "-m", "django", "collectstatic", "--noinput", environment=environment)
    # Horizon's own WSGI module would set its own settings.
    wsgi.launch(
        node, "horizon", [f"{node.address}:80"], "--home", f"/opt/{VENV}", "--pythonpath", PLACE, "--env", f"DJANGO_SETTINGS_MODULE={SETTINGS}",
        "--module", "django.core.wsgi:get_wsgi_application()", "--static-map", f"/static={STATIC}",
    )
    # The first page compiles the style sheets.
    node.await_service("horizon", 300, "curl", "--silent", "--fail", "--output", "/dev/null", f"{URL}/auth/login/?next=/")


def look():
    """Logs in, opens the network topology and compares what it shows with Neutron; LabError when the kuryr network or a port is missing."""
    node = nodes.Node(CONTROLLER)
    if node.pid() is None or not node.runs("horizon"):
        raise LabError("no dashboard runs; `tools/lab up --dashboard` starts one")
    PICTURES.mkdir(parents=True, exist_ok=True)
    shutil.copy(CODE / "browse-topology", PICTURES)
    command = ["python3", "/mnt/browse-topology", URL, keystone.RC["OS_USERNAME"], PASSWORD]
    printed = roots.chroot(roots.path(BROWSER), *command, binds=[(PICTURES, "/mnt")], node=node.pid())
    seen = json.loads(printed.splitlines()[-1])

    ports = rest.Cloud(node).call("GET", f"{NEUTRON}/v2.0/ports?network_id={seen['network']}&device_owner=compute:kuryr")["ports"]
    if not ports:
        raise LabError(f"{seen['name']} has no port of a container; `tools/lab walkthrough` makes two")
    for port in ports:
        address = port["fixed_ips"][0]["ip_address"]
        if port["id"] not in seen["ports"] or address not in seen["shown"]:
            raise LabError(f"Horizon does not show port {port['id']} with {address} of {seen['name']}; it shows {seen}")
    addresses = ", ".join(port["fixed_ips"][0]["ip_address"] for port in ports)
    print(f"Horizon's network topology has {seen['name']} and its ports with {addresses}. Pictures: {PICTURES}/topology.png, ports.png")
