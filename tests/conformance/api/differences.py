"""Where the embedded controller is known to answer otherwise than Neutron. docs/controller.md says the same to its users."""

import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class Difference:
    """`label` and `place` are patterns that have to match from the start of the request's label and of the place in the answer."""

    reason: str
    place: str
    label: str = ""

    def matches(self, label, place):
        return re.match(self.label, label) and re.match(self.place, place)


DIFFERENCES = (
)
