//! The calls of the protocol: from path and body to a typed call, and from a call to its reply.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Settings, endpoint, error::Error, ipam, network, wire::Fields};
use crate::core::{
    Core,
    request::{AddressPurpose, AddressRequest, DockerId, EndpointRequest, JoinRequest, NetworkRequest, PoolRequest},
};

/// Every call this driver answers, as `Subsystem.Method`.
pub const NAMES: [&str; 22] = [
    "Plugin.Activate",
    "NetworkDriver.GetCapabilities",
    "NetworkDriver.GwAllocCheck",
    "NetworkDriver.CreateNetwork",
    "NetworkDriver.DeleteNetwork",
    "NetworkDriver.AllocateNetwork",
    "NetworkDriver.FreeNetwork",
    "NetworkDriver.CreateEndpoint",
    "NetworkDriver.DeleteEndpoint",
    "NetworkDriver.EndpointOperInfo",
    "NetworkDriver.Join",
    "NetworkDriver.Leave",
    "NetworkDriver.ProgramExternalConnectivity",
    "NetworkDriver.RevokeExternalConnectivity",
    "NetworkDriver.DiscoverNew",
    "NetworkDriver.DiscoverDelete",
    "IpamDriver.GetCapabilities",
    "IpamDriver.GetDefaultAddressSpaces",
    "IpamDriver.RequestPool",
    "IpamDriver.ReleasePool",
    "IpamDriver.RequestAddress",
    "IpamDriver.ReleaseAddress",
];

/// One call of the engine, decoded and checked.
#[derive(Debug)]
pub enum Call {
    /// Answered from the request and the settings alone, never by way of the cloud.
    Constant(Value),
    /// NetworkDriver.CreateNetwork.
    CreateNetwork(NetworkRequest),
    /// NetworkDriver.DeleteNetwork.
    DeleteNetwork(DockerId),
    /// NetworkDriver.AllocateNetwork, from a swarm's manager.
    AllocateNetwork(NetworkRequest),
    /// NetworkDriver.FreeNetwork.
    FreeNetwork(DockerId),
    /// NetworkDriver.CreateEndpoint.
    CreateEndpoint(EndpointRequest),
    /// NetworkDriver.DeleteEndpoint.
    DeleteEndpoint(DockerId, DockerId),
    /// NetworkDriver.EndpointOperInfo.
    OperationalInfo(DockerId),
    /// NetworkDriver.Join.
    Join(JoinRequest),
    /// NetworkDriver.Leave.
    Leave(DockerId, DockerId),
    /// NetworkDriver.ProgramExternalConnectivity.
    Program(JoinRequest),
    /// NetworkDriver.RevokeExternalConnectivity.
    Revoke(DockerId, DockerId),
    /// IpamDriver.RequestPool.
    RequestPool(PoolRequest),
    /// IpamDriver.ReleasePool.
    ReleasePool(String),
    /// IpamDriver.RequestAddress.
    RequestAddress(AddressRequest),
    /// IpamDriver.ReleaseAddress.
    ReleaseAddress(String, IpAddr),
}

