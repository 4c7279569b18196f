"""ML2 with neutron-openvswitch-agent, VXLAN and l2population, Neutron 26 of Debian 13, on the userspace datapath."""

import neutron
import switch
from conf import ini
from database import messages_url
from places import CONTROLLER, NETWORKERS

AGENT_CONF = "/etc/neutron/plugins/ml2/openvswitch_agent.ini"
DHCP_CONF = "/etc/neutron/dhcp_agent.ini"

ML2 = {
    "ml2": {
        "type_drivers": "local,flat,vxlan",
        "tenant_network_types": "vxlan",
        "mechanism_drivers": "openvswitch,l2population",
        "extension_drivers": "port_security,qos,dns",
    },
    "ml2_type_vxlan": {"vni_ranges": "1:1000"},
}

OVSDB = {"ovs": {"ovsdb_connection": switch.SOCKET, "datapath_type": "netdev"}}

NEEDS_MESSAGES = True


def configure(nodes, firewall_driver="openvswitch"):
    controller = nodes[CONTROLLER]
    neutron.configure(controller, messages_url(controller), ML2, {"DEFAULT": {"service_plugins": "router,qos", "dns_domain": "kuryr.test."}})
    for name in NETWORKERS:
        node = nodes[name]
        node.write(neutron.NEUTRON_CONF, neutron.common(messages_url(controller)))
        node.write(AGENT_CONF, ini(OVSDB, {
            "ovs": {"local_ip": node.address},
            "agent": {"tunnel_types": "vxlan", "l2_population": "true", "extensions": "qos"},
            "securitygroup": {"firewall_driver": firewall_driver},
        }))
        node.write(DHCP_CONF, ini(OVSDB, {"DEFAULT": {"interface_driver": "openvswitch", "enable_isolated_metadata": "false"}}))


def start_server(controller):
    neutron.start_uwsgi(controller, "neutron-rpc-server")


def start_agents(node):
    switch.start(node)
    node.launch("openvswitch-agent", "neutron-openvswitch-agent", "--config-file", neutron.NEUTRON_CONF, "--config-file", AGENT_CONF)
    if node.name == NETWORKERS[0]:
        node.launch("dhcp-agent", "neutron-dhcp-agent", "--config-file", neutron.NEUTRON_CONF, "--config-file", DHCP_CONF)


def expected_agents():
    return {("neutron-openvswitch-agent", name) for name in NETWORKERS} | {("neutron-dhcp-agent", NETWORKERS[0])}
