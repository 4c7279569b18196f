use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::controller::{
    context::Context,
    query::Query,
    store::{self, Store},
};

/// A store with the networks `net` (10.0.0.0/29 of four addresses, fd00::/64) and `other` (10.0.0.0/29).
struct Cloud {
    store: Store,
    context: Context,
    _state: TempDir,
}

impl Cloud {
    fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        let cloud =
            Self { store: Store::open(&state.path().join("controller.db")).unwrap(), context: Context::internal("p"), _state: state };
        for (network, name) in [(NET, "net"), (OTHER, "other")] {
            let document = json!({"id": network, "project_id": "p", "name": name, "port_security_enabled": true}).to_string();
            let sql = "INSERT INTO networks (id, project_id, name, document) VALUES (?, 'p', ?, ?)";
            cloud.store.transact(|tx| Ok(tx.execute(sql, (network, name, document))?)).unwrap();
        }
        cloud.subnet(V4, NET, 4, "10.0.0.0/29", "10.0.0.2", "10.0.0.5");
        cloud.subnet(V6, NET, 6, "fd00::/64", "fd00::2", "fd00::ffff:ffff:ffff:ffff");
        cloud.subnet(FAR, OTHER, 4, "10.0.0.0/29", "10.0.0.2", "10.0.0.6");
        cloud
    }

    fn subnet(&self, id: &str, network: &str, version: u8, cidr: &str, start: &str, end: &str) {
        let document = json!({"id": id, "network_id": network, "ip_version": version, "cidr": cidr,
            "allocation_pools": [{"start": start, "end": end}]});
        let sql = "INSERT INTO subnets (id, project_id, name, network_id, document) VALUES (?, 'p', '', ?, ?)";
        self.store.transact(|tx| Ok(tx.execute(sql, (id, network, document.to_string()))?)).unwrap();
    }

    fn run<T>(&self, work: impl FnOnce(&Call<'_>) -> Result<T, ApiError>) -> Result<T, (u16, &'static str)> {
        let done = self.store.transact(|tx| work(&Call { tx, context: &self.context, host: "here" }));
        done.map_err(|error| (error.status.as_u16(), error.kind))
    }

    fn post(&self, body: Value) -> Result<Value, (u16, &'static str)> {
        let Value::Object(body) = json!({ "port": body }) else { unreachable!() };
        self.run(|call| PORTS.post(call, body)).map(|mut answer| answer["port"].take())
    }

    fn put(&self, port: &Value, body: Value) -> Result<Value, (u16, &'static str)> {
        let Value::Object(body) = json!({ "port": body }) else { unreachable!() };
        self.run(|call| PORTS.put(call, port["id"].as_str().unwrap(), body)).map(|mut answer| answer["port"].take())
    }

    fn delete(&self, port: &Value) -> Result<(), (u16, &'static str)> {
        self.run(|call| PORTS.remove(call, port["id"].as_str().unwrap()))
    }

    fn list(&self, name: &str, value: &str) -> Vec<Value> {
        self.filter(&[(name, value)])
    }

    fn filter(&self, filters: &[(&str, &str)]) -> Vec<Value> {
        let query: Query = filters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.run(|call| PORTS.list(call, &query, "")).unwrap()["ports"].as_array().unwrap().clone()
    }
}

const NET: &str = "00000000-0000-4000-8000-000000000001";
const OTHER: &str = "00000000-0000-4000-8000-000000000002";
const V4: &str = "00000000-0000-4000-8000-000000000004";
const V6: &str = "00000000-0000-4000-8000-000000000006";
const FAR: &str = "00000000-0000-4000-8000-000000000008";

fn ips(port: &Value) -> Vec<&str> {
    port["fixed_ips"].as_array().unwrap().iter().map(|fixed| fixed["ip_address"].as_str().unwrap()).collect()
}

