//! Names of what the datapath makes on the host, within the kernel's 15 characters. Bridges and taps are named as Neutron's linuxbridge
//! agent names them, because its binding (`vif_type` bridge) tells no name.

use uuid::Uuid;

/// Length of the piece of an id in an interface's name.
const PIECE: usize = 11;

fn named(prefix: &str, id: Uuid) -> String {
    format!("{prefix}{}", &id.to_string()[..PIECE])
}

/// The bridge of a network.
pub fn bridge(network: Uuid) -> String {
    named("brq", network)
}

/// The host's end of a port.
pub fn tap(port: Uuid) -> String {
    named("tap", port)
}

/// A router's end of the port on an inner network.
pub fn inner(port: Uuid) -> String {
    named("qr-", port)
}

/// A router's end of the port on the external network.
pub fn outer(port: Uuid) -> String {
    named("qg-", port)
}

/// The namespace of a router.
pub fn namespace(router: Uuid) -> String {
    format!("qrouter-{router}")
}

/// Whether an interface has the form of one of [`bridge`]'s names: `brq`, eight hex digits, a dash and two more.
pub fn is_bridge(name: &str) -> bool {
    name.strip_prefix("brq").is_some_and(is_piece)
}

/// Whether an interface has the form of one of [`tap`]'s names.
pub fn is_tap(name: &str) -> bool {
    name.strip_prefix("tap").is_some_and(is_piece)
}

fn is_piece(text: &str) -> bool {
    text.len() == PIECE && text.char_indices().all(|(at, c)| if at == 8 { c == '-' } else { matches!(c, '0'..='9' | 'a'..='f') })
}
