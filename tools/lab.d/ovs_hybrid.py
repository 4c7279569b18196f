"""ovs.py's cloud with the older firewall driver: security groups in iptables, on a Linux bridge per port between container and switch. Neutron
then says `ovs_hybrid_plug` of every port, and whoever plugs it makes that bridge."""

import ovs
from ovs import NEEDS_MESSAGES, expected_agents, start_agents, start_server  # noqa: F401


def configure(nodes):
    ovs.configure(nodes, firewall_driver="iptables_hybrid")
