//! Port drivers: what an endpoint's interface needs in Neutron besides the endpoint's own port.
//!
//! | driver | interface | in Neutron |
//! |---|---|---|
//! | `veth` | a pair plugged as Neutron says | nothing more: no call is made here |
//! | `nested` | a macvlan or ipvlan on the machine's own interface | the port of that interface lets the container's address through ([`nested`]) |
//!
//! What is written there stands in the port's record before ([`Carrier`]), goes with the interface as part of the same task, and is taken back
//! when the endpoint cannot be made.

mod nested;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::nested::AddressPair;
use super::{
    Core, Error,
    address::given_back,
    record::{Entry, Port},
};
use crate::{binding::Driver, config::PortDriver, mac::MacAddr};

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
            PortDriver::Veth => port,
            PortDriver::Macvlan | PortDriver::Ipvlan => self.allow_on_machine(port).await?,
        };
        self.bind(&port).await?;
        Ok(port)
    }

    /// Takes back what [`Core::connect`] wrote in Neutron for a port whose interface is gone.
    pub(super) async fn disconnect(&self, port: &Port) -> Result<(), Error> {
        match &port.carrier {
            None => Ok(()),
            Some(Carrier::Machine { port: machine, pairs }) => self.disallow_on_machine(port.id, *machine, pairs).await,
        }
    }

    /// The network on which containers are if nobody names one; none where each Docker network gets its own.
    pub(super) async fn default_network(&self) -> Result<Option<Uuid>, Error> {
        match self.settings.port_driver {
            PortDriver::Veth => Ok(None),
            PortDriver::Macvlan | PortDriver::Ipvlan => Ok(Some(self.machine_port().await?.network_id)),
        }
    }

    /// Gives ports that were taken up from Neutron the driver and carrier that their records are lost of.
    pub(super) async fn recognise(&self, ports: &mut [Port]) -> Result<(), Error> {
        for port in ports {
            match self.settings.port_driver {
                PortDriver::Veth => {}
                PortDriver::Macvlan | PortDriver::Ipvlan => self.recognise_on_machine(port).await?,
            }
        }
        Ok(())
    }

    /// Writes a carrier down for an endpoint that still has the port.
    async fn write_carrier(&self, port: &Port, driver: Driver, carrier: Carrier) -> Result<Port, Error> {
        let mut written = None;
        let changed = self.change_port(port.id, |_, now| {
            if now.endpoint != port.endpoint {
                return Err(given_back(port.id));
            }
            let now = Port { driver, carrier: Some(carrier), ..now };
            written = Some(now.clone());
            Ok(vec![Entry::Port(now)])
        });
        changed.await?;
        written.ok_or_else(|| given_back(port.id))
    }
}

impl Port {
    /// Whether Neutron ever reports it ACTIVE: no agent wires a port that another one carries.
    pub(super) fn becomes_active(&self) -> bool {
        !matches!(self.carrier, Some(Carrier::Machine { .. }))
    }

    /// Takes over what an endpoint before left in Neutron, if that is still to be taken back.
    pub(super) fn inherit(&mut self, before: &Port) {
        if self.carrier.is_none() {
            self.driver = before.driver.clone();
            self.carrier = before.carrier.clone();
        }
    }
}