/// The API looks before it writes; two writers at once would still meet in the database.
#[test]
fn the_database_itself_keeps_addresses_and_macs_apart() {
    let cloud = Cloud::new();
    let port = cloud.post(json!({"network_id": NET, "mac_address": "fa:16:3e:00:00:01"})).unwrap();
    let id = port["id"].as_str().unwrap();
    let again = |sql: &str, network: &str| {
        let mut refused = None;
        let _ = cloud.store.transact(|tx| {
            refused = tx.execute(sql, (id, network)).err();
            Ok(())
        });
        refused
    };
    let address = "INSERT INTO port_addresses SELECT port_id, ?2, subnet_id, ip FROM port_addresses WHERE port_id = ?1";
    assert!(store::is_constraint(&again(address, NET).unwrap()));
    assert!(again(address, OTHER).is_none(), "another network may have the same addresses");
    let mac = "INSERT INTO ports SELECT 'another-' || ?2, project_id, name, ?2, mac_address, device_id, document FROM ports WHERE id = ?1";
    assert!(store::is_constraint(&again(mac, NET).unwrap()));
    assert!(again(mac, OTHER).is_none(), "and the same MACs");
}

#[test]
fn a_plain_port_gets_an_address_of_each_family_a_mac_and_the_default_group() {
    let cloud = Cloud::new();
    let port = cloud.post(json!({"network_id": NET})).unwrap();
    assert_eq!(ips(&port), ["10.0.0.2", "fd00::2"]);
    assert!(port["mac_address"].as_str().unwrap().starts_with("fa:16:3e:"));
    assert_eq!((&port["status"], &port["binding:vif_type"]), (&json!("DOWN"), &json!("unbound")));
    assert_eq!(port["security_groups"].as_array().unwrap().len(), 1);
    // What was released comes back only after the others, and both families of the network are searched alone.
    cloud.delete(&port).unwrap();
    let next = cloud.post(json!({"network_id": NET})).unwrap();
    assert_eq!(ips(&next), ["10.0.0.3", "fd00::3"]);
    assert_eq!(next["security_groups"], port["security_groups"]);
    assert_eq!(ips(&cloud.post(json!({"network_id": NET, "fixed_ips": []})).unwrap()), [""; 0]);
    assert_eq!(cloud.post(json!({"network_id": FAR})).unwrap_err(), (404, "NetworkNotFound"));
}

#[test]
fn fixed_ips_are_given_by_subnet_by_address_or_both() {
    let cloud = Cloud::new();
    let fixed = |fixed_ips: Value| cloud.post(json!({"network_id": NET, "fixed_ips": fixed_ips}));
    assert_eq!(ips(&fixed(json!([{"ip_address": "10.0.0.2"}])).unwrap()), ["10.0.0.2"]);
    // Outside the pool is fine for a named address; a free choice passes over named ones of the same request.
    assert_eq!(ips(&fixed(json!([{"subnet_id": V4}, {"subnet_id": V4, "ip_address": "10.0.0.3"}])).unwrap()), ["10.0.0.3", "10.0.0.4"]);
    assert_eq!(ips(&fixed(json!([{"subnet_id": V6, "ip_address": "fd00::9"}])).unwrap()), ["fd00::9"]);
    for (wanted, refusal) in [
        (json!([{"ip_address": "10.0.0.2"}]), (409, "IpAddressAlreadyAllocated")),
        (json!([{"ip_address": "10.0.0.6"}, {"ip_address": "10.0.0.6"}]), (409, "IpAddressAlreadyAllocated")),
        (json!([{"subnet_id": V4, "ip_address": "10.0.1.2"}]), (400, "InvalidIpForSubnet")),
        (json!([{"subnet_id": V4, "ip_address": "10.0.0.7"}]), (400, "InvalidIpForSubnet")),
        (json!([{"ip_address": "10.0.1.2"}]), (400, "InvalidIpForNetwork")),
        (json!([{"subnet_id": FAR}]), (400, "InvalidInput")),
        (json!([{"subnet_id": NET}]), (404, "SubnetNotFound")),
        (json!([{"ip_address": "ten"}]), (400, "HTTPBadRequest")),
        (json!([{"ip": "10.0.0.5"}]), (400, "HTTPBadRequest")),
        (json!([{}]), (400, "HTTPBadRequest")),
    ] {
        assert_eq!(fixed(wanted.clone()).unwrap_err(), refusal, "{wanted}");
    }
    fixed(json!([{"subnet_id": V4}])).unwrap();
    assert_eq!(fixed(json!([{"subnet_id": V4}])).unwrap_err(), (409, "IpAddressGenerationFailure"));
    assert_eq!(cloud.post(json!({"network_id": NET})).unwrap_err(), (409, "IpAddressGenerationFailure"));
    // The same address on another network is another address.
    assert_eq!(ips(&cloud.post(json!({"network_id": OTHER})).unwrap()), ["10.0.0.2"]);
}

