"""The figures as a table, as targets met or missed, and as docs/performance.md with its plots."""

import figures
import plots
from places import REPO
from targets import TARGETS

PAGE = REPO / "docs/performance.md"
# What the figures do not say by themselves, written by hand.
PROFILE = REPO / "docs/performance/profile.md"
# The contender that the others of a series are compared with, the first that is there.
BASES = ("bridge", "bridge dual stack", "one host, bridge", "real Neutron", "python", "0 endpoints")
PLAIN = ("KiB", "requests", "failed", "left", "a second", "Gbit", "round trip")
HEAD = ("section", "what", "contender", "n", "median", "min", "max", "p99", "ratio")


def unit(what):
    """How a value of this series is written."""
    if any(word in what for word in PLAIN):
        return lambda value: f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"
    return lambda seconds: f"{1000 * seconds:.1f} ms" if seconds < 10 else f"{seconds:.1f} s"


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


def show(files):
    for file in files:
        kept = figures.Figures(file)
        print("\n" + described(kept))
        table = [HEAD, *rows(kept)]
        widths = [max(len(row[column]) for row in table) for column in range(len(HEAD))]
        for row in table:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
        for target in TARGETS:
            if outcome := target.judge(kept):
                print(f"target: {target.text.replace('`', '')}: {worded(target, outcome)}")


def described(kept):
    return ", ".join(f"{name} {value}" for name, value in kept.kept["about"].items())


def worded(target, outcome):
    value, limit, verdict = outcome
    text = unit(target.what)
    shown = f"{text(value)}" if not limit else f"{text(value)} of {text(limit)}"
    if target.base:
        shown += f" ({target.limit * value / limit:.2f} ×)"
    return f"{shown}, {verdict}"


def publish(files):
    every = [figures.Figures(file) for file in files]
    PAGE.write_text("".join([introduction(), targets(every), PROFILE.read_text() if PROFILE.exists() else "", *map(chapter, every)]))
    print(f"{PAGE} is written")


def introduction():
    return (
        "# Performance\n\n"
        "Written by `tools/bench publish` from what `tools/bench run` measured. All contenders of a table ran in one run, in turns, on one machine that\n"
        "also ran the real Neutron with its database and agents: ratios count, not milliseconds. To repeat it on a Debian machine, as root, with\n"
        "a Rust toolchain (some minutes more at the first run, which fetches a Debian for each cloud):\n\n"
        "    tools/bench run --cloud linuxbridge\n"
        "    tools/bench run --cloud ovs starts networks\n"
        "    tools/bench run --cloud ovn starts networks\n"
        "    tools/bench publish target/bench/linuxbridge.json target/bench/ovs.json target/bench/ovn.json\n\n"
        "- **bridge**, **none**: Docker's own bridge network, and no network at all.\n"
        "- **kuryr warm**: a network with ports made ahead (`-o kuryr.pool.min`); **kuryr cold**: one without, as it is by default.\n"
        "- **python**: kuryr-libnetwork on a second host of the same Neutron; **bridge there** shows whether the two hosts are alike.\n"
    )


def targets(every):
    """One row a target, one column a cloud."""
    clouds = [kept.kept["about"]["cloud"] for kept in every]
    lines = ["\n## Targets\n\n", "| target | " + " | ".join(clouds) + " |\n", "|" + "---|" * (len(clouds) + 1) + "\n"]
    for target in TARGETS:
        outcomes = [target.judge(kept) for kept in every]
        cells = [marked(target, outcome) if outcome else "–" for outcome in outcomes]
        lines.append("| " + " | ".join([target.text, *cells]) + " |\n")
    return "".join(lines)


def marked(target, outcome):
    text = worded(target, outcome)
    return text if outcome[2] == "met" else f"{text.removesuffix(outcome[2])}**{outcome[2]}**"


def chapter(kept):
    parts = [f"\n## {kept.kept['about']['cloud']}\n\n{described(kept)}.\n"]
    for section in kept.kept["sections"]:
        parts.append(f"\n### {section}\n\n")
        for image in plots.draw(kept, section, PAGE.parent / "performance"):
            parts.append(f"![{section}](performance/{image.name})\n\n")
        head = [name for name in HEAD if name != "section"]
        parts.append("| " + " | ".join(head) + " |\n|" + "---|" * len(head) + "\n")
        before = None
        for _, what, *row in (row for row in rows(kept) if row[0] == section):
            parts.append("| " + " | ".join(["" if what == before else what, *row]) + " |\n")
            before = what
    return "".join(parts)
