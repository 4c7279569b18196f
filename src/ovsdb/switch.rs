//! What kuryr asks of the switch: ports in, ports out, and how they fare. Tables and columns are those of ovs-vswitchd.conf.db(5).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Client, Error,
    notation::{map, optional, pairs, rows},
};

/// RFC 7047's name for a `wait` whose condition does not hold.
const TIMED_OUT: &str = "timed out";

/// A port to add, of one interface of the same name that is on this host already.
#[derive(Debug)]
pub struct SwitchPort<'a> {
    /// The bridge.
    pub bridge: &'a str,
    /// Name of the interface and so of the port.
    pub name: &'a str,
    /// `external_ids` of the interface, by which Neutron's agents know it: `iface-id` and others.
    pub external_ids: &'a [(&'a str, &'a str)],
}

/// A bridge of the switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// Whether its packets go through the kernel (`system`) or through ovs-vswitchd itself (`netdev`).
    pub userspace: bool,
    /// Whether ovs-vswitchd takes over checksums that the sender left to the hardware (`other_config:userspace-tso-enable`). Of weight
    /// only in a userspace bridge.
    pub userspace_offload: bool,
}

/// A port in the switch that has our `owner`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedPort {
    /// Name of the interface.
    pub name: String,
    /// `iface-id`: the Neutron port, empty for none.
    pub iface_id: String,
}

impl Client {
    /// The bridge of that name, if there is one.
    pub fn bridge(&mut self, name: &str) -> Result<Option<Bridge>, Error> {
        let operations = [
            json!({"op": "select", "table": "Bridge", "where": [["name", "==", name]], "columns": ["datapath_type"]}),
            json!({"op": "select", "table": "Open_vSwitch", "where": [], "columns": ["other_config"]}),
        ];
        let results = self.transact(&format!("look up bridge {name}"), &operations)?;
        let Some(row) = rows(&results[0]).next() else { return Ok(None) };
        let config = rows(&results[1]).next().map(|row| pairs(row.get("other_config"))).unwrap_or_default();
        Ok(Some(Bridge {
            userspace: row.get("datapath_type").and_then(Value::as_str) == Some("netdev"),
            userspace_offload: config.get("userspace-tso-enable").is_some_and(|value| value == "true"),
        }))
    }

    /// Adds a port and waits until ovs-vswitchd works with it. The name must be free: an interface that is replaced while its port stays
    /// would leave the switch at the dead one, so [`Client::delete_ports`] goes first, before the old interface does.
    ///
    /// # Errors
    /// [`Error::NoBridge`], [`Error::Interface`] with the switch's own words; after the latter the port is in the database, to be deleted.
    pub fn add_port(&mut self, port: &SwitchPort<'_>) -> Result<(), Error> {
        let what = format!("add port {} to bridge {}", port.name, port.bridge);
        let results = match self.transact(&what, &addition(port)) {
            Err(Error::Refused { operation: 1, error, .. }) if error == TIMED_OUT => {
                return Err(Error::NoBridge { bridge: port.bridge.to_owned() });
            }
            other => other?,
        };
        self.await_change(&what, results.last())?;
        self.check(port.name)
    }

    /// Takes the ports of these names out of their bridges, in a transaction of its own, and waits until ovs-vswitchd has let go of them.
    /// Missing ones are fine. All must be of Neutron port `iface_id`.
    pub fn delete_ports(&mut self, names: &[&str], iface_id: &str) -> Result<(), Error> {
        let what = format!("delete port {}", names.join(", "));
        let mut found = Vec::new();
        let results = self.transact(&what, &search(names))?;
        for (name, pair) in names.iter().zip(results.chunks(2)) {
            let [ports, interfaces] = pair else { continue };
            let Some(port) = rows(ports).next().and_then(|row| row.get("_uuid")) else { continue };
            let ids = rows(interfaces).next().map(|row| pairs(row.get("external_ids"))).unwrap_or_default();
            let holder = ids.get("iface-id").map_or("", String::as_str);
            if holder != iface_id {
                return Err(Error::Taken { name: (*name).to_owned(), wanted: iface_id.to_owned(), found: holder.to_owned() });
            }
            found.push(port.clone());
        }
        if found.is_empty() {
            return Ok(());
        }
        let results = self.transact(&what, &removal(&what, &found))?;
        self.await_change(&what, results.last())
    }

