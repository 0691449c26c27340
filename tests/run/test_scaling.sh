#!/bin/bash
# bench/scaling.sh on a tiny grid: every cell runs once, a second call runs nothing, an interrupted one
# goes on, the table comes from the logs alone, and what fails is "not reached".
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
. "$(dirname "$0")/../support/shell.sh"
export TARDIGRAD
cat > tiny.yaml <<Y
data: {name: synthetic, train_limit: 1024, test_limit: 128}
model: {name: mlp, hidden: [16]}
train: {batch: 16, epochs: 1, eval_every: 0.25}
optimizer: {lr: 0.01, schedule: [{epoch: 0.75, factor: 0.1}]}
metrics: {every: 8}
Y
S=("$root/bench/scaling.sh" --config tiny.yaml --rules "asgd,dc-asgd-a" --workers "1,3" --seeds "1,2" --lrs "0.01,0.04"
   --refine 1 --validation 128 --target 60 --jobs 2)
runs() { find "$1/runs" -mindepth 1 -maxdepth 1 | wc -l; }
say() { sed -n 's/^scaling: \([0-9]*\) runs made$/\1/p' "$1"; }

"${S[@]}" --out grid --dry-run > dry || fail "--dry-run"
grep -q '^20 runs, 2 at a time' dry || fail "--dry-run: $(cat dry)"
[ ! -e grid ] || fail "--dry-run wrote something"
"${S[@]}" --out grid > table 2> words || fail "the grid: $(tail -n 3 words)"
[ "$(say words)" = 20 ] && [ "$(runs grid)" = 20 ] || fail "$(say words) runs were made, $(runs grid) are there, not 20"
for what in grid/scaling.md grid/scaling.jsonl grid/report.html; do [ -s $what ] || fail "no $what"; done
cmp -s table grid/scaling.md || fail "what is printed is not what is written"

# A second call runs nothing; the table alone is the same to the byte, without configuration or program.
cp grid/scaling.md first.md; cp grid/scaling.jsonl first.jsonl
"${S[@]}" --out grid > /dev/null 2> words || fail "second call"
[ "$(say words)" = 0 ] && [ "$(runs grid)" = 20 ] || fail "the second call made $(say words) runs"
mv tiny.yaml away.yaml; rm grid/scaling.*
TARDIGRAD=/nonexistent "$root/bench/scaling.sh" --table-only --out grid > /dev/null 2>&1 || fail "--table-only"
mv away.yaml tiny.yaml
cmp -s grid/scaling.md first.md && cmp -s grid/scaling.jsonl first.jsonl || fail "the table is another one"

# One cell changed, one lost, one half done: these three run again, and give the same table.
rm -r grid/runs/asgd-w1-s1
echo >> grid/runs/asgd-w3-s1/config.yaml
sed -i '$d' grid/runs/dc-asgd-a-w3-s2/metrics.jsonl
"${S[@]}" --out grid > /dev/null 2> words || fail "third call"
[ "$(say words)" = 3 ] || fail "the third call made $(say words) runs: $(cat words)"
sums() { python3 - "$1" <<'P'
import json, sys
for line in open(sys.argv[1]):
    row = json.loads(line)
    if row["kind"] == "run": print(row["rule"], row["workers"], row["seed"], row["weights_hash"])
P
}
[ "$(sums first.jsonl)" = "$(sums grid/scaling.jsonl)" ] || fail "the same cells gave other weights"

