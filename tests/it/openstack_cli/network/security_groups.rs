//! `openstack security group …` and `openstack security group rule …`

use serde_json::{Value, json};

use super::{assert_shows, names};
use crate::{cloud::Cloud, openstack_cli::Shell};

#[tokio::test(flavor = "multi_thread")]
async fn security_groups_are_made_changed_and_deleted() {
    let cloud = Cloud::start().await;
    let Some(mut shell) = Shell::admin(&cloud) else { return };
    // The default group is there when the project looks for the first time.
    let first = shell.json("security group list").await;
    assert_eq!(names(&first), ["default"]);
    assert_shows(&first[0], &json!({"Description": "Default security group", "Tags": [], "Shared": false}));
    let default = shell.json("security group show default").await;
    assert_eq!(default["rules"].as_array().unwrap().len(), 4);
    let from_itself = default["rules"].as_array().unwrap().iter().filter(|rule| rule["remote_group_id"] == default["id"]);
    assert_eq!(from_itself.count(), 2);

    let made = shell.json("security group create --description d --stateless --tag a web").await;
    assert_shows(&made, &json!({"name": "web", "description": "d", "stateful": false, "tags": ["a"]}));
    let rules: Vec<Value> =
        made["rules"].as_array().unwrap().iter().map(|rule| json!([rule["direction"], rule["ethertype"], rule["protocol"]])).collect();
    assert_eq!(rules, [json!(["egress", "IPv4", null]), json!(["egress", "IPv6", null])]);
    shell.ok("security group set --name site --description e --stateful --tag b web").await;
    let shown = shell.json("security group show site").await;
    assert_shows(&shown, &json!({"id": made["id"], "description": "e", "stateful": true, "tags": ["a", "b"]}));
    shell.ok("security group unset --tag a site").await;
    assert_eq!(names(&shell.json("security group list --tags b").await), ["site"]);
    shell.ok("network create n").await;
    shell.ok("port create --network n --security-group site p").await;
    let project = shell.json("project show kuryr").await["id"].as_str().unwrap().to_owned();
    for (command, complaint) in [
        ("security group create default", "Default security group already exists"),
        ("security group set --name x default", "Updating default security group not allowed"),
        ("security group set --name default site", "Default security group already exists"),
        ("security group set --stateless site", "in use"),
        ("security group delete site", "in use"),
        ("security group show nosuch", "No SecurityGroup found for nosuch"),
    ] {
        let err = shell.refused(command).await;
        assert!(err.contains(complaint), "{command}: {err}");
    }
    shell.ok("port delete p").await;
    assert!(shell.refused("security group delete site nosuch").await.contains("1 of 2 groups failed to delete"));
    assert_eq!(names(&shell.json(&format!("security group list --project {project}")).await), ["default"]);
    // An administrator who looks at another project's groups finds its default group too.
    let theirs = shell.json("security group list --project admin").await;
    assert_eq!(names(&theirs), ["default"]);
    assert_ne!(theirs[0]["ID"], default["id"]);
    shell.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_say_what_they_were_made_with() {
    let cloud = Cloud::start().await;
    let Some(mut shell) = Shell::admin(&cloud) else { return };
    shell.ok("security group create web").await;
    let other = shell.json("security group create other").await["id"].clone();
    for (options, expected) in [
        (
            "",
            json!({"direction": "ingress", "ether_type": "IPv4", "protocol": null, "remote_ip_prefix": "0.0.0.0/0", "port_range_min": null}),
        ),
        (
            "--protocol tcp --dst-port 80:90 --remote-ip 10.1.2.3/8 --description d",
            json!({"protocol": "tcp", "port_range_min": 80, "port_range_max": 90, "normalized_cidr": "10.0.0.0/8", "description": "d"}),
        ),
        (
            "--protocol TCP --dst-port 22 --remote-group other",
            json!({"protocol": "tcp", "port_range_min": 22, "port_range_max": 22, "remote_group_id": other}),
        ),
        (
            "--protocol udp --dst-port 53 --egress --ethertype IPv6 --remote-ip fd00::/8",
            json!({"direction": "egress", "ether_type": "IPv6", "remote_ip_prefix": "fd00::/8"}),
        ),
        ("--protocol icmp", json!({"protocol": "icmp", "port_range_min": null, "port_range_max": null})),
        ("--protocol icmp --icmp-type 8 --icmp-code 0 --egress", json!({"port_range_min": 8, "port_range_max": 0})),
        ("--protocol icmp --icmp-type 3", json!({"port_range_min": 3, "port_range_max": null})),
        ("--protocol ipv6-icmp --icmp-type 128", json!({"protocol": "ipv6-icmp", "ether_type": "IPv6", "port_range_min": 128})),
        ("--protocol any --ethertype IPv6", json!({"protocol": null, "ether_type": "IPv6", "remote_ip_prefix": "::/0"})),
        ("--protocol 47", json!({"protocol": "47"})),
        ("--protocol sctp --dst-port 100:200", json!({"protocol": "sctp", "port_range_max": 200})),
        ("--protocol udplite --dst-port 7", json!({"protocol": "udplite"})),
        ("--protocol dccp --dst-port 7", json!({"protocol": "dccp"})),
        ("--protocol ah", json!({"protocol": "ah"})),
        ("--protocol egp", json!({"protocol": "egp"})),
        ("--protocol esp", json!({"protocol": "esp"})),
        ("--protocol igmp", json!({"protocol": "igmp"})),
        ("--protocol ipip", json!({"protocol": "ipip"})),
        ("--protocol ospf", json!({"protocol": "ospf"})),
        ("--protocol pgm", json!({"protocol": "pgm"})),
        ("--protocol rsvp", json!({"protocol": "rsvp"})),
        ("--protocol vrrp", json!({"protocol": "vrrp"})),
        ("--protocol ipv6-encap --ethertype IPv6", json!({"protocol": "ipv6-encap"})),
        ("--protocol ipv6-frag", json!({"protocol": "ipv6-frag", "ether_type": "IPv6"})),
        ("--protocol ipv6-nonxt", json!({"protocol": "ipv6-nonxt"})),
        ("--protocol ipv6-opts", json!({"protocol": "ipv6-opts"})),
        ("--protocol ipv6-route", json!({"protocol": "ipv6-route"})),
    ] {
        let made = shell.json(&format!("security group rule create {options} web")).await;
        assert_shows(&made, &expected);
        let shown = shell.json(&format!("security group rule show {}", made["id"].as_str().unwrap())).await;
        assert_shows(&shown, &expected);
    }
    for (options, complaint) in [
        ("--protocol tcp --dst-port 80:90 --remote-ip 10.0.0.0/8", "Security group rule already exists. Rule id is"),
        ("--protocol 6 --dst-port 22 --remote-group other", "Security group rule already exists. Rule id is"),
        ("--protocol tcp --dst-port 0", "Invalid value for port 0"),
        ("--protocol tcp --dst-port 70000", "70000"),
        ("--protocol bogus", "Security group rule protocol bogus not supported"),
        ("--protocol gre --dst-port 9", "Invalid protocol gre for port range"),
        ("--dst-port 9", "Must also specify protocol if port range is given"),
        ("--protocol icmp --icmp-type 300", "It must be 0 to 255"),
        ("--protocol ipv6-icmp --ethertype IPv4", "Invalid ethertype IPv4 for protocol ipv6-icmp"),
        ("--remote-ip fd00::/8", "Conflicting value ethertype IPv4 for CIDR fd00::/8"),
        ("--remote-ip ten", "Invalid CIDR ten"),
        ("--remote-group nosuch", "No SecurityGroup found for nosuch"),
    ] {
        let err = shell.refused(&format!("security group rule create {options} web")).await;
        assert!(err.contains(complaint), "{options}: {err}");
    }
    shell.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_listed_and_deleted() {
    let cloud = Cloud::start().await;
    let Some(mut shell) = Shell::admin(&cloud) else { return };
    shell.ok("security group create web").await;
    let made = shell.json("security group rule create --protocol tcp --dst-port 80 --description d web").await;
    let id = made["id"].as_str().unwrap();
    shell.ok("security group rule create --protocol udp --dst-port 53 --ethertype IPv6 --remote-group web web").await;
    let rules = shell.json("security group rule list web").await;
    assert_eq!(rules.as_array().unwrap().len(), 4);
    for (filters, ports) in [
        ("--protocol tcp", json!(["80:80"])),
        ("--protocol udp", json!(["53:53"])),
        ("--egress", json!(["", ""])),
        ("--ingress", json!(["80:80", "53:53"])),
    ] {
        let list = shell.json(&format!("security group rule list {filters} web")).await;
        let found: Vec<&Value> = list.as_array().unwrap().iter().map(|rule| &rule["Port Range"]).collect();
        assert_eq!(json!(found), ports, "{filters}");
    }
    // The first list of a project shows its default group's rules too.
    let all = shell.json("security group rule list").await;
    assert_eq!(all.as_array().unwrap().len(), 8);
    let shown = rules.as_array().unwrap().iter().find(|rule| rule["ID"] == id).unwrap();
    assert_shows(shown, &json!({"IP Protocol": "tcp", "Ethertype": "IPv4", "IP Range": "0.0.0.0/0", "Direction": "ingress"}));
    shell.ok(&format!("security group rule delete {id}")).await;
    assert!(shell.refused(&format!("security group rule delete {id}")).await.contains("1 of 1 rules failed to delete"));
    shell.ok("security group delete web").await;
    assert_eq!(shell.json("security group rule list").await.as_array().unwrap().len(), 4);
    shell.close().await;
}
