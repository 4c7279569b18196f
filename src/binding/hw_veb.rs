//! SR-IOV: the container gets a virtual function of a network card, whose own switch (its "virtual Ethernet bridge") does the rest. Which
//! function it is, Zun or Nova has written into the port.

use std::{
    fs,
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::{Error, Settings, Vif, vif};
use crate::netlink::Socket;

/// Where a virtual function is set.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    /// The interface of the physical function.
    physical: String,
    /// The number among its virtual functions.
    number: u32,
}

/// The interface of a PCI device that is in this namespace, below the mount point of sysfs. Blocks for a moment.
///
/// # Errors
/// [`Error::NoPciDevice`] when there is none.
pub fn pci_interface(port: Uuid, pci_slot: &str, sysfs: &Path) -> Result<String, Error> {
    let found = device(pci_slot, sysfs).and_then(|device| only_entry(&device.join("net")));
    found.ok_or_else(|| missing(port, pci_slot, "has no interface in the host's network namespace, or is not there"))
}

/// The physical function above a device, and the device's number there; none for a device that is no virtual function.
fn place(port: Uuid, pci_slot: &str, sysfs: &Path) -> Result<Option<Place>, Error> {
    let device = device(pci_slot, sysfs).filter(|device| device.exists());
    let device = device.ok_or_else(|| missing(port, pci_slot, "is not there"))?;
    let above = device.join("physfn");
    if !above.exists() {
        return Ok(None);
    }
    let physical = only_entry(&above.join("net")).ok_or_else(|| missing(port, pci_slot, "is below a card that has no interface here"))?;
    let is_it = |link: &Path| fs::read_link(link).is_ok_and(|target| target.file_name().is_some_and(|name| name == pci_slot));
    let functions = fs::read_dir(&above).into_iter().flatten().filter_map(Result::ok);
    let mut numbers = functions.filter(|entry| is_it(&entry.path())).filter_map(|entry| number(entry.file_name().to_str()?));
    let number = numbers.next().ok_or_else(|| missing(port, pci_slot, "is not among the virtual functions of the card above it"))?;
    Ok(Some(Place { physical, number }))
}

/// `virtfn<N>`.
fn number(name: &str) -> Option<u32> {
    name.strip_prefix("virtfn")?.parse().ok()
}

/// What somebody wrote into Neutron becomes part of a path only if it is an address of PCI.
fn device(pci_slot: &str, sysfs: &Path) -> Option<PathBuf> {
    let parts: Vec<&str> = pci_slot.split([':', '.']).collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    let hex = parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_hexdigit()));
    let separated = pci_slot.bytes().filter(|b| *b == b':').count() == 2;
    (hex && separated && matches!(lengths[..], [4..=8, 2, 2, 1])).then(|| sysfs.join("bus/pci/devices").join(pci_slot))
}

fn only_entry(directory: &Path) -> Option<String> {
    let mut names = fs::read_dir(directory).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.next()
}

fn missing(port: Uuid, pci_slot: &str, reason: &'static str) -> Error {
    Error::NoPciDevice { port, pci_slot: pci_slot.to_owned(), reason }
}

/// Gives the function the port's MAC and VLAN; a whole card keeps those it has.
pub(super) fn plug(socket: &mut Socket, vif: &Vif, pci_slot: &str, vlan: u16, settings: &Settings) -> Result<(), Error> {
    if let Some(error) = vif::unbound(vif) {
        return Err(error);
    }
    match place(vif.port, pci_slot, &settings.sysfs)? {
        Some(place) => set(socket, vif, &place, vlan),
        None => Ok(()),
    }
}

/// Takes the VLAN off the function; one that is gone needs nothing.
pub(super) fn unplug(socket: &mut Socket, vif: &Vif, pci_slot: &str, settings: &Settings) -> Result<(), Error> {
    match place(vif.port, pci_slot, &settings.sysfs) {
        Ok(Some(place)) => set(socket, vif, &place, 0),
        Ok(None) | Err(Error::NoPciDevice { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn set(socket: &mut Socket, vif: &Vif, place: &Place, vlan: u16) -> Result<(), Error> {
    let refused = |source| Error::Netlink { port: vif.port, source };
    let found = socket.link(&place.physical).map_err(refused)?;
    let index = found.ok_or_else(|| missing(vif.port, &place.physical, "has gone while it was set"))?.index;
    socket.set_virtual_function(index, place.number, vif.mac, vlan).map_err(|source| Error::VirtualFunction {
        port: vif.port,
        physical: place.physical.clone(),
        number: place.number,
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const PORT: Uuid = Uuid::nil();

    /// A card `ens1` with three functions, of which the last is in a container.
    fn card() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let devices = root.path().join("devices/pci0000:3a");
        let slots = root.path().join("bus/pci/devices");
        fs::create_dir_all(&slots).unwrap();
        fs::create_dir_all(devices.join("0000:3b:00.0/net/ens1")).unwrap();
        symlink("../../../devices/pci0000:3a/0000:3b:00.0", slots.join("0000:3b:00.0")).unwrap();
        for (number, slot, interface) in
            [(0, "0000:3b:02.0", Some("ens1v0")), (1, "0000:3b:02.1", Some("ens1v1")), (10, "0000:3b:03.2", None)]
        {
            fs::create_dir_all(devices.join(slot)).unwrap();
            if let Some(interface) = interface {
                fs::create_dir_all(devices.join(slot).join("net").join(interface)).unwrap();
            }
            symlink("../0000:3b:00.0", devices.join(slot).join("physfn")).unwrap();
            symlink(format!("../{slot}"), devices.join(format!("0000:3b:00.0/virtfn{number}"))).unwrap();
            symlink(format!("../../../devices/pci0000:3a/{slot}"), slots.join(slot)).unwrap();
        }
        root
    }

    #[test]
    fn a_function_is_found_by_its_slot() {
        let root = card();
        for (slot, number, interface) in
            [("0000:3b:02.0", 0, Some("ens1v0")), ("0000:3b:02.1", 1, Some("ens1v1")), ("0000:3b:03.2", 10, None)]
        {
            let wanted = Place { physical: "ens1".into(), number };
            assert_eq!(place(PORT, slot, root.path()).unwrap(), Some(wanted), "{slot}");
            assert_eq!(pci_interface(PORT, slot, root.path()).ok().as_deref(), interface, "{slot}");
        }
        // The card itself.
        assert_eq!(place(PORT, "0000:3b:00.0", root.path()).unwrap(), None);
        assert_eq!(pci_interface(PORT, "0000:3b:00.0", root.path()).unwrap(), "ens1");
    }

    #[test]
    fn what_is_no_slot_or_not_there_is_refused_by_name() {
        let root = card();
        fs::create_dir_all(root.path().join("bus/pci/net/up")).unwrap();
        for slot in ["0000:ff:1f.7", "..", "", "0000:3b:02", "0000:3b:02.0/../0000:3b:00.0", "0000.3b.02.0", "gggg:3b:02.0", "0:3b:2.0"] {
            for error in [place(PORT, slot, root.path()).unwrap_err(), pci_interface(PORT, slot, root.path()).unwrap_err()] {
                assert!(error.to_string().contains(&format!("PCI device {slot} not found")), "{error}");
            }
        }
    }
}
