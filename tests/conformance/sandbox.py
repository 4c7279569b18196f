"""A container's network namespace, filled as the engine fills it from the replies to CreateEndpoint and Join."""

import contextlib
import secrets

from node import CommandFailed


class Sandbox:
    def __init__(self, world, endpoint):
        self.node, self.endpoint = endpoint.engine.node, endpoint
        self.name = f"sandbox-{secrets.token_hex(4)}"
        self.link = endpoint.joined["InterfaceName"]["SrcName"]
        self.node.run("ip", "netns", "add", self.name)
        world.sandboxes.append(self)
        self.node.run("ip", "link", "set", self.link, "netns", self.name)
        self.ip("link", "set", self.link, "name", "eth0")
        if endpoint.mac:
            self.ip("link", "set", "eth0", "address", endpoint.mac)
        for v6, (_, address) in endpoint.addresses.items():
            self.ip("address", "add", address, "dev", "eth0", *(["nodad"] if v6 else []))
        self.ip("link", "set", "lo", "up")
        self.ip("link", "set", "eth0", "up")
        for key in ("Gateway", "GatewayIPv6"):
            if endpoint.joined.get(key):
                self.ip("route", "add", "default", "via", endpoint.joined[key])

    def ip(self, *arguments):
        return self.node.run("ip", "-n", self.name, *arguments)

    def leave(self):
        """The link goes back to the host under its old name, between Leave and DeleteEndpoint."""
        self.ip("link", "set", "eth0", "down")
        self.ip("link", "set", "eth0", "name", self.link)
        # $$ is a process in the host's namespace.
        self.node.run("sh", "-c", f"ip -n {self.name} link set {self.link} netns $$")

    def reaches(self, address):
        """busybox is on every node that has the engine's test image."""
        ping = ["busybox", "ping", "-c", "1", "-W", "2", address]
        return self.node.succeeds("ip", "netns", "exec", self.name, *ping)

    def remove(self):
        """Links in it go with it."""
        with contextlib.suppress(CommandFailed):
            self.node.run("ip", "netns", "delete", self.name)
