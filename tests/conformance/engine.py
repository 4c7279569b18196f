"""Docker's engine as a plugin meets it: the calls in their order, and what the engine does when one fails.

Read off recordings of dockerd 20.10 to 28.5. The engine neither reads a plugin's mind nor forgives: it refuses a reply that changes what it
had set, and after a failure it takes back less than one would think.
"""

import base64
import ipaddress
import json
import secrets

CONTENT_TYPE = "application/vnd.docker.plugins.v1.2+json"
MAC_OPTION = "com.docker.network.endpoint.macaddress"
EXPOSED_OPTION = "com.docker.network.endpoint.exposedports"
PUBLISHED_OPTION = "com.docker.network.portmap"
GATEWAY = {"RequestAddressType": "com.docker.network.gateway"}


class CallFailed(Exception):
    """A call that the engine takes for failed, with the text that it shows to a person."""

    def __init__(self, call, status, text):
        self.call, self.status, self.text = call, status, text
        super().__init__(f"{call}: {status} {text}")


def new_id():
    return secrets.token_hex(32)


class Engine:
    """One dockerd; `address` is the plugin's socket or URL on `node`."""

    def __init__(self, node, address):
        self.node = node
        self.address = address
        self.wants_mac = self.call("IpamDriver.GetCapabilities").get("RequiresMACAddress", False)
        self.space = self.call("IpamDriver.GetDefaultAddressSpaces")["LocalDefaultAddressSpace"]

    def post(self, call, body=None):
        """The reply as it is. A call without fields has an empty body."""
        text = None if body is None else json.dumps(body)
        headers = {"Accept": CONTENT_TYPE, "Content-Type": CONTENT_TYPE}
        if text is None:
            headers["Content-Length"] = "0"
        return self.node.request(self.address, "POST", f"/{call}", text, headers)

    def call(self, call, body=None):
        """The reply's JSON. The NetworkDriver's proxy reads `Err` of a reply 200, the IpamDriver's reads `Error`; of others both read `Err`."""
        reply = self.post(call, body)
        try:
            found = reply.json()
        except json.JSONDecodeError:
            raise CallFailed(call, reply.status, f"no JSON: {reply.text[:200]}") from None
        field = "Error" if reply.status == 200 and call.startswith("IpamDriver.") else "Err"
        text = found.get(field, "")
        if reply.status != 200 or text:
            raise CallFailed(call, reply.status, text or reply.text)
        return found


class Range:
    """One `--subnet` with its `--gateway`, `--ip-range` and `--aux-address`."""

    def __init__(self, subnet="", gateway="", ip_range="", aux=None, v6=None):
        self.subnet, self.gateway, self.ip_range, self.aux = subnet, gateway, ip_range, aux or {}
        self.v6 = ":" in subnet if v6 is None else v6
        self.pool = self.cidr = self.granted_gateway = None
        self.granted_aux = {}

    def data(self, space):
        data = {"AddressSpace": space, "Pool": self.cidr}
        if self.granted_gateway:
            data["Gateway"] = self.granted_gateway
        if self.granted_aux:
            data["AuxAddresses"] = self.granted_aux
        return data


class DockerNetwork:
    """`docker network create` and `rm`."""

    def __init__(self, engine, ranges, options=None, ipam_options=None, internal=False, network_id=None):
        self.engine, self.ranges = engine, ranges
        self.options, self.ipam_options, self.internal = options or {}, ipam_options or {}, internal
        self.id = network_id or new_id()

    def create(self):
        try:
            for wanted in self.ranges:
                self.request_range(wanted)
            self.engine.call("NetworkDriver.CreateNetwork", self.creation())
        except CallFailed:
            # In no case is DeleteNetwork called, and addresses are given back only when all had been granted.
            if all(wanted.cidr for wanted in self.ranges):
                self.release_ranges(strict=False)
            else:
                for granted in filter(lambda wanted: wanted.cidr, self.ranges):
                    self.release_pool(granted.pool, strict=False)
            raise
        return self

    def creation(self):
        """The body of CreateNetwork."""
        options = {"com.docker.network.enable_ipv6": any(wanted.v6 for wanted in self.ranges), "com.docker.network.generic": self.options}
        if self.internal:
            options["com.docker.network.internal"] = True
        data = {v6: [wanted.data(self.engine.space) for wanted in self.ranges if wanted.v6 == v6] for v6 in (False, True)}
        return {"NetworkID": self.id, "Options": options, "IPv4Data": data[False], "IPv6Data": data[True]}

    def request_range(self, wanted):
        call = self.engine.call
        asked = {"AddressSpace": self.engine.space, "Pool": wanted.subnet, "SubPool": wanted.ip_range, "Options": self.ipam_options, "V6": wanted.v6}
        granted = call("IpamDriver.RequestPool", asked)
        pool, cidr = granted["PoolID"], granted["Pool"]
        try:
            gateway = (granted.get("Data") or {}).get("com.docker.network.gateway")
            if wanted.gateway or not gateway:
                reply = call("IpamDriver.RequestAddress", {"PoolID": pool, "Address": wanted.gateway, "Options": GATEWAY})
                gateway = with_prefix("IpamDriver.RequestAddress", reply)
            wanted.granted_gateway = gateway
            for name, address in wanted.aux.items():
                reply = call("IpamDriver.RequestAddress", {"PoolID": pool, "Address": address, "Options": None})
                wanted.granted_aux[name] = with_prefix("IpamDriver.RequestAddress", reply)
        except CallFailed:
            self.release_pool(pool, strict=False)
            raise
        wanted.pool, wanted.cidr = pool, cidr

    def remove(self, strict=True):
        """`strict` lets an error through, which the engine itself would only write to its log."""
        self.release_ranges(strict)
        self.tell(strict, "NetworkDriver.DeleteNetwork", {"NetworkID": self.id})

    def release_ranges(self, strict):
        for wanted in self.ranges:
            for held in [wanted.granted_gateway, *wanted.granted_aux.values()]:
                if held:
                    self.tell(strict, "IpamDriver.ReleaseAddress", {"PoolID": wanted.pool, "Address": bare(held)})
            self.release_pool(wanted.pool, strict)

    def release_pool(self, pool, strict):
        self.tell(strict, "IpamDriver.ReleasePool", {"PoolID": pool})

    def tell(self, strict, call, body):
        try:
            self.engine.call(call, body)
        except CallFailed:
            if strict:
                raise


