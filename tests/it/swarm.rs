//! A swarm with `capability_scope = global`: the calls of a manager that is a node too and of a second node, in the order in which engines were
//! recorded to send them. Both have this machine's name, since the controller plugs ports nowhere else.

use std::time::Duration;

use kuryr::openstack::{Network, Port, SecurityGroup, SubnetPool};
use serde_json::{Value, json};

use crate::host::{Cloud, Host, Plugin, id, taps};

const SWARM_ID: &str = "6pghd1esfpfwn5gl56ic6wttu";
const RANGE: &str = "10.70.0.0/24";

fn text(answer: &Value, key: &str) -> String {
    answer[key].as_str().unwrap().to_owned()
}

/// `docker network create` on the manager: its pool, and the options for the nodes.
async fn allocate(plugin: &Plugin, space: &str, options: &Value, gateway: &str) -> (String, Value) {
    let pool = json!({"AddressSpace": space, "Pool": RANGE, "SubPool": "", "Options": null, "V6": false});
    let pool = text(&plugin.call("IpamDriver.RequestPool", pool).await.unwrap(), "PoolID");
    let address = json!({"PoolID": pool, "Address": gateway, "Options": {
        "RequestAddressType": "com.docker.network.gateway", "com.docker.network.ipam.serial": "true"}});
    let gateway = text(&plugin.call("IpamDriver.RequestAddress", address).await.unwrap(), "Address");
    let data = json!([{"AddressSpace": "", "Gateway": gateway, "Pool": RANGE}]);
    let network = json!({"NetworkID": SWARM_ID, "Options": options, "IPv4Data": data, "IPv6Data": null});
    let answer = plugin.call("NetworkDriver.AllocateNetwork", network).await.unwrap();
    (pool, answer["Options"].clone())
}

/// What a node does when its first task comes: its pool.
async fn join_network(plugin: &Plugin, space: &str, options: &Value) -> String {
    let pool = json!({"AddressSpace": space, "Pool": RANGE, "SubPool": "", "Options": null, "V6": false});
    let pool = text(&plugin.call("IpamDriver.RequestPool", pool).await.unwrap(), "PoolID");
    let address = json!({"PoolID": pool, "Address": "10.70.0.1", "Options": {"RequestAddressType": "com.docker.network.gateway"}});
    plugin.call("IpamDriver.RequestAddress", address).await.unwrap();
    let network = json!({"NetworkID": SWARM_ID, "Options": {"com.docker.network.enable_ipv6": false, "com.docker.network.generic": options},
        "IPv4Data": [{"AddressSpace": space, "Gateway": "10.70.0.1/24", "Pool": RANGE}], "IPv6Data": []});
    plugin.call("NetworkDriver.CreateNetwork", network).await.unwrap();
    pool
}

async fn leave_network(plugin: &Plugin, pool: &str) {
    plugin.call("IpamDriver.ReleaseAddress", json!({"PoolID": pool, "Address": "10.70.0.1"})).await.unwrap();
    plugin.call("IpamDriver.ReleasePool", json!({"PoolID": pool})).await.unwrap();
    plugin.call("NetworkDriver.DeleteNetwork", json!({"NetworkID": SWARM_ID})).await.unwrap();
}

async fn take(plugin: &Plugin, pool: &str, address: &str) -> Result<String, (u16, String)> {
    let asked = json!({"PoolID": pool, "Address": address, "Options": {"com.docker.network.ipam.serial": "true"}});
    plugin.call("IpamDriver.RequestAddress", asked).await.map(|answer| text(&answer, "Address"))
}

async fn give(plugin: &Plugin, pool: &str, address: &str) {
    let bare = address.split('/').next().unwrap();
    plugin.call("IpamDriver.ReleaseAddress", json!({"PoolID": pool, "Address": bare})).await.unwrap();
}

