//! Containers in a machine of the cloud, by macvlan or ipvlan: Neutron lets their addresses through the machine's own port by its
//! `allowed_address_pairs`. Several kuryrs and others may change that list at once, so that every change names the revision that it was made from
//! (`If-Match`). A pair that somebody else has put there is never removed.
//!
//! That is not enough: of two changes of the pairs that meet in its database, Neutron (21, 26) repeats the later without its `If-Match`, and so
//! brings back the list that this one was made from. So it is looked again a while after each change whether it still holds.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Carrier;
use crate::{
    binding::{self, Driver},
    config::PortDriver,
    core::{
        Core, Error,
        endpoint::on_blocking_thread,
        record::{Port, Work},
        work::gone,
    },
    mac::MacAddr,
    openstack,
};

/// How often a port that others change at the same moment is read again before the caller has to come again.
const ATTEMPTS: usize = 20;
/// Requests that were under way when ours was answered have ended by then.
pub(super) const SETTLING: Duration = Duration::from_secs(2);
/// The list in Neutron, which the client leaves among a port's other fields.
const PAIRS: &str = "allowed_address_pairs";

/// An address and the MAC that it may be sent from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressPair {
    /// The address.
    pub ip_address: IpAddr,
    /// The MAC.
    pub mac_address: MacAddr,
}

impl AddressPair {
    /// Whether an entry of Neutron's list says the same.
    fn is(&self, entry: &Value) -> bool {
        let parsed = |text: &str| text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok();
        let address = entry["ip_address"].as_str().and_then(parsed);
        let mac = serde_json::from_value::<MacAddr>(entry["mac_address"].clone()).ok();
        address == Some(self.ip_address.into()) && mac == Some(self.mac_address)
    }

    fn is_among(&self, entries: &[Value]) -> bool {
        entries.iter().any(|entry| self.is(entry))
    }
}

impl Core {
    /// The Neutron port of the machine's own interface, which its MAC tells, and where several networks have that MAC, its addresses.
    pub(super) async fn machine_port(&self) -> Result<openstack::Port, Error> {
        let name = &self.settings.link_iface;
        let wanted = name.clone();
        let read = on_blocking_thread("reading the machine's own interface", move || binding::link_iface(&wanted)).await?;
        let read = read.map_err(|error| Error::Unknown(error.to_string()))?;
        let link = read.ok_or_else(|| {
            Error::Unknown(format!(
                "[binding] link_iface is '{name}', but this machine has no such interface with a MAC; name the right one"
            ))
        })?;
        let mut found = self.neutron.list::<openstack::Port>(&[("mac_address", &link.mac.to_string())]).await?;
        if found.len() > 1 {
            found.retain(|port| port.fixed_ips.iter().any(|fixed| link.addresses.contains(&fixed.ip_address)));
        }
        match (found.pop(), found.len()) {
            (Some(port), 0) => Ok(port),
            (None, _) => Err(Error::Unknown(format!(
                "no Neutron port that kuryr's user may see has the MAC {} of [binding] link_iface '{name}'; name the interface that has the \
                 machine's port, or give the user rights on it",
                link.mac
            ))),
            (Some(port), _) => Err(Error::Unknown(format!(
                "several Neutron ports, one of them {}, have the MAC {} of [binding] link_iface '{name}' and one of its addresses; remove \
                 those that no machine uses",
                port.id, link.mac
            ))),
        }
    }

    /// Has the machine's port let a port's addresses through. What is added is written down before.
    pub(super) async fn allow_on_machine(&self, port: Port) -> Result<Port, Error> {
        if port.addresses.is_empty() {
            return Err(Error::Invalid(format!("port {} has no address that the machine's port could let through", port.id)));
        }
        let mut machine = self.machine_port().await?;
        let driver = self.nested_driver();
        let wanted = pairs_of(&port, &driver, &machine);
        let known = self.pairs_left_by(&port, machine.id);
        for _ in 0..ATTEMPTS {
            let entries = entries(&machine);
            let missing: Vec<&AddressPair> = wanted.iter().filter(|pair| !pair.is_among(&entries)).collect();
            let pairs = wanted.iter().filter(|pair| known.contains(pair) || missing.contains(pair)).copied().collect();
            let port = self.write_driver(&port, driver.clone(), Some(Carrier::Machine { port: machine.id, pairs })).await?;
            if missing.is_empty() {
                return Ok(port);
            }
            let all: Vec<Value> = entries.into_iter().chain(missing.into_iter().map(|pair| json!(pair))).collect();
            match self.neutron.update_at::<openstack::Port>(machine.id, machine.revision_number, &json!({ PAIRS: all })).await {
                Err(error) if is_overtaken(&error) => machine = self.neutron.show(machine.id).await?,
                outcome => return Ok(outcome.map(|_| port)?),
            }
        }
        Err(changed_by_others(machine.id))
    }

    /// Takes address pairs off the machine's port; false when none of them was there.
    pub(super) async fn disallow_on_machine(&self, machine: Uuid, pairs: &[AddressPair]) -> Result<bool, Error> {
        let without = |entries: &[Value]| entries.iter().filter(|entry| !pairs.iter().any(|pair| pair.is(entry))).cloned().collect();
        self.change_pairs(machine, without).await
    }

    /// Has it looked after a while later that the machine's port still lets through what it should.
    pub(super) async fn promise_watch(&self, machine: Uuid) {
        let watched = {
            let state = self.state();
            let pending = |work: &Work| matches!(work, Work::WatchMachine(id) if *id == machine);
            !state.busy.contains(&machine) && state.tasks.values().any(|task| pending(&task.work))
        };
        if !watched {
            self.commit_at_any_rate(vec![self.promise(Work::WatchMachine(machine))]).await;
        }
    }