# What the table says: checked against the logs by other code.
python3 - <<'P' || fail "figures"
import collections, json, math
rows = [json.loads(line) for line in open("first.jsonl")]
runs = {(r["rule"], r["workers"], r["seed"]): r for r in rows if r["kind"] == "run"}
assert len(runs) == 8
for (rule, workers, seed), r in runs.items():
    log = [json.loads(l) for l in open(f"grid/runs/{rule}-w{workers}-s{seed}/metrics.jsonl")]
    end, evals = log[-1], [l for l in log if l["kind"] == "eval"]
    assert all(e["split"] == "test" for e in evals)
    assert r["error"] == end["error"] and r["virtual_s"] == end["sim_s"]
    h = end["staleness_histogram"]
    assert math.isclose(r["staleness"]["mean"], sum(i * n for i, n in enumerate(h)) / sum(h))
    assert r["staleness"]["max"] == len(h) - 1 <= 60 and r["staleness"]["p99"] <= len(h) - 1
    assert r["bytes_per_sample"] == 8 * r["parameters"] / 16, r["bytes_per_sample"]
    hit = next((e for e in evals if e["error"] <= 60), None)
    assert (r["target"] is None) == (hit is None)
    if hit: assert r["target"]["update"] == hit["update"] and r["target"]["virtual_s"] == hit["sim_s"]
# Paired: the delays of a pair (workers, seed) are the same for both rules.
for workers in (1, 3):
    for seed in (1, 2):
        assert runs["asgd", workers, seed]["virtual_s"] == runs["dc-asgd-a", workers, seed]["virtual_s"]
# Equal budgets, on another seed and on samples held out; the choice is the best of the trials.
tuning = [r for r in rows if r["kind"] == "tuning"]
assert len(tuning) == 4 and {len(t["trials"]) for t in tuning} == {3}
for t in tuning:
    best = min((x for x in t["trials"]), key=lambda x: x["error"])
    assert t["chosen"] == best["settings"] and t["error"] == best["error"]
trial = [json.loads(l) for l in open("grid/runs/tune-asgd-w3-lr0.04/metrics.jsonl")]
assert {r["split"] for r in trial if r["kind"] == "eval"} == {"validation"} and trial[0]["train_samples"] == 1024
assert "seed: 1000" in open("grid/runs/tune-asgd-w3-lr0.04/config.yaml").read()
# A comparison by hand.
c = next(r for r in rows if r["kind"] == "comparison" and r["workers"] == 3 and r["of"] == "error")
d = [runs["dc-asgd-a", 3, s]["error"] - runs["asgd", 3, s]["error"] for s in (1, 2)]
mean = sum(d) / 2
half = 12.706 * math.sqrt(sum((x - mean) ** 2 for x in d)) / math.sqrt(2)
assert math.isclose(c["mean"], mean, abs_tol=1e-12) and math.isclose(c["half"], half, abs_tol=1e-9), (c, mean, half)
assert any(d) and c["word"].startswith("chance") == (abs(mean) <= half) or not any(d)
P

# Overlap: none where messages take no time; else 1 - exposed / all, over the workers' lines, which are
# put into the logs here and read as if they were of real ranks.
grep -q 'none: messages take no time in this simulation' first.md || fail "no word of overlap in simulations"
cp -r grid real
python3 - "$root/bench" <<'P' || fail "overlap"
import json, pathlib, sys
sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True
from scaling_table import Table
def column(transport):
    grid = dict(json.load(open("real/grid.json")), transport=transport)
    cells = [{"label": rule, "rule": rule, "workers": 3, "runs": {s: {"state": "done", "folder": pathlib.Path(
        f"real/runs/{rule}-w3-s{s}")} for s in (1, 2)}} for rule in ("asgd", "dc-asgd-a")]
    rows = [[c.strip() for c in line.split("|")] for line in Table(grid, cells).speed() if line.startswith("|")]
    return [r[rows[0].index("overlap")] for r in rows[2:]]
assert column("sim") == ["none"] * 2, column("sim")
assert column("mpi") == ["not measured"] * 2, column("mpi")
for log in pathlib.Path("real/runs").glob("asgd-w3-s*/metrics.jsonl"):
    text = ""
    for line in log.read_text().splitlines():
        row = json.loads(line)
        if row["kind"] == "worker":
            row.update(comm_s=4, exposed_s=row["worker"])  # 0, 1, 2 of 4 each
        text += json.dumps(row) + "\n"
    log.write_text(text)
