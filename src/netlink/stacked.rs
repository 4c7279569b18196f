//! Interfaces on top of another one: macvlan, ipvlan, VLAN.

use netlink_packet_route::link::{InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoVlan, IpVlanMode, LinkAttribute, LinkInfo, MacVlanMode};

use super::{Error, Socket};
use crate::mac::MacAddr;

/// An interface to make on top of another one.
#[derive(Debug, Clone, Copy)]
pub struct Stacked<'a> {
    /// Its name.
    pub name: &'a str,
    /// Index of the interface below it.
    pub below: u32,
    /// How the two share the wire.
    pub sharing: Sharing,
    /// Its MAC; none leaves it to the kernel, and an ipvlan has none of its own.
    pub mac: Option<MacAddr>,
    /// Its MTU in bytes; the kernel refuses a larger one than that of the interface below.
    pub mtu: u32,
}

/// How a [`Stacked`] interface shares the wire of the one below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// By MAC; those on one interface reach each other (mode `bridge`).
    Macvlan,
    /// By IP address, with the MAC of the interface below (mode `l2`).
    Ipvlan,
    /// By this VLAN id, in tags of IEEE 802.1Q.
    Vlan(u16),
}

impl Socket {
    /// Makes an interface on top of another one; it is down. EEXIST when its name is taken: see [`Error::is_exists`].
    pub fn add_stacked(&mut self, stacked: &Stacked<'_>) -> Result<(), Error> {
        let kind = match stacked.sharing {
            Sharing::Macvlan => "macvlan".to_owned(),
            Sharing::Ipvlan => "ipvlan".to_owned(),
            Sharing::Vlan(id) => format!("VLAN {id}"),
        };
        let what = format!("create {kind} {} on interface {}", stacked.name, stacked.below);
        self.create(stacked.name, attributes(stacked), &what)
    }
}

fn attributes(stacked: &Stacked<'_>) -> Vec<LinkAttribute> {
    let (kind, data) = match stacked.sharing {
        Sharing::Macvlan => (InfoKind::MacVlan, InfoData::MacVlan(vec![InfoMacVlan::Mode(MacVlanMode::Bridge)])),
        Sharing::Ipvlan => (InfoKind::IpVlan, InfoData::IpVlan(vec![InfoIpVlan::Mode(IpVlanMode::L2)])),
        Sharing::Vlan(id) => (InfoKind::Vlan, InfoData::Vlan(vec![InfoVlan::Id(id)])),
    };
    let mut attributes = vec![LinkAttribute::IfName(stacked.name.into()), LinkAttribute::Link(stacked.below)];
    attributes.extend(stacked.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
    attributes.push(LinkAttribute::Mtu(stacked.mtu));
    attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind), LinkInfo::Data(data)]));
    attributes
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Emitable;
    use netlink_packet_route::link::LinkMessage;

    use super::*;

    /// The part of the message behind `struct ifinfomsg`, which is empty.
    fn bytes(sharing: Sharing, mac: Option<MacAddr>) -> Vec<u8> {
        let mut message = LinkMessage::default();
        message.attributes = attributes(&Stacked { name: "t_c1", below: 7, sharing, mac, mtu: 1442 });
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        assert_eq!(bytes[..16], [0; 16]);
        bytes[16..].to_vec()
    }

    /// Against linux/if_link.h and what `ip link add link … type …` sends, on a little-endian machine; kernels without 8021q and ipvlan cannot
    /// be asked. A kernel has been asked about macvlan.
    #[test]
    #[cfg(target_endian = "little")]
    fn messages_are_those_of_the_kernels_headers() {
        // IFLA_IFNAME 3 and IFLA_LINK 5; IFLA_ADDRESS 1; IFLA_MTU 4; then IFLA_LINKINFO 18.
        let head: &[u8] = &[9, 0, 3, 0, b't', b'_', b'c', b'1', 0, 0, 0, 0, 8, 0, 5, 0, 7, 0, 0, 0];
        let mac: &[u8] = &[10, 0, 1, 0, 0xfa, 0x16, 0x3e, 1, 2, 3, 0, 0];
        let mtu: &[u8] = &[8, 0, 4, 0, 0xa2, 5, 0, 0];
        // IFLA_INFO_KIND 1, IFLA_INFO_DATA 2 with IFLA_MACVLAN_MODE 1, a u32: MACVLAN_MODE_BRIDGE 4.
        let macvlan: &[u8] = &[28, 0, 18, 0, 12, 0, 1, 0, b'm', b'a', b'c', b'v', b'l', b'a', b'n', 0, 12, 0, 2, 0, 8, 0, 1, 0, 4, 0, 0, 0];
        // IFLA_IPVLAN_MODE 1, a u16: IPVLAN_MODE_L2 0.
        let ipvlan: &[u8] = &[28, 0, 18, 0, 11, 0, 1, 0, b'i', b'p', b'v', b'l', b'a', b'n', 0, 0, 12, 0, 2, 0, 6, 0, 1, 0, 0, 0, 0, 0];
        // IFLA_VLAN_ID 1, a u16.
        let vlan: &[u8] = &[28, 0, 18, 0, 9, 0, 1, 0, b'v', b'l', b'a', b'n', 0, 0, 0, 0, 12, 0, 2, 0, 6, 0, 1, 0, 0xd2, 4, 0, 0];
        let own = Some(MacAddr([0xfa, 0x16, 0x3e, 1, 2, 3]));
        let nested = |info: &[u8]| {
            let mut info = info.to_vec();
            // Whether NLA_F_NESTED is set makes no difference to the kernel here; iproute2 leaves it off.
            info[3] &= 0x7f;
            info
        };
        for (sharing, mac_of, parts) in [
            (Sharing::Macvlan, own, [head, mac, mtu, macvlan]),
            (Sharing::Ipvlan, None, [head, &[], mtu, ipvlan]),
            (Sharing::Vlan(1234), own, [head, mac, mtu, vlan]),
        ] {
            let sent = bytes(sharing, mac_of);
            let at = sent.len() - 28;
            assert_eq!([&sent[..at], &nested(&sent[at..])].concat(), parts.concat(), "{sharing:?}");
        }
    }
}
