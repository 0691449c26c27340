#!/usr/bin/env python3
"""cuda_table.py RESULTS.jsonl - what run_cuda.sh measured, as Markdown tables on standard output."""

import json
import sys


def table(title, columns, rows):
    if not rows:
        return
    print(f"\n## {title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")


def of(lines, bench, what=None):
    return [row for row in lines if row.get("bench") == bench and (what is None or row.get("what") == what)]


def verdict(row):
    return "yes" if row["met"] else "**no**"


def steps(lines):
    rows = [r for r in of(lines, "cuda_peer", "ratio") if "ours_over_peer" in r]
    table("Training steps: images per second over those of PyTorch's best mode",
          ["model", "images", "precision", "ours", "loop", "PyTorch's", "ratio", "at least 1", "left out"],
          [[r["model"], f"{r['batch']}x{r['size']}x{r['size']}", r["precision"],
            "deterministic" if r["deterministic"] else "fast", r["loop"], r["peer"], r["ours_over_peer"],
            verdict(r), ", ".join(r["left_out"]) or "-"] for r in rows])
    speeds = of(lines, "cuda_peer", "pytorch") + of(lines, "cuda_peer", "tardigrad")
    speeds += [r for r in of(lines, "cuda_step") if "images_per_s" in r]
    table("Training steps: images per second", ["model", "images", "who", "precision", "images/s", "step ms"],
          [[r["model"], f"{r['batch']}x{r['size']}x{r['size']}", who(r), r["precision"], r["images_per_s"],
            r["step_ms"]] for r in speeds])
    table("Modes that did not run", ["model", "batch", "mode", "precision", "why"],
          [[r["model"], r["batch"], r.get("mode", "ours"), r["precision"], r.get("failed") or r.get("skipped")]
           for r in of(lines, "cuda_peer", "mode") + of(lines, "cuda_step")
           if "failed" in r or "skipped" in r])


def who(row):
    if "mode" in row:
        return "PyTorch, " + row["mode"]
    return f"TardiGrad, {'deterministic' if row['deterministic'] else 'fast'}, {row['loop']}"


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        lines = [json.loads(line) for line in file if line.startswith("{")]
    machine = (of(lines, "machine") or [{}])[0]
    print(f"# {machine.get('device', 'a GPU')}\n\nMade by bench/cuda_table.py of `{sys.argv[1]}`.")
    steps(lines)
    table("Fused updates over a copy within the device's memory",
          ["rule", "optimiser", "bytes per parameter", "GB/s", "copy GB/s", "ratio", "at least 0.9"],
          [[r["rule"], r["optimizer"], r["bytes_per_parameter"], r["gb_per_s"], r["copy_gb_per_s"], r["ratio"],
            verdict(r)] for r in of(lines, "cuda_update")])
    table("8 virtual workers over plain sgd, `tardigrad train`",
          ["precision", "sgd images/s", "sim images/s", "ratio", "at least 0.85"],
          [[r["precision"], r["sgd_images_per_s"], r["dc-asgd-a_images_per_s"], r["ratio"], verdict(r)]
           for r in of(lines, "cuda_sim")])
    table("Own kernels: bandwidth over that of a copy",
          ["kernel", "shape", "dtype", "us", "GB/s", "of a large copy", "of a copy of its size"],
          [[r["kernel"], r["shape"], r["dtype"], r["us"], r["gb_per_s"], r["of_copy"], r["of_same_size_copy"]]
           for r in of(lines, "cuda_kernel")])


if __name__ == "__main__":
    main()
