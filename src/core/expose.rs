//! The ports that a container exposes: a security group of the port's own lets the world reach it there, as kuryr-libnetwork means to. It
//! comes with Join, behind the reply, and goes with the endpoint.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Core, Error, naming,
    record::{Entry, Port, Work},
    request::ExposedPort,
    work::gone,
};
use crate::openstack::{self, SecurityGroup, SecurityGroupRule};

/// A run of ports of one protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ports {
    protocol: &'static str,
    first: u16,
    last: u16,
}

impl Core {
    /// Promises that a port is reached where its container exposes it.
    pub(super) async fn promise_exposure(&self, port: &Port, exposed: BTreeSet<ExposedPort>) -> Result<(), Error> {
        if !self.settings.process_external_connectivity || exposed.is_empty() || port.exposing {
            return Ok(());
        }
        let promise =
            |port: Port| vec![self.promise(Work::Expose { port: port.id, exposed }), Entry::Port(Port { exposing: true, ..port })];
        self.change_port(port.id, |_, port| Ok(if port.exposing { Vec::new() } else { promise(port) })).await?;
        Ok(())
    }

    /// Makes the group with its rules, or completes one of an earlier try, and puts it on the port.
    pub(super) async fn expose(&self, port: Uuid, exposed: &BTreeSet<ExposedPort>) -> Result<(), Error> {
        let Some(now) = self.port_if_there(port).await? else { return self.remove_exposing_groups(port).await };
        let name = naming::exposing_group(port);
        let group = match self.neutron.list::<SecurityGroup>(&[("name", &name)]).await?.into_iter().next() {
            Some(group) => group,
            None => self.neutron.create(&json!({"name": name, "description": naming::EXPOSING})).await?,
        };
        let families: BTreeSet<&str> = now.fixed_ips.iter().map(|fixed| if fixed.ip_address.is_ipv4() { "IPv4" } else { "IPv6" }).collect();
        for ports in runs(exposed) {
            for ethertype in &families {
                match self.neutron.create::<SecurityGroupRule>(&rule(group.id, ports, ethertype)).await {
                    // Made by an earlier try.
                    Err(error) if error.kind() == "SecurityGroupRuleExists" => {}
                    outcome => drop(outcome?),
                }
            }
        }
        self.change_groups(now, |groups| [group.id].into_iter().chain(groups.into_iter().filter(|other| *other != group.id)).collect())
            .await
    }

    /// The port as Neutron has it, unless it is gone.
    pub(super) async fn port_if_there(&self, port: Uuid) -> Result<Option<openstack::Port>, Error> {
        match self.neutron.show::<openstack::Port>(port).await {
            Ok(now) => Ok(Some(now)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Changes the groups of a port as they are: when others change them at the same moment, as they are then.
    async fn change_groups(&self, mut now: openstack::Port, change: impl Fn(Vec<Uuid>) -> Vec<Uuid>) -> Result<(), Error> {
        loop {
            let wanted = change(now.security_groups.clone());
            if wanted.len() == now.security_groups.len() {
                return Ok(());
            }
            match self.neutron.update_at::<openstack::Port>(now.id, now.revision_number, &json!({"security_groups": wanted})).await {
                Err(error) if error.is_outdated() => match self.port_if_there(now.id).await? {
                    Some(again) => now = again,
                    None => return Ok(()),
                },
                outcome => return gone(outcome),
            }
        }
    }

    /// Takes the group off a port that stays, and removes it.
    pub(super) async fn conceal(&self, port: Uuid) -> Result<(), Error> {
        let groups = self.exposing_groups(port).await?;
        if groups.is_empty() {
            return Ok(());
        }
        if let Some(now) = self.port_if_there(port).await? {
            self.change_groups(now, |has| has.into_iter().filter(|group| !groups.contains(group)).collect()).await?;
        }
        self.remove_groups(groups).await
    }

    /// Removes the groups of a port that is gone.
    pub(super) async fn remove_exposing_groups(&self, port: Uuid) -> Result<(), Error> {
        let groups = self.exposing_groups(port).await?;
        self.remove_groups(groups).await
    }

    /// Groups with the name of the port and the description that kuryr gives: not what somebody else has named like that.
    async fn exposing_groups(&self, port: Uuid) -> Result<Vec<Uuid>, Error> {
        let groups = self.neutron.list::<SecurityGroup>(&[("name", &naming::exposing_group(port))]).await?;
        Ok(groups.into_iter().filter(|group| group.description == naming::EXPOSING).map(|group| group.id).collect())
    }

    async fn remove_groups(&self, groups: Vec<Uuid>) -> Result<(), Error> {
        for group in groups {
            gone(self.neutron.delete::<SecurityGroup>(group).await)?;
        }
        Ok(())
    }
}

fn rule(group: Uuid, ports: Ports, ethertype: &str) -> Value {
    json!({
        "security_group_id": group,
        "direction": "ingress",
        "ethertype": ethertype,
        "protocol": ports.protocol,
        "port_range_min": ports.first,
        "port_range_max": ports.last,
    })
}

/// Neighbouring ports of one protocol need one rule. Protocols without ports have nothing to be reached at.
fn runs(exposed: &BTreeSet<ExposedPort>) -> Vec<Ports> {
    let mut runs: Vec<Ports> = Vec::new();
    for ExposedPort { protocol, port } in exposed.iter().copied() {
        let protocol = match protocol {
            6 => "tcp",
            17 => "udp",
            132 => "sctp",
            _ => continue,
        };
        match runs.last_mut() {
            Some(run) if run.protocol == protocol && run.last.checked_add(1) == Some(port) => run.last = port,
            _ => runs.push(Ports { protocol, first: port, last: port }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_ports_of_a_protocol_are_one_run() {
        let exposed = [(17, 53), (6, 81), (6, 80), (6, 443), (132, 65535), (6, 65535), (1, 8), (6, 82)];
        let exposed = exposed.into_iter().map(|(protocol, port)| ExposedPort { protocol, port }).collect();
        let runs: Vec<_> = runs(&exposed).into_iter().map(|run| (run.protocol, run.first, run.last)).collect();
        assert_eq!(runs, [("tcp", 80, 82), ("tcp", 443, 443), ("tcp", 65535, 65535), ("udp", 53, 53), ("sctp", 65535, 65535)]);
    }
}
