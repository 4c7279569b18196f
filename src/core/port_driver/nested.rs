//! Containers in a machine of the cloud, by macvlan or ipvlan: Neutron lets their addresses through the machine's own port by its
//! `allowed_address_pairs`. A pair that somebody else has put there is never removed.
//!
//! That a change names the revision that it was made from is not enough: of two changes of the pairs that meet in its database, Neutron (21, 26)
//! repeats the later without its `If-Match`, and so brings back the list that this one was made from. So it is looked again a while after each
//! change whether it still holds.

use std::time::Duration;

use uuid::Uuid;

use super::{
    AddressPair, Carrier,
    pairs::{ATTEMPTS, Change, changed_by_others, entries},
};
use crate::{
    binding::{self, Driver},
    config::PortDriver,
    core::{
        Core, Error,
        endpoint::on_blocking_thread,
        record::{Port, Work},
    },
    openstack,
};

/// Requests that were under way when ours was answered have ended by then.
pub(super) const SETTLING: Duration = Duration::from_secs(2);

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
        let machine = self.machine_port().await?;
        self.leave_former(port.id, machine.id).await?;
        let driver = self.nested_driver();
        let wanted = pairs_of(&port, &driver, &machine);
        let known = self.pairs_left_by(&port, machine.id);
        let before = entries(&machine);
        let (mut there, missing): (Vec<AddressPair>, Vec<AddressPair>) = wanted.iter().copied().partition(|pair| pair.is_among(&before));
        let id = machine.id;
        let ours = |there: &[AddressPair]| {
            let pairs = wanted.iter().filter(|pair| known.contains(pair) || !there.contains(pair)).copied().collect();
            Some(Carrier::Machine { port: id, pairs })
        };
        let port = self.write_driver(&port, driver.clone(), ours(&there)).await?;
        if missing.is_empty() {
            return Ok(port);
        }
        let put_meanwhile = self.change_pairs(id, Change::Allow(missing), Some(machine)).await?;
        if put_meanwhile.is_empty() {
            return Ok(port);
        }
        there.extend(put_meanwhile);
        self.write_driver(&port, driver, ours(&there)).await
    }

    /// Takes address pairs off the machine's port; false when none of them was there.
    pub(super) async fn disallow_on_machine(&self, machine: Uuid, pairs: &[AddressPair]) -> Result<bool, Error> {
        if pairs.is_empty() {
            return Ok(false);
        }
        Ok(!self.change_pairs(machine, Change::Disallow(pairs.to_vec()), None).await?.is_empty())
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
            let mut put_back = false;
            for port in self.lacking(machine).await? {
                // It may be coming or leaving at this moment.
                let _turn = self.carrier_turn(port).await;
                let wanted = self.state().port(&port).map(|port| pairs_on(machine, port).to_vec()).unwrap_or_default();
                if wanted.is_empty() {
                    continue;
                }
                let there = self.change_pairs(machine, Change::Allow(wanted.clone()), None).await?;
                put_back |= there.len() < wanted.len();
            }
            if !put_back {
                return Ok(());
            }
            tracing::warn!(port = %machine, "put address pairs back that somebody else's change of the port had taken off");
        }
        Err(changed_by_others(machine))
    }

    /// The ports some of whose pairs are not on the machine's port; none when that is gone.
    async fn lacking(&self, machine: Uuid) -> Result<Vec<Uuid>, Error> {
        let _call = self.cloud.acquire().await;
        let entries = match self.neutron.show::<openstack::Port>(machine).await {
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            outcome => entries(&outcome?),
        };
        let state = self.state();
        let lacks = |port: &&Port| pairs_on(machine, port).iter().any(|pair| !pair.is_among(&entries));
        Ok(state.every_port().filter(lacks).map(|port| port.id).collect())
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

/// What the machine's port has to let through: an ipvlan sends with the machine's own MAC.
fn pairs_of(port: &Port, driver: &Driver, machine: &openstack::Port) -> Vec<AddressPair> {
    let mac_address = if matches!(driver, Driver::Ipvlan { .. }) { machine.mac_address } else { port.mac };
    port.addresses.iter().map(|address| AddressPair { ip_address: address.ip, mac_address }).collect()
}
