#!/bin/bash
# Every optimiser in real runs: recorded MPI runs replay to the bit, ssgd over MPI is the simulator's,
# runs continued from a checkpoint end with the weights of one that was never cut, all of them learn,
# and the plan counts their state.
set -u
. "$(dirname "$0")/../support/shell.sh"
cat > mlp.yaml <<Y
run: {name: mlp, threads: 1, piece_bytes: 4096}
data: {name: synthetic, train_limit: 2048, test_limit: 256}
model: {name: mlp, hidden: [64, 32]}
train: {batch: 32, epochs: 3}
optimizer: {weight_decay: 1e-4, k: 3, alpha_warmup: 64, beta3_warmup: 64}
sync: {cap: 1}
checkpoint: {every: 0.5, keep: 9}
metrics: {tensorboard: false}
Y
# NAME LEARNING_RATE; lookahead is tried around another as well.
table="momentum 0.005
adam 0.001
amsgrad 0.001
adamw 0.001
ademamix 0.0005
diffgrad 0.001
lookahead 0.05
lookahead-adam 0.002
lars 5
lamb 0.005
shampoo 0.05"
learned() { # RUN - an error of chance is 90 %
  python3 - "$1" <<'P' || fail "$1: did not learn"
import json, sys
end = [json.loads(line) for line in open(f"runs/{sys.argv[1]}/metrics.jsonl")][-1]
assert end["kind"] == "end" and end["error"] < 30, end
P
}
# Continues a copy of the run from its middle, as `launch` starts it.
launch=("$TARDIGRAD")
continued() { # RUN KEYS...
  local run=$1 copy=$1-cut; shift
  cp -r "runs/$run" "runs/$copy"
  local all; all=$(find "runs/$run/checkpoints" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort -n)
  local count; count=$(wc -l <<<"$all")
  [ "$count" -ge 5 ] || fail "$run: $count checkpoints"
  for update in $(tail -n $((count / 2)) <<<"$all"); do rm -r "runs/$copy/checkpoints/$update"; done
  "${launch[@]}" -q train mlp.yaml "run.name=$copy" "$@" resume=auto || fail "$copy: resuming"
  [ "$(hash "runs/$copy")" = "$(hash "runs/$run")" ] || fail "$copy: other weights than $run"
}
while read -r -u 3 name lr; do # mpirun reads what the standard input has
  keys=("optimizer.name=${name%%-*}" "optimizer.lr=$lr")
  [ "${name%%-*}" = "$name" ] || keys+=("optimizer.inner=${name#*-}")
  T=("$TARDIGRAD" -q train mlp.yaml "${keys[@]}")
  M=(timeout 120 mpirun -n 4 "${T[@]}")
  "${T[@]}" "run.name=$name-sim" sync.rule=dc-asgd-a transport.name=sim sim.order=lognormal || fail "$name: sim"
  "$TARDIGRAD" -q replay "runs/$name-sim" || fail "$name: replay of sim"
  learned "$name-sim"
  continued "$name-sim" "${keys[@]}" sync.rule=dc-asgd-a transport.name=sim sim.order=lognormal
  "${M[@]}" "run.name=$name-mpi" sync.rule=dc-asgd-a || fail "$name: mpi"
  "$TARDIGRAD" -q replay "runs/$name-mpi" || fail "$name: replay of mpi"
  learned "$name-mpi"
  "${T[@]}" "run.name=$name-one" || fail "$name: one process"
  learned "$name-one"
  continued "$name-one" "${keys[@]}"
  "${T[@]}" "run.name=$name-ssgd" sync.rule=ssgd transport.name=sim sim.workers=3 || fail "$name: ssgd"
  "${M[@]}" "run.name=$name-ranks" sync.rule=ssgd || fail "$name: ssgd over mpi"
  [ "$(hash "runs/$name-ssgd")" = "$(hash "runs/$name-ranks")" ] || fail "$name: ssgd differs over mpi"
  [ "$name" = shampoo ] || continue
  launch=(timeout 120 mpirun -n 4 "$TARDIGRAD")
  continued "$name-ranks" "${keys[@]}" sync.rule=ssgd
done 3<<<"$table"

