#!/usr/bin/env python3
"""memory.py TARDIGRAD - what `plan` predicts against the resident peak of real ranks.

One JSON object a line: model, role, predicted and measured bytes, ratio. Runs a few updates of each
model under mpirun with two workers, and as a simulation; every rank is started by this file, which
reads its child's peak from the kernel."""
import json
import os
import resource
import subprocess
import sys
import tempfile

CASES = [
    ("fashion mlp", ["configs/fashion-mlp-dc-asgd-a.yaml"], []),
    ("resnet20 fp32", ["configs/cifar10-resnet20-dc-asgd-a-4.yaml"], ["data.name=synthetic", "data.augment=none"]),
    ("resnet20 bf16", ["configs/cifar10-resnet20-dc-asgd-a-4.yaml"],
     ["data.name=synthetic", "data.augment=none", "device.precision=bf16"]),
    ("resnet50", ["configs/cifar10-resnet20-dc-asgd-a-4.yaml"],
     ["data.name=synthetic", "data.augment=none", "model.name=resnet50", "train.batch=32"]),
]
SHORT = ["train.epochs=0.02", "data.test_limit=256", "optimizer.schedule=", "checkpoint.every=0",
         "metrics.tensorboard=false", "run.threads=1", "run.name=memory"]


def child(command):
    rank = os.environ.get("OMPI_COMM_WORLD_RANK", "0")
    code = subprocess.call(command)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(json.dumps({"rank": int(rank), "peak": peak}), flush=True)
    sys.exit(code)


def peaks(launcher, command):
    out = subprocess.run([*launcher, sys.executable, __file__, "--child", *command], check=True,
                         stdout=subprocess.PIPE, text=True).stdout
    found = {}
    for line in out.splitlines():
        row = json.loads(line)
        role = "server" if row["rank"] == 0 and launcher else "worker"
        found[role] = max(found.get(role, 0), row["peak"])
    return found


def main():
    program = sys.argv[1]
    os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                      OMPI_MCA_mpi_yield_when_idle="1")
    for name, config, keys in CASES:
        for transport, launcher in (("mpi", ["mpirun", "--oversubscribe", "-n", "3"]), ("sim", [])):
            with tempfile.TemporaryDirectory() as folder:
                keys_all = [*keys, *SHORT, f"run.dir={folder}", f"transport.name={transport}", "sim.workers=2"]
                plan = json.loads(subprocess.run([program, "-q", "plan", *config, *keys_all, "--json"], check=True,
                                                 stdout=subprocess.PIPE, text=True).stdout)
                for role, peak in peaks(launcher, [program, "-q", "train", *config, *keys_all]).items():
                    predicted = plan["memory_bytes"][role]
                    print(json.dumps({"bench": "memory", "model": name, "transport": transport, "role": role,
                                      "predicted": predicted, "peak": peak,
                                      "ratio": round(predicted / peak, 3)}), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2:])
    main()
