"""Where the embedded controller is known to answer otherwise than Neutron 21 with linuxbridge. docs/controller.md says the same to its users.

Texts of errors are not here: of an error the status and the type have to be the same, not the words.
"""

import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class Difference:
    """`place` and `label` are patterns for the start of the place in the answer and of the request's label."""

    reason: str
    place: str
    label: str = ""

    def matches(self, label, place):
        return re.match(self.label, label) and re.match(self.place, re.sub(r"\[\d+\]", "", place))


DIFFERENCES = (
    # Fields
    Difference("not served: provider networks", r"body\.networks?\.provider:"),
    Difference("not served: service types of subnets", r"body\.subnets?\.service_types"),
    Difference("not served: DHCP options of ports", r"body\.ports?\.extra_dhcp_opts"),
    Difference("not served: HA, DVR, flavors, zones of routers", r"body\.router\.(ha|distributed|flavor_id|availability_zone|gw_port_id)"),
    Difference("not served: RBAC, so it has no quota", r"body\.quota\.rbac_policy"),
    Difference("not served: trunks, so they have no quota", r"body\.quota\.trunk"),
    Difference("served, as by a Neutron with segments", r"body\.networks?\.l2_adjacency"),
    Difference("no agents, so no zones of agents", r"body\.network\.availability_zones"),
    Difference("Neutron shows the id of its own table's row", r".*security_group_rules\.standard_attr_id"),
    Difference("Neutron shows null for the description of a group's first rules", r".*security_group_rules\.description"),
    Difference("Neutron has tags of rules, but does not show them when a rule is made", r"body\.security_group_rules?\.tags"),
    Difference("not served: quality of service", r"body\.(network|port|floatingip)s?\.(qos_(network_)?policy_id|resource_request)"),
    Difference("not served: names for DNS", r"body\.(network|port|floatingip)s?\.dns_(name|domain|assignment)"),
    Difference("Neutron shows it of external networks only", r"body\.networks?\.is_default"),
    Difference("Neutron shows no null fields when a pool is changed, and numbers then, not texts", r"body\.subnetpool\.", r"pool_life 0[34]"),
    # Values
    Difference("there is no tunnel to make room for", r"body\.networks?\.mtu"),
    Difference("without limits as the lab's Neutron, for these as well", r"body\.quota\.(router|floatingip)"),
    Difference("a network that is set down shows it", r"body\.network\.status", r"(booleans_and_numbers 02|network_life)"),
    Difference("IPv6: the gateway of choice is the second address; Neutron's is the first", r"body\.subnet\.(gateway_ip|allocation_pools)", r"(subnet_ipv6|subnet_small|pool_life 15|port_filters 03)"),
    Difference("the first free range of a pool is cut out; Neutron takes some range", r"body\.subnet\.(cidr|gateway_ip|allocation_pools)", r"pool_life 1[03]"),
    Difference("MACs are shown in lower case", r"body\.port\.mac_address", r"port_errors"),
    Difference("a prefix is shown as it counts, without host bits", r"body\.security_group_rules?\.remote_ip_prefix", r"rule_life"),
    Difference("the protocol is shown as given", r"body\.security_group_rule\.protocol", r"rule_life 07"),
    Difference("links are those of this controller, and there are none to earlier pages", r"body\.networks_links"),
    Difference("the networks of the first start", r"body\.networks$", r"lists (09|11)"),
    Difference("the texts are this controller's own", r"body\.extension\.(name|description)"),
    Difference("an empty object where Neutron says null", r"body$", r"tags 0[34]"),
    # Accepted here, refused there
    Difference("a sort_key without a sort_dir is ascending", r"", r"lists (12|13)"),
    Difference("a filter that nothing can fulfil finds nothing", r"", r"lists 18"),
    Difference("an unknown key in fixed_ips finds nothing; Neutron leaves it out", r"body\.ports", r"port_filters 11"),
    Difference("fixed_ips has to be true of one address; Neutron joins each kind for itself", r"body\.ports", r"port_filters 08"),
    Difference("an empty list makes nothing", r"", r"several_at_once 02"),
    Difference("a /31 has a gateway", r"", r"subnet_small 0[45]"),
    Difference("a subnet without a pool may stand beside one of a pool", r"", r"pool_life 14"),
    Difference("a pool needs no name", r"", r"pool_errors 12"),
    Difference("null is the empty text", r"", r"(port_errors 2[678]|group_default 05)"),
    Difference("`any` and null are taken in rules as the client's own words", r"", r"(rule_life 11|rule_errors 06)"),
    Difference("a route that is given twice counts once", r"", r"router_routes 1[0123]"),
    # Refused here, accepted there
    Difference("an MTU below that of IP is no MTU", r"", r"booleans_and_numbers 05"),
    Difference("a range with host bits, or without a length, is none", r"", r"subnet_errors 0[45]"),
    Difference("multicast and loopback are no ranges for hosts", r"", r"subnet_errors 2[45]"),
    # Another type or status of an error
    Difference("Neutron calls it 500 when a pool has no room", r"status", r"(pool_life 0[89]|pool_of_another_network)"),
    Difference("a wrong method is 405 everywhere", r"", r"(unknown_paths 0[34]|extensions (09|10)|agents 03)"),
    Difference("every 404 has Neutron's form", r"", r"extensions 01"),
    Difference("tags of what is not there: the object is named", r"body\.NeutronError\.type", r"tags"),
    Difference("the attribute is named", r"body\.NeutronError\.type", r"(subnet_errors|port_errors|pool_errors|quotas|router_routes|rule_errors)"),
    Difference("an unknown group is looked for first", r"status", r"(port_errors 24|rule_errors 26)"),
    Difference("a rule cannot be changed; Neutron says 500", r"", r"rule_life 14"),
    # Keystone
    Difference("ids are not all UUIDs, names are those of this machine", r"body\.token\.(audit_ids|project\.name|catalog\.)"),
    Difference("a list's link is that of the list without its filters", r"body\.links\.self"),
    Difference("projects of the first start", r"body\.projects$", r"tokens"),
    Difference("application credentials are below their user", r"body\.application_credential\.links"),
    Difference("the first roles have an empty description and are not immutable", r"body\..*roles\.(description|options)"),
    Difference("false where Keystone says null", r"body\.application_credential\.unrestricted"),
    Difference("Keystone repeats unknown properties in `extra` when they change", r"body\.(project|user)\.extra"),
    Difference("only the methods that are served are tried, and not listed", r"body\.error\.identity", r"log_in 07"),
    Difference("a login by a token that is none is 401 as any other", r"(status|body\.error)", r"log_in 08"),
    Difference("every 404 has Keystone's form", r"body", r"unknown_identities"),
)
