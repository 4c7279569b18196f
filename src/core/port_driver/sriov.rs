//! SR-IOV: ports whose `binding:vnic_type` asks for a device of its own. Zun or Nova has chosen the device and written it into the port; kuryr
//! makes no such ports.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    binding::{self, Driver},
    core::{Core, Error, endpoint::on_blocking_thread, record::Port},
    openstack,
};

/// The types that are served by a device.
const TYPES: [&str; 3] = ["direct", "macvtap", "direct-physical"];

/// What a port asks for that is not of the type `normal`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vnic {
    /// `binding:vnic_type`.
    pub vnic_type: String,
    /// `pci_slot` in `binding:profile`: the device that the port is meant for.
    pub pci_slot: Option<String>,
}

impl Vnic {
    /// None for a port of the type `normal`.
    pub fn of(port: &openstack::Port) -> Option<Self> {
        let pci_slot = port.profile.get("pci_slot").and_then(Value::as_str).map(str::to_owned);
        let unusual = !matches!(port.vnic_type.as_str(), "" | "normal");
        unusual.then(|| Self { vnic_type: port.vnic_type.clone(), pci_slot })
    }
}

impl Core {
    /// Refuses a port whose type no enabled driver serves, or of which nobody has said the device.
    pub(in super::super) fn check_vnic_type(&self, port: &Port) -> Result<(), Error> {
        let Some(Vnic { vnic_type, pci_slot }) = port.vnic.as_deref() else { return Ok(()) };
        let id = port.id;
        let remedy = match port.is_of_a_card() {
            true if self.settings.sriov => {
                return match pci_slot {
                    Some(_) => Ok(()),
                    None => Err(Error::Invalid(format!(
                        "port {id} is of VNIC type {vnic_type}, but its binding:profile has no pci_slot; Zun or Nova writes that, and kuryr \
                         chooses no device"
                    ))),
                };
            }
            true => "add sriov to [DEFAULT] enabled_port_drivers on a host with such cards, or use a port of type normal",
            false => "use a port of type normal",
        };
        Err(Error::Invalid(format!("No port driver available for VNIC type {vnic_type} of port {id}; {remedy}")))
    }

    /// Writes down which interface is the port's.
    pub(super) async fn choose_function(&self, port: Port) -> Result<Port, Error> {
        let slot = port.vnic.as_ref().and_then(|vnic| vnic.pci_slot.clone()).unwrap_or_default();
        let (id, sysfs) = (port.id, self.settings.binding.sysfs.clone());
        let looked_up = slot.clone();
        let interface = on_blocking_thread("looking up a PCI device", move || binding::pci_interface(id, &looked_up, &sysfs)).await??;
        let driver = Driver::HwVeb { pci_slot: slot, vlan: vlan_of(&port), interface };
        self.write_driver(&port, driver, None).await
    }

    /// Of a port whose record is lost, and whose interface is in its container.
    pub(super) fn recognise_function(port: &mut Port) {
        if let Some(pci_slot) = port.vnic.as_ref().and_then(|vnic| vnic.pci_slot.clone()) {
            port.driver = Driver::HwVeb { pci_slot, vlan: vlan_of(port), interface: String::new() };
        }
    }
}

impl Port {
    /// Whether a device of its own serves it.
    pub(super) fn is_of_a_card(&self) -> bool {
        self.vnic.as_ref().is_some_and(|vnic| TYPES.contains(&vnic.vnic_type.as_str()))
    }
}

/// `vlan` in `binding:vif_details`, which Neutron writes as a text or as a number; 0 on a network without one.
fn vlan_of(port: &Port) -> u16 {
    let vlan = &port.vif_details["vlan"];
    let number = vlan.as_u64().or_else(|| vlan.as_str().and_then(|text| text.parse().ok()));
    number.and_then(|number| u16::try_from(number).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::request::DockerId;

    #[test]
    fn the_vlan_is_read_in_both_spellings() {
        for (details, vlan) in [(json!({"vlan": "100"}), 100), (json!({"vlan": 7}), 7), (json!({}), 0), (Value::Null, 0)] {
            let body = json!({"id": uuid::Uuid::nil(), "mac_address": "fa:16:3e:00:00:01", "binding:vif_details": details});
            let found: openstack::Port = serde_json::from_value(body).unwrap();
            assert_eq!(vlan_of(&Port::new(DockerId::nowhere(), 1500, &found)), vlan);
        }
    }
}