#[test]
fn an_update_of_fixed_ips_keeps_what_it_can_and_frees_the_rest() {
    let cloud = Cloud::new();
    let port = cloud.post(json!({"network_id": NET})).unwrap();
    let changed = cloud.put(&port, json!({"fixed_ips": [{"subnet_id": V4}]})).unwrap();
    assert_eq!((ips(&changed), &changed["revision_number"]), (vec!["10.0.0.2"], &json!(1)));
    let changed = cloud.put(&port, json!({"fixed_ips": [{"subnet_id": V4}, {"ip_address": "10.0.0.2"}]})).unwrap();
    assert_eq!(ips(&changed), ["10.0.0.2", "10.0.0.3"]);
    cloud.put(&port, json!({"fixed_ips": [{"ip_address": "10.0.0.3"}]})).unwrap();
    cloud.post(json!({"network_id": NET, "fixed_ips": [{"ip_address": "10.0.0.2"}]})).unwrap();
    // A refused update leaves the port as it was.
    assert_eq!(cloud.put(&port, json!({"fixed_ips": [{"ip_address": "10.0.0.2"}]})).unwrap_err(), (409, "IpAddressAlreadyAllocated"));
    assert_eq!(cloud.list("fixed_ips", "ip_address=10.0.0.3").len(), 1);
    assert_eq!(cloud.list("fixed_ips", &format!("subnet_id={V4}")).len(), 2);
    assert_eq!(cloud.list("fixed_ips", &format!("subnet_id={V6}")).len(), 0);
}

#[test]
fn filters_by_fixed_ip_mean_one_address_of_the_port() {
    let cloud = Cloud::new();
    let both = json!([{"ip_address": "10.0.0.2"}, {"ip_address": "fd00::7"}]);
    let port = cloud.post(json!({"network_id": NET, "fixed_ips": both})).unwrap();
    cloud.post(json!({"network_id": OTHER, "fixed_ips": [{"ip_address": "10.0.0.2"}]})).unwrap();
    let (v4, v6, near) = (format!("subnet_id={V4}"), format!("subnet_id={V6}"), "ip_address=10.0.0.2");
    let found = |filters: &[&str]| -> usize {
        let filters: Vec<(&str, &str)> = filters.iter().map(|filter| ("fixed_ips", *filter)).collect();
        cloud.filter(&filters).len()
    };
    assert_eq!((found(&[near]), found(&[near, &v4]), found(&[near, &v6])), (2, 1, 0));
    // Values of one key are alternatives, those of different keys belong to one address.
    assert_eq!((found(&[near, "ip_address=fd00::7", &v6]), found(&[&v4, &v6]), found(&[near, &v4, &v6])), (1, 1, 1));
    assert_eq!((found(&["ip_address_substr=0.0.2", &v4]), found(&["ip_address_substr=00::", &v4])), (1, 0));
    assert_eq!(cloud.filter(&[("fixed_ips", near), ("id", port["id"].as_str().unwrap())]).len(), 1);
}

