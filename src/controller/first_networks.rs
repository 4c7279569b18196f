//! The networks that are there at first start: the way out and the pools that `docker network create` without a subnet draws on.

use ipnet::Ipv4Net;
use rusqlite::OptionalExtension;
use serde_json::{Value, json};

use super::{ApiError, Error, context::Context, neutron, resource::Call, store::Store};

/// Default range of the subnet pool `kuryr`.
const POOL_V4: &str = "10.250.0.0/16";

/// Makes the external network and the subnet pools in a store that has no network and no pool yet.
pub fn make(store: &Store, host: &str, external: Ipv4Net) -> Result<(), Error> {
    let pool_v6 = unique_local_prefix()?;
    let outcome = store.transact(|tx| {
        let any: bool =
            tx.query_row("SELECT EXISTS (SELECT 1 FROM networks) OR EXISTS (SELECT 1 FROM subnetpools)", [], |row| row.get(0))?;
        if any {
            return Ok(());
        }
        let project: Option<String> = tx.query_row("SELECT id FROM projects WHERE name = 'kuryr'", [], |row| row.get(0)).optional()?;
        // An administrator may have deleted it together with all networks.
        let Some(project) = project else { return Ok(()) };
        let context = Context::internal(&project);
        let call = Call { tx, context: &context, host };
        let network = post(&call, "networks", "network", json!({"name": "kuryr", "router:external": true}))?;
        let gateway = external.hosts().next().unwrap_or_else(|| external.addr());
        let subnet = json!({
            "name": "kuryr", "network_id": network["id"], "ip_version": 4, "cidr": external, "gateway_ip": gateway, "enable_dhcp": false,
        });
        post(&call, "subnets", "subnet", subnet)?;
        let pool = |name: &str, prefix: &str, length: u8| {
            let body = json!({"name": name, "prefixes": [prefix], "default_prefixlen": length, "shared": true, "is_default": true});
            post(&call, "subnetpools", "subnetpool", body)
        };
        pool("kuryr", POOL_V4, 24)?;
        pool("kuryr6", &pool_v6, 64)?;
        Ok(())
    });
    outcome.map_err(|error| Error::Defaults(error.message))
}

fn post(call: &Call<'_>, collection: &str, singular: &str, body: Value) -> Result<Value, ApiError> {
    let mut made = neutron::resource(collection)?.post(call, [(singular.to_owned(), body)].into_iter().collect())?;
    Ok(made[singular].take())
}

/// A random /48 of fd00::/8 (RFC 4193), so that two such machines do not meet by chance.
fn unique_local_prefix() -> Result<String, Error> {
    let mut id = [0; 5];
    getrandom::fill(&mut id).map_err(|error| Error::Defaults(format!("no random numbers: {error}")))?;
    let [a, b, c, d, e] = id;
    Ok(format!("fd{a:02x}:{b:02x}{c:02x}:{d:02x}{e:02x}::/48"))
}