/// A task on a node, whose address the manager has taken.
async fn run(plugin: &Plugin, pool: &str, address: &str, task: char) {
    let bare = address.split('/').next().unwrap();
    let asked = json!({"PoolID": pool, "Address": bare, "Options": null});
    assert_eq!(plugin.call("IpamDriver.RequestAddress", asked).await.unwrap()["Address"], address);
    let endpoint = id(task);
    let interface = json!({"Address": address, "AddressIPv6": "", "MacAddress": ""});
    let made = json!({"NetworkID": SWARM_ID, "EndpointID": endpoint.as_str(), "Interface": interface, "Options": {}});
    plugin.call("NetworkDriver.CreateEndpoint", made).await.unwrap();
    let joined = json!({"NetworkID": SWARM_ID, "EndpointID": endpoint.as_str(), "SandboxKey": "/run/docker/netns/1", "Options": {}});
    plugin.call("NetworkDriver.Join", joined).await.unwrap();
}

async fn end(plugin: &Plugin, pool: &str, address: &str, task: char) {
    let ids = json!({"NetworkID": SWARM_ID, "EndpointID": id(task).as_str()});
    plugin.call("NetworkDriver.Leave", ids.clone()).await.unwrap();
    plugin.call("NetworkDriver.DeleteEndpoint", ids).await.unwrap();
    give(plugin, pool, address).await;
}

async fn spaces(plugin: &Plugin) -> (String, String) {
    let answer = plugin.call("IpamDriver.GetDefaultAddressSpaces", json!({})).await.unwrap();
    (text(&answer, "LocalDefaultAddressSpace"), text(&answer, "GlobalDefaultAddressSpace"))
}

async fn settled(hosts: &[&Host]) {
    for host in hosts {
        host.core.backlog_settled().await;
    }
}

