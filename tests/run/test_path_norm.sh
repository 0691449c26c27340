#!/bin/bash
# Path-BN in real runs: recorded ones replay to the bit, one continued from a checkpoint ends as one
# that was never cut, evaluation and export work, and checkpoints of the other norm are refused.
set -u
. "$(dirname "$0")/../support/shell.sh"
cat > path.yaml <<Y
run: {name: whole, threads: 1}
data: {name: synthetic, train_limit: 64, test_limit: 32}
model: {name: resnet20, norm: path}
train: {batch: 8, epochs: 2, eval_every: 0}
optimizer: {name: gsgd, lr: 0.02}
sync: {rule: dc-asgd-c}
transport: {name: sim}
sim: {workers: 2}
device: {name: cpu}
checkpoint: {every: 1, keep: 9}
metrics: {tensorboard: false}
Y
run() { timeout 600 "$TARDIGRAD" -q "$@" 2> log || fail "$*: $(tail -n 1 log)"; }
run train path.yaml
run replay runs/whole
run eval runs/whole
run export runs/whole -o whole.safetensors
cp -r runs/whole runs/cut && rm -r runs/cut/checkpoints/16
run train path.yaml run.name=cut resume=auto
[ "$(hash runs/cut)" = "$(hash runs/whole)" ] || fail "a resumed run ends with other weights"
timeout 600 "$TARDIGRAD" -q train path.yaml run.name=cut train.epochs=3 model.norm=batch resume=auto 2> log
[ $? = 65 ] || fail "a checkpoint of the other norm was not refused: $(tail -n 1 log)"
grep -q "model 'resnet20, model.norm=path'" log || fail "$(tail -n 1 log)"
python3 - whole.safetensors <<'P' || fail "skeletons are not what they must be"
import json, struct, sys
raw = open(sys.argv[1], "rb").read()
size = struct.unpack("<Q", raw[:8])[0]
head = json.loads(raw[8:8 + size])
skeletons = {"conv1": set(), "conv2": set()}
for name, entry in head.items():
    layer = name.split(".")[-2] if name.startswith("layer") else ""
    if layer not in skeletons:
        continue
    out, inputs, rows, cols = entry["shape"]
    lo, hi = entry["data_offsets"]
    w = struct.unpack(f"<{(hi - lo) // 4}f", raw[8 + size + lo:8 + size + hi])
    for t in range(inputs if layer == "conv2" else out):
        skeletons[layer].add(w[((t % out) * inputs + t % inputs) * rows * cols + rows * cols // 2])
sys.exit(skeletons["conv2"] != {0.0} or len(skeletons["conv1"]) < 100)
P
echo "path norm: replayed, resumed, evaluated, exported"
