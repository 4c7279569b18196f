"""What several cases expect: something is refused and leaves nothing behind, or the operator's things are as they were."""

from engine import CallFailed
from world import check

POOL_MARK = "kuryr.subnetpool.existing"


def expect_network_refused(world, words, **given):
    """The network is refused with a text that holds one of the words, and nothing of it stays."""
    try:
        world.network(**given)
    except CallFailed as failure:
        check(any(word in failure.text for word in words), f"the error names none of {words}: {failure.text[:300]}")
        world.eventually(lambda: not [key for key in world.left() if key not in world.objects], "the refused network leaves nothing behind")
        return
    raise AssertionError("was not refused")


def expect_container_refused(world, network, words, **given):
    """The container is refused with a text that holds one of the words, and no port of it stays."""

    def ports():
        # The network's DHCP server may get its port at any moment.
        return {port["id"] for port in world.neutron.list("port") if not port["device_owner"].startswith("network:")}

    before = ports()
    try:
        world.start(network, **given)
    except CallFailed as failure:
        check(any(word in failure.text for word in words), f"the error names none of {words}: {failure.text[:300]}")
        world.eventually(lambda: ports() <= before, "the refused container leaves no port behind")
        return
    raise AssertionError("was not refused")


def expect_untouched(world, resource, before):
    """But for the time of the last change; what is undone may be undone behind the reply."""
    fields = ("name", "tags", "shared", "cidr", "gateway_ip", "prefixes", "device_id", "device_owner", "mac_address", "fixed_ips")
    after = {}

    def as_before():
        after.update(world.neutron.show(resource, before["id"]))
        if resource == "subnetpool":
            # One mark for all users, so a plugin cannot well know that it is the last one.
            after["tags"] = [tag for tag in after["tags"] if tag != POOL_MARK]
        return all(after.get(field) == before.get(field) for field in fields)

    try:
        world.eventually(as_before, "")
    except AssertionError:
        changed = [f"{field} {before.get(field)} -> {after.get(field)}" for field in fields if after.get(field) != before.get(field)]
        raise AssertionError(f"the operator's {resource} has changed: {', '.join(changed)}") from None
