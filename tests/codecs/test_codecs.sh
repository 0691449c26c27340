#!/bin/bash
# Codecs as users meet them: every one under mpirun with every kind of rule, replayed or compared with
# the simulator to the bit; true bytes; what does not fit together is refused.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$(dirname "$0")/../support/shell.sh"
cat > mlp.yaml <<Y
run: {name: mlp, threads: 1}
data: {name: synthetic, train_limit: 4096, test_limit: 256}
model: {name: mlp, hidden: [64, 32]}
train: {batch: 32, epochs: 2}
optimizer: {lr: 0.002}
checkpoint: {every: 0.5, keep: 9}
Y
n=$("$TARDIGRAD" -q plan mlp.yaml --json 2>/dev/null | sed -nE 's/.*"parameters": ([0-9]+).*/\1/p')
# bytes RUN - of a worker and push, every worker's.
bytes() {
  sed -nE '/"kind": ?"worker"/s/.*"pushes": ?([0-9]+).*"bytes": ?([0-9]+).*/\2 \1/p' "$1/metrics.jsonl" |
    awk '{print $1 / $2}' | sort -u
}
# expect_bytes RUN BYTES
expect_bytes() { [ "$(bytes "$1")" = "$2" ] || fail "$1: $(bytes "$1" | tr '\n' ' ')bytes a push, expected $2"; }
declare -A size=([signsgd]=$((16 + (n + 7) / 8)) [topk]=$((16 + 8 * ((n + 50) / 100))))
for codec in signsgd qsgd ecq topk; do
  keys=("sync.codec=$codec" sync.codec_momentum=0.5)
  timeout 120 mpirun -n 4 "$TARDIGRAD" -q train mlp.yaml "run.name=$codec" sync.rule=dc-asgd-a "${keys[@]}" \
    transport.shared_memory=false run.piece_bytes=65536 || fail "$codec: mpi"
  timeout 120 "$TARDIGRAD" -q replay "runs/$codec" --dump dump.jsonl || fail "$codec: replay"
  timeout 120 mpirun -n 4 "$TARDIGRAD" -q train mlp.yaml "run.name=$codec-step" sync.rule=ssgd "${keys[@]}" || fail "$codec: ssgd over mpi"
  "$TARDIGRAD" -q train mlp.yaml "run.name=$codec-sim" sync.rule=ssgd "${keys[@]}" transport.name=sim sim.workers=3 || fail "$codec: ssgd in sim"
  [ "$(hash "runs/$codec-step")" = "$(hash "runs/$codec-sim")" ] || fail "$codec: ssgd: mpi and sim differ"
  [ -z "${size[$codec]:-}" ] && continue
  expect_bytes "runs/$codec" $((size[$codec] + 4 * n))
  expect_bytes "runs/$codec-step" $((5 * size[$codec]))
  expect_bytes "runs/$codec-sim" $((5 * size[$codec]))
done
for momentum in 0 0.9; do
  timeout 120 mpirun -n 4 "$TARDIGRAD" -q train mlp.yaml run.name=vote sync.rule=signsgd sync.codec_momentum=$momentum || fail "vote over mpi"
  "$TARDIGRAD" -q train mlp.yaml run.name=vote-sim sync.rule=signsgd sync.codec_momentum=$momentum transport.name=sim sim.workers=3 || fail "vote in sim"
  [ "$(hash runs/vote)" = "$(hash runs/vote-sim)" ] || fail "vote: mpi and sim differ"
  expect_bytes runs/vote $((2 * size[signsgd]))
done
# A network with batch norm and its own statistics.
timeout 120 mpirun -n 3 "$TARDIGRAD" -q train mlp.yaml run.name=resnet model.name=resnet20 data.train_limit=256 \
  train.epochs=1 sync.rule=asgd sync.codec=topk sync.codec_momentum=0.9 optimizer.lr=0.01 || fail resnet
"$TARDIGRAD" -q replay runs/resnet || fail "resnet: replay"
# Everything sent and masked is no codec at all, to the bit.
"$TARDIGRAD" -q train mlp.yaml run.name=all sync.rule=asgd transport.name=sim sync.codec=topk sync.codec_fraction=1 sync.codec_momentum=0.9 || fail all
"$TARDIGRAD" -q train mlp.yaml run.name=none sync.rule=asgd transport.name=sim || fail none
[ "$(hash runs/all)" = "$(hash runs/none)" ] || fail "topk of everything: other weights than without a codec"

# planned KEY... - bytes of a push; its header is the same with and without a codec.
planned() { "$TARDIGRAD" -q plan mlp.yaml sync.rule=asgd "$@" --json 2>/dev/null | sed -nE 's/.*"push_bytes": ([0-9]+).*/\1/p'; }
[ $(($(planned) - $(planned sync.codec=signsgd))) = $((4 * n - size[signsgd])) ] || fail "plan: $(planned sync.codec=signsgd) bytes a push"
[ "$("$TARDIGRAD" list codecs | wc -l)" = 5 ] || fail "list codecs"

# What does not fit together: one line, 78.
refused() { # PATTERN KEYS...
  local pattern=$1 out rc; shift
  out=$("$TARDIGRAD" -q train mlp.yaml run.name=refused "$@" 2>&1 >/dev/null); rc=$?
  [ $rc = 78 ] || fail "$*: exit $rc, expected 78: $out"
  grep -qE -- "$pattern" <<<"$out" && [ "$(grep -c . <<<"$out")" = 1 ] || fail "$*: $out"
}
sim=(transport.name=sim)
refused "no codec 'tokp'; did you mean 'topk'" "${sim[@]}" sync.rule=asgd sync.codec=tokp
refused 'sync.codec=qsgd: sync.rule=sgd sends nothing' sync.rule=sgd sync.codec=qsgd
refused 'sync.codec=topk: workers of sync.rule=easgd send weights' "${sim[@]}" sync.rule=easgd sync.codec=topk
refused 'sync.codec=none: sync.rule=signsgd counts signs: sync.codec=signsgd' "${sim[@]}" sync.rule=signsgd sync.codec=none
refused 'sync.codec_fraction' "${sim[@]}" sync.rule=asgd sync.codec=topk sync.codec_fraction=0
refused 'sync.codec_fraction' "${sim[@]}" sync.rule=asgd sync.codec=topk sync.codec_fraction=1.5
refused 'sync.codec_levels' "${sim[@]}" sync.rule=asgd sync.codec=qsgd sync.codec_levels=0
refused 'sync.codec_bucket' "${sim[@]}" sync.rule=asgd sync.codec=qsgd sync.codec_bucket=0
refused 'sync.codec_masking' "${sim[@]}" sync.rule=asgd sync.codec=topk sync.codec_masking=maybe
[ ! -e runs/refused ] || fail "a refused run left a folder"

# The example configurations.
for config in signsgd asgd-topk; do
  "$TARDIGRAD" -q plan "$root/configs/fashion-mlp-$config.yaml" data.name=synthetic >/dev/null 2>&1 || fail "configs/fashion-mlp-$config.yaml"
done
exit 0