#[test]
fn the_binding_follows_the_host() {
    let cloud = Cloud::new();
    let mac = "02:00:00:00:00:0A";
    let port = cloud.post(json!({"network_id": NET, "mac_address": mac, "binding:host_id": "here", "device_id": "d"})).unwrap();
    assert_eq!((&port["binding:vif_type"], &port["mac_address"]), (&json!("bridge"), &json!("02:00:00:00:00:0a")));
    assert_eq!(port["binding:vif_details"], json!({"port_filter": true, "connectivity": "l2"}));
    assert_eq!(cloud.put(&port, json!({"mac_address": "02:00:00:00:00:0b"})).unwrap_err(), (409, "PortBound"));
    assert_eq!(cloud.post(json!({"network_id": NET, "mac_address": mac})).unwrap_err(), (409, "MacAddressInUse"));
    assert_eq!(cloud.post(json!({"network_id": NET, "mac_address": "01:00:00:00:00:0a"})).unwrap_err(), (400, "HTTPBadRequest"));
    cloud.post(json!({"network_id": OTHER, "mac_address": mac})).unwrap();
    cloud.store.set_port_status(&[port["id"].as_str().unwrap().to_owned()], "ACTIVE").unwrap();
    let renamed = cloud.put(&port, json!({"name": "n", "mac_address": mac})).unwrap();
    assert_eq!((&renamed["status"], &renamed["device_id"]), (&json!("ACTIVE"), &json!("d")));
    let away = cloud.put(&port, json!({"binding:host_id": "there"})).unwrap();
    assert_eq!((&away["binding:vif_type"], &away["status"]), (&json!("binding_failed"), &json!("DOWN")));
    let free = cloud.put(&port, json!({"binding:host_id": ""})).unwrap();
    assert_eq!((&free["binding:vif_type"], &free["binding:vif_details"]), (&json!("unbound"), &json!({})));
    assert_eq!(cloud.put(&port, json!({"mac_address": "02:00:00:00:00:0b"})).unwrap()["mac_address"], json!("02:00:00:00:00:0b"));
    let direct = cloud.put(&port, json!({"binding:host_id": "here", "binding:vnic_type": "direct"})).unwrap();
    assert_eq!(direct["binding:vif_type"], json!("binding_failed"));
    assert_eq!(cloud.put(&port, json!({"binding:vnic_type": "odd"})).unwrap_err(), (400, "HTTPBadRequest"));
}

#[test]
fn groups_and_pairs_need_port_security() {
    let cloud = Cloud::new();
    let port = cloud.post(json!({"network_id": NET, "allowed_address_pairs": [{"ip_address": "10.1.0.0/16"}]})).unwrap();
    assert_eq!(port["allowed_address_pairs"], json!([{"ip_address": "10.1.0.0/16", "mac_address": port["mac_address"]}]));
    let off = |body: Value| cloud.put(&port, body);
    assert_eq!(off(json!({"port_security_enabled": false})).unwrap_err(), (409, "PortSecurityPortHasSecurityGroup"));
    let body = json!({"port_security_enabled": false, "security_groups": []});
    assert_eq!(off(body).unwrap_err(), (409, "AddressPairAndPortSecurityRequired"));
    let body = json!({"port_security_enabled": false, "security_groups": [], "allowed_address_pairs": []});
    assert_eq!(off(body).unwrap()["security_groups"], json!([]));
    assert_eq!(off(json!({"security_groups": [NET]})).unwrap_err(), (404, "SecurityGroupNotFound"));
    let bare = cloud.post(json!({"network_id": NET, "port_security_enabled": false})).unwrap();
    assert_eq!(bare["security_groups"], json!([]));
    let twice = json!({"network_id": NET, "allowed_address_pairs": [{"ip_address": "10.1.0.1"}, {"ip_address": "10.1.0.1"}]});
    assert_eq!(cloud.post(twice).unwrap_err(), (400, "DuplicateAddressPairInRequest"));
}

#[test]
fn a_bulk_create_makes_all_or_none() {
    let cloud = Cloud::new();
    let bulk = |count: usize| {
        let Value::Object(body) = json!({"ports": vec![json!({"network_id": NET}); count]}) else { unreachable!() };
        cloud.run(|call| PORTS.post(call, body))
    };
    assert_eq!(bulk(5).unwrap_err(), (409, "IpAddressGenerationFailure"));
    assert_eq!(cloud.list("network_id", NET).len(), 0);
    assert_eq!(bulk(4).unwrap()["ports"].as_array().unwrap().len(), 4);
}

