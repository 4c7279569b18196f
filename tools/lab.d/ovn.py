"""The modern cloud: ML2 with OVN, Geneve, Neutron 26 of Debian 13. Without RabbitMQ: Neutron and the nodes meet in OVN's databases."""

import neutron
import switch
from places import ADDRESS, CONTROLLER, NETWORKERS

NORTH = "tcp:127.0.0.1:6641"
SOUTH = f"tcp:{ADDRESS[CONTROLLER]}:6642"

ML2 = {
    "ml2": {
        "type_drivers": "local,flat,vlan,geneve",
        "tenant_network_types": "geneve",
        "mechanism_drivers": "ovn",
        "extension_drivers": "port_security,qos,dns",
    },
    "ml2_type_geneve": {"vni_ranges": "1:65536", "max_header_size": "38"},
    "ml2_type_flat": {"flat_networks": "physnet1"},
    "ovn": {"ovn_nb_connection": NORTH, "ovn_sb_connection": "tcp:127.0.0.1:6642", "enable_distributed_floating_ip": "true"},
}

NEEDS_MESSAGES = False


def configure(nodes):
    own = {"DEFAULT": {"service_plugins": "ovn-router,qos,trunk", "dns_domain": "kuryr.test."}}
    neutron.configure(nodes[CONTROLLER], "fake://", ML2, own)


def start_server(controller):
    controller.run("mkdir", "-p", "/run/ovn", "/var/lib/ovn")
    start_database(controller, "nb", 6641)
    start_database(controller, "sb", 6642)
    databases = ["--ovnnb-db=unix:/run/ovn/nb.sock", "--ovnsb-db=unix:/run/ovn/sb.sock"]
    controller.launch("northd", "ovn-northd", *databases, "--unixctl=/run/ovn/northd.ctl")
    controller.await_service("northd", 60, "ovn-appctl", "-t", "/run/ovn/northd.ctl", "status")
    neutron.start_uwsgi(controller, "neutron-ovn-maintenance-worker")


def start_database(node, side, port):
    file = f"/var/lib/ovn/{side}.db"
    if not node.file(file).exists():
        node.run("ovsdb-tool", "create", file, f"/usr/share/ovn/ovn-{side}.ovsschema")
    remotes = [f"--remote=ptcp:{port}:0.0.0.0", f"--remote=punix:/run/ovn/{side}.sock"]
    node.launch(f"ovn-{side}", "ovsdb-server", file, *remotes, f"--unixctl=/run/ovn/{side}.ctl")
    control = f"ovn-{side}ctl"
    node.await_service(f"ovn-{side}", 60, control, "--no-leader-only", f"--db=unix:/run/ovn/{side}.sock", "--timeout=5", "init")


def start_agents(node):
    switch.start(node)
    switch.set_external_ids(
        node,
        system_id=node.name,
        hostname=node.name,
        ovn_remote=SOUTH,
        ovn_encap_type="geneve",
        ovn_encap_ip=node.address,
        ovn_bridge_datapath_type="netdev",
        ovn_bridge_mappings="physnet1:br-ex",
        ovn_cms_options="enable-chassis-as-gw",
    )
    node.run("ovs-vsctl", "--may-exist", "add-br", "br-ex", "--", "set", "bridge", "br-ex", "datapath_type=netdev")
    node.launch("ovn-controller", "ovn-controller", switch.SOCKET, "--unixctl=/run/ovn-controller.ctl")


def expected_agents():
    return {("ovn-controller", name) for name in NETWORKERS}
