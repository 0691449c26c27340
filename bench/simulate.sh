#!/bin/bash
# simulate.sh [BUILD] - predicts throughput, staleness and the server's load on simulated clusters of
# up to 1,024 ranks: the program's own protocol code over SimGrid's SMPI (make smpi). One JSON object
# a line on OUT, then a table of it.
# simulate.sh [BUILD] --calibrate - measures what the predictions are made of: seconds of a gradient
# and of an update, and what a message and a look cost here. Use an idle machine.
# simulate.sh [BUILD] --check - the same small runs under mpirun and simulated, and how far they are apart.
#
# RULES="ssgd asgd dc-asgd-a"  RANKS="16 32 64 128 256 512 1024"  PLATFORMS="ethernet-25g infiniband-200g"
# (names in bench/platforms, or files)  ROUNDS=5 gradients per worker (ssgd: 4)  SIGMA=0.1 of the log of a
# gradient's time  GRADIENT_S, PARAMETERS=269722, BATCH=128  CALIBRATION, OUT: files.
# ssgd exchanges M^2 messages an update: from LOGP_FROM=64 ranks on it runs on PLATFORM-logp.xml. On an
# idle core asgd with 1,024 ranks takes a minute or two and 6 GB, ssgd with 256 half a minute, and four
# to five times as long for twice as many.
set -u
build=build; mode=sweep
for a in "$@"; do case $a in
  --calibrate) mode=calibrate ;; --check) mode=check ;;
  -*) sed -n '2,14s/^# \{0,1\}//p' "$0"; [ "$a" = --help ]; exit $(($? * 2)) ;;
  *) build=$a ;;
esac; done
cd "$(dirname "$0")/.." || exit 1
results=${RESULTS:-bench/results}
CALIBRATION=${CALIBRATION:-$(find "$results" -name '*-simulate-calibration.jsonl' | sort | tail -n 1)}
OUT=${OUT:-$results/$(date +%Y-%m-%d)-simulate.jsonl}
RULES=${RULES:-ssgd asgd dc-asgd-a}
RANKS=${RANKS:-16 32 64 128 256 512 1024}
PLATFORMS=${PLATFORMS:-ethernet-25g infiniband-200g}
PARAMETERS=${PARAMETERS:-269722}; BATCH=${BATCH:-128}; SIGMA=${SIGMA:-0.1}; LOGP_FROM=${LOGP_FROM:-64}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_hwloc_base_binding_policy=none OMP_WAIT_POLICY=passive
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
die() { echo "simulate.sh: $1" >&2; exit 1; }

machine() {
  python3 - "$(lscpu | sed -nE 's/^Model name: +//p' | head -n 1)" "$(nproc)" "$(cut -d' ' -f1 /proc/loadavg)" <<'P'
import json, platform, subprocess, sys
def first(*command):
    try: return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout.splitlines()[0]
    except (OSError, IndexError): return None
print(json.dumps({"bench": "machine", "cpu": sys.argv[1], "cores": int(sys.argv[2]), "load_before": float(sys.argv[3]),
                  "kernel": platform.release(), "cc": first("cc", "--version"), "mpi": first("mpirun", "--version"),
                  "simgrid": first("smpicc", "--version"), "commit": first("git", "rev-parse", "HEAD"),
                  "dirty": bool(subprocess.run(["git", "status", "--porcelain", "-uno"], stdout=subprocess.PIPE).stdout)}))
P
}

# A number out of the calibration: calibrated EXPRESSION, over c (bench/calibrate) and u (ns by rule).
calibrated() {
  python3 - "$CALIBRATION" "$1" <<'P'
import json, sys
lines = [json.loads(l) for l in open(sys.argv[1])]
c = next(l for l in lines if l["bench"] == "calibrate")
g = min(l["step_ms"] for l in lines if l["bench"] == "step" and l["precision"] == "fp32") * 1e-3
u = {l["rule"]: 1e9 * l["update_s"] / l["parameters"] for l in lines if l["bench"] == "update" and l["optimizer"] == "sgd"}
u["ssgd"] = c["in_step_ns"]
v = eval(sys.argv[2])
print("%.6g" % v if isinstance(v, (int, float)) else v)
P
}

