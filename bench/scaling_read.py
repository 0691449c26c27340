"""What one run did, from its folder alone: config.yaml and metrics.jsonl. Used by scaling.py."""

import json
import math
import statistics

LAST_BIN = 1024  # the staleness histogram's last bin counts everything from here on


def rows_of(path):
    """The whole lines of metrics.jsonl; a run that is being written may end in half a line."""
    try:
        text = path.read_text()
    except OSError:
        return []
    rows = []
    for line in text.splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def has_ended(folder):
    rows = rows_of(folder / "metrics.jsonl")
    return bool(rows) and rows[-1].get("kind") == "end"


def staleness(histogram):
    """Mean, 99th percentile and maximum of a histogram; the last bin stands for what is beyond."""
    total = sum(histogram)
    if total == 0:
        return None
    seen, p99 = 0, 0
    for value, count in enumerate(histogram):
        seen += count
        if seen >= 0.99 * total:
            p99 = value
            break
    mean = sum(v * c for v, c in enumerate(histogram)) / total
    return {"mean": mean, "p99": p99, "max": len(histogram) - 1}


def correction_ratio(trains):
    """The mean r over updates; each train line holds the mean of its window."""
    weight, total, before = 0, 0.0, 0
    for row in trains:
        r, n = row.get("correction_ratio"), row["update"] - before
        before = row["update"]
        if r is not None and n > 0:
            weight, total = weight + n, total + r * n
    return total / weight if weight else None


def overlap(workers):
    """1 - exposed_s / comm_s of all workers (include/tardigrad/metrics.h), where their lines say both."""
    whole = sum(w.get("comm_s") or 0 for w in workers)
    if not whole or any("exposed_s" not in w for w in workers):
        return None
    return 1 - sum(w["exposed_s"] for w in workers) / whole


def evaluations(rows, seconds_per_update):
    """Each evaluation with its moment on every axis. A run of one process has no virtual clock."""
    out = []
    for row in rows:
        if row["kind"] != "eval" or row.get("error") is None:
            continue
        virtual = row.get("sim_s")
        if virtual is None and seconds_per_update:
            virtual = row["update"] * seconds_per_update
        out.append(
            {
                "epoch": row["epoch"],
                "update": row["update"],
                "wall_s": row["wall_s"],
                "virtual_s": virtual,
                "error": row["error"],
                "loss": row.get("loss"),
            }
        )
    return sorted(out, key=lambda e: e["update"])


def reached(evals, target, bytes_per_epoch):
    """The first evaluation at or below the target error, and what it had cost."""
    for e in evals:
        if e["error"] <= target:
            return dict(e, bytes=e["epoch"] * bytes_per_epoch)
    return None


def read(folder, target, seconds_per_update):
    """Every figure of a run that has ended; None for one that has not.
    seconds_per_update: the mean virtual time of an update, for a run without a virtual clock; None
    where only real time counts."""
    rows = rows_of(folder / "metrics.jsonl")
    if not rows or rows[-1].get("kind") != "end":
        return None
    end, start = rows[-1], next(r for r in rows if r["kind"] == "start")
    trains = [r for r in rows if r["kind"] == "train"]
    workers = list({r["worker"]: r for r in rows if r["kind"] == "worker"}.values())
    samples = end["epoch"] * start["train_samples"]
    local = start["rule"] == "sgd"
    virtual = end.get("sim_s")
    if virtual is None and seconds_per_update:
        virtual = end["update"] * seconds_per_update
    moved = 0 if local else sum(w.get("bytes", 0) for w in workers)
    rates = [r["images_per_s"] for r in trains if r.get("images_per_s")]
    evals = evaluations(rows, seconds_per_update)
    return {
        "rule": start["rule"],
        "workers": start["workers"],
        "device": start["device"],
        "host": start["host"],
        "model": start["model"],
        "data": start["data"],
        "version": start["tardigrad"],
        "precision": start["precision"],
        "threads": start["threads"],
        "parameters": start["parameters"],
        "epochs": end["epoch"],
        "updates": end["update"],
        "samples": samples,
        "wall_s": end["wall_s"],
        "virtual_s": virtual,
        "images_per_s": statistics.median(rates) if rates else None,
        "virtual_images_per_s": samples / virtual if virtual else None,
        "bytes_per_sample": moved / samples if samples else None,
        "staleness": staleness(end["staleness_histogram"]),
        "correction_ratio": correction_ratio(trains),
        "server_busy": end.get("server_busy"),
        "overlap": overlap(workers),
        "error": end["error"],
        "loss": end["loss"],
        "nonfinite": end.get("nonfinite", 0),
        "weights_hash": end["weights_hash"],
        "evals": evals,
        "target": reached(evals, target, moved / end["epoch"] if end["epoch"] else 0),
    }


def error_at(figures, axis, moment):
    """The error of the last evaluation at or before a moment: nothing is interpolated."""
    known = [e for e in figures["evals"] if e[axis] is not None and e[axis] <= moment * (1 + 1e-9)]
    return known[-1]["error"] if known else None


def finite(values):
    return [v for v in values if v is not None and math.isfinite(v)]
