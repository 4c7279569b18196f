//! Between the store and the datapath: what is stored becomes a [`Snapshot`], and what the datapath sees becomes the ports' status.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::{IpAddr, Ipv6Addr},
    path::Path,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use rusqlite::Transaction;
use serde_json::Value;
use uuid::Uuid;

use super::{
    Controller, Error,
    datapath::{
        self, Datapath,
        snapshot::{Direction, Group, Network, Port, Remote, Router, Rule, Snapshot, Subnet},
    },
    error::ApiError,
    groups,
    resource::{flag, text},
    routers, rule,
    store::{self, Object, Store},
};
use crate::mac::MacAddr;

/// How often everything is looked at although nothing was heard: it heals what others take away without a sound, as iptables-legacy does.
const FULL_SYNC: Duration = Duration::from_secs(30);

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

impl Controller {
    /// Takes down what the controller of this state directory has built on the host, and forgets all it knows. Nobody may be using it.
    pub fn forget(state_dir: &Path) -> Result<(), Error> {
        let database = state_dir.join("controller.db");
        let built = if database.exists() {
            Store::open(&database)?.transact(snapshot).map_err(|error| Error::Defaults(error.message))?
        } else {
            Snapshot::default()
        };
        datapath::remove_everything(&built)?;
        match fs::remove_dir_all(state_dir) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(Error::State { action: "remove", path: state_dir.to_owned(), source })
            }
            _ => Ok(()),
        }
    }
}

/// Reads all that the datapath has to bring about. A row that holds what the API never writes is passed over and named in
/// [`Snapshot::unreadable`]: it must not keep the others from being served.
///
/// # Errors
/// The database fails.
pub fn snapshot(tx: &Transaction<'_>) -> Result<Snapshot, ApiError> {
    let mut bad = Unreadable::default();
    let (networks, shut) = networks(tx, &mut bad)?;
    let (groups, ports) = (groups(tx, &mut bad)?, ports(tx, &shut, &mut bad)?);
    let routers = router_rows(tx, &mut bad)?;
    Ok(Snapshot { networks, ports, groups, routers, unreadable: bad.0 })
}

/// The rows that cannot be read.
#[derive(Default)]
struct Unreadable(BTreeMap<Uuid, String>);

impl Unreadable {
    /// The row's id and content, unless it cannot be read.
    fn check<T>(&mut self, what: &str, object: &Object, read: impl FnOnce() -> Result<T, ApiError>) -> Option<(Uuid, T)> {
        let id = text(object, "id");
        match parse(id, what, id).and_then(|uuid| Ok((uuid, read()?))) {
            Ok(found) => Some(found),
            Err(error) => {
                let text = format!("{what} {id} is not served: {}", error.message);
                self.0.insert(id.parse().unwrap_or_default(), text);
                None
            }
        }
    }
}

/// `admin_state_up` of an object.
fn is_up(object: &Object) -> bool {
    object.get("admin_state_up").and_then(Value::as_bool).unwrap_or(true)
}

/// Parses a stored text; `what` names the row for the one who has to mend it.
fn parse<T: FromStr>(value: &str, what: &str, id: &str) -> Result<T, ApiError> {
    value.parse().map_err(|_| ApiError::internal(format!("the stored {what} '{value}' of {id} cannot be read; set it again")))
}

fn list<'o>(object: &'o Object, name: &str) -> impl Iterator<Item = &'o Object> {
    object.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object)
}

/// The networks, and those of them that are administratively down.
fn networks(tx: &Transaction<'_>, bad: &mut Unreadable) -> Result<(BTreeMap<Uuid, Network>, BTreeSet<String>), ApiError> {
    let mut subnets: BTreeMap<String, Vec<Object>> = BTreeMap::new();
    for subnet in store::select(tx, "subnets", None)? {
        subnets.entry(text(&subnet, "network_id").to_owned()).or_default().push(subnet);
    }
    let (mut networks, mut shut) = (BTreeMap::new(), BTreeSet::new());
    for network in store::select(tx, "networks", None)? {
        let mtu = network.get("mtu").and_then(Value::as_u64).and_then(|mtu| u32::try_from(mtu).ok()).unwrap_or(1500);
        let own = subnets.remove(text(&network, "id")).unwrap_or_default();
        let read = || {
            let subnets = own.iter().map(subnet).collect::<Result<_, _>>()?;
            Ok(Network { mtu, external: flag(&network, "router:external"), subnets })
        };
        networks.extend(bad.check("network", &network, read));
        if !is_up(&network) {
            shut.insert(text(&network, "id").to_owned());
        }
    }
    Ok((networks, shut))
}

fn subnet(subnet: &Object) -> Result<Subnet, ApiError> {
    let id = text(subnet, "id");
    let gateway = Some(text(subnet, "gateway_ip")).filter(|hop| !hop.is_empty());
    Ok(Subnet { cidr: parse(text(subnet, "cidr"), "cidr", id)?, gateway: gateway.map(|hop| parse(hop, "gateway_ip", id)).transpose()? })
}

