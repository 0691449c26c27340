#!/usr/bin/env python3
"""simulate_table.py SWEEP.jsonl... [CHECK.jsonl] - what bench/simulate.sh predicts, as a table.

Beside each prediction stands how far the simulator was off in the largest small run that both worlds
made of the same rule (--check); a dash where there was none."""
import json
import os
import re
import sys


def read(paths):
    for path in paths:
        with open(path) as lines:
            for line in lines:
                if line.startswith("{"):
                    yield json.loads(line)


def bandwidth(platform):
    """Bytes per second of a rank's link, as the platform file says; None for another file."""
    path = os.path.join(os.path.dirname(__file__), "platforms", platform.replace("-logp", "") + ".xml")
    try:
        found = re.search(r'bw="([0-9.]+)GBps"', open(path).read())
    except OSError:
        return None
    return 1e9 * float(found.group(1)) if found else None


def errors(rows):
    """Per rule: over the checks of the longest gradient and of the shortest one, the worst error."""
    worst = {}
    for r in rows:
        kept = worst.setdefault(r["rule"], {})
        g = r["gradient_s"]
        kept[g] = max(kept.get(g, 0), r["error_percent"], key=abs)
    return {rule: " / ".join("%+.0f %%" % kept[g] for g in sorted(kept, reverse=True)) for rule, kept in worst.items()}


def number(x, digits=0):
    return "-" if x is None else f"{x:,.{digits}f}"


def percent(x):
    return "-" if x is None else "%.0f %%" % (100 * x)


def table(rows, error):
    print("| platform | rule | gradient | ranks | images/s | of M workers alone | staleness mean, p99, max | server busy | its link | error of the check |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for r in rows:
        bw = bandwidth(r["platform"])
        ideal = r["workers"] * r["batch"] / r["gradient_s"]
        link = r["server_bytes_per_s"] / 2 / bw if bw and r["server_bytes_per_s"] is not None else None
        late = "0" if r["staleness_max"] == 0 else "%.1f, %d, %d" % (r["staleness_mean"], r["staleness_p99"], r["staleness_max"])
        print("| %s | %s | %.0f ms | %d | %s | %s | %s | %s | %s | %s |" % (
            r["platform"], r["rule"], 1e3 * r["gradient_s"], r["ranks"], number(r["images_per_s"]), percent(r["images_per_s"] / ideal), late,
            percent(r["server_busy"]), percent(link), error.get(r["rule"], "-")))


def saturation(rows):
    """How long a gradient keeps the server, in the largest run, and how many workers that feeds."""
    print("\n| platform | rule | gradient | most images/s | seconds of the server per gradient | workers that it feeds | busy >= 95 % from |")
    print("|---|---|---|---|---|---|---|")
    for key in sorted({(r["platform"], r["rule"], r["gradient_s"]) for r in rows if r["server_busy"] is not None}):
        mine = [r for r in rows if (r["platform"], r["rule"], r["gradient_s"]) == key]
        full = [r["ranks"] for r in mine if r["server_busy"] >= 0.95]
        last = max(mine, key=lambda r: r["ranks"])
        kept = last["server_busy"] * last["seconds"] / last["gradients"]
        print("| %s | %s | %.0f ms | %s | %.0f us | %.0f | %s |" % (
            key[0], key[1], 1e3 * key[2], number(max(r["images_per_s"] for r in mine)), 1e6 * kept, key[2] / kept,
            "%d ranks" % min(full) if full else "not reached with %d ranks" % last["ranks"]))


def check_table(rows):
    print("\n| check: rule | workers | gradient | real, best | real, median | simulated | error to the best, to the median |")
    print("|---|---|---|---|---|---|---|")
    for r in rows:
        print("| %s | %d | %g ms | %.1f/s | %.1f/s | %.1f/s | %+.1f %%, %+.1f %% |" % (
            r["rule"], r["workers"], 1e3 * r["gradient_s"], r["real_best"], r["real_median"], r["simulated"],
            r["error_percent"], r["error_percent_of_median"]))


def main():
    rows = list(read(sys.argv[1:]))
    runs = [r for r in rows if r["bench"] == "simulate"]
    checks = [r for r in rows if r["bench"] == "check"]
    runs.sort(key=lambda r: (-r["gradient_s"], r["platform"].replace("-logp", ""), r["rule"], r["ranks"], r["platform"]))
    table(runs, errors(checks))
    saturation(runs)
    if checks:
        check_table(checks)


if __name__ == "__main__":
    main()
