"""A cloud that is out of order, and an engine that dies, while containers come and go. The cloud is the embedded controller in a process of its
own, behind proxy.py. Afterwards, once the collector has run, nothing is left that belongs to nobody, and whoever ran still runs. See suite.py.
"""

import collections
import contextlib
import pathlib
import subprocess

from churn import AGE_JOURNAL, Churn
from machine import BINARY, V4, Failed, check

PROXY = pathlib.Path(__file__).with_name("proxy.py")
STAY = ("s1", "s2", "s3")
SERVICES = "/etc/kuryr/kuryr.conf"

# The same hour for the ports of the embedded controller.
AGE_PORTS = """
import sqlite3
cloud = sqlite3.connect('/var/lib/kuryr/controller/controller.db', timeout=10)
cloud.execute("UPDATE ports SET document = json_set(document, '$.created_at', '2020-01-01T00:00:00Z')")
cloud.commit()
"""


def test_a_cloud_that_answers_503(m):
    ride_out(m, "503")


def test_a_cloud_that_hangs(m):
    ride_out(m, "hang")


def test_a_cloud_that_answers_after_the_deadline(m):
    ride_out(m, "late")


def test_dockerd_killed_while_containers_come_and_go(m):
    m.restart_dockerd("--live-restore")
    start_those_who_stay(m)
    with churning(m) as churn:
        m.await_(lambda: churn.started >= 8, "containers come and go", 60)
        m.end_dockerd("KILL")
        m.start_dockerd("--live-restore")
        before = churn.started
        m.await_(lambda: churn.started >= before + 8, "containers come and go again", 90)
    expect_nothing_of_nobody(m, churn)
    m.clean()
    m.restart_dockerd()


def ride_out(m, trouble):
    with separate_cloud(m) as set_mode:
        start_those_who_stay(m)
        with churning(m) as churn:
            m.await_(lambda: churn.started >= 8, "containers come and go", 60)
            set_mode(trouble)
            refused = churn.refused
            m.await_(lambda: churn.refused >= refused + 4, "the cloud's trouble reaches the engine", 90)
            set_mode("pass")
            before = churn.started
            m.await_(lambda: churn.started >= before + 8, "containers come and go again", 90)
        print(f"        refused with: {churn.last_refusal}", flush=True)
        expect_nothing_of_nobody(m, churn)
        m.clean()


def start_those_who_stay(m):
    m.create_network("n", *V4, "-o", "kuryr.pool.min=2")
    for name in STAY:
        m.start(name)


def churning(m):
    return Churn(m.start, m.remove, Failed)


def expect_nothing_of_nobody(m, churn):
    churn.remove_the_rest()
    there = set(m.docker("ps", "--all", "--format", "{{.Names}}").split())
    check(there == set(STAY), f"containers that should be gone or there: {there ^ set(STAY)}")
    # Whoever comes after it gets an address of its own.
    for name in ("n1", "n2", "n3"):
        m.start(name)
    given = [m.inspect(name)["IPAddress"] for name in (*STAY, "n1", "n2", "n3")]
    check(len(set(given)) == len(given), f"an address was given twice: {given}")
    for address in given[1:]:
        m.expect_reach(STAY[0], address)
    m.remove("n1", "n2", "n3")
    m.await_promises()
    found = collections.Counter(finding["kind"] for finding in m.findings())
    m.end_kuryr()
    m.run("python3", "-c", AGE_JOURNAL)
    m.run("python3", "-c", AGE_PORTS)
    m.start_kuryr()
    kept = {m.inspect(name)["IPAddress"] for name in STAY}
    m.await_none(m.findings, "the collector leaves nothing of nobody", 60)

    def owners():
        """Addresses of ports that are neither a container's nor made ahead, tasks, and links that no port has."""
        ports = m.neutron("ports")["ports"]
        links = {f"tap{port['id'][:11]}" for port in ports}
        return ([port["id"] for port in m.ports() if port["fixed_ips"][0]["ip_address"] not in kept]
                + m.rows("journal.db", "SELECT id FROM record WHERE kind = 'task'")
                + [name for name in m.links() if name.startswith("tap") and name not in links])

    m.await_none(owners, "ports, links and promises are the containers' own", 60)
    check(len(m.ports()) == len(STAY), f"{len(m.ports())} ports for {len(STAY)} containers")
    for name in STAY[1:]:
        m.expect_reach(STAY[0], m.inspect(name)["IPAddress"])
    print(f"        {churn}; left to the collector: {dict(found) or 'nothing'}; after it {len(m.ports())} ports of {len(STAY)} containers", flush=True)


@contextlib.contextmanager
def separate_cloud(m):
    """kuryr with its cloud in another process, behind the proxy, whose mode the block sets."""
    m.end_kuryr()
    credentials = m.openrc()
    proxied = credentials["OS_AUTH_URL"].replace(":9696", ":9797")
    conf = f"""[neutron]
auth_url = {proxied}
username = {credentials['OS_USERNAME']}
password = {credentials['OS_PASSWORD']}
project_name = {credentials['OS_PROJECT_NAME']}
endpoint_override = http://127.0.0.1:9797/networking
[kuryr]
external_network = kuryr
request_timeout = 6
"""
    m.run("sh", "-c", f"umask 077; cat >{SERVICES} <<'END'\n{conf}END\nprintf pass >/run/proxy-mode")
    others = [["python3", str(PROXY), "9797", "9696", "/run/proxy-mode"], [BINARY, "controller"]]
    started = [subprocess.Popen(m.command(*command), stdin=subprocess.DEVNULL, stdout=log, stderr=log) for command in others
               for log in [open(m.log, "a")]]
    m.serve = ["serve"]
    ask = f"import urllib.request as u; u.urlopen('{proxied}')"
    try:
        m.await_(lambda: not m.fails("python3", "-c", ask), "the cloud answers through the proxy")
        m.start_kuryr()
        yield lambda mode: m.run("sh", "-c", f"printf {mode} >/run/proxy-mode.new && mv /run/proxy-mode.new /run/proxy-mode")
        m.end_kuryr()
    finally:
        m.serve = m.SERVE
        for process in started:
            m.signal(process, "TERM")
            process.wait(10)
    m.run("rm", SERVICES)
    m.start_kuryr()
