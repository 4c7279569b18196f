//! Interfaces: bridges, veth pairs, and what can be set on any of them.

use std::os::fd::AsRawFd;

use netlink_packet_core::{Emitable, NLM_F_CREATE, NLM_F_EXCL, NlasIterator, ParseableParametrized};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{
        BridgeStpState, InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkExtentMask, LinkFlags, LinkHeader, LinkInfo,
        LinkMessage,
    },
};

use super::{Error, NetnsFd, Socket, socket::Reply};
use crate::mac::MacAddr;

/// IFNAMSIZ less the closing zero byte.
const NAME_MAX: usize = 15;
/// Device group of the interfaces about to be deleted: "kury" in ASCII, so that nobody else has it. Every interface starts in group 0.
const LEAVING: u32 = 0x6b75_7279;

/// An interface as the kernel reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Number, unique in its namespace while the interface lives there.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Hardware address, where it is an Ethernet one.
    pub mac: Option<MacAddr>,
    /// MTU in bytes.
    pub mtu: u32,
    /// Index of the bridge (or other master) it is a port of.
    pub master: Option<u32>,
    /// Index of the peer of a veth; of the lower device for others. Valid in the peer's namespace only.
    pub peer: Option<u32>,
    /// Administratively up.
    pub up: bool,
    /// Up and with carrier.
    pub running: bool,
    /// Driver, as `ip -d link` names it: `bridge`, `veth`; empty for physical ones.
    pub kind: String,
}

/// A veth pair to make.
#[derive(Debug, Default)]
pub struct Veth<'a> {
    /// Name of the near end.
    pub name: &'a str,
    /// Its MAC; the kernel picks one at random when absent.
    pub mac: Option<MacAddr>,
    /// Index of the bridge that the near end becomes a port of.
    pub master: Option<u32>,
    /// Name of the far end.
    pub peer: &'a str,
    /// MAC of the far end.
    pub peer_mac: Option<MacAddr>,
    /// Namespace in which the far end is made, instead of this one.
    pub peer_netns: Option<&'a NetnsFd>,
    /// MTU of both ends; the kernel's 1500 when absent.
    pub mtu: Option<u32>,
}

