//! Between the store and the datapath: what is stored becomes a [`Snapshot`], and what the datapath sees becomes the ports' status.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use rusqlite::Transaction;
use serde_json::Value;
use uuid::Uuid;

use super::{
    Controller,
    datapath::{
        self, Datapath,
        snapshot::{Direction, Network, Port, Remote, Router, Rule, Snapshot, Subnet},
    },
    error::ApiError,
    groups,
    resource::{flag, text},
    rule,
    store::{self, Object},
};
use crate::mac::MacAddr;

/// How often everything is looked at although nothing was heard: it heals what somebody else has taken away.
const FULL_SYNC: Duration = Duration::from_secs(60);

impl Controller {
    /// Starts the datapath in the calling thread's network namespace; it follows the store until it is dropped. Call it inside a tokio
    /// runtime, and drop it where blocking is allowed: that waits for its threads.
    pub fn start_datapath(self: &Arc<Self>) -> Result<Datapath, datapath::Error> {
        // Subscribed before the first read, so that no change falls in between.
        let mut changes = self.changes();
        let (reader, writer) = (self.store().clone(), self.store().clone());
        let read = move || reader.transact(snapshot).map_err(|error| error.message);
        // A status is written without an announcement: it would only wake the datapath that found it out.
        let report = move |changed: &[(Uuid, bool)]| {
            for (status, up) in [("ACTIVE", true), ("DOWN", false)] {
                let ids: Vec<String> = changed.iter().filter(|(_, active)| *active == up).map(|(id, _)| id.to_string()).collect();
                if ids.is_empty() {
                    continue;
                }
                if let Err(error) = writer.set_port_status(&ids, status) {
                    tracing::error!(error = error.message, status, ports = ?ids, "the ports' status is not written; the next sync tries again");
                }
            }
        };
        let datapath = Datapath::start(FULL_SYNC, read, report)?;
        let nudge = datapath.nudge();
        tokio::spawn(async move {
            while changes.changed().await.is_ok() {
                nudge.changed();
            }
        });
        Ok(datapath)
    }
}

/// Reads all that the datapath has to bring about.
///
/// # Errors
/// The database fails, or a row holds what the API never writes; the message names the row.
pub fn snapshot(tx: &Transaction<'_>) -> Result<Snapshot, ApiError> {
    Ok(Snapshot { networks: networks(tx)?, ports: ports(tx)?, groups: groups(tx)?, routers: routers(tx)? })
}

/// Parses a stored text; `what` names the row for the one who has to mend it.
fn parse<T: FromStr>(value: &str, what: &str, id: &str) -> Result<T, ApiError> {
    value.parse().map_err(|_| ApiError::internal(format!("the stored {what} '{value}' of {id} cannot be read; set it again")))
}

fn list<'o>(object: &'o Object, name: &str) -> impl Iterator<Item = &'o Object> {
    object.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object)
}

fn networks(tx: &Transaction<'_>) -> Result<BTreeMap<Uuid, Network>, ApiError> {
    let mut networks = BTreeMap::new();
    for network in store::select(tx, "networks", None)? {
        let id = text(&network, "id");
        let mtu = network.get("mtu").and_then(Value::as_u64).and_then(|mtu| u32::try_from(mtu).ok()).unwrap_or(1500);
        let mut subnets = Vec::new();
        for subnet in store::select(tx, "subnets", Some(("network_id", id)))? {
            let cidr = parse(text(&subnet, "cidr"), "cidr", text(&subnet, "id"))?;
            let gateway = Some(text(&subnet, "gateway_ip")).filter(|hop| !hop.is_empty());
            let gateway = gateway.map(|hop| parse(hop, "gateway_ip", text(&subnet, "id"))).transpose()?;
            subnets.push(Subnet { cidr, gateway });
        }
        networks.insert(parse(id, "network", id)?, Network { mtu, external: flag(&network, "router:external"), subnets });
    }
    Ok(networks)
}

fn ports(tx: &Transaction<'_>) -> Result<BTreeMap<Uuid, Port>, ApiError> {
    let mut addresses = addresses(tx)?;
    let mut members: BTreeMap<String, Vec<Uuid>> = BTreeMap::new();
    for (port, group) in groups::memberships(tx)? {
        let id = parse(&group, "security group", &port)?;
        members.entry(port).or_default().push(id);
    }
    let mut ports = BTreeMap::new();
    for port in store::select(tx, "ports", None)? {
        let id = text(&port, "id");
        let mac = parse(text(&port, "mac_address"), "mac_address", id)?;
        // The cloud's own ports are trusted, as in Neutron: a router sends from everybody's addresses.
        let trusted = text(&port, "device_owner").starts_with("network:");
        let wanted = Port {
            network: parse(text(&port, "network_id"), "network_id", id)?,
            mac,
            addresses: addresses.remove(id).unwrap_or_default(),
            pairs: list(&port, "allowed_address_pairs").map(|pair| address_pair(pair, mac, id)).collect::<Result<_, _>>()?,
            security: !trusted && port.get("port_security_enabled").and_then(Value::as_bool).unwrap_or(true),
            groups: members.remove(id).unwrap_or_default(),
            active: text(&port, "status") == "ACTIVE",
        };
        ports.insert(parse(id, "port", id)?, wanted);
    }
    Ok(ports)
}

