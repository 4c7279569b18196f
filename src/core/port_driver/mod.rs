//! Port drivers: what an endpoint's interface needs in Neutron besides the endpoint's own port.
//!
//! | driver | interface | in Neutron |
//! |---|---|---|
//! | `veth` | a pair plugged as Neutron says | nothing more: no call is made here |
//! | `nested` | a macvlan or ipvlan on the machine's own interface | the port of that interface lets the container's address through ([`nested`]) |
//! | `sriov` | a virtual function of a network card, for ports of vnic_type `direct` and the like | nothing more ([`sriov`]) |
//! | `vlan` | a VLAN on the machine's own interface | the container's port is a sub-port of the machine's trunk ([`trunk`]) |
//!
//! What is written there stands in the port's record before ([`Carrier`]), goes with the interface as part of the same task, and is taken back
//! when the endpoint cannot be made.

mod nested;
mod pairs;
mod sriov;
mod trunk;

use serde::{Deserialize, Serialize};
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

pub(super) use self::pairs::PairChanges;
pub use self::{pairs::AddressPair, sriov::Vnic};
use super::{
    Core, Error,
    address::given_back,
    record::{Entry, Port},
};
use crate::{binding::Driver, config::PortDriver, mac::MacAddr, openstack};

/// What kuryr wrote elsewhere in Neutron so that something of this machine carries a port's traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Carrier {
    /// Address pairs of the machine's own port.
    Machine {
        /// That port.
        port: Uuid,
        /// Those that were not there before.
        pairs: Vec<AddressPair>,
    },
    /// The trunk that it is a sub-port of.
    Trunk(Uuid),
}

impl Carrier {
    /// The machine's port or trunk.
    fn id(&self) -> Uuid {
        let (Self::Machine { port: id, .. } | Self::Trunk(id)) = self;
        *id
    }
}

impl Core {
    /// Refuses a MAC of the user's choice where the interface has the machine's.
    pub(super) fn check_mac_is_free(&self, mac: Option<MacAddr>) -> Result<(), Error> {
        match mac.filter(|_| self.settings.port_driver == PortDriver::Ipvlan) {
            Some(mac) => Err(Error::Invalid(format!(
                "--mac-address {mac}: an ipvlan interface has the MAC of [binding] link_iface; leave it out, and do not set [kuryr] ports_by_mac"
            ))),
            None => Ok(()),
        }
    }

    /// Makes an endpoint's interface, and before that what its driver needs in Neutron. Returns the port as it is recorded then.
    pub(super) async fn connect(&self, port: Port) -> Result<Port, Error> {
        let port = match self.settings.port_driver {
            _ if port.is_of_a_card() => self.choose_function(port).await?,
            PortDriver::Veth => port,
            PortDriver::Macvlan | PortDriver::Ipvlan => {
                let _turn = self.carrier_turn(port.id).await;
                self.allow_on_machine(port).await?
            }
            PortDriver::Vlan => {
                let _turn = self.carrier_turn(port.id).await;
                self.join_trunk(port).await?
            }
        };
        self.bind(&port).await?;
        if let Some(Carrier::Machine { port: machine, .. }) = &port.carrier {
            self.promise_watch(*machine).await;
        }
        Ok(port)
    }

    /// Takes back what [`Core::connect`] wrote in Neutron for a port whose interface is gone, unless the port has an endpoint again by now that
    /// needs it.
    pub(super) async fn disconnect(&self, port: &Port) -> Result<(), Error> {
        let Some(carrier) = &port.carrier else { return Ok(()) };
        loop {
            let may_come_back = {
                let _turn = self.carrier_turn(port.id).await;
                if self.state().port(&port.id).is_some_and(|now| now.carrier.is_some()) {
                    return Ok(());
                }
                self.leave_carrier(port.id, carrier).await?
            };
            if !may_come_back {
                return Ok(());
            }
            tokio::time::sleep(nested::SETTLING).await;
        }
    }

