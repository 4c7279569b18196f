"""Faults of the cloud and wrong settings, on a lab that is up: each is refused in a sentence that names the object and the remedy, within an engine's
patience, and leaves nothing behind in Neutron, on the hosts and in the journals.
"""

import contextlib
import json
import re
import subprocess
import time

from lab import HOSTS, LONG, TOOL, docker, eventually, lab, on, openstack, remove_network, up

FIRST, SECOND = HOSTS
NETWORK = "kuryr-faults"
RANGE = "10.66.0.0/24"
REQUEST_ID = r"\(req-[0-9a-f-]{36}\)"
PATIENCE = 30  # seconds; an engine gives a plugin up after this time

RESTART = """cd /etc/kuryr; [ -e kuryr.conf.right ] || cp --preserve kuryr.conf kuryr.conf.right
    kill $(cat /run/lab/kuryr.pid); while kill -0 $(cat /run/lab/kuryr.pid) 2>/dev/null; do sleep 0.1; done
    sed "$1" kuryr.conf.right >kuryr.conf
    setsid kuryr serve </dev/null >>/var/log/lab/kuryr.log 2>&1 & echo $! >/run/lab/kuryr.pid
    for i in $(seq 100); do
        curl --silent --fail --output /dev/null --unix-socket /run/docker/plugins/kuryr.sock --data '' http://kuryr/Plugin.Activate && exit; sleep 0.1
    done; exit 1"""

# The whole process group: Neutron's workers would serve on without their parent.
STOP = 'kill -KILL -- -$(cat /run/lab/$1.pid); while kill -0 $(cat /run/lab/$1.pid) 2>/dev/null; do sleep 0.1; done'


def step_faults(cloud):
    assert cloud == "linuxbridge", "the services that are stopped here are those of the linuxbridge cloud"
    for fault in (wrong_password, wrong_url, keystone_down, neutron_down, agent_down, hostname_of_no_agent, host_by_configuration, plugging_is_awaited,
                  quota, network_of_another_project, network_deleted_behind_our_back, race_for_a_pool):
        eventually(promises, "all that was promised before is done")
        before = everything()
        try:
            print(f"   {fault.__name__.replace('_', ' ')}", flush=True)
            fault(cloud)
        finally:
            put_right(cloud)
        eventually(lambda before=before: difference(before, everything()), f"nothing is left of: {fault.__name__}")


def put_right(cloud):
    """All services and the configuration of kuryr, as before."""
    for host in HOSTS:
        if on(host, "sh", "-c", "ls /etc/kuryr").count("kuryr.conf.right"):
            restart(host)
            on(host, "rm", "/etc/kuryr/kuryr.conf.right")
    up(cloud)


# The faults


def wrong_password(_):
    restart(FIRST, "s/^password = .*/password = wrong/")
    refused(FIRST, create(), "Keystone answered 401", "check user, password", REQUEST_ID)


def wrong_url(_):
    for url, *words in (
        ("http://172.16.1.115:5999/v3", "no connection to Keystone at http://172.16.1.115:5999/v3", "check that the address is right"),
        ("http://172.16.1.115:9696/v3", "Keystone", "auth_url"),
        ("http://172.16.1.200:5000/v3", "172.16.1.200", "check"),
        ("http://no-such-host:5000/v3", "no connection to Keystone at http://no-such-host:5000/v3", "check that the address is right"),
    ):
        restart(FIRST, f"s#^auth_url = .*#auth_url = {url}#")
        refused(FIRST, create(), *words)


def keystone_down(cloud):
    """At the start of kuryr, and under a kuryr that has its token."""
    stop("controller", "keystone")
    restart(FIRST)
    refused(FIRST, create(), "no connection to Keystone at http://172.16.1.115:5000/v3", "check that the address is right and that the service runs")
    up(cloud)
    docker(FIRST, *create())
    run(FIRST, "kuryr-c1")
    let_dhcp_settle()

    stop("controller", "keystone")
    # The token that kuryr holds is good, and Neutron has seen it just now.
    run(FIRST, "kuryr-c2")
    docker(FIRST, "rm", "--force", "kuryr-c1", "kuryr-c2")
    remove_network(FIRST, NETWORK)
    up(cloud)


