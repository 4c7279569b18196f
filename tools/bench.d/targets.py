"""What was promised, and whether the figures keep it."""

import dataclasses

import figures


@dataclasses.dataclass
class Target:
    text: str
    section: str
    what: str
    contender: str
    limit: float  # times the base's median where there is a base
    base: str = ""
    share: float = 0.5  # which of the ordered values counts: the median, or the one that 99 percent do not exceed

    def limit_in(self, table):
        """None where the base was not measured."""
        if not self.base:
            return self.limit
        values = table.get(self.what, {}).get(self.base)
        return self.limit * figures.median(values) if values else None

    def judge(self, kept):
        """(measured, limit, verdict) with the two as numbers; none without figures."""
        table = kept.kept["sections"].get(self.section, {})
        values, limit = table.get(self.what, {}).get(self.contender), self.limit_in(table)
        if not values or limit is None:
            return None
        value = figures.median(values) if self.share == 0.5 else figures.percentile(values, self.share)
        if value <= limit:
            return value, limit, "met"
        return value, limit, f"missed by {value / limit - 1:.0%}" if limit else "missed"


START = "a start: address, endpoint and join"
ON_THE_WAY = "Neutron requests on the way of a"
LEFT = "50 at once: left afterwards"
EMBEDDED = "0 endpoints, embedded controller"
TARGETS = (
    Target("`docker run`, warm ≤ 1.0 × bridge", "starts", "docker run", "kuryr warm", 1.0, "bridge"),
    Target("the same in dual stack", "starts", "docker run", "kuryr warm dual stack", 1.0, "bridge dual stack"),
    Target("`docker run`, cold ≤ 0.45 × Python", "starts", "docker run", "kuryr cold", 0.45, "python"),
    Target("`docker rm -f` ≤ 1.0 × bridge, warm", "starts", "docker rm", "kuryr warm", 1.0, "bridge"),
    Target("the same, cold", "starts", "docker rm", "kuryr cold", 1.0, "bridge"),
    Target("50 at once, warm ≤ 1.0 × bridge in total", "bursts", "50 at once: docker run", "kuryr warm", 1.0, "bridge"),
    Target("… none of them failed", "bursts", "50 at once: starts that failed", "kuryr warm", 0, share=1),
    Target("… no port left in Neutron", "bursts", f"{LEFT}, ports in Neutron", "kuryr warm", 0, share=1),
    Target("… no link left", "bursts", f"{LEFT}, links", "kuryr warm", 0, share=1),
    Target("… no promise left in the journal", "bursts", f"{LEFT}, promises in the journal", "kuryr warm", 0, share=1),
    Target("Neutron requests on the way of a warm start: 0", "path", f"{ON_THE_WAY} start", "kuryr warm", 0),
    Target("… of a cold one ≤ 1", "path", f"{ON_THE_WAY} start", "kuryr cold", 1),
    Target("… of a stop: 0", "path", f"{ON_THE_WAY} stop", "kuryr cold", 0),
    Target("Neutron requests of a network's creation ≤ 5", "networks", "Neutron requests of a network create", "kuryr cold", 5),
    Target("… of its removal ≤ 4", "networks", "Neutron requests of a network rm", "kuryr cold", 4),
    Target("the plugin's own time of a warm start, p50 ≤ 2 ms", "path", START, "kuryr warm", 0.002),
    Target("… p99 ≤ 10 ms", "path", START, "kuryr warm", 0.010, share=0.99),
    Target("daemon ≤ 15 MiB resident", "growth", "KiB resident after its start", "0 endpoints", 15 * 1024),
    Target("… with the embedded controller in it", "growth", "KiB resident after its start", EMBEDDED, 15 * 1024),
    Target("… beside a real Neutron, after all starts", "starts", "KiB resident after these starts", "kuryr", 15 * 1024),
    Target("daemon ready in ≤ 50 ms", "growth", "start of the daemon", "0 endpoints", 0.050),
    Target("… with the embedded controller in it", "growth", "start of the daemon", EMBEDDED, 0.050),
    Target("10,000 endpoints re-read in ≤ 1 s", "growth", "start of the daemon", "10000 endpoints", 1.0),
    Target("≤ 1 KiB an endpoint that was re-read", "growth", "KiB resident for each endpoint", "10000 endpoints", 1.0),
)
