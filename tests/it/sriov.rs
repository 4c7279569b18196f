//! Ports that ask for a device of their own, over a made tree of sysfs. There is no such card here: a virtual function's settings go to a driver
//! that has none, and a whole card's are not asked for.

use std::{fs, os::unix::fs::symlink, path::Path};

use kuryr::{
    binding::{self, Driver, Vif},
    core::Settings,
    mac::MacAddr,
    netlink::{Socket, Veth},
    openstack::{Network, Port, Subnet},
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::host::{Cloud, Plan, core_settings, endpoint, id};

const CARD: &str = "0000:3b:00.0";
const FUNCTION: &str = "0000:3b:02.1";
const RANGE: &str = "10.3.0.0/24";

/// A card `ens1` with one virtual function, `ens1v1`.
fn card(sysfs: &Path) {
    let slots = sysfs.join("bus/pci/devices");
    for (slot, interface) in [(CARD, "ens1"), (FUNCTION, "ens1v1")] {
        fs::create_dir_all(slots.join(slot).join("net").join(interface)).unwrap();
    }
    symlink(format!("../{CARD}"), slots.join(FUNCTION).join("physfn")).unwrap();
    symlink(format!("../{FUNCTION}"), slots.join(CARD).join("virtfn1")).unwrap();
    let mut socket = Socket::open().unwrap();
    socket.add_veth(&Veth { name: "ens1", peer: "ens1v1", ..Veth::default() }).unwrap();
}

fn vif(pci_slot: &str, interface: &str, vif_type: &str) -> Vif {
    Vif {
        driver: Driver::HwVeb { pci_slot: pci_slot.into(), vlan: 100, interface: interface.into() },
        port: Uuid::from_u128(7),
        network: Uuid::from_u128(8),
        project: "p".into(),
        endpoint: "e".into(),
        mac: MacAddr([0xfa, 0x16, 0x3e, 0, 0, 7]),
        mtu: 1500,
        vif_type: vif_type.into(),
        vif_details: json!({"vlan": "100"}),
        host: "here".into(),
    }
}

#[test]
fn a_function_is_set_through_its_card_and_a_card_is_taken_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    card(root.path());
    let settings = binding::Settings { sysfs: root.path().to_owned(), ..Default::default() };
    let function = vif(FUNCTION, "ens1v1", "hw_veb");
    for outcome in [binding::bind(&function, &settings).map(drop), binding::unbind(&function, &settings)] {
        let refused = outcome.unwrap_err().to_string();
        assert!(refused.contains("network card ens1") && refused.contains("virtual function 1"), "{refused}");
    }
    assert_eq!(binding::bind(&vif(CARD, "ens1", "hostdev_physical"), &settings).unwrap(), "ens1");
    binding::unbind(&vif(CARD, "ens1", "hostdev_physical"), &settings).unwrap();
    let refused = binding::bind(&vif(CARD, "ens1", "binding_failed"), &settings).unwrap_err().to_string();
    assert!(refused.contains("no agent on host 'here'"), "{refused}");
    let gone = vif("0000:ff:1f.7", "ens1v9", "hw_veb");
    assert!(binding::bind(&gone, &settings).unwrap_err().to_string().contains("PCI device 0000:ff:1f.7 not found"));
    binding::unbind(&gone, &settings).unwrap();
}

