"""The tables of scaling.py, made from the runs' logs alone: Markdown and one JSON object a line."""

import json
import math
import statistics

from scaling_read import error_at, finite, read

# What is chance is told in include/tardigrad/report.h; `tardigrad report` makes the same test.
# Student's t, two-sided, 5 %: by degrees of freedom. As in src/run/report_chance.c.
T_5_PERCENT = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179,
               2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086]  # fmt: skip
NO_CORRECTION = 1e-2  # below this mean r a compensated gradient is the late one

CRITERION = (
    "Criterion: differences are taken seed by seed, and a difference is called *not chance* where its "
    "95 % confidence interval (Student's t over the seeds) leaves out 0. Nothing is adjusted for the number of comparisons: of twenty "
    "without any difference one is expected to be called *not chance*. Where a compensating rule's "
    f"mean correction ratio r is below {NO_CORRECTION:g} its difference from asgd is *chance* whatever "
    "the test says."
)


def number(value, digits=4):
    return "-" if value is None else f"{value:.{digits}g}"


def spread(values, digits=4, missing="-"):
    """mean (min..max), over the runs that have a value."""
    values = finite(values)
    if not values:
        return missing
    mean = number(statistics.fmean(values), digits)
    if len(values) == 1 or min(values) == max(values):
        return mean
    return f"{mean} ({number(min(values), digits)}..{number(max(values), digits)})"


def pick(figures, *path):
    out = []
    for f in figures:
        for key in path:
            f = f.get(key) if isinstance(f, dict) else None
        out.append(f)
    return out


def paired(differences):
    """Mean difference, half width of its confidence interval, and a word."""
    n = len(differences)
    if n == 0:
        return {"n": 0, "word": "no seed has both numbers"}
    mean = statistics.fmean(differences)
    if not any(differences):
        return {"n": n, "mean": 0.0, "half": 0.0, "word": "identical"}
    if n == 1:
        return {"n": 1, "mean": mean, "word": "one seed: nothing can be said"}
    t = T_5_PERCENT[min(n - 1, len(T_5_PERCENT)) - 1]
    half = t * statistics.stdev(differences) / math.sqrt(n)
    word = "chance" if abs(mean) <= half else "not chance: " + ("better" if mean < 0 else "worse")
    return {"n": n, "mean": mean, "half": half, "word": word}