# Gradients and weights in messages: pieces arrive one by one, weights leave when all are there.
for name in adam lamb; do
  timeout 120 mpirun -n 4 "$TARDIGRAD" -q train mlp.yaml run.name=$name-sent optimizer.name=$name optimizer.lr=0.005 \
    sync.rule=asgd transport.shared_memory=false || fail "$name: messages"
  "$TARDIGRAD" -q replay runs/$name-sent || fail "$name: replay of messages"
done
# Batch norm's parameters are no weights, convolutions are matrices.
for name in lars lamb shampoo; do
  "$TARDIGRAD" -q train mlp.yaml run.name=resnet-$name optimizer.name=$name model.name=resnet20 train.batch=8 \
    data.train_limit=48 train.epochs=1 sync.rule=asgd transport.name=sim sim.workers=2 || fail "$name: resnet20"
  "$TARDIGRAD" -q replay runs/resnet-$name || fail "$name: replay of resnet20"
done

# The plan counts state: 4 bytes per parameter and vector.
python3 - "$TARDIGRAD" <<'P' || fail "the plan does not count the optimizers' state"
import json, subprocess, sys
def plan(name, *keys):
    out = subprocess.run([sys.argv[1], "-q", "plan", "mlp.yaml", "--json", "sync.rule=asgd", f"optimizer.name={name}", "model.hidden=2048,2048", *keys],
                         check=True, capture_output=True, text=True).stdout
    return json.loads(out)
base, n = plan("sgd")["memory_bytes"]["server"], plan("sgd")["parameters"]
for name, vectors, more in (("momentum", 1, ()), ("adam", 2, ()), ("ademamix", 3, ()), ("lars", 2, ()), ("lamb", 3, ()),
                            ("lookahead", 1, ()), ("lookahead", 3, ("optimizer.inner=adam",))):
    extra = plan(name, *more)["memory_bytes"]["server"] - base
    # Within what the program itself varies by from one start to the next.
    assert abs(extra - 4 * n * vectors) < 0.2 * 4 * n, (name, extra / (4 * n))
P

# Every worker of ad-psgd has an optimiser of its own, whose first update is its own first: without a
# learning rate nothing moves.
for name in sgd lookahead; do
  "$TARDIGRAD" -q train mlp.yaml run.name=still-$name transport.name=sim sync.rule=ad-psgd optimizer.name=$name optimizer.lr=0 optimizer.k=2 train.epochs=1 || fail "ad-psgd with $name"
done
[ "$(hash runs/still-lookahead)" = "$(hash runs/still-sgd)" ] || fail "ad-psgd: lookahead moved weights without a learning rate"
# An MPI run with a device's gradients and updates on the host replays.
timeout 120 mpirun -n 3 "$TARDIGRAD" -q train mlp.yaml run.name=lars-device sync.rule=asgd transport.name=mpi optimizer.name=lars optimizer.lr=1 device.name=fake || fail "lars, gradients of a device"
timeout 120 "$TARDIGRAD" -q replay runs/lars-device || fail "lars, gradients of a device: replay"
# What cannot be is said in one line, with exit code 78.
refused() { # PATTERN KEYS...
  local pattern=$1 out rc; shift
  out=$("$TARDIGRAD" -q train mlp.yaml run.name=bad "$@" 2>&1); rc=$?
  [ $rc = 78 ] && [ "$(wc -l <<<"$out")" = 1 ] && grep -q "$pattern" <<<"$out" || fail "$*: exit $rc, $out"
}
refused 'optimizer.inner=lamb: lookahead wraps' optimizer.name=lookahead optimizer.inner=lamb
refused "no optimizer 'addam'; did you mean 'adam'" optimizer.name=lookahead optimizer.inner=addam
refused 'optimizer.alpha=2: lookahead wants 0 to 1' optimizer.name=lookahead optimizer.alpha=2
refused 'optimizer.beta1: 1 is out of range' optimizer.name=adam optimizer.beta1=1
refused 'optimizer.epsilon: 0 is out of range' optimizer.name=adam optimizer.epsilon=0
refused 'optimizer.name=lars.*server.device=cpu' optimizer.name=lars device.name=fake
"$TARDIGRAD" -q train mlp.yaml run.name=lars-beside optimizer.name=lars optimizer.lr=5 device.name=fake server.device=cpu || fail "lars beside a device"
[ "$(hash runs/lars-beside)" = "$(hash runs/lars-one)" ] || fail "lars beside a device: other weights"
exit 0
