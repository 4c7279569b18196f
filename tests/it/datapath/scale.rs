//! Many ports: what one of them costs, and that a burst is one sync.

use std::{
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use kuryr::{
    controller::datapath::{
        Datapath, Executor, filter, names,
        snapshot::{Port, Snapshot},
    },
    netlink::{Socket, Veth},
};
use uuid::Uuid;

use super::world::{OPEN, port, sync, world};

/// The end of a broken test.
const LIMIT: Duration = Duration::from_secs(30);

/// Ports of one project on one network, as they are by default: all in one group that names itself.
fn crowd(count: u16) -> Snapshot {
    let mut world = world();
    for number in 0..count {
        let (_, mut port) = port(&world, 0xa, 1, &[OPEN]);
        let [high, low] = number.to_be_bytes();
        port.mac = format!("fa:16:3e:01:{high:02x}:{low:02x}").parse().unwrap();
        port.addresses = vec![format!("10.0.{}.{low}/16", high + 4).parse().unwrap(), format!("fd00:a::1:{number:x}/64").parse().unwrap()];
        world.ports.insert(nth(number), port);
    }
    world
}

fn nth(number: u16) -> Uuid {
    Uuid::from_u128(0xee << 120 | u128::from(number) << 96 | 9)
}

fn plug(world: &Snapshot, ids: impl Iterator<Item = Uuid>) {
    let mut socket = Socket::open().unwrap();
    for (number, id) in ids.enumerate() {
        let port: &Port = &world.ports[&id];
        let bridge = socket.link(&names::bridge(port.network)).unwrap().unwrap();
        let (tap, peer) = (names::tap(id), format!("peer{number}"));
        socket.add_veth(&Veth { name: &tap, master: Some(bridge.index), peer: &peer, ..Veth::default() }).unwrap();
        let index = socket.link(&tap).unwrap().unwrap().index;
        socket.set_up(index).unwrap();
    }
}

/// How long this thread has had a processor; what the programs it runs take is not in it.
fn processor() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// The times are printed for the reader (`--no-capture`); what is held is that the work for one port names no other.
#[test]
fn one_port_among_500_is_a_few_lines() {
    let mut world = crowd(500);
    let mut executor = Executor::default();
    let mut took = |what: &str, world: &Snapshot, force: bool| {
        let (start, before) = (Instant::now(), processor());
        let changed = sync(&mut executor, world, force);
        println!("{what}: {:?}, of it {:?} our own; {} ports changed", start.elapsed(), processor() - before, changed.len());
        changed
    };
    took("first full sync", &world, true);
    plug(&world, (0..500).map(nth));
    for (id, active) in took("500 taps plugged", &world, false) {
        world.ports.get_mut(&id).unwrap().active = active;
    }
    took("full sync", &world, true);
    assert_eq!(took("nothing changed", &world, false), []);
    let before = filter::tables(&world, &filter::Sight::default());
    world.ports.get_mut(&nth(7)).unwrap().addresses.truncate(1);
    took("one address less", &world, false);
    let start = Instant::now();
    let after = filter::tables(&world, &filter::Sight::default());
    let text: String = after.iter().zip(&before).map(|(after, before)| after.since(before).unwrap()).collect();
    println!("text for it: {:?}, {} bytes", start.elapsed(), text.len());
    assert!(text.contains("fd00:a::1:7") && !text.contains(&names::tap(nth(8))) && text.lines().count() < 10, "{text}");
}

#[test]
fn fifty_ports_at_once_are_one_sync() {
    let world = crowd(50);
    let (release, gate) = mpsc::channel::<()>();
    let (entered, waits) = mpsc::channel::<()>();
    let reads = AtomicU32::new(0);
    let store = world.clone();
    let read = move || {
        // The second reading waits, and all that happens meanwhile.
        if reads.fetch_add(1, Ordering::SeqCst) == 1 {
            let _ = entered.send(());
            let _ = gate.recv_timeout(LIMIT);
        }
        Ok(store.clone())
    };
    let (done, reports) = mpsc::channel();
    let report = move |changed: &[(Uuid, bool)]| {
        let _ = done.send(changed.iter().filter(|(id, active)| *active && id.as_bytes()[0] == 0xee).count());
    };
    let datapath = Datapath::start(Duration::from_secs(3600), read, report).unwrap();
    assert_eq!(reports.recv_timeout(LIMIT), Ok(0), "the router's ports");
    datapath.nudge().changed();
    waits.recv_timeout(LIMIT).unwrap();
    plug(&world, (0..50).map(nth));
    for _ in 0..50 {
        datapath.nudge().changed();
    }
    release.send(()).unwrap();
    let first = std::iter::from_fn(|| reports.recv_timeout(LIMIT).ok()).find(|ports| *ports > 0);
    assert_eq!(first, Some(50), "all in one report");
}
