"""The grid of scaling.py: which runs there are, and which settings each has. A pure function of what
was asked for and of the logs of the trials."""

import hashlib
import json
import math
import re

from scaling_read import has_ended, read

DIVERGED, PREEMPTED = 3, 75  # exit codes of tardigrad train

# ssgd averages in three ways (sync.average), and they are three rules here.
VARIANTS = {"ssgd": ("mean", "scaled", "fixed")}

# What a rule is given beside the learning rate, and its own setting with the values that the last
# trials try (the first is the one that the others have). A key that this build lacks is no setting.
KNOBS = {
    "dc-asgd-c": ("sync.lambda", 0.04, (0.4, 4)),
    "dc-asgd-a": ("sync.lambda", 2, (0.5, 5)),
    "ssp": ("sync.staleness_bound", 3, (1, 10)),
    "local-sgd": ("sync.local_steps", 8, (2, 32)),
    "dana-slim": ("optimizer.momentum", 0.9, (0.5, 0.7)),
}
FIXED = {"ssgd:scaled": {"optimizer.warmup_epochs": 1}}


def labels_of(rules):
    for rule in rules:
        yield from (f"{rule}:{v}" for v in VARIANTS[rule]) if rule in VARIANTS else (rule,)


def cells_of(rules, workers):
    """(label, workers): sgd has one worker, and one worker averages in one way."""
    for label in labels_of(rules):
        for m in workers:
            if label == "sgd" and m != 1:
                continue
            if m == 1 and label.startswith("ssgd:") and label != "ssgd:mean" and "ssgd" in rules:
                continue
            yield label, m


def text(value):
    return f"{value:g}" if isinstance(value, float) else str(value)


def bare(config):
    return re.sub(r"#.*", "", config)


def schedule_of(config, ratio):
    """The configuration's schedule for a run that is `ratio` times as long; None without one."""
    steps = re.findall(r"\bepoch:\s*([\d.e+-]+)\s*,?\s*factor:\s*([\d.e+-]+)", bare(config))
    return ",".join(f"{float(e) * ratio:g}:{f}" for e, f in steps) if steps else None


def epochs_of(config):
    found = re.search(r"\bepochs:\s*([\d.e+]+)", bare(config))
    return float(found.group(1)) if found else 10.0


class Run:
    """One run of the program: its settings, its folder, and what became of it."""

    def __init__(self, grid, name, workers, settings):
        self.grid, self.name, self.workers, self.settings = grid, name, workers, settings
        self.folder = grid.out / "runs" / name
        self.record_path = grid.out / "cells" / f"{name}.json"
        self.log = grid.out / "logs" / f"{name}.log"
        known = json.dumps([settings, grid.asked["config"]], sort_keys=True)
        self.key = hashlib.sha256(known.encode()).hexdigest()

    def record(self):
        """What was noted of an earlier run with these very settings, or None."""
        try:
            record = json.loads(self.record_path.read_text())
        except (OSError, ValueError):
            return None
        return record if record.get("key") == self.key else None

    def note(self, **what):
        part = self.record_path.with_suffix(".part")
        part.write_text(json.dumps({"key": self.key, "settings": self.settings, **what}) + "\n")
        part.replace(self.record_path)

    def config_hash(self):
        try:
            return hashlib.sha256((self.folder / "config.yaml").read_bytes()).hexdigest()
        except OSError:
            return None

    def state(self):
        """done, diverged, failed, partial (to be continued), or not run."""
        record = self.record()
        if record is None:
            return "not run"
        rc = record.get("rc")
        if rc == 0:
            same = record.get("config") == self.config_hash() and has_ended(self.folder)
            return "done" if same else "not run"
        if rc == DIVERGED:
            return "diverged"
        return "partial" if rc is None or rc == PREEMPTED else "failed"

    def why(self):
        record = self.record() or {}
        return record.get("why", "")


