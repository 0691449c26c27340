"""The tables and curves of gsgd.py, made from the runs' logs alone."""

import json
import shutil
import statistics
import subprocess

from scaling_read import rows_of
from scaling_table import paired, spread

CONTROLS = ("sgd-ones", "sgd")


def last_loss(rows):
    """Mean training loss over the last epoch, or what there is of it."""
    trains = [r for r in rows if r["kind"] == "train"]
    last = [r["loss"] for r in trains if r["epoch"] > trains[-1]["epoch"] - 1]
    return statistics.fmean(last) if last else None


def figures(run):
    end = run.end()
    if not end:
        return None
    rows = rows_of(run.folder / "metrics.jsonl")
    evals = [r for r in rows if r["kind"] == "eval"]
    return {
        "run": run.name, "study": run.study.name, "arm": run.arm, "seed": run.seed, "lr": run.lr,
        "epochs": end["epoch"], "updates": end["update"], "error": end["error"], "test_loss": end["loss"],
        "train_loss": last_loss(rows), "weights_hash": end["weights_hash"], "settings": run.settings,
        "evals": [[r["epoch"], r["error"]] for r in evals],
        "trains": [[r["update"], r["loss"]] for r in rows if r["kind"] == "train"],
    }  # fmt: skip


def deviation(values):
    return f"{statistics.stdev(values):.2g}" if len(values) > 1 else "-"


def main_table(done):
    yield "| arm | lr | seeds | test error %, mean (min..max) | its deviation | training loss, last epoch |"
    yield "|---|---|---|---|---|---|"
    for arm, runs in done.items():
        if not runs:
            yield f"| {arm} | - | 0 | not run | - | - |"
            continue
        errors = [f["error"] for f in runs.values()]
        lr = next(iter(runs.values()))["lr"]
        losses = [f["train_loss"] for f in runs.values()]
        yield f"| {arm} | {lr:g} | {len(runs)} | {spread(errors)} | {deviation(errors)} | {spread(losses, 3)} |"


def differences(done):
    yield "| difference of test errors, seed by seed | mean | 95 % | |"
    yield "|---|---|---|---|"
    for arm in (a for a in done if a not in CONTROLS):
        for control in (c for c in CONTROLS if c in done):
            seeds = sorted(set(done[arm]) & set(done[control]))
            d = paired([done[arm][s]["error"] - done[control][s]["error"] for s in seeds])
            mean = f"{d['mean']:+.2f}" if "mean" in d else "-"
            half = f"+-{d['half']:.2f}" if "half" in d else "-"
            yield f"| {arm} - {control} | {mean} | {half} | {d['word']} |"


def trial_table(study, arms):
    lrs = sorted({lr for a in arms for lr in study.lrs[a] if len(study.lrs[a]) > 1})
    if not lrs:
        return
    yield "Error in % on held-out samples, by learning rate:"
    yield ""
    yield "| arm | " + " | ".join(f"{lr:g}" for lr in lrs) + " |"
    yield "|---" * (len(lrs) + 1) + "|"
    for arm, (trials, _) in arms.items():
        said = {t.lr: f"{t.end()['error']:.2f}" if t.end() else "diverged" if t.diverged() else "-" for t in trials}
        yield f"| {arm} | " + " | ".join(said.get(lr, "-") for lr in lrs) + " |"


def plot(path, title, axis, curves):
    """One line per run, of one colour per arm."""
    gnuplot = shutil.which("gnuplot")
    if not gnuplot or not any(curves.values()):
        return
    words = [f"set terminal svg size 720,420 background '#ffffff'; set output '{path}'",
             f"set title '{title}'; set xlabel '{axis[0]}'; set ylabel '{axis[1]}'; set key outside; set grid"]  # fmt: skip
    blocks, lines = [], []
    for colour, (arm, runs) in enumerate(curves.items(), 1):
        for i, points in enumerate(runs):
            name = f"$d{len(blocks)}"
            blocks.append(f"{name} << E\n" + "\n".join(f"{x} {y}" for x, y in points) + "\nE")
            lines.append(f"{name} with lines lc {colour} " + (f"title '{arm}'" if i == 0 else "notitle"))
    words = blocks + words + (["plot " + ", ".join(lines)] if lines else [])
    subprocess.run([gnuplot], input="\n".join(words) + "\n", text=True, check=True)


def write_tables(out, studies):
    text, objects = [], []
    for study, arms in studies:
        done = {a: {r.seed: f for r in finals if (f := figures(r))} for a, (_, finals) in arms.items()}
        objects += [f for runs in done.values() for f in runs.values()]
        text += [f"## {study.name}: {study.epochs:g} epochs", "", *main_table(done), "", *differences(done), "",
                 *trial_table(study, arms), ""]  # fmt: skip
        for kind, what, axis in (("evals", "error", ("epoch", "test error %")), ("trains", "loss", ("update", "loss"))):
            curves = {a: [f[kind] for f in runs.values() if f[kind]] for a, runs in done.items()}
            plot(out / f"{study.name}-{what}.svg", study.name, axis, curves)
    (out / "gsgd.md").write_text("\n".join(text))
    (out / "gsgd.jsonl").write_text("".join(json.dumps(o) + "\n" for o in objects))
    print("\n".join(text))
