//! Security group rules as nft text. The text is the same in the inet and the bridge family, because both tables need it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::IpAddr,
};

use ipnet::IpNet;
use uuid::Uuid;

use super::snapshot::{Direction, Port, Remote, Rule, Snapshot};
use crate::nft::{Set, Table};

const ICMP: u8 = 1;
const ICMP6: u8 = 58;

/// A named set: members of a group that can be met from a network; true for IPv6.
pub(super) type GroupSet = (Uuid, Uuid, bool);

fn hosts_name((group, network, v6): GroupSet) -> String {
    format!("g{}_{}_{}", if v6 { 6 } else { 4 }, group.simple(), network.simple())
}

fn prefixes_name(set: GroupSet) -> String {
    format!("{}_nets", hosts_name(set))
}

/// A port's groups as far as packets are concerned. Ports of one network with the same groups share their chains.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Profile {
    network: Uuid,
    groups: Vec<Uuid>,
}

impl Profile {
    pub(super) fn of(port: &Port) -> Self {
        let mut groups = port.groups.clone();
        groups.sort_unstable();
        groups.dedup();
        Self { network: port.network, groups }
    }

    /// A short name for its chains that stays the same over restarts (FNV-1a over the ids).
    pub(super) fn name(&self) -> String {
        let bytes = std::iter::once(&self.network).chain(&self.groups).flat_map(|id| id.as_bytes());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        format!("{hash:016x}")
    }

    /// Whether no group keeps state. With groups of both kinds the stateful ones decide.
    pub(super) fn stateless(&self, snapshot: &Snapshot) -> bool {
        let mut groups = self.groups.iter().filter_map(|group| snapshot.groups.get(group)).peekable();
        groups.peek().is_some() && groups.all(|group| !group.stateful)
    }

    /// The rules of a chain: a packet that a group allows returns, any other is dropped. Rules in `refused` are left out, which closes
    /// more than was wanted and never less. Sets that the rules name are added to `sets`.
    pub(super) fn chain(
        &self,
        snapshot: &Snapshot,
        direction: Direction,
        refused: &BTreeSet<String>,
        sets: &mut BTreeMap<GroupSet, Members>,
    ) -> Vec<String> {
        let mut lines = Vec::new();
        for rule in self.groups.iter().filter_map(|group| snapshot.groups.get(group)).flat_map(|group| &group.rules) {
            if rule.direction == direction {
                lines.extend(allow(snapshot, rule, self.network, sets).into_iter().filter(|line| !refused.contains(line)));
            }
        }
        lines.push("drop".to_owned());
        lines
    }
}

/// The group that has the rule, for the one who has to mend it.
pub(super) fn owner(snapshot: &Snapshot, line: &str) -> Option<Uuid> {
    let networks: Vec<Uuid> = snapshot.networks.keys().copied().collect();
    let has =
        |rule: &Rule| networks.iter().any(|network| allow(snapshot, rule, *network, &mut BTreeMap::new()).iter().any(|own| own == line));
    snapshot.groups.iter().find(|(_, group)| group.rules.iter().any(has)).map(|(id, _)| *id)
}

/// Addresses of a group's members: those of hosts in one set and, because they need another kind of set, prefixes in another.
#[derive(Debug, Clone, Default)]
pub(super) struct Members {
    hosts: BTreeSet<IpAddr>,
    prefixes: BTreeSet<IpNet>,
}

/// A rule as nft rules that let a packet return: one, or two where a remote group has prefixes too.
fn allow(snapshot: &Snapshot, rule: &Rule, network: Uuid, sets: &mut BTreeMap<GroupSet, Members>) -> Vec<String> {
    let family = if rule.v6 { "ip6" } else { "ip" };
    let mut text = format!("meta protocol {family}");
    let protocol = rule.protocol.map(|number| if rule.v6 && number == ICMP { ICMP6 } else { number });
    if let Some(number) = protocol {
        let _ = write!(text, " meta l4proto {number}");
        match (number, rule.range) {
            (ICMP | ICMP6, (kind, code)) => {
                let name = if number == ICMP { "icmp" } else { "icmpv6" };
                for (field, value) in [("type", kind), ("code", code)] {
                    if let Some(value) = value {
                        let _ = write!(text, " {name} {field} {value}");
                    }
                }
            }
            (_, (Some(low), Some(high))) => {
                let _ = write!(text, " th dport {low}-{high}");
            }
            (_, (Some(only), None) | (None, Some(only))) => {
                let _ = write!(text, " th dport {only}");
            }
            (_, (None, None)) => {}
        }
    }
    let side = if rule.direction == Direction::Ingress { "saddr" } else { "daddr" };
    match rule.remote {
        Remote::Any => vec![format!("{text} return")],
        Remote::Prefix(net) => vec![format!("{text} {family} {side} {} return", net.trunc())],
        Remote::Group(group) => {
            let set = (group, network, rule.v6);
            let members = sets.entry(set).or_insert_with(|| members(snapshot, set));
            let mut lines = vec![format!("{text} {family} {side} @{} return", hosts_name(set))];
            if !members.prefixes.is_empty() {
                lines.push(format!("{text} {family} {side} @{} return", prefixes_name(set)));
            }
            lines
        }
    }
}

fn members(snapshot: &Snapshot, (group, network, v6): GroupSet) -> Members {
    let reachable = snapshot.reachable(network);
    let ports = snapshot.ports.values().filter(|port| port.groups.contains(&group) && reachable.contains(&port.network));
    let nets = ports.flat_map(Port::sources).map(|(_, net)| net.trunc()).filter(|net| net.addr().is_ipv6() == v6);
    let (hosts, prefixes): (Vec<IpNet>, Vec<IpNet>) = nets.partition(|net| net.prefix_len() == net.max_prefix_len());
    // nft refuses overlaps in a set.
    let prefixes = IpNet::aggregate(&prefixes).into_iter().collect();
    Members { hosts: hosts.into_iter().map(|net| net.addr()).collect(), prefixes }
}

/// Puts the sets into a table.
pub(super) fn add_sets(table: &mut Table, sets: BTreeMap<GroupSet, Members>) {
    for (set, members) in sets {
        let key = if set.2 { "type ipv6_addr" } else { "type ipv4_addr" };
        let mut hosts = Set::of(key);
        members.hosts.iter().for_each(|address| hosts.insert(address.to_string()));
        table.set(hosts_name(set), hosts);
        if !members.prefixes.is_empty() {
            let mut prefixes = Set::of_intervals(key);
            members.prefixes.iter().for_each(|net| prefixes.insert(net.to_string()));
            table.set(prefixes_name(set), prefixes);
        }
    }
}
