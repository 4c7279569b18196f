"""What the Python kuryr-libnetwork (18, on a Neutron with tags) does not do: case → why. A case of PYTHON_FAULTS that passes is an error.

Each was seen on the linuxbridge cloud of tools/lab. PYTHON_RACES are lost sometimes only; they may end either way.
"""

PYTHON_FAULTS = {
    # The Docker engine calls again, or calls with what is not known
    "protocol.host_bits_are_refused_by_name": "any error of its own arithmetic is the fixed text of a web server",
    "protocol.releasing_what_is_unknown": "ReleaseAddress and ReleasePool of an unknown pool are errors",
    "protocol.deleting_an_unknown_endpoint": "DeleteEndpoint looks for the port and fails without it",
    "networks.creation_twice": "CreateNetwork makes a second network with the same tags, after which neither is found",
    "networks.removal_twice": "a second ReleasePool fails",
    "endpoints.creation_twice": "the veth pair is there already",
    "endpoints.removal_twice": "a second DeleteEndpoint fails",
    "endpoints.link_that_is_gone": "removing a device that is gone raises, and the port is never found again by its tags",
    # Networks
    "networks.range_outside_of_the_subnet": "--ip-range is taken without a look at --subnet",
    "networks.gateway_is_chosen": "without --gateway the answer is an empty address, and the engine gives up",
    "networks.auxiliary_address": "auxiliary addresses are asked for before there is a subnet",
    "networks.equal_ranges_on_two_networks": "both use one subnet pool, in which Neutron lets no ranges overlap",
    "networks.foreign_subnet_of_an_equal_range": "any subnet with the range is taken for the network's own",
    "networks.default_pool": "the whole first prefix is granted, no gateway is found, and ReleasePool deletes the operator's pool",
    "networks.mtu": "the engine's option is not looked at",
    "networks.failed_network_leaves_nothing": "nothing is taken back when the subnet is refused",
    # Addresses and endpoints
    "addresses.address_in_use_is_refused": "a running container's port is adopted, and the engine's undoing then deletes it",
    "addresses.gateway_as_an_address_is_refused": "a gateway is not reserved, and Neutron gives its address to a port",
    "addresses.slaac_and_dhcpv6": "as for dual_stack, and the port that takes the place of the two asks for an address that SLAAC alone may give",
    "endpoints.dual_stack": "the port of both families is made without tags, so that Join does not find it",
    "endpoints.dual_stack_with_wanted_addresses": "as before",
    "endpoints.internal": "--internal is not looked at",
    "endpoints.routes_of_the_subnet": "the routes of every subnet of the network are sent",
    "endpoints.every_sandbox_key": "only /var/run/docker/netns/ and 12 hex digits are accepted",
    "endpoints.exposed_ports": "the port is looked for by a name that it has not had since 3.0",
    "endpoints.exposed_ports_of_both_families": "a container with both families does not start",
    "endpoints.exposed_ports_without_a_revoke": "as for exposed_ports",
    "endpoints.published_ports": "-p is not looked at, and the port not exposed, as before",
    # What the operator made
    "existing.subnets_of_both_families": "a container with both families does not start",
    "existing.pool_of_several_prefixes": "only a range that is the pool's first prefix comes from the pool",
    "ports.groups_of_a_network_and_of_an_endpoint": "there are no neutron.port options",
    "ports.port_by_id": "as before",
    "ports.quality_of_service": "as before",
    "ports.dns_name": "as before",
    "ports.port_with_several_addresses_of_a_family": "an address on a subnet that the container is not on fails the start",
    "ports.port_of_another_project": "its device and MAC are not put back: device_id goes only with ports whose name begins with it",
    "existing.sixty_docker_networks_on_one_network": "tags beyond the fifty are lost; the first network that goes takes the pool from the others",
    "zun.network_is_removed_on_one_host": "the subnet pool goes with the first user, and the other host gives out no address",
    "zun.port_is_deleted_first": "DeleteEndpoint looks for the port and fails without it",
    "zun.unconfirmed_container_leaves_the_port": "whatever port has the address is adopted, and taken from its host",
    "existing.subnet_is_added_to_a_network": "Neutron wants all subnets of a network from one pool, or all without",
    "existing.pool_with_two_users_at_once": "one tag on the pool stands for all users; the second finds its subnet without a tag",
    "existing.shared_that_differs": "the tags are written before the comparison",
    "existing.subnet_that_nothing_has": "the text names an empty list in place of the subnet",
    "ports.port_of_a_machine_is_refused": "whatever port has the address is adopted",
    # Two hosts
    "two_hosts.walkthrough": "all works until the end: the second host's removal takes the pool from the first, whose network then stays",
    "two_hosts.second_leaves_while_the_first_is_idle": "nobody counts the users: subnet and pool are deleted",
    "two_hosts.second_leaves_while_the_first_has_a_container": "the pool's tag goes off the subnet, so that the first host releases nothing",
    "two_hosts.first_leaves_before_the_second": "as before, the other way round",
    "two_hosts.addresses_of_hosts_are_apart": "the other host's port is adopted",
}

PYTHON_RACES = {
    "addresses.many_at_once": "links of endpoints that are deleted at the same time stay behind",
    "zun.first_network": "removing a link may end with pyroute2's 'File exists', after which the port is not given back",
    "two_hosts.both_make_one_pool_at_once": "two pools of one name, after which neither is used",
}