/// A network with a port of Zun's, bound to this host, which the controller believes to be a card's.
async fn zuns_port(cloud: &Cloud, vnic_type: &str, profile: Value) -> (Network, Port) {
    let network: Network = cloud.neutron.create(&json!({"name": "zun"})).await.unwrap();
    cloud.neutron.create::<Subnet>(&json!({"network_id": network.id, "cidr": RANGE, "ip_version": 4})).await.unwrap();
    let body = json!({
        "network_id": network.id, "device_owner": "compute:kuryr", "device_id": "zuns", "binding:host_id": "here",
        "fixed_ips": [{"ip_address": "10.3.0.40"}], "binding:profile": profile
    });
    let port: Port = cloud.neutron.create(&body).await.unwrap();
    let sql = "UPDATE ports SET document = json_set(document, '$.\"binding:vnic_type\"', ?2) WHERE id = ?1";
    cloud.controller.store().transact(|tx| Ok(tx.execute(sql, (port.id.to_string(), vnic_type))?)).unwrap();
    (network, port)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_of_a_card_is_that_cards_interface_until_its_endpoint_goes() {
    let cloud = Cloud::start().await;
    let root = tempfile::tempdir().unwrap();
    card(root.path());
    let (network, port) = zuns_port(&cloud, "direct-physical", json!({"pci_slot": CARD})).await;
    let binding = binding::Settings { sysfs: root.path().to_owned(), ..Default::default() };
    let host = cloud.host_with("one", cloud.client(), Settings { sriov: true, binding, ..core_settings() });
    let uuid = network.id.to_string();
    let named = [("neutron.net.uuid", uuid.as_str())];
    let pools = host.create(&id('a'), &Plan { ranges: &[RANGE], options: &named, ..Plan::default() }).await.unwrap();
    let address = host.address(&pools[0], Some("10.3.0.40")).await.unwrap();
    let grant = host.core.create_endpoint(endpoint(&id('a'), &id('b'), Some(address), None)).await.unwrap();
    assert_eq!((grant.mac, host.join(&id('a'), &id('b')).await.unwrap().interface), (None, "ens1".into()));
    let links = Socket::open().unwrap().links().unwrap();
    assert!(links.iter().all(|link| !link.name.starts_with("tap") && !link.name.starts_with("t_c")), "{links:?}");
    host.remove_container(&id('a'), &id('b'), &pools[0], address).await;
    assert!(Socket::open().unwrap().link("ens1").unwrap().is_some(), "the card stays");
    let left: Port = cloud.neutron.show(port.id).await.unwrap();
    assert_eq!((left.device_id.as_str(), left.host_id.as_str(), host.core.counts().ports), ("zuns", "", 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_no_driver_serves_is_refused_and_the_port_is_not_written_to() {
    for (sriov, vnic_type, profile, word) in [
        (false, "direct", json!({"pci_slot": FUNCTION}), "add sriov to [DEFAULT] enabled_port_drivers"),
        (true, "macvtap", json!({}), "has no pci_slot"),
        (true, "baremetal", json!({"pci_slot": FUNCTION}), "No port driver available for VNIC type baremetal"),
        (true, "direct", json!({"pci_slot": "0000:ff:1f.7"}), "PCI device 0000:ff:1f.7 not found"),
    ] {
        let cloud = Cloud::start().await;
        let (network, port) = zuns_port(&cloud, vnic_type, profile).await;
        let before: Port = cloud.neutron.show(port.id).await.unwrap();
        let host = cloud.host_with("one", cloud.client(), Settings { sriov, ..core_settings() });
        let uuid = network.id.to_string();
        let named = [("neutron.net.uuid", uuid.as_str())];
        let pools = host.create(&id('a'), &Plan { ranges: &[RANGE], options: &named, ..Plan::default() }).await.unwrap();
        let address = host.address(&pools[0], Some("10.3.0.40")).await.unwrap();
        let refused = host.core.create_endpoint(endpoint(&id('a'), &id('b'), Some(address), None)).await.unwrap_err().to_string();
        assert!(refused.contains(word), "{refused}");
        let after: Port = cloud.neutron.show(port.id).await.unwrap();
        assert_eq!((after.host_id, after.device_id, after.device_owner), (before.host_id, before.device_id, before.device_owner));
        host.core.release_address(&pools[0].id.to_string(), address.addr()).await.unwrap();
        host.core.backlog_settled().await;
        assert_eq!(host.core.counts().ports, 0);
    }
}