assert column("mpi") == ["0.75", "not measured"], column("mpi")
P

# The report's test of what is chance is the table's: the same quantiles, and of these runs the same words.
quantiles() { sed -n '/T_5_PERCENT.*=/,/[]}] *;*/p' "$1" | grep -oE '[0-9]+\.[0-9]{3}' | tr '\n' ' '; }
[ "$(quantiles "$root/src/run/report_chance.c")" = "$(quantiles "$root/bench/scaling_table.py")" ] &&
  [ "$(quantiles "$root/bench/scaling_table.py" | wc -w)" = 20 ] || fail "two tables of Student's t"
"$TARDIGRAD" -q report grid/runs/{asgd,dc-asgd-a}-w3-s[12] -o three.html || fail "the report of 3 workers"
python3 - <<'P' || fail "the report judges otherwise"
import json
page = open("three.html").read()
c = next(r for r in map(json.loads, open("first.jsonl")) if r["kind"] == "comparison" and r["workers"] == 3 and r["of"] == "error")
if "r is" not in c["word"] and c["word"] != "identical":
    shown = f"(+{abs(c['mean']):.2f} \u00b1 {c['half']:.2f})"
    chance, otherwise = (page[: page.index(shown)].rfind(w) for w in ("No better than chance", "not by chance"))
    assert (chance > otherwise) == c["word"].startswith("chance"), (c, chance, otherwise)
P

# Failures: a rate that diverges, and a rule that is not there. The others go on.
"$root/bench/scaling.sh" --config tiny.yaml --rules asgd,nosuch --workers 2 --seeds 1,2 --lrs 0.01 --refine 0 \
  --target 60 --out bad --set train.max_nonfinite=1 --rule-set asgd:chaos.nan_gradient_at=3 > table 2> words
rc=$?
[ $rc = 1 ] || fail "a missing rule: exit $rc: $(cat words)"
grep -q "error: nosuch, 2 workers: this build has no rule 'nosuch'" words || fail "no word of the missing rule"
[ "$(grep -c '| 0 of 2 | not reached | not reached |' table)" = 2 ] || fail "failed cells are not 'not reached'"
grep -q 'asgd, 2 workers, seed 1: diverged: exit 3' table || fail "the divergence is not listed"
grep -q 'Not tuned' table || fail "tuned with one rate"

# Stopped, and on. (A background job of a script ignores SIGINT.) The interrupted run is saved and continued, and ends as an undisturbed one.
L=("$root/bench/scaling.sh" --config tiny.yaml --rules asgd --workers 2 --seeds 1 --lrs 0.01 --refine 0 --epochs 200 --jobs 1)
"${L[@]}" --out whole > /dev/null 2>&1 || fail "a long run"
setsid "${L[@]}" --out cut > /dev/null 2> words & pid=$!
for ((i = 0; i < 300; i++)); do
  grep -qs '"kind":"train"' cut/runs/asgd-w2-s1/metrics.jsonl && break
  sleep 0.1
done
kill -TERM $pid 2>/dev/null; wait $pid; rc=$?
# A machine that is fast enough has ended it before.
[ $rc = 75 ] || [ $rc = 0 ] || fail "interrupted: exit $rc: $(cat words)"
"${L[@]}" --out cut > /dev/null 2> words || fail "after the interruption: $(cat words)"
[ "$(hash cut/runs/asgd-w2-s1)" = "$(hash whole/runs/asgd-w2-s1)" ] || fail "interrupted and continued: other weights"

# Bad input: one line.
"${S[@]}" --out grid --seeds 1,1000 2> words && fail "tuned on a reported seed"
grep -q 'tune-seed 1000 is among --seeds' words || fail "$(cat words)"
"$root/bench/scaling.sh" --table-only --out nowhere 2> words; [ $? = 66 ] || fail "no grid: $(cat words)"
exit 0
