#!/bin/bash
# G-SGD in the cluster, in real runs: recorded MPI runs replay to the bit, whatever is compensated and
# however gradients travel; ssgd over MPI is the simulator's; runs continued from a checkpoint end with
# the weights of one that was never cut; what does not go together is refused; metrics and plan say
# what updates in path space do and take.
set -u
. "$(dirname "$0")/../support/shell.sh"
cat > mlp.yaml <<Y
run: {name: mlp, threads: 1}
data: {name: synthetic, train_limit: 2048, test_limit: 256}
model: {name: mlp, hidden: [32, 24]}
train: {batch: 32, epochs: 3}
optimizer: {name: gsgd, lr: 0.005, weight_decay: 1e-4, warmup_epochs: 1}
sync: {cap: 1}
checkpoint: {every: 0.5, keep: 9}
metrics: {tensorboard: false}
Y
T=("$TARDIGRAD" -q train mlp.yaml)
M=(timeout 120 mpirun -n 4 "${T[@]}")
learned() { # RUN - an error of chance is 90 %
  python3 - "$1" <<'P' || fail "$1: did not learn, or says nothing of clamps"
import json, sys
rows = [json.loads(line) for line in open(f"runs/{sys.argv[1]}/metrics.jsonl")]
end, train = rows[-1], [r for r in rows if r["kind"] == "train"]
assert end["kind"] == "end" and end["error"] < 30, end
clamps = [r["path_clamps"] for r in train]
assert clamps == sorted(clamps) and clamps[-1] == end["path_clamps"], clamps
P
}
continued() { # RUN KEYS... - a copy of the run, from its middle
  local run=$1 copy=$1-cut; shift
  cp -r "runs/$run" "runs/$copy"
  local all; all=$(find "runs/$run/checkpoints" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort -n)
  for update in $(tail -n 3 <<<"$all"); do rm -r "runs/$copy/checkpoints/$update"; done
  "${T[@]}" "run.name=$copy" "$@" resume=auto || fail "$copy: resuming"
  [ "$(hash "runs/$copy")" = "$(hash "runs/$run")" ] || fail "$copy: other weights than $run"
  [ "$(clamps "$copy")" = "$(clamps "$run")" ] || fail "$copy: other clamps than $run"
}
clamps() { grep -o '"path_clamps":[0-9]*' "runs/$1/metrics.jsonl" | tail -n 1; }

# Each rule, and each place for its compensation.
for space in weights paths; do
  for rule in asgd dc-asgd-c dc-asgd-a; do
    keys=("sync.rule=$rule" "sync.compensation=$space")
    "${M[@]}" "run.name=$rule-$space" "${keys[@]}" || fail "$rule, $space: mpi"
    "$TARDIGRAD" -q replay "runs/$rule-$space" || fail "$rule, $space: replay"
    learned "$rule-$space"
  done
  # Gradients in messages: pieces are gathered, weights leave when all are there.
  "${M[@]}" run.name=sent-$space sync.rule=dc-asgd-a sync.compensation=$space optimizer.name=gsgd-momentum \
    optimizer.lr=0.001 transport.shared_memory=false run.piece_bytes=4096 || fail "$space: messages"
  "$TARDIGRAD" -q replay runs/sent-$space || fail "$space: replay of messages"
  "${T[@]}" run.name=sim-$space sync.rule=dc-asgd-a sync.compensation=$space transport.name=sim sim.order=lognormal \
    optimizer.gsgd.clamp=0.999 || fail "$space: sim"
  "$TARDIGRAD" -q replay runs/sim-$space || fail "$space: replay of sim"
  [ "$(clamps sim-$space)" != '"path_clamps":0' ] || fail "$space: no clamps at 0.999"
  continued sim-$space sync.rule=dc-asgd-a sync.compensation=$space transport.name=sim sim.order=lognormal \
    optimizer.gsgd.clamp=0.999
done
[ "$(hash runs/sim-weights)" != "$(hash runs/sim-paths)" ] || fail "where gradients are compensated does not matter"

# In step: every rank makes the same update. Nothing is late, so nothing is compensated.
"${M[@]}" run.name=ssgd-mpi sync.rule=ssgd || fail "ssgd mpi"
"${T[@]}" run.name=ssgd-sim sync.rule=ssgd transport.name=sim sim.workers=3 || fail "ssgd sim"
"${T[@]}" run.name=ssgd-paths sync.rule=ssgd transport.name=sim sim.workers=3 sync.compensation=paths || fail "ssgd, paths"
"${T[@]}" run.name=rounds sync.rule=ssgd-backup sync.backup_workers=0 transport.name=sim sim.workers=3 || fail "ssgd-backup"
for run in ssgd-mpi ssgd-paths rounds; do
  [ "$(hash runs/ssgd-sim)" = "$(hash "runs/$run")" ] || fail "$run is not ssgd in the simulator"
done
learned ssgd-mpi
continued ssgd-sim sync.rule=ssgd transport.name=sim sim.workers=3
# One worker is one process.
"${T[@]}" run.name=alone || fail "one process"
for space in weights paths; do
  timeout 120 mpirun -n 2 "${T[@]}" run.name=one-$space sync.rule=dc-asgd-a sync.compensation=$space || fail "one worker"
  [ "$(hash runs/one-$space)" = "$(hash runs/alone)" ] || fail "one worker, $space: not gsgd to the bit"
done

# What does not go together.
refused() { # WORDS KEYS...
  local words=$1 out rc; shift
  out=$("${T[@]}" run.name=refused "$@" 2>&1); rc=$?
  [ $rc = 78 ] || fail "$*: exit $rc: $out"
  [ "$(wc -l <<<"$out")" = 1 ] && grep -q -- "$words" <<<"$out" || fail "$*: $out"
}
for rule in gap-aware xgrad easgd local-sgd d-psgd; do
  refused "sync.rule=$rule does not go with optimizer.name=gsgd" sync.rule=$rule transport.name=sim
done
for rule in dana-slim dave-rpg; do
  refused "sync.rule=$rule goes with optimizer.name=sgd only" sync.rule=$rule transport.name=sim
done
refused "sync.compensation=paths: optimizer.name=sgd works on weights" optimizer.name=sgd sync.compensation=paths
refused "has no path blocks" model.name=cnn

# The server's memory: beside weights, copies and mean squares the gradient that comes in pieces.
memory() {
  "$TARDIGRAD" plan mlp.yaml model.hidden=2048,2048 sync.rule=dc-asgd-a --json "$@" | python3 -c '
import json, sys
f = json.load(sys.stdin)
print(f["memory_bytes"]["server"] // (4 * f["parameters"]), f["push_bytes"] // f["parameters"])'
}
read -r plain bytes <<<"$(memory optimizer.name=sgd)"
read -r whole same <<<"$(memory)"
[ $((whole - plain)) -ge 1 ] && [ $((whole - plain)) -le 2 ] || fail "plan: $plain vectors for sgd, $whole for gsgd"
[ "$bytes" = "$same" ] || fail "plan: $bytes bytes a parameter pushed for sgd, $same for gsgd"
