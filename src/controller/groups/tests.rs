use rusqlite::{Connection, Transaction};
use serde_json::json;

use super::{DEFAULT_NAME, GroupError, MIGRATION, add_rule, create, ensure_default, groups_of_port, memberships, set_port_groups};
use crate::controller::rule::{Direction, Match, Remote};

/// A database with our tables and as much of the ports' as they refer to.
fn database() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch("PRAGMA foreign_keys = ON; CREATE TABLE ports (id TEXT PRIMARY KEY) STRICT;").unwrap();
    connection.execute_batch(MIGRATION).unwrap();
    connection.execute_batch("INSERT INTO ports VALUES ('p1'), ('p2');").unwrap();
    connection
}

fn ssh(protocol: &str) -> Match {
    let body =
        json!({"direction": "ingress", "protocol": protocol, "port_range_min": 22, "port_range_max": 22, "remote_ip_prefix": "10.1.2.3/8"});
    Match::parse(body.as_object().unwrap()).unwrap()
}

/// The rules of the group, oldest first, as they are read back.
fn rules_of(tx: &Transaction<'_>, group: &str) -> Vec<Match> {
    let mut query = tx.prepare("SELECT document FROM security_group_rules WHERE security_group_id = ? ORDER BY rowid").unwrap();
    let documents = query.query_map([group], |row| row.get::<_, String>(0)).unwrap();
    documents.map(|document| Match::parse(&serde_json::from_str(&document.unwrap()).unwrap()).unwrap()).collect()
}

fn is_stateful(tx: &Transaction<'_>, group: &str) -> bool {
    tx.query_row("SELECT json_extract(document, '$.stateful') FROM security_groups WHERE id = ?", [group], |row| row.get(0)).unwrap()
}

#[test]
fn a_project_has_one_default_group_with_four_rules() {
    let mut connection = database();
    let tx = connection.transaction().unwrap();
    let group = ensure_default(&tx, "a").unwrap();
    assert_eq!(ensure_default(&tx, "a").unwrap(), group);
    assert_ne!(ensure_default(&tx, "b").unwrap(), group);
    assert!(is_stateful(&tx, &group));
    assert_eq!(rules_of(&tx, &group), Match::of_default_group(group.parse().unwrap()));
    assert!(matches!(create(&tx, "a", DEFAULT_NAME, "", true), Err(GroupError::Store(_))));
}

#[test]
fn rules_come_back_as_they_were_made_and_only_once() {
    let mut connection = database();
    let tx = connection.transaction().unwrap();
    let group = create(&tx, "a", "web", "", false).unwrap();
    let id = add_rule(&tx, "a", &group, &ssh("tcp"), "from the office").unwrap();
    for same in ["tcp", "6"] {
        match add_rule(&tx, "a", &group, &ssh(same), "in other words") {
            Err(GroupError::RuleExists(existing)) => assert_eq!(existing, id),
            other => panic!("{other:?}"),
        }
    }
    add_rule(&tx, "a", &group, &ssh("udp"), "").unwrap();
    assert!(!is_stateful(&tx, &group));
    let rules = rules_of(&tx, &group);
    assert_eq!(rules[..2], Match::of_new_group());
    assert_eq!(rules[2..], [ssh("tcp"), ssh("udp")]);
    let document: String = tx.query_row("SELECT document FROM security_group_rules WHERE id = ?", [&id], |row| row.get(0)).unwrap();
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    assert_eq!((&document["protocol"], &document["normalized_cidr"]), (&json!("tcp"), &json!("10.0.0.0/8")));
    assert_eq!((&document["security_group_id"], &document["tenant_id"]), (&json!(group), &json!("a")));
}

#[test]
fn a_group_in_use_stays_and_takes_rules_about_it_along_when_it_goes() {
    let mut connection = database();
    let tx = connection.transaction().unwrap();
    let (web, db) = (create(&tx, "a", "web", "", true).unwrap(), create(&tx, "a", "db", "", true).unwrap());
    let from_web = Match { remote: Remote::Group(web.parse().unwrap()), direction: Direction::Ingress, ..Match::of_new_group()[0] };
    add_rule(&tx, "a", &db, &from_web, "").unwrap();
    set_port_groups(&tx, "p1", &[web.clone(), db.clone(), web.clone()]).unwrap();
    set_port_groups(&tx, "p2", std::slice::from_ref(&db)).unwrap();
    assert_eq!(memberships(&tx).unwrap().len(), 3);
    assert!(tx.execute("DELETE FROM security_groups WHERE id = ?", [&web]).is_err());
    assert!(set_port_groups(&tx, "p2", &["gone".to_owned()]).is_err());
    assert!(set_port_groups(&tx, "gone", std::slice::from_ref(&db)).is_err());

    set_port_groups(&tx, "p1", std::slice::from_ref(&db)).unwrap();
    assert_eq!(groups_of_port(&tx, "p1").unwrap(), [db.as_str()]);
    tx.execute("DELETE FROM security_groups WHERE id = ?", [&web]).unwrap();
    assert_eq!(rules_of(&tx, &db), Match::of_new_group());
    tx.execute("DELETE FROM ports WHERE id = 'p1'", []).unwrap();
    assert!(groups_of_port(&tx, "p1").unwrap().is_empty());
}
