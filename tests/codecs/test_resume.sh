#!/bin/bash
# Runs with codecs that are stopped or killed at any moment and resumed. In the simulator and in step
# they end with the weights of a run that nobody disturbed, to the bit; an asynchronous MPI run
# replays as a whole, so that what every worker had kept came back.
set -u
. "$(dirname "$0")/../support/shell.sh"
cat > mlp.yaml <<Y
run: {name: mlp, threads: 1}
data: {name: synthetic, train_limit: 4096, test_limit: 256}
model: {name: mlp, hidden: [128, 64]}
train: {batch: 32, epochs: 4}
optimizer: {lr: 0.005}
checkpoint: {every: 0.5, keep: 3}
metrics: {every: 10}
Y
T=("$TARDIGRAD" -q train mlp.yaml)
M=(mpirun -n 4 "$TARDIGRAD" -q train mlp.yaml)
S=(transport.name=sim sim.workers=3)
topk=(sync.codec=topk sync.codec_momentum=0.6 sync.codec_warmup_epochs=2)

"${T[@]}" run.name=sim sync.rule=dc-asgd-a "${topk[@]}" "${S[@]}" sim.order=lognormal || fail sim
"${T[@]}" run.name=step sync.rule=ssgd sync.codec=ecq "${S[@]}" || fail "in step"
until_done sim-killed KILL "${T[@]}" sync.rule=dc-asgd-a "${topk[@]}" "${S[@]}" sim.order=lognormal
[ "$(hash runs/sim-killed)" = "$(hash runs/sim)" ] || fail "sim after kills: other weights"
"$TARDIGRAD" -q replay runs/sim-killed || fail "sim after kills: replay"
until_done step-killed KILL "${M[@]}" sync.rule=ssgd sync.codec=ecq
[ "$(hash runs/step-killed)" = "$(hash runs/step)" ] || fail "ssgd after kills: other weights"
for share in true false; do
  until_done "async-$share" KILL "${M[@]}" sync.rule=dc-asgd-a "${topk[@]}" transport.shared_memory=$share
  "$TARDIGRAD" -q replay "runs/async-$share" || fail "mpi after kills: replay"
done
# Workers that a rule makes wait have nothing outstanding: what they keep is that of now.
until_done async-ssp KILL "${M[@]}" sync.rule=ssp sync.staleness_bound=1 "${topk[@]}"
"$TARDIGRAD" -q replay runs/async-ssp || fail "ssp after kills: replay"
until_done async-usr1 USR1 "${M[@]}" sync.rule=asgd sync.codec=ecq checkpoint.every=0
"$TARDIGRAD" -q replay runs/async-usr1 || fail "mpi after signals: replay"

# Another codec's state is not taken over.
"${T[@]}" run.name=sim sync.rule=dc-asgd-a sync.codec=ecq "${S[@]}" sim.order=lognormal resume=auto 2>/dev/null &&
  fail "resumed with another codec"
exit 0
