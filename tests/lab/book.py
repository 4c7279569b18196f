"""docs/install.md read as an operator reads it: its commands line by line, and what its configuration files say."""

import os
import pathlib
import re
import sys

REPO = pathlib.Path(__file__).resolve().parent.parent.parent
BOOK = (REPO / "docs/install.md").read_text()
sys.path.insert(0, str(REPO / "tools/lab.d"))

FIRST_NETWORK = "First network"
LINUXBRIDGE, OVN, KURYR = "The cloud, Debian 12 with linuxbridge", "The cloud, Debian 13 with OVN", "kuryr"


def lines(section):
    """The indented lines of the section, without comments, and with those that go on below made one."""
    text = re.search(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", BOOK, re.MULTILINE | re.DOTALL).group(1)
    indented = [line[4:] for line in text.splitlines() if line.startswith("    ")]
    joined = "\n".join(indented).replace("\\\n", " ")
    return [re.sub(r"\s+#.*", "", line).rstrip() for line in joined.splitlines()]


def commands(section, *first_words):
    """Lines of the section that begin with one of the words."""
    found = [line for line in lines(section) if line.split(" ", 1)[0] in first_words]
    assert found, f"docs/install.md has no {first_words} in '{section}'"
    return found


def packages(section):
    """Debian packages that the section has one install; not files."""
    return {word for line in commands(section, "apt") for word in line.split()[2:] if not word.startswith("./")}


def settings(section):
    """(section of a file, key, value) of the configuration shown; two files may stand side by side."""
    columns, found = {}, set()
    for line in lines(section):
        cells = [(match.start(), match.group()) for match in re.finditer(r"\S+(?: \S+)*", line)]
        for column, cell in cells:
            if heading := re.fullmatch(r"\[(\w+)\]", cell):
                columns[column] = heading.group(1)
            elif (setting := re.fullmatch(r"(\w+) = (.*)", cell)) and column in columns:
                found.add((columns[column], setting.group(1), setting.group(2)))
    return found


def build_controller():
    """Runs the commands for the controller on a bare node of Debian 12, with MariaDB and RabbitMQ as their packages start them. In a process
    of its own, for the sake of a lab of its own."""
    os.environ["KURYR_LAB"] = os.environ.get("KURYR_LAB", "suite") + "-book"
    import database
    import keystone
    import linuxbridge
    import neutron
    import nodes
    import rest
    import roots
    from places import CONTROLLER, KEYSTONE, NEUTRON, RUN

    secrets = {"ADMIN_PASSWORD": "pass", "NEUTRON_PASSWORD": "pass", "KEYSTONE_PASSWORD": "pass", "RABBIT_PASSWORD": "pass"}

    def typed(line):
        for name, value in secrets.items():
            line = line.replace(name, value)
        print(f"# {line}", flush=True)
        node.run("sh", "-c", f"[ ! -e /root/typed-rc ] || . /root/keystonerc_admin; {line}")

    def by_name(file):
        # The accounts that were made above are of localhost.
        node.run("sed", "-i", "/^connection/s/127.0.0.1/localhost/", file)

    wire, node = nodes.Wire(), nodes.Node(CONTROLLER)
    try:
        wire.up()
        node.up(wire, roots.ensure("bookworm", print))
        database.start_mariadb(node)
        database.start_memcached(node)
        database.start_rabbitmq(node)
        for line in commands(LINUXBRIDGE, "mariadb", "rabbitmqctl"):
            typed(line)
        keystone.configure(node)
        by_name("/etc/keystone/keystone.conf")
        for line in commands(LINUXBRIDGE, "keystone-manage"):
            typed(line)
        keystone.start(node)
        keystone.write_rc(node)
        node.write("/root/typed-rc", "")
        for line in commands(LINUXBRIDGE, "openstack", "for"):
            typed(line)
        told = {}
        for section, key, value in settings(LINUXBRIDGE):
            told.setdefault(section, {})[key] = value
        ml2 = {section: told.pop(section) for section in list(told) if section.startswith("ml2")}
        neutron.configure(node, database.messages_url(node), ml2, told)
        by_name(neutron.NEUTRON_CONF)
        for line in commands(LINUXBRIDGE, "neutron-db-manage"):
            typed(line)
        linuxbridge.start_server(node)
        # Whoever finds Neutron in the catalog may use it.
        cloud = rest.Cloud(node)
        made = cloud.call("POST", f"{NEUTRON}/v2.0/networks", {"network": {"name": "first"}})["network"]
        assert made["provider:network_type"] == "vxlan", made
        listed = cloud.call("GET", f"{KEYSTONE}/endpoints")["endpoints"]
        assert sorted(point["interface"] for point in listed if point["url"] == NEUTRON) == ["admin", "internal", "public"], listed
    finally:
        node.down()
        wire.process.kill()
        nodes.remove_tree(RUN)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    import signal

    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    build_controller()