def with_prefix(call, reply):
    """An address that is not in CIDR form is as good as none: `no IP returned`."""
    address = reply.get("Address", "")
    if "/" not in address:
        raise CallFailed(call, 200, f"the engine takes no address '{address}'")
    return address


def bare(address):
    return address.partition("/")[0]


class Endpoint:
    """One container on one network: `docker run` and `docker rm`, without the container."""

    def __init__(self, network, ip="", ip6="", mac="", exposed=(), published=(), endpoint_id=None, sandbox=None, driver_options=None):
        """`exposed` are pairs of protocol and port, `published` triples with the host's port behind them."""
        self.network, self.engine = network, network.engine
        self.wanted = {False: ip, True: ip6}
        self.wanted_mac = mac
        # Whatever is published is exposed as well.
        opened = [*exposed, *((proto, port) for proto, port, _ in published)]
        self.ports = {
            EXPOSED_OPTION: [{"Proto": proto, "Port": port} for proto, port in opened],
            PUBLISHED_OPTION: [
                {"Proto": proto, "IP": "", "Port": port, "HostIP": "", "HostPort": outside, "HostPortEnd": outside} for proto, port, outside in published
            ],
        }
        self.driver_options = driver_options or {}
        self.id = endpoint_id or new_id()
        self.sandbox = sandbox or f"/var/run/docker/netns/{secrets.token_hex(6)}"
        self.addresses = {}
        self.mac = self.joined = None

    def start(self):
        self.request_addresses()
        try:
            self.create()
            self.join()
        except CallFailed as failure:
            # After a failed CreateEndpoint there is no DeleteEndpoint; after a failed Join there is, but no Leave.
            if failure.call == "NetworkDriver.Join":
                self.tell(False, "NetworkDriver.DeleteEndpoint")
            self.release_addresses(strict=False)
            raise
        return self

    def request_addresses(self):
        self.mac = self.wanted_mac
        if self.engine.wants_mac and not self.mac:
            self.mac = "02:42:" + ":".join(secrets.token_hex(1) for _ in range(4))
        options = {MAC_OPTION: self.mac} if self.engine.wants_mac else None
        for wanted in self.network.ranges:
            asked = {"PoolID": wanted.pool, "Address": self.wanted[wanted.v6], "Options": options}
            reply = self.engine.call("IpamDriver.RequestAddress", asked)
            self.addresses[wanted.v6] = (wanted.pool, with_prefix("IpamDriver.RequestAddress", reply))

    def creation(self):
        """The body of CreateEndpoint."""
        address = {v6: held for v6, (_, held) in self.addresses.items()}
        options = {**self.ports, **self.driver_options}
        if self.wanted_mac:
            options[MAC_OPTION] = base64.b64encode(bytes.fromhex(self.wanted_mac.replace(":", ""))).decode()
        interface = {"Address": address.get(False, ""), "AddressIPv6": address.get(True, ""), "MacAddress": self.mac}
        return {**self.ids(), "Interface": interface, "Options": options}

    def create(self):
        asked = self.creation()
        call = "NetworkDriver.CreateEndpoint"
        changed = self.engine.call(call, asked).get("Interface") or {}
        for field, value in changed.items():
            if value and asked["Interface"][field]:
                raise CallFailed(call, 200, f"driver modified interface: {field} {value}")
        self.mac = asked["Interface"]["MacAddress"] or changed.get("MacAddress", "")

    def join(self):
        self.joined = self.engine.call("NetworkDriver.Join", {**self.ids(), "SandboxKey": self.sandbox, "Options": self.ports})
        self.tell(True, "NetworkDriver.ProgramExternalConnectivity", Options=self.ports)
        self.tell(True, "NetworkDriver.EndpointOperInfo")

    def stop(self, strict=True):
        self.tell(strict, "NetworkDriver.RevokeExternalConnectivity")
        self.tell(strict, "NetworkDriver.Leave")
        self.tell(strict, "NetworkDriver.DeleteEndpoint")
        self.release_addresses(strict)

    def release_addresses(self, strict):
        for pool, address in self.addresses.values():
            self.network.tell(strict, "IpamDriver.ReleaseAddress", {"PoolID": pool, "Address": bare(address)})

    def ids(self):
        return {"NetworkID": self.network.id, "EndpointID": self.id}

    def tell(self, strict, call, **fields):
        self.network.tell(strict, call, {**self.ids(), **fields})

    def ip(self, v6=False):
        return bare(self.addresses[v6][1])


def first_host(cidr):
    return str(ipaddress.ip_network(cidr)[1])
