"""gsgd against sgd in one command; see gsgd.sh. Python's standard library only.

In the folder --out: runs/ (the runs' folders), logs/ (what they said), and made from these alone
gsgd.md, gsgd.jsonl and, where gnuplot is, one curve per network."""

import argparse
import concurrent.futures
import math
import os
import pathlib
import signal
import subprocess
import sys
import threading

from gsgd_table import write_tables
from scaling_read import rows_of

HERE = pathlib.Path(__file__).resolve().parent
DIVERGED, PREEMPTED = 3, 75  # exit codes of tardigrad train
SKELETON, NORM = "optimizer.gsgd.skeleton", "optimizer.gsgd.norm"

# What is compared: an optimiser and the skeleton weights that it starts from.
GSGD = {"optimizer.name": "gsgd", SKELETON: "ones", NORM: "exact"}
ARMS = {
    "gsgd": GSGD,
    "gsgd-published": {**GSGD, NORM: "published"},
    "sgd-ones": {"optimizer.name": "sgd", SKELETON: "ones"},
    "sgd": {"optimizer.name": "sgd", SKELETON: "none"},
}


class Study:
    """One network on one data set. lrs: of each arm's trials; a single one is not chosen but given."""

    def __init__(self, name, config, settings, arms, lrs, seeds, epochs, exponential=False):
        self.name, self.config, self.settings, self.arms = name, HERE.parent / "configs" / config, settings, arms
        self.lrs, self.seeds, self.epochs = lrs, seeds, epochs
        self.exponential = exponential  # lr e^{-epoch/100}, epochs from 1, as in the authors' program


def studies_of(o):
    trials = dict.fromkeys(("gsgd", "sgd-ones", "sgd"), o.lrs)
    mlp = {"metrics.tensorboard": "false", "checkpoint.keep": 1, "run.threads": 1}
    cnn = {**mlp, "model.init": "pytorch", "optimizer.schedule": "", "data.augment": "crop_flip"}
    rates = {"gsgd-published": [1.0], "sgd": [0.1], "gsgd": [0.1], "sgd-ones": [0.1]}
    plain = {**cnn, "model.name": "plain18", "train.batch": 32, "train.eval_every": 0, "data.test_limit": 1000,
             "metrics.every": 10}  # fmt: skip
    plain_rates = {k: v for k, v in rates.items() if k in ("gsgd-published", "gsgd", "sgd")}
    every = [
        Study("mnist", "mnist-mlp64-gsgd.yaml", mlp, list(trials), trials, o.seeds, o.epochs, True),
        Study("fashion", "mnist-mlp64-gsgd.yaml", {**mlp, "data.name": "fashion_mnist"}, list(trials), trials,
              o.seeds, o.epochs, True),
        Study("resnet20", "cifar10-resnet20-sgd-1.yaml", cnn, list(rates), rates, o.seeds[:1], o.cnn_epochs),
        Study("plain18", "cifar10-resnet20-sgd-1.yaml", plain, list(plain_rates), plain_rates, o.seeds[:1],
              o.plain_updates * 32 / 50000),
    ]  # fmt: skip
    return [s for s in every if s.name in o.only]


def arguments():
    listed = lambda kind: lambda words: [kind(w) for w in words.split(",") if w]  # noqa: E731
    p = argparse.ArgumentParser(prog="gsgd.sh", description="Compares gsgd with sgd; runs what is not there yet.")
    p.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/gsgd"), help="(runs/gsgd)")
    p.add_argument("--only", type=listed(str), default=["mnist", "fashion", "resnet20", "plain18"], metavar="A,B",
                   help="(mnist,fashion,resnet20,plain18)")  # fmt: skip
    p.add_argument("--seeds", type=listed(int), default=[1, 2, 3, 4, 5], metavar="N,N", help="(1,2,3,4,5)")
    p.add_argument("--epochs", type=int, default=30, help="of the MLPs (30)")
    p.add_argument("--lrs", type=listed(float), default=[0.025, 0.05, 0.1, 0.2, 0.4], metavar="X,X",
                   help="learning rates that every MLP arm tries (0.025,0.05,0.1,0.2,0.4)")  # fmt: skip
    p.add_argument("--tune-seed", type=int, default=1000, help="(1000)")
    p.add_argument("--validation", type=int, default=10000, help="last training samples, to choose on (10000)")
    p.add_argument("--cnn-epochs", type=float, default=2, help="of resnet20 (2)")
    p.add_argument("--plain-updates", type=int, default=300, help="of plain18, batch 32 (300)")
    p.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each (2)")
    p.add_argument("--table-only", action="store_true", help="only write the tables, from the logs in --out")
    o = p.parse_args()
    if o.tune_seed in o.seeds:
        p.error(f"--tune-seed {o.tune_seed} is among --seeds: rates must not be chosen on a reported seed")
    return o


