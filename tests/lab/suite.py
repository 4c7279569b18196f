#!/usr/bin/env python3
"""The walkthrough on a real OpenStack, from nothing to nothing: `tools/lab` on one cloud, with our kuryr and with the Python's.

  tests/lab/suite.py [linuxbridge|ovs|ovn]

Checks that `up` may be repeated, that the walkthrough works twice and with a kuryr.conf of the Mitaka time, that ours stops the Python's
containers without leftovers in Neutron and on the hosts, and that `down` leaves the machine as it was.
"""

import json
import os
import pathlib
import subprocess
import sys
import time

REPO = pathlib.Path(__file__).resolve().parent.parent.parent
HOSTS = ("network-1", "network-2")
RUN = pathlib.Path(os.environ.get("KURYR_LAB_CACHE", "/var/cache/kuryr-lab")) / "run/suite"
os.environ["KURYR_LAB"] = RUN.name

OLD_CONFIGURATION = """[keystone_client]
auth_uri = http://172.16.1.115:35357/v2.0
admin_user = admin
admin_password = pass
admin_tenant_name = admin
[neutron_client]
neutron_uri = http://172.16.1.115:9696"""


def lab(*arguments):
    done = subprocess.run([REPO / "tools/lab", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"tools/lab {' '.join(arguments)}: ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def openstack(*arguments):
    return json.loads(lab("openstack", *arguments, "--format", "json"))


def machine():
    """What a lab could leave on the machine itself: mounts, cgroups and files with its name, and links named as it names them."""
    links = {link["ifname"] for link in json.loads(subprocess.check_output(["ip", "-json", "link"]))} & {"wire", "controller", *HOSTS}
    mounts = {line for line in pathlib.Path("/proc/self/mounts").read_text().splitlines() if str(RUN) in line}
    cgroups = set(pathlib.Path("/sys/fs/cgroup").glob("**/kuryr-lab-suite*"))
    return links | mounts | cgroups | set(RUN.parent.glob(RUN.name))


def namespaces():
    """The namespaces of the lab's nodes and wire; their links and mounts live as long as they do."""
    first = [file.read_text().split()[0] for file in RUN.glob("*.pid")]
    return {os.readlink(f"/proc/{pid}/ns/{kind}") for pid in first for kind in ("net", "mnt", "pid")} - namespaces_of("self")


def namespaces_of(process):
    try:
        return {os.readlink(file) for file in pathlib.Path(f"/proc/{process}/ns").iterdir()}
    except OSError:
        return set()  # it has ended


def processes_in(namespaces):
    found = (process.name for process in pathlib.Path("/proc").iterdir() if process.name.isdigit())
    return {process for process in found if namespaces & namespaces_of(process)}


def walkthrough():
    printed = lab("walkthrough")
    assert "admin" in printed and "neutron" in printed, printed
    assert "3 packets transmitted" in printed and "100% packet loss" not in printed, printed


def expect_nothing_left(what):
    """Neutron has no network, port or pool of kuryr, and the hosts no link of a container. Releases end behind the engine's back."""
    end = time.monotonic() + 60
    while True:
        left = [each["Name"] for kind in (["network"], ["subnet", "pool"]) for each in openstack(*kind, "list") if "kuryr" in each["Name"].lower()]
        left += [port["ID"] for port in openstack("port", "list", "--device-owner", "compute:kuryr")]
        left += [line for host in HOSTS for line in lab("exec", host, "ip", "-brief", "link").splitlines() if line.startswith(("tap", "t_c"))
                 and "@" in line]
        if not left:
            return
        assert time.monotonic() < end, f"left {what}: {left}"
        time.sleep(1)


def walkthrough_with_the_old_configuration(cloud):
    """kuryr.conf as the original walkthrough had it, with the keys of its time."""
    script = f"""cat >/etc/kuryr/kuryr.conf <<'END'
{OLD_CONFIGURATION}
END
        kill $(cat /run/lab/kuryr.pid); while kill -0 $(cat /run/lab/kuryr.pid) 2>/dev/null; do sleep 0.1; done"""
    for host in HOSTS:
        lab("exec", host, "sh", "-c", script)
    lab("up", "--cloud", cloud)
    assert "keystone_client" in lab("exec", "network-1", "cat", "/etc/kuryr/kuryr.conf")
    walkthrough()


def remove_walkthrough():
    for host, container in zip(HOSTS, ("kuryr-c1", "kuryr-c2"), strict=True):
        lab("exec", host, "docker", "rm", "--force", container)
    for host in reversed(HOSTS):
        lab("exec", host, "docker", "network", "rm", "kuryr")


def main():
    cloud = sys.argv[1] if len(sys.argv) > 1 else "linuxbridge"
    assert not machine(), f"the machine should have nothing of an earlier lab: {machine()}"
    try:
        for step in ("up", "up again"):
            start = time.monotonic()
            lab("up", "--cloud", cloud)
            print(f"{step}: {time.monotonic() - start:.0f} s", flush=True)
        for _ in range(2):
            walkthrough()
        walkthrough_with_the_old_configuration(cloud)
        remove_walkthrough()
        expect_nothing_left("by kuryr alone")
        print("walkthrough, twice and with the old configuration, and nothing left", flush=True)

        lab("up", "--cloud", cloud, "--plugin", "python")
        lab("exec", "network-1", "docker", "network", "create", "--driver=kuryr", "--ipam-driver=kuryr", "--subnet", "10.7.0.0/24",
            "--gateway", "10.7.0.1", "kuryr")
        lab("exec", "network-1", "docker", "run", "--detach", "--name", "kuryr-c1", "--net=kuryr", "busybox", "sleep", "1000000")
        lab("up", "--cloud", cloud, "--plugin", "kuryr")
        lab("exec", "network-1", "docker", "run", "--rm", "--net=kuryr", "busybox", "true")
        lab("exec", "network-1", "docker", "rm", "--force", "kuryr-c1")
        lab("exec", "network-1", "docker", "network", "rm", "kuryr")
        expect_nothing_left("of the Python's by ours")
        print("from the Python to ours, and nothing left", flush=True)
    finally:
        held = namespaces()
        lab("down")
    assert held and not processes_in(held), f"processes left in the lab's namespaces: {processes_in(held)}"
    assert not machine(), f"`down` left {machine()}"
    print(f"{cloud}: all is well, and `down` leaves nothing")


if __name__ == "__main__":
    main()
