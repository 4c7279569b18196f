"""What the suite does on a cloud: functions `step_…` of the cloud's name, each upon a lab that is up, with our plugin or the Python's."""

import configparser
import json
import re
import subprocess
import sys

import book
from faults import step_faults  # noqa: F401
from lab import HOSTS, REPO, TOOL, docker, eventually, expect_nothing_of_kuryr, lab, on, openstack, remove_network, up
from nested import step_nested  # noqa: F401
from outages import step_outages  # noqa: F401
from swarm import step_swarm  # noqa: F401

CONTAINERS = ("kuryr-c1", "kuryr-c2")
NETWORK = "kuryr"

# The original walkthrough's file, with the keys of its time and nothing else.
OLD_CONFIGURATION = """[keystone_client]
auth_uri = http://172.16.1.115:35357/v2.0
admin_user = admin
admin_password = pass
admin_tenant_name = admin
[neutron_client]
neutron_uri = http://172.16.1.115:9696"""

CONFORMANCE = {"linuxbridge": "lab", "ovn": "lab-ovn", "ovs": "lab-ovs", "ovs-hybrid": "lab-ovs-hybrid"}


# The walkthrough


def step_up_again(cloud):
    """A second `up` changes nothing: the same processes run."""
    before = [on(host, "cat", "/run/lab/kuryr.pid", "/run/lab/dockerd.pid") for host in HOSTS]
    up(cloud)
    assert before == [on(host, "cat", "/run/lab/kuryr.pid", "/run/lab/dockerd.pid") for host in HOSTS], "a second `up` started services anew"


def step_walkthrough(_):
    """Twice, since the second has to remove what the first made."""
    for _ in range(2):
        walk()
    remove_walkthrough()
    expect_nothing_of_kuryr("of the walkthrough")


def step_old_configuration(cloud):
    """kuryr.conf as the original walkthrough had it: v2.0 of a Keystone that has only v3, on the old port, and the admin_* keys."""
    script = f"""cat >/etc/kuryr/kuryr.conf <<'END'
{OLD_CONFIGURATION}
END
        kill $(cat /run/lab/kuryr.pid); while kill -0 $(cat /run/lab/kuryr.pid) 2>/dev/null; do sleep 0.1; done"""
    for host in HOSTS:
        on(host, "sh", "-c", script)
    up(cloud)
    assert on("network-1", "cat", "/etc/kuryr/kuryr.conf").strip() == OLD_CONFIGURATION, "`up` wrote another kuryr.conf"
    walk()
    remove_walkthrough()
    expect_nothing_of_kuryr("of the walkthrough with the old configuration")


def walk():
    printed = lab("walkthrough")
    assert "admin" in printed and "neutron" in printed, printed
    assert "3 packets transmitted" in printed and "100% packet loss" not in printed, printed


def remove_walkthrough():
    for host, container in zip(HOSTS, CONTAINERS, strict=True):
        docker(host, "rm", "--force", container)
    for host in reversed(HOSTS):
        remove_network(host, NETWORK)


# Security groups


def step_security_groups(_):
    """The cloud's filter is on the container's link: without a group nothing comes in, and with its group again it answers."""
    walk()
    first = address(HOSTS[0], CONTAINERS[0])
    port = openstack("port", "list", "--fixed-ip", f"ip-address={first}")[0]["ID"]
    groups = openstack("port", "show", port)["security_group_ids"]
    expect_ping(HOSTS[1], CONTAINERS[1], first)
    lab("openstack", "port", "set", "--no-security-group", port)
    eventually(lambda: answers(first), "nothing answers without a security group")
    for group in groups:
        lab("openstack", "port", "set", "--security-group", group, port)
    eventually(lambda: not answers(first), "the security group lets the ping in again")
    remove_walkthrough()
    expect_nothing_of_kuryr("of the walkthrough with security groups")


def answers(there):
    """Whether the first container answers the second."""
    ping = ["docker", "exec", CONTAINERS[1], "ping", "-c", "1", "-W", "2", there]
    return subprocess.run([TOOL, "exec", HOSTS[1], *ping], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False).returncode == 0


