//! Virtual functions of a network device (SR-IOV), which are set through the physical one.

use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage, LinkVfInfo, VfInfo, VfInfoMac, VfInfoVlan},
};

use super::{Error, Socket};
use crate::mac::MacAddr;

impl Socket {
    /// Gives virtual function `number` of the physical function at `index` its MAC, and the VLAN that its frames are in on the wire; 0 for none.
    pub fn set_virtual_function(&mut self, index: u32, number: u32, mac: MacAddr, vlan: u16) -> Result<(), Error> {
        let what = format!("set MAC {mac} and VLAN {vlan} of virtual function {number} of interface {index}");
        self.request(RouteNetlinkMessage::SetLink(message(index, number, mac, vlan)), 0, &what).map(drop)
    }
}

fn message(index: u32, number: u32, mac: MacAddr, vlan: u16) -> LinkMessage {
    let settings = vec![VfInfo::Mac(VfInfoMac::new(number, &mac.0)), VfInfo::Vlan(VfInfoVlan::new(number, vlan.into(), 0))];
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = vec![LinkAttribute::VfInfoList(vec![LinkVfInfo(settings)])];
    message
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Emitable;

    use super::*;

    /// Against linux/if_link.h and what `ip link set PF vf 3 mac … vlan 1234` sends, on a little-endian machine.
    #[test]
    #[cfg(target_endian = "little")]
    fn the_message_is_that_of_the_kernels_headers() {
        let message = message(7, 3, MacAddr([0xfa, 0x16, 0x3e, 1, 2, 3]), 1234);
        let mut sent = vec![0; message.buffer_len()];
        message.emit(&mut sent);
        // struct ifinfomsg: the index is its second word.
        let mut expected = vec![0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        // IFLA_VFINFO_LIST 22 of IFLA_VF_INFO 1; IFLA_VF_MAC 1: struct ifla_vf_mac, 4 + 32 bytes; IFLA_VF_VLAN 2: three words.
        expected.extend([64, 0, 22, 0, 60, 0, 1, 0, 40, 0, 1, 0, 3, 0, 0, 0, 0xfa, 0x16, 0x3e, 1, 2, 3]);
        expected.extend([0; 26]);
        expected.extend([16, 0, 2, 0, 3, 0, 0, 0, 0xd2, 4, 0, 0, 0, 0, 0, 0]);
        // NLA_F_NESTED may be set or not.
        for at in [19, 23] {
            sent[at] &= 0x7f;
        }
        assert_eq!(sent, expected);
    }
}
