"""A node with dockerd and kuryr on it, and the questions tests ask of them. See tests/e2e/node."""

import json
import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
REPO = HERE.parent.parent
sys.path.insert(0, str(REPO / "tools/lab.d"))
sys.dont_write_bytecode = True

import places  # noqa: E402
import roots  # noqa: E402

BINARY = os.environ.get("KURYR_BINARY", str(REPO / "target/release/kuryr"))
IMAGE = "busybox-e2e"
V4 = ("--subnet", "10.0.0.0/16", "--gateway", "10.0.0.1", "--ip-range", "10.0.0.0/24")
V6 = ("--ipv6", "--subnet", "fd00:10::/64", "--gateway", "fd00:10::1")
SOCKET = "/run/docker/plugins/kuryr.sock"


class Failed(Exception):
    """A command on the node ended with an error; the text is what a person would have seen."""


def check(condition, message):
    if not condition:
        raise AssertionError(message)


def of_the_network(port):
    """A router's port lives as long as the network does, and so does its tap."""
    return port["device_owner"].startswith("network:")


class Machine:
    """A node of this name. `engine` is a version of tools/lab's Docker engines; without one it is the machine's own."""

    SERVE = ["serve", "--embedded"]

    def __init__(self, name, engine=None):
        self.name = name
        self.serve = self.SERVE
        self.socket = SOCKET
        self.daemon = None
        self.log = pathlib.Path(f"/var/tmp/kuryr-node.{name}/kuryr.log")
        self.environment = dict(os.environ)
        if engine:
            root = roots.ensure(f"{places.SUITE_OF_DOCKER[engine]}-engine", print)
            self.environment["KURYR_NODE_ENGINE"] = str(root)

    # The node and what runs on it

    def node(self, action, *arguments):
        subprocess.run([HERE / "node", action, self.name, *arguments], check=True, stdin=subprocess.DEVNULL, env=self.environment)

    def up(self):
        self.node("up")
        self.engine = tuple(int(number) for number in self.docker("version", "--format", "{{.Server.Version}}").split(".")[:2])
        self.make_image()
        self.start_kuryr()
        self.at_first = self.made_in_neutron()

    def down(self):
        if self.daemon:
            self.kill_kuryr()
        self.node("down")

    def reboot(self):
        """The node loses its power, and starts again with kuryr before Docker, as the units have it."""
        self.node("reboot")
        self.daemon.wait(10)
        self.start_kuryr()
        self.start_dockerd()

    def command(self, *arguments):
        return [str(HERE / "node"), "run", self.name, *arguments]

    def run(self, *arguments, deadline=90):
        try:
            done = subprocess.run(self.command(*arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=deadline)
        except subprocess.TimeoutExpired:
            raise Failed(f"{' '.join(arguments)}: did not end within {deadline} s") from None
        if done.returncode != 0:
            raise Failed(f"{' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout.strip()

    def fails(self, *arguments):
        try:
            self.run(*arguments)
            return False
        except Failed:
            return True

    def docker(self, *arguments, deadline=90):
        return self.run("docker", *arguments, deadline=deadline)

    def start_dockerd(self, *options):
        self.node("docker", *options)

    def end_dockerd(self, signal="TERM"):
        self.run("pkill", f"-{signal}", "--exact", "dockerd")
        self.await_(lambda: self.fails("pgrep", "--exact", "dockerd"), f"dockerd ends by SIG{signal}", 60)

    def restart_dockerd(self, *options):
        self.end_dockerd()
        self.start_dockerd(*options)

    def make_image(self):
        self.run("sh", "-c", f"""set -e; d=$(mktemp -d); mkdir $d/bin; cp "$(command -v busybox)" $d/bin/busybox
            for a in $($d/bin/busybox --list); do [ $a = busybox ] || ln -s busybox $d/bin/$a; done
            tar -C $d -c . | docker import - {IMAGE}; rm -rf $d""")

    def start_kuryr(self):
        with open(self.log, "a") as log:
            self.daemon = subprocess.Popen(self.command(BINARY, *self.serve), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.await_(lambda: self.answers(), "kuryr answers on its socket", 20)

    def answers(self):
        check(self.daemon.poll() is None, f"kuryr ended with {self.daemon.returncode}: {self.log.read_text()[-2000:]}")
        script = f"import socket; s = socket.socket(socket.AF_UNIX); s.settimeout(2); s.connect('{self.socket}')"
        try:
            self.run("python3", "-c", script)
            return True
        except Failed:
            return False

    def kill_kuryr(self):
        """kill -9."""
        self.signal_kuryr("KILL")
        self.daemon.wait(10)

    def end_kuryr(self):
        self.signal_kuryr("TERM")
        check(self.daemon.wait(60) == 0, f"kuryr ended with {self.daemon.returncode}")

    def signal_kuryr(self, signal):
        self.signal(self.daemon, signal)

    @staticmethod
    def signal(process, signal):
        """`node run` becomes the parent of what it runs, and that is to hear it."""
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for pid in children or [str(process.pid)]:
            subprocess.run(["kill", f"-{signal}", pid], check=False)

    def restart_kuryr(self):
        self.kill_kuryr()
        self.start_kuryr()

    def await_(self, condition, what, seconds=15):
        end = time.monotonic() + seconds
        while not condition():
            check(time.monotonic() < end, f"not within {seconds} s: {what}")
            time.sleep(0.1)

    def await_none(self, found, what, seconds=15):
        """Until nothing is found. The error names what still was."""
        last = None

        def none():
            nonlocal last
            last = found()
            return not last

        try:
            self.await_(none, what, seconds)
        except AssertionError as late:
            raise AssertionError(f"{late}; there was {last}") from None

    # Neutron, over REST from inside the node

    def neutron(self, path, method="GET", body=None):
        """The controller answers on the node's loopback only, so the request is made there."""
        script = (
            "import json,os,sys,urllib.request as u\n"
            "a=json.load(sys.stdin); e=a['env']\n"
            "auth={'auth':{'identity':{'methods':['password'],'password':{'user':{'name':e['OS_USERNAME'],"
            "'domain':{'name':e.get('OS_USER_DOMAIN_NAME','Default')},'password':e['OS_PASSWORD']}}},"
            "'scope':{'project':{'name':e['OS_PROJECT_NAME'],'domain':{'name':e.get('OS_PROJECT_DOMAIN_NAME','Default')}}}}}\n"
            "h={'Content-Type':'application/json'}\n"
            "r=u.urlopen(u.Request(e['OS_AUTH_URL'].rstrip('/')+'/auth/tokens',json.dumps(auth).encode(),h))\n"
            "h['X-Auth-Token']=r.headers['X-Subject-Token']\n"
            "c=json.load(r)['token']['catalog']\n"
            "b=[p['url'] for s in c if s['type']=='network' for p in s['endpoints']][0].rstrip('/')\n"
            "d=json.dumps(a['body']).encode() if a['body'] is not None else None\n"
            "try: print(u.urlopen(u.Request(b+'/v2.0/'+a['path'],d,h,method=a['method'])).read().decode() or '{}')\n"
            "except u.HTTPError as e: sys.exit(f'{e.code} {e.read().decode()}')\n"
        )
        request = json.dumps({"env": self.openrc(), "path": path, "method": method, "body": body})
        done = subprocess.run(self.command("python3", "-c", script), input=request, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise Failed(f"{method} {path}: {done.stderr[-500:]}")
        return json.loads(done.stdout)

    def openrc(self):
        lines = self.run(BINARY, "controller", "rc").splitlines()
        pairs = (line.removeprefix("export ").split("=", 1) for line in lines if "=" in line)
        return {key: value.strip("'\"") for key, value in pairs}

    def ports(self):
        """The ports of containers, without those of routers and the like, and those that kuryr has made ahead."""
        return [port for port in self.neutron("ports")["ports"] if not of_the_network(port) and port["name"] != "kuryr-pool-port"]

    # What is left

    def links(self):
        return {link["ifname"] for link in json.loads(self.run("ip", "-json", "link"))}

    def leftovers(self):
        """Everything a container can leave behind: links, ports with their addresses in Neutron, and what the journal still holds of it."""
        ports = self.neutron("ports")["ports"]
        routers = {f"tap{port['id'][:11]}" for port in ports if of_the_network(port)}
        taps = sorted(name for name in self.links() if name.startswith(("tap", "t_c", "veth")) and name not in routers)
        addresses = self.rows("controller/controller.db", "SELECT port_id, hex(ip) FROM port_addresses")
        of_routers = {port["id"] for port in ports if of_the_network(port)}
        containers = [row for row in addresses if row[0] not in of_routers]
        records = self.rows("journal.db", "SELECT kind, id FROM record WHERE kind NOT IN ('pool', 'network')")
        return taps + sorted(port["id"] for port in ports if not of_the_network(port)) + containers + records

    def await_promises(self, seconds=60):
        """Until all that kuryr put off is done, such as an endpoint's name in Neutron. A search for what a lost answer left may go on for hours."""
        question = "SELECT body FROM record WHERE kind = 'task' AND json_extract(body, '$.work.Seek') IS NULL"
        self.await_none(lambda: self.rows("journal.db", question), "all that was promised is done", seconds)

    def findings(self):
        """What belongs to nobody, as the daemon tells an operator."""
        return json.loads(self.run(BINARY, "gc", "--dry-run", "--format", "json"))["findings"]

    def rows(self, database, question):
        """What a query finds in a database of kuryr's."""
        script = f"import json, sqlite3; c = sqlite3.connect('file:/var/lib/kuryr/{database}?mode=ro', uri=True); print(json.dumps(c.execute({question!r}).fetchall()))"
        return json.loads(self.run("python3", "-c", script))

    def made_in_neutron(self):
        """How many there are of what `docker network create` makes."""
        kinds = ("networks", "subnets", "subnetpools", "routers", "security-groups", "ports")
        return {kind: len(self.neutron(kind)[kind.replace("-", "_")]) for kind in kinds}

    def expect_nothing_left(self):
        self.await_none(self.leftovers, "no link, port, address or journal entry is left behind", 30)

    def expect_refused(self, words, action):
        """The action fails with one sentence that holds one of the words, and leaves nothing behind."""
        self.await_promises()
        before = self.leftovers()
        try:
            action()
        except Failed as refusal:
            text = str(refusal)
            check(any(word in text.lower() for word in words), f"the error does not say any of {words}: {text}")
        else:
            raise AssertionError("was not refused")
        self.await_none(lambda: [one for one in self.leftovers() if one not in before], "the refused call left nothing behind")
        check(self.leftovers() == before, f"the refused call took something away: of {before} there is {self.leftovers()}")

    # Containers

    def start(self, name, *options, network="n"):
        self.docker("run", "--detach", "--pull", "never", "--name", name, "--network", network, *options, IMAGE, "sleep", "100000")

    def remove(self, *names):
        self.docker("rm", "--force", *names)

    def inspect(self, name, network="n"):
        return json.loads(self.docker("container", "inspect", name))[0]["NetworkSettings"]["Networks"][network]

    def reaches(self, container, address):
        return not self.fails("docker", "exec", container, "ping", "-c", "1", "-W", "3", address)

    def expect_reach(self, container, address):
        self.await_(lambda: self.reaches(container, address), f"{container} reaches {address}", 10)

    def expect_no_reach(self, container, address):
        check(not self.reaches(container, address), f"{container} must not reach {address}")

    def create_network(self, name="n", *options):
        self.docker("network", "create", "--driver", "kuryr", "--ipam-driver", "kuryr", *options, name)

    def have_network_go(self, network):
        """The engine counts an endpoint down a moment after its container. Of many that go at once on a busy machine it loses count, refuses for
        ever with no endpoint there, and counts anew when it starts (its log: "Fixing inconsistent endpoint_cnt")."""

        def goes():
            try:
                self.docker("network", "rm", network)
            except Failed as refusal:
                # Anything else is the plugin's.
                if "has active endpoints" not in str(refusal):
                    raise
                return False
            return True

        try:
            self.await_(goes, "the engine lets its network go")
        except AssertionError:
            there = self.docker("network", "inspect", "--format", "{{len .Containers}}", network)
            check(there == "0", f"the engine has {there} endpoints on a network without containers")
            print("        the engine has lost count of its endpoints, and is started again", flush=True)
            self.restart_dockerd()
            self.docker("network", "rm", network)

    def clean(self):
        """Back to an empty node between two tests."""
        containers = self.docker("ps", "--all", "--quiet").split()
        if containers:
            self.remove(*containers)
        networks = self.docker("network", "ls", "--filter", "driver=kuryr", "--quiet").split()
        for network in networks:
            self.have_network_go(network)
        self.expect_nothing_left()
        self.await_none(lambda: self.rows("journal.db", "SELECT kind, id FROM record"), "the journal is empty", 30)
        self.await_(lambda: self.made_in_neutron() == self.at_first, "Neutron holds what it held before", 30)