class Cell:
    """A rule with a number of workers: trials first, then one run per seed."""

    def __init__(self, grid, label, workers):
        self.grid, self.label, self.workers = grid, label, workers
        self.rule = label.split(":")[0]
        self.slug = f"{label.replace(':', '.')}-w{workers}"
        knob = KNOBS.get(self.rule)
        self.knob = knob if knob and knob[0] in grid.asked["keys"] else None
        self.missing = ""
        if self.rule not in grid.asked["rules_here"]:
            self.missing = f"this build has no rule '{self.rule}' (tardigrad list rules)"

    # ---- settings ----

    def base(self, seed, epochs):
        a = self.grid.asked
        s = {"run.seed": seed, "sim.seed": seed, "train.epochs": epochs, "run.threads": a["threads"],
             "sync.rule": self.rule, "metrics.tensorboard": "false", "checkpoint.keep": 1}  # fmt: skip
        schedule = schedule_of(a["config"], epochs / epochs_of(a["config"]))
        if schedule:
            s["optimizer.schedule"] = schedule
        if self.rule != "sgd":
            s["transport.name"] = a["transport"]
        if a["transport"] == "sim":
            s.update({"sim.workers": self.workers, "sim.order": a["order"], "sim.compute_s": a["compute_s"]})
        if ":" in self.label:
            s["sync.average"] = self.label.split(":")[1]
        if s.get("sync.average") == "fixed" and a["transport"] == "sim":
            # A gradient of a part of the batch takes that part of the time: the best case for it.
            s["sim.compute_s"] = a["compute_s"] / self.workers
        if self.knob:
            s[self.knob[0]] = self.knob[1]
        s.update(FIXED.get(self.label, {}))
        s.update(a["set"])
        s.update(a["rule_set"].get(self.label, a["rule_set"].get(self.rule, {})))
        return s

    def run(self, name, seed, epochs, chosen, **more):
        settings = {**self.base(seed, epochs), **chosen, **more}
        return Run(self.grid, name, self.workers, {k: text(v) for k, v in settings.items()})

    # ---- trials ----

    def trial(self, chosen):
        a = self.grid.asked
        name = "-".join(["tune", self.slug] + [f"{k.split('.')[1]}{text(v)}" for k, v in chosen.items()])
        run = self.run(name, a["tune_seed"], a["tune_epochs"], chosen, **{"data.validation": a["validation"]})
        return chosen, run

    def first_trials(self):
        return [self.trial({"optimizer.lr": lr}) for lr in self.grid.asked["lrs"]]

    def last_trials(self, best):
        """At the best rate of the first trials: other values of the rule's setting, or other rates."""
        a, lr = self.grid.asked, best["optimizer.lr"]
        if self.knob:
            return [self.trial({**best, self.knob[0]: v}) for v in self.knob[2][: a["refine"]]]
        tried = a["lrs"]
        rates = []
        for factor in (2.0, 0.5)[: a["refine"]]:
            near = any(math.isclose(lr * factor, x, rel_tol=1e-6) for x in tried)
            rates.append(lr * (math.sqrt(factor) if near else factor))
        return [self.trial({"optimizer.lr": float(f"{x:.4g}")}) for x in rates]

    def errors(self, trials):
        out = []
        for chosen, run in trials:
            figures = read(run.folder, 0, None) if run.state() == "done" else None
            error = figures["error"] if figures else None
            out.append({"settings": chosen, "error": error, "state": run.state()})
        return out

    @staticmethod
    def best(tried):
        """The first of the lowest errors, or None where no trial ended."""
        ended = [t for t in tried if t["error"] is not None]
        return min(ended, key=lambda t: t["error"]) if ended else None

    def tuned(self):
        """What the trials' logs say: chosen settings (None: nothing to choose from), their error."""
        a = self.grid.asked
        if not a["trials"]:
            return {"chosen": {"optimizer.lr": a["lrs"][0]}, "error": None, "edge": False, "trials": []}
        tried = self.errors(self.first_trials())
        best = self.best(tried)
        lrs = a["lrs"]
        edge = bool(best) and len(lrs) > 1 and best["settings"]["optimizer.lr"] in (lrs[0], lrs[-1])
        if best:
            tried += self.errors(self.last_trials(best["settings"]))
            best = self.best(tried)
        return {"chosen": best and best["settings"], "error": best and best["error"], "edge": edge, "trials": tried}

    # ---- the order of things ----

    def stages(self):
        """Lists of runs; a list's runs are independent, the next list needs them ended."""
        if self.missing:
            return
        if self.grid.asked["trials"]:
            yield [run for _, run in self.first_trials()]
            best = self.best(self.errors(self.first_trials()))
            if best and self.grid.asked["refine"]:
                yield [run for _, run in self.last_trials(best["settings"])]
        yield list(self.seed_runs().values())

    def seed_runs(self):
        chosen = self.tuned()["chosen"]
        if self.missing or chosen is None:
            return {}
        a = self.grid.asked
        return {s: self.run(f"{self.slug}-s{s}", s, a["epochs"], chosen) for s in a["seeds"]}

    def report(self):
        """What scaling_table.py is told of this cell."""
        tuned = {"chosen": None, "error": None, "edge": False, "trials": []} if self.missing else self.tuned()
        runs = {}
        for seed, run in self.seed_runs().items():
            runs[seed] = {"state": run.state(), "why": run.why(), "folder": run.folder}
        if not runs and not self.missing:
            runs = {s: {"state": "not run", "why": "no trial ended", "folder": None} for s in self.grid.asked["seeds"]}
        return {"label": self.label, "rule": self.rule, "workers": self.workers, "missing": self.missing,
                "tuned": tuned, "runs": runs}  # fmt: skip


class Grid:
    """asked: what grid.json holds. out: the folder of everything."""

    def __init__(self, asked, out):
        self.asked, self.out = asked, out
        self.cells = [Cell(self, label, m) for label, m in cells_of(asked["rules"], asked["workers"])]
