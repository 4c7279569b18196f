//! `vif_plugging_is_fatal`: a container starts only when Neutron has its port working.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::{Method, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use kuryr::{
    binding::tap_name,
    core::{Error, PoolSettings, Settings},
    netlink::Socket,
    openstack::{Neutron, Port},
};
use tokio::net::TcpListener;

use crate::host::{Cloud, Trouble, core_settings, endpoint, id, taps};

/// A port that is bound here and ACTIVE.
const ACTIVE: &str = r#"{"port": {"id": "00000000-0000-4000-8000-000000000001", "mac_address": "fa:16:3e:00:00:01", "status": "ACTIVE",
    "admin_state_up": true, "device_owner": "compute:kuryr", "device_id": "zun", "binding:host_id": "here", "binding:vif_type": "bridge"}}"#;

/// Settings with which a start waits for its port, at most so long.
fn waiting(limit: Duration) -> Settings {
    Settings { vif_plugging_is_fatal: true, vif_plugging_timeout: limit, ..core_settings() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_goes_on_when_the_agent_has_wired_the_port() {
    let cloud = Cloud::start().await;
    let host = cloud.host_with("one", cloud.neutron.clone(), waiting(Duration::from_secs(60)));
    let datapath = cloud.controller.start_datapath().unwrap();
    let (network, container) = (id('a'), id('b'));
    let pools = host.network(&network, &["10.0.0.0/24"]).await;
    let address = host.address(&pools[0], None).await.unwrap();
    host.core.create_endpoint(endpoint(&network, &container, Some(address), None)).await.unwrap();
    host.join(&network, &container).await.unwrap();
    assert_eq!(cloud.ports().await[0].status, "ACTIVE");
    tokio::task::block_in_place(|| drop(datapath));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_an_agent_fails_after_few_questions_and_leaves_nothing() {
    let cloud = Cloud::start().await;
    // Nobody wires the port: the datapath does not run.
    let host = cloud.host_with("one", cloud.neutron.clone(), waiting(Duration::from_millis(800)));
    let (network, container) = (id('a'), id('b'));
    let pools = host.network(&network, &["10.0.0.0/24"]).await;
    let address = host.address(&pools[0], None).await.unwrap();
    host.core.create_endpoint(endpoint(&network, &container, Some(address), None)).await.unwrap();
    host.core.backlog_settled().await;
    cloud.controller.reset_calls();
    let error = host.join(&network, &container).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(&error, Error::NotActive { status, .. } if status == "DOWN"), "{text}");
    assert!(text.contains("agent of host here") && text.contains("vif_plugging_timeout"), "{text}");
    // At 0, 0.1, 0.3, 0.7 and 0.8 s, or fewer on a slow machine.
    let polls = cloud.controller.calls().values().sum::<u64>();
    assert!((2..=5).contains(&polls), "{polls}");
    host.remove_container(&network, &container, &pools[0], address).await;
    assert!(cloud.ports().await.is_empty());
    assert_eq!(taps(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_does_not_go_by_what_the_port_was_before() {
    let cloud = Cloud::start().await;
    let host = cloud.host_with("one", cloud.neutron.clone(), waiting(Duration::from_secs(60)));
    let datapath = cloud.controller.start_datapath().unwrap();
    let network = id('a');
    let pools = host.network(&network, &["10.0.0.0/24"]).await;
    let first = host.address(&pools[0], Some("10.0.0.7")).await.unwrap();
    let on = cloud.ports().await[0].network_id;
    let body = serde_json::json!({"network_id": on, "name": "theirs", "fixed_ips": [{"ip_address": "10.0.0.88"}]});
    let existing: Port = cloud.neutron.create(&body).await.unwrap();
    let second = host.address(&pools[0], Some("10.0.0.88")).await.unwrap();
    for (container, address) in [('b', first), ('c', second)] {
        host.core.create_endpoint(endpoint(&network, &id(container), Some(address), None)).await.unwrap();
        host.join(&network, &id(container)).await.unwrap();
    }
    // From now on nobody wires a port, nor notices that an interface is gone, and nobody waits long for it.
    tokio::task::block_in_place(|| drop(datapath));
    host.stop().await;
    let host = cloud.host_with("one", cloud.neutron.clone(), waiting(Duration::from_millis(800)));
    for (container, address) in [('b', first), ('c', second)] {
        host.core.delete_endpoint(&network, &id(container)).await.unwrap();
        host.core.release_address(&pools[0].id.to_string(), address.addr()).await.unwrap();
    }
    let again = host.address(&pools[0], Some("10.0.0.7")).await.unwrap();
    host.core.create_endpoint(endpoint(&network, &id('d'), Some(again), None)).await.unwrap();
    let error = host.join(&network, &id('d')).await.unwrap_err();
    assert!(matches!(error, Error::NotActive { .. }), "{error}");
    // What the controller does by itself when the binding is taken off, another cloud leaves to its agent.
    host.address(&pools[0], Some("10.0.0.88")).await.unwrap();
    cloud.trouble("GET", "/ports/", Trouble::Answer(200, ACTIVE));
    let error = host.core.create_endpoint(endpoint(&network, &id('e'), Some(second), None)).await.unwrap_err().to_string();
    assert!(error.contains("before the container had its interface"), "{error}");
    cloud.mend();
    host.core.create_endpoint(endpoint(&network, &id('e'), Some(second), None)).await.unwrap();
    assert_eq!(cloud.neutron.show::<Port>(existing.id).await.unwrap().device_id, id('e').as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_port_that_is_gone() {
    let cloud = Cloud::start().await;
    let host = cloud.host_with("one", cloud.neutron.clone(), waiting(Duration::from_secs(3600)));
    let (network, container) = (id('a'), id('b'));
    let pools = host.network(&network, &["10.0.0.0/24"]).await;
    let address = host.address(&pools[0], None).await.unwrap();
    host.core.create_endpoint(endpoint(&network, &container, Some(address), None)).await.unwrap();
    host.core.backlog_settled().await;
    let port = cloud.ports().await.remove(0);
    cloud.neutron.delete::<Port>(port.id).await.unwrap();
    let text = host.join(&network, &container).await.unwrap_err().to_string();
    assert!(text.contains(&port.id.to_string()), "{text}");
}

/// Answers the first questions for a port with 503.
async fn fail_first(State(left): State<Arc<AtomicU32>>, request: Request, next: Next) -> Response {
    let about_a_port = request.method() == Method::GET && request.uri().path().contains("/ports/");
    if about_a_port && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    next.run(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_answer_does_not_end_the_wait() {
    let cloud = Cloud::start().await;
    let failures = Arc::new(AtomicU32::new(0));
    let router = cloud.controller.router().layer(middleware::from_fn_with_state(failures.clone(), fail_first));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/networking", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, router).await });
    let neutron = Neutron::new(cloud.settings(&[("endpoint_override", &url)])).unwrap();
    let host = cloud.host_with("one", neutron, waiting(Duration::from_secs(60)));
    let datapath = cloud.controller.start_datapath().unwrap();
    let (network, container) = (id('a'), id('b'));
    let pools = host.network(&network, &["10.0.0.0/24"]).await;
    let address = host.address(&pools[0], None).await.unwrap();
    host.core.create_endpoint(endpoint(&network, &container, Some(address), None)).await.unwrap();
    failures.store(2, Ordering::SeqCst);
    host.join(&network, &container).await.unwrap();
    assert_eq!(failures.load(Ordering::SeqCst), 0);

    // When no answer comes right in all the time, the last one is told.
    host.stop().await;
    let neutron = Neutron::new(cloud.settings(&[("endpoint_override", &url)])).unwrap();
    let host = cloud.host_with("two", neutron, waiting(Duration::from_millis(200)));
    let (network, container) = (id('c'), id('d'));
    let pools = host.network(&network, &["10.1.0.0/24"]).await;
    let address = host.address(&pools[0], None).await.unwrap();
    host.core.create_endpoint(endpoint(&network, &container, Some(address), None)).await.unwrap();
    host.core.backlog_settled().await;
    failures.store(1000, Ordering::SeqCst);
    let text = host.join(&network, &container).await.unwrap_err().to_string();
    assert!(text.contains("503"), "{text}");
    tokio::task::block_in_place(|| drop(datapath));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_made_ahead_whose_link_somebody_took_is_waited_for() {
    let cloud = Cloud::start().await;
    let pool = PoolSettings { min: 1, ..PoolSettings::default() };
    let settings = Settings { port_pool: pool, ..waiting(Duration::from_millis(800)) };
    let host = cloud.host_with("one", cloud.neutron.clone(), settings);
    let datapath = cloud.controller.start_datapath().unwrap();
    let pools = host.network(&id('a'), &["10.0.0.0/24"]).await;
    host.core.pool_settled(1).await;
    // From now on nobody notices that a link is gone, so that ACTIVE means the old one.
    tokio::task::block_in_place(|| drop(datapath));
    let tap = tap_name(cloud.ports().await[0].id);
    Socket::open().unwrap().delete_link(&tap).unwrap();
    let address = host.address(&pools[0], None).await.unwrap();
    let error = host.core.create_endpoint(endpoint(&id('a'), &id('b'), Some(address), None)).await.unwrap_err().to_string();
    assert!(error.contains("before the container had its interface"), "{error}");
}
