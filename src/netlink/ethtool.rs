//! Offloads of an interface, over the kernel's `ethtool` family of generic netlink (Linux 5.6).

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR, NlasIterator};
use netlink_sys::{Socket as RawSocket, SocketAddr, protocols::NETLINK_GENERIC};

use super::{
    Error,
    link::check_name,
    socket::{ANSWER_TIME, parts, set_timeout, verdict},
};

// linux/genetlink.h
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
/// The header of generic netlink: command, version, two bytes reserved.
const GENL_HEADER: usize = 4;
// linux/ethtool_netlink.h
const ETHTOOL_MSG_FEATURES_SET: u8 = 12;
const ETHTOOL_A_HEADER_DEV_NAME: u16 = 2;
const ETHTOOL_A_HEADER_FLAGS: u16 = 3;
const ETHTOOL_FLAG_OMIT_REPLY: u32 = 2;
const ETHTOOL_A_FEATURES_HEADER: u16 = 1;
const ETHTOOL_A_FEATURES_WANTED: u16 = 3;
const ETHTOOL_A_BITSET_BITS: u16 = 3;
const ETHTOOL_A_BITSET_BITS_BIT: u16 = 1;
const ETHTOOL_A_BITSET_BIT_NAME: u16 = 2;
const NLA_F_NESTED: u16 = 0x8000;

/// What a veth would leave to hardware that it has not got. Segmentation offload goes with the first.
const CHECKSUMS: [&str; 2] = ["tx-checksum-ip-generic", "tx-checksum-sctp"];

/// Makes the sender on interface `name` of the calling thread's namespace fill in every checksum, as `ethtool -K NAME tx off` does; the
/// setting survives a move and a new name.
///
/// # Errors
/// [`Error::is_missing`] on a kernel before 5.6, which lacks the family.
pub fn checksum_in_software(name: &str) -> Result<(), Error> {
    check_name(name)?;
    let what = format!("switch transmit checksum offload of {name} off");
    let system = |source| Error::System { what: what.clone(), source };
    let mut socket = RawSocket::new(NETLINK_GENERIC).map_err(system)?;
    socket.bind_auto().map_err(system)?;
    socket.connect(&SocketAddr::new(0, 0)).map_err(system)?;
    let _ = socket.set_ext_ack(true);
    set_timeout(&socket, ANSWER_TIME)?;

    let ask = attribute(CTRL_ATTR_FAMILY_NAME, b"ethtool\0");
    let answer = exchange(&socket, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, &ask, &what)?;
    let id = answer.iter().flat_map(|answer| NlasIterator::new(answer).map_while(Result::ok)).find_map(|attribute| {
        let id = attribute.value().first_chunk::<2>().copied().filter(|_| attribute.kind() == CTRL_ATTR_FAMILY_ID);
        id.map(u16::from_ne_bytes)
    });
    let missing = || Error::BadReply { what: what.clone(), detail: "the family ethtool has no number".into() };
    exchange(&socket, id.ok_or_else(missing)?, ETHTOOL_MSG_FEATURES_SET, &features_off(name), &what).map(drop)
}

/// A bit that is named and has no value is taken out of the set.
fn features_off(name: &str) -> Vec<u8> {
    let text = |kind, text: &str| attribute(kind, format!("{text}\0").as_bytes());
    let header = [text(ETHTOOL_A_HEADER_DEV_NAME, name), attribute(ETHTOOL_A_HEADER_FLAGS, &ETHTOOL_FLAG_OMIT_REPLY.to_ne_bytes())];
    let bits = CHECKSUMS.map(|bit| nested(ETHTOOL_A_BITSET_BITS_BIT, &text(ETHTOOL_A_BITSET_BIT_NAME, bit)));
    let wanted = nested(ETHTOOL_A_BITSET_BITS, &bits.concat());
    [nested(ETHTOOL_A_FEATURES_HEADER, &header.concat()), nested(ETHTOOL_A_FEATURES_WANTED, &wanted)].concat()
}

fn nested(kind: u16, content: &[u8]) -> Vec<u8> {
    attribute(kind | NLA_F_NESTED, content)
}

/// One attribute: length without padding, kind, content, padding to four bytes. Ours are far below 64 KiB.
fn attribute(kind: u16, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + content.len()).unwrap_or(u16::MAX);
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Sends one command and waits for the kernel's word on it; returns the attributes of each answer before that.
fn exchange(socket: &RawSocket, family: u16, command: u8, attributes: &[u8], what: &str) -> Result<Vec<Vec<u8>>, Error> {
    let system = |source| Error::System { what: what.into(), source };
    // The header of netlink: length, type, flags, sequence number, sender (the kernel knows it).
    let length = u32::try_from(16 + GENL_HEADER + attributes.len()).unwrap_or(u32::MAX);
    let mut message = length.to_ne_bytes().to_vec();
    message.extend_from_slice(&family.to_ne_bytes());
    message.extend_from_slice(&(NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&[command, 1, 0, 0]);
    message.extend_from_slice(attributes);
    socket.send(&message, 0).map_err(system)?;

    let mut answers = Vec::new();
    loop {
        let mut buffer = Vec::with_capacity(8 * 1024);
        socket.recv(&mut buffer, 0).map_err(system)?;
        for part in parts(&buffer) {
            let part = part.map_err(|detail| Error::BadReply { what: what.into(), detail })?;
            if part.message_type() == NLMSG_ERROR {
                return verdict(&part, what).map(|()| answers);
            }
            answers.push(part.payload().get(GENL_HEADER..).unwrap_or_default().to_vec());
        }
    }
}
