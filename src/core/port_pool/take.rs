//! Handing ports out that were made ahead.

use std::net::IpAddr;

use uuid::Uuid;

use super::super::{
    Core, Error, now,
    record::{AddressState, Entry, Network, Port, Subnet},
};
use crate::{binding, core::endpoint::on_blocking_thread, journal::Lasting};

impl Core {
    /// The address of a port made ahead, if there is one with an address in this subnet; one that is not known to work yet only if `even_unready`.
    ///
    /// That it was handed out need not outlive a loss of power, which takes the container too; the port is then found changed in Neutron.
    pub(in super::super) async fn take_pooled(
        &self,
        network: &Network,
        subnet: &Subnet,
        even_unready: bool,
    ) -> Result<Option<IpAddr>, Error> {
        loop {
            let such = |port: &Port| port.ready || (even_unready && self.is_trusted(port));
            let claimed = self.state().claim_pooled(&network.id, subnet.pool, such);
            let Some(id) = claimed else { return Ok(None) };
            let _hold = super::Hold { core: self, port: id };
            let mut taken = None;
            let hand_out = |_: &_, mut port: Port| {
                let address = port.address(subnet.pool).filter(|_| port.pooled).map(|address| address.ip);
                taken = address;
                port.hand_out(subnet.pool);
                Ok(address.map_or_else(Vec::new, |_| vec![Entry::Port(port)]))
            };
            self.change_port_for(Lasting::ProcessEnd, id, hand_out).await?;
            if taken.is_some() {
                self.port_pool.look();
                return Ok(taken);
            }
        }
    }

    /// Waits for whoever still works on a pooled port, so that an engine that names its address may have it.
    pub(in super::super) async fn with_pooled<T>(&self, port: Uuid, work: impl Future<Output = T>) -> T {
        let pooled = self.state().port(&port).is_some_and(|port| port.pooled);
        let hold = if pooled { Some(self.hold_next(port).await) } else { None };
        let outcome = work.await;
        drop(hold);
        outcome
    }

    /// Takes the link of a port made ahead away, when its endpoint wants the port otherwise or another one: what it gets is made anew, and waited
    /// for as on a cold start.
    pub(in super::super) async fn take_link_off(&self, port: &Port) -> Result<(), Error> {
        if !port.ready {
            return Ok(());
        }
        self.unplug(port).await?;
        // Only then, so that a call that the engine repeats takes it away if this one did not come to that.
        self.change_port(port.id, |_, now| Ok(vec![Entry::Port(Port { ready: false, ..now })])).await?;
        Ok(())
    }

    /// Whether the link of a port made ahead is there as it was made.
    pub(in super::super) async fn is_plugged(&self, port: &Port) -> Result<bool, Error> {
        let vif = port.vif(&self.settings.host);
        Ok(on_blocking_thread("looking up a link", move || binding::is_plugged(&vif)).await??)
    }
}

impl Port {
    /// Makes it the engine's that asked for an address out of `pool`.
    pub(in super::super) fn hand_out(&mut self, pool: Uuid) {
        if std::mem::take(&mut self.pooled) {
            self.groups = Vec::new();
            self.created = now();
        }
        self.mark(pool, AddressState::Granted);
    }
}
