"""What was measured: for each section a series of values by contender and by what was done, kept as JSON."""

import json
import statistics


class Figures:
    def __init__(self, file):
        self.file = file
        self.kept = json.loads(file.read_text()) if file.exists() else {"about": {}, "sections": {}}

    def begin(self, section):
        """A section that is run again is measured anew."""
        self.kept["sections"][section] = {}
        self.section = section

    def add(self, what, contender, value):
        """One more value of a series, in seconds unless the name says otherwise."""
        self.kept["sections"][self.section].setdefault(what, {}).setdefault(contender, []).append(value)

    def values(self, what, contender):
        """Those of the section under way."""
        return self.kept["sections"][self.section][what][contender]

    def about(self, **facts):
        self.kept["about"].update(facts)

    def save(self):
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(self.kept, indent=1) + "\n")

    def series(self):
        """(section, what, {contender: values}) in the order of measuring."""
        for section, table in self.kept["sections"].items():
            for what, contenders in table.items():
                yield section, what, contenders


def median(values):
    return statistics.median(values)


def percentile(values, share):
    """The value that this share of the others does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