    /// Sets one of the `external_ids` of an interface; one that is gone is no error.
    pub fn set_external_id(&mut self, name: &str, key: &str, value: &str) -> Result<(), Error> {
        let mutations = json!([["external_ids", "delete", ["set", [key]]], ["external_ids", "insert", map([(key, value)])]]);
        let mutation = json!({"op": "mutate", "table": "Interface", "where": [["name", "==", name]], "mutations": mutations});
        self.transact(&format!("write {key} of interface {name}"), &[mutation]).map(drop)
    }

    /// Takes a port out without waiting for the switch, to undo an addition that went wrong.
    pub fn withdraw_port(&mut self, name: &str) -> Result<(), Error> {
        let what = format!("take port {name} back");
        let results = self.transact(&what, &search(&[name]))?;
        let found: Vec<Value> = rows(&results[0]).filter_map(|row| row.get("_uuid").cloned()).collect();
        if found.is_empty() {
            return Ok(());
        }
        self.transact(&what, &removal(&what, &found)).map(drop)
    }

    /// The interfaces that have `owner` in their `external_ids`.
    pub fn owned_ports(&mut self, owner: &str) -> Result<Vec<OwnedPort>, Error> {
        let condition = json!([["external_ids", "includes", map([("owner", owner)])]]);
        let select = json!({"op": "select", "table": "Interface", "where": condition, "columns": ["name", "external_ids"]});
        let results = self.transact(&format!("list the ports of {owner}"), &[select])?;
        let port = |row: &serde_json::Map<String, Value>| {
            let mut ids: BTreeMap<_, _> = pairs(row.get("external_ids"));
            Some(OwnedPort { name: row.get("name")?.as_str()?.to_owned(), iface_id: ids.remove("iface-id").unwrap_or_default() })
        };
        Ok(rows(&results[0]).filter_map(port).collect())
    }

    fn await_change(&mut self, what: &str, result: Option<&Value>) -> Result<(), Error> {
        let number = result.and_then(|result| rows(result).next()?.get("next_cfg")?.as_i64());
        let missing = || Error::BadReply { what: what.to_owned(), detail: "no next_cfg".into() };
        self.await_switch(what, number.ok_or_else(missing)?)
    }

    /// How the interface fares, once the switch has taken it up: `ofport` is then -1 for one it cannot use.
    fn check(&mut self, name: &str) -> Result<(), Error> {
        let what = format!("look up interface {name}");
        let select = json!({"op": "select", "table": "Interface", "where": [["name", "==", name]], "columns": ["error", "ofport"]});
        let results = self.transact(&what, &[select])?;
        let failed = |reason: &str| Error::Interface { name: name.to_owned(), reason: reason.to_owned() };
        let row = rows(&results[0]).next().ok_or_else(|| failed("somebody has deleted the port at once"))?;
        if let Some(reason) = optional(row.get("error")).and_then(Value::as_str).filter(|reason| !reason.is_empty()) {
            return Err(failed(reason));
        }
        match optional(row.get("ofport")).and_then(Value::as_i64) {
            Some(number) if number >= 0 => Ok(()),
            _ => Err(failed("it got no OpenFlow port number; see the log of ovs-vswitchd")),
        }
    }
}

fn addition(port: &SwitchPort<'_>) -> Vec<Value> {
    let SwitchPort { bridge, name, external_ids } = port;
    let ids = map(external_ids.iter().copied());
    let mut operations = vec![
        json!({"op": "comment", "comment": format!("kuryr: add port {name} to bridge {bridge}")}),
        json!({"op": "wait", "table": "Bridge", "where": [["name", "==", bridge]], "columns": ["name"], "until": "==",
            "rows": [{"name": bridge}], "timeout": 0}),
        json!({"op": "wait", "table": "Port", "where": [["name", "==", name]], "columns": ["name"], "until": "==",
            "rows": [], "timeout": 0}),
        json!({"op": "insert", "table": "Interface", "row": {"name": name, "type": "", "external_ids": ids}, "uuid-name": "interface"}),
        json!({"op": "insert", "table": "Port", "row": {"name": name, "interfaces": ["named-uuid", "interface"]}, "uuid-name": "port"}),
        json!({"op": "mutate", "table": "Bridge", "where": [["name", "==", bridge]],
            "mutations": [["ports", "insert", ["set", [["named-uuid", "port"]]]]]}),
    ];
    operations.extend(next_change());
    operations
}