impl Call {
    /// Decodes the call `name` with its `body`.
    pub fn decode(name: &str, body: &[u8], settings: &Settings) -> Result<Self, Error> {
        // These have no argument, or none of interest, and come with an empty body.
        let constant = match name {
            "Plugin.Activate" => Some(json!({ "Implements": ["NetworkDriver", "IpamDriver"] })),
            "NetworkDriver.GetCapabilities" => {
                Some(json!({ "Scope": settings.scope, "ConnectivityScope": "global", "GwAllocChecker": true }))
            }
            "NetworkDriver.DiscoverNew" | "NetworkDriver.DiscoverDelete" => Some(json!({})),
            "IpamDriver.GetCapabilities" => Some(json!({ "RequiresMACAddress": settings.requires_mac, "RequiresRequestReplay": false })),
            "IpamDriver.GetDefaultAddressSpaces" => Some(json!({
                "LocalDefaultAddressSpace": settings.address_space,
                "GlobalDefaultAddressSpace": settings.global_address_space(),
            })),
            _ => None,
        };
        if let Some(reply) = constant {
            return Ok(Self::Constant(reply));
        }
        if !NAMES.contains(&name) {
            return Err(Error::UnknownCall(name.to_owned()));
        }
        let fields = Fields::parse(name, body)?;
        let ids = || endpoint::ids(&fields);
        Ok(match name {
            "NetworkDriver.GwAllocCheck" => Self::Constant(network::gateway_check(&fields)?),
            "NetworkDriver.AllocateNetwork" if settings.is_global() => Self::AllocateNetwork(network::allocate(&fields)?),
            "NetworkDriver.FreeNetwork" if settings.is_global() => Self::FreeNetwork(fields.id("NetworkID")?),
            "NetworkDriver.AllocateNetwork" => Self::Constant(network::allocated(&fields.object("Options")?.options())),
            "NetworkDriver.FreeNetwork" => Self::Constant(json!({})),
            "NetworkDriver.CreateNetwork" => Self::CreateNetwork(network::create(&fields)?),
            "NetworkDriver.DeleteNetwork" => Self::DeleteNetwork(fields.id("NetworkID")?),
            "NetworkDriver.CreateEndpoint" => Self::CreateEndpoint(endpoint::create(&fields)?),
            "NetworkDriver.DeleteEndpoint" => ids().map(|(network, endpoint)| Self::DeleteEndpoint(network, endpoint))?,
            "NetworkDriver.EndpointOperInfo" => Self::OperationalInfo(ids()?.1),
            "NetworkDriver.Join" => Self::Join(endpoint::join(&fields)?),
            "NetworkDriver.Leave" => ids().map(|(network, endpoint)| Self::Leave(network, endpoint))?,
            "NetworkDriver.ProgramExternalConnectivity" => Self::Program(endpoint::join(&fields)?),
            "NetworkDriver.RevokeExternalConnectivity" => ids().map(|(network, endpoint)| Self::Revoke(network, endpoint))?,
            "IpamDriver.RequestPool" => Self::RequestPool(ipam::request_pool(&fields, settings)?),
            "IpamDriver.ReleasePool" => Self::ReleasePool(fields.text("PoolID")?.to_owned()),
            "IpamDriver.RequestAddress" => Self::RequestAddress(ipam::request_address(&fields)?),
            "IpamDriver.ReleaseAddress" => match ipam::release_address(&fields)? {
                (pool, Some(address)) => Self::ReleaseAddress(pool, address),
                (_, None) => Self::Constant(json!({})),
            },
            _ => return Err(Error::UnknownCall(name.to_owned())),
        })
    }

    /// What the call is about, for a person.
    pub fn object(&self) -> String {
        match self {
            Self::Constant(_) => "the driver".to_owned(),
            Self::CreateNetwork(request) | Self::AllocateNetwork(request) => format!("network {}", request.network),
            Self::DeleteNetwork(network) | Self::FreeNetwork(network) => format!("network {network}"),
            Self::CreateEndpoint(request) => format!("endpoint {} on network {}", request.endpoint, request.network),
            Self::OperationalInfo(endpoint) => format!("endpoint {endpoint}"),
            Self::DeleteEndpoint(network, endpoint)
            | Self::Join(JoinRequest { network, endpoint, .. })
            | Self::Leave(network, endpoint)
            | Self::Program(JoinRequest { network, endpoint, .. })
            | Self::Revoke(network, endpoint) => format!("endpoint {endpoint} on network {network}"),
            Self::RequestPool(request) => match request.sub_pool.or(request.pool) {
                Some(pool) => format!("pool {pool}"),
                None => "a pool of the default subnet pool".to_owned(),
            },
            Self::ReleasePool(pool) => format!("pool {pool}"),
            Self::RequestAddress(request) => match request.address {
                Some(address) => format!("address {address} of pool {}", request.pool),
                None => format!("an address of pool {}", request.pool),
            },
            Self::ReleaseAddress(pool, address) => format!("address {address} of pool {pool}"),
        }
    }

