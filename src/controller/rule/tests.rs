use std::collections::HashSet;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Direction, Ethertype, Match, Remote};

fn parse(body: Value) -> Result<Match, &'static str> {
    Match::parse(body.as_object().unwrap()).map_err(|error| error.kind())
}

/// The body of an ingress rule with `more` on top.
fn ingress(more: Value) -> Value {
    let mut body = json!({"direction": "ingress"});
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

#[test]
fn absent_and_null_mean_neutrons_defaults() {
    let bare = parse(json!({"direction": "egress"})).unwrap();
    assert_eq!(bare.ethertype, Ethertype::V4);
    assert_eq!((bare.protocol, bare.port_range_min, bare.port_range_max, bare.remote), (None, None, None, Remote::Any));
    let nulls = json!({"direction": "egress", "ethertype": null, "protocol": null, "port_range_min": null, "remote_ip_prefix": null, "remote_group_id": null});
    assert_eq!(parse(nulls).unwrap(), bare);
}

#[test]
fn what_neutron_takes_is_taken() {
    for more in [
        json!({"protocol": "tcp", "port_range_min": 1, "port_range_max": 65535}),
        json!({"protocol": "udp", "port_range_min": "53", "port_range_max": "53"}),
        json!({"protocol": 132, "port_range_min": 7, "port_range_max": 7}),
        json!({"protocol": "icmp", "port_range_min": 8}),
        json!({"protocol": "icmp", "port_range_min": 0, "port_range_max": 0}),
        json!({"protocol": "icmpv6", "ethertype": "ipv6", "port_range_min": 255, "port_range_max": 255}),
        json!({"protocol": "vrrp"}),
        json!({"remote_ip_prefix": "10.0.0.7"}),
        json!({"remote_ip_prefix": "2001:db8::/64", "ethertype": "IPV6"}),
        json!({"remote_group_id": "7ed05f57-d9cd-4601-989e-c94e863a424c"}),
    ] {
        parse(ingress(more.clone())).unwrap_or_else(|kind| panic!("{more}: {kind}"));
    }
}

#[test]
fn what_neutron_refuses_is_refused_by_the_same_name() {
    let group = "7ed05f57-d9cd-4601-989e-c94e863a424c";
    for (body, kind) in [
        (json!({}), "HTTPBadRequest"),
        (json!({"direction": "sideways"}), "HTTPBadRequest"),
        (json!({"direction": 1}), "HTTPBadRequest"),
        (ingress(json!({"ethertype": "IPv5"})), "SecurityGroupRuleInvalidEtherType"),
        (ingress(json!({"ethertype": 4})), "SecurityGroupRuleInvalidEtherType"),
        (ingress(json!({"protocol": "bogus"})), "SecurityGroupRuleInvalidProtocol"),
        (ingress(json!({"protocol": 256})), "SecurityGroupRuleInvalidProtocol"),
        (ingress(json!({"protocol": "icmpv6"})), "SecurityGroupEthertypeConflictWithProtocol"),
        (ingress(json!({"port_range_min": 80, "port_range_max": 80})), "SecurityGroupProtocolRequiredWithPorts"),
        (ingress(json!({"protocol": "any", "port_range_max": 80})), "SecurityGroupProtocolRequiredWithPorts"),
        (ingress(json!({"protocol": "esp", "port_range_min": 80, "port_range_max": 80})), "SecurityGroupInvalidProtocolForPort"),
        (ingress(json!({"protocol": "tcp", "port_range_min": 0, "port_range_max": 80})), "SecurityGroupInvalidPortValue"),
        (ingress(json!({"protocol": "tcp", "port_range_min": 81, "port_range_max": 80})), "SecurityGroupInvalidPortRange"),
        (ingress(json!({"protocol": "tcp", "port_range_min": 80})), "SecurityGroupInvalidPortRange"),
        (ingress(json!({"protocol": "tcp", "port_range_min": 80, "port_range_max": 65536})), "HTTPBadRequest"),
        (ingress(json!({"protocol": "tcp", "port_range_min": -1, "port_range_max": 80})), "HTTPBadRequest"),
        (ingress(json!({"protocol": "tcp", "port_range_min": "ssh"})), "HTTPBadRequest"),
        (ingress(json!({"protocol": "icmp", "port_range_min": 256})), "SecurityGroupInvalidIcmpValue"),
        (ingress(json!({"protocol": "icmp", "port_range_min": 8, "port_range_max": 256})), "SecurityGroupInvalidIcmpValue"),
        (ingress(json!({"protocol": "icmp", "port_range_max": 0})), "SecurityGroupMissingIcmpType"),
        (ingress(json!({"remote_ip_prefix": "10.0.0.0/8", "remote_group_id": group})), "SecurityGroupRemoteGroupAndRemoteIpPrefix"),
        (ingress(json!({"remote_ip_prefix": "10.0.0.0/33"})), "InvalidCIDR"),
        (ingress(json!({"remote_ip_prefix": 10})), "InvalidCIDR"),
        (ingress(json!({"remote_ip_prefix": "10.0.0.0/8; drop"})), "InvalidCIDR"),
        (ingress(json!({"remote_ip_prefix": "::/0"})), "SecurityGroupRuleParameterConflict"),
        (ingress(json!({"remote_ip_prefix": "10.0.0.0/8", "ethertype": "IPv6"})), "SecurityGroupRuleParameterConflict"),
        (ingress(json!({"remote_group_id": "default"})), "HTTPBadRequest"),
    ] {
        assert_eq!(parse(body.clone()), Err(kind), "{body}");
    }
}

#[test]
fn equal_rules_have_one_identity() {
    let same = |a: Value, b: Value| parse(ingress(a)).unwrap().identity() == parse(ingress(b)).unwrap().identity();
    assert!(same(json!({"protocol": "tcp"}), json!({"protocol": "6"})));
    assert!(same(json!({"remote_ip_prefix": "0.0.0.0/0"}), json!({})));
    assert!(same(json!({"remote_ip_prefix": "10.1.2.3/8"}), json!({"remote_ip_prefix": "10.0.0.0/8"})));
    assert!(same(json!({"ethertype": "IPv6", "protocol": "icmp"}), json!({"ethertype": "IPv6", "protocol": "ipv6-icmp"})));
    assert!(!same(json!({"ethertype": "IPv6"}), json!({})));
    assert!(!same(json!({"protocol": "tcp"}), json!({"protocol": "udp"})));
    assert!(!same(json!({"remote_ip_prefix": "10.0.0.0/8"}), json!({})));
    assert!(!same(json!({"protocol": "tcp"}), json!({"protocol": "tcp", "port_range_min": 80, "port_range_max": 80})));
}

#[test]
fn the_default_group_lets_all_out_and_only_itself_in() {
    let group = Uuid::from_u128(7);
    let rules = Match::of_default_group(group);
    assert_eq!(rules.iter().collect::<HashSet<_>>().len(), 4);
    for rule in rules {
        let remote = if rule.direction == Direction::Egress { Remote::Any } else { Remote::Group(group) };
        assert_eq!((rule.remote, rule.protocol), (remote, None));
    }
    assert!(Match::of_new_group().iter().all(|rule| rule.direction == Direction::Egress && rules.contains(rule)));
}
