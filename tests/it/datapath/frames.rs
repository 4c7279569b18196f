//! Frames as bytes, true or forged.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kuryr::mac::MacAddr;

pub const EVERYONE: MacAddr = MacAddr([0xff; 6]);
pub const ICMP6: u8 = 58;

pub fn ethernet(source: MacAddr, destination: MacAddr, kind: u16, payload: &[u8]) -> Vec<u8> {
    [&destination.0[..], &source.0, &kind.to_be_bytes(), payload].concat()
}

/// Puts a tag between the addresses and the type.
pub fn tagged(frame: &[u8], kind: u16, vlan: u16) -> Vec<u8> {
    [&frame[..12], &kind.to_be_bytes(), &vlan.to_be_bytes(), &frame[12..]].concat()
}

/// An ARP request, with a mark behind it.
pub fn arp(mac: MacAddr, sender: IpAddr, target: IpAddr, mark: &str) -> Vec<u8> {
    let four = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => panic!("ARP is for IPv4"),
    };
    let head = [0, 1, 8, 0, 6, 4, 0, 1];
    [&head[..], &mac.0, &four(sender), &[0; 6], &four(target), mark.as_bytes()].concat()
}

/// What an IP packet carries: protocol, bytes, and where in them the checksum stands.
pub struct Content {
    pub protocol: u8,
    pub bytes: Vec<u8>,
    pub checksum: Option<usize>,
}

pub fn udp(source: u16, destination: u16, mark: &str) -> Content {
    let length = u16::try_from(8 + mark.len()).unwrap();
    let bytes = [&source.to_be_bytes()[..], &destination.to_be_bytes(), &length.to_be_bytes(), &[0, 0], mark.as_bytes()].concat();
    Content { protocol: 17, bytes, checksum: Some(6) }
}

/// The first packet of a connection.
pub fn tcp(source: u16, destination: u16, mark: &str) -> Content {
    let head = [&source.to_be_bytes()[..], &destination.to_be_bytes(), &[0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0x20, 0, 0, 0, 0, 0]].concat();
    Content { protocol: 6, bytes: [&head, mark.as_bytes()].concat(), checksum: Some(16) }
}

/// The first packet of an SCTP association, its checksum a CRC32c.
pub fn sctp(source: u16, destination: u16, mark: &str) -> Content {
    // INIT with a parameter that carries the mark (type 0xc000: skipped by who does not know it).
    let length = u16::try_from(4 + mark.len()).unwrap();
    let parameter = [&[0xc0, 0][..], &length.to_be_bytes(), mark.as_bytes(), &[0; 3][..(4 - mark.len() % 4) % 4]].concat();
    let chunk = u16::try_from(20 + parameter.len()).unwrap();
    let init = [&[1, 0][..], &chunk.to_be_bytes(), &[0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1], &parameter].concat();
    let mut bytes = [&source.to_be_bytes()[..], &destination.to_be_bytes(), &[0; 8], &init].concat();
    let sum = !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
    });
    bytes[8..12].copy_from_slice(&sum.to_le_bytes());
    Content { protocol: 132, bytes, checksum: None }
}

/// An echo request of either family.
pub fn echo(v6: bool, mark: &str) -> Content {
    let head = [if v6 { 128 } else { 8 }, 0, 0, 0, 0, 7, 0, 1];
    Content { protocol: if v6 { ICMP6 } else { 1 }, bytes: [&head[..], mark.as_bytes()].concat(), checksum: Some(2) }
}

/// A message of ICMPv6 that begins with four bytes and perhaps an address, and ends with an option that nobody knows.
pub fn icmp6(kind: u8, target: Option<IpAddr>, mark: &str) -> Content {
    let target = match target {
        Some(IpAddr::V6(target)) => target.octets().to_vec(),
        _ => Vec::new(),
    };
    let mut option = vec![253, 2];
    option.extend(mark.as_bytes());
    option.resize(16, 0);
    Content { protocol: ICMP6, bytes: [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &target, &option].concat(), checksum: Some(2) }
}

/// Puts an extension header of IPv6 before the content, which then hides its protocol: 60 is destination options.
pub fn behind_options(inner: &Content, source: IpAddr, destination: IpAddr) -> Content {
    let inner_bytes = summed(inner, source, destination);
    let bytes = [&[inner.protocol, 0, 1, 4, 0, 0, 0, 0][..], &inner_bytes].concat();
    Content { protocol: 60, bytes, checksum: None }
}

/// The content in two fragments of IPv6, the first with this many bytes, a multiple of eight.
pub fn fragments(whole: &Content, first: usize, source: IpAddr, destination: IpAddr) -> [Content; 2] {
    let bytes = summed(whole, source, destination);
    let more = [(0, 1, &bytes[..first]), (first, 0, &bytes[first..])];
    more.map(|(offset, more, part)| {
        let place = (u16::try_from(offset).unwrap() | more).to_be_bytes();
        Content { protocol: 44, bytes: [&[whole.protocol, 0][..], &place, &[0, 0, 0, 9], part].concat(), checksum: None }
    })
}

/// A whole frame.
pub fn packet(from: MacAddr, to: MacAddr, source: IpAddr, destination: IpAddr, content: &Content) -> Vec<u8> {
    let bytes = summed(content, source, destination);
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let length = u16::try_from(20 + bytes.len()).unwrap().to_be_bytes();
            let mut head =
                [&[0x45, 0][..], &length, &[0, 0, 0, 0, 64, content.protocol, 0, 0], &source.octets(), &destination.octets()].concat();
            let sum = checksum(&head);
            head[10..12].copy_from_slice(&sum);
            ethernet(from, to, 0x0800, &[head, bytes].concat())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
            // Neighbour messages are taken from neighbours only, which a hop limit of 255 shows.
            let head = [&[0x60, 0, 0, 0][..], &length, &[content.protocol, 255], &source.octets(), &destination.octets()].concat();
            ethernet(from, to, 0x86dd, &[head, bytes].concat())
        }
        _ => panic!("addresses of two families"),
    }
}

fn summed(content: &Content, source: IpAddr, destination: IpAddr) -> Vec<u8> {
    let mut bytes = content.bytes.clone();
    let Some(at) = content.checksum else { return bytes };
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    let pseudo = [&octets(source)[..], &octets(destination), &length, &[0, 0, 0, content.protocol]].concat();
    let covered = if content.protocol == 1 { bytes.clone() } else { [pseudo, bytes.clone()].concat() };
    bytes[at..at + 2].copy_from_slice(&checksum(&covered));
    bytes
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let sum: u32 = bytes.chunks(2).map(word).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    (!u16::try_from(folded).unwrap()).to_be_bytes()
}

/// Where IPv6 packets to all nodes go.
pub fn all_nodes() -> (MacAddr, IpAddr) {
    (MacAddr([0x33, 0x33, 0, 0, 0, 1]), IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)))
}

/// The link-local address of a MAC.
pub fn link_local(mac: MacAddr) -> IpAddr {
    let [a, b, c, d, e, f] = mac.0;
    let tail = [a ^ 2, b, c, 0xff, 0xfe, d, e, f];
    IpAddr::V6(Ipv6Addr::from(0xfe80_u128 << 112 | u128::from(u64::from_be_bytes(tail))))
}

pub const NOBODY4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
pub const NOBODY6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
