"""What every cloud of the lab has in common: neutron-server's configuration, its schema and its start."""

import wsgi
from conf import ini
from database import database_url, migrate
from keystone import REGION
from places import KEYSTONE, NEUTRON, PASSWORD

NEUTRON_CONF = "/etc/neutron/neutron.conf"
ML2_CONF = "/etc/neutron/plugins/ml2/ml2_conf.ini"
CONF_FILES = ["--config-file", NEUTRON_CONF, "--config-file", ML2_CONF]

# Root needs no sudo on a node of the lab.
#
# One thread for each of the agents' privileged processes: with two that start programs at once, a lock of eventlet now and then wakes the one
# thread's waiter in the other ("cannot switch to a different thread"). The DHCP agent then waits for five minutes, and no port of its subnets
# becomes ACTIVE as long.
ONE_THREAD = {"thread_pool_size": 1}
ROOTLESS = {
    "agent": {"root_helper": "env"},
    "privsep": {"helper_command": f"privsep-helper --config-file {NEUTRON_CONF}", **ONE_THREAD},
    "privsep_namespace": ONE_THREAD,
    "privsep_link": ONE_THREAD,
}


def common(transport):
    """For neutron-server and the agents."""
    return ini({
        "DEFAULT": {
            "core_plugin": "ml2",
            "transport_url": transport,
            "bind_host": "0.0.0.0",
            "auth_strategy": "keystone",
            "notify_nova_on_port_status_changes": "false",
            "notify_nova_on_port_data_changes": "false",
            "max_header_line": 16384,
            "use_stderr": "true",
            "api_workers": 2,
            "rpc_workers": 1,
            "dhcp_agents_per_network": 1,
        },
        "database": {"connection": database_url("neutron"), "max_pool_size": 20},
        "keystone_authtoken": {
            "www_authenticate_uri": KEYSTONE,
            "auth_url": KEYSTONE,
            "auth_type": "password",
            "username": "neutron",
            "password": PASSWORD,
            "project_name": "service",
            "user_domain_name": "Default",
            "project_domain_name": "Default",
            "region_name": REGION,
            "memcached_servers": "127.0.0.1:11211",
            "service_token_roles_required": "true",
        },
        "oslo_concurrency": {"lock_path": "/var/lib/neutron/lock"},
        "quotas": {f"quota_{kind}": -1 for kind in ("network", "subnet", "port", "security_group", "security_group_rule")},
    }, ROOTLESS)


def configure(node, transport, ml2, extra=None):
    """On the controller: extra are more layers of neutron.conf."""
    node.write(NEUTRON_CONF, common(transport) + "\n" + ini(extra or {}))
    node.write(ML2_CONF, ini(ml2))


def prepare(node, cache):
    migrate(node, "neutron", cache, "neutron-db-manage", *CONF_FILES, "upgrade", "heads")


def start_eventlet(node):
    """Neutron 21's neutron-server: API and RPC in one."""
    node.launch("neutron-server", "neutron-server", *CONF_FILES)
    await_api(node, "neutron-server")


def start_uwsgi(node, *workers):
    """Later Neutrons: the API under uwsgi, and beside it programs such as neutron-rpc-server."""
    program = ["--wsgi-file", "/usr/bin/neutron-api", "--pyargv", " ".join(CONF_FILES)]
    wsgi.launch(node, "neutron-api", [f"{node.address}:9696"], *program)
    for worker in workers:
        node.launch(worker, worker, *CONF_FILES)
    await_api(node, "neutron-api")


def await_api(node, service):
    node.await_service(service, 240, "curl", "--silent", "--fail", "--output", "/dev/null", f"{NEUTRON}/")
