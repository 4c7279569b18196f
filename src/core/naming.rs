//! Names and tags in Neutron, as kuryr-libnetwork writes them: another kuryr reads them, so they must not change.

use ipnet::IpNet;
use uuid::Uuid;

use super::request::DockerId;

/// `device_owner` of every port that kuryr made or bound, and a tag on those it made.
pub const DEVICE_OWNER: &str = "compute:kuryr";
/// Name of a port that kuryr made for an address.
pub const PORT_NAME: &str = "kuryr-unbound-port";
/// Name of a port by which a swarm's manager holds an address. kuryr-libnetwork has no such thing.
pub const RESERVED_PORT: &str = "kuryr-swarm-port";
/// Name of a port made ahead of use, until it is handed out. kuryr-libnetwork has no such thing, and takes it for nobody's.
pub const POOLED_NAME: &str = "kuryr-pool-port";
/// Name and owner of a port that stands for a Docker network whose tags have no room on the Neutron network. kuryr-libnetwork has no such thing.
pub const USER_PORT: &str = "kuryr-user-port";
/// See [`USER_PORT`].
pub const USER_OWNER: &str = "kuryr:network";
/// Follows the endpoint's id in the name of its port, where ports take no tags.
pub const PORT_SUFFIX: &str = "-port";
/// Prefix of the name of a subnet that kuryr made; the engine's text of the pool follows.
pub const SUBNET_PREFIX: &str = "kuryr-subnet-";

/// Starts the tag of the first half of a Docker id.
pub const LOWER_HALF: &str = "kuryr.net.uuid.lh:";
/// Starts the tag of the second half.
pub const UPPER_HALF: &str = "kuryr.net.uuid.uh:";
/// On a subnet pool that an operator made: a kuryr-libnetwork that finds it does not delete the pool.
pub const EXISTING_POOL: &str = "kuryr.subnetpool.existing";
/// On a port that was there before, while kuryr uses it.
pub const EXISTING_PORT: &str = "kuryr.port.existing";
/// [`DEVICE_OWNER`] of kuryr in the time of Mitaka.
pub const OLD_DEVICE_OWNER: &str = "kuryr:container";
/// Starts the name of a network that kuryr made.
const NETWORK_PREFIX: &str = "kuryr-net-";
/// How much of the Docker id stands in the names of what kuryr made for it.
const NAMED: usize = 8;

/// A Docker id is stored as two tags since Neutron once took no more than 60 characters.
const HALF: usize = 32;

/// The tags that tie a network or a port to the engine's network or endpoint: the lower half of the id, and the upper if it has one.
pub fn id_tags(id: &DockerId) -> Vec<String> {
    let text = id.as_str();
    let mut tags = vec![format!("{LOWER_HALF}{}", &text[..text.len().min(HALF)])];
    if text.len() > HALF {
        tags.push(format!("{UPPER_HALF}{}", &text[HALF..]));
    }
    tags
}

/// The tag beside [`id_tags`] on a network that the Docker network found and did not make.
pub fn existing_mark(network: &DockerId) -> String {
    format!("kuryr.net.existing:{}", &network.as_str()[..12])
}

/// The tag beside [`id_tags`] for `docker network create --internal`. kuryr-libnetwork has no such thing.
pub fn internal_mark(network: &DockerId) -> String {
    format!("kuryr.net.internal:{}", &network.as_str()[..12])
}

/// Starts a tag that keeps what `-o` says of the ports of a Docker network, told by the first characters of its id; with a UUID behind it, it has
/// 60 characters at most, as many as every Neutron takes. kuryr-libnetwork has no such thing.
pub fn port_option_tag(option: &str, network: &DockerId) -> String {
    format!("kuryr.port.{option}:{}:", name_start(network))
}

/// The tag by which the host that made a network leaves word of that to those who still use it; `start` is
/// [`name_start`]. kuryr-libnetwork has no such thing.
pub fn made_mark(start: &str) -> String {
    format!("kuryr.net.made:{start}")
}

/// The [`name_start`] in the name of a network that kuryr made; none for other names.
pub fn network_name_start(name: &str) -> Option<&str> {
    let start = name.strip_prefix(NETWORK_PREFIX)?;
    (start.len() == NAMED && start.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'z'))).then_some(start)
}

/// Name of a network that kuryr made.
pub fn network_name(network: &DockerId) -> String {
    format!("{NETWORK_PREFIX}{}", name_start(network))
}

/// Name of a network that kuryr made, where networks take no tags.
pub fn untagged_network_name(network: &DockerId) -> String {
    network.as_str().to_owned()
}

/// Name of the port of an endpoint, where ports take no tags.
pub fn port_name(endpoint: &DockerId) -> String {
    format!("{}{PORT_SUFFIX}", endpoint.as_str())
}

/// What of a Docker network's id stands in the names of what kuryr makes for it.
pub fn name_start(network: &DockerId) -> &str {
    &network.as_str()[..NAMED]
}

/// Name of the router to the outside that kuryr made for a network; `start` is [`name_start`]. kuryr-libnetwork has no such thing.
pub fn router_name(start: &str) -> String {
    format!("kuryr-router-{start}")
}

/// What is said of a security group for exposed ports.
pub const EXPOSING: &str = "Docker exposed ports created by Kuryr.";

/// Name of the security group for the exposed ports of a port.
pub fn exposing_group(port: Uuid) -> String {
    format!("{port}-exposed_ports")
}

/// Name of a subnet pool that kuryr made; `prefix` is `subnetpool_name_prefix`.
pub fn subnetpool_name(prefix: &str, cidr: IpNet) -> String {
    format!("{prefix}-{cidr}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_become_the_tags_of_the_walkthrough() {
        let id = DockerId::parse("821d6cd53af6c656969c1c96063a60c695a0313c9a119e44d4325ce2a9f2f935").unwrap();
        assert_eq!(
            id_tags(&id),
            ["kuryr.net.uuid.lh:821d6cd53af6c656969c1c96063a60c6", "kuryr.net.uuid.uh:95a0313c9a119e44d4325ce2a9f2f935"]
        );
        assert_eq!(network_name(&id), "kuryr-net-821d6cd5");
        assert_eq!(existing_mark(&id), "kuryr.net.existing:821d6cd53af6");
        assert_eq!(network_name_start("kuryr-net-821d6cd5"), Some("821d6cd5"));
        assert_eq!(network_name_start("kuryr-net-mine"), None);
    }

    #[test]
    fn a_swarm_id_fits_one_tag() {
        let id = DockerId::parse("xqqzd9p112o4kvok38n3caxjm").unwrap();
        assert_eq!(id_tags(&id), ["kuryr.net.uuid.lh:xqqzd9p112o4kvok38n3caxjm"]);
    }

    #[test]
    fn pools_are_named_by_their_range() {
        assert_eq!(subnetpool_name("kuryrPool", "10.0.0.0/24".parse().unwrap()), "kuryrPool-10.0.0.0/24");
        assert_eq!(subnetpool_name("kuryrPool", "2001:db8:a0b:12f0::/64".parse().unwrap()), "kuryrPool-2001:db8:a0b:12f0::/64");
    }
}
