#!/bin/bash
# comm_s and exposed_s of the worker lines: there for every scheme over MPI, nowhere in a simulation,
# and in order with the other times. How long anything takes is not asked.
set -u
. "$(dirname "$0")/../support/shell.sh"
cat > mlp.yaml <<Y
run: {threads: 1}
data: {name: synthetic, train_limit: 1024, test_limit: 128}
model: {name: mlp, hidden: [64]}
train: {batch: 32, epochs: 2}
optimizer: {lr: 0.01}
metrics: {tensorboard: false}
Y
mpi() { # NAME KEYS...
  local name=$1; shift
  timeout 300 mpirun -n 4 "$TARDIGRAD" -q train mlp.yaml "run.name=$name" "$@" || fail "$name"
}
check() { # RUN none|exposed|hidden
  python3 - "runs/$1/metrics.jsonl" "$2" <<'P' || fail "$1: worker lines"
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
workers, wall = [r for r in rows if r["kind"] == "worker"], rows[-1]["wall_s"]
assert len(workers) == 3
for w in workers:
    if sys.argv[2] == "none":
        assert "comm_s" not in w and "exposed_s" not in w, w
        continue
    assert 0 < w["comm_s"] <= wall and 0 <= w["exposed_s"] <= w["comm_s"], (w, wall)
    assert 0 <= 1 - w["exposed_s"] / w["comm_s"] <= 1
    if sys.argv[2] == "exposed": # it is part of the time in which nothing was computed
        assert w["exposed_s"] == w["comm_s"] <= w["wait_s"] * (1 + 1e-9), w
        assert w["comm_s"] >= w.get("network_s", 0), w
P
}
mpi asgd sync.rule=asgd; check asgd exposed
mpi apart sync.rule=dc-asgd-a transport.shared_memory=false run.piece_bytes=4096; check apart exposed
mpi coded sync.rule=asgd sync.codec=topk; check coded exposed
mpi ssp sync.rule=ssp sync.staleness_bound=0; check ssp exposed
mpi ssgd sync.rule=ssgd; check ssgd exposed
mpi votes sync.rule=signsgd optimizer.lr=0.001; check votes exposed
mpi local sync.rule=local-sgd; check local exposed
mpi after sync.rule=d-psgd sync.mixing=adapt_combine; check after exposed
mpi beside sync.rule=d-psgd; check beside hidden
mpi gossip sync.rule=ad-psgd; check gossip hidden
"$TARDIGRAD" -q train mlp.yaml run.name=sim transport.name=sim sim.workers=3 sync.rule=asgd || fail "sim"
check sim none
exit 0
