//! Our chain in iptables' FORWARD. The engine sets that chain's policy to DROP, and a packet must pass every table to arrive.

use std::{collections::BTreeSet, fmt::Write as _, panic, thread};

use crate::nft;

/// Name of the chain.
pub const CHAIN: &str = "KURYR-FORWARD";

/// Lets pass what the inet table has judged already: frames between ports of our bridges, and what the host routes for the external ones.
pub fn render(external: &BTreeSet<String>) -> String {
    let mut text = format!("-A {CHAIN} -i brq+ -m physdev --physdev-is-bridged -j ACCEPT\n");
    for bridge in external {
        // The engine's own networks keep the engine's rules.
        for engine in ["docker+", "br-+"] {
            let _ = writeln!(text, "-A {CHAIN} -i {bridge} -o {engine} -j RETURN");
        }
        let _ = write!(text, "-A {CHAIN} -i {bridge} -j ACCEPT\n-A {CHAIN} -o {bridge} -j ACCEPT\n");
    }
    text
}

/// Puts the chain and the jump to it at the top of FORWARD, in one transaction per family, both families at once: to exchange a rule that is there
/// takes the kernel 15 to 30 ms.
pub fn apply(rules: &str) -> Result<(), nft::Error> {
    thread::scope(|scope| {
        let second = scope.spawn(|| apply_to("ip6tables", rules));
        let first = apply_to("iptables", rules);
        first.and(second.join().unwrap_or_else(|panic| panic::resume_unwind(panic)))
    })
}

fn apply_to(program: &str, rules: &str) -> Result<(), nft::Error> {
    let jumps = nft::iptables(program, &["-C", "FORWARD", "-j", CHAIN])?.success;
    let again = if jumps { format!("-D FORWARD -j {CHAIN}\n") } else { String::new() };
    let text = format!("*filter\n:{CHAIN} - [0:0]\n{again}-I FORWARD 1 -j {CHAIN}\n{rules}COMMIT\n");
    nft::iptables_restore(program, &text)
}

/// Takes both away.
pub fn remove() -> Result<(), nft::Error> {
    for program in ["iptables", "ip6tables"] {
        for arguments in [&["-D", "FORWARD", "-j", CHAIN][..], &["-F", CHAIN], &["-X", CHAIN]] {
            nft::iptables(program, arguments)?;
        }
    }
    Ok(())
}
