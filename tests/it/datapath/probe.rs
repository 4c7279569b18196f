//! A container's end of the wire, at which any frame can be sent and every frame heard.

use std::{
    io::{BufRead, BufReader, Write},
    net::IpAddr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use kuryr::{
    controller::datapath::snapshot::{Port, Snapshot},
    mac::MacAddr,
    netlink::{NetnsFd, netns},
};
use uuid::Uuid;

use super::{
    frames::{self, arp},
    world::container,
};

const PROGRAM: &str = include_str!("wire.py");
static MARKS: AtomicU32 = AtomicU32::new(0);

/// A text that tells one frame from every other of the test.
pub fn mark() -> String {
    format!("<mark-{:06}>", MARKS.fetch_add(1, Ordering::Relaxed))
}

/// A container, wired to its port, with a program on its interface.
pub struct Station {
    pub inside: NetnsFd,
    pub mac: MacAddr,
    pub v4: IpAddr,
    pub v6: IpAddr,
    program: Mutex<(Child, ChildStdin, BufReader<ChildStdout>)>,
}

impl Station {
    /// Makes the container of a port, which has an address of each family.
    pub fn of(world: &Snapshot, id: Uuid) -> Self {
        let inside = container(world, id);
        let port: &Port = &world.ports[&id];
        let address = |v6| port.addresses.iter().map(|net| net.addr()).find(|address| address.is_ipv6() == v6).unwrap();
        let (v4, v6) = (address(false), address(true));
        #[allow(clippy::disallowed_methods, reason = "raw frames need a program in the container's namespace")]
        let spawn = || Command::new("python3").args(["-c", PROGRAM, "eth0"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = netns::run_in(&inside, spawn).unwrap().expect("python3 is needed for raw frames");
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let station = Self { inside, mac: port.mac, v4, v6, program: Mutex::new((child, input, output)) };
        assert_eq!(station.answer(""), "ready");
        station
    }

    fn answer(&self, command: &str) -> String {
        let mut program = self.program.lock().unwrap();
        program.1.write_all(command.as_bytes()).unwrap();
        let mut line = String::new();
        program.2.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    pub fn send(&self, frame: &[u8]) {
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(self.answer(&format!("send {hex}\n")), "sent");
    }

    /// Every mark heard up to this one, which has to come.
    pub fn until(&self, mark: &str) -> Vec<String> {
        self.answer(&format!("until {mark}\n")).split(' ').map(str::to_owned).collect()
    }

    /// Announces itself with a frame that always passes: everything it sent before has arrived before, or never will.
    pub fn announce(&self) -> String {
        let mark = mark();
        self.send(&frames::ethernet(self.mac, frames::EVERYONE, 0x0806, &arp(self.mac, self.v4, self.v4, &mark)));
        mark
    }

    /// A UDP packet to another station, all fields true.
    pub fn udp(&self, to: &Self, v6: bool, port: u16, mark: &str) -> Vec<u8> {
        let (source, target) = if v6 { (self.v6, to.v6) } else { (self.v4, to.v4) };
        frames::packet(self.mac, to.mac, source, target, &frames::udp(40000 + port % 1000, port, mark))
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        let program = self.program.get_mut().unwrap();
        let _ = program.0.kill();
        let _ = program.0.wait();
    }
}

/// The frame comes from one station to the other.
#[track_caller]
pub fn arrives(from: &Station, to: &Station, what: &str, frame: impl FnOnce(&str) -> Vec<u8>) {
    let mark = mark();
    from.send(&frame(&mark));
    assert!(to.until(&mark).contains(&mark), "{what} did not arrive");
}

/// The frame does not come from one station to the other; something that was sent after it does.
#[track_caller]
pub fn is_lost(from: &Station, to: &Station, what: &str, frame: impl FnOnce(&str) -> Vec<u8>) {
    let mark = mark();
    from.send(&frame(&mark));
    let last = from.announce();
    let seen = to.until(&last);
    assert!(seen.contains(&last), "what was sent after {what} did not arrive: {seen:?}");
    assert!(!seen.contains(&mark), "{what} arrived");
}
