use std::net::IpAddr;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Controller, snapshot};
use crate::controller::{
    ApiError, ControllerSettings,
    datapath::snapshot::{Direction, Network, Port, Remote, Router, Rule, Subnet},
    groups, rule, store,
};

const NETWORK: Uuid = Uuid::from_u128(1);
const OUTSIDE: Uuid = Uuid::from_u128(2);
const ROUTER: Uuid = Uuid::from_u128(3);
const PORT: Uuid = Uuid::from_u128(4);
const INNER: Uuid = Uuid::from_u128(5);
const OUTER: Uuid = Uuid::from_u128(6);

/// Inserts a row with the columns `project_id`, `name` and these.
fn add(tx: &rusqlite::Transaction<'_>, table: &str, columns: &[&str], mut object: Value) {
    object["project_id"] = json!("p");
    object["name"] = json!("");
    let columns: Vec<&str> = ["id", "project_id", "name"].iter().chain(columns).copied().collect();
    store::insert(tx, table, &columns, object.as_object().unwrap()).unwrap();
}

fn add_port(tx: &rusqlite::Transaction<'_>, id: Uuid, network: Uuid, ip: &str, mut fields: Value) {
    fields["id"] = json!(id);
    fields["network_id"] = json!(network);
    fields["device_id"] = fields.get("device_id").cloned().unwrap_or(json!(""));
    add(tx, "ports", &["network_id", "mac_address", "device_id"], fields);
    let ip = match ip.parse().unwrap() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let row = (id.to_string(), network.to_string(), format!("s-{network}"), ip.octets());
    tx.execute("INSERT INTO port_addresses (port_id, network_id, subnet_id, ip) VALUES (?, ?, ?, ?)", row).unwrap();
}

fn controller() -> (tempfile::TempDir, std::sync::Arc<Controller>) {
    let state = tempfile::tempdir().unwrap();
    let settings = ControllerSettings {
        state_dir: state.path().to_owned(),
        listen: "127.0.0.1:9696".parse().unwrap(),
        host: "here".to_owned(),
        external_cidr: "172.24.4.0/24".parse().unwrap(),
    };
    (state, Controller::open(settings).unwrap())
}

#[test]
fn all_that_is_stored_is_in_the_snapshot() {
    let (_state, controller) = controller();
    let mut group = Uuid::nil();
    let fill = |tx: &rusqlite::Transaction<'_>| {
        for (id, external, mtu, cidr, gateway) in
            [(NETWORK, false, 1400, "10.1.0.0/24", Value::Null), (OUTSIDE, true, 1500, "172.24.5.0/24", json!("172.24.5.1"))]
        {
            add(tx, "networks", &[], json!({"id": id, "mtu": mtu, "router:external": external}));
            let subnet = json!({"id": format!("s-{id}"), "network_id": id, "cidr": cidr, "gateway_ip": gateway});
            add(tx, "subnets", &["network_id"], subnet);
        }
        let info = json!({"network_id": OUTSIDE, "enable_snat": false});
        let routes = json!([{"destination": "10.9.0.0/16", "nexthop": "10.1.0.9"}]);
        add(tx, "routers", &[], json!({"id": ROUTER, "external_gateway_info": info, "routes": routes}));
        let pairs = json!([{"ip_address": "10.1.0.64/26"}, {"ip_address": "10.1.0.7", "mac_address": "fa:16:3e:00:00:09"}]);
        let fields = json!({"mac_address": "fa:16:3e:00:00:04", "status": "ACTIVE", "device_owner": "kuryr:container",
            "port_security_enabled": true, "allowed_address_pairs": pairs});
        add_port(tx, PORT, NETWORK, "10.1.0.4", fields);
        for (id, network, ip, owner, mac) in [
            (INNER, NETWORK, "10.1.0.1", "network:router_interface", "fa:16:3e:00:00:05"),
            (OUTER, OUTSIDE, "172.24.5.6", "network:router_gateway", "fa:16:3e:00:00:06"),
        ] {
            let fields =
                json!({"mac_address": mac, "status": "DOWN", "device_id": ROUTER, "device_owner": owner, "port_security_enabled": true});
            add_port(tx, id, network, ip, fields);
        }
        for (number, port, fixed) in [(7, json!(PORT), json!("10.1.0.4")), (8, Value::Null, Value::Null)] {
            let floating = json!({"id": Uuid::from_u128(number), "project_id": "p", "floating_network_id": OUTSIDE, "router_id": ROUTER,
                "floating_ip_address": format!("172.24.5.{number}"), "port_id": port, "fixed_ip_address": fixed});
            let columns = ["id", "project_id", "floating_network_id", "floating_ip_address", "port_id", "fixed_ip_address", "router_id"];
            store::insert(tx, "floatingips", &columns, floating.as_object().unwrap())?;
        }
        let made = groups::create(tx, "p", "web", "", true)?;
        let body = json!({"direction": "ingress", "ethertype": "IPv6", "protocol": "icmp", "remote_group_id": made});
        groups::add_rule(tx, "p", &made, &rule::Match::parse(body.as_object().unwrap()).unwrap(), "")?;
        groups::set_port_groups(tx, &PORT.to_string(), std::slice::from_ref(&made))?;
        group = made.parse().unwrap();
        Ok::<_, ApiError>(())
    };
    controller.store().transact(fill).unwrap();
    let found = controller.store().transact(snapshot).unwrap();

    let subnet = |cidr: &str, gateway: Option<&str>| Subnet { cidr: cidr.parse().unwrap(), gateway: gateway.map(|ip| ip.parse().unwrap()) };
    assert_eq!(found.networks[&NETWORK], Network { mtu: 1400, external: false, subnets: vec![subnet("10.1.0.0/24", None)] });
    let outside = Network { mtu: 1500, external: true, subnets: vec![subnet("172.24.5.0/24", Some("172.24.5.1"))] };
    assert_eq!(found.networks[&OUTSIDE], outside);
    let wanted = Port {
        network: NETWORK,
        mac: "fa:16:3e:00:00:04".parse().unwrap(),
        addresses: vec!["10.1.0.4/24".parse().unwrap()],
        pairs: vec![
            ("fa:16:3e:00:00:04".parse().unwrap(), "10.1.0.64/26".parse().unwrap()),
            ("fa:16:3e:00:00:09".parse().unwrap(), "10.1.0.7/32".parse().unwrap()),
        ],
        security: true,
        groups: vec![group],
        active: true,
    };
    assert_eq!(found.ports[&PORT], wanted);
    for port in [INNER, OUTER] {
        assert!(!found.ports[&port].security && !found.ports[&port].active);
    }
    let router = Router {
        interfaces: vec![INNER],
        gateway: Some(OUTER),
        snat: false,
        routes: vec![("10.9.0.0/16".parse().unwrap(), "10.1.0.9".parse().unwrap())],
        floating: vec![("172.24.5.7".parse().unwrap(), "10.1.0.4".parse().unwrap())],
    };
    assert_eq!(found.routers[&ROUTER], router);
    // The two rules of every new group, and ICMPv6 by its number.
    let icmp = Rule { direction: Direction::Ingress, v6: true, protocol: Some(58), range: (None, None), remote: Remote::Group(group) };
    assert_eq!(found.groups[&group].len(), 3);
    assert!(found.groups[&group].contains(&icmp), "{:?}", found.groups[&group]);
}