    /// Takes back what has carried a port until something else does: the machine may have another port or trunk by now, or kuryr another
    /// driver.
    async fn leave_former(&self, port: Uuid, carrier_now: Uuid) -> Result<(), Error> {
        let former: Vec<Carrier> = {
            let state = self.state();
            let records = [state.port(&port), state.unplugging(port)].into_iter().flatten();
            records.filter_map(|port| port.carrier.clone()).filter(|carrier| carrier.id() != carrier_now).collect()
        };
        for carrier in former {
            self.leave_carrier(port, &carrier).await?;
        }
        Ok(())
    }

    /// Returns whether it may come back once more.
    async fn leave_carrier(&self, port: Uuid, carrier: &Carrier) -> Result<bool, Error> {
        match carrier {
            Carrier::Machine { port: machine, pairs } => self.disallow_on_machine(*machine, pairs).await,
            Carrier::Trunk(trunk) => self.leave_trunk(port, *trunk).await.map(|()| false),
        }
    }

    /// What carries a port is changed by one at a time.
    async fn carrier_turn(&self, port: Uuid) -> OwnedMutexGuard<()> {
        self.turns.take(format!("carrier of port {port}")).await
    }

    /// The network on which containers are if nobody names one; none where each Docker network gets its own.
    pub(super) async fn default_network(&self) -> Result<Option<Uuid>, Error> {
        match self.settings.port_driver {
            PortDriver::Veth | PortDriver::Vlan => Ok(None),
            PortDriver::Macvlan | PortDriver::Ipvlan => Ok(Some(self.machine_port().await?.network_id)),
        }
    }

    /// Whether Neutron takes a port for the driver only as long as it is no device's.
    pub(super) fn wants_no_device(&self) -> bool {
        self.settings.port_driver == PortDriver::Vlan
    }

    /// Which of the ports kuryr of this host has in Neutron.
    pub(super) async fn of_this_host(&self, mut ports: Vec<openstack::Port>) -> Result<Vec<openstack::Port>, Error> {
        let trunk = self.trunk_of_driver().await?;
        let on_trunk = |port: &openstack::Port| trunk.as_ref().is_some_and(|trunk| Self::on_trunk(trunk, port));
        ports.retain(|port| self.is_of_this_host(port) || on_trunk(port));
        Ok(ports)
    }

    /// Gives ports that were taken up from Neutron the driver and carrier that their records are lost of.
    pub(super) async fn recognise(&self, ports: &mut [Port]) -> Result<(), Error> {
        let trunk = self.trunk_of_driver().await?;
        for port in ports {
            match (self.settings.port_driver, &trunk) {
                _ if port.is_of_a_card() => Self::recognise_function(port),
                (PortDriver::Macvlan | PortDriver::Ipvlan, _) => self.recognise_on_machine(port).await?,
                (_, Some(trunk)) => self.recognise_on_trunk(port, trunk),
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes driver and carrier down for an endpoint that still has the port.
    async fn write_driver(&self, port: &Port, driver: Driver, carrier: Option<Carrier>) -> Result<Port, Error> {
        let mut written = None;
        let changed = self.change_port(port.id, |_, now| {
            if now.endpoint != port.endpoint {
                return Err(given_back(port.id));
            }
            let now = Port { driver, carrier, ..now };
            written = Some(now.clone());
            Ok(vec![Entry::Port(now)])
        });
        changed.await?;
        written.ok_or_else(|| given_back(port.id))
    }
}

impl Port {
    /// Whether Neutron ever reports it ACTIVE: no agent wires a port whose traffic another port lets through.
    pub(super) fn becomes_active(&self) -> bool {
        !matches!(self.carrier, Some(Carrier::Machine { .. }))
    }

    /// Whether it is a sub-port of a trunk, which Neutron binds to hosts of its own choice.
    pub(super) fn is_on_trunk(&self) -> bool {
        matches!(self.carrier, Some(Carrier::Trunk(_)))
    }

    /// Takes over what an endpoint before left in Neutron, if that is still to be taken back.
    pub(super) fn inherit(&mut self, before: &Port) {
        if self.carrier.is_none() {
            self.driver = before.driver.clone();
            self.carrier = before.carrier.clone();
        }
    }
}
