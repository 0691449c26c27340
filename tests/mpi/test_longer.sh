#!/bin/bash
# Runs made longer after their end, or on their way, and runs that diverged and went on, replay to the
# last checkpoint, over MPI and simulated.
set -u
. "$(dirname "$0")/../support/shell.sh"
cat > mlp.yaml <<Y
run: {threads: 1}
data: {name: synthetic, train_limit: 1024, test_limit: 64}
model: {name: mlp, hidden: [16]}
train: {batch: 16, epochs: 2}
optimizer: {lr: 0.01}
checkpoint: {every: 0.4, keep: 50}
sim: {workers: 3, order: lognormal}
metrics: {tensorboard: false}
Y
train() { # TRANSPORT NAME KEYS...
  local launch=() transport=$1 name=$2; shift 2
  [ "$transport" = sim ] || launch=(timeout 300 mpirun -n 4)
  "${launch[@]}" "$TARDIGRAD" -q train mlp.yaml transport.name="$transport" run.name="$name" "$@" 2> words
}
newest() { find "runs/$1/checkpoints" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort -n | tail -n 1; }
replays() { # NAME UPDATES
  "$TARDIGRAD" replay "runs/$1" 2> words || fail "$1: replay: $(cat words)"
  grep -q "replay agrees: $2 updates" words || fail "$1: $(cat words), not $2 updates"
}
# longer TRANSPORT NAME KEYS... - to its end, and twice on from there.
longer() {
  local transport=$1 name=$2-$1; shift 2
  train "$transport" "$name" "$@" || fail "$name: $(cat words)"
  train "$transport" "$name" "$@" train.epochs=3 resume=auto || fail "$name, longer: $(cat words)"
  replays "$name" "$(newest "$name")"
  train "$transport" "$name" "$@" train.epochs=4 checkpoint.keep=1 resume=auto || fail "$name, twice: $(cat words)"
  replays "$name" "$(newest "$name")"
}
# diverged TRANSPORT NAME KEYS... - replays where it ended, and when it has gone on.
diverged() {
  local transport=$1 name=$2-diverged-$1 rc; shift 2
  train "$transport" "$name" "$@" chaos.nan_gradient_at=20 train.max_nonfinite=1; rc=$?
  [ $rc = 3 ] || fail "$name: exit $rc: $(cat words)"
  replays "$name" "$(newest "$name")"
  train "$transport" "$name" "$@" chaos.nan_gradient_at=20 train.max_nonfinite=9 train.epochs=3 resume=auto ||
    fail "$name, on: $(cat words)"
  replays "$name" "$(newest "$name")"
}
for transport in sim mpi; do
  longer $transport asgd sync.rule=asgd
  longer $transport schedule sync.rule=dc-asgd-a optimizer.name=ademamix optimizer.lr=0.001
  longer $transport coded sync.rule=asgd sync.codec=topk
  longer $transport held sync.rule=ssp sync.staleness_bound=1
  longer $transport dropped sync.rule=ringmaster sync.delay_threshold=2
  longer $transport gossip sync.rule=ad-psgd
  diverged $transport asgd sync.rule=asgd sync.codec=topk
  diverged $transport held sync.rule=ssgd-backup
  diverged $transport gossip sync.rule=ad-psgd
done
# On its way: as if killed after some checkpoint, and made longer with the same messages.
train mpi way sync.rule=dc-asgd-a optimizer.name=ademamix || fail "way: $(cat words)"
for c in runs/way/checkpoints/*; do [ "${c##*/}" -le 60 ] || rm -r "$c"; done
train mpi way sync.rule=dc-asgd-a optimizer.name=ademamix train.epochs=3 resume=auto || fail "way, longer: $(cat words)"
replays way 192
# What was done cannot be taken back.
train sim asgd-sim sync.rule=asgd train.epochs=1 resume=auto; [ $? = 78 ] || fail "shorter: $(cat words)"
replays asgd-sim 256
exit 0
