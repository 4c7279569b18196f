//! From a Neutron port to an interface on this host.
