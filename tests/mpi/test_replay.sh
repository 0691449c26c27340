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
gathers=1 # gradients of an update
# MODEL RANKS RULE KEYS...
recorded() {
  local name=$1; shift
  local ranks=$1; shift
  timeout 120 mpirun -n "$ranks" "$TARDIGRAD" -q train mlp.yaml "run.name=$name" "$@" || fail "$name: training"
  timeout 120 "$TARDIGRAD" -q replay "runs/$name" --dump "$name.jsonl" || fail "$name: replay"
  local updates; updates=$(find "runs/$name/checkpoints" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort -n | tail -n 1)
  [ "$(wc -l < "$name.jsonl")" = $((updates * gathers)) ] || fail "$name: the dump has not $gathers lines per update"
  [ "$(grep -o '"update": [0-9]*' "$name.jsonl" | uniq | wc -l)" = "$updates" ] || fail "$name: the dump has not every update"
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
# Workers that wait, gradients that are dropped or make an update together.
for s in 0 3; do recorded ssp-$s 9 sync.rule=ssp sync.staleness_bound=$s optimizer.name=momentum optimizer.lr=0.005 train.eval_every=0.2; done
recorded ringmaster 9 sync.rule=ringmaster sync.delay_threshold=4 chaos.nan_gradient_at=3
recorded fresh-only 5 sync.rule=ringmaster sync.delay_threshold=1 optimizer.name=nesterov
for b in 0 2; do
  gathers=$((4 - b))
  recorded backup-$b 5 sync.rule=ssgd-backup sync.backup_workers=$b optimizer.name=momentum checkpoint.every=0.3 chaos.nan_gradient_at=3
done
gathers=1
recorded backup-resnet 5 sync.rule=ssgd-backup sync.backup_workers=3 model.name=resnet20 data.train_limit=512 train.epochs=1 optimizer.schedule=
# What came too late is counted, and is no part of the epochs.
python3 - runs/fresh-only/metrics.jsonl runs/backup-2/metrics.jsonl runs/ssp-0/metrics.jsonl <<'P' || fail "dropped gradients in metrics.jsonl"
import json, sys
for path, n, some in zip(sys.argv[1:], (1, 2, 1), (True, True, False)):
    rows = [json.loads(line) for line in open(path)]
    end, workers = rows[-1], [r for r in rows if r["kind"] == "worker"]
    counted = sum(end["staleness_histogram"])
    assert (end["dropped"] > 0) == some, end
    assert abs(end["dropped_share"] - end["dropped"] / (end["dropped"] + counted)) < 1e-12, end
    assert sum(w["dropped"] for w in workers) == end["dropped"]
    assert sum(w["pushes"] for w in workers) == end["dropped"] + counted
    assert counted == end["update"] * n and abs(end["epoch"] - counted * 32 / 4096) < 1e-12, end
    assert any("dropped_share" in r for r in rows if r["kind"] == "train")
P

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
# Rounds that wait for everybody are ssgd; where they come in the order of the workers, to the bit.
for average in mean scaled fixed; do
  "$TARDIGRAD" -q train mlp.yaml run.name=rounds-$average sync.rule=ssgd-backup sync.backup_workers=0 sync.average=$average transport.name=sim || fail "ssgd-backup sim"
  [ "$(hash runs/rounds-$average)" = "$(hash runs/sim-$average)" ] || fail "ssgd-backup $average without backups is not ssgd"
done
# No bound and no threshold is asgd.
"$TARDIGRAD" -q train mlp.yaml run.name=sim-asgd sync.rule=asgd transport.name=sim sim.order=lognormal || fail "asgd sim"
for free in "ssp sync.staleness_bound=-1" "ringmaster sync.delay_threshold=1000000"; do
  # shellcheck disable=SC2086
  "$TARDIGRAD" -q train mlp.yaml run.name=sim-free transport.name=sim sim.order=lognormal sync.rule=$free || fail "$free"
  [ "$(hash runs/sim-free)" = "$(hash runs/sim-asgd)" ] || fail "$free: not asgd to the bit"
done
# One worker is SGD, whatever carries it.
"$TARDIGRAD" -q train mlp.yaml run.name=sgd || fail sgd
for rule in ssgd asgd dc-asgd-c dc-asgd-a staleness-lr gap-aware xgrad ssp ssgd-backup ringmaster; do
  timeout 120 mpirun -n 2 "$TARDIGRAD" -q train mlp.yaml run.name=one-$rule sync.rule=$rule sync.backup_workers=0 || fail "one worker, $rule"
  [ "$(hash runs/one-$rule)" = "$(hash runs/sgd)" ] || fail "one worker, $rule: not SGD to the bit"
done
# One worker with a velocity of its own is Nesterov's momentum.
"$TARDIGRAD" -q train mlp.yaml run.name=nesterov optimizer.name=nesterov optimizer.weight_decay=1e-4 || fail nesterov
timeout 120 mpirun -n 2 "$TARDIGRAD" -q train mlp.yaml run.name=one-dana sync.rule=dana-slim optimizer.weight_decay=1e-4 || fail "one worker, dana-slim"
[ "$(hash runs/one-dana)" = "$(hash runs/nesterov)" ] || fail "one worker, dana-slim: not nesterov to the bit"