fn plugin(host: &Host) -> Plugin {
    host.plugin_of_scope("global", Duration::from_secs(60))
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_use_the_network_and_the_addresses_of_their_manager() {
    let cloud = Cloud::start().await;
    let before = cloud.objects().await;
    let (one, two) = (cloud.host("one"), cloud.host("two"));
    let (manager, worker) = (plugin(&one), plugin(&two));
    let (local, global) = spaces(&manager).await;
    assert_ne!(local, global);
    let (pool, options) = allocate(&manager, &global, &json!({"mine": "1"}), "").await;
    let network: Network = cloud.neutron.list(&[("name", "kuryr-net-36706768")]).await.unwrap().pop().unwrap();
    assert_eq!(options, json!({"mine": "1", "neutron.net.uuid": network.id}), "what the nodes are told");

    let service = take(&manager, &pool, "").await.unwrap();
    let tasks = [take(&manager, &pool, "").await.unwrap(), take(&manager, &pool, "").await.unwrap()];
    let chosen = take(&manager, &pool, "10.70.0.99").await.unwrap();
    assert_eq!(chosen, "10.70.0.99/24");
    let pools = [join_network(&manager, &local, &options).await, join_network(&worker, &local, &options).await];
    assert_eq!(cloud.neutron.list::<Network>(&[("name", "kuryr-net-36706768")]).await.unwrap().len(), 1);
    run(&manager, &pools[0], &tasks[0], 'a').await;
    run(&worker, &pools[1], &tasks[1], 'b').await;
    run(&worker, &pools[1], &chosen, 'c').await;
    settled(&[&one, &two]).await;
    let on_network = async || cloud.neutron.list::<Port>(&[("network_id", &network.id.to_string())]).await.unwrap();
    let ports: Vec<Port> = on_network().await.into_iter().filter(|port| !port.device_owner.starts_with("network:")).collect();
    assert_eq!(ports.len(), 4, "one port for each address, that of the service included");
    let bound: Vec<_> = ports.iter().filter(|port| port.device_owner == "compute:kuryr").map(|port| port.device_id.clone()).collect();
    assert_eq!(bound.len(), 3);
    assert!(['a', 'b', 'c'].iter().all(|task| bound.contains(&id(*task).as_str().to_owned())), "{bound:?}");

    // The manager may give an address back before the node is through with it.
    give(&manager, &pool, &tasks[0]).await;
    assert_eq!(on_network().await.iter().filter(|port| port.device_owner == "compute:kuryr").count(), 3, "a task in use lost its port");
    end(&manager, &pools[0], &tasks[0], 'a').await;
    leave_network(&manager, &pools[0]).await;
    settled(&[&one]).await;
    assert!(on_network().await.iter().any(|port| port.device_id == id('b').as_str()), "one node left, and took the other's port along");
    for (task, address) in [('b', &tasks[1]), ('c', &chosen)] {
        end(&worker, &pools[1], address, task).await;
    }
    leave_network(&worker, &pools[1]).await;
    settled(&[&two]).await;
    for address in [&service, &tasks[1], &chosen] {
        give(&manager, &pool, address).await;
    }
    manager.call("NetworkDriver.FreeNetwork", json!({"NetworkID": SWARM_ID})).await.unwrap();
    give(&manager, &pool, "10.70.0.1").await;
    manager.call("IpamDriver.ReleasePool", json!({"PoolID": pool})).await.unwrap();
    // What was still in use at the first try waits for its next one.
    while one.left() + two.left() > 0 {
        settled(&[&one, &two]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!((cloud.objects().await, taps()), (before, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ports_of_tasks_are_as_the_options_of_their_network_say() {
    let cloud = Cloud::start().await;
    let one = cloud.host("one");
    let manager = plugin(&one);
    let (local, global) = spaces(&manager).await;
    let web: SecurityGroup = cloud.neutron.create(&json!({"name": "web"})).await.unwrap();
    let (pool, options) = allocate(&manager, &global, &json!({"neutron.port.security_groups": "web"}), "").await;
    let task = take(&manager, &pool, "").await.unwrap();
    let reserved: Vec<Port> = cloud.neutron.list(&[("name", "kuryr-swarm-port")]).await.unwrap();
    assert_eq!(reserved[0].security_groups, [web.id]);
    let pool = join_network(&manager, &local, &options).await;
    run(&manager, &pool, &task, 'a').await;
    assert_eq!(cloud.neutron.show::<Port>(reserved[0].id).await.unwrap().security_groups, [web.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_starts_again_or_takes_over_keeps_addresses_and_takes_more() {
    let cloud = Cloud::start().await;
    let before = cloud.objects().await;
    let (one, two) = (cloud.host("one"), cloud.host("two"));
    let (first, second) = (plugin(&one), plugin(&two));
    let (_, global) = spaces(&first).await;
    let (_, options) = allocate(&first, &global, &json!({}), "").await;
    let (again, same) = allocate(&first, &global, &options, "10.70.0.1").await;
    assert_eq!(same, options);
    let address = take(&first, &again, "").await.unwrap();
    let (pool, same) = allocate(&second, &global, &options, "10.70.0.1").await;
    assert_eq!(same, options);
    assert_eq!(take(&second, &pool, address.split('/').next().unwrap()).await.unwrap(), address);
    let more = take(&second, &pool, "").await.unwrap();
    assert_ne!(more, address);
    // An operator's port in use is no task's.
    let network = options["neutron.net.uuid"].as_str().unwrap();
    let body = json!({"network_id": network, "device_owner": "compute:nova", "fixed_ips": [{"ip_address": "10.70.0.50"}]});
    let foreign: Port = cloud.neutron.create(&body).await.unwrap();
    let (status, reason) = take(&second, &pool, "10.70.0.50").await.unwrap_err();
    assert!(status == 500 && reason.contains(&foreign.id.to_string()), "{status} {reason}");
    cloud.neutron.delete::<Port>(foreign.id).await.unwrap();

    for address in [&address, &more] {
        give(&second, &pool, address).await;
        // Asked for again before it has gone, and given back for good.
        take(&second, &pool, address.split('/').next().unwrap()).await.unwrap();
        give(&second, &pool, address).await;
    }
    for (plugin, pool) in [(&second, &pool), (&first, &again)] {
        plugin.call("NetworkDriver.FreeNetwork", json!({"NetworkID": SWARM_ID})).await.unwrap();
        plugin.call("IpamDriver.ReleasePool", json!({"PoolID": pool})).await.unwrap();
    }
    settled(&[&two, &one]).await;
    assert_eq!(cloud.neutron.list::<SubnetPool>(&[]).await.unwrap().len(), before[2]);
    assert_eq!((cloud.objects().await, one.left() + two.left()), (before, 0));
}
