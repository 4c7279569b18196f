//! Security groups: what rules let pass, with state and without.

use kuryr::controller::datapath::{
    Executor,
    snapshot::{Direction, Remote, Rule, Snapshot},
};
use kuryr::netlink::netns;
use uuid::Uuid;

use super::{
    frames::{self, echo, packet, sctp, tcp, udp},
    probe::{Station, arrives, is_lost, mark},
    world::{ask, call, connect, container, group, id, is_cut, port, rule, serve, sync, v6, world},
};

const FROM: Uuid = Uuid::from_u128(11);
const TO: Uuid = Uuid::from_u128(12);
const STATELESS: Uuid = Uuid::from_u128(13);

/// Both families of some rules.
fn both(rules: &[Rule]) -> Vec<Rule> {
    rules.iter().flat_map(|rule| [rule.clone(), v6(rule)]).collect()
}

fn everything(direction: Direction) -> Rule {
    rule(direction, None, None, Remote::Any)
}

/// Two ports on one network: the first may send as `egress` says, the second hear as `ingress` says.
fn pair(egress: Vec<Rule>, ingress: Vec<Rule>) -> Snapshot {
    let mut world = world();
    world.groups.insert(FROM, group(true, egress));
    world.groups.insert(TO, group(true, ingress));
    world.ports.extend([port(&world, 0xa, 21, &[FROM]), port(&world, 0xa, 22, &[TO])]);
    world
}

fn wired(world: &Snapshot) -> (Executor, Station, Station) {
    let mut executor = Executor::default();
    sync(&mut executor, world, true);
    let stations = (Station::of(world, id(0xa, 21)), Station::of(world, id(0xa, 22)));
    sync(&mut executor, world, false);
    (executor, stations.0, stations.1)
}

/// A frame with true addresses.
fn frame(from: &Station, to: &Station, six: bool, content: &frames::Content) -> Vec<u8> {
    let (source, target) = if six { (from.v6, to.v6) } else { (from.v4, to.v4) };
    packet(from.mac, to.mac, source, target, content)
}

/// Sends what `content` makes for a protocol's port and tells whether it has to arrive.
#[track_caller]
fn judge(from: &Station, to: &Station, what: &str, passes: bool, content: &dyn Fn(bool, &str) -> frames::Content) {
    for six in [false, true] {
        let what = format!("{what}, IPv{}", if six { 6 } else { 4 });
        let make = |mark: &str| frame(from, to, six, &content(six, mark));
        if passes { arrives(from, to, &what, make) } else { is_lost(from, to, &what, make) }
    }
}

#[test]
fn rules_look_at_protocol_port_range_and_direction() {
    let rules = |direction| {
        let ping = rule(direction, Some(1), Some((8, 0)), Remote::Any);
        // Type and code of an echo request are others in IPv6.
        let ping6 = rule(direction, Some(58), Some((128, 0)), Remote::Any);
        let mut rules = both(&[
            rule(direction, Some(6), Some((80, 90)), Remote::Any),
            rule(direction, Some(17), Some((53, 53)), Remote::Any),
            rule(direction, Some(132), Some((2905, 2905)), Remote::Any),
        ]);
        rules.extend([ping, v6(&ping6)]);
        rules
    };
    let wide = || both(&[everything(Direction::Egress), everything(Direction::Ingress)]);
    let mut world = pair(wide(), rules(Direction::Ingress));
    let (mut executor, a, b) = wired(&world);
    for direction in [Direction::Ingress, Direction::Egress] {
        if direction == Direction::Egress {
            world.groups.insert(FROM, group(true, rules(Direction::Egress)));
            world.groups.insert(TO, group(true, wide()));
            sync(&mut executor, &world, false);
        }
        // Source ports differ from those of the other round, for each is a connection of its own.
        let source = if direction == Direction::Ingress { 3000 } else { 3001 };
        for (port, passes) in [(79, false), (80, true), (85, true), (90, true), (91, false)] {
            judge(&a, &b, &format!("{direction:?} TCP port {port}"), passes, &|_, mark| tcp(source, port, mark));
        }
        for (port, passes) in [(53, true), (80, false)] {
            judge(&a, &b, &format!("{direction:?} UDP port {port}"), passes, &|_, mark| udp(source, port, mark));
        }
        for (port, passes) in [(2905, true), (2906, false)] {
            judge(&a, &b, &format!("{direction:?} SCTP port {port}"), passes, &|_, mark| sctp(source, port, mark));
        }
        judge(&a, &b, &format!("{direction:?} echo request"), true, &|six, mark| echo(six, mark));
        let other = |six, mark: &str| {
            let mut content = echo(six, mark);
            // A kind of request that no rule names: information, or node information.
            content.bytes[0] = if six { 139 } else { 13 };
            content
        };
        judge(&a, &b, &format!("{direction:?} other ICMP"), false, &other);
        if direction == Direction::Ingress {
            judge(&b, &a, "what the first has not asked for", false, &|_, mark| tcp(3002, 80, mark));
        }
    }
}