# simulated NAME PLATFORM_FILE RANKS RULE KEYS... - one JSON line, or a failure.
simulated() {
  local name=$1 platform=$2 ranks=$3 log; shift 3
  log=$(mktemp "$scratch/log.XXXX")
  local hosts; hosts=$(sed -nE 's/.*prefix="([^"]*)".*/\1/p' "$platform")
  seq -f "$hosts%.0f" 0 1023 > "$log.hosts"
  OMP_NUM_THREADS=1 smpirun -np "$ranks" -hostfile "$log.hosts" -platform "$platform" --log=root.thres:warning \
    --cfg=smpi/host-speed:1Gf --cfg=smpi/simulate-computation:no --cfg=smpi/test:0 --cfg=smpi/iprobe:0 \
    --cfg=smpi/wtime:0 --cfg=smpi/grow-injected-times:no --cfg=smpi/bw-factor:0:1 --cfg=smpi/lat-factor:0:1 \
    --cfg=network/crosstraffic:0 --cfg=contexts/stack-size:512 "$build/smpi/simulate.so" "$@" > "$log.out" 2> "$log"
  # smpirun ends with 0 whatever happened, a deadlock included.
  grep -q 'Deadlock\|CRITICAL' "$log" && { cat "$log" >&2; return 1; }
  grep -q '^{' "$log.out" || { cat "$log" "$log.out" >&2; return 1; }
  sed -n "s/^{/{\"platform\":\"$name\",/p" "$log.out"
}

file_of() { [ -e "$1" ] && echo "$1" || echo "bench/platforms/$1.xml"; }
calibration_wanted() { [ -n "$CALIBRATION" ] || die "no calibration: bench/simulate.sh $build --calibrate"; }
keys() { # RULE
  local ns; ns=$(calibrated "u.get('$1', u['dc-asgd-a'])") || return 1
  [ "$(calibrated "'$1' in u")" = 1 ] || echo "simulate.sh: rule $1: its update was not measured; charged like dc-asgd-a's" >&2
  echo "parameters=$PARAMETERS batch=$BATCH update_ns=$ns test_ns=$(calibrated 'c["test_ns"]') some_ns=$(calibrated 'c["some_ns"]')"
}

calibrate() {
  local out
  out=$results/$(date +%Y-%m-%d)-simulate-calibration.jsonl
  mkdir -p "$results"
  { machine
    "$build/bench/bench_update" 25600000 10
    "$build/bench/bench_step" 5 128
    OMP_NUM_THREADS=1 mpirun -n 2 "$build/bench/simulate_calibrate"; } | tee "$out.part" || die "a measurement failed"
  mv "$out.part" "$out"
  echo "simulate.sh: wrote $out" >&2
}

# This machine as a platform: no wire, but a receiver that copies, as long as a ping-pong says.
here() {
  python3 - "$CALIBRATION" <<'P'
import json, sys
way = next(l for l in map(json.loads, open(sys.argv[1])) if l["bench"] == "calibrate")["one_way_us"]
points = sorted((int(s), 1e-6 * t) for s, t in way.items())
steps = []
for (s0, t0), (s1, t1) in zip(points, points[1:]):
    slope = max((t1 - t0) / (s1 - s0), 0)
    steps.append("%d:%.4g:%.4g" % (s0 if steps else 0, max(t0 - slope * s0, 0), slope))
print("""<?xml version="1.0"?>
<!DOCTYPE platform SYSTEM "https://simgrid.org/simgrid.dtd">
<platform version="4.1">
  <config>
    <prop id="smpi/os" value="0:0:0"/><prop id="smpi/ois" value="0:0:0"/><prop id="smpi/or" value="%s"/>
    <prop id="smpi/async-small-thresh" value="4096"/><prop id="smpi/send-is-detached-thresh" value="4096"/>
  </config>
  <cluster id="here" prefix="here-" radical="0-1023" suffix="" speed="1Gf" bw="1000TBps" lat="1ns" sharing_policy="SPLITDUPLEX"/>
</platform>""" % ";".join(steps))
P
}

