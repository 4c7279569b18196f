//! Addresses that hosts make themselves, and what happens when there are none left.

use serde_json::json;

use super::{assert_shows, names};
use crate::{cloud::Cloud, openstack_cli::Shell};

#[tokio::test(flavor = "multi_thread")]
async fn autoconfigured_addresses_come_from_the_mac_and_go_with_their_subnet() {
    let cloud = Cloud::start().await;
    let Some(mut shell) = Shell::admin(&cloud) else { return };
    shell.ok("network create n").await;
    let v4 = shell.json("subnet create --network n --subnet-range 10.1.0.0/24 s4").await["id"].clone();
    shell.ok("port create --network n --mac-address fa:16:3e:00:00:01 old").await;
    // The ports that are there get an address in the new subnet as well, but for a router's, which has asked for its own.
    shell.ok("router create r").await;
    shell.ok("router add subnet r s4").await;
    let create = "subnet create --network n --ip-version 6 --subnet-range fd20::/64 --ipv6-ra-mode slaac --ipv6-address-mode slaac s6";
    let v6 = shell.json(create).await["id"].clone();
    let both = |v4_address: &str, v6_address: &str| json!({"fixed_ips": [{"subnet_id": v4, "ip_address": v4_address}, {"subnet_id": v6, "ip_address": v6_address}]});
    assert_shows(&shell.json("port show old").await, &both("10.1.0.2", "fd20::f816:3eff:fe00:1"));
    let made = shell.json("port create --network n --mac-address fa:16:3e:00:00:02 new").await;
    assert_shows(&made, &both("10.1.0.3", "fd20::f816:3eff:fe00:2"));
    shell.ok("port set --mac-address fa:16:3e:00:00:03 new").await;
    assert_shows(&shell.json("port show new").await, &both("10.1.0.3", "fd20::f816:3eff:fe00:3"));
    let err = shell.refused("port create --network n --fixed-ip subnet=s6,ip-address=fd20::9 x").await;
    assert!(err.contains("cannot be directly assigned to a port on subnet"), "{err}");
    shell.ok("router add subnet r s6").await;
    let ports = shell.json("port list --fixed-ip ip-address=fd20::1").await;
    assert_eq!(ports.as_array().unwrap().len(), 1);

    assert!(shell.refused("subnet delete s6").await.contains("One or more ports have an IP allocation"));
    shell.ok("router remove subnet r s6").await;
    shell.ok("subnet delete s6").await;
    assert_shows(&shell.json("port show old").await, &json!({"fixed_ips": [{"subnet_id": v4, "ip_address": "10.1.0.2"}]}));
    shell.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_subnet_says_so_and_gives_out_again_what_was_freed() {
    let cloud = Cloud::start().await;
    let Some(mut shell) = Shell::admin(&cloud) else { return };
    shell.ok("network create n").await;
    shell.ok("subnet create --network n --subnet-range 10.1.0.0/29 --allocation-pool start=10.1.0.4,end=10.1.0.5 s").await;
    shell.ok("port create --network n a").await;
    shell.ok("port create --network n b").await;
    assert!(shell.refused("port create --network n c").await.contains("No more IP addresses available on network"));
    shell.ok("port delete a").await;
    assert_eq!(shell.json("port create --network n c").await["fixed_ips"][0]["ip_address"], "10.1.0.4");
    assert_eq!(names(&shell.json("port list --network n").await), ["b", "c"]);
    shell.close().await;
}