/// Port and interface of each name, in turn.
fn search(names: &[&str]) -> Vec<Value> {
    let select = |table: &str, name: &str, column: &str| json!({"op": "select", "table": table, "where": [["name", "==", name]], "columns": [column]});
    names.iter().flat_map(|name| [select("Port", name, "_uuid"), select("Interface", name, "external_ids")]).collect()
}

/// A port that no bridge has any more is gone, and its interface with it: neither is a root of the schema.
fn removal(what: &str, ports: &[Value]) -> Vec<Value> {
    let mut operations = vec![json!({"op": "comment", "comment": format!("kuryr: {what}")})];
    operations.extend(ports.iter().map(
        |port| json!({"op": "mutate", "table": "Bridge", "where": [["ports", "includes", port]], "mutations": [["ports", "delete", port]]}),
    ));
    operations.extend(next_change());
    operations
}

/// Numbers the change, as ovs-vsctl does, so that the switch can say when it has taken it up.
fn next_change() -> [Value; 2] {
    [
        json!({"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [["next_cfg", "+=", 1]]}),
        json!({"op": "select", "table": "Open_vSwitch", "where": [], "columns": ["next_cfg"]}),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(operations: &[Value]) -> String {
        operations.iter().map(|operation| format!("{operation}\n")).collect()
    }

    /// The bytes that go to the database, beside what `ovs-vsctl -vjsonrpc add-port` sends.
    #[test]
    fn an_addition_is_one_transaction() {
        let port = SwitchPort { bridge: "br-int", name: "tap07791891-0e", external_ids: &[("iface-id", "07791891"), ("owner", "kuryr")] };
        assert_eq!(
            lines(&addition(&port)),
            r#"{"comment":"kuryr: add port tap07791891-0e to bridge br-int","op":"comment"}
{"columns":["name"],"op":"wait","rows":[{"name":"br-int"}],"table":"Bridge","timeout":0,"until":"==","where":[["name","==","br-int"]]}
{"columns":["name"],"op":"wait","rows":[],"table":"Port","timeout":0,"until":"==","where":[["name","==","tap07791891-0e"]]}
{"op":"insert","row":{"external_ids":["map",[["iface-id","07791891"],["owner","kuryr"]]],"name":"tap07791891-0e","type":""},"table":"Interface","uuid-name":"interface"}
{"op":"insert","row":{"interfaces":["named-uuid","interface"],"name":"tap07791891-0e"},"table":"Port","uuid-name":"port"}
{"mutations":[["ports","insert",["set",[["named-uuid","port"]]]]],"op":"mutate","table":"Bridge","where":[["name","==","br-int"]]}
{"mutations":[["next_cfg","+=",1]],"op":"mutate","table":"Open_vSwitch","where":[]}
{"columns":["next_cfg"],"op":"select","table":"Open_vSwitch","where":[]}
"#
        );
    }

    #[test]
    fn a_removal_names_the_ports_it_found() {
        assert_eq!(
            lines(&removal("delete port tap1", &[json!(["uuid", "0a"]), json!(["uuid", "0b"])])),
            r#"{"comment":"kuryr: delete port tap1","op":"comment"}
{"mutations":[["ports","delete",["uuid","0a"]]],"op":"mutate","table":"Bridge","where":[["ports","includes",["uuid","0a"]]]}
{"mutations":[["ports","delete",["uuid","0b"]]],"op":"mutate","table":"Bridge","where":[["ports","includes",["uuid","0b"]]]}
{"mutations":[["next_cfg","+=",1]],"op":"mutate","table":"Open_vSwitch","where":[]}
{"columns":["next_cfg"],"op":"select","table":"Open_vSwitch","where":[]}
"#
        );
        assert_eq!(
            lines(&search(&["tap1"])),
            r#"{"columns":["_uuid"],"op":"select","table":"Port","where":[["name","==","tap1"]]}
{"columns":["external_ids"],"op":"select","table":"Interface","where":[["name","==","tap1"]]}
"#
        );
    }
}
