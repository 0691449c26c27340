#!/bin/bash
# run.sh BUILD - every benchmark; the lines go to bench/results/<date>-<machine>.jsonl, headed by the
# machine and each command. Ratios are taken within one run of one benchmark. Use an idle machine.
# TARDIGRAD_PYTHON: a Python with torch, for the peer; without one the peer is left out, and said so.
set -u
cd "$(dirname "$0")/.." || exit 1
build=$1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_mpi_yield_when_idle=1
cpu=$(lscpu | sed -nE 's/^Model name: +//p' | head -n 1)
cores=$(nproc)
out=bench/results/$(date +%Y-%m-%d)-$(tr -cs 'A-Za-z0-9' - <<<"$cpu" | sed 's/-*$//')-${cores}c.jsonl
: > "$out"
load=$(cut -d' ' -f1 /proc/loadavg)
python3 - "$cpu" "$cores" "$load" <<'P' | tee -a "$out"
import json, platform, subprocess, sys
def first(*command):
    try: return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout.splitlines()[0]
    except (OSError, IndexError): return None
flags = open("/proc/cpuinfo").read().split("flags", 1)[1].splitlines()[0].split()
print(json.dumps({"bench": "machine", "cpu": sys.argv[1], "cores": int(sys.argv[2]), "load_before": float(sys.argv[3]),
                  "isa": [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in flags],
                  "kernel": platform.release(), "cc": first("cc", "--version"), "mpi": first("mpirun", "--version"),
                  "commit": first("git", "rev-parse", "HEAD"),
                  "dirty": bool(subprocess.run(["git", "status", "--porcelain"], stdout=subprocess.PIPE).stdout)}))
P
measure() { # COMMAND...
  python3 -c 'import json, sys; print(json.dumps({"bench": "command", "command": " ".join(sys.argv[1:])}))' "$@" | tee -a "$out"
  "$@" | tee -a "$out"
}
measure "$build/bench/bench_update"
measure "$build/bench/bench_paths"
measure "$build/bench/bench_paths_step"
# The server has one core, then both: no rank is bound.
measure mpirun --oversubscribe --bind-to none -n 2 "$build/bench/bench_comm"
measure "$build/bench/bench_step"
python=${TARDIGRAD_PYTHON:-python3}
if "$python" -c 'import torch' 2>/dev/null; then
  measure "$python" bench/peer_pytorch.py "$build/bench/bench_step"
else
  echo "bench: $python has no torch: the peer is left out (TARDIGRAD_PYTHON names another)" >&2
fi
measure python3 bench/memory.py "$build/tardigrad"
echo "bench: wrote $out" >&2