#[test]
fn service_ports_and_the_bindings_are_not_for_everyone() {
    let mut cloud = Cloud::new();
    let port = cloud.post(json!({"network_id": NET, "device_owner": "network:router_interface"})).unwrap();
    assert_eq!(port["security_groups"], json!([]));
    assert_eq!(cloud.delete(&port).unwrap_err(), (409, "ServicePortInUse"));
    cloud.context.admin = false;
    assert_eq!(cloud.post(json!({"network_id": NET, "binding:host_id": "here"})).unwrap_err(), (403, "PolicyNotAuthorized"));
    let mine = cloud.post(json!({"network_id": NET})).unwrap();
    assert_eq!((mine.get("binding:host_id"), &mine["binding:vnic_type"]), (None, &json!("normal")));
    cloud.delete(&mine).unwrap();
    cloud.context.project = "q".to_owned();
    assert_eq!(cloud.post(json!({"network_id": NET})).unwrap_err(), (404, "NetworkNotFound"));
}

#[test]
fn what_lifts_the_checks_of_a_shared_network_is_not_for_its_guests() {
    let mut cloud = Cloud::new();
    let share = format!("UPDATE networks SET document = json_set(document, '$.shared', json('true')) WHERE id = '{NET}'");
    cloud.store.transact(|tx| Ok(tx.execute(&share, [])?)).unwrap();
    cloud.context = Context { user: "guest".to_owned(), project: "q".to_owned(), admin: false, member: true };
    let port = cloud.post(json!({"network_id": NET, "device_owner": "compute:kuryr", "fixed_ips": [{"subnet_id": V4}]})).unwrap();
    let mac = "02:00:00:00:00:0a";
    let forbidden = [
        json!({"device_owner": "network:dhcp"}),
        json!({"device_owner": "network:router_interface"}),
        json!({"mac_address": mac}),
        json!({"fixed_ips": [{"subnet_id": V4}, {"subnet_id": V4, "ip_address": "10.0.0.5"}]}),
        json!({"fixed_ips": [{"ip_address": "10.0.0.5"}]}),
        json!({"port_security_enabled": false}),
        json!({"allowed_address_pairs": [{"ip_address": "0.0.0.0/0"}]}),
        json!({"binding:host_id": "here"}),
        json!({"binding:profile": {"a": 1}}),
    ];
    for change in forbidden.clone() {
        let mut body = change.clone();
        body["network_id"] = json!(NET);
        assert_eq!(cloud.post(body).map(|port| port["id"].clone()).unwrap_err(), (403, "PolicyNotAuthorized"), "create {change}");
        assert_eq!(cloud.put(&port, change.clone()).map(|_| ()).unwrap_err(), (403, "PolicyNotAuthorized"), "update {change}");
    }
    let body = json!({"network_id": NET, "project_id": "p"});
    assert_eq!(cloud.post(body).unwrap_err(), (403, "PolicyNotAuthorized"));
    cloud.put(&port, json!({"device_owner": "compute:other", "name": "n", "binding:vnic_type": "normal"})).unwrap();

    // The owner of the network may do all of it but what is the host's; it also sees and removes its guests' ports.
    cloud.context.project = "p".to_owned();
    assert_eq!(cloud.list("device_owner", "compute:other").len(), 1);
    assert_eq!(cloud.put(&port, json!({"name": "mine"})).unwrap_err(), (403, "PolicyNotAuthorized"));
    cloud.delete(&port).unwrap();
    let own = cloud.post(json!({"network_id": NET, "device_owner": "network:dhcp", "mac_address": mac})).unwrap();
    assert_eq!(cloud.put(&own, json!({"mac_address": "02:00:00:00:00:0b"})).unwrap_err(), (403, "PolicyNotAuthorized"));
    assert_eq!(cloud.put(&own, json!({"binding:host_id": "here"})).unwrap_err(), (403, "PolicyNotAuthorized"));
}