class Run:
    def __init__(self, study, arm, seed, lr, options, trial):
        self.study, self.arm, self.seed, self.lr = study, arm, seed, lr
        self.name = f"{'tune-' if trial else ''}{study.name}-{arm}-lr{lr:g}-s{seed}"
        self.folder = options.out / "runs" / self.name
        self.log = options.out / "logs" / f"{self.name}.log"
        held = {"data.validation": options.validation} if trial else {}
        self.settings = {
            **study.settings, **ARMS[arm], **self.rates(), **held,
            "run.seed": seed, "train.epochs": f"{study.epochs:g}", "sync.rule": "sgd",
        }  # fmt: skip

    def rates(self):
        if not self.study.exponential:
            return {"optimizer.lr": f"{self.lr:g}"}
        factor = math.exp(-0.01)
        steps = ",".join(f"{k}:{factor:.8f}" for k in range(1, math.ceil(self.study.epochs)))
        return {"optimizer.lr": f"{self.lr * factor:.8g}", "optimizer.schedule": steps}

    def end(self):
        """The last line of its metrics where it has ended, or None."""
        rows = rows_of(self.folder / "metrics.jsonl")
        return rows[-1] if rows and rows[-1].get("kind") == "end" else None

    def diverged(self):
        try:
            return "diverged" in self.log.read_text(errors="replace")
        except OSError:
            return False

    def words(self):
        return [
            os.environ["TARDIGRAD"], "-q", "train", str(self.study.config),
            *(f"{k}={v}" for k, v in self.settings.items()),
            f"run.name={self.name}", f"run.dir={self.folder.parent}", "resume=auto",
        ]  # fmt: skip


def trials(study, arm, options):
    lrs = study.lrs[arm]
    return [Run(study, arm, options.tune_seed, lr, options, True) for lr in lrs] if len(lrs) > 1 else []


def chosen(study, arm, options):
    """The rate of the lowest error of all trials; None as long as one is missing."""
    lrs = study.lrs[arm]
    if len(lrs) == 1:
        return lrs[0]
    tried = trials(study, arm, options)
    if any(not t.end() and not t.diverged() for t in tried):
        return None
    ended = [(t.end()["error"], t.lr) for t in tried if t.end()]
    return min(ended)[1] if ended else None


def finals(study, arm, options):
    lr = chosen(study, arm, options)
    return [Run(study, arm, seed, lr, options, False) for seed in study.seeds] if lr is not None else []


class Runner:
    def __init__(self, options):
        self.options, self.lock, self.children, self.stopping = options, threading.Lock(), [], False

    def one(self, run):
        with self.lock:
            if self.stopping or run.end() or run.diverged():
                return
            log = open(run.log, "w")
            child = subprocess.Popen(run.words(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                     start_new_session=True)  # fmt: skip
            self.children.append(child)
        rc = child.wait()
        end = run.end()
        said = f"{end['error']:.2f} %" if end else f"exit {rc}: {run.log.read_text(errors='replace').strip()[-300:]}"
        print(f"gsgd: {run.name}: {said}", file=sys.stderr, flush=True)
        if rc not in (0, DIVERGED, PREEMPTED):
            raise RuntimeError(f"{run.name}: exit {rc}, see {run.log}")

    def all(self, studies):
        with concurrent.futures.ThreadPoolExecutor(self.options.jobs) as pool:
            try:
                for stage in (trials, finals):
                    runs = [r for s in studies for a in s.arms for r in stage(s, a, self.options)]
                    for future in [pool.submit(self.one, r) for r in runs]:
                        future.result()
            except BaseException:
                self.stop()
                raise

    def stop(self):
        """SIGUSR1 makes a run save and end with 75."""
        with self.lock:
            self.stopping = True
        for child in self.children:
            if child.poll() is None:
                child.send_signal(signal.SIGUSR1)


def main():
    o = arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    studies = studies_of(o)
    for folder in ("runs", "logs"):
        (o.out / folder).mkdir(parents=True, exist_ok=True)
    try:
        if not o.table_only:
            Runner(o).all(studies)
    except KeyboardInterrupt:
        return PREEMPTED
    except RuntimeError as error:
        print(f"gsgd: error: {error}", file=sys.stderr)
        return 1
    rows = [(s, {a: (trials(s, a, o), finals(s, a, o)) for a in s.arms}) for s in studies]
    write_tables(o.out, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
