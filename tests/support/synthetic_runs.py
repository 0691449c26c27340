"""Folders of runs that nobody trained: curves from formulas, for tests of the report."""
import json
import math
import os
import random

RULES = ("asgd", "ssgd", "dc-asgd-c", "dc-asgd-a")
# Final error, its growth with workers, and r, of rules and of settings that stand for more rules.
VARIANTS = (("asgd", {}, 9.3, 0.8, 0), ("ssgd", {}, 9.2, 0.6, 0), ("dc-asgd-c", {}, 8.7, 0.5, 2e-4),
            ("dc-asgd-a", {}, 8.2, 0.3, 5e-2), ("asgd", {"optimizer.lr": 0.05}, 9.0, 0.7, 0),
            ("dc-asgd-c", {"sync.lambda": 4.0}, 9.1, 0.6, 2e-2),
            ("dc-asgd-a", {"sync.lambda": 0.5}, 8.6, 0.4, 9e-3), ("ssgd", {"optimizer.lr": 0.05}, 9.5, 0.6, 0))


def config(settings):
    """Sections of YAML from {"section.key": value}."""
    sections = {}
    for key, value in settings.items():
        section, name = key.split(".", 1)
        sections.setdefault(section, []).append(f"{name}: {json.dumps(value)}")
    return "".join(f"{s}: {{{', '.join(items)}}}\n" for s, items in sections.items())


def histogram(workers, late, rng):
    pushes = [0] * (4 * workers + 1)
    for _ in range(2000):
        pushes[max(0, min(4 * workers, round(rng.gauss(workers - 1, workers / 4)))) if late else 0] += 1
    return pushes


def lines(rule, workers, base, slope, r, seed, count, simulated=False, ended=True):
    """The lines of metrics.jsonl: `count` train lines, an evaluation every tenth of them."""
    rng = random.Random(repr((rule, workers, base, seed)))
    epochs, samples, off = 40, 50000, rng.gauss(0, 0.25)
    late = rule not in ("ssgd", "sgd")
    final = base + slope * math.log2(workers) + off
    rate = 900 * workers ** (0.93 if late else 0.8) * (1 + rng.gauss(0, 0.02))
    whole = epochs * samples / rate
    updates = epochs * samples // 128
    yield {"kind": "start", "wall_s": 0.5, "update": 0, "epoch": 0, "tardigrad": "0.1.0", "mpi": "Open MPI v4.1.4",
           "host": "node17", "device": "cpu: AVX-512", "precision": "fp32", "ranks": workers + 1, "workers": workers,
           "threads": 4, "batch": 128, "train_samples": samples, "parameters": 269722, "memory_bytes": 310000000}
    for i in range(1, count + 1):
        part = i / count
        at = {"wall_s": part * whole * (0.1 if simulated else 1), "update": int(updates * part), "epoch": epochs * part}
        if simulated:
            at["sim_s"] = part * whole
        yield {"kind": "train", **at, "lr": 0.1, "loss": 0.05 + 2.2 * math.exp(-4 * part) * (1 + rng.gauss(0, 0.05)),
               "images_per_s": rate * (1 + rng.gauss(0, 0.05)), "staleness_mean": workers - 1 if late else 0,
               "staleness_max": 3 * workers, "correction_ratio": r * (1 + rng.gauss(0, 0.1)), "nonfinite": 0}
        if i % max(1, count // 40) == 0:
            error = final + 60 * math.exp(-6 * part) + (rng.gauss(0, 0.4) if i < count else 0)
            yield {"kind": "eval", **at, "split": "test", "loss": error / 30, "error": error, "samples": 10000}
    if not ended:
        return
    last = {"wall_s": whole * (0.1 if simulated else 1), "update": int(updates), "epoch": epochs}
    if simulated:
        last["sim_s"] = whole
    for w in range(workers):
        busy = (0.93 if late else 0.75) + rng.gauss(0, 0.01)
        yield {"kind": "worker", **last, "worker": w, "pushes": updates // workers, "compute_s": busy * whole,
               "wait_s": (0.98 - busy) * whole, "network_s": 0.02 * whole, "bytes": updates // workers * 8 * 269722}
    yield {"kind": "end", **last, "error": final, "loss": final / 30, "weights_hash": f"{seed:032x}",
           "staleness_histogram": histogram(workers, late, rng), "nonfinite": 0, "dropped": 0,
           "server_busy": min(0.99, 0.02 * workers)}


def make(folder, name, settings, content):
    """One run's folder; its path."""
    path = os.path.join(folder, name)
    os.makedirs(path)
    with open(os.path.join(path, "config.yaml"), "w", encoding="utf-8") as file:
        file.write(config(settings))
    with open(os.path.join(path, "metrics.jsonl"), "w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in content)
    return path


def grid(folder, variants=8, workers=(2, 4, 8, 16), seeds=3, count=200, simulated=False):
    """variants x workers x seeds runs; their paths."""
    paths = []
    for number, (rule, more, base, slope, r) in enumerate(VARIANTS[:variants]):
        for m in workers:
            for seed in range(1, seeds + 1):
                settings = {"run.seed": seed, "data.name": "cifar10", "model.name": "resnet20", "train.epochs": 40,
                            "sync.rule": rule, "transport.name": "sim" if simulated else "mpi", **more}
                if simulated:
                    settings.update({"sim.workers": m, "sim.seed": seed})
                paths.append(make(folder, f"v{number}-{rule}-{m}-s{seed}", settings,
                                  lines(rule, m, base, slope, r, seed, count, simulated)))
    return paths