#[test]
fn nobody_plugs_a_port_into_the_router_of_another_project() {
    let mut cloud = Cloud::new();
    let router = "00000000-0000-4000-8000-00000000000a";
    let sql = "INSERT INTO routers (id, project_id, name, document) VALUES (?, 'q', '', ?)";
    let document = json!({"id": router, "project_id": "q"}).to_string();
    cloud.store.transact(|tx| Ok(tx.execute(sql, (router, document))?)).unwrap();
    cloud.context = Context { user: "u".to_owned(), project: "p".to_owned(), admin: false, member: true };
    for owner in ["network:router_interface", "network:router_gateway"] {
        let body = json!({"network_id": NET, "device_owner": owner, "device_id": router});
        assert_eq!(cloud.post(body).unwrap_err(), (409, "DeviceIDNotOwnedByTenant"), "{owner}");
        let port = cloud.post(json!({"network_id": NET, "device_id": router})).unwrap();
        assert_eq!(cloud.put(&port, json!({"device_owner": owner})).unwrap_err(), (409, "DeviceIDNotOwnedByTenant"), "{owner}");
        cloud.delete(&port).unwrap();
    }
}

#[test]
fn addresses_of_autoconfigured_subnets_come_from_the_mac() {
    let cloud = Cloud::new();
    let auto = "00000000-0000-4000-8000-00000000000c";
    let document = json!({"id": auto, "network_id": OTHER, "ip_version": 6, "cidr": "fd01::/64", "ipv6_address_mode": "slaac",
        "allocation_pools": [{"start": "fd01::2", "end": "fd01::ffff:ffff:ffff:ffff"}]});
    let sql = "INSERT INTO subnets (id, project_id, name, network_id, document) VALUES (?, 'p', '', ?, ?)";
    cloud.store.transact(|tx| Ok(tx.execute(sql, (auto, OTHER, document.to_string()))?)).unwrap();
    let mac = "02:00:00:00:00:0a";
    let port = cloud.post(json!({"network_id": OTHER, "mac_address": mac})).unwrap();
    assert_eq!(ips(&port), ["10.0.0.2", "fd01::ff:fe00:a"]);
    // It comes with every address, asked for or not, and cannot be chosen.
    let fixed = json!([{"ip_address": "10.0.0.6"}]);
    assert_eq!(ips(&cloud.put(&port, json!({"fixed_ips": fixed})).unwrap()), ["10.0.0.6", "fd01::ff:fe00:a"]);
    let named = json!({"network_id": OTHER, "fixed_ips": [{"subnet_id": auto}], "mac_address": "02:00:00:00:00:0b"});
    assert_eq!(ips(&cloud.post(named).unwrap()), ["fd01::ff:fe00:b"]);
    let chosen = json!({"network_id": OTHER, "fixed_ips": [{"subnet_id": auto, "ip_address": "fd01::5"}]});
    assert_eq!(cloud.post(chosen).unwrap_err(), (400, "AllocationOnAutoAddressSubnet"));
    // A new MAC is a new address.
    assert_eq!(ips(&cloud.put(&port, json!({"mac_address": "02:00:00:00:00:0c"})).unwrap()), ["10.0.0.6", "fd01::ff:fe00:c"]);
    // A router's port has the address it asks for.
    let router = json!({"network_id": OTHER, "device_owner": "network:router_interface", "fixed_ips": [{"ip_address": "fd01::1"}]});
    assert_eq!(ips(&cloud.post(router).unwrap()), ["fd01::1"]);
}

#[test]
fn a_port_that_is_switched_off_is_down() {
    let cloud = Cloud::new();
    let port = cloud.post(json!({"network_id": NET, "binding:host_id": "here"})).unwrap();
    cloud.store.set_port_status(&[port["id"].as_str().unwrap().to_owned()], "ACTIVE").unwrap();
    assert_eq!(cloud.put(&port, json!({"admin_state_up": false})).unwrap()["status"], json!("DOWN"));
    assert_eq!((cloud.list("status", "DOWN").len(), cloud.list("status", "ACTIVE").len()), (1, 0));
    assert_eq!(cloud.put(&port, json!({"admin_state_up": true})).unwrap()["status"], json!("ACTIVE"));
}
