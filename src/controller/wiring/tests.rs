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

fn add_rule(tx: &rusqlite::Transaction<'_>, mut rule: Value) {
    rule["project_id"] = json!("p");
    store::insert(tx, "security_group_rules", &["id", "project_id", "security_group_id", "identity"], rule.as_object().unwrap()).unwrap();
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
        up: true,
        groups: vec![group],
        active: true,
    };
    assert_eq!(found.ports[&PORT], wanted);
    // Whom a port belongs to opens nothing: the datapath looks whether its wire leads into the router.
    assert!([INNER, OUTER].iter().all(|port| found.ports[port].security && !found.ports[port].active));
    assert_eq!(found.router_ports(), [INNER, OUTER].into());
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
    assert!(found.groups[&group].stateful);
    assert_eq!(found.groups[&group].rules.len(), 3);
    assert!(found.groups[&group].rules.contains(&icmp), "{:?}", found.groups[&group]);
    assert!(found.unreadable.is_empty(), "{:?}", found.unreadable);
}

#[test]
fn what_is_administratively_down_has_no_traffic() {
    let (_state, controller) = controller();
    let fill = |tx: &rusqlite::Transaction<'_>| {
        for (id, up) in [(NETWORK, true), (OUTSIDE, false)] {
            add(tx, "networks", &[], json!({"id": id, "admin_state_up": up}));
            add(tx, "subnets", &["network_id"], json!({"id": format!("s-{id}"), "network_id": id, "cidr": "10.1.0.0/24"}));
        }
        add(tx, "routers", &[], json!({"id": ROUTER, "admin_state_up": false}));
        for (id, network, up) in [(PORT, NETWORK, true), (INNER, NETWORK, false), (OUTER, OUTSIDE, true)] {
            let mac = format!("fa:16:3e:00:00:{:02x}", id.as_u128());
            add_port(tx, id, network, &format!("10.1.0.{}", id.as_u128()), json!({"mac_address": mac, "admin_state_up": up}));
        }
        Ok::<_, ApiError>(())
    };
    controller.store().transact(fill).unwrap();
    let found = controller.store().transact(snapshot).unwrap();
    assert_eq!([PORT, INNER, OUTER].map(|port| found.ports[&port].up), [true, false, false]);
    assert!(found.routers.is_empty());
}

#[test]
fn a_row_that_cannot_be_read_leaves_the_others_alone() {
    let (_state, controller) = controller();
    let fill = |tx: &rusqlite::Transaction<'_>| {
        for (id, cidr) in [(NETWORK, "10.1.0.0/24"), (OUTSIDE, "nonsense")] {
            add(tx, "networks", &[], json!({"id": id}));
            add(tx, "subnets", &["network_id"], json!({"id": format!("s-{id}"), "network_id": id, "cidr": cidr}));
        }
        for (id, mac) in [(PORT, "fa:16:3e:00:00:04"), (INNER, "no mac")] {
            add_port(tx, id, NETWORK, &format!("10.1.0.{}", id.as_u128()), json!({"mac_address": mac}));
        }
        add(tx, "routers", &[], json!({"id": ROUTER, "routes": [{"destination": "x", "nexthop": "y"}]}));
        let group = groups::create(tx, "p", "web", "", false)?;
        let rule = json!({"id": Uuid::from_u128(9), "security_group_id": group, "direction": "sideways", "identity": ""});
        add_rule(tx, rule);
        Ok::<_, ApiError>(())
    };
    controller.store().transact(fill).unwrap();
    let found = controller.store().transact(snapshot).unwrap();
    assert!(found.networks.contains_key(&NETWORK) && found.ports.contains_key(&PORT));
    for (id, word) in [(OUTSIDE, "network"), (INNER, "no mac"), (ROUTER, "route"), (Uuid::from_u128(9), "sideways")] {
        let told = &found.unreadable[&id];
        assert!(told.contains(word) && told.contains(&id.to_string()), "{told}");
    }
    let group = found.groups.values().find(|group| !group.stateful).unwrap();
    assert_eq!(group.rules.len(), 2, "the rules that can be read");
}
