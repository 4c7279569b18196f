//! From the keys of a kuryr.conf to what the engine is told and what stands in Neutron.

use std::{fmt::Write as _, fs, os::unix::net::UnixStream};

use kuryr::openstack::{Port, Subnet, SubnetPool};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    daemon::{Daemon, ask},
    host::{Cloud, HERE, id},
};

const SOCKET: &str = "/run/docker/plugins/kuryr.sock";

/// A daemon of this cloud with `text` in its kuryr.conf, which stands, like the journal, in `folder`.
fn daemon(cloud: &Cloud, folder: &TempDir, text: &str) -> Daemon {
    let mut text = format!("{text}\n[neutron]\n");
    for (name, value) in cloud.controller.service_credentials().unwrap().options() {
        writeln!(text, "{name} = {value}").unwrap();
    }
    let file = folder.path().join("kuryr.conf");
    fs::write(&file, text).unwrap();
    let mut daemon = Daemon::start(folder.path(), &["--config-file", file.to_str().unwrap()], &[] as &[(&str, &str)]);
    daemon.logs("ready");
    daemon
}

async fn call(method: &'static str, body: Value) -> Value {
    let answer =
        tokio::task::spawn_blocking(move || ask(&mut UnixStream::connect(SOCKET).unwrap(), &format!("POST /{method}"), &body.to_string()));
    let answer = answer.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{method}: {answer}");
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_switches_of_the_file_reach_engine_and_neutron() {
    let cloud = Cloud::start().await;
    for (name, prefix, length) in [("four", "10.40.0.0/16", 24), ("six", "fd40::/48", 64)] {
        let body = json!({"name": name, "prefixes": [prefix], "default_prefixlen": length});
        cloud.neutron.create::<SubnetPool>(&body).await.unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    // The controller knows this machine by that name alone, and binds nothing for another.
    let text = format!(
        "[DEFAULT]\nhost = {HERE}\nlocal_default_address_space = near\nglobal_default_address_space = far\n\
                subnetpool_name_prefix = mine\n[binding]\nveth_dst_prefix = net\n\
                [neutron]\nenable_dhcp = off\ndefault_subnetpool_v4 = four\ndefault_subnetpool_v6 = six\n"
    );
    let daemon = daemon(&cloud, &folder, &text);

    assert_eq!(call("NetworkDriver.GetCapabilities", Value::Null).await["Scope"], "local");
    let spaces = call("IpamDriver.GetDefaultAddressSpaces", Value::Null).await;
    assert_eq!(spaces, json!({"LocalDefaultAddressSpace": "near", "GlobalDefaultAddressSpace": "near"}));
    for (v6, start) in [(false, "10.40."), (true, "fd40:")] {
        let granted = call("IpamDriver.RequestPool", json!({"AddressSpace": "near", "Pool": "", "V6": v6})).await;
        assert!(granted["Pool"].as_str().unwrap().starts_with(start), "{granted}");
    }

    let granted = call("IpamDriver.RequestPool", json!({"AddressSpace": "near", "Pool": "10.0.0.0/24", "V6": false})).await;
    assert_eq!(cloud.neutron.list::<SubnetPool>(&[("name", "mine-10.0.0.0/24")]).await.unwrap().len(), 1);
    let pool = &granted["PoolID"];
    let gateway = json!({"PoolID": pool, "Address": "10.0.0.1", "Options": {"RequestAddressType": "com.docker.network.gateway"}});
    call("IpamDriver.RequestAddress", gateway).await;
    let (network, endpoint) = (id('a').to_string(), id('b').to_string());
    let data = json!([{"AddressSpace": "near", "Pool": "10.0.0.0/24", "Gateway": "10.0.0.1/24", "AuxAddresses": {}}]);
    call("NetworkDriver.CreateNetwork", json!({"NetworkID": network, "Options": {}, "IPv4Data": data, "IPv6Data": []})).await;
    let subnets = cloud.neutron.list::<Subnet>(&[("cidr", "10.0.0.0/24"), ("enable_dhcp", "False")]).await.unwrap();
    assert_eq!(subnets.len(), 1, "enable_dhcp = off");
    let address = call("IpamDriver.RequestAddress", json!({"PoolID": pool, "Address": "", "Options": null})).await;
    let ids = json!({"NetworkID": network, "EndpointID": endpoint});
    let mut body = ids.clone();
    body["Interface"] = json!({"Address": address["Address"]});
    call("NetworkDriver.CreateEndpoint", body).await;
    assert_eq!(cloud.neutron.list::<Port>(&[("binding:host_id", HERE)]).await.unwrap().len(), 1);
    let mut body = ids.clone();
    body["SandboxKey"] = "/var/run/docker/netns/0123456789ab".into();
    assert_eq!(call("NetworkDriver.Join", body).await["InterfaceName"]["DstPrefix"], "net");
    for method in ["NetworkDriver.Leave", "NetworkDriver.DeleteEndpoint"] {
        call(method, ids.clone()).await;
    }
    daemon.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_global_scope_the_engine_is_told_two_address_spaces() {
    let cloud = Cloud::start().await;
    for (named, global) in [("far", "far"), ("near", "near_of_swarm")] {
        let folder = tempfile::tempdir().unwrap();
        let names = format!("local_default_address_space = near\nglobal_default_address_space = {named}\n");
        let daemon = daemon(&cloud, &folder, &format!("[DEFAULT]\ncapability_scope = global\n{names}"));
        assert_eq!(call("NetworkDriver.GetCapabilities", Value::Null).await["Scope"], "global");
        let spaces = call("IpamDriver.GetDefaultAddressSpaces", Value::Null).await;
        assert_eq!(spaces, json!({"LocalDefaultAddressSpace": "near", "GlobalDefaultAddressSpace": global}));
        daemon.end();
    }
}

#[test]
fn https_in_kuryr_uri_without_tls_serves_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(folder.path(), &["--embedded"], &[("OS_KURYR_URI", "https://127.0.0.1:23750")]);
    let said = daemon.logs("https://127.0.0.1:23750");
    assert!(said.contains("enable_ssl"), "{said}");
    assert!(!daemon.wait().success());
}
