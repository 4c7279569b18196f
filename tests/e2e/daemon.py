"""kuryr's own end in the midst of work, a disk or a firewall that fails it, starts by the hundred, and what it refuses. See suite.py."""

import concurrent.futures
import contextlib
import subprocess

from machine import BINARY, V4, Failed, check


def test_kill_and_restart_keeps_containers_and_traffic(m):
    m.create_network("n", *V4)
    m.start("c1")
    m.start("c2")
    address = m.inspect("c2")["IPAddress"]
    m.expect_reach("c1", address)
    m.restart_kuryr()
    m.expect_reach("c1", address)
    m.start("c3")
    m.expect_reach("c3", address)


def test_kills_in_bursts_of_starts_and_stops(m):
    """With ports made ahead. What the engine never heard of is the collector's after its time; here an operator does not wait for that."""
    m.create_network("n", *V4, "-o", "kuryr.pool.min=4")
    stay = [f"s{number}" for number in range(4)]
    for name in stay:
        m.start(name)
    started, burst = set(), [f"t{number}" for number in range(16)]

    def start(name):
        with contextlib.suppress(Failed):
            m.start(name)
            started.add(name)

    def in_a_burst(work, names, done):
        """kill -9 as soon as some of it is done; the rest meets the daemon as it goes or comes."""
        with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
            works = [pool.submit(work, name) for name in names]
            m.await_(done, "some of a burst is done", 60)
            m.restart_kuryr()
            for outcome in works:
                outcome.result()

    in_a_burst(start, burst, lambda: len(started) >= 4)
    running = stay + sorted(started)
    given = {m.inspect(name)["IPAddress"] for name in running}
    check(len(given) == len(running), f"{len(given)} addresses for {len(running)} containers")
    m.await_(lambda: given <= {fixed["ip_address"] for port in m.ports() for fixed in port["fixed_ips"]}, "each has its port")

    removed = set()

    def remove(name):
        with contextlib.suppress(Failed):
            m.remove(name)
            removed.add(name)

    in_a_burst(remove, burst, lambda: len(removed) >= 4)
    for name in sorted(set(burst) - removed):
        remove(name)
    check(len(removed) == len(burst), f"{sorted(set(burst) - removed)} cannot be removed")
    for name in stay[1:]:
        m.expect_reach(stay[0], m.inspect(name)["IPAddress"])
    # Ports of the containers that run, those made ahead, and those that the collector knows of: no others.
    kept = {m.inspect(name)["IPAddress"] for name in stay}

    def unknown():
        found = {finding["id"] for finding in m.findings()}
        return [port for port in m.ports() if port["fixed_ips"][0]["ip_address"] not in kept and port["id"] not in found]

    m.await_(lambda: not unknown(), "each port is a container's or known to belong to nobody", 60)
    found = m.findings()
    print(f"        {len(started)} of {len(burst)} started, {len(removed)} removed, {len(found)} left to the collector", flush=True)
    for finding in found:
        if finding["kind"] == "lost_port":
            m.neutron(f"ports/{finding['id']}", "DELETE")


def test_a_full_disk_refuses_starts_and_no_stop(m):
    """The journal's disk is full, and with it that of the embedded cloud."""
    with small_disk(m):
        m.create_network("n", *V4)
        for name in ("c1", "c2", "c3"):
            m.start(name)
        stays = m.inspect("c2")["IPAddress"]
        m.run("sh", "-c", "dd if=/dev/zero of=/var/lib/kuryr/filler bs=4k 2>&1; true")
        try:
            m.start("x1")
        except Failed as refusal:
            print(f"        a start says: {str(refusal).splitlines()[-1][-300:]}", flush=True)
            check("full" in str(refusal), f"the error does not say that the disk is full: {refusal}")
        else:
            raise AssertionError("a start was not refused")
        m.remove("x1", "c1")
        m.expect_reach("c3", stays)
        m.run("rm", "/var/lib/kuryr/filler")
        m.start("c4")
        m.expect_reach("c4", stays)
        m.remove("c2", "c3", "c4")
        m.await_none(m.leftovers, "what a full disk has put off is done", 60)
        m.have_network_go("n")
        m.await_none(lambda: m.rows("journal.db", "SELECT kind, id FROM record"), "the journal is empty", 30)


@contextlib.contextmanager
def small_disk(m):
    """Puts kuryr's state on a disk of its own for a while. The daemon ends in order before, or its write-ahead log would be there with room in it."""
    m.end_kuryr()
    m.run("sh", "-c", "cp -a /var/lib/kuryr /run/kept && mount -t tmpfs -o size=12m,mode=700 tmpfs /var/lib/kuryr && mv /run/kept/* /var/lib/kuryr")
    m.start_kuryr()
    yield
    m.kill_kuryr()
    m.run("sh", "-c", "mv /var/lib/kuryr/* /run/kept && umount /var/lib/kuryr && cp -a /run/kept/. /var/lib/kuryr && rm -r /run/kept")
    m.start_kuryr()


def test_flushed_firewall_is_healed(m):
    m.create_network("n", *V4)
    m.start("c1")
    m.run("nft", "flush", "ruleset")
    m.await_(lambda: m.reaches("c1", "198.18.0.1"), "the way out is healed", 90)


def test_sigterm_ends_cleanly(m):
    m.end_kuryr()
    m.start_kuryr()


def test_second_daemon_is_refused(m):
    done = subprocess.run(m.command(BINARY, "serve", "--embedded"), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    check(done.returncode != 0, "a second daemon started")
    check(m.answers(), "the first daemon no longer answers")


def test_200_in_a_row_leave_nothing(m):
    m.create_network("n", *V4)
    for _ in range(200):
        m.docker("run", "--rm", "--pull", "never", "--network", "n", "busybox-e2e", "true")
    m.expect_nothing_left()


def test_50_in_parallel_leave_nothing(m):
    m.create_network("n", *V4)
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        list(pool.map(lambda i: m.start(f"p{i}"), range(50)))
    addresses = {m.inspect(f"p{i}")["IPAddress"] for i in range(50)}
    check(len(addresses) == 50, f"{len(addresses)} addresses for 50 containers")
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        list(pool.map(lambda i: m.remove(f"p{i}"), range(50)))
    m.expect_nothing_left()


def test_bad_input_is_refused_in_one_sentence(m):
    m.create_network("n", "--subnet", "10.7.0.0/29", "--gateway", "10.7.0.1")
    m.start("c1", "--ip", "10.7.0.2")
    m.expect_refused(("in use", "already"), lambda: m.start("x1", "--ip", "10.7.0.2"))
    m.expect_refused(("outside", "not in", "does not", "no configured subnet"), lambda: m.start("x2", "--ip", "10.99.0.2"))
    for number in range(3, 7):
        m.start(f"f{number}")
    m.expect_refused(("no more", "exhausted", "no free"), lambda: m.start("x3"))
