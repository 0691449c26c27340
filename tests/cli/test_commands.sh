#!/bin/bash
# Commands as users meet them: help, man page, README's table, list, plan, eval, export, report.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$(dirname "$0")/../support/shell.sh"
"$TARDIGRAD" --help | grep -q 'usage: tardigrad' || fail "--help"
"$TARDIGRAD" --version | grep -qE '^tardigrad [0-9]+\.[0-9]+\.[0-9]+$' || fail "--version"
for command in train eval replay report probe plan paths list export; do
  "$TARDIGRAD" $command --help | grep -q "usage: tardigrad $command" || fail "$command --help"
  "$TARDIGRAD" help $command | grep -q "usage: tardigrad $command" || fail "help $command"
  "$TARDIGRAD" --man | grep -q "tardigrad $command" || fail "$command is not in the man page"
  grep -q "^| \`$command" "$root/README.md" || fail "$command is not in README.md"
done
sed -n '/<!-- tardigrad --keys -->/,/<!-- end of keys -->/p' "$root/README.md" | grep '^|' > readme.txt
"$TARDIGRAD" --keys > keys.txt
cmp -s readme.txt keys.txt || fail "README.md's table of keys is not what tardigrad --keys prints"
for shelf in models rules codecs optimizers datasets devices transports; do
  [ "$("$TARDIGRAD" list $shelf | wc -l)" -ge 2 ] || fail "list $shelf"
done
cat > mlp.yaml <<Y
run: {name: mlp}
data: {name: synthetic, train_limit: 2048, test_limit: 256}
model: {name: resnet20}
train: {batch: 64, epochs: 0.125}
sync: {rule: dc-asgd-a}
transport: {name: sim}
sim: {workers: 2}
Y
"$TARDIGRAD" -q plan mlp.yaml --json > plan.json 2>/dev/null || fail "plan"
"$TARDIGRAD" -q train mlp.yaml || fail "train"
"$TARDIGRAD" -q train runs/mlp/config.yaml run.name=again || fail "the resolved configuration does not run"
[ "$(hash runs/mlp)" = "$(hash runs/again)" ] || fail "the resolved configuration gives another run"
"$TARDIGRAD" -q eval runs/mlp --json > eval.json || fail "eval"
"$TARDIGRAD" -q eval runs/mlp/checkpoints/0 --split train | grep -q '2048 samples' || fail "eval of a checkpoint"
"$TARDIGRAD" -q probe runs/mlp --json probe.workers=2 probe.pushes=1 probe.samples=2 probe.vectors=1 > probe.json || fail "probe"
"$TARDIGRAD" -q probe runs/none > none.txt 2>&1; [ $? = 66 ] || fail "probe of a run that is not there"
"$TARDIGRAD" -q export runs/mlp -o weights.safetensors || fail "export"
"$TARDIGRAD" -q report runs/mlp runs/again -o both.html || fail "report"
[ -s runs/mlp/report.html ] && [ -s both.html ] || fail "no report"
code() { local want=$1 word=$2; shift 2; "$TARDIGRAD" "$@" >/dev/null 2>err.txt; local rc=$?
  [ $rc = "$want" ] && [ "$(wc -l < err.txt)" = 1 ] && grep -qF -- "$word" err.txt ||
    fail "$*: exit $rc, $(cat err.txt)"; }
code 66 'runs/none: no such run' report runs/none
code 2 '--target 0: expected a test error in percent' report runs/mlp --target 0
code 2 '--target 7x' report runs/mlp --target 7x
code 2 '--target: a value is missing' report runs/mlp --target
mkdir -p torn && cp runs/mlp/config.yaml torn && { head -n 1 runs/mlp/metrics.jsonl; echo '{"kind": "eval", "loss": }'; } > torn/metrics.jsonl
code 65 'torn/metrics.jsonl:2: expected one JSON object' report torn
# A page that cannot be written does not take the run with it.
rm -f runs/again/report.html && mkdir -p runs/again/report.html/full
"$TARDIGRAD" -q train mlp.yaml run.name=again resume=auto 2> err.txt || fail "a run ends badly because of its report"
grep -q 'no report: .*tardigrad report runs/again makes one' err.txt || fail "nobody says that the report is missing"
"$TARDIGRAD" -q train mlp.yaml || fail "train again"
[ -d runs/mlp.1 ] || fail "the earlier run was not kept"
[ "$(find . -name '*.part' | wc -l)" = 0 ] || fail "half written files are left"
python3 - <<'P' || fail "what was written is not what it should be"
import json, struct
plan = json.load(open("plan.json"))
assert plan["parameters"] == 269722 and plan["statistics"] == 1376, plan
assert plan["memory_bytes"]["worker"] > 0 and plan["bytes_per_update"] > 8 * 269722 and plan["floor_seconds"], plan
probes = [json.loads(line) for line in open("probe.json")]
assert [p["update"] for p in probes] == [0, 4] and all(len(p["curvatures"]) == 6 and p["delay"] == 1 for p in probes), probes
assert all(abs(p["curvatures"][5]["best_residual"]) <= 1 for p in probes), probes
result = json.load(open("eval.json"))
last = [json.loads(line) for line in open("runs/mlp.1/metrics.jsonl")][-1]
assert last["kind"] == "end" and result["split"] == "test" and result["samples"] == 256
assert abs(result["error"] - last["error"]) < 1e-9 and abs(result["loss"] - last["loss"]) < 1e-5, (result, last)
raw = open("weights.safetensors", "rb").read()
header = json.loads(raw[8:8 + struct.unpack("<Q", raw[:8])[0]])
assert header["conv1.weight"]["shape"] == [16, 3, 3, 3] and "bn1.num_batches_tracked" in header, list(header)[:5]
P
exit 0
