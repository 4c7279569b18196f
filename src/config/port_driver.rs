//! Which port drivers serve: `default_port_driver`, `enabled_port_drivers` and `[binding]`, which must fit together.
//!
//! The names are kuryr-libnetwork's, short (`nested`) or by their Python path (`kuryr_libnetwork.port_driver.drivers.nested`). There, they could
//! be loaded by no configuration file, so that what does not fit together here may have stood in files for years without harm: every refusal
//! says what to write.

use super::{Error, Origin, kind, options, reader::Reader, sources::Setting};

/// What serves the ports that Neutron calls `normal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortDriver {
    /// `veth`: a pair plugged into this machine's switch.
    Veth,
    /// `nested` with `[binding] default_driver = macvlan`.
    Macvlan,
    /// `nested` with `[binding] default_driver = ipvlan`.
    Ipvlan,
    /// `vlan`: a sub-port of the machine's trunk.
    Vlan,
}

/// The machine's own interface for nested containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkIface {
    /// Its name.
    pub name: String,
    /// Where the configuration has it from.
    pub origin: Origin,
}

/// The port drivers in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortDrivers {
    /// For ports of vnic_type `normal`.
    pub normal: PortDriver,
    /// Whether `sriov` serves those of the types `direct`, `macvtap` and `direct-physical`.
    pub sriov: bool,
    /// `[binding] link_iface`; there for every driver that needs it.
    pub link_iface: Option<LinkIface>,
}

/// A port driver, and the binding drivers that make its interfaces.
const PORT_DRIVERS: [(&str, &[&str]); 4] =
    [("veth", &["veth"]), ("nested", &["macvlan", "ipvlan"]), ("vlan", &["vlan"]), ("sriov", &["hw_veb"])];
const PORT_DRIVER_NAMES: &str = "veth, nested, vlan and sriov, by short name or by Python path";
const BINDING_NAMES: &str = "veth, macvlan, ipvlan, vlan and hw_veb, by short name or by Python path";

/// The last part of a Python path, or the short name itself.
fn short(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// The binding drivers of a port driver; none for an unknown one.
fn bindings(port_driver: &str) -> Option<&'static [&'static str]> {
    PORT_DRIVERS.iter().find(|(name, _)| *name == short(port_driver)).map(|(_, bindings)| *bindings)
}

impl Reader<'_> {
    pub(super) fn port_drivers(&self) -> Result<PortDrivers, Error> {
        let default = self.given("DEFAULT", "default_port_driver")?;
        let enabled = self.given("DEFAULT", "enabled_port_drivers")?;
        let binding = self.given("binding", "default_driver")?;
        let enabled_bindings = self.given("binding", "enabled_drivers")?;
        let link_iface = self.given("binding", "link_iface")?;
        for name in std::iter::once(default.1.text.as_str()).chain(names(&enabled)) {
            if bindings(name).is_none() {
                let source = if name == default.1.text { &default } else { &enabled };
                return Err(unknown(source, PORT_DRIVER_NAMES));
            }
        }
        for name in std::iter::once(binding.1.text.as_str()).chain(names(&enabled_bindings)) {
            if !PORT_DRIVERS.iter().any(|(_, bindings)| bindings.contains(&short(name))) {
                let source = if name == binding.1.text { &binding } else { &enabled_bindings };
                return Err(unknown(source, BINDING_NAMES));
            }
        }
        let driver = short(&default.1.text);
        if !names(&enabled).any(|name| short(name) == driver) {
            return Err(unfit(&default, format!("is not among [DEFAULT] enabled_port_drivers ({}); add it there", enabled.1.text)));
        }
        if driver == "sriov" {
            let reason = "serves no ports of vnic_type normal; name veth, nested or vlan, and leave sriov in enabled_port_drivers";
            return Err(unfit(&default, reason.to_owned()));
        }
        let sriov = names(&enabled).any(|name| short(name) == "sriov");
        let its = bindings(driver).unwrap_or_default();
        let chosen = short(&binding.1.text);
        if !its.contains(&chosen) {
            let reason = format!("needs [binding] default_driver to be {}, which is {chosen}; set it", its.join(" or "));
            return Err(unfit(&default, reason));
        }
        // Whoever names one driver and no list means that one.
        let listed = enabled_bindings.1.origin != Origin::Default;
        if listed && !names(&enabled_bindings).any(|name| short(name) == chosen) {
            return Err(unfit(&binding, format!("is not among [binding] enabled_drivers ({}); add it there", enabled_bindings.1.text)));
        }
        if listed && sriov && !names(&enabled_bindings).any(|name| short(name) == "hw_veb") {
            return Err(unfit(&enabled_bindings, "lacks hw_veb, which port driver sriov needs; add it".to_owned()));
        }
        let normal = match chosen {
            "macvlan" => PortDriver::Macvlan,
            "ipvlan" => PortDriver::Ipvlan,
            "vlan" => PortDriver::Vlan,
            _ => PortDriver::Veth,
        };
        let Setting { text: name, origin } = link_iface.1;
        if name.is_empty() && normal != PortDriver::Veth {
            let reason =
                "needs [binding] link_iface, the machine's own interface whose Neutron port carries the containers; set it, such as eth0";
            return Err(unfit(&default, reason.to_owned()));
        }
        Ok(PortDrivers { normal, sriov, link_iface: (!name.is_empty()).then_some(LinkIface { name, origin }) })
    }

    /// An option of the table with its value and where that stands.
    fn given(&self, group: &'static str, name: &'static str) -> Result<Given, Error> {
        let unset = Setting { text: String::new(), origin: Origin::Default };
        let found = match options::find(group, name) {
            Some(opt) => self.0.get(opt)?,
            None => None,
        };
        Ok(((group, name), found.unwrap_or(unset)))
    }
}

