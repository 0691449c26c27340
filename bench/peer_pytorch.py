#!/usr/bin/env python3
"""peer_pytorch.py - the same training step in PyTorch on the CPU, beside ours.

    python3 bench/peer_pytorch.py [build/bench/bench_step] [--compile] [--rounds 7]

ResNet-20 (tests/golden/networks.py), CIFAR-10's shape, batch 128, forward + backward + SGD update,
all cores: float32 in NCHW and channels-last, bfloat16 autocast channels-last, with --compile also
through torch.compile. Every round runs each of them once, one after the other, then ours, so that
what else the machine does meets all alike; the figure is the median over rounds. One JSON object a
line; then the ratios ours/PyTorch in images per second, per variant and against the fastest.

Ours is a command that prints JSON lines with "precision", "images_per_s" and "step_ms".
Needs torch; PyTorch is a peer here, nothing of TardiGrad depends on it."""

import argparse
import contextlib
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import time

import torch
from torch.nn import functional

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden"))
import networks  # noqa: E402


class Variant:
    """One way of running the step; step_ms collects a figure per round."""

    def __init__(self, name, precision, layout, batch, compiled=False):
        self.name, self.precision, self.step_ms = name, precision, []
        torch.manual_seed(1)
        self.module = networks.build("resnet20").to(memory_format=layout).train()
        self.run = torch.compile(self.module) if compiled else self.module
        self.optimizer = torch.optim.SGD(self.module.parameters(), lr=0.1, weight_decay=1e-4)
        self.x = torch.randn(batch, 3, 32, 32).contiguous(memory_format=layout)
        self.y = torch.randint(0, 10, (batch,))

    def autocast(self):
        if self.precision == "bf16":
            return torch.autocast("cpu", dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        with self.autocast():
            logits = self.run(self.x)
        functional.cross_entropy(logits.float(), self.y).backward()
        self.optimizer.step()

    def measure(self, steps):
        start = time.perf_counter()
        for _ in range(steps):
            self.step()
        self.step_ms.append(1e3 * (time.perf_counter() - start) / steps)


def run_ours(command, collected):
    """Runs our benchmark once; appends its step_ms per precision."""
    output = subprocess.run(shlex.split(command), check=True, capture_output=True, text=True).stdout
    for line in output.splitlines():
        if not line.startswith("{"):
            continue
        record = json.loads(line)
        if "step_ms" in record and record.get("precision") in ("fp32", "bf16"):
            collected.setdefault(record["precision"], []).append(record["step_ms"])


def say(**record):
    print(json.dumps({"bench": "peer"} | record), flush=True)


def report(what, precision, times, batch, **more):
    ms = statistics.median(times)
    speed = dict(images_per_s=round(1e3 * batch / ms, 1), step_ms=round(ms, 3))
    more |= dict(fastest_ms=round(min(times), 3), rounds=len(times))
    say(what=what, precision=precision, **speed, **more)
    return ms


def ratios(ours, peers):
    """ours {precision: ms}, peers [(name, precision, ms)]."""
    for precision, ms in ours.items():
        same = [(name, peer) for name, p, peer in peers if p == precision]
        fastest = min(same, key=lambda item: item[1])
        for name, peer in [*same, ("fastest: " + fastest[0], fastest[1])]:
            say(what="ratio", precision=precision, peer=name, ours_over_peer=round(peer / ms, 3))


def variants(batch, compiled):
    plain, last = torch.contiguous_format, torch.channels_last
    yield Variant("pytorch fp32 nchw", "fp32", plain, batch)
    yield Variant("pytorch fp32 channels_last", "fp32", last, batch)
    yield Variant("pytorch bf16 autocast channels_last", "bf16", last, batch)
    if compiled:
        yield Variant("pytorch fp32 channels_last compiled", "fp32", last, batch, True)
        yield Variant("pytorch bf16 autocast channels_last compiled", "bf16", last, batch, True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ours", metavar="COMMAND", nargs="?", help="our benchmark, once a round")
    parser.add_argument("--compile", action="store_true", help="torch.compile as well")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=10, help="steps a round")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    peers = list(variants(args.batch, args.compile))
    for variant in peers:
        variant.measure(3)
        variant.step_ms.clear()
    ours = {}
    for _ in range(args.rounds):
        for variant in peers:
            variant.measure(args.steps)
        if args.ours:
            run_ours(args.ours, ours)
    about = dict(torch=torch.__version__, threads=torch.get_num_threads())
    measured = [
        (v.name, v.precision, report(v.name, v.precision, v.step_ms, args.batch, **about))
        for v in peers
    ]
    mine = {p: report(f"tardigrad {p}", p, times, args.batch) for p, times in ours.items()}
    ratios(mine, measured)


if __name__ == "__main__":
    main()
