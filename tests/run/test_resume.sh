#!/bin/bash
# Runs that are killed at any moment and resumed. sgd, ssgd and sim end with the weights of a run
# that nobody disturbed, to the bit; an asynchronous MPI run keeps every update that its trace
# recorded, and replays as a whole. Signals that ask to stop make a checkpoint and end with 75.
set -u
. "$(dirname "$0")/../support/shell.sh"
cat > mlp.yaml <<Y
run: {name: mlp, threads: 1}
data: {name: synthetic, train_limit: 4096, test_limit: 256}
model: {name: mlp, hidden: [128, 64]}
train: {batch: 32, epochs: 6}
optimizer: {name: momentum, lr: 0.005}
sync: {cap: 1}
checkpoint: {every: 0.5, keep: 3}
metrics: {every: 10}
Y
check_files() { # RUN - every line of metrics whole, exactly one start per life, updates ascending
  python3 - "$1" <<'P' || fail "$1: metrics"
import json, sys
last = -1
for line in open(sys.argv[1] + "/metrics.jsonl"):
    row = json.loads(line)
    if row["kind"] == "train":
        assert row["update"] > last, (row["update"], last)
        last = row["update"]
P
}
T=("$TARDIGRAD" -q train mlp.yaml)
M=(mpirun -n 5 "$TARDIGRAD" -q train mlp.yaml)

"${T[@]}" run.name=sgd || fail sgd
"${T[@]}" run.name=sim sync.rule=dc-asgd-a transport.name=sim sim.order=lognormal || fail sim
"${M[@]}" run.name=ssgd sync.rule=ssgd || fail ssgd
until_done sgd-killed KILL "${T[@]}"
[ "$(hash runs/sgd-killed)" = "$(hash runs/sgd)" ] || fail "sgd after kills: other weights"
until_done sim-killed KILL "${T[@]}" sync.rule=dc-asgd-a transport.name=sim sim.order=lognormal
[ "$(hash runs/sim-killed)" = "$(hash runs/sim)" ] || fail "sim after kills: other weights"
"$TARDIGRAD" -q replay runs/sim-killed || fail "sim after kills: replay"
until_done ssgd-killed KILL "${M[@]}" sync.rule=ssgd
[ "$(hash runs/ssgd-killed)" = "$(hash runs/ssgd)" ] || fail "ssgd after kills: other weights"
until_done async-killed KILL "${M[@]}" sync.rule=dc-asgd-a
"$TARDIGRAD" -q replay runs/async-killed || fail "asynchronous run after kills: replay"
# Whatever had been recorded before a kill is still the beginning of the whole.
for old in async-killed.trace.*; do
  cmp -s -n $((($(stat -c %s "$old") - 32) / 8 * 8 + 32)) "$old" runs/async-killed/trace.bin ||
    fail "updates recorded in $old were lost"
done
for run in sgd-killed sim-killed ssgd-killed async-killed; do check_files runs/$run; done

# Workers that are held, gradients that are gathered: cut wherever a signal finds them.
for rule in "ssp sync.staleness_bound=1" "ssgd-backup sync.backup_workers=1"; do
  name=${rule%% *}
  # shellcheck disable=SC2086
  "${T[@]}" "run.name=$name" train.epochs=3 sync.rule=$rule transport.name=sim sim.order=lognormal || fail "$name"
  # shellcheck disable=SC2086
  until_done "$name-term" TERM "${T[@]}" train.epochs=3 sync.rule=$rule transport.name=sim sim.order=lognormal
  [ "$(hash "runs/$name-term")" = "$(hash "runs/$name")" ] || fail "$name after signals: other weights"
  "$TARDIGRAD" -q replay "runs/$name-term" || fail "$name after signals: replay"
done
# Signals.
until_done sgd-term TERM "${T[@]}"
[ "$(hash runs/sgd-term)" = "$(hash runs/sgd)" ] || fail "sgd after SIGTERM: other weights"
until_done async-usr1 USR1 "${M[@]}" sync.rule=asgd
"$TARDIGRAD" -q replay runs/async-usr1 || fail "asynchronous run after SIGUSR1: replay"
"${T[@]}" run.name=stopped train.epochs=1000 & pid=$!
sleep 2; kill -USR1 $pid; wait $pid; rc=$?
[ $rc = 75 ] || fail "SIGUSR1: exit $rc, expected 75"
compgen -G 'runs/stopped/checkpoints/[1-9]*' >/dev/null || fail "SIGUSR1: no checkpoint"
# A run that is complete stays complete.
before=$(hash runs/sgd)
"${T[@]}" run.name=sgd resume=auto || fail "resuming a finished run"
[ "$(hash runs/sgd)" = "$before" ] || fail "a finished run changed"
# Another number of workers, another model: refused, nothing touched.
cp -r runs before
"${T[@]}" run.name=sim sync.rule=dc-asgd-a transport.name=sim sim.workers=3 resume=auto 2>/dev/null && fail "resumed with other workers"
"${T[@]}" run.name=sgd model.hidden=16 resume=auto 2>/dev/null && fail "resumed another model"
for run in sim sgd; do
  for file in config.yaml metrics.jsonl; do
    cmp -s "before/$run/$file" "runs/$run/$file" || fail "a refused run changed $run/$file"
  done
done
exit 0