/// Section and name of an option, and its value.
type Given = ((&'static str, &'static str), Setting);

/// The items of a list.
fn names(given: &Given) -> impl Iterator<Item = &str> {
    kind::items(&given.1.text).filter(|item| !item.is_empty())
}

fn unknown(given: &Given, allowed: &str) -> Error {
    let ((group, option), Setting { text, origin }) = given;
    Error::Value { origin: origin.clone(), group: (*group).to_owned(), option, value: text.clone(), allowed: allowed.to_owned() }
}

fn unfit(given: &Given, reason: String) -> Error {
    let ((group, option), Setting { text, origin }) = given;
    Error::Unfit { origin: origin.clone(), group, option, value: text.clone(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, tests::load_with};

    fn drivers(text: &str) -> Result<PortDrivers, String> {
        load_with(text, &[]).map(|config: Config| config.port_drivers).map_err(|error| error.to_string())
    }

    #[test]
    fn nested_containers_are_chosen_by_two_names_and_an_interface() {
        assert_eq!(drivers("").unwrap(), PortDrivers { normal: PortDriver::Veth, sriov: false, link_iface: None });
        let cards = "[DEFAULT]\nenabled_port_drivers = veth, kuryr_libnetwork.port_driver.drivers.sriov\n";
        assert_eq!(drivers(cards).unwrap(), PortDrivers { normal: PortDriver::Veth, sriov: true, link_iface: None });
        let paths = "[DEFAULT]\ndefault_port_driver = kuryr_libnetwork.port_driver.drivers.nested\n\
                     enabled_port_drivers = veth, kuryr_libnetwork.port_driver.drivers.nested\n[binding]\nlink_iface = eth0\n";
        let named = drivers(&format!("{paths}driver = kuryr.lib.binding.drivers.macvlan\n")).unwrap();
        assert_eq!(named.normal, PortDriver::Macvlan);
        let link = named.link_iface.unwrap();
        assert!(link.name == "eth0" && link.origin.to_string().ends_with("kuryr.conf:5"), "{link:?}");
        let listed = drivers(&format!("{paths}default_driver = ipvlan\nenabled_drivers = veth,ipvlan\n")).unwrap();
        assert_eq!(listed.normal, PortDriver::Ipvlan);
        let trunk = "[DEFAULT]\ndefault_port_driver = vlan\nenabled_port_drivers = vlan\n[binding]\ndriver = vlan\nlink_iface = eth0\n";
        assert_eq!(drivers(trunk).unwrap().normal, PortDriver::Vlan);
    }

    #[test]
    fn what_does_not_fit_together_is_refused_with_place_option_and_remedy() {
        let nested = "[DEFAULT]\ndefault_port_driver = nested\nenabled_port_drivers = nested\n[binding]\n";
        for (text, words) in [
            ("[DEFAULT]\ndefault_port_driver = bridge\n", ["kuryr.conf:2", "[DEFAULT] default_port_driver = bridge", "veth"]),
            ("[DEFAULT]\nenabled_port_drivers = veth, x.y.tunnel\n", ["kuryr.conf:2", "[DEFAULT] enabled_port_drivers", "nested"]),
            ("[DEFAULT]\ndefault_port_driver = nested\n", ["kuryr.conf:2", "not among [DEFAULT] enabled_port_drivers (veth)", "add it"]),
            (nested, ["kuryr.conf:2", "needs [binding] default_driver to be macvlan or ipvlan", "set it"]),
            (&format!("{nested}driver = macvlan\n"), ["kuryr.conf:2", "default_port_driver = nested", "needs [binding] link_iface"]),
            (
                &format!("{nested}link_iface = eth0\ndriver = macvlan\nenabled_drivers = ipvlan\n"),
                ["kuryr.conf:6", "[binding] default_driver = macvlan", "not among [binding] enabled_drivers (ipvlan)"],
            ),
            (
                "[DEFAULT]\ndefault_port_driver = sriov\nenabled_port_drivers = sriov\n",
                ["kuryr.conf:2", "no ports of vnic_type normal", "veth"],
            ),
            (
                "[DEFAULT]\nenabled_port_drivers = veth,sriov\n[binding]\nenabled_drivers = veth\n",
                ["kuryr.conf:4", "[binding] enabled_drivers = veth lacks hw_veb", "add it"],
            ),
            ("[binding]\ndriver = tunnel\n", ["kuryr.conf:2", "[binding] default_driver = tunnel", "macvlan"]),
            ("[binding]\ndriver = macvlan\n", ["[DEFAULT] default_port_driver = veth", "default_driver to be veth", "macvlan"]),
        ] {
            let error = drivers(text).unwrap_err();
            assert!(words.iter().all(|word| error.contains(word)), "{text:?}: {error}");
        }
    }
}
