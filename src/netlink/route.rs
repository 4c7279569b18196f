//! Routes of the main table.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE, Parseable};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType},
};

use super::{Error, Socket, socket::Reply};

/// A unicast route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Route {
    /// Destination; a prefix length of 0 is the default route.
    pub destination: IpNet,
    /// Next hop; none reaches the destination directly on the interface.
    pub gateway: Option<IpAddr>,
    /// Index of the interface; none lets the kernel find it from the next hop.
    pub index: Option<u32>,
    /// Source address for packets of this host.
    pub source: Option<IpAddr>,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.destination)?;
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        if let Some(index) = self.index {
            write!(f, " on interface {index}")?;
        }
        Ok(())
    }
}

impl Socket {
    /// Adds a route, in place of one to the same destination.
    pub fn add_route(&mut self, route: &Route) -> Result<(), Error> {
        let message = RouteNetlinkMessage::NewRoute(message(route));
        self.request(message, NLM_F_CREATE | NLM_F_REPLACE, &format!("add route {route}")).map(drop)
    }

    /// Removes a route; a missing one is fine.
    pub fn remove_route(&mut self, route: &Route) -> Result<(), Error> {
        let mut message = message(route);
        // The kernel compares scope and origin too; these values match any.
        message.header.scope = RouteScope::NoWhere;
        message.header.protocol = RouteProtocol::Unspec;
        match self.request(RouteNetlinkMessage::DelRoute(message), 0, &format!("remove route {route}")) {
            Err(error) if error.is_missing() => Ok(()),
            other => other.map(drop),
        }
    }

    /// The unicast routes of the main table, both families.
    pub fn routes(&mut self) -> Result<Vec<Route>, Error> {
        let replies = self.dump(&RouteNetlinkMessage::GetRoute(RouteMessage::default()), "list the routes")?;
        Ok(replies.iter().filter_map(|Reply(payload)| parse(payload)).collect())
    }
}

fn message(route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = if route.destination.addr().is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.destination_prefix_length = route.destination.prefix_len();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Static;
    message.header.kind = RouteType::Unicast;
    message.header.scope = if route.gateway.is_none() { RouteScope::Link } else { RouteScope::Universe };
    if route.destination.prefix_len() > 0 {
        message.attributes.push(RouteAttribute::Destination(route.destination.network().into()));
    }
    message.attributes.extend(route.gateway.map(|gateway| RouteAttribute::Gateway(gateway.into())));
    message.attributes.extend(route.index.map(RouteAttribute::Oif));
    message.attributes.extend(route.source.map(|source| RouteAttribute::PrefSource(source.into())));
    message
}

fn parse(payload: &[u8]) -> Option<Route> {
    let message = RouteMessage::parse(payload).ok()?;
    if message.header.table != RouteHeader::RT_TABLE_MAIN || message.header.kind != RouteType::Unicast {
        return None;
    }
    let unspecified = match message.header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let mut route = Route { destination: IpNet::new(unspecified, 0).ok()?, gateway: None, index: None, source: None };
    for attribute in message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => {
                route.destination = IpNet::new(ip(&address)?, message.header.destination_prefix_length).ok()?;
            }
            RouteAttribute::Gateway(address) => route.gateway = ip(&address),
            RouteAttribute::PrefSource(address) => route.source = ip(&address),
            RouteAttribute::Oif(index) => route.index = Some(index),
            _ => {}
        }
    }
    Some(route)
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}
