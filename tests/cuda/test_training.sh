#!/bin/bash
# DEVICE: yes. The program on a device: every rule twice, updates there and on the host, over MPI and
# replayed, stopped and resumed: the same weights to the bit. What it says where there is no GPU.
set -u
. "$(dirname "$0")/../support/shell.sh"
device=${TARDIGRAD_TEST_DEVICE:-fake}
cat > mlp.yaml <<Y
run: {threads: 1}
data: {name: synthetic, train_limit: 384, test_limit: 100, augment: crop_flip}
model: {name: mlp, hidden: [17]}
train: {batch: 32, epochs: 2, eval_batch: 64}
optimizer: {name: momentum, lr: 0.01, weight_decay: 1e-4}
transport: {name: sim}
sim: {workers: 3, order: lognormal}
checkpoint: {every: 0.5, keep: 3}
Y
train() { timeout 300 "$TARDIGRAD" -q train mlp.yaml device.name="$device" "$@"; }
# same A B WHAT - two finished runs have the same weights.
same() {
  local a b; a=$(hash "runs/$1"); b=$(hash "runs/$2")
  [ -n "$a" ] || fail "$3: runs/$1 did not end"
  [ "$a" = "$b" ] || fail "$3: weights $a and $b"
}

# No device: one line that says why, and exit 69. auto goes on without it, and says why too.
# refused WHY VARIABLE=VALUE...
refused() {
  local why=$1 out rc; shift
  out=$(env "$@" "$TARDIGRAD" -q train mlp.yaml device.name=cuda run.name=refused 2>&1); rc=$?
  [ $rc = 69 ] || fail "$*: exit $rc, expected 69: $out"
  [ "$(wc -l <<<"$out")" = 1 ] || fail "$*: more than one line: $out"
  grep -q "device cuda: .*$why" <<<"$out" || fail "$*: '$out' does not say '$why'"
  out=$(env "$@" "$TARDIGRAD" train mlp.yaml device.name=auto run.name=auto train.epochs=0 2>&1) || fail "auto, $*: $out"
  grep -q "computing on cpu.*auto: device cuda: .*$why" <<<"$out" || fail "auto, $*: '$out' does not say '$why'"
}
refused nonexistent TARDIGRAD_CUDA_PLUGIN=/nonexistent/libtardigrad_cuda.so
[ ! -e "${BUILD:-none}/libtardigrad_cuda_emulated.so" ] ||
  refused 'no CUDA-capable device' TARDIGRAD_CUDA_PLUGIN="$BUILD/libtardigrad_cuda_emulated.so" TARDIGRAD_EMULATOR_DEVICES=0
out=$(train run.name=probe train.epochs=0 2>&1); rc=$?
[ $rc != 69 ] || skip "cuda: $(tail -n 1 <<<"$out")"
[ $rc = 0 ] || fail "device $device: exit $rc: $out"

# rule NAME - sets `keys`: that rule, and plain SGD where it makes the step itself.
rule() {
  keys=(sync.rule="$1")
  case $1 in dana-slim | dave-rpg | easgd) keys+=(optimizer.name=sgd sync.local_steps=2) ;; esac
}

# Runs repeat; and updates on the host are those on the device.
for rule in sgd ssgd asgd dc-asgd-c dc-asgd-a staleness-lr gap-aware dana-slim xgrad dave-rpg easgd ssp ssgd-backup ringmaster; do
  rule $rule
  for run in once again host; do
    where=auto; [ $run != host ] || where=cpu
    train "${keys[@]}" run.name=$rule-$run server.device=$where || fail "$rule, $run"
  done
  same $rule-once $rule-again "$rule, two runs"
  same $rule-once $rule-host "$rule, updates on the host"
done
[ "$(hash runs/asgd-once)" != "$(hash runs/dc-asgd-a-once)" ] || fail "dc-asgd-a corrects nothing"
# Every optimiser likewise; those of whole tensors work on the host, and say so on a GPU.
for optimizer in nesterov adam amsgrad adamw ademamix diffgrad lookahead lookahead-adam; do
  keys=(optimizer.name="${optimizer%-*}" optimizer.inner="${optimizer#*-}" optimizer.lr=0.002 optimizer.k=3)
  [ "$optimizer" != "${optimizer%-*}" ] || keys[1]=optimizer.inner=momentum
  for where in auto cpu; do
    train sync.rule=dc-asgd-a "${keys[@]}" run.name="$optimizer-$where" server.device=$where || fail "$optimizer, $where"
  done
  same "$optimizer-auto" "$optimizer-cpu" "$optimizer, updates on the host"
