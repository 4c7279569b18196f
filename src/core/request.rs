//! What an edge (Docker today) asks of the core and what it gets back, free of any wire format.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::mac::MacAddr;

/// The engine's own option for the MTU of a network, which it leaves to the driver.
pub const MTU_OPTION: &str = "com.docker.network.driver.mtu";

/// A Docker network or endpoint id: 64 lower-case hex digits, or 25 characters `[0-9a-z]` from a swarm manager. Clones share the text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DockerId(Arc<str>);

/// The second half of an id that stands in for another.
const NAMELESS: &str = "00000000000000000000000000000000";

/// The end of an id that stands in for a swarm's network on its manager.
const MANAGERS: &str = "ffffffffffffff";

impl TryFrom<String> for DockerId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or_else(|| format!("'{text}' is no Docker id"))
    }
}

impl From<DockerId> for String {
    fn from(id: DockerId) -> Self {
        id.0.to_string()
    }
}

impl DockerId {
    /// Takes `text` when it has one of the two forms; names and tags in Neutron are cut out of it.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let swarm = text.len() == 25 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'z'));
        (hex || swarm).then(|| Self(text.into()))
    }

    /// An id that no engine gives out, for what belongs to no network of the engine.
    pub fn nowhere() -> Self {
        Self("0".repeat(64).into())
    }

    /// Stands in for the id of a network of which only a pool is known yet; no engine gives such ids out.
    pub fn nameless(pool: Uuid) -> Self {
        Self(format!("{}{NAMELESS}", pool.simple()).into())
    }

    /// Whether it is one of [`DockerId::nameless`].
    pub fn is_nameless(&self) -> bool {
        self.0.len() == 64 && self.0.ends_with(NAMELESS)
    }

    /// Stands in for a swarm's network on its manager, which on the same host is a node with the network too: the digits of the id's characters.
    pub fn of_manager(&self) -> Self {
        let digits: String = self.0.bytes().map(|byte| format!("{byte:02x}")).collect();
        Self(format!("{digits:.50}{MANAGERS}").into())
    }

    /// Whether it is one of [`DockerId::of_manager`].
    pub fn is_of_manager(&self) -> bool {
        let character = |digits: &[u8]| matches!(digits.first(), Some(b'3' | b'6' | b'7'));
        self.0.len() == 64 && self.0.ends_with(MANAGERS) && self.0.as_bytes().chunks(2).take(25).all(character)
    }

    /// The id as Docker wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DockerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The `neutron.*` and `kuryr.*` keys of `-o` and `--ipam-opt`, all as text.
pub type DriverOptions = BTreeMap<String, String>;

/// IpamDriver.RequestPool.
#[derive(Debug, Clone)]
pub struct PoolRequest {
    /// `--subnet`; none asks for the default subnet pool of the family.
    pub pool: Option<IpNet>,
    /// `--ip-range`; the pool granted is then this one.
    pub sub_pool: Option<IpNet>,
    /// Whether an IPv6 pool is asked for.
    pub v6: bool,
    /// Whether a swarm's manager asks, for its nodes.
    pub manager: bool,
    /// Pools that the engine holds already and that a pool of our choice must not overlap (`Exclude` of engines from 27 on).
    pub exclude: Vec<IpNet>,
    /// `--ipam-opt`.
    pub options: DriverOptions,
}

/// The answer to a [`PoolRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolGrant {
    /// The engine's `PoolID`: the Neutron subnet pool, or a name of our own where several networks draw on one pool.
    pub id: Uuid,
    /// The addresses the engine may use.
    pub cidr: IpNet,
}

/// What an address is wanted for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressPurpose {
    /// The gateway of a network being created (`RequestAddressType` = `com.docker.network.gateway`).
    Gateway,
    /// An endpoint, or an auxiliary address of a network being created: the engine does not say which.
    Endpoint {
        /// `--mac-address`, where the engine passes it.
        mac: Option<MacAddr>,
    },
}

