//! The Keystone session and the Neutron calls in use, typed.
