#!/bin/bash
# test_smpi.sh - the server, the loop in step and the mpi transport over SimGrid's SMPI, 16 ranks: the
# run ends, staleness tends to M-1, and a second run is the same to the last digit.
set -u
cd "$(dirname "$0")/../.." || exit 1
command -v smpirun >/dev/null && command -v smpicc >/dev/null || { echo "smpicc is not here (make deps-smpi)"; exit 77; }
build=${BUILD:-$PWD/build}
[ -e "$build/smpi/simulate.so" ] || { echo "$build/smpi/simulate.so is not built (make smpi)"; exit 77; }
out=$(mktemp -d) || exit 1
trap 'rm -rf "$out"' EXIT
cat > "$out/calibration.jsonl" <<'J'
{"bench":"step","precision":"fp32","step_ms":100}
{"bench":"update","rule":"asgd","optimizer":"sgd","parameters":1000000,"update_s":0.0003}
{"bench":"update","rule":"dc-asgd-a","optimizer":"sgd","parameters":1000000,"update_s":0.0005}
{"bench":"calibrate","test_ns":15,"some_ns":1.5,"in_step_ns":0.4,"one_way_us":{"8":0.3,"1048576":100}}
J
export CALIBRATION=$out/calibration.jsonl
fail() { echo "test_smpi: $1"; cat "$out"/log; exit 1; }
simulate() { # FILE RULES KEYS...
  local file=$out/$1 rules=$2; shift 2
  RESULTS=$out OUT=$file RULES=$rules RANKS=16 PLATFORMS=ethernet-25g \
    PARAMETERS=20000 GRADIENT_S=0.01 LOGP_FROM=1000 timeout 100 bench/simulate.sh "$build" > "$out/log" 2>&1 || fail "$rules: exit $?"
}
simulate first "ssgd asgd dc-asgd-a"
simulate second "ssgd asgd dc-asgd-a"
runs() { grep '"bench":"simulate"' "$out/$1"; }
[ "$(runs first | wc -l)" = 3 ] || fail "three runs are wanted"
[ "$(runs first)" = "$(runs second)" ] || fail "two simulations of the same runs differ: $(runs first) $(runs second)"
runs first | python3 -c '
import json, sys
for r in map(json.loads, sys.stdin):
    wanted = 0 if r["rule"] == "ssgd" else r["workers"] - 1
    assert abs(r["staleness_mean"] - wanted) < 0.5, r
    assert r["ranks"] == 16 and r["images_per_s"] > 0 and 0 < r["compute_share"] <= 1, r
    # Fifteen workers at 10 ms a gradient: never faster than they are.
    assert r["gradients_per_s"] <= 15 / 0.01 * 1.1, r
    # No gradient takes the server less time than its updates and its link.
    assert r["server_busy"] is None or r["server_busy"] > r["gradients_per_s"] * 4 * 20000 / 2.94e9, r
' || fail "a result cannot be right"
# An unknown rule and a key that is none end with one line, not with a deadlock that exits 0.
RESULTS=$out OUT=$out/bad RULES=no-such-rule RANKS=4 PLATFORMS=ethernet-25g \
  timeout 60 bench/simulate.sh "$build" > "$out/log" 2>&1 && fail "an unknown rule was simulated"
grep -q "no rule 'no-such-rule'" "$out/log" || fail "an unknown rule was not named"
echo ok
