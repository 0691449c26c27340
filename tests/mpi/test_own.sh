#!/bin/bash
# Workers with weights of their own: mpirun and the simulator agree to the bit, ad-psgd replays, and
# runs that are killed or stopped go on as if nothing had happened.
set -u
. "$(dirname "$0")/../support/shell.sh"
cat > mlp.yaml <<Y
run: {name: mlp, threads: 1}
data: {name: synthetic, train_limit: 4096, test_limit: 256}
model: {name: mlp, hidden: [64, 32]}
train: {batch: 32, epochs: 3}
optimizer: {name: momentum, lr: 0.005, schedule: [{epoch: 2, factor: 0.1}]}
checkpoint: {every: 0.7, keep: 9}
metrics: {every: 10}
Y
sim() { timeout 300 "$TARDIGRAD" -q train mlp.yaml transport.name=sim "$@"; }
mpi() { timeout 300 mpirun -n 5 "$TARDIGRAD" -q train mlp.yaml "$@"; }
same() { # A B
  local a b; a=$(hash "runs/$1"); b=$(hash "runs/$2")
  [ -n "$a" ] && [ "$a" = "$b" ] || fail "runs $1 and $2: weights '$a' and '$b'"
}
# both NAME KEYS... - mpi and sim give the same weights.
both() {
  local name=$1; shift
  mpi "$@" "run.name=$name-mpi" || fail "$name over mpi"
  sim "$@" "run.name=$name-sim" || fail "$name in the simulator"
  same "$name-mpi" "$name-sim"
}
both local sync.rule=local-sgd
both adaptive sync.rule=local-sgd sync.local_growth=0.02 sync.local_steps=2 sync.clip_norm=0.5
both post sync.rule=post-local-sgd sync.local_after=1.1 optimizer.name=nesterov
both ring sync.rule=d-psgd chaos.nan_gradient_at=3
both complete sync.rule=d-psgd sync.mixing=adapt_combine sync.topology=complete run.piece_bytes=4096
both resnet sync.rule=d-psgd model.name=resnet20 data.train_limit=512 data.augment=crop_flip train.epochs=1 optimizer.schedule=
[ "$(hash runs/local-mpi)" != "$(hash runs/post-mpi)" ] || fail "post-local-sgd is local-sgd"
# With everybody a neighbour after each gradient D-PSGD is local SGD of one step.
sim run.name=one-step sync.rule=local-sgd sync.local_steps=1 || fail "one step"
same one-step complete-sim

mpi run.name=gossip sync.rule=ad-psgd || fail "ad-psgd over mpi"
"$TARDIGRAD" -q replay runs/gossip --dump gossip.jsonl || fail "ad-psgd: replay"
[ "$(wc -l < gossip.jsonl)" = 384 ] && grep -q '"partner": ' gossip.jsonl || fail "ad-psgd: the dump"
sim run.name=follows sync.rule=ad-psgd sim.order=trace sim.trace=runs/gossip/trace.bin || fail "ad-psgd along a trace"
same gossip follows
mpi run.name=gossip-resnet sync.rule=ad-psgd sync.topology=complete model.name=resnet20 data.train_limit=512 \
  train.epochs=1 optimizer.schedule= chaos.nan_gradient_at=2 || fail "ad-psgd, resnet20"
"$TARDIGRAD" -q replay runs/gossip-resnet || fail "ad-psgd, resnet20: replay"

# Killed or stopped again and again.
long=(train.epochs=6 checkpoint.every=0.5)
M=(mpirun -n 5 "$TARDIGRAD" -q train mlp.yaml "${long[@]}")
sim "${long[@]}" sync.rule=local-sgd run.name=local-whole || fail "local-sgd, whole"
until_done local-killed KILL "${M[@]}" sync.rule=local-sgd
same local-whole local-killed
sim "${long[@]}" sync.rule=d-psgd run.name=ring-whole || fail "d-psgd, whole"
until_done ring-stopped USR1 "${M[@]}" sync.rule=d-psgd
same ring-whole ring-stopped
sim "${long[@]}" sync.rule=ad-psgd sim.order=lognormal run.name=gossip-whole || fail "ad-psgd, whole"
until_done gossip-sim KILL "$TARDIGRAD" -q train mlp.yaml transport.name=sim "${long[@]}" sync.rule=ad-psgd sim.order=lognormal
same gossip-whole gossip-sim
for signal in KILL USR1; do
  until_done gossip-$signal $signal "${M[@]}" sync.rule=ad-psgd
  "$TARDIGRAD" -q replay runs/gossip-$signal || fail "ad-psgd after SIG$signal: replay"
done

# What makes no sense is said in one line.
refused() { # WHY KEYS...
  local why=$1 out rc; shift
  out=$(sim run.name=refused "$@" 2>&1); rc=$?
  [ $rc = 78 ] || fail "$*: exit $rc: $out"
  [ "$(wc -l <<<"$out")" = 1 ] && grep -q "$why" <<<"$out" || fail "$*: '$out' does not say '$why'"
}
refused 'sync.average=scaled' sync.rule=local-sgd sync.average=scaled
refused 'sync.local_after is not set' sync.rule=post-local-sgd optimizer.schedule=
refused 'sync.local_steps' sync.rule=local-sgd sync.local_steps=0
refused 'server.device=fake' sync.rule=ad-psgd server.device=fake
refused 'sync.topology' sync.rule=d-psgd sync.topology=star
exit 0