# Workers nap in both worlds, so that ranks do not compete for cores that a cluster would have.
check() {
  local rule workers gradient i out=${OUT%.jsonl}-check.jsonl
  calibration_wanted
  here > "$scratch/here.xml"
  OMP_NUM_THREADS=1 "$build/bench/bench_update" "$PARAMETERS" 200 > "$scratch/update" || die "bench_update failed"
  machine > "$out.part"
  for rule in $RULES; do for workers in ${WORKERS:-1 2 3}; do for gradient in ${GRADIENTS:-0.02 0.002}; do
    local run="parameters=$PARAMETERS batch=$BATCH rounds=${ROUNDS:-60} gradient_s=$gradient sigma=0" ns
    ns=$(python3 -c 'import json, sys
for l in map(json.loads, open(sys.argv[1])):
    if l["optimizer"] == "sgd" and l["rule"] == sys.argv[2]: print(1e9 * l["update_s"] / l["parameters"])' "$scratch/update" "$rule")
    # shellcheck disable=SC2086 # words
    for i in $(seq "${REPEATS:-5}"); do
      OMP_NUM_THREADS=1 OMPI_MCA_mpi_yield_when_idle=1 timeout 120 mpirun -n $((workers + 1)) "$build/bench/simulate" "$rule" $run || echo "simulate.sh: run $i failed" >&2
    done > "$scratch/real"
    # shellcheck disable=SC2086,SC2046 # words
    simulated here "$scratch/here.xml" $((workers + 1)) "$rule" $(keys "$rule") $run update_ns="${ns:-$(calibrated "u['$rule']")}" > "$scratch/simulated" || return 1
    python3 - "$scratch/real" "$scratch/simulated" <<'P' | tee -a "$out.part"
import json, sys
real = sorted((json.loads(l) for l in open(sys.argv[1]) if l[0] == "{"), key=lambda l: l["gradients_per_s_best"])
sim = json.loads(open(sys.argv[2]).readline())
best, middle = real[-1], real[len(real) // 2]
print(json.dumps({"bench": "check", "rule": sim["rule"], "workers": sim["workers"], "gradient_s": sim["gradient_s"], "repeats": len(real),
    "real_best": best["gradients_per_s_best"], "real_median": middle["gradients_per_s"], "simulated": sim["gradients_per_s"],
    "error_percent": round(100 * (sim["gradients_per_s"] / best["gradients_per_s_best"] - 1), 1),
    "error_percent_of_median": round(100 * (sim["gradients_per_s"] / middle["gradients_per_s"] - 1), 1),
    "staleness_real": middle["staleness_mean"], "staleness_simulated": sim["staleness_mean"]}))
P
  done; done; done
  mv "$out.part" "$out"
  echo "simulate.sh: wrote $out" >&2
}

sweep() {
  local p rule ranks file rounds status=0
  calibration_wanted
  local gradient=${GRADIENT_S:-$(calibrated g)}
  for ranks in $RANKS; do [ "$ranks" -ge 2 ] && [ "$ranks" -le 1024 ] || die "RANKS: $ranks; from 2 to 1024"; done
  : > "$OUT.part"
  { machine; echo "{\"bench\":\"command\",\"command\":\"bench/simulate.sh $build\",\"calibration\":\"$CALIBRATION\"}"; } >> "$OUT.part"
  for ranks in $RANKS; do for rule in $RULES; do for p in $PLATFORMS; do
    file=$(file_of "$p"); rounds=${ROUNDS:-5}; local name=$p
    [ "$rule" = ssgd ] && rounds=${ROUNDS:-4}
    [ "$rule" = ssgd ] && [ "$ranks" -ge "$LOGP_FROM" ] && { file=${file%.xml}-logp.xml; name=$p-logp; }
    # shellcheck disable=SC2046 # words
    simulated "$name" "$file" "$ranks" "$rule" $(keys "$rule") rounds="$rounds" gradient_s="$gradient" sigma="$SIGMA" \
      | tee -a "$OUT.part" | cut -c1-300 >&2
    [ "${PIPESTATUS[0]}" = 0 ] || status=1
  done; done; done
  mv "$OUT.part" "$OUT"
  local checks=${OUT%.jsonl}-check.jsonl
  [ -e "$checks" ] || checks=
  python3 bench/simulate_table.py "$OUT" ${checks:+"$checks"} && [ $status = 0 ]
}

"$mode"
