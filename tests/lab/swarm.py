"""kuryr as Docker's managed plugin on a swarm of the two hosts, the first its manager. See steps.py."""

import io
import pathlib
import subprocess
import tarfile
import tempfile

from lab import HOSTS, REPO, TOOL, docker, eventually, expect_nothing_of_kuryr, on, openstack, remove_network, up

PLUGIN = "kuryr:1"
NEWER = "kuryr:2"
NETWORK = "sw"
WANTED = "10.70.200.99"  # beyond the first thousand addresses, out of which Neutron chooses
MANAGER, WORKER = HOSTS
# Below /run, which an engine of another Debian shares with its node.
HOME = "/run/kuryr-plugin"
SETTINGS = [f"configuration.source={HOME}/etc", f"state.source={HOME}/state", f"openvswitch.source={HOME}/ovs", "CAPABILITY_SCOPE=global"]


def step_swarm(cloud):
    """The managed plugin: made, enabled, used by services and by containers that attach, upgraded, disabled and removed."""
    up(cloud, "none")
    program = static_program()
    for host in HOSTS:
        install(host, program, PLUGIN)
    try:
        swarm()
        for host in HOSTS:
            exchange(host, program)
        local_network()
        local_image(program)
    finally:
        for host in HOSTS:
            subprocess.run([TOOL, "exec", host, "docker", "swarm", "leave", "--force"], stdin=subprocess.DEVNULL, capture_output=True)
    for host in HOSTS:
        docker(host, "plugin", "disable", NEWER)
        docker(host, "plugin", "rm", NEWER)
        assert "kuryr" not in docker(host, "plugin", "ls"), "a plugin is left"
        on(host, "rm", "-rf", HOME)


def static_program():
    return subprocess.check_output([REPO / "packaging/static"], stdin=subprocess.DEVNULL, text=True).strip()


def send(host, directory, target):
    """Copies a directory of the machine to a host."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(directory, ".")
    unpack = ["sh", "-c", f"rm -rf {target}; mkdir -p {target}; tar -C {target} -x"]
    subprocess.run([TOOL, "exec", host, *unpack], input=packed.getvalue(), check=True)


def install(host, program, name):
    with tempfile.TemporaryDirectory() as place:
        subprocess.run([REPO / "packaging/docker-plugin/build", place, program], stdout=subprocess.DEVNULL, check=True)
        # Docker refuses a plugin whose content it has under another name.
        (pathlib.Path(place) / "rootfs/version").write_text(name)
        send(host, place, f"{HOME}/{name.replace(':', '-')}")
    rc = lab_credentials()
    on(host, "sh", "-c", f"mkdir -p {HOME}/etc {HOME}/state {HOME}/ovs; umask 077; cat >{HOME}/etc/kuryr.conf <<'END'\n{rc}\nEND")
    docker(host, "plugin", "create", name, f"{HOME}/{name.replace(':', '-')}")
    docker(host, "plugin", "set", name, *SETTINGS)
    docker(host, "plugin", "enable", name)


def lab_credentials():
    return """[neutron]
