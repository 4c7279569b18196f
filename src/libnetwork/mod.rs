//! Docker's edge: the libnetwork remote driver and IPAM protocol. Knows JSON and Docker's contract, knows no Neutron.