def step_hybrid(cloud):
    """Neutron asks for the hybrid plug, and the agent filters on the bridge that kuryr made for it."""
    assert cloud == "ovs-hybrid", "only there the agent has the older firewall driver"
    walk()
    for host, container in zip(HOSTS, CONTAINERS, strict=True):
        port = openstack("port", "list", "--fixed-ip", f"ip-address={address(host, container)}")[0]["ID"]
        details = openstack("port", "show", port)["binding_vif_details"]
        assert "ovs_hybrid_plug" in str(details) and "True" in str(details), f"Neutron says {details} of port {port}"
        short = port[:11]
        links = {name: masters(host).get(name) for name in (f"tap{short}", f"qvb{short}", f"qvo{short}")}
        assert links[f"tap{short}"] == links[f"qvb{short}"] == f"qbr{short}", f"{host} has {links}"
        assert f"qvo{short}" in on(host, "ovs-vsctl", "list-ports", "br-int").split(), f"br-int of {host} has no qvo{short}"
        rules = on(host, "iptables-save")
        assert f"--physdev-out tap{short}" in rules and f"--physdev-in tap{short}" in rules, f"no rule of {host} is of tap{short}:\n{rules}"
    remove_walkthrough()
    expect_nothing_of_kuryr("of the hybrid plug")


def masters(host):
    """The links of a host, each with its bridge."""
    return {link["ifname"]: link.get("master") for link in json.loads(on(host, "ip", "-json", "link"))}


# Published ports


def step_published_ports(cloud):
    """`-p`, with the Python and with ours: the host forwards nothing. Ours lets everybody in at the container's own address, the Python only the
    members of its group. On one host: of two the Python leaves things."""
    host = HOSTS[0]
    serve = "while true; do echo hello | nc -l -p 80; done"
    connect = ["python3", "-c", "import socket; socket.create_connection(('127.0.0.1', 8080), 2)"]
    strangers = openstack("security", "group", "create", "strangers")["id"]
    for plugin in ("python", "kuryr"):
        up(cloud, plugin)
        create_network(host)
        for container in ("kuryr-member", "kuryr-stranger"):
            start(host, container)
        stranger = openstack("port", "list", "--fixed-ip", f"ip-address={address(host, 'kuryr-stranger')}")[0]["ID"]
        lab("openstack", "port", "set", "--no-security-group", "--security-group", strangers, stranger)
        docker(host, "run", "--detach", "--name", "kuryr-p", f"--net={NETWORK}", "--publish", "8080:80", "busybox", "sh", "-c", serve)
        eventually(unwired, "all containers' ports are ACTIVE")

        def heard_by(container, there=address(host, "kuryr-p")):
            return not fails(host, ["docker", "exec", container, "sh", "-c", f"nc -w 2 {there} 80 </dev/null | grep hello"])

        eventually(lambda: not heard_by("kuryr-member"), "a container of the same group hears the published port")
        if plugin == "kuryr":
            eventually(lambda: not heard_by("kuryr-stranger"), "a container of another group hears the published port")
        else:
            assert not heard_by("kuryr-stranger"), "the Python has opened the published port"
        assert fails(host, connect), f"with {plugin} somebody listens for the published port on the host"
        remove_one_by_one(host, "kuryr-p", "kuryr-member", "kuryr-stranger")
        remove_network(host, NETWORK)
        expect_nothing_of_kuryr(f"of the published ports with {plugin}")
    lab("openstack", "security", "group", "delete", strangers)


def remove_one_by_one(host, *containers):
    """Of containers removed at the same time the Python now and then leaves a link: its pyroute2 fails with "File exists"."""
    for container in containers:
        docker(host, "rm", "--force", container)


