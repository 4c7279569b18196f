//! EXPOSE and `--expose`: a security group of the port's own, for as long as the endpoint lives.

use std::{collections::BTreeSet, time::Duration};

use kuryr::openstack::{Port, SecurityGroup};
use serde_json::{Value, json};

use crate::host::{Cloud, Host, Plugin, Trouble, core_settings, endpoint, id};

async fn groups(cloud: &Cloud) -> Vec<SecurityGroup> {
    let mut groups = cloud.neutron.list::<SecurityGroup>(&[]).await.unwrap();
    groups.retain(|group| group.name.ends_with("-exposed_ports"));
    groups
}

/// Join as engines send it, with what the container exposes.
async fn join(plugin: &Plugin, network: char, container: char, ports: &[(u8, u16)]) {
    let exposed: Vec<Value> = ports.iter().map(|(protocol, port)| json!({"Proto": protocol, "Port": port})).collect();
    let hex = |digit: char| digit.to_string().repeat(64);
    let body = json!({"NetworkID": hex(network), "EndpointID": hex(container), "SandboxKey": "/x",
        "Options": {"com.docker.network.endpoint.exposedports": exposed}});
    plugin.call("NetworkDriver.Join", body.clone()).await.unwrap();
    plugin.call("NetworkDriver.ProgramExternalConnectivity", body).await.unwrap();
}

fn plugin(host: &Host) -> Plugin {
    host.plugin(Duration::from_secs(20))
}

#[tokio::test(flavor = "multi_thread")]
async fn exposed_ports_are_open_in_both_families_as_long_as_the_endpoint_lives() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let plugin = plugin(&host);
    let pools = host.network(&id('a'), &["10.0.0.0/24", "fd00:1::/64"]).await;
    let v4 = host.address(&pools[0], None).await.unwrap();
    let v6 = host.address(&pools[1], None).await.unwrap();
    host.core.create_endpoint(endpoint(&id('a'), &id('b'), Some(v4), Some(v6))).await.unwrap();
    join(&plugin, 'a', 'b', &[(6, 443), (6, 81), (6, 80), (17, 53), (132, 9)]).await;
    host.core.backlog_settled().await;

    let made = groups(&cloud).await;
    let port = &cloud.ports().await[0];
    assert_eq!((made.len(), made[0].name.clone()), (1, format!("{}-exposed_ports", port.id)));
    assert_eq!(made[0].description, "Docker exposed ports created by Kuryr.");
    assert_eq!((port.security_groups.len(), port.security_groups.contains(&made[0].id)), (2, true), "beside the default group");
    let ingress = made[0].security_group_rules.iter().filter(|rule| rule.direction == "ingress");
    let rules: BTreeSet<_> = ingress
        .map(|rule| {
            (rule.ethertype.as_str(), rule.protocol.as_deref().unwrap(), rule.port_range_min.unwrap(), rule.port_range_max.unwrap())
        })
        .collect();
    let wanted = [("tcp", 80, 81), ("tcp", 443, 443), ("udp", 53, 53), ("sctp", 9, 9)];
    let wanted: BTreeSet<_> =
        ["IPv4", "IPv6"].into_iter().flat_map(|family| wanted.map(|(protocol, first, last)| (family, protocol, first, last))).collect();
    assert_eq!(rules, wanted);

    host.core.delete_endpoint(&id('a'), &id('b')).await.unwrap();
    host.core.backlog_settled().await;
    assert_eq!((groups(&cloud).await.len(), cloud.ports().await[0].security_groups.len()), (0, 1), "without any Revoke");
    host.core.release_address(&pools[0].id.to_string(), v4.addr()).await.unwrap();
    host.core.release_address(&pools[1].id.to_string(), v6.addr()).await.unwrap();
    host.remove(&id('a'), &pools).await;
    assert_eq!(host.left(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_container_exposed_is_not_its_successors_at_the_same_address() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let plugin = plugin(&host);
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    let pool = pools[0].id.to_string();
    let address = host.address(&pools[0], Some("10.0.0.7")).await.unwrap();
    for (container, ports) in [('b', &[(6, 80)][..]), ('c', &[(6, 81)][..]), ('d', &[][..])] {
        host.core.create_endpoint(endpoint(&id('a'), &id(container), Some(address), None)).await.unwrap();
        join(&plugin, 'a', container, ports).await;
        host.core.backlog_settled().await;
        let rules = groups(&cloud).await.into_iter().flat_map(|group| group.security_group_rules);
        let open: Vec<_> = rules.filter(|rule| rule.direction == "ingress").map(|rule| rule.port_range_min.unwrap()).collect();
        assert_eq!(open, ports.iter().map(|(_, port)| *port).collect::<Vec<_>>());
        // A restart: the address is asked for again before its port is gone.
        host.core.delete_endpoint(&id('a'), &id(container)).await.unwrap();
        host.core.release_address(&pool, address.addr()).await.unwrap();
        host.address(&pools[0], Some("10.0.0.7")).await.unwrap();
    }
    host.core.release_address(&pool, address.addr()).await.unwrap();
    host.remove(&id('a'), &pools).await;
    assert_eq!((host.left(), groups(&cloud).await.len(), cloud.ports().await.len()), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_others_change_at_the_same_moment_are_kept() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    let address = host.address(&pools[0], None).await.unwrap();
    host.core.create_endpoint(endpoint(&id('a'), &id('b'), Some(address), None)).await.unwrap();
    host.core.backlog_settled().await;
    let (port, groups_before) = (cloud.ports().await[0].id, cloud.ports().await[0].security_groups.clone());
    let theirs: SecurityGroup = cloud.neutron.create(&json!({"name": "theirs"})).await.unwrap();
    // The answer to what kuryr reads is held back until the operator has changed the port.
    cloud.trouble("GET", "/ports/", Trouble::Late);
    let plugin = plugin(&host);
    let joining = join(&plugin, 'a', 'b', &[(6, 80)]);
    let changing = async {
        cloud.held(1).await;
        cloud.neutron.update::<Port>(port, &json!({"security_groups": [theirs.id]})).await.unwrap();
        cloud.mend();
    };
    tokio::join!(joining, changing);
    host.core.backlog_settled().await;
    let exposing = groups(&cloud).await[0].id;
    assert_eq!(cloud.ports().await[0].security_groups.iter().collect::<BTreeSet<_>>(), [exposing, theirs.id].iter().collect());
    assert_ne!(groups_before, [theirs.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_exposed_where_the_configuration_says_so() {
    let cloud = Cloud::start().await;
    let settings = kuryr::core::Settings { process_external_connectivity: false, ..core_settings() };
    let host = cloud.host_with("one", cloud.neutron.clone(), settings);
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    let address = host.address(&pools[0], None).await.unwrap();
    host.core.create_endpoint(endpoint(&id('a'), &id('b'), Some(address), None)).await.unwrap();
    join(&plugin(&host), 'a', 'b', &[(6, 80)]).await;
    host.core.backlog_settled().await;
    assert_eq!((groups(&cloud).await.len(), cloud.ports().await[0].security_groups.len()), (0, 1));
}
