"""What our kuryr does not do yet: case → what is missing. A case that passes all the same is an error, so that this list ends empty."""

KURYR_FAULTS = {
    "ports.port_by_address": "a port that was made beforehand is not taken by --ip, Neutron refuses a second one with its address",
    "ports.port_is_used_again": "as before",
    "ports.device_id_is_kept": "as before",
    "ports.dual_stack_port": "as before",
}
