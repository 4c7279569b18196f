//! What an engine was promised and never came for, and what crashes and lost answers leave behind, is found and given back; what is in use
//! is not.

use std::collections::{BTreeSet, HashSet};

use kuryr::{
    binding,
    core::Kind,
    netlink::{Socket, Veth},
    openstack::{Network, Neutron, Port},
};
use serde_json::json;

use crate::host::{Cloud, HERE, Plan, Trouble, core_settings, endpoint, id, now, taps};

/// Unix time in seconds, and a time after which the engine has had its chance.
fn now_and_later() -> (i64, i64) {
    (now(), now() + 700)
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_that_nobody_comes_for_are_taken_back() {
    let cloud = Cloud::start().await;
    let before = cloud.objects().await;
    let host = cloud.host("one");
    let (now, later) = now_and_later();
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    let used = host.run(&id('a'), &id('b'), &pools[0]).await;
    // An engine that died after RequestAddress, one that died after RequestPool, and one that gave up on a network before we had made it.
    host.address(&pools[0], None).await.unwrap();
    let unused = host.request_pool(Some("10.1.0.0/24"), &[]).await.unwrap();
    let given_up = host.network(&id('c'), &["10.2.0.0/24"]).await;
    host.core.release_pool(&given_up[0].id.to_string()).await.unwrap();
    host.core.backlog_settled().await;

    host.collect(now).await;
    host.core.backlog_settled().await;
    let counts = host.core.counts();
    assert_eq!((counts.pools, counts.networks, counts.ports), (3, 2, 2), "all of it is young");
    // A look tells the same and takes nothing.
    let told = host.core.look_for_leftovers(later).await;
    let mut kinds: Vec<_> = told.findings.iter().map(|finding| (finding.kind.name(), finding.is_due(later), finding.removed)).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, [("network", true, false), ("pool", true, false), ("port", true, false)]);
    let counts = host.core.counts();
    assert_eq!((counts.pools, counts.networks, counts.ports), (3, 2, 2));
    let mut removed: Vec<_> = host.collect(later).await.into_iter().collect();
    removed.sort_by_key(|(kind, _)| kind.name());
    let ids: Vec<_> = removed.iter().map(|(_, id)| id.as_str()).collect();
    assert_eq!((removed.len(), ids[0], ids[1]), (3, id('c').as_str(), unused.id.to_string().as_str()));
    host.core.backlog_settled().await;
    let counts = host.core.counts();
    assert_eq!((counts.pools, counts.networks, counts.ports, counts.tasks), (1, 1, 1, 0));
    assert_eq!((cloud.ports().await.len(), taps()), (1, 1), "what is in use stays");
    host.remove_container(&id('a'), &id('b'), &pools[0], used).await;
    host.remove(&id('a'), &pools).await;
    assert_eq!((cloud.objects().await, host.left()), (before, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_that_a_crash_left_are_removed_when_nothing_speaks_for_them() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let (now, later) = now_and_later();
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    host.core.backlog_settled().await;
    let network = cloud.neutron.list::<Network>(&[("name", "kuryr-net-aaaaaaaa")]).await.unwrap()[0].id;
    let ours = json!({"network_id": network, "name": "kuryr-unbound-port", "device_owner": "compute:kuryr", "binding:host_id": HERE});
    let with = |key: &str, value: &str| {
        let mut body = ours.clone();
        body[key] = json!(value);
        body
    };
    let orphan: Port = cloud.neutron.create(&ours).await.unwrap();
    let linked: Port = cloud.neutron.create(&ours).await.unwrap();
    let mut others = Vec::new();
    for body in [with("binding:host_id", "elsewhere"), with("device_owner", "compute:nova"), with("device_id", "x"), with("name", "mine")] {
        others.push(cloud.neutron.create::<Port>(&body).await.unwrap().id);
    }
    let tap = binding::tap_name(linked.id);
    let veth = Veth { name: &tap, peer: "far", ..Veth::default() };
    Socket::open().unwrap().add_veth(&veth).unwrap();

    host.collect(now).await;
    host.core.backlog_settled().await;
    assert!(cloud.neutron.show::<Port>(orphan.id).await.is_ok(), "it is young");
    host.collect(later).await;
    host.core.backlog_settled().await;
    assert!(cloud.neutron.show::<Port>(orphan.id).await.unwrap_err().is_not_found());
    for port in others.into_iter().chain([linked.id]) {
        cloud.neutron.show::<Port>(port).await.unwrap();
    }
    Socket::open().unwrap().delete_link(&tap).unwrap();
    host.collect(later).await;
    host.core.backlog_settled().await;
    assert!(cloud.neutron.show::<Port>(linked.id).await.unwrap_err().is_not_found(), "nothing speaks for it any more");
    drop(pools);
}

/// A kuryr-libnetwork leaves such links of containers that are removed at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_without_a_port_that_no_container_has_is_removed() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let (now, later) = now_and_later();
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    let used = host.run(&id('a'), &id('b'), &pools[0]).await;
    host.core.backlog_settled().await;
    let own = taps();
    let network = cloud.ports().await[0].network_id;
    let there = json!({"network_id": network, "device_owner": "compute:zun", "binding:host_id": HERE});
    let theirs: Port = cloud.neutron.create(&there).await.unwrap();
    let lost = json!({"network_id": network, "name": "kuryr-pool-port", "device_owner": "compute:kuryr", "binding:host_id": HERE});
    let lost: Port = cloud.neutron.create(&lost).await.unwrap();
    let [stray, in_a_container] = [1, 2].map(|number: u128| uuid::Uuid::from_u128(number << 96));
    let mut socket = Socket::open().unwrap();
    for port in [theirs.id, lost.id, stray] {
        socket.add_veth(&Veth { name: &binding::tap_name(port), peer: &binding::container_name(port), ..Veth::default() }).unwrap();
    }
    socket.add_veth(&Veth { name: &binding::tap_name(in_a_container), peer: "eth7", ..Veth::default() }).unwrap();

    let told = host.collect(now).await;
    assert!(told.is_empty(), "{told:?}");
    let removed: HashSet<_> = host.collect(later).await.into_iter().collect();
    assert_eq!(removed, HashSet::from([(Kind::Link, binding::tap_name(stray)), (Kind::LostPort, lost.id.to_string())]));
    host.core.backlog_settled().await;
    assert!(cloud.neutron.show::<Port>(lost.id).await.unwrap_err().is_not_found());
    for (port, stays) in [(theirs.id, true), (in_a_container, true), (lost.id, false), (stray, false)] {
        assert_eq!(socket.link(&binding::tap_name(port)).unwrap().is_some(), stays, "{port}");
    }
    assert_eq!(taps(), own + 2);
    host.remove_container(&id('a'), &id('b'), &pools[0], used).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_after_its_answer_was_lost_is_found() {
    let cloud = Cloud::start().await;
    let theirs: Network = cloud.neutron.create(&json!({"name": "theirs"})).await.unwrap();
    let before = cloud.objects().await;
    let (now, later) = now_and_later();
    // For the answer that does not come; on a busy machine the others take a while as well.
    let impatient = Neutron::new(cloud.settings(&[("timeout", "3")])).unwrap();
    let host = cloud.host_with("one", impatient, core_settings());
    for (path, plan) in [
        ("/subnetpools", Plan { ranges: &["10.0.0.0/24"], ..Plan::default() }),
        ("/networks", Plan { ranges: &["10.1.0.0/24"], ..Plan::default() }),
        ("/subnets", Plan { ranges: &["10.2.0.0/24"], ..Plan::default() }),
        ("/subnets", Plan { ranges: &["10.3.0.0/24"], options: &[("neutron.net.name", "theirs")], ..Plan::default() }),
    ] {
        cloud.trouble("POST", path, Trouble::Late);
        let error = host.create(&id('a'), &plan).await.unwrap_err().to_string();
        assert!(error.contains("gave no answer within 3s"), "{error}");
        cloud.mend();
        host.core.backlog_settled().await;
    }
    assert_ne!(cloud.objects().await, before, "all of it was made");
    let told = host.core.look_for_leftovers(now).await;
    let kinds: BTreeSet<_> = told.findings.iter().map(|finding| finding.kind.name()).collect();
    assert_eq!(kinds, BTreeSet::from(["lost_network", "lost_subnet", "lost_subnetpool"]));
    host.collect(now).await;
    assert_ne!(host.left(), 0, "somebody may still be at it");
    host.collect(later).await;
    host.core.backlog_settled().await;
    assert_eq!((cloud.objects().await, host.left()), (before, 0));
    assert!(cloud.neutron.show::<Network>(theirs.id).await.unwrap().subnets.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_a_network_is_made_leaves_nothing() {
    let cloud = Cloud::start().await;
    let before = cloud.objects().await;
    let (_, later) = now_and_later();
    let led = || kuryr::core::Settings { external_network: Some("kuryr".into()), ..core_settings() };
    for (held, (method, path)) in
        [("POST", "/subnetpools"), ("POST", "/networks"), ("POST", "/subnets"), ("POST", "/routers"), ("PUT", "add_router_interface")]
            .into_iter()
            .enumerate()
    {
        let host = cloud.host_with("one", Neutron::new(cloud.settings(&[])).unwrap(), led());
        cloud.trouble(method, path, Trouble::Late);
        {
            let (network, plan) = (id('a'), Plan { ranges: &["10.0.0.0/24"], outside: true, ..Plan::default() });
            tokio::select! {
                outcome = host.create(&network, &plan) => panic!("{path}: {outcome:?}"),
                () = cloud.held(held + 1) => {}
            }
        }
        host.crash().await;
        cloud.mend();
        assert_ne!(cloud.objects().await, before, "{path}: it was made");

        let host = cloud.host_with("one", Neutron::new(cloud.settings(&[])).unwrap(), led());
        host.collect(later).await;
        host.core.backlog_settled().await;
        assert_eq!((cloud.objects().await, host.left()), (before, 0), "{path}");
        host.stop().await;
    }
}

/// On an operator's network, where the Docker network leaves word of itself before it stands in the journal.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_a_network_is_put_upon_another_leaves_no_word_of_it() {
    let cloud = Cloud::start().await;
    let theirs: Network = cloud.neutron.create(&json!({"name": "theirs"})).await.unwrap();
    let before = cloud.objects().await;
    let (_, later) = now_and_later();
    // With room for tags on the network, and without.
    for (held, (there, method, path)) in [
        (1, "PUT", "/tags/kuryr.net.uuid.lh"),
        (1, "POST", "/subnets"),
        (50, "POST", "/ports"),
        (50, "PUT", "/ports/"),
        (50, "POST", "/subnets"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut tags: Vec<String> = (0..there).map(|number| format!("operators{number}")).collect();
        tags.sort();
        cloud.neutron.set_tags::<Network>(theirs.id, &tags).await.unwrap();
        let left = async || {
            let mut tags = cloud.neutron.show::<Network>(theirs.id).await.unwrap().tags;
            tags.sort();
            (cloud.objects().await, tags)
        };
        let host = cloud.host("one");
        cloud.trouble(method, path, Trouble::Late);
        {
            let (network, plan) =
                (id('a'), Plan { ranges: &["10.0.0.0/24"], options: &[("neutron.net.name", "theirs")], ..Plan::default() });
            tokio::select! {
                outcome = host.create(&network, &plan) => panic!("{path}: {outcome:?}"),
                () = cloud.held(held + 1) => {}
            }
        }
        host.crash().await;
        cloud.mend();
        assert_ne!(left().await, (before, tags.clone()), "{path}: there is something");

        let host = cloud.host("one");
        host.collect(now()).await;
        host.core.backlog_settled().await;
        assert_ne!(left().await, (before, tags.clone()), "{path}: it is young");
        host.collect(later).await;
        host.core.backlog_settled().await;
        assert_eq!((left().await, host.left()), ((before, tags), 0), "{path}");
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_whose_answer_was_lost_is_found() {
    let cloud = Cloud::start().await;
    let before = cloud.objects().await;
    let (_, later) = now_and_later();
    let led = kuryr::core::Settings { external_network: Some("kuryr".into()), ..core_settings() };
    let host = cloud.host_with("one", cloud.client(), led);
    // The gateway before the router makes it known only when its network has been taken back.
    cloud.trouble("POST", "/routers", Trouble::Answer(504, "late"));
    let plan = Plan { ranges: &["10.0.0.0/24"], outside: true, ..Plan::default() };
    host.create(&id('a'), &plan).await.unwrap_err();
    cloud.mend();
    host.core.backlog_settled().await;
    cloud.neutron.create::<kuryr::openstack::Router>(&json!({"name": "kuryr-router-aaaaaaaa"})).await.unwrap();
    assert_ne!(cloud.objects().await, before);
    host.collect(later).await;
    host.core.backlog_settled().await;
    assert_eq!((cloud.objects().await, host.left()), (before, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_at_once_leave_nothing() {
    let cloud = Cloud::start().await;
    let before = cloud.objects().await;
    let host = cloud.host("one");
    let pools = host.network(&id('a'), &["10.0.0.0/24", "fd00:1::/64"]).await;
    let containers: Vec<_> = (0..50).map(|n| kuryr::core::request::DockerId::parse(&format!("{n:064x}")).unwrap()).collect();
    let mut running = tokio::task::JoinSet::new();
    for container in containers {
        // The engine asks for the addresses of a network's endpoints one after the other, and does the rest at once.
        let v4 = host.address(&pools[0], None).await.unwrap();
        let v6 = host.address(&pools[1], None).await.unwrap();
        let (core, pools) = (host.core.clone(), pools.clone());
        running.spawn(async move {
            core.create_endpoint(endpoint(&id('a'), &container, Some(v4), Some(v6))).await.unwrap();
            core.delete_endpoint(&id('a'), &container).await.unwrap();
            core.release_address(&pools[0].id.to_string(), v4.addr()).await.unwrap();
            core.release_address(&pools[1].id.to_string(), v6.addr()).await.unwrap();
        });
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
    host.core.backlog_settled().await;
    assert_eq!((cloud.ports().await.len(), taps(), host.core.counts().ports), (0, 0, 0));
    host.remove(&id('a'), &pools).await;
    assert_eq!((cloud.objects().await, host.left()), (before, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_in_trouble_keeps_no_promise_of_the_journal_from_being_taken_back() {
    let cloud = Cloud::start().await;
    let host = cloud.host("one");
    let (_, later) = now_and_later();
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    host.address(&pools[0], None).await.unwrap();
    host.core.backlog_settled().await;
    cloud.trouble("GET", "/ports", Trouble::Answer(503, "busy"));
    let round = host.core.collect(later).await;
    assert!(round.troubles.len() == 1 && round.troubles[0].contains("503"), "{:?}", round.troubles);
    assert_eq!(round.findings.iter().map(|finding| (finding.kind.name(), finding.removed)).collect::<Vec<_>>(), [("port", true)]);
    host.core.backlog_settled().await;
    cloud.mend();
    assert_eq!(cloud.ports().await.len(), 0);
}