impl Socket {
    /// Makes a veth pair in one request; both ends are down. EEXIST when either name is taken: see [`Error::is_exists`].
    pub fn add_veth(&mut self, veth: &Veth<'_>) -> Result<(), Error> {
        check_name(veth.peer)?;
        let mut peer = LinkMessage::default();
        peer.attributes = end(veth.peer, veth.peer_mac, veth.mtu);
        if let Some(netns) = veth.peer_netns {
            peer.attributes.push(LinkAttribute::NetNsFd(netns.as_raw_fd()));
        }
        let mut attributes = end(veth.name, veth.mac, veth.mtu);
        attributes.extend(veth.master.map(LinkAttribute::Controller));
        attributes
            .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth), LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer)))]));
        self.create(veth.name, attributes, &format!("create veth {} with peer {}", veth.name, veth.peer))
    }

    /// Makes a bridge that is down, forwards from its first moment (no forward delay, no STP) and does not snoop multicast: without a
    /// querier on the network, snooping loses IPv6 neighbour discovery.
    pub fn add_bridge(&mut self, name: &str) -> Result<(), Error> {
        self.add_bridge_with(name, None)
    }

    /// Makes a bridge as [`Socket::add_bridge`] does that learns no addresses and so sends every frame to all its other ports.
    pub fn add_hub(&mut self, name: &str) -> Result<(), Error> {
        self.add_bridge_with(name, Some(InfoBridge::AgeingTime(0)))
    }

    fn add_bridge_with(&mut self, name: &str, more: Option<InfoBridge>) -> Result<(), Error> {
        let mut options =
            vec![InfoBridge::ForwardDelay(0), InfoBridge::StpState(BridgeStpState::Disabled), InfoBridge::MulticastSnooping(false)];
        options.extend(more);
        let info = LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge), LinkInfo::Data(InfoData::Bridge(options))]);
        self.create(name, vec![LinkAttribute::IfName(name.into()), info], &format!("create bridge {name}"))
    }

    pub(super) fn create(&mut self, name: &str, attributes: Vec<LinkAttribute>, what: &str) -> Result<(), Error> {
        check_name(name)?;
        let mut message = LinkMessage::default();
        message.attributes = attributes;
        self.request(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL, what).map(drop)
    }

    /// The interface of that name, if there is one.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, Error> {
        check_name(name)?;
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::IfName(name.into()), LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])];
        match self.request(RouteNetlinkMessage::GetLink(message), 0, &format!("look up interface {name}")) {
            Ok(replies) => Ok(replies.first().and_then(|Reply(payload)| parse(payload)).map(|(link, _)| link)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every interface of the namespace.
    pub fn links(&mut self) -> Result<Vec<Link>, Error> {
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])];
        let replies = self.dump(&RouteNetlinkMessage::GetLink(message), "list the interfaces")?;
        Ok(replies.iter().filter_map(|Reply(payload)| parse(payload)).map(|(link, _)| link).collect())
    }

    /// Brings an interface up.
    pub fn set_up(&mut self, index: u32) -> Result<(), Error> {
        self.set_flags(index, LinkFlags::Up, &format!("bring interface {index} up"))
    }

    /// Takes an interface down.
    pub fn set_down(&mut self, index: u32) -> Result<(), Error> {
        self.set_flags(index, LinkFlags::empty(), &format!("take interface {index} down"))
    }

    fn set_flags(&mut self, index: u32, flags: LinkFlags, what: &str) -> Result<(), Error> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = flags;
        message.header.change_mask = LinkFlags::Up;
        self.request(RouteNetlinkMessage::SetLink(message), 0, what).map(drop)
    }

    /// Makes an interface a port of a bridge.
    pub fn set_master(&mut self, index: u32, master: u32) -> Result<(), Error> {
        self.set(index, LinkAttribute::Controller(master), &format!("make interface {index} a port of bridge {master}"))
    }

    /// Takes an interface out of its bridge.
    pub fn clear_master(&mut self, index: u32) -> Result<(), Error> {
        self.set(index, LinkAttribute::Controller(0), &format!("take interface {index} out of its bridge"))
    }

    /// Sets the MTU, in bytes.
    pub fn set_mtu(&mut self, index: u32, mtu: u32) -> Result<(), Error> {
        self.set(index, LinkAttribute::Mtu(mtu), &format!("set MTU {mtu} on interface {index}"))
    }

    /// Sets the hardware address.
    pub fn set_mac(&mut self, index: u32, mac: MacAddr) -> Result<(), Error> {
        self.set(index, LinkAttribute::Address(mac.0.to_vec()), &format!("set MAC {mac} on interface {index}"))
    }

    /// Renames an interface; old kernels want it down.
    pub fn rename(&mut self, index: u32, name: &str) -> Result<(), Error> {
        check_name(name)?;
        self.set(index, LinkAttribute::IfName(name.into()), &format!("rename interface {index} to {name}"))
    }

    /// Moves an interface into another namespace, where it is down and may get another index.
    pub fn move_to_netns(&mut self, index: u32, netns: &NetnsFd) -> Result<(), Error> {
        self.set(index, LinkAttribute::NetNsFd(netns.as_raw_fd()), &format!("move interface {index} to another namespace"))
    }

    fn set(&mut self, index: u32, attribute: LinkAttribute, what: &str) -> Result<(), Error> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes = vec![attribute];
        self.request(RouteNetlinkMessage::SetLink(message), 0, what).map(drop)
    }

    /// Deletes an interface, and the peer of a veth with it; a missing one is fine.
    pub fn delete_link(&mut self, name: &str) -> Result<(), Error> {
        check_name(name)?;
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::IfName(name.into())];
        match self.request(RouteNetlinkMessage::DelLink(message), 0, &format!("delete interface {name}")) {
            Err(error) if error.is_missing() => Ok(()),
            other => other.map(drop),
        }
    }
}

