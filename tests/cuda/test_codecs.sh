#!/bin/bash
# DEVICE: yes. Codecs with gradients of a device: they are encoded on the host, wherever updates are
# made, and runs repeat and replay to the bit. Without a GPU: the fake device.
set -u
. "$(dirname "$0")/../support/shell.sh"
device=${TARDIGRAD_TEST_DEVICE:-fake}
cat > mlp.yaml <<Y
run: {threads: 1}
data: {name: synthetic, train_limit: 384, test_limit: 100}
model: {name: mlp, hidden: [17]}
train: {batch: 32, epochs: 2, eval_batch: 64}
optimizer: {name: momentum, lr: 0.01}
sync: {codec_momentum: 0.5, codec_fraction: 0.05}
transport: {name: sim}
sim: {workers: 2, order: lognormal}
checkpoint: {every: 0.5, keep: 3}
Y
train() { timeout 300 "$TARDIGRAD" -q train mlp.yaml device.name="$device" "$@"; }
mpi() { timeout 300 mpirun -n 3 "$TARDIGRAD" -q train mlp.yaml device.name="$device" transport.name=mpi "$@"; }
same() { # A B WHAT
  local a b; a=$(hash "runs/$1"); b=$(hash "runs/$2")
  [ -n "$a" ] || fail "$3: runs/$1 did not end"
  [ "$a" = "$b" ] || fail "$3: weights $a and $b"
}
out=$(train run.name=probe train.epochs=0 2>&1); rc=$?
[ $rc != 69 ] || skip "cuda: $(tail -n 1 <<<"$out")"
[ $rc = 0 ] || fail "device $device: exit $rc: $out"

for codec in signsgd qsgd ecq topk; do
  train sync.rule=dc-asgd-a sync.codec=$codec run.name=$codec || fail "$codec"
  train sync.rule=dc-asgd-a sync.codec=$codec run.name=$codec-host server.device=cpu || fail "$codec, updates on the host"
  train sync.rule=dc-asgd-a sync.codec=$codec run.name=$codec-there server.device="$device" || fail "$codec, updates on the device"
  same $codec $codec-host "$codec, updates on the host"
  same $codec $codec-there "$codec, updates on the device"
  timeout 300 "$TARDIGRAD" -q replay runs/$codec-there || fail "$codec: replay"
  mpi sync.rule=dc-asgd-a sync.codec=$codec run.name=$codec-mpi || fail "$codec: mpi"
  timeout 300 "$TARDIGRAD" -q replay runs/$codec-mpi || fail "$codec: mpi, replay"
done
# In step; devices that could sum by themselves do not.
case $device:${TARDIGRAD_CUDA_PLUGIN:-} in cuda:*emulated.so) export TARDIGRAD_EMULATOR_DEVICES=2 ;; esac
for keys in "sync.rule=signsgd" "sync.rule=ssgd sync.codec=topk"; do
  name=${keys##*=}
  # shellcheck disable=SC2086
  train $keys run.name="$name-sim" || fail "$keys: sim"
  # shellcheck disable=SC2086
  mpi $keys run.name="$name-step" || fail "$keys: mpi"
  same "$name-sim" "$name-step" "$keys: mpi and the simulator"
done
exit 0
