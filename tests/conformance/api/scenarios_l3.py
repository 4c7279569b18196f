"""Routers and floating IPs."""

NOWHERE = "11111111-2222-4333-8444-555555555555"


def _outside(cloud, number):
    """An external network with a subnet."""
    network = cloud.make("network", name="outside", **{"router:external": True})
    cloud.make("subnet", network_id=network["id"], ip_version=4, cidr=f"198.18.{number}.0/24", enable_dhcp=False)
    return network


def _inside(cloud, number):
    network = cloud.make("network", name="inside")
    subnet = cloud.make("subnet", network_id=network["id"], ip_version=4, cidr=f"10.{number}.0.0/24", enable_dhcp=False)
    return network, subnet


def router_life(cloud):
    router = cloud.make("router", name="router")
    cloud.show("router", router)
    cloud.change("router", router, name="other", description="text", admin_state_up=False)
    cloud.search("router", "name=other&fields=name&fields=routes")
    cloud.remove("router", router)
    cloud.remove("router", router)


def router_interfaces(cloud):
    router = cloud.make("router", name="router")
    network, subnet = _inside(cloud, 240)
    bare = cloud.make("subnet", network_id=network["id"], ip_version=4, cidr="10.241.0.0/24", gateway_ip=None, enable_dhcp=False)
    path = f"/routers/{router['id']}"
    for body in ({}, {"subnet_id": NOWHERE}, {"port_id": NOWHERE}, {"subnet_id": bare["id"]}, {"subnet_id": subnet["id"], "port_id": NOWHERE}):
        cloud.do("PUT", f"{path}/add_router_interface", body)
    cloud.do("PUT", f"{path}/add_router_interface", {"subnet_id": subnet["id"]})
    cloud.do("PUT", f"{path}/add_router_interface", {"subnet_id": subnet["id"]})
    ports = cloud.search("port", f"device_id={router['id']}")["ports"]
    if ports:
        cloud.do("DELETE", f"/ports/{ports[0]['id']}")
    cloud.remove("router", router)
    cloud.remove("subnet", subnet)
    cloud.remove("network", network)
    cloud.do("PUT", f"{path}/remove_router_interface", {"subnet_id": bare["id"]})
    cloud.do("PUT", f"{path}/remove_router_interface", {"subnet_id": subnet["id"]})
    cloud.do("PUT", f"{path}/remove_router_interface", {"subnet_id": subnet["id"]})
    port = cloud.make("port", network_id=network["id"], fixed_ips=[{"ip_address": "10.240.0.9"}])
    cloud.do("PUT", f"{path}/add_router_interface", {"port_id": port["id"]})
    cloud.do("PUT", f"{path}/remove_router_interface", {"port_id": port["id"]})
    used = cloud.make("port", network_id=network["id"], device_id="machine", device_owner="compute:nova", fixed_ips=[{"ip_address": "10.240.0.10"}])
    cloud.do("PUT", f"{path}/add_router_interface", {"port_id": used["id"]})


def router_gateway(cloud):
    outside = _outside(cloud, 1)
    inside, _ = _inside(cloud, 242)
    fixed = [{"ip_address": "198.18.1.9"}]
    router = cloud.make("router", name="router", external_gateway_info={"network_id": outside["id"], "external_fixed_ips": fixed})
    cloud.change("router", router, external_gateway_info={"network_id": outside["id"], "enable_snat": False})
    cloud.change("router", router, external_gateway_info={"network_id": inside["id"]})
    cloud.change("router", router, external_gateway_info={"network_id": NOWHERE})
    cloud.change("router", router, external_gateway_info={"enable_snat": True})
    cloud.change("router", router, external_gateway_info={"network_id": outside["id"], "colour": "blue"})
    cloud.remove("network", outside)
    cloud.change("router", router, external_gateway_info={})
    cloud.change("router", router, external_gateway_info=None)
    cloud.remove("router", router)


def router_routes(cloud):
    router = cloud.make("router", name="router")
    _, subnet = _inside(cloud, 243)
    cloud.do("PUT", f"/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    route = {"destination": "198.51.100.0/24", "nexthop": "10.243.0.9"}
    cloud.change("router", router, routes=[route])
    cloud.change("router", router, routes=[{"destination": "198.51.100.0/24", "nexthop": "10.244.0.9"}])
    cloud.change("router", router, routes=[{"destination": "198.51.100.0/24", "nexthop": "10.243.0.1"}])
    cloud.change("router", router, routes=[{"destination": "nowhere", "nexthop": "10.243.0.9"}])
    cloud.change("router", router, routes=[{"destination": "198.51.100.0/24"}])
    cloud.change("router", router, routes=[route, route])
    cloud.do("PUT", f"/routers/{router['id']}/remove_router_interface", {"subnet_id": subnet["id"]})
    cloud.do("PUT", f"/routers/{router['id']}/add_extraroutes", {"router": {"routes": [{"destination": "203.0.113.0/24", "nexthop": "10.243.0.9"}]}})
    cloud.do("PUT", f"/routers/{router['id']}/remove_extraroutes", {"router": {"routes": [route]}})


def floatingip_life(cloud):
    outside = _outside(cloud, 2)
    inside, subnet = _inside(cloud, 245)
    gateway = {"network_id": outside["id"], "external_fixed_ips": [{"ip_address": "198.18.2.9"}]}  # Neutron's own choice is a matter of chance
    router = cloud.make("router", name="router", external_gateway_info=gateway)
    cloud.do("PUT", f"/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    port = cloud.make("port", network_id=inside["id"], fixed_ips=[{"ip_address": "10.245.0.9"}])
    floating = cloud.make("floatingip", floating_network_id=outside["id"], floating_ip_address="198.18.2.99")
    cloud.show("floatingip", floating)
    cloud.change("floatingip", floating, port_id=port["id"])
    cloud.make("floatingip", floating_network_id=outside["id"], port_id=port["id"])
    cloud.do("PUT", f"/routers/{router['id']}/remove_router_interface", {"subnet_id": subnet["id"]})
    cloud.change("router", router, external_gateway_info=None)
    cloud.change("floatingip", floating, description="text")
    cloud.change("floatingip", floating, port_id=None)
    cloud.remove("floatingip", floating)
    cloud.remove("floatingip", floating)


def floatingip_errors(cloud):
    outside = _outside(cloud, 3)
    inside, _ = _inside(cloud, 246)
    port = cloud.make("port", network_id=inside["id"], fixed_ips=[{"ip_address": "10.246.0.9"}])
    cloud.make("floatingip", floating_network_id=outside["id"], floating_ip_address="198.18.3.99")
    for fields in (
        {"floating_network_id": NOWHERE},
        {"floating_network_id": inside["id"]},
        {"floating_ip_address": "198.18.3.99"},
        {"floating_ip_address": "10.9.9.9"},
        {"floating_ip_address": "nobody"},
        {"port_id": NOWHERE},
        {"port_id": port["id"]},
        {"port_id": port["id"], "fixed_ip_address": "10.246.0.10"},
        {"fixed_ip_address": "10.246.0.9"},
        {"subnet_id": NOWHERE},
    ):
        cloud.make("floatingip", **{"floating_network_id": outside["id"], **fields})