def neutron_down(cloud):
    """What is removed meanwhile is gone for the engine at once, and from Neutron when that is back, also when kuryr ended in between."""
    stop("controller", "neutron-server")
    restart(FIRST)
    gone = ("no connection to Neutron at http://172.16.1.115:9696", "check that the address is right and that the service runs")
    refused(FIRST, create(), *gone)
    up(cloud)

    docker(FIRST, *create())
    for container in ("kuryr-c1", "kuryr-c2", "kuryr-c3"):
        run(FIRST, container)
    # The DHCP agent has a tap of its own beside them.
    taps = {f"tap{port['id'][:11]}" for port in ports()}
    assert len(taps) == 3 and taps <= set(links(FIRST)), f"{taps} are not all among {links(FIRST)}"
    let_dhcp_settle()
    stop("controller", "neutron-server")
    refused(FIRST, start("kuryr-c4"), *gone)
    docker(FIRST, "rm", "--force", "kuryr-c4", "kuryr-c1")
    docker(FIRST, "stop", "--time", "0", "kuryr-c2")
    restart(FIRST)
    docker(FIRST, "rm", "--force", "kuryr-c2", "kuryr-c3")
    remove_network(FIRST, NETWORK)
    eventually(lambda: taps & set(links(FIRST)), "links do not wait for the cloud")
    up(cloud)


def agent_down(cloud):
    """Neutron finds an agent dead when it has heard nothing of it for 75 s, which is made to have passed."""
    docker(SECOND, *create())
    stop(SECOND, "linuxbridge-agent")
    dead = "UPDATE agents SET heartbeat_timestamp = heartbeat_timestamp - INTERVAL 1 HOUR WHERE host = 'network-2'"
    on("controller", "mariadb", "neutron", "-e", dead)
    refused(SECOND, start("kuryr-c1"), "binding_failed", "network-2", "agent")
    docker(SECOND, "rm", "kuryr-c1")
    up(cloud)
    run(SECOND, "kuryr-c1")
    remove(SECOND, "kuryr-c1")


def hostname_of_no_agent(_):
    restart(FIRST, "/^.DEFAULT.$/a host = nowhere")
    docker(FIRST, *create())
    refused(FIRST, start("kuryr-c1"), "binding_failed", "nowhere", "host")
    remove(FIRST, "kuryr-c1")


def host_by_configuration(_):
    """The name of the machine is another than that of its agent."""
    docker(FIRST, *create())
    run(FIRST, "kuryr-c1")
    assert hosts_of_ports() == {FIRST}, hosts_of_ports()
    docker(FIRST, "rm", "--force", "kuryr-c1")
    on(FIRST, "hostname", "elsewhere.example.org")
    try:
        restart(FIRST, f"/^.DEFAULT.$/a host = {FIRST}")
        run(FIRST, "kuryr-c1")
        run(FIRST, "kuryr-c2")
        assert hosts_of_ports() == {FIRST}, hosts_of_ports()
        expect_wired()
        docker(FIRST, "exec", "kuryr-c2", "ping", "-c", "3", address(FIRST, "kuryr-c1"))
        remove(FIRST, "kuryr-c1", "kuryr-c2")
    finally:
        on(FIRST, "hostname", FIRST)


def plugging_is_awaited(cloud):
    """A container starts when its port is ACTIVE, or not at all. Its MTU is the one that Neutron tells."""
    docker(FIRST, *create())
    # The agents have the network's own things to do before the first port of it, and as long as they want.
    run(FIRST, "kuryr-c1")
    eventually(unwired, "the network's first port is ACTIVE", LONG)
    let_dhcp_settle()
    docker(FIRST, "rm", "--force", "kuryr-c1")
    restart(FIRST, "/^.neutron.$/a vif_plugging_is_fatal = true\\nvif_plugging_timeout = 20")
    run(FIRST, "kuryr-c1")
    assert [port["status"] for port in ports()] == ["ACTIVE"], ports()
    neutrons = next(found["mtu"] for found in details("network") if found["id"] == ports()[0]["network_id"])
    containers = docker(FIRST, "exec", "kuryr-c1", "cat", "/sys/class/net/eth0/mtu").strip()
    assert containers == str(neutrons) != "1500", f"Neutron says {neutrons}, the container has {containers}"

    # Alive for Neutron, and deaf.
    on(FIRST, "bash", "-c", "kill -STOP -- -$(cat /run/lab/linuxbridge-agent.pid)")
    try:
        restart(FIRST, "/^.neutron.$/a vif_plugging_is_fatal = true\\nvif_plugging_timeout = 5")
        refused(FIRST, start("kuryr-c2"), "ACTIVE", "5 s", FIRST, "agent")
    finally:
        on(FIRST, "bash", "-c", "kill -CONT -- -$(cat /run/lab/linuxbridge-agent.pid)")
    remove(FIRST, "kuryr-c1", "kuryr-c2")


