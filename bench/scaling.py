"""Rules x workers x seeds in one command; see scaling.sh. Python's standard library only.

In the folder --out: grid.json (what was asked for), runs/ (the runs' folders), cells/ (how each run
ended), logs/ (what it said), and made from these alone scaling.md, scaling.jsonl and report.html."""

import argparse
import concurrent.futures
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

from scaling_grid import Grid, bare, epochs_of, schedule_of
from scaling_read import read, rows_of
from scaling_table import Table

RULES = "sgd,ssgd,asgd,dc-asgd-c,dc-asgd-a,ssp,local-sgd,dana-slim"
SAMPLES = 60000  # of an epoch, where nothing has run yet that would say
USAGE, NO_INPUT, UNAVAILABLE, INTERRUPTED = 2, 66, 69, 75


def fail(code, why):
    print(f"scaling: error: {why}", file=sys.stderr)
    sys.exit(code)


def say(words):
    print(f"scaling: {words}", file=sys.stderr, flush=True)


# ---- what is asked for ----


def listed(kind):
    return lambda words: [kind(w) for w in words.split(",") if w]


def assignment(words):
    key, equals, value = words.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, not '{words}'")
    return key, value


def arguments():
    here = pathlib.Path(__file__).resolve().parent
    p = argparse.ArgumentParser(
        prog="scaling.sh",
        description="Compares rules over numbers of workers and seeds, with equal tuning budgets and "
        "paired seeds and delays. Runs what is not there yet, then writes the table.",
    )
    p.add_argument("--rules", type=listed(str), default=listed(str)(RULES), metavar="A,B", help=f"({RULES}); "
                   "ssgd stands for ssgd:mean, ssgd:scaled and ssgd:fixed; sgd runs with 1 worker only")  # fmt: skip
    p.add_argument("--workers", type=listed(int), default=[1, 4, 8, 16], metavar="N,N", help="(1,4,8,16)")
    p.add_argument("--seeds", type=listed(int), default=[1, 2, 3], metavar="N,N", help="(1,2,3)")
    p.add_argument("--config", type=pathlib.Path, default=here.parent / "configs/fashion-cnn.yaml",
                   help="base of every run (configs/fashion-cnn.yaml)")  # fmt: skip
    p.add_argument("--set", type=assignment, action="append", default=[], metavar="KEY=VALUE",
                   help="a key for every run")  # fmt: skip
    p.add_argument("--rule-set", action="append", default=[], metavar="RULE:KEY=VALUE",
                   help="a key for the runs of one rule")  # fmt: skip
    p.add_argument("--epochs", type=float, help="effective epochs (the configuration's); its schedule is stretched")
    p.add_argument("--target", type=float, default=10.0, help="test error in percent to be reached (10)")
    p.add_argument("--controls", type=listed(str), default=["asgd", "ssgd:mean"], metavar="A,B",
                   help="rules that the others are compared with (asgd,ssgd:mean)")  # fmt: skip
    p.add_argument("--transport", choices=("sim", "mpi"), default="sim", help="(sim) mpi: real ranks, real time")
    p.add_argument("--order", choices=("lognormal", "exponential", "round_robin"), default="lognormal",
                   help="sim: model of compute times (lognormal)")  # fmt: skip
    p.add_argument("--compute-s", type=float, default=1.0, help="sim: mean virtual seconds per gradient (1)")
    p.add_argument("--lrs", type=listed(float), default=[1.6, 0.4, 0.1, 0.025, 0.00625], metavar="X,X",
                   help="learning rates of the first trials (1.6,0.4,0.1,0.025,0.00625)")  # fmt: skip
    p.add_argument("--refine", type=int, choices=(0, 1, 2), default=2,
                   help="trials around the best of the first (2); one rate and --refine 0: no tuning")  # fmt: skip
    p.add_argument("--tune-seed", type=int, default=1000, help="(1000)")
    p.add_argument("--tune-epochs", type=float, help="(as --epochs)")
    p.add_argument("--validation", type=int, default=10000,
                   help="last training samples held out to tune on (10000)")  # fmt: skip
    p.add_argument("--threads", type=int, default=1, help="per rank (1): results depend on it")
    p.add_argument("--jobs", type=int, help="runs at a time (sim: cores / threads; mpi: 1)")
    p.add_argument("--prune", action="store_true",
                   help="remove the checkpoints of all runs that ended, not of trials only")  # fmt: skip
    p.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/scaling"), help="(runs/scaling)")
    p.add_argument("--dry-run", action="store_true", help="list the runs and the time that they will take")
    p.add_argument("--table-only", action="store_true", help="only write the table, from the logs in --out")
    return p.parse_args()


