"""Keystone on the controller: ports 5000 and, as in the walkthrough's time, 35357."""

import rest
import wsgi
from conf import ini
from database import database_url, migrate
from places import KEYSTONE, NEUTRON, PASSWORD

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


def prepare(node, cache):
    """Schema, keys, the account admin."""
    keys = ["--keystone-user", "root", "--keystone-group", "root"]
    migrate(node, "keystone", cache, "keystone-manage", "db_sync")
    node.run("keystone-manage", "fernet_setup", *keys)
    node.run("keystone-manage", "credential_setup", *keys)
    admin = KEYSTONE.replace(":5000", ":35357")
    node.run("keystone-manage", "bootstrap", "--bootstrap-password", PASSWORD, "--bootstrap-region-id", REGION,
             "--bootstrap-public-url", KEYSTONE, "--bootstrap-internal-url", KEYSTONE, "--bootstrap-admin-url", admin)


def start(node):
    addresses = [f"{node.address}:5000", f"{node.address}:35357"]
    wsgi.launch(node, "keystone", addresses, "--wsgi-file", "/usr/bin/keystone-wsgi-public")
    node.await_service("keystone", 180, "curl", "--silent", "--fail", "--output", "/dev/null", KEYSTONE)


def add_neutron(node):
    """The account and the catalog entries of Neutron. What is there already stays as it is."""
    cloud = rest.Cloud(node)
    project = cloud.find_or_create("projects", "project", {"name": "service", "domain_id": "default"})
    user = cloud.find_or_create("users", "user", {"name": "neutron", "domain_id": "default", "password": PASSWORD})
    role = cloud.find_or_create("roles", "role", {"name": "admin"})
    cloud.call("PUT", f"{KEYSTONE}/projects/{project['id']}/users/{user['id']}/roles/{role['id']}")
    # Later Neutrons take a binding profile, as Zun writes it, from accounts with the role service only, which the Keystones of their time have.
    [admins] = cloud.call("GET", f"{KEYSTONE}/projects?name=admin")["projects"]
    [admin] = cloud.call("GET", f"{KEYSTONE}/users?name=admin")["users"]
    for serves in cloud.call("GET", f"{KEYSTONE}/roles?name=service")["roles"]:
        cloud.call("PUT", f"{KEYSTONE}/projects/{admins['id']}/users/{admin['id']}/roles/{serves['id']}")
    service = cloud.find_or_create("services", "service", {"name": "neutron", "type": "network"})
    for interface in ("public", "internal", "admin"):
        endpoint = {"service_id": service["id"], "region_id": REGION, "interface": interface, "url": NEUTRON}
        cloud.find_or_create("endpoints", "endpoint", endpoint)
