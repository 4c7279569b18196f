//! The embedded Keystone and Neutron for one machine, and its datapath.