#[test]
fn a_prefix_and_a_group_say_who_may_come() {
    let prefix = |net: &str| Remote::Prefix(net.parse().unwrap());
    let by_prefix = vec![
        rule(Direction::Ingress, Some(17), Some((1000, 1000)), prefix("10.0.0.20/31")),
        v6(&rule(Direction::Ingress, Some(17), Some((1000, 1000)), prefix("fd00:a::14/127"))),
        rule(Direction::Ingress, Some(17), Some((1001, 1001)), prefix("10.0.0.22/32")),
        v6(&rule(Direction::Ingress, Some(17), Some((1001, 1001)), prefix("fd00:a::17/128"))),
    ];
    let by_group = both(&[rule(Direction::Ingress, Some(17), Some((1002, 1002)), Remote::Group(FROM))]);
    let mut world = pair(both(&[everything(Direction::Egress)]), [by_prefix, by_group].concat());
    let (mut executor, a, b) = wired(&world);
    judge(&a, &b, "from the prefix", true, &|_, mark| udp(5000, 1000, mark));
    judge(&a, &b, "from beside it", false, &|_, mark| udp(5000, 1001, mark));
    judge(&a, &b, "from a member", true, &|_, mark| udp(5000, 1002, mark));
    // Once it is no member, what it begins is lost, although the sender may send it.
    world.groups.insert(Uuid::from_u128(14), world.groups[&FROM].clone());
    world.ports.get_mut(&id(0xa, 21)).unwrap().groups = vec![Uuid::from_u128(14)];
    sync(&mut executor, &world, false);
    judge(&a, &b, "from one that was a member", false, &|_, mark| udp(5001, 1002, mark));
    judge(&a, &b, "from the prefix still", true, &|_, mark| udp(5001, 1000, mark));
    // An allowed prefix makes members of all its addresses.
    let member = port(&world, 0xa, 23, &[FROM]);
    world.ports.extend([member]);
    world.ports.get_mut(&id(0xa, 23)).unwrap().pairs = vec![(world.ports[&id(0xa, 23)].mac, "10.0.0.16/28".parse().unwrap())];
    sync(&mut executor, &world, false);
    arrives(&a, &b, "from an address among a member's", |mark| frame(&a, &b, false, &udp(5002, 1002, mark)));
    is_lost(&a, &b, "from one that is not", |mark| frame(&a, &b, true, &udp(5002, 1002, mark)));
}

#[test]
fn what_is_established_goes_on_and_what_is_new_obeys_the_new_rules() {
    let web = rule(Direction::Ingress, Some(6), Some((80, 80)), Remote::Any);
    let mut world = pair(both(&[everything(Direction::Egress)]), both(std::slice::from_ref(&web)));
    let (mut executor, a, b) = wired(&world);
    serve(&b.inside, 80, "b");
    serve(&b.inside, 81, "b81");
    for address in ["10.0.0.22", "fd00:a::16"] {
        let mut long = connect(&a.inside, address, 80);
        assert_eq!(ask(&mut long), "b");
        assert!(is_cut(&a.inside, address, 81));
        let more = rule(Direction::Ingress, Some(6), Some((81, 81)), Remote::Any);
        world.groups.insert(TO, group(true, both(&[web.clone(), more])));
        sync(&mut executor, &world, false);
        assert_eq!(ask(&mut long), "b", "a rule more");
        assert_eq!(call(&a.inside, address, 81), "b81");
        world.groups.insert(TO, group(true, vec![]));
        sync(&mut executor, &world, false);
        assert!(is_cut(&a.inside, address, 80), "no rule, nothing new");
        assert!(is_cut(&a.inside, address, 81), "no rule, nothing new");
        assert_eq!(ask(&mut long), "b", "what is established goes on");
        world.groups.insert(TO, group(true, both(std::slice::from_ref(&web))));
        sync(&mut executor, &world, false);
    }
}