/// The addresses of all ports with the prefix lengths of their subnets, lowest first.
fn addresses(tx: &Transaction<'_>) -> Result<BTreeMap<String, Vec<IpNet>>, ApiError> {
    let mut query = tx.prepare_cached(
        "SELECT a.port_id, a.ip, json_extract(s.document, '$.cidr') FROM port_addresses a JOIN subnets s ON s.id = a.subnet_id \
         ORDER BY a.port_id, a.ip",
    )?;
    let mut rows = query.query([])?;
    let mut addresses: BTreeMap<String, Vec<IpNet>> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (port, ip, cidr): (String, [u8; 16], String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let subnet: IpNet = parse(&cidr, "subnet", &port)?;
        let address = IpNet::new(Ipv6Addr::from(ip).to_canonical(), subnet.prefix_len()).map_err(ApiError::internal)?;
        addresses.entry(port).or_default().push(address);
    }
    Ok(addresses)
}

/// An allowed pair: an address or a prefix, with the port's MAC where it names none.
fn address_pair(pair: &Object, own: MacAddr, port: &str) -> Result<(MacAddr, IpNet), ApiError> {
    let (mac, ip) = (text(pair, "mac_address"), text(pair, "ip_address"));
    let mac = if mac.is_empty() { own } else { parse(mac, "allowed MAC", port)? };
    let net =
        if ip.contains('/') { parse(ip, "allowed address", port)? } else { IpNet::from(parse::<IpAddr>(ip, "allowed address", port)?) };
    Ok((mac, net))
}

fn groups(tx: &Transaction<'_>) -> Result<BTreeMap<Uuid, Vec<Rule>>, ApiError> {
    let policies = groups::policies(tx)?;
    policies
        .into_iter()
        .map(|policy| Ok((parse(&policy.group, "security group", &policy.group)?, policy.rules.iter().map(wanted).collect())))
        .collect()
}

fn wanted(rule: &rule::Match) -> Rule {
    let v6 = rule.ethertype == rule::Ethertype::V6;
    Rule {
        direction: match rule.direction {
            rule::Direction::Ingress => Direction::Ingress,
            rule::Direction::Egress => Direction::Egress,
        },
        v6,
        // `icmp` in an IPv6 rule is ICMPv6.
        protocol: rule.protocol.map(|protocol| protocol.on(v6).number()),
        range: (rule.port_range_min, rule.port_range_max),
        remote: match rule.remote {
            rule::Remote::Any => Remote::Any,
            rule::Remote::Prefix(net) => Remote::Prefix(net),
            rule::Remote::Group(group) => Remote::Group(group),
        },
    }
}

fn routers(tx: &Transaction<'_>) -> Result<BTreeMap<Uuid, Router>, ApiError> {
    let mut routers = BTreeMap::new();
    for router in store::select(tx, "routers", None)? {
        let id = text(&router, "id");
        let outside = router.get("external_gateway_info").and_then(|info| info.get("enable_snat")).and_then(Value::as_bool);
        let mut wanted = Router { snat: outside.unwrap_or(true), ..Router::default() };
        for port in store::select(tx, "ports", Some(("device_id", id)))? {
            let port_id = parse(text(&port, "id"), "port", id)?;
            match text(&port, "device_owner") {
                "network:router_interface" => wanted.interfaces.push(port_id),
                "network:router_gateway" => wanted.gateway = Some(port_id),
                _ => {}
            }
        }
        for route in list(&router, "routes") {
            wanted.routes.push((parse(text(route, "destination"), "route", id)?, parse(text(route, "nexthop"), "next hop", id)?));
        }
        // One that leads to no port has no fixed address.
        let mut query = tx.prepare_cached(
            "SELECT floating_ip_address, fixed_ip_address FROM floatingips \
             WHERE router_id = ? AND port_id IS NOT NULL AND fixed_ip_address IS NOT NULL ORDER BY rowid",
        )?;
        let mut rows = query.query([id])?;
        while let Some(row) = rows.next()? {
            let (floating, fixed): (String, String) = (row.get(0)?, row.get(1)?);
            wanted.floating.push((parse(&floating, "floating address", id)?, parse(&fixed, "fixed address", id)?));
        }
        routers.insert(parse(id, "router", id)?, wanted);
    }
    Ok(routers)
}

#[cfg(test)]
mod tests;