/// IpamDriver.RequestAddress.
#[derive(Debug, Clone)]
pub struct AddressRequest {
    /// The pool from [`PoolGrant::id`].
    pub pool: Uuid,
    /// `--ip`, `--ip6`, `--gateway` or an auxiliary address; none leaves the choice to Neutron.
    pub address: Option<IpAddr>,
    /// What for.
    pub purpose: AddressPurpose,
}

/// One family's addressing of a network, as the engine tells it when the network is created.
#[derive(Debug, Clone)]
pub struct IpamData {
    /// The pool as granted by [`PoolGrant::cidr`]; none when the network has no addresses of this family.
    pub pool: Option<IpNet>,
    /// The text of `Pool` exactly as the engine sent it: the subnet's name in Neutron is made of it.
    pub pool_text: String,
    /// The gateway; none for a network without one.
    pub gateway: Option<IpAddr>,
    /// `--aux-address`: addresses that no container may get.
    pub aux_addresses: Vec<IpAddr>,
}

/// NetworkDriver.CreateNetwork.
#[derive(Debug, Clone)]
pub struct NetworkRequest {
    /// The engine's network.
    pub network: DockerId,
    /// IPv4 addressing; several entries where the engine has several `--subnet`.
    pub v4: Vec<IpamData>,
    /// IPv6 addressing.
    pub v6: Vec<IpamData>,
    /// `--internal`: the network gets no way out.
    pub internal: bool,
    /// `-o`.
    pub options: DriverOptions,
}

/// NetworkDriver.CreateEndpoint.
#[derive(Debug, Clone)]
pub struct EndpointRequest {
    /// The engine's network.
    pub network: DockerId,
    /// The engine's endpoint.
    pub endpoint: DockerId,
    /// The IPv4 address granted before, with its prefix.
    pub v4: Option<IpNet>,
    /// The IPv6 address granted before, with its prefix.
    pub v6: Option<IpNet>,
    /// `--mac-address`, or a MAC the engine chose itself.
    pub mac: Option<MacAddr>,
    /// `--driver-opt` of the endpoint.
    pub options: DriverOptions,
}

/// The answer to an [`EndpointRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointGrant {
    /// The MAC of the Neutron port when the engine named none; the engine refuses an answer that overrides its own.
    pub mac: Option<MacAddr>,
}

/// NetworkDriver.Join or ProgramExternalConnectivity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRequest {
    /// The engine's network.
    pub network: DockerId,
    /// The engine's endpoint.
    pub endpoint: DockerId,
    /// `EXPOSE` of the image and `--expose` of the container.
    pub exposed: BTreeSet<ExposedPort>,
}

/// A port on which a container wants to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ExposedPort {
    /// The number of the IP protocol, such as 6 for TCP.
    pub protocol: u8,
    /// The port.
    pub port: u16,
}

/// The answer to NetworkDriver.Join: how the engine puts the interface into the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The interface to move, in the host's namespace.
    pub interface: String,
    /// What the engine calls it inside, before a number.
    pub dst_prefix: String,
    /// The IPv4 gateway, if the port's subnet has one and the network is not internal.
    pub gateway: Option<IpAddr>,
    /// The IPv6 gateway.
    pub gateway_v6: Option<IpAddr>,
    /// `host_routes` of the port's subnets: destination and next hop.
    pub routes: Vec<(IpNet, IpAddr)>,
}

#[cfg(test)]
mod tests {
    use super::DockerId;

    #[test]
    fn ids_have_one_of_two_forms() {
        assert!(DockerId::parse(&"0123456789abcdef".repeat(4)).is_some());
        assert!(DockerId::parse("xqqzd9p112o4kvok38n3caxjm").is_some());
        for text in ["", "abc", &"g".repeat(64), &"A".repeat(64), "XQQZD9P112O4KVOK38N3CAXJM", &"a".repeat(63)] {
            assert!(DockerId::parse(text).is_none(), "{text}");
        }
    }
}