done
for optimizer in lars lamb shampoo; do
  out=$(train sync.rule=asgd optimizer.name=$optimizer run.name=$optimizer 2>&1); rc=$?
  [ $rc = 78 ] && grep -q "$optimizer.*server.device=cpu" <<<"$out" || fail "$optimizer on $device: exit $rc: $out"
  train sync.rule=asgd optimizer.name=$optimizer run.name=$optimizer server.device=cpu || fail "$optimizer on the host"
done
# Those in path space work there.
for optimizer in gsgd gsgd-momentum gsgd-rmsprop gsgd-adam; do
  keys=(optimizer.name="$optimizer" optimizer.lr=0.002 'model.hidden=17,17')
  case $optimizer in
    gsgd) keys+=(sync.rule=ssgd) ;;
    gsgd-momentum) keys+=(sync.rule=dc-asgd-a sync.compensation=paths) ;;
    gsgd-rmsprop) keys+=(sync.rule=dc-asgd-c optimizer.gsgd.norm=published) ;;
    *) keys+=(sync.rule=asgd optimizer.gsgd.clamp=0.9) ;;
  esac
  for where in auto cpu; do
    train "${keys[@]}" run.name="$optimizer-$where" server.device=$where || fail "$optimizer, $where"
  done
  same "$optimizer-auto" "$optimizer-cpu" "$optimizer, updates on the host"
done
# Gradients of the cpu, updates on the device.
for where in cpu "$device"; do
  train sync.rule=dc-asgd-a device.name=cpu server.device="$where" run.name=updates-"$where" || fail "updates on $where"
done
same updates-cpu updates-"$device" "updates on the device alone"
for run in once again; do
  train sync.rule=dc-asgd-a device.precision=bf16 run.name=bf16-$run || fail "bf16, $run"
  train sync.rule=asgd model.name=resnet20 data.train_limit=64 data.test_limit=16 train.batch=8 sim.workers=2 \
    train.epochs=1 run.name=resnet20-$run || fail "resnet20, $run"
done
same bf16-once bf16-again "bf16, two runs"
same resnet20-once resnet20-again "resnet20, two runs"
timeout 100 "$TARDIGRAD" -q eval runs/sgd-once >eval.txt || fail "eval"

# Over MPI, workers share the device: an asynchronous run replays to the bit, a synchronous one of
# two workers is the simulated one (a sum of two is the same in either order).
mpi() { timeout 300 mpirun -n 3 "$TARDIGRAD" -q train mlp.yaml device.name="$device" transport.name=mpi "$@"; }
for rule in asgd dc-asgd-a easgd; do
  rule $rule
  mpi "${keys[@]}" run.name=mpi-$rule || fail "mpi, $rule"
  timeout 300 "$TARDIGRAD" -q replay runs/mpi-$rule || fail "mpi, $rule: replay"
done
for rule in dc-asgd-a xgrad easgd; do
  rule $rule
  mpi "${keys[@]}" server.device="$device" run.name=mpi-server-$rule || fail "mpi, the server on the device, $rule"
  timeout 300 "$TARDIGRAD" -q replay runs/mpi-server-$rule || fail "mpi, the server on the device, $rule: replay"
done
mpi sync.rule=dc-asgd-a transport.shared_memory=false run.piece_bytes=4096 run.name=mpi-pieces || fail "mpi, in pieces"
timeout 300 "$TARDIGRAD" -q replay runs/mpi-pieces || fail "mpi, in pieces: replay"
keys=(optimizer.name=gsgd-momentum sync.rule=dc-asgd-a sync.compensation=paths server.device="$device" run.piece_bytes=4096)
mpi "${keys[@]}" transport.shared_memory=false run.name=mpi-paths || fail "mpi, the server on the device, in path space"
timeout 300 "$TARDIGRAD" -q replay runs/mpi-paths || fail "mpi, the server on the device, in path space: replay"
mpi sync.rule=ssgd-backup server.device="$device" run.name=mpi-rounds || fail "mpi, rounds on the device"
timeout 300 "$TARDIGRAD" -q replay runs/mpi-rounds || fail "mpi, rounds on the device: replay"
mpi sync.rule=ssgd run.name=mpi-ssgd || fail "mpi, ssgd"
train sync.rule=ssgd sim.workers=2 run.name=sim-ssgd || fail "sim, ssgd"
same mpi-ssgd sim-ssgd "ssgd over mpi and in the simulator"