    /// What has to be taken back when the call succeeds after its deadline. The engine gives back what it asked for by itself only in part:
    /// never a network or an endpoint, nor an address or a pool of our choice, whose name it has not learnt. An address or a range that it
    /// named it may have asked for again by now; nobody comes for those, the collector takes them.
    pub fn late(&self) -> Late {
        match self {
            Self::CreateNetwork(request) => Late::Network(request.network.clone()),
            Self::AllocateNetwork(request) => Late::Allocation(request.network.clone()),
            Self::CreateEndpoint(request) => Late::Endpoint(request.network.clone(), request.endpoint.clone()),
            Self::RequestPool(request) if request.pool.is_none() && request.sub_pool.is_none() && request.options.is_empty() => Late::Pool,
            Self::RequestAddress(AddressRequest { pool, address: None, purpose: AddressPurpose::Endpoint { .. } }) => Late::Address(*pool),
            _ => Late::Nothing,
        }
    }

    /// Has the core do it and makes the reply.
    pub async fn answer(self, core: &Core) -> Result<Value, Error> {
        match self {
            Self::Constant(reply) => return Ok(reply),
            Self::CreateNetwork(request) => core.create_network(request).await?,
            Self::DeleteNetwork(network) => core.delete_network(&network).await?,
            Self::AllocateNetwork(request) => return Ok(network::allocated(&core.allocate_network(request).await?)),
            Self::FreeNetwork(network) => core.free_network(&network).await?,
            Self::CreateEndpoint(request) => return Ok(endpoint::created(&core.create_endpoint(request).await?)),
            Self::DeleteEndpoint(network, endpoint) => core.delete_endpoint(&network, &endpoint).await?,
            Self::OperationalInfo(endpoint) => return Ok(json!({ "Value": core.operational_info(&endpoint).await })),
            Self::Join(request) => return Ok(endpoint::joined(&core.join(request).await?)),
            Self::Leave(network, endpoint) => core.leave(&network, &endpoint).await?,
            Self::Program(request) => core.program_external_connectivity(request).await?,
            Self::Revoke(network, endpoint) => core.revoke_external_connectivity(&network, &endpoint).await?,
            Self::RequestPool(request) => return Ok(ipam::pool_granted(&core.request_pool(request).await?)),
            Self::ReleasePool(pool) => core.release_pool(&pool).await?,
            Self::RequestAddress(request) => return Ok(ipam::address_granted(core.request_address(request).await?)),
            Self::ReleaseAddress(pool, address) => core.release_address(&pool, address).await?,
        }
        Ok(json!({}))
    }
}

/// What a call has made that the engine will not come for when the answer is late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Late {
    /// Nothing.
    Nothing,
    /// A network.
    Network(DockerId),
    /// A swarm's network.
    Allocation(DockerId),
    /// An endpoint of a network.
    Endpoint(DockerId, DockerId),
    /// The pool in the reply.
    Pool,
    /// The address in the reply, out of this pool.
    Address(Uuid),
}

impl Late {
    /// The call that takes it back; `reply` is the answer that came too late.
    pub fn taken_back(self, reply: &Value) -> Option<Call> {
        let text = |key: &str| reply.get(key).and_then(Value::as_str);
        match self {
            Self::Nothing => None,
            Self::Network(network) => Some(Call::DeleteNetwork(network)),
            Self::Allocation(network) => Some(Call::FreeNetwork(network)),
            Self::Endpoint(network, endpoint) => Some(Call::DeleteEndpoint(network, endpoint)),
            Self::Pool => text("PoolID").map(|pool| Call::ReleasePool(pool.to_owned())),
            Self::Address(pool) => {
                let address: IpNet = text("Address")?.parse().ok()?;
                Some(Call::ReleaseAddress(pool.to_string(), address.addr()))
            }
        }
    }
}
