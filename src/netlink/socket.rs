//! One rtnetlink socket: request, acknowledgement, dump.

use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket as RawSocket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::{
    errno::Errno,
    sys::{
        socket::{setsockopt, sockopt::ReceiveTimeout},
        time::TimeVal,
    },
};

use super::Error;

/// The kernel answers from within the request, so a wait of this length means that the answer was lost.
const ANSWER_SECONDS: u64 = 10;
/// The same as a duration.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(ANSWER_SECONDS);
/// As CNI and moby do; a dump which collides more often meets a storm of changes.
const DUMP_ATTEMPTS: usize = 5;
/// The kernel fills at most 32 KiB per dump datagram (`netlink_dump` in af_netlink.c).
const BUFFER: usize = 64 * 1024;
/// `NLMSGERR_ATTR_MSG` in linux/netlink.h.
const ERROR_TEXT: u16 = 1;

/// A blocking rtnetlink socket, bound for life to the network namespace of the thread that opened it: one opened inside
/// [`netns::run_in`](super::netns::run_in) goes on configuring that namespace from any thread.
pub struct Socket {
    raw: RawSocket,
    sequence: u32,
    buffer: Vec<u8>,
}

/// One message of an answer, its netlink header taken off.
pub(super) struct Reply(pub(super) Vec<u8>);

impl Socket {
    /// Opens a socket in the network namespace of the calling thread.
    pub fn open() -> Result<Self, Error> {
        let failed = |source| Error::System { what: "open a netlink socket".into(), source };
        let mut raw = RawSocket::new(NETLINK_ROUTE).map_err(failed)?;
        raw.bind_auto().map_err(failed)?;
        raw.connect(&SocketAddr::new(0, 0)).map_err(failed)?;
        // Kernels before 4.12 know neither option; without them an error has a number and no sentence.
        let _ = raw.set_ext_ack(true);
        let _ = raw.set_cap_ack(true);
        set_timeout(&raw, ANSWER_TIME)?;
        Ok(Self { raw, sequence: 0, buffer: Vec::with_capacity(BUFFER) })
    }

    /// Sends one change and waits for the kernel's word on it; returns what else the kernel said.
    pub(super) fn request(&mut self, message: RouteNetlinkMessage, flags: u16, what: &str) -> Result<Vec<Reply>, Error> {
        self.exchange(message, NLM_F_REQUEST | NLM_F_ACK | flags, what).map(|(replies, _)| replies)
    }

    /// Reads a whole list; read again when it changed meanwhile, which no crate below does for us.
    pub(super) fn dump(&mut self, message: &RouteNetlinkMessage, what: &str) -> Result<Vec<Reply>, Error> {
        for _ in 0..DUMP_ATTEMPTS {
            let (replies, interrupted) = self.exchange(message.clone(), NLM_F_REQUEST | NLM_F_DUMP, what)?;
            if !interrupted {
                return Ok(replies);
            }
        }
        Err(Error::Interrupted { what: what.into() })
    }

    fn exchange(&mut self, message: RouteNetlinkMessage, flags: u16, what: &str) -> Result<(Vec<Reply>, bool), Error> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.raw.send(&bytes, 0).map_err(|source| Error::System { what: what.into(), source })?;

        let mut replies = Vec::new();
        let mut interrupted = false;
        loop {
            self.receive(what)?;
            for part in parts(&self.buffer) {
                let part = part.map_err(|detail| Error::BadReply { what: what.into(), detail })?;
                // The rest of an answer which an earlier call gave up on.
                if part.sequence_number() != self.sequence {
                    continue;
                }
                interrupted |= part.flags() & NLM_F_DUMP_INTR != 0;
                match part.message_type() {
                    NLMSG_ERROR | NLMSG_DONE => {
                        verdict(&part, what)?;
                        return Ok((replies, interrupted));
                    }
                    _ => replies.push(Reply(part.payload().to_vec())),
                }
            }
        }
    }

    fn receive(&mut self, what: &str) -> Result<(), Error> {
        loop {
            self.buffer.clear();
            match self.raw.recv(&mut self.buffer, 0) {
                Ok(_) => return Ok(()),
                Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                    Some(Errno::EINTR) => {}
                    Some(Errno::EAGAIN) => return Err(Error::Timeout { what: what.into(), seconds: ANSWER_SECONDS }),
                    _ => return Err(Error::System { what: what.into(), source: error }),
                },
            }
        }
    }
}

/// How long a receive on `raw` may take; zero would mean for ever and is rounded up.
pub(super) fn set_timeout(raw: &RawSocket, timeout: Duration) -> Result<(), Error> {
    let micros = i64::try_from(timeout.as_micros()).unwrap_or(i64::MAX).max(1000);
    let value = TimeVal::new(micros / 1_000_000, micros % 1_000_000);
    setsockopt(raw, ReceiveTimeout, &value)
        .map_err(|errno| Error::System { what: "set a time limit on a netlink socket".into(), source: errno.into() })
}

/// The messages in one datagram.
pub(super) fn parts(datagram: &[u8]) -> impl Iterator<Item = Result<NetlinkBuffer<&[u8]>, String>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let part = match NetlinkBuffer::new_checked(rest) {
            Ok(part) => part,
            Err(error) => {
                rest = &[];
                return Some(Err(error.to_string()));
            }
        };
        let next = (part.length() as usize).next_multiple_of(4).min(rest.len());
        rest = &rest[next..];
        Some(Ok(part))
    })
}

/// Reads the error number at the head of an NLMSG_ERROR or NLMSG_DONE; both carry it negative, zero for success.
pub(super) fn verdict(part: &NetlinkBuffer<&[u8]>, what: &str) -> Result<(), Error> {
    let payload = part.payload();
    let code = payload.first_chunk::<4>().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    if code == 0 {
        return Ok(());
    }
    // With NETLINK_CAP_ACK the request's header (16 bytes) follows the number, then the attributes.
    let attributes = if part.flags() & NLM_F_ACK_TLVS != 0 { payload.get(20..).unwrap_or_default() } else { &[] };
    let detail = NlasIterator::new(attributes)
        .map_while(Result::ok)
        .find(|attribute| attribute.kind() == ERROR_TEXT)
        .map(|attribute| String::from_utf8_lossy(attribute.value()).trim_end_matches('\0').to_owned())
        .unwrap_or_default();
    Err(Error::Kernel { what: what.into(), errno: Errno::from_raw(code.saturating_neg()), detail })
}
