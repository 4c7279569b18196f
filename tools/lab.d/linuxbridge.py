"""The walkthrough's own kind of cloud: ML2 with linuxbridge agents, VXLAN and l2population, Neutron 21 of Debian 12."""

import neutron
from conf import ini
from database import messages_url
from places import CONTROLLER, NETWORKERS

AGENT_CONF = "/etc/neutron/plugins/ml2/linuxbridge_agent.ini"
DHCP_CONF = "/etc/neutron/dhcp_agent.ini"

ML2 = {
    "ml2": {
        "type_drivers": "local,flat,vxlan",
        "tenant_network_types": "vxlan",
        "mechanism_drivers": "linuxbridge,l2population",
        "extension_drivers": "port_security,qos,dns",
    },
    "ml2_type_vxlan": {"vni_ranges": "1:1000"},
    "securitygroup": {"enable_ipset": "true"},
}

# Neutron 21 refuses the driver without this.
EXPERIMENTAL = {"experimental": {"linuxbridge": "true"}}

# ebtables 1.8.9 deletes no rule with --among-src, which the agent asks for whenever a port of its host changes; and while it tries again, for
# minutes, no port there becomes ACTIVE. The chain of such a rule has only it and the DROP at its end.
EBTABLES = """#!/bin/sh
case "$*" in
*"-D neutronMAC-"*--among-src*)
    chain=$(expr "$*" : '.*-D \\(neutronMAC-[^ ]*\\)')
    /usr/sbin/ebtables -t nat --concurrent -F "$chain" && exec /usr/sbin/ebtables -t nat --concurrent -A "$chain" -j DROP ;;
*) exec /usr/sbin/ebtables "$@" ;;
esac
"""

NEEDS_MESSAGES = True


def configure(nodes):
    controller = nodes[CONTROLLER]
    neutron.configure(controller, messages_url(controller), ML2, {"DEFAULT": {"service_plugins": "router,qos,trunk", "dns_domain": "kuryr.test."}, **EXPERIMENTAL})
    for name in NETWORKERS:
        node = nodes[name]
        node.write(neutron.NEUTRON_CONF, neutron.common(messages_url(controller)) + "\n" + ini(EXPERIMENTAL))
        node.write("/usr/local/sbin/ebtables", EBTABLES, 0o755)
        node.write(AGENT_CONF, ini({
            "vxlan": {"enable_vxlan": "true", "local_ip": node.address, "l2_population": "true"},
            "agent": {"extensions": "qos"},
            "securitygroup": {"firewall_driver": "iptables", "enable_ipset": "true"},
        }))
        node.write(DHCP_CONF, ini({
            "DEFAULT": {"interface_driver": "linuxbridge", "enable_isolated_metadata": "false"},
        }))


def start_server(controller):
    neutron.start_eventlet(controller)


def start_agents(node):
    node.launch("linuxbridge-agent", "neutron-linuxbridge-agent", "--config-file", neutron.NEUTRON_CONF, "--config-file", AGENT_CONF)
    if node.name == NETWORKERS[0]:
        node.launch("dhcp-agent", "neutron-dhcp-agent", "--config-file", neutron.NEUTRON_CONF, "--config-file", DHCP_CONF)


def expected_agents():
    """Pairs of the agent's program and its host, as `openstack network agent list` has them."""
    return {("neutron-linuxbridge-agent", name) for name in NETWORKERS} | {("neutron-dhcp-agent", NETWORKERS[0])}
