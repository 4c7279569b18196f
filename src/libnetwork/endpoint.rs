//! NetworkDriver calls about an endpoint.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{error::Error, wire::Fields};
use crate::core::request::{Attachment, DockerId, EndpointGrant, EndpointRequest, ExposedPort, JoinRequest};

/// The engine's option for the MAC of an endpoint, in the NetworkDriver's and the IpamDriver's calls alike.
pub const MAC_OPTION: &str = "com.docker.network.endpoint.macaddress";
/// The engine's option for the ports that a container exposes.
const EXPOSED_OPTION: &str = "com.docker.network.endpoint.exposedports";

/// NetworkDriver.CreateEndpoint.
pub fn create(fields: &Fields) -> Result<EndpointRequest, Error> {
    let interface = fields.object("Interface")?;
    let options = fields.object("Options")?;
    let mac = match interface.mac("MacAddress")? {
        Some(mac) => Some(mac),
        None => options.mac(MAC_OPTION)?,
    };
    Ok(EndpointRequest {
        network: fields.id("NetworkID")?,
        endpoint: fields.id("EndpointID")?,
        v4: interface.interface_address("Address")?,
        v6: interface.interface_address("AddressIPv6")?,
        mac,
        options: options.driver_options()?,
    })
}

/// NetworkDriver.Join and ProgramExternalConnectivity: any sandbox path will do. Nobody can reach port 0.
pub fn join(fields: &Fields) -> Result<JoinRequest, Error> {
    let (network, endpoint) = ids(fields)?;
    let options = fields.object("Options")?;
    let mut exposed = BTreeSet::new();
    for item in options.objects(EXPOSED_OPTION)? {
        let port = ExposedPort {
            protocol: item.number("Proto", "a protocol number from 0 to 255")?,
            port: item.number("Port", "a port from 0 to 65535")?,
        };
        if port.port != 0 {
            exposed.insert(port);
        }
    }
    Ok(JoinRequest { network, endpoint, exposed })
}

/// The network and the endpoint that most calls name, and nothing else of interest: any sandbox path will do.
pub fn ids(fields: &Fields) -> Result<(DockerId, DockerId), Error> {
    Ok((fields.id("NetworkID")?, fields.id("EndpointID")?))
}

/// The reply to CreateEndpoint: addresses are never sent back, since the engine takes them for an attempt to change them.
pub fn created(grant: &EndpointGrant) -> Value {
    match grant.mac {
        Some(mac) => json!({ "Interface": { "MacAddress": mac } }),
        None => json!({ "Interface": {} }),
    }
}

/// The reply to Join. `DisableGatewayService` keeps the engine from adding a second interface on docker_gwbridge, past the security groups.
pub fn joined(attachment: &Attachment) -> Value {
    let routes: Vec<Value> = attachment
        .routes
        .iter()
        .map(|(destination, next_hop)| json!({ "Destination": destination, "RouteType": 0, "NextHop": next_hop }))
        .collect();
    let mut reply = Map::new();
    reply.insert("InterfaceName".to_owned(), json!({ "SrcName": attachment.interface, "DstPrefix": attachment.dst_prefix }));
    reply.insert("StaticRoutes".to_owned(), Value::Array(routes));
    reply.insert("DisableGatewayService".to_owned(), Value::Bool(true));
    for (key, gateway) in [("Gateway", attachment.gateway), ("GatewayIPv6", attachment.gateway_v6)] {
        if let Some(gateway) = gateway {
            reply.insert(key.to_owned(), json!(gateway));
        }
    }
    Value::Object(reply)
}
