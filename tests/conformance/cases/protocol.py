"""The calls without effect, and what a call gets that is wrong."""

import json

from engine import CONTENT_TYPE, CallFailed, new_id
from world import check

POOL = "00000000-0000-4000-8000-000000000000"  # nobody gave it out


def refused(engine, call, body, what):
    """The error of a call; the engine must take it for one."""
    try:
        engine.call(call, body)
    except CallFailed as failure:
        return failure
    raise AssertionError(f"{what} is not refused")


def case_activation(world):
    engine = world.engines[0]
    implements = engine.call("Plugin.Activate")["Implements"]
    check(sorted(implements) == ["IpamDriver", "NetworkDriver"], f"implements {implements}")
    scope = engine.call("NetworkDriver.GetCapabilities")["Scope"]
    check(scope == "local", f"scope {scope}")


def case_address_spaces_are_equal(world):
    """Distinct ones let an engine ask for pools for ever when the driver has one default."""
    spaces = world.engines[0].call("IpamDriver.GetDefaultAddressSpaces")
    local, everywhere = spaces["LocalDefaultAddressSpace"], spaces["GlobalDefaultAddressSpace"]
    check(local == everywhere == "no_address_space", f"{local}, {everywhere}")


def case_discovery_and_swarm(world):
    engine = world.engines[0]
    node = {"DiscoveryType": 1, "DiscoveryData": {"Address": "198.51.100.1", "BindAddress": "198.51.100.1", "Self": True}}
    for call in ("NetworkDriver.DiscoverNew", "NetworkDriver.DiscoverDelete"):
        check(engine.call(call, node) == {}, f"{call} answers more than an empty object")
    options = {"neutron.net.name": "mine"}
    asked = {"NetworkID": new_id(), "Options": options, "IPv4Data": [], "IPv6Data": None}
    answer = engine.call("NetworkDriver.AllocateNetwork", asked)
    check(answer["Options"] == options, f"the options for swarm's nodes have become {answer['Options']}")
    engine.call("NetworkDriver.FreeNetwork", {"NetworkID": asked["NetworkID"]})


def case_unknown_path_and_method(world):
    engine = world.engines[0]
    reply = engine.post("NetworkDriver.NoSuchCall", {})
    check(reply.status == 404, f"an unknown call is answered with {reply.status}")
    reply = engine.node.request(engine.address, "GET", "/Plugin.Activate")
    check(reply.status == 405, f"GET is answered with {reply.status}")


def case_body_that_is_no_json(world):
    engine = world.engines[0]
    for call in ("NetworkDriver.CreateNetwork", "IpamDriver.RequestPool", "NetworkDriver.Join"):
        reply = engine.node.request(engine.address, "POST", f"/{call}", "{", {"Content-Type": CONTENT_TYPE})
        check(reply.status == 400 and reply.json().get("Err"), f"{call}: {reply.status} {reply.text[:200]}")


def case_wrong_values_are_named(world):
    """Old engines and upstream's tests look for these words and the value."""
    engine = world.engines[0]
    wrong = [
        ("NetworkDriver.DeleteNetwork", {"NetworkID": "no-id"}, "no-id"),
        ("NetworkDriver.CreateEndpoint", {"NetworkID": new_id(), "EndpointID": "nor-this", "Interface": None, "Options": None}, "nor-this"),
        ("IpamDriver.RequestPool", {"AddressSpace": "x", "Pool": "10.0.0.0", "SubPool": "", "Options": None, "V6": False}, "10.0.0.0"),
        ("IpamDriver.RequestAddress", {"PoolID": POOL, "Address": "10.0.0.300", "Options": None}, "10.0.0.300"),
    ]
    for call, body, value in wrong:
        failure = refused(engine, call, body, f"{call} {body}")
        check(failure.status == 400, f"{call}: status {failure.status}")
        check("Failed validating " in failure.text and value in failure.text, f"{call}: {failure.text[:200]}")


def case_unknown_fields_are_accepted(world):
    """Newer engines send more."""
    engine = world.engines[0]
    engine.call("NetworkDriver.DeleteNetwork", {"NetworkID": new_id(), "Later": {"a": [1]}})


def case_error_is_a_sentence_of_json(world):
    engine = world.engines[0]
    asked = {"PoolID": POOL, "Address": "", "Options": None}
    reply = engine.post("IpamDriver.RequestAddress", asked)
    check(reply.status >= 400, f"an unknown pool is answered with {reply.status}")
    check(POOL in json.loads(reply.text)["Err"], f"the error does not name the pool: {reply.text[:200]}")


def case_host_bits_are_refused_by_name(world):
    asked = {"AddressSpace": "x", "Pool": "10.0.0.7/24", "SubPool": "", "Options": None, "V6": False}
    failure = refused(world.engines[0], "IpamDriver.RequestPool", asked, "a range with host bits")
    check("10.0.0.7/24" in failure.text, f"the error does not name the range: {failure.text[:200]}")


def case_unknown_network_and_endpoint(world):
    """What is deleted may be unknown, what is used may not."""
    engine = world.engines[0]
    ids = {"NetworkID": new_id(), "EndpointID": new_id()}
    engine.call("NetworkDriver.DeleteNetwork", {"NetworkID": ids["NetworkID"]})
    engine.call("NetworkDriver.Leave", ids)
    check(engine.call("NetworkDriver.EndpointOperInfo", ids).get("Value") == {}, "an unknown endpoint has operational data")
    interface = {"Address": world.v4().replace("0/24", "5/24"), "AddressIPv6": "", "MacAddress": ""}
    refused(engine, "NetworkDriver.CreateEndpoint", {**ids, "Interface": interface, "Options": {}}, "an endpoint of an unknown network")
    join = {**ids, "SandboxKey": "/var/run/docker/netns/0123456789ab", "Options": {}}
    refused(engine, "NetworkDriver.Join", join, "joining an unknown network")


def case_releasing_what_is_unknown(world):
    """A release that fails helps nobody: the engine only writes a line to its log."""
    engine = world.engines[0]
    engine.call("IpamDriver.ReleaseAddress", {"PoolID": POOL, "Address": "10.9.8.7"})
    engine.call("IpamDriver.ReleasePool", {"PoolID": POOL})


def case_deleting_an_unknown_endpoint(world):
    network = world.network()
    world.engines[0].call("NetworkDriver.DeleteEndpoint", {"NetworkID": network.id, "EndpointID": new_id()})
    world.engines[0].call("NetworkDriver.DeleteEndpoint", {"NetworkID": new_id(), "EndpointID": new_id()})
