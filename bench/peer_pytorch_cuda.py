#!/usr/bin/env python3
"""peer_pytorch_cuda.py - the same training step in PyTorch on the GPU, beside ours.

    python3 bench/peer_pytorch_cuda.py MODEL SIZE BATCH [build/bench/bench_cuda_step] [--budget 90]

The whole step: a random batch gathered, cropped and mirrored on the GPU out of a resident set of
bytes, forward (tests/golden/networks.py, channels-last), loss, backward, fused SGD with weight
decay. Each with TF32 products and with bfloat16 autocast, cudnn.benchmark on:

    eager                    as written; + graph: the whole step captured into one CUDA graph
    compile                  torch.compile's default for batch, forward, loss, backward; + graph
    reduce-overhead          torch.compile with its own CUDA graphs
    max-autotune             max-autotune-no-cudagraphs; + graph

A mode that cannot be had is reported as failed, with why; what does not fit into --budget seconds
as skipped; the rest goes on. Every mode is timed once when it is ready, and the fastest two of each
precision stay. Then rounds: each of them takes a turn, then each variant of ours, all in one run.
The figure is the median over rounds. One JSON object a line; `ratio` lines say ours/PyTorch in
images per second, for each precision and for the best against the best.

Ours is bench_cuda_step --paced, which takes a turn when asked. PyTorch reads nothing on the host
while it trains: its neighbour is our loop `queued`, too; `train` reads loss, statistics and norm.
Exit 69: no GPU. Needs torch; PyTorch is a peer here, nothing of TardiGrad depends on it."""

import argparse
import contextlib
import itertools
import json
import pathlib
import signal
import statistics
import subprocess
import sys
import time

try:
    import torch
    from torch import nn
    from torch.nn import functional
except ImportError as error:
    sys.exit(f"peer_pytorch_cuda: {error}")

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden"))
import networks  # noqa: E402

KEEP = 2  # modes of each precision that take part in the rounds
PAD = 4
SET_BYTES = 150 << 20


class OutOfTime(BaseException):
    """Not an Exception: no compiler's handler may take it for a failure of its own."""


def out_of_time(_signal, _frame):
    raise OutOfTime


def say(**record):
    print(json.dumps({"bench": "cuda_peer"} | record), flush=True)


def first_line(error):
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


class Data(nn.Module):
    """Images as bytes on the device, channels last, with black pixels around them. Buffers, since a
    compiler takes those as memory that stays where it is: nothing copies them into a graph."""

    def __init__(self, size, device, samples):
        super().__init__()
        count = samples or SET_BYTES // (3 * size * size)
        side = size + 2 * PAD
        self.size, self.device, self.count = size, device, count
        self.classes = 10 if size <= 64 else 1000
        pixels = torch.zeros(count, side, side, 3, dtype=torch.uint8, device=device)
        inside = torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, device=device)
        pixels[:, PAD:-PAD, PAD:-PAD] = inside
        self.register_buffer("pixels", pixels)
        self.register_buffer("labels", torch.randint(0, self.classes, (count,), device=device))
        self.register_buffer("offsets", torch.arange(size, device=device))

    def forward(self, batch):
        device, last = self.device, self.size - 1
        sample = torch.randint(0, self.count, (batch,), device=device)
        top = torch.randint(0, 2 * PAD + 1, (batch, 1), device=device)
        left = torch.randint(0, 2 * PAD + 1, (batch, 1), device=device)
        flip = torch.rand(batch, 1, device=device) < 0.5
        rows = top + self.offsets
        columns = left + torch.where(flip, last - self.offsets, self.offsets)
        x = self.pixels[sample[:, None, None], rows[:, :, None], columns[:, None, :]]
        x = (x.float() * (1 / 255) - 0.5) * 4
        return x.permute(0, 3, 1, 2), self.labels[sample]


class Training(nn.Module):
    """From nothing to a loss: what is compiled."""

    def __init__(self, model, data, batch, precision):
        super().__init__()
        self.data, self.batch, self.bf16 = data, batch, precision == "bf16"
        torch.manual_seed(1)
        network = networks.build(model, 3, data.size, data.classes)
        self.network = network.to(data.device, memory_format=torch.channels_last)

    def forward(self):
        x, y = self.data(self.batch)
        kind = self.data.device.type
        bf16 = torch.autocast(kind, dtype=torch.bfloat16, cache_enabled=False)
        with bf16 if self.bf16 else contextlib.nullcontext():
            logits = self.network(x)
        return functional.cross_entropy(logits.float(), y)


