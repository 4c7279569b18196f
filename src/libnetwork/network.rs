//! NetworkDriver calls about a whole network.

use serde_json::{Value, json};

use super::{error::Error, wire::Fields};
use crate::core::request::{DriverOptions, IpamData, NetworkRequest};

/// The engine's option that holds `docker network create -o`.
const GENERIC: &str = "com.docker.network.generic";
const INTERNAL: &str = "com.docker.network.internal";

/// NetworkDriver.CreateNetwork.
pub fn create(fields: &Fields) -> Result<NetworkRequest, Error> {
    let options = fields.object("Options")?;
    Ok(NetworkRequest {
        network: fields.id("NetworkID")?,
        v4: ipam_data(fields, "IPv4Data", false)?,
        v6: ipam_data(fields, "IPv6Data", true)?,
        internal: options.flag(INTERNAL)?,
        options: options.object(GENERIC)?.driver_options()?,
    })
}

/// NetworkDriver.GwAllocCheck: whether the engine (28 and later) is to leave out the gateway that the user did not name. An internal network has no
/// way out, so a gateway's address would be lost to its containers; everywhere else Neutron's gateway is asked for.
pub fn gateway_check(fields: &Fields) -> Result<Value, Error> {
    let skip = fields.object("Options")?.flag(INTERNAL)?;
    Ok(json!({ "SkipIPv4": skip, "SkipIPv6": skip }))
}

/// NetworkDriver.AllocateNetwork: here the user's options are not within others, and a swarm knows no `--internal` of remote drivers.
pub fn allocate(fields: &Fields) -> Result<NetworkRequest, Error> {
    Ok(NetworkRequest {
        network: fields.id("NetworkID")?,
        v4: ipam_data(fields, "IPv4Data", false)?,
        v6: ipam_data(fields, "IPv6Data", true)?,
        internal: false,
        options: fields.object("Options")?.driver_options()?,
    })
}

/// The reply to AllocateNetwork: the options that swarm's nodes will see in place of the user's.
pub fn allocated(options: &DriverOptions) -> Value {
    json!({ "Options": options })
}

fn ipam_data(fields: &Fields, field: &str, v6: bool) -> Result<Vec<IpamData>, Error> {
    let entry = |item: Fields| {
        let aux = item.object("AuxAddresses")?;
        let names: Vec<&str> = aux.names().collect();
        let aux_addresses =
            names.iter().filter_map(|name| aux.address_with_or_without_prefix(name).transpose()).collect::<Result<_, _>>()?;
        // 0.0.0.0/0 and ::/0 are this driver's answer for a subnet without a gateway.
        let gateway = item.address_with_or_without_prefix("Gateway")?.filter(|gateway| !gateway.is_unspecified());
        let pool = item.subnet("Pool")?;
        if pool.is_some_and(|pool| pool.addr().is_ipv6() != v6) {
            return Err(item.wrong_family("Pool", v6)?);
        }
        Ok(IpamData { pool, pool_text: item.text("Pool")?.to_owned(), gateway, aux_addresses })
    };
    fields.objects(field)?.into_iter().map(entry).collect()
}
