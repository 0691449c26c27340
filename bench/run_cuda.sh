#!/bin/bash
# run_cuda.sh BUILD [--emulated] - the benchmarks of the CUDA backend; the lines go to
# bench/results/<date>-<GPU>.jsonl, headed by the machine and each command, and as tables to the .md
# beside it. Ratios are taken within one run of one benchmark. Exit 69, and one line: no GPU.
#
# It ends within BUDGET seconds, 480 if not set: every command has a limit, the peers share what the
# others leave, and what no longer fits is written down as skipped. More seconds buy more modes of
# torch.compile.
# TARDIGRAD_PYTHON: a Python with torch, for the peer; else one is looked for. Without one the peer
# is left out, and said so.
# --emulated: tiny sizes over the emulated CUDA of tests/cuda, to test all this; the results, which
# mean nothing, go to BUILD/bench/emulated.jsonl.
set -u
cd "$(dirname "$0")/.." || exit 1
build=$1
budget=${BUDGET:-480}
step=$build/bench/bench_cuda_step
kernels=("$build/bench/bench_cuda_kernels")
update=("$build/bench/bench_cuda_update")
sim=(python3 bench/sim_cuda.py "$build/tardigrad")
cases=("resnet20 32 128" "resnet20 32 1024" "resnet34 32 128" "resnet50 224 64")
options=()
if [ "${2:-}" = --emulated ]; then
  export TARDIGRAD_CUDA_PLUGIN=${TARDIGRAD_CUDA_PLUGIN:-$build/libtardigrad_cuda_emulated.so} TURNS=1 UPDATES=4
  kernels=("$build/emulated/bench/bench_cuda_kernels" 1 4000)
  update+=(1000 1 0)
  sim+=(train.batch=2 data.train_limit=0 model.name=mlp)
  cases=("resnet20 8 2" "mlp 8 4")
  options=(--seconds 0 --turns 1 --samples 8 --precisions bf16)
fi

described=$("$step" --describe) || exit
gpu=$(sed -E 's/.*"device":"cuda: ([^"]*) \(sm_.*/\1/' <<<"$described")
name=$(tr -cs 'A-Za-z0-9' - <<<"$gpu" | sed 's/-*$//')
out=bench/results/$(date +%Y-%m-%d)-$name.jsonl
[ "${2:-}" != --emulated ] || out=$build/bench/emulated.jsonl
: > "$out"

python3 - "$described" "$budget" <<'P' | tee -a "$out"
import json, os, platform, subprocess, sys
def lines(*command):
    try: return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout.splitlines()
    except OSError: return []
def first(*command): return next(iter(lines(*command)), None)
def smi(what): return first("nvidia-smi", "--query-gpu=" + what, "--format=csv,noheader")
cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), None)
nvcc = os.environ.get("NVCC") or "nvcc"
print(json.dumps({"bench": "machine", "device": json.loads(sys.argv[1])["device"],
                  "driver": smi("driver_version"), "clocks": smi("clocks.max.sm,clocks.max.mem,power.limit"),
                  "busy_before": smi("utilization.gpu,memory.used"), "cpu": cpu, "cores": os.cpu_count(),
                  "load_before": os.getloadavg()[0], "kernel": platform.release(), "cc": first("cc", "--version"),
                  "nvcc": (lines(nvcc, "--version") or [None])[-1], "budget_s": float(sys.argv[2]),
                  "commit": first("git", "rev-parse", "HEAD"),
                  "dirty": bool(lines("git", "status", "--porcelain"))}))
P

note() { # KEY VALUE ...: a line of its own
  python3 -c 'import json, sys; a = sys.argv[1:]; print(json.dumps(dict(zip(a[::2], a[1::2]))))' "$@" | tee -a "$out"
}
left() { echo $((budget - SECONDS)); }
failures=0
measure() { # LIMIT COMMAND...: at most so many seconds, and no more than are left
  local limit=$1 rc; shift
  [ "$limit" -le "$(left)" ] || limit=$(left)
  if [ "$limit" -lt 10 ]; then note bench skipped command "$*" why "$(left) s are left"; return 1; fi
  note bench command command "$*" limit_s "$limit"
  timeout -k 5 "$limit" "$@" | tee -a "$out"; rc=${PIPESTATUS[0]}
  [ "$rc" = 0 ] && return
  failures=$((failures + 1))
  note bench ended command "$*" exit "$rc"
  return "$rc"
}

find_torch() { # a Python whose torch sees a GPU
  local python
  for python in ${TARDIGRAD_PYTHON:+"$TARDIGRAD_PYTHON"} python3 python /opt/*/bin/python3 /usr/local/bin/python3; do
    "$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null && { echo "$python"; return; }
  done
  return 1
}

measure 40 "${update[@]}"
measure 60 "${kernels[@]}"
measure 110 "${sim[@]}"
python=$(find_torch) || note bench skipped command bench/peer_pytorch_cuda.py \
  why "no Python here has a torch that sees a GPU (TARDIGRAD_PYTHON names one)"
for i in "${!cases[@]}"; do
  read -ra shape <<<"${cases[i]}"
  limit=$(($(left) / (${#cases[@]} - i)))
  if [ -n "$python" ]; then # ours alone if that fails
    measure "$limit" "$python" bench/peer_pytorch_cuda.py "${shape[@]}" "$step" --budget $((limit - 8)) && continue
    limit=30
  fi
  measure "$limit" "$step" "${options[@]}" "${shape[@]}"
done
python3 bench/cuda_table.py "$out" > "${out%.jsonl}.md"
echo "run_cuda: wrote $out and ${out%.jsonl}.md in $SECONDS s; $failures commands failed" >&2
[ "$failures" = 0 ]