class Mode:
    """One way of training; step() queues one step."""

    def __init__(self, name, precision, data, model, batch, compiled=None):
        self.name, self.precision, self.device = name, precision, data.device
        self.step_ms, self.steps = [], 1
        training = Training(model, data, batch, precision).train()
        self.optimizer = torch.optim.SGD(training.parameters(), lr=1e-5, weight_decay=1e-4, fused=True)
        self.compiled = compiled
        self.loss = torch.compile(training, mode=compiled) if compiled else training
        self.run = self.step

    def step(self):
        if self.compiled:
            torch.compiler.cudagraph_mark_step_begin()
        self.optimizer.zero_grad(set_to_none=True)
        self.loss().backward()
        self.optimizer.step()

    def prepare(self):
        """Compiles, and lets libraries choose."""
        for _ in range(4):
            self.run()
        synchronize(self.device)

    def captured(self):
        """The same training with the whole step in one graph."""
        other = object.__new__(Mode)
        other.__dict__.update(self.__dict__)
        other.name, other.step_ms = self.name + " + graph", []
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.step()
        torch.cuda.current_stream().wait_stream(stream)
        other.graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(other.graph):
            self.step()
        other.run = other.graph.replay
        return other

    def turn(self, steps):
        synchronize(self.device)
        start = time.perf_counter()
        for _ in range(steps):
            self.run()
        synchronize(self.device)
        return 1e3 * (time.perf_counter() - start) / steps

    def screen(self, seconds):
        """One turn, and how many steps fill one. Returns step_ms."""
        self.prepare()
        each = self.turn(5 if seconds else 1)
        self.steps = max(1, min(20000, int(1e3 * seconds / each)))
        return self.turn(self.steps)

    def record(self):
        self.step_ms.append(self.turn(self.steps))


class Ours:
    """bench_cuda_step --paced: variants by number, a turn of one at a time."""

    def __init__(self, command, args):
        options = ["--paced", "--precisions", ",".join(args.precisions), "--seconds", str(args.seconds)]
        options += ["--samples", str(args.samples)] if args.samples else []
        shape = [args.model, str(args.size), str(args.batch)]
        pipe = subprocess.PIPE
        self.child = subprocess.Popen([command, *options, *shape], stdin=pipe, stdout=pipe, text=True)
        self.variants, self.step_ms = {}, {}

    def wait_until_ready(self):
        for line in self.child.stdout:
            row = json.loads(line)
            if row.get("ready"):
                return
            if "variant" not in row:
                print(line, end="", flush=True)
                continue
            self.variants[row.pop("variant")] = row
        raise RuntimeError(f"ours ended with exit code {self.child.wait()}")

    def record(self, variant):
        self.child.stdin.write(f"{variant}\n")
        self.child.stdin.flush()
        line = self.child.stdout.readline()
        if not line:
            raise RuntimeError(f"ours ended with exit code {self.child.wait()}")
        self.step_ms.setdefault(variant, []).append(json.loads(line)["step_ms"])

    def close(self):
        if self.child.poll() is None:
            self.child.stdin.close()
            try:
                self.child.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.child.kill()


class Contest:
    """The fastest modes of each precision, found within a time limit."""

    def __init__(self, args, device):
        self.args, self.device = args, device
        self.about = dict(model=args.model, size=args.size, batch=args.batch)
        self.data = Data(args.size, device, args.samples)
        self.best = {precision: [] for precision in args.precisions}  # [(ms, Mode)]
        self.left_out = []

    def keep(self, mode, ms):
        best = self.best[mode.precision]
        best.append((ms, mode))
        best.sort(key=lambda item: item[0])
        del best[KEEP:]

    def leave_out(self, name, precision, **why):
        self.left_out.append(f"{name} {precision}")
        say(what="mode", mode=name, precision=precision, **self.about, **why)

    def attempt(self, name, precision, make, until):
        """Makes a mode and times it. None if there is none."""
        left = until - time.monotonic()
        if left < 1:
            self.leave_out(name, precision, skipped="out of time")
            return None
        start = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, left, 2)  # again: a destructor may swallow one
        try:
            mode = make()
            ms = mode.screen(self.args.seconds)
        except OutOfTime:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self.leave_out(name, precision, skipped=f"not ready after {left:.0f} s")
            stop_compiling()
            return None
        except Exception as error:
            self.leave_out(name, precision, failed=first_line(error))
            return None
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        say(what="mode", mode=name, precision=precision, **self.about, screen_ms=round(ms, 4),
            images_per_s=round(1e3 * self.args.batch / ms, 1), ready_s=round(time.monotonic() - start, 1))
        self.keep(mode, ms)
        return mode

    def enter(self, name, compiled, precision, until):
        def make():
            return Mode(name, precision, self.data, self.args.model, self.args.batch, compiled)

        mode = self.attempt(name, precision, make, until)
        if mode and compiled != "reduce-overhead":
            self.attempt(name + " + graph", precision, mode.captured, until)
        del mode
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def hold(self, until):
        """What costs least to make first; the fastest are seldom the last."""
        waves = [
            [("eager", None)],
            [("compile", "default")],
            [("reduce-overhead", "reduce-overhead"), ("max-autotune", "max-autotune-no-cudagraphs")],
        ]
        for wave, precision in itertools.product(waves, self.args.precisions):
            for name, compiled in wave:
                if not (self.args.no_compile and compiled):
                    self.enter(name, compiled, precision, until)
        return [mode for best in self.best.values() for _, mode in best]


