use std::process::Command;

use super::*;
use crate::nft;

/// A table with `ports` guarded ports of which each has its chain.
fn table(ports: &[u8], rule: &str) -> Table {
    let mut table = Table::new("inet", "kuryr");
    let (mut owners, mut verdicts) = (Set::of("type ifname . ipv4_addr"), Set::of_verdicts("type ifname"));
    let mut prefixes = Set::of_intervals("type ipv4_addr");
    for port in ports {
        owners.insert(format!("\"tap{port}\" . 10.0.0.{port}"));
        verdicts.map(format!("\"tap{port}\""), format!("goto p_{port}"));
        prefixes.insert(format!("10.{port}.0.0/16"));
        let body = vec![format!("ip saddr @members_{port} {rule}"), "drop".to_owned()];
        table.chain(format!("p_{port}"), body);
        table.set(format!("members_{port}"), Set::of("type ipv4_addr"));
    }
    table.set("owners", owners);
    table.set("verdicts", verdicts);
    table.set("prefixes", prefixes);
    table.base_chain("forward", "filter", "forward", -5, vec!["iifname vmap @verdicts".into(), "ip saddr @prefixes drop".into()]);
    table
}

#[test]
fn equal_tables_need_no_text() {
    assert_eq!(table(&[1, 2], "accept").since(&table(&[1, 2], "accept")).unwrap(), "");
}

#[test]
fn a_difference_names_only_what_differs() {
    let text = table(&[1, 2, 4], "accept").since(&table(&[1, 2, 3], "accept")).unwrap();
    assert!(!text.contains("tap1") && !text.contains("p_2"), "{text}");
    assert!(text.contains("delete chain inet kuryr p_3"), "{text}");
}

/// What nft shows of the table, word by word and in order, because a set shows its elements in none.
#[allow(clippy::disallowed_methods, reason = "only tests read a table back")]
fn shown() -> Vec<String> {
    let output = Command::new("nft").args(["list", "table", "inet", "kuryr"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut words: Vec<String> = String::from_utf8(output.stdout).unwrap().split([' ', '\t', '\n', ',']).map(str::to_owned).collect();
    words.retain(|word| !word.is_empty());
    words.sort();
    words
}

/// nft itself is the judge: what the differences lead to is what the whole text says.
#[test]
fn a_chain_of_differences_leads_where_the_whole_text_leads() {
    let mut now = table(&[1, 2, 3], "accept");
    nft::apply(&now.whole()).unwrap();
    for next in [table(&[2, 3, 4], "accept"), table(&[2, 3, 4], "return"), table(&[], "accept"), table(&[1, 9], "return")] {
        nft::apply(&next.since(&now).unwrap()).unwrap();
        let by_difference = shown();
        nft::apply(&next.whole()).unwrap();
        assert_eq!(by_difference, shown());
        now = next;
    }
}

#[test]
fn another_kind_of_set_needs_the_whole_text() {
    let (mut one, mut two) = (Table::new("inet", "kuryr"), Table::new("inet", "kuryr"));
    one.set("s", Set::of("type ipv4_addr"));
    two.set("s", Set::of("type ipv6_addr"));
    assert_eq!(two.since(&one), None);
}
