//! News of changes that others make to the firewall, as the kernel tells them (nfnetlink's group for nftables; iptables in its usual
//! form on nftables is heard too, iptables-legacy is not).

use std::{io, time::Duration};

use netlink_packet_core::{NetlinkBuffer, NlasIterator};
use netlink_sys::{Socket, SocketAddr};
use nix::{
    errno::Errno,
    sys::{
        socket::{
            setsockopt,
            sockopt::{RcvBufForce, ReceiveTimeout},
        },
        time::TimeVal,
    },
};

use super::program;

/// `NETLINK_NETFILTER` in linux/netlink.h.
const NETFILTER: isize = 12;
/// `NFNLGRP_NFTABLES` in linux/netfilter/nfnetlink.h.
const GROUP: u32 = 7;
/// `NFNL_SUBSYS_NFTABLES`: the high byte of a message's type.
const SUBSYSTEM: u16 = 10;
/// `NFT_MSG_DELTABLE`, `NFT_MSG_DELCHAIN`, `NFT_MSG_DELRULE`.
const DELETIONS: [u16; 3] = [2, 5, 8];
/// `NFT_MSG_NEWGEN`: the end of a transaction, which names no table.
const END: u16 = 15;
/// Length of `struct nfgenmsg` before the attributes; its first byte is the family.
const HEADER: usize = 4;
/// `NFTA_*_TABLE` and, for rules, `NFTA_RULE_CHAIN`; a chain's own name is `NFTA_CHAIN_NAME`.
const TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const CHAIN_NAME: u16 = 3;
const CHAIN_MESSAGES: [u16; 2] = [3, 5];
const BUFFER: usize = 64 * 1024;
/// Room for the messages of a ruleset of some hundred ports, which come at once.
const QUEUE: usize = 8 << 20;

/// What another has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// One of our tables was changed or deleted.
    Tables,
    /// Rules were taken away from iptables' FORWARD or from our chain there.
    Forward,
    /// News were lost because they were read too slowly: anything may have happened.
    Overrun,
}

/// Listens in the network namespace of the thread that opened it.
pub struct Watch {
    socket: Socket,
    buffer: Vec<u8>,
    table: &'static str,
    chain: &'static str,
}

impl Watch {
    /// Begins to listen for changes of every table named `table`, and of iptables' FORWARD and `chain` beside it.
    pub fn open(table: &'static str, chain: &'static str) -> io::Result<Self> {
        let mut socket = Socket::new(NETFILTER)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        // A short queue is no failure: an overrun is told.
        let _ = setsockopt(&socket, RcvBufForce, &QUEUE);
        socket.add_membership(GROUP)?;
        Ok(Self { socket, buffer: Vec::with_capacity(BUFFER), table, chain })
    }

    /// Waits for the next news, at most `timeout`. Changes by the programs that [`apply`](super::apply) and the like run are no news.
    pub fn next(&mut self, timeout: Duration) -> io::Result<Option<News>> {
        let micros = i64::try_from(timeout.as_micros()).unwrap_or(i64::MAX).max(1000);
        setsockopt(&self.socket, ReceiveTimeout, &TimeVal::new(micros / 1_000_000, micros % 1_000_000))?;
        loop {
            self.buffer.clear();
            if let Err(error) = self.socket.recv(&mut self.buffer, 0) {
                match error.raw_os_error().map(Errno::from_raw) {
                    Some(Errno::EAGAIN) => return Ok(None),
                    Some(Errno::EINTR) => continue,
                    Some(Errno::ENOBUFS) => return Ok(Some(News::Overrun)),
                    _ => return Err(error),
                }
            }
            let news = messages(&self.buffer).filter_map(|message| news(&message, self.table, self.chain));
            // The tables are the worse news: what heals them heals the chain as well.
            if let Some(found) = news.reduce(|one, other| if other == News::Tables { other } else { one }) {
                return Ok(Some(found));
            }
        }
    }
}

fn messages(datagram: &[u8]) -> impl Iterator<Item = NetlinkBuffer<&[u8]>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let message = NetlinkBuffer::new_checked(rest).ok()?;
        rest = rest.get((message.length() as usize).next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

fn news(message: &NetlinkBuffer<&[u8]>, table: &str, chain: &str) -> Option<News> {
    let kind = message.message_type() & 0xff;
    // The port of a program's first netlink socket is its process id.
    if message.message_type() >> 8 != SUBSYSTEM || kind == END || program::is_ours(message.port_number()) {
        return None;
    }
    let text = |wanted: u16| {
        let attributes = NlasIterator::new(message.payload().get(HEADER..)?);
        let found = attributes.map_while(Result::ok).find(|attribute| attribute.kind() == wanted)?;
        std::str::from_utf8(found.value()).ok().map(|text| text.trim_end_matches('\0').to_owned())
    };
    match text(TABLE)? {
        named if named == table => Some(News::Tables),
        named if named == "filter" && DELETIONS.contains(&kind) => {
            let within = text(if CHAIN_MESSAGES.contains(&kind) { CHAIN_NAME } else { RULE_CHAIN });
            within.is_some_and(|name| name == "FORWARD" || name == chain).then_some(News::Forward)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::nft;

    const LONG: Duration = Duration::from_secs(20);

    #[allow(clippy::disallowed_methods, reason = "another program than ours changes the firewall")]
    fn another(program: &str, arguments: &[&str]) {
        assert!(Command::new(program).args(arguments).status().unwrap().success());
    }

    #[test]
    fn what_others_do_is_news_and_what_we_do_is_none() {
        let mut watch = Watch::open("kuryr", "KURYR-FORWARD").unwrap();
        nft::apply("add table inet kuryr\nadd chain inet kuryr a\n").unwrap();
        nft::iptables_restore("iptables", "*filter\n:KURYR-FORWARD - [0:0]\n-I FORWARD 1 -j KURYR-FORWARD\nCOMMIT\n").unwrap();
        another("nft", &["add", "table", "inet", "other"]);
        another("iptables", &["-A", "FORWARD", "-j", "ACCEPT"]);
        another("iptables", &["-F", "FORWARD"]);
        assert_eq!(watch.next(LONG).unwrap(), Some(News::Forward));
        another("iptables", &["-N", "OTHER"]);
        another("iptables", &["-X", "OTHER"]);
        another("nft", &["add", "rule", "inet", "kuryr", "a", "accept"]);
        assert_eq!(watch.next(LONG).unwrap(), Some(News::Tables));
        another("nft", &["flush", "ruleset"]);
        assert_eq!(watch.next(LONG).unwrap(), Some(News::Tables));
    }
}