def stop_compiling():
    """What was given up must not run beside what is measured."""
    with contextlib.suppress(Exception):
        from torch._inductor.async_compile import shutdown_compile_workers

        shutdown_compile_workers()


def synchronize(device):
    if device.type == "cuda":
        torch.cuda.synchronize()


def rounds(contest, peers, ours, until):
    for done in range(contest.args.rounds):
        if done >= 3 and time.monotonic() > until:
            break
        for peer in list(peers):
            try:
                peer.record()
            except Exception as error:
                peers.remove(peer)
                contest.leave_out(peer.name, peer.precision, failed=first_line(error))
        for variant in ours.variants if ours else ():
            ours.record(variant)


def speed(times, batch):
    ms = statistics.median(times)
    return dict(images_per_s=round(1e3 * batch / ms, 1), step_ms=round(ms, 4),
                fastest_ms=round(min(times), 4), rounds=len(times))


def report(contest, peers, ours):
    about, batch = contest.about, contest.args.batch
    for peer in peers:
        say(what="pytorch", mode=peer.name, precision=peer.precision, **about,
            **speed(peer.step_ms, batch), steps_a_turn=peer.steps)
    for variant, times in ours.step_ms.items() if ours else ():
        is_ours = {k: ours.variants[variant][k] for k in ("precision", "deterministic", "loop")}
        say(what="tardigrad", **is_ours, **about, **speed(times, batch))
    if ours and peers:
        ratios(contest, peers, ours)


def ratios(contest, peers, ours):
    """Per precision, then over all of them; deterministic or fast, in either loop."""
    for precision in [*contest.args.precisions, "any"]:
        rivals = [p for p in peers if precision in (p.precision, "any")]
        if not rivals:
            say(what="ratio", precision=precision, **contest.about, skipped="no mode of PyTorch ran")
            continue
        rival = min(rivals, key=lambda p: statistics.median(p.step_ms))
        for deterministic, loop in itertools.product((True, False), ("train", "queued")):
            wanted = dict(deterministic=deterministic, loop=loop)
            if precision != "any":
                wanted["precision"] = precision
            mine = [statistics.median(times) for v, times in ours.step_ms.items()
                    if wanted.items() <= ours.variants[v].items()]
            if not mine:
                continue
            ratio = statistics.median(rival.step_ms) / min(mine)
            say(what="ratio", precision=precision, deterministic=deterministic, loop=loop, **contest.about,
                peer=f"{rival.name} {rival.precision}", ours_over_peer=round(ratio, 3), bar=1.0, aim=2.0,
                met=ratio >= 1, left_out=contest.left_out)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("size", type=int)
    parser.add_argument("batch", type=int)
    parser.add_argument("ours", metavar="COMMAND", nargs="?", help="bench_cuda_step")
    parser.add_argument("--budget", type=float, default=90, help="seconds for all of this")
    parser.add_argument("--seconds", type=float, default=0.2, help="of a turn; 0: one step")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=0, help="images in the resident set")
    parser.add_argument("--precisions", default="bf16,tf32", type=lambda text: text.split(","))
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--device", default="cuda", help="another than cuda: to test this file")
    return parser.parse_args()


def main():
    args = parse()
    began = time.monotonic()
    if args.device == "cuda" and not torch.cuda.is_available():
        print("peer_pytorch_cuda: PyTorch sees no GPU", file=sys.stderr)
        sys.exit(69)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    torch._dynamo.config.recompile_limit = 64  # every mode compiles the same source; beyond it, none would
    signal.signal(signal.SIGALRM, out_of_time)
    ours = Ours(args.ours, args) if args.ours else None
    try:
        contest = Contest(args, torch.device(args.device))
        if ours:
            ours.wait_until_ready()
        variants = len(ours.variants) if ours else 0
        measuring = args.rounds * args.seconds * (KEEP * len(args.precisions) + variants) * 1.2 + 2
        say(what="torch", torch=torch.__version__, cuda=torch.version.cuda,
            cudnn=torch.backends.cudnn.version(), **contest.about)
        peers = contest.hold(began + args.budget - measuring)
        rounds(contest, peers, ours, began + args.budget - 2)
        report(contest, peers, ours)
    finally:
        if ours:
            ours.close()


if __name__ == "__main__":
    main()