fn ports(tx: &Transaction<'_>, shut: &BTreeSet<String>, bad: &mut Unreadable) -> Result<BTreeMap<Uuid, Port>, ApiError> {
    let mut addresses = addresses(tx)?;
    let mut members: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (port, group) in groups::memberships(tx)? {
        members.entry(port).or_default().push(group);
    }
    let mut ports = BTreeMap::new();
    for port in store::select(tx, "ports", None)? {
        let id = text(&port, "id");
        let (addresses, groups) = (addresses.remove(id).unwrap_or_default(), members.remove(id).unwrap_or_default());
        let read = || {
            let mac = parse(text(&port, "mac_address"), "mac_address", id)?;
            let network = text(&port, "network_id");
            Ok(Port {
                network: parse(network, "network_id", id)?,
                mac,
                addresses: addresses.iter().map(|(ip, cidr)| address(*ip, cidr, id)).collect::<Result<_, _>>()?,
                pairs: list(&port, "allowed_address_pairs").map(|pair| address_pair(pair, mac, id)).collect::<Result<_, _>>()?,
                // Whatever `device_owner` says: tenants may write it.
                security: port.get("port_security_enabled").and_then(Value::as_bool).unwrap_or(true),
                up: is_up(&port) && !shut.contains(network),
                groups: groups.iter().map(|group| parse(group, "security group", id)).collect::<Result<_, _>>()?,
                active: text(&port, "status") == "ACTIVE",
            })
        };
        ports.extend(bad.check("port", &port, read));
    }
    Ok(ports)
}

/// The addresses of each port with the ranges of their subnets, lowest first.
type Addresses = BTreeMap<String, Vec<([u8; 16], String)>>;

fn addresses(tx: &Transaction<'_>) -> Result<Addresses, ApiError> {
    let mut query = tx.prepare_cached(
        "SELECT a.port_id, a.ip, json_extract(s.document, '$.cidr') FROM port_addresses a JOIN subnets s ON s.id = a.subnet_id \
         ORDER BY a.port_id, a.ip",
    )?;
    let mut rows = query.query([])?;
    let mut addresses = Addresses::new();
    while let Some(row) = rows.next()? {
        addresses.entry(row.get(0)?).or_default().push((row.get(1)?, row.get(2)?));
    }
    Ok(addresses)
}

/// An address with the prefix length of its subnet.
fn address(ip: [u8; 16], cidr: &str, port: &str) -> Result<IpNet, ApiError> {
    let subnet: IpNet = parse(cidr, "subnet", port)?;
    IpNet::new(Ipv6Addr::from(ip).to_canonical(), subnet.prefix_len()).map_err(ApiError::internal)
}

/// An allowed pair: an address or a prefix, with the port's MAC where it names none.
fn address_pair(pair: &Object, own: MacAddr, port: &str) -> Result<(MacAddr, IpNet), ApiError> {
    let (mac, ip) = (text(pair, "mac_address"), text(pair, "ip_address"));
    let mac = if mac.is_empty() { own } else { parse(mac, "allowed MAC", port)? };
    let net =
        if ip.contains('/') { parse(ip, "allowed address", port)? } else { IpNet::from(parse::<IpAddr>(ip, "allowed address", port)?) };
    Ok((mac, net))
}

fn groups(tx: &Transaction<'_>, bad: &mut Unreadable) -> Result<BTreeMap<Uuid, Group>, ApiError> {
    let mut rules: BTreeMap<String, Vec<Rule>> = BTreeMap::new();
    // A rule only ever allows: without one that cannot be read its group allows less.
    for row in store::select(tx, "security_group_rules", None)? {
        let read = || Ok(wanted(&rule::Match::parse(&row).map_err(ApiError::internal)?));
        if let Some((_, rule)) = bad.check("security group rule", &row, read) {
            rules.entry(text(&row, "security_group_id").to_owned()).or_default().push(rule);
        }
    }
    let mut groups = BTreeMap::new();
    for group in store::select(tx, "security_groups", None)? {
        let stateful = group.get("stateful").and_then(Value::as_bool).unwrap_or(true);
        let rules = rules.remove(text(&group, "id")).unwrap_or_default();
        groups.extend(bad.check("security group", &group, || Ok(Group { stateful, rules })));
    }
    Ok(groups)
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

fn router_rows(tx: &Transaction<'_>, bad: &mut Unreadable) -> Result<BTreeMap<Uuid, Router>, ApiError> {
    let mut routers = BTreeMap::new();
    for object in store::select(tx, "routers", None)?.iter().filter(|object| is_up(object)) {
        let id = text(object, "id");
        let ports = store::select(tx, "ports", Some(("device_id", id)))?;
        // One that leads to no port has no fixed address.
        let mut query = tx.prepare_cached(
            "SELECT floating_ip_address, fixed_ip_address FROM floatingips \
             WHERE router_id = ? AND port_id IS NOT NULL AND fixed_ip_address IS NOT NULL ORDER BY rowid",
        )?;
        let floating: Vec<(String, String)> =
            query.query_map([id], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
        routers.extend(bad.check("router", object, || router(object, &ports, &floating)));
    }
    Ok(routers)
}

fn router(object: &Object, ports: &[Object], floating: &[(String, String)]) -> Result<Router, ApiError> {
    let id = text(object, "id");
    let outside = object.get("external_gateway_info").and_then(|info| info.get("enable_snat")).and_then(Value::as_bool);
    let mut wanted = Router { snat: outside.unwrap_or(true), ..Router::default() };
    for port in ports {
        let port_id = parse(text(port, "id"), "port", id)?;
        match text(port, "device_owner") {
            routers::INTERFACE => wanted.interfaces.push(port_id),
            routers::GATEWAY => wanted.gateway = Some(port_id),
            _ => {}
        }
    }
    for route in list(object, "routes") {
        wanted.routes.push((parse(text(route, "destination"), "route", id)?, parse(text(route, "nexthop"), "next hop", id)?));
    }
    for (floating, fixed) in floating {
        wanted.floating.push((parse(floating, "floating address", id)?, parse(fixed, "fixed address", id)?));
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests;