# Workers with weights of their own keep them on the host, whatever computes their gradients.
for rule in local-sgd d-psgd ad-psgd; do
  for run in once again; do train sync.rule=$rule run.name=$rule-$run || fail "$rule, $run"; done
  same $rule-once $rule-again "$rule, two runs"
done
for rule in local-sgd d-psgd; do
  mpi sync.rule=$rule run.name=mpi-$rule || fail "mpi, $rule"
  train sync.rule=$rule sim.workers=2 run.name=sim-$rule || fail "sim, $rule"
  same mpi-$rule sim-$rule "$rule over mpi and in the simulator"
done
mpi sync.rule=ad-psgd run.name=mpi-ad-psgd || fail "mpi, ad-psgd"
timeout 300 "$TARDIGRAD" -q replay runs/mpi-ad-psgd || fail "mpi, ad-psgd: replay"

# Stopped by SIGTERM and resumed: nobody could tell.
for rule in sgd dc-asgd-a easgd xgrad; do
  rule $rule
  train "${keys[@]}" train.epochs=40 run.name=$rule-whole || fail "$rule, whole"
  "$TARDIGRAD" -q train mlp.yaml device.name="$device" "${keys[@]}" train.epochs=40 run.name=$rule-stopped & pid=$!
  for ((nap = 0; nap < 600; nap++)); do
    compgen -G "runs/$rule-stopped/checkpoints/[1-9]*" >/dev/null && break
    sleep 0.05
  done
  kill -TERM $pid 2>/dev/null; wait $pid; rc=$?
  [ $rc = 75 ] || fail "$rule: SIGTERM: exit $rc, expected 75"
  train "${keys[@]}" train.epochs=40 run.name=$rule-stopped resume=auto || fail "$rule: resuming"
  same $rule-whole $rule-stopped "$rule, stopped and resumed"
done

# Synchronous workers with a GPU each sum their gradients themselves, but for those that are clipped.
case $device:${TARDIGRAD_CUDA_PLUGIN:-} in
  cuda:*emulated.so) export TARDIGRAD_EMULATOR_DEVICES=2; gpus=2 ;;
  cuda:*) gpus=$(nvidia-smi -L 2>/dev/null | grep -c ^GPU) ;;
  *) gpus=0 ;;
esac
[ "$gpus" -ge 2 ] || { echo "NCCL wants two GPUs: not tested"; exit 0; }
# summed NAME BY KEYS...
summed() {
  local name=$1 by=$2 out; shift 2
  out=$(timeout 300 mpirun -n 3 "$TARDIGRAD" train mlp.yaml device.name=cuda transport.name=mpi sync.rule=ssgd "run.name=$name" "$@" 2>&1) || fail "$name: $out"
  grep -q "gradients are summed by $by" <<<"$out" || fail "$name: not by $by: $out"
}
summed nccl NCCL
same nccl sim-ssgd "ssgd by NCCL and in the simulator"
summed nccl-parts NCCL train.epochs=1
summed nccl-parts NCCL resume=auto
same nccl nccl-parts "ssgd by NCCL, stopped and resumed"
summed clipped "MPI: sync.clip_norm" sync.clip_norm=0.5
train sync.rule=ssgd sim.workers=2 sync.clip_norm=0.5 run.name=sim-clipped || fail "sim, clipped"
same clipped sim-clipped "ssgd, clipped, over mpi and in the simulator"
summed gsgd NCCL optimizer.name=gsgd
train sync.rule=ssgd sim.workers=2 optimizer.name=gsgd server.device=cpu run.name=sim-gsgd || fail "sim, gsgd"
same gsgd sim-gsgd "ssgd with gsgd by NCCL and in the simulator"
summed lars "MPI: the optimizer works on whole tensors" optimizer.name=lars
train sync.rule=ssgd sim.workers=2 optimizer.name=lars server.device=cpu run.name=sim-lars || fail "sim, lars"
same lars sim-lars "ssgd with lars over mpi and in the simulator"
[ "$(hash runs/clipped)" != "$(hash runs/nccl)" ] || fail "sync.clip_norm=0.5 clips nothing"
exit 0
