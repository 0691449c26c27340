#!/bin/bash
# tardigrad paths: the path space of models, its check, and mistakes.
set -u
. "$(dirname "$0")/../support/shell.sh"

"$TARDIGRAD" paths mlp > mlp.txt 2> err.txt || fail "paths mlp"
[ ! -s err.txt ] || fail "words on standard error: $(cat err.txt)"
grep -qE '^mlp +234752 +394 +384 +234762 +384 +256  784 256 128 10, fc1$' mlp.txt || fail "mlp: $(cat mlp.txt)"
grep -qE '^outside +0 parameters$' mlp.txt || fail "outside: $(cat mlp.txt)"
grep -q checked mlp.txt && fail "checked what nobody asked for"
"$TARDIGRAD" paths plain34 data.name=cifar10 --check > plain34.txt || fail "paths plain34 --check"
grep -qE '^total +21086208 +0 +6592 +21079616 +6592 +960$' plain34.txt || fail "plain34: $(cat plain34.txt)"
[ "$(grep -c ': not checked: .* paths of .* weights, more than 400000 of 5000' plain34.txt)" = 4 ] || fail "plain34: $(cat plain34.txt)"
"$TARDIGRAD" paths mlp data.name=mnist model.hidden=3,2 model.bias=false --check > small.txt || fail "the check of a small network"
grep -q '^mlp: holds: all 47040 paths have rank 2373, 2373 basis paths 2373, both 2373; m-H is 2373$' small.txt || fail "small: $(cat small.txt)"

# Widths without a basis: said, and with --check an error, after the table.
"$TARDIGRAD" paths mlp model.hidden=4,2,4 > none.txt || fail "paths of a network without a basis"
grep -qE '^mlp: no basis, since hidden widths do not rise and then fall: 3200 weights would train, m-H is 3202$' none.txt || fail "no basis: $(cat none.txt)"
"$TARDIGRAD" paths mlp model.hidden= | grep -q 'no basis, since it has no hidden units' || fail "one layer"

code() { local want=$1 word=$2; shift 2; "$TARDIGRAD" "$@" > out.txt 2> err.txt; local rc=$?
  [ $rc = "$want" ] && [ "$(wc -l < err.txt)" = 1 ] && grep -qF -- "$word" err.txt ||
    fail "$*: exit $rc, $(cat err.txt)"; }
code 1 'the skeletons of model mlp are no basis of its paths' paths mlp model.hidden=2,1,2 --check
grep -q '^mlp: does not hold: all 31450 paths have rank 1602, m-H is 1602, and no paths are a basis$' out.txt || fail "the table of a check that fails: $(cat out.txt)"
code 1 'no basis' paths mlp model.hidden=4,2,4 --check --json
code 78 "did you mean 'mlp'" paths mpl
code 78 'data.name' paths mlp data.name=nothing
code 78 'nearest: model.hidden' paths mlp model.hiden=3
code 2 'MODEL comes first' paths model.hidden=3
code 2 'usage: tardigrad paths MODEL' paths
code 2 "no option '--chek'" paths mlp --chek
code 2 "no option '--check'" plan c.yaml --check

"$TARDIGRAD" paths resnet34 data.name=cifar10 --json > resnet34.json || fail "--json"
"$TARDIGRAD" paths mlp data.name=mnist model.hidden=3,2 --check --json > small.json || fail "--check --json"
"$TARDIGRAD" paths mlp model.hidden=4,2,4 --check --json > none.json 2> /dev/null
python3 - <<'P' || fail "what was written is not what it should be"
import json
r = json.load(open("resnet34.json"))
assert (r["weights"], r["biases"], r["hidden"], r["frozen"], r["trained"]) == (21086208, 0, 3776, 3776, 3776), r
assert r["rank"] == r["weights"] - r["hidden"] == r["trainable"] and r["basis"] is True, r
assert r["parameters"] == 21282122 and r["outside"] == r["parameters"] - r["weights"], r
assert len(r["blocks"]) == 16 and sum(b["rank"] for b in r["blocks"]) == r["rank"], r
b = r["blocks"][3]
assert b["name"] == "layer2.0" and "check" not in b, b
assert [(l["name"], l["in"], l["out"], l["taps"], l["special"]) for l in b["layers"]] == \
    [("layer2.0.conv1", 64, 128, 9, True), ("layer2.0.conv2", 128, 128, 9, False)], b
s = json.load(open("small.json"))["blocks"][0]
assert s["check"] == {"paths": 47040 + 3 * 20 + 20 + 10, "rank": 2388, "basis": 2388, "basis_rank": 2388, "joint_rank": 2388, "holds": True}, s
n = json.load(open("none.json"))
assert n["basis"] is False and n["trainable"] == 3200 and n["rank"] == 3202 and n["blocks"][0]["check"]["holds"] is False, n
P
exit 0
