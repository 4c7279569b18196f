//! `openstack quota …`, `extension …` and `network agent …`

use serde_json::{Value, json};

use super::column;
use crate::{cloud::Cloud, openstack_cli::Shell};

/// The limits that `quota show` lists, by resource; the client lists many that the service does not have.
fn limits(list: &Value) -> Value {
    let rows = list.as_array().unwrap().iter().filter(|row| row["Limit"].is_i64());
    Value::Object(rows.map(|row| (row["Resource"].as_str().unwrap().to_owned(), row["Limit"].clone())).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_are_unlimited_until_they_are_set() {
    let cloud = Cloud::start().await;
    let Some(mut shell) = Shell::admin(&cloud) else { return };
    let project = shell.json("project show kuryr").await["id"].as_str().unwrap().to_owned();
    let unlimited = json!({
        "networks": -1, "subnets": -1, "subnet_pools": -1, "ports": -1, "routers": -1, "floating_ips": -1, "security_groups": -1,
        "security_group_rules": -1,
    });
    assert_eq!(limits(&shell.json("quota show").await), unlimited);
    assert_eq!(limits(&shell.json("quota show --default").await), unlimited);
    assert_eq!(shell.json("quota list --network").await, json!([]));
    let set = "quota set --networks 5 --subnets 6 --ports 1 --routers 8 --floating-ips 9 --secgroups 10 --secgroup-rules 11 --subnetpools 12 kuryr";
    shell.ok(set).await;
    let set = json!({
        "networks": 5, "subnets": 6, "subnet_pools": 12, "ports": 1, "routers": 8, "floating_ips": 9, "security_groups": 10,
        "security_group_rules": 11,
    });
    assert_eq!(limits(&shell.json("quota show kuryr").await), set);
    assert_eq!(limits(&shell.json("quota show admin").await), unlimited);
    let list = shell.json("quota list --network").await;
    assert_eq!((list[0]["Project ID"].as_str(), &list[0]["Ports"]), (Some(project.as_str()), &json!(1)));

    shell.ok("network create n").await;
    shell.ok("port create --network n p").await;
    assert!(shell.refused("port create --network n q").await.contains("Quota exceeded for resources: ['port']"));
    shell.ok("port create --network n --project admin q").await;
    let usage = shell.json("quota show --usage kuryr").await;
    let networks = usage.as_array().unwrap().iter().find(|row| row["Resource"] == "networks").unwrap();
    assert_eq!((&networks["Limit"], &networks["In Use"], &networks["Reserved"]), (&json!(5), &json!(2), &json!(0)));
    // A limit below what is there needs force.
    let err = shell.refused("quota set --networks 1 kuryr").await;
    assert!(err.contains("Quota limit 1 for network must be greater than or equal to already used 2"), "{err}");
    shell.ok("quota set --networks 1 --force kuryr").await;
    assert!(shell.refused("network create m").await.contains("Quota exceeded for resources: ['network']"));
    shell.ok("quota set --networks -1 kuryr").await;
    shell.ok("network create m").await;
    assert!(shell.refused("quota set --rbac-policies 1 kuryr").await.contains("Unrecognized attribute(s) 'rbac_policy'"));
    shell.ok("quota delete --network kuryr").await;
    assert_eq!(limits(&shell.json("quota show kuryr").await), unlimited);
    shell.ok("port create --network n q").await;
    shell.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn extensions_and_the_agent_are_shown() {
    let cloud = Cloud::start().await;
    let Some(mut shell) = Shell::admin(&cloud) else { return };
    let list = shell.json("extension list --network").await;
    let served = column(&list, "Alias");
    for alias in
        ["router", "security-group", "standard-attr-tag", "subnet_allocation", "default-subnetpools", "extraroute-atomic", "quotas"]
    {
        assert!(served.contains(&alias), "{alias} in {served:?}");
    }
    assert_eq!(shell.json("extension show router").await["name"], "Neutron L3 Router");
    assert!(shell.refused("extension show trunk").await.contains("No Extension found for trunk"));

    let agents = shell.json("network agent list").await;
    assert_eq!(agents.as_array().unwrap().len(), 1);
    assert_eq!((&agents[0]["Binary"], &agents[0]["Host"], &agents[0]["State"]), (&json!("kuryr"), &json!("here"), &json!(true)));
    assert_eq!(shell.json("network agent list --host here").await, agents);
    assert_eq!(shell.json("network agent list --host there").await, json!([]));
    let id = agents[0]["ID"].as_str().unwrap();
    let shown = shell.json(&format!("network agent show {id}")).await;
    assert_eq!((&shown["agent_type"], &shown["host"]), (&json!("Kuryr agent"), &json!("here")));
    assert!(shell.refused("network agent show nosuch").await.contains("No Agent found for nosuch"));
    assert!(shell.refused(&format!("network agent set --disable {id}")).await.contains("405"));
    assert!(shell.refused(&format!("network agent delete {id}")).await.contains("1 of 1 network agents failed to delete"));
    shell.close().await;
}
