//! A router's ruleset and addresses, as they stand in its namespace.

use std::{fmt::Write as _, net::IpAddr};

use ipnet::IpNet;
use uuid::Uuid;

use super::{
    names,
    snapshot::{Router, Snapshot},
};
use crate::mac::MacAddr;

/// One interface of a router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The port.
    pub port: Uuid,
    /// Its name in the router's namespace.
    pub name: String,
    /// The host's end.
    pub tap: String,
    /// The bridge it is plugged into.
    pub bridge: String,
    /// MAC of the router's end.
    pub mac: MacAddr,
    /// MTU in bytes.
    pub mtu: u32,
    /// Addresses of the router's end; floating ones among them.
    pub addresses: Vec<IpNet>,
}

/// A router as it has to stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its namespace.
    pub namespace: String,
    /// Its interfaces.
    pub interfaces: Vec<Interface>,
    /// Routes beyond those of its addresses.
    pub routes: Vec<(IpNet, IpAddr)>,
    /// The table of its namespace.
    pub ruleset: String,
}

/// Plans a router.
pub fn plan(snapshot: &Snapshot, id: Uuid, router: &Router) -> Plan {
    let mut interfaces = Vec::new();
    for port in &router.interfaces {
        interfaces.extend(interface(snapshot, *port, names::inner(*port)));
    }
    let mut routes = router.routes.clone();
    let gateway = router.gateway.and_then(|port| interface(snapshot, port, names::outer(port)));
    let ruleset = ruleset(router, gateway.as_ref());
    if let Some(mut gateway) = gateway {
        let network = router.gateway.and_then(|port| snapshot.ports.get(&port)).and_then(|port| snapshot.networks.get(&port.network));
        for subnet in network.iter().flat_map(|network| &network.subnets) {
            let ours = gateway.addresses.iter().any(|address| subnet.cidr.contains(&address.addr()));
            if let (true, Some(hop)) = (ours, subnet.gateway) {
                let any = if hop.is_ipv4() { IpNet::from(IpAddr::from([0u8; 4])) } else { IpNet::from(IpAddr::from([0u16; 8])) };
                routes.extend(IpNet::new(any.addr(), 0).map(|any| (any, hop)));
            }
        }
        gateway.addresses.extend(router.floating.iter().map(|(address, _)| IpNet::from(*address)));
        interfaces.push(gateway);
    }
    Plan { namespace: names::namespace(id), interfaces, routes, ruleset }
}

fn interface(snapshot: &Snapshot, id: Uuid, name: String) -> Option<Interface> {
    let port = snapshot.ports.get(&id)?;
    let network = snapshot.networks.get(&port.network)?;
    Some(Interface {
        port: id,
        name,
        tap: names::tap(id),
        bridge: names::bridge(port.network),
        mac: port.mac,
        mtu: network.mtu,
        addresses: port.addresses.clone(),
    })
}

fn ruleset(router: &Router, gateway: Option<&Interface>) -> String {
    let mut text = String::from("add table inet kuryr\ndelete table inet kuryr\ntable inet kuryr {\n");
    let Some(gateway) = gateway else { return text + "}\n" };
    let name = &gateway.name;
    let (mut inbound, mut outbound) = (String::new(), String::new());
    for (floating, fixed) in &router.floating {
        let family = family(*floating);
        let _ = writeln!(inbound, "    {family} daddr {floating} dnat {family} to {fixed}");
        let _ = writeln!(outbound, "    oifname \"{name}\" {family} saddr {fixed} snat {family} to {floating}");
    }
    // A port that calls a floating address of its own router has to get the answer from that address.
    outbound.push_str("    iifname \"qr-*\" oifname \"qr-*\" ct status dnat masquerade\n");
    let mut closed = String::new();
    if router.snat {
        for v6 in [false, true] {
            if let Some(address) = gateway.addresses.iter().map(IpNet::addr).find(|address| address.is_ipv6() == v6) {
                let family = family(address);
                let _ = writeln!(
                    outbound,
                    "    oifname \"{name}\" meta nfproto {} snat {family} to {address}",
                    if v6 { "ipv6" } else { "ipv4" }
                );
            }
        }
        // Behind address translation nothing can be called from outside but floating addresses.
        let _ = writeln!(closed, "    iifname \"{name}\" ct state new ct status & dnat == 0 drop");
    }
    let _ = write!(
        text,
        "  chain inbound {{\n    type nat hook prerouting priority -100; policy accept;\n{inbound}  }}\n  \
         chain outbound {{\n    type nat hook postrouting priority 100; policy accept;\n{outbound}  }}\n  \
         chain forward {{\n    type filter hook forward priority 0; policy accept;\n{closed}  }}\n}}\n"
    );
    text
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ip" } else { "ip6" }
}
