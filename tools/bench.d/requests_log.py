"""Neutron's own log as a count of the requests that a node has made."""

import time

from places import CONTROLLER

SERVICES = ("neutron-server", "neutron-api")


class Requests:
    def __init__(self, lab, node):
        controller = lab[CONTROLLER]
        logs = (controller.file(f"/var/log/lab/{service}.log") for service in SERVICES)
        self.log = next(log for log in logs if log.exists())
        self.address = lab[node].address

    def count(self):
        with open(self.log, errors="replace") as lines:
            return sum(self.address in line and "/v2.0/" in line and "HTTP/1." in line for line in lines)

    def quiet(self):
        """Until two seconds have passed without another one: what is written behind is through."""
        known, since = self.count(), time.monotonic()
        while time.monotonic() - since < 2:
            time.sleep(0.1)
            if (now := self.count()) != known:
                known, since = now, time.monotonic()
