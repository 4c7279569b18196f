"""Open vSwitch on a network node, with the userspace datapath: it needs no kernel module, and terminates VXLAN and Geneve by itself."""

SOCKET = "unix:/run/openvswitch/db.sock"
UNDERLAY = "br-phy"
DATABASE = "/var/lib/openvswitch/lab.db"


def start(node):
    if not node.file(DATABASE).exists():
        node.run("ovsdb-tool", "create", DATABASE, "/usr/share/openvswitch/vswitch.ovsschema")
    node.run("mkdir", "-p", "/run/openvswitch")
    node.launch("ovsdb", "ovsdb-server", DATABASE, "--remote=punix:/run/openvswitch/db.sock", "--unixctl=/run/openvswitch/ovsdb.ctl",
                "--remote=db:Open_vSwitch,Open_vSwitch,manager_options")
    node.await_service("ovsdb", 60, "ovs-vsctl", "--no-wait", "init")
    # Containers send TCP with checksums left to the hardware. With this the switch completes them; without, only ping would work.
    # It has to be set before ovs-vswitchd starts.
    node.run("ovs-vsctl", "--no-wait", "set", "Open_vSwitch", ".", "other_config:userspace-tso-enable=true")
    node.launch("vswitchd", "ovs-vswitchd", SOCKET, "--unixctl=/run/openvswitch/vswitchd.ctl")
    node.await_service("vswitchd", 60, "ovs-appctl", "-t", "/run/openvswitch/vswitchd.ctl", "version")
    plug_underlay(node)


def plug_underlay(node):
    """The tunnels' local address has to be on a port of the switch, so eth0 goes into a bridge and its address to that bridge."""
    # With the link's own MAC the kernel would answer beside the switch, and every reply come twice.
    mac = "02:5a:" + ":".join(f"{int(part):02x}" for part in node.address.split("."))
    bridge = ["set", "bridge", UNDERLAY, "datapath_type=netdev", "fail_mode=standalone", f"other_config:hwaddr=\"{mac}\""]
    node.run("ovs-vsctl", "--may-exist", "add-br", UNDERLAY, "--", *bridge, "--", "--may-exist", "add-port", UNDERLAY, "eth0")
    node.run("ip", "address", "flush", "dev", "eth0")
    node.run("ip", "address", "replace", f"{node.address}/24", "dev", UNDERLAY)
    node.run("ip", "link", "set", UNDERLAY, "up")


def set_external_ids(node, **values):
    pairs = [f"external_ids:{key.replace('_', '-')}={value}" for key, value in values.items()]
    node.run("ovs-vsctl", "set", "Open_vSwitch", ".", *pairs)
