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
    core::{Error, Settings},
    openstack::{Neutron, Port},
};
use tokio::net::TcpListener;

use crate::host::{Cloud, core_settings, endpoint, id, taps};

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
    drop(host);
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
