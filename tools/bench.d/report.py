"""The figures as a table, as targets met or missed, and as docs/performance.md with its plots."""


import figures
import plots
from places import REPO

PAGE = REPO / "docs/performance.md"
# The contender that the others of a series are compared with, the first that is there.
BASES = ("bridge", "bridge dual stack", "one host, bridge", "real Neutron", "python", "0 endpoints")
# section, what, contender, compared with (a contender or a number), at most so many times that
TARGETS = (
    ("starts", "docker run", "kuryr", "bridge", 1.0),
    ("starts", "docker run", "kuryr cold", "python", 0.45),
    ("starts", "docker rm", "kuryr", "bridge", 1.0),
    ("bursts", "50 at once: docker run", "kuryr", "bridge", 1.0),
    ("path", "a start: address, endpoint and join", "kuryr", 0.002, 1.0),
    ("growth", "KiB resident after its start", "0 endpoints", 15 * 1024, 1.0),
    ("growth", "start of the daemon", "0 endpoints", 0.050, 1.0),
    ("growth", "start of the daemon", "10000 endpoints", 1.0, 1.0),
)


def unit(what):
    """How a value of this series is written."""
    plain = any(word in what for word in ("KiB", "requests", "failed", "a second", "Gbit", "ms"))
    if not plain:
        return lambda seconds: f"{1000 * seconds:.1f} ms" if seconds < 10 else f"{seconds:.1f} s"
    return lambda value: f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"


def rows(kept):
    """(section, what, contender, count, median, min, max, p99, ratio to the base) as texts."""
    for section, what, contenders in kept.series():
        text = unit(what)
        base = next((name for name in BASES if name in contenders), None)
        for name, values in contenders.items():
            middle = figures.median(values)
            ratio = ""
            if base and name != base and figures.median(contenders[base]):
                ratio = f"{middle / figures.median(contenders[base]):.2f} × {base}"
            yield section, what, name, str(len(values)), *map(text, (middle, min(values), max(values), figures.percentile(values, 0.99))), ratio


HEAD = ("section", "what", "contender", "n", "median", "min", "max", "p99", "ratio")


def show(files):
    for file in files:
        kept = figures.Figures(file)
        print("\n" + ", ".join(f"{name} {value}" for name, value in kept.kept["about"].items()))
        table = [HEAD, *rows(kept)]
        widths = [max(len(row[column]) for row in table) for column in range(len(HEAD))]
        for row in table:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
        for line in verdicts(kept):
            print(line)


def verdicts(kept):
    for section, what, name, base, factor in TARGETS:
        series = kept.kept["sections"].get(section, {}).get(what, {})
        if name not in series or (isinstance(base, str) and base not in series):
            continue
        value, text = figures.median(series[name]), unit(what)
        limit = factor * (figures.median(series[base]) if isinstance(base, str) else base)
        goal = f"{factor:g} × {base}" if isinstance(base, str) else text(base)
        verdict = "met" if value <= limit else f"missed by {value / limit - 1:.0%}"
        yield f"target: {what}, {name} ≤ {goal} ({text(limit)}): {text(value)}, {verdict}"


def publish(files):
    parts = [
        "# Performance\n",
        "Written by `tools/bench publish` from figures that `tools/bench run` measured. All contenders of a table ran in one run, interleaved, on\n"
        "one machine; machines are shared, so that ratios count and not milliseconds. To repeat it on a Debian machine with root:\n\n"
        "    tools/bench run --cloud linuxbridge\n    tools/bench publish target/bench/linuxbridge.json\n",
    ]
    for file in files:
        kept = figures.Figures(file)
        about = kept.kept["about"]
        parts.append(f"\n## {about['cloud']}\n\n" + ", ".join(f"{name} {value}" for name, value in about.items()) + ".\n")
        parts.append("\n### Targets\n\n" + "\n".join(f"- {line.removeprefix('target: ')}" for line in verdicts(kept)) + "\n")
        for section in kept.kept["sections"]:
            parts.append(f"\n### {section}\n\n")
            for image in plots.draw(kept, section, PAGE.parent / "performance"):
                parts.append(f"![{section}](performance/{image.name})\n\n")
            head = [name for name in HEAD if name != "section"]
            parts.append("| " + " | ".join(head) + " |\n|" + "---|" * len(head) + "\n")
            parts.extend("| " + " | ".join(row[1:]) + " |\n" for row in rows(kept) if row[0] == section)
    PAGE.write_text("".join(parts))
    print(f"{PAGE} is written")
