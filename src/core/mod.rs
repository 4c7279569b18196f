//! What kuryr does: networks, endpoints, addresses, the port pool. Knows no HTTP server and no netlink.

pub mod request;

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;

use self::request::{AddressRequest, Attachment, DockerId, EndpointGrant, EndpointRequest, NetworkRequest, PoolGrant, PoolRequest};

/// Why the core refused a request; the engine shows the text to a person verbatim.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request itself is wrong: the person who typed the command can mend it.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    /// The HTTP status of the reply to the engine: 400 for a request that can never succeed, else 500 or what the cloud answered.
    pub fn status(&self) -> u16 {
        match self {
            Self::Invalid(_) => 400,
        }
    }
}

/// The core of the daemon, shared by all edges.
#[derive(Debug)]
pub struct Core {}

impl Core {
    /// IpamDriver.RequestPool.
    pub async fn request_pool(&self, request: PoolRequest) -> Result<PoolGrant, Error> {
        Err(Error::Invalid(format!("no pool for {request:?}")))
    }

    /// IpamDriver.ReleasePool; an unknown pool is released already.
    pub async fn release_pool(&self, _pool: &str) -> Result<(), Error> {
        Ok(())
    }

    /// IpamDriver.RequestAddress: the address with the prefix length of its subnet.
    pub async fn request_address(&self, request: AddressRequest) -> Result<IpNet, Error> {
        Err(Error::Invalid(format!("no address for {request:?}")))
    }

    /// IpamDriver.ReleaseAddress; an unknown address is released already.
    pub async fn release_address(&self, _pool: &str, _address: IpAddr) -> Result<(), Error> {
        Ok(())
    }

    /// NetworkDriver.CreateNetwork.
    pub async fn create_network(&self, request: NetworkRequest) -> Result<(), Error> {
        Err(Error::Invalid(format!("no network for {request:?}")))
    }

    /// NetworkDriver.DeleteNetwork; an unknown network is deleted already.
    pub async fn delete_network(&self, _network: &DockerId) -> Result<(), Error> {
        Ok(())
    }

    /// NetworkDriver.CreateEndpoint.
    pub async fn create_endpoint(&self, request: EndpointRequest) -> Result<EndpointGrant, Error> {
        Err(Error::Invalid(format!("no endpoint for {request:?}")))
    }

    /// NetworkDriver.DeleteEndpoint; an unknown endpoint is deleted already.
    pub async fn delete_endpoint(&self, _network: &DockerId, _endpoint: &DockerId) -> Result<(), Error> {
        Ok(())
    }

    /// NetworkDriver.Join.
    pub async fn join(&self, network: &DockerId, endpoint: &DockerId) -> Result<Attachment, Error> {
        Err(Error::Invalid(format!("no endpoint {endpoint} on {network}")))
    }

    /// NetworkDriver.Leave: nothing to do, the link still is in the sandbox.
    pub async fn leave(&self, _network: &DockerId, _endpoint: &DockerId) -> Result<(), Error> {
        Ok(())
    }

    /// NetworkDriver.EndpointOperInfo: the port's status as far as this host knows it.
    pub async fn operational_info(&self, _endpoint: &DockerId) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// NetworkDriver.ProgramExternalConnectivity.
    pub async fn program_external_connectivity(&self, _network: &DockerId, _endpoint: &DockerId) -> Result<(), Error> {
        Ok(())
    }

    /// NetworkDriver.RevokeExternalConnectivity.
    pub async fn revoke_external_connectivity(&self, _network: &DockerId, _endpoint: &DockerId) -> Result<(), Error> {
        Ok(())
    }
}
