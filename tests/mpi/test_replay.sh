#!/bin/bash
# Recorded runs of 5 and of 9 ranks, replayed in one process: the weights must be identical to the
# bit. ssgd over MPI and in the simulator likewise.
set -u
. "$(dirname "$0")/../support/shell.sh"
cat > mlp.yaml <<Y
run: {name: mlp, threads: 1}
data: {name: synthetic, train_limit: 4096, test_limit: 256}
model: {name: mlp, hidden: [64, 32]}
train: {batch: 32, epochs: 3}
optimizer: {lr: 0.02, schedule: [{epoch: 2, factor: 0.1}]}
sync: {cap: 1}
checkpoint: {every: 1, keep: 9}
Y
# MODEL RANKS RULE KEYS...
recorded() {
  local name=$1; shift
  local ranks=$1; shift
  timeout 120 mpirun -n "$ranks" "$TARDIGRAD" -q train mlp.yaml "run.name=$name" "$@" || fail "$name: training"
  timeout 120 "$TARDIGRAD" -q replay "runs/$name" --dump "$name.jsonl" || fail "$name: replay"
  local updates; updates=$(find "runs/$name/checkpoints" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort -n | tail -n 1)
  [ "$(wc -l < "$name.jsonl")" = "$updates" ] || fail "$name: the dump has not one line per update"
}
for i in 1 2 3; do recorded "five-$i" 5 sync.rule=dc-asgd-a; done
for i in 1 2 3; do recorded "nine-$i" 9 sync.rule=dc-asgd-a sync.mean_square=global; done
recorded asgd 5 sync.rule=asgd optimizer.name=momentum
recorded constant 5 sync.rule=dc-asgd-c sync.lambda=5 sync.cap=0.5 optimizer.name=nesterov optimizer.weight_decay=1e-4
recorded clipped 5 sync.rule=dc-asgd-a sync.clip_norm=0.5 run.piece_bytes=4096
recorded resnet 5 sync.rule=dc-asgd-a model.name=resnet20 data.train_limit=512 data.augment=crop_flip train.epochs=1 optimizer.schedule= checkpoint.every=0.5
recorded resnet-bf16 5 sync.rule=asgd model.name=resnet20 data.train_limit=512 train.epochs=1 optimizer.schedule= device.precision=bf16
for rule in staleness-lr gap-aware dana-slim xgrad dave-rpg easgd; do
  recorded "$rule" 5 sync.rule=$rule optimizer.weight_decay=1e-4 checkpoint.every=0.7
done
recorded xgrad-momentum 5 sync.rule=xgrad sync.prediction_steps=2 optimizer.name=momentum optimizer.momentum=0.5
recorded gap-momentum 5 sync.rule=gap-aware optimizer.name=momentum optimizer.momentum=0.5 sync.step_decay=0.9
recorded easgd-far 5 sync.rule=easgd sync.local_steps=3 sync.elasticity=0.4 sync.clip_norm=0.5 chaos.nan_gradient_at=3 transport.shared_memory=false
recorded faulty 5 sync.rule=dc-asgd-a chaos.nan_gradient_at=3

# A trace that says something else is noticed.
cp -r runs/asgd runs/forged
python3 - runs/forged/trace.bin <<'P' || skip "python3 is not here: a forged trace is not tested"
import sys
p = sys.argv[1]; b, size = open(p, "rb").read(), 8
records = [b[i:i + size] for i in range(32, len(b), size)]
i = next(i for i in range(len(records) - 1) if records[i][:4] != records[i + 1][:4])
records[i], records[i + 1] = records[i + 1], records[i]
open(p, "wb").write(b[:32] + b"".join(records))
P
out=$("$TARDIGRAD" -q replay runs/forged 2>&1) && fail "a forged trace was not noticed"
grep -q 'differs first at update' <<<"$out" || fail "no update is named: $out"

for average in mean scaled fixed; do
  timeout 120 mpirun -n 5 "$TARDIGRAD" -q train mlp.yaml run.name=mpi-$average sync.rule=ssgd sync.average=$average || fail "ssgd mpi"
  "$TARDIGRAD" -q train mlp.yaml run.name=sim-$average sync.rule=ssgd sync.average=$average transport.name=sim || fail "ssgd sim"
  [ "$(hash runs/mpi-$average)" = "$(hash runs/sim-$average)" ] || fail "ssgd $average: mpi and sim differ"
done
# One worker is SGD, whatever carries it.
"$TARDIGRAD" -q train mlp.yaml run.name=sgd || fail sgd
for rule in ssgd asgd dc-asgd-c dc-asgd-a staleness-lr gap-aware xgrad; do
  timeout 120 mpirun -n 2 "$TARDIGRAD" -q train mlp.yaml run.name=one-$rule sync.rule=$rule || fail "one worker, $rule"
  [ "$(hash runs/one-$rule)" = "$(hash runs/sgd)" ] || fail "one worker, $rule: not SGD to the bit"
done
# One worker with a velocity of its own is Nesterov's momentum.
"$TARDIGRAD" -q train mlp.yaml run.name=nesterov optimizer.name=nesterov optimizer.weight_decay=1e-4 || fail nesterov
timeout 120 mpirun -n 2 "$TARDIGRAD" -q train mlp.yaml run.name=one-dana sync.rule=dana-slim optimizer.weight_decay=1e-4 || fail "one worker, dana-slim"
[ "$(hash runs/one-dana)" = "$(hash runs/nesterov)" ] || fail "one worker, dana-slim: not nesterov to the bit"
