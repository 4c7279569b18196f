//! `openstack subnet …` and `openstack subnet pool …`

use serde_json::json;

use super::{assert_shows, names};
use crate::{cloud::Cloud, openstack_cli::Shell};

#[tokio::test(flavor = "multi_thread")]
async fn subnet_pools_are_made_changed_listed_and_deleted() {
    let cloud = Cloud::start().await;
    let Some(mut shell) = Shell::admin(&cloud) else { return };
    let create = "subnet pool create --pool-prefix 10.60.0.0/16 --pool-prefix 10.70.0.0/16 --default-prefix-length 24 --min-prefix-length 16 \
                  --max-prefix-length 28 --description d --default-quota 1024 --tag t p4";
    let expected = json!({
        "prefixes": ["10.60.0.0/16", "10.70.0.0/16"], "default_prefixlen": 24, "min_prefixlen": 16, "max_prefixlen": 28, "ip_version": 4,
        "description": "d", "default_quota": 1024, "shared": false, "is_default": false, "address_scope_id": null, "tags": ["t"],
    });
    assert_shows(&shell.json(create).await, &expected);
    let v6 = shell.json("subnet pool create --pool-prefix fd10::/48 --share p6").await;
    assert_shows(&v6, &json!({"ip_version": 6, "min_prefixlen": 64, "max_prefixlen": 128, "default_prefixlen": 64, "shared": true}));
    for (filters, found) in [
        ("", &["kuryr", "kuryr6", "p4", "p6"][..]),
        ("--share", &["kuryr", "kuryr6", "p6"]),
        ("--no-share", &["p4"]),
        ("--default", &["kuryr", "kuryr6"]),
        ("--no-default", &["p4", "p6"]),
        ("--name p6", &["p6"]),
        ("--tags t", &["p4"]),
        ("--project admin", &[]),
    ] {
        assert_eq!(names(&shell.json(&format!("subnet pool list {filters}")).await), found, "{filters}");
    }
    let set =
        "subnet pool set --name p --pool-prefix 10.90.0.0/16 --default-prefix-length 25 --description e --default-quota 4096 --tag u p4";
    shell.ok(set).await;
    let expected = json!({
        "name": "p", "prefixes": ["10.60.0.0/16", "10.70.0.0/16", "10.90.0.0/16"], "default_prefixlen": 25, "description": "e",
        "default_quota": 4096, "tags": ["t", "u"],
    });
    assert_shows(&shell.json("subnet pool show p").await, &expected);
    shell.ok("subnet pool unset --tag t p").await;
    assert_eq!(shell.json("subnet pool show p").await["tags"], json!(["u"]));
    for (command, complaint) in [
        ("subnet pool create --pool-prefix 10.80.0.0/16 --default x", "A default subnetpool for this IP family has already been set"),
        ("subnet pool create --pool-prefix 10.80.0.0/16 --pool-prefix fd00::/48 x", "Cannot mix IPv4 and IPv6 prefixes"),
        ("subnet pool set --min-prefix-length 30 p", "Illegal prefix bounds"),
        ("subnet pool show nosuch", "No SubnetPool found for nosuch"),
    ] {
        let err = shell.refused(command).await;
        assert!(err.contains(complaint), "{command}: {err}");
    }
    shell.ok("network create n").await;
    shell.ok("subnet create --network n --subnet-pool p s").await;
    assert!(shell.refused("subnet pool delete p").await.contains("Subnet pool has existing allocations"));
    shell.ok("subnet delete s").await;
    shell.ok("subnet pool delete p p6").await;
    shell.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subnets_are_made_by_range_and_from_pools() {
    let cloud = Cloud::start().await;
    let Some(mut shell) = Shell::admin(&cloud) else { return };
    shell.ok("network create n").await;
    shell.ok("network create m").await;
    shell.ok("subnet pool create --pool-prefix 10.60.0.0/16 --default-prefix-length 25 p").await;
    let pool = shell.json("subnet pool show p").await["id"].clone();
    let cut = shell.json("subnet create --network n --subnet-pool p --prefix-length 26 s1").await;
    let expected = json!({
        "cidr": "10.60.0.0/26", "gateway_ip": "10.60.0.1", "allocation_pools": [{"start": "10.60.0.2", "end": "10.60.0.62"}],
        "ip_version": 4, "enable_dhcp": true, "subnetpool_id": pool, "dns_nameservers": [], "host_routes": [],
    });
    assert_shows(&cut, &expected);
    assert_shows(&shell.json("subnet create --network n --subnet-pool p s2").await, &json!({"cidr": "10.60.0.128/25"}));
    let create = "subnet create --network m --subnet-range 10.1.0.0/24 --gateway none --allocation-pool start=10.1.0.10,end=10.1.0.20 \
                  --dns-nameserver 192.0.2.8 --dns-nameserver 192.0.2.1 --host-route destination=10.9.0.0/16,gateway=10.1.0.3 --no-dhcp \
                  --description d --tag st s3";
    let expected = json!({
        "gateway_ip": null, "allocation_pools": [{"start": "10.1.0.10", "end": "10.1.0.20"}], "dns_nameservers": ["192.0.2.8", "192.0.2.1"],
        "host_routes": [{"destination": "10.9.0.0/16", "nexthop": "10.1.0.3"}], "enable_dhcp": false, "description": "d", "tags": ["st"],
        "subnetpool_id": null,
    });
    assert_shows(&shell.json(create).await, &expected);
    shell.ok("network create d").await;
    let default = shell.json("subnet create --network d --use-default-subnet-pool s4").await;
    let kuryr = shell.json("subnet pool show kuryr").await;
    assert_shows(&default, &json!({"subnetpool_id": kuryr["id"], "cidr": "10.250.0.0/24"}));
    let default6 = shell.json("subnet create --network d --ip-version 6 --use-default-subnet-pool s5").await;
    assert_eq!(default6["subnetpool_id"], shell.json("subnet pool show kuryr6").await["id"]);

    for (ra, address, length) in
        [("slaac", "slaac", 64), ("dhcpv6-stateless", "dhcpv6-stateless", 64), ("dhcpv6-stateful", "dhcpv6-stateful", 80)]
    {
        let network = format!("v6-{ra}");
        shell.ok(&format!("network create {network}")).await;
        let create = format!(
            "subnet create --network {network} --ip-version 6 --subnet-range fd20::/{length} --ipv6-ra-mode {ra} --ipv6-address-mode {address} {network}"
        );
        let expected = json!({"ipv6_ra_mode": ra, "ipv6_address_mode": address, "gateway_ip": "fd20::1", "ip_version": 6});
        assert_shows(&shell.json(&create).await, &expected);
    }
    for (command, complaint) in [
        ("subnet create --network m --subnet-range 10.1.0.0/25 x", "overlaps with another subnet"),
        ("subnet create --network m --subnet-range 10.1.9.1/24 x", "'10.1.9.0/24' is recommended"),
        ("subnet create --network m --subnet-range 10.1.9.0/24 --gateway 10.1.9.0 x", "cannot be the gateway"),
        (
            "subnet create --network m --subnet-range 10.1.9.0/24 --allocation-pool start=10.1.9.9,end=10.1.10.9 x",
            "spans beyond the subnet",
        ),
        ("subnet create --network m --subnet-range 10.1.9.0/24 --service-type compute:x x", "Unrecognized attribute(s) 'service_types'"),
        ("subnet create --network n --subnet-range 10.60.9.0/24 --subnet-pool kuryr x", "must be allocated from the same subnet pool"),
        ("subnet create --network m --ip-version 6 --subnet-range fd30::/80 --ipv6-address-mode slaac x", "prefix length must be 64"),
        ("subnet create --network m --ip-version 6 --use-prefix-delegation x", "'prefix_delegation' is not a valid UUID"),
        ("subnet create --network nosuch --subnet-range 10.1.9.0/24 x", "No Network found for nosuch"),
    ] {
        let err = shell.refused(command).await;
        assert!(err.contains(complaint), "{command}: {err}");
    }
    shell.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subnets_are_changed_listed_and_deleted() {
    let cloud = Cloud::start().await;
    let Some(mut shell) = Shell::admin(&cloud) else { return };
    shell.ok("network create n").await;
    shell.ok("subnet create --network n --subnet-range 10.1.0.0/24 --gateway none --no-dhcp --allocation-pool start=10.1.0.10,end=10.1.0.20 --tag st s").await;
    shell.ok("subnet create --network n --ip-version 6 --subnet-range fd20::/64 s6").await;
    for (filters, found) in [
        ("", &["kuryr", "s", "s6"][..]),
        ("--ip-version 6", &["s6"]),
        ("--network n --dhcp", &["s6"]),
        ("--no-dhcp", &["kuryr", "s"]),
        ("--gateway fd20::1", &["s6"]),
        ("--subnet-range 10.1.0.0/24", &["s"]),
        ("--name s --tags st", &["s"]),
        ("--project admin", &[]),
        ("--network n --sort-column Subnet --sort-descending", &["s6", "s"]),
    ] {
        assert_eq!(names(&shell.json(&format!("subnet list {filters}")).await), found, "{filters}");
    }
    let set = "subnet set --name t --gateway 10.1.0.1 --dhcp --dns-nameserver 192.0.2.9 --dns-nameserver 192.0.2.8 \
               --host-route destination=10.8.0.0/16,gateway=10.1.0.4 --host-route destination=10.9.0.0/16,gateway=10.1.0.3 \
               --allocation-pool start=10.1.0.30,end=10.1.0.40 --description e --tag su s";
    shell.ok(set).await;
    let shown = shell.json("subnet show t").await;
    let expected = json!({
        "gateway_ip": "10.1.0.1", "enable_dhcp": true, "dns_nameservers": ["192.0.2.9", "192.0.2.8"], "description": "e", "tags": ["st", "su"],
    });
    assert_shows(&shown, &expected);
    assert_eq!((shown["host_routes"].as_array().unwrap().len(), shown["allocation_pools"].as_array().unwrap().len()), (2, 2));
    let unset = "subnet unset --gateway --dns-nameserver 192.0.2.8 --host-route destination=10.9.0.0/16,gateway=10.1.0.3 \
                 --allocation-pool start=10.1.0.30,end=10.1.0.40 --tag su t";
    shell.ok(unset).await;
    let expected = json!({
        "gateway_ip": null, "dns_nameservers": ["192.0.2.9"], "host_routes": [{"destination": "10.8.0.0/16", "nexthop": "10.1.0.4"}],
        "allocation_pools": [{"start": "10.1.0.10", "end": "10.1.0.20"}], "tags": ["st"],
    });
    assert_shows(&shell.json("subnet show t").await, &expected);
    shell.ok("subnet set --no-dns-nameservers --no-host-route --no-allocation-pool --no-tag --no-dhcp t").await;
    let expected = json!({"dns_nameservers": [], "host_routes": [], "allocation_pools": [], "tags": [], "enable_dhcp": false});
    assert_shows(&shell.json("subnet show t").await, &expected);
    for (command, complaint) in [
        ("subnet set --gateway 10.2.0.255 --allocation-pool start=10.3.0.1,end=10.3.0.2 t", "spans beyond the subnet"),
        ("subnet set --allocation-pool start=10.1.0.5,end=10.1.0.9 --allocation-pool start=10.1.0.9,end=10.1.0.12 t", "overlapping"),
        ("subnet show nosuch", "No Subnet found for nosuch"),
    ] {
        let err = shell.refused(command).await;
        assert!(err.contains(complaint), "{command}: {err}");
    }
    shell.ok("port create --network n --fixed-ip subnet=t,ip-address=10.1.0.9 p").await;
    assert!(shell.refused("subnet delete t").await.contains("One or more ports have an IP allocation from this subnet"));
    shell.ok("port delete p").await;
    assert!(shell.refused("subnet delete t s6 nosuch").await.contains("1 of 3 subnets failed to delete"));
    assert_eq!(names(&shell.json("subnet list").await), ["kuryr"]);
    shell.close().await;
}
