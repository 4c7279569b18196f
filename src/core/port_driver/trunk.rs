//! Containers in a machine of the cloud, by VLAN: the container's port is a sub-port of the machine's trunk, with a VLAN id that no other has. The
//! ids are Neutron's alone to give out: those in use are read there, and of two kuryrs that choose the same one at once, the later hears so and
//! chooses again.
//!
//! Neutron binds a sub-port to the host on which the machine runs, and makes `trunk:subport` its owner. Whose it is tell the trunk and the tags.

use std::collections::BTreeSet;

use serde_json::json;
use uuid::Uuid;

use super::Carrier;
use crate::{
    binding::Driver,
    config::PortDriver,
    core::{Core, Error, naming, record::Port, work::gone},
    openstack::{self, SubPort, Trunk},
};

/// How often another VLAN id is chosen before the caller has to come again.
const ATTEMPTS: usize = 20;
/// IEEE 802.1Q keeps 0 and 4095 for itself.
const LAST_ID: u16 = 4094;
const SEGMENTATION: &str = "vlan";

impl Core {
    /// The trunk of the machine's own port.
    async fn trunk(&self) -> Result<Trunk, Error> {
        let machine = self.machine_port().await?;
        let found = self.neutron.list::<Trunk>(&[("port_id", &machine.id.to_string())]).await?.pop();
        found.ok_or_else(|| {
            Error::Unknown(format!(
                "port {} of this machine's [binding] link_iface has no trunk, which port driver vlan needs; make one with 'openstack network \
                 trunk create --parent-port {}'",
                machine.id, machine.id
            ))
        })
    }

    /// Makes a port a sub-port of the machine's trunk. That it may be one is written down before.
    pub(super) async fn join_trunk(&self, port: Port) -> Result<Port, Error> {
        let mut trunk = self.trunk().await?;
        self.leave_former(port.id, trunk.id).await?;
        for _ in 0..ATTEMPTS {
            let there = trunk.sub_ports.iter().find(|sub_port| sub_port.port_id == port.id);
            let id = match there {
                Some(sub_port) => id_of(sub_port),
                None => free_id(&trunk.sub_ports, random()),
            };
            let id = id.ok_or_else(|| {
                Error::Taken(format!("trunk {} has no VLAN id left for port {}; remove sub-ports that nothing uses", trunk.id, port.id))
            })?;
            let port = self.write_driver(&port, self.vlan(id), Some(Carrier::Trunk(trunk.id))).await?;
            if there.is_some() {
                return Ok(port);
            }
            let sub_port = SubPort { port_id: port.id, segmentation_type: SEGMENTATION.into(), segmentation_id: id.into() };
            match self.neutron.add_sub_port(trunk.id, &sub_port).await {
                Err(error) if error.kind() == "DuplicateSubPort" => trunk = self.neutron.show(trunk.id).await?,
                // Left over from an endpoint before; nobody's port but our own is a device's.
                Err(error) if error.kind() == "PortInUse" && !port.existing => {
                    self.neutron.update::<openstack::Port>(port.id, &json!({"device_id": ""})).await?;
                }
                outcome => return Ok(outcome.map(|()| port)?),
            }
        }
        Err(Error::Taken(format!("others take every VLAN id of trunk {} that is chosen for port {}; try again", trunk.id, port.id)))
    }

    /// Takes a port off its trunk. Only then Neutron lets it be deleted.
    pub(super) async fn leave_trunk(&self, port: Uuid, trunk: Uuid) -> Result<(), Error> {
        gone(self.neutron.remove_sub_port(trunk, port).await)
    }

    /// Of a port whose record is lost.
    pub(super) fn recognise_on_trunk(&self, port: &mut Port, trunk: &Trunk) {
        if let Some(id) = trunk.sub_ports.iter().find(|sub_port| sub_port.port_id == port.id).and_then(id_of) {
            port.driver = self.vlan(id);
            port.carrier = Some(Carrier::Trunk(trunk.id));
        }
    }

    fn vlan(&self, id: u16) -> Driver {
        Driver::Vlan { link_iface: self.settings.link_iface.clone(), id }
    }

    /// Those of the ports that kuryr of this machine has on its trunk, which two facts tell: the trunk, and kuryr's tag.
    pub(super) fn on_trunk(trunk: &Trunk, port: &openstack::Port) -> bool {
        let tagged = port.tags.iter().any(|tag| tag == naming::DEVICE_OWNER || tag == naming::EXISTING_PORT);
        tagged && trunk.sub_ports.iter().any(|sub_port| sub_port.port_id == port.id)
    }

    /// The trunk, where the driver has one.
    pub(super) async fn trunk_of_driver(&self) -> Result<Option<Trunk>, Error> {
        match self.settings.port_driver {
            PortDriver::Vlan => self.trunk().await.map(Some),
            _ => Ok(None),
        }
    }
}

fn id_of(sub_port: &SubPort) -> Option<u16> {
    u16::try_from(sub_port.segmentation_id).ok()
}

/// The first VLAN id from a random one on that no sub-port has; others choose at the same time.
fn free_id(sub_ports: &[SubPort], random: u16) -> Option<u16> {
    let used: BTreeSet<u16> = sub_ports.iter().filter_map(id_of).collect();
    let first = random % LAST_ID + 1;
    (first..=LAST_ID).chain(1..first).find(|id| !used.contains(id))
}

fn random() -> u16 {
    let mut bytes = [0; 2];
    // Without randomness two daemons only meet more often.
    let _ = getrandom::fill(&mut bytes);
    u16::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_free_id_is_found_and_no_other() {
        let sub_port = |id: u16| SubPort { port_id: Uuid::nil(), segmentation_type: SEGMENTATION.into(), segmentation_id: id.into() };
        for random in [0, 1, 4093, 4094, u16::MAX] {
            let mut taken = Vec::new();
            while let Some(id) = free_id(&taken, random) {
                assert!((1..=LAST_ID).contains(&id) && !taken.contains(&sub_port(id)));
                taken.push(sub_port(id));
                if taken.len() == 3 {
                    taken = (1..=LAST_ID).filter(|other| *other != id).map(sub_port).collect();
                    assert_eq!(free_id(&taken, random), Some(id));
                    taken.push(sub_port(id));
                }
            }
            assert_eq!(taken.len(), usize::from(LAST_ID));
        }
    }
}