auth_type = password
auth_url = http://172.16.1.115:5000/v3
username = admin
password = pass
project_name = admin
user_domain_name = Default
project_domain_name = Default"""


def swarm():
    docker(MANAGER, "swarm", "init", "--advertise-addr", "172.16.1.118")
    token = docker(MANAGER, "swarm", "join-token", "--quiet", "worker").strip()
    docker(WORKER, "swarm", "join", "--token", token, "172.16.1.118:2377")
    docker(MANAGER, "network", "create", "--driver", PLUGIN, "--ipam-driver", PLUGIN, "--attachable", "--subnet", "10.70.0.0/16", NETWORK)
    # A swarm's manager answers before it has asked its plugin.
    eventually(lambda: None if len(networks()) == 1 else networks(), "a network of a swarm is one in Neutron")

    service = ["--no-resolve-image", "--detach", "--network", NETWORK, "--constraint", "node.role==manager", "--endpoint-mode", "dnsrr"]
    docker(MANAGER, "service", "create", "--name", "one", *service, "busybox", "sleep", "1000000")
    docker(MANAGER, "service", "create", "--name", "web", "--replicas", "2", "--no-resolve-image", "--detach", "--network", NETWORK,
           "--stop-grace-period", "1s", "--placement-pref", "spread=node.id", "busybox", "sleep", "1000000")
    await_tasks("one", 1)
    await_tasks("web", 2)
    assert set(tasks("web")) == set(HOSTS), f"the tasks run on {tasks('web')}"
    expect_all_reach_all()
    docker(MANAGER, "service", "scale", "--detach", "web=4")
    await_tasks("web", 4)
    # By their ids, since Neutron may give an address of one that has gone to the next.
    before = containers_of("web")
    docker(MANAGER, "service", "update", "--detach", "--no-resolve-image", "--update-parallelism", "1", "--env-add", "ROUND=2", "web")
    eventually(lambda: before & containers_of("web"), "all tasks are exchanged", 180)
    await_tasks("web", 4)
    expect_all_reach_all()
    docker(MANAGER, "service", "scale", "--detach", "web=1")
    await_tasks("web", 1)

    # A container that attaches, on a node that is no manager, by itself and with an address of its choice.
    docker(WORKER, "run", "--detach", "--pull", "never", "--name", "c1", "--network", NETWORK, "busybox", "sleep", "1000000")
    docker(WORKER, "run", "--detach", "--pull", "never", "--name", "c2", "--network", NETWORK, "--ip", WANTED, "busybox", "sleep", "1000000")
    for address in [*addresses("one"), WANTED]:
        eventually(lambda address=address: ping(WORKER, "c1", address), f"c1 reaches {address}")
    # By name as well, which the engines tell each other.
    eventually(lambda: ping(WORKER, "c1", "one"), "c1 reaches a service by its name")

    docker(WORKER, "rm", "--force", "c1", "c2")
    docker(MANAGER, "service", "rm", "one", "web")
    eventually(lambda: openstack("port", "list", "--device-owner", "compute:kuryr"), "no port is in use by a node", 120)
    remove_network(MANAGER, NETWORK)
    eventually(reserved, "the manager holds no address", 120)
    expect_nothing_of_kuryr("of the swarm")


def exchange(host, program):
    """An upgrade without a registry: the newer plugin beside the older, which goes. `docker plugin upgrade` itself pulls."""
    docker(host, "plugin", "disable", PLUGIN)
    install(host, program, NEWER)
    docker(host, "plugin", "rm", PLUGIN)


def local_network():
    """An upgraded plugin on one host, in a swarm that it serves: the driver's networks are swarm's alone."""
    docker(MANAGER, "network", "create", "--driver", NEWER, "--ipam-driver", NEWER, "--attachable", "--subnet", "10.71.0.0/24", NETWORK)
    docker(MANAGER, "run", "--rm", "--pull", "never", "--network", NETWORK, "busybox", "true")
    remove_network(MANAGER, NETWORK)
    expect_nothing_of_kuryr("of the upgraded plugin")


def local_image(program):
    """The image that packaging/image makes starts the daemon."""
    with tempfile.TemporaryDirectory() as place:
        subprocess.run([REPO / "packaging/image/rootfs", place, program], check=True)
        send(WORKER, place, f"{HOME}/image")
    change = "--change 'ENTRYPOINT [\"/kuryr\"]' --change 'CMD [\"serve\"]'"
    on(WORKER, "sh", "-c", f"tar -C {HOME}/image -c . | docker import {change} - kuryr-image")
    assert docker(WORKER, "run", "--rm", "--pull", "never", "kuryr-image", "--version").startswith("kuryr "), "the image does not run kuryr"
    docker(WORKER, "image", "rm", "kuryr-image")


# What is asked of the swarm


def networks():
    return [network["Name"] for network in openstack("network", "list") if network["Name"].startswith("kuryr-net-")]


def containers(host, service=None):
    label = "label=com.docker.swarm.service.name" + (f"={service}" if service else "")
    return docker(host, "ps", "--quiet", "--filter", label).split()


def containers_of(service):
    return {container for host in HOSTS for container in containers(host, service)}


def tasks(service):
    """The nodes of the tasks that run."""
    lines = docker(MANAGER, "service", "ps", "--filter", "desired-state=running", "--format", "{{.Node}} {{.CurrentState}}", service)
    return [line.split()[0] for line in lines.splitlines() if line.split()[1] == "Running"]


def await_tasks(service, count):
    def missing():
        running = len(tasks(service))
        text = docker(MANAGER, "service", "ps", "--no-trunc", "--format", "{{.Node}} {{.CurrentState}} {{.Error}}", service)
        return None if running == count else f"{running} of {count} run: {text}"

    eventually(missing, f"the tasks of {service} run", 180)


def addresses(service=None):
    """The addresses of the tasks that run, on both hosts."""
    found = []
    for host in HOSTS:
        for container in containers(host):
            of = docker(host, "inspect", "--format", '{{index .Config.Labels "com.docker.swarm.service.name"}} '
                        f'{{{{(index .NetworkSettings.Networks "{NETWORK}").IPAddress}}}}', container).split()
            found += [of[1]] if len(of) == 2 and service in (None, of[0]) else []
    return found


def expect_all_reach_all():
    for host in HOSTS:
        for container in containers(host):
            for address in addresses():
                eventually(lambda c=container, h=host, a=address: ping(h, c, a), f"{container} on {host} reaches {address}")


def ping(host, container, address):
    """Nothing when it is answered."""
    done = subprocess.run([TOOL, "exec", host, "docker", "exec", container, "ping", "-c", "1", "-W", "2", address], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True)
    return None if done.returncode == 0 else done.stdout + done.stderr


def reserved():
    return openstack("port", "list", "--name", "kuryr-swarm-port")
