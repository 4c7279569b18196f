"""Keystone on the controller: ports 5000 and, as in the walkthrough's time, 35357."""

from conf import ini
from database import database_url
from places import ADDRESS, CONTROLLER, KEYSTONE, NEUTRON, PASSWORD

REGION = "RegionOne"

RC = {
    "OS_AUTH_URL": KEYSTONE,
    "OS_USERNAME": "admin",
    "OS_PASSWORD": PASSWORD,
    "OS_PROJECT_NAME": "admin",
    "OS_USER_DOMAIN_NAME": "Default",
    "OS_PROJECT_DOMAIN_NAME": "Default",
    "OS_REGION_NAME": REGION,
    "OS_IDENTITY_API_VERSION": "3",
}


def write_rc(node):
    """The file a person sources, under the name PackStack gives it."""
    node.write("/root/keystonerc_admin", "".join(f"export {key}={value}\n" for key, value in RC.items()), 0o600)


def configure(node):
    node.write("/etc/keystone/keystone.conf", ini({
        "DEFAULT": {"use_stderr": "true", "max_token_size": 255},
        "database": {"connection": database_url("keystone")},
        "token": {"provider": "fernet"},
        "cache": {"enabled": "true", "backend": "dogpile.cache.pymemcache", "memcache_servers": "127.0.0.1:11211"},
        "identity": {"password_hash_algorithm": "bcrypt", "password_hash_rounds": 4},
    }))


def prepare(node):
    """Schema, keys, the account admin."""
    keys = ["--keystone-user", "root", "--keystone-group", "root"]
    node.run("keystone-manage", "db_sync")
    node.run("keystone-manage", "fernet_setup", *keys)
    node.run("keystone-manage", "credential_setup", *keys)
    admin = KEYSTONE.replace(":5000", ":35357")
    node.run("keystone-manage", "bootstrap", "--bootstrap-password", PASSWORD, "--bootstrap-region-id", REGION,
             "--bootstrap-public-url", KEYSTONE, "--bootstrap-internal-url", KEYSTONE, "--bootstrap-admin-url", admin)


def start(node):
    sockets = [argument for port in (5000, 35357) for argument in ("--http-socket", f"{ADDRESS[CONTROLLER]}:{port}")]
    # Without "Connection: close" some POSTs succeed while the client sees its connection reset.
    node.launch(
        "keystone", "uwsgi", "--plugin", "python3", *sockets, "--wsgi-file", "/usr/bin/keystone-wsgi-public", "--master", "--lazy-apps",
        "--processes", "2", "--threads", "2", "--enable-threads", "--die-on-term", "--buffer-size", "65535", "--post-buffering", "65536",
        "--add-header", "Connection: close",
    )
    node.await_service("keystone", 180, "curl", "--silent", "--fail", "--output", "/dev/null", KEYSTONE)


def add_neutron(node):
    """The account and the catalog entries of Neutron, by one run of the client. Done before, it changes nothing."""
    if "neutron" in openstack(node, "user list --format value --column Name"):
        return
    openstack(
        node,
        "project create --or-show service",
        f"user create --or-show --password {PASSWORD} neutron",
        "role add --project service --user neutron admin",
        "service create --name neutron network",
        *(f"endpoint create --region {REGION} network {interface} {NEUTRON}" for interface in ("public", "internal", "admin")),
    )


def openstack(node, *commands):
    """Several commands of the client in one process, which takes a second or two to start."""
    script = 'eval "$(cat /root/keystonerc_admin)"; printf "%s\\n" "$@" | openstack'
    return node.run("sh", "-c", script, "openstack", *commands)
