#!/bin/bash
# Bad input: one clear line on standard error, the documented exit code, nothing half written.
set -u
. "$(dirname "$0")/../support/shell.sh"

# row CODE PATTERN ARGUMENT... - runs tardigrad; its last line of standard error must match PATTERN.
rows=0
row() {
  local want=$1 pattern=$2 out rc lines; shift 2
  rows=$((rows + 1))
  out=$(timeout 60 "$TARDIGRAD" -q "$@" 2>&1 >/dev/null); rc=$?
  lines=$(grep -c . <<<"$out")
  [ "$rc" = "$want" ] || fail "row $rows ($*): exit $rc, expected $want: $out"
  grep -qE -- "$pattern" <<<"$out" || fail "row $rows ($*): '$out' does not match '$pattern'"
  [ "$lines" = 1 ] || fail "row $rows ($*): $lines lines instead of one: $out"
  # What train refuses plan refuses too, in the same words; it needs no ranks, and makes no folder.
  [ "$1 $want" = "train 78" ] && [[ $out != *"start it with mpirun"* ]] || return 0
  shift
  local said; said=$(timeout 60 "$TARDIGRAD" -q plan "$@" 2>&1 >/dev/null)
  [ "$?, $said" = "78, $out" ] || fail "row $rows: plan $* says '$said', not '$out'"
}
cat > ok.yaml <<Y
run: {name: ok, dir: runs}
data: {name: synthetic, train_limit: 512, test_limit: 128}
model: {name: mlp, hidden: [8]}
train: {batch: 32, epochs: 1}
Y
yaml() { printf '%b' "$1" > bad.yaml; }

# Usage.
row 2 'no command' fly
row 2 'did you mean train' trian
row 2 'usage: tardigrad train' train
row 2 "CONFIG.yaml comes first, before 'run.dir=x': usage: tardigrad train CONFIG.yaml" train run.dir=x
row 2 "CONFIG.yaml comes first, before 'run.dir=x': usage: tardigrad train CONFIG.yaml" train run.dir=x ok.yaml
row 2 "RUN comes first, before 'probe.workers=2': usage: tardigrad probe" probe probe.workers=2
row 2 "no option '--frobnicate'" train ok.yaml --frobnicate
row 2 'a value is missing' export runs/ok -o
row 2 'usage: tardigrad export' export runs/ok
row 2 'did you mean models' list model
row 2 'train, test or validation' eval runs/ok --split both
row 2 'usage: tardigrad replay' replay
row 2 'usage: tardigrad replay' replay a b

# Configuration: the file.
row 66 'no-such.yaml' train no-such.yaml
yaml 'trian: {batch: 3}\n';            row 78 'bad.yaml:1.*trian.*train' train bad.yaml
yaml 'train:\n  bacth: 3\n';           row 78 'bad.yaml:2.*bacth.*batch' train bad.yaml
yaml 'train:\n  batch: many\n';        row 78 'bad.yaml:2.*train.batch' train bad.yaml
yaml 'train:\n  batch: 0\n';           row 78 'bad.yaml:2.*train.batch' train bad.yaml
yaml 'train:\n  batch: -1\n';          row 78 'bad.yaml:2.*train.batch' train bad.yaml
yaml 'train:\n  batch: 1.5\n';         row 78 'bad.yaml:2.*train.batch' train bad.yaml
yaml 'train:\n  batch: 3\n  batch: 4\n'; row 78 'bad.yaml:3.*batch' train bad.yaml
yaml 'train: 7\n';                     row 78 'bad.yaml:1.*train' train bad.yaml
yaml 'train: [1, 2\n';                 row 78 'bad.yaml:' train bad.yaml
yaml '\x00\x01\x02\xff';               row 78 'bad.yaml' train bad.yaml
yaml 'device:\n  precision: fp16\n';   row 78 'bad.yaml:2.*fp32.*bf16' train bad.yaml
yaml 'optimizer:\n  lr: nan\n';        row 78 'bad.yaml:2.*optimizer.lr' train bad.yaml
yaml 'optimizer:\n  schedule:\n    - {epoch: 3}\n'; row 78 'bad.yaml:' train bad.yaml
yaml 'optimizer:\n  schedule:\n    - {epoch: 3, factor: 0.1}\n    - {epoch: 2, factor: 0.1}\n'; row 78 'schedule' train bad.yaml
yaml 'optimizer:\n  gsgd: ones\n';     row 78 'bad.yaml:2: optimizer.gsgd: expected a mapping' train bad.yaml
yaml 'model:\n  hidden: [8, 0]\n';     row 78 'bad.yaml:2.*model.hidden' train bad.yaml

