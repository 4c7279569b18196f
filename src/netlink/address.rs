//! Addresses of interfaces.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE, Parseable};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope},
};

use super::{Error, Socket, socket::Reply};

/// An address on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address {
    /// Index of the interface.
    pub index: u32,
    /// Address and prefix length of its network.
    pub address: IpNet,
}

impl Socket {
    /// Puts an address on an interface; one that is there stays. IPv6 skips duplicate address detection (IFA_F_NODAD), because Neutron
    /// has seen to uniqueness and the address must answer at once.
    pub fn add_address(&mut self, index: u32, address: IpNet) -> Result<(), Error> {
        let message = RouteNetlinkMessage::NewAddress(message(index, address));
        self.request(message, NLM_F_CREATE | NLM_F_REPLACE, &format!("add address {address} to interface {index}")).map(drop)
    }

    /// Takes an address off an interface; a missing one is fine.
    pub fn remove_address(&mut self, index: u32, address: IpNet) -> Result<(), Error> {
        let message = RouteNetlinkMessage::DelAddress(message(index, address));
        match self.request(message, 0, &format!("remove address {address} from interface {index}")) {
            Err(error) if error.is_missing() => Ok(()),
            other => other.map(drop),
        }
    }

    /// Every address of the namespace, link-local ones among them.
    pub fn addresses(&mut self) -> Result<Vec<Address>, Error> {
        let replies = self.dump(&RouteNetlinkMessage::GetAddress(AddressMessage::default()), "list the addresses")?;
        Ok(replies.iter().filter_map(|Reply(payload)| parse(payload)).collect())
    }
}

fn message(index: u32, address: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = address.prefix_len();
    message.header.scope = AddressScope::Universe;
    message.attributes = vec![AddressAttribute::Local(address.addr()), AddressAttribute::Address(address.addr())];
    match address {
        IpNet::V4(v4) => {
            message.header.family = AddressFamily::Inet;
            if v4.prefix_len() < 31 {
                message.attributes.push(AddressAttribute::Broadcast(v4.broadcast()));
            }
        }
        IpNet::V6(_) => {
            message.header.family = AddressFamily::Inet6;
            message.header.flags = AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
    }
    message
}

fn parse(payload: &[u8]) -> Option<Address> {
    let message = AddressMessage::parse(payload).ok()?;
    let mut found: Option<IpAddr> = None;
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point interface IFA_ADDRESS is the other side and IFA_LOCAL ours.
            AddressAttribute::Local(address) => found = Some(*address),
            AddressAttribute::Address(address) => found = found.or(Some(*address)),
            _ => {}
        }
    }
    Some(Address { index: message.header.index, address: IpNet::new(found?, message.header.prefix_len).ok()? })
}