def quota(_):
    docker(FIRST, *create())
    project = openstack("project", "show", "admin")["id"]
    has = {kind: len([found for found in details(kind) if found["project_id"] == project]) for kind in ("port", "network")}
    try:
        set_quota(project, has)
        refused(FIRST, start("kuryr-c1"), "OverQuota", "on network", "quota raised", REQUEST_ID)
        refused(FIRST, create("kuryr-second", "10.67.0.0/24"), "create network", "OverQuota", "quota raised", REQUEST_ID)
    finally:
        set_quota(project, {"port": -1, "network": -1})
    remove(FIRST, "kuryr-c1")


def set_quota(project, limits):
    """Past `openstack quota set`, which wants a compute service as well."""
    body = json.dumps({"quota": limits})
    on("controller", "sh", "-c", f""". /root/keystonerc_admin; curl --silent --fail --output /dev/null --request PUT --data '{body}' \\
        --header "X-Auth-Token: $(openstack token issue --format value --column id)" --header "Content-Type: application/json" \\
        http://controller:9696/v2.0/quotas/{project}""")


def network_of_another_project(_):
    """kuryr as a user who sees its own project only."""
    lab("openstack", "project", "create", "plain")
    lab("openstack", "user", "create", "--project", "plain", "--password", "pass", "plain")
    try:
        lab("openstack", "role", "add", "--user", "plain", "--project", "plain", "member")
        theirs = openstack("network", "create", "theirs")["id"]
        lab("openstack", "subnet", "create", "--network", "theirs", "--subnet-range", RANGE, "theirs")
        restart(FIRST, "s/^username = .*/username = plain/; s/^project_name = .*/project_name = plain/")
        refused(FIRST, create(NETWORK, RANGE, "-o", f"neutron.net.uuid={theirs}"), theirs, "does not exist", "project")
        # It may have networks, and no port of a host.
        docker(FIRST, *create())
        refused(FIRST, start("kuryr-c1"), "create port", "403", "rights", REQUEST_ID)
        remove(FIRST, "kuryr-c1")
        assert openstack("network", "show", "theirs")["subnets"], "the other project's network was changed"
        eventually(lambda: [found["Name"] for found in openstack("network", "list") if found["Name"].startswith("kuryr")], "the network goes")
    finally:
        for kind, name in (("network", "theirs"), ("user", "plain"), ("project", "plain")):
            lab("openstack", kind, "delete", name)


def network_deleted_behind_our_back(_):
    docker(FIRST, *create())
    run(FIRST, "kuryr-c1")
    network = ports()[0]["network_id"]
    lab("openstack", "port", "delete", *(port["id"] for port in ports()))
    lab("openstack", "network", "delete", network)
    refused(FIRST, start("kuryr-c2"), network, "404", "check that the object still exists", REQUEST_ID)
    remove(FIRST, "kuryr-c1", "kuryr-c2")


