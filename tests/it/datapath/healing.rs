//! What others take away comes back by itself, and soon: the timer of these tests does not strike.

use std::{
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use kuryr::{
    controller::datapath::{Datapath, names, snapshot::Snapshot},
    netlink::{Socket, netns},
    nft,
};
use uuid::Uuid;

use super::world::{ask, call, connect, container, id, is_cut, serve, world};

const NEVER: Duration = Duration::from_secs(3600);

/// Waits for what nothing announces; the limit is there to end a broken run.
fn await_that(what: &str, mut look: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(30);
    while !look() {
        assert!(Instant::now() < limit, "{what} did not come");
        thread::sleep(Duration::from_millis(5));
    }
}

#[allow(clippy::disallowed_methods, reason = "another program than ours changes the firewall")]
fn another(program: &str, arguments: &[&str]) {
    assert!(Command::new(program).args(arguments).status().unwrap().success(), "{program} {arguments:?}");
}

/// Starts the datapath; the counter counts how often it read the store.
fn start(world: &Snapshot) -> (Datapath, Arc<AtomicU32>) {
    let (store, reads) = (Arc::new(Mutex::new(world.clone())), Arc::new(AtomicU32::new(0)));
    let (counter, written) = (Arc::clone(&reads), Arc::clone(&store));
    let read = move || {
        counter.fetch_add(1, Ordering::SeqCst);
        Ok(store.lock().unwrap().clone())
    };
    let report = move |changed: &[(Uuid, bool)]| {
        let mut world = written.lock().unwrap();
        changed.iter().for_each(|(id, active)| world.ports.get_mut(id).unwrap().active = *active);
    };
    let datapath = Datapath::start(NEVER, read, report).unwrap();
    await_that("the bridges", || Socket::open().unwrap().link(&names::bridge(id(0xc, 0))).unwrap().is_some());
    (datapath, reads)
}

#[test]
fn a_flushed_firewall_is_filled_again() {
    let world = world();
    let (_datapath, _) = start(&world);
    let [a1, a2, a3] = [1, 2, 3].map(|number| container(&world, id(0xa, number)));
    for (inside, word) in [(&a2, "a2"), (&a3, "a3")] {
        serve(inside, 99, word);
    }
    let mut long = connect(&a1, "10.0.0.2", 99);
    assert_eq!(ask(&mut long), "a2");
    for family in ["bridge", "inet"] {
        another("nft", &["flush", "ruleset"]);
        await_that("the table", || nft::has_table(family, "kuryr").unwrap());
        assert_eq!(ask(&mut long), "a2", "what was established");
        await_that("the rules", || is_cut(&a1, "10.0.0.3", 99));
        another("nft", &["delete", "table", family, "kuryr"]);
        await_that("the table", || nft::has_table(family, "kuryr").unwrap());
        assert_eq!(ask(&mut long), "a2", "what was established");
    }
    another("iptables", &["-P", "FORWARD", "DROP"]);
    for flush in [&["-F"][..], &["-F", "KURYR-FORWARD"], &["-D", "FORWARD", "-j", "KURYR-FORWARD"], &["-t", "nat", "-F"]] {
        another("iptables", flush);
        // The client sends again what was lost, so this succeeds as soon as the chain is back.
        assert_eq!(call(&a1, "10.0.0.2", 99), "a2");
        assert_eq!(ask(&mut long), "a2", "what was established");
    }
}

#[test]
fn bridges_and_namespaces_that_are_deleted_come_back_with_what_was_on_them() {
    let world = world();
    let (_datapath, _) = start(&world);
    let [a1, a2, c1] = [id(0xa, 1), id(0xa, 2), id(0xc, 1)].map(|port| container(&world, port));
    serve(&a2, 99, "a2");
    serve(&c1, 80, "c1");
    assert_eq!(call(&a1, "10.0.1.1", 80), "c1");
    let bridge = names::bridge(id(0xa, 0));
    let mut socket = Socket::open().unwrap();
    let old = socket.link(&bridge).unwrap().unwrap().index;
    socket.delete_link(&bridge).unwrap();
    await_that("the bridge", || socket.link(&bridge).unwrap().is_some_and(|link| link.index != old));
    assert_eq!(call(&a1, "10.0.0.2", 99), "a2");
    assert_eq!(call(&a1, "10.0.1.1", 80), "c1");
    let namespace = names::namespace(id(0xf, 0));
    netns::delete(&namespace).unwrap();
    await_that("the namespace", || netns::list().unwrap().contains(&namespace));
    assert_eq!(call(&a1, "10.0.1.1", 80), "c1");
    // A wire of the router that is pulled out.
    socket.delete_link(&names::tap(id(0xa, 254))).unwrap();
    await_that("the wire", || socket.link(&names::tap(id(0xa, 254))).unwrap().is_some());
    assert_eq!(call(&a1, "10.0.1.1", 80), "c1");
}

#[test]
fn neither_its_own_changes_nor_those_of_others_elsewhere_keep_it_busy() {
    let (datapath, reads) = start(&world());
    // The last step of a full sync that changes the firewall; another's change in the middle would be a reason to try again.
    let jump = ["-C", "FORWARD", "-j", "KURYR-FORWARD"];
    let whole = || ["iptables", "ip6tables"].iter().all(|program| nft::iptables(program, &jump).unwrap().success);
    await_that("the chains", whole);
    // The routers' ports have become active, which is read back once more.
    await_that("the second reading", || reads.load(Ordering::SeqCst) == 2);
    for round in 1..=3 {
        for number in 0..10 {
            another("nft", &["add", "table", "inet", &format!("other{number}")]);
            another("iptables", &["-A", "FORWARD", "-j", "ACCEPT"]);
        }
        let before = reads.load(Ordering::SeqCst);
        assert_eq!(before, 2 * round, "nothing of this concerns it");
        datapath.nudge().changed();
        await_that("the nudge's reading", || reads.load(Ordering::SeqCst) > before);
        another("nft", &["flush", "ruleset"]);
        // One reading for each nudge and each flush: had it heard its own loading, there would be more by the next round.
        await_that("the flush's reading", || reads.load(Ordering::SeqCst) > before + 1);
        await_that("the chains", whole);
    }
}