# Configuration: the command line, and names of things.
row 78 'train.bacth.*train.batch' train ok.yaml train.bacth=3
row 78 'optimizer.gsgd.skelton.*optimizer.gsgd.skeleton' train ok.yaml optimizer.gsgd.skelton=ones
row 78 'optimizer.gsgd: a section' train ok.yaml optimizer.gsgd=ones
row 78 'train.batch' train ok.yaml train.batch=
row 78 'train.batch' train ok.yaml train.batch=99999999999999999999
row 78 'data.validation: 10000 leaves nothing of the 10000' train ok.yaml data.validation=10000
row 78 'data.train_limit: 9001 is beyond the 9000' train ok.yaml data.train_limit=9001 data.validation=1000
row 78 'run.name' train ok.yaml run.name=a/b
row 78 'run.name' train ok.yaml run.name=
row 78 "mpl" train ok.yaml model.name=mpl
row 78 "resnet21" train ok.yaml model.name=resnet21
row 78 'model.norm=path: model.name=mlp has no batch norm' train ok.yaml model.norm=path
row 78 "model.norm: 'layer' is not one of batch.path" train ok.yaml model.norm=layer
row 78 'model.norm=path: optimizer.name=shampoo moves' train ok.yaml model.name=resnet20 model.norm=path optimizer.name=shampoo
row 78 'model.norm=path: sync.codec=signsgd has no sign' train ok.yaml model.name=resnet20 model.norm=path transport.name=sim sync.rule=ssgd sync.codec=signsgd
row 78 "asdg" train ok.yaml sync.rule=asdg
row 78 "optimizer" train ok.yaml optimizer.name=sdg
row 78 "data set" train ok.yaml data.name=cifar11
row 78 'tpu' train ok.yaml device.name=tpu
row 78 'abacus' train ok.yaml sync.rule=asgd transport.name=sim server.device=abacus
row 78 'sync.rule=sgd has no server' train ok.yaml sync.rule=sgd server.device=fake
row 78 'device.deterministic' train ok.yaml device.deterministic=perhaps
TARDIGRAD_CUDA_PLUGIN=/no/such.so row 69 'device cuda: /no/such.so' train ok.yaml device.name=cuda
row 78 'transport' train ok.yaml transport.name=tcp
row 78 'needs a server and workers' train ok.yaml sync.rule=asgd
row 78 'sim.trace' train ok.yaml sync.rule=asgd transport.name=sim sim.order=trace
row 78 'not a multiple' train ok.yaml sync.rule=ssgd sync.average=fixed transport.name=sim sim.workers=3
row 78 'sync.backup_workers=4: of 4 workers.*choose 0 to 3' train ok.yaml sync.rule=ssgd-backup transport.name=sim sync.backup_workers=4
row 78 'sync.backup_workers=1: of 1 worker' train ok.yaml sync.rule=ssgd-backup transport.name=sim sim.workers=1
row 78 'sync.backup_workers' train ok.yaml sync.rule=ssgd-backup transport.name=sim sync.backup_workers=-1
row 78 'not a multiple of 3 gradients' train ok.yaml sync.rule=ssgd-backup sync.average=fixed transport.name=sim
row 78 'sync.staleness_bound' train ok.yaml sync.rule=ssp transport.name=sim sync.staleness_bound=-2
row 78 'sync.staleness_bound' train ok.yaml sync.rule=ssp transport.name=sim sync.staleness_bound=1.5
row 78 'sync.delay_threshold' train ok.yaml sync.rule=ringmaster transport.name=sim sync.delay_threshold=-1
row 78 'sync.delay_threshold' train ok.yaml sync.rule=ringmaster transport.name=sim sync.delay_threshold=late
row 78 "worker's part" train ok.yaml sync.rule=asgd transport.name=sim sim.workers=64
row 78 '512|10000|train_limit' train ok.yaml data.train_limit=2000000
row 78 'resume' train ok.yaml resume=maybe
row 78 'not a multiple of 5 workers' train ok.yaml sync.rule=ssgd transport.name=sim sim.workers=5 sync.average=fixed
row 78 'lookahead wants 0 to 1' train ok.yaml optimizer.name=lookahead optimizer.alpha=2
row 78 'whole tensors' train ok.yaml sync.rule=xgrad transport.name=sim optimizer.name=lars
row 78 'set server.device=cpu' train ok.yaml sync.rule=asgd transport.name=sim optimizer.name=shampoo server.device=fake

# Data and checkpoints.
row 66 'fashion|nowhere' train ok.yaml data.name=fashion_mnist data.path=nowhere
mkdir -p idx; for f in train-images-idx3-ubyte train-labels-idx1-ubyte t10k-images-idx3-ubyte t10k-labels-idx1-ubyte; do printf 'not an idx file at all' > idx/$f; done
row 65 'offset' train ok.yaml data.name=mnist data.path=idx
row 66 'no such run' eval runs/none
row 66 'no such run' replay runs/none
row 66 'no such run' export runs/none -o x.safetensors
mkdir -p empty; row 66 'not the folder of a run' eval empty
row 66 'no-such-trace' train ok.yaml sync.rule=asgd transport.name=sim sim.order=trace sim.trace=no-such-trace
printf 'garbage' > garbage.bin
row 65 'garbage.bin' train ok.yaml sync.rule=asgd transport.name=sim sim.order=trace sim.trace=garbage.bin
[ ! -e runs ] || fail "a run's folder was made although nothing ran: $(ls runs)"

# A run with damage.
"$TARDIGRAD" -q train ok.yaml sync.rule=asgd transport.name=sim sim.workers=2 || fail "the good run failed"
row 78 'data.validation is 0' eval runs/ok --split validation
last=$(find runs/ok/checkpoints -mindepth 1 -maxdepth 1 -printf '%f\n' | grep -E '^[0-9]+$' | sort -n | tail -n 1)
cp -r runs/ok runs/damaged
printf 'x' | dd of="runs/damaged/checkpoints/$last/weights.safetensors" bs=1 seek=2000 conv=notrunc 2>/dev/null
row 65 'weights.safetensors|hash' eval "runs/damaged/checkpoints/$last"
cp -r runs/ok runs/cut; truncate -s 40 runs/cut/trace.bin
row 65 'trace.bin' replay runs/cut
"$TARDIGRAD" -q train ok.yaml run.name=plain || fail "the plain run failed"
row 78 'synchronous' replay runs/plain
row 1 'cannot be made' train ok.yaml run.dir=ok.yaml
row 1 'cannot create' export runs/ok -o /no/such/folder/x.safetensors
row 3 'diverged' train ok.yaml run.name=nan optimizer.lr=1e6 train.max_nonfinite=2 train.epochs=5
[ "$rows" -ge 40 ] || fail "only $rows rows"
echo "$rows rows"