def ask_binary(*words):
    binary = os.environ["TARDIGRAD"]
    try:
        return subprocess.run([binary, *words], stdout=subprocess.PIPE, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        fail(UNAVAILABLE, f"{binary} {' '.join(words)}: {error}; build it, or name it in TARDIGRAD")


def check(o):
    if not o.config.is_file():
        fail(NO_INPUT, f"--config {o.config}: no such file")
    if o.tune_seed in o.seeds:
        fail(USAGE, f"--tune-seed {o.tune_seed} is among --seeds: settings must not be chosen on a reported seed")
    for name, values in (("--workers", o.workers), ("--seeds", o.seeds), ("--lrs", o.lrs), ("--rules", o.rules)):
        if not values or len(set(values)) != len(values):
            fail(USAGE, f"{name} {','.join(map(str, values))}: expected a list without repetitions")
    if min(o.workers) < 1 or o.threads < 1 or (o.jobs or 1) < 1 or min(o.lrs) <= 0:
        fail(USAGE, "--workers, --threads, --jobs and --lrs must be above 0")


def rule_settings(words):
    out = {}
    for word in words:
        name, equals, value = word.partition("=")
        rule, _, key = name.rpartition(":")
        if not rule or not equals:
            fail(USAGE, f"--rule-set {word}: expected RULE:KEY=VALUE")
        out.setdefault(rule, {})[key] = value
    return out


def asked_for(o):
    check(o)
    config = o.config.read_text()
    epochs = o.epochs or epochs_of(config)
    tune_epochs = o.tune_epochs or epochs
    stretched = {epochs, tune_epochs} != {epochs_of(config)}
    if stretched and "schedule:" in bare(config) and not schedule_of(config, 1):
        fail(USAGE, f"{o.config}: its schedule cannot be stretched to other --epochs: expected 'epoch: E, factor: F'")
    trials = len(o.lrs) + o.refine if len(o.lrs) + o.refine > 1 else 0
    keys = [line.split("`")[1] for line in ask_binary("--keys").splitlines() if "`" in line]
    rules = [line.split()[0] for line in ask_binary("list", "rules").splitlines() if line.strip()]
    return {
        "rules": o.rules, "workers": o.workers, "seeds": o.seeds, "controls": o.controls,
        "config_name": o.config.name, "config": config, "set": dict(o.set),
        "rule_set": rule_settings(o.rule_set), "epochs": epochs, "target": o.target,
        "transport": o.transport, "order": o.order, "compute_s": o.compute_s, "lrs": o.lrs,
        "refine": o.refine, "trials": trials, "tune_seed": o.tune_seed,
        "tune_epochs": tune_epochs, "validation": o.validation, "threads": o.threads,
        "keys": keys, "rules_here": rules,
    }  # fmt: skip


# ---- running ----


class Runner:
    def __init__(self, grid, options):
        self.grid, self.prune = grid, options.prune
        cores = len(os.sched_getaffinity(0))
        self.jobs = options.jobs or (max(1, cores // options.threads) if options.transport == "sim" else 1)
        self.config = grid.out / "base.yaml"  # the configuration as it was when asked for
        self.children, self.lock, self.stopping = {}, threading.Lock(), False
        self.ran = 0

    def command(self, run, resume):
        words = [os.environ["TARDIGRAD"], "-q", "train", str(self.config)]
        words += [f"{k}={v}" for k, v in run.settings.items()]
        words += [f"run.name={run.name}", f"run.dir={self.grid.out / 'runs'}", f"resume={resume}"]
        if run.settings["sync.rule"] == "sgd" or self.grid.asked["transport"] == "sim":
            return words
        return ["mpirun", "--oversubscribe", "-n", str(run.workers + 1), *words]

    def start(self, run):
        """A run with these settings is continued; any other of the name is moved aside by train."""
        resume = "auto" if run.state() in ("partial", "failed") else "none"
        run.note(rc=None)
        with self.lock, open(run.log, "w") as log:
            if self.stopping:
                return None
            # A session of its own: Ctrl-C comes to us alone, and we ask it to save and stop.
            child = subprocess.Popen(self.command(run, resume), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                     start_new_session=True)  # fmt: skip
            self.children[run.name] = child
            self.ran += 1
        return child

    def one(self, run):
        if self.stopping or run.state() in ("done", "diverged"):
            return
        began = time.monotonic()
        child = self.start(run)
        if child is None:
            return
        rc = child.wait()
        with self.lock:
            del self.children[run.name]
        if self.stopping and rc != 0:
            rc = INTERRUPTED
        lines = [line for line in run.log.read_text(errors="replace").splitlines() if "error" in line]
        why = f"exit {rc}: {lines[-1].split('error: ')[-1]}" if rc and lines else f"exit {rc}" if rc else ""
        run.note(rc=rc, why=why, config=run.config_hash())
        self.finished(run, why, time.monotonic() - began)

    def finished(self, run, why, seconds):
        state = run.state()
        if state == "done":
            error = rows_of(run.folder / "metrics.jsonl")[-1]["error"]
            say(f"{run.name}: {error:.2f} % in {seconds:.0f} s")
        else:
            say(f"{run.name}: {state}: {why}")
        if state == "done" and (self.prune or run.name.startswith("tune-")):
            shutil.rmtree(run.folder / "checkpoints", ignore_errors=True)

    def stop(self):
        """SIGUSR1 makes a run save and end with 75; mpirun passes it on to its ranks."""
        with self.lock:
            self.stopping = True
            children = list(self.children.values())
        say(f"stopping {len(children)} runs; the same command goes on")
        for child in children:
            child.send_signal(signal.SIGUSR1)
        until = time.monotonic() + 60
        for child in children:
            try:
                child.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)

    def all(self):
        """Each cell goes through its stages; runs of all cells share the jobs."""
        chains = {cell: cell.stages() for cell in self.grid.cells if not cell.missing}
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            waiting = {}
            try:
                for cell in chains:
                    waiting[cell] = self.submit(pool, chains[cell])
                while any(waiting.values()):
                    flat = [f for futures in waiting.values() for f in futures]
                    concurrent.futures.wait(flat, return_when=concurrent.futures.FIRST_COMPLETED)
                    for cell, futures in waiting.items():
                        if futures and all(f.done() for f in futures):
                            for f in futures:
                                f.result()
                            waiting[cell] = self.submit(pool, chains[cell])
                        elif futures:
                            waiting[cell] = [f for f in futures if not f.done() or f.exception()]
            except KeyboardInterrupt:
                self.stop()
                pool.shutdown(cancel_futures=True)
                raise

    def submit(self, pool, chain):
        for runs in chain:
            left = [run for run in runs if run.state() not in ("done", "diverged")]
            if left:
                return [pool.submit(self.one, run) for run in left]
        return []


# ---- what it would take ----


def seconds_per_epoch(grid):
    """Of runs that ended here, by cell, and their mean; else the least that `plan` sees."""
    by_cell, every = {}, []
    for cell in grid.cells:
        for run in cell.seed_runs().values():
            figures = read(run.folder, 0, None) if run.state() == "done" else None
            if figures:
                by_cell.setdefault(cell, []).append(figures["wall_s"] / figures["epochs"])
    every = [s for values in by_cell.values() for s in values]
    return {c: sum(v) / len(v) for c, v in by_cell.items()}, sum(every) / len(every) if every else None


def planned(grid, config):
    """Seconds per epoch of SAMPLES, from `tardigrad plan`: a floor."""
    a = grid.asked
    keys = {**a["set"], "run.threads": a["threads"], "sync.rule": "sgd", "sync.codec": "auto", "train.batch": 100}
    plan = json.loads(ask_binary("-q", "plan", str(config), *(f"{k}={v}" for k, v in keys.items()), "--json"))
    return plan["floor_seconds"]["compute"] / keys["train.batch"] * SAMPLES


def dry_run(grid, jobs, config):
    by_cell, mean = seconds_per_epoch(grid)
    floor = mean is None
    if floor:
        mean = planned(grid, config)
    a, seconds, left = grid.asked, 0.0, 0
    for cell in grid.cells:
        if cell.missing:
            print(f"{cell.slug}: {cell.missing}")
            continue
        per = by_cell.get(cell, mean)
        there = sum(1 for runs in cell.stages() for run in runs if run.state() in ("done", "diverged"))
        trials, seeds = a["trials"], len(a["seeds"])
        whole = (trials * a["tune_epochs"] + seeds * a["epochs"]) * per
        rest = whole * (1 - there / (trials + seeds))
        print(f"{cell.slug}: {trials} trials, {seeds} seeds, {there} there, {rest:.0f} s to go")
        seconds, left = seconds + rest, left + trials + seeds - there
    basis = f"roughly, by tardigrad plan for {SAMPLES} samples an epoch" if floor else "from the runs that ended here"
    print(f"{left} runs, {jobs} at a time: {seconds / jobs / 3600:.2f} h ({basis}: {mean:.1f} s per epoch)")


# ---- the whole ----


def write_table(grid):
    text = Table(grid.asked, [cell.report() for cell in grid.cells]).write(grid.out)
    print(text)
    folders = [str(run.folder) for cell in grid.cells for run in cell.seed_runs().values() if run.state() == "done"]
    page = grid.out / "report.html"
    if folders:
        words = [os.environ["TARDIGRAD"], "-q", "report", *folders, "-o", str(page), "--target", f"{grid.asked['target']:g}"]
        try:
            subprocess.run(words, check=True)
            say(f"wrote {page}")
        except (OSError, subprocess.CalledProcessError) as error:
            say(f"no new {page}: {error}")
    say(f"wrote {grid.out / 'scaling.md'} and {grid.out / 'scaling.jsonl'}")


def open_grid(o):
    path = o.out / "grid.json"
    if o.table_only:
        try:
            return Grid(json.loads(path.read_text()), o.out)
        except (OSError, ValueError) as error:
            fail(NO_INPUT, f"--table-only: {path}: {error}")
    asked = asked_for(o)
    if o.dry_run:
        return Grid(asked, o.out)
    for folder in ("runs", "cells", "logs"):
        (o.out / folder).mkdir(parents=True, exist_ok=True)
    (o.out / "base.yaml").write_text(asked["config"])
    path.write_text(json.dumps(asked, indent=1, sort_keys=True) + "\n")
    return Grid(asked, o.out)


def main():
    o = arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    grid = open_grid(o)
    if o.table_only:
        write_table(grid)
        return 0
    runner = Runner(grid, o)
    for cell in grid.cells:
        if cell.missing and not o.dry_run:
            say(f"error: {cell.label}, {cell.workers} workers: {cell.missing}")
    if o.dry_run:
        dry_run(grid, runner.jobs, o.config)
        return 0
    try:
        runner.all()
    except KeyboardInterrupt:
        return INTERRUPTED
    say(f"{runner.ran} runs made")
    write_table(grid)
    failed = any(c.missing or any(r.state() == "failed" for r in c.seed_runs().values()) for c in grid.cells)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
