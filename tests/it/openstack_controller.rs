//! The OpenStack client against the embedded controller: the two ends of the same contract.

use kuryr::openstack::{CloudSettings, Extension, Network, Neutron, Options, Port, Router, Subnet};
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::cloud::Cloud;

/// A client with the daemon's login, changed by `more`; an empty value takes an option away.
fn client(cloud: &Cloud, more: &[(&str, &str)]) -> Neutron {
    let mut options: Options = cloud.controller.service_credentials().unwrap().options();
    options.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Neutron::new(CloudSettings::from_options(&options).unwrap()).unwrap()
}

#[tokio::test]
async fn every_form_of_auth_url_leads_in() {
    let cloud = Cloud::start().await;
    for path in ["/identity/v3", "/identity/v3/", "/identity", "/identity/", "/identity/v2.0"] {
        let auth_url = format!("{}{path}", cloud.base);
        let no_domain = [("auth_url", auth_url.as_str()), ("user_domain_name", ""), ("project_domain_name", "")];
        client(&cloud, &no_domain).list::<Network>(&[]).await.unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}

#[tokio::test]
async fn a_login_that_is_refused_says_whose() {
    let cloud = Cloud::start().await;
    for (option, value, subject) in [
        ("password", "s3cret", "user 'kuryr' in project 'kuryr'"),
        ("username", "nobody", "user 'nobody' in project 'kuryr'"),
        ("project_name", "nowhere", "user 'kuryr' in project 'nowhere'"),
        ("user_domain_name", "Elsewhere", "user 'kuryr' in project 'kuryr'"),
    ] {
        let error = client(&cloud, &[(option, value)]).authenticate().await.unwrap_err();
        let text = error.to_string();
        assert_eq!((error.status(), error.kind()), (Some(401), "Unauthorized"), "{text}");
        assert!(text.starts_with(&format!("cannot get a token for {subject}: Keystone answered 401")) && text.contains("(req-"), "{text}");
        let password = cloud.controller.service_credentials().unwrap().password;
        assert!(!text.contains("s3cret") && !text.contains(&password), "{text}");
    }
}

#[tokio::test]
async fn a_token_is_traded_for_another_one() {
    let cloud = Cloud::start().await;
    let password = cloud.controller.service_credentials().unwrap().password;
    let token = cloud.login("kuryr", "kuryr", &password).await.1.unwrap();
    let by_token = [("auth_type", "v3token"), ("token", token.as_str()), ("password", "")];
    client(&cloud, &by_token).list::<Network>(&[]).await.unwrap();
    let forged = [("auth_type", "v3token"), ("token", "forged"), ("password", "")];
    let error = client(&cloud, &forged).authenticate().await.unwrap_err();
    assert_eq!(error.status(), Some(401));
    assert!(!error.to_string().contains("forged"), "{error}");
}

#[tokio::test]
async fn an_application_credential_logs_in_by_id_and_by_name() {
    let cloud = Cloud::start().await;
    let password = cloud.controller.service_credentials().unwrap().password;
    let (_, token, login) = cloud.login("kuryr", "kuryr", &password).await;
    let path = format!("/identity/v3/users/{}/application_credentials", login["token"]["user"]["id"].as_str().unwrap());
    let body = json!({"application_credential": {"name": "daemon", "secret": "s3cret"}});
    let (status, made) = cloud.call(&token.unwrap(), Method::POST, &path, body).await;
    assert_eq!(status, 201, "{made}");
    let id = made["application_credential"]["id"].as_str().unwrap();
    let without_password =
        [("auth_type", "v3applicationcredential"), ("password", ""), ("project_name", ""), ("application_credential_secret", "s3cret")];
    for (more, subject) in [
        (vec![("application_credential_id", id), ("username", "")], format!("application credential {id}")),
        (vec![("application_credential_name", "daemon")], "application credential 'daemon' of user 'kuryr'".to_owned()),
    ] {
        let options: Vec<_> = without_password.into_iter().chain(more).collect();
        client(&cloud, &options).list::<Network>(&[]).await.unwrap();
        let options: Vec<_> = options.into_iter().chain([("application_credential_secret", "wr0ng")]).collect();
        let error = client(&cloud, &options).authenticate().await.unwrap_err();
        assert_eq!(error.status(), Some(401));
        let text = error.to_string();
        assert!(text.starts_with(&format!("cannot get a token for {subject}: Keystone answered 401")) && !text.contains("wr0ng"), "{text}");
    }
}

#[tokio::test]
async fn a_token_that_is_revoked_is_replaced_once_for_all() {
    let cloud = Cloud::start().await;
    let client = client(&cloud, &[]);
    client.authenticate().await.unwrap();
    cloud.controller.store().transact(|tx| Ok(tx.execute("DELETE FROM tokens", [])?)).unwrap();
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.list::<Extension>(&[]).await })
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap().unwrap().iter().any(|extension| extension.alias == "standard-attr-tag"));
    }
    assert_eq!(client.calls().auth(), 2);
}