class Table:
    """grid: what was asked for (grid.json); cells: of every (label, workers) the runs by seed, the
    choice of settings and what failed."""

    def __init__(self, grid, cells):
        self.grid, self.cells = grid, cells
        self.virtual = grid["transport"] == "sim"
        self.clock = "virtual_s" if self.virtual else "wall_s"
        for cell in cells:
            seconds = grid["compute_s"] if self.virtual else None
            done = {s: r for s, r in cell["runs"].items() if r["state"] == "done"}
            figures = {s: read(r["folder"], grid["target"], seconds) for s, r in done.items()}
            cell["figures"] = {s: f for s, f in figures.items() if f}
        self.set_equal_time()

    def set_equal_time(self):
        """Of each number of workers and seed the time by which every rule had ended."""
        ends = {}
        for cell in self.cells:
            for seed, f in cell["figures"].items():
                if not self.has_clock(cell["label"]):
                    continue
                key = (cell["workers"], seed)
                ends[key] = min(ends.get(key, math.inf), f[self.clock] or math.inf)
        for cell in self.cells:
            for seed, f in cell["figures"].items():
                own = None if self.has_clock(cell["label"]) else f[self.clock]
                f["equal_time"] = own or ends[cell["workers"], seed]
                f["error_at_equal_time"] = error_at(f, self.clock, f["equal_time"])

    def has_clock(self, label):
        """sgd has no virtual time of its own, only a mean."""
        return not (self.virtual and label == "sgd")

    def of(self, label, workers):
        found = [c for c in self.cells if (c["label"], c["workers"]) == (label, workers)]
        return found[0] if found else None

    # ---- Markdown ----

    def head(self):
        g = self.grid
        seen = [f for c in self.cells for f in c["figures"].values()]
        yield f"# Rules compared: {g['config_name']}, transport {g['transport']}"
        yield ""
        if seen:
            f = seen[0]
            yield (
                f"{f['model']} ({f['parameters']} parameters) on {f['data']}, {f['precision']}, "
                f"{f['threads']} thread(s) a rank; tardigrad {f['version']} on {f['host']}, {f['device']}."
            )
        seeds = ", ".join(map(str, g["seeds"]))
        delays = " and compute times" if self.virtual else "; delays are the machine's own"
        yield (
            f"{g['epochs']:g} effective epochs, seeds {seeds} (of one seed every rule has the same "
            f"initialisation, order of the data{delays}). Spread: mean "
            "(smallest..largest) over the seeds that ended. Errors are test errors in percent."
        )
        if self.virtual:
            yield (
                f"Virtual time: {g['order']} compute times with a mean of {g['compute_s']:g} s per "
                "gradient; messages, the server's updates and evaluations take none. sgd has no "
                "virtual clock: its time is updates x the mean."
            )
        yield ""

    def row(self, cell, *columns):
        return f"| {cell['label']} | {cell['workers']} | " + " | ".join(columns) + " |"

    def rows(self, columns, make):
        yield "| rule | workers | " + " | ".join(columns) + " |"
        yield "|---|---:|" + "---:|" * len(columns)
        for cell in self.cells:
            yield self.row(cell, *make(cell, list(cell["figures"].values())))
        yield ""

    def to_target(self):
        g = self.grid
        yield f"## To the target: {g['target']:g} % test error"
        yield ""
        yield (
            "The first evaluation at or below the target, over the seeds that reached it; it can be late "
            "by the time between two evaluations. A run that diverged, crashed or did not get there is "
            "*not reached*. Bytes: both ways, of all workers."
        )
        yield ""
        time = "virtual s" if self.virtual else "s"

        def make(cell, figures):
            hits = [f["target"] for f in figures if f["target"]]
            count = f"{len(hits)} of {len(g['seeds'])}"
            if not hits:
                return [count] + ["not reached"] * 4
            mb = [h["bytes"] / 1e6 for h in hits]
            return [count, spread(pick(hits, "update")), spread(pick(hits, "epoch")),
                    spread(pick(hits, self.clock)), spread(mb)]  # fmt: skip

        yield from self.rows(["reached", "updates", "epochs", time, "MB"], make)

    def errors(self):
        g = self.grid
        yield "## Errors"
        yield ""
        yield (
            f"At equal epochs: after {g['epochs']:g}. At equal time: at the last evaluation by the "
            "moment when the first rule with this number of workers had ended, seed by seed"
            + (" (sgd: at its own end)." if self.virtual else ".")
        )
        yield ""

        def make(cell, figures):
            n = f"{len(figures)} of {len(g['seeds'])}"
            return [n, spread(pick(figures, "error")), spread(pick(figures, "error_at_equal_time")),
                    spread(pick(figures, "equal_time"))]  # fmt: skip

        time = "virtual s" if self.virtual else "s"
        yield from self.rows(["ended", "at equal epochs", "at equal time", f"that time, {time}"], make)

    def speed(self):
        yield "## Speed, lateness, load"
        yield ""
        yield (
            "images/s: median over the run; where runs or ranks shared cores it says little. r: "
            "|correction| / |gradient|, mean over updates. Server: the part of the time in which it "
            "was busy. Overlap: the part of the time with a message of a worker under way in which it "
            "computed, 1 - exposed / all communication; none: "
            + ("messages take no time in this simulation." if self.virtual else "nothing is sent.")
        )
        yield ""

        def make(cell, figures):
            virtual = spread(pick(figures, "virtual_images_per_s")) if self.virtual else None
            late = [spread(pick(figures, "staleness", k), 3) for k in ("mean", "p99", "max")]
            load = spread(pick(figures, "server_busy"), 2, "not measured")
            none = "none" if self.virtual or cell["rule"] == "sgd" else "not measured"
            return ([spread(pick(figures, "images_per_s"), 3)] + ([virtual] if self.virtual else [])
                    + [" / ".join(late), spread(pick(figures, "correction_ratio"), 2), load,
                       spread(pick(figures, "bytes_per_sample")),
                       spread(pick(figures, "overlap"), 2, none)])  # fmt: skip

        columns = ["images/s"] + (["images per virtual s"] if self.virtual else [])
        columns += ["staleness mean / p99 / max", "r", "server", "bytes/sample", "overlap"]
        yield from self.rows(columns, make)

    def seen_from_there(self, label, control):
        """Two controls are compared once."""
        order = self.grid["controls"]
        return label in order and order.index(label) < order.index(control)

    def compare(self):
        """Every rule with each control, at equal epochs and at equal time."""
        for cell in self.cells:
            for label in self.grid["controls"]:
                control = self.of(label, cell["workers"])
                if not control or control is cell or self.seen_from_there(cell["label"], label):
                    continue
                seeds = sorted(set(cell["figures"]) & set(control["figures"]))
                clocks = self.has_clock(cell["label"]) and self.has_clock(label)
                for what in ("error", "error_at_equal_time") if clocks else ("error",):
                    pairs = [(cell["figures"][s][what], control["figures"][s][what]) for s in seeds]
                    result = paired([a - b for a, b in pairs if a is not None and b is not None])
                    r = finite(pick(cell["figures"].values(), "correction_ratio"))
                    late = cell["rule"].startswith("dc-asgd") and label == "asgd" and cell["workers"] > 1
                    if late and r and statistics.fmean(r) < NO_CORRECTION and "not" in result["word"]:
                        result["word"] = f"chance: r is {statistics.fmean(r):.1g}"
                    yield cell, label, what, result

    def comparisons(self):
        found = list(self.compare())
        if not found:
            return
        yield "## Differences"
        yield ""
        yield CRITERION
        yield ""
        yield (
            f"{len(found)} comparisons. Negative: fewer errors than the control. asgd is what the "
            "compensating rules are with lambda = 0."
        )
        yield ""
        yield "| rule | workers | control | at equal | seeds | difference, points | 95 % interval | |"
        yield "|---|---:|---|---|---:|---:|---:|---|"
        for cell, label, what, d in found:
            at = "epochs" if what == "error" else "time"
            mean = f"{d['mean']:+.3f}" if "mean" in d else "-"
            half = f"±{d['half']:.3f}" if "half" in d else "-"
            yield self.row(cell, label, at, str(d["n"]), mean, half, d["word"])
        yield ""

    def tuning(self):
        g = self.grid
        yield "## Settings"
        yield ""
        if not g["trials"]:
            yield f"Not tuned: every rule has the learning rate {g['lrs'][0]:g}."
            yield ""
            return
        yield (
            f"{g['trials']} trials for each rule and number of workers, with seed {g['tune_seed']}, which "
            f"is none of those above; {g['tune_epochs']:g} epochs; chosen by the lowest error at the end "
            f"on the last {g['validation']} training samples, which are held out then (the runs above "
            "train on them too). Learning rates first: " + ", ".join(f"{x:g}" for x in g["lrs"]) + "; "
            "the other trials go to the rule's own setting at the best of them, or to half and twice "
            "that rate where it has none. *At the edge*: the best rate was the first or last of the list."
        )
        yield ""

        def make(cell, _):
            t = cell["tuned"]
            failed = str(sum(x["error"] is None for x in t["trials"]))
            if t["chosen"] is None:
                return [f"{len(t['trials'])}", failed, "none", "-", ""]
            values = ", ".join(f"{k}={v}" for k, v in t["chosen"].items())
            return [f"{len(t['trials'])}", failed, values, number(t["error"]), "at the edge" if t["edge"] else ""]

        yield from self.rows(["trials", "failed", "chosen", "validation error", ""], make)

    def failures(self):
        lines = []
        for cell in self.cells:
            if cell["missing"]:
                lines.append(f"- {cell['label']}, {cell['workers']} workers: {cell['missing']}")
                continue
            for seed, run in sorted(cell["runs"].items()):
                if run["state"] != "done":
                    lines.append(f"- {cell['label']}, {cell['workers']} workers, seed {seed}: "
                                 f"{run['state']}{': ' + run['why'] if run['why'] else ''}")  # fmt: skip
        if not lines:
            return
        yield "## Not reached because they did not end"
        yield ""
        yield from lines
        yield ""

    def markdown(self):
        parts = (self.head, self.to_target, self.errors, self.comparisons, self.speed, self.tuning, self.failures)
        lines = [line for part in parts for line in part()]
        return "\n".join([*lines, "Every run's curves: report.html. Every number: scaling.jsonl."])

    # ---- JSON ----

    def objects(self):
        yield {"kind": "grid", **self.grid}
        for cell in self.cells:
            base = {"rule": cell["label"], "workers": cell["workers"]}
            yield {"kind": "tuning", **base, **cell["tuned"]}
            for seed, run in sorted(cell["runs"].items()):
                extra = cell["figures"].get(seed, {})
                extra = {k: v for k, v in extra.items() if k not in ("rule", "workers", "evals")}
                yield {"kind": "run", **base, "seed": seed, "state": run["state"], "why": run["why"], **extra}
        for cell, label, what, result in self.compare():
            yield {"kind": "comparison", "rule": cell["label"], "workers": cell["workers"],
                   "control": label, "of": what, **result}  # fmt: skip

    def write(self, out):
        text = self.markdown()
        (out / "scaling.md").write_text(text + "\n")
        lines = [json.dumps(o, sort_keys=True) for o in self.objects()]
        (out / "scaling.jsonl").write_text("\n".join(lines) + "\n")
        return text
