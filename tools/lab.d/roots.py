"""The nodes' file systems: Debian of some suite with packages, made once by debootstrap and kept in the cache.

Nothing is installed or started on the machine itself: packages go into a root by chroot, with a policy-rc.d that lets no
maintainer script start a service. The mirror is the one the machine's own apt uses.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess

from places import CACHE, LabError

BASE = "ca-certificates iproute2 procps iputils-ping python3 python3-venv curl jq nftables iptables kmod"
ENGINE = "docker.io containerd runc busybox-static tini"
CLOUD = f"""{BASE} {ENGINE} keystone neutron-server neutron-plugin-ml2 neutron-dhcp-agent dnsmasq-base mariadb-server memcached
    uwsgi-core uwsgi-plugin-python3 python3-openstackclient python3-neutronclient python3-pymysql conntrack tcpdump ethtool iperf3"""

PACKAGES = {
    "bookworm": f"{CLOUD} rabbitmq-server neutron-linuxbridge-agent ipset ebtables bridge-utils",
    "trixie": f"""{CLOUD} docker-cli rabbitmq-server openvswitch-switch ovn-central ovn-host neutron-openvswitch-agent
        neutron-api neutron-rpc-server python3-ovsdbapp""",
    "bookworm-engine": f"{BASE} {ENGINE}",
    "trixie-engine": f"{BASE} {ENGINE} docker-cli",
    "sid-engine": f"{BASE} {ENGINE} docker-cli",
    "bookworm-browser": f"{BASE} chromium chromium-driver python3-selenium fonts-dejavu-core",
}


def path(name):
    return CACHE / "roots" / name


def tables(name):
    """Where dumps of the services' empty databases are kept, which hold for one set of packages."""
    return CACHE / "roots" / f"{name}.tables"


def ensure(name, say):
    """Makes the root `name` (a key of PACKAGES) or completes it; returns its path. Safe to call at the same time."""
    packages = PACKAGES[name].split()
    digest = hashlib.sha256(" ".join(packages).encode()).hexdigest()
    root = path(name)
    complete = root.with_name(f"{name}.packages")
    root.parent.mkdir(parents=True, exist_ok=True)
    with open(root.with_name(f"{name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if complete.exists() and complete.read_text() == digest:
            return root
        suite = name.partition("-")[0]
        if not (root / "var/lib/dpkg/status").exists() or (root / "debootstrap").exists():
            say(f"Making a Debian {suite} root in {root} (once, about a minute)")
            bootstrap(suite, root)
        say(f"Installing {len(packages)} packages and what they need into {root} (once, some minutes)")
        install(root, packages)
        subprocess.run(["rm", "-rf", tables(name)], check=True)
        complete.write_text(digest)
    return root


def mirror():
    """The machine's own mirror of Debian, from its apt configuration."""
    listed = subprocess.run(["apt-get", "indextargets", "--format", "$(SITE)"], capture_output=True, text=True, check=True).stdout.split()
    candidates = [site for site in listed if re.search(r"/debian/?$", site)]
    if not candidates:
        raise LabError(f"the machine's apt knows no mirror of Debian, only {sorted(set(listed))}; the lab takes its packages from there")
    return candidates[0]


def bootstrap(suite, root):
    if not shutil.which("debootstrap"):
        quiet(["apt-get", "update"])
        quiet(["apt-get", "install", "--yes", "--no-install-recommends", "debootstrap"])
    # What a broken-off run left is no base for the next.
    if root.exists():
        subprocess.run(["rm", "-rf", "--one-file-system", root], check=True)
    debs = CACHE / "debs" / suite
    debs.mkdir(parents=True, exist_ok=True)
    # In a mount namespace of its own: debootstrap mounts, and one that is killed leaves its mounts behind.
    unshare = ["unshare", "--mount", "--propagation", "private"]
    quiet([*unshare, "debootstrap", "--variant=minbase", f"--cache-dir={debs}", f"--include={BASE.replace(' ', ',')}", suite, root, mirror()])


def install(root, packages):
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    # No translations, no man pages, every downloaded package is kept, and of mirrors the same is asked as on the machine itself.
    settings = 'Acquire::Languages "none";\nBinary::apt-get::APT::Keep-Downloaded-Packages "true";\nAPT::Install-Recommends "false";\n'
    machine = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout.splitlines()
    settings += "\n".join(line for line in machine if re.match(r"Acquire::(Check-|https?::Proxy)", line)) + "\n"
    (root / "etc/apt/apt.conf.d/90lab").write_text(settings)
    (root / "etc/dpkg/dpkg.cfg.d/lab").write_text("path-exclude=/usr/share/man/*\npath-exclude=/usr/share/doc/*\nforce-unsafe-io\n")
    # An earlier run may have been broken off in the middle.
    chroot(root, "dpkg", "--configure", "-a")
    chroot(root, "apt-get", "update")
    chroot(root, "apt-get", "install", "--yes", *packages)


def chroot(root, *command, binds=(), node=None):
    """Runs a command in the root, with the machine's network or that of the node with this process, and returns what it printed. The
    mounts live in a namespace of the command and end with it."""
    debs = CACHE / "debs" / root.name.partition("-")[0]
    debs.mkdir(parents=True, exist_ok=True)
    script = f"""set -e
        mount --make-rprivate /
        mount -t proc proc {root}/proc
        mount --rbind /dev {root}/dev
        mount -t tmpfs tmpfs {root}/run
        mount --bind {debs} {root}/var/cache/apt/archives
        mkdir -p {root}/var/cache/apt/archives/partial
        cat /etc/resolv.conf >{root}/etc/resolv.conf
        mount --bind /etc/ssl/certs/ca-certificates.crt {root}/etc/ssl/certs/ca-certificates.crt 2>/dev/null || true
        """
    for outside, inside in binds:
        script += f"mkdir -p {root}{inside}; mount --bind {outside} {root}{inside}\n"
    script += f'exec chroot {root} "$@"'
    network = ["nsenter", "--target", str(node), "--net"] if node else []
    return quiet([*network, "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, "lab", *command])


def venv(name, suite):
    """Where the venv `name` for nodes of the suite lies; it is bound to /opt/NAME on them."""
    return CACHE / "venvs" / suite / name


def ensure_venv(name, suite, packages, say):
    """Packages from PyPI in a venv that is made with the suite's own Python."""
    place = venv(name, suite)
    place.mkdir(parents=True, exist_ok=True)
    with open(place.with_name(f"{name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "complete").exists():
            say(f"Installing {' '.join(packages)} from PyPI (once, about a minute)")
            pip = f'python3 -m venv --clear /opt/{name} && exec /opt/{name}/bin/pip install --quiet "$@"'
            chroot(path(suite), "sh", "-c", pip, "pip", *packages, binds=[(place, f"/opt/{name}")])
            (place / "complete").touch()
    return place


def quiet(command):
    """Runs a command whose output a person need see only when it fails; returns it."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    if done.returncode != 0:
        shown = " ".join(str(part) for part in command if "\n" not in str(part))
        raise LabError(f"{done.stdout[-6000:]}\nfailed with {done.returncode}: {shown}")
    return done.stdout
