//! The controller's datapath follows its store, and the store the wires.

use std::{
    thread,
    time::{Duration, Instant},
};

use kuryr::{
    controller::{Controller, ControllerSettings, datapath::names, store},
    netlink::{Socket, Veth},
};
use serde_json::{Value, json};
use uuid::Uuid;

const NETWORK: Uuid = Uuid::from_u128(0xa << 120 | 1);
const PORT: Uuid = Uuid::from_u128(0xb << 120 | 2);

/// Waits for what nothing announces; the limit is there to end a broken run.
fn await_that<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let limit = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < limit, "{what} did not come");
        thread::sleep(Duration::from_millis(10));
    }
}

fn add(controller: &Controller, table: &'static str, columns: &[&str], object: &Value) {
    let object = object.as_object().unwrap();
    controller.store().transact(|tx| Ok(store::insert(tx, table, columns, object)?)).unwrap();
    controller.store().announce();
}

fn await_status(controller: &Controller, status: &str) {
    await_that(status, || {
        let port = controller.store().transact(|tx| store::find(tx, "ports", &PORT.to_string())).unwrap().unwrap();
        (port["status"] == status).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_network_gets_its_bridge_and_a_port_the_status_of_its_wire() {
    let state = tempfile::tempdir().unwrap();
    let settings = ControllerSettings {
        state_dir: state.path().to_owned(),
        listen: "127.0.0.1:9696".parse().unwrap(),
        host: "here".to_owned(),
        external_cidr: "172.24.4.0/24".parse().unwrap(),
    };
    let controller = Controller::open(settings).unwrap();
    let datapath = controller.start_datapath().unwrap();
    tokio::task::block_in_place(|| {
        let network = json!({"id": NETWORK, "project_id": "p", "name": "", "mtu": 1400});
        add(&controller, "networks", &["id", "project_id", "name"], &network);
        let mut socket = Socket::open().unwrap();
        let bridge = await_that("the bridge", || socket.link(&names::bridge(NETWORK)).unwrap());
        let port = json!({"id": PORT, "project_id": "p", "name": "", "network_id": NETWORK, "mac_address": "fa:16:3e:00:00:01",
            "device_id": "", "status": "DOWN"});
        add(&controller, "ports", &["id", "project_id", "name", "network_id", "mac_address", "device_id"], &port);
        let tap = names::tap(PORT);
        let veth = Veth { name: &tap, mac: None, master: Some(bridge.index), peer: "far", peer_mac: None, peer_netns: None, mtu: None };
        socket.add_veth(&veth).unwrap();
        let index = socket.link(&tap).unwrap().unwrap().index;
        socket.set_up(index).unwrap();
        await_status(&controller, "ACTIVE");
        socket.delete_link(&tap).unwrap();
        await_status(&controller, "DOWN");
        drop(datapath);
        assert!(socket.link(&names::bridge(NETWORK)).unwrap().is_some(), "the end of the datapath cuts no traffic");
    });
}