#[tokio::test]
async fn objects_live_and_conflicts_are_told_apart() {
    let cloud = Cloud::start().await;
    let client = client(&cloud, &[]);
    let network: Network = client.create(&json!({"name": "n"})).await.unwrap();
    let subnet: Subnet =
        client.create(&json!({"network_id": network.id, "ip_version": 4, "cidr": "10.7.0.0/29", "gateway_ip": "10.7.0.1"})).await.unwrap();
    let at = |address: &str| json!({"network_id": network.id, "fixed_ips": [{"subnet_id": subnet.id, "ip_address": address}]});
    let port: Port = client.create(&at("10.7.0.5")).await.unwrap();
    assert_eq!(port.fixed_ips[0].ip_address.to_string(), "10.7.0.5");
    let error = client.create::<Port>(&at("10.7.0.5")).await.unwrap_err();
    assert!(error.is_conflict() && error.kind() == "IpAddressAlreadyAllocated", "{error}");
    let text = error.to_string();
    let start = format!("cannot create port with 10.7.0.5 on network {}: Neutron answered 409 IpAddressAlreadyAllocated: ", network.id);
    assert!(
        text.starts_with(&start) && text.contains("(req-") && text.ends_with("choose another address or delete the port that holds it")
    );
    assert!(client.delete::<Network>(network.id).await.unwrap_err().is_conflict());

    let port: Port = client.update(port.id, &json!({"name": "renamed"})).await.unwrap();
    assert_eq!(client.list::<Port>(&[("name", "renamed")]).await.unwrap()[0].id, port.id);
    client.delete::<Port>(port.id).await.unwrap();
    let error = client.show::<Port>(port.id).await.unwrap_err();
    assert!(error.is_not_found() && error.kind() == "PortNotFound", "{error}");
    client.delete::<Network>(network.id).await.unwrap();
}

#[tokio::test]
async fn tags_are_added_set_found_and_removed() {
    let cloud = Cloud::start().await;
    let client = client(&cloud, &[]);
    let network: Network = client.create(&json!({"name": "n"})).await.unwrap();
    let found = async |tags: &str| client.list::<Network>(&[("tags", tags)]).await.unwrap().len();
    client.add_tag::<Network>(network.id, "kuryr.net.uuid.lh:a").await.unwrap();
    client.add_tag::<Network>(network.id, "kuryr.net.uuid.lh:a").await.unwrap();
    client.add_tag::<Network>(network.id, "kuryr.net.uuid.uh:b").await.unwrap();
    assert_eq!(found("kuryr.net.uuid.lh:a,kuryr.net.uuid.uh:b").await, 1);
    assert_eq!(found("kuryr.net.uuid.lh:a,other").await, 0);
    client.remove_tag::<Network>(network.id, "kuryr.net.uuid.uh:b").await.unwrap();
    client.remove_tag::<Network>(network.id, "kuryr.net.uuid.uh:b").await.unwrap();
    assert_eq!(client.show::<Network>(network.id).await.unwrap().tags, ["kuryr.net.uuid.lh:a"]);
    client.set_tags::<Network>(network.id, &["x".to_owned(), "y".to_owned()]).await.unwrap();
    assert_eq!(client.show::<Network>(network.id).await.unwrap().tags, ["x", "y"]);
    assert!(client.add_tag::<Network>(Uuid::nil(), "x").await.unwrap_err().is_not_found());
    client.remove_tag::<Network>(Uuid::nil(), "x").await.unwrap();
}

#[tokio::test]
async fn a_router_takes_an_interface_on_a_subnet_once() {
    let cloud = Cloud::start().await;
    let client = client(&cloud, &[]);
    let network: Network = client.create(&json!({"name": "n"})).await.unwrap();
    let subnet: Subnet = client.create(&json!({"network_id": network.id, "ip_version": 4, "cidr": "10.7.0.0/24"})).await.unwrap();
    let router: Router = client.create(&json!({"name": "r"})).await.unwrap();
    client.add_router_interface(router.id, subnet.id).await.unwrap();
    let error = client.add_router_interface(router.id, subnet.id).await.unwrap_err();
    assert_eq!(error.status(), Some(400), "{error}");
    assert!(error.to_string().starts_with(&format!("cannot add the interface on subnet {} to router {}: ", subnet.id, router.id)));
    client.remove_router_interface(router.id, subnet.id).await.unwrap();
    assert!(client.remove_router_interface(router.id, subnet.id).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn all_pages_are_read_from_the_start_and_from_a_marker() {
    let cloud = Cloud::start().await;
    let client = client(&cloud, &[]);
    let mut made = Vec::new();
    for number in 0..5 {
        let network: Network = client.create(&json!({"name": format!("paged{number}")})).await.unwrap();
        client.add_tag::<Network>(network.id, "paged").await.unwrap();
        made.push(network.id);
    }
    made.sort();
    let before = client.calls().get();
    let ids =
        async |query: &[(&str, &str)]| client.list::<Network>(query).await.unwrap().iter().map(|network| network.id).collect::<Vec<_>>();
    assert_eq!(ids(&[("tags", "paged"), ("limit", "2"), ("sort_key", "id")]).await, made);
    assert_eq!(client.calls().get() - before, 3);
    let marker = made[1].to_string();
    assert_eq!(ids(&[("tags", "paged"), ("limit", "2"), ("sort_key", "id"), ("marker", &marker)]).await, made[2..]);
}
