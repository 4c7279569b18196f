//! News of interfaces as the kernel tells them.

use std::time::Duration;

use netlink_packet_route::AddressFamily;
use netlink_sys::{Socket as RawSocket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::{
    errno::Errno,
    sys::socket::{setsockopt, sockopt::RcvBufForce},
};

use super::{
    Error, Link, link,
    socket::{parts, set_timeout},
};

/// `RTNLGRP_LINK` and `RTM_DELLINK` in linux/rtnetlink.h.
const LINK_GROUP: u32 = 1;
const LINK_DELETED: u16 = 17;
const BUFFER: usize = 64 * 1024;
/// Room for some thousand events while their reader is busy.
const QUEUE: usize = 8 << 20;

/// One piece of news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The interface is new or something about it changed.
    Changed(Link),
    /// The interface is gone from this namespace: deleted or moved away.
    Deleted(Link),
    /// Events were lost because they were read too slowly: list the interfaces afresh.
    Overrun,
}

/// Listens to the interfaces of the network namespace of the thread that opened it.
pub struct Monitor {
    raw: RawSocket,
    buffer: Vec<u8>,
    ready: Vec<Event>,
}

impl Monitor {
    /// Begins to listen; list the interfaces after this so that none falls between.
    pub fn open() -> Result<Self, Error> {
        let failed = |source| Error::System { what: "listen to interface events".into(), source };
        let mut raw = RawSocket::new(NETLINK_ROUTE).map_err(failed)?;
        raw.bind(&SocketAddr::new(0, 0)).map_err(failed)?;
        // A short queue is no failure: an overrun is reported and healed by listing afresh.
        let _ = setsockopt(&raw, RcvBufForce, &QUEUE);
        raw.add_membership(LINK_GROUP).map_err(failed)?;
        Ok(Self { raw, buffer: Vec::with_capacity(BUFFER), ready: Vec::new() })
    }

    /// The next event; none when `timeout` has passed without one, so that the caller can look at its stop flag.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Event>, Error> {
        set_timeout(&self.raw, timeout)?;
        loop {
            if let Some(event) = self.ready.pop() {
                return Ok(Some(event));
            }
            self.buffer.clear();
            if let Err(error) = self.raw.recv(&mut self.buffer, 0) {
                match error.raw_os_error().map(Errno::from_raw) {
                    Some(Errno::EAGAIN) => return Ok(None),
                    Some(Errno::EINTR) => continue,
                    Some(Errno::ENOBUFS) => return Ok(Some(Event::Overrun)),
                    _ => return Err(Error::System { what: "read interface events".into(), source: error }),
                }
            }
            for part in parts(&self.buffer).map_while(Result::ok) {
                let Some((link, family)) = link::parse(part.payload()) else { continue };
                // A bridge sends "deleted" in its own family when a port leaves it, and the interface lives on.
                if family != u8::from(AddressFamily::Unspec) {
                    continue;
                }
                let deleted = part.message_type() == LINK_DELETED;
                self.ready.push(if deleted { Event::Deleted(link) } else { Event::Changed(link) });
            }
            // Taken from the end.
            self.ready.reverse();
        }
    }
}
