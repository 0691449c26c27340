#!/usr/bin/env python3
"""sim_cuda.py TARDIGRAD [key=value ...] - what 8 virtual workers cost: `train` itself, on one GPU.

ResNet-20 on 3x32x32, batch 128: plain sgd, and dc-asgd-a over transport.name=sim with 8 workers,
whose weights, snapshots and mean squares lie on the GPU, in turns. images_per_s is the median over
the windows of metrics.jsonl but the first, in which the step is recorded, and the last, in which the
test set is evaluated. One JSON object a line; `ratio` is the median over turns of sim over sgd.

TURNS and UPDATES (environment): 3 turns of 1000 updates. Further keys go to both runs."""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

CONFIG = "configs/cifar10-resnet20-dc-asgd-a-8.yaml"
WINDOWS = 10
TRAIN_SAMPLES = 10000  # of `synthetic`
RUNS = {
    "sgd": ["sync.rule=sgd", "sim.workers=1"],
    "dc-asgd-a": ["sync.rule=dc-asgd-a", "sim.workers=8"],
}


def keys(updates, batch, folder):
    return ["data.name=synthetic", "data.test_limit=256", "transport.name=sim", "device.name=cuda",
            f"train.epochs={updates * batch / TRAIN_SAMPLES}", "train.eval_every=0", "checkpoint.every=0",
            "optimizer.schedule=", "optimizer.lr=0.01", f"metrics.every={max(1, updates // WINDOWS)}",
            "metrics.tensorboard=false", f"run.dir={folder}", "run.name=sim"]


def rate(program, more, updates, batch):
    """images/s of one run, and the first line of its metrics."""
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "-q", "train", CONFIG, *keys(updates, batch, folder), *more]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            print("sim_cuda:", *done.stderr.strip().splitlines()[-1:], file=sys.stderr)
            sys.exit(done.returncode)
        lines = (pathlib.Path(folder) / "sim" / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    rates = [row["images_per_s"] for row in rows if row["kind"] == "train"]
    return statistics.median(rates[1:-1] or rates), rows[0]


def batch_of(more):
    given = [int(key.split("=")[1]) for key in more if key.startswith("train.batch=")]
    return given[-1] if given else 128


def compare(program, precision, more, turns, updates):
    batch = batch_of(more)
    rates = {name: [] for name in RUNS}
    for _ in range(turns):
        for name, run in RUNS.items():
            images, start = rate(program, [f"device.precision={precision}", *run, *more], updates, batch)
            rates[name].append(images)
    ratio = statistics.median(sim / sgd for sim, sgd in zip(rates["dc-asgd-a"], rates["sgd"]))
    speeds = {f"{name}_images_per_s": round(statistics.median(values), 1) for name, values in rates.items()}
    print(json.dumps({"bench": "cuda_sim", "model": start["model"], "batch": batch,
                      "workers": start["workers"], "precision": precision, "device": start["device"], **speeds,
                      "ratio": round(ratio, 3), "bar": 0.85, "met": ratio >= 0.85, "turns": turns, "updates": updates}), flush=True)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__.splitlines()[0])
    turns, updates = int(os.environ.get("TURNS", "3")), int(os.environ.get("UPDATES", "1000"))
    for precision in ("bf16", "fp32"):
        compare(sys.argv[1], precision, sys.argv[2:], turns, updates)


if __name__ == "__main__":
    main()