impl Socket {
    /// Deletes several interfaces in one step, missing ones are fine. The kernel waits for the end of an RCU grace period at each deletion;
    /// a whole device group waits once, so the interfaces are put into a group of their own first. Two callers at once may delete
    /// each other's share, which both want gone.
    pub fn delete_links(&mut self, names: &[String]) -> Result<(), Error> {
        let mut any = false;
        for name in names {
            check_name(name)?;
            let mut message = LinkMessage::default();
            message.attributes = vec![LinkAttribute::IfName(name.clone()), LinkAttribute::Group(LEAVING)];
            match self.request(RouteNetlinkMessage::SetLink(message), 0, &format!("put interface {name} into the group to delete")) {
                Ok(_) => any = true,
                Err(error) if error.is_missing() => {}
                Err(error) => return Err(error),
            }
        }
        if !any {
            return Ok(());
        }
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::Group(LEAVING)];
        match self.request(RouteNetlinkMessage::DelLink(message), 0, &format!("delete {} interfaces", names.len())) {
            Err(error) if error.is_missing() => Ok(()),
            other => other.map(drop),
        }
    }
}

fn end(name: &str, mac: Option<MacAddr>, mtu: Option<u32>) -> Vec<LinkAttribute> {
    let mut attributes = vec![LinkAttribute::IfName(name.into())];
    attributes.extend(mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
    attributes.extend(mtu.map(LinkAttribute::Mtu));
    attributes
}

/// Names reach /proc and /sys paths too, so what could leave a directory is refused before the kernel does (`dev_valid_name`).
pub(super) fn check_name(name: &str) -> Result<(), Error> {
    let reason = match name {
        "" | "." | ".." => "it is empty or a directory",
        // The kernel would allow these, and a setting written for such an interface would be one for the whole host.
        "all" | "default" => "/proc/sys/net uses it for every interface",
        _ if name.len() > NAME_MAX => "it is longer than 15 bytes",
        _ if name.bytes().any(|b| b == b'/' || b == b':' || b == 0 || b.is_ascii_whitespace()) => "it has a '/', ':' or white space in it",
        _ => return Ok(()),
    };
    Err(Error::BadName { name: name.into(), object: "an interface", reason })
}

/// Takes the attributes that are known and skips any other: a driver newer than the crate must not spoil the list. Also gives the
/// message's family.
pub(super) fn parse(payload: &[u8]) -> Option<(Link, u8)> {
    let header = LinkHeader::parse(payload).ok()?;
    let mut link = Link {
        index: header.index,
        name: String::new(),
        mac: None,
        mtu: 0,
        master: None,
        peer: None,
        up: header.flags.contains(LinkFlags::Up),
        running: header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
        kind: String::new(),
    };
    for attribute in NlasIterator::new(payload.get(header.buffer_len()..)?).map_while(Result::ok) {
        match LinkAttribute::parse_with_param(&attribute, header.interface_family) {
            Ok(LinkAttribute::IfName(name)) => link.name = name,
            Ok(LinkAttribute::Address(bytes)) => link.mac = bytes.try_into().ok().map(MacAddr),
            Ok(LinkAttribute::Mtu(mtu)) => link.mtu = mtu,
            Ok(LinkAttribute::Controller(index)) => link.master = Some(index).filter(|index| *index != 0),
            Ok(LinkAttribute::Link(index)) => link.peer = Some(index).filter(|index| *index != 0),
            Ok(LinkAttribute::LinkInfo(infos)) => {
                for info in infos {
                    if let LinkInfo::Kind(kind) = info {
                        link.kind = kind.to_string();
                    }
                }
            }
            _ => {}
        }
    }
    Some((link, header.interface_family.into()))
}