    /// Puts back what others have taken off the machine's port without knowing it, until nobody does any more.
    pub(in super::super) async fn watch_machine(&self, machine: Uuid) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            tokio::time::sleep(SETTLING).await;
            let _call = self.cloud.acquire().await;
            let _turn = self.carriers().await;
            let wanted: Vec<AddressPair> = {
                let state = self.state();
                state.every_port().flat_map(|port| pairs_on(machine, port)).copied().collect()
            };
            let with = |entries: &[Value]| {
                let missing = wanted.iter().filter(|pair| !pair.is_among(entries)).map(|pair| json!(pair));
                entries.iter().cloned().chain(missing).collect()
            };
            if !self.change_pairs(machine, with).await? {
                return Ok(());
            }
            tracing::warn!(port = %machine, "put address pairs back that somebody else's change of the port had taken off");
        }
        Err(changed_by_others(machine))
    }

    /// Changes the pairs of the machine's port as they stand at that moment; false when nothing changes, also because the port is gone.
    async fn change_pairs(&self, machine: Uuid, change: impl Fn(&[Value]) -> Vec<Value>) -> Result<bool, Error> {
        for _ in 0..ATTEMPTS {
            let found = match self.neutron.show::<openstack::Port>(machine).await {
                Err(error) if error.is_not_found() => return Ok(false),
                outcome => outcome?,
            };
            let before = entries(&found);
            let after = change(&before);
            if after.len() == before.len() {
                return Ok(false);
            }
            match self.neutron.update_at::<openstack::Port>(machine, found.revision_number, &json!({ PAIRS: after })).await {
                Err(error) if is_overtaken(&error) => {}
                outcome => return gone(outcome).map(|()| true),
            }
        }
        Err(changed_by_others(machine))
    }

    /// Of a port whose record is lost: the pairs that name its address and MAC are taken for kuryr's, as the port is.
    pub(super) async fn recognise_on_machine(&self, port: &mut Port) -> Result<(), Error> {
        let machine = self.machine_port().await?;
        let driver = self.nested_driver();
        let entries = entries(&machine);
        let pairs: Vec<_> = pairs_of(port, &driver, &machine).into_iter().filter(|pair| pair.is_among(&entries)).collect();
        if pairs.is_empty() && port.endpoint.is_none() {
            return Ok(());
        }
        port.carrier = Some(Carrier::Machine { port: machine.id, pairs });
        port.driver = driver;
        Ok(())
    }

    fn nested_driver(&self) -> Driver {
        let link_iface = self.settings.link_iface.clone();
        if self.settings.port_driver == PortDriver::Ipvlan { Driver::Ipvlan { link_iface } } else { Driver::Macvlan { link_iface } }
    }

    /// Pairs that kuryr added for the port before and has not taken back yet.
    fn pairs_left_by(&self, port: &Port, machine: Uuid) -> Vec<AddressPair> {
        let state = self.state();
        let records = [state.port(&port.id), state.unplugging(port.id)];
        records.into_iter().flatten().flat_map(|port| pairs_on(machine, port)).copied().collect()
    }
}

/// Pairs of a port that kuryr has put on the machine's.
fn pairs_on(machine: Uuid, port: &Port) -> &[AddressPair] {
    match &port.carrier {
        Some(Carrier::Machine { port, pairs }) if *port == machine => pairs,
        _ => &[],
    }
}

/// Whether a change came too late for the revision that it was made from. Neutron also notices it by a pair that is there already.
fn is_overtaken(error: &openstack::Error) -> bool {
    error.is_outdated() || error.kind() == "DuplicateAddressPairInRequest"
}

/// What the machine's port has to let through: an ipvlan sends with the machine's own MAC.
fn pairs_of(port: &Port, driver: &Driver, machine: &openstack::Port) -> Vec<AddressPair> {
    let mac_address = if matches!(driver, Driver::Ipvlan { .. }) { machine.mac_address } else { port.mac };
    port.addresses.iter().map(|address| AddressPair { ip_address: address.ip, mac_address }).collect()
}

fn entries(machine: &openstack::Port) -> Vec<Value> {
    machine.extra.get(PAIRS).and_then(Value::as_array).cloned().unwrap_or_default()
}

fn changed_by_others(machine: Uuid) -> Error {
    Error::Taken(format!("the machine's port {machine} is being changed by others again and again; try again when they are done"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_the_same_in_any_of_neutrons_spellings() {
        let pair = |ip: &str| AddressPair { ip_address: ip.parse().unwrap(), mac_address: MacAddr([0xfa, 0x16, 0x3e, 0, 0, 1]) };
        for (ip, entry, same) in [
            ("10.0.0.5", json!({"ip_address": "10.0.0.5", "mac_address": "fa:16:3e:00:00:01"}), true),
            ("10.0.0.5", json!({"ip_address": "10.0.0.5/32", "mac_address": "FA:16:3E:00:00:01"}), true),
            ("fd00::5", json!({"ip_address": "fd00:0::5", "mac_address": "fa:16:3e:00:00:01"}), true),
            ("10.0.0.5", json!({"ip_address": "10.0.0.0/24", "mac_address": "fa:16:3e:00:00:01"}), false),
            ("10.0.0.5", json!({"ip_address": "10.0.0.5", "mac_address": "fa:16:3e:00:00:02"}), false),
            ("10.0.0.5", json!({"ip_address": "10.0.0.5"}), false),
        ] {
            assert_eq!(pair(ip).is(&entry), same, "{entry}");
        }
    }
}