def fails(host, command):
    return subprocess.run([TOOL, "exec", host, *command], stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode != 0


# Going over. Containers run on while the plugin under them is exchanged.


def step_python_to_ours(cloud):
    """Ours serves the Python's network and containers on both hosts, and removes them without a rest."""
    up(cloud, "python")
    walk()
    up(cloud, "kuryr")
    expect_running(HOSTS)
    first, second = (address(host, container) for host, container in zip(HOSTS, CONTAINERS, strict=True))
    expect_ping(HOSTS[1], CONTAINERS[1], first)

    # A container of ours beside the Python's, and one of the Python's started again by ours.
    start(HOSTS[0], "kuryr-new")
    expect_ping(HOSTS[0], "kuryr-new", second)
    docker(HOSTS[1], "restart", "--time", "0", CONTAINERS[1])
    expect_ping(HOSTS[1], CONTAINERS[1], first)

    docker(HOSTS[0], "rm", "--force", "kuryr-new")
    remove_walkthrough()
    expect_nothing_of_kuryr("of what the Python made and ours removed")


def step_ours_to_python(cloud):
    """The Python serves our network and container and removes them. On one host: of two it leaves things of its own as well."""
    up(cloud, "kuryr")
    host = HOSTS[0]
    create_network(host)
    start(host, "kuryr-c1")
    start(host, "kuryr-c3")
    first = address(host, "kuryr-c1")
    expect_ping(host, "kuryr-c3", first)

    up(cloud, "python")
    expect_running([host])
    expect_ping(host, "kuryr-c3", first)
    start(host, "kuryr-new")
    expect_ping(host, "kuryr-new", first)
    # A stopped one, a removed one that ran, and one that the Python started itself.
    docker(host, "stop", "--time", "0", "kuryr-c3")
    docker(host, "rm", "kuryr-c3")
    remove_one_by_one(host, "kuryr-c1", "kuryr-new")
    remove_network(host, NETWORK)
    expect_nothing_of_kuryr("of what ours made and the Python removed")
    up(cloud, "kuryr")


def create_network(host):
    docker(host, "network", "create", "--driver=kuryr", "--ipam-driver=kuryr", "--subnet", "10.8.0.0/24", "--gateway", "10.8.0.1", NETWORK)


def start(host, container):
    docker(host, "run", "--detach", "--name", container, f"--net={NETWORK}", "busybox", "sleep", "1000000")


def address(host, container):
    return docker(host, "container", "inspect", "--format", f'{{{{ (index .NetworkSettings.Networks "{NETWORK}").IPAddress }}}}', container).strip()


def expect_running(hosts):
    for host, container in zip(hosts, CONTAINERS):
        assert docker(host, "container", "inspect", "--format", "{{.State.Running}}", container).strip() == "true", f"{container} has ended"


def unwired():
    ports = openstack("port", "list", "--device-owner", "compute:kuryr")
    return [port for port in ports if port["Status"] != "ACTIVE"]


def expect_ping(host, container, there):
    """Once the agents have wired the ports, which they do behind the start."""
    eventually(unwired, "all containers' ports are ACTIVE")
    docker(host, "exec", container, "ping", "-c", "3", there)


# docs/install.md


def step_book(cloud):
    """What docs/install.md has an operator type and write, as far as a node of the lab can do it: `apt` and `systemctl` aside."""
    if cloud == "ovn":
        for line in book.commands(book.OVN, "ovs-vsctl"):
            on(HOSTS[0], "sh", "-c", line)
        return
    assert cloud == "linuxbridge", "docs/install.md tells of linuxbridge and OVN"
    for host in ("controller", *HOSTS):
        # A name may be of a package or of what one provides.
        installed = on(host, "dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Package}, ${Provides},\n").splitlines()
        names = {word.split()[0] for line in installed if line.startswith("installed ") for word in line[10:].split(",") if word.strip()}
        missing = book.packages(book.LINUXBRIDGE) - names
        assert not missing, f"docs/install.md has {missing} installed, {host} has not"
    in_effect = configured("controller") | configured(HOSTS[0])
    told = book.settings(book.LINUXBRIDGE) | {(s, key, value.replace("ADMIN_PASSWORD", "pass")) for s, key, value in book.settings(book.KURYR)}
    # The lab loads extensions beyond what one needs.
    absent = {(s, key, value) for s, key, value in told if not any(
        (s, key) == (its, name) and set(value.split(",")) <= set(has.split(",")) for its, name, has in in_effect)}
    assert not absent, f"docs/install.md has settings that the lab has not: {absent}"
    for line in book.commands(book.KURYR, "curl"):
        assert on(HOSTS[0], "sh", "-c", f"{line} --silent --fail"), f"nothing answers {line}"
    first_network()
    subprocess.run([sys.executable, REPO / "tests/lab/book.py"], stdin=subprocess.DEVNULL, check=True)


def configured(host):
    """(section, key, value) of the cloud's and kuryr's files on the host."""
    files = "/etc/neutron/neutron.conf /etc/neutron/plugins/ml2/ml2_conf.ini /etc/neutron/plugins/ml2/linuxbridge_agent.ini /etc/kuryr/kuryr.conf"
    found = set()
    for file in files.split():
        parser = configparser.ConfigParser(interpolation=None, strict=False, default_section="")
        # What a package brought and the lab did not write has settings of no section, too.
        parser.read_string(on(host, "sh", "-c", f"[ ! -e {file} ] || cat {file}"))
        found |= {(section, key, value) for section in parser.sections() for key, value in parser.items(section)}
    return found


def first_network():
    """The section's commands in their order: on the first host, the controller, the second host."""
    known = {}
    for line in book.commands(book.FIRST_NETWORK, "docker", "openstack"):
        for name, value in known.items():
            line = line.replace(name, value)
        if line.startswith("openstack"):
            known["uuid=ID"] = f"uuid={on('controller', 'sh', '-c', f'. /root/keystonerc_admin; {line}').strip()}"
            continue
        if "ping" in line:
            eventually(unwired, "all containers' ports are ACTIVE")
        printed = on(HOSTS[bool("uuid=ID" in known)], "sh", "-c", line)
        if addresses := re.findall(r"inet (10\.0\.0\.\d+)/24", printed):
            known["ADDRESS_OF_C1"] = addresses[0]
    assert "3 packets transmitted" in printed and "100% packet loss" not in printed, printed
    for host, container in zip(HOSTS, ("c1", "c2")):
        docker(host, "rm", "--force", container)
    for host in reversed(HOSTS):
        remove_network(host, NETWORK)
    expect_nothing_of_kuryr("of docs/install.md's first network")


# The other suites, on this lab


def step_conformance(cloud):
    before = {host: len(plugin_log(host)) for host in HOSTS}
    run("tests/conformance/run", CONFORMANCE[cloud])
    for host in HOSTS:
        # Whatever was asked, each fault is a line of its own.
        others = [line for line in plugin_log(host)[before[host]:] if " [-] " not in line]
        assert not others, f"{host}: kuryr's log has more than lines of the log: {others[:20]}"


def step_python_conformance(cloud):
    assert cloud == "linuxbridge", "the list of the Python's faults is of the linuxbridge cloud"
    before = len(plugin_log(HOSTS[0]))
    run("tests/conformance/run", "lab-python")
    written = plugin_log(HOSTS[0])[before:]
    assert any("Traceback (most recent call last)" in line for line in written), "the Python's faults have no tracebacks any more"
    up(cloud, "kuryr")


def plugin_log(host):
    return on(host, "cat", "/var/log/lab/kuryr.log").splitlines()


def step_controller(cloud):
    """The embedded controller against this cloud's Neutron, answer by answer."""
    assert cloud == "linuxbridge", "the list of differences is of the linuxbridge cloud"
    run("tests/conformance/api/compare.py")
    up(cloud, "kuryr")


def step_dashboard(cloud):
    """Horizon's network topology shows the walkthrough's network and ports. The pictures are in target/lab."""
    up(cloud, "kuryr", "--dashboard")
    walk()
    print(lab("topology"), end="")
    remove_walkthrough()
    expect_nothing_of_kuryr("of the walkthrough under the dashboard")


def run(program, *arguments):
    subprocess.run([REPO / program, *arguments], stdin=subprocess.DEVNULL, check=True)
