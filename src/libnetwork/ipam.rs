//! IpamDriver calls.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{Settings, endpoint::MAC_OPTION, error::Error, wire::Fields};
use crate::core::request::{AddressPurpose, AddressRequest, PoolGrant, PoolRequest};

/// IpamDriver.RequestPool.
pub fn request_pool(fields: &Fields, settings: &Settings) -> Result<PoolRequest, Error> {
    let v6 = fields.flag("V6")?;
    let [pool, sub_pool] = [fields.subnet("Pool")?, fields.subnet("SubPool")?];
    for (field, net) in [("Pool", pool), ("SubPool", sub_pool)] {
        if net.is_some_and(|net| net.addr().is_ipv6() != v6) {
            return Err(fields.wrong_family(field, v6)?);
        }
    }
    let exclude = fields.texts("Exclude")?.iter().filter_map(|text| text.parse().ok()).collect();
    // A swarm's manager asks in the global space, and its nodes then in the local one.
    let manager = settings.is_global() && fields.text("AddressSpace")? == settings.global_address_space();
    Ok(PoolRequest { pool, sub_pool, v6, manager, exclude, options: fields.object("Options")?.driver_options()? })
}

/// IpamDriver.RequestAddress.
pub fn request_address(fields: &Fields) -> Result<AddressRequest, Error> {
    let options = fields.object("Options")?;
    let purpose = if options.text("RequestAddressType")? == "com.docker.network.gateway" {
        AddressPurpose::Gateway
    } else {
        AddressPurpose::Endpoint { mac: options.mac(MAC_OPTION)? }
    };
    Ok(AddressRequest { pool: fields.pool_id("PoolID")?, address: fields.address("Address")?, purpose })
}

/// IpamDriver.ReleaseAddress: any pool id will do, since an unknown pool is released already.
pub fn release_address(fields: &Fields) -> Result<(String, Option<IpAddr>), Error> {
    Ok((fields.text("PoolID")?.to_owned(), fields.address("Address")?))
}

/// The reply to RequestPool.
pub fn pool_granted(grant: &PoolGrant) -> Value {
    json!({ "PoolID": grant.id, "Pool": grant.cidr, "Data": {} })
}

/// The reply to RequestAddress.
pub fn address_granted(address: IpNet) -> Value {
    json!({ "Address": address, "Data": {} })
}