def race_for_a_pool(_):
    """Two hosts make a network of one range at the same moment: each gets its own, or is told why not."""
    for _ in range(3):
        racing = [(host, subprocess.Popen([TOOL, "exec", host, "docker", *create()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                          text=True)) for host in HOSTS]
        said = {host: process.communicate(timeout=2 * PATIENCE)[1] for host, process in racing}
        winners = [host for host, process in racing if process.returncode == 0]
        assert winners, f"nobody got a network: {said}"
        for host, process in racing:
            assert process.returncode == 0 or "again" in said[host], f"{host}: {said[host]}"
        for host in winners:
            run(host, "kuryr-c1")
        networks = {port["network_id"] for port in ports()}
        assert len(networks) == len(winners), f"{winners} have ports on {networks}"
        for host in winners:
            remove(host, "kuryr-c1")
        eventually(ports, "the ports go")


# Commands


def create(name=NETWORK, cidr=RANGE, *options):
    return ["network", "create", "--driver=kuryr", "--ipam-driver=kuryr", "--subnet", cidr, *options, name]


def start(container):
    return ["run", "--detach", "--name", container, f"--net={NETWORK}", "busybox", "sleep", "1000000"]


def run(host, container):
    docker(host, *start(container))


def remove(host, *containers):
    docker(host, "rm", "--force", *containers)
    let_dhcp_settle()
    remove_network(host, NETWORK)


def let_dhcp_settle():
    """Neutron's DHCP agent, when a network goes that it is about to serve, tries on for five minutes; and while all its threads do that, no port of
    the cloud becomes ACTIVE."""
    if not any(agent["agent_type"] == "DHCP agent" for agent in details("agent")):
        return

    def unserved():
        served = {port["network_id"] for port in details("port") if port["device_owner"] == "network:dhcp" and port["status"] == "ACTIVE"}
        return {subnet["network_id"] for subnet in details("subnet") if subnet["enable_dhcp"]} - served

    with contextlib.suppress(AssertionError):
        eventually(unserved, "the DHCP agent serves all networks")


def refused(host, command, *words):
    """The docker command fails within the engine's patience, and what it prints has all the words, which are regular expressions."""
    began = time.monotonic()
    done = subprocess.run([TOOL, "exec", host, "docker", *command], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    took = time.monotonic() - began
    sentence = done.stderr.strip()
    print(f"      {took:.1f} s: {sentence}", flush=True)
    assert done.returncode != 0, f"docker {' '.join(command)} went well on {host}"
    missing = [word for word in words if not re.search(word, sentence)]
    assert not missing, f"{missing} not in: {sentence}"
    assert took < PATIENCE, f"took {took:.0f} s: {sentence}"


def restart(host, change=""):
    """kuryr anew, with a kuryr.conf that a sed script made of the right one."""
    on(host, "sh", "-c", RESTART, "restart", change)


def stop(host, service):
    """Kills a service of the lab; `up` starts it again."""
    on(host, "bash", "-c", STOP, "stop", service)


# What there is


def details(kind):
    return json.loads(on("controller", "sh", "-c", f"""token=$(. /root/keystonerc_admin; openstack token issue --format value --column id)
        curl --silent --fail --header "X-Auth-Token: $token" http://172.16.1.115:9696/v2.0/{kind}s"""))[f"{kind}s"]


def ports():
    """Containers' ports, as Neutron shows them to its administrator."""
    return [port for port in details("port") if port["device_owner"] == "compute:kuryr"]


def hosts_of_ports():
    return {port["binding:host_id"] for port in ports()}


def expect_wired():
    eventually(unwired, "all containers' ports are ACTIVE")


def unwired():
    return [port["id"] for port in ports() if port["status"] != "ACTIVE"]


def address(host, container):
    return docker(host, "container", "inspect", "--format", f'{{{{ (index .NetworkSettings.Networks "{NETWORK}").IPAddress }}}}', container).strip()


def links(host):
    return [line.split("@")[0] for line in on(host, "ip", "-brief", "link").splitlines() if re.match(r"(tap|t_c)\S*@", line)]


def journal(host):
    """What the journal of a host holds, as the daemon tells it."""
    text = on(host, "curl", "--silent", "--fail", "--unix-socket", "/run/kuryr/metrics.sock", "http://kuryr/metrics")
    return [line for line in text.splitlines() if re.match(r"kuryr_(pools|networks|ports|journal_tasks) (?!0$)", line)]


def promises():
    """What a host has put off, which is gone a moment later."""
    return [line for host in HOSTS for line in journal(host) if "journal_tasks" in line]


def everything():
    """Names of Neutron's objects, but for the ports of its own services; links of containers; what is in the journals."""
    found = set()
    for kind in ("network", "subnet", "subnetpool", "port"):
        found |= {f"{kind} {each['id']} {each['name']}" for each in details(kind) if not each.get("device_owner", "").startswith("network:")}
    for host in HOSTS:
        found |= {f"{link} on {host}" for link in links(host)}
        found |= {f"{line} on {host}" for line in journal(host)}
    return found


def difference(before, after):
    return {f"new: {each}" for each in after - before} | {f"gone: {each}" for each in before - after}
