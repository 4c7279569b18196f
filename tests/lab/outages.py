"""Neutron away or out of room while containers come and go, on a lab that is up. Afterwards, once the collector has run, nothing is left that belongs
to nobody, no address was given twice, and every container that ran still runs.
"""

import collections
import json
import sys
import time

from faults import FIRST, NETWORK, create, details, difference, everything, links, promises, put_right, restart, set_quota, start, stop
from lab import LONG, REPO, docker, eventually, on, openstack, remove_network, up

sys.path.append(str(REPO / "tests/e2e"))

from churn import AGE_JOURNAL, Churn  # noqa: E402

STAY = ("s1", "s2", "s3")
NEXT = ("n1", "n2", "n3")
AWAY = 60  # seconds; Neutron's answers to agents and engines are over by then
POOLED = 3
ENOUGH = 6  # containers that have come, to say that they do


def step_outages(cloud):
    assert cloud == "linuxbridge", "the server that is stopped here is the one of the linuxbridge cloud"
    for outage in (neutron_killed, quota_shrunk_under_the_pool):
        eventually(promises, "all that was promised before is done")
        before = everything()
        try:
            print(f"   {outage.__name__.replace('_', ' ')}", flush=True)
            docker(FIRST, *create(NETWORK, "10.66.0.0/24", "-o", f"kuryr.pool.min={POOLED}"))
            for name in STAY:
                # A start that finds a port made ahead waits for nothing.
                eventually(lambda: made_ahead() < POOLED, "ports are made ahead", LONG)
                docker(FIRST, *start(name))
            churn = Churn(lambda name: docker(FIRST, *start(name)), lambda name: docker(FIRST, "rm", "--force", name), AssertionError)
            outage(cloud, churn)
            expect_nothing_of_nobody(churn)
            docker(FIRST, "rm", "--force", *STAY)
            have_network_go(cloud)
        finally:
            put_right(cloud)
        # A port made ahead may have come too late for kuryr, and holds the network.
        an_hour_later()
        put_right(cloud)
        eventually(lambda before=before: difference(before, everything()), f"nothing is left of: {outage.__name__}")


def have_network_go(cloud):
    """After many containers that went at once on a busy machine the engine may have lost count of its endpoints: it refuses for ever with none
    there, and counts anew when it starts."""
    try:
        remove_network(FIRST, NETWORK)
    except AssertionError:
        there = docker(FIRST, "network", "inspect", "--format", "{{len .Containers}}", NETWORK).strip()
        assert there == "0", f"the engine has {there} endpoints on a network without containers"
        print("      the engine has lost count of its endpoints, and is started again", flush=True)
        stop(FIRST, "dockerd")
        up(cloud)
        remove_network(FIRST, NETWORK)


def neutron_killed(cloud, churn):
    with churn:
        eventually(lambda: churn.started < ENOUGH, "containers come and go", LONG)
        stop("controller", "neutron-server")
        time.sleep(AWAY)
        assert churn.refused, "nothing was refused without Neutron"
        up(cloud)
        back, before = time.monotonic(), churn.started
        eventually(lambda: churn.started < before + ENOUGH, "containers come and go again", LONG)
    print(f"      refused with: {churn.last_refusal}", flush=True)
    eventually(promised, "all that was promised is done", LONG)
    print(f"      {time.monotonic() - back:.0f} s after Neutron was back all that was promised was done", flush=True)


def quota_shrunk_under_the_pool(_, churn):
    project = openstack("project", "show", "admin")["id"]
    with churn:
        eventually(lambda: churn.started < ENOUGH, "containers come and go", LONG)
        set_quota(project, {"port": len(STAY)})
        eventually(lambda: "OverQuota" not in churn.last_refusal, "the quota refuses a start", LONG)
        refusal = churn.last_refusal
        set_quota(project, {"port": -1})
        before = churn.started
        eventually(lambda: churn.started < before + ENOUGH, "containers come and go again", LONG)
    print(f"      refused with: {refusal}", flush=True)
    eventually(promised, "all that was promised is done", LONG)


def expect_nothing_of_nobody(churn):
    churn.remove_the_rest()
    there = set(docker(FIRST, "ps", "--all", "--format", "{{.Names}}").split())
    assert there == set(STAY), f"containers that should be gone or there: {there ^ set(STAY)}"
    for name in NEXT:
        docker(FIRST, *start(name))
    given = [address(name) for name in STAY + NEXT]
    assert len(set(given)) == len(given), f"an address was given twice: {given}"
    docker(FIRST, "rm", "--force", *NEXT)
    eventually(promised, "all that was promised is done", LONG)
    found = collections.Counter(finding["kind"] for finding in findings())
    an_hour_later()
    eventually(ownerless, "ports and links are those of the containers, and those made ahead")
    for name in STAY[1:]:
        docker(FIRST, "exec", STAY[0], "ping", "-c", "3", address(name))
    print(f"      {churn}; left to the collector: {dict(found) or 'nothing'}; after it {len(STAY)} containers with a port each", flush=True)


def an_hour_later():
    """The time of all that the collector looks at is over, and it looks."""
    # Not under a daemon that may write a record anew.
    on(FIRST, "sh", "-c", "kill $(cat /run/lab/kuryr.pid); while kill -0 $(cat /run/lab/kuryr.pid) 2>/dev/null; do sleep 0.1; done")
    on(FIRST, "python3", "-c", AGE_JOURNAL)
    on("controller", "mariadb", "neutron", "-e", "UPDATE standardattributes SET created_at = created_at - INTERVAL 1 HOUR WHERE resource_type = 'ports'")
    restart(FIRST)
    eventually(findings, "the collector leaves nothing of nobody")


def made_ahead():
    return len([port for port in details("port") if port["name"] == "kuryr-pool-port" and port["status"] == "ACTIVE"])


def ownerless():
    """Ports of this host that are neither a container's nor made ahead, containers without a port, and links that no port has."""
    ports = [port for port in details("port") if port["binding:host_id"] == FIRST and port["device_owner"] == "compute:kuryr"]
    held = {fixed["ip_address"] for port in ports if port["name"] != "kuryr-pool-port" for fixed in port["fixed_ips"]}
    taps = {f"tap{port['id'][:11]}" for port in details("port")}
    return held ^ {address(name) for name in STAY} | {link for link in links(FIRST) if link.startswith("tap")} - taps


def promised():
    """Tasks in the journal that somebody waits for; what is looked for is the collector's."""
    question = "SELECT body FROM record WHERE kind = 'task' AND json_extract(body, '$.work.Seek') IS NULL"
    script = f"import sqlite3; print(*(row[0] for row in sqlite3.connect('file:/var/lib/kuryr/journal.db?mode=ro', uri=True).execute({question!r})), sep='\\n')"
    return on(FIRST, "python3", "-c", script).strip()


def findings():
    return json.loads(on(FIRST, "kuryr", "gc", "--dry-run", "--format", "json"))["findings"]


def address(name):
    return docker(FIRST, "container", "inspect", "--format", f'{{{{ (index .NetworkSettings.Networks "{NETWORK}").IPAddress }}}}', name).strip()