#[test]
fn a_stateless_group_lets_pass_what_its_rules_name_and_no_answers() {
    let web = |direction| rule(direction, Some(6), Some((80, 80)), Remote::Any);
    let mut world = pair(both(&[everything(Direction::Egress), everything(Direction::Ingress)]), vec![]);
    world.groups.insert(STATELESS, group(false, both(&[web(Direction::Ingress)])));
    world.ports.get_mut(&id(0xa, 22)).unwrap().groups = vec![STATELESS];
    let (mut executor, a, b) = wired(&world);
    serve(&b.inside, 80, "b");
    judge(&a, &b, "what a rule names", true, &|_, mark| tcp(4000, 80, mark));
    judge(&a, &b, "what none names", false, &|_, mark| tcp(4000, 81, mark));
    for address in ["10.0.0.22", "fd00:a::16"] {
        assert!(is_cut(&a.inside, address, 80), "the answer has no rule");
    }
    let answers = rule(Direction::Egress, Some(6), None, Remote::Any);
    world.groups.insert(STATELESS, group(false, both(&[web(Direction::Ingress), answers])));
    sync(&mut executor, &world, false);
    for address in ["10.0.0.22", "fd00:a::16"] {
        let mut long = connect(&a.inside, address, 80);
        assert_eq!(ask(&mut long), "b", "the answer has a rule");
    }
    // Every packet is judged, whatever went before it.
    let mut long = connect(&a.inside, "10.0.0.22", 80);
    assert_eq!(ask(&mut long), "b");
    world.groups.insert(STATELESS, group(false, both(&[web(Direction::Ingress)])));
    sync(&mut executor, &world, false);
    assert!(is_cut(&a.inside, "10.0.0.22", 80), "the rule for answers is gone");
    judge(&b, &a, "a packet of a connection that was allowed", false, &|_, mark| tcp(80, 4000, mark));
    // Beside a group that keeps state the port has state.
    world.groups.insert(TO, group(true, vec![]));
    world.ports.get_mut(&id(0xa, 22)).unwrap().groups = vec![STATELESS, TO];
    sync(&mut executor, &world, false);
    assert_eq!(call(&a.inside, "10.0.0.22", 80), "b");
}

#[test]
fn a_tap_passes_nothing_before_its_rules_are_there() {
    let mut later = world();
    // Without port security, so that nothing but the missing rules can stop a frame.
    later.ports.extend([port(&later, 0xa, 21, &[]), port(&later, 0xa, 22, &[])]);
    let mut before = later.clone();
    before.ports.remove(&id(0xa, 21));
    let mut executor = Executor::default();
    sync(&mut executor, &before, true);
    let (a, b) = (Station::of(&later, id(0xa, 21)), Station::of(&later, id(0xa, 22)));
    let exchange = || {
        [(&a, &b), (&b, &a)].map(|(from, to)| {
            let mark = mark();
            from.send(&frame(from, to, false, &udp(4000, 4000, &mark)));
            [mark, from.announce()]
        })
    };
    let before = exchange();
    sync(&mut executor, &later, false);
    let after = exchange();
    // Whatever had passed before would be heard before the last.
    for (hearer, [packet, last], lost) in [(&b, &after[0], &before[0]), (&a, &after[1], &before[1])] {
        let seen = hearer.until(last);
        assert!(seen.contains(packet) && !lost.iter().any(|mark| seen.contains(mark)), "{seen:?}, before the rules: {lost:?}");
    }
}

#[test]
fn a_port_on_an_external_network_is_guarded_from_the_host_as_well() {
    let mut world = world();
    let web = rule(Direction::Ingress, Some(6), Some((80, 80)), Remote::Any);
    world.groups.insert(TO, group(true, vec![web]));
    world.groups.insert(FROM, group(true, vec![rule(Direction::Egress, Some(6), Some((7000, 7000)), Remote::Any)]));
    world.ports.extend([port(&world, 0xe, 21, &[TO, FROM])]);
    let mut executor = Executor::default();
    sync(&mut executor, &world, true);
    let inside = container(&world, id(0xe, 21));
    sync(&mut executor, &world, false);
    let host = netns::current().unwrap();
    for (namespace, word) in [(&inside, "port"), (&host, "host")] {
        for number in [80, 81, 7000, 7001] {
            serve(namespace, number, word);
        }
    }
    assert_eq!(call(&host, "172.24.4.21", 80), "port", "a rule for one port");
    assert!(is_cut(&host, "172.24.4.21", 81), "no rule");
    assert_eq!(call(&inside, "172.24.4.1", 7000), "host", "a rule for one port of the host");
    assert!(is_cut(&inside, "172.24.4.1", 7001), "no rule");
}
